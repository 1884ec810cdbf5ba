//! VP9 (RFC 9628 §4.2): a descriptor, then a part of the frame.
//!
//! What we send is in non-flexible mode and has no layers. An SFU takes a picture without P for a
//! key frame, and its size from the scalability structure: the frame itself says neither, since
//! all of it is encrypted.

use bytes::Bytes;

use super::{Fragment, Malformed, Reader, Start};
use crate::rtc::packetizer::FrameInfo;

const I: u8 = 0x80;
const P: u8 = 0x40;
const L: u8 = 0x20;
const F: u8 = 0x10;
const B: u8 = 0x08;
const E: u8 = 0x04;
const V: u8 = 0x02;
/// The picture ID has 15 bits rather than 7.
const M: u8 = 0x80;
/// After a P_DIFF: another one follows.
const N: u8 = 0x01;
/// In the first byte of the scalability structure.
const Y: u8 = 0x10;
const G: u8 = 0x08;
/// A picture refers to three others at most.
const MAX_P_DIFFS: usize = 3;

pub(super) fn payloads(frame: &[u8], info: FrameInfo, picture_id: u16, limit: usize) -> Vec<Bytes> {
    let [high, low] = picture_id.to_be_bytes();
    let predicted = if info.key_frame { 0 } else { P };
    let dimensions = info.dimensions.filter(|_| info.key_frame);
    let mut structure = dimensions.map(|(width, height)| scalability_structure(width, height));
    let (mut payloads, mut rest) = (Vec::new(), frame);
    while !rest.is_empty() {
        let structure = structure.take();
        let structure = structure.as_ref().map_or(&[][..], |structure| structure);
        let length = limit.saturating_sub(3 + structure.len()).clamp(1, rest.len());
        let (part, after) = rest.split_at(length);
        let begins = if payloads.is_empty() { B } else { 0 };
        let ends = if after.is_empty() { E } else { 0 };
        let structured = if structure.is_empty() { 0 } else { V };
        let descriptor = [I | predicted | begins | ends | structured, M | high, low];
        payloads.push([&descriptor, structure, part].concat().into());
        rest = after;
    }
    payloads
}

/// One spatial layer of this size, and a picture group of one picture in temporal layer 0 that
/// refers to the one before.
fn scalability_structure(width: u16, height: u16) -> [u8; 8] {
    let ([w0, w1], [h0, h1]) = (width.to_be_bytes(), height.to_be_bytes());
    [Y | G, w0, w1, h0, h1, 1, 0x04, 1]
}

pub(super) fn read(payload: &Bytes, marker: bool) -> Result<Fragment, Malformed> {
    let mut reader = Reader(payload);
    let required = reader.u8()?;
    if required & I != 0 && reader.u8()? & M != 0 {
        reader.u8()?;
    }
    if required & L != 0 {
        reader.u8()?;
        // TL0PICIDX.
        if required & F == 0 {
            reader.u8()?;
        }
    }
    if required & P != 0 && required & F != 0 {
        let mut differences = 1;
        while reader.u8()? & N != 0 {
            differences += 1;
            if differences > MAX_P_DIFFS {
                return Err(Malformed);
            }
        }
    }
    if required & V != 0 {
        skip_scalability_structure(&mut reader)?;
    }
    if reader.0.is_empty() {
        return Err(Malformed);
    }
    let start = if required & B != 0 { Start::Yes } else { Start::No };
    // E ends the frame of one spatial layer, the marker that of the last one.
    let last = marker || required & E != 0;
    Ok(Fragment { start, last, data: payload.slice_ref(reader.0) })
}

