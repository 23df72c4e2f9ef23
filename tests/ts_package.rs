//! The TS packager on synthetic feeds, judged by `loadtest::tscheck`, which shares no code with it: live whatever the audio's
//! lag, a backfill, segments as ranges, skips of a viewer, playlists.

mod support;

use bytes::Bytes;
use millrace::es::selection::Selection;
use millrace::es::{AudioParams, AudioRole, Codec, Key, Params, SampleMeta, Track, TrackId, TsStream, VideoParams};
use millrace::mpegts::mux::MuxConfig;
use millrace::package::hls_ts;
use millrace::package::mpegts::{TsPackageConfig, TsPackager};
use millrace::package::{Feed, TrackRing};
use millrace::package::{Packager, Pulled};
use millrace::ring::es::EsRing;
use millrace::store::{Arena, StoreReader};
use millrace::time::{MediaTime, Now};
use millrace::timeline::{Cut, Epoch};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// 2026-11-23 on the output timeline.
const START: i64 = 1_795_400_000 * 90_000;
const FRAME: i64 = 3_600;
const GOP: i64 = 50;

/// A source with H.264 (B-frames, 2 s GOP) whose audio lies `audio_lag` ticks behind in order of arrival.
struct Source {
    feed: Feed,
    video_frames: i64,
    audio_frames: i64,
    audio_lag: i64,
    with_pcr: bool,
    now: Now,
}

fn track(id: u16, codec: Codec, pid: u16, stream_type: u8, params: Params) -> Arc<Track> {
    let ts = TsStream { pid, stream_type, descriptors: Bytes::new(), stream_id: 0 };
    Arc::new(Track { id: TrackId(id), codec, language: None, role: AudioRole::Main, ts, params: Some(params) })
}

impl Source {
    fn new(audio_lag: i64, with_pcr: bool) -> Self {
        let video = Params::Video(VideoParams {
            width: 1280,
            height: 720,
            sar: (1, 1),
            frame_rate: Some((25, 1)),
            interlaced: false,
            rfc6381: "avc1.64001f".into(),
            parameter_sets: vec![Bytes::from_static(&[0x67, 0x64]), Bytes::from_static(&[0x68, 0xee])],
        });
        let audio = Params::Audio(AudioParams {
            sample_rate: 48_000,
            channels: 2,
            frame_samples: 1_024,
            rfc6381: "mp4a.40.2".into(),
            config: Bytes::new(),
        });
        let tracks = [track(0, Codec::H264, 0x100, 0x1b, video), track(1, Codec::Aac, 0x1000, 0x0f, audio)];
        let ring = |track: &Arc<Track>| {
            let mut ring = EsRing::new(1_000, 8 << 20).unwrap();
            ring.push_track(track.clone());
            TrackRing::source(track, ring)
        };
        Source {
            feed: Feed { rings: tracks.iter().map(ring).collect(), cuts: VecDeque::new() },
            video_frames: 0,
            audio_frames: 0,
            audio_lag,
            with_pcr,
            now: Now { mono_us: 0, unix_us: 0 },
        }
    }

    /// One picture arrives, and the audio that is due with it.
    fn step(&mut self) {
        let n = self.video_frames;
        let dts = START + n * FRAME;
        let pcr = self.with_pcr.then_some(MediaTime(dts - 63_000.max(self.audio_lag + 4_500)));
        let is_key = n % GOP == 0;
        let pts = dts + if n % GOP % 3 == 0 { 4 * FRAME } else { FRAME };
        let mut data = vec![0, 0, 0, 1, if is_key { 0x65 } else { 0x41 }];
        data.resize(if is_key { 90_000 } else { 3_000 + 700 * (n % 7) as usize }, 0x55);
        let meta = meta(pts, dts, if is_key { Key::Idr } else { Key::None }, pcr);
        self.feed.rings[0].ring.source_mut().unwrap().push(meta, &data);
        if is_key {
            self.cut(pts, n / GOP);
        }
        while START + self.audio_frames * 1_920 <= dts - self.audio_lag {
            let at = START + self.audio_frames * 1_920;
            self.feed.rings[1].ring.source_mut().unwrap().push(meta_audio(at, pcr), &[0xaa; 371]);
            self.audio_frames += 1;
        }
        self.video_frames += 1;
        self.now = self.now.plus_us(40_000);
    }

    fn cut(&mut self, pts: i64, index: i64) {
        self.feed.cuts.push_back(Cut {
            segment: 1_795_400_000 + index as u64,
            discontinuity_sequence: 1_795_400_000,
            start: MediaTime(pts),
            previous_duration: GOP * FRAME,
            program_date_time_us: MediaTime(pts).unix_us(),
            discontinuity: false,
            independent: true,
        });
    }
}

fn meta(pts: i64, dts: i64, key: Key, pcr: Option<MediaTime>) -> SampleMeta {
    let (pts, dts) = (MediaTime(pts), MediaTime(dts));
    SampleMeta { pts, dts, key, discontinuity: false, header_len: 0, corrupt: false, pcr }
}

fn meta_audio(at: i64, pcr: Option<MediaTime>) -> SampleMeta {
    SampleMeta { header_len: 7, ..meta(at, at, Key::Idr, pcr) }
}

