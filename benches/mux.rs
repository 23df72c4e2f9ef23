//! TS mux: samples to transport packets, in one thread, into a buffer that is reused. `cargo bench --bench mux`
//!
//! `pictures` is the muxer alone, `packager` the whole way from ES rings to a published store.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millrace::es::selection::Selection;
use millrace::es::{AudioRole, Codec, Key, SampleMeta, Track, TrackId, TsStream};
use millrace::mpegts::mux::{MuxConfig, MuxSample, TsMuxer};
use millrace::package::mpegts::{TsPackageConfig, TsPackager};
use millrace::package::{Feed, Packager, Pulled, TrackRing};
use millrace::ring::es::EsRing;
use millrace::store::Arena;
use millrace::time::{MediaTime, Now};
use millrace::timeline::{Cut, Epoch};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

/// Two seconds at 25 pictures a second and 48 kHz audio.
const PICTURES: i64 = 50;
const FRAME_TICKS: i64 = 3_600;
const START: i64 = 1_795_400_000 * 90_000;

fn track(id: u16, codec: Codec, stream_type: u8) -> Arc<Track> {
    let ts = TsStream { pid: 0x100 + id, stream_type, descriptors: Bytes::new(), stream_id: 0 };
    Arc::new(Track { id: TrackId(id), codec, language: None, role: AudioRole::Main, ts, params: None })
}

fn meta(dts: i64, key: Key) -> SampleMeta {
    SampleMeta {
        pts: MediaTime(dts + FRAME_TICKS),
        dts: MediaTime(dts),
        key,
        discontinuity: false,
        header_len: 0,
        corrupt: false,
        pcr: Some(MediaTime(dts - 45_000)),
    }
}

fn picture(index: i64, len: usize) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, if index % PICTURES == 0 { 0x65 } else { 0x41 }];
    data.resize(len, 0x5a);
    data
}

fn pictures(c: &mut Criterion) {
    let mut group = c.benchmark_group("mux/pictures");
    for (name, len) in [("2 Mb/s", 10_000), ("8 Mb/s", 40_000), ("audio frames", 380)] {
        let video = len > 1_000;
        let mut mux = TsMuxer::new(MuxConfig::default());
        mux.set_tracks(&[if video { track(0, Codec::H264, 0x1b) } else { track(0, Codec::Aac, 0x0f) }]);
        let data = picture(1, len);
        let mut dts = START;
        let mut out = Vec::new();
        group.throughput(Throughput::Bytes(PICTURES as u64 * len as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..PICTURES {
                    dts += FRAME_TICKS;
                    let meta = SampleMeta { pts: MediaTime(dts), ..meta(dts, Key::None) };
                    let (track, pcr_ceiling) = (TrackId(0), MediaTime(i64::MAX));
                    let sample = MuxSample { track, meta: &meta, data: &data, pcr_ceiling, tables: false };
                    mux.write(&sample, &mut out).expect("the track is known");
                }
                black_box(out.len())
            })
        });
    }
    group.finish();
}

/// Twenty seconds at about 8 Mb/s in the rings, muxed into a new store each time.
fn packager(c: &mut Criterion) {
    let mut rings = [track(0, Codec::H264, 0x1b), track(1, Codec::Aac, 0x0f)].map(|track| {
        let mut ring = EsRing::new(2_000, 64 << 20).expect("a ring");
        ring.push_track(track.clone());
        TrackRing::source(&track, ring)
    });
    let mut cuts = VecDeque::new();
    let mut bytes = 0;
    for index in 0..10 * PICTURES {
        let is_key = index % PICTURES == 0;
        let meta = meta(START + index * FRAME_TICKS, if is_key { Key::Idr } else { Key::None });
        let data = picture(index, if is_key { 200_000 } else { 36_000 });
        bytes += data.len() as u64;
        rings[0].ring.source_mut().expect("a source's ring").push(meta, &data);
        if is_key {
            cuts.push_back(Cut {
                segment: 1 + (index / PICTURES) as u64,
                discontinuity_sequence: 1,
                start: meta.pts,
                previous_duration: PICTURES * FRAME_TICKS,
                program_date_time_us: meta.pts.unix_us(),
                discontinuity: false,
                independent: true,
            });
        }
    }
    for index in 0..20 * 48_000 / 1_024 {
        let dts = START + index * 1_920;
        bytes += 380;
        rings[1]
            .ring
            .source_mut()
            .expect("a source's ring")
            .push(SampleMeta { pts: MediaTime(dts), ..meta(dts, Key::Idr) }, &[0xff; 380]);
    }
    let feed = Feed { rings: rings.into(), cuts };
    let arena = Arena::new(1 << 30).expect("an arena");
    let config = TsPackageConfig { target_duration_s: 2, window_ms: 60_000, mux: MuxConfig::default() };
    let now = Now { mono_us: 0, unix_us: 0 };
    let mut group = c.benchmark_group("mux/packager");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("20 s backfill at 8 Mb/s", |b| {
        b.iter(|| {
            let epoch = Epoch { id: 1, discontinuity_sequence: 1 };
            let (selection, renditions) = (Selection::SOURCE, feed.sources());
            let mut packager = TsPackager::new(arena.clone(), config, epoch, selection, renditions, &feed, now);
            while packager.pull(&feed, now) == Pulled::More {}
            black_box(packager.shared().store().published())
        })
    });
    group.finish();
}

criterion_group!(benches, pictures, packager);
criterion_main!(benches);
