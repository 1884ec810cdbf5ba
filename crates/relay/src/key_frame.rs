//! Where a key frame starts, told from what end-to-end encryption leaves in the clear: the payload
//! descriptor, and of the frame itself the first byte (VP8) or the NAL unit types (H.264).

use crate::codec::Codec;

/// Whether an RTP payload is the first of a key frame. What is too short to tell is not.
pub(crate) fn starts_key_frame(codec: Codec, payload: &[u8]) -> bool {
    let told = match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload),
        Codec::Opus => None,
    };
    told.unwrap_or(false)
}

/// RFC 7741 §4.2: `X R N S R PID` and up to four optional bytes; then, in the first packet of a
/// frame, RFC 6386 §9.1: the lowest bit of the frame's first byte is 0 in a key frame.
fn vp8(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    if first & 0x10 == 0 || first & 0x07 != 0 {
        return Some(false);
    }
    if first & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            let long = rest.first()? & 0x80 != 0;
            rest = rest.get(if long { 2 } else { 1 }..)?;
        }
        // TL0PICIDX, then T and K share a byte.
        let more = usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
        rest = rest.get(more..)?;
    }
    Some(rest.first()? & 1 == 0)
}

/// RFC 9628 §4.2: `I P L F B E V Z`. A key frame refers to no other picture (P = 0) and this is
/// where a layer's frame begins (B = 1); with spatial layers (L = 1) only the lowest one counts.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    if first & 0x40 != 0 || first & 0x08 == 0 {
        return Some(false);
    }
    if first & 0x20 == 0 {
        return Some(true);
    }
    if first & 0x80 != 0 {
        let long = rest.first()? & 0x80 != 0;
        rest = rest.get(if long { 2 } else { 1 }..)?;
    }
    // T (3 bits), U, S (3 bits), D.
    Some(rest.first()? & 0x0e == 0)
}

/// RFC 6184 §5: a single NAL unit, one that is cut (FU-A) at its start, or several (STAP-A).
fn h264(payload: &[u8]) -> Option<bool> {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let kind = |header: u8| header & 0x1f;
    let (&first, mut rest) = payload.split_first()?;
    match kind(first) {
        STAP_A => {
            while let Some((size, units)) = rest.split_first_chunk() {
                let (unit, after) = units.split_at_checked(u16::from_be_bytes(*size).into())?;
                if unit.first().is_some_and(|header| opens_key_frame(kind(*header))) {
                    return Some(true);
                }
                rest = after;
            }
            Some(false)
        }
        FU_A => {
            let header = *rest.first()?;
            Some(header & 0x80 != 0 && opens_key_frame(kind(header)))
        }
        other => Some(opens_key_frame(other)),
    }
}

/// An IDR slice, or the sequence parameter set that stands before one.
fn opens_key_frame(nal_unit_type: u8) -> bool {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    nal_unit_type == IDR || nal_unit_type == SPS
}

/// AV1's RTP format §4.4: `Z Y W W N - - -`. N marks the first packet of a coded video sequence,
/// which cannot continue an OBU (Z = 0).
fn av1(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    Some(first & 0x88 == 0x08)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(codec: Codec, cases: &[(&[u8], bool)]) {
        for (payload, expected) in cases {
            let told = starts_key_frame(codec, payload);
            assert_eq!(told, *expected, "{codec} {payload:02x?}");
        }
    }

    #[test]
    fn vp8_key_frames_are_told_by_the_descriptor_and_the_first_byte() {
        check(
            Codec::Vp8,
            &[
                (&[0x10, 0x50, 0x01, 0x00], true),
                (&[0x10, 0x51], false),
                // Not the start of the first partition, or not the first partition.
                (&[0x00, 0x50], false),
                (&[0x11, 0x50], false),
                // A short picture id, a long one, and every optional byte.
                (&[0x90, 0x80, 0x11, 0x50], true),
                (&[0x90, 0x80, 0x11, 0x51], false),
                (&[0x90, 0x80, 0x91, 0x11, 0x50], true),
                (&[0x90, 0xf0, 0x91, 0x11, 0x01, 0x01, 0x50], true),
                (&[0x90, 0xf0, 0x91, 0x10, 0x00, 0x00, 0x51], false),
                (&[0x90, 0x20, 0x01, 0x50], true),
            ],
        );
    }

    #[test]
    fn vp9_key_frames_are_told_by_the_descriptor() {
        check(
            Codec::Vp9,
            &[
                (&[0x8a, 0x80, 0x01, 0x18], true),
                (&[0x08, 0xff], true),
                (&[0xcc, 0x80, 0x01], false),
                // Not the first packet.
                (&[0x80, 0x80, 0x01], false),
                // The lowest of several spatial layers, and the one above.
                (&[0xa8, 0x80, 0x01, 0x00, 0x00], true),
                (&[0xa8, 0x80, 0x01, 0x02, 0x00], false),
                (&[0xa8, 0x01, 0x03], false),
                (&[0x28, 0x00], true),
            ],
        );
    }

    #[test]
    fn h264_key_frames_are_told_by_nal_unit_types() {
        check(
            Codec::H264,
            &[
                (&[0x65, 0x88], true),
                (&[0x67, 0x42], true),
                (&[0x41, 0x9a], false),
                (&[0x68, 0xce], false),
                // An IDR slice that is cut: start, middle, end.
                (&[0x7c, 0x85, 0x88], true),
                (&[0x7c, 0x05, 0x88], false),
                (&[0x7c, 0x45, 0x88], false),
                (&[0x5c, 0x81, 0x9a], false),
                // SPS and PPS; PPS alone; two slices.
                (&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true),
                (&[0x78, 0, 1, 0x68, 0, 2, 0x67, 0x42], true),
                (&[0x78, 0, 1, 0x68], false),
                (&[0x78, 0, 1, 0x41, 0, 1, 0x41], false),
                // Sizes that say more than there is.
                (&[0x78, 0, 9, 0x67, 0x65], false),
                (&[0x78, 0, 0, 0, 1, 0x67], true),
                (&[0x78, 0], false),
                (&[0x78, 0, 0], false),
            ],
        );
    }

    #[test]
    fn av1_key_frames_are_told_by_the_aggregation_header() {
        check(
            Codec::Av1,
            &[
                (&[0x18, 0x0a], true),
                (&[0x58, 0x0a], true),
                (&[0x10, 0x32], false),
                (&[0x98, 0x0a], false),
            ],
        );
    }

    #[test]
    fn what_is_empty_or_cut_is_no_key_frame() {
        for codec in Codec::ALL {
            assert!(!starts_key_frame(codec, &[]), "{codec}");
        }
        check(Codec::Vp8, &[(&[0x10], false), (&[0x90, 0xf0, 0x91, 0x10, 0x00], false)]);
        check(Codec::Vp9, &[(&[0xa8, 0x80], false), (&[0xa8, 0x80, 0x01], false)]);
        check(Codec::H264, &[(&[0x7c], false), (&[0x78], false)]);
    }
}
