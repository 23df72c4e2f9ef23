//! H.264 sequence and picture parameter sets (ISO/IEC 14496-10 7.3.2.1, 7.3.2.2, Annex E), as far as a relay needs them.
//!
//! What it deliberately does not do: refuse a set for a broken VUI, since encoders in the field write them.

use crate::es::bits::BitReader;
use crate::es::picture::{Colour, VuiHead, frame_rate, read_vui_head};

/// profile_idc values whose SPS carries chroma_format_idc (7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Largest picture width or height in macroblocks that is believed (level 6.2 allows 1055).
const MACROBLOCKS_MAX: u32 = 2_048;

/// How pictures are ordered (pic_order_cnt_type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PicOrderCount {
    /// Type 0: pic_order_cnt_lsb of this many bits.
    Lsb { bits: u32 },
    /// Type 1.
    Deltas { always_zero: bool },
    /// Type 2.
    OutputOrder,
}

/// What only the high profiles may choose (7.4.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chroma {
    /// chroma_format_idc, 0 (monochrome) ..= 3 (4:4:4); 1 is 4:2:0.
    pub format_idc: u8,
    pub separate_colour_planes: bool,
    /// 0 ..= 6.
    pub bit_depth_luma_minus8: u8,
    /// 0 ..= 6.
    pub bit_depth_chroma_minus8: u8,
}

impl Chroma {
    /// What all other profiles have: 4:2:0 of eight bits.
    const BASE: Chroma =
        Chroma { format_idc: 1, separate_colour_planes: false, bit_depth_luma_minus8: 0, bit_depth_chroma_minus8: 0 };
}

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// seq_parameter_set_id, 0 ..= 31.
    pub id: u32,
    pub profile_idc: u8,
    /// The constraint_set flags and reserved bits, as they stand.
    pub constraints: u8,
    pub level_idc: u8,
    /// Pixels after cropping.
    pub width: u32,
    pub height: u32,
    pub sar: (u32, u32),
    /// `None` when the stream does not say.
    pub colour: Option<Colour>,
    pub frame_rate: Option<(u32, u32)>,
    pub chroma: Chroma,
    pub frame_mbs_only: bool,
    /// Bits of frame_num, 4 ..= 16.
    pub frame_num_bits: u32,
    pub pic_order_count: PicOrderCount,
}

impl Sps {
    /// Reads an SPS behind its NAL header. `None` when it is cut short or out of range.
    pub fn parse(rbsp: &[u8]) -> Option<Sps> {
        let mut bits = BitReader::new(rbsp);
        let profile_idc = bits.bits(8)? as u8;
        let constraints = bits.bits(8)? as u8;
        let level_idc = bits.bits(8)? as u8;
        let id = bits.ue().filter(|&id| id < 32)?;
        let chroma = if HIGH_PROFILES.contains(&profile_idc) { read_high_fields(&mut bits)? } else { Chroma::BASE };
        let frame_num_bits = bits.ue().filter(|&value| value <= 12)? + 4;
        let pic_order_count = PicOrderCount::parse(&mut bits)?;
        let _max_num_ref_frames = bits.ue()?;
        let _gaps_allowed = bits.flag()?;
        let width_mbs = bits.ue().filter(|&value| value < MACROBLOCKS_MAX)? + 1;
        let height_units = bits.ue().filter(|&value| value < MACROBLOCKS_MAX)? + 1;
        let frame_mbs_only = bits.flag()?;
        let field_factor = if frame_mbs_only { 1 } else { 2 };
        if !frame_mbs_only {
            bits.skip(1)?; // mb_adaptive_frame_field_flag
        }
        bits.skip(1)?; // direct_8x8_inference_flag
        let chroma_array = if chroma.separate_colour_planes { 0 } else { chroma.format_idc as u32 };
        let (crop_width, crop_height) = crop(&mut bits, chroma_array, field_factor)?;
        let vui = Vui::parse(&mut bits);
        Some(Sps {
            id,
            profile_idc,
            constraints,
            level_idc,
            width: (width_mbs * 16).checked_sub(crop_width).filter(|&width| width > 0)?,
            height: (height_units * 16 * field_factor).checked_sub(crop_height).filter(|&height| height > 0)?,
            sar: vui.head.sar,
            colour: vui.head.colour,
            frame_rate: vui.frame_rate,
            chroma,
            frame_mbs_only,
            frame_num_bits,
            pic_order_count,
        })
    }
}

impl PicOrderCount {
    fn parse(bits: &mut BitReader<'_>) -> Option<Self> {
        match bits.ue()? {
            0 => Some(PicOrderCount::Lsb { bits: bits.ue().filter(|&value| value <= 12)? + 4 }),
            1 => {
                let always_zero = bits.flag()?;
                bits.se()?; // offset_for_non_ref_pic
                bits.se()?; // offset_for_top_to_bottom_field
                for _ in 0..bits.ue().filter(|&count| count <= 255)? {
                    bits.se()?;
                }
                Some(PicOrderCount::Deltas { always_zero })
            }
            2 => Some(PicOrderCount::OutputOrder),
            _ => None,
        }
    }
}

