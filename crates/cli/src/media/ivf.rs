//! IVF: a 32-byte file header, and 12 bytes before each frame. The libraries at hand write this
//! container for AV1 only.

use std::{
    io::{self, Seek, SeekFrom, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use olmcast::primitives::Codec;

use super::{picture, timeline::Timeline};

/// Ticks of the RTP clock in a second, which are the time base of what is written.
const CLOCK: u32 = 90_000;
const HEADER: usize = 32;

/// How the container calls its codecs.
const NAMES: [(Codec, &[u8; 4]); 3] =
    [(Codec::Vp8, b"VP80"), (Codec::Vp9, b"VP90"), (Codec::Av1, b"AV01")];

/// What an IVF file holds.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) codec: Codec,
    pub(super) frames: Vec<Vec<u8>>,
    /// From one frame to the next.
    pub(super) interval: Duration,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Contents> {
    ensure!(bytes.starts_with(b"DKIF"), "this is no IVF file");
    ensure!(bytes.len() >= HEADER, "it is cut short: its header is not complete");
    let name = &bytes[8..12];
    let Some((codec, _)) = NAMES.into_iter().find(|(_, known)| name == *known) else {
        bail!(
            "it holds {}, and VP8, VP9 and AV1 can be played from IVF; encode it anew: \
             ffmpeg -i FILE -c:v libvpx -b:v 1M -auto-alt-ref 0 video.ivf",
            name.escape_ascii()
        );
    };
    let header = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    ensure!(header >= HEADER, "its header is damaged: it states a length of {header} bytes");
    let (rate, scale) = (u32_at(bytes, 16), u32_at(bytes, 20));
    let (rate, scale) = (rate.unwrap_or(0), scale.unwrap_or(0));
    ensure!(rate > 0 && scale > 0, "its frame rate is zero");
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    let mut at = header;
    while at < bytes.len() {
        let cut = "it is cut short: its last frame is not complete";
        let size = u32_at(bytes, at).context(cut)? as usize;
        let time = u32_at(bytes, at + 4).context(cut)?;
        let frame = bytes.get(at + 12..).and_then(|rest| rest.get(..size)).context(cut)?;
        at += 12 + size;
        // Encoders that leave out a picture may write this.
        if !frame.is_empty() {
            frames.push(frame.to_vec());
            times.push(time);
        }
    }
    ensure!(!frames.is_empty(), "it holds no frame");
    // The time base need not be the frame rate: in a recording it is the RTP clock.
    let ticks = usual_step(&times).unwrap_or(1);
    let interval = f64::from(ticks) * f64::from(scale) / f64::from(rate);
    let interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::MAX);
    Ok(Contents { codec, frames, interval })
}

/// The median of the steps from one time to the next: what is lost here and there changes nothing.
fn usual_step(times: &[u32]) -> Option<u32> {
    let mut steps: Vec<_> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied()
}

/// Writes frames with their RTP timestamps.
pub(crate) struct IvfWriter<W: Write + Seek> {
    file: W,
    codec: Codec,
    frames: u32,
    timeline: Timeline,
    last: u64,
}

impl<W: Write + Seek> IvfWriter<W> {
    pub(crate) fn new(codec: Codec, file: W) -> Self {
        Self { file, codec, frames: 0, timeline: Timeline::new(CLOCK), last: 0 }
    }

    /// Appends a frame. Those before the first key frame are left out: nothing can decode them.
    pub(crate) fn write(
        &mut self,
        frame: &[u8],
        rtp_timestamp: u32,
        key_frame: bool,
    ) -> io::Result<()> {
        if self.frames == 0 {
            if !key_frame {
                return Ok(());
            }
            self.write_header(frame)?;
        }
        self.last = self.timeline.place(rtp_timestamp, Instant::now());
        let size = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.file.write_all(&size.to_le_bytes())?;
        self.file.write_all(&self.last.to_le_bytes())?;
        self.file.write_all(frame)?;
        self.frames += 1;
        Ok(())
    }

    fn write_header(&mut self, key_frame: &[u8]) -> io::Result<()> {
        let [width, height] = picture::size(self.codec, key_frame).unwrap_or_default();
        let name = NAMES.into_iter().find(|(codec, _)| *codec == self.codec);
        let (_, name) = name.ok_or_else(|| io::Error::other("IVF has no name for the codec"))?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"DKIF");
        header[6] = HEADER as u8;
        header[8..12].copy_from_slice(name);
        header[12..14].copy_from_slice(&width.to_le_bytes());
        header[14..16].copy_from_slice(&height.to_le_bytes());
        header[16..20].copy_from_slice(&CLOCK.to_le_bytes());
        header[20..24].copy_from_slice(&1_u32.to_le_bytes());
        self.file.write_all(&header)
    }

    /// Completes the header, and says how many frames there are.
    pub(crate) fn finish(mut self) -> io::Result<u32> {
        if self.frames > 0 {
            // Called the number of frames, and read by players as the length in ticks.
            let last_frame = self.last / u64::from(self.frames - 1).max(1);
            let length = u32::try_from(self.last + last_frame).unwrap_or(u32::MAX);
            self.file.seek(SeekFrom::Start(24))?;
            self.file.write_all(&length.to_le_bytes())?;
            self.file.flush()?;
        }
        Ok(self.frames)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut bytes = Vec::new();
        let mut writer = IvfWriter::new(Codec::Vp8, Cursor::new(&mut bytes));
        let key = [0, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00, 7];
        writer.write(&[1, 2, 3], 0, false).unwrap();
        writer.write(&key, 1000, true).unwrap();
        writer.write(&[1, 2, 3, 4], 5500, false).unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        let file = read(&bytes).unwrap();
        assert_eq!(file.codec, Codec::Vp8);
        assert_eq!(file.frames, [key.to_vec(), vec![1, 2, 3, 4]]);
        assert_eq!(file.interval, Duration::from_millis(50));
        assert_eq!(bytes[12..16], [0x40, 0x01, 0xF0, 0x00]);
        assert_eq!(bytes[24..28], 9000_u32.to_le_bytes());
    }

    #[test]
    fn what_is_no_ivf_file_is_refused() {
        for bytes in [&b""[..], b"DKIF", b"OggS and more of it that is long enough for it all"] {
            assert!(read(bytes).is_err());
        }
    }
}
