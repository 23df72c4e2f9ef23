//! What is counted while a run goes on: one [`Stats`] per thread, merged at the end into the figures of [`crate::result`].
//!
//! Times go into HDR histograms. A request's first byte is taken from when it was due, which a slow server cannot push back and so leaves
//! out nothing (coordinated omission), and besides, raw, from when it was sent. What it deliberately does not do: read a clock.

mod live;
mod times;

pub use live::{Live, LiveGroup, Logarithmic};
pub use times::Times;

use crate::player::{FetchKind, Micros};
use crate::result::{GroupFigures, Quantiles, Second, Timing, Violation};
use std::collections::BTreeMap;

/// [`Second::first_byte_buckets`] has this many: up to 2^27 us, 134 s.
const BUCKETS: usize = 28;
/// Microseconds in a millisecond.
const MS: f64 = 1_000.0;

/// Times of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimes {
    /// When it was due.
    pub intended: Micros,
    /// When it was sent.
    pub sent: Micros,
    /// When the first byte of its answer was read.
    pub first_byte: Micros,
}

/// What one thread counted.
pub struct Stats {
    /// Nothing before this counts but in [`Stats::seconds`].
    warmup: Micros,
    /// Nothing from this on counts: what the last turn of a loop does too late.
    end: Micros,
    groups: Vec<GroupStats>,
    seconds: Vec<SecondStats>,
    /// How late this thread was.
    lag: Times,
    /// Connections that found no free port.
    pub ports_exhausted: u64,
    violations: BTreeMap<String, (u64, String)>,
    /// Viewers now.
    viewers: u64,
    /// Totals for who looks on.
    pub live: Live,
}

#[derive(Default)]
struct GroupStats {
    figures: GroupFigures,
    timings: BTreeMap<FetchKind, [Times; 3]>,
    startup: Option<Times>,
    live_latency: Option<Times>,
    origin_to_viewer: Option<Times>,
    viewers: u64,
    /// Least and most bytes of a viewer.
    bytes: Option<(u64, u64)>,
}

#[derive(Clone, Default)]
struct SecondStats {
    figures: Second,
    first_byte: Option<Box<Times<u32>>>,
}

impl Stats {
    /// For so many groups; what comes before `warmup` counts for seconds only, what comes from `end` on not at all.
    pub fn new(groups: usize, warmup: Micros, end: Micros) -> Stats {
        Stats {
            warmup,
            end,
            groups: (0..groups).map(|_| GroupStats::default()).collect(),
            seconds: Vec::new(),
            lag: Times::default(),
            ports_exhausted: 0,
            violations: BTreeMap::new(),
            viewers: 0,
            live: Live::new(groups),
        }
    }

    /// Whether what happens now counts.
    pub fn counts(&self, now: Micros) -> bool {
        (self.warmup..self.end).contains(&now)
    }

    /// A viewer came.
    pub fn arrived(&mut self, group: usize, now: Micros) {
        self.viewers += 1;
        self.live.groups[group].viewers += 1;
        let group = &mut self.groups[group];
        group.viewers += 1;
        group.figures.viewers = group.figures.viewers.max(group.viewers);
        self.second(now);
    }

    /// A viewer left for good.
    pub fn left(&mut self, group: usize, now: Micros) {
        self.viewers -= 1;
        self.live.groups[group].viewers -= 1;
        self.groups[group].viewers -= 1;
        self.second(now);
    }

    /// Some of a body came.
    pub fn bytes(&mut self, group: usize, now: Micros, bytes: u64) {
        self.second(now).bytes += bytes;
        self.live.groups[group].bytes += bytes;
        if self.counts(now) {
            self.groups[group].figures.bytes += bytes;
        }
    }

    /// The first byte of an answer came.
    pub fn first_byte(&mut self, group: usize, kind: FetchKind, times: RequestTimes) {
        let (now, from_intended) = (times.first_byte, times.first_byte.saturating_sub(times.intended));
        self.live.groups[group].first_byte.record(from_intended);
        if kind != FetchKind::Stream {
            let second = self.second_stats(now);
            second.first_byte.get_or_insert_with(|| Box::new(Times::with_digits(2))).record(from_intended);
            let buckets = &mut second.figures.first_byte_buckets;
            buckets.resize(BUCKETS, 0);
            buckets[(from_intended.max(1).ilog2() as usize).min(BUCKETS - 1)] += 1;
        }
        if self.counts(now) {
            let [first_byte, raw, _] = self.groups[group].timings.entry(kind).or_default();
            first_byte.record(from_intended);
            raw.record(now.saturating_sub(times.sent));
        }
    }

    /// A request came to its end, with what failed if it did; a stream's when it began.
    pub fn request(&mut self, group: usize, now: Micros, error: Option<&str>) {
        self.second(now).requests += 1;
        self.live.groups[group].requests += 1;
        if self.counts(now) {
            self.groups[group].figures.requests += 1;
        }
        if let Some(error) = error {
            self.error(group, now, error);
        }
    }

