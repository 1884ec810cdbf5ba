use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use olmcast::rtc::{media_engine, setting_engine};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use webrtc::{
    media_stream::track_remote::TrackRemote,
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, RTCSessionDescription,
    },
};

/// For gathering, and for ICE and DTLS together.
const PATIENCE: Duration = Duration::from_secs(10);

/// A webrtc-rs connection as an application makes it that has its own signalling.
pub(super) struct Peer {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    state: watch::Receiver<RTCPeerConnectionState>,
    gathered: watch::Receiver<bool>,
}

impl Peer {
    pub(super) async fn new(address: IpAddr) -> anyhow::Result<Self> {
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let (gathered_tx, gathered) = watch::channel(false);
        let (tracks_tx, tracks) = mpsc::channel(4);
        let (media_engine, interceptors) = media_engine()?;
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media_engine)
            .with_interceptor_registry(interceptors)
            .with_setting_engine(setting_engine())
            .with_handler(Arc::new(Events {
                state: state_tx,
                gathered: gathered_tx,
                tracks: tracks_tx,
            }))
            .with_udp_addrs(vec![SocketAddr::new(address, 0)])
            .build()
            .await?;
        Ok(Self { connection: Arc::new(connection), tracks, state, gathered })
    }

    /// The offer, with its candidates.
    pub(super) async fn offer(&mut self) -> anyhow::Result<String> {
        let offer = self.connection.create_offer(None).await?;
        self.local(offer).await
    }

    /// The answer to an offer, with its candidates.
    pub(super) async fn answer(&mut self, offer: &str) -> anyhow::Result<String> {
        let offer = RTCSessionDescription::offer(offer.to_owned())?;
        self.connection.set_remote_description(offer).await?;
        let answer = self.connection.create_answer(None).await?;
        self.local(answer).await
    }

    /// Takes the answer to the offer.
    pub(super) async fn accept(&self, answer: &str) -> anyhow::Result<()> {
        let answer = RTCSessionDescription::answer(answer.to_owned())?;
        Ok(self.connection.set_remote_description(answer).await?)
    }

    async fn local(&mut self, description: RTCSessionDescription) -> anyhow::Result<String> {
        self.connection.set_local_description(description).await?;
        timeout(PATIENCE, self.gathered.wait_for(|done| *done))
            .await
            .context("no candidates")??;
        let description = self.connection.local_description().await;
        Ok(description.context("no local description")?.sdp)
    }

    /// Returns when media can flow.
    pub(super) async fn connected(&mut self) -> anyhow::Result<()> {
        let settled = self.state.wait_for(|state| {
            use RTCPeerConnectionState::{Closed, Connected, Failed};
            matches!(state, Connected | Failed | Closed)
        });
        let state = *timeout(PATIENCE, settled).await.context("no connection to Janus")??;
        ensure!(state == RTCPeerConnectionState::Connected, "no connection to Janus: {state}");
        Ok(())
    }
}

impl Drop for Peer {
    /// webrtc-rs goes on until it is told to stop.
    fn drop(&mut self) {
        let connection = Arc::clone(&self.connection);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { connection.close().await });
        }
    }
}

/// Called inside the connection's driver loop: everything here must return at once.
struct Events {
    state: watch::Sender<RTCPeerConnectionState>,
    gathered: watch::Sender<bool>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        if self.tracks.try_send(track).is_err() {
            tracing::warn!("a track that nobody asked for is ignored");
        }
    }
}
