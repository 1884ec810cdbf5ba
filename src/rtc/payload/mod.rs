//! RTP payload formats: an encrypted frame as payloads, and payloads as a frame again.
//!
//! - A frame goes out through [`Payloader::payloads`].
//! - A payload comes in through [`read`], which says where in a frame it may stand; [`join`] makes
//!   a frame of all its payloads.
//!
//! What arrives is anything: nothing here panics, and the results are hardly larger than the input.

mod av1;
mod h264;
mod opus;
mod vp8;
mod vp9;

use bytes::Bytes;

use super::packetizer::FrameInfo;
use crate::primitives::Codec;

/// The bytes are not what the codec's payload format, or its frame format, allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Whether a frame begins with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Yes,
    /// If the frame before has ended, and nothing is missing since: some formats do not say.
    AfterEnd,
    No,
}

/// What a payload holds of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) start: Start,
    /// Whether the frame ends with it.
    pub(super) last: bool,
    /// For [`join`]: the bytes of the frame, or the payload as it is where the format has no
    /// descriptor that can be cut off.
    pub(super) data: Bytes,
}

/// Reads a payload that is not empty. `marker` is the RTP packet's.
pub(super) fn read(codec: Codec, payload: &Bytes, marker: bool) -> Result<Fragment, Malformed> {
    match codec {
        Codec::Vp8 => vp8::read(payload, marker),
        Codec::Vp9 => vp9::read(payload, marker),
        Codec::H264 => h264::read(payload, marker),
        Codec::Av1 => av1::read(payload, marker),
        Codec::Opus => Ok(opus::read(payload)),
    }
}

/// The frame whose fragments these are, from its first to its last, none missing.
pub(super) fn join(codec: Codec, fragments: &[Bytes]) -> Result<Bytes, Malformed> {
    match (codec, fragments) {
        (Codec::H264, _) => h264::join(fragments),
        (Codec::Av1, _) => av1::join(fragments),
        (_, [whole]) => Ok(whole.clone()),
        _ => Ok(fragments.concat().into()),
    }
}

/// Splits the frames of one track.
#[derive(Debug)]
pub(super) struct Payloader {
    codec: Codec,
    /// Of the next frame, for VP8 and VP9: 15 bits.
    picture_id: u16,
}

impl Payloader {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, picture_id: 0 }
    }

    /// The payloads of a frame, none longer than `limit` except an Opus packet, which is never
    /// split. None at all for an empty frame.
    pub(super) fn payloads(
        &mut self,
        frame: &Bytes,
        info: FrameInfo,
        limit: usize,
    ) -> Result<Vec<Bytes>, Malformed> {
        if frame.is_empty() {
            return Ok(Vec::new());
        }
        match self.codec {
            Codec::Vp8 => Ok(vp8::payloads(frame, self.next_picture_id(), limit)),
            Codec::Vp9 => Ok(vp9::payloads(frame, info, self.next_picture_id(), limit)),
            Codec::H264 => h264::payloads(frame, limit),
            Codec::Av1 => av1::payloads(frame, limit),
            Codec::Opus => Ok(opus::payloads(frame)),
        }
    }

    fn next_picture_id(&mut self) -> u16 {
        let picture_id = self.picture_id;
        self.picture_id = (picture_id + 1) & 0x7FFF;
        picture_id
    }
}

/// Reads bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u8(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(first)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
