//! `av1C`: AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding 2.3).

use super::boxes::write_box;
use super::entry::VideoConfig;
use super::init::InitError;
use crate::es::av1::{ColourConfig, SequenceHeader, obu_type, obus};
use crate::es::picture::Colour;
use bytes::Bytes;

/// The `av1C` of these parameter sets: one, the sequence header OBU with its header and size.
pub fn config(parameter_sets: &[Bytes]) -> Result<VideoConfig, InitError> {
    let set = parameter_sets.first().ok_or(InitError::Params("no sequence header OBU"))?;
    // configOBUs must have a size, so one without is refused.
    let obu = obus(set).next().filter(|obu| obu.kind == obu_type::SEQUENCE_HEADER && obu.has_size());
    let sequence = obu.and_then(|obu| SequenceHeader::parse(obu.payload));
    let sequence = sequence.ok_or(InitError::Params("sequence header OBU"))?;
    let mut config_box = Vec::new();
    write_box(&mut config_box, b"av1C", |out| {
        out.push(0x80 | 1); // marker (1), version (7)
        out.push(sequence.profile << 5 | sequence.level_idx); // seq_profile (3), seq_level_idx_0 (5)
        out.push((sequence.high_tier as u8) << 7 | colour_bits(&sequence.colour)); // seq_tier_0 (1)
        out.push(0); // reserved (3), initial_presentation_delay_present (1): 0, reserved (4)
        out.extend_from_slice(set); // configOBUs
    });
    Ok(VideoConfig { config_box, colour: described(&sequence.colour) })
}

/// high_bitdepth, twelve_bit, monochrome, chroma_subsampling_x, chroma_subsampling_y (1 each), chroma_sample_position (2).
fn colour_bits(colour: &ColourConfig) -> u8 {
    let flags =
        [colour.bit_depth > 8, colour.bit_depth == 12, colour.mono_chrome, colour.subsampling_x, colour.subsampling_y];
    flags.iter().fold(0, |bits, &flag| bits << 1 | flag as u8) << 2 | colour.chroma_sample_position
}

fn described(colour: &ColourConfig) -> Option<Colour> {
    let (primaries, transfer, matrix) = colour.description?;
    Some(Colour { primaries, transfer, matrix, full_range: colour.full_range }).filter(Colour::is_specified)
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
