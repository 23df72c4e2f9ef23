//! The thread beside the workers: joins those that ended, gives up those that hang, and measures what the others cost.
//!
//! A thread that hangs within libav cannot be joined or stopped. It is left where it is, its outputs are told, and its core takes nothing
//! any more: what else would run there, beside a thread that may spin for ever, could not keep up.

use super::coordinator::{Job, State, Transcoder};
use crate::limits::{TRANSCODE_IDLE_WATCH_MS, TRANSCODE_MEASURED_AFTER_MS, TRANSCODE_WATCH_MS};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// CPU time and frames at the last measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuSeen {
    at_us: u64,
    cpu_us: u64,
    began_us: u64,
}

/// Measurements lie this far apart, microseconds.
const MEASURE_US: u64 = 1_000_000;

/// Starts the thread, which ends with the transcoder. `None` when the system has no room for one more thread: then nothing is joined or measured.
pub(super) fn spawn(transcoder: Weak<Transcoder>) -> Option<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("transcode-watch".into()).stack_size(128 << 10);
    let spawned = builder.spawn(move || {
        while let Some(transcoder) = transcoder.upgrade() {
            let hang_us = transcoder.config().hang_ms * 1_000;
            let Some(pause) = look(&transcoder, hang_us) else { return };
            drop(transcoder);
            std::thread::park_timeout(pause);
        }
    });
    spawned.inspect_err(|error| tracing::error!(%error, "no thread to watch the transcoders")).ok()
}

/// One look at all jobs: how long until the next; `None` when there are none and will be none.
fn look(transcoder: &Transcoder, hang_us: u64) -> Option<Duration> {
    let mut ended = Vec::new();
    let mut state = transcoder.lock();
    for index in (0..state.jobs.len()).rev() {
        let job = &mut state.jobs[index];
        job.measure();
        if job.gauge.ended.load(Ordering::Acquire) {
            let job = state.jobs.swap_remove(index);
            state.count(&job);
            ended.push(job);
        } else if !job.is_hung && job.gauge.busy_for_us() > hang_us {
            give_up(&mut state, index);
        }
    }
    let is_stopping = state.jobs.iter().any(|job| job.stopped_us.is_some() && !job.is_hung);
    let lives = state.jobs.iter().any(|job| !job.is_hung);
    let is_over = state.is_closing && !lives;
    drop(state);
    for job in ended {
        join(transcoder, job);
    }
    let ms = match (is_stopping, lives) {
        // How long it takes is to be known to the millisecond.
        (true, _) => 1,
        (false, true) => TRANSCODE_WATCH_MS,
        (false, false) => TRANSCODE_IDLE_WATCH_MS,
    };
    (!is_over).then(|| Duration::from_millis(ms))
}

/// Not under the lock: the thread is about to be gone, but not yet.
fn join(transcoder: &Transcoder, mut job: Job) {
    if let Some(thread) = job.thread.take() {
        let _ = thread.join();
    }
    let stop_ms = job.stopped_us.map(|since_us| job.gauge.now_us().saturating_sub(since_us) as f64 / 1e3);
    let mut state = transcoder.lock();
    if let Some(stop_ms) = stop_ms {
        state.totals.stop_ms_last = stop_ms;
        state.totals.stop_ms_max = state.totals.stop_ms_max.max(stop_ms);
    }
    drop(state);
    tracing::info!(worker = job.worker, cpu_s = job.cpu_seconds(), stop_ms, "transcoder ended");
}

fn give_up(state: &mut State, index: usize) {
    let job = &mut state.jobs[index];
    tracing::error!(worker = job.worker, core = job.core, "a transcoder hangs: it is given up, and its core is lost");
    job.is_hung = true;
    // Dropping the handle lets go of the thread.
    drop(job.thread.take());
    for output in &job.outputs {
        output.progress.stop.store(true, Ordering::Release);
        output.progress.fail("the transcoder hung");
    }
    let core = job.core;
    state.totals.abandoned += 1;
    if !state.lost.contains(&core) {
        state.lost.push(core);
    }
}

impl State {
    /// Counts a job that is gone.
    fn count(&mut self, job: &Job) {
        self.totals.cpu_seconds += job.cpu_seconds();
        for output in &job.outputs {
            self.totals.frames += output.progress.frames.load(Ordering::Relaxed);
            self.totals.dropped += output.progress.dropped.load(Ordering::Relaxed);
            self.totals.failed += u64::from(output.progress.failure().is_some());
        }
    }
}

impl Job {
    /// Once a second: the share of a core that it takes, and its outputs' frames a second. Outputs that ended are forgotten.
    fn measure(&mut self) {
        let (now_us, cpu_us) = (self.gauge.now_us(), self.gauge.cpu_us.load(Ordering::Relaxed));
        if self.cpu_seen.began_us == 0 {
            self.cpu_seen = CpuSeen { at_us: now_us, cpu_us, began_us: now_us };
        }
        let elapsed_us = now_us - self.cpu_seen.at_us;
        if elapsed_us < MEASURE_US {
            return;
        }
        let share = cpu_us.saturating_sub(self.cpu_seen.cpu_us) as f64 / elapsed_us as f64;
        if now_us - self.cpu_seen.began_us > TRANSCODE_MEASURED_AFTER_MS * 1_000 {
            // About the last five seconds count.
            self.measured = Some(self.measured.map_or(share, |measured| measured * 0.8 + share * 0.2));
        }
        for output in &mut self.outputs {
            let frames = output.progress.frames.load(Ordering::Relaxed);
            output.fps = (frames - output.frames_seen) as f64 * 1e6 / elapsed_us as f64;
            output.frames_seen = frames;
        }
        self.cpu_seen = CpuSeen { at_us: now_us, cpu_us, ..self.cpu_seen };
    }
}
