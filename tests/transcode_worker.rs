//! Workers and their coordinator, on real threads and rings, with pipelines that do as a test says: what is shared, what is refused, how it
//! ends, and what happens to others when one of them panics, hangs or falls behind.

use millrace::es::encoding::Encoding;
use millrace::es::{AudioRole, Codec, Key, Params, SampleMeta, Track, TrackId, TsStream, VideoParams};
use millrace::ring::branch::{Branch, Output, OutputId, Progress};
use millrace::ring::doorbell::Doorbell;
use millrace::ring::es::Entry;
use millrace::ring::spsc::{self, Consumer, Producer};
use millrace::time::MediaTime;
use millrace::transcode::pipeline::{Pipeline, PipelineError, Sink};
use millrace::transcode::{TranscodeConfig, Transcoder};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a loaded machine may take.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME: i64 = 3_600;
/// Frames from key to key.
const GOP: i64 = 25;

/// Passes samples on, and does what their first byte says.
struct Fake {
    outputs: Vec<(OutputId, bool, i64)>,
    delay: Vec<SampleMeta>,
}

const PASS: u8 = 0;
const PANIC: u8 = 1;
const HANG: u8 = 2;
const FAIL: u8 = 3;
const SLOW: u8 = 4;

impl Fake {
    fn emit(&mut self, meta: SampleMeta, sink: &mut dyn Sink) {
        for (id, has_begun, newest) in &mut self.outputs {
            if (*has_begun || meta.key > Key::None) && meta.pts.0 > *newest {
                if !std::mem::replace(has_begun, true) {
                    sink.track(*id, track());
                }
                *newest = meta.pts.0;
                sink.sample(*id, meta, &meta.pts.0.to_le_bytes());
            }
        }
    }
}

impl Pipeline for Fake {
    fn add(&mut self, output: OutputId, _: Encoding) {
        self.outputs.push((output, false, i64::MIN));
    }
    fn remove(&mut self, output: OutputId) {
        self.outputs.retain(|(id, ..)| *id != output);
    }
    fn track(&mut self, _: &Arc<Track>, _: &mut dyn Sink) -> Result<(), PipelineError> {
        Ok(())
    }
    fn sample(&mut self, meta: &SampleMeta, data: &[u8], sink: &mut dyn Sink) -> Result<(), PipelineError> {
        match data[0] {
            PANIC => panic!("told to"),
            HANG => std::thread::sleep(Duration::from_secs(3_600)),
            FAIL => return Err(PipelineError("told to fail".into())),
            SLOW => std::thread::sleep(Duration::from_millis(60)),
            _ => {}
        }
        // A decoder holds two frames.
        self.delay.push(*meta);
        if self.delay.len() > 2 {
            let oldest = self.delay.remove(0);
            self.emit(oldest, sink);
        }
        Ok(())
    }
    fn gap(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        self.drain(sink)
    }
    fn drain(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        for meta in std::mem::take(&mut self.delay) {
            self.emit(meta, sink);
        }
        Ok(())
    }
    fn join(&mut self, other: Box<dyn Pipeline>) {
        let other: Box<dyn Any> = other;
        self.outputs.extend(other.downcast::<Fake>().expect("one of ours").outputs);
    }
}

fn track() -> Arc<Track> {
    let params = VideoParams {
        width: 640,
        height: 360,
        sar: (1, 1),
        frame_rate: Some((25, 1)),
        interlaced: false,
        rfc6381: "avc1.64001f".into(),
        parameter_sets: Vec::new(),
    };
    Arc::new(Track {
        id: TrackId(0),
        codec: Codec::H264,
        language: None,
        role: AudioRole::Main,
        ts: TsStream::default(),
        params: Some(Params::Video(params)),
    })
}

