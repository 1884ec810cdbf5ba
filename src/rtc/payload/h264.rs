//! H.264 (RFC 6184, packetization mode 1): NAL units alone, several in one payload (STAP-A), or
//! one in several payloads (FU-A). Frames are in the byte stream format of H.264's Annex B.
//!
//! The format does not say where a frame begins. [`read`] takes it from the NAL unit types and
//! from the first bit of a slice, which is set where the slice is a picture's first
//! (`first_mb_in_slice` is 0).

use bytes::Bytes;
use memchr::memmem;

use super::{Fragment, Malformed, Reader, Start};

const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// In the first byte of a NAL unit, and of a payload.
const TYPE: u8 = 0x1F;
const FORBIDDEN: u8 = 0x80;
const IMPORTANCE: u8 = 0x60;
/// In the second byte of an FU-A.
const S: u8 = 0x80;
const E: u8 = 0x40;

const SLICE: u8 = 1;
const SLICE_PARTITION_A: u8 = 2;
const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Parameter sets that follow each other share a payload if they fit.
pub(super) fn payloads(frame: &[u8], limit: usize) -> Result<Vec<Bytes>, Malformed> {
    let mut payloads = Vec::new();
    let mut parameter_sets = Vec::new();
    for (header, unit) in Units::new(frame)? {
        match header & TYPE {
            SPS | PPS => parameter_sets.push(unit),
            // They would be read as several units, or as a part of one.
            unit_type if !is_unit_type(unit_type) => return Err(Malformed),
            _ => {
                push_parameter_sets(&mut payloads, &mut parameter_sets, limit);
                push_unit(&mut payloads, header, unit, limit);
            }
        }
    }
    push_parameter_sets(&mut payloads, &mut parameter_sets, limit);
    if payloads.is_empty() { Err(Malformed) } else { Ok(payloads) }
}

fn push_parameter_sets(payloads: &mut Vec<Bytes>, sets: &mut Vec<&[u8]>, limit: usize) {
    let length = sets.iter().map(|set| 2 + set.len()).sum::<usize>() + 1;
    // A unit's length is in 16 bits.
    if sets.len() > 1 && length <= limit.min(usize::from(u16::MAX)) {
        let headers = sets.iter().filter_map(|set| set.first());
        let forbidden = headers.clone().fold(0, |any, header| any | header & FORBIDDEN);
        let importance = headers.map(|header| header & IMPORTANCE).max().unwrap_or(0);
        let mut payload = Vec::with_capacity(length);
        payload.push(forbidden | importance | STAP_A);
        for set in sets.drain(..) {
            payload.extend_from_slice(&(set.len() as u16).to_be_bytes());
            payload.extend_from_slice(set);
        }
        payloads.push(payload.into());
    } else {
        for set in sets.drain(..) {
            push_unit(payloads, set.first().copied().unwrap_or(0), set, limit);
        }
    }
}

fn push_unit(payloads: &mut Vec<Bytes>, header: u8, unit: &[u8], limit: usize) {
    // What fits is never fragmented: an FU-A cannot be a unit's first and last at once.
    if unit.len() <= limit {
        payloads.push(Bytes::copy_from_slice(unit));
        return;
    }
    let indicator = header & !TYPE | FU_A;
    let mut rest = unit.get(1..).unwrap_or(&[]);
    let mut start = S;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(limit.saturating_sub(2).clamp(1, rest.len()));
        let end = if after.is_empty() { E } else { 0 };
        let fragment = std::mem::take(&mut start) | end | header & TYPE;
        payloads.push([&[indicator, fragment], part].concat().into());
        rest = after;
    }
}

/// The NAL units of a byte stream, with their first bytes, in order and without the zeros behind
/// them.
struct Units<'a>(&'a [u8]);

impl<'a> Units<'a> {
    fn new(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (before, units) = split_at_start_code(frame);
        if before.iter().any(|&byte| byte != 0) {
            return Err(Malformed);
        }
        Ok(Self(units))
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let (unit, rest) = split_at_start_code(self.0);
            self.0 = rest;
            // A NAL unit does not end in zeros.
            let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
            let unit = &unit[..unit.len() - zeros];
            if let Some(&header) = unit.first() {
                return Some((header, unit));
            }
        }
        None
    }
}

