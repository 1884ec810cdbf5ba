//! What an encoded picture says of itself at its beginning: whether it is a key frame, and its
//! size.

use h264_reader::rbsp::{BitRead, BitReader, BitReaderError};
use olmcast::{media, primitives::Codec};

use super::annex_b;

/// Whether a frame can be decoded without those before it.
pub(crate) fn is_key_frame(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        // The library does not know these two yet.
        Codec::H264 => annex_b::is_key_frame(frame),
        Codec::Av1 => av1::is_key_frame(frame),
        _ => media::is_key_frame(codec, frame),
    }
}

/// Width and height of a key frame, as a file's header has them; `None` if they are not to be had.
pub(super) fn size(codec: Codec, key_frame: &[u8]) -> Option<[u16; 2]> {
    match codec {
        Codec::Vp8 => vp8_size(key_frame),
        Codec::Vp9 => vp9_size(key_frame).ok().flatten(),
        Codec::Av1 => av1::size(key_frame),
        _ => None,
    }
}

/// RFC 6386 §9.1: 14 bits each of width and height, behind tag and start code.
fn vp8_size(key_frame: &[u8]) -> Option<[u16; 2]> {
    let at = |at: usize| Some(u16::from_le_bytes(key_frame.get(at..at + 2)?.try_into().ok()?));
    Some([at(6)? & 0x3FFF, at(8)? & 0x3FFF])
}

/// VP9 Bitstream Specification §6.2, `uncompressed_header`.
fn vp9_size(key_frame: &[u8]) -> Result<Option<[u16; 2]>, BitReaderError> {
    const RGB: u8 = 7;
    let mut bits = BitReader::new(key_frame);
    let marker = bits.read::<2, u8>("frame_marker")?;
    let low = bits.read::<1, u8>("profile_low_bit")?;
    let profile = bits.read::<1, u8>("profile_high_bit")? << 1 | low;
    if profile == 3 {
        bits.skip(1, "reserved_zero")?;
    }
    let shown_again = bits.read_bit("show_existing_frame")?;
    let is_delta = bits.read_bit("frame_type")?;
    bits.skip(2, "show_frame, error_resilient_mode")?;
    let sync: u32 = bits.read::<24, _>("frame_sync_code")?;
    if marker != 2 || shown_again || is_delta || sync != 0x49_83_42 {
        return Ok(None);
    }
    if profile >= 2 {
        bits.skip(1, "ten_or_twelve_bit")?;
    }
    let subsampling_is_coded = profile & 1 != 0;
    if bits.read::<3, u8>("color_space")? != RGB {
        bits.skip(1, "color_range")?;
        if subsampling_is_coded {
            bits.skip(3, "subsampling_x, subsampling_y, reserved_zero")?;
        }
    } else if subsampling_is_coded {
        bits.skip(1, "reserved_zero")?;
    }
    let mut side = |name| Ok(bits.read::<16, u16>(name)?.saturating_add(1));
    Ok(Some([side("frame_width_minus_1")?, side("frame_height_minus_1")?]))
}

/// AV1 Bitstream & Decoding Process Specification §5.
mod av1 {
    use super::*;

    const SEQUENCE_HEADER: u8 = 1;
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;

    /// A temporal unit that has a sequence header and whose first frame is a key frame (§7.6).
    pub(super) fn is_key_frame(unit: &[u8]) -> bool {
        let mut obus = Obus(unit);
        let Some(header) = obus.find_map(|(kind, obu)| (kind == SEQUENCE_HEADER).then_some(obu))
        else {
            return false;
        };
        // seq_profile, still_picture, reduced_still_picture_header
        let always_key = header.first().is_some_and(|byte| byte & 0x08 != 0);
        let frame = obus.find(|(kind, _)| matches!(*kind, FRAME_HEADER | FRAME));
        // show_existing_frame, and two bits of frame_type: all zero for a key frame.
        let is_key = |obu: &[u8]| obu.first().is_some_and(|byte| always_key || byte & 0xE0 == 0);
        frame.is_some_and(|(_, obu)| is_key(obu))
    }

    pub(super) fn size(unit: &[u8]) -> Option<[u16; 2]> {
        let (_, header) = Obus(unit).find(|(kind, _)| *kind == SEQUENCE_HEADER)?;
        of_sequence_header(header).ok()
    }

