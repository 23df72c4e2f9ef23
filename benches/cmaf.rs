//! CMAF mux: ring samples to chunks, in one thread, into a buffer that is reused. `cargo bench --bench cmaf`
//!
//! Ends with the CPU time of the same work by `ffmpeg -c copy -f mp4` to fragments on the same file (needs `ffmpeg`, also once to make
//! 30 s of 8 Mb/s H.264 with B-frames and AAC below `target/`). Ours is timed from bytes of TS to bytes of CMAF, demultiplexing included,
//! as ffmpeg's is; what ffmpeg needs to start is in a run over the file once, which is taken
//! off a run over it many times.

mod stream;

use criterion::{Criterion, Throughput, criterion_group};
use millrace::es::{Codec, Key, Params, Track};
use millrace::fmp4::chunk::{self, Chunk, ChunkSample};
use millrace::fmp4::{framing, init};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// Bytes of one push: what an origin socket is read by.
const PUSH_BYTES: usize = millrace::limits::ORIGIN_READ_BYTES;

/// One track's chunk in the making.
struct Open {
    codec: Codec,
    timescale: i64,
    frame_samples: i64,
    decode_time: i64,
    sequence_number: u32,
    segment_start: i64,
    begins_segment: bool,
    samples: Vec<ChunkSample>,
    data: Vec<u8>,
    /// Where the published bytes of the track end up; emptied when a segment begins, as a store would hand out a new block.
    out: Vec<u8>,
    written: u64,
}

impl Open {
    fn new(track: &Track) -> Option<Open> {
        let timescale = init::timescale(track)?;
        let frame_samples = match &track.params {
            Some(Params::Audio(params)) => params.frame_samples as i64,
            _ => 0,
        };
        Some(Open {
            codec: track.codec,
            timescale: timescale as i64,
            frame_samples,
            decode_time: 0,
            sequence_number: 0,
            segment_start: 0,
            begins_segment: true,
            samples: Vec::new(),
            data: Vec::new(),
            out: Vec::new(),
            written: 0,
        })
    }

    /// A chunk of half a second, a segment at the first key after two seconds.
    fn push(&mut self, dts: i64, offset: i32, duration: u32, key: bool, header_len: u8, data: &[u8]) {
        let begins_segment = key && dts - self.segment_start >= 2 * self.timescale;
        if begins_segment || dts - self.decode_time >= self.timescale / 2 {
            self.flush();
            (self.decode_time, self.begins_segment) = (dts, begins_segment);
        }
        if begins_segment {
            self.segment_start = dts;
            self.out.clear();
        }
        let size = framing::convert(self.codec, data, header_len, &mut self.data) as u32;
        if size > 0 {
            self.samples.push(ChunkSample { duration, size, composition_offset: offset, sync: key });
        }
    }

    fn flush(&mut self) {
        if self.samples.is_empty() {
            return;
        }
        let before = self.out.len();
        self.sequence_number += 1;
        let chunk = Chunk {
            sequence_number: self.sequence_number,
            base_media_decode_time: self.decode_time as u64,
            begins_segment: self.begins_segment,
            producer_unix_us: Some(1_795_400_000_000_000),
            samples: &self.samples,
        };
        chunk::write_head(&chunk, &mut self.out);
        self.out.extend_from_slice(&self.data);
        self.written += (self.out.len() - before) as u64;
        self.samples.clear();
        self.data.clear();
    }
}

/// Demultiplexes into chunks.
#[derive(Default)]
struct Chunks {
    tracks: Vec<Track>,
    open: Vec<Option<Open>>,
}

impl Sink for Chunks {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
        self.open.resize_with(tracks.len(), || None);
    }
    fn pcr(&mut self, pcr_27m: u64, _discontinuity: bool) -> Flow {
        black_box(pcr_27m);
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let at = sample.track.0 as usize;
        if self.open[at].is_none() {
            self.open[at] = Open::new(&self.tracks[at]);
        }
        let (Some(open), Some(pts), Some(dts)) = (&mut self.open[at], sample.pts, sample.dts) else { return };
        let ticks = dts.ticks() as i64 * open.timescale / 90_000;
        let duration = if open.frame_samples > 0 { open.frame_samples as u32 } else { 3_600 };
        open.push(ticks, pts.since(dts) as i32, duration, sample.key == Key::Idr, sample.header_len, sample.data);
    }
}

