//! `hvcC`: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1).

use super::avc::put_set;
use super::boxes::{put_u16, write_box};
use super::entry::VideoConfig;
use super::init::InitError;
use crate::es::h265::sps::Sps;
use crate::es::nal;
use bytes::Bytes;

/// nal_unit_type (ISO/IEC 23008-2 table 7-1) of VPS, SPS and PPS, in the order of the arrays.
const NAL_TYPES: [u8; 3] = [32, 33, 34];
const NAL_SPS: u8 = 33;
/// Bytes of a NAL unit header.
const HEADER_BYTES: usize = 2;

/// The `hvcC` of these parameter sets, NAL units without start codes.
pub fn config(parameter_sets: &[Bytes]) -> Result<VideoConfig, InitError> {
    let of_kind = |kind: u8| {
        let is_kind = move |set: &&Bytes| set.len() > HEADER_BYTES && set[0] >> 1 & 0x3f == kind;
        parameter_sets.iter().filter(is_kind).filter(|set| set.len() <= u16::MAX as usize)
    };
    if NAL_TYPES.iter().any(|&kind| of_kind(kind).next().is_none()) {
        return Err(InitError::Params("no VPS, SPS or PPS"));
    }
    let mut rbsp = Vec::new();
    let first = of_kind(NAL_SPS).next().map_or(&[][..], |set| &set[HEADER_BYTES..]);
    nal::unescape(first, &mut rbsp);
    let sps = Sps::parse(&rbsp).ok_or(InitError::Params("SPS"))?;
    // sps_video_parameter_set_id (4), sps_max_sub_layers_minus1 (3), sps_temporal_id_nesting_flag (1), and the general part of
    // profile_tier_level (7.3.3), whose twelve bytes stand in the record as they are.
    let Some((&[layers, ref general @ ..], _)) = rbsp.split_first_chunk::<13>() else {
        return Err(InitError::Params("SPS"));
    };
    let mut config_box = Vec::new();
    write_box(&mut config_box, b"hvcC", |out| {
        out.push(1); // configurationVersion
        out.extend_from_slice(general); // general_profile_space .. general_level_idc
        put_u16(out, 0xf000); // reserved (4), min_spatial_segmentation_idc (12): 0, not known
        out.push(0xfc); // reserved (6), parallelismType (2): 0, not known
        out.push(0xfc | sps.chroma_format_idc); // reserved (6), chroma_format_idc (2)
        out.push(0xf8 | sps.bit_depth_luma_minus8 & 7); // reserved (5), bit_depth_luma_minus8 (3)
        out.push(0xf8 | sps.bit_depth_chroma_minus8 & 7); // reserved (5), bit_depth_chroma_minus8 (3)
        put_u16(out, 0); // avgFrameRate: not known
        // constantFrameRate (2): 0, not known; numTemporalLayers (3); temporalIdNested (1); lengthSizeMinusOne (2)
        out.push(((layers >> 1 & 7) + 1) << 3 | (layers & 1) << 2 | 3);
        out.push(NAL_TYPES.len() as u8); // numOfArrays
        for kind in NAL_TYPES {
            out.push(0x80 | kind); // array_completeness (1): none in the samples of hvc1; reserved (1); NAL_unit_type (6)
            put_u16(out, of_kind(kind).take(u16::MAX as usize).count() as u16); // numNalus
            of_kind(kind).take(u16::MAX as usize).for_each(|set| put_set(out, set));
        }
    });
    Ok(VideoConfig { config_box, colour: sps.colour })
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    /// Main 10, level 93, one sub-layer, nested, as x265 writes it: emulation prevention in the constraint flags.
    const SPS: &[u8] = &[
        0x42,
        0x01, // header
        0x01, // VPS 0, sub-layers less one 0, nested
        0x02,
        0x20,
        0x00,
        0x00,
        0x03,
        0x00,
        0x90,
        0x00,
        0x00,
        0x03,
        0x00,
        0x00,
        0x03,
        0x00,
        0x5d, // general, level 93
        // id 0: 1, chroma 1: 010, width 64: 0000001000001, height 48: 00000110001, no crop: 0, depths 10: 011 011, then what is left
        0b1_010_0000,
        0b00100000,
        0b1_0000011,
        0b0001_0_011,
        0b011_00000,
    ];
    const VPS: &[u8] = &[0x40, 0x01, 0x0c];
    const PPS: &[u8] = &[0x44, 0x01, 0xc1];

    #[test]
    fn the_record_of_a_main_10_stream() {
        let sets: Vec<Bytes> = [PPS, SPS, VPS].map(Bytes::from_static).into();
        let config = config(&sets).unwrap();
        let expected = [
            b"hvcC",
            &[1, 0x02, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x5d][..],
            &[0xf0, 0, 0xfc, 0xfd, 0xfa, 0xfa, 0, 0, 0x0f, 3],
            &[0xa0, 0, 1, 0, 3],
            VPS,
            &[0xa1, 0, 1, 0, 23],
            SPS,
            &[0xa2, 0, 1, 0, 3],
            PPS,
        ];
        assert_eq!(config.config_box[4..], expected.concat());
    }

    #[test]
    fn sets_that_are_missing_or_broken() {
        for bad in [&[VPS, SPS][..], &[SPS, PPS], &[VPS, PPS], &[VPS, PPS, &SPS[..10]], &[&[0x42, 1], VPS, PPS], &[]] {
            let sets: Vec<Bytes> = bad.iter().map(|set| Bytes::copy_from_slice(set)).collect();
            assert!(config(&sets).is_err(), "{bad:02x?}");
        }
    }
}
