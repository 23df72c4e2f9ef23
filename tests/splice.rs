//! A SCTE 35 splice_insert through a whole session: demultiplexer, timeline, rings, packager and demultiplexer again. Output time is not
//! source time, and still the section points at the picture that it pointed at in the source.

use bytes::Bytes;
use millrace::es::selection::Selection;
use millrace::es::{AudioRole, Codec, Key, SampleMeta, Track, TrackId, TsStream};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use millrace::mpegts::mux::{MuxConfig, MuxSample, TsMuxer};
use millrace::mpegts::psi::crc32;
use millrace::package::cmaf::CmafPackageConfig;
use millrace::package::mpegts::TsPackageConfig;
use millrace::session::{OriginEvent, RingSize, Session, SessionConfig, Want};
use millrace::store::{Arena, StoreReader};
use millrace::time::{MediaTime, Now, Ts33, WRAP_33};
use millrace::timeline::TimelineConfig;
use std::sync::Arc;

const START: Now = Now { mono_us: 1_000_000, unix_us: 1_800_000_000_000_000 };
const VIDEO: TrackId = TrackId(0);
const CUES: TrackId = TrackId(1);
const FRAME: i64 = 3_600;
/// DTS of the source's first picture: its time stamps wrap after a second.
const FIRST: i64 = WRAP_33 as i64 - 90_000;
/// pts_adjustment of the source's section.
const ADJUSTMENT: u64 = 0x1000;

/// splice_info_section (ANSI/SCTE 35 9.6) with a splice_insert at `pts`, less the adjustment that is added to it.
fn splice_insert(pts: Ts33) -> Vec<u8> {
    let time = pts.offset(-(ADJUSTMENT as i64)).ticks();
    let mut section = vec![
        0xfc, 0x30, 32, // table_id; no section syntax, not private, sap_type 3; section_length
        0,  // protocol_version
        0, 0, 0, 0x10, 0x00, // not encrypted, algorithm 0, pts_adjustment
        0xff, 0xff, 0xf0, 15, 0x05, // cw_index; tier 0xfff, splice_command_length; splice_insert
        0, 0, 0, 7, 0x7f, // splice_event_id, not cancelled
        0xcf, // out of network, the whole programme, no duration, not immediate
    ];
    section.push(0xfe | (time >> 32) as u8); // time_specified_flag, top bit of pts_time
    section.extend_from_slice(&(time as u32).to_be_bytes()); // the rest of it
    section.extend_from_slice(&[0, 1, 0, 0]); // unique_program_id 1, avail 0 of 0
    section.extend_from_slice(&[0, 0]); // descriptor_loop_length
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    section
}

/// Where a section made by [`splice_insert`] points: its pts_time and pts_adjustment, added.
fn points_at(section: &[u8]) -> Ts33 {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)) & (WRAP_33 - 1);
    Ts33::new(number(&section[20..25])).offset(number(&section[4..9]) as i64)
}

