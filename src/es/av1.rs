//! AV1 (AOMedia "AV1 Bitstream & Decoding Process Specification"): OBUs of the low-overhead format, sequence header, key kind, and the RFC
//! 6381 string of "AV1 Codec ISO Media File Format Binding" section 5.
//!
//! A sample is one temporal unit.
//! What it deliberately does not do: read AV1 of MPEG-TS (AOMedia "Carriage of AV1 in MPEG-2 TS": start codes and emulation prevention),
//! which no muxer that can be had today writes; such a track passes through as it is. Nor tile groups, and of a frame header no more than
//! its first bits.

use super::bits::BitReader;
use super::picture::frame_rate;
use super::{Key, VideoParams};
use bytes::Bytes;
use std::fmt::Write;

/// obu_type (6.2.2).
pub mod obu_type {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const FRAME_HEADER: u8 = 3;
    pub const FRAME: u8 = 6;
    pub const REDUNDANT_FRAME_HEADER: u8 = 7;
    pub const TILE_LIST: u8 = 8;
    pub const PADDING: u8 = 15;
}

/// Largest leb128 in bytes (4.10.5).
const LEB128_BYTES_MAX: usize = 8;
/// frame_type of a key frame (6.8.2).
const KEY_FRAME: u32 = 0;
/// color_primaries, transfer_characteristics and matrix_coefficients that nothing is said of (6.4.2).
const UNSPECIFIED: u8 = 2;
/// The three of sRGB: 4:4:4 without a word in the stream.
const SRGB: (u8, u8, u8) = (1, 13, 0);
/// The three that the short form of the codecs parameter stands for: BT.709.
const DEFAULT_COLOUR: (u8, u8, u8) = (1, 1, 1);

/// One open bitstream unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// See [`obu_type`].
    pub kind: u8,
    /// Header, size field and payload.
    pub bytes: &'a [u8],
    pub payload: &'a [u8],
}

impl Obu<'_> {
    /// obu_has_size_field.
    pub fn has_size(&self) -> bool {
        self.bytes.first().is_some_and(|header| header & 2 != 0)
    }
}

/// The OBUs of a temporal unit; ends where the bytes stop being OBUs.
#[derive(Clone, Debug)]
pub struct Obus<'a> {
    rest: &'a [u8],
}

/// Iterates over the OBUs of one temporal unit in the low-overhead format (5.2). The last one may lack its size.
pub fn obus(temporal_unit: &[u8]) -> Obus<'_> {
    Obus { rest: temporal_unit }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Obu<'a>;

    fn next(&mut self) -> Option<Obu<'a>> {
        let rest = std::mem::take(&mut self.rest);
        // obu_forbidden_bit, obu_type (4), obu_extension_flag, obu_has_size_field, obu_reserved_1bit
        let header = *rest.first()?;
        if header & 0x80 != 0 {
            return None;
        }
        let header_bytes = 1 + (header >> 2 & 1) as usize;
        let (payload_at, end) = if header & 2 != 0 {
            let (size, size_bytes) = leb128(rest.get(header_bytes..)?)?;
            let payload_at = header_bytes + size_bytes;
            (payload_at, payload_at.checked_add(size)?)
        } else {
            (header_bytes, rest.len())
        };
        let payload = rest.get(payload_at..end)?;
        self.rest = &rest[end..];
        Some(Obu { kind: header >> 3 & 0x0f, bytes: &rest[..end], payload })
    }
}

/// A leb128 (4.10.5) and the bytes it takes.
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, &byte) in data.iter().take(LEB128_BYTES_MAX).enumerate() {
        value |= (byte as u64 & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()? as usize, index + 1));
        }
    }
    None
}

/// color_config (5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColourConfig {
    /// 8, 10 or 12.
    pub bit_depth: u8,
    pub mono_chrome: bool,
    pub subsampling_x: bool,
    pub subsampling_y: bool,
    /// 0 unknown, 1 vertical, 2 colocated; 0 but for 4:2:0.
    pub chroma_sample_position: u8,
    /// color_primaries, transfer_characteristics, matrix_coefficients; `None` when the stream does not describe them.
    pub description: Option<(u8, u8, u8)>,
    pub full_range: bool,
}

