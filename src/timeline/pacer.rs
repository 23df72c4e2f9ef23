//! Evens out bursty origins: tells how long the demuxer has to wait before it goes on past a PCR.
//!
//! Waiting pauses the demuxer, which stops reading the socket, which slows the origin by TCP's own flow control. Output so comes
//! in real time, whether the origin sends a segment every six seconds or a whole file as fast as it can.
//!
//! ```text
//!  media │            ╭─   burst on connect: lifts the line by up to `burst_max_ms`
//!        │        ╭───╯
//!        │      ╭─╯ held: more than `tolerance_ms` above the line
//!        │   ╱──── line: one second of media a second
//!        │  ╱  late: below the line, goes at once. Late for 10 s, or late by bursts twice: the line moves down
//!        └──────────────────────────── time
//! ```
//!
//! A steady real-time origin is never delayed. Its line is that of its least late PCR, so jitter lies below it; a clock that runs fast
//! by up to 200 ppm lifts the line as it goes. One stall with a catch-up leaves the line alone, for else the stall
//! would become latency; bursts that come again and again do move it, so that the next one is spread over its period.
//!
//! What it deliberately does not do: wait, read a clock, or touch time stamps.
#![forbid(unsafe_code)]

use super::pcr::{Pcr, Step};
use crate::time::{Now, Ts33};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacerConfig {
    /// Whether to hold anything at all.
    pub pace: bool,
    /// Most media that is let through ahead of real time after a connect, milliseconds.
    pub burst_max_ms: u64,
    /// Media this far ahead of real time is not held yet, milliseconds. More than the jitter of a real-time origin.
    pub tolerance_ms: u64,
}

impl Default for PacerConfig {
    /// Paced, 10 s at once on connect (what fast-starting origins send), 300 ms of tolerance.
    fn default() -> Self {
        PacerConfig { pace: true, burst_max_ms: 10_000, tolerance_ms: 300 }
    }
}

/// Lateness from which on data counts as a burst after a pause, microseconds.
const LATE_MIN_US: i64 = 1_000_000;
/// Two such bursts within this time make a habit, microseconds.
const HABIT_US: u64 = 60_000_000;
/// The line moves down to the least late PCR of each window of this length, microseconds.
const WINDOW_US: u64 = 10_000_000;
/// A longer wait for a PCR is a pause of the origin, microseconds.
const PAUSE_US: u64 = 1_000_000;
/// The line may rise by 1 us for this many that pass: 200 ppm, for source clocks that run fast.
const RISE_DIVISOR: u64 = 5_000;
/// Most that is saved up for such a rise, microseconds.
const RISE_MAX_US: i64 = 500_000;

/// No rise for this long after a PCR that was on the line or below, microseconds.
const RISE_PAUSE_US: u64 = 60_000_000;

/// A time in ninths of a microsecond, in which one 90 kHz tick is exactly 100, so that sums of PCR steps do not drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ninths(i64);

impl Ninths {
    fn from_us(us: u64) -> Self {
        Ninths(us as i64 * 9)
    }
    /// Signed microseconds from `earlier`.
    fn us_since(self, earlier: Ninths) -> i64 {
        (self.0 - earlier.0) / 9
    }
}

/// Lateness seen below the line.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// On the line, or above.
    No,
    /// A burst after a pause is coming in; the most it was late, microseconds.
    Burst { peak_us: i64 },
}

/// Paces one connection. Constant size.
#[derive(Clone, Debug)]
pub struct Pacer {
    config: PacerConfig,
    pcr: Pcr,
    /// The newest PCR and when it is due: the line.
    line: Option<(Ts33, Ninths)>,
    /// How far the line may still rise, microseconds.
    credit_us: i64,
    late: Late,
    /// Peak and time of the last burst after a pause.
    burst: Option<(i64, u64)>,
    window_start_us: u64,
    window_least_late_us: i64,
    /// When the newest PCR came, and the newest that came after a pause.
    newest_us: u64,
    resumed_us: u64,
    rise_at_us: u64,
}

impl Pacer {
    pub fn new(config: PacerConfig) -> Pacer {
        Pacer {
            config,
            pcr: Pcr::default(),
            line: None,
            credit_us: config.burst_max_ms as i64 * 1_000,
            late: Late::No,
            burst: None,
            window_start_us: 0,
            window_least_late_us: i64::MAX,
            newest_us: 0,
            resumed_us: 0,
            rise_at_us: 0,
        }
    }

    /// A new connection: forgets the line and grants a burst again.
    pub fn restart(&mut self) {
        *self = Pacer::new(self.config);
    }

