//! What a thread counts for who looks on while it runs: totals since the start, the warm-up included, so that two readings give what lies between.
//!
//! What it deliberately does not do: go into results; those have finer histograms.

use crate::player::Micros;

/// Buckets of [`Logarithmic`] within a power of two: a quantile is at most an eighth too high.
const STEPS: usize = 8;
/// Powers of two that are told apart: up to 2^27 us, 134 s.
const OCTAVES: usize = 27;

/// Totals of one thread, or of several added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// In the scenario's order.
    pub groups: Vec<LiveGroup>,
    /// How late the thread was at what it meant to do.
    pub lag: Logarithmic,
    /// Processor time of the thread, microseconds.
    pub cpu: Micros,
    /// When this was so, since the run began; of several threads, the sum.
    pub at: Micros,
}

/// Totals of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveGroup {
    /// Now.
    pub viewers: u64,
    pub bytes: u64,
    pub requests: u64,
    pub errors: u64,
    pub stalls: u64,
    pub rebuffers: u64,
    /// From the intended time.
    pub first_byte: Logarithmic,
}

/// Times counted by logarithmic buckets, which can be added and subtracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logarithmic([u32; STEPS * OCTAVES]);

impl Live {
    /// Nothing yet, of so many groups.
    pub fn new(groups: usize) -> Live {
        Live { groups: vec![LiveGroup::default(); groups], ..Live::default() }
    }

    /// Adds another thread's, of the same groups.
    pub fn add(&mut self, other: &Live) {
        self.groups.resize(self.groups.len().max(other.groups.len()), LiveGroup::default());
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            group.viewers += other.viewers;
            group.bytes += other.bytes;
            group.requests += other.requests;
            group.errors += other.errors;
            group.stalls += other.stalls;
            group.rebuffers += other.rebuffers;
            group.first_byte.add(&other.first_byte);
        }
        self.lag.add(&other.lag);
        self.cpu += other.cpu;
        self.at += other.at;
    }
}

impl Logarithmic {
    /// Counts a time; 0 counts as 1.
    pub fn record(&mut self, us: Micros) {
        let us = us.max(1);
        let octave = us.ilog2() as usize;
        // The bits below the highest, as many as there are steps for.
        let step = (us << STEPS.ilog2() >> octave) as usize % STEPS;
        let count = &mut self.0[(octave * STEPS + step).min(STEPS * OCTAVES - 1)];
        *count = count.wrapping_add(1);
    }

    /// What was counted after `before`, an earlier reading.
    pub fn since(&self, before: &Logarithmic) -> Logarithmic {
        let mut since = self.clone();
        since.0.iter_mut().zip(&before.0).for_each(|(count, before)| *count = count.wrapping_sub(*before));
        since
    }

    /// The upper end of the bucket that holds the quantile (0 to 1), milliseconds; `None` where nothing was counted.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let rank = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let upper = (STEPS + bucket % STEPS + 1) as f64 / STEPS as f64;
        Some(upper * 2_f64.powi((bucket / STEPS) as i32) / 1_000.0)
    }

    fn add(&mut self, other: &Logarithmic) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, other)| *count = count.wrapping_add(*other));
    }
}

impl Default for Logarithmic {
    fn default() -> Self {
        Logarithmic([0; STEPS * OCTAVES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_an_eighth_off_at_most() {
        for us in [1, 2, 3, 7, 8, 100, 999, 12_345, 1_000_000, 90_000_000] {
            let mut times = Logarithmic::default();
            times.record(us);
            let (found, exact) = (times.quantile_ms(0.5).unwrap(), us as f64 / 1_000.0);
            assert!(found > exact && found <= exact * 1.125 + 0.001, "{us} us gave {found} ms");
        }
        assert_eq!(Logarithmic::default().quantile_ms(0.5), None);
    }

    #[test]
    fn two_readings_give_what_lies_between() {
        let mut times = Logarithmic::default();
        (0..1_000).for_each(|_| times.record(1_000_000));
        let before = times.clone();
        (0..98).for_each(|_| times.record(100));
        (0..2).for_each(|_| times.record(Micros::MAX));
        let since = times.since(&before);
        assert!(since.quantile_ms(0.98).unwrap() < 0.12, "{:?}", since.quantile_ms(0.98));
        // What is beyond the last bucket is in it.
        assert!(since.quantile_ms(0.99).unwrap() > 100_000.0);
        assert_eq!(times.since(&times).quantile_ms(0.99), None);
    }
}
