//! The settings that a webrtc-rs connection needs to carry encrypted frames.

use std::time::Duration;

use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::Slot,
    peer_connection::configuration::media_engine::{
        MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_VP8, MIME_TYPE_VP9,
    },
    rtp_transceiver::rtp_sender::{
        RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
    },
    sdp::extmap::{SDES_MID_URI, SDES_RTP_STREAM_ID_URI},
};
use webrtc::{
    error::Error,
    peer_connection::{
        MediaEngine, Registry, SettingEngine, SettingEngineBuilder, configure_nack,
        configure_rtcp_reports,
    },
};

use super::key_frame_requests::DeliverKeyFrameRequests;
use crate::primitives::Codec;

/// Every codec that is offered, with its payload type.
const CODECS: [(Codec, u8); 5] =
    [(Codec::Vp8, 96), (Codec::Vp9, 98), (Codec::H264, 102), (Codec::Av1, 45), (Codec::Opus, 111)];

/// Header extensions that name a packet's track and layer. What a simulcast sends is told apart by
/// nothing else: its SSRCs are not in the SDP.
pub(super) const MID_EXTENSION: &str = SDES_MID_URI;
pub(super) const RID_EXTENSION: &str = SDES_RTP_STREAM_ID_URI;

/// Silence after which a connection counts as interrupted, and the further silence after which
/// it has failed. A killed relay is noticed within their sum.
const DISCONNECTED: Duration = Duration::from_secs(2);
const FAILED: Duration = Duration::from_secs(2);
/// Time between consent checks; several must fit into [`DISCONNECTED`].
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// Codecs and interceptors: VP8, VP9, H.264, AV1 and Opus without RTX (webrtc-rs keeps asking again for what RTX
/// has already brought), NACK, RTCP reports, delivery of key-frame requests to
/// [`EncryptedSender`](super::EncryptedSender), and the header extensions of simulcast.
///
/// # Errors
/// Those of webrtc-rs; none is known for these codecs.
pub fn media_engine() -> Result<(MediaEngine, Registry), Error> {
    let mut engine = MediaEngine::default();
    for (codec, payload_type) in CODECS {
        let rtp_codec = rtp_codec(codec);
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind(codec))?;
    }
    for uri in [MID_EXTENSION, RID_EXTENSION] {
        let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(extension, RtpCodecKind::Video, None)?;
    }
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine))
        // Nearest to the application: every other interceptor has seen all RTCP by then.
        .with(Slot::from(14_000), DeliverKeyFrameRequests::default());
    Ok((engine, registry))
}

/// No mDNS (it needs a multicast interface), and ICE timers that notice a silent peer within
/// four seconds.
pub fn setting_engine() -> SettingEngine {
    SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_timeouts(Some(DISCONNECTED), Some(FAILED), Some(KEEP_ALIVE))
        .build()
}

pub(super) fn kind(codec: Codec) -> RtpCodecKind {
    if codec.is_video() { RtpCodecKind::Video } else { RtpCodecKind::Audio }
}

pub(super) fn rtp_codec(codec: Codec) -> RTCRtpCodec {
    let (mime_type, channels, fmtp) = match codec {
        Codec::Vp8 => (MIME_TYPE_VP8, 0, ""),
        Codec::Vp9 => (MIME_TYPE_VP9, 0, "profile-id=0"),
        // Packets of one NAL unit are not enough for key frames. What stands behind the profile
        // and level is hidden from everybody on the way.
        Codec::H264 => (
            MIME_TYPE_H264,
            0,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        Codec::Av1 => (MIME_TYPE_AV1, 0, ""),
        Codec::Opus => (MIME_TYPE_OPUS, 2, "minptime=10;useinbandfec=1"),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: codec.clock_rate(),
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    }
}
