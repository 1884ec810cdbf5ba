//! Codec plans: which bytes of a frame packetizers, depacketizers and SFUs must be able to read.
//!
//! For VP8, VP9 and Opus those are the frame's first bytes, or none. Of H.264 and AV1 frames they
//! are made anew ([`unit`]).

mod av1;
mod h264;
mod opus;
mod unit;
mod vp8;
mod vp9;

pub(crate) use unit::Unit;

use crate::{
    primitives::Codec,
    sframe::{Ciphertext, DecryptError, EncryptError, Header, OpenKey},
};

/// How many bytes at the start of `frame` stay where and as they are, whether it is plain or
/// encrypted. Of an H.264 or AV1 frame there are none.
///
/// `None` if the frame is not longer than that: it holds nothing to protect, so it is no media
/// of this codec.
#[inline]
pub fn clear_length(codec: Codec, frame: &[u8]) -> Option<usize> {
    let clear = match codec {
        Codec::Vp8 => vp8::clear_length(frame)?,
        Codec::Vp9 | Codec::H264 | Codec::Av1 | Codec::Opus => 0,
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

/// The SFrame header of an encrypted frame, which anybody on the way can read.
///
/// # Errors
/// [`DecryptError::Syntax`] if it is no encrypted frame of this codec.
pub fn header(codec: Codec, wire: &[u8]) -> Result<Header, DecryptError> {
    if let Some(unit) = Unit::of(codec) {
        return Ok(unit.parse(wire)?.header());
    }
    let clear = clear_length(codec, wire).ok_or(DecryptError::Syntax)?;
    Ok(Ciphertext::parse(&wire[clear..])?.header())
}

/// Opens an encrypted frame with one key, whatever was opened before.
pub(crate) fn open_with(codec: Codec, wire: &[u8], key: &OpenKey) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(unit) = Unit::of(codec) {
        unit.parse(wire).ok()?.open_into(key, wire, &mut out).ok()?;
    } else {
        let (clear, sframe) = wire.split_at(clear_length(codec, wire)?);
        out.extend_from_slice(clear);
        key.open_into(clear, &Ciphertext::parse(sframe).ok()?, &mut out, clear.len()).ok()?;
    }
    Some(out)
}

/// Whether a video frame, as it left the encoder, can be decoded without those before it. Always
/// true for audio.
pub fn is_key_frame(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::is_key_frame(frame),
        Codec::Vp9 => vp9::is_key_frame(frame),
        Codec::H264 => h264::is_key_frame(frame),
        Codec::Av1 => av1::is_key_frame(frame),
        Codec::Opus => opus::is_key_frame(frame),
    }
}

/// Width and height that a key frame states, where a packetizer must say them (VP9).
pub fn dimensions(codec: Codec, frame: &[u8]) -> Option<(u16, u16)> {
    if codec == Codec::Vp9 { vp9::dimensions(frame) } else { None }
}