/// A sequence header (5.5.1), as far as a relay needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// seq_profile, 0 ..= 2.
    pub profile: u8,
    /// seq_level_idx and seq_tier of operating point 0.
    pub level_idx: u8,
    pub high_tier: bool,
    /// max_frame_width_minus_1 + 1 and so on, pixels.
    pub width: u32,
    pub height: u32,
    /// From timing_info with equal_picture_interval.
    pub frame_rate: Option<(u32, u32)>,
    /// reduced_still_picture_header: every frame is a shown key frame.
    pub reduced_still_picture: bool,
    pub colour: ColourConfig,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header OBU. `None` when it is cut short or reserved.
    pub fn parse(payload: &[u8]) -> Option<SequenceHeader> {
        let mut bits = BitReader::new(payload);
        let profile = bits.bits(3).filter(|&profile| profile <= 2)? as u8;
        let _still_picture = bits.flag()?;
        let reduced_still_picture = bits.flag()?;
        let points = match reduced_still_picture {
            true => OperatingPoints { level_idx: bits.bits(5)? as u8, ..OperatingPoints::default() },
            false => OperatingPoints::parse(&mut bits)?,
        };
        let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        if !reduced_still_picture && bits.flag()? {
            bits.skip(4 + 3)?; // delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
        }
        bits.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !reduced_still_picture {
            skip_tools(&mut bits)?;
        }
        bits.skip(3)?; // enable_superres, enable_cdef, enable_restoration
        let colour = ColourConfig::parse(&mut bits, profile)?;
        let OperatingPoints { level_idx, high_tier, frame_rate } = points;
        Some(SequenceHeader { profile, level_idx, high_tier, width, height, frame_rate, reduced_still_picture, colour })
    }

    /// `av01.P.LLT.DD`, and `.M.CCC.cp.tc.mc.F` behind it unless all of those have their default values: 4:2:0, BT.709, limited range.
    /// Colour that the stream does not describe counts as default, as in shaka-packager.
    pub fn rfc6381(&self) -> String {
        let colour = &self.colour;
        let tier = if self.high_tier { 'H' } else { 'M' };
        let mut text = format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level_idx, colour.bit_depth);
        let (x, y, position) = (colour.subsampling_x as u8, colour.subsampling_y as u8, colour.chroma_sample_position);
        let described = colour.description.unwrap_or(DEFAULT_COLOUR);
        let rest = (colour.mono_chrome, (x, y, position), described, colour.full_range);
        if rest != (false, (1, 1, 0), DEFAULT_COLOUR, false) {
            let (primaries, transfer, matrix) = colour.description.unwrap_or((UNSPECIFIED, UNSPECIFIED, UNSPECIFIED));
            let (mono, range) = (colour.mono_chrome as u8, colour.full_range as u8);
            // Writing into a String cannot fail.
            let _ = write!(text, ".{mono}.{x}{y}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{range}");
        }
        text
    }
}

/// What stands between the profile and the frame size.
#[derive(Default)]
struct OperatingPoints {
    level_idx: u8,
    high_tier: bool,
    frame_rate: Option<(u32, u32)>,
}

impl OperatingPoints {
    fn parse(bits: &mut BitReader<'_>) -> Option<OperatingPoints> {
        let mut points = OperatingPoints::default();
        // Bits of buffer_delay_length_minus_1 + 1, where there is a decoder model.
        let mut delay_bits = None;
        if bits.flag()? {
            points.frame_rate = timing_info(bits)?;
            if bits.flag()? {
                delay_bits = Some(bits.bits(5)? as usize + 1);
                bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, two lengths
            }
        }
        let has_display_delay = bits.flag()?;
        for point in 0..=bits.bits(5)? {
            bits.skip(12)?; // operating_point_idc
            let level_idx = bits.bits(5)? as u8;
            let high_tier = level_idx > 7 && bits.flag()?;
            if point == 0 {
                (points.level_idx, points.high_tier) = (level_idx, high_tier);
            }
            if let Some(delay_bits) = delay_bits
                && bits.flag()?
            {
                bits.skip(2 * delay_bits + 1)?; // decoder and encoder buffer delay, low_delay_mode_flag
            }
            if has_display_delay && bits.flag()? {
                bits.skip(4)?; // initial_display_delay_minus_1
            }
        }
        Some(points)
    }
}

