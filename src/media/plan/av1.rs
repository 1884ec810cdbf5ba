//! AV1 (its bitstream specification, §5.3): the whole temporal unit is encrypted, and travels in
//! one frame OBU.
//!
//! ```text
//! [sequence header OBU] ‖ 32 ‖ length ‖ SFrame ciphertext
//! └────── copy ───────┘
//! ```
//!
//! SFUs and browsers want a sequence header at the start of a coded video sequence, so a copy of
//! it stands in front. A receiver drops it unread, and takes the encrypted one. Nothing is
//! metadata: what SFUs may change, the lengths and whether they are stated, they may change.

use std::ops::Range;

use super::unit::{Body, Head};
use crate::sframe::EncryptError;

/// `obu_type` (§6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// A sequence header has some tens of bytes; more are not copied in the clear.
const MAX_COPY: usize = 1024;
/// OBUs of an encrypted frame: one, and what may be copied. All but that one are together no larger
/// than so many copies.
const MAX_OBUS: usize = 64;
const MAX_AROUND: usize = 8 * MAX_COPY;

const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

/// The length is written behind the ciphertext is known to be there, so it has room for any: 4
/// bytes of `leb128()` hold 2^28, and the specification allows more than are needed.
const LENGTH: usize = 4;

struct Obu {
    obu_type: u8,
    whole: Range<usize>,
    payload: Range<usize>,
}

/// Reads the OBU at the front of `bytes[at..]`.
fn obu(bytes: &[u8], at: usize) -> Option<Obu> {
    let header = *bytes.get(at)?;
    if header & 0x80 != 0 {
        return None;
    }
    let begin = at + 1 + usize::from(header & HAS_EXTENSION != 0);
    let payload = if header & HAS_SIZE == 0 {
        begin..bytes.len()
    } else {
        let (size, width) = leb128(bytes.get(begin..)?)?;
        begin + width..(begin + width).checked_add(size)?
    };
    bytes.get(payload.clone())?;
    Some(Obu { obu_type: header >> 3 & 0xF, whole: at..payload.end, payload })
}

/// A number and how many bytes it has (§4.10.5).
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((value as usize, index + 1));
        }
    }
    None
}

/// The OBUs of a temporal unit, and `None` where they end in something that is none.
fn obus(unit: &[u8]) -> impl Iterator<Item = Option<Obu>> + '_ {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let from = at.filter(|from| *from < unit.len())?;
        let obu = obu(unit, from);
        at = obu.as_ref().map(|obu| obu.whole.end);
        Some(obu)
    })
}

/// Whether a coded video sequence begins here: with its header, and a key frame that is shown.
pub(super) fn is_key_frame(frame: &[u8]) -> bool {
    let mut begins = false;
    for obu in obus(frame).map_while(|obu| obu) {
        match obu.obu_type {
            SEQUENCE_HEADER => begins = true,
            // show_existing_frame and frame_type, both 0, and show_frame.
            FRAME | FRAME_HEADER => {
                let first = frame[obu.payload].first();
                return begins && first.is_some_and(|first| first & 0xF0 == 0x10);
            }
            _ => {}
        }
    }
    false
}

pub(super) fn head(frame: &[u8]) -> Result<Head, EncryptError> {
    let mut length = 1 + LENGTH;
    let mut has_frame = false;
    let mut is_first = true;
    for obu in obus(frame) {
        let obu = obu.ok_or(EncryptError::Syntax)?;
        match obu.obu_type {
            SEQUENCE_HEADER if is_first => {
                length += copied(frame, &obu).ok_or(EncryptError::Syntax)?.len();
                is_first = false;
            }
            FRAME | FRAME_HEADER => has_frame = true,
            _ => {}
        }
    }
    let mut head = Head::default();
    head.length = length;
    if has_frame { Ok(head) } else { Err(EncryptError::Syntax) }
}

/// A sequence header that others can follow.
fn copied<'a>(frame: &'a [u8], obu: &Obu) -> Option<&'a [u8]> {
    let bytes = &frame[obu.whole.clone()];
    (bytes[0] & HAS_SIZE != 0 && bytes.len() <= MAX_COPY).then_some(bytes)
}

/// Writes what stands before the ciphertext into exactly `out`, but for its length.
pub(super) fn write_head(frame: &[u8], out: &mut [u8]) {
    let first = obus(frame).flatten().find(|obu| obu.obu_type == SEQUENCE_HEADER);
    let copy = first.and_then(|obu| copied(frame, &obu)).unwrap_or_default();
    out[..copy.len()].copy_from_slice(copy);
    out[copy.len()..].fill(0);
    out[copy.len()] = FRAME << 3 | HAS_SIZE;
}

/// Fills in the length of the ciphertext, which begins at `at`.
pub(super) fn close(out: &mut [u8], at: usize) {
    let mut length = out.len() - at;
    for byte in &mut out[at - LENGTH..at] {
        *byte = 0x80 | (length & 0x7F) as u8;
        length >>= 7;
    }
    out[at - 1] &= 0x7F;
}

