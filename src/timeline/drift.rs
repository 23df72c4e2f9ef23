//! Keeps the output near the wall clock: tells drift from jitter and latency, and says by how much the mapping is to slew.
//!
//! A sample's *lateness* is wall clock minus its output DTS when it is placed. Network and buffers can only make a sample later,
//! so the **least** lateness over a window is free of them, and only a drifting source clock moves it:
//!
//! ```text
//!  lateness   .     :  .        .   :      .  jitter, bursts: only upwards
//!             :  .  :  : .   .  :  .:  .   :
//!             ·──·──·──·─·───·──·───·──·───·  floor: rises with a slow source clock, falls with a fast one
//!  level ─────────────────────────────────── where it is to be: at the wall clock or ahead of it
//! ```
//!
//! - Floor within 500 ms of the level: slew towards it, at most [`SLEW_PPM_MAX`], with a time constant of 400 s. A steady drift
//!   of 50 ppm is so held at 20 ms, 500 ppm at 200 ms.
//! - Floor more than 500 ms above the wall clock, and settled there for two windows (20 s): the source stalled and went on where it was.
//!   The caller moves the mapping up at its next cut and signals it.
//! - Floor more than 500 ms below: the source ran ahead (a burst on connect, a hole in its time). Output can not go back, so this
//!   becomes the level, down to [`LEAD_MAX`]; what lies beyond is slewed away. Such a lead over the wall clock is not defended: when it
//!   shrinks (the pacer holds later bursts), the level rises with the floor, up to the wall clock.
#![forbid(unsafe_code)]

/// Fastest slew, millionths: 0.5 ms a second. Players resample that without a sound.
pub(super) const SLEW_PPM_MAX: i64 = 500;
/// Most ticks of slew between two samples (22 us); the rest waits.
const SLEW_STEP_MAX: i64 = 2;
/// Lateness that is never slewed but re-anchored or taken for the new level, 90 kHz ticks (500 ms).
const STEP_MIN: i64 = 45_000;
/// Most that output may stay ahead of the wall clock for good, 90 kHz ticks (12 s: a connect burst and some).
const LEAD_MAX: i64 = 12 * 90_000;
/// Length of a window, microseconds.
const WINDOW_US: u64 = 10_000_000;
/// Windows remembered.
const WINDOWS: usize = 6;
/// Windows after the start before the level is set, so that a burst on connect has passed.
const SETTLE_WINDOWS: u32 = 2;
/// Time constant of the slew, seconds: ppm = offset in microseconds / this.
const SLEW_SECONDS: i64 = 400;
/// Offsets below this are left alone, 90 kHz ticks (2 ms).
const DEADBAND: i64 = 180;

#[derive(Clone, Copy, Debug)]
struct Window {
    min: i64,
    max: i64,
}

/// Lateness windows and the slew they call for. Constant size.
#[derive(Clone, Debug)]
pub(super) struct Drift {
    window_start_us: Option<u64>,
    window: Option<Window>,
    /// Newest last.
    past: [Window; WINDOWS],
    past_count: usize,
    windows_seen: u32,
    level: i64,
    ppm: i64,
    /// Slew owed, millionths of a tick.
    owed: i64,
}

impl Drift {
    pub fn new() -> Self {
        Drift {
            window_start_us: None,
            window: None,
            past: [Window { min: 0, max: 0 }; WINDOWS],
            past_count: 0,
            windows_seen: 0,
            level: 0,
            ppm: 0,
            owed: 0,
        }
    }

    /// Takes in the lateness of a sample of the reference track, ticks.
    pub fn observe(&mut self, lateness: i64, now_us: u64) {
        let start = *self.window_start_us.get_or_insert(now_us);
        if now_us.saturating_sub(start) >= WINDOW_US {
            self.close_window();
            self.window_start_us = Some(now_us);
        }
        self.window = Some(match self.window {
            None => Window { min: lateness, max: lateness },
            Some(w) => Window { min: w.min.min(lateness), max: w.max.max(lateness) },
        });
    }

    /// Ticks to move the mapping by for `advance` ticks of media.
    pub fn slew(&mut self, advance: i64) -> i64 {
        self.owed += advance.clamp(0, 90_000) * self.ppm;
        let ticks = (self.owed / 1_000_000).clamp(-SLEW_STEP_MAX, SLEW_STEP_MAX);
        self.owed -= ticks * 1_000_000;
        ticks
    }

    /// Ticks by which the output settled behind the wall clock, when that is too much to slew.
    pub fn behind(&self) -> Option<i64> {
        let [older, newer] = self.newest_two()?;
        let off = older.min.min(newer.min);
        (off > STEP_MIN && (older.min - newer.min).abs() < STEP_MIN).then_some(off)
    }

    /// How much later than the least late a sample usually comes, ticks: the height of jitter and bursts.
    pub fn spread(&self) -> i64 {
        let past = &self.past[..self.past_count];
        past.iter().map(|w| w.max - w.min).max().unwrap_or(0)
    }

    /// The mapping was moved: what was seen before says nothing any more.
    pub fn restart(&mut self) {
        self.past_count = 0;
        self.window = None;
        self.window_start_us = None;
        self.ppm = 0;
        self.owed = 0;
    }

    fn close_window(&mut self) {
        let Some(window) = self.window.take() else { return };
        if self.past_count == WINDOWS {
            self.past.rotate_left(1);
            self.past_count -= 1;
        }
        self.past[self.past_count] = window;
        self.past_count += 1;
        self.windows_seen = self.windows_seen.saturating_add(1);
        if self.windows_seen <= SETTLE_WINDOWS {
            self.level = self.floor().clamp(-LEAD_MAX, 0);
            return;
        }
        self.steer();
    }

    fn steer(&mut self) {
        if self.floor() > self.level {
            self.level = self.floor().min(0);
        } else if self.floor() < self.level - STEP_MIN {
            self.level = self.floor().max(-LEAD_MAX);
        }
        let off = self.floor() - self.level;
        let us = off * 100 / 9;
        self.ppm = if off.abs() <= DEADBAND { 0 } else { (us / SLEW_SECONDS).clamp(-SLEW_PPM_MAX, SLEW_PPM_MAX) };
    }

    /// Least lateness of the windows remembered, ticks.
    fn floor(&self) -> i64 {
        self.past[..self.past_count].iter().map(|w| w.min).min().unwrap_or(self.level)
    }

    fn newest_two(&self) -> Option<[Window; 2]> {
        match self.past[..self.past_count] {
            [.., older, newer] => Some([older, newer]),
            _ => None,
        }
    }
}
