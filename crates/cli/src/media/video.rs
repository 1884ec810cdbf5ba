//! Video files, in and out: VP8, VP9 and AV1 in IVF, H.264 as a byte stream.

use std::{
    io::{self, Seek, Write},
    time::Duration,
};

use anyhow::{bail, ensure};
use olmcast::{media, primitives::Codec};

use super::{
    annex_b,
    found::{Found, Wanted},
    ivf::{self, IvfWriter},
};

/// From one frame to the next, it takes at least and at most so long.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);

/// A video file, read whole.
#[derive(Debug)]
pub(crate) struct VideoFile {
    pub(crate) codec: Codec,
    /// Its frames as they left the encoder, in the order in which they are decoded. The first
    /// is a key frame.
    pub(crate) frames: Vec<Vec<u8>>,
    /// From one frame to the next.
    pub(crate) interval: Duration,
    /// Whether its frames are to be shown in another order (H.264 with B pictures).
    pub(crate) is_reordered: bool,
}

impl VideoFile {
    /// Reads a file, whatever it is called. An H.264 stream that does not state its rate is
    /// played at `unstated_rate` frames a second.
    ///
    /// # Errors
    /// Says what the file is instead, or what is wrong with it, and what to do.
    pub(crate) fn parse(bytes: &[u8], unstated_rate: f64) -> anyhow::Result<Self> {
        let file = match Found::of(bytes, Wanted::Video)? {
            Found::AnnexB => {
                let stream = annex_b::read(bytes)?;
                let every = |rate: f64| Duration::try_from_secs_f64(1.0 / rate).ok();
                let stated = stream.rate.and_then(every).filter(|time| INTERVALS.contains(time));
                let interval = stated.or(every(unstated_rate)).unwrap_or(Duration::MAX);
                let frames = stream.frames;
                let is_reordered = stream.has_b_pictures;
                Self { codec: Codec::H264, frames, interval, is_reordered }
            }
            // OGG was refused.
            Found::Ivf | Found::Ogg => {
                let ivf::Contents { codec, frames, interval } = ivf::read(bytes)?;
                Self { codec, frames, interval, is_reordered: false }
            }
        };
        ensure!(INTERVALS.contains(&file.interval), "its frame rate is not plausible");
        file.check_start()?;
        Ok(file)
    }

    /// Refuses what nobody could begin to decode.
    fn check_start(&self) -> anyhow::Result<()> {
        let key = self.frames.iter().position(|frame| media::is_key_frame(self.codec, frame));
        let extension = extension(self.codec);
        match key {
            Some(0) => {}
            Some(number) => bail!(
                "it does not begin with a key frame: frame {} is the first; leave out those \
                 before: ffmpeg -i FILE -c copy video.{extension}",
                number + 1
            ),
            None => bail!("it has no key frame, so nobody could begin to decode it"),
        }
        ensure!(
            self.codec != Codec::H264 || annex_b::has_parameter_sets(&self.frames[0]),
            "its first key frame has no parameter sets (SPS and PPS) before it; take the video \
             again from where it came: ffmpeg -i ORIGINAL -c copy video.h264"
        );
        Ok(())
    }
}

/// What a recording of this codec is called, behind the dot.
pub(crate) const fn extension(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "ogg",
        Codec::H264 => "h264",
        _ => "ivf",
    }
}

/// Writes video frames with their RTP timestamps.
pub(crate) enum VideoWriter<W: Write + Seek> {
    Ivf(IvfWriter<W>),
    /// A byte stream has no times: players go by the rate that its SPS states.
    AnnexB {
        file: W,
        frames: u32,
    },
}

impl<W: Write + Seek> VideoWriter<W> {
    pub(crate) fn new(codec: Codec, file: W) -> Self {
        match codec {
            Codec::H264 => Self::AnnexB { file, frames: 0 },
            _ => Self::Ivf(IvfWriter::new(codec, file)),
        }
    }

    /// Appends a frame. Those before the first key frame are left out: nothing can decode them.
    pub(crate) fn write(
        &mut self,
        frame: &[u8],
        rtp_timestamp: u32,
        key_frame: bool,
    ) -> io::Result<()> {
        match self {
            Self::Ivf(writer) => writer.write(frame, rtp_timestamp, key_frame),
            Self::AnnexB { frames: 0, .. } if !key_frame => Ok(()),
            Self::AnnexB { file, frames } => {
                *frames += 1;
                file.write_all(frame)
            }
        }
    }

    /// Completes the file, and says how many frames there are.
    pub(crate) fn finish(self) -> io::Result<u32> {
        match self {
            Self::Ivf(writer) => writer.finish(),
            Self::AnnexB { mut file, frames } => {
                file.flush()?;
                Ok(frames)
            }
        }
    }
}
