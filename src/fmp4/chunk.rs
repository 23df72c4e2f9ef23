//! One CMAF chunk (ISO/IEC 23000-19 7.3.2.3): `moof` and `mdat`, with `styp` where a segment begins and `prft` in front.
//!
//! Everything a chunk's samples have in common stands in its `tfhd`, nothing is left to `trex`: a chunk can be read without looking back.
//! What it deliberately does not do: hold samples; the caller appends them behind the head, in the order of [`Chunk::samples`].

use super::TRACK_ID;
use super::boxes::{patch_u32, put_u32, put_u64, write_box, write_full_box};

/// One sample of a chunk, in decoding order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSample {
    /// In the track's timescale, above 0.
    pub duration: u32,
    /// Bytes in `mdat`.
    pub size: u32,
    /// PTS less DTS, in the track's timescale.
    pub composition_offset: i32,
    /// Nothing after it needs anything before it (sample_is_non_sync_sample is 0).
    pub sync: bool,
}

/// What stands before the samples' bytes.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// sequence_number of `mfhd`: grows from chunk to chunk.
    pub sequence_number: u32,
    /// baseMediaDecodeTime of `tfdt`, in the track's timescale.
    pub base_media_decode_time: u64,
    /// The chunk begins a segment: `styp` goes first.
    pub begins_segment: bool,
    /// Wall clock of the first sample's presentation at the origin, microseconds since 1970, for `prft`.
    pub producer_unix_us: Option<u64>,
    /// At least one.
    pub samples: &'a [ChunkSample],
}

/// Appends everything up to the first byte of the samples: `styp`, `prft`, `moof`, and the head of an `mdat` that holds all samples.
pub fn write_head(chunk: &Chunk<'_>, out: &mut Vec<u8>) {
    debug_assert!(!chunk.samples.is_empty());
    if chunk.begins_segment {
        write_segment_type(out);
    }
    if let (Some(unix_us), Some(first)) = (chunk.producer_unix_us, chunk.samples.first()) {
        let media_time = chunk.base_media_decode_time.saturating_add_signed(first.composition_offset.into());
        write_producer_time(out, unix_us, media_time);
    }
    let moof_at = out.len();
    let mut data_offset_at = 0;
    write_box(out, b"moof", |out| {
        // MovieFragmentHeaderBox, 14496-12 8.8.5
        write_full_box(out, b"mfhd", 0, 0, |out| put_u32(out, chunk.sequence_number));
        write_box(out, b"traf", |out| data_offset_at = write_track_fragment(out, chunk));
    });
    write_mdat_head(out, chunk.samples.iter().map(|sample| sample.size as u64).sum());
    // data_offset counts from the first byte of moof (default-base-is-moof).
    let data_offset = (out.len() - moof_at) as u32;
    patch_u32(out, data_offset_at, data_offset);
}

/// SegmentTypeBox, 14496-12 8.16.2: `msdh` is a media segment of DASH (ISO/IEC 23009-1 6.3.4.2), `cmfs` a CMAF segment (23000-19 7.3.3.1).
/// Not `cmff`: a segment that a too long GOP forced does not begin with a stream access point.
fn write_segment_type(out: &mut Vec<u8>) {
    write_box(out, b"styp", |out| {
        out.extend_from_slice(b"msdh"); // major_brand
        put_u32(out, 0); // minor_version
        out.extend_from_slice(b"msdhcmfs"); // compatible_brands
    });
}

/// Flags of `prft` (14496-12 8.16.5): the association of wall clock and media time is arbitrary but the same in every box of the track.
/// That is what a relay can say in honesty: its clock knows when media arrived, not when an encoder took it in (0) or a camera saw it (24).
const PRFT_CONSISTENT: u32 = 8;
/// Seconds from 1900-01-01, NTP's beginning (RFC 5905 6), to 1970-01-01.
const NTP_UNIX_SECONDS: u64 = 2_208_988_800;

