//! The H.265 sequence parameter set (ISO/IEC 23008-2 7.3.2.2, Annex E), as far as a relay needs it.
//!
//! What it deliberately does not do: refuse a set for a broken VUI or read the range, multilayer and screen content extensions.

use crate::es::bits::BitReader;
use crate::es::picture::{Colour, VuiHead, frame_rate, read_vui_head};

/// Largest picture width or height, pixels, that is believed (level 6.2 allows 8,444 x 4,220 at 2:1; this is 65,535 squared at most).
const DIMENSION_MAX: u32 = 65_535;
/// num_short_term_ref_pic_sets is at most 64 (7.4.3.2.1).
const REF_PIC_SETS_MAX: usize = 64;
/// Most pictures of one reference picture set (sps_max_dec_pic_buffering is at most 16).
const REF_PICS_MAX: u32 = 16;

/// profile_tier_level, general part (7.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    space: u8,
    high_tier: bool,
    idc: u8,
    compatibility: u32,
    /// From general_progressive_source_flag on.
    constraints: [u8; 6],
    level: u8,
}

/// A sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// sps_seq_parameter_set_id, 0 ..= 15.
    pub id: u32,
    pub vps_id: u32,
    pub profile: Profile,
    /// Pixels after the conformance window.
    pub width: u32,
    pub height: u32,
    pub sar: (u32, u32),
    /// `None` when the stream does not say.
    pub colour: Option<Colour>,
    /// chroma_format_idc, 0 ..= 3.
    pub chroma_format_idc: u8,
    /// 0 ..= 8.
    pub bit_depth_luma_minus8: u8,
    /// 0 ..= 8.
    pub bit_depth_chroma_minus8: u8,
    pub frame_rate: Option<(u32, u32)>,
    /// field_seq_flag: each picture is a field.
    pub fields: bool,
}

impl Sps {
    /// Reads an SPS behind its NAL header. `None` when it is cut short or out of range.
    pub fn parse(rbsp: &[u8]) -> Option<Sps> {
        let mut bits = BitReader::new(rbsp);
        let vps_id = bits.bits(4)?;
        let sub_layers_minus1 = bits.bits(3).filter(|&value| value <= 6)?;
        bits.skip(1)?; // sps_temporal_id_nesting_flag
        let profile = Profile::parse(&mut bits, sub_layers_minus1)?;
        let id = bits.ue().filter(|&id| id < 16)?;
        let chroma_format = bits.ue().filter(|&value| value <= 3)?;
        let separate_colour_planes = chroma_format == 3 && bits.flag()?;
        let width = bits.ue().filter(|&value| value <= DIMENSION_MAX)?;
        let height = bits.ue().filter(|&value| value <= DIMENSION_MAX)?;
        let chroma_array = if separate_colour_planes { 0 } else { chroma_format };
        let (crop_width, crop_height) = crop(&mut bits, chroma_array)?;
        let bit_depth_luma_minus8 = bits.ue().filter(|&value| value <= 8)? as u8;
        let bit_depth_chroma_minus8 = bits.ue().filter(|&value| value <= 8)? as u8;
        let mut sps = Sps {
            id,
            vps_id,
            profile,
            width: width.checked_sub(crop_width).filter(|&width| width > 0)?,
            height: height.checked_sub(crop_height).filter(|&height| height > 0)?,
            sar: (1, 1),
            colour: None,
            chroma_format_idc: chroma_format as u8,
            bit_depth_luma_minus8,
            bit_depth_chroma_minus8,
            frame_rate: None,
            fields: false,
        };
        if skip_to_vui(&mut bits, chroma_format, sub_layers_minus1) == Some(true) {
            let _broken = sps.fill_from_vui(&mut bits);
        }
        Some(sps)
    }

    /// vui_parameters (E.2.1), up to the timing.
    fn fill_from_vui(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let mut head = VuiHead::default();
        let whole = read_vui_head(bits, &mut head);
        (self.sar, self.colour) = (head.sar, head.colour);
        whole?;
        bits.skip(1)?; // neutral_chroma_indication_flag
        self.fields = bits.flag()?;
        bits.skip(1)?; // frame_field_info_present_flag
        if bits.flag()? {
            for _ in 0..4 {
                bits.ue()?; // default display window
            }
        }
        if bits.flag()? {
            let num_units_in_tick = bits.bits(32)? as u64;
            let time_scale = bits.bits(32)? as u64;
            self.frame_rate = frame_rate(time_scale, num_units_in_tick);
        }
        Some(())
    }
}

impl Profile {
    fn parse(bits: &mut BitReader<'_>, sub_layers_minus1: u32) -> Option<Profile> {
        let space = bits.bits(2)? as u8;
        let high_tier = bits.flag()?;
        let idc = bits.bits(5)? as u8;
        let compatibility = bits.bits(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = bits.bits(8)? as u8;
        }
        let level = bits.bits(8)? as u8;
        let mut present = Vec::new();
        if sub_layers_minus1 > 0 {
            for layer in 0..8 {
                let flags = (bits.flag()?, bits.flag()?);
                present.extend((layer < sub_layers_minus1).then_some(flags));
            }
        }
        for (profile_present, level_present) in present {
            bits.skip(if profile_present { 88 } else { 0 } + if level_present { 8 } else { 0 })?;
        }
        Some(Profile { space, high_tier, idc, compatibility, constraints, level })
    }

