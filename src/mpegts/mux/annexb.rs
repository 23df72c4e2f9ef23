//! What H.264 and H.265 need in a transport stream beyond the sample's own bytes: an access unit delimiter in front of
//! each access unit (ISO/IEC 13818-1 2.14.1, 2.17.1) and parameter sets at every point a viewer may join.
//!
//! What it deliberately does not do: change a byte of the sample.

use crate::es::{Codec, Key, Params, Track};

/// start code, nal_unit_type 9, primary_pic_type 7 (any slice type), stop bit.
const AUD_H264: [u8; 6] = [0, 0, 0, 1, 0x09, 0xf0];
/// start code, nal_unit_type 35 in layer 0, temporal id 1, pic_type 2 (any slice type), stop bit.
const AUD_H265: [u8; 7] = [0, 0, 0, 1, 0x46, 0x01, 0x50];

/// A sample with what is to stand before it and inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dressed<'a> {
    /// Access unit delimiter to put first, or nothing.
    pub delimiter: &'static [u8],
    /// The sample's own delimiter, when parameter sets go behind it.
    pub front: &'a [u8],
    pub parameter_sets: &'a [u8],
    pub rest: &'a [u8],
}

/// Parameter sets of a track in Annex B form; empty when it has none or is of another codec.
pub fn parameter_sets(track: &Track) -> Vec<u8> {
    match (&track.params, track.codec) {
        (Some(Params::Video(video)), Codec::H264 | Codec::H265) => {
            video.parameter_sets.iter().flat_map(|set| [&[0, 0, 0, 1], &set[..]].concat()).collect()
        }
        _ => Vec::new(),
    }
}

/// Finds what `data`, one access unit, lacks. `parameter_sets` are used at key samples only.
pub fn dress<'a>(codec: Codec, key: Key, data: &'a [u8], parameter_sets: &'a [u8]) -> Dressed<'a> {
    let plain = Dressed { delimiter: &[], front: &[], parameter_sets: &[], rest: data };
    if !matches!(codec, Codec::H264 | Codec::H265) {
        return plain;
    }
    let Some(first) = next_nal(data, 0) else { return plain };
    let has_delimiter = kind_of(codec, data[first]) == Nal::Delimiter;
    let own: &'static [u8] = if codec == Codec::H264 { &AUD_H264 } else { &AUD_H265 };
    let delimiter = if has_delimiter { &[] } else { own };
    if key == Key::None || parameter_sets.is_empty() || has_parameter_sets(codec, data, first) {
        return Dressed { delimiter, ..plain };
    }
    let split = if has_delimiter { delimiter_end(data, first) } else { 0 };
    let (front, rest) = data.split_at(split);
    Dressed { delimiter, front, parameter_sets, rest }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nal {
    Slice,
    Sps,
    Delimiter,
    Other,
}

fn kind_of(codec: Codec, header: u8) -> Nal {
    match (codec, header & 0x1f, header >> 1 & 0x3f) {
        (Codec::H264, 1..=5, _) | (Codec::H265, _, 0..=31) => Nal::Slice,
        (Codec::H264, 7, _) | (Codec::H265, _, 33) => Nal::Sps,
        (Codec::H264, 9, _) | (Codec::H265, _, 35) => Nal::Delimiter,
        _ => Nal::Other,
    }
}

fn has_parameter_sets(codec: Codec, data: &[u8], first: usize) -> bool {
    let mut at = Some(first);
    while let Some(header) = at {
        match kind_of(codec, data[header]) {
            Nal::Sps => return true,
            Nal::Slice => return false,
            Nal::Delimiter | Nal::Other => at = next_nal(data, header),
        }
    }
    false
}

/// Index of the header byte of the next NAL unit at or behind `from`.
fn next_nal(data: &[u8], from: usize) -> Option<usize> {
    let found = data.get(from..)?.windows(3).position(|w| w == [0, 0, 1])?;
    let header = from + found + 3;
    (header < data.len()).then_some(header)
}

/// Index of the start code behind the delimiter whose header is at `header`, its leading zero included.
fn delimiter_end(data: &[u8], header: usize) -> usize {
    match next_nal(data, header) {
        Some(next) if data[next - 4] == 0 => next - 4,
        Some(next) => next - 3,
        None => data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PPS_SPS: &[u8] = &[0, 0, 0, 1, 0x67, 0x64, 0, 0, 0, 1, 0x68, 0xee];

    #[test]
    fn a_sample_without_delimiter_gets_one() {
        let slice = [0, 0, 1, 0x41, 0x9a];
        let dressed = dress(Codec::H264, Key::None, &slice, PPS_SPS);
        assert_eq!(dressed.delimiter, AUD_H264);
        assert_eq!((dressed.front, dressed.parameter_sets, dressed.rest), (&[][..], &[][..], &slice[..]));
        let slice = [0, 0, 1, 0x02, 0x01, 0xd0]; // H.265 TRAIL_R
        assert_eq!(dress(Codec::H265, Key::None, &slice, &[]).delimiter, AUD_H265);
    }

    #[test]
    fn parameter_sets_go_behind_the_samples_own_delimiter() {
        let idr = [0, 0, 0, 1, 0x09, 0x10, 0, 0, 0, 1, 0x65, 0x88];
        let dressed = dress(Codec::H264, Key::Idr, &idr, PPS_SPS);
        assert!(dressed.delimiter.is_empty());
        assert_eq!((dressed.front, dressed.parameter_sets, dressed.rest), (&idr[..6], PPS_SPS, &idr[6..]));
    }

    #[test]
    fn a_key_sample_that_brings_its_parameter_sets_is_left_alone() {
        // delimiter, SEI, SPS, IDR slice
        let idr = [0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x06, 0x05, 0, 0, 1, 0x67, 0x64, 0, 0, 1, 0x65, 0x88];
        let dressed = dress(Codec::H264, Key::Idr, &idr, PPS_SPS);
        assert_eq!(dressed, Dressed { delimiter: &[], front: &[], parameter_sets: &[], rest: &idr });
    }

    #[test]
    fn other_codecs_and_garbage_pass_untouched() {
        for codec in [Codec::Mpeg2Video, Codec::H264] {
            assert_eq!(dress(codec, Key::Idr, &[1, 2, 3], PPS_SPS).rest, [1, 2, 3]);
        }
    }
}
