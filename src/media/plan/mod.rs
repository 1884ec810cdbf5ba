//! Codec plans: which bytes of a frame packetizers, depacketizers and SFUs must be able to read.

mod opus;
mod vp8;

use crate::{primitives::Codec, sframe::EncryptError};

/// How many bytes at the start of `frame` stay readable, whether it is plain or encrypted.
///
/// `None` if the frame is not longer than that: it holds nothing to protect, so it is no media
/// of this codec.
#[inline]
pub fn clear_length(codec: Codec, frame: &[u8]) -> Option<usize> {
    let clear = match codec {
        Codec::Vp8 => vp8::clear_length(frame)?,
        Codec::Vp9 | Codec::Opus => opus::clear_length(),
        Codec::H264 | Codec::Av1 => return None,
    };
    (frame.len() > clear).then_some(clear)
}

/// The same for a frame as it left the encoder.
#[inline]
pub(super) fn clear_length_of_plain(codec: Codec, frame: &[u8]) -> Result<usize, EncryptError> {
    match clear_length(codec, frame) {
        Some(clear) => Ok(clear),
        None if frame.is_empty() => Err(EncryptError::Empty),
        None => Err(EncryptError::Syntax),
    }
}

/// Whether an encoded video frame, plain or encrypted, can be decoded without those before it.
/// Always true for audio.
pub fn is_key_frame(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::is_key_frame(frame),
        Codec::Vp9 => frame.first().is_some_and(|first| first & 0x0C == 0),
        Codec::H264 | Codec::Av1 => false,
        Codec::Opus => true,
    }
}
