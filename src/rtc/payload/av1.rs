//! AV1 ("RTP Payload Format For AV1" of the Alliance for Open Media, version 1.0): an aggregation
//! header, then OBU elements, that is, OBUs or fragments of them. Frames are in the low-overhead
//! bitstream format (AV1 §5.2).

use bytes::Bytes;

use super::{Fragment, Malformed, Reader, Start};

/// Aggregation header: the first element continues an OBU, the last one will be continued.
const Z: u8 = 0x80;
const Y: u8 = 0x40;
/// How many elements there are; then the last one has no length. 0: all have one.
const W_SHIFT: u8 = 4;
const MAX_W: usize = 3;
/// A coded video sequence begins.
const N: u8 = 0x08;

/// OBU header (AV1 §5.3.2).
const FORBIDDEN: u8 = 0x80;
const TYPE_SHIFT: u8 = 3;
const EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const TILE_GROUP: u8 = 4;
const REDUNDANT_FRAME_HEADER: u8 = 7;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// Temporal delimiters and tile lists must not be sent (§5 of the payload format), and padding is
/// of no use to anybody.
pub(super) fn payloads(frame: &[u8], limit: usize) -> Result<Vec<Bytes>, Malformed> {
    let mut packer = Packer::new(limit);
    let mut rest = Reader(frame);
    while !rest.0.is_empty() {
        let obu = Element::read_obu(&mut rest)?;
        if !matches!(obu.obu_type(), TEMPORAL_DELIMITER | TILE_LIST | PADDING) {
            packer.push(obu);
        }
    }
    packer.finish()
}

/// An OBU without its size, or a part of one.
#[derive(Debug, Clone, Copy)]
struct Element<'a> {
    header: [u8; 2],
    /// Bytes of `header`, from its first on.
    header_length: usize,
    body: &'a [u8],
}

impl<'a> Element<'a> {
    /// Takes an OBU off a frame.
    fn read_obu(frame: &mut Reader<'a>) -> Result<Self, Malformed> {
        let first = frame.u8()?;
        if first & FORBIDDEN != 0 {
            return Err(Malformed);
        }
        let extended = first & EXTENSION != 0;
        let extension = if extended { frame.u8()? } else { 0 };
        let length = match first & HAS_SIZE {
            0 => frame.0.len(),
            _ => read_leb128(|| frame.u8())?.0,
        };
        let body = frame.take(length)?;
        let header_length = 1 + usize::from(extended);
        Ok(Self { header: [first & !HAS_SIZE, extension], header_length, body })
    }

    fn obu_type(&self) -> u8 {
        obu_type(self.header[0])
    }

    fn len(&self) -> usize {
        self.header_length + self.body.len()
    }

    fn split_at(self, length: usize) -> (Self, Self) {
        let [first, second] = self.header;
        let header_length = self.header_length.min(length);
        let header = if header_length == 1 { [second, 0] } else { self.header };
        let (body, rest) = self.body.split_at(self.body.len().min(length - header_length));
        let part = Self { header: [first, second], header_length, body };
        (part, Self { header, header_length: self.header_length - header_length, body: rest })
    }

    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend(self.header.iter().take(self.header_length));
        payload.extend_from_slice(self.body);
    }
}

/// Fills payloads with elements.
struct Packer<'a> {
    /// Without the aggregation header.
    limit: usize,
    payloads: Vec<Bytes>,
    /// Of the next payload.
    elements: Vec<Element<'a>>,
    /// Its bytes if each element has its length.
    used: usize,
    continues: bool,
}

impl<'a> Packer<'a> {
    fn new(limit: usize) -> Self {
        Self {
            limit: limit.saturating_sub(1).max(1),
            payloads: Vec::new(),
            elements: Vec::new(),
            used: 0,
            continues: false,
        }
    }

    fn push(&mut self, mut element: Element<'a>) {
        loop {
            let room = self.limit.saturating_sub(self.used);
            // Its own length: only where there are too many elements for W to count.
            let counted = self.elements.len() < MAX_W;
            let prefix = if counted { 0 } else { leb128_length(element.len().min(room)) };
            if element.len() + prefix <= room {
                self.used += element.len() + leb128_length(element.len());
                self.elements.push(element);
                return;
            }
            if room > prefix {
                let (part, rest) = element.split_at(room - prefix);
                self.elements.push(part);
                self.close(true);
                element = rest;
            } else {
                self.close(false);
            }
        }
    }

    /// Makes a payload of the elements.
    fn close(&mut self, to_be_continued: bool) {
        let Some((last, others)) = self.elements.split_last() else { return };
        let first = others.first().unwrap_or(last);
        let begins_sequence = self.payloads.is_empty() && first.obu_type() == SEQUENCE_HEADER;
        let counted = self.elements.len() <= MAX_W;
        let count = if counted { self.elements.len() as u8 } else { 0 };
        let length: usize = self.elements.iter().map(|element| element.len() + 2).sum();
        let mut payload = Vec::with_capacity(1 + length);
        payload.push(
            if self.continues { Z } else { 0 }
                | if to_be_continued { Y } else { 0 }
                | count << W_SHIFT
                | if begins_sequence { N } else { 0 },
        );
        for element in others {
            write_leb128(&mut payload, element.len());
            element.write(&mut payload);
        }
        if !counted {
            write_leb128(&mut payload, last.len());
        }
        last.write(&mut payload);
        self.payloads.push(payload.into());
        self.elements.clear();
        self.used = 0;
        self.continues = to_be_continued;
    }

