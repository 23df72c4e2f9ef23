//! One thread that transcodes one source track: a branch with a decoder of its own for what it was started with, and one more for each
//! branch that came later, until that has caught up and its outputs join the first.
//!
//! ```text
//!  branch 0: ─────────────────────────────────────── K ──► decodes for all from here on
//!  branch 1:      (backfill, faster than real time)  K     drained, its outputs move to branch 0, its input is dropped
//! ```
//! The first branch goes first, so that what runs keeps real time while another catches up in the time that is left. A stopped output is noticed between two
//! samples, and while waiting.

use super::OpenPipeline;
use super::gauge::Gauge;
use super::outlet::Outlet;
use super::pipeline::{Pipeline, PipelineError};
use crate::es::{Key, SampleMeta, Track};
use crate::limits::{TRANSCODE_LOOK_MS, TRANSCODE_STACK_BYTES};
use crate::ring::branch::Branch;
use crate::ring::doorbell::Doorbell;
use crate::ring::es::Entry;
use crate::ring::spsc::Consumer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// What a worker is started with.
pub(super) struct Start {
    pub name: String,
    /// CPU to run on.
    pub core: usize,
    /// Shards run there too: give way to them.
    pub gives_way: bool,
    pub branch: Branch,
    pub mail: Arc<Mail>,
    pub gauge: Arc<Gauge>,
    pub open: Arc<OpenPipeline>,
}

/// Branches for a worker that runs already.
#[derive(Default)]
pub(super) struct Mail {
    branches: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    waiting: Vec<Branch>,
    /// The worker takes no more.
    is_closed: bool,
}

impl Mail {
    /// Hands a branch over; back, when the worker is about to end.
    pub fn post(&self, branch: Branch) -> Option<Branch> {
        let mut slot = self.lock();
        if slot.is_closed {
            return Some(branch);
        }
        slot.waiting.push(branch);
        None
    }
    fn take(&self) -> Vec<Branch> {
        std::mem::take(&mut self.lock().waiting)
    }
    /// True when nothing waits: from then on nothing will.
    fn close(&self) -> bool {
        let mut slot = self.lock();
        slot.is_closed = slot.waiting.is_empty();
        slot.is_closed
    }
    /// What waits when the worker ends all the same.
    fn close_now(&self) -> Vec<Branch> {
        let mut slot = self.lock();
        slot.is_closed = true;
        std::mem::take(&mut slot.waiting)
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread.
pub(super) fn spawn(start: Start) -> std::io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(start.name.clone()).stack_size(TRANSCODE_STACK_BYTES);
    builder.spawn(move || {
        // Encoders look at the thread's affinity when they open.
        core_affinity::set_for_current(core_affinity::CoreId { id: start.core });
        if start.gives_way {
            give_way();
        }
        let gauge = start.gauge.clone();
        run(start);
        gauge.cpu_us.store(cpu_us(), Ordering::Relaxed);
        gauge.ended.store(true, Ordering::Release);
    })
}

/// Runs until no output is left; whatever happens, every output is told.
fn run(start: Start) {
    let mut outlet = Outlet::new(Vec::new(), start.gauge.clone());
    let (mail, gauge) = (start.mail.clone(), start.gauge.clone());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut worker = Worker { branches: Vec::new(), outlet: &mut outlet, waker: waker(), start: &start.open };
        worker.take_in(start.branch)?;
        worker.work(&mail, &gauge)
    }));
    let why = match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.0),
        Err(_) => Some("the transcoder panicked".into()),
    };
    if let Some(why) = why {
        tracing::warn!(worker = std::thread::current().name(), why, "a transcoder ended by itself");
        outlet.fail_all(&why);
        for branch in mail.close_now() {
            branch.outputs.iter().for_each(|output| output.progress.fail(why.as_str()));
        }
    }
}

struct Worker<'a> {
    branches: Vec<Running>,
    outlet: &'a mut Outlet,
    waker: Waker,
    start: &'a Arc<OpenPipeline>,
}

/// A branch at work.
struct Running {
    input: Consumer,
    doorbell: Arc<Doorbell>,
    pipeline: Box<dyn Pipeline>,
    /// Its outputs, all of which are in the outlet.
    outputs: Vec<crate::ring::branch::OutputId>,
    /// DTS of the sample it took last.
    newest: Option<i64>,
}

/// What stands next in a branch's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    Nothing,
    /// The producer is gone and all is read.
    Gone,
    Sample(SampleMeta),
    Event,
}