/// ProducerReferenceTimeBox, 14496-12 8.16.5. `media_time` is a presentation time, in the track's timescale.
fn write_producer_time(out: &mut Vec<u8>, unix_us: u64, media_time: u64) {
    write_full_box(out, b"prft", 1, PRFT_CONSISTENT, |out| {
        put_u32(out, TRACK_ID); // reference_track_ID
        put_u64(out, ntp_time(unix_us)); // ntp_timestamp
        put_u64(out, media_time);
    });
}

/// NTP's 64-bit format: 32 bits of seconds, which wrap in 2036, and 32 bits of fraction, rounded down.
fn ntp_time(unix_us: u64) -> u64 {
    let seconds = (unix_us / 1_000_000).wrapping_add(NTP_UNIX_SECONDS) as u32;
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds as u64) << 32 | fraction
}

/// tf_flags (8.8.7): what `tfhd` carries.
const TFHD_DEFAULT_DURATION: u32 = 0x00_0008;
const TFHD_DEFAULT_SIZE: u32 = 0x00_0010;
const TFHD_DEFAULT_FLAGS: u32 = 0x00_0020;
const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;

/// tr_flags (8.8.8): what `trun` carries, once, or with each sample.
const TRUN_DATA_OFFSET: u32 = 0x001;
const TRUN_FIRST_SAMPLE_FLAGS: u32 = 0x004;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_COMPOSITION_OFFSET: u32 = 0x800;

/// sample_flags (8.8.3.1) of a sync sample: sample_depends_on 2 (on no other), sample_is_non_sync_sample 0.
const FLAGS_SYNC: u32 = 2 << 24;
/// Of any other sample: sample_depends_on 1 (on others), sample_is_non_sync_sample 1.
const FLAGS_NON_SYNC: u32 = 1 << 24 | 1 << 16;

/// What the samples of a chunk do not have in common, as tr_flags.
fn varying(samples: &[ChunkSample]) -> u32 {
    let Some((first, rest)) = samples.split_first() else { return 0 };
    let mut flags = 0;
    for sample in rest {
        flags |= if sample.duration != first.duration { TRUN_DURATION } else { 0 };
        flags |= if sample.size != first.size { TRUN_SIZE } else { 0 };
        // A key picture and what follows it need one word for the first sample; a sync sample further on a word for each.
        flags |= match (sample.sync == first.sync, sample.sync == rest[0].sync) {
            (true, true) => 0,
            (false, true) => TRUN_FIRST_SAMPLE_FLAGS,
            (_, false) => TRUN_FLAGS,
        };
    }
    if samples.iter().any(|sample| sample.composition_offset != 0) {
        flags |= TRUN_COMPOSITION_OFFSET;
    }
    // The standard allows one of the two.
    if flags & TRUN_FLAGS != 0 { flags & !TRUN_FIRST_SAMPLE_FLAGS } else { flags }
}

fn sample_flags(sample: &ChunkSample) -> u32 {
    if sample.sync { FLAGS_SYNC } else { FLAGS_NON_SYNC }
}

/// `tfhd`, `tfdt` and `trun`; answers where the data_offset of `trun` stands, to be filled in.
fn write_track_fragment(out: &mut Vec<u8>, chunk: &Chunk<'_>) -> usize {
    let varying = varying(chunk.samples);
    write_track_fragment_header(out, chunk.samples, varying);
    // TrackFragmentBaseMediaDecodeTimeBox, 8.8.12; version 1: 64 bits
    write_full_box(out, b"tfdt", 1, 0, |out| put_u64(out, chunk.base_media_decode_time));
    let mut data_offset_at = 0;
    // TrackRunBox, 8.8.8; version 1: composition offsets are signed
    write_full_box(out, b"trun", 1, TRUN_DATA_OFFSET | varying, |out| {
        put_u32(out, chunk.samples.len() as u32); // sample_count
        data_offset_at = out.len();
        put_u32(out, 0); // data_offset
        if varying & TRUN_FIRST_SAMPLE_FLAGS != 0 {
            put_u32(out, chunk.samples.first().map_or(0, sample_flags));
        }
        for sample in chunk.samples {
            write_run_sample(out, sample, varying);
        }
    });
    data_offset_at
}

