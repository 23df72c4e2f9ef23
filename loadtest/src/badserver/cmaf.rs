//! Writes synthetic CMAF (ISO/IEC 23000-19): init segments and segments of one chunk, in the boxes of ISO/IEC 14496-12.
//!
//! Media time 0 is base_media_decode_time 0 in both tracks.
//!
//! What it deliberately does not do: several chunks in a segment, edit lists, composition offsets (PTS equals DTS), encryption.

use super::access_unit::{AUDIO_FRAME_BYTES, AUDIO_FRAME_SAMPLES, AUDIO_HZ, FRAME_US, PICTURE_SIZE, PPS, SPS};
use super::access_unit::{Source, audio_frames_before};
use super::live::Span;

/// A CMAF track, and its folder in the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// H.264
    Video,
    /// AAC
    Audio,
}

/// One sample of a segment.
struct Sample {
    is_sync: bool,
    bytes: Vec<u8>,
}

impl Track {
    /// Ticks a second in `tfdt` and `trun`.
    pub fn timescale(self) -> u64 {
        match self {
            Track::Video => 90_000,
            Track::Audio => AUDIO_HZ,
        }
    }

    /// Ticks of a sample.
    fn sample_ticks(self) -> u64 {
        match self {
            Track::Video => FRAME_US * 9 / 100,
            Track::Audio => AUDIO_FRAME_SAMPLES,
        }
    }

    /// Where the segment of `span` begins and ends, ticks. An AAC frame belongs to the segment in which it begins.
    pub fn time_ticks(self, span: Span) -> std::ops::Range<u64> {
        let samples = self.samples(span);
        samples.start * self.sample_ticks()..samples.end * self.sample_ticks()
    }

    fn samples(self, span: Span) -> std::ops::Range<u64> {
        let frames = span.frames();
        match self {
            Track::Video => frames,
            Track::Audio => audio_frames_before(frames.start)..audio_frames_before(frames.end),
        }
    }

    fn sample(self, source: &Source, index: u64) -> Sample {
        match self {
            Track::Video => {
                let picture = source.picture(index);
                Sample { is_sync: picture.is_key, bytes: picture.length_prefixed() }
            }
            Track::Audio => Sample { is_sync: true, bytes: source.audio_frame(index) },
        }
    }

    fn handler(self) -> &'static [u8; 4] {
        match self {
            Track::Video => b"vide",
            Track::Audio => b"soun",
        }
    }
}

/// The segment of `span`: `styp`, `moof`, `mdat`; `tfdt` is `ahead_seconds` too late.
pub fn segment(source: &Source, track: Track, span: Span, sequence_number: u32, ahead_seconds: u64) -> Vec<u8> {
    let samples: Vec<Sample> = track.samples(span).map(|index| track.sample(source, index)).collect();
    let base_time = track.time_ticks(span).start + ahead_seconds * track.timescale();
    // The length of `moof` does not depend on the data offset, which is known only with it.
    let moof_bytes = moof(track, &samples, sequence_number, base_time, 0).len();
    let data_offset = moof_bytes as u32 + 8;
    let mut bytes = boxed(b"styp", &[b"msdh", &[0; 4], b"msdh", b"cmfs"]);
    bytes.extend(moof(track, &samples, sequence_number, base_time, data_offset));
    let data: Vec<&[u8]> = samples.iter().map(|sample| sample.bytes.as_slice()).collect();
    bytes.extend(boxed(b"mdat", &data));
    bytes
}

fn moof(track: Track, samples: &[Sample], sequence_number: u32, base_time: u64, data_offset: u32) -> Vec<u8> {
    let mfhd = full_box(b"mfhd", 0, 0, &[&sequence_number.to_be_bytes()]);
    // default-base-is-moof, default-sample-duration-present
    let duration = (track.sample_ticks() as u32).to_be_bytes();
    let tfhd = full_box(b"tfhd", 0, 0x02_0008, &[&TRACK_ID, &duration]);
    let tfdt = full_box(b"tfdt", 1, 0, &[&base_time.to_be_bytes()]);
    let entries: Vec<u8> = samples.iter().flat_map(trun_entry).collect();
    // data-offset, sample-size and sample-flags present
    let head = [(samples.len() as u32).to_be_bytes(), data_offset.to_be_bytes()].concat();
    let trun = full_box(b"trun", 0, 0x00_0601, &[&head, &entries]);
    let traf = boxed(b"traf", &[&tfhd, &tfdt, &trun]);
    boxed(b"moof", &[&mfhd, &traf])
}

