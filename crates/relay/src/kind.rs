//! The two kinds of track that are forwarded, and the codec of each.

use std::fmt;

use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};

/// The kind of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// VP8 video.
    Video,
    /// Opus audio.
    Audio,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Video, Self::Audio];

    pub(crate) fn rtc(self) -> RtpCodecKind {
        match self {
            Self::Video => RtpCodecKind::Video,
            Self::Audio => RtpCodecKind::Audio,
        }
    }

    pub(crate) fn from_rtc(kind: RtpCodecKind) -> Option<Self> {
        Self::ALL.into_iter().find(|ours| ours.rtc() == kind)
    }

    /// The encoding name as `a=rtpmap` spells it.
    pub(crate) fn encoding(self) -> &'static str {
        match self {
            Self::Video => "VP8/90000",
            Self::Audio => "opus/48000",
        }
    }

    pub(crate) fn codec(self) -> RTCRtpCodecParameters {
        let (mime_type, clock_rate, channels, fmtp, payload_type) = match self {
            Self::Video => (MIME_TYPE_VP8, 90_000, 0, "", 96),
            Self::Audio => (MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1", 111),
        };
        RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: mime_type.to_owned(),
                clock_rate,
                channels,
                sdp_fmtp_line: fmtp.to_owned(),
                rtcp_feedback: vec![],
            },
            payload_type,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Audio => "audio",
        })
    }
}