/// TrackFragmentHeaderBox, 8.8.7, with a default for all that `varying` does not name.
fn write_track_fragment_header(out: &mut Vec<u8>, samples: &[ChunkSample], varying: u32) {
    let Some(first) = samples.first() else { return };
    let mut flags = TFHD_DEFAULT_BASE_IS_MOOF;
    flags |= if varying & TRUN_DURATION == 0 { TFHD_DEFAULT_DURATION } else { 0 };
    flags |= if varying & TRUN_SIZE == 0 { TFHD_DEFAULT_SIZE } else { 0 };
    flags |= if varying & TRUN_FLAGS == 0 { TFHD_DEFAULT_FLAGS } else { 0 };
    write_full_box(out, b"tfhd", 0, flags, |out| {
        put_u32(out, TRACK_ID);
        if flags & TFHD_DEFAULT_DURATION != 0 {
            put_u32(out, first.duration);
        }
        if flags & TFHD_DEFAULT_SIZE != 0 {
            put_u32(out, first.size);
        }
        if flags & TFHD_DEFAULT_FLAGS != 0 {
            // first_sample_flags of trun tells the first sample from the others, whose flags these are.
            put_u32(out, sample_flags(samples.get(1).unwrap_or(first)));
        }
    });
}

/// One sample's row of `trun`.
fn write_run_sample(out: &mut Vec<u8>, sample: &ChunkSample, varying: u32) {
    if varying & TRUN_DURATION != 0 {
        put_u32(out, sample.duration);
    }
    if varying & TRUN_SIZE != 0 {
        put_u32(out, sample.size);
    }
    if varying & TRUN_FLAGS != 0 {
        put_u32(out, sample_flags(sample));
    }
    if varying & TRUN_COMPOSITION_OFFSET != 0 {
        out.extend_from_slice(&sample.composition_offset.to_be_bytes());
    }
}

