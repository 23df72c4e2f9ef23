//! TS bytes to ring samples against libavformat with its parsers, on the same bytes in memory; ends with the ratio.
//!
//! `cargo bench --bench demux` (feature `libav`; needs the `ffmpeg` program once, to make 30 s of 8 Mb/s H.264 with B-frames and
//! AAC below `target/`). Our side ends in ES rings: demultiplexed, framed, parameters read, samples copied. libavformat's side
//! ends in packets from `av_read_frame`; it is spared `avformat_find_stream_info`, which would decode.

mod libav;
#[path = "../stream/mod.rs"]
mod stream;

use criterion::{Criterion, Throughput, criterion_group};
use millrace::es::{SampleMeta, Track};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use millrace::ring::es::EsRing;
use millrace::time::{MediaTime, Ts33};
use std::hint::black_box;
use std::time::Instant;

/// Bytes of one push: what an origin socket is read by.
const PUSH_BYTES: usize = millrace::limits::ORIGIN_READ_BYTES;
/// Payload bytes of one ring: ten seconds of the stream.
const RING_BYTES: usize = 16 << 20;

/// Puts each sample into its track's ring, as ingest does.
#[derive(Default)]
struct Rings {
    rings: Vec<EsRing>,
    samples: u64,
}

impl Sink for Rings {
    fn tracks(&mut self, tracks: &[Track]) {
        self.rings.resize_with(tracks.len(), || EsRing::new(1_000, RING_BYTES).expect("memory for a ring"));
    }
    fn pcr(&mut self, pcr_27m: u64, _discontinuity: bool) -> Flow {
        black_box(pcr_27m);
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let time = |stamp: Option<Ts33>| MediaTime(stamp.map_or(0, |s| s.ticks() as i64));
        let meta = SampleMeta {
            pts: time(sample.pts),
            dts: time(sample.dts),
            key: sample.key,
            // A ring is used for many runs over the same file.
            discontinuity: true,
            header_len: sample.header_len,
            corrupt: sample.corrupt,
            pcr: None,
        };
        self.rings[sample.track.0 as usize].push(meta, sample.data);
        self.samples += 1;
    }
}

/// Demultiplexes the whole stream into `rings`; says how many samples it had.
fn ours(bytes: &[u8], rings: &mut Rings) -> u64 {
    rings.samples = 0;
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    for piece in bytes.chunks(PUSH_BYTES) {
        demuxer.push(black_box(piece), rings);
    }
    demuxer.end(rings);
    rings.samples
}

fn compare(criterion: &mut Criterion) {
    let Some(bytes) = stream::file().and_then(|path| std::fs::read(path).ok()) else { return };
    let mut rings = Rings::default();
    let mut group = criterion.benchmark_group("demux");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    group.bench_function("millrace", |b| b.iter(|| ours(&bytes, &mut rings)));
    group.bench_function("libavformat", |b| b.iter(|| libav::read_all(&bytes).expect("a readable stream")));
    group.finish();
}

/// Paired rounds, so that a change of the machine's speed hits both alike; the median round counts.
fn ratio() {
    const ROUNDS: usize = 31;
    let Some(bytes) = stream::file().and_then(|path| std::fs::read(path).ok()) else { return };
    let mut rings = Rings::default();
    let (samples, packets) = (ours(&bytes, &mut rings), libav::read_all(&bytes).expect("a readable stream"));
    let seconds = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    let round = |rings: &mut Rings| {
        let ours = seconds(&mut || {
            black_box(ours(&bytes, rings));
        });
        (
            ours,
            seconds(&mut || {
                black_box(libav::read_all(&bytes));
            }),
        )
    };
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(&mut rings)).collect();
    rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (ours, libav) = rounds[ROUNDS / 2];
    let mb_s = |s: f64| bytes.len() as f64 / s / 1e6;
    println!("{} bytes: {samples} samples, libavformat {packets} packets", bytes.len());
    println!("millrace {:.0} MB/s, libavformat with parsers {:.0} MB/s: {:.2}x", mb_s(ours), mb_s(libav), libav / ours);
}

criterion_group!(benches, compare);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    ratio();
}
