//! H.264 in the byte stream format (ITU-T H.264, Annex B): NAL units behind start codes, and
//! nothing that says where a frame ends.
//!
//! Frames are found as §7.4.1.2.3 and §7.4.1.2.4 say: by what may only stand before a picture's
//! first slice, and by the fields of slice headers that all slices of a picture share.

use std::collections::BTreeMap;

use anyhow::ensure;
use h264_reader::{
    Context,
    nal::{
        Nal, RefNal,
        pps::{PicParamSetId, PicParameterSet},
        sps::{FrameMbsFlags, PicOrderCntType, SeqParameterSet},
    },
    rbsp::BitRead,
};

/// Written before each NAL unit, whatever stood there in the file.
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Parameter sets are some 40 bytes. Repeating them may make what is read this much larger than
/// the file, and by this many times its length, and no more.
const REPEATED: usize = 1 << 20;
const REPEATED_TIMES: usize = 4;

/// ITU-T H.264, table 7-1.
mod kind {
    pub(super) const SLICE: u8 = 1;
    pub(super) const PARTITION_A: u8 = 2;
    pub(super) const IDR: u8 = 5;
    pub(super) const SEI: u8 = 6;
    pub(super) const SPS: u8 = 7;
    pub(super) const PPS: u8 = 8;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const FILLER: u8 = 12;
    pub(super) const PREFIX: u8 = 14;
    pub(super) const SUBSET_SPS: u8 = 15;
    pub(super) const RESERVED: u8 = 18;
    pub(super) const EXTENSION: u8 = 20;
    pub(super) const EXTENSION_3D: u8 = 21;
}

/// What an H.264 stream holds.
pub(super) struct Stream {
    /// Its access units, in the order in which they are decoded. Each is whole: NAL units behind
    /// start codes of four bytes; and each IDR picture begins with all parameter sets so far.
    pub(super) frames: Vec<Vec<u8>>,
    /// Pictures in a second, if its first SPS says so.
    pub(super) rate: Option<f64>,
    /// Whether there are B pictures, which are shown in another order than they are decoded in.
    pub(super) has_b_pictures: bool,
}

/// Reads a whole stream.
///
/// Access unit delimiters and filler are left out: they tell a decoder nothing, and RTP
/// packetizers drop them, so that an encrypted frame would not arrive as it was. So are the
/// layers and views of SVC and MVC, which WebRTC's decoders do not know.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Stream> {
    let mut reader = Reader::default();
    for nal in nal_units(bytes) {
        reader.take(nal)?;
        let limit = REPEATED + REPEATED_TIMES * bytes.len();
        ensure!(reader.repeated <= limit, "its parameter sets are too large to be repeated");
    }
    reader.close();
    ensure!(!reader.frames.is_empty(), "it holds no frame");
    Ok(Stream { frames: reader.frames, rate: reader.rate, has_b_pictures: reader.has_b_pictures })
}

/// The NAL units of a byte stream, without start codes and the zeros behind them.
pub(super) fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = behind_start_code(bytes);
    std::iter::from_fn(move || {
        loop {
            let from = rest?;
            rest = behind_start_code(from);
            let length = rest.map_or(from.len(), |rest| from.len() - rest.len() - 3);
            // A NAL unit never ends with a zero (§7.4.1): those belong to the next start code.
            let end = from[..length].iter().rposition(|byte| *byte != 0);
            if let Some(end) = end {
                return Some(&from[..=end]);
            }
        }
    })
}

fn behind_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    bytes.get(at + 3..)
}

#[derive(Default)]
struct Reader<'a> {
    frames: Vec<Vec<u8>>,
    rate: Option<f64>,
    has_b_pictures: bool,
    /// What slice headers are read with.
    parameters: Context,
    /// The last parameter sets, SPS before PPS, by their numbers.
    sets: BTreeMap<(u8, u32), &'a [u8]>,
    /// How many bytes of parameter sets were added.
    repeated: usize,
    unit: Unit<'a>,
}