    fn finish(mut self) -> Result<Vec<Bytes>, Malformed> {
        self.close(false);
        if self.payloads.is_empty() { Err(Malformed) } else { Ok(self.payloads) }
    }
}

pub(super) fn read(payload: &Bytes, marker: bool) -> Result<Fragment, Malformed> {
    let (aggregation, elements) = read_elements(payload)?;
    let first = elements.iter().find_map(|element| element.first()).ok_or(Malformed)?;
    let starts = aggregation & Z == 0
        && !matches!(obu_type(*first), TILE_GROUP | REDUNDANT_FRAME_HEADER | TILE_LIST);
    let start = if starts { Start::Yes } else { Start::No };
    Ok(Fragment { start, last: marker, data: payload.clone() })
}

/// The aggregation header and the elements, of which some may be empty.
fn read_elements(payload: &[u8]) -> Result<(u8, Vec<&[u8]>), Malformed> {
    let mut reader = Reader(payload);
    let aggregation = reader.u8()?;
    let count = usize::from(aggregation >> W_SHIFT) & MAX_W;
    let mut elements = Vec::new();
    while !reader.0.is_empty() {
        let is_last = count != 0 && elements.len() + 1 == count;
        let length = if is_last { reader.0.len() } else { read_leb128(|| reader.u8())?.0 };
        elements.push(reader.take(length)?);
    }
    if count != 0 && elements.len() != count {
        return Err(Malformed);
    }
    Ok((aggregation, elements))
}

/// The OBUs with their sizes.
pub(super) fn join(payloads: &[Bytes]) -> Result<Bytes, Malformed> {
    let length: usize = payloads.iter().map(Bytes::len).sum();
    let mut frame = Vec::with_capacity(length + 8);
    let (mut fragments, mut open) = (Vec::new(), false);
    for payload in payloads {
        let (aggregation, elements) = read_elements(payload)?;
        let count = elements.len();
        for (index, element) in elements.into_iter().enumerate() {
            if open != (index == 0 && aggregation & Z != 0) {
                return Err(Malformed);
            }
            fragments.push(element);
            open = index + 1 == count && aggregation & Y != 0;
            if !open {
                write_obu(&mut frame, &fragments)?;
                fragments.clear();
            }
        }
    }
    if open || frame.is_empty() { Err(Malformed) } else { Ok(frame.into()) }
}

/// Writes an OBU with its size. What §5 of the payload format has receivers ignore is left out.
fn write_obu(frame: &mut Vec<u8>, fragments: &[&[u8]]) -> Result<(), Malformed> {
    let mut bytes = Fragments { fragments, at: 0 };
    let mut length: usize = fragments.iter().map(|fragment| fragment.len()).sum();
    if length == 0 {
        return Ok(());
    }
    let first = bytes.u8()?;
    length -= 1;
    if first & FORBIDDEN != 0 {
        return Err(Malformed);
    }
    let extension = if first & EXTENSION != 0 { Some(bytes.u8()?) } else { None };
    length -= usize::from(extension.is_some());
    // It should not be here, and may.
    if first & HAS_SIZE != 0 {
        let (size, size_length) = read_leb128(|| bytes.u8())?;
        length -= size_length;
        if size != length {
            return Err(Malformed);
        }
    }
    if matches!(obu_type(first), TEMPORAL_DELIMITER | TILE_LIST) {
        return Ok(());
    }
    frame.push(first | HAS_SIZE);
    frame.extend(extension);
    write_leb128(frame, length);
    bytes.write_rest(frame);
    Ok(())
}

/// Reads through fragments.
struct Fragments<'a> {
    fragments: &'a [&'a [u8]],
    /// In the first of them.
    at: usize,
}

impl Fragments<'_> {
    fn u8(&mut self) -> Result<u8, Malformed> {
        loop {
            let (fragment, rest) = self.fragments.split_first().ok_or(Malformed)?;
            if let Some(&byte) = fragment.get(self.at) {
                self.at += 1;
                return Ok(byte);
            }
            self.fragments = rest;
            self.at = 0;
        }
    }

    fn write_rest(&self, frame: &mut Vec<u8>) {
        for (index, fragment) in self.fragments.iter().enumerate() {
            let at = if index == 0 { self.at } else { 0 };
            frame.extend_from_slice(fragment.get(at..).unwrap_or(&[]));
        }
    }
}

fn obu_type(header: u8) -> u8 {
    header >> TYPE_SHIFT & 0x0F
}

/// A number and its length (AV1 §4.10.5): at most 32 bits in at most 8 bytes.
fn read_leb128(
    mut next: impl FnMut() -> Result<u8, Malformed>,
) -> Result<(usize, usize), Malformed> {
    let mut value = 0_u64;
    for index in 0..8 {
        let byte = next()?;
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Malformed)?;
            return Ok((value as usize, index + 1));
        }
    }
    Err(Malformed)
}

/// In as few bytes as possible.
fn write_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn leb128_length(value: usize) -> usize {
    (value.max(1).ilog2() / 7 + 1) as usize
}