impl Worker<'_> {
    fn work(&mut self, mail: &Mail, gauge: &Gauge) -> Result<(), PipelineError> {
        loop {
            for branch in mail.take() {
                self.take_in(branch)?;
            }
            self.drop_ended();
            if self.outlet.outputs.is_empty() && mail.close() {
                return Ok(());
            }
            if !self.step(gauge)? {
                if self.branches.is_empty() && mail.close() {
                    return Ok(());
                }
                gauge.cpu_us.store(cpu_us(), Ordering::Relaxed);
                self.wait(gauge);
            }
        }
    }

    /// Takes a branch in, with a pipeline of its own.
    fn take_in(&mut self, branch: Branch) -> Result<(), PipelineError> {
        let Branch { source, input, doorbell, outputs } = branch;
        doorbell.install(self.waker.clone());
        let ids = outputs.iter().map(|output| output.id).collect();
        let encodings: Vec<_> = outputs.iter().map(|output| (output.id, output.encoding)).collect();
        self.outlet.outputs.extend(outputs);
        let mut pipeline = (self.start)(&source)?;
        encodings.into_iter().for_each(|(id, encoding)| pipeline.add(id, encoding));
        self.branches.push(Running { input, doorbell, pipeline, outputs: ids, newest: None });
        Ok(())
    }

    /// Takes outputs out that nobody wants, and branches without any.
    fn drop_ended(&mut self) {
        for id in self.outlet.take_ended() {
            for branch in &mut self.branches {
                if branch.outputs.contains(&id) {
                    branch.outputs.retain(|output| *output != id);
                    branch.pipeline.remove(id);
                }
            }
        }
        self.branches.retain(|branch| !branch.outputs.is_empty());
    }

    /// Works on one entry, of the first branch that has one; false when none has.
    fn step(&mut self, gauge: &Gauge) -> Result<bool, PipelineError> {
        let ahead: Vec<Ahead> = self.branches.iter_mut().map(Running::ahead).collect();
        let is_at_key = |at: &Ahead| matches!(at, Ahead::Sample(meta) if meta.key > Key::None);
        let meets = |index: &usize| ahead[*index] == ahead[0] && is_at_key(&ahead[0]);
        if let Some(index) = (1..ahead.len()).find(meets) {
            return self.join(index, gauge).map(|()| true);
        }
        let Some(index) = ahead.iter().position(|at| *at != Ahead::Nothing) else { return Ok(false) };
        gauge.samples.fetch_add(1, Ordering::Relaxed);
        gauge.cpu_us.store(cpu_us(), Ordering::Relaxed);
        gauge.queue.store(self.branches.iter().map(|branch| branch.waiting()).sum(), Ordering::Relaxed);
        gauge.lag_us.store(self.branches[index].lag_us(), Ordering::Relaxed);
        let since_us = gauge.begin_work();
        let result = self.branches[index].take(ahead[index], self.outlet);
        gauge.end_work(since_us, result.as_ref().copied().unwrap_or(0));
        if ahead[index] == Ahead::Gone {
            self.branches[index].outputs.clear();
            self.branches.retain(|branch| !branch.outputs.is_empty());
        }
        result.map(|_| true)
    }

    /// The branch stands where the first one stands, at a key: from here on one decoder serves both.
    fn join(&mut self, index: usize, gauge: &Gauge) -> Result<(), PipelineError> {
        let mut branch = self.branches.remove(index);
        let since_us = gauge.begin_work();
        let drained = branch.pipeline.drain(self.outlet);
        gauge.end_work(since_us, 0);
        let first = &mut self.branches[0];
        first.outputs.extend(branch.outputs);
        first.pipeline.join(branch.pipeline);
        drained
    }

    /// Sleeps until a doorbell rings, flag first.
    fn wait(&mut self, gauge: &Gauge) {
        for branch in &self.branches {
            branch.doorbell.arm();
        }
        let has_work = self.branches.iter_mut().any(|branch| branch.ahead() != Ahead::Nothing);
        if !has_work && !gauge.attention.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(Duration::from_millis(TRANSCODE_LOOK_MS));
        }
        for branch in &self.branches {
            branch.doorbell.disarm();
        }
    }
}

impl Running {
    fn ahead(&mut self) -> Ahead {
        let is_gone = self.input.is_abandoned();
        self.input.poll();
        let range = self.input.range();
        match self.input.get(range.start) {
            Some(Entry::Sample { meta, .. }) => Ahead::Sample(*meta),
            Some(_) => Ahead::Event,
            None if is_gone => Ahead::Gone,
            None => Ahead::Nothing,
        }
    }

    fn waiting(&self) -> u64 {
        let range = self.input.range();
        range.end - range.start
    }

    /// Media between the next sample and the newest, microseconds.
    fn lag_us(&self) -> u64 {
        let dts = |entry: Entry<'_>| match entry {
            Entry::Sample { meta, .. } => Some(meta.dts),
            _ => None,
        };
        let oldest = self.input.iter_from(0).find_map(|(_, entry)| dts(entry));
        let newest = self.input.iter_from(0).rev().find_map(|(_, entry)| dts(entry));
        match (oldest, newest) {
            (Some(oldest), Some(newest)) => (newest - oldest).max(0) as u64 * 100 / 9,
            _ => 0,
        }
    }

    /// Works on the next entry; says how much media that was, microseconds.
    fn take(&mut self, ahead: Ahead, outlet: &mut Outlet) -> Result<u64, PipelineError> {
        if ahead == Ahead::Gone {
            self.pipeline.drain(outlet)?;
            return Ok(0);
        }
        let seq = self.input.range().start;
        let mut media_us = 0;
        let result = match self.input.get(seq) {
            Some(Entry::Sample { meta, data }) => {
                let before = self.newest.replace(meta.dts.0);
                let ticks = before.map_or(0, |before| (meta.dts.0 - before).clamp(0, 90_000));
                media_us = ticks as u64 * 100 / 9;
                self.pipeline.sample(meta, data, outlet)
            }
            Some(Entry::Track(track)) => {
                let track: Arc<Track> = track.clone();
                self.pipeline.track(&track, outlet)
            }
            Some(Entry::Gap) => self.pipeline.gap(outlet),
            Some(Entry::End) => {
                let drained = self.pipeline.drain(outlet);
                outlet.end_all();
                drained
            }
            None => Ok(()),
        };
        self.input.free_until(seq + 1);
        result.map(|()| media_us)
    }
}

/// Unparks the thread that made it.
fn waker() -> Waker {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// CPU time of the calling thread, microseconds.
fn cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Lets others on the same core go first.
fn give_way() {
    const NICE: libc::c_int = 10;
    // SAFETY: plain numbers; on Linux 0 means the calling thread alone. A refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
