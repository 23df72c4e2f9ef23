//! What a worker shows of itself while it runs, read by the watch and the API.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// One worker's figures. All times are microseconds since the transcoder began.
#[derive(Debug)]
pub(super) struct Gauge {
    start: Instant,
    /// When the work in hand began; 0 while it waits.
    busy_since_us: AtomicU64,
    /// Set by whoever wants the worker to look at its outputs and its mail.
    pub attention: AtomicBool,
    /// The thread ended.
    pub ended: AtomicBool,
    /// CPU time of the thread, microseconds.
    pub cpu_us: AtomicU64,
    /// Samples taken in.
    pub samples: AtomicU64,
    /// Entries that wait in its input rings.
    pub queue: AtomicU64,
    /// How far behind the newest input it is, microseconds of media.
    pub lag_us: AtomicU64,
    speed: Mutex<Speed>,
}

/// Media time worked through, and the time that took.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    media_us: u64,
    busy_us: u64,
}

impl Gauge {
    pub fn new(start: Instant) -> Gauge {
        Gauge {
            start,
            busy_since_us: AtomicU64::new(0),
            attention: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            cpu_us: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            lag_us: AtomicU64::new(0),
            speed: Mutex::new(Speed::default()),
        }
    }

    pub fn now_us(&self) -> u64 {
        // One is added so that no moment is 0.
        self.start.elapsed().as_micros() as u64 + 1
    }

    /// A piece of work that may hang begins.
    pub fn begin_work(&self) -> u64 {
        let now_us = self.now_us();
        self.busy_since_us.store(now_us, Ordering::Relaxed);
        now_us
    }

    /// It is over, having begun at `since_us` and gone through this much media.
    pub fn end_work(&self, since_us: u64, media_us: u64) {
        self.busy_since_us.store(0, Ordering::Relaxed);
        let busy_us = self.now_us().saturating_sub(since_us);
        let mut speed = self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        // About the last ten seconds count.
        if speed.media_us > 10_000_000 {
            *speed = Speed { media_us: speed.media_us / 2, busy_us: speed.busy_us / 2 };
        }
        speed.media_us += media_us;
        speed.busy_us += busy_us;
    }

    /// For how long the work in hand has been going on, microseconds.
    pub fn busy_for_us(&self) -> u64 {
        match self.busy_since_us.load(Ordering::Relaxed) {
            0 => 0,
            since_us => self.now_us().saturating_sub(since_us),
        }
    }

    /// Media time over the time it takes: under 1 the worker cannot keep up.
    pub fn speed(&self) -> f64 {
        let speed = *self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        if speed.busy_us == 0 { 0.0 } else { speed.media_us as f64 / speed.busy_us as f64 }
    }
}
