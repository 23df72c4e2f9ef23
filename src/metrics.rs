//! Counters of the process and of each channel. Text rendering is [`crate::api`]'s.
//!
//! Every shard has its own [`ShardMetrics`], so that counting never shares a cache line between cores.
#![forbid(unsafe_code)]

use crate::es::carriage::Container;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that is counted with relaxed atomics: exact in sum, without order.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a viewer is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// HLS with MPEG-TS segments.
    HlsTs,
    /// HLS with fMP4 (CMAF) segments.
    HlsFmp4,
    /// MPEG-DASH.
    Dash,
    /// Continuous MPEG-TS.
    MpegTs,
}

impl Format {
    pub const ALL: [Format; 4] = [Format::HlsTs, Format::HlsFmp4, Format::Dash, Format::MpegTs];
    /// Label in metrics, API and `?format=`.
    pub fn name(self) -> &'static str {
        match self {
            Format::HlsTs => "hls-ts",
            Format::HlsFmp4 => "hls-fmp4",
            Format::Dash => "dash",
            Format::MpegTs => "mpegts",
        }
    }
    /// What it is muxed into.
    pub fn container(self) -> Container {
        match self {
            Format::HlsTs | Format::MpegTs => Container::Ts,
            Format::HlsFmp4 | Format::Dash => Container::Cmaf,
        }
    }
    /// Its place in [`Format::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One shard's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Connections open now, and accepted since start.
    pub connections: Counter,
    pub accepted: Counter,
    /// Sessions owned now.
    pub sessions: Counter,
    /// Viewers cut for making no progress, and skips to a newer key sample.
    pub viewers_cut: Counter,
    pub viewers_skipped: Counter,
    /// Panics caught in connections.
    pub connection_panics: Counter,
    /// Bytes of store blocks in use.
    pub store_bytes: Counter,
    viewers: [Counter; Format::ALL.len()],
    sent_bytes: [Counter; Format::ALL.len()],
    responses: [Counter; 6],
    pub request_duration: Histogram,
}

impl ShardMetrics {
    pub fn viewers(&self, format: Format) -> &Counter {
        &self.viewers[format.index()]
    }
    pub fn sent_bytes(&self, format: Format) -> &Counter {
        &self.sent_bytes[format.index()]
    }
    /// Responses by class: `class` 1 ..= 5 for 1xx to 5xx.
    pub fn responses(&self, class: usize) -> &Counter {
        &self.responses[class.min(5)]
    }
}

/// Upper bounds of the request duration buckets, microseconds.
pub const DURATION_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000, 10_000_000];

/// From the last byte of a request's head to the last byte of its answer handed to the kernel.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; DURATION_BUCKETS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    pub fn record_us(&self, us: u64) {
        let index = DURATION_BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[index].add(1);
        self.sum_us.add(us);
    }
    /// Counts per bucket (the last has no upper bound) and the sum in microseconds.
    pub fn values(&self) -> ([u64; DURATION_BUCKETS_US.len() + 1], u64) {
        (std::array::from_fn(|i| self.buckets[i].value()), self.sum_us.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_bucket_whose_bound_it_does_not_pass() {
        let histogram = Histogram::default();
        histogram.record_us(100);
        histogram.record_us(101);
        histogram.record_us(99_000_000);
        let (counts, sum_us) = histogram.values();
        assert_eq!((counts[0], counts[1], counts[12], sum_us), (1, 1, 1, 99_000_201));
    }
}
