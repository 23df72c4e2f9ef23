//! MPEG-2 and MPEG-1 video (ISO/IEC 13818-2 6.2, 11172-2): where a sample begins, how it may be entered, its parameters.
//!
//! A sample begins at the sequence header, else the group header, else the picture header, and holds both fields of a
//! frame. The RFC 6381 string is `mp4v.` with the object type indication of ISO/IEC 14496-1 table 5 (0x61 is Main profile,
//! 0x6a MPEG-1), as RFC 6381 3.3 has it for sample entries of that kind.
//!
//! What it deliberately does not do: read macroblocks, or count time codes.

use super::bits::BitReader;
use super::framer::video::{AccessUnits, Role};
use super::picture::{frame_rate, reduced};
use super::{Codec, Key, Params, VideoParams};
use crate::limits::PARAMETER_SETS_BYTES_MAX;
use bytes::Bytes;

/// Start code values of table 6-1.
mod code {
    pub const PICTURE: u8 = 0x00;
    pub const SLICE_FIRST: u8 = 0x01;
    pub const SLICE_LAST: u8 = 0xaf;
    pub const SEQUENCE_HEADER: u8 = 0xb3;
    pub const EXTENSION: u8 = 0xb5;
    pub const GROUP: u8 = 0xb8;
}

/// extension_start_code_identifier of table 6-2.
mod extension {
    pub const SEQUENCE: u8 = 1;
    pub const SEQUENCE_DISPLAY: u8 = 2;
    pub const PICTURE_CODING: u8 = 8;
}

/// picture_coding_type of an I picture (table 6-12).
const INTRA: u8 = 1;
/// picture_structure of a frame picture (table 6-14); 1 and 2 are top and bottom field.
const FRAME_PICTURE: u8 = 3;

/// frame_rate_code of table 6-4, from code 1 on.
const FRAME_RATES: [(u32, u32); 8] =
    [(24_000, 1_001), (24, 1), (25, 1), (30_000, 1_001), (30, 1), (50, 1), (60_000, 1_001), (60, 1)];

/// A picture header whose access unit is not decided yet, with the headers before it.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    sequence_header: bool,
    /// closed_gop of the group header, when there is one.
    closed_gop: Option<bool>,
    /// picture_coding_type, once the picture header came.
    coding_type: Option<u8>,
}

/// Which fields the sample in progress holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coded {
    /// A frame picture or both fields.
    Whole,
    /// The field of this picture_structure; the other may follow.
    Field(u8),
}

/// Tells where MPEG-2 video access units begin.
#[derive(Debug)]
pub struct Mpeg2Video {
    pending: Pending,
    /// picture_structure of the sample that was announced.
    structure: u8,
    coded: Coded,
    key: Key,
    /// The newest sequence header with its extensions, as in the stream.
    sequence: Vec<u8>,
    /// The one that `params` was made of.
    active_sequence: Bytes,
    /// Bytes of `sequence` may be missing.
    sequence_corrupt: bool,
    low_delay: bool,
    params: Option<Params>,
    params_version: u32,
}

impl Mpeg2Video {
    pub fn new() -> Self {
        Mpeg2Video {
            pending: Pending::default(),
            structure: FRAME_PICTURE,
            coded: Coded::Whole,
            key: Key::None,
            sequence: Vec::new(),
            active_sequence: Bytes::new(),
            sequence_corrupt: false,
            low_delay: false,
            params: None,
            params_version: 0,
        }
    }

    /// The picture whose header came says how it is coded.
    fn begin_picture_data(&mut self, structure: u8) -> Role {
        let Some(_) = self.pending.coding_type else { return Role::Within };
        let second = 3 - structure.min(2);
        if structure != FRAME_PICTURE && self.coded == Coded::Field(second) && !self.pending.sequence_header {
            self.coded = Coded::Whole;
            self.pending = Pending::default();
            return Role::Continues;
        }
        self.structure = structure;
        Role::NewSample
    }

