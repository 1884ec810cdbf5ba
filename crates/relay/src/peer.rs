//! One WebRTC connection of the relay: negotiated, watched, closed when dropped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::transport::DtlsTransport;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription,
};
use webrtc::rtp_transceiver::RtpSender;

use crate::codec::Codec;
use crate::engine;
use crate::refusal::Refusal;

/// Gathering host candidates takes milliseconds; this only bounds a stack that is stuck.
const GATHERING: Duration = Duration::from_secs(5);
/// A peer that has an answer and does not connect in this time is given up.
const CONNECTING: Duration = Duration::from_secs(10);
/// How often the DTLS state is read. `close_notify` changes that state without any event and
/// leaves the connection "connected"; without this a clean close would look like silence.
const DTLS_POLL: Duration = Duration::from_millis(250);

type State = RTCPeerConnectionState;

pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    state: watch::Receiver<State>,
    gathered: watch::Receiver<bool>,
    tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    closed: bool,
}

impl Peer {
    /// `codecs` and `simulcast` are those of [`engine::media`].
    pub(crate) async fn new(
        media: IpAddr,
        codecs: &[Codec],
        simulcast: bool,
    ) -> Result<Self, Refusal> {
        let (state_tx, state) = watch::channel(State::New);
        let (gathered_tx, gathered) = watch::channel(false);
        let (tracks_tx, tracks) = mpsc::channel(4);
        let (media_engine, interceptors) =
            engine::media(codecs, simulcast).map_err(Refusal::internal)?;
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media_engine)
            .with_interceptor_registry(interceptors)
            .with_setting_engine(engine::settings())
            .with_handler(Arc::new(Events { state_tx, gathered_tx, tracks_tx }))
            .with_udp_addrs(vec![SocketAddr::new(media, 0)])
            .build()
            .await
            .map_err(Refusal::internal)?;
        Ok(Self { connection: Arc::new(connection), state, gathered, tracks, closed: false })
    }

    pub(crate) async fn set_offer(&self, offer: RTCSessionDescription) -> Result<(), Refusal> {
        self.connection.set_remote_description(offer).await.map_err(Refusal::sdp)
    }

    pub(crate) async fn add_track(
        &self,
        track: Arc<dyn TrackLocal>,
    ) -> Result<Arc<dyn RtpSender>, Refusal> {
        self.connection.add_track(track).await.map_err(Refusal::internal)
    }

    /// The answer with every candidate in it.
    pub(crate) async fn answer(&mut self) -> Result<String, Refusal> {
        let answer = self.connection.create_answer(None).await.map_err(Refusal::sdp)?;
        self.connection.set_local_description(answer).await.map_err(Refusal::sdp)?;
        let gathering = self.gathered.wait_for(|done| *done);
        if !matches!(tokio::time::timeout(GATHERING, gathering).await, Ok(Ok(_))) {
            return Err(Refusal::internal("no ICE candidate was gathered"));
        }
        match self.connection.local_description().await {
            Some(answer) => Ok(answer.sdp),
            None => Err(Refusal::internal("the answer was lost")),
        }
    }

    /// The next track that the peer starts to send.
    pub(crate) async fn next_track(&mut self) -> Option<Arc<dyn TrackRemote>> {
        self.tracks.recv().await
    }

    /// A handle to wait on the connection while the peer itself is in use.
    pub(crate) fn watch(&self) -> Watch {
        Watch { connection: Arc::clone(&self.connection), state: self.state.clone() }
    }

    pub(crate) async fn close(mut self) {
        self.closed = true;
        close(&*self.connection).await;
    }
}

impl Drop for Peer {
    /// webrtc-rs detaches its driver when a connection is dropped; only `close` stops it.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
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

/// Waits for a connection to come up and to go away.
pub(crate) struct Watch {
    connection: Arc<dyn PeerConnection>,
    state: watch::Receiver<State>,
}

impl Watch {
    /// `Err` with the reason if the peer does not connect in time.
    pub(crate) async fn connected(&mut self) -> Result<(), &'static str> {
        let settled = self
            .state
            .wait_for(|state| matches!(state, State::Connected | State::Failed | State::Closed));
        match tokio::time::timeout(CONNECTING, settled).await {
            Ok(Ok(state)) if *state == State::Connected => Ok(()),
            Ok(_) => Err("it could not connect"),
            Err(_) => Err("it did not connect within 10 seconds"),
        }
    }

    /// Resolves with the reason once a connected peer is gone.
    pub(crate) async fn gone(&self) -> &'static str {
        let mut states = self.state.clone();
        let lost = async {
            let lost = states.wait_for(|state| matches!(state, State::Failed | State::Closed));
            match lost.await.map(|state| *state) {
                Ok(State::Failed) => "it fell silent",
                _ => "its connection was closed",
            }
        };
        let closed = async {
            let mut poll = tokio::time::interval(DTLS_POLL);
            while !self.peer_closed().await {
                poll.tick().await;
            }
            "it closed the connection"
        };
        tokio::select! {
            reason = lost => reason,
            reason = closed => reason,
        }
    }

    async fn peer_closed(&self) -> bool {
        let Some(dtls) = self.dtls().await else { return false };
        matches!(
            dtls.state().await,
            Ok(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed)
        )
    }

    async fn dtls(&self) -> Option<Arc<dyn DtlsTransport>> {
        // All senders and receivers share one transport (BUNDLE): any of them will do.
        if let Some(sender) = self.connection.get_senders().await.first() {
            return sender.transport().await.ok().flatten();
        }
        let receivers = self.connection.get_receivers().await;
        receivers.first()?.transport().await.ok().flatten()
    }
}

/// Called inside the connection's driver loop: everything here must return at once.
struct Events {
    state_tx: watch::Sender<State>,
    gathered_tx: watch::Sender<bool>,
    tracks_tx: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered_tx.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: State) {
        self.state_tx.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        if self.tracks_tx.try_send(track).is_err() {
            tracing::warn!("a track more than was offered is ignored");
        }
    }
}