fn meta(pts: i64, dts: i64, key: Key) -> SampleMeta {
    let (pts, dts) = (MediaTime(pts), MediaTime(dts));
    SampleMeta { pts, dts, key, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

/// Five seconds of pictures that end in their number, with a section after picture `cue_at` that points at picture `splice_at`; one
/// piece of transport stream for each picture.
fn source(cue_at: i64, splice_at: i64) -> Vec<Vec<u8>> {
    let track = |id, codec, pid, stream_type, stream_id| {
        let ts = TsStream { pid, stream_type, descriptors: Bytes::new(), stream_id };
        Arc::new(Track { id, codec, language: None, role: AudioRole::Main, ts, params: None })
    };
    let mut muxer = TsMuxer::new(MuxConfig::default());
    muxer.set_tracks(&[track(VIDEO, Codec::H264, 0x100, 0x1b, 0xe0), track(CUES, Codec::Scte35, 0x1f0, 0x86, 0)]);
    let pts = |n: i64| FIRST + (n + 2) * FRAME;
    let piece = |n: i64| {
        let mut out = Vec::new();
        let key = n % 25 == 0;
        // Delimiter; IDR or other slice from macroblock 0 on.
        let data = [0, 0, 0, 1, 0x09, 0xf0, 0, 0, 1, if key { 0x65 } else { 0x41 }, 0x9a, 0x80 | n as u8];
        let picture = meta(pts(n), FIRST + n * FRAME, if key { Key::Idr } else { Key::None });
        let pcr_ceiling = picture.dts;
        let video = MuxSample { track: VIDEO, meta: &picture, data: &data, pcr_ceiling, tables: key };
        muxer.write(&video, &mut out).unwrap();
        if n == cue_at {
            let section = splice_insert(MediaTime(pts(splice_at)).wrapped());
            let cue = MuxSample { track: CUES, data: &section, tables: false, ..video };
            muxer.write(&cue, &mut out).unwrap();
        }
        out
    };
    (0..125).map(piece).collect()
}

/// Sends the source in real time; returns what a viewer of continuous TS would have got.
fn relay(source: &[Vec<u8>]) -> Vec<u8> {
    let ring = RingSize { samples_max: 1_000, bytes_max: 4 << 20 };
    let config = SessionConfig {
        program: None,
        timeline: TimelineConfig { segment_target_ms: 1_000, segment_max_ms: 4_000 },
        ts: TsPackageConfig { target_duration_s: 4, window_ms: 60_000, mux: MuxConfig::default() },
        cmaf: CmafPackageConfig { target_duration_s: 4, window_ms: 12_000 },
        video_ring: ring,
        audio_ring: ring,
        pace: false,
        session_idle_us: 60_000_000,
        variant_idle_us: 60_000_000,
        encodings: Default::default(),
    };
    let mut session = Session::open(Arc::new(config), Arena::new(1 << 28).unwrap(), None, START);
    let mut now = START;
    session.touch(Want::Ts(Selection::SOURCE), now.mono_us, now);
    session.poll(now);
    session.on_origin(OriginEvent::Connected, now);
    for piece in source {
        assert_eq!(session.ingest(piece, now).consumed, piece.len());
        now = now.plus_us(40_000);
        session.poll(now);
    }
    let view = session.view();
    let mut reader =
        StoreReader::new(view.ts(&Selection::SOURCE).expect("a touched session has a packager").store().clone());
    let mut out = Vec::new();
    while let Some(piece) = reader.piece(out.len() as u64, usize::MAX) {
        out.extend_from_slice(piece.bytes);
    }
    out
}

/// What our demuxer reads.
#[derive(Default)]
struct Seen {
    tracks: Vec<Track>,
    /// (PTS, number) of each picture.
    pictures: Vec<(Ts33, u8)>,
    /// Each section, and the number of pictures before it.
    sections: Vec<(Vec<u8>, usize)>,
}

impl Sink for Seen {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        match self.tracks.iter().find(|track| track.id == sample.track).unwrap().codec {
            Codec::Scte35 => self.sections.push((sample.data.to_vec(), self.pictures.len())),
            _ => self.pictures.push((sample.pts.unwrap(), sample.data.last().unwrap() & 0x7f)),
        }
    }
}

fn read(stream: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(stream, &mut seen);
    demuxer.end(&mut seen);
    assert_eq!(demuxer.stats().psi_errors, 0, "every section's CRC is right");
    seen
}

#[test]
fn a_splice_points_at_the_same_picture_in_the_output() {
    let (cue_at, splice_at) = (30, 50);
    let source = source(cue_at, splice_at);
    for (stream, is_output) in [(source.concat(), false), (relay(&source), true)] {
        let seen = read(&stream);
        let [(section, before)] = &seen.sections[..] else { panic!("{} sections", seen.sections.len()) };
        assert_eq!(crc32(section), 0);
        let (_, number) = seen.pictures.iter().find(|(pts, _)| *pts == points_at(section)).expect("a picture is there");
        assert_eq!(i64::from(*number), splice_at, "output: {is_output}");
        assert!((29..=32).contains(before), "it comes where it came: behind {before} pictures, output: {is_output}");
        let is_moved = section[4..9] != [0, 0, 0, 0x10, 0x00];
        assert_eq!(is_moved, is_output, "only pts_adjustment tells the time apart");
        assert_eq!(section[9..31], splice_insert(MediaTime(FIRST + (splice_at + 2) * FRAME).wrapped())[9..31]);
    }
}