    fn begin_extension(&mut self, prefix: &[u8]) -> Role {
        match *prefix {
            // Identifier and f_codes, intra_dc_precision and picture_structure at the end of the third byte.
            [_, first, _, third, ..] if first >> 4 == extension::PICTURE_CODING => {
                self.begin_picture_data(if third & 3 == 0 { FRAME_PICTURE } else { third & 3 })
            }
            _ => Role::Within,
        }
    }

    fn update_params(&mut self) {
        if self.sequence.is_empty() || self.sequence == self.active_sequence {
            return;
        }
        if self.sequence_corrupt && self.params.is_some() {
            return;
        }
        let Some((params, low_delay)) = describe(&self.sequence) else { return };
        self.active_sequence = Bytes::copy_from_slice(&self.sequence);
        self.low_delay = low_delay;
        let parameter_sets = vec![self.active_sequence.clone()];
        self.params = Some(Params::Video(VideoParams { parameter_sets, ..params }));
        self.params_version += 1;
    }
}

impl Default for Mpeg2Video {
    fn default() -> Self {
        Self::new()
    }
}

impl AccessUnits for Mpeg2Video {
    const CODEC: Codec = Codec::Mpeg2Video;
    const ZERO_BYTE: bool = false;

    fn begin(&mut self, prefix: &[u8]) -> Role {
        match prefix[0] {
            // A slice before any picture coding extension: MPEG-1.
            code::SLICE_FIRST..=code::SLICE_LAST => self.begin_picture_data(FRAME_PICTURE),
            code::PICTURE => {
                // temporal_reference (10 bits), picture_coding_type (3 bits)
                self.pending.coding_type = Some(prefix.get(2).map_or(0, |byte| byte >> 3 & 7));
                Role::LeadPicture
            }
            code::SEQUENCE_HEADER => {
                self.pending = Pending { sequence_header: true, ..Pending::default() };
                self.sequence.clear();
                Role::Lead
            }
            code::GROUP => {
                // time_code (25 bits), closed_gop, broken_link
                self.pending.closed_gop = prefix.get(4).map(|byte| byte & 0x40 != 0);
                Role::Lead
            }
            code::EXTENSION => self.begin_extension(prefix),
            _ => Role::Within,
        }
    }

    fn starts(&self, unit: &[u8]) -> bool {
        matches!(unit.first(), Some(&(code::PICTURE | code::SEQUENCE_HEADER | code::GROUP)))
    }

    fn end(&mut self, unit: &[u8], corrupt: bool) {
        let of_sequence = match *unit {
            [code::SEQUENCE_HEADER, ..] => true,
            [code::EXTENSION, ..] => self.pending.sequence_header && self.pending.coding_type.is_none(),
            _ => false,
        };
        if of_sequence && self.sequence.len() + 3 + unit.len() <= PARAMETER_SETS_BYTES_MAX {
            self.sequence_corrupt = corrupt || self.sequence_corrupt && unit[0] == code::EXTENSION;
            self.sequence.extend_from_slice(&[0, 0, 1]);
            self.sequence.extend_from_slice(super::nal::trim_zeros(unit));
        }
    }

    fn open(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.coded = if self.structure == FRAME_PICTURE { Coded::Whole } else { Coded::Field(self.structure) };
        self.update_params();
        let intra = pending.coding_type == Some(INTRA);
        self.key = match (intra && pending.sequence_header, pending.closed_gop.unwrap_or(self.low_delay)) {
            (false, _) => Key::None,
            (true, true) => Key::Idr,
            (true, false) => Key::RecoveryPoint,
        };
    }

    fn key(&self) -> Key {
        self.key
    }

    fn complete(&self) -> bool {
        self.coded == Coded::Whole
    }

    fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    fn params_version(&self) -> u32 {
        self.params_version
    }

    fn reset(&mut self) {
        self.pending = Pending::default();
        self.coded = Coded::Whole;
    }
}

