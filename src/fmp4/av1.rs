//! `av1C`: AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding 2.3), from the sequence header OBU (AV1 5.5).
//!
//! What it deliberately does not do: read behind the colour configuration.

use super::boxes::write_box;
use super::entry::VideoConfig;
use super::init::InitError;
use crate::es::bits::BitReader;
use crate::es::picture::Colour;
use bytes::Bytes;

/// obu_type of a sequence header.
const OBU_SEQUENCE_HEADER: u8 = 1;
/// seq_force_screen_content_tools that leaves it to the frame (5.5.1).
const SELECT_SCREEN_CONTENT_TOOLS: u32 = 2;

/// What the record repeats of the sequence header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SequenceHeader {
    profile: u8,
    /// Level and tier of operating point 0.
    level: u8,
    tier: bool,
    high_bitdepth: bool,
    twelve_bit: bool,
    monochrome: bool,
    subsampling_x: bool,
    subsampling_y: bool,
    chroma_sample_position: u8,
    colour: Option<Colour>,
}

/// The `av1C` of these parameter sets: one, the sequence header OBU with its header and size.
pub fn config(parameter_sets: &[Bytes]) -> Result<VideoConfig, InitError> {
    let obu = parameter_sets.first().ok_or(InitError::Params("no sequence header OBU"))?;
    let sequence = obu_payload(obu).and_then(SequenceHeader::parse).ok_or(InitError::Params("sequence header OBU"))?;
    let mut config_box = Vec::new();
    write_box(&mut config_box, b"av1C", |out| {
        out.push(0x80 | 1); // marker (1), version (7)
        out.push(sequence.profile << 5 | sequence.level); // seq_profile (3), seq_level_idx_0 (5)
        let flags = [
            sequence.tier,
            sequence.high_bitdepth,
            sequence.twelve_bit,
            sequence.monochrome,
            sequence.subsampling_x,
            sequence.subsampling_y,
        ];
        let flags = flags.iter().fold(0, |bits, &flag| bits << 1 | flag as u8);
        out.push(flags << 2 | sequence.chroma_sample_position);
        out.push(0); // reserved (3), initial_presentation_delay_present (1): 0, reserved (4)
        out.extend_from_slice(obu); // configOBUs
    });
    Ok(VideoConfig { config_box, colour: sequence.colour.filter(is_specified) })
}

/// Whether the code points say more than "unspecified" (2 in each of the tables of ISO/IEC 23091-2).
pub fn is_specified(colour: &Colour) -> bool {
    (colour.primaries, colour.transfer, colour.matrix) != (2, 2, 2)
}

/// What a sequence header OBU holds behind header and size. configOBUs must have a size, so one without is refused.
fn obu_payload(obu: &[u8]) -> Option<&[u8]> {
    let header = *obu.first()?;
    let (kind, has_extension, has_size) = (header >> 3 & 15, header & 4 != 0, header & 2 != 0);
    if kind != OBU_SEQUENCE_HEADER || !has_size {
        return None;
    }
    let size_at = 1 + has_extension as usize;
    // A sequence header is far shorter than the 2^14 bytes that two bytes of leb128 tell.
    let (first, second) = (*obu.get(size_at)?, obu.get(size_at + 1).copied().unwrap_or(0));
    let (size, at) = match (first & 0x80, second & 0x80) {
        (0, _) => (first as usize, size_at + 1),
        (_, 0) => (first as usize & 0x7f | (second as usize) << 7, size_at + 2),
        _ => return None,
    };
    obu.get(at..at.checked_add(size)?)
}

impl SequenceHeader {
    /// sequence_header_obu, 5.5.1.
    fn parse(payload: &[u8]) -> Option<SequenceHeader> {
        let mut bits = BitReader::new(payload);
        let mut sequence =
            SequenceHeader { profile: bits.bits(3).filter(|&value| value <= 2)? as u8, ..Default::default() };
        bits.skip(1)?; // still_picture
        let reduced_still_picture = bits.flag()?;
        if reduced_still_picture {
            sequence.level = bits.bits(5)? as u8;
        } else {
            (sequence.level, sequence.tier) = read_operating_points(&mut bits)?;
        }
        skip_frame_size(&mut bits, reduced_still_picture)?;
        bits.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !reduced_still_picture {
            skip_inter_tools(&mut bits)?;
        }
        bits.skip(3)?; // enable_superres, enable_cdef, enable_restoration
        sequence.read_color_config(&mut bits)?;
        Some(sequence)
    }