/// What is before the next `00 00 01`, and what is behind it.
fn split_at_start_code(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memmem::find(bytes, &[0, 0, 1]) {
        Some(at) => (&bytes[..at], &bytes[at + 3..]),
        None => (bytes, &[]),
    }
}

pub(super) fn read(payload: &Bytes, marker: bool) -> Result<Fragment, Malformed> {
    let start = match Payload::parse(payload)? {
        Payload::Unit(unit) => start_of(payload[0] & TYPE, unit.get(1)),
        Payload::Units(units) => {
            let first = units.first().ok_or(Malformed)?;
            start_of(first.first().ok_or(Malformed)? & TYPE, first.get(1))
        }
        Payload::Part { first: true, header, data, .. } => start_of(header & TYPE, data.first()),
        Payload::Part { .. } => Start::No,
    };
    Ok(Fragment { start, last: marker, data: payload.clone() })
}

/// Whether a frame begins with a NAL unit of this type, whose second byte is this.
fn start_of(unit_type: u8, second: Option<&u8>) -> Start {
    match unit_type {
        SLICE | SLICE_PARTITION_A | IDR_SLICE if second.is_none_or(|byte| byte & 0x80 != 0) => {
            Start::Yes
        }
        SEI..=ACCESS_UNIT_DELIMITER => Start::Yes,
        _ => Start::AfterEnd,
    }
}

/// All others are those of aggregations and fragments, or reserved (RFC 6184 §5.2).
fn is_unit_type(unit_type: u8) -> bool {
    (1..=23).contains(&unit_type)
}

enum Payload<'a> {
    Unit(&'a [u8]),
    /// None of them empty.
    Units(Vec<&'a [u8]>),
    Part {
        first: bool,
        last: bool,
        /// The NAL unit's first byte.
        header: u8,
        data: &'a [u8],
    },
}

impl<'a> Payload<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(payload);
        let indicator = reader.u8()?;
        match indicator & TYPE {
            STAP_A => {
                let mut units = Vec::new();
                while !reader.0.is_empty() {
                    let length = reader.u16()?;
                    let unit = reader.take(usize::from(length))?;
                    match unit.first() {
                        Some(header) if is_unit_type(header & TYPE) => units.push(unit),
                        _ => return Err(Malformed),
                    }
                }
                if units.is_empty() { Err(Malformed) } else { Ok(Self::Units(units)) }
            }
            FU_A => {
                let fragment = reader.u8()?;
                let (first, last) = (fragment & S != 0, fragment & E != 0);
                if first && last || !is_unit_type(fragment & TYPE) {
                    return Err(Malformed);
                }
                let header = indicator & !TYPE | fragment & TYPE;
                Ok(Self::Part { first, last, header, data: reader.0 })
            }
            unit_type if is_unit_type(unit_type) => Ok(Self::Unit(payload)),
            _ => Err(Malformed),
        }
    }
}

pub(super) fn join(payloads: &[Bytes]) -> Result<Bytes, Malformed> {
    let length: usize = payloads.iter().map(Bytes::len).sum();
    // Each start code replaces one to three bytes of the payload format, if any.
    let mut frame = Vec::with_capacity(length + START_CODE.len() * payloads.len().min(8));
    // The first byte of the unit whose fragments come.
    let mut open = None;
    for payload in payloads {
        match (Payload::parse(payload)?, open) {
            (Payload::Unit(unit), None) => push(&mut frame, &[unit]),
            (Payload::Units(units), None) => {
                units.iter().for_each(|unit| push(&mut frame, &[unit]))
            }
            (Payload::Part { first: true, header, data, .. }, None) => {
                push(&mut frame, &[&[header], data]);
                open = Some(header);
            }
            (Payload::Part { first: false, last, header, data }, Some(opened))
                if header == opened =>
            {
                frame.extend_from_slice(data);
                open = (!last).then_some(opened);
            }
            _ => return Err(Malformed),
        }
    }
    if open.is_some() { Err(Malformed) } else { Ok(frame.into()) }
}