/// timing_info (5.5.3): the frame rate if equal_picture_interval.
fn timing_info(bits: &mut BitReader<'_>) -> Option<Option<(u32, u32)>> {
    let (units, scale) = (bits.bits(32)? as u64, bits.bits(32)? as u64);
    if !bits.flag()? {
        return Some(None);
    }
    let ticks = uvlc(bits)? + 1; // num_ticks_per_picture_minus_1
    Some(units.checked_mul(ticks).and_then(|units| frame_rate(scale, units)))
}

/// uvlc (4.10.3), at most 2^32 - 1.
fn uvlc(bits: &mut BitReader<'_>) -> Option<u64> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
    }
    if zeros >= 32 {
        return Some(u32::MAX as u64);
    }
    Some(bits.bits(zeros)? as u64 + (1u64 << zeros) - 1)
}

/// The tools that a reduced still picture has not.
fn skip_tools(bits: &mut BitReader<'_>) -> Option<()> {
    bits.skip(4)?; // enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
    }
    // seq_choose_screen_content_tools or the bit that forces them; where they may be, the same for integer motion vectors.
    let may_have_screen_content = bits.flag()? || bits.flag()?;
    if may_have_screen_content && !bits.flag()? {
        bits.skip(1)?; // seq_force_integer_mv
    }
    if order_hint {
        bits.skip(3)?; // order_hint_bits_minus_1
    }
    Some(())
}

impl ColourConfig {
    fn parse(bits: &mut BitReader<'_>, profile: u8) -> Option<ColourConfig> {
        let high_bit_depth = bits.flag()?;
        let bit_depth = match high_bit_depth {
            true if profile == 2 && bits.flag()? => 12,
            true => 10,
            false => 8,
        };
        let mono_chrome = profile != 1 && bits.flag()?;
        let description = match bits.flag()? {
            true => Some((bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8)),
            false => None,
        };
        let mut colour = ColourConfig {
            bit_depth,
            mono_chrome,
            subsampling_x: true,
            subsampling_y: true,
            chroma_sample_position: 0,
            description,
            full_range: true,
        };
        if description == Some(SRGB) && !mono_chrome {
            (colour.subsampling_x, colour.subsampling_y) = (false, false);
            return Some(colour);
        }
        colour.full_range = bits.flag()?;
        if mono_chrome {
            return Some(colour);
        }
        (colour.subsampling_x, colour.subsampling_y) = match profile {
            0 => (true, true),
            1 => (false, false),
            _ if bit_depth < 12 => (true, false),
            _ => {
                let x = bits.flag()?;
                (x, x && bits.flag()?)
            }
        };
        if colour.subsampling_x && colour.subsampling_y {
            colour.chroma_sample_position = bits.bits(2)? as u8;
        }
        Some(colour)
    }
}

/// Parameters from a temporal unit that holds a sequence header; `None` where there is none.
///
/// [`VideoParams::parameter_sets`] has one entry: the sequence header OBU with its header and size field, which is what configOBUs of the
/// `av1C` box holds.
pub fn params(temporal_unit: &[u8]) -> Option<VideoParams> {
    let obu = obus(temporal_unit).find(|obu| obu.kind == obu_type::SEQUENCE_HEADER)?;
    let header = SequenceHeader::parse(obu.payload)?;
    Some(VideoParams {
        width: header.width,
        height: header.height,
        // AV1 has square pixels but for a container's word (render_size scales the whole picture).
        sar: (1, 1),
        frame_rate: header.frame_rate,
        interlaced: false,
        rfc6381: header.rfc6381(),
        parameter_sets: vec![sized(&obu)],
    })
}

