//! The pacemaker: a small thread that wakes every shard that has not beat by itself, watches that it lives, and passes on signals.
//!
//! glommio 0.9 can park with runnable tasks when a timer completion lands between polling IO and running the queues; a
//! wake from a foreign thread gets it going again. The same beat is the shards' tick and their heartbeat.

use super::relay::Relay;
use crate::limits::{SHARD_DEAD_MS, TICK_FAST_MS, TICK_IDLE_MS, TICK_STEADY_MS};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

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
    /// When it beat last, monotonic, microseconds.
    beat_us: AtomicU64,
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
    pub(crate) fn beat(&self, now_us: u64) {
        self.beat_us.store(now_us, Ordering::Relaxed);
    }
    pub(crate) fn beat_us(&self) -> u64 {
        self.beat_us.load(Ordering::Relaxed)
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
    let mut now_us = relay.clock.now().mono_us;
    while pulses.iter().any(|p| !p.heart.is_stopped()) {
        let draining = relay.draining.load(Ordering::Relaxed);
        let due_us = pulses.iter().map(|pulse| pulse.due_us(draining)).min().unwrap_or_default();
        // No longer than a steady beat, so that a shard that wakes up from idling soon gets its own.
        let sleep_us = due_us.saturating_sub(now_us).clamp(SLEEP_US_MIN, TICK_STEADY_MS * 1_000);
        std::thread::sleep(Duration::from_micros(sleep_us));
        on_beat();
        relay.clock.set_wall();
        let before_us = std::mem::replace(&mut now_us, relay.clock.now().mono_us);
        for (index, pulse) in pulses.iter_mut().enumerate() {
            pulse.look(now_us, now_us.saturating_sub(before_us), draining);
            if pulse.is_dead() {
                tracing::error!(shard = index, "the shard has not moved for {SHARD_DEAD_MS} ms: ending the process");
                std::process::exit(crate::shard::boot::EXIT_SHARD_DEAD);
            }
        }
    }
}

/// A shard that is late is not waited for in a circle.
const SLEEP_US_MIN: u64 = 1_000;

struct Pulse {
    heart: Arc<Heart>,
    /// Its last beat that this thread knows of, microseconds.
    seen_us: u64,
    /// When the shard was woken last, microseconds.
    given_us: u64,
    /// Microseconds that the shard has not moved for, as far as this thread saw them pass.
    silent_us: u64,
}

impl Pulse {
    fn new(heart: Arc<Heart>) -> Self {
        Pulse { seen_us: heart.beat_us(), heart, given_us: 0, silent_us: 0 }
    }

    /// When the shard has to be woken, unless it beats by itself until then. An eighth later than the beat would be, for media that comes at just
    /// that pace to come first.
    fn due_us(&self, draining: bool) -> u64 {
        let tempo = if draining { Tempo::Fast } else { self.heart.tempo() };
        self.heart.beat_us().max(self.given_us) + tempo.period_ms() * 1_125
    }

    /// `passed_us`: since the last look.
    fn look(&mut self, now_us: u64, passed_us: u64, draining: bool) {
        /// When this thread did not run for longer, the shards did not either: the process was stopped, or its machine.
        const PASSED_US_MAX: u64 = TICK_IDLE_MS * 1_000;
        let beat_us = self.heart.beat_us();
        let moved = std::mem::replace(&mut self.seen_us, beat_us) != beat_us || self.heart.is_stopped();
        self.silent_us = if moved { 0 } else { self.silent_us + passed_us.min(PASSED_US_MAX) };
        if now_us >= self.due_us(draining) {
            self.given_us = now_us;
            self.heart.wake();
        }
    }

    fn is_dead(&self) -> bool {
        self.silent_us >= SHARD_DEAD_MS * 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_move_is_dead_and_one_that_moves_is_not() {
        let beat_us = TICK_FAST_MS * 1_000;
        let (silent, alive) = (Arc::new(Heart::default()), Arc::new(Heart::default()));
        let (mut silent, mut alive) = (Pulse::new(silent), Pulse::new(alive));
        for n in 1..=SHARD_DEAD_MS * 1_000 / beat_us {
            assert!(!silent.is_dead());
            alive.heart.beat(n * beat_us);
            silent.look(n * beat_us, beat_us, false);
            alive.look(n * beat_us, beat_us, false);
        }
        assert!(silent.is_dead() && !alive.is_dead());
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_is_not_dead() {
        let mut pulse = Pulse::new(Arc::default());
        pulse.look(3_600_000_000, 3_600_000_000, false);
        assert!(!pulse.is_dead());
    }

    #[test]
    fn a_shard_that_beats_by_itself_is_not_woken_and_one_that_does_not_is() {
        let heart = Arc::new(Heart::default());
        heart.set_tempo(Tempo::Steady);
        let mut pulse = Pulse::new(heart.clone());
        let mut woken = 0;
        for ms in 1..=1_000 {
            if ms % 40 == 0 && ms <= 500 {
                heart.beat(ms * 1_000);
            }
            pulse.look(ms * 1_000, 1_000, false);
            if pulse.given_us == ms * 1_000 {
                woken += 1;
                heart.beat(ms * 1_000);
            }
        }
        assert_eq!(woken, (1_000 - 480) / 45);
    }
}
