//! Where pipelines write to: the output rings of a worker's branches.
//!
//! A ring without room makes the worker wait, in steps in which it may be stopped, for [`TRANSCODE_STALL_MS_MAX`] at most; then the sample is dropped and the
//! ring says so with a gap. A session that lives frees its rings long before.

use super::gauge::Gauge;
use super::pipeline::Sink;
use crate::es::{SampleMeta, Track};
use crate::limits::{TRANSCODE_STALL_MS_MAX, TRANSCODE_STALL_STEP_MS};
use crate::ring::branch::{Output, OutputId};
use crate::ring::spsc::{NoRoom, Producer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(super) struct Outlet {
    pub outputs: Vec<Output>,
    pub gauge: Arc<Gauge>,
    /// Outputs whose ring has to be told of a gap before the next sample.
    gaps: Vec<OutputId>,
    /// Outputs that failed in the pipeline.
    failed: Vec<OutputId>,
}

impl Outlet {
    pub fn new(outputs: Vec<Output>, gauge: Arc<Gauge>) -> Outlet {
        Outlet { outputs, gauge, gaps: Vec::new(), failed: Vec::new() }
    }

    /// Outputs that nobody wants any more, or that failed: each is told once and is gone from here.
    pub fn take_ended(&mut self) -> Vec<OutputId> {
        let mut ended = std::mem::take(&mut self.failed);
        let is_over = |output: &Output| output.progress.is_stopped() || output.ring.is_abandoned();
        ended.extend(self.outputs.iter().filter(|output| is_over(output)).map(|output| output.id));
        self.outputs.retain(|output| !ended.contains(&output.id));
        ended
    }

    /// Says the same of every output: the worker ends.
    pub fn fail_all(&mut self, why: &str) {
        for output in &self.outputs {
            output.progress.fail(why);
        }
        self.outputs.clear();
    }

    /// The source ended.
    pub fn end_all(&mut self) {
        for id in self.outputs.iter().map(|output| output.id).collect::<Vec<_>>() {
            self.write(id, |ring| ring.push_end().map(drop));
        }
    }

    /// Writes to an output's ring, waiting for room. False when there was none.
    fn write(&mut self, id: OutputId, mut push: impl FnMut(&mut Producer) -> Result<(), NoRoom>) -> bool {
        let Some(output) = self.outputs.iter_mut().find(|output| output.id == id) else { return false };
        let deadline = Instant::now() + Duration::from_millis(TRANSCODE_STALL_MS_MAX);
        loop {
            match push(&mut output.ring) {
                Ok(()) => return true,
                Err(NoRoom::TooLarge) => return false,
                Err(NoRoom::Full) => {}
            }
            let is_over = output.progress.is_stopped() || output.ring.is_abandoned();
            if is_over || Instant::now() >= deadline {
                return false;
            }
            // It waits for the session, not for libav: no hang.
            let since_us = self.gauge.begin_work();
            self.gauge.end_work(since_us, 0);
            std::thread::park_timeout(Duration::from_millis(TRANSCODE_STALL_STEP_MS));
            self.gauge.begin_work();
        }
    }
}

impl Sink for Outlet {
    fn track(&mut self, output: OutputId, track: Arc<Track>) {
        self.write(output, |ring| ring.push_track(track.clone()).map(drop));
    }

    fn sample(&mut self, id: OutputId, meta: SampleMeta, data: &[u8]) {
        if self.gaps.contains(&id) && self.write(id, |ring| ring.push_gap().map(drop)) {
            self.gaps.retain(|gap| *gap != id);
        }
        let written = !self.gaps.contains(&id) && self.write(id, |ring| ring.push(meta, data).map(drop));
        let Some(output) = self.outputs.iter().find(|output| output.id == id) else { return };
        if written {
            output.progress.frames.fetch_add(1, Ordering::Relaxed);
            output.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        } else {
            output.progress.dropped.fetch_add(1, Ordering::Relaxed);
            if !self.gaps.contains(&id) {
                self.gaps.push(id);
            }
        }
    }

    fn dropped(&mut self, id: OutputId) {
        if let Some(output) = self.outputs.iter().find(|output| output.id == id) {
            output.progress.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reconfigured(&mut self, id: OutputId) {
        if let Some(output) = self.outputs.iter().find(|output| output.id == id) {
            output.progress.reconfigured.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn failed(&mut self, id: OutputId, why: &str) {
        if let Some(output) = self.outputs.iter().find(|output| output.id == id) {
            tracing::warn!(rendition = %output.encoding, why, "an output of a transcoder failed");
            output.progress.fail(why);
            self.failed.push(id);
        }
    }
}
