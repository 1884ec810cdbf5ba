use std::{collections::HashMap, fs, io::Cursor, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, bail, ensure};
use ogg::PacketReader;
use olmcast::{media, primitives::Codec};

/// Widths and heights of a simulcast's layers, from the highest on; a single stream has the first.
const SIZES: [&str; 3] = ["640x360", "320x180", "160x90"];
/// Bits a second of each layer.
const RATES: [&str; 3] = ["800k", "300k", "100k"];
/// Pictures a second.
const PICTURES: u32 = 30;
/// A file is this long, and is played again and again.
const SECONDS: &str = "6";
/// Pictures from one key frame to the next: two seconds.
const KEY_FRAMES: &str = "60";

/// An encoded file, as its encoder's frames.
pub(super) struct MediaFile {
    pub(super) frames: Vec<Frame>,
    /// From one frame to the next.
    pub(super) interval: Duration,
    /// The same, in ticks of the codec's RTP clock.
    pub(super) ticks: u32,
}

pub(super) struct Frame {
    pub(super) data: Vec<u8>,
    pub(super) key_frame: bool,
}

impl MediaFile {
    /// Where the next key frame is, from `position` on.
    pub(super) fn next_key_frame(&self, position: usize) -> usize {
        let ahead = self.frames.iter().enumerate().skip(position);
        let mut key_frames = ahead.filter(|(_, frame)| frame.key_frame).map(|(index, _)| index);
        key_frames.next().unwrap_or(0)
    }
}

/// Makes files with ffmpeg, each once, in a directory that is removed with this value.
pub(super) struct Studio {
    directory: PathBuf,
    made: HashMap<(Codec, usize), std::sync::Arc<MediaFile>>,
}

impl Studio {
    pub(super) fn open() -> anyhow::Result<Self> {
        let name = format!("olmcast-testbed-{:016x}", rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).context("cannot make a temporary directory")?;
        Ok(Self { directory, made: HashMap::new() })
    }

    /// The file of a layer; 0 is the highest.
    pub(super) fn file(
        &mut self,
        codec: Codec,
        layer: usize,
    ) -> anyhow::Result<std::sync::Arc<MediaFile>> {
        if let Some(file) = self.made.get(&(codec, layer)) {
            return Ok(std::sync::Arc::clone(file));
        }
        let bytes = self.encode(codec, layer)?;
        let frames = match codec {
            Codec::Opus => ogg_packets(&bytes)?,
            Codec::H264 => access_units(&bytes),
            _ => ivf_frames(&bytes)?,
        };
        let frame = |data: Vec<u8>| Frame { key_frame: media::is_key_frame(codec, &data), data };
        let frames: Vec<_> = frames.into_iter().map(frame).collect();
        ensure!(frames.len() > 60, "ffmpeg made {} frames of {codec} only", frames.len());
        ensure!(frames.first().is_some_and(|frame| frame.key_frame), "{codec}: no key frame first");
        let per_second = if codec.is_video() { PICTURES } else { 50 };
        let file = std::sync::Arc::new(MediaFile {
            frames,
            interval: Duration::from_secs(1) / per_second,
            ticks: codec.clock_rate() / per_second,
        });
        self.made.insert((codec, layer), std::sync::Arc::clone(&file));
        Ok(file)
    }

    fn encode(&self, codec: Codec, layer: usize) -> anyhow::Result<Vec<u8>> {
        let path = self.directory.join(format!("{codec}-{layer}"));
        let (Some(size), Some(rate)) = (SIZES.get(layer), RATES.get(layer)) else {
            bail!("there are {} layers at most", SIZES.len());
        };
        let (source, encoder): (String, &[&str]) = match codec {
            Codec::Opus => {
                // Not a pure tone, whose packets would all be alike.
                let source = "anoisesrc=color=pink:amplitude=0.3:seed=7:sample_rate=48000";
                (source.to_owned(), &["-c:a", "libopus", "-b:a", "48k", "-f", "ogg"])
            }
            video => (format!("testsrc2=size={size}:rate={PICTURES}"), video_encoder(video)?),
        };
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", &source]);
        ffmpeg.args(["-t", SECONDS]);
        if codec.is_video() {
            ffmpeg.args(["-pix_fmt", "yuv420p", "-b:v", rate]);
            ffmpeg.args(["-g", KEY_FRAMES, "-keyint_min", KEY_FRAMES]);
        }
        let made = ffmpeg.args(encoder).arg(&path).output();
        let made = made.context("ffmpeg cannot be run; install it")?;
        let complaint = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "ffmpeg makes no {codec}: {}", complaint.trim());
        fs::read(&path).with_context(|| format!("ffmpeg left no {}", path.display()))
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{} stays behind: {error}", self.directory.display());
        }
    }
}