    /// The codecs parameter of ISO/IEC 14496-15 E.3, for example `hvc1.1.6.L93.B0`.
    pub fn rfc6381(&self) -> String {
        let space = ["", "A", "B", "C"][self.space as usize & 3];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compatibility = self.compatibility.reverse_bits();
        let mut text = format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", self.idc, self.level);
        let kept = self.constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in &self.constraints[..kept] {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

/// Pixels cut off width and height by the conformance window.
fn crop(bits: &mut BitReader<'_>, chroma_array: u32) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let (left, right, top, bottom) = (bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?);
    let unit_x = if matches!(chroma_array, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma_array == 1 { 2 } else { 1 };
    let width = left.checked_add(right)?.checked_mul(unit_x)?;
    let height = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((width, height))
}

/// Reads from behind the bit depths to vui_parameters_present_flag, which it answers.
fn skip_to_vui(bits: &mut BitReader<'_>, chroma_format: u32, sub_layers_minus1: u32) -> Option<bool> {
    let order_bits = bits.ue().filter(|&value| value <= 12)? + 4;
    let all_sub_layers = bits.flag()?;
    for _ in 0..if all_sub_layers { sub_layers_minus1 + 1 } else { 1 } {
        bits.ue()?; // sps_max_dec_pic_buffering_minus1
        bits.ue()?; // sps_max_num_reorder_pics
        bits.ue()?; // sps_max_latency_increase_plus1
    }
    for _ in 0..6 {
        bits.ue()?; // block sizes and transform hierarchy depths
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits, chroma_format)?;
    }
    bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag()? {
        bits.skip(8)?; // PCM bit depths
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    skip_ref_pic_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue().filter(|&count| count <= 32)? {
            bits.skip(order_bits as usize + 1)?; // lt_ref_pic_poc_lsb_sps, used_by_curr_pic_lt_sps_flag
        }
    }
    bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    bits.flag()
}

/// scaling_list_data (7.3.4).
fn skip_scaling_lists(bits: &mut BitReader<'_>, chroma_format: u32) -> Option<()> {
    for size in 0..4u32 {
        let step = if size == 3 && chroma_format != 3 { 3 } else { 1 };
        for _ in (0..6).step_by(step) {
            if !bits.flag()? {
                bits.ue()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            if size > 1 {
                bits.se()?; // scaling_list_dc_coef_minus8
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.se()?;
            }
        }
    }
    Some(())
}

/// All st_ref_pic_set of an SPS (7.3.7): each may be predicted from the one before, whose number of pictures must be known.
fn skip_ref_pic_sets(bits: &mut BitReader<'_>) -> Option<()> {
    let count = bits.ue().filter(|&count| count as usize <= REF_PIC_SETS_MAX)?;
    let mut pictures = 0u32;
    for index in 0..count {
        let predicted = index > 0 && bits.flag()?;
        pictures = if predicted { predicted_ref_pic_set(bits, pictures)? } else { explicit_ref_pic_set(bits)? };
    }
    Some(())
}

fn predicted_ref_pic_set(bits: &mut BitReader<'_>, before: u32) -> Option<u32> {
    bits.skip(1)?; // delta_rps_sign
    bits.ue()?; // abs_delta_rps_minus1
    let mut pictures = 0;
    for _ in 0..=before {
        let used = bits.flag()?;
        let kept = used || bits.flag()?;
        pictures += kept as u32;
    }
    (pictures <= REF_PICS_MAX).then_some(pictures)
}

fn explicit_ref_pic_set(bits: &mut BitReader<'_>) -> Option<u32> {
    let negative = bits.ue().filter(|&count| count <= REF_PICS_MAX)?;
    let positive = bits.ue().filter(|&count| count <= REF_PICS_MAX)?;
    for _ in 0..negative + positive {
        bits.ue()?; // delta_poc_minus1
        bits.skip(1)?; // used_by_curr_pic_flag
    }
    Some(negative + positive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_strings_of_iso_14496_15_e_3() {
        let main = Profile {
            space: 0,
            high_tier: false,
            idc: 1,
            compatibility: 0x6000_0000,
            constraints: [0xb0, 0, 0, 0, 0, 0],
            level: 93,
        };
        assert_eq!(main.rfc6381(), "hvc1.1.6.L93.B0");
        let other = Profile { space: 1, high_tier: true, idc: 2, constraints: [0x90, 0, 1, 0, 0, 0], ..main };
        assert_eq!(other.rfc6381(), "hvc1.A2.6.H93.90.0.1");
    }
}
