//! Sends the frames of one track.

use std::sync::Arc;

use bytes::Bytes;
use rtc::{
    media_stream::MediaStreamTrack,
    peer_connection::transport::RTCDtlsTransportState,
    rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters},
};
use tokio::{sync::Notify, task::JoinHandle};
use webrtc::{
    error::Error,
    media_stream::track_local::{TrackLocal, TrackLocalEvent, static_rtp::TrackLocalStaticRTP},
    peer_connection::PeerConnection,
    rtp_transceiver::RtpSender,
};

use super::{
    engine,
    key_frame_requests::asks_for_key_frame,
    packetizer::{FrameInfo, PacketizeError, Packetizer},
};
use crate::{clock, media::FrameEncryptor, primitives::Codec, sframe::EncryptError};

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
/// and ends with this value.
#[derive(Debug)]
pub struct EncryptedSender {
    encryptor: FrameEncryptor,
    route: Route,
    packetizer: Option<Packetizer>,
    wire: Vec<u8>,
    key_frames: KeyFrameRequests,
    feedback: JoinHandle<()>,
}

/// The track as webrtc-rs knows it.
struct Route {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("ssrc", &self.ssrc).finish_non_exhaustive()
    }
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
        let ssrc = getrandom::u32()?;
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec: engine::rtp_codec(encryptor.codec()),
            ..Default::default()
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "olmcast".to_owned(),
            id.to_owned(),
            id.to_owned(),
            engine::kind(encryptor.codec()),
            vec![encoding],
        )));
        let sender = connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        let key_frames = KeyFrameRequests(Arc::new(Notify::new()));
        let feedback = tokio::spawn(listen(Arc::clone(&track), ssrc, key_frames.clone()));
        Ok(Self {
            encryptor,
            route: Route { track, sender, ssrc },
            packetizer: None,
            wire: Vec::new(),
            key_frames,
            feedback,
        })
    }

    /// Encrypts a frame as it left the encoder and sends it. `rtp_timestamp` counts in the
    /// codec's clock rate. An empty frame is no media: nothing is sent, and that is no error.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] until the connection is up, [`SendError::Encrypt`] while the
    /// stream has no key or is paused (drop the frame; after a video frame was dropped, make the
    /// next one a key frame), [`SendError::CodecRefused`] and [`SendError::SsrcLost`] if the
    /// track can never be sent, [`SendError::Packetize`] if the frame is not of the track's codec,
    /// [`SendError::WebRtc`] when the connection is closed.
    pub async fn send(&mut self, frame: &[u8], rtp_timestamp: u32) -> Result<(), SendError> {
        if frame.is_empty() {
            return Ok(());
        }
        let packetizer = match &mut self.packetizer {
            Some(packetizer) => packetizer,
            none => none.insert(self.route.resolve(self.encryptor.codec()).await?),
        };
        if self.encryptor.is_overdue(clock::now()) {
            return Err(EncryptError::Paused.into());
        }
        let encrypted = self.encryptor.encrypt_into(frame, &mut self.wire);
        // Nobody knows when the next frame comes, and beside sending one this costs nothing.
        self.encryptor.release();
        encrypted?;
        let wire = Bytes::from(std::mem::take(&mut self.wire));
        let info = FrameInfo::of(self.encryptor.codec(), frame);
        for packet in packetizer.packetize(&wire, info, rtp_timestamp)? {
            self.route.track.write_rtp(packet).await?;
        }
        // Gets the buffer back; a codec whose packets share it makes this a copy.
        self.wire = Vec::from(wire);
        Ok(())
    }

    /// Resolves when the other side asks for a key frame, at once if it has asked since the last
    /// call. Requests between two calls are one. Cancel-safe. Audio is never asked for one.
    pub async fn key_frame_requested(&self) {
        self.key_frames.next().await;
    }

    /// The same as a handle of its own, for an encoder that runs elsewhere. Whoever waits first
    /// gets the request.
    pub fn key_frame_requests(&self) -> KeyFrameRequests {
        self.key_frames.clone()
    }
}

impl Drop for EncryptedSender {
    fn drop(&mut self) {
        self.feedback.abort();
    }
}

impl Route {
    /// Reads what was negotiated. webrtc-rs rejects packets of another payload type or SSRC in
    /// its driver, where only a log line says so, and drops what comes before DTLS is up.
    async fn resolve(&self, codec: Codec) -> Result<Packetizer, SendError> {
        let transport = self.sender.transport().await?.ok_or(SendError::NotConnected)?;
        if transport.state().await? != RTCDtlsTransportState::Connected {
            return Err(SendError::NotConnected);
        }
        let parameters = self.sender.get_parameters().await?;
        let mime_type = engine::rtp_codec(codec).mime_type;
        let negotiated = parameters
            .rtp_parameters
            .codecs
            .iter()
            .find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&mime_type))
            .ok_or(SendError::CodecRefused(codec))?;
        let encodings = &parameters.encodings;
        if !encodings.iter().any(|e| e.rtp_coding_parameters.ssrc == Some(self.ssrc)) {
            return Err(SendError::SsrcLost);
        }
        let mut sequence = [0; 2];
        getrandom::fill(&mut sequence)?;
        let sequence = u16::from_be_bytes(sequence);
        Ok(Packetizer::new(codec, negotiated.payload_type, self.ssrc, sequence))
    }
}

/// Key-frame requests for one track.
#[derive(Debug, Clone)]
pub struct KeyFrameRequests(Arc<Notify>);

impl KeyFrameRequests {
    /// As [`EncryptedSender::key_frame_requested`].
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

async fn listen(track: Arc<TrackLocalStaticRTP>, ssrc: u32, key_frames: KeyFrameRequests) {
    while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = track.poll().await {
        // Routed here by the first packet's SSRC: the others may mean another track.
        if packets.iter().any(|packet| asks_for_key_frame(packet.as_ref(), ssrc)) {
            key_frames.0.notify_one();
        }
    }
}