/// As a camera's encoder is set: nothing that waits for later pictures.
fn video_encoder(codec: Codec) -> anyhow::Result<&'static [&'static str]> {
    Ok(match codec {
        Codec::Vp8 => &[
            "-c:v",
            "libvpx",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-auto-alt-ref",
            "0",
            "-f",
            "ivf",
        ],
        Codec::Vp9 => &[
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-lag-in-frames",
            "0",
            "-f",
            "ivf",
        ],
        Codec::H264 => &[
            "-c:v",
            "libx264",
            "-profile:v",
            "baseline",
            "-preset",
            "veryfast",
            "-tune",
            "zerolatency",
            "-sc_threshold",
            "0",
            "-f",
            "h264",
        ],
        Codec::Av1 => &[
            "-c:v",
            "libaom-av1",
            "-usage",
            "realtime",
            "-cpu-used",
            "8",
            "-lag-in-frames",
            "0",
            "-f",
            "ivf",
        ],
        other => bail!("{other} is not made here"),
    })
}

/// The frames of an IVF file; of AV1 without the temporal delimiters, which RTP does not carry.
pub(crate) fn ivf_frames(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    ensure!(bytes.starts_with(b"DKIF"), "this is no IVF file");
    let (mut rest, mut frames) = (bytes.get(32..).unwrap_or_default(), Vec::new());
    while let Some((size, behind)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let frame = behind.get(8..8 + size).context("the IVF file is cut short")?;
        frames.push(frame.strip_prefix(&[0x12, 0x00]).unwrap_or(frame).to_vec());
        rest = &behind[8 + size..];
    }
    Ok(frames)
}

fn ogg_packets(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet()? {
        packets.push(packet.data);
    }
    // OpusHead and OpusTags.
    packets.drain(..packets.len().min(2));
    Ok(packets)
}

/// The NAL units of a byte stream, without start codes and the zeros before them.
fn nal_units(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut units, mut begin) = (Vec::new(), None);
    let mut at = 0;
    while at + 3 <= bytes.len() {
        if bytes[at..at + 3] == [0, 0, 1] {
            units.extend(begin.map(|begin| &bytes[begin..at]));
            begin = Some(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    units.extend(begin.map(|begin| &bytes[begin..]));
    let trimmed = units.into_iter().map(|unit| {
        let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &unit[..end]
    });
    trimmed.filter(|unit| !unit.is_empty()).collect()
}

/// The access units of an H.264 byte stream, with start codes of four bytes, as every
/// depacketizer writes them.
fn access_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut has_picture = true;
    for unit in nal_units(bytes) {
        let is_slice = matches!(unit[0] & 0x1F, 1 | 5);
        // ue(v) = 0 is a single one: the slice begins with macroblock 0, and so a picture.
        let begins = !is_slice || unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
        if has_picture && begins {
            units.push(Vec::new());
            has_picture = false;
        }
        has_picture |= is_slice;
        if let Some(access_unit) = units.last_mut() {
            access_unit.extend([0, 0, 0, 1]);
            access_unit.extend(unit);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_unit_ends_where_the_next_picture_begins() {
        let stream = [
            &[0, 0, 0, 1, 0x67, 9][..],
            &[0, 0, 0, 1, 0x68, 9],
            // A key frame of two slices.
            &[0, 0, 1, 0x65, 0x88],
            &[0, 0, 1, 0x65, 0x40],
            &[0, 0, 0, 1, 0x41, 0x9A],
        ];
        let units = access_units(&stream.concat());
        let first = [0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68, 9, 0, 0, 0, 1, 0x65, 0x88];
        let first = [&first[..], &[0, 0, 0, 1, 0x65, 0x40]].concat();
        assert_eq!(units, [first, vec![0, 0, 0, 1, 0x41, 0x9A]]);
        let key_frames = units.iter().map(|unit| media::is_key_frame(Codec::H264, unit));
        assert_eq!(key_frames.collect::<Vec<_>>(), [true, false]);
    }
}