/// The session's side of a branch.
struct Side {
    input: Producer,
    doorbell: Arc<Doorbell>,
    outputs: Vec<(OutputId, Consumer, Arc<Progress>)>,
    at: i64,
    /// PTS that came out of the first output.
    got: Vec<i64>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn branch(encodings: &[&str], at: i64) -> (Side, Branch) {
    let (input, consumer) = spsc::channel(1 << 20, 512).unwrap();
    let doorbell = Arc::new(Doorbell::default());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for encoding in encodings {
        let (producer, ring) = spsc::channel(64 << 10, 4_096).unwrap();
        let (id, progress) = (OutputId(NEXT.fetch_add(1, Ordering::Relaxed)), Arc::<Progress>::default());
        ours.push((id, ring, progress.clone()));
        theirs.push(Output { id, encoding: encoding.parse().unwrap(), ring: producer, progress });
    }
    let side = Side { input, doorbell: doorbell.clone(), outputs: ours, at, got: Vec::new() };
    (side, Branch { source: track(), input: consumer, doorbell, outputs: theirs })
}

impl Side {
    /// Pushes so many frames, of which the first says `what`.
    fn push(&mut self, frames: i64, what: u8) {
        for index in 0..frames {
            let pts = MediaTime(self.at * FRAME);
            let key = if self.at % GOP == 0 { Key::Idr } else { Key::None };
            let meta =
                SampleMeta { pts, dts: pts, key, discontinuity: false, header_len: 0, corrupt: false, pcr: None };
            let pushed = self.input.push(meta, &[if index == 0 { what } else { PASS }; 100]);
            pushed.expect("room in the input ring");
            self.at += 1;
        }
        self.doorbell.ring();
    }

    /// Takes what came out of the first output, and frees it.
    fn pull(&mut self) {
        let (_, ring, _) = &mut self.outputs[0];
        while let Some((seq, entry)) = ring.read_next() {
            if let Entry::Sample { meta, data } = entry {
                assert_eq!(data, meta.pts.0.to_le_bytes());
                self.got.push(meta.pts.0 / FRAME);
            }
            ring.free_until(seq + 1);
        }
    }

    fn ids(&self) -> Vec<OutputId> {
        self.outputs.iter().map(|(id, ..)| *id).collect()
    }