/// An access unit that is not complete yet.
#[derive(Default)]
struct Unit<'a> {
    nals: Vec<&'a [u8]>,
    /// Its first slice, once there is one.
    slice: Option<Slice>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, nal: &'a [u8]) -> anyhow::Result<()> {
        let kind = nal[0] & 0x1F;
        ensure!(nal[0] & 0x80 == 0, "it is damaged: a NAL unit begins with {:#04x}", nal[0]);
        match kind {
            kind::SLICE | kind::PARTITION_A | kind::IDR => self.take_slice(nal)?,
            // These stand only before the first slice of a picture (§7.4.1.2.3).
            kind::SEI..=kind::DELIMITER | kind::SUBSET_SPS..=kind::RESERVED
                if self.unit.slice.is_some() =>
            {
                self.close();
            }
            _ => {}
        }
        match kind {
            kind::SPS | kind::PPS => self.learn(kind, nal),
            kind::DELIMITER
            | kind::FILLER
            | kind::PREFIX
            | kind::SUBSET_SPS
            | kind::EXTENSION
            | kind::EXTENSION_3D => return Ok(()),
            _ => {}
        }
        self.unit.nals.push(nal);
        Ok(())
    }

    fn take_slice(&mut self, nal: &[u8]) -> anyhow::Result<()> {
        let slice = Slice::read(&self.parameters, nal);
        if let Some(picture) = slice.picture.as_ref() {
            ensure!(
                picture.bottom_field.is_none(),
                "its pictures are interlaced fields; make frames of them: ffmpeg -i FILE \
                 -vf yadif -c:v libx264 -bf 0 video.h264"
            );
        }
        self.has_b_pictures |= slice.is_b;
        match &self.unit.slice {
            Some(first) if slice.begins_picture_after(first) => self.close(),
            Some(_) => return Ok(()),
            None => {}
        }
        self.unit.slice = Some(slice);
        Ok(())
    }

    fn learn(&mut self, kind: u8, nal: &'a [u8]) {
        let unit = RefNal::new(nal, &[], true);
        let mut bits = unit.rbsp_bits();
        // Before an SPS's number are its profile, its constraints and its level.
        let skipped = if kind == kind::SPS { bits.skip(24, "profile and level") } else { Ok(()) };
        let id = skipped.and_then(|()| bits.read_ue("id"));
        let Ok(id @ 0..=255) = id else { return };
        self.sets.insert((kind, id), nal);
        // What the library does not take is no reason to refuse a stream: slice headers are
        // less certain then, and the frame rate is not known.
        if kind == kind::SPS {
            if let Ok(set) = SeqParameterSet::from_bits(unit.rbsp_bits()) {
                self.rate = self.rate.or(set.fps());
                self.parameters.put_seq_param_set(set);
            }
        } else if let Ok(set) = PicParameterSet::from_bits(&self.parameters, unit.rbsp_bits()) {
            self.parameters.put_pic_param_set(set);
        }
    }

    /// Completes the access unit, if there is any.
    fn close(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        if unit.slice.is_none() {
            // Nothing that can be decoded: parameter sets at the end of the file.
            return;
        }
        let mut frame = Vec::with_capacity(unit.nals.iter().map(|nal| nal.len() + 4).sum());
        let mut write = |nal: &[u8]| {
            frame.extend(START_CODE);
            frame.extend(nal);
        };
        let kind = |nal: &[u8]| nal[0] & 0x1F;
        if unit.nals.iter().any(|nal| kind(nal) == kind::IDR) {
            // A key frame must suffice to whoever begins with it.
            for set in self.sets.values() {
                write(set);
                self.repeated += set.len();
            }
            let others = |nal: &&&[u8]| !matches!(kind(nal), kind::SPS | kind::PPS);
            unit.nals.iter().filter(others).for_each(|nal| write(nal));
        } else {
            unit.nals.iter().for_each(|nal| write(nal));
        }
        self.frames.push(frame);
    }
}

/// The beginning of a slice header (§7.3.3).
struct Slice {
    /// Its first macroblock.
    begins_at: Option<u32>,
    is_b: bool,
    /// A second description of what another slice describes already.
    is_redundant: bool,
    /// `None` if the parameter sets that it needs are not known.
    picture: Option<Picture>,
}

