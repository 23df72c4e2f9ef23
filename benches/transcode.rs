//! What a variant costs beside the libav calls it is made of: the same pictures through a worker with its rings, and through a bare loop of decode, scale
//! and encode. CPU time of the whole process, runs interleaved, the median of their ratios.
//!
//! `cargo bench --bench transcode` prints a line for each codec.

#[path = "../tests/transcode_libav/rig.rs"]
#[allow(dead_code)]
mod rig;

use millrace::es::encoding::{Encoding, VideoEncoding};
use millrace::es::{Key, TrackKind};
use millrace::ring::branch::{Branch, Output, OutputId, Progress};
use millrace::ring::doorbell::Doorbell;
use millrace::ring::spsc::{self, NoRoom};
use millrace::transcode::av::decoder::Decoder;
use millrace::transcode::av::frame::Frame;
use millrace::transcode::av::picture_encoder::{PictureEncoder, PictureSettings};
use millrace::transcode::av::scale::Scaler;
use millrace::transcode::{TranscodeConfig, Transcoder};
use rig::{Source, VIDEO};
use std::sync::Arc;
use std::time::Duration;

const RUNS: usize = 9;

fn main() {
    let source = rig::source(10);
    let samples = &source.samples[VIDEO as usize];
    println!("{} pictures of 640x360, H.264 in; median of {RUNS} interleaved runs", samples.len());
    for name in ["h264-180p-300k", "vp9-180p-300k"] {
        let Ok(Encoding::Video(encoding)) = name.parse() else { unreachable!("a video encoding") };
        let mut ratios = Vec::new();
        for _ in 0..RUNS {
            let bare = cpu_of(|| bare_loop(&source, encoding));
            let worker = cpu_of(|| through_worker(&source, encoding));
            ratios.push((worker / bare, worker, bare));
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, worker, bare) = ratios[RUNS / 2];
        let (low, high) = (ratios[0].0, ratios[RUNS - 1].0);
        println!(
            "{name}: worker {worker:.3} s, bare loop {bare:.3} s of CPU, ratio {ratio:.3} ({low:.3} to {high:.3})"
        );
    }
}

/// Decode, scale, encode, and nothing else.
fn bare_loop(source: &Source, encoding: VideoEncoding) -> usize {
    let track = source.tracks.iter().find(|track| track.kind() == TrackKind::Video).expect("a picture");
    let mut decoder = Decoder::open(track).expect("a decoder");
    let mut frame = Frame::new().expect("a frame");
    let mut scaler = Scaler::new((320, 180)).expect("a scaler");
    let settings = |shape: millrace::transcode::av::frame::PictureShape| PictureSettings {
        encoding,
        width: 320,
        height: 180,
        sar: (1, 1),
        frame_rate: (25, 1),
        colour: shape.colour,
    };
    let mut encoder: Option<PictureEncoder> = None;
    let mut bytes = 0;
    let mut out = Vec::new();
    let keys: Vec<i64> = source.samples[0].iter().filter(|s| s.meta.key > Key::None).map(|s| s.meta.pts.0).collect();
    for sample in &source.samples[VIDEO as usize] {
        let key = sample.meta.key > Key::None;
        decoder.send(&sample.data, sample.meta.pts.0, sample.meta.dts.0, key).expect("it decodes");
        while decoder.receive(&mut frame).expect("it decodes") {
            let pts = frame.pts().expect("a time");
            scaler.scale(&frame).expect("it scales");
            let encoder =
                encoder.get_or_insert_with(|| PictureEncoder::open(settings(frame.shape())).expect("an encoder"));
            encoder.send(scaler.picture(), pts, keys.contains(&pts)).expect("it encodes");
            while let Some(encoded) = encoder.receive().expect("it encodes") {
                // Whoever encodes keeps what comes out.
                out.clear();
                out.extend_from_slice(encoded.data);
                bytes += out.len();
            }
        }
    }
    bytes
}

/// The same through a branch, a worker thread and two rings.
fn through_worker(source: &Source, encoding: VideoEncoding) -> usize {
    let config = TranscodeConfig { cores: vec![0], cores_are_shared: false, load_max: 1.0, hang_ms: 60_000 };
    let transcoder = Transcoder::new(config);
    let track = source.tracks.iter().find(|track| track.kind() == TrackKind::Video).expect("a picture");
    let (mut input, consumer) = spsc::channel(8 << 20, 1_024).expect("a ring");
    let (producer, mut ring) = spsc::channel(8 << 20, 4_096).expect("a ring");
    let doorbell = Arc::new(Doorbell::default());
    let progress = Arc::new(Progress::default());
    let output = Output { id: OutputId(0), encoding: Encoding::Video(encoding), ring: producer, progress };
    let branch = Branch { source: track.clone(), input: consumer, doorbell: doorbell.clone(), outputs: vec![output] };
    transcoder.start("bench", branch).expect("room");
    let mut bytes = 0;
    let mut take = |ring: &mut spsc::Consumer| {
        ring.poll();
        let end = ring.range().end;
        bytes += ring.bytes();
        ring.free_until(end);
    };
    for sample in &source.samples[VIDEO as usize] {
        while input.push(sample.meta, &sample.data) == Err(NoRoom::Full) {
            doorbell.ring();
            take(&mut ring);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    doorbell.ring();
    drop(input);
    while !ring.is_abandoned() {
        take(&mut ring);
        std::thread::sleep(Duration::from_millis(5));
    }
    take(&mut ring);
    transcoder.shutdown();
    bytes
}

/// CPU time of the process that some work takes, seconds.
fn cpu_of(work: impl FnOnce() -> usize) -> f64 {
    let before = cpu_s();
    std::hint::black_box(work());
    cpu_s() - before
}

fn cpu_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