    /// Takes in a PCR, 27 MHz ticks. `None`: go on at once. Otherwise the monotonic time in microseconds until which nothing
    /// behind this PCR may be read; always after `now`.
    pub fn on_pcr(&mut self, pcr_27m: u64, discontinuity: bool, now: Now) -> Option<u64> {
        if !self.config.pace {
            return None;
        }
        let base = Ts33::new(pcr_27m / 300);
        let time = Ninths::from_us(now.mono_us);
        if now.mono_us.saturating_sub(self.newest_us) > PAUSE_US {
            self.resumed_us = now.mono_us;
        }
        self.newest_us = now.mono_us;
        let Some(mut due) = self.due(base, discontinuity, time, now.mono_us) else {
            self.rise_at_us = now.mono_us;
            self.restart_window(now.mono_us);
            self.line = Some((base, time));
            return None;
        };
        let early_us = due.us_since(time);
        due = if early_us > 0 { self.rise(due, early_us, now.mono_us) } else { self.sink(due, -early_us, now.mono_us) };
        self.line = Some((base, due));
        let hold_us = due.us_since(time) - self.config.tolerance_ms as i64 * 1_000;
        (hold_us > 0).then(|| now.mono_us + hold_us as u64)
    }

    /// When a PCR is due by the line. After a jump the line goes on as if there had been none, but not into the past.
    fn due(&mut self, base: Ts33, announced: bool, time: Ninths, now_us: u64) -> Option<Ninths> {
        let step = self.pcr.observe(base, announced, now_us);
        let (last, due) = self.line?;
        Some(match step {
            Step::GoesOn => Ninths(due.0 + base.since(last) * 100),
            Step::Jumped(from) => {
                self.restart_window(now_us);
                self.late = Late::No;
                Ninths(due.0 + from.interval * 100).max(time)
            }
        })
    }

    /// A PCR above the line: lifts the line as far as the credit goes when the tolerance is exceeded.
    fn rise(&mut self, due: Ninths, early_us: i64, now_us: u64) -> Ninths {
        self.window_least_late_us = 0;
        self.end_burst(now_us);
        let saved_us = (now_us.saturating_sub(self.rise_at_us) / RISE_DIVISOR) as i64;
        if saved_us > 0 && self.credit_us < RISE_MAX_US {
            self.credit_us = (self.credit_us + saved_us).min(RISE_MAX_US);
        }
        self.rise_at_us += saved_us as u64 * RISE_DIVISOR;
        if early_us <= self.config.tolerance_ms as i64 * 1_000 {
            return due;
        }
        let lift_us = early_us.min(self.credit_us);
        self.credit_us -= lift_us;
        Ninths(due.0 - lift_us * 9)
    }

    /// A PCR on or below the line: it goes at once, and may show that the line lies too high.
    fn sink(&mut self, due: Ninths, late_us: i64, now_us: u64) -> Ninths {
        // What comes after a pause is still catching up: a window ends before it, or when that is over.
        let before_us = if self.resumed_us == now_us { self.window_drop(now_us) } else { 0 };
        self.window_least_late_us = self.window_least_late_us.min(late_us);
        // A line that something lies on is not too low.
        self.rise_at_us = now_us + RISE_PAUSE_US;
        let drop_us = match self.late {
            Late::No if late_us >= LATE_MIN_US => self.begin_burst(late_us, now_us),
            Late::No => 0,
            Late::Burst { peak_us } => {
                self.late = Late::Burst { peak_us: peak_us.max(late_us) };
                if late_us < LATE_MIN_US / 2 {
                    self.end_burst(now_us);
                }
                0
            }
        };
        let steady = now_us.saturating_sub(self.resumed_us) > PAUSE_US;
        let drop_us = drop_us.max(if steady { self.window_drop(now_us) } else { before_us });
        if drop_us > 0 {
            self.credit_us = 0;
            self.late = Late::No;
        }
        Ninths(due.0 + drop_us * 9)
    }

    /// The first PCR after a pause. When a burst like this came before, the line moves down to it: returns by how much.
    fn begin_burst(&mut self, late_us: i64, now_us: u64) -> i64 {
        let habit = self.burst.is_some_and(|(peak_us, at_us)| {
            now_us.saturating_sub(at_us) < HABIT_US && peak_us.min(late_us) * 2 > peak_us.max(late_us)
        });
        self.late = Late::Burst { peak_us: late_us };
        if habit {
            self.burst = None;
            return late_us;
        }
        0
    }

    fn end_burst(&mut self, now_us: u64) {
        if let Late::Burst { peak_us } = self.late {
            self.burst = Some((peak_us, now_us));
            self.late = Late::No;
        }
    }

    /// At the end of a window in which every PCR was late: by how much the least late was.
    fn window_drop(&mut self, now_us: u64) -> i64 {
        if now_us.saturating_sub(self.window_start_us) < WINDOW_US {
            return 0;
        }
        let drop_us = self.window_least_late_us;
        self.restart_window(now_us);
        if drop_us == i64::MAX { 0 } else { drop_us }
    }