/// What the sequence header and its extensions say (6.2.2.1, 6.2.2.3, 6.2.2.4).
#[derive(Debug, Default)]
struct Sequence {
    width: u32,
    height: u32,
    aspect: u32,
    frame_rate: (u64, u64),
    progressive: bool,
    low_delay: bool,
    /// profile_and_level_indication; `None` for MPEG-1.
    profile: Option<u32>,
    /// Size of the display that the aspect ratio is that of, when it is not the picture's.
    display: Option<(u32, u32)>,
}

/// Parameters of a sequence header with its extensions, and its low_delay flag.
fn describe(sequence: &[u8]) -> Option<(VideoParams, bool)> {
    let mut units = super::nal::units(sequence);
    let mut parsed = Sequence::parse(units.next()?)?;
    for unit in units {
        let _cut_short = parsed.extend(unit);
    }
    let params = VideoParams {
        width: parsed.width,
        height: parsed.height,
        sar: parsed.sar(),
        frame_rate: frame_rate(parsed.frame_rate.0, parsed.frame_rate.1),
        interlaced: !parsed.progressive,
        rfc6381: format!("mp4v.{:02x}", parsed.object_type()),
        parameter_sets: Vec::new(),
    };
    Some((params, parsed.low_delay))
}

impl Sequence {
    fn parse(unit: &[u8]) -> Option<Sequence> {
        let mut bits = BitReader::new(&unit[1..]);
        let (width, height) = (bits.bits(12)?, bits.bits(12)?);
        let aspect = bits.bits(4)?;
        let rate = bits.bits(4)?;
        let (frames, seconds) =
            (rate as usize).checked_sub(1).and_then(|code| FRAME_RATES.get(code)).copied().unwrap_or((0, 1));
        let frame_rate = (frames as u64, seconds as u64);
        (width > 0 && height > 0).then_some(Sequence {
            width,
            height,
            aspect,
            frame_rate,
            progressive: true,
            ..Default::default()
        })
    }

    fn extend(&mut self, unit: &[u8]) -> Option<()> {
        let mut bits = BitReader::new(&unit[1..]);
        match bits.bits(4)? as u8 {
            extension::SEQUENCE => {
                self.profile = Some(bits.bits(8)?);
                self.progressive = bits.flag()?;
                bits.skip(2)?; // chroma_format
                self.width |= bits.bits(2)? << 12;
                self.height |= bits.bits(2)? << 12;
                bits.skip(12 + 1 + 8)?; // bit_rate_extension, marker_bit, vbv_buffer_size_extension
                self.low_delay = bits.flag()?;
                self.frame_rate.0 *= bits.bits(2)? as u64 + 1;
                self.frame_rate.1 *= bits.bits(5)? as u64 + 1;
            }
            extension::SEQUENCE_DISPLAY => {
                bits.skip(3)?; // video_format
                if bits.flag()? {
                    bits.skip(24)?; // colour description
                }
                let width = bits.bits(14)?;
                bits.skip(1)?; // marker_bit
                let height = bits.bits(14)?;
                self.display = (width > 0 && height > 0).then_some((width, height));
            }
            _ => {}
        }
        Some(())
    }

    /// Sample aspect ratio from aspect_ratio_information, which is that of the display for MPEG-2 (6.3.3).
    fn sar(&self) -> (u32, u32) {
        let (across, down) = match (self.profile, self.aspect) {
            (Some(_), 2) => (4, 3),
            (Some(_), 3) => (16, 9),
            (Some(_), 4) => (221, 100),
            _ => return (1, 1),
        };
        let (width, height) = self.display.unwrap_or((self.width, self.height));
        reduced(across * height as u64, down * width as u64).unwrap_or((1, 1))
    }

