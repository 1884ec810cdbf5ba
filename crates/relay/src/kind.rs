//! The two kinds of track that are forwarded.

use std::fmt;

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;

/// The kind of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// VP8, VP9, H.264 or AV1 video.
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
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Audio => "audio",
        })
    }
}
