//! Access units from a seed: H.264 pictures (Rec. ITU-T H.264) and AAC frames (ISO/IEC 14496-3) with plausible headers and filler.
//!
//! Sizes depend on the bitrate and on whether a picture is a key picture, not on the seed, so that the packets before any segment can
//! be counted without writing them. No filler byte is 0 or 0xff: emulation prevention never applies, and no sync word appears.
//!
//! What it deliberately does not do: anything a decoder could show.

use crate::random::{Random, mix};
use memchr::memmem;

/// Microseconds of a picture: 25 a second.
pub const FRAME_US: u64 = 40_000;
/// Pictures of a GOP, the first a key picture: 2 s.
pub const GOP_FRAMES: u64 = 50;
/// Samples of an AAC frame.
pub const AUDIO_FRAME_SAMPLES: u64 = 1_024;
/// AAC samples a second.
pub const AUDIO_HZ: u64 = 48_000;
/// Bytes of an AAC frame without ADTS header: with ADTS and PES header they fill one transport stream packet.
pub const AUDIO_FRAME_BYTES: usize = 163;
/// Smallest bitrate at which every picture has two packets, kb/s.
pub const KBPS_MIN: u32 = 200;
/// Largest bitrate, kb/s.
pub const KBPS_MAX: u32 = 100_000;
/// How often PAT and PMT are sent, in pictures: each 400 ms.
pub const PSI_FRAMES: u64 = 10;

/// Identifies the message with the wall clock in each picture, the bytes of "millrace-sent-us": a `user_data_unregistered` SEI message
/// (D.1.7) of 32 bytes, this UUID and then 16 ASCII digits, the microseconds since 1970-01-01 UTC at which the picture was due, or was
/// written ([`super::Stamp`]).
///
/// The relay's synthetic origin sends the same message, so one reader measures both.
pub const MADE_UUID: [u8; 16] = *b"millrace-sent-us";

/// Width and height of the pictures.
pub const PICTURE_SIZE: (u16, u16) = (640, 360);

/// Sequence parameter set.
pub const SPS: [u8; 21] = [
    0x67, // nal_ref_idc 3, nal_unit_type 7
    0x42, 0xc0, 0x1e, // Constrained Baseline, level 3
    0x95, // seq_parameter_set_id 0, log2_max_frame_num_minus4 4, begin of pic_order_cnt_type 2
    0xa0, // the rest of it, max_num_ref_frames 1, no gaps in frame_num
    0x28, 0x0b, // pic_width_in_mbs_minus1 39, pic_height_in_map_units_minus1 22
    0xfe,
    0x58, // frame_mbs_only, direct_8x8_inference, frame_crop_bottom_offset 4 of two rows, VUI with timing_info
    0x40, 0x00, 0x00, 0x03, 0x00, 0x40, // num_units_in_tick 1, with an emulation_prevention_three_byte
    0x00, 0x00, 0x0c, 0xa1, 0x20, // time_scale 50, fixed_frame_rate, rbsp_trailing_bits
];

/// Picture parameter set: identifiers 0, CAVLC, everything else off or 0.
pub const PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];

/// Bytes of the SEI NAL unit: header, payload type, payload size, UUID, digits, rbsp_trailing_bits.
pub const SEI_BYTES: usize = 3 + MADE_UUID.len() + DIGITS + 1;

/// Decimal digits of the wall clock.
const DIGITS: usize = 16;
/// SEI NAL unit (type 6), payload type 5 (user_data_unregistered), payload size 32.
const SEI_HEAD: [u8; 3] = [0x06, 0x05, 32];
/// Start code before each NAL unit (Annex B).
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Access unit delimiter: any slice type.
const AUD: [u8; 2] = [0x09, 0xf0];
/// What a picture's packets hold beside it: an adaptation field with PCR, and a PES header with PTS.
const PACKET_OVERHEAD_BYTES: usize = 8 + 14;
/// Payload bytes of a packet without adaptation field.
const PAYLOAD_BYTES: usize = 184;
/// A key picture is at least this many times as large as another.
const KEY_SIZE: u64 = 5;

/// Where a stream's access units come from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    seed: u64,
    /// Packets of one transport stream GOP's pictures.
    gop_packets: u64,
    /// Wall clock at media time 0, microseconds since 1970.
    epoch_unix_us: u64,
}

/// One picture: its NAL units without start codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// An IDR picture; SPS and PPS belong before it.
    pub is_key: bool,
    /// The SEI message with the wall clock.
    pub sei: [u8; SEI_BYTES],
    /// The one slice.
    pub slice: Vec<u8>,
}

