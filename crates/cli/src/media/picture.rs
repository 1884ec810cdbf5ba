//! How large an encoded picture says that it is.

use h264_reader::rbsp::{BitRead, BitReader, BitReaderError};
use olmcast::{media, primitives::Codec};

/// Width and height of a key frame, as a file's header has them; `None` if they are not to be had.
pub(super) fn size(codec: Codec, key_frame: &[u8]) -> Option<[u16; 2]> {
    match codec {
        Codec::Vp8 => vp8_size(key_frame),
        Codec::Vp9 => media::dimensions(codec, key_frame).map(|(width, height)| [width, height]),
        Codec::Av1 => av1::size(key_frame),
        _ => None,
    }
}

/// RFC 6386 §9.1: 14 bits each of width and height, behind tag and start code.
fn vp8_size(key_frame: &[u8]) -> Option<[u16; 2]> {
    let at = |at: usize| Some(u16::from_le_bytes(key_frame.get(at..at + 2)?.try_into().ok()?));
    Some([at(6)? & 0x3FFF, at(8)? & 0x3FFF])
}

/// AV1 Bitstream & Decoding Process Specification §5.
mod av1 {
    use super::*;

    const SEQUENCE_HEADER: u8 = 1;

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
