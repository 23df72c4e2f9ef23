//! Samples as the rings hold them (Annex B, ADTS, sync frames) to samples as ISO BMFF wants them.
//!
//! What it deliberately does not do: look whether a unit is whole, or change a byte inside one.

use crate::es::av1::{self, obu_type};
use crate::es::{Codec, nal};

/// Appends the sample's ISO BMFF form to `out` and says how many bytes that was; 0: nothing of it is left, there is no sample.
///
/// `header_len`: bytes of framing in front of the raw frame ([`crate::es::SampleMeta::header_len`]). H.264 and H.265 become
/// length-prefixed NAL units (four bytes each) without parameter sets, access unit delimiters and filler, as `avc1` and `hvc1` want them.
pub fn convert(codec: Codec, data: &[u8], header_len: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let raw = data.get(header_len as usize..).unwrap_or_default();
    match codec {
        Codec::H264 => append_units(raw, is_avc1_unit, out),
        Codec::H265 => append_units(raw, is_hvc1_unit, out),
        Codec::Av1 => append_obus(raw, out),
        _ => out.extend_from_slice(raw),
    }
    out.len() - start
}

/// NAL units of a byte stream (ISO/IEC 14496-15 5.3.3 and 8.3.3): lengthSizeMinusOne is 3.
fn append_units(data: &[u8], keeps: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    // Start codes of three bytes, one unit after the other, would grow by a byte each; a picture has few units.
    out.reserve(data.len() + 64);
    for unit in nal::units(data).filter(|unit| keeps(unit)) {
        out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        out.extend_from_slice(unit);
    }
}

/// What `avc1` samples hold (14496-15 5.3.2, ISO/IEC 14496-10 table 7-1).
///
/// 7, 8 and 13 (parameter sets) stand in `avcC`; 9 (delimiter) and 12 (filler) are not to be stored. 10 and 11 (end of sequence, of stream):
/// what follows is an IDR picture with or without them, and hardware decoders have been seen to drain at them in the middle of a stream.
fn is_avc1_unit(unit: &[u8]) -> bool {
    unit.first().is_some_and(|header| !matches!(header & 0x1f, 7..=13))
}

/// What `hvc1` samples hold (14496-15 8.3.2, ISO/IEC 23008-2 table 7-1).
///
/// 32 to 34 (parameter sets) stand in `hvcC`; 35 (delimiter) and 38 (filler) are not to be stored. 36 and 37 (end of sequence, of
/// bitstream) stay: by them a decoder knows that the CRA picture behind has no use for its RASL pictures (NoRaslOutputFlag, 8.1.3), whose
/// references are of the sequence before.
fn is_hvc1_unit(unit: &[u8]) -> bool {
    matches!(unit, [header, _, ..] if !matches!(header >> 1 & 0x3f, 32..=35 | 38))
}

/// What an `av01` sample does not hold (AV1 in ISOBMFF 2.4).
const OBU_TYPES_LEFT_OUT: [u8; 4] =
    [obu_type::TEMPORAL_DELIMITER, obu_type::REDUNDANT_FRAME_HEADER, obu_type::TILE_LIST, obu_type::PADDING];

