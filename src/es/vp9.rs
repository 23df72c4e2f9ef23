//! VP9 (Google "VP9 Bitstream & Decoding Process Specification" 0.7): superframes (Annex B), the uncompressed header (6.2), and the
//! configuration record and RFC 6381 string of "VP Codec ISO Media File Format Binding" 1.0.
//!
//! A sample is one frame or superframe. There is no mapping of VP9 to MPEG-TS: it is met in renditions that were transcoded.
//! What it deliberately does not do: read compressed headers, or know a level that only the bit rate or the tiles exceed.

use super::bits::{BitReader, BitWriter};
use super::{Key, VideoParams};
use bytes::Bytes;
use std::fmt::Write;

/// frame_sync_code.
const SYNC_CODE: u32 = 0x49_83_42;
/// color_space of RGB (7.2.2).
const CS_RGB: u32 = 7;
/// Frames a second that a level is chosen for when nobody says.
const FRAME_RATE_ASSUMED: (u32, u32) = (30, 1);
/// Most frames of a superframe (Annex B: three bits, less one).
const SUPERFRAME_FRAMES_MAX: usize = 8;

/// Level, MaxLumaSampleRate (luma samples a second), MaxLumaPictureSize (luma samples) and the longest side in pixels ("VP9 levels").
const LEVELS: [(u8, u64, u64, u32); 14] = [
    (10, 829_440, 36_864, 512),
    (11, 2_764_800, 73_728, 768),
    (20, 4_608_000, 122_880, 960),
    (21, 9_216_000, 245_760, 1_344),
    (30, 20_736_000, 552_960, 2_048),
    (31, 36_864_000, 983_040, 2_752),
    (40, 83_558_400, 2_228_224, 4_160),
    (41, 160_432_128, 2_228_224, 4_160),
    (50, 311_951_360, 8_912_896, 8_384),
    (51, 588_251_136, 8_912_896, 8_384),
    (52, 1_176_502_272, 8_912_896, 8_384),
    (60, 1_176_502_272, 35_651_584, 16_832),
    (61, 2_353_004_544, 35_651_584, 16_832),
    (62, 4_706_009_088, 35_651_584, 16_832),
];

/// chromaSubsampling of the configuration record. VP9 does not say where 4:2:0 chroma is sited: colocated is the binding's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChromaSubsampling {
    Colocated420 = 1,
    Yuv422 = 2,
    Yuv444 = 3,
    Yuv440 = 4,
}

/// color_config (6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColourConfig {
    /// 8, 10 or 12.
    pub bit_depth: u8,
    pub subsampling: ChromaSubsampling,
    /// colour_primaries, transfer_characteristics and matrix_coefficients (ISO/IEC 23091-2) that color_space stands for; 2: not said.
    pub description: (u8, u8, u8),
    pub full_range: bool,
}

/// What an uncompressed header says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Size in pixels.
    Key {
        colour: ColourConfig,
        width: u32,
        height: u32,
    },
    /// Needs no frame before it, but renews only some of the references of those after it.
    IntraOnly,
    Inter,
    /// show_existing_frame.
    Existing,
}

/// The beginning of an uncompressed header (6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// 0 ..= 3.
    pub profile: u8,
    /// The frame is put out, not only kept as a reference.
    pub shown: bool,
    pub kind: FrameKind,
}

impl FrameHeader {
    /// Reads the header of a frame, not of a superframe. `None` when it is cut short or none.
    pub fn parse(frame: &[u8]) -> Option<FrameHeader> {
        let mut bits = BitReader::new(frame);
        if bits.bits(2)? != 2 {
            return None; // frame_marker
        }
        let profile = (bits.bits(1)? | bits.bits(1)? << 1) as u8;
        if profile == 3 && bits.flag()? {
            return None; // reserved_zero
        }
        if bits.flag()? {
            return Some(FrameHeader { profile, shown: true, kind: FrameKind::Existing });
        }
        let (inter, shown, error_resilient) = (bits.flag()?, bits.flag()?, bits.flag()?);
        let kind = match inter {
            false => FrameKind::key(&mut bits, profile)?,
            true if !shown && bits.flag()? => {
                bits.skip(if error_resilient { 0 } else { 2 })?; // reset_frame_context
                (bits.bits(24)? == SYNC_CODE).then_some(FrameKind::IntraOnly)?
            }
            true => FrameKind::Inter,
        };
        Some(FrameHeader { profile, shown, kind })
    }
}