/// What the slices of a picture have in common, and those of the next one do not (§7.4.1.2.4).
#[derive(PartialEq)]
struct Picture {
    parameters: u32,
    frame_num: u32,
    bottom_field: Option<bool>,
    is_reference: bool,
    /// Of an IDR picture only.
    idr_id: Option<u32>,
    /// `pic_order_cnt_lsb` and `delta_pic_order_cnt_bottom`, or both of `delta_pic_order_cnt`.
    order: [i64; 2],
}

impl Slice {
    fn read(parameters: &Context, nal: &[u8]) -> Self {
        let mut slice = Self { begins_at: None, is_b: false, is_redundant: false, picture: None };
        slice.picture = slice.read_picture(parameters, nal);
        slice
    }

    fn read_picture(&mut self, parameters: &Context, nal: &[u8]) -> Option<Picture> {
        let unit = RefNal::new(nal, &[], true);
        let mut bits = unit.rbsp_bits();
        self.begins_at = Some(bits.read_ue("first_mb_in_slice").ok()?);
        self.is_b = bits.read_ue("slice_type").ok()? % 5 == 1;
        let id = bits.read_ue("pic_parameter_set_id").ok()?;
        let pps = parameters.pps_by_id(PicParamSetId::from_u32(id).ok()?)?;
        let sps = parameters.sps_by_id(pps.seq_parameter_set_id)?;
        if sps.chroma_info.separate_colour_plane_flag {
            bits.skip(2, "colour_plane_id").ok()?;
        }
        let frame_num = bits.read_var(sps.log2_max_frame_num().into(), "frame_num").ok()?;
        let mut bottom_field = None;
        if matches!(sps.frame_mbs_flags, FrameMbsFlags::Fields { .. })
            && bits.read_bit("field_pic_flag").ok()?
        {
            bottom_field = Some(bits.read_bit("bottom_field_flag").ok()?);
        }
        let mut idr_id = None;
        if nal[0] & 0x1F == kind::IDR {
            idr_id = Some(bits.read_ue("idr_pic_id").ok()?);
        }
        let both = pps.bottom_field_pic_order_in_frame_present_flag && bottom_field.is_none();
        let mut order = [0; 2];
        match sps.pic_order_cnt {
            PicOrderCntType::TypeZero { log2_max_pic_order_cnt_lsb_minus4: length } => {
                let length = u32::from(length) + 4;
                let lsb: u32 = bits.read_var(length, "pic_order_cnt_lsb").ok()?;
                order[0] = lsb.into();
                if both {
                    order[1] = bits.read_se("delta_pic_order_cnt_bottom").ok()?.into();
                }
            }
            PicOrderCntType::TypeOne { delta_pic_order_always_zero_flag: false, .. } => {
                order[0] = bits.read_se("delta_pic_order_cnt[0]").ok()?.into();
                if both {
                    order[1] = bits.read_se("delta_pic_order_cnt[1]").ok()?.into();
                }
            }
            PicOrderCntType::TypeOne { .. } | PicOrderCntType::TypeTwo => {}
        }
        if pps.redundant_pic_cnt_present_flag {
            self.is_redundant = bits.read_ue("redundant_pic_cnt").ok()? > 0;
        }
        let is_reference = nal[0] & 0x60 != 0;
        Some(Picture { parameters: id, frame_num, bottom_field, is_reference, idr_id, order })
    }

    /// Whether this is the first slice of a picture, if `first` was that of the one before.
    fn begins_picture_after(&self, first: &Self) -> bool {
        if self.is_redundant {
            return false;
        }
        match (&self.picture, &first.picture) {
            // No picture has two slices in the same place: there are encoders that give each
            // IDR picture the same number.
            (Some(a), Some(b)) => a != b || self.begins_at == first.begins_at,
            _ => self.begins_at == Some(0),
        }
    }
}

/// Whether a key frame brings the parameter sets that are needed to decode it.
pub(super) fn has_parameter_sets(key_frame: &[u8]) -> bool {
    let has = |kind| nal_units(key_frame).any(|nal| nal[0] & 0x1F == kind);
    has(kind::SPS) && has(kind::PPS)
}

#[cfg(test)]
mod tests {
    use h264_reader::{
        nal::WritableNal,
        rbsp::{BitReader, BitWrite, BitWriter},
    };