/// What a relay wants of the VUI (E.1.1); the defaults where it is absent or broken.
struct Vui {
    head: VuiHead,
    frame_rate: Option<(u32, u32)>,
}

impl Vui {
    fn parse(bits: &mut BitReader<'_>) -> Vui {
        let mut vui = Vui { head: VuiHead::default(), frame_rate: None };
        let _broken_or_absent = vui.fill(bits);
        vui
    }

    fn fill(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        if !bits.flag()? {
            return None;
        }
        read_vui_head(bits, &mut self.head)?;
        if bits.flag()? {
            let num_units_in_tick = bits.bits(32)? as u64;
            let time_scale = bits.bits(32)? as u64;
            // A tick is a field (E.2.1), whether or not fields are coded.
            self.frame_rate = frame_rate(time_scale, num_units_in_tick * 2);
        }
        Some(())
    }
}

/// A picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// pic_parameter_set_id, 0 ..= 255.
    pub id: u32,
    pub sps_id: u32,
    /// bottom_field_pic_order_in_frame_present_flag.
    pub order_present: bool,
    /// redundant_pic_cnt_present_flag; false when it could not be reached.
    pub redundant_pictures: bool,
}

impl Pps {
    /// Reads a PPS behind its NAL header.
    pub fn parse(rbsp: &[u8]) -> Option<Pps> {
        let mut bits = BitReader::new(rbsp);
        let id = bits.ue().filter(|&id| id < 256)?;
        let sps_id = bits.ue().filter(|&id| id < 32)?;
        let _entropy_coding_mode = bits.flag()?;
        let order_present = bits.flag()?;
        let redundant_pictures = redundant_pictures(&mut bits).unwrap_or(false);
        Some(Pps { id, sps_id, order_present, redundant_pictures })
    }
}

/// redundant_pic_cnt_present_flag, with slice groups only in the profiles that also have redundant pictures left aside.
fn redundant_pictures(bits: &mut BitReader<'_>) -> Option<bool> {
    let slice_groups_minus1 = bits.ue()?;
    if slice_groups_minus1 > 0 {
        return None;
    }
    bits.ue()?; // num_ref_idx_l0_default_active_minus1
    bits.ue()?;
    bits.skip(3)?; // weighted_pred_flag, weighted_bipred_idc
    bits.se()?; // pic_init_qp_minus26
    bits.se()?; // pic_init_qs_minus26
    bits.se()?; // chroma_qp_index_offset
    bits.skip(2)?; // deblocking_filter_control_present_flag, constrained_intra_pred_flag
    bits.flag()
}

/// Reads what only the high profiles have, and over their scaling lists.
fn read_high_fields(bits: &mut BitReader<'_>) -> Option<Chroma> {
    let chroma_format = bits.ue().filter(|&value| value <= 3)?;
    let separate_colour_planes = chroma_format == 3 && bits.flag()?;
    let bit_depth_luma_minus8 = bits.ue().filter(|&value| value <= 6)? as u8;
    let bit_depth_chroma_minus8 = bits.ue().filter(|&value| value <= 6)? as u8;
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        let lists = if chroma_format == 3 { 12 } else { 8 };
        for index in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if index < 6 { 16 } else { 64 })?;
            }
        }
    }
    let format_idc = chroma_format as u8;
    Some(Chroma { format_idc, separate_colour_planes, bit_depth_luma_minus8, bit_depth_chroma_minus8 })
}

fn skip_scaling_list(bits: &mut BitReader<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Pixels cropped off width and height (7.4.2.1.1, frame_cropping_flag).
fn crop(bits: &mut BitReader<'_>, chroma_array: u32, field_factor: u32) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let (left, right, top, bottom) = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
    let unit_x = if matches!(chroma_array, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma_array == 1 { 2 } else { 1 } * field_factor;
    let width = left.checked_add(right)?.checked_mul(unit_x)?;
    let height = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_vui_leaves_the_rest() {
        let rbsp = [
            0x42,
            0xc0,
            0x1e, // profile 66, constraint_set0 and 1, level 30
            // sps_id 0: 1 | frame_num_bits 4: 1 | order type 2: 011 | 1 reference: 010
            0b1101_1010,
            // gaps 0 | width 4 macroblocks: 00100 | height 3: 01(1)
            0b0001_0001,
            0b1110_1000,
            // ... the last three fields: frame_mbs_only 1, direct 1(0), crop 0, vui 1 and then nothing
        ];
        let sps = Sps::parse(&rbsp);
        assert_eq!(sps.as_ref().map(|sps| (sps.width, sps.height, sps.sar)), Some((64, 48, (1, 1))), "{sps:?}");
    }

    #[test]
    fn cropping_by_more_than_the_picture_is_refused() {
        // As above, but with cropping: 1, left 33 units of 2 pixels: 00000100010, right, top, bottom 0: 111
        let rbsp = [0x42, 0xc0, 0x1e, 0b1101_1010, 0b0001_0001, 0b1111_0000, 0b0100_0101, 0b1100_0000];
        assert_eq!(Sps::parse(&rbsp), None);
    }
}
