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
    /// VP9 video, one frame or superframe at a time, without spatial layers.
    Vp9,
    /// H.264 video (ITU-T H.264), one access unit at a time, in the byte stream format of its
    /// Annex B: with start codes, not with lengths. Parameter sets belong to the access unit whose
    /// slices follow them, and data partitions are refused.
    H264,
    /// AV1 video, one temporal unit at a time, as OBUs that state their sizes (the low-overhead
    /// bitstream format).
    Av1,
    /// Opus audio (RFC 6716), one packet at a time.
    Opus,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Vp8, Self::Vp9, Self::H264, Self::Av1, Self::Opus];

    /// Ticks of this codec's RTP clock in a second (RFC 7741 §4.1, RFC 9628 §4.1, RFC 6184 §8.2.1,
    /// the AV1 RTP payload format §7.1, RFC 7587 §4.1).
    pub const fn clock_rate(self) -> u32 {
        if self.is_video() { 90_000 } else { 48_000 }
    }

    /// Whether the codec carries video, and so has key frames that can be asked for.
    pub const fn is_video(self) -> bool {
        !matches!(self, Self::Opus)
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H.264",
            Self::Av1 => "AV1",
            Self::Opus => "Opus",
        })
    }
}