impl FrameKind {
    fn key(bits: &mut BitReader<'_>, profile: u8) -> Option<FrameKind> {
        if bits.bits(24)? != SYNC_CODE {
            return None;
        }
        let colour = ColourConfig::parse(bits, profile)?;
        let (width, height) = (bits.bits(16)? + 1, bits.bits(16)? + 1);
        Some(FrameKind::Key { colour, width, height })
    }
}

impl ColourConfig {
    fn parse(bits: &mut BitReader<'_>, profile: u8) -> Option<ColourConfig> {
        let bit_depth = match profile {
            2.. if bits.flag()? => 12,
            2.. => 10,
            _ => 8,
        };
        let space = bits.bits(3)?;
        let full_range = space == CS_RGB || bits.flag()?;
        let subsampling = match (profile & 1 == 1, space) {
            (false, CS_RGB) => return None, // 4:2:0 profiles have no RGB
            (false, _) => ChromaSubsampling::Colocated420,
            (true, CS_RGB) => ChromaSubsampling::Yuv444,
            (true, _) => match (bits.flag()?, bits.flag()?) {
                (false, false) => ChromaSubsampling::Yuv444,
                (true, false) => ChromaSubsampling::Yuv422,
                (false, true) => ChromaSubsampling::Yuv440,
                (true, true) => return None, // 4:2:0 is of the other profiles
            },
        };
        if profile & 1 == 1 {
            bits.skip(1)?; // reserved_zero
        }
        Some(ColourConfig { bit_depth, subsampling, description: description(space), full_range })
    }
}

/// The code points of a color_space (7.2.2). BT.2020 is used for HDR and other pictures alike: its transfer is not said.
fn description(space: u32) -> (u8, u8, u8) {
    match space {
        1 => (5, 6, 5), // BT.601, 625 lines
        2 => (1, 1, 1), // BT.709
        3 => (6, 6, 6), // SMPTE 170M
        4 => (7, 7, 7), // SMPTE 240M
        5 => (9, 2, 9), // BT.2020, non-constant luminance
        CS_RGB => (1, 13, 0),
        _ => (2, 2, 2),
    }
}

/// The frames of a superframe (Annex B), hidden ones included, or the one frame that the sample is.
pub fn frames(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (count, sizes) = superframe_index(sample).unwrap_or((1, [sample.len(); SUPERFRAME_FRAMES_MAX]));
    let mut rest = sample;
    sizes.into_iter().take(count).map_while(move |size| {
        let (frame, behind) = rest.split_at_checked(size)?;
        rest = behind;
        Some(frame)
    })
}

/// Number of frames and their sizes in bytes; `None` when the sample is one frame.
fn superframe_index(sample: &[u8]) -> Option<(usize, [usize; SUPERFRAME_FRAMES_MAX])> {
    // superframe_marker 110, frame_sizes_bytes_minus_1 (2 bits), frames_in_superframe_minus_1 (3 bits)
    let header = *sample.last()?;
    let (size_bytes, count) = ((header >> 3 & 3) as usize + 1, (header & 7) as usize + 1);
    let index = sample.get(sample.len().checked_sub(2 + count * size_bytes)?..)?;
    if header >> 5 != 0b110 || index.first() != Some(&header) {
        return None;
    }
    let mut sizes = [0; SUPERFRAME_FRAMES_MAX];
    for (size, bytes) in sizes.iter_mut().zip(index[1..index.len() - 1].chunks_exact(size_bytes)) {
        *size = bytes.iter().rev().fold(0, |value, &byte| value << 8 | byte as usize);
    }
    Some((count, sizes))
}

/// How a sample may be entered at: [`Key::Idr`] when its first frame is a key frame, shown or not.
pub fn key(sample: &[u8]) -> Key {
    match frames(sample).next().and_then(FrameHeader::parse) {
        Some(FrameHeader { kind: FrameKind::Key { .. }, .. }) => Key::Idr,
        _ => Key::None,
    }
}