fn push(frame: &mut Vec<u8>, unit: &[&[u8]]) {
    frame.extend_from_slice(&START_CODE);
    unit.iter().for_each(|part| frame.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(frame: &[u8], limit: usize) -> Vec<Bytes> {
        payloads(frame, limit).unwrap()
    }

    fn joined(payloads: &[&'static [u8]]) -> Result<Bytes, Malformed> {
        join(&payloads.iter().map(|payload| Bytes::from_static(payload)).collect::<Vec<_>>())
    }

    #[test]
    fn a_key_frame_becomes_these_bytes() {
        let frame =
            b"\0\0\0\x01\x67\x42\x01\0\0\0\x01\x28\xce\0\0\0\x01\x65\x88\xffabcdefghijklmno\x80";
        let expected: [&[u8]; 3] = [
            b"\x78\x00\x03\x67\x42\x01\x00\x02\x28\xce",
            b"\x7c\x85\x88\xffabcdefgh",
            b"\x7c\x45ijklmno\x80",
        ];
        assert_eq!(made(frame, 12), expected);
        assert_eq!(join(&made(frame, 12)).unwrap(), &frame[..]);
    }

    #[test]
    fn a_nal_unit_is_fragmented_only_if_it_does_not_fit() {
        let frame = b"\0\0\0\x01\x41\x9babcdef";
        assert_eq!(made(frame, 8), [&b"\x41\x9babcdef"[..]]);
        assert_eq!(made(frame, 7), [&b"\x5c\x81\x9babcd"[..], b"\x5c\x41ef"]);
        assert_eq!(
            made(frame, 4),
            [&b"\x5c\x81\x9ba"[..], b"\x5c\x01bc", b"\x5c\x01de", b"\x5c\x41f"]
        );
    }

    #[test]
    fn parameter_sets_that_do_not_fit_together_go_alone() {
        let frame = b"\0\0\0\x01\x67abc\0\0\0\x01\x68de\0\0\0\x01\x65\x88";
        assert_eq!(made(frame, 12), [&b"\x78\0\x04\x67abc\0\x03\x68de"[..], b"\x65\x88"]);
        assert_eq!(made(frame, 11), [&b"\x67abc"[..], b"\x68de", b"\x65\x88"]);
        assert_eq!(
            made(frame, 3),
            [&b"\x7c\x87a"[..], b"\x7c\x07b", b"\x7c\x47c", b"\x68de", b"\x65\x88"]
        );
        let one = b"\0\0\0\x01\x67abc\0\0\0\x01\x65\x88";
        assert_eq!(made(one, 100), [&b"\x67abc"[..], b"\x65\x88"]);
    }

    #[test]
    fn every_way_to_separate_nal_units_is_read() {
        let expected = [&b"\x09\xf0"[..], b"\x06a", b"\x65\x88\0\0\x03b", b"\x65\x08"];
        for frame in [
            &b"\0\0\x01\x09\xf0\0\0\x01\x06a\0\0\x01\x65\x88\0\0\x03b\0\0\x01\x65\x08"[..],
            b"\0\0\0\0\0\x01\x09\xf0\0\0\0\x01\x06a\0\0\0\0\x01\x65\x88\0\0\x03b\0\0\x01\x65\x08\0\0",
            b"\0\0\x01\x09\xf0\0\0\x01\0\0\x01\x06a\0\0\x01\0\0\0\x01\x65\x88\0\0\x03b\0\0\x01\x65\x08",
        ] {
            assert_eq!(made(frame, 100), expected, "{frame:x?}");
        }
    }

    #[test]
    fn what_is_no_access_unit_is_refused() {
        for frame in [
            &b"\0"[..],
            b"\0\0\x01",
            b"\0\0\0\x01\0\0\0\x01",
            b"\x65\x88",
            b"a\0\0\x01\x65\x88",
            // Types that RTP gives another meaning.
            b"\0\0\x01\x60\x88",
            b"\0\0\x01\x78\0\x01\x65",
            b"\0\0\x01\x65\x88\0\0\x01\x7c\x85",
            b"\0\0\x01\x7f\x88",
        ] {
            assert_eq!(payloads(frame, 100), Err(Malformed), "{frame:x?}");
        }
    }

    #[test]
    fn where_a_frame_begins_is_read_from_its_first_nal_unit() {
        use Start::{AfterEnd, No, Yes};
        let cases: [(&[u8], Start); 22] = [
            (b"\x67", Yes),
            (b"\x68\x01", Yes),
            (b"\x09\xf0", Yes),
            (b"\x06\x05", Yes),
            (b"\x65\x88", Yes),
            (b"\x41\x9b", Yes),
            (b"\x42\x80", Yes),
            (b"\x41", Yes),
            // Not the first slice.
            (b"\x65\x48", AfterEnd),
            (b"\x41\x00", AfterEnd),
            (b"\x43\x80", AfterEnd),
            (b"\x0c\xff", AfterEnd),
            (b"\x78\0\x01\x67\0\x01\x68", Yes),
            (b"\x78\0\x02\x65\x88\0\x02\x65\x08", Yes),
            (b"\x78\0\x02\x65\x08\0\x02\x65\x08", AfterEnd),
            (b"\x7c\x85\x88", Yes),
            (b"\x7c\x85", Yes),
            (b"\x7c\x87\x00", Yes),
            (b"\x7c\x85\x08", AfterEnd),
            (b"\x7c\x05\x88", No),
            (b"\x7c\x45\x88", No),
            (b"\x7c\x45", No),
        ];
        for (payload, start) in cases {
            let data = Bytes::from_static(payload);
            for last in [false, true] {
                let expected = Fragment { start, last, data: data.clone() };
                assert_eq!(read(&data, last), Ok(expected), "{payload:x?}");
            }
        }
    }

    #[test]
    fn what_packetization_mode_1_does_not_have_is_refused() {
        let cases: [&[u8]; 16] = [
            // Type 0, STAP-B, MTAP16, MTAP24, FU-B, types 30 and 31.
            b"\x60a",
            b"\x79\0\0\0\x01\x65",
            b"\x7a\0\0\0\x04\0\0\0\x65",
            b"\x7b\0\0\0\x05\0\0\0\0\x65",
            b"\x7d\x85\0\0\x88",
            b"\x7e\x85",
            b"\x7f\x85",
            // STAP-A: empty, cut short, with an empty unit, nested.
            b"\x78",
            b"\x78\0",
            b"\x78\0\x02\x65",
            b"\x78\0\0",
            b"\x78\0\x01\x65\0",
            b"\x78\0\x04\x78\0\x01\x65",
            // FU-A: cut short, first and last at once, of what cannot be fragmented.
            b"\x7c",
            b"\x7c\xc5\x88",
            b"\x7c\x98\x88",
        ];
        for payload in cases {
            assert_eq!(read(&Bytes::from_static(payload), true), Err(Malformed), "{payload:x?}");
            assert_eq!(joined(&[payload]), Err(Malformed), "{payload:x?}");
        }
    }

    #[test]
    fn payloads_of_any_kind_become_a_byte_stream() {
        let frame = joined(&[
            b"\x09\xf0",
            b"\x78\0\x02\x67a\0\x02\x68b",
            b"\x06c",
            b"\x7c\x85\x88d",
            b"\x7c\x05",
            b"\x7c\x05e",
            b"\x7c\x45f",
            b"\x65\x08g",
        ]);
        let expected = b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67a\0\0\0\x01\x68b\0\0\0\x01\x06c\
            \0\0\0\x01\x65\x88def\0\0\0\x01\x65\x08g";
        assert_eq!(frame.unwrap(), &expected[..]);
    }

    #[test]
    fn fragments_that_do_not_fit_together_are_no_frame() {
        let cases: [&[&'static [u8]]; 6] = [
            &[b"\x7c\x85\x88"],
            &[b"\x7c\x45\x88"],
            &[b"\x7c\x85\x88", b"\x65\x88", b"\x7c\x45a"],
            &[b"\x7c\x85\x88", b"\x7c\x85\x88", b"\x7c\x45a"],
            &[b"\x7c\x85\x88", b"\x7c\x41a"],
            &[b"\x7c\x85\x88", b"\x3c\x45a"],
        ];
        for payloads in cases {
            assert_eq!(joined(payloads), Err(Malformed), "{payloads:x?}");
        }
    }
}
