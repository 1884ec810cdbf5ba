//! The codecs that are forwarded, each with one payload type.

use std::fmt;

use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_VP8, MIME_TYPE_VP9,
};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters};

use crate::kind::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Vp8,
    Vp9,
    H264,
    Av1,
    Opus,
}

impl Codec {
    pub(crate) const ALL: [Self; 5] = [Self::Vp8, Self::Vp9, Self::H264, Self::Av1, Self::Opus];

    pub(crate) fn kind(self) -> Kind {
        if self == Self::Opus { Kind::Audio } else { Kind::Video }
    }

    pub(crate) fn of_kind(kind: Kind) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |codec| codec.kind() == kind)
    }

    /// The codec that an `a=rtpmap` such as `VP8/90000` or `opus/48000/2` means.
    pub(crate) fn from_encoding(encoding: &str) -> Option<Self> {
        let mut parts = encoding.trim().split('/');
        let (name, rate) = (parts.next()?, parts.next()?);
        Self::ALL.into_iter().find(|codec| {
            name.eq_ignore_ascii_case(codec.name()) && rate.parse() == Ok(codec.clock_rate())
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }

    fn clock_rate(self) -> u32 {
        if self == Self::Opus { 48_000 } else { 90_000 }
    }

    pub(crate) fn parameters(self) -> RTCRtpCodecParameters {
        let (mime_type, channels, fmtp, payload_type) = match self {
            Self::Vp8 => (MIME_TYPE_VP8, 0, "", 96),
            Self::Vp9 => (MIME_TYPE_VP9, 0, "profile-id=0", 98),
            Self::H264 => (
                MIME_TYPE_H264,
                0,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
                102,
            ),
            Self::Av1 => (MIME_TYPE_AV1, 0, "", 45),
            Self::Opus => (MIME_TYPE_OPUS, 2, "minptime=10;useinbandfec=1", 111),
        };
        RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: mime_type.to_owned(),
                clock_rate: self.clock_rate(),
                channels,
                sdp_fmtp_line: fmtp.to_owned(),
                rtcp_feedback: vec![],
            },
            payload_type,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rtpmap_names_a_codec_whatever_its_case() {
        assert_eq!(Codec::from_encoding("vp8/90000"), Some(Codec::Vp8));
        assert_eq!(Codec::from_encoding("OPUS/48000/2"), Some(Codec::Opus));
        for other in ["", "VP8", "VP8/8000", "VP80/90000", "rtx/90000", "Ünicode/90000"] {
            assert_eq!(Codec::from_encoding(other), None, "{other}");
        }
    }
}
