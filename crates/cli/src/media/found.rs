//! What a file holds, by its first bytes, and what to do if it cannot be played as it is.

use anyhow::bail;

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Ivf,
    AnnexB,
    Ogg,
}

/// What a file is to be played as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Video,
    Audio,
}

/// Makes a video of anything that ffmpeg reads.
const ENCODE_VIDEO: &str = "ffmpeg -i FILE -an -c:v libvpx -b:v 1M -g 60 -auto-alt-ref 0 video.ivf";
const ENCODE_AUDIO: &str = "ffmpeg -i FILE -vn -c:a libopus -frame_duration 20 audio.ogg";
const COPY_TO_IVF: &str = "ffmpeg -i FILE -map 0:v:0 -c copy video.ivf";
const COPY_TO_H264: &str = "ffmpeg -i FILE -map 0:v:0 -c copy video.h264";
const COPY_TO_OGG: &str = "ffmpeg -i FILE -map 0:a:0 -c copy audio.ogg";

/// How much of a container is searched, at both ends, for what it holds.
const TABLES: usize = 1 << 20;
/// How containers call the codecs that need not be encoded again.
const IN_CONTAINERS: [(&[u8], Wanted, &str); 10] = [
    (b"avc1", Wanted::Video, COPY_TO_H264),
    (b"avc3", Wanted::Video, COPY_TO_H264),
    (b"V_MPEG4/ISO/AVC", Wanted::Video, COPY_TO_H264),
    (b"vp09", Wanted::Video, COPY_TO_IVF),
    (b"av01", Wanted::Video, COPY_TO_IVF),
    (b"V_VP8", Wanted::Video, COPY_TO_IVF),
    (b"V_VP9", Wanted::Video, COPY_TO_IVF),
    (b"V_AV1", Wanted::Video, COPY_TO_IVF),
    (b"A_OPUS", Wanted::Audio, COPY_TO_OGG),
    (b"dOps", Wanted::Audio, COPY_TO_OGG),
];

impl Found {
    /// What this file is.
    ///
    /// # Errors
    /// Says what it is instead, if that cannot be played, and which command makes it so.
    pub(super) fn of(bytes: &[u8], wanted: Wanted) -> anyhow::Result<Self> {
        if bytes.is_empty() {
            bail!("the file is empty");
        }
        let found = if bytes.starts_with(b"DKIF") {
            Self::Ivf
        } else if bytes.starts_with(b"OggS") {
            Self::Ogg
        } else if is_annex_b(bytes) {
            Self::AnnexB
        } else {
            bail!("{}", explain(bytes, wanted));
        };
        match (found, wanted) {
            (Self::Ogg, Wanted::Video) => bail!(
                "this is OGG, which is played with --audio; --video takes IVF (VP8, VP9 or AV1) \
                 and H.264"
            ),
            (Self::Ivf | Self::AnnexB, Wanted::Audio) => bail!(
                "this is {}, which is played with --video; --audio takes OGG with Opus",
                if found == Self::Ivf { "IVF" } else { "H.264" }
            ),
            _ => Ok(found),
        }
    }
}

/// Begins with a start code, and what follows is a NAL unit that a stream can begin with.
fn is_annex_b(bytes: &[u8]) -> bool {
    // Slices, supplements, parameter sets, delimiters; the last and supplements have no
    // nal_ref_idc (ITU-T H.264 §7.4.1).
    first_nal(bytes).is_some_and(|nal| match nal[0] & 0x1F {
        1 | 2 => nal[0] & 0x80 == 0 && !is_hevc(nal),
        5 | 7 | 8 => nal[0] & 0x80 == 0 && nal[0] & 0x60 != 0 && !is_hevc(nal),
        6 | 9 => nal[0] & 0xE0 == 0,
        _ => false,
    })
}

/// What stands behind the start code that a file begins with.
fn first_nal(bytes: &[u8]) -> Option<&[u8]> {
    let zeros = bytes.iter().position(|byte| *byte != 0)?;
    let nal = bytes.get(zeros + 1..).filter(|nal| !nal.is_empty())?;
    (zeros >= 2 && bytes[zeros] == 1).then_some(nal)
}

/// VPS, SPS, PPS, delimiter or SEI of H.265, with its header's second byte.
fn is_hevc(nal: &[u8]) -> bool {
    matches!(nal, [0x40 | 0x42 | 0x44 | 0x46 | 0x4E, 0x01, ..])
}

fn explain(bytes: &[u8], wanted: Wanted) -> String {
    let at = |at: usize, what: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(what));
    let container = if at(4, b"ftyp") || at(4, b"moov") || at(4, b"mdat") {
        Some("MP4")
    } else if at(0, &[0x1A, 0x45, 0xDF, 0xA3]) {
        Some("Matroska or WebM")
    } else if at(0, &[0x47]) && at(188, &[0x47]) && at(376, &[0x47]) {
        Some("an MPEG transport stream")
    } else if at(0, b"FLV") {
        Some("FLV")
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        Some("AVI")
    } else {
        None
    };
    let encode = if wanted == Wanted::Video { ENCODE_VIDEO } else { ENCODE_AUDIO };
    if let Some(container) = container {
        // A container's tables are at its beginning or its end.
        let ends =
            [&bytes[..bytes.len().min(TABLES)], &bytes[bytes.len().saturating_sub(TABLES)..]];
        let holds = |name: &[u8]| {
            ends.iter().any(|end| end.windows(name.len()).any(|window| window == name))
        };
        let copy = IN_CONTAINERS.iter().find(|(name, of, _)| *of == wanted && holds(name));
        let command = copy.map_or(encode, |(_, _, command)| command);
        let how = if copy.is_some() { "take the stream out of it" } else { "make a file of it" };
        return format!("this is {container}, which is not played as it is; {how}: {command}");
    }
    let what = match () {
        () if first_nal(bytes).is_some_and(is_hevc) => "H.265",
        () if at(0, &[0x12, 0x00, 0x0A]) => "AV1 without a container",
        () if at(0, b"YUV4MPEG2") => "uncompressed video (Y4M)",
        () if at(0, b"RIFF") && at(8, b"WAVE") => "WAV",
        () if at(0, b"fLaC") => "FLAC",
        () if at(0, b"ID3") || at(0, &[0xFF, 0xFB]) => "MP3",
        () => "no file that is known here",
    };
    if what.starts_with("AV1") && wanted == Wanted::Video {
        return format!("this is {what}; put it into IVF: {COPY_TO_IVF}");
    }
    let takes = match wanted {
        Wanted::Video => "--video takes IVF (VP8, VP9 or AV1) and H.264 (Annex B)",
        Wanted::Audio => "--audio takes OGG with Opus",
    };
    format!("this is {what}; {takes}, for instance from: {encode}")
}
