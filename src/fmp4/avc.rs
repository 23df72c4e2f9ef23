//! `avcC`: AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.2.1).

use super::boxes::{put_u16, write_box};
use super::entry::VideoConfig;
use super::init::InitError;
use crate::es::h264::sps::Sps;
use crate::es::nal;
use bytes::Bytes;

/// nal_unit_type (ISO/IEC 14496-10 table 7-1).
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
/// Most sets that the counts hold: five bits of SPS, eight of PPS.
const SPS_MAX: usize = 31;
const PPS_MAX: usize = 255;
/// Profiles without the fields on chroma and depth at the end: Baseline, Main, Extended.
const PROFILES_WITHOUT_CHROMA: [u8; 3] = [66, 77, 88];

/// The `avcC` of these parameter sets, NAL units without start codes.
pub fn config(parameter_sets: &[Bytes]) -> Result<VideoConfig, InitError> {
    let of_kind = |kind: u8| {
        let is_kind = move |set: &&Bytes| set.first().is_some_and(|header| header & 0x1f == kind);
        parameter_sets.iter().filter(is_kind).filter(|set| set.len() <= u16::MAX as usize)
    };
    let first = of_kind(NAL_SPS).next().ok_or(InitError::Params("no SPS"))?;
    if of_kind(NAL_PPS).next().is_none() {
        return Err(InitError::Params("no PPS"));
    }
    let mut rbsp = Vec::with_capacity(first.len());
    nal::unescape(&first[1..], &mut rbsp);
    let sps = Sps::parse(&rbsp).ok_or(InitError::Params("SPS"))?;
    let mut config_box = Vec::new();
    write_box(&mut config_box, b"avcC", |out| {
        out.push(1); // configurationVersion
        out.push(sps.profile_idc); // AVCProfileIndication
        out.push(sps.constraints); // profile_compatibility
        out.push(sps.level_idc); // AVCLevelIndication
        out.push(0xfc | 3); // reserved (6), lengthSizeMinusOne (2)
        out.push(0xe0 | of_kind(NAL_SPS).take(SPS_MAX).count() as u8); // reserved (3), numOfSequenceParameterSets (5)
        of_kind(NAL_SPS).take(SPS_MAX).for_each(|set| put_set(out, set));
        out.push(of_kind(NAL_PPS).take(PPS_MAX).count() as u8); // numOfPictureParameterSets
        of_kind(NAL_PPS).take(PPS_MAX).for_each(|set| put_set(out, set));
        if !PROFILES_WITHOUT_CHROMA.contains(&sps.profile_idc) {
            out.push(0xfc | sps.chroma.format_idc); // reserved (6), chroma_format (2)
            out.push(0xf8 | sps.chroma.bit_depth_luma_minus8); // reserved (5), bit_depth_luma_minus8 (3)
            out.push(0xf8 | sps.chroma.bit_depth_chroma_minus8); // reserved (5), bit_depth_chroma_minus8 (3)
            out.push(0); // numOfSequenceParameterSetExt
        }
    });
    Ok(VideoConfig { config_box, colour: sps.colour })
}

/// A parameter set with its 16-bit length.
pub fn put_set(out: &mut Vec<u8>, set: &[u8]) {
    put_u16(out, set.len() as u16);
    out.extend_from_slice(set);
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    /// Baseline, constraint_set0 and 1, level 30, 64 x 48, no VUI.
    const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0b1101_1010, 0b0001_0001, 0b1110_0000];
    /// High, level 31: id 0 (1), chroma 1 (010), luma 10 bits (011), chroma 10 bits (011), bypass 0, matrix 0,
    /// then as above: 1, 1 011 010 0 00100 011 1 1 0; VUI 1: aspect 0, overscan 0, video signal 1: format 101, full range 1, colour 1: 9 16 9.
    const HIGH: &[u8] = &[
        0x67,
        0x6e,
        0x00,
        0x1f,
        0b1_010_011_0,
        0b11_0_0_1_1_01,
        0b1_010_0_001,
        0b00_011_1_1_0,
        0b1_0_0_1_101_1,
        0b1_0000100,
        0b1_0001000,
        0b0_0000100,
        0b1_0000000,
    ];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

    fn sets(sets: &[&'static [u8]]) -> Vec<Bytes> {
        sets.iter().map(|set| Bytes::from_static(set)).collect()
    }

    #[test]
    fn baseline_ends_behind_its_sets() {
        let config = config(&sets(&[SPS, PPS, PPS])).unwrap();
        let expected =
            [&b"\0\0\0\x24avcC"[..], &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 7], SPS, &[2, 0, 4], PPS, &[0, 4], PPS];
        let expected = expected.concat();
        assert_eq!(config.config_box, expected);
        assert_eq!(expected.len(), 0x24);
        assert_eq!(config.colour, None);
    }

    #[test]
    fn high_profiles_say_chroma_and_depth() {
        let config = config(&sets(&[HIGH, PPS])).unwrap();
        assert_eq!(config.config_box[config.config_box.len() - 4..], [0xfd, 0xfa, 0xfa, 0]);
        let colour = config.colour.unwrap();
        assert_eq!((colour.primaries, colour.transfer, colour.matrix, colour.full_range), (9, 16, 9, true));
    }

    #[test]
    fn sets_that_are_missing_or_broken() {
        for bad in [&sets(&[PPS])[..], &sets(&[SPS]), &sets(&[&[0x67, 0x42], PPS]), &sets(&[&[], &[]])] {
            assert!(config(bad).is_err(), "{bad:?}");
        }
    }
}