    /// Something failed that is no request of its own, or was counted as one before.
    pub fn error(&mut self, group: usize, now: Micros, error: &str) {
        self.second(now).errors += 1;
        self.live.groups[group].errors += 1;
        if self.counts(now) {
            let errors = &mut self.groups[group].figures.errors;
            match errors.get_mut(error) {
                Some(count) => *count += 1,
                None => drop(errors.insert(error.into(), 1)),
            }
        }
    }

    /// The last byte of an answer came.
    pub fn complete(&mut self, group: usize, kind: FetchKind, intended: Micros, now: Micros) {
        if self.counts(now) {
            self.groups[group].timings.entry(kind).or_default()[2].record(now.saturating_sub(intended));
        }
    }

    /// Stalls and rebuffers, since they were counted last.
    pub fn playback(&mut self, group: usize, now: Micros, stalls: u64, rebuffers: u64, rebuffer_us: Micros) {
        self.second(now).stalls += stalls;
        self.live.groups[group].stalls += stalls;
        self.live.groups[group].rebuffers += rebuffers;
        if self.counts(now) {
            let figures = &mut self.groups[group].figures;
            figures.stalls += stalls;
            figures.rebuffers += rebuffers;
            figures.rebuffer_ms += rebuffer_us as f64 / MS;
        }
    }

    /// A viewer showed its first picture, so long after it arrived.
    pub fn startup(&mut self, group: usize, now: Micros, us: Micros) {
        if self.counts(now) {
            self.groups[group].startup.get_or_insert_default().record(us);
        }
    }

    /// A viewer was so far behind live.
    pub fn live_latency(&mut self, group: usize, now: Micros, us: Micros) {
        if self.counts(now) {
            self.groups[group].live_latency.get_or_insert_default().record(us);
        }
    }

    /// An access unit that was complete at a viewer at `at` was so long under way.
    pub fn origin_to_viewer(&mut self, group: usize, at: Micros, us: Micros) {
        if self.counts(at) {
            self.groups[group].origin_to_viewer.get_or_insert_default().record(us);
        }
    }

    /// Bytes of a viewer that was there from the warm-up to the end.
    pub fn viewer_bytes(&mut self, group: usize, bytes: u64) {
        let (least, most) = self.groups[group].bytes.unwrap_or((bytes, bytes));
        self.groups[group].bytes = Some((least.min(bytes), most.max(bytes)));
    }

    /// Content broke a rule; `place` says whose.
    pub fn violation(&mut self, violation: Violation, place: &str) {
        let first = format!("{place}: {}", violation.first);
        self.violations.entry(violation.rule).or_insert((0, first)).0 += violation.count;
    }

    /// The thread was so late at what it meant to do.
    pub fn lag(&mut self, now: Micros, us: Micros) {
        self.live.lag.record(us);
        if self.counts(now) {
            self.lag.record(us);
        }
    }

    fn second(&mut self, now: Micros) -> &mut Second {
        let viewers = self.viewers;
        let figures = &mut self.second_stats(now).figures;
        figures.viewers = viewers;
        figures
    }

    fn second_stats(&mut self, now: Micros) -> &mut SecondStats {
        let index = (now / 1_000_000) as usize;
        while self.seconds.len() <= index {
            let figures = Second { viewers: self.viewers, ..Second::default() };
            self.seconds.push(SecondStats { figures, first_byte: None });
        }
        &mut self.seconds[index]
    }

    /// Brings the seconds up to `count`, also where nothing happened.
    pub fn finish(&mut self, count: usize) {
        if count > 0 {
            self.second_stats(count as u64 * 1_000_000 - 1);
        }
        self.seconds.truncate(count);
    }

    /// Adds what another thread counted. Most viewers at once becomes the sum of the threads' mosts.
    pub fn merge(&mut self, other: Stats) {
        for (group, other) in self.groups.iter_mut().zip(other.groups) {
            group.merge(other);
        }
        for (index, other) in other.seconds.into_iter().enumerate() {
            match self.seconds.get_mut(index) {
                Some(second) => second.merge(other),
                None => self.seconds.push(other),
            }
        }
        self.lag.merge(&other.lag);
        self.ports_exhausted += other.ports_exhausted;
        for (rule, (count, first)) in other.violations {
            self.violations.entry(rule).or_insert((0, first)).0 += count;
        }
    }

    /// Of each group, in order.
    pub fn group_figures(&self) -> Vec<GroupFigures> {
        self.groups.iter().map(GroupStats::figures).collect()
    }

    /// By second.
    pub fn second_figures(&self) -> Vec<Second> {
        let figures = |second: &SecondStats| Second {
            first_byte: second.first_byte.as_ref().map(|times| times.quantiles()).unwrap_or_default(),
            ..second.figures.clone()
        };
        self.seconds.iter().map(figures).collect()
    }

    /// How late the threads were.
    pub fn lag_figures(&self) -> Quantiles {
        self.lag.quantiles()
    }

    /// Broken rules, by name.
    pub fn violation_figures(&self) -> Vec<Violation> {
        let figures = |(rule, (count, first)): (&String, &(u64, String))| Violation {
            rule: rule.clone(),
            count: *count,
            first: first.clone(),
        };
        self.violations.iter().map(figures).collect()
    }
}

