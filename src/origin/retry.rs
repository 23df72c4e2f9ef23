//! When to try an origin again, and which of its URLs.
//!
//! The wait begins at [`ORIGIN_RETRY_MS_MIN`], doubles with each failure up to [`ORIGIN_RETRY_MS_MAX`], and begins
//! anew after an origin has delivered for [`ORIGIN_GOOD_MS`]. Such an origin also gets the first retry itself; one that
//! failed at once hands over to the next URL.
//!
//! What it deliberately does not do: give up. A channel is retried for as long as its session lives.
#![forbid(unsafe_code)]

use crate::limits::{ORIGIN_GOOD_MS, ORIGIN_RETRY_MS_MAX, ORIGIN_RETRY_MS_MIN};
use crate::time::Now;

/// The schedule of one channel. Drop it with the session.
#[derive(Clone, Debug)]
pub struct Retry {
    url_count: usize,
    url_index: usize,
    /// The wait after the next failure, milliseconds.
    wait_ms: u64,
    wait_ms_max: u64,
    /// Earliest time of the next attempt, monotonic microseconds.
    attempt_at_us: u64,
    /// Monotonic time of the attempt's first data.
    good_since_us: Option<u64>,
}

impl Retry {
    /// A schedule over `url_count` URLs (at least one) whose first attempt may begin at once. `wait_ms_max`: the longest wait between two
    /// attempts, milliseconds, at most [`ORIGIN_RETRY_MS_MAX`].
    pub fn new(url_count: usize, wait_ms_max: u64) -> Self {
        let url_count = url_count.max(1);
        let wait_ms_max = wait_ms_max.clamp(ORIGIN_RETRY_MS_MIN, ORIGIN_RETRY_MS_MAX);
        let wait_ms = ORIGIN_RETRY_MS_MIN;
        Retry { url_count, url_index: 0, wait_ms, wait_ms_max, attempt_at_us: 0, good_since_us: None }
    }

    /// Index of the URL for the next, or current, attempt: below `url_count`.
    pub fn url_index(&self) -> usize {
        self.url_index
    }

    /// Monotonic time, microseconds, before which no attempt may begin.
    pub fn attempt_at_us(&self) -> u64 {
        self.attempt_at_us
    }

    /// Data has come. Cheap: meant for every read.
    pub fn on_data(&mut self, now: Now) {
        self.good_since_us.get_or_insert(now.mono_us);
    }

    /// The attempt is over, by a failure or because the origin ended its stream.
    pub fn on_lost(&mut self, now: Now) {
        let was_good =
            self.good_since_us.take().is_some_and(|since| now.mono_us.saturating_sub(since) >= ORIGIN_GOOD_MS * 1_000);
        if was_good {
            self.wait_ms = ORIGIN_RETRY_MS_MIN;
        } else {
            self.url_index = (self.url_index + 1) % self.url_count;
        }
        self.attempt_at_us = now.mono_us.saturating_add(self.wait_ms * 1_000);
        self.wait_ms = (self.wait_ms * 2).min(self.wait_ms_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_us: mono_ms * 1_000, unix_us: 0 }
    }

    /// Loses the attempt at `mono_ms` and gives the wait that follows, milliseconds.
    fn lose(retry: &mut Retry, mono_ms: u64) -> u64 {
        retry.on_lost(at(mono_ms));
        retry.attempt_at_us() / 1_000 - mono_ms
    }

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut retry = Retry::new(1, ORIGIN_RETRY_MS_MAX);
        assert_eq!(retry.attempt_at_us(), 0);
        let waits: Vec<_> = (0..7).map(|_| lose(&mut retry, 5_000)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn urls_take_turns() {
        let mut retry = Retry::new(3, ORIGIN_RETRY_MS_MAX);
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(retry.url_index());
            retry.on_lost(at(0));
        }
        assert_eq!(order, [0, 1, 2, 0]);
    }

    #[test]
    fn good_data_resets_the_wait_and_keeps_the_url() {
        let mut retry = Retry::new(2, ORIGIN_RETRY_MS_MAX);
        lose(&mut retry, 0);
        lose(&mut retry, 1_000);
        assert_eq!(retry.url_index(), 0);
        retry.on_data(at(2_000));
        retry.on_data(at(11_000));
        assert_eq!(lose(&mut retry, 12_000), 100);
        assert_eq!(retry.url_index(), 0);
        // Bytes for less than the bound are no recovery.
        retry.on_data(at(13_000));
        assert_eq!(lose(&mut retry, 13_500), 200);
        assert_eq!(retry.url_index(), 1);
    }
}