impl Source {
    /// `kbps` is the bitrate of the transport stream, from [`KBPS_MIN`] to [`KBPS_MAX`].
    pub fn new(seed: u64, kbps: u32, epoch_unix_us: u64) -> Self {
        let gop_seconds = GOP_FRAMES * FRAME_US / 1_000_000;
        let packets = u64::from(kbps) * 1_000 * gop_seconds / 8 / 188;
        // PAT and PMT; one packet for each AAC frame, of which a GOP has 93 or 94.
        let others = 2 * GOP_FRAMES / PSI_FRAMES + audio_frames_before(GOP_FRAMES);
        Source { seed, gop_packets: packets - others, epoch_unix_us }
    }

    /// The same pictures and sound with other filler.
    pub fn with_other_filler(self, by: u64) -> Self {
        Source { seed: self.seed.wrapping_add(by), ..self }
    }

    /// Transport stream packets of a GOP's pictures.
    pub fn gop_packets(&self) -> u64 {
        self.gop_packets
    }

    /// Transport stream packets of one picture; it fills them.
    pub fn picture_packets(&self, is_key: bool) -> u64 {
        let other = self.gop_packets / (GOP_FRAMES - 1 + KEY_SIZE);
        if is_key { self.gop_packets - (GOP_FRAMES - 1) * other } else { other }
    }

    /// Picture `frame`, due at `frame` times [`FRAME_US`].
    pub fn picture(&self, frame: u64) -> Picture {
        let is_key = frame.is_multiple_of(GOP_FRAMES);
        let mut picture = Picture { is_key, sei: sei(self.epoch_unix_us + frame * FRAME_US), slice: Vec::new() };
        let bytes = self.picture_packets(is_key) as usize * PAYLOAD_BYTES - PACKET_OVERHEAD_BYTES;
        let slice_bytes = bytes - picture.annex_b().len();
        picture.slice = slice_header(frame).to_vec();
        self.fill(frame << 1, &mut picture.slice, slice_bytes);
        picture
    }

    /// AAC frame `index` without ADTS header, due at `index` times 1024/48000 s.
    pub fn audio_frame(&self, index: u64) -> Vec<u8> {
        // raw_data_block: id_syn_ele 1 (channel pair), element_instance_tag 0, common_window.
        let mut frame = vec![0x21];
        self.fill(index << 1 | 1, &mut frame, AUDIO_FRAME_BYTES);
        frame
    }

    /// Fills up to `length` with bytes from 1 to 254 that depend on the seed and on `index` alone.
    fn fill(&self, index: u64, bytes: &mut Vec<u8>, length: usize) {
        let mut random = Random::new(mix(self.seed ^ mix(index)));
        while bytes.len() < length {
            bytes.extend(random.next_u64().to_le_bytes().map(|byte| byte.clamp(1, 254)));
        }
        bytes.truncate(length);
    }
}

impl Picture {
    /// The picture as a transport stream carries it: with delimiter, start codes and, at a key picture, parameter sets.
    pub fn annex_b(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let nals: &[&[u8]] = match self.is_key {
            true => &[&AUD, &SPS, &PPS, &self.sei, &self.slice],
            false => &[&AUD, &self.sei, &self.slice],
        };
        for nal in nals {
            bytes.extend_from_slice(&START_CODE);
            bytes.extend_from_slice(nal);
        }
        bytes
    }

    /// The picture as a CMAF sample: each NAL unit after its length of four bytes; parameter sets are in the init segment.
    pub fn length_prefixed(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for nal in [self.sei.as_slice(), &self.slice] {
            bytes.extend((nal.len() as u32).to_be_bytes());
            bytes.extend_from_slice(nal);
        }
        bytes
    }
}

/// The first wall clock in H.264 bytes of any framing, microseconds since 1970-01-01 UTC; `None` where no [`MADE_UUID`] with sixteen
/// digits is. In the server's own transport stream it lies within the first packet of each picture.
pub fn made_us(bytes: &[u8]) -> Option<u64> {
    memmem::find_iter(bytes, &MADE_UUID).find_map(|at| stamp_at(bytes, at))
}

/// The last wall clock, likewise.
pub fn newest_made_us(bytes: &[u8]) -> Option<u64> {
    memmem::rfind_iter(bytes, &MADE_UUID).find_map(|at| stamp_at(bytes, at))
}

/// Writes another wall clock over the first [`MADE_UUID`]'s digits; what has none stays as it is.
pub fn restamp(bytes: &mut [u8], made_us: u64) {
    let at = memmem::find(bytes, &MADE_UUID).map(|at| at + MADE_UUID.len());
    if let Some(place) = at.and_then(|at| bytes.get_mut(at..at + DIGITS)) {
        place.copy_from_slice(&digits(made_us));
    }
}

