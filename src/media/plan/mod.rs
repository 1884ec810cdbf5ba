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
        Codec::Opus => opus::clear_length(),
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
pub(super) fn is_key_frame(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::is_key_frame(frame),
        Codec::Opus => true,
    }
}