    /// color_config, 5.5.2.
    fn read_color_config(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.high_bitdepth = bits.flag()?;
        self.twelve_bit = self.profile == 2 && self.high_bitdepth && bits.flag()?;
        self.monochrome = self.profile != 1 && bits.flag()?;
        let described = bits.flag()?;
        let mut code = || if described { bits.bits(8).map(|code| code as u8) } else { Some(2) };
        let (primaries, transfer, matrix) = (code()?, code()?, code()?);
        // sRGB in BT.709 primaries with the identity matrix is full range and 4:4:4 without saying so.
        let is_rgb = (primaries, transfer, matrix) == (1, 13, 0);
        let full_range = if is_rgb && !self.monochrome { true } else { bits.flag()? };
        self.colour = described.then_some(Colour { primaries, transfer, matrix, full_range });
        (self.subsampling_x, self.subsampling_y) = match self.profile {
            _ if self.monochrome => (true, true),
            _ if is_rgb => (false, false),
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bit => {
                let subsampling_x = bits.flag()?;
                (subsampling_x, subsampling_x && bits.flag()?)
            }
            _ => (true, false),
        };
        if !self.monochrome && self.subsampling_x && self.subsampling_y {
            self.chroma_sample_position = bits.bits(2)? as u8;
        }
        Some(())
    }
}

/// From timing_info_present_flag to the last operating point: level and tier of the first.
fn read_operating_points(bits: &mut BitReader<'_>) -> Option<(u8, bool)> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.skip(32 + 32)?; // num_units_in_display_tick, time_scale
        if bits.flag()? {
            bits.ue()?; // num_ticks_per_picture_minus1: uvlc (4.10.3) is ue(v)
        }
        if bits.flag()? {
            delay_bits = Some(bits.bits(5)? as usize + 1); // buffer_delay_length_minus_1
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, lengths of removal and presentation times
        }
    }
    let display_delay_present = bits.flag()?;
    let count = bits.bits(5)? + 1;
    let mut first = None;
    for _ in 0..count {
        bits.skip(12)?; // operating_point_idc
        let level = bits.bits(5)? as u8;
        let tier = level > 7 && bits.flag()?;
        first = first.or(Some((level, tier)));
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?; // decoder_buffer_delay, encoder_buffer_delay, low_delay_mode_flag
        }
        if display_delay_present && bits.flag()? {
            bits.skip(4)?; // initial_display_delay_minus_1
        }
    }
    first
}

/// From frame_width_bits_minus_1 to the lengths of frame ids.
fn skip_frame_size(bits: &mut BitReader<'_>, reduced_still_picture: bool) -> Option<()> {
    let (width_bits, height_bits) = (bits.bits(4)? as usize + 1, bits.bits(4)? as usize + 1);
    bits.skip(width_bits + height_bits)?; // max_frame_width_minus_1, max_frame_height_minus_1
    if !reduced_still_picture && bits.flag()? {
        bits.skip(4 + 3)?; // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
    }
    Some(())
}

/// From enable_interintra_compound to order_hint_bits_minus_1.
fn skip_inter_tools(bits: &mut BitReader<'_>) -> Option<()> {
    bits.skip(4)?; // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
    }
    let choose_screen_content_tools = bits.flag()?;
    let screen_content_tools = if choose_screen_content_tools { SELECT_SCREEN_CONTENT_TOOLS } else { bits.bits(1)? };
    if screen_content_tools > 0 && !bits.flag()? {
        bits.skip(1)?; // seq_force_integer_mv, as seq_choose_integer_mv is 0
    }
    if order_hint {
        bits.skip(3)?; // order_hint_bits_minus_1
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libaom writes for 8-bit 4:2:0 of 352 x 288: a header, size 10, profile 0, no timing, one operating point of level 0.
    const LIBAOM: &[u8] = &[0x0a, 0x0a, 0x00, 0x00, 0x00, 0x02, 0xaf, 0xff, 0x9b, 0x5f, 0x30, 0x08];

    #[test]
    fn the_record_of_a_main_profile_stream() {
        let config = config(&[Bytes::from_static(LIBAOM)]).unwrap();
        // marker and version, profile 0 and level 0, 4:2:0 of unknown position, no delay
        assert_eq!(config.config_box, [&b"\0\0\0\x18av1C"[..], &[0x81, 0x00, 0x0c, 0x00], LIBAOM].concat());
        assert_eq!(config.colour, None);
    }

    #[test]
    fn obus_that_are_no_sequence_header() {
        for bad in [&[][..], &[0x0a], &[0x12, 0], &[0x08, 0, 0, 0], &[0x0a, 0x80, 0x80, 0x00], &LIBAOM[..8]] {
            assert!(config(&[Bytes::from_static(bad)]).is_err(), "{bad:02x?}");
        }
        assert!(config(&[]).is_err());
    }
}