    use super::*;

    #[test]
    fn nal_units_are_what_stands_between_start_codes_and_zeros() {
        let units = |bytes| nal_units(bytes).collect::<Vec<&[u8]>>();
        assert_eq!(
            units(b"\0\0\0\x01\x67\x42\0\0\0\x01\x68\0\0\x01\x65\0\x03\0\0"),
            [&b"\x67\x42"[..], b"\x68", b"\x65\0\x03"]
        );
        assert_eq!(units(b"\0\0\x01\0\0\x01\0\0\0\0\x01\x09"), [b"\x09"]);
        assert_eq!(units(b"\x67\0\0\x02\0\0"), [b""; 0]);
    }

    fn nal(header: u8, write: impl FnOnce(&mut BitWriter<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = vec![header];
        let mut bits = BitWriter::new(&mut bytes);
        write(&mut bits);
        bits.write_rbsp_trailing_bits().unwrap();
        bytes
    }

    /// What no encoder at hand writes: a stream that may have fields and redundant slices. Each
    /// slice is given as its number of the frame, its field if it is one, and whether it is
    /// redundant.
    fn stream(slices: &[(u32, Option<bool>, bool)]) -> anyhow::Result<Stream> {
        // Baseline, level 1, 64x64, poc type 2.
        let sps = nal(0x67, |bits| {
            [66_u8, 0, 10].into_iter().for_each(|byte| bits.write::<8, _>(byte).unwrap());
            [0, 0, 2, 1].into_iter().for_each(|value| bits.write_ue(value).unwrap());
            bits.write_bit(false).unwrap();
            [3, 3].into_iter().for_each(|value| bits.write_ue(value).unwrap());
            // frame_mbs_only, direct_8x8_inference, cropping, VUI
            bits.write::<4, u8>(0b1100).unwrap();
        });
        let mut set = SeqParameterSet::from_bits(BitReader::new(&sps[1..])).unwrap();
        set.frame_mbs_flags = FrameMbsFlags::Fields { mb_adaptive_frame_field_flag: false };
        let mut sps = vec![0x67];
        set.write_bits(&mut BitWriter::new(&mut sps)).unwrap();
        let pps = nal(0x68, |bits| {
            [0, 0].into_iter().for_each(|value| bits.write_ue(value).unwrap());
            bits.write::<2, u8>(0).unwrap();
            [0, 0, 0].into_iter().for_each(|value| bits.write_ue(value).unwrap());
            bits.write::<3, u8>(0).unwrap();
            [0, 0, 0].into_iter().for_each(|value| bits.write_se(value).unwrap());
            // deblocking control, constrained intra prediction, redundant_pic_cnt_present
            bits.write::<3, u8>(0b001).unwrap();
        });
        let slices = slices.iter().map(|&(number, field, redundant)| {
            nal(if number == 0 { 0x65 } else { 0x41 }, |bits| {
                [0, 7, 0].into_iter().for_each(|value| bits.write_ue(value).unwrap());
                bits.write::<4, _>(number).unwrap();
                bits.write_bit(field.is_some()).unwrap();
                field.into_iter().for_each(|bottom| bits.write_bit(bottom).unwrap());
                if number == 0 {
                    bits.write_ue(0).unwrap();
                }
                bits.write_ue(redundant.into()).unwrap();
            })
        });
        let nals = [sps, pps].into_iter().chain(slices);
        read(&nals.flat_map(|nal| [&START_CODE[..], &nal].concat()).collect::<Vec<_>>())
    }

    #[test]
    fn redundant_slices_belong_to_the_picture_that_they_repeat() {
        let frames = |slices| stream(slices).unwrap().frames.len();
        assert_eq!(frames(&[(0, None, false), (1, None, false), (2, None, false)]), 3);
        assert_eq!(frames(&[(0, None, false), (0, None, true), (1, None, false)]), 2);
    }

    #[test]
    fn interlaced_fields_are_refused() {
        let error = stream(&[(0, Some(false), false)]).err().unwrap();
        assert!(error.to_string().starts_with("its pictures are interlaced fields"), "{error}");
    }
}
