use serde::{Deserialize, Serialize};

/// The media codecs olmcast has a frame plan for.
///
/// The plan itself, that is, which bytes stay readable for packetizers and SFUs, lives in
/// [`media`](crate::media); this is only the name, as it travels in a stream offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// VP8 video (RFC 6386), one frame at a time.
    Vp8,
    /// Opus audio (RFC 6716), one packet at a time.
    Opus,
}

impl Codec {
    /// Ticks of this codec's RTP clock in a second (RFC 7741 §4.1, RFC 7587 §4.1).
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Vp8 => 90_000,
            Self::Opus => 48_000,
        }
    }

    /// Whether the codec carries video, and so has key frames that can be asked for.
    pub const fn is_video(self) -> bool {
        matches!(self, Self::Vp8)
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vp8 => "VP8",
            Self::Opus => "Opus",
        })
    }
}
