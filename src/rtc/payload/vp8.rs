//! VP8 (RFC 7741 §4.2): a descriptor, then a part of the frame.

use bytes::Bytes;

use super::{Fragment, Malformed, Reader, Start};

const X: u8 = 0x80;
const S: u8 = 0x10;
const PID: u8 = 0x07;
/// In the second byte, where X is set.
const I: u8 = 0x80;
const L: u8 = 0x40;
const T: u8 = 0x20;
const K: u8 = 0x10;
/// The picture ID has 15 bits rather than 7.
const M: u8 = 0x80;

const DESCRIPTOR: usize = 4;

/// All as partition 0: where the partitions begin is encrypted.
pub(super) fn payloads(frame: &[u8], picture_id: u16, limit: usize) -> Vec<Bytes> {
    let [high, low] = picture_id.to_be_bytes();
    let mut start = S;
    let parts = frame.chunks(limit.saturating_sub(DESCRIPTOR).max(1));
    parts
        .map(|part| {
            let descriptor = [X | std::mem::take(&mut start), I, M | high, low];
            [&descriptor, part].concat().into()
        })
        .collect()
}

pub(super) fn read(payload: &Bytes, marker: bool) -> Result<Fragment, Malformed> {
    let mut reader = Reader(payload);
    let required = reader.u8()?;
    if required & X != 0 {
        let extended = reader.u8()?;
        if extended & I != 0 && reader.u8()? & M != 0 {
            reader.u8()?;
        }
        if extended & L != 0 {
            reader.u8()?;
        }
        if extended & (T | K) != 0 {
            reader.u8()?;
        }
    }
    if reader.0.is_empty() {
        return Err(Malformed);
    }
    let start = if required & (S | PID) == S { Start::Yes } else { Start::No };
    Ok(Fragment { start, last: marker, data: payload.slice_ref(reader.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_becomes_these_bytes() {
        let payloads = payloads(b"abcdefg", 0x1234, 7);
        let expected: [&[u8]; 3] = [
            b"\x90\x80\x92\x34abc", //
            b"\x80\x80\x92\x34def",
            b"\x80\x80\x92\x34g",
        ];
        assert_eq!(payloads, expected);
    }

    #[test]
    fn a_descriptor_is_read_in_all_its_lengths() {
        let cases: [(&[u8], Start, usize); 10] = [
            (&[0x10, 0], Start::Yes, 1),
            (&[0x18, 0], Start::Yes, 1),
            (&[0x00, 0], Start::No, 1),
            (&[0x11, 0], Start::No, 1),
            (&[0x90, 0x00, 0], Start::Yes, 2),
            (&[0x90, 0x80, 0x7f, 0], Start::Yes, 3),
            (&[0x90, 0x80, 0xff, 1, 0], Start::Yes, 4),
            (&[0x90, 0xc0, 0xff, 1, 2, 0], Start::Yes, 5),
            (&[0x90, 0xf0, 0xff, 1, 2, 3, 0], Start::Yes, 6),
            (&[0x90, 0x20, 3, 0], Start::Yes, 3),
        ];
        for (payload, start, length) in cases {
            let payload = Bytes::from_static(payload);
            let data = payload.slice(length..);
            let expected = Fragment { start, last: true, data };
            assert_eq!(read(&payload, true), Ok(expected), "{payload:x?}");
            for end in 0..=length {
                assert_eq!(read(&payload.slice(..end), true), Err(Malformed), "{payload:x?}");
            }
        }
    }
}