/// The OBU with a size field, without extension, as configOBUs wants it.
fn sized(obu: &Obu<'_>) -> Bytes {
    if obu.bytes.first().is_some_and(|header| header & 6 == 2) {
        return Bytes::copy_from_slice(obu.bytes);
    }
    let mut bytes = vec![obu.kind << 3 | 2];
    let mut size = obu.payload.len();
    while size >= 0x80 {
        bytes.push(size as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    bytes.extend_from_slice(obu.payload);
    Bytes::from(bytes)
}

/// How a temporal unit may be entered at: [`Key::Idr`] when its first frame is a shown key frame behind a sequence header (a sync sample of the
/// ISO binding, 2.5); [`Key::RecoveryPoint`] for a key frame without one, and for one that is shown later (a delayed random access point).
pub fn key(temporal_unit: &[u8]) -> Key {
    let mut sequence = None;
    for obu in obus(temporal_unit) {
        match obu.kind {
            obu_type::SEQUENCE_HEADER => sequence = SequenceHeader::parse(obu.payload),
            obu_type::FRAME_HEADER | obu_type::FRAME => {
                return key_of_frame(obu.payload, sequence.as_ref()).unwrap_or_default();
            }
            _ => {}
        }
    }
    Key::None
}

/// uncompressed_header (5.9.2) up to show_frame.
fn key_of_frame(payload: &[u8], sequence: Option<&SequenceHeader>) -> Option<Key> {
    if sequence.is_some_and(|sequence| sequence.reduced_still_picture) {
        return Some(Key::Idr);
    }
    let mut bits = BitReader::new(payload);
    let shows_existing_frame = bits.flag()?;
    if shows_existing_frame || bits.bits(2)? != KEY_FRAME {
        return Some(Key::None);
    }
    let shown = bits.flag()?;
    Some(if shown && sequence.is_some() { Key::Idr } else { Key::RecoveryPoint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::bits::BitWriter;
    use proptest::prelude::*;

    /// A temporal unit of libaom: temporal delimiter; sequence header (profile 0, level 0, 320x240, 8 bits); key frame, cut short.
    const UNIT: [u8; 19] = [
        0x12, 0x00, // OBU_TEMPORAL_DELIMITER, size 0
        0x0a, 0x0b, // OBU_SEQUENCE_HEADER, size 11
        0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbc, 0xda, 0xf9, 0x00, 0x40, //
        0x32, 0x02, 0x10, 0x00, // OBU_FRAME, size 2: show_existing_frame 0, frame_type 00, show_frame 1
    ];

    fn sequence(fields: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut bits = BitWriter::new(&mut bytes);
        fields.iter().for_each(|&(value, count)| bits.bits(value, count));
        bytes.push(0x80);
        bytes
    }

    #[test]
    fn every_field_of_a_sequence_header() {
        let payload = sequence(&[
            (2, 3), // seq_profile
            (0, 2), // still_picture, reduced_still_picture_header
            (1, 1), // timing_info_present_flag
            (1_001, 32),
            (60_000, 32),
            (1, 1),     // equal_picture_interval
            (0b010, 3), // num_ticks_per_picture_minus_1: 1
            (1, 1),     // decoder_model_info_present_flag
            (9, 5),     // buffer_delay_length_minus_1
            (1, 32),
            (0, 10),
            (1, 1),  // initial_display_delay_present_flag
            (1, 5),  // two operating points
            (0, 12), //
            (13, 5),
            (1, 1),  // seq_tier
            (1, 1),  // decoder_model_present_for_this_op
            (0, 21), // 10 + 10 + 1
            (1, 1),
            (9, 4),  // initial_display_delay_minus_1
            (0, 12), // the second point
            (4, 5),
            (0, 1),
            (0, 1),
            (11, 4),
            (10, 4), // frame_width_bits_minus_1, frame_height_bits_minus_1
            (3_839, 12),
            (2_047, 11),
            (1, 1), // frame_id_numbers_present_flag
            (0, 7),
            (7, 3),
            (15, 4),
            (1, 1), // enable_order_hint
            (3, 2),
            (0, 1), // seq_choose_screen_content_tools
            (1, 1), // seq_force_screen_content_tools
            (0, 1), // seq_choose_integer_mv
            (1, 1),
            (6, 3), // order_hint_bits_minus_1
            (7, 3),
            (1, 1), // high_bitdepth
            (1, 1), // twelve_bit
            (0, 1), // mono_chrome
            (1, 1), // color_description_present_flag
            (9, 8),
            (16, 8),
            (9, 8),
            (1, 1), // color_range
            (1, 1), // subsampling_x
            (1, 1), // subsampling_y
            (2, 2), // chroma_sample_position: colocated
            (0, 1),
        ]);
        let header = SequenceHeader::parse(&payload).unwrap();
        assert_eq!((header.width, header.height, header.frame_rate), (3_840, 2_048, Some((30_000, 1_001))));
        assert_eq!(header.rfc6381(), "av01.2.13H.12.0.112.09.16.09.1");
        for end in 0..payload.len() - 2 {
            assert_eq!(SequenceHeader::parse(&payload[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn codec_strings_are_short_where_defaults_hold() {
        let params = params(&UNIT).unwrap();
        assert_eq!((params.width, params.height, params.rfc6381.as_str()), (320, 240, "av01.0.00M.08"));
        assert_eq!(params.parameter_sets[0][..], UNIT[2..15]);
        let header = SequenceHeader::parse(&UNIT[4..15]).unwrap();
        let with = |colour: ColourConfig| SequenceHeader { colour, ..header }.rfc6381();
        let plain = header.colour;
        assert_eq!(with(ColourConfig { description: Some((1, 1, 1)), ..plain }), "av01.0.00M.08");
        assert_eq!(with(ColourConfig { bit_depth: 10, ..plain }), "av01.0.00M.10");
        assert_eq!(with(ColourConfig { full_range: true, ..plain }), "av01.0.00M.08.0.110.02.02.02.1");
        let mono = ColourConfig { mono_chrome: true, description: Some((1, 1, 1)), ..plain };
        assert_eq!(with(mono), "av01.0.00M.08.1.110.01.01.01.0");
        let hdr = ColourConfig { bit_depth: 10, description: Some((9, 16, 9)), ..plain };
        assert_eq!(with(hdr), "av01.0.00M.10.0.110.09.16.09.0");
    }

    #[test]
    fn keys() {
        assert_eq!(key(&UNIT), Key::Idr);
        let frame = |bits: u8| [0x32, 0x02, bits, 0x00];
        assert_eq!(key(&frame(0x10)), Key::RecoveryPoint, "a shown key frame without a sequence header");
        assert_eq!(key(&frame(0x00)), Key::RecoveryPoint, "a forward key frame");
        assert_eq!(key(&frame(0x30)), Key::None, "an inter frame");
        assert_eq!(key(&frame(0x80)), Key::None, "show_existing_frame");
        assert_eq!(key(&[0x12, 0x00]), Key::None);
    }

    #[test]
    fn the_last_obu_may_lack_its_size_and_an_extension_is_skipped() {
        // temporal delimiter with extension and size; sequence header without size
        let unit = [&[0x16, 0x20, 0x00, 0x08][..], &UNIT[4..15]].concat();
        let kinds: Vec<_> = obus(&unit).map(|obu| (obu.kind, obu.payload.len())).collect();
        assert_eq!(kinds, [(obu_type::TEMPORAL_DELIMITER, 0), (obu_type::SEQUENCE_HEADER, 11)]);
        assert_eq!(params(&unit).unwrap().parameter_sets[0][..], UNIT[2..15]);
        assert_eq!(obus(&[0x0a, 0x0b, 0x00]).next(), None, "size over the end");
        assert_eq!(obus(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).next(), None, "a long leb128");
    }

    proptest! {
        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (SequenceHeader::parse(&data).map(|header| header.rfc6381()), params(&data), key(&data));
            let walked: usize = obus(&data).map(|obu| obu.bytes.len()).sum();
            prop_assert!(walked <= data.len());
        }
    }
}
