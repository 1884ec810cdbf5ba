//! Opus (RFC 7587 §4.2): a frame is a payload.

use bytes::Bytes;

use super::{Fragment, Start};

pub(super) fn payloads(frame: &Bytes) -> Vec<Bytes> {
    vec![frame.clone()]
}

pub(super) fn read(payload: &Bytes) -> Fragment {
    // Here the marker says that speech begins (RFC 7587 §4.1), and nothing about frames.
    Fragment { start: Start::Yes, last: true, data: payload.clone() }
}
