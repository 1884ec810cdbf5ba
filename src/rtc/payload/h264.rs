//! H.264 (RFC 6184, packetization mode 1): NAL units alone, several in one payload (STAP-A), or
//! one in several payloads (FU-A). Frames are in the byte stream format of H.264's Annex B.
//!
//! The format does not say where a frame begins. [`read`] takes it from the NAL unit types and
//! from the first bit of a slice, which is set where the slice is a picture's first
//! (`first_mb_in_slice` is 0).

use bytes::Bytes;

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
    let mut at = 0;
    while let Some(&[first, second, third]) = bytes.get(at..at + 3) {
        match (first, second, third) {
            (0, 0, 1) => return (&bytes[..at], &bytes[at + 3..]),
            // No start code holds this byte.
            (_, _, 2..) => at += 3,
            _ => at += 1,
        }
    }
    (bytes, &[])
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