/// The wall clock behind the UUID at `at`.
fn stamp_at(bytes: &[u8], at: usize) -> Option<u64> {
    let digits = bytes[at + MADE_UUID.len()..].get(..DIGITS)?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// With leading zeros; the last sixteen of more.
fn digits(made_us: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = made_us;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// AAC frames that are due before picture `frame`, and so the index of the first that is not.
pub fn audio_frames_before(frame: u64) -> u64 {
    (frame * FRAME_US * AUDIO_HZ).div_ceil(1_000_000 * AUDIO_FRAME_SAMPLES)
}

fn sei(made_us: u64) -> [u8; SEI_BYTES] {
    let mut nal = SEI_HEAD.to_vec();
    nal.extend(MADE_UUID);
    nal.extend(digits(made_us));
    nal.push(0x80);
    nal.try_into().expect("the parts are as long as SEI_BYTES says")
}

/// The slice's NAL header and slice_header (7.3.3) up to the byte in which macroblocks begin.
fn slice_header(frame: u64) -> [u8; 4] {
    let frame_num = (frame % GOP_FRAMES) as u8;
    if frame_num > 0 {
        // first_mb_in_slice 0, slice_type 5 (P), pic_parameter_set_id 0, frame_num of 8 bits; no override, no reordering,
        // no adaptive marking, slice_qp_delta 0
        return [0x41, 0x9a | frame_num >> 7, frame_num << 1, 0x3f];
    }
    // first_mb_in_slice 0, slice_type 7 (I), pic_parameter_set_id 0, frame_num 0; idr_pic_id in turn 0 and 1, no flags of
    // dec_ref_pic_marking, slice_qp_delta 0
    let idr_pic_id = if (frame / GOP_FRAMES).is_multiple_of(2) { 0b0100_1111 } else { 0b0010_0011 };
    [0x65, 0x88, 0x80, idr_pic_id]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gop_fills_its_packets_and_only_headers_hold_zero() {
        for kbps in [KBPS_MIN, 1_000, KBPS_MAX] {
            let source = Source::new(1, kbps, 1_700_000_000_000_000);
            assert!(source.picture_packets(false) >= 2);
            assert!(source.picture_packets(true) >= KEY_SIZE * source.picture_packets(false));
            let others = (GOP_FRAMES - 1) * source.picture_packets(false);
            assert_eq!(source.picture_packets(true) + others, source.gop_packets());
            for frame in [0, 1, 49, 50] {
                let picture = source.picture(frame);
                let packets = source.picture_packets(picture.is_key) as usize;
                assert_eq!(picture.annex_b().len(), packets * PAYLOAD_BYTES - PACKET_OVERHEAD_BYTES);
                assert!(!picture.slice.contains(&0));
            }
        }
    }

    #[test]
    fn the_wall_clock_is_read_back_in_both_framings() {
        let source = Source::new(1, 1_000, 1_700_000_000_000_000);
        let picture = source.picture(3);
        let expected = Some(1_700_000_000_120_000);
        assert_eq!((made_us(&picture.annex_b()), made_us(&picture.length_prefixed())), (expected, expected));
        assert_eq!((made_us(&picture.slice), made_us(&MADE_UUID)), (None, None));
    }

    #[test]
    fn a_stamp_written_over_another_changes_nothing_else() {
        let source = Source::new(1, 1_000, 1_700_000_000_000_000);
        let (before, next) = (source.picture(3).annex_b(), source.picture(4).annex_b());
        let mut bytes = [before.clone(), next].concat();
        restamp(&mut bytes, 7);
        assert_eq!((made_us(&bytes), newest_made_us(&bytes)), (Some(7), Some(1_700_000_000_160_000)));
        restamp(&mut bytes, 1_700_000_000_120_000);
        assert_eq!(bytes[..before.len()], before);
        let mut cut = MADE_UUID.to_vec();
        restamp(&mut cut, 7);
        assert_eq!(cut, MADE_UUID);
    }

    #[test]
    fn bytes_depend_on_seed_and_index_alone() {
        let (one, two) = (Source::new(1, 1_000, 0), Source::new(2, 1_000, 0));
        assert_eq!(one.picture(7), one.picture(7));
        assert_ne!(one.picture(7).slice, one.picture(8).slice);
        assert_ne!(one.picture(7).slice, two.picture(7).slice);
        assert_eq!(one.with_other_filler(1).audio_frame(7), two.audio_frame(7));
    }

    #[test]
    fn audio_frames_are_counted_by_their_time() {
        // 93.75 in two seconds: the one due at 1.984 s is the 94th, and 375 in eight seconds.
        assert_eq!([0, 1, 50, 100, 200].map(audio_frames_before), [0, 2, 94, 188, 375]);
    }
}
