//! H.264 (ITU-T H.264): the whole access unit is encrypted, and travels in one VCL NAL unit.
//!
//! ```text
//! [SPS] [PPS] … ‖ 00 00 00 01 ‖ header ‖ slice header's start ‖ SFrame ciphertext, escaped ‖ 80
//! └── copies ──┘                └───────── metadata ─────────┘
//! ```
//!
//! * SFUs and browsers look for parameter sets before a key frame, so those stand in front, as
//!   copies: a receiver drops them unread, and takes the encrypted ones.
//! * They read the first fields of a slice header, too: libwebrtc drops frames whose picture
//!   parameter set it does not know. So the start of one is made up: the first macroblock, a
//!   slice type, and the true `pic_parameter_set_id`. It is padded with ones to whole bytes, and
//!   its last bit is always one of those, so that it needs no escaping.
//! * A ciphertext may contain what looks like a start code. It is escaped as any NAL unit is
//!   (§7.3.1, `emulation_prevention_three_byte`).
//! * What else an access unit has, delimiters, SEI and more slices, is in the ciphertext.

use std::ops::Range;

use memchr::memmem;

use super::unit::{Body, Head};
use crate::sframe::EncryptError;

const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// `rbsp_slice_trailing_bits`: no ciphertext ends in zeros, which would belong to a start code.
const TRAILING_BITS: u8 = 0x80;
/// The first bytes of a slice, behind its NAL unit's header, that hold what is read of it: at most
/// 33 + 7 + 17 bits, and escapes.
const READ: usize = 16;

/// `nal_unit_type` (table 7-1). Data partitions, of which a frame may lose some, are no slices here.
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETER_SET: u8 = 7;
const PICTURE_PARAMETER_SET: u8 = 8;

/// Parameter sets have some tens of bytes. Of more than this nothing is copied: it would leave
/// unencrypted what most likely is no parameter set.
const MAX_COPY: usize = 1024;
const MAX_COPIES: usize = 4096;
/// Units of an encrypted frame: one slice, and what may be copied.
const MAX_UNITS: usize = 64;

/// `slice_type` (table 7-6): all slices of the picture are P, or I.
const ALL_P: u32 = 5;
const ALL_I: u32 = 7;

/// The NAL units of a byte stream (Annex B) by their types and where they begin. Where one ends is
/// looked for only to find the next.
fn starts(stream: &[u8]) -> impl Iterator<Item = (u8, usize)> + '_ {
    let (start_code, mut from) = (memmem::Finder::new(&[0, 0, 1]), 0);
    std::iter::from_fn(move || {
        from += start_code.find(&stream[from..])? + 3;
        Some((stream.get(from)? & 0x1F, from))
    })
}

/// Whether these are units behind their lengths, as MP4 files and some encoders have them. A length
/// between 256 and 511 looks like a start code, and a slice behind it like a parameter set.
fn is_length_prefixed(mut frame: &[u8]) -> bool {
    while let Some((length, rest)) = frame.split_first_chunk() {
        let Some(behind) = rest.get(u32::from_be_bytes(*length) as usize..) else { return false };
        if behind.is_empty() {
            return true;
        }
        frame = behind;
    }
    false
}

/// Whether a unit of this header byte and length is what others may read.
fn may_be_copied(header: u8, length: usize) -> bool {
    // forbidden_zero_bit and nal_ref_idc.
    header & 0x80 == 0 && header & 0x60 != 0 && length <= MAX_COPY
}

/// The NAL unit that begins there, without start codes and zeros behind it.
fn unit(stream: &[u8], begin: usize) -> Range<usize> {
    let end = memmem::find(&stream[begin..], &[0, 0, 1]).map_or(stream.len(), |next| begin + next);
    let zeros = stream[begin..end].iter().rev().take_while(|byte| **byte == 0).count();
    begin..end - zeros
}

pub(super) fn is_key_frame(frame: &[u8]) -> bool {
    let mut types = starts(frame).map(|(unit_type, _)| unit_type);
    types.find(|unit_type| matches!(*unit_type, SLICE | IDR_SLICE)) == Some(IDR_SLICE)
}

