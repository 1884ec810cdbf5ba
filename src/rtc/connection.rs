//! A connection to a relay: its state, and its end.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use webrtc::{
    error::Error,
    media_stream::track_remote::TrackRemote,
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, transport::DtlsTransport,
    },
};

use super::{engine, sender::SendError};

/// How often the DTLS state is read. A goodbye (`close_notify`) changes that state without any
/// event and leaves the connection "connected"; the relay would seem to fall silent.
const DTLS_POLL: Duration = Duration::from_millis(250);
/// A relay that does not answer a DELETE in this time will notice by itself.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a connection did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Not an absolute `http` URL.
    #[error(
        "{0:?} is not a WHIP or WHEP URL; it looks like http://host:port/whip/stream (https is not supported yet)"
    )]
    Url(String),
    /// The relay's name has no address, or no network leads to it.
    #[error("no route to {host}: {source}; check the name and the network")]
    Route {
        /// Host and port of the URL.
        host: String,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// The relay did not answer the HTTP request.
    #[error(
        "the relay at {url} cannot be reached: {source}; check that it runs and that the URL is right"
    )]
    Unreachable {
        /// The URL asked.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The relay answered with something else than an SDP answer.
    #[error("the relay refused (HTTP {status}): {reason}")]
    Refused {
        /// HTTP status. 404: no such stream (yet); 409: the stream has a publisher; 503: full.
        status: u16,
        /// What the relay says about it.
        reason: String,
    },
    /// Signalling worked, media does not.
    #[error("no media connection to the relay within {0:?}; check that UDP reaches it")]
    NoMedia(Duration),
    /// More than one track of a kind.
    #[error("a connection carries at most one video and one audio track; use another stream")]
    TooManyTracks,
    /// A track could not be added.
    #[error(transparent)]
    Track(#[from] SendError),
    /// webrtc-rs refused.
    #[error("webrtc: {0}")]
    WebRtc(#[from] Error),
}

/// Whether media can flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not up yet.
    Connecting,
    /// Up.
    Connected,
    /// Nothing was heard of the relay for two seconds. It may come back.
    Interrupted,
    /// Nothing was heard of the relay for four seconds, and nothing more will be. Connect anew.
    Lost,
    /// The relay ended the session (the stream is over), or this side closed it.
    Closed,
}

impl ConnectionState {
    /// Whether the connection has come to its end.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Lost | Self::Closed)
    }
}

/// A connection to a relay. Dropping it closes it; [`close`](Self::close) also tells the relay.
pub struct Connection {
    pub(super) peer: Peer,
    /// The WHIP or WHEP session, to be deleted.
    pub(super) session: reqwest::Url,
    pub(super) http: reqwest::Client,
}

impl Connection {
    /// The state now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.peer.state.clone()
    }

    /// The webrtc-rs connection, for statistics and the like.
    pub fn peer_connection(&self) -> &Arc<dyn PeerConnection> {
        &self.peer.connection
    }

    /// Ends the session at the relay and closes the connection.
    pub async fn close(self) {
        let goodbye = self.http.delete(self.session.clone()).timeout(GOODBYE).send();
        if let Err(error) = goodbye.await {
            tracing::debug!("the relay did not take the goodbye: {error}");
        }
        self.peer.close().await;
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = *self.peer.state.borrow();
        f.debug_struct("Connection").field("state", &state).finish_non_exhaustive()
    }
}

/// A webrtc-rs connection, watched, and closed when dropped.
pub(super) struct Peer {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) state: watch::Receiver<ConnectionState>,
    pub(super) gathered: watch::Receiver<bool>,
    state_tx: watch::Sender<ConnectionState>,
    /// Tasks that end with the connection.
    pub(super) tasks: JoinSet<()>,
}

impl Peer {
    /// Media goes out from `local`; tracks that arrive go to `tracks`.
    pub(super) async fn new(
        local: IpAddr,
        tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
    ) -> Result<Self, Error> {
        let (state_tx, state) = watch::channel(ConnectionState::Connecting);
        let (gathered_tx, gathered) = watch::channel(false);
        let (media_engine, interceptors) = engine::media_engine()?;
        let events = Events { state: state_tx.clone(), gathered: gathered_tx, tracks };
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(media_engine)
                .with_interceptor_registry(interceptors)
                .with_setting_engine(engine::setting_engine())
                .with_handler(Arc::new(events))
                // A concrete address: webrtc-rs skips loopback when it expands a wildcard.
                .with_udp_addrs(vec![std::net::SocketAddr::new(local, 0)])
                .build()
                .await?,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_for_the_end(Arc::clone(&connection), state_tx.clone()));
        Ok(Self { connection, state, gathered, state_tx, tasks })
    }

    pub(super) async fn close(self) {
        let connection = Arc::clone(&self.connection);
        drop(self);
        close(&*connection).await;
    }
}

impl Drop for Peer {
    /// webrtc-rs detaches its driver when a connection is dropped; only `close` stops it.
    fn drop(&mut self) {
        self.tasks.abort_all();
        change(&self.state_tx, ConnectionState::Closed);
        let connection = Arc::clone(&self.connection);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { close(&*connection).await });
        }
    }
}

async fn close(connection: &dyn PeerConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!("closing a connection: {error}");
    }
}

/// An end is final: nothing overwrites it.
fn change(state: &watch::Sender<ConnectionState>, to: ConnectionState) {
    state.send_if_modified(|state| {
        let changes = !state.is_over() && *state != to;
        if changes {
            *state = to;
        }
        changes
    });
}

/// Notices a goodbye, and closes what is over, so that receivers end instead of waiting for ever.
async fn watch_for_the_end(
    connection: Arc<dyn PeerConnection>,
    state: watch::Sender<ConnectionState>,
) {
    let mut poll = tokio::time::interval(DTLS_POLL);
    while !state.borrow().is_over() {
        poll.tick().await;
        let Some(dtls) = dtls(&*connection).await else { continue };
        if matches!(dtls.state().await, Ok(RTCDtlsTransportState::Closed)) {
            change(&state, ConnectionState::Closed);
        }
    }
    close(&*connection).await;
}

/// All senders and receivers share one transport (BUNDLE): any of them will do.
async fn dtls(connection: &dyn PeerConnection) -> Option<Arc<dyn DtlsTransport>> {
    if let Some(sender) = connection.get_senders().await.first() {
        return sender.transport().await.ok().flatten();
    }
    let receivers = connection.get_receivers().await;
    receivers.first()?.transport().await.ok().flatten()
}

/// Called inside the connection's driver loop: everything here must return at once.
struct Events {
    state: watch::Sender<ConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connected => ConnectionState::Connected,
            RTCPeerConnectionState::Disconnected => ConnectionState::Interrupted,
            RTCPeerConnectionState::Failed => ConnectionState::Lost,
            RTCPeerConnectionState::Closed => ConnectionState::Closed,
            _ => return,
        };
        change(&self.state, state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        if self.tracks.try_send(track).is_err() {
            tracing::warn!("a track that nobody asked for is ignored");
        }
    }
}