/// The OBUs of a temporal unit in the low-overhead format (AV1 5.2), which is that of the sample too. What cannot be told apart, because a
/// size points past the end, is kept as it is.
fn append_obus(data: &[u8], out: &mut Vec<u8>) {
    let mut whole = 0;
    for obu in av1::obus(data) {
        whole += obu.bytes.len();
        if !OBU_TYPES_LEFT_OUT.contains(&obu.kind) {
            out.extend_from_slice(obu.bytes);
        }
    }
    out.extend_from_slice(&data[whole..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(codec: Codec, data: &[u8], header_len: u8) -> Vec<u8> {
        let mut out = vec![0xee];
        let len = convert(codec, data, header_len, &mut out);
        assert_eq!(len, out.len() - 1);
        out.split_off(1)
    }

    #[test]
    fn h264_units_get_lengths_and_those_of_the_entry_go() {
        let data = [
            &[0, 0, 0, 1, 0x09, 0xf0][..],      // delimiter
            &[0, 0, 0, 1, 0x67, 0x42],          // SPS
            &[0, 0, 1, 0x68, 0xce],             // PPS
            &[0, 0, 1, 0x06, 0x05, 0x80, 0, 0], // SEI, trailing zeros
            &[0, 0, 1, 0x0c, 0xff, 0x80],       // filler
            &[0, 0, 1, 0x65, 0x88, 0, 0, 3, 0], // IDR slice
            &[0, 0, 1, 0x0a, 0, 0, 1, 0x0b],    // end of sequence, end of stream
        ];
        let expected = [0, 0, 0, 3, 0x06, 0x05, 0x80, 0, 0, 0, 5, 0x65, 0x88, 0, 0, 3];
        assert_eq!(converted(Codec::H264, &data.concat(), 0), expected);
        assert_eq!(converted(Codec::H264, &[0, 0, 0, 1, 0x09, 0xf0], 0), [0u8; 0]);
        assert_eq!(converted(Codec::H264, &[1, 2, 3], 0), [0u8; 0], "no start code, no unit");
    }

    #[test]
    fn h265_keeps_the_end_of_a_sequence() {
        let unit = |kind: u8| vec![0, 0, 1, kind << 1, 1, 0xaa];
        let kept = |kind: u8| vec![0, 0, 0, 3, kind << 1, 1, 0xaa];
        let data: Vec<u8> = [35, 32, 33, 34, 39, 38, 21, 40, 36, 37].into_iter().flat_map(unit).collect();
        let expected: Vec<u8> = [39, 21, 40, 36, 37].into_iter().flat_map(kept).collect();
        assert_eq!(converted(Codec::H265, &data, 0), expected);
        assert_eq!(converted(Codec::H265, &[0, 0, 1, 0x26], 0), [0u8; 0], "a header has two bytes");
    }

    #[test]
    fn av1_loses_its_temporal_delimiter() {
        // delimiter, sequence header of 2 bytes, padding of 1, frame with an extension byte and no size
        let data = [0x12, 0, 0x0a, 2, 0xaa, 0xbb, 0x7a, 1, 0x80, 0x34, 0x08, 1, 2, 3];
        assert_eq!(converted(Codec::Av1, &data, 0), [0x0a, 2, 0xaa, 0xbb, 0x34, 0x08, 1, 2, 3]);
        assert_eq!(converted(Codec::Av1, &[0x32, 9, 1], 0), [0x32, 9, 1], "a size past the end");
    }

    #[test]
    fn headers_of_frames_go() {
        assert_eq!(converted(Codec::Aac, &[0xff, 0xf1, 0, 0, 0, 0, 0, 0x21, 0x22], 7), [0x21, 0x22]);
        assert_eq!(converted(Codec::Aac, &[0xff, 0xf1], 7), [0u8; 0]);
        assert_eq!(converted(Codec::Eac3, &[0x0b, 0x77, 0, 0], 0), [0x0b, 0x77, 0, 0], "zeros of a frame stay");
    }

    /// Annex B the slow way: cut at every 00 00 01, cut zeros off the ends.
    fn naive(data: &[u8], keeps: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let codes: Vec<usize> = (0..data.len().saturating_sub(2)).filter(|&i| data[i..i + 3] == [0, 0, 1]).collect();
        let mut out = Vec::new();
        for (index, code) in codes.iter().enumerate() {
            let mut unit = data[code + 3..codes.get(index + 1).copied().unwrap_or(data.len())].to_vec();
            while unit.last() == Some(&0) {
                unit.pop();
            }
            if keeps(&unit) {
                out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
                out.extend_from_slice(&unit);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_bytes_convert_as_the_naive_way_says(
            data in proptest::collection::vec(prop_oneof![3 => 0u8..2, 1 => any::<u8>()], 0..300),
        ) {
            prop_assert_eq!(converted(Codec::H264, &data, 0), naive(&data, is_avc1_unit));
            prop_assert_eq!(converted(Codec::H265, &data, 0), naive(&data, is_hvc1_unit));
        }

        #[test]
        fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..100), header_len: u8) {
            for codec in [Codec::H264, Codec::H265, Codec::Av1, Codec::Aac, Codec::Flac] {
                converted(codec, &data, header_len);
            }
        }
    }
}
