//! What the video codecs share: sample aspect ratios, fractions and a bounded store of parameter sets.
//!
//! What it deliberately does not do: parse anything that a codec has to itself.

use super::bits::BitReader;
use crate::limits::PARAMETER_SETS_BYTES_MAX;
use bytes::Bytes;
use std::collections::BTreeMap;

/// aspect_ratio_idc of ISO/IEC 23091-2 (table E-1 of H.264 and H.265), 0 being "unspecified".
const SAMPLE_ASPECT_RATIOS: [(u32, u32); 17] = [
    (1, 1),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// Sample aspect ratio of an aspect_ratio_idc other than Extended_SAR; square when reserved.
fn sample_aspect_ratio(idc: u32) -> (u32, u32) {
    SAMPLE_ASPECT_RATIOS.get(idc as usize).copied().unwrap_or((1, 1))
}

/// aspect_ratio_idc whose ratio follows in two 16-bit fields.
const EXTENDED_SAR: u32 = 255;

/// How sample values stand for colours: code points of ISO/IEC 23091-2 (ITU-T H.273), which H.264, H.265, VP9 and AV1 share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// colour_primaries.
    pub primaries: u8,
    /// transfer_characteristics.
    pub transfer: u8,
    /// matrix_coefficients.
    pub matrix: u8,
    /// video_full_range_flag.
    pub full_range: bool,
}

impl Colour {
    /// Whether the code points say more than "unspecified" (2 in each of the three tables).
    pub fn is_specified(&self) -> bool {
        (self.primaries, self.transfer, self.matrix) != (2, 2, 2)
    }
}

/// What the head of vui_parameters says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VuiHead {
    /// Sample aspect ratio, (1, 1) when the stream names none.
    pub sar: (u32, u32),
    /// `None` when there is no colour_description.
    pub colour: Option<Colour>,
}

impl Default for VuiHead {
    fn default() -> Self {
        VuiHead { sar: (1, 1), colour: None }
    }
}

/// The head of vui_parameters, up to the chroma sample location: the same bits in H.264 (E.1.1) and H.265 (E.2.1). Fills `head` with what the
/// stream names, even where the bits end behind it. `None` when they end.
pub fn read_vui_head(bits: &mut BitReader<'_>, head: &mut VuiHead) -> Option<()> {
    if bits.flag()? {
        head.sar = match bits.bits(8)? {
            EXTENDED_SAR => reduced(bits.bits(16)? as u64, bits.bits(16)? as u64).unwrap_or((1, 1)),
            idc => sample_aspect_ratio(idc),
        };
    }
    if bits.flag()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.skip(3)?; // video_format
        let full_range = bits.flag()?;
        if bits.flag()? {
            let [primaries, transfer, matrix] = [bits.bits(8)?, bits.bits(8)?, bits.bits(8)?].map(|code| code as u8);
            head.colour = Some(Colour { primaries, transfer, matrix, full_range });
        }
    }
    if bits.flag()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?;
    }
    Some(())
}

/// The fraction in lowest terms; `None` when a part is 0 or does not fit 32 bits.
pub fn reduced(numerator: u64, denominator: u64) -> Option<(u32, u32)> {
    if numerator == 0 || denominator == 0 {
        return None;
    }
    let divisor = greatest_common_divisor(numerator, denominator);
    Some((u32::try_from(numerator / divisor).ok()?, u32::try_from(denominator / divisor).ok()?))
}

/// Frames a second as a fraction in lowest terms; `None` outside 1 to 300, as some encoders write a clock rate there.
pub fn frame_rate(frames: u64, seconds: u64) -> Option<(u32, u32)> {
    reduced(frames, seconds).filter(|_| frames >= seconds && frames / seconds <= FRAME_RATE_MAX)
}

/// Most frames a second that are believed.
const FRAME_RATE_MAX: u64 = 300;

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Parameter sets by kind and id, with what was parsed from each. Holds at most [`PARAMETER_SETS_BYTES_MAX`] bytes.
#[derive(Debug)]
pub struct ParameterSets<T> {
    sets: BTreeMap<(u8, u32), (Bytes, T)>,
    bytes: usize,
}

impl<T> Default for ParameterSets<T> {
    fn default() -> Self {
        ParameterSets { sets: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> ParameterSets<T> {
    /// Whether these bytes are news. What may have lost bytes never replaces what is held.
    pub fn wants(&self, kind: u8, id: u32, unit: &[u8], corrupt: bool) -> bool {
        self.sets.get(&(kind, id)).is_none_or(|(held, _)| !corrupt && held != unit)
    }

    /// Takes a set in. When there is no room, all others go: a live source sends its sets again with every key picture.
    pub fn insert(&mut self, kind: u8, id: u32, unit: &[u8], parsed: T) {
        if unit.len() > PARAMETER_SETS_BYTES_MAX {
            return;
        }
        if let Some((held, _)) = self.sets.remove(&(kind, id)) {
            self.bytes -= held.len();
        }
        if self.bytes + unit.len() > PARAMETER_SETS_BYTES_MAX {
            self.sets.clear();
            self.bytes = 0;
        }
        self.bytes += unit.len();
        self.sets.insert((kind, id), (Bytes::copy_from_slice(unit), parsed));
    }

    pub fn find(&self, kind: u8, id: u32) -> Option<&T> {
        self.sets.get(&(kind, id)).map(|(_, parsed)| parsed)
    }

    /// The bytes and contents of all sets of a kind, by id.
    pub fn of_kind(&self, kind: u8) -> impl Iterator<Item = (u32, &Bytes, &T)> {
        self.sets.range((kind, 0)..=(kind, u32::MAX)).map(|(&(_, id), (unit, parsed))| (id, unit, parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_bounded_and_replaced_by_id() {
        let mut sets = ParameterSets::default();
        for id in 0..100 {
            sets.insert(7, id, &[id as u8; 1000], id);
            assert!(sets.bytes <= PARAMETER_SETS_BYTES_MAX);
        }
        assert!(!sets.wants(7, 99, &[99; 1000], false));
        assert!(sets.wants(7, 99, &[1], false) && !sets.wants(7, 99, &[1], true) && sets.wants(7, 100, &[1], true));
        sets.insert(7, 99, &[1], 1);
        assert_eq!(sets.find(7, 99), Some(&1));
        sets.insert(8, 0, &[0; PARAMETER_SETS_BYTES_MAX + 1], 0);
        assert_eq!(sets.find(8, 0), None);
        assert_eq!(sets.bytes, sets.of_kind(7).map(|(_, unit, _)| unit.len()).sum::<usize>());
    }

    #[test]
    fn fractions_in_lowest_terms() {
        assert_eq!(reduced(60_000, 2_002), Some((30_000, 1_001)));
        assert_eq!(reduced(0, 1), None);
        assert_eq!(reduced(1 << 40, 1), None);
        assert_eq!(frame_rate(60_000, 2_002), Some((30_000, 1_001)));
        assert_eq!(frame_rate(2_000_000, 2), None);
    }
}