/// The head of a MediaDataBox, 8.1.1, of `payload` bytes; with a 64-bit largesize (4.2) where 32 bits do not hold it.
fn write_mdat_head(out: &mut Vec<u8>, payload: u64) {
    let short = u32::try_from(payload + 8);
    put_u32(out, short.unwrap_or(1)); // size; 1: largesize follows
    out.extend_from_slice(b"mdat");
    if short.is_err() {
        put_u64(out, payload + 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: ChunkSample = ChunkSample { duration: 3_600, size: 1_000, composition_offset: 0, sync: true };
    const CHUNK: Chunk<'_> = Chunk {
        sequence_number: 7,
        base_media_decode_time: 0x1_0000_0002,
        begins_segment: false,
        producer_unix_us: None,
        samples: &[],
    };

    fn head(chunk: &Chunk<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write_head(chunk, &mut out);
        out
    }

    #[test]
    fn samples_that_are_alike_stand_in_the_header_alone() {
        let out = head(&Chunk { samples: &[SYNC, SYNC], ..CHUNK });
        let expected = [
            &[0, 0, 0, 100][..],
            b"moof",
            &[0, 0, 0, 16],
            b"mfhd",
            &[0, 0, 0, 0, 0, 0, 0, 7], // version and flags, sequence_number
            &[0, 0, 0, 76],
            b"traf",
            &[0, 0, 0, 28],
            b"tfhd",
            &[0, 2, 0, 0x38, 0, 0, 0, 1], // default-base-is-moof, duration, size, flags; track_ID
            &[0, 0, 0x0e, 0x10, 0, 0, 0x03, 0xe8], // 3600 ticks, 1000 bytes
            &[2, 0, 0, 0],                // depends on no other
            &[0, 0, 0, 20],
            b"tfdt",
            &[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], // version 1, base_media_decode_time
            &[0, 0, 0, 20],
            b"trun",
            &[1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 108], // version 1, data offset; two samples; moof and the head of mdat
            &[0, 0, 0x07, 0xd8],
            b"mdat",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn a_key_picture_costs_one_word_and_what_varies_a_column() {
        let samples = [
            SYNC,
            ChunkSample { sync: false, composition_offset: -3_600, ..SYNC },
            ChunkSample { sync: false, size: 9, ..SYNC },
        ];
        assert_eq!(varying(&samples), TRUN_FIRST_SAMPLE_FLAGS | TRUN_SIZE | TRUN_COMPOSITION_OFFSET);
        let out = head(&Chunk { samples: &samples, ..CHUNK });
        let at = out.windows(4).position(|kind| kind == b"trun").unwrap();
        let trun = &out[at + 4..out.len() - 8];
        let expected: [u32; 10] =
            [0x0100_0a05, 3, out.len() as u32, FLAGS_SYNC, 1_000, 0, 1_000, (-3_600i32) as u32, 9, 0];
        assert_eq!(trun, expected.map(u32::to_be_bytes).concat());
        let tfhd = out.windows(4).position(|kind| kind == b"tfhd").unwrap();
        assert_eq!(out[tfhd + 4..tfhd + 20], [0, 2, 0, 0x28, 0, 0, 0, 1, 0, 0, 0x0e, 0x10, 1, 1, 0, 0]);
    }

    #[test]
    fn sync_samples_further_on_have_flags_of_their_own() {
        let delta = ChunkSample { sync: false, ..SYNC };
        assert_eq!(varying(&[delta, SYNC]), TRUN_FIRST_SAMPLE_FLAGS);
        assert_eq!(varying(&[delta, delta, SYNC]), TRUN_FLAGS);
        assert_eq!(varying(&[SYNC, delta, SYNC]), TRUN_FLAGS);
        assert_eq!(varying(&[SYNC, ChunkSample { duration: 1, ..SYNC }]), TRUN_DURATION);
        assert_eq!(varying(&[delta]), 0);
    }

    #[test]
    fn a_segment_begins_with_its_type_and_the_producers_time() {
        let first = ChunkSample { composition_offset: 7_200, ..SYNC };
        let chunk = Chunk { begins_segment: true, producer_unix_us: Some(1_500_000), samples: &[first], ..CHUNK };
        let expected = [
            &[0, 0, 0, 24][..],
            b"stypmsdh",
            &[0, 0, 0, 0],
            b"msdhcmfs",
            &[0, 0, 0, 32],
            b"prft",
            &[1, 0, 0, 8, 0, 0, 0, 1], // version 1, consistent; reference_track_ID
            &[0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0], // 1900 + 2208988801.5 s
            &[0, 0, 0, 1, 0, 0, 0x1c, 0x22], // base_media_decode_time + 7200
        ];
        assert!(head(&chunk).starts_with(&expected.concat()));
    }

    #[test]
    fn ntp_seconds_wrap_in_2036() {
        // 2036-02-07T06:28:16Z is second 0 of era 1.
        assert_eq!(ntp_time(2_085_978_496_000_000), 0);
        assert_eq!(ntp_time(2_085_978_495_999_999) >> 32, 0xffff_ffff);
    }

    #[test]
    fn an_mdat_over_four_gigabytes_has_a_large_size() {
        let mut out = Vec::new();
        write_mdat_head(&mut out, u32::MAX as u64 - 8);
        assert_eq!(out, [&[0xff, 0xff, 0xff, 0xff][..], b"mdat"].concat());
        out.clear();
        write_mdat_head(&mut out, u32::MAX as u64 - 7);
        assert_eq!(out, [&[0, 0, 0, 1][..], b"mdat", &[0, 0, 0, 1, 0, 0, 0, 8]].concat());
    }
}
