//! How a viewer reads ([`Reading`]), as how many bytes it may take now and when it may take more.
//!
//! What it deliberately does not do: read. Slow reading is of the application: what the kernel's receive buffer holds comes on top.

use crate::engine::timers::NEVER;
use crate::player::Micros;
use crate::scenario::Reading;

/// Least that a slow reader takes at once, bytes: less would be a system call per packet.
const READ_BYTES_MIN: f64 = 4_096.0;
/// What a slow reader may have saved up, seconds of its rate.
const BURST_S: f64 = 0.1;

/// The reading of one viewer.
#[derive(Clone, Debug)]
pub struct Pace {
    reading: Reading,
    begun: Micros,
    /// Of a slow reader: bytes it may take, as of `refilled`.
    tokens: f64,
    refilled: Micros,
}

impl Pace {
    /// Of a viewer that arrives now.
    pub fn new(reading: Reading, now: Micros) -> Pace {
        Pace { reading, begun: now, tokens: 0.0, refilled: now }
    }

    /// Bytes that may be read now; 0: none before [`Pace::next`].
    pub fn allowance(&mut self, now: Micros) -> usize {
        match self.reading {
            Reading::Eager => usize::MAX,
            Reading::Slow { kbps } => {
                self.refill(now, kbps);
                if self.tokens >= READ_BYTES_MIN { self.tokens as usize } else { 0 }
            }
            Reading::Stops { .. } | Reading::Stalls { .. } => {
                if self.next(now) > now {
                    0
                } else {
                    usize::MAX
                }
            }
        }
    }

    /// Counts what was read.
    pub fn took(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
    }

    /// When reading goes on: now or later, or [`NEVER`].
    pub fn next(&self, now: Micros) -> Micros {
        let since = now.saturating_sub(self.begun);
        match self.reading {
            Reading::Eager => now,
            Reading::Slow { kbps: 0 } => NEVER,
            Reading::Slow { kbps } => {
                let missing = READ_BYTES_MIN - self.tokens;
                if missing <= 0.0 {
                    now
                } else {
                    now.max(self.refilled + (missing * 8_000.0 / kbps as f64).ceil() as Micros)
                }
            }
            Reading::Stops { after_s } => {
                if since >= micros(after_s) {
                    NEVER
                } else {
                    now
                }
            }
            Reading::Stalls { every_s, for_s } => {
                let period = micros(every_s + for_s).max(1);
                if since % period < micros(every_s) { now } else { self.begun + (since / period + 1) * period }
            }
        }
    }

    fn refill(&mut self, now: Micros, kbps: u64) {
        let bytes_per_us = kbps as f64 / 8_000.0;
        let burst = (bytes_per_us * BURST_S * 1e6).max(2.0 * READ_BYTES_MIN);
        self.tokens = (self.tokens + now.saturating_sub(self.refilled) as f64 * bytes_per_us).min(burst);
        self.refilled = now;
    }
}

fn micros(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_keeps_its_rate_over_time() {
        let mut pace = Pace::new(Reading::Slow { kbps: 800 }, 1_000_000);
        let (mut now, mut bytes) = (1_000_000, 0);
        while now < 11_000_000 {
            let allowed = pace.allowance(now);
            pace.took(allowed);
            bytes += allowed;
            now = pace.next(now).max(now + 1);
        }
        assert!((990_000..=1_010_000).contains(&bytes), "{bytes} in place of 1 MB");
    }

    #[test]
    fn stops_is_for_good_and_stalls_comes_back() {
        let mut stops = Pace::new(Reading::Stops { after_s: 2.0 }, 0);
        assert_eq!((stops.allowance(1_999_999), stops.allowance(2_000_000)), (usize::MAX, 0));
        assert_eq!(stops.next(3_000_000), NEVER);
        let mut stalls = Pace::new(Reading::Stalls { every_s: 2.0, for_s: 1.0 }, 500_000);
        assert_eq!(stalls.allowance(2_400_000), usize::MAX);
        assert_eq!((stalls.allowance(2_600_000), stalls.next(2_600_000)), (0, 3_500_000));
        assert_eq!(stalls.allowance(3_500_000), usize::MAX);
    }
}