    /// Object type indication of ISO/IEC 14496-1 table 5, by profile_and_level_indication (8.1 to 8.4).
    fn object_type(&self) -> u8 {
        match self.profile {
            None => 0x6a,
            Some(profile) if profile & 0x80 != 0 => 0x65,
            Some(profile) => match profile >> 4 & 7 {
                5 => 0x60,
                3 => 0x62,
                2 => 0x63,
                1 => 0x64,
                _ => 0x61,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::framer::{Frame, Framer, PesPayload};

    /// 720 x 576, 16:9, 25 frames a second; with the sequence extension of Main profile at Main level, interlaced.
    const SEQUENCE: [u8; 22] = [
        0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33, 0x24, 0x9f, 0x23, 0x81, // sequence header
        0, 0, 1, 0xb5, 0x14, 0x82, 0x00, 0x01, 0x00,
        0x80, // identifier 1, profile and level 0x48, interlaced, 4:2:0
    ];

    fn group(closed: bool) -> Vec<u8> {
        vec![0, 0, 1, 0xb8, 0, 8, 0, if closed { 0x40 } else { 0x01 }]
    }

    /// A picture header, its coding extension with picture_structure, and a slice.
    fn picture(coding_type: u8, structure: u8) -> Vec<u8> {
        let header = [0, 0, 1, 0, 0, coding_type << 3 | 7, 0xff, 0xf8];
        let extension = [0, 0, 1, 0xb5, 0x8f, 0xff, 0xf0 | structure, 0x41, 0x80];
        [&header[..], &extension, &[0, 0, 1, 1, 0xaa, 0xbb]].concat()
    }

    fn frames(stream: &[u8]) -> (Vec<(Vec<u8>, Key)>, Framer) {
        let mut framer = Framer::new(Codec::Mpeg2Video);
        let mut found = Vec::new();
        let mut emit = |frame: Frame<'_>| found.push((frame.data.to_vec(), frame.key));
        framer.push(PesPayload { data: stream, pts: None, dts: None, aligned: true, corrupt: false }, &mut emit);
        framer.flush(&mut emit);
        (found, framer)
    }

    #[test]
    fn a_sample_begins_at_its_first_header_and_holds_both_fields() {
        let closed = [&SEQUENCE[..], &group(true), &picture(INTRA, 1), &picture(2, 2)].concat();
        let plain = picture(2, FRAME_PICTURE);
        let open = [&SEQUENCE[..], &group(false), &picture(INTRA, FRAME_PICTURE)].concat();
        let without_sequence = [&group(true)[..], &picture(INTRA, 2)].concat();
        let same_parity = picture(2, 2);
        let all = [closed.clone(), plain.clone(), open.clone(), without_sequence.clone(), same_parity.clone()];
        let (found, _) = frames(&all.concat());
        let keys = [Key::Idr, Key::None, Key::RecoveryPoint, Key::None, Key::None];
        assert_eq!(found, all.into_iter().zip(keys).collect::<Vec<_>>());
    }

    #[test]
    fn parameters_of_a_sequence() {
        let (_, framer) = frames(&[&SEQUENCE[..], &group(true), &picture(INTRA, FRAME_PICTURE)].concat());
        let Some(Params::Video(params)) = framer.params() else { panic!() };
        assert_eq!((params.width, params.height, params.sar), (720, 576, (64, 45)));
        assert_eq!((params.frame_rate, params.interlaced), (Some((25, 1)), true));
        assert_eq!((params.rfc6381.as_str(), &params.parameter_sets[0][..]), ("mp4v.61", &SEQUENCE[..]));
    }

    #[test]
    fn mpeg_1_has_no_extensions() {
        let picture = [0, 0, 1, 0, 0, INTRA << 3 | 7, 0xff, 0xf8, 0, 0, 1, 1, 0xaa];
        let (found, framer) = frames(&[&SEQUENCE[..12], &picture, &picture].concat());
        assert_eq!(found.iter().map(|(data, _)| data.len()).collect::<Vec<_>>(), [12 + 13, 13]);
        let Some(Params::Video(params)) = framer.params() else { panic!() };
        assert_eq!((params.rfc6381.as_str(), params.interlaced), ("mp4v.6a", false));
    }
}