/// Parameters from a sample that is a key; `None` for others. `frame_rate`: frames a second as a fraction, which the stream does not say and
/// the level depends on.
///
/// [`VideoParams::parameter_sets`] has one entry: the body of the `vpcC` box behind version and flags (VPCodecConfigurationRecord), 8 bytes.
pub fn params(sample: &[u8], frame_rate: Option<(u32, u32)>) -> Option<VideoParams> {
    let header = frames(sample).next().and_then(FrameHeader::parse)?;
    let FrameKind::Key { colour, width, height } = header.kind else { return None };
    let level = level(width, height, frame_rate.unwrap_or(FRAME_RATE_ASSUMED));
    Some(VideoParams {
        width,
        height,
        sar: (1, 1),
        frame_rate,
        interlaced: false,
        rfc6381: colour.rfc6381(header.profile, level),
        parameter_sets: vec![colour.configuration_record(header.profile, level)],
    })
}

/// The lowest level that holds size and rate; 6.2 for what none holds.
fn level(width: u32, height: u32, frame_rate: (u32, u32)) -> u8 {
    let picture = width as u64 * height as u64;
    let rate = picture * frame_rate.0 as u64 / (frame_rate.1 as u64).max(1);
    let holds = |&&(_, rate_max, picture_max, side_max): &&(u8, u64, u64, u32)| {
        rate <= rate_max && picture <= picture_max && width.max(height) <= side_max
    };
    LEVELS.iter().find(holds).map_or(62, |level| level.0)
}

impl ColourConfig {
    /// `vp09.PP.LL.DD`, and `.CC.cp.tc.mc.FF` behind it unless all of those have their default values: 4:2:0 colocated, BT.709, limited range.
    /// A stream that does not say its colour is not BT.709: it says 02, as its configuration record does.
    fn rfc6381(&self, profile: u8, level: u8) -> String {
        let mut text = format!("vp09.{profile:02}.{level:02}.{:02}", self.bit_depth);
        let (primaries, transfer, matrix) = self.description;
        let rest = (self.subsampling, self.description, self.full_range);
        if rest != (ChromaSubsampling::Colocated420, (1, 1, 1), false) {
            let (chroma, range) = (self.subsampling as u8, self.full_range as u8);
            // Writing into a String cannot fail.
            let _ = write!(text, ".{chroma:02}.{primaries:02}.{transfer:02}.{matrix:02}.{range:02}");
        }
        text
    }

    /// VPCodecConfigurationRecord.
    fn configuration_record(&self, profile: u8, level: u8) -> Bytes {
        let mut bytes = Vec::with_capacity(8);
        let mut bits = BitWriter::new(&mut bytes);
        bits.bits(profile as u32, 8);
        bits.bits(level as u32, 8);
        bits.bits(self.bit_depth as u32, 4);
        bits.bits(self.subsampling as u32, 3);
        bits.bits(self.full_range as u32, 1);
        bits.bits(self.description.0 as u32, 8); // colourPrimaries
        bits.bits(self.description.1 as u32, 8); // transferCharacteristics
        bits.bits(self.description.2 as u32, 8); // matrixCoefficients
        bits.bits(0, 16); // codecInitializationDataSize
        Bytes::from(bytes)
    }
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Profile 0 key frame, shown; sync code; color_space 2 (BT.709), limited range, 1920x1080.
    fn key_frame() -> Vec<u8> {
        let mut frame = vec![0b10_00_0_0_1_0, 0x49, 0x83, 0x42];
        let mut bits = BitWriter::new(&mut frame);
        [(2, 3), (0, 1), (1_919, 16), (1_079, 16), (0, 1)].iter().for_each(|&(value, count)| bits.bits(value, count));
        frame
    }