/// sample_size and sample_flags.
fn trun_entry(sample: &Sample) -> [u8; 8] {
    // sample_depends_on 2 (on no other), or 1 with sample_is_non_sync_sample
    let flags: u32 = if sample.is_sync { 0x0200_0000 } else { 0x0101_0000 };
    let [a, b, c, d] = (sample.bytes.len() as u32).to_be_bytes();
    let [e, f, g, h] = flags.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The init segment: `ftyp` and `moov`.
pub fn init_segment(track: Track) -> Vec<u8> {
    let mut bytes = boxed(b"ftyp", &[b"iso6", &[0; 4], b"iso6", b"cmfc", b"mp41"]);
    // creation and modification time, timescale, duration, rate 1, volume 1 and reserved, matrix, pre_defined, next_track_ID
    let mvhd = [
        zeros(8),
        be32(1_000),
        zeros(4),
        be32(0x1_0000),
        be32(0x100_0000),
        zeros(8),
        MATRIX.to_vec(),
        zeros(24),
        be32(2),
    ];
    let mvhd = full_box(b"mvhd", 0, 0, &[&mvhd.concat()]);
    let trex = full_box(b"trex", 0, 0, &[&TRACK_ID, &be32(1), &zeros(12)]);
    let mvex = boxed(b"mvex", &[&trex]);
    bytes.extend(boxed(b"moov", &[&mvhd, &trak(track), &mvex]));
    bytes
}

fn trak(track: Track) -> Vec<u8> {
    let (volume, (width, height)) = match track {
        Track::Video => (0, PICTURE_SIZE),
        Track::Audio => (0x100, (0, 0)),
    };
    let size = [be32(u32::from(width) << 16), be32(u32::from(height) << 16)].concat();
    // times, track_ID, reserved, duration, reserved, layer and alternate_group, volume and reserved, matrix, width, height
    let tkhd = [
        zeros(8),
        TRACK_ID.to_vec(),
        zeros(4),
        zeros(4),
        zeros(8),
        zeros(4),
        be32(volume << 16),
        MATRIX.to_vec(),
        size,
    ];
    let tkhd = full_box(b"tkhd", 0, 3, &[&tkhd.concat()]);
    // times, timescale, duration, language "und", pre_defined
    let mdhd = [zeros(8), be32(track.timescale() as u32), zeros(4), be32(0x55c4_0000)].concat();
    let mdhd = full_box(b"mdhd", 0, 0, &[&mdhd]);
    let hdlr = full_box(b"hdlr", 0, 0, &[&[0; 4], track.handler(), &[0; 12], b"badserver\0"]);
    let header = match track {
        Track::Video => full_box(b"vmhd", 0, 1, &[&[0; 8]]),
        Track::Audio => full_box(b"smhd", 0, 0, &[&[0; 4]]),
    };
    let dref = full_box(b"dref", 0, 0, &[&be32(1), &full_box(b"url ", 0, 1, &[])]);
    let minf = boxed(b"minf", &[&header, &boxed(b"dinf", &[&dref]), &stbl(track)]);
    boxed(b"trak", &[&tkhd, &boxed(b"mdia", &[&mdhd, &hdlr, &minf])])
}

/// Sample table: the sample entry; all samples are in fragments.
fn stbl(track: Track) -> Vec<u8> {
    let entry = match track {
        Track::Video => avc1(),
        Track::Audio => mp4a(),
    };
    let stsd = full_box(b"stsd", 0, 0, &[&be32(1), &entry]);
    let empty = |kind| full_box(kind, 0, 0, &[&[0; 4]]);
    boxed(b"stbl", &[&stsd, &empty(b"stts"), &empty(b"stsc"), &full_box(b"stsz", 0, 0, &[&[0; 8]]), &empty(b"stco")])
}

/// AVCSampleEntry (ISO/IEC 14496-15).
fn avc1() -> Vec<u8> {
    let (width, height) = PICTURE_SIZE;
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // configurationVersion, profile, constraints and level, length of four bytes, one SPS, its length
    let avcc =
        boxed(b"avcC", &[&[1], &SPS[1..4], &[0xff, 0xe1, 0, SPS.len() as u8], &SPS, &[1, 0, PPS.len() as u8], &PPS]);
    // reserved, data_reference_index, pre_defined and reserved, size, 72 dpi, reserved, frame_count, compressorname, depth, pre_defined
    let dpi = be32(0x48_0000);
    let tail = [&dpi[..], &dpi, &[0; 4], &[0, 1], &[0; 32], &[0, 0x18, 0xff, 0xff]].concat();
    boxed(b"avc1", &[&[0, 0, 0, 0, 0, 0, 0, 1], &[0; 16], &size, &tail, &avcc])
}

/// MP4AudioSampleEntry (ISO/IEC 14496-14) with its elementary stream descriptor.
fn mp4a() -> Vec<u8> {
    // AudioSpecificConfig: AAC-LC, 48 kHz, two channels
    let specific = [0x05, 2, 0x11, 0x90];
    let bits = be32((AUDIO_FRAME_BYTES as u64 * 8 * AUDIO_HZ / AUDIO_FRAME_SAMPLES) as u32);
    // DecoderConfigDescriptor: MPEG-4 audio, audio stream, buffer size, maximum and average bitrate
    let config = [&[0x04, 13 + specific.len() as u8, 0x40, 0x15, 0, 2, 0], &bits[..], &bits, &specific].concat();
    // ES_Descriptor: ES_ID 1, no flags; SLConfigDescriptor: predefined 2
    let es = [&[0x03, 3 + config.len() as u8 + 3, 0, 1, 0], &config[..], &[0x06, 1, 2]].concat();
    let esds = full_box(b"esds", 0, 0, &[&es]);
    // reserved, data_reference_index, reserved, channels, bits, pre_defined and reserved, sample rate as 16.16
    let rate = be32((AUDIO_HZ as u32) << 16);
    boxed(b"mp4a", &[&[0, 0, 0, 0, 0, 0, 0, 1], &[0; 8], &[0, 2, 0, 16, 0, 0, 0, 0], &rate, &esds])
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = be32(length as u32 + 8);
    bytes.reserve(length + 4);
    bytes.extend_from_slice(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

fn full_box(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    boxed(kind, &[&[head.as_slice()], parts].concat())
}

fn be32(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn zeros(count: usize) -> Vec<u8> {
    vec![0; count]
}

/// Each init segment has one track.
const TRACK_ID: [u8; 4] = [0, 0, 0, 1];

/// Unity matrix of `mvhd` and `tkhd`: 1, 1 as 16.16 and 1 as 2.30 on the diagonal.
const MATRIX: [u8; 36] = {
    let mut matrix = [0; 36];
    (matrix[1], matrix[17], matrix[32]) = (1, 1, 0x40);
    matrix
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Content of the box at `path`, each the first of its kind.
    fn find<'a>(mut bytes: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
        for kind in path {
            bytes = loop {
                let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
                if bytes[4..8] == **kind {
                    break &bytes[8..length];
                }
                bytes = &bytes[length..];
            };
        }
        bytes
    }

    fn word(bytes: &[u8], at: usize) -> usize {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn samples_fill_mdat_from_the_data_offset_on() {
        let source = Source::new(1, 1_000, 7_000_000);
        for (track, samples) in [(Track::Video, 50), (Track::Audio, 93)] {
            let bytes = segment(&source, track, Span { first_gop: 3, gops: 1 }, 4, 0);
            let trun = find(&bytes, &[b"moof", b"traf", b"trun"]);
            assert_eq!(word(trun, 4), samples);
            let sizes: usize = (0..samples).map(|i| word(trun, 12 + 8 * i)).sum();
            assert_eq!(sizes, find(&bytes, &[b"mdat"]).len());
            let styp_bytes = word(&bytes, 0);
            assert_eq!(bytes.len() - sizes, styp_bytes + word(trun, 8));
            assert_eq!(word(find(&bytes, &[b"moof", b"mfhd"]), 4), 4);
        }
    }

    #[test]
    fn segments_follow_on_each_other_and_a_gap_is_a_gap() {
        let source = Source::new(1, 1_000, 0);
        for track in [Track::Video, Track::Audio] {
            let mut end = 0;
            for n in 0..9 {
                let span = Span { first_gop: n, gops: 1 };
                let bytes = segment(&source, track, span, 1, 0);
                assert_eq!(word(find(&bytes, &[b"moof", b"traf", b"tfdt"]), 8) as u64, end);
                let samples = word(find(&bytes, &[b"moof", b"traf", b"trun"]), 4) as u64;
                end += samples * track.sample_ticks();
                assert_eq!(end, track.time_ticks(span).end);
                let late = segment(&source, track, span, 1, 2);
                let gap = word(find(&late, &[b"moof", b"traf", b"tfdt"]), 8) as u64 - track.time_ticks(span).start;
                assert_eq!(gap, 2 * track.timescale());
            }
        }
    }

    #[test]
    fn init_segments_name_their_codecs() {
        let video = init_segment(Track::Video);
        let stsd = find(&video, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"]);
        assert_eq!(
            (&stsd[12..16], &stsd[98..102], &stsd[102..106]),
            (&b"avc1"[..], &b"avcC"[..], &[1, 0x42, 0xc0, 0x1e][..])
        );
        let audio = init_segment(Track::Audio);
        let stsd = find(&audio, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"]);
        assert_eq!((&stsd[12..16], &stsd[48..52]), (&b"mp4a"[..], &b"esds"[..]));
        assert_eq!(find(&audio, &[b"moov", b"mvex", b"trex"])[4..8], TRACK_ID);
    }
}