    fn restart_window(&mut self, now_us: u64) {
        self.window_start_us = now_us;
        self.window_least_late_us = i64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PCR steps of 40 ms.
    const STEP_27M: u64 = 40 * 27_000;

    /// An origin that has PCR `n` ready at a time of its own, and a reader that the pacer holds. Returns when each was read, microseconds.
    fn read(config: PacerConfig, count: u64, ready_us: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut pacer = Pacer::new(config);
        let mut free_us = 0;
        let read_one = |n: u64| {
            let now_us = free_us.max(1_000_000 + ready_us(n));
            let now = Now { mono_us: now_us, unix_us: 0 };
            free_us = pacer.on_pcr(7_000_000 + n * STEP_27M, false, now).unwrap_or(now_us);
            assert!(free_us >= now_us);
            now_us - 1_000_000
        };
        (0..count).map(read_one).collect()
    }

    #[test]
    fn a_steady_origin_is_never_held() {
        let jitter = |n: u64| n * 40_000 + (n * 7919 % 13) * 20_000;
        let times = read(PacerConfig::default(), 10_000, jitter);
        // A reader takes PCRs in order, so one that is ready late also makes those behind it wait.
        let mut in_order = 0;
        for (n, time) in times.iter().enumerate() {
            in_order = in_order.max(jitter(n as u64));
            assert_eq!(*time, in_order, "PCR {n}");
        }
    }

    #[test]
    fn a_fast_clock_of_a_real_time_origin_is_never_held() {
        let fast = |n: u64| n * 40_000 - n * 4; // 100 ppm, for 7 hours
        let times = read(PacerConfig { burst_max_ms: 0, ..PacerConfig::default() }, 630_000, fast);
        assert!(times.iter().enumerate().all(|(n, time)| *time == fast(n as u64)));
    }

    #[test]
    fn a_file_at_full_speed_comes_in_real_time_after_a_burst() {
        let times = read(PacerConfig::default(), 3_000, |_| 0);
        assert!(times[240] == 0, "9.6 s at once");
        let last_us = times[2_999] as i64;
        assert!((last_us - (2_999 * 40_000 - 10_300_000)).abs() < 100_000, "{last_us}");
        assert!(times[300..].windows(2).all(|pair| pair[1] - pair[0] <= 41_000));
    }

    #[test]
    fn a_fast_start_is_not_held_and_neither_is_what_follows() {
        let ready = |n: u64| n.saturating_sub(200) * 40_000; // 8 s at once
        let times = read(PacerConfig::default(), 2_000, ready);
        assert!(times.iter().enumerate().all(|(n, time)| *time == ready(n as u64)));
    }

    #[test]
    fn bursts_of_six_seconds_are_even_from_the_third_on() {
        let times = read(PacerConfig::default(), 3_000, |n| n / 150 * 6_000_000);
        assert_eq!(times[149], 0, "the first at once");
        for n in 300..2_999 {
            assert!(times[n + 1] - times[n] <= 400_000, "PCR {n} at {}, next at {}", times[n], times[n + 1]);
        }
        let held = times[300..].windows(2).filter(|pair| pair[1] - pair[0] >= 39_000).count();
        assert!(held > 2_500, "{held} of 2,700 steps in real time");
    }

    #[test]
    fn a_stall_is_caught_up_at_once() {
        let ready = |n: u64| if (500..600).contains(&n) { 600 * 40_000 } else { n * 40_000 };
        let times = read(PacerConfig::default(), 2_000, ready);
        assert!(times.iter().enumerate().all(|(n, time)| *time == ready(n as u64)));
    }

    #[test]
    fn a_stall_right_behind_a_window_is_caught_up_at_once() {
        for start in 240..260 {
            let ready = |n: u64| if (start..start + 500).contains(&n) { (start + 500) * 40_000 } else { n * 40_000 };
            let times = read(PacerConfig::default(), 2_000, ready);
            assert!(times.iter().enumerate().all(|(n, time)| *time == ready(n as u64)), "stall at {start}");
        }
    }

    #[test]
    fn a_jump_keeps_the_line() {
        let mut pacer = Pacer::new(PacerConfig { burst_max_ms: 0, ..PacerConfig::default() });
        let mut now = Now { mono_us: 1_000_000, unix_us: 0 };
        let mut passed = 0;
        for n in 0..2_500_u64 {
            // A file of 10 s that starts over, at full speed.
            if let Some(until_us) = pacer.on_pcr((n % 250) * STEP_27M, false, now) {
                passed += until_us - now.mono_us;
                now = now.plus_us(until_us - now.mono_us);
            }
        }
        assert!(passed.abs_diff(2_499 * 40_000 - 300_000) < 100_000, "{passed}");
    }

    #[test]
    fn pacing_can_be_switched_off() {
        let config = PacerConfig { pace: false, ..PacerConfig::default() };
        assert!(read(config, 3_000, |_| 0).iter().all(|time| *time == 0));
    }
}