/// The only frame OBU of an encrypted frame. All others are of no use to us.
pub(super) fn body(wire: &[u8]) -> Option<Body> {
    let mut body: Option<Range<usize>> = None;
    for (at, obu) in obus(wire).enumerate() {
        let obu = obu.filter(|_| at < MAX_OBUS)?;
        if obu.obu_type == FRAME && body.replace(obu.payload).is_some() {
            return None;
        }
    }
    // Whatever is not the frame was made by nobody who has a key, and costs us time.
    let body = body.filter(|body| wire.len() - body.len() <= MAX_AROUND);
    body.map(|sframe| Body { metadata: sframe.start..sframe.start, sframe, is_escaped: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A temporal delimiter, a sequence header, and a key frame.
    const KEY: &[u8] = &[0x12, 0, 0x0A, 3, 7, 8, 9, 0x32, 2, 0x10, 1];
    /// The same with an extension byte and a length of more bytes than it needs.
    const OTHER_KEY: &[u8] = &[0x0E, 0, 0x83, 0, 7, 8, 9, 0x32, 2, 0x10, 1];
    const DELTA: &[u8] = &[0x12, 0, 0x32, 2, 0x30, 1];

    fn wrapped(frame: &[u8], sframe: &[u8]) -> Vec<u8> {
        let head = head(frame).unwrap();
        let mut wire = vec![0xEE; head.length];
        write_head(frame, &mut wire);
        wire.extend_from_slice(sframe);
        close(&mut wire, head.length);
        wire
    }

    #[test]
    fn the_wire_form_is_exactly_this() {
        let wire = wrapped(KEY, &[0xAA; 3]);
        let head = [0x0A, 3, 7, 8, 9, 0x32, 0x83, 0x80, 0x80, 0];
        assert_eq!(wire, [&head[..], &[0xAA; 3]].concat());
        assert_eq!(body(&wire), Some(Body { metadata: 10..10, sframe: 10..13, is_escaped: false }));
        let wire = wrapped(OTHER_KEY, &[0xAA; 3]);
        assert_eq!(wire[..7], OTHER_KEY[..7]);
        let wire = wrapped(DELTA, &[0xAA; 300]);
        assert_eq!(wire[..5], [0x32, 0xAC, 0x82, 0x80, 0]);
        assert_eq!(body(&wire).unwrap().sframe, 5..305);
    }

    #[test]
    fn only_the_first_sequence_header_is_copied() {
        let twice = [&KEY[..7], &KEY[2..]].concat();
        assert_eq!(wrapped(&twice, &[0xAA; 3]), wrapped(KEY, &[0xAA; 3]));
    }

    #[test]
    fn key_frames_begin_a_sequence_and_are_shown() {
        assert!(is_key_frame(KEY) && is_key_frame(OTHER_KEY));
        let without_header = &KEY[7..];
        let shown_again = [&KEY[..7], &[0x1A, 1, 0x80]].concat();
        let intra_only = [&KEY[..7], &[0x32, 1, 0x50]].concat();
        let hidden = [&KEY[..7], &[0x32, 1, 0x00]].concat();
        assert!(!is_key_frame(&hidden));
        for other in [DELTA, without_header, &shown_again, &intra_only, &KEY[..7], &[], &[0x80]] {
            assert!(!is_key_frame(other), "{other:02x?}");
        }
    }

    #[test]
    fn what_has_no_frame_or_is_cut_is_none() {
        for frame in [&[][..], &KEY[..7], &KEY[..8], &[0x32, 5, 1], &[0x92, 0], &[0x08, 1, 2]] {
            assert_eq!(head(frame).unwrap_err(), EncryptError::Syntax, "{frame:02x?}");
        }
        // A size is not needed for the last one.
        assert!(head(&[0x12, 0, 0x30, 0x10, 1]).is_ok());
    }

    #[test]
    fn a_sequence_header_that_is_none_is_not_copied_and_much_around_a_frame_makes_it_none() {
        let large = [&[0x0A, 0x84, 0x08][..], &[7; 1028], &KEY[7..]].concat();
        assert_eq!(head(&large).unwrap_err(), EncryptError::Syntax);
        let frame = [0x32, 1, 0xAA];
        assert!(body(&[&frame[..], &[0x7A, 0].repeat(63)].concat()).is_some());
        assert_eq!(body(&[&frame[..], &[0x7A, 0].repeat(64)].concat()), None);
        assert_eq!(body(&[&frame[..], &[0x7A, 0x80, 0x80, 1], &[0; 16384]].concat()), None);
    }

    #[test]
    fn an_encrypted_frame_has_one_frame_obu() {
        // Others do not count, and whether sizes are stated does not matter.
        assert_eq!(body(&[0x12, 0, 0x7A, 1, 1, 0x30, 0xAA]).unwrap().sframe, 6..7);
        assert_eq!(body(&[0x36, 0, 1, 0xAA, 0x12, 0]).unwrap().sframe, 3..4);
        for bad in [&[][..], KEY.get(..7).unwrap(), &[0x32, 1, 1, 0x32, 1, 1], &[0x32, 2, 1]] {
            assert_eq!(body(bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_harm(
            bytes in prop::collection::vec(
                prop_oneof![Just(0x32), Just(0x0A), Just(0x12), 0..4_u8, any::<u8>()], 0..40,
            ),
        ) {
            let _ = (body(&bytes), is_key_frame(&bytes));
            if head(&bytes).is_ok() {
                let wire = wrapped(&bytes, &[0xAA; 20]);
                let sframe = body(&wire).unwrap().sframe;
                prop_assert_eq!(&wire[sframe], &[0xAA; 20]);
            }
        }
    }
}