/// TS bytes to CMAF bytes; says how many those were.
fn ts_to_cmaf(bytes: &[u8]) -> u64 {
    let mut chunks = Chunks::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    for piece in bytes.chunks(PUSH_BYTES) {
        demuxer.push(piece, &mut chunks);
    }
    demuxer.end(&mut chunks);
    chunks.open.iter_mut().flatten().map(|open| (open.flush(), open.written).1).sum()
}

/// One sample as a ring holds it.
struct Held {
    track: usize,
    dts: i64,
    offset: i32,
    key: bool,
    header_len: u8,
    data: Vec<u8>,
}

/// Keeps all samples.
#[derive(Default)]
struct Samples {
    tracks: Vec<Track>,
    samples: Vec<Held>,
}

impl Sink for Samples {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let (Some(pts), Some(dts)) = (sample.pts, sample.dts) else { return };
        self.samples.push(Held {
            track: sample.track.0 as usize,
            dts: dts.ticks() as i64,
            offset: pts.since(dts) as i32,
            key: sample.key == Key::Idr,
            header_len: sample.header_len,
            data: sample.data.to_vec(),
        });
    }
}

fn mux(criterion: &mut Criterion) {
    let Some(bytes) = stream::file().and_then(|path| std::fs::read(path).ok()) else { return };
    let mut held = Samples::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(&bytes, &mut held);
    demuxer.end(&mut held);
    let payload: usize = held.samples.iter().map(|sample| sample.data.len()).sum();
    let mut group = criterion.benchmark_group("cmaf");
    group.throughput(Throughput::Bytes(payload as u64)).sample_size(30);
    group.bench_function("framing and chunk heads", |b| {
        b.iter(|| {
            let mut open: Vec<_> = held.tracks.iter().filter_map(Open::new).collect();
            for Held { track, dts, offset, key, header_len, data } in &held.samples {
                open[*track].push(*dts, *offset, 3_600, *key, *header_len, data);
            }
            black_box(open.iter_mut().map(|open| (open.flush(), open.written).1).sum::<u64>())
        })
    });
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("TS to CMAF", |b| b.iter(|| black_box(ts_to_cmaf(&bytes))));
    group.finish();
}

/// CPU seconds, user and system, of this process and of the children it has waited for.
fn cpu_seconds() -> (f64, f64) {
    let read = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` is writable for the size of a `rusage`, all zeros is a valid one, and `who` is one of the two constants.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        seconds(usage.ru_utime) + seconds(usage.ru_stime)
    };
    (read(libc::RUSAGE_SELF), read(libc::RUSAGE_CHILDREN))
}

/// CPU seconds of ffmpeg remuxing this file to fragmented MP4.
fn ffmpeg_seconds(input: &Path, passes: usize) -> Option<f64> {
    // The concat protocol reads the bytes of one file after the other, as one stream.
    let input = format!("concat:{}", vec![input.to_str()?; passes].join("|"));
    let before = cpu_seconds().1;
    let status = Command::new("ffmpeg")
        .args(["-v", "fatal", "-y", "-i", &input])
        .args(["-c", "copy", "-bsf:a", "aac_adtstoasc", "-f", "mp4"])
        .args(["-movflags", "frag_keyframe+empty_moov+default_base_moof", "/dev/null"])
        .status();
    status.ok()?.success().then(|| cpu_seconds().1 - before)
}

/// Paired rounds, so that a change of the machine's speed hits both alike; the median round counts.
fn ratio() {
    const ROUNDS: usize = 9;
    /// Times the file is read, so that what ffmpeg needs to start weighs little; that is taken off all the same.
    const PASSES: usize = 21;
    let Some(path) = stream::file() else { return };
    let Ok(bytes) = std::fs::read(&path) else { return };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = cpu_seconds().0;
        for _ in 0..PASSES - 1 {
            // Bytes come from the page cache, as ffmpeg's do.
            black_box(ts_to_cmaf(&std::fs::read(&path).unwrap_or_default()));
        }
        let ours = cpu_seconds().0 - before;
        let Some((long, short)) = ffmpeg_seconds(&path, PASSES).zip(ffmpeg_seconds(&path, 1)) else { return };
        rounds.push((ours, long - short));
    }
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (ours, theirs) = rounds[ROUNDS / 2];
    let gb = bytes.len() as f64 * (PASSES - 1) as f64 / 1e9;
    println!(
        "TS to CMAF: millrace {:.3} CPU-s/GB, ffmpeg -c copy {:.3} CPU-s/GB: {:.2} of ffmpeg's CPU",
        ours / gb,
        theirs / gb,
        ours / theirs
    );
}

criterion_group!(benches, mux);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    ratio();
}