    #[test]
    fn a_key_frame_describes_the_stream() {
        let found = params(&key_frame(), Some((30, 1))).unwrap();
        assert_eq!((found.width, found.height, found.rfc6381.as_str()), (1_920, 1_080, "vp09.00.40.08"));
        // profile 0, level 40, bitDepth 8, chromaSubsampling 1, limited range, BT.709 three times, no initialization data
        assert_eq!(found.parameter_sets[0][..], [0, 40, 0b1000_001_0, 1, 1, 1, 0, 0]);
        assert_eq!(params(&key_frame(), Some((60, 1))).unwrap().rfc6381, "vp09.00.41.08");
        assert_eq!(key(&key_frame()), Key::Idr);
        for end in 0..9 {
            assert_eq!(params(&key_frame()[..end], None), None, "{end} bytes");
        }
    }

    #[test]
    fn profile_3_with_its_own_colour() {
        // frame_marker, profile 3, reserved 0, existing 0, key, shown, error_resilient 0; 12 bits, BT.2020, full range, 4:2:2, reserved
        let mut frame = Vec::new();
        let mut bits = BitWriter::new(&mut frame);
        [
            (2, 2),
            (3, 2),
            (0, 2),
            (0, 1),
            (1, 1),
            (0, 1),
            (SYNC_CODE, 24),
            (1, 1),
            (5, 3),
            (1, 1),
            (1, 1),
            (0, 1),
            (0, 1),
        ]
        .iter()
        .chain(&[(319, 16), (239, 16)])
        .for_each(|&(value, count)| bits.bits(value, count));
        let found = params(&frame, None).unwrap();
        assert_eq!(found.rfc6381, "vp09.03.20.12.02.09.02.09.01");
        assert_eq!(found.parameter_sets[0][..], [3, 20, 0b1100_010_1, 9, 2, 9, 0, 0]);
    }

    #[test]
    fn superframes_are_walked() {
        let key = key_frame();
        // A hidden inter frame: not shown, intra_only 0.
        let hidden = [0b10_00_0_1_0_0, 0, 0x55];
        let marker = 0b110_01_001; // two bytes a size, two frames
        let index = [marker, key.len() as u8, 0, hidden.len() as u8, 0, marker];
        let sample = [&key[..], &hidden, &index].concat();
        assert_eq!(frames(&sample).collect::<Vec<_>>(), [&key[..], &hidden]);
        assert_eq!(super::key(&sample), Key::Idr);
        let later = [&hidden[..], &key, &[marker, 3, 0, key.len() as u8, 0, marker]].concat();
        assert_eq!(super::key(&later), Key::None, "what is shown first needs earlier frames");
        let overlong = [&key[..], &[marker, 0xff, 0xff, 3, 0, marker]].concat();
        assert_eq!(frames(&overlong).count(), 0);
    }

    #[test]
    fn kinds_of_frames() {
        let kind = |bytes: &[u8]| FrameHeader::parse(bytes).map(|header| (header.kind, header.shown));
        assert_eq!(kind(&[0b10_00_1_010]), Some((FrameKind::Existing, true)));
        assert_eq!(kind(&[0b10_00_0_1_1_0, 0]), Some((FrameKind::Inter, true)));
        // not shown, intra_only, reset_frame_context 0, sync code
        assert_eq!(kind(&[0b10_00_0_1_0_0, 0b100_01001, 0x30, 0x68, 0x40]), Some((FrameKind::IntraOnly, false)));
        assert_eq!(kind(&[0b01_00_0_1_1_0, 0]), None);
        assert_eq!(super::key(&[]), Key::None);
    }

    #[test]
    fn levels_by_size_and_rate() {
        let cases = [
            ((256, 144), (15, 1), 10),
            ((640, 360), (30, 1), 21),
            ((1_280, 720), (30_000, 1_001), 31),
            ((1_920, 1_080), (60, 1), 41),
            ((3_840, 2_160), (60, 1), 51),
            ((65_536, 65_536), (300, 1), 62),
        ];
        for ((width, height), rate, expected) in cases {
            assert_eq!(level(width, height, rate), expected, "{width}x{height}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..40), rate in any::<(u32, u32)>()) {
            let marked = [&[0b10_00_0_0_1_0, 0x49, 0x83, 0x42][..], &data].concat();
            let _ = (key(&data), params(&data, Some(rate)), params(&marked, Some(rate)));
            let walked: usize = frames(&data).map(<[u8]>::len).sum();
            prop_assert!(walked <= data.len());
        }
    }
}
