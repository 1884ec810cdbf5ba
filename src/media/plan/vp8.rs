//! VP8 (RFC 6386 §9.1): 10 bytes of a key frame stay clear, 3 of a delta frame.
//!
//! Bit 0 of the first byte is the inverse key frame flag. A key frame's 10 bytes are its frame
//! tag, start code and dimensions, a delta frame's 3 its frame tag. SFUs read them to tell key
//! frames and to choose simulcast layers: with nothing clear, a simulcast Janus relays no packet
//! at all.

/// Bytes of frame tag (3), start code (3), width (2) and height (2).
const KEY_FRAME: usize = 10;
/// Bytes of frame tag.
const DELTA_FRAME: usize = 3;

pub(super) fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

pub(super) fn clear_length(frame: &[u8]) -> Option<usize> {
    let first = frame.first()?;
    Some(if first & 1 == 0 { KEY_FRAME } else { DELTA_FRAME })
}
