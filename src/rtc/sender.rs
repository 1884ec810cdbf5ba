//! Sends the frames of one track.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::Notify, task::JoinHandle};
use webrtc::{
    error::Error,
    media_stream::track_local::{TrackLocal, TrackLocalEvent, static_rtp::TrackLocalStaticRTP},
    peer_connection::PeerConnection,
};

use super::{
    key_frame_requests::asks_for_key_frame,
    packetizer::{FrameInfo, PacketizeError},
    route::{Outgoing, Route},
};
use crate::{
    clock,
    media::FrameEncryptor,
    primitives::Codec,
    sframe::{EncryptError, KeyId},
};

/// Why a frame was not sent, or a track not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is not up. Wait until it is connected; drop the frame.
    #[error("the connection is not up yet; drop the frame and wait until it is connected")]
    NotConnected,
    /// The other side did not accept the track's codec.
    #[error("the other side does not accept {0}; offer the track elsewhere")]
    CodecRefused(Codec),
    /// webrtc-rs would drop every packet of this track without a word.
    #[error("the track's SSRC was lost in negotiation; add the track to a new connection")]
    SsrcLost,
    /// Layers of this codec are not told apart: Janus answers that it takes them, and then passes
    /// all of them on as one mixed stream.
    #[error("simulcast is for VP8 and H.264, not for {0}; add it as a single encoding")]
    NoSimulcast(Codec),
    /// Layers without names that can be told apart.
    #[error(
        "simulcast needs two or three different rids of ASCII letters and digits, each at most 16 long"
    )]
    Rids,
    /// The other side did not accept the header extensions that tell the layers apart.
    #[error("the other side does not accept simulcast; add the track as a single encoding")]
    SimulcastRefused,
    /// The frame was not encrypted, and so it was not sent either.
    #[error("the frame was not encrypted: {0}")]
    Encrypt(#[from] EncryptError),
    /// The encrypted frame did not become packets, and so was not sent.
    #[error("the frame was not packetized: {0}")]
    Packetize(#[from] PacketizeError),
    /// The operating system gives no random bytes.
    #[error("no random bytes for the track's SSRC: {0}")]
    Random(#[from] getrandom::Error),
    /// The connection is closed, or webrtc-rs refused.
    #[error("webrtc: {0}")]
    WebRtc(#[from] Error),
}

/// Encrypts and sends the frames of one track.
///
/// There is no path on which a frame leaves unencrypted. A task listens for key-frame requests
/// and ends with this value; the layers of a simulcast share one.
#[derive(Debug)]
pub struct EncryptedSender {
    encryptor: FrameEncryptor,
    route: Route,
    outgoing: Option<Outgoing>,
    wire: Vec<u8>,
    /// That of the last frame.
    key_id: Option<KeyId>,
    key_frames: KeyFrameRequests,
    _feedback: Arc<Feedback>,
}

impl EncryptedSender {
    /// Adds a track to a connection that was built with [`media_engine`](super::media_engine),
    /// before its offer is made. `id` names the track in the SDP, where the SFU reads it.
    ///
    /// # Errors
    /// [`SendError::WebRtc`] or [`SendError::Random`].
    pub async fn add(
        connection: &dyn PeerConnection,
        id: &str,
        encryptor: FrameEncryptor,
    ) -> Result<Self, SendError> {
        let route = Route::add(connection, id, encryptor.codec()).await?;
        let key_frames = KeyFrameRequests::default();
        let feedback = Feedback::listen(&route, vec![(route.ssrc, key_frames.clone())]);
        Ok(Self::new(encryptor, route, key_frames, Arc::new(feedback)))
    }

    /// Adds a track that is sent in several sizes at once, of which the SFU passes on the one that
    /// suits a subscriber: one sender for each rid, in their order, which is from the highest
    /// layer to the lowest (`["h", "m", "l"]`; Janus reads it so). Two or three rids.
    ///
    /// All layers are encrypted with one key and one counter, so a subscriber goes on decrypting
    /// when the SFU switches. Each layer is asked for key frames by itself. Where the SFU changes
    /// from one layer to the other it makes one sequence of both: send the frames of one picture
    /// with the same RTP timestamp in all layers.
    ///
    /// # Errors
    /// [`SendError::NoSimulcast`] and [`SendError::Rids`], [`SendError::WebRtc`] or
    /// [`SendError::Random`].
    pub async fn add_simulcast(
        connection: &dyn PeerConnection,
        id: &str,
        encryptor: FrameEncryptor,
        rids: &[&str],
    ) -> Result<Vec<Self>, SendError> {
        let routes = Route::add_layers(connection, id, encryptor.codec(), rids).await?;
        let requests = || KeyFrameRequests::default();
        let layers: Vec<_> = routes.into_iter().map(|route| (route, requests())).collect();
        let Some((first, _)) = layers.first() else { return Err(SendError::Rids) };
        let requests = layers.iter().map(|(route, requests)| (route.ssrc, requests.clone()));
        let feedback = Arc::new(Feedback::listen(first, requests.collect()));
        let sender = |(route, requests)| {
            Self::new(encryptor.clone(), route, requests, Arc::clone(&feedback))
        };
        Ok(layers.into_iter().map(sender).collect())
    }

    fn new(
        encryptor: FrameEncryptor,
        route: Route,
        key_frames: KeyFrameRequests,
        feedback: Arc<Feedback>,
    ) -> Self {
        let (outgoing, wire, key_id) = (None, Vec::new(), None);
        Self { encryptor, route, outgoing, wire, key_id, key_frames, _feedback: feedback }
    }

    /// The layer's name, if this is one of a simulcast.
    pub fn rid(&self) -> Option<&str> {
        self.route.rid()
    }

    /// Encrypts a frame as it left the encoder and sends it. `rtp_timestamp` counts in the
    /// codec's clock rate. An empty frame is no media: nothing is sent, and that is no error.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] until the connection is up, [`SendError::Encrypt`] while the
    /// stream has no key or is paused (drop the frame; after a video frame was dropped, make the
    /// next one a key frame), [`SendError::CodecRefused`], [`SendError::SimulcastRefused`] and
    /// [`SendError::SsrcLost`] if the track can never be sent, [`SendError::Packetize`] if the frame
    /// is not of the track's codec, [`SendError::WebRtc`] when the connection is closed.
    pub async fn send(&mut self, frame: &[u8], rtp_timestamp: u32) -> Result<(), SendError> {
        if frame.is_empty() {
            return Ok(());
        }
        let outgoing = match &mut self.outgoing {
            Some(outgoing) => outgoing,
            none => none.insert(self.route.resolve(self.encryptor.codec()).await?),
        };
        if self.encryptor.is_overdue(clock::now()) {
            return Err(EncryptError::Paused.into());
        }
        let encrypted = self.encryptor.encrypt_into(frame, &mut self.wire);
        let key_id = self.encryptor.key_id();
        // Nobody knows when the next frame comes, and beside sending one this costs nothing.
        self.encryptor.release();
        encrypted?;
        let wire = Bytes::from(std::mem::take(&mut self.wire));
        let info = FrameInfo::of(self.encryptor.codec(), frame);
        if self.key_id != key_id {
            self.key_id = key_id;
            // Perhaps somebody joined with this key, or could not follow the change of keys.
            if !info.key_frame {
                self.key_frames.0.notify_one();
            }
        }
        for mut packet in outgoing.packetizer.packetize(&wire, info, rtp_timestamp)? {
            for (id, value) in &outgoing.extensions {
                packet.header.set_extension(*id, value.clone())?;
            }
            self.route.track.write_rtp(packet).await?;
        }
        // Gets the buffer back; a codec whose packets share it makes this a copy.
        self.wire = Vec::from(wire);
        Ok(())
    }

    /// Resolves when a key frame is wanted, at once if one was since the last call: the other side
    /// asks for one, or a frame that was none was the first under a new key, so that whoever joined
    /// with that key has nothing to begin with. Requests between two calls are one. Cancel-safe. Audio is never asked for one.
    pub async fn key_frame_requested(&self) {
        self.key_frames.next().await;
    }

    /// The same as a handle of its own, for an encoder that runs elsewhere. Whoever waits first
    /// gets the request.
    pub fn key_frame_requests(&self) -> KeyFrameRequests {
        self.key_frames.clone()
    }
}

/// Key-frame requests for one track, or for one layer of it.
#[derive(Debug, Clone, Default)]
pub struct KeyFrameRequests(Arc<Notify>);

impl KeyFrameRequests {
    /// As [`EncryptedSender::key_frame_requested`].
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// The task that listens for the key-frame requests of a track.
#[derive(Debug)]
struct Feedback(JoinHandle<()>);

impl Feedback {
    /// With the layers' SSRCs.
    fn listen(route: &Route, layers: Vec<(u32, KeyFrameRequests)>) -> Self {
        Self(tokio::spawn(listen(Arc::clone(&route.track), layers)))
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(track: Arc<TrackLocalStaticRTP>, layers: Vec<(u32, KeyFrameRequests)>) {
    while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = track.poll().await {
        // Routed here by the first packet's SSRC: the others may mean another track.
        for (ssrc, key_frames) in &layers {
            if packets.iter().any(|packet| asks_for_key_frame(packet.as_ref(), *ssrc)) {
                key_frames.0.notify_one();
            }
        }
    }
}
