//! Media files, in and out: VP8 in IVF, Opus in OGG.

mod ivf;
mod opus;
mod player;
mod timeline;

pub(crate) use ivf::{IvfWriter, VideoFile};
pub(crate) use opus::{AudioFile, OggOpusWriter};
pub(crate) use player::{Played, Progress, play};