    /// The OBUs of a temporal unit in the low-overhead format, each with its type (§5.3). They
    /// end where one is damaged.
    struct Obus<'a>(&'a [u8]);

    impl<'a> Iterator for Obus<'a> {
        type Item = (u8, &'a [u8]);

        fn next(&mut self) -> Option<Self::Item> {
            let (first, mut rest) = self.0.split_first()?;
            if first & 0x04 != 0 {
                rest = rest.get(1..)?;
            }
            let mut length = rest.len();
            if first & 0x02 != 0 {
                // leb128 (§4.10.5): seven bits in each of at most eight bytes.
                let size = rest.iter().take(8).position(|byte| byte & 0x80 == 0)?;
                let bytes = rest[..=size].iter().rev();
                let value = bytes.fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7F));
                rest = &rest[size + 1..];
                length = usize::try_from(value).ok()?;
            }
            let obu = rest.get(..length)?;
            self.0 = &rest[length..];
            Some((first >> 3 & 0x0F, obu))
        }
    }

    /// §5.5.1, up to the largest frame's size.
    fn of_sequence_header(obu: &[u8]) -> Result<[u16; 2], BitReaderError> {
        let mut bits = BitReader::new(obu);
        bits.skip(4, "seq_profile, still_picture")?;
        if bits.read_bit("reduced_still_picture_header")? {
            bits.skip(5, "seq_level_idx")?;
        } else {
            let mut delay_length = None;
            if bits.read_bit("timing_info_present_flag")? {
                bits.skip(64, "num_units_in_display_tick, time_scale")?;
                if bits.read_bit("equal_picture_interval")? {
                    bits.read_ue("num_ticks_per_picture_minus_1")?;
                }
                if bits.read_bit("decoder_model_info_present_flag")? {
                    let length: u32 = bits.read::<5, _>("buffer_delay_length_minus_1")?;
                    delay_length = Some(length + 1);
                    bits.skip(42, "decoding tick and lengths")?;
                }
            }
            let display_delays = bits.read_bit("initial_display_delay_present_flag")?;
            let points: u32 = bits.read::<5, _>("operating_points_cnt_minus_1")?;
            for _ in 0..=points {
                bits.skip(12, "operating_point_idc")?;
                if bits.read::<5, u8>("seq_level_idx")? > 7 {
                    bits.skip(1, "seq_tier")?;
                }
                if let Some(length) = delay_length
                    && bits.read_bit("decoder_model_present_for_this_op")?
                {
                    bits.skip(2 * length + 1, "operating_parameters_info")?;
                }
                if display_delays && bits.read_bit("initial_display_delay_present_for_this_op")? {
                    bits.skip(4, "initial_display_delay_minus_1")?;
                }
            }
        }
        let width: u32 = bits.read::<4, _>("frame_width_bits_minus_1")?;
        let height: u32 = bits.read::<4, _>("frame_height_bits_minus_1")?;
        let mut side =
            |length: u32, name| Ok(bits.read_var::<u16>(length + 1, name)?.saturating_add(1));
        Ok([side(width, "max_frame_width_minus_1")?, side(height, "max_frame_height_minus_1")?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_av1_key_frame_has_a_sequence_header_and_begins_with_a_key_frame() {
        let is_key = |unit: &[u8]| is_key_frame(Codec::Av1, unit);
        // Delimiter; sequence header; frame.
        assert!(is_key(&[0x12, 0, 0x0A, 1, 0, 0x32, 1, 0x10]));
        assert!(!is_key(&[0x12, 0, 0x32, 1, 0x10]), "without a sequence header");
        assert!(!is_key(&[0x12, 0, 0x0A, 1, 0, 0x32, 1, 0x20]), "an inter frame");
        assert!(!is_key(&[0x12, 0, 0x0A, 1, 0, 0x1A, 1, 0x80]), "an old frame shown again");
        assert!(!is_key(&[0x12, 0, 0x0A, 1, 0, 0x32, 9, 0x10]), "a frame cut short");
        // A still picture, whose frames have no such fields.
        assert!(is_key(&[0x0A, 1, 0x18, 0x32, 1, 0xF0]));
    }
}