fn skip_scalability_structure(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let first = reader.u8()?;
    if first & Y != 0 {
        let layers = usize::from(first >> 5) + 1;
        reader.take(layers * 4)?;
    }
    if first & G != 0 {
        for _ in 0..reader.u8()? {
            let references = reader.u8()? >> 2 & 3;
            reader.take(usize::from(references))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FrameInfo = FrameInfo { key_frame: true, dimensions: Some((0x0140, 0x00F0)) };

    #[test]
    fn a_key_frame_of_known_size_becomes_these_bytes() {
        let expected: [&[u8]; 3] = [
            b"\x8a\x92\x34\x18\x01\x40\x00\xf0\x01\x04\x01ab",
            b"\x80\x92\x34cdefghijkl",
            b"\x84\x92\x34m",
        ];
        assert_eq!(payloads(b"abcdefghijklm", KEY, 0x1234, 13), expected);
    }

    #[test]
    fn a_frame_of_one_packet_becomes_these_bytes() {
        assert_eq!(
            payloads(b"a", KEY, 7, 100),
            [&b"\x8e\x80\x07\x18\x01\x40\x00\xf0\x01\x04\x01a"[..]]
        );
        let unknown = FrameInfo { dimensions: None, ..KEY };
        assert_eq!(payloads(b"a", unknown, 7, 100), [&b"\x8c\x80\x07a"[..]]);
        let delta = FrameInfo { key_frame: false, ..KEY };
        assert_eq!(payloads(b"a", delta, 0x7FFF, 100), [&b"\xcc\xff\xffa"[..]]);
    }

    #[test]
    fn a_delta_frame_has_p_in_all_its_packets() {
        let expected: [&[u8]; 3] = [b"\xc8\x80\x00ab", b"\xc0\x80\x00cd", b"\xc4\x80\x00e"];
        assert_eq!(payloads(b"abcde", FrameInfo::default(), 0, 5), expected);
    }

    #[test]
    fn every_legal_descriptor_is_read_and_none_that_is_cut_short() {
        let cases: [(&[u8], Start, bool, usize); 17] = [
            (&[0x00, 0], Start::No, false, 1),
            (&[0x08, 0], Start::Yes, false, 1),
            (&[0x04, 0], Start::No, true, 1),
            (&[0x0d, 0], Start::Yes, true, 1),
            (&[0x88, 0x7f, 0], Start::Yes, false, 2),
            (&[0x88, 0x80, 0xff, 0], Start::Yes, false, 3),
            // Layers: with TL0PICIDX, and in flexible mode without.
            (&[0xe8, 0x80, 0x01, 0x12, 0x34, 0], Start::Yes, false, 5),
            (&[0xb8, 0x80, 0x01, 0x12, 0], Start::Yes, false, 4),
            // One to three P_DIFFs, only where the picture is predicted.
            (&[0xd8, 0x01, 0x02, 0], Start::Yes, false, 3),
            (&[0xd8, 0x01, 0x03, 0x02, 0], Start::Yes, false, 4),
            (&[0xf8, 0x01, 0x00, 0x03, 0x05, 0x06, 0], Start::Yes, false, 6),
            (&[0x98, 0x01, 0], Start::Yes, false, 2),
            // Scalability structures: nothing in it, sizes of three layers, a picture group.
            (&[0x0a, 0x00, 0], Start::Yes, false, 2),
            (&[0x0a, 0x50, 0, 1, 0, 1, 0, 2, 0, 2, 0, 4, 0, 4, 0], Start::Yes, false, 14),
            (&[0x0a, 0x08, 0, 0], Start::Yes, false, 3),
            (&[0x0a, 0x08, 3, 0x04, 1, 0x28, 1, 2, 0x5c, 1, 2, 3, 0], Start::Yes, false, 12),
            (&[0x8a, 0x80, 1, 0x18, 1, 0x40, 0, 0xf0, 1, 4, 1, 0], Start::Yes, false, 11),
        ];
        for (payload, start, last, length) in cases {
            let payload = Bytes::from_static(payload);
            let data = payload.slice(length..);
            let expected = Fragment { start, last, data: data.clone() };
            assert_eq!(read(&payload, false), Ok(expected), "{payload:x?}");
            assert_eq!(read(&payload, true), Ok(Fragment { start, last: true, data }));
            for end in 0..=length {
                assert_eq!(read(&payload.slice(..end), false), Err(Malformed), "{payload:x?}");
            }
        }
        let four_differences = Bytes::from_static(&[0xd8, 1, 3, 3, 3, 2, 0]);
        assert_eq!(read(&four_differences, false), Err(Malformed));
    }
}
