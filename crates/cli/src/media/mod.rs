//! Media files, in and out: VP8, VP9 and AV1 in IVF, H.264 as a byte stream, Opus in OGG.

mod annex_b;
mod found;
mod ivf;
mod opus;
mod picture;
mod player;
#[cfg(test)]
mod tests;
mod timeline;
mod video;

pub(crate) use opus::{AudioFile, OggOpusWriter};
pub(crate) use player::{Played, Progress, play};
pub(crate) use video::{VideoFile, VideoWriter, extension};