pub(super) fn head(frame: &[u8]) -> Result<Head, EncryptError> {
    if is_length_prefixed(frame) {
        return Err(EncryptError::Syntax);
    }
    let mut length = 0;
    for (unit_type, begin) in starts(frame).take(MAX_UNITS) {
        match unit_type {
            SEQUENCE_PARAMETER_SET | PICTURE_PARAMETER_SET => {
                let set = unit(frame, begin).len();
                length += START_CODE.len() + set;
                if !may_be_copied(frame[begin], set) || length > MAX_COPIES {
                    return Err(EncryptError::Syntax);
                }
            }
            SLICE | IDR_SLICE => {
                // Its end is not looked for: it may be far.
                let read = &frame[..frame.len().min(begin + 1 + READ)];
                let mut head = made_up_slice(&read[unit(read, begin)])?;
                head.length = length + START_CODE.len() + head.metadata().len();
                return Ok(head);
            }
            _ => {}
        }
    }
    Err(EncryptError::Syntax)
}

/// The start of a slice with the same parameter set, as metadata.
fn made_up_slice(slice: &[u8]) -> Result<Head, EncryptError> {
    let mut bits = Bits::unescaped(&slice[1..]);
    let [_first_macroblock, slice_type, parameter_set] =
        [(); 3].map(|()| bits.exp_golomb()).map(|field| field.unwrap_or(u32::MAX));
    if slice_type > 9 || parameter_set > 255 {
        return Err(EncryptError::Syntax);
    }
    let mut head = Head::default();
    head.push(slice[0]);
    let (mut written, mut length) = (0_u64, 0);
    for field in [0, made_up_type(slice[0]), parameter_set] {
        let code = u64::from(field) + 1;
        let width = 2 * code.ilog2() + 1;
        (written, length) = (written << width | code, length + width);
    }
    let padding = 8 - length % 8;
    written = ((written + 1) << padding) - 1;
    for byte in &written.to_be_bytes()[8 - ((length + padding) / 8) as usize..] {
        head.push(*byte);
    }
    Ok(head)
}

const fn made_up_type(header: u8) -> u32 {
    if header & 0x1F == IDR_SLICE { ALL_I } else { ALL_P }
}

