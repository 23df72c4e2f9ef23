//! The head of an H.264 slice (ISO/IEC 14496-10 7.3.3), as far as it tells pictures apart (7.4.1.2.4).

use super::sps::{PicOrderCount, Pps, Sps};
use super::unit_type;
use crate::es::bits::BitReader;
use crate::es::framer::video::PREFIX_BYTES;
use crate::es::nal;

/// Parity of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Top,
    Bottom,
}

/// What a slice says of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// first_mb_in_slice.
    pub first_mb: u32,
    pub idr: bool,
    /// nal_ref_idc is not 0.
    reference: bool,
    /// `None` while its parameter sets are not known, or when it is cut short.
    pub header: Option<SliceHeader>,
}

/// Fields that are equal in all slices of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    pub sps_id: u32,
    pps_id: u32,
    frame_num: u32,
    /// `None`: a frame.
    pub field: Option<Field>,
    /// 0 when the picture is not IDR.
    idr_pic_id: u32,
    /// pic_order_cnt_lsb and delta_pic_order_cnt_bottom, or the two of delta_pic_order_cnt.
    order: (u32, i32, i32),
    /// Redundant slices may follow, which begin at macroblock 0 again.
    redundant_pictures: bool,
}

impl Slice {
    /// Reads the head of the slice NAL unit that begins with `prefix`. `None` when not even first_mb_in_slice is there.
    pub fn parse<'a>(prefix: &[u8], sets: impl Fn(u32) -> Option<(&'a Sps, &'a Pps)>) -> Option<Slice> {
        let mut rbsp = [0; PREFIX_BYTES];
        let mut bits = BitReader::new(nal::unescape_into(&prefix[1..], &mut rbsp));
        let idr = prefix[0] & 0x1f == unit_type::IDR_SLICE;
        let reference = prefix[0] & 0x60 != 0;
        let first_mb = bits.ue()?;
        let header = SliceHeader::parse(&mut bits, idr, sets);
        Some(Slice { first_mb, idr, reference, header })
    }

    /// Whether this slice belongs to the same picture as `last`. `led`: a unit that should only stand before a picture came
    /// between them; the headers know better when there are any (SVC has a prefix NAL unit before each slice).
    pub fn continues(&self, last: &Slice, led: bool) -> bool {
        let (Some(header), Some(last_header)) = (&self.header, &last.header) else { return !led && self.first_mb != 0 };
        if header != last_header || self.idr != last.idr || self.reference != last.reference {
            return false;
        }
        self.first_mb != 0 || header.redundant_pictures
    }

    /// Whether this slice begins the second field of the frame whose first field `first` belongs to (3.30, 3.31).
    pub fn is_second_field_of(&self, first: &Slice) -> bool {
        let (Some(header), Some(first)) = (&self.header, &first.header) else { return false };
        let opposite = header.field.is_some() && first.field.is_some() && header.field != first.field;
        opposite && !self.idr && header.frame_num == first.frame_num && header.sps_id == first.sps_id
    }
}

impl SliceHeader {
    fn parse<'a>(
        bits: &mut BitReader<'_>,
        idr: bool,
        sets: impl Fn(u32) -> Option<(&'a Sps, &'a Pps)>,
    ) -> Option<SliceHeader> {
        let _slice_type = bits.ue()?;
        let pps_id = bits.ue()?;
        let (sps, pps) = sets(pps_id)?;
        if sps.chroma.separate_colour_planes {
            bits.skip(2)?;
        }
        let frame_num = bits.bits(sps.frame_num_bits)?;
        let mut field = None;
        if !sps.frame_mbs_only && bits.flag()? {
            field = Some(if bits.flag()? { Field::Bottom } else { Field::Top });
        }
        let idr_pic_id = if idr { bits.ue()? } else { 0 };
        let mut order = (0, 0, 0);
        let with_delta = pps.order_present && field.is_none();
        match sps.pic_order_count {
            PicOrderCount::Lsb { bits: width } => {
                order.0 = bits.bits(width)?;
                order.1 = if with_delta { bits.se()? } else { 0 };
            }
            PicOrderCount::Deltas { always_zero: false } => {
                order.1 = bits.se()?;
                order.2 = if with_delta { bits.se()? } else { 0 };
            }
            PicOrderCount::Deltas { always_zero: true } | PicOrderCount::OutputOrder => {}
        }
        let redundant_pictures = pps.redundant_pictures;
        Some(SliceHeader { sps_id: sps.id, pps_id, frame_num, field, idr_pic_id, order, redundant_pictures })
    }
}
