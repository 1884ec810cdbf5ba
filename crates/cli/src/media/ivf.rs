//! VP8 in IVF: a 32-byte file header, and 12 bytes before each frame. The libraries at hand
//! write this container for AV1 only.

use std::{
    io::{self, Seek, SeekFrom, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::timeline::Timeline;

/// Ticks of the RTP clock in a second, which are the time base of what is written.
const CLOCK: u32 = 90_000;
/// From one frame to the next, it takes at least and at most so long.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);

/// A VP8 file, read whole.
pub(crate) struct VideoFile {
    /// Its frames as they left the encoder.
    pub(crate) frames: Vec<Vec<u8>>,
    /// From one frame to the next.
    pub(crate) interval: Duration,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl VideoFile {
    /// Reads an IVF file.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        ensure!(bytes.get(..4) == Some(b"DKIF"), "this is no IVF file");
        let codec = bytes.get(8..12).context("the file is cut short")?;
        if codec != b"VP80" {
            bail!("it holds {}, not VP8", String::from_utf8_lossy(codec));
        }
        let header = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        let (rate, scale) = (u32_at(bytes, 16), u32_at(bytes, 20));
        let (rate, scale) = rate.zip(scale).context("the file is cut short")?;
        ensure!(rate > 0 && scale > 0, "its frame rate is zero");
        let (mut frames, mut times) = (Vec::new(), Vec::new());
        let mut at = header;
        while let Some(size) = u32_at(bytes, at) {
            times.push(u32_at(bytes, at + 4).context("its last frame is cut short")?);
            at += 12;
            let frame = bytes.get(at..at + size as usize).context("its last frame is cut short")?;
            frames.push(frame.to_vec());
            at += frame.len();
        }
        ensure!(!frames.is_empty(), "it holds no frame");
        // The time base need not be the frame rate: in a recording it is the RTP clock.
        let ticks = usual_step(&times).unwrap_or(1);
        let interval = f64::from(ticks) * f64::from(scale) / f64::from(rate);
        let interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::MAX);
        ensure!(INTERVALS.contains(&interval), "its frame rate is not plausible");
        Ok(Self { frames, interval })
    }
}

/// The median of the steps from one time to the next: what is lost here and there changes nothing.
fn usual_step(times: &[u32]) -> Option<u32> {
    let mut steps: Vec<_> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied()
}

/// Writes VP8 frames with their RTP timestamps as IVF.
pub(crate) struct IvfWriter<W: Write + Seek> {
    file: W,
    frames: u32,
    timeline: Timeline,
    last: u64,
}

impl<W: Write + Seek> IvfWriter<W> {
    pub(crate) fn new(file: W) -> Self {
        Self { file, frames: 0, timeline: Timeline::new(CLOCK), last: 0 }
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
        // RFC 6386 §9.1: 14 bits each of width and height, behind tag and start code.
        let size = |at: usize| match key_frame.get(at..at + 2) {
            Some(bytes) => [bytes[0], bytes[1] & 0x3F],
            None => [0, 0],
        };
        let mut header = [0; 32];
        header[..4].copy_from_slice(b"DKIF");
        header[6] = 32;
        header[8..12].copy_from_slice(b"VP80");
        header[12..14].copy_from_slice(&size(6));
        header[14..16].copy_from_slice(&size(8));
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
        let mut writer = IvfWriter::new(Cursor::new(&mut bytes));
        let key = [0, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xF0, 0x00, 7];
        writer.write(&[1, 2, 3], 0, false).unwrap();
        writer.write(&key, 1000, true).unwrap();
        writer.write(&[1, 2, 3, 4], 5500, false).unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        let file = VideoFile::parse(&bytes).unwrap();
        assert_eq!(file.frames, [key.to_vec(), vec![1, 2, 3, 4]]);
        assert_eq!(file.interval, Duration::from_millis(50));
        assert_eq!(bytes[12..16], [0x40, 0x01, 0xF0, 0x00]);
        assert_eq!(bytes[24..28], 9000_u32.to_le_bytes());
    }

    #[test]
    fn what_is_no_vp8_file_is_refused() {
        for bytes in [&b""[..], b"DKIF", b"OggS and more of it that is long enough for it all"] {
            assert!(VideoFile::parse(bytes).is_err());
        }
    }
}