impl GroupStats {
    fn merge(&mut self, other: GroupStats) {
        let (figures, others) = (&mut self.figures, other.figures);
        figures.viewers += others.viewers;
        figures.bytes += others.bytes;
        figures.requests += others.requests;
        figures.stalls += others.stalls;
        figures.rebuffers += others.rebuffers;
        figures.rebuffer_ms += others.rebuffer_ms;
        for (error, count) in others.errors {
            *figures.errors.entry(error).or_default() += count;
        }
        for (kind, others) in other.timings {
            let timings = self.timings.entry(kind).or_default();
            timings.iter_mut().zip(&others).for_each(|(times, other)| times.merge(other));
        }
        for (times, other) in [
            (&mut self.startup, other.startup),
            (&mut self.live_latency, other.live_latency),
            (&mut self.origin_to_viewer, other.origin_to_viewer),
        ] {
            if let Some(other) = other {
                times.get_or_insert_default().merge(&other);
            }
        }
        self.bytes = match (self.bytes, other.bytes) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
    }

    fn figures(&self) -> GroupFigures {
        let timing = |[first_byte, raw, complete]: &[Times; 3]| Timing {
            first_byte: first_byte.quantiles(),
            first_byte_raw: raw.quantiles(),
            complete: complete.quantiles(),
        };
        let (bytes_least, bytes_most) = self.bytes.unwrap_or_default();
        GroupFigures {
            timings: self.timings.iter().map(|(kind, times)| (kind_name(*kind).into(), timing(times))).collect(),
            startup: self.startup.as_ref().map(Times::quantiles),
            live_latency: self.live_latency.as_ref().map(Times::quantiles),
            origin_to_viewer: self.origin_to_viewer.as_ref().map(Times::quantiles),
            bytes_least,
            bytes_most,
            ..self.figures.clone()
        }
    }
}

impl SecondStats {
    fn merge(&mut self, other: SecondStats) {
        let (figures, others) = (&mut self.figures, other.figures);
        figures.viewers += others.viewers;
        figures.bytes += others.bytes;
        figures.requests += others.requests;
        figures.errors += others.errors;
        figures.stalls += others.stalls;
        figures.first_byte_buckets.resize(figures.first_byte_buckets.len().max(others.first_byte_buckets.len()), 0);
        figures.first_byte_buckets.iter_mut().zip(others.first_byte_buckets).for_each(|(count, other)| *count += other);
        match (&mut self.first_byte, other.first_byte) {
            (Some(times), Some(other)) => times.merge(&other),
            (times @ None, other) => *times = other,
            (Some(_), None) => {}
        }
    }
}

/// A kind of request as results name it.
pub fn kind_name(kind: FetchKind) -> &'static str {
    match kind {
        FetchKind::Entry => "entry",
        FetchKind::Playlist => "playlist",
        FetchKind::Init => "init",
        FetchKind::Segment => "segment",
        FetchKind::Stream => "stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(stats: &mut Stats, first_byte: Micros) {
        stats.first_byte(0, FetchKind::Segment, RequestTimes { intended: 1_000_000, sent: 1_100_000, first_byte });
        stats.complete(0, FetchKind::Segment, 1_000_000, first_byte + 50_000);
        stats.request(0, first_byte, None);
    }

    #[test]
    fn threads_add_up() {
        let (mut one, mut other) = (Stats::new(1, 0, 10_000_000), Stats::new(1, 0, 10_000_000));
        timed(&mut one, 1_200_000);
        timed(&mut other, 1_400_000);
        other.request(0, 3_000_000, Some("reset"));
        one.viewer_bytes(0, 5);
        other.viewer_bytes(0, 9);
        one.finish(4);
        other.finish(4);
        one.merge(other);
        let group = &one.group_figures()[0];
        assert_eq!((group.requests, group.errors["reset"], group.bytes_least, group.bytes_most), (3, 1, 5, 9));
        let timing = &group.timings["segment"];
        assert_eq!((timing.first_byte.count, timing.complete.count), (2, 2));
        assert!((timing.first_byte.max - 400.0).abs() < 1.0 && (timing.first_byte_raw.max - 300.0).abs() < 1.0);
        let seconds = one.second_figures();
        assert_eq!(seconds.iter().map(|second| second.requests).collect::<Vec<_>>(), [0, 2, 0, 1]);
        // 200 ms is between 2^17 and 2^18 us, 400 ms the one after.
        assert_eq!(seconds[1].first_byte_buckets[17..19], [1, 1]);
    }

    #[test]
    fn the_warm_up_counts_for_seconds_only() {
        let mut stats = Stats::new(1, 2_000_000, 10_000_000);
        timed(&mut stats, 1_200_000);
        stats.bytes(0, 1_999_999, 10);
        stats.bytes(0, 2_000_000, 1);
        stats.error(0, 0, "connect");
        assert_eq!((stats.live.groups[0].bytes, stats.live.groups[0].requests), (11, 1));
        let group = &stats.group_figures()[0];
        assert_eq!((group.bytes, group.requests, group.timings.len(), group.errors.len()), (1, 0, 0, 0));
        assert_eq!(stats.second_figures()[1].bytes, 10);
    }
}