/// Writes what stands before the ciphertext into exactly `out`.
pub(super) fn write_head(frame: &[u8], head: &Head, out: &mut [u8]) {
    let mut at = 0;
    let mut write = |unit: &[u8]| {
        for part in [&START_CODE, unit] {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    };
    for (unit_type, begin) in starts(frame) {
        match unit_type {
            SEQUENCE_PARAMETER_SET | PICTURE_PARAMETER_SET => write(&frame[unit(frame, begin)]),
            SLICE | IDR_SLICE => return write(head.metadata()),
            _ => {}
        }
    }
}

/// Escapes the ciphertext, which begins at `at`, and ends the NAL unit.
pub(super) fn close(out: &mut Vec<u8>, mut at: usize) {
    // Seldom: once in 4 million bytes.
    while let Some(zeros) = memmem::find(&out[at..], &[0, 0]) {
        at += zeros + 2;
        if out.get(at).is_some_and(|next| *next <= 3) {
            out.insert(at, 3);
            at += 1;
        }
    }
    out.push(TRAILING_BITS);
}

/// The only slice of an encrypted frame. All other units are of no use to us.
pub(super) fn body(wire: &[u8]) -> Option<Body> {
    let is_slice = |unit_type: u8| (1..=5).contains(&unit_type);
    let (unit_type, begin) =
        starts(wire).take(MAX_UNITS).find(|(unit_type, _)| is_slice(*unit_type))?;
    let (slice, is_escaped) = slice_at(wire, begin);
    // Whatever is not the slice was made by nobody who has a key, and costs us time.
    let behind = starts(&wire[slice.end..]).take(MAX_UNITS);
    if wire.len() - slice.len() > 2 * MAX_COPIES
        || behind.enumerate().any(|(at, (unit_type, _))| is_slice(unit_type) || at + 1 == MAX_UNITS)
    {
        return None;
    }
    let unit = &wire[slice.clone()];
    if !matches!(unit_type, SLICE | IDR_SLICE) || unit.last() != Some(&TRAILING_BITS) {
        return None;
    }
    // Nothing in it can be escaped: of its bytes only the second can be zero.
    let mut bits = Bits::new(&unit[1..]);
    let (Some(0), slice_type) = (bits.exp_golomb(), bits.exp_golomb()?) else { return None };
    if slice_type != made_up_type(unit[0]) || bits.exp_golomb()? > 255 || !bits.skip_padding() {
        return None;
    }
    let begin = slice.start + 1 + bits.bytes_read();
    (begin + 1 < slice.end).then(|| Body {
        metadata: slice.start..begin,
        sframe: begin..slice.end - 1,
        is_escaped,
    })
}

/// The NAL unit that begins there, and whether it may have escapes: both in one pass.
fn slice_at(wire: &[u8], begin: usize) -> (Range<usize>, bool) {
    let (zeros, mut at, mut is_escaped) = (memmem::Finder::new(&[0, 0]), begin, false);
    let end = loop {
        let Some(found) = zeros.find(&wire[at..]) else { break wire.len() };
        at += found;
        match wire.get(at + 2) {
            Some(1) => break at,
            Some(3) => is_escaped = true,
            _ => {}
        }
        at += 1;
    };
    let zeros = wire[begin..end].iter().rev().take_while(|byte| **byte == 0).count();
    (begin..end - zeros, is_escaped)
}

const ESCAPED: [u8; 3] = [0, 0, 3];

/// Takes the third byte out of each escape from `at` on; returns where the bytes end then.
pub(super) fn unescape(bytes: &mut [u8], at: usize) -> usize {
    let (escaped, mut read, mut write) = (memmem::Finder::new(&ESCAPED), at, at);
    while let Some(zeros) = escaped.find(&bytes[read..]) {
        bytes.copy_within(read..read + zeros + 2, write);
        (read, write) = (read + zeros + 3, write + zeros + 2);
    }
    if read != write {
        bytes.copy_within(read.., write);
    }
    write + bytes.len() - read
}

/// Reads the start of a slice header.
struct Bits {
    bits: u128,
    length: u32,
    read: u32,
}

impl Bits {
    fn new(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(READ)];
        let mut first = [0; READ];
        first[..bytes.len()].copy_from_slice(bytes);
        Self { bits: u128::from_be_bytes(first), length: 8 * bytes.len() as u32, read: 0 }
    }

    fn unescaped(bytes: &[u8]) -> Self {
        let (mut first, mut length, mut zeros) = ([0; READ], 0, 0);
        for &byte in bytes.iter().take(READ) {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            first[length] = byte;
            length += 1;
        }
        Self::new(&first[..length])
    }

    /// `ue(v)` (§9.1).
    fn exp_golomb(&mut self) -> Option<u32> {
        let zeros = self.bits.leading_zeros();
        let width = 2 * zeros + 1;
        if zeros > 32 || self.read + width > self.length {
            return None;
        }
        let code = self.bits >> (128 - width);
        self.bits <<= width;
        self.read += width;
        u32::try_from(code - 1).ok()
    }

    /// Goes to the next byte, if all bits up to there are ones, and there is one.
    fn skip_padding(&mut self) -> bool {
        let padding = 8 - self.read % 8;
        let ones = self.bits.leading_ones() >= padding;
        self.read += padding;
        ones
    }

    fn bytes_read(&self) -> usize {
        (self.read / 8) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// A slice with this header byte and parameter set.
    fn slice(header: u8, parameter_set: u32) -> Vec<u8> {
        let mut bits = String::new();
        for field in [0, 7, parameter_set] {
            let code = format!("{:b}", field + 1);
            bits += &format!("{}{code}", "0".repeat(code.len() - 1));
        }
        bits += &"1".repeat(40 - bits.len() % 8);
        let bytes = bits.as_bytes().chunks(8);
        let bytes = bytes.map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 2).unwrap());
        [header].into_iter().chain(bytes).collect()
    }

    fn access_unit(parts: &[&[u8]]) -> Vec<u8> {
        parts.iter().flat_map(|part| [&START_CODE, *part].concat()).collect()
    }

    #[test]
    fn units_are_found_behind_long_and_short_start_codes() {
        let stream = bytes("ff 00 00 00 01 67 42 00 00 01 68 00 00 00 00 01 65 88 84 00 00");
        let found = starts(&stream).map(|(unit_type, begin)| (unit_type, unit(&stream, begin)));
        assert_eq!(found.collect::<Vec<_>>(), [(7, 5..7), (8, 10..11), (5, 16..19)]);
        assert_eq!(starts(&bytes("00 00 01")).count(), 0);
        assert_eq!(starts(b"no start code").count(), 0);
    }

    #[test]
    fn the_head_is_exactly_this() {
        let (key, delta) = (slice(0x65, 0), slice(0x41, 0));
        let frame = access_unit(&[&[9, 0xF0], &[0x67, 1, 2], &[0x68, 3], &[6, 4], &key, &key]);
        let head = head(&frame).unwrap();
        let mut out = vec![0xEE; head.length];
        write_head(&frame, &head, &mut out);
        let expected = "00 00 00 01 67 01 02 00 00 00 01 68 03 00 00 00 01 65 88 ff";
        assert_eq!(out, bytes(expected));
        assert_eq!(head.metadata(), bytes("65 88 ff"));
        assert!(is_key_frame(&frame));

        let frame = access_unit(&[&delta, &[0x67, 1, 2]]);
        let head = super::head(&frame).unwrap();
        assert_eq!((head.metadata(), head.length), (&[0x41, 0x9B][..], 6));
        assert!(!is_key_frame(&frame));
    }

    #[test]
    fn every_parameter_set_is_said_and_read_again_without_an_escape() {
        for header in [0x65, 0x25, 0x41, 0x01] {
            for parameter_set in 0..=255 {
                let frame = access_unit(&[&slice(header, parameter_set)]);
                let head = head(&frame).unwrap();
                let mut wire = vec![0; head.length];
                write_head(&frame, &head, &mut wire);
                assert!(wire[4..].windows(2).all(|pair| pair != [0, 0]));
                wire.extend([0xAB, 0xCD, TRAILING_BITS]);
                let Body { metadata, sframe, .. } = body(&wire).unwrap();
                assert_eq!((&wire[metadata], &wire[sframe]), (head.metadata(), &[0xAB, 0xCD][..]));
            }
            let frame = access_unit(&[&slice(header, 256)]);
            assert_eq!(head(&frame).unwrap_err(), EncryptError::Syntax);
        }
    }

    #[test]
    fn the_parameter_set_is_read_behind_an_escape() {
        // first_mb_in_slice = 2^16 - 1, whose sixteen zeros need one; slice_type 0 (1), and
        // pic_parameter_set_id 2 (011).
        let head = made_up_slice(&bytes("41 00 00 03 80 00 58 ff")).unwrap();
        // 1, 00110, 011 and ones.
        assert_eq!(head.metadata(), bytes("41 99 ff"));
    }

    #[test]
    fn what_has_no_slice_or_a_cut_one_is_no_frame() {
        for frame in [
            vec![],
            bytes("65 88 84"),
            access_unit(&[&[0x67, 1, 2], &[0x68, 3]]),
            access_unit(&[&[0x65]]),
            access_unit(&[&[0x65, 0x88]]),
            access_unit(&[&[0x62, 0x88, 0x84]]),
            // slice_type 10.
            bytes("00 00 01 41 8b ff ff"),
            // Parameter sets that are none: of no importance, forbidden, too large, too many.
            access_unit(&[&[7, 1, 2], &slice(0x65, 0)]),
            access_unit(&[&[0xE7, 1, 2], &slice(0x65, 0)]),
            access_unit(&[&[0x67; MAX_COPY + 1], &slice(0x65, 0)]),
            access_unit(
                &[
                    &[[0x67; MAX_COPY]; 5].concat().chunks(MAX_COPY).collect::<Vec<_>>()[..],
                    &[&slice(0x65, 0)],
                ]
                .concat(),
            ),
        ] {
            assert_eq!(head(&frame).unwrap_err(), EncryptError::Syntax, "{frame:02x?}");
        }
    }

    #[test]
    fn units_behind_their_lengths_are_refused_whatever_they_look_like() {
        // The first length is 359: a start code, and a parameter set that is a slice. The second is
        // 321, and what follows would do as the header of a slice.
        let first = [&[0, 0, 1, 0x67][..], &[0x41, 0x9A], &[5; 357]].concat();
        let second = [&[0, 0, 1, 0x41][..], &[0x65, 0x88, 0x84], &[5; 318]].concat();
        let frame = [first, second].concat();
        assert!(is_length_prefixed(&frame));
        assert_eq!(head(&frame).unwrap_err(), EncryptError::Syntax);
        let plain = access_unit(&[&slice(0x65, 0)]);
        let prefixed = [&(plain.len() as u32 - 4).to_be_bytes()[..], &plain[4..]].concat();
        assert_eq!(head(&prefixed).unwrap_err(), EncryptError::Syntax);
        assert!(!is_length_prefixed(&plain) && !is_length_prefixed(&[]));
    }

    #[test]
    fn an_encrypted_frame_among_much_else_is_none() {
        let slice = bytes("00 00 00 01 65 88 ff aa 80");
        let sei = bytes("00 00 01 06 05");
        let among = |before: usize, behind: usize| {
            [sei.repeat(before), slice.clone(), sei.repeat(behind)].concat()
        };
        assert!(body(&among(60, 60)).is_some());
        assert_eq!(body(&among(64, 0)), None);
        assert_eq!(body(&among(0, 64)), None);
        let large = [&slice[..], &[0, 0, 1, 6], &[5; 2 * MAX_COPIES]].concat();
        assert_eq!(body(&large), None);
    }

    #[test]
    fn an_encrypted_frame_has_one_slice_that_looks_as_it_must() {
        let good = "00 00 00 01 65 88 ff aa 80";
        let expected = Body { metadata: 4..7, sframe: 7..8, is_escaped: false };
        assert_eq!(body(&bytes(good)), Some(expected));
        // Other units do not count, wherever they are.
        let among = "00 00 01 09 10 00 00 01 67 01 00 00 01 65 88 ff aa 80 00 00 00 01 06 05";
        assert!(body(&bytes(among)).is_some());
        for bad in [
            "00 00 00 01 65 88 ff 80",
            "00 00 00 01 65 88 ff aa",
            "00 00 00 01 65 88 84 aa 80",
            "00 00 00 01 65 9b aa aa 80",
            "00 00 00 01 41 88 ff aa 80",
            "00 00 00 01 62 88 ff aa 80",
            "00 00 00 01 65",
            "00 00 00 01 67 88 ff aa 80",
            "65 88 ff aa 80",
            "00 00 00 01 65 88 ff aa 80 00 00 00 01 65 88 ff aa 80",
            "00 00 00 01 65 88 ff aa 80 00 00 00 01 42 88",
        ] {
            assert_eq!(body(&bytes(bad)), None, "{bad}");
        }
    }

    /// Bytes in which start codes and escapes are frequent.
    fn zeros() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![8 => Just(0), 4 => 1..=4_u8, 1 => any::<u8>()], 1..80)
    }

    proptest! {
        #[test]
        fn whatever_a_ciphertext_is_it_comes_back_and_shows_no_start_code(sframe in zeros()) {
            let mut wire = bytes("00 00 00 01 65 88 ff");
            let at = wire.len();
            wire.extend(&sframe);
            close(&mut wire, at);
            let looks_like_one = |three: &[u8]| three[..2] == [0, 0] && three[2] < 3;
            prop_assert!(!wire[4..].windows(3).any(looks_like_one), "{:02x?}", wire);
            let body = body(&wire).unwrap();
            let mut plain = wire[body.sframe].to_vec();
            let end = super::super::Unit::H264.unescape(&mut plain, 0);
            prop_assert_eq!(&plain[..end], &sframe[..]);
        }

        #[test]
        fn anything_is_read_without_harm(stream in zeros()) {
            let _ = (body(&stream), is_key_frame(&stream));
            if let Ok(head) = head(&stream) {
                write_head(&stream, &head, &mut vec![0; head.length]);
            }
        }
    }
}