    fn failure(&self) -> Option<Arc<str>> {
        self.outputs[0].2.failure()
    }
}

fn config(cores: &[usize]) -> TranscodeConfig {
    TranscodeConfig { cores: cores.to_vec(), cores_are_shared: false, load_max: 0.85, hang_ms: 300 }
}

fn transcoder(cores: &[usize]) -> Arc<Transcoder> {
    Transcoder::with_pipelines(
        config(cores),
        Arc::new(|_| Ok(Box::new(Fake { outputs: Vec::new(), delay: Vec::new() }) as Box<dyn Pipeline>)),
    )
}

#[track_caller]
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_later_branch_joins_and_every_frame_comes_once() {
    let transcoder = transcoder(&[0]);
    let (mut first, of_first) = branch(&["h264-360p"], 0);
    transcoder.start("news", of_first).unwrap();
    first.push(40, PASS);
    // The second begins a key earlier than the first is now, and catches up.
    let (mut second, of_second) = branch(&["vp9", "h264-180p"], GOP);
    transcoder.start("news", of_second).unwrap();
    assert_eq!(transcoder.status().jobs.len(), 1, "one worker for one track");
    second.push(40 - GOP, PASS);
    for _ in 0..200 {
        first.push(1, PASS);
        if !second.input.is_abandoned() {
            second.push(1, PASS);
        } else {
            second.at += 1;
        }
        first.pull();
        second.pull();
        std::thread::sleep(Duration::from_millis(1));
    }
    eventually("the second's input is dropped", || second.input.is_abandoned());
    // Two frames are in the decoder.
    eventually("all frames", || {
        first.pull();
        second.pull();
        first.got.len() as i64 == first.at - 2 && second.got.last() == first.got.last()
    });
    assert_eq!(first.got, (0..first.at - 2).collect::<Vec<_>>());
    assert_eq!(second.got, (GOP..first.at - 2).collect::<Vec<_>>(), "no frame twice, none missing");
    transcoder.shutdown();
    assert!(transcoder.status().jobs.is_empty());
}

#[test]
fn what_is_stopped_ends_at_once_and_others_go_on() {
    let transcoder = transcoder(&[0]);
    let (mut one, of_one) = branch(&["h264"], 0);
    let (mut other, of_other) = branch(&["h264"], 0);
    transcoder.start("one", of_one).unwrap();
    transcoder.start("other", of_other).unwrap();
    one.push(60, PASS);
    other.push(60, PASS);
    eventually("frames", || one.outputs[0].2.frames.load(Ordering::Relaxed) > 50);
    transcoder.stop(&one.ids());
    eventually("one job is left", || transcoder.status().jobs.len() == 1);
    println!("stop to joined thread: {:.2} ms", transcoder.status().totals.stop_ms_max);
    other.push(50, PASS);
    eventually("the other goes on", || {
        other.pull();
        other.got.len() == 108
    });
    // A session that is gone says nothing: its rings do.
    drop(other);
    eventually("no job is left", || transcoder.status().jobs.is_empty());
    transcoder.shutdown();
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let transcoder = transcoder(&[0, 1]);
    let mut sides = Vec::new();
    let refused = loop {
        let (side, branch) = branch(&["av1"], 0);
        match transcoder.start(&format!("channel-{}", sides.len()), branch) {
            Ok(()) => sides.push(side),
            Err(refused) => break refused,
        }
    };
    assert!(refused.why.contains("the transcoding cores are full") && refused.retry_after_s == Some(10), "{refused}");
    let status = transcoder.status();
    assert!(status.cores.iter().all(|core| core.load <= 0.85 && core.jobs > 0), "spread over cores: {status:?}");
    assert_eq!((status.totals.started, status.totals.refused), (sides.len() as u64, 1));
    transcoder.stop(&sides[0].ids());
    eventually("room", || {
        let (side, branch) = branch(&["av1"], 0);
        let taken = transcoder.start("next", branch).is_ok();
        sides.push(side);
        taken
    });
    let nothing = Transcoder::new(config(&[]));
    assert_eq!(nothing.start("a", branch(&["h264"], 0).1).unwrap_err().retry_after_s, None);
    transcoder.shutdown();
}

#[test]
fn a_worker_that_panics_or_fails_tells_its_outputs_and_nobody_else_notices() {
    let transcoder = transcoder(&[0]);
    let (mut healthy, of_healthy) = branch(&["h264"], 0);
    transcoder.start("healthy", of_healthy).unwrap();
    for (what, why) in [(PANIC, "panicked"), (FAIL, "told to fail")] {
        let (mut ill, of_ill) = branch(&["h264", "vp9"], 0);
        transcoder.start("ill", of_ill).unwrap();
        ill.push(10, PASS);
        ill.push(1, what);
        eventually("it is told", || ill.outputs.iter().all(|(_, _, progress)| progress.is_over()));
        assert!(ill.failure().unwrap().contains(why));
        eventually("its rings are left", || ill.input.is_abandoned() && ill.outputs[0].1.is_abandoned());
        healthy.push(30, PASS);
    }
    eventually("the other lost nothing", || {
        healthy.pull();
        healthy.got == (0..58).collect::<Vec<_>>()
    });
    eventually("the dead are joined", || transcoder.status().jobs.len() == 1);
    assert_eq!(transcoder.status().totals.failed, 4);
    transcoder.shutdown();
}

#[test]
fn a_worker_that_hangs_is_given_up_and_its_core_lost() {
    let transcoder = transcoder(&[0, 1]);
    let (mut ill, of_ill) = branch(&["h264"], 0);
    transcoder.start("ill", of_ill).unwrap();
    ill.push(5, PASS);
    ill.push(1, HANG);
    eventually("it is told", || ill.outputs[0].2.is_over());
    assert!(ill.failure().unwrap().contains("hung"));
    let status = transcoder.status();
    let lost: Vec<usize> = status.cores.iter().filter(|core| core.lost).map(|core| core.core).collect();
    assert_eq!((lost.len(), status.totals.abandoned, status.jobs[0].state), (1, 1, "hung"), "{status:?}");
    // What comes next runs on the other core.
    let (mut next, of_next) = branch(&["h264"], 0);
    transcoder.start("ill", of_next).unwrap();
    next.push(30, PASS);
    eventually("frames", || {
        next.pull();
        next.got.len() == 28
    });
    let status = transcoder.status();
    assert!(status.jobs.iter().any(|job| job.state == "running" && !lost.contains(&job.core)), "{status:?}");
    next.push(1, HANG);
    eventually("both are lost", || transcoder.status().cores.iter().all(|core| core.lost));
    let refused = transcoder.start("ill", branch(&["h264"], 0).1).unwrap_err();
    assert!(refused.why.contains("lost"), "{refused}");
    // The end does not wait for what hangs.
    let asked = Instant::now();
    transcoder.shutdown();
    assert!(asked.elapsed() < PATIENCE);
}

#[test]
fn one_that_is_slow_is_seen_to_be_and_a_full_ring_makes_it_wait() {
    let transcoder = transcoder(&[0]);
    let (mut slow, of_slow) = branch(&["h264"], 0);
    transcoder.start("slow", of_slow).unwrap();
    for _ in 0..40 {
        slow.push(1, SLOW);
    }
    eventually("it lags", || {
        let job = &transcoder.status().jobs[0];
        job.lag_ms > 0 && job.queue > 0 && job.speed > 0.0 && job.speed < 1.0
    });
    eventually("it gets there", || {
        slow.pull();
        slow.got.len() == 38
    });
    // Nobody reads: 4096 frames of 8 bytes fit, and not one more; nothing is lost.
    let (mut unread, of_unread) = branch(&["h264"], 0);
    transcoder.start("unread", of_unread).unwrap();
    for _ in 0..45 {
        unread.push(100, PASS);
        eventually("the input is taken", || {
            unread.input.push_gap().is_ok() || unread.outputs[0].2.frames.load(Ordering::Relaxed) > 4_000
        });
        std::thread::sleep(Duration::from_millis(5));
        if unread.outputs[0].2.frames.load(Ordering::Relaxed) > 4_000 {
            break;
        }
    }
    eventually("it reads on", || {
        unread.pull();
        unread.got.last().is_some_and(|last| *last >= unread.at - 3)
    });
    assert!(unread.got.is_sorted());
    assert_eq!(unread.outputs[0].2.dropped.load(Ordering::Relaxed), 0);
    transcoder.shutdown();
}

#[test]
fn two_hundred_starts_and_stops_leave_nothing_behind() {
    let transcoder = transcoder(&[0, 1]);
    let (mut steady, of_steady) = branch(&["h264"], 0);
    transcoder.start("steady", of_steady).unwrap();
    let mut before = None;
    for cycle in 0..200 {
        let (mut side, branch) = branch(&["h264", "h264-180p"], 0);
        transcoder.start(&format!("channel-{}", cycle % 7), branch).unwrap();
        side.push(30, PASS);
        steady.push(1, PASS);
        if cycle % 3 > 0 {
            eventually("frames", || side.outputs[1].2.frames.load(Ordering::Relaxed) >= 28);
            transcoder.stop(&side.ids());
        }
        drop(side);
        eventually("it ended", || transcoder.status().jobs.len() == 1);
        if cycle == 20 {
            before = Some(held());
        }
    }
    eventually("the steady one lost nothing", || {
        steady.pull();
        steady.got == (0..198).collect::<Vec<_>>()
    });
    let (threads, maps, files) = before.expect("measured");
    let after = held();
    println!("threads, maps of rings, files: {:?} after 20 cycles, {after:?} after 200", (threads, maps, files));
    // Other tests of this program run beside this one.
    assert!(after.0 <= threads + 8 && after.1 <= maps + 24 && after.2 <= files + 24, "{after:?}");
    println!("stop to joined thread: {:.2} ms at most", transcoder.status().totals.stop_ms_max);
    transcoder.shutdown();
}

/// Threads of this process, its memory maps of rings, and its open files.
fn held() -> (usize, usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    (count("/proc/self/task"), maps.matches("millrace-hand-over").count(), count("/proc/self/fd"))
}
