//! The pacemaker: a small thread that wakes every shard on a steady beat, watches that it lives, and passes on signals.
//!
//! glommio 0.9 can park with runnable tasks when a timer completion lands between polling IO and running the queues; a
//! wake from a foreign thread gets it going again. The same beat is the shards' tick and their heartbeat.

use super::relay::Relay;
use crate::limits::{SHARD_DEAD_MS, TICK_BUSY_MS, TICK_IDLE_MS};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// One shard's pulse.
#[derive(Default)]
pub struct Heart {
    waker: Mutex<Option<Waker>>,
    beats: AtomicU64,
    /// Connections or sessions exist: beat fast.
    busy: AtomicBool,
    /// The shard ended on purpose.
    stopped: AtomicBool,
}

impl Heart {
    /// The shard's tick task registers itself, once per executor.
    pub(crate) fn register(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
    /// Ticks so far.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// Runs until every shard stopped. `on_beat` is called each time, for signals.
pub(crate) fn run(relay: &Relay, mut on_beat: impl FnMut()) {
    let mut pulses: Vec<Pulse> = relay.shards.iter().map(|s| Pulse::new(s.heart.clone())).collect();
    while pulses.iter().any(|p| !p.heart.is_stopped()) {
        std::thread::sleep(Duration::from_millis(TICK_BUSY_MS));
        on_beat();
        let draining = relay.draining.load(Ordering::Relaxed);
        for (index, pulse) in pulses.iter_mut().enumerate() {
            pulse.give(draining);
            if pulse.is_dead() {
                tracing::error!(shard = index, "the shard has not moved for {SHARD_DEAD_MS} ms: ending the process");
                std::process::exit(crate::shard::boot::EXIT_SHARD_DEAD);
            }
        }
    }
}

struct Pulse {
    heart: Arc<Heart>,
    given_at: Instant,
    moved_at: Instant,
    seen: u64,
}

impl Pulse {
    fn new(heart: Arc<Heart>) -> Self {
        let now = Instant::now();
        Pulse { seen: heart.beats(), heart, given_at: now, moved_at: now }
    }

    fn give(&mut self, draining: bool) {
        let now = Instant::now();
        let beats = self.heart.beats();
        if beats != self.seen || self.heart.is_stopped() {
            self.seen = beats;
            self.moved_at = now;
        }
        let busy = draining || self.heart.busy.load(Ordering::Relaxed);
        let period_ms = if busy { TICK_BUSY_MS } else { TICK_IDLE_MS };
        // Half a beat of tolerance: sleep() wakes late, never early, and a skipped beat would double the period.
        if now.duration_since(self.given_at) + Duration::from_millis(TICK_BUSY_MS / 2)
            >= Duration::from_millis(period_ms)
        {
            self.given_at = now;
            self.heart.wake();
        }
    }

    fn is_dead(&self) -> bool {
        !self.heart.is_stopped() && self.moved_at.elapsed() >= Duration::from_millis(SHARD_DEAD_MS)
    }
}
