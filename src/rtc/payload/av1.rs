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
    let start = match obu_type(*first) {
        _ if aggregation & Z != 0 => Start::No,
        TILE_GROUP | REDUNDANT_FRAME_HEADER | TILE_LIST => Start::AfterEnd,
        _ => Start::Yes,
    };
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
        // The size of the frame OBU is padded to four bytes.
        let frame = b"\x0a\x03SEQ\x32\x8d\x80\x80\x00abcdefghijklm";
        let expected: [&[u8]; 3] = [b"\x68\x04\x08SEQ\x30abc", b"\xd0defghijkl", b"\x90m"];
        assert_eq!(made(frame, 10), expected);
        assert_eq!(join(&made(frame, 10)).unwrap(), &b"\x0a\x03SEQ\x32\x0dabcdefghijklm"[..]);
    }

    #[test]
    fn a_frame_without_a_sequence_header_becomes_these_bytes() {
        let frame = b"\x32\x04abcd";
        assert_eq!(made(frame, 6), [&b"\x10\x30abcd"[..]]);
        assert_eq!(made(frame, 5), [&b"\x50\x30abc"[..], b"\x90d"]);
        assert_eq!(made(frame, 3), [&b"\x50\x30a"[..], b"\xd0bc", b"\x90d"]);
        assert_eq!(join(&made(frame, 3)).unwrap(), &frame[..]);
    }

    #[test]
    fn a_coded_video_sequence_begins_in_one_packet_only() {
        let frame = b"\x0a\x05SEQXY\x0a\x01S\x32\x01a";
        let expected: [&[u8]; 3] = [b"\x58\x08SEQ", b"\xe0\x02XY\x08", b"\xa0\x01S\x30a"];
        assert_eq!(made(frame, 5), expected);
        assert_eq!(made(b"\x32\x03abc\x0a\x01S", 5), [&b"\x10\x30abc"[..], b"\x10\x08S"]);
    }

    #[test]
    fn up_to_three_obus_are_counted_and_more_have_lengths() {
        let three = b"\x0a\x01S\x2a\x01M\x32\x01F";
        assert_eq!(made(three, 100), [&b"\x38\x02\x08S\x02\x28M\x30F"[..]]);
        let four = b"\x1a\x01H\x22\x01A\x22\x01B\x22\x01C";
        assert_eq!(made(four, 100), [&b"\x00\x02\x18H\x02\x20A\x02\x20B\x02\x20C"[..]]);
        assert_eq!(made(four, 12), [&b"\x40\x02\x18H\x02\x20A\x02\x20B\x01\x20"[..], b"\x90C"]);
        // With two bytes of room, one is the length: it is not worth a fragment's while, but legal.
        assert_eq!(made(four, 11), [&b"\x30\x02\x18H\x02\x20A\x20B"[..], b"\x10\x20C"]);
        for limit in 3..20 {
            assert_eq!(join(&made(four, limit)).unwrap(), &four[..], "{limit}");
        }
    }

    #[test]
    fn delimiters_padding_and_tile_lists_stay_at_home_and_extensions_go() {
        let frame = b"\x12\x00\x0e\x48\x01S\x7a\x02\0\0\x42\x01t\x36\x48\x02ab";
        assert_eq!(made(frame, 100), [&b"\x28\x03\x0c\x48S\x34\x48ab"[..]]);
        assert_eq!(
            joined(&[b"\x20\x01\x10\x0c\x48S", b"\x20\x02\x40t\x34\x48ab"]).unwrap(),
            &b"\x0e\x48\x01S\x36\x48\x02ab"[..]
        );
        // The last OBU may leave its size to the frame's end.
        assert_eq!(made(b"\x0a\x01S\x30ab", 100), [&b"\x28\x02\x08S\x30ab"[..]]);
    }

    #[test]
    fn what_is_no_temporal_unit_is_refused() {
        for frame in [
            // A delimiter alone, a forbidden bit, OBUs cut short, sizes that are none.
            &b"\x12\0"[..],
            b"\xb2\x01a",
            b"\x32",
            b"\x36",
            b"\x36\x00",
            b"\x32\x02a",
            b"\x32\x80",
            b"\x32\x81\x80\x80\x80\x80\x80\x80\x80\x00a",
            b"\x32\x80\x80\x80\x80\x10",
            b"\x32\x01a\x32\xff",
        ] {
            assert_eq!(payloads(frame, 100), Err(Malformed), "{frame:x?}");
        }
    }

    #[test]
    fn every_legal_aggregation_header_is_read() {
        use Start::{AfterEnd, No, Yes};
        let cases: [(&[u8], Start); 13] = [
            (b"\x10\x30", Yes),
            (b"\x18\x08S", Yes),
            (b"\x50\x30a", Yes),
            (b"\x90a", No),
            (b"\xd0a", No),
            (b"\x20\x02\x08S\x30a", Yes),
            (b"\x30\x02\x08S\x01\x28\x30a", Yes),
            (b"\x00\x02\x30a", Yes),
            (b"\x00\x82\x00\x30a", Yes),
            (b"\x80\x01a\x02\x30a", No),
            // Reserved bits; an empty element; an OBU that hardly is a frame's first.
            (b"\x17\x30a", Yes),
            (b"\x20\x00\x30a", Yes),
            (b"\x10\x20a", AfterEnd),
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
    fn illegal_payloads_are_refused() {
        let cases: [&[u8]; 10] = [
            b"\x00",
            b"\x10",
            b"\x00\x00",
            b"\x00\x02\x30",
            b"\x00\x80",
            b"\x20\x02\x30",
            b"\x20\x01\x30",
            b"\x30\x01\x30\x01\x30",
            b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x00a",
            b"\x00\xff\xff\xff\xff\xff\x01a",
        ];
        for payload in cases {
            assert_eq!(read(&Bytes::from_static(payload), true), Err(Malformed), "{payload:x?}");
            assert_eq!(joined(&[payload]), Err(Malformed), "{payload:x?}");
        }
    }

    #[test]
    fn obus_are_put_together_wherever_they_were_split() {
        let expected = &b"\x0a\x01S\x36\x48\x03abc"[..];
        let cases: [&[&'static [u8]]; 6] = [
            &[b"\x28\x02\x08S\x34\x48abc"],
            &[b"\x68\x02\x08S\x34", b"\xd0\x48", b"\xd0ab", b"\x90c"],
            &[b"\x58\x08", b"\xa0\x01S\x34\x48abc"],
            // All with lengths, some of them empty.
            &[b"\x48\x02\x08S\x00\x03\x34\x48a", b"\xc0\x00", b"\x80\x02bc\x00"],
            // OBUs that state their sizes all the same, in one byte and in two.
            &[b"\x28\x03\x0a\x01S\x36\x48\x03abc"],
            &[b"\x68\x03\x0a\x01S\x36\x48\x83", b"\x90\x00abc"],
        ];
        for payloads in cases {
            assert_eq!(joined(payloads).unwrap(), expected, "{payloads:x?}");
        }
    }

    #[test]
    fn fragments_that_do_not_fit_together_are_no_frame() {
        let cases: [&[&'static [u8]]; 8] = [
            &[b"\x50\x30a"],
            &[b"\x90a"],
            &[b"\x50\x30a", b"\x10\x30b"],
            &[b"\x10\x30a", b"\x90b"],
            &[b"\x10\xb0a"],
            &[b"\x10\x32\x02a"],
            &[b"\x10\x34"],
            &[b"\x10\x10"],
        ];
        for payloads in cases {
            assert_eq!(joined(payloads), Err(Malformed), "{payloads:x?}");
        }
    }
}
