//! The pacemaker: a small thread that wakes every shard on a steady beat, watches that it lives, and passes on signals.
//!
//! glommio 0.9 can park with runnable tasks when a timer completion lands between polling IO and running the queues; a
//! wake from a foreign thread gets it going again. The same beat is the shards' tick and their heartbeat.

use super::relay::Relay;
use crate::limits::{SHARD_DEAD_MS, TICK_FAST_MS, TICK_IDLE_MS, TICK_STEADY_MS};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often a shard has to be woken, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Tempo {
    /// There are at most connections that are kept alive.
    Idle,
    /// Something is served or pulled.
    Steady,
    /// It begins or drains.
    Fast,
}

impl Tempo {
    fn period_ms(self) -> u64 {
        match self {
            Tempo::Idle => TICK_IDLE_MS,
            Tempo::Steady => TICK_STEADY_MS,
            Tempo::Fast => TICK_FAST_MS,
        }
    }
}

/// One shard's pulse.
#[derive(Default)]
pub struct Heart {
    waker: Mutex<Option<Waker>>,
    beats: AtomicU64,
    /// A [`Tempo`].
    tempo: AtomicU8,
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
    pub(crate) fn set_tempo(&self, tempo: Tempo) {
        self.tempo.store(tempo as u8, Ordering::Relaxed);
    }
    /// At least this tempo, until the shard sets its own.
    pub(crate) fn hasten(&self, tempo: Tempo) {
        if self.tempo() < tempo {
            self.set_tempo(tempo);
        }
    }
    fn tempo(&self) -> Tempo {
        const ALL: [Tempo; 3] = [Tempo::Idle, Tempo::Steady, Tempo::Fast];
        ALL.into_iter().find(|tempo| *tempo as u8 == self.tempo.load(Ordering::Relaxed)).unwrap_or(Tempo::Fast)
    }
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
    /// Has it beat now, from whatever thread.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// Runs until every shard stopped. `on_beat` is called each time, for signals.
pub(crate) fn run(relay: &Relay, mut on_beat: impl FnMut()) {
    let mut pulses: Vec<Pulse> = relay.shards.iter().map(|s| Pulse::new(s.heart.clone())).collect();
    let mut last = Instant::now();
    while pulses.iter().any(|p| !p.heart.is_stopped()) {
        // No slower than a steady beat, so that a shard that wakes up from idling soon gets its own.
        let tempo = relay.shards.iter().map(|shard| shard.heart.tempo()).max().unwrap_or(Tempo::Idle);
        let sleep_ms = tempo.period_ms().min(TICK_STEADY_MS);
        std::thread::sleep(Duration::from_millis(sleep_ms));
        on_beat();
        relay.clock.set_wall();
        let draining = relay.draining.load(Ordering::Relaxed);
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut last, now));
        for (index, pulse) in pulses.iter_mut().enumerate() {
            pulse.give(passed, sleep_ms, draining);
            if pulse.is_dead() {
                tracing::error!(shard = index, "the shard has not moved for {SHARD_DEAD_MS} ms: ending the process");
                std::process::exit(crate::shard::boot::EXIT_SHARD_DEAD);
            }
        }
    }
}

struct Pulse {
    heart: Arc<Heart>,
    seen: u64,
    /// Beats that `seen` is to grow by, for this thread woke the shard.
    given: u64,
    /// Time since the shard beat last, or was woken to.
    since_given: Duration,
    /// Time that the shard has not moved for, as far as this thread saw it pass.
    silent: Duration,
}

impl Pulse {
    fn new(heart: Arc<Heart>) -> Self {
        Pulse { seen: heart.beats(), given: 0, heart, since_given: Duration::ZERO, silent: Duration::ZERO }
    }

    /// `passed`: time since the last call, which was to be `sleep_ms`.
    fn give(&mut self, passed: Duration, sleep_ms: u64, draining: bool) {
        /// When this thread did not run for longer, the shards did not either: the process was stopped, or its machine.
        const PASSED_MAX: Duration = Duration::from_millis(TICK_IDLE_MS);
        let beats = self.heart.beats();
        let moved = beats != self.seen || self.heart.is_stopped();
        self.silent = if moved { Duration::ZERO } else { self.silent + passed.min(PASSED_MAX) };
        // Other shards' calls are beats too.
        let was_called = beats.wrapping_sub(self.seen) > self.given;
        self.since_given = if was_called { Duration::ZERO } else { self.since_given + passed };
        (self.seen, self.given) = (beats, 0);
        let tempo = if draining { Tempo::Fast } else { self.heart.tempo() };
        // Half a beat of tolerance: sleep() wakes late, never early, and a skipped beat would double the period.
        if self.since_given + Duration::from_millis(sleep_ms / 2) >= Duration::from_millis(tempo.period_ms()) {
            (self.since_given, self.given) = (Duration::ZERO, 1);
            self.heart.wake();
        }
    }

    fn is_dead(&self) -> bool {
        self.silent >= Duration::from_millis(SHARD_DEAD_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_move_is_dead_and_one_that_moves_is_not() {
        let beat = Duration::from_millis(TICK_FAST_MS);
        let (silent, alive) = (Arc::new(Heart::default()), Arc::new(Heart::default()));
        let (mut silent, mut alive) = (Pulse::new(silent), Pulse::new(alive));
        for _ in 0..SHARD_DEAD_MS / TICK_FAST_MS {
            assert!(!silent.is_dead());
            alive.heart.beat();
            silent.give(beat, TICK_FAST_MS, false);
            alive.give(beat, TICK_FAST_MS, false);
        }
        assert!(silent.is_dead() && !alive.is_dead());
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_is_not_dead() {
        let mut pulse = Pulse::new(Arc::default());
        pulse.give(Duration::from_secs(3_600), TICK_FAST_MS, false);
        assert!(!pulse.is_dead());
    }
}