fn packager(source: &Source) -> TsPackager {
    let config = TsPackageConfig { target_duration_s: 3, window_ms: 10_000, mux: MuxConfig::default() };
    TsPackager::new(
        Arena::new(1 << 28).unwrap(),
        config,
        Epoch { id: 1_795_400_000, discontinuity_sequence: 1 },
        Selection::SOURCE,
        source.feed.sources(),
        &source.feed,
        source.now,
    )
}

fn bytes(packager: &TsPackager, range: Range<u64>) -> Vec<u8> {
    let mut reader = StoreReader::new(packager.shared().store().clone());
    let mut out = Vec::new();
    while range.start + (out.len() as u64) < range.end {
        let pos = range.start + out.len() as u64;
        let piece = reader.piece(pos, (range.end - pos) as usize).expect("published");
        out.extend_from_slice(piece.bytes);
    }
    out
}

/// Plays a minute live and checks every byte that was published.
fn play_live(audio_lag: i64, with_pcr: bool) {
    let mut source = Source::new(audio_lag, with_pcr);
    let mut packager = packager(&source);
    let mut stream = Vec::new();
    for _ in 0..60 * 25 {
        source.step();
        assert_eq!(packager.pull(&source.feed, source.now), Pulled::All);
        let published = packager.shared().store().published();
        stream.extend(bytes(&packager, stream.len() as u64..published));
    }
    let report = support::assert_clean(&stream, &format!("audio lag {audio_lag}, PCR {with_pcr}"));
    assert!(report.streams.values().all(|stream| stream.pes >= 600), "{report}");
}

#[test]
fn a_minute_live_passes_the_checker_whatever_the_audio_lag() {
    for audio_lag in [-18_000, 0, 9_000, 45_000, 80_000] {
        play_live(audio_lag, true);
    }
    for audio_lag in [-18_000, 0, 9_000, 45_000, 60_000] {
        play_live(audio_lag, false);
    }
}

#[test]
fn a_backfill_passes_the_checker_and_fills_the_window() {
    let mut source = Source::new(45_000, true);
    (0..30 * 25).for_each(|_| source.step());
    let mut packager = packager(&source);
    while packager.pull(&source.feed, source.now) == Pulled::More {}
    for _ in 0..25 * 20 {
        source.step();
        packager.pull(&source.feed, source.now);
    }
    let oldest = packager.shared().joins()[0].pos;
    let all = bytes(&packager, oldest..packager.shared().store().published());
    support::assert_clean(&all, "all");
    let snapshot = packager.shared().snapshot();
    assert!(snapshot.segments.len() >= 3, "{:?}", snapshot.segments);
    for segment in &snapshot.segments {
        let segment = bytes(&packager, snapshot.segment(segment.number()).unwrap());
        support::assert_clean(&segment, "segment");
        let pids = segment.chunks(188).take(3).map(|packet| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]));
        assert!(pids.eq([0, 0x1000, 0x100]), "PAT, PMT, then the key picture");
    }
}

#[test]
fn a_skip_with_the_private_head_passes_the_checker() {
    let mut source = Source::new(45_000, true);
    (0..20 * 25).for_each(|_| source.step());
    let packager = packager(&source);
    let joins = packager.shared().joins();
    assert!(joins.len() >= 3);
    let published = packager.shared().store().published();
    for join in &joins[2..] {
        // A viewer that was fed an odd number of packets, in the middle of a PES packet, and now falls behind.
        let seen = bytes(&packager, joins[0].pos..joins[0].pos + 188 * 61);
        let after = bytes(&packager, join.pos..published);
        support::assert_clean(&[&seen, &join.head[..], &after].concat(), "skip");
    }
}

#[test]
fn a_packager_that_was_lapped_begins_anew_with_a_signalled_discontinuity() {
    let mut source = Source::new(45_000, true);
    (0..20 * 25).for_each(|_| source.step());
    let mut packager = packager(&source);
    let before = packager.shared().store().published();
    let from = packager.shared().joins()[0].pos;
    (0..100 * 25).for_each(|_| source.step());
    while packager.pull(&source.feed, source.now) == Pulled::More {}
    assert!(packager.stats().lost > 1_000);
    let stream = bytes(&packager, packager.shared().joins()[0].pos.max(from)..packager.shared().store().published());
    support::assert_clean(&stream, "after the loss");
    let snapshot = packager.shared().snapshot();
    assert!(snapshot.segments[0].range.start >= before, "what was lost is no segment");
    let media = std::str::from_utf8(&snapshot.playlist.body).unwrap();
    assert!(snapshot.segments[0].cut.discontinuity && media.contains("#EXT-X-DISCONTINUITY\n"), "{media}");
}

#[test]
fn the_playlist_lists_the_window() {
    let mut source = Source::new(45_000, true);
    (0..20 * 25).for_each(|_| source.step());
    let packager = packager(&source);
    let snapshot = packager.shared().snapshot();
    let media = std::str::from_utf8(&snapshot.playlist.body).unwrap();
    support::golden("media.m3u8", media);
    support::golden(
        "multivariant.m3u8",
        std::str::from_utf8(&hls_ts::multivariant([&*snapshot].into_iter()).unwrap().body).unwrap(),
    );
}
