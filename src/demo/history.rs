//! The last seconds of the stream, shared by all viewers: a viewer is a position in it.
//!
//! What it deliberately does not do: copy anything for a viewer, or wait for a slow one.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{DEMO_HISTORY_BYTES_MAX, DEMO_HISTORY_MS};

/// How the body of a stream is framed (RFC 9112 6.3 and 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// The end of the connection ends the body.
    #[default]
    Close,
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// One portion of the stream: whole TS packets that were sent at the same time.
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// The chunk-size line for [`Framing::Chunked`], written once for all viewers.
    size_line: String,
    at: Instant,
}

impl Chunk {
    /// The three runs of bytes that go on the wire, in order; their sum is never 0.
    pub fn wire(&self, framing: Framing) -> [&[u8]; 3] {
        match framing {
            Framing::Close => [b"", &self.bytes, b""],
            Framing::Chunked => [self.size_line.as_bytes(), &self.bytes, b"\r\n"],
        }
    }
}

/// Chunks numbered from 0 without a gap, the oldest dropped by age and by bytes.
#[derive(Default)]
pub(super) struct History {
    chunks: VecDeque<Chunk>,
    /// Number of the oldest chunk kept.
    first: u64,
    bytes: usize,
}

impl History {
    /// Appends a chunk, which must not be empty, and forgets what is too old.
    pub fn push(&mut self, bytes: Vec<u8>, now: Instant) {
        debug_assert!(!bytes.is_empty(), "an empty chunk would end a chunked body");
        self.bytes += bytes.len();
        let size_line = format!("{:x}\r\n", bytes.len());
        self.chunks.push_back(Chunk { bytes, size_line, at: now });
        while self.chunks.len() > 1 && self.front_is_too_old(now) {
            let Some(gone) = self.chunks.pop_front() else { break };
            self.bytes -= gone.bytes.len();
            self.first += 1;
        }
    }
    /// Number of the oldest chunk kept; a viewer before it has lost bytes.
    pub fn first(&self) -> u64 {
        self.first
    }
    pub fn chunk(&self, number: u64) -> Option<&Chunk> {
        self.chunks.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
    /// Number of the oldest chunk that is not older than `past`; when there is none, the number that the next chunk will get.
    pub fn since(&self, past: Duration, now: Instant) -> u64 {
        self.first + self.chunks.partition_point(|chunk| now.saturating_duration_since(chunk.at) > past) as u64
    }

    fn front_is_too_old(&self, now: Instant) -> bool {
        let old = |chunk: &Chunk| now.saturating_duration_since(chunk.at).as_millis() > u128::from(DEMO_HISTORY_MS);
        self.bytes > DEMO_HISTORY_BYTES_MAX || self.chunks.front().is_some_and(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(history: &History) -> u64 {
        history.first + history.chunks.len() as u64
    }

    #[test]
    fn forgets_by_age_but_keeps_the_numbers() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..20 {
            history.push(vec![second as u8; 188], start + Duration::from_secs(second));
        }
        assert_eq!(end(&history), 20);
        assert_eq!(history.first(), 19 - DEMO_HISTORY_MS / 1000);
        assert!(history.chunk(history.first() - 1).is_none());
        assert_eq!(history.chunk(19).expect("newest").wire(Framing::Close)[1][0], 19);
    }

    #[test]
    fn forgets_by_bytes() {
        let now = Instant::now();
        let mut history = History::default();
        for _ in 0..40 {
            history.push(vec![0x47; 1 << 20], now);
        }
        assert!(history.bytes <= DEMO_HISTORY_BYTES_MAX, "{}", history.bytes);
        assert_eq!(end(&history), 40);
    }

    #[test]
    fn a_burst_begins_at_the_first_chunk_young_enough() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..5 {
            history.push(vec![0x47; 188], start + Duration::from_secs(second));
        }
        let now = start + Duration::from_millis(4_500);
        assert_eq!(history.since(Duration::from_secs(2), now), 3);
        assert_eq!(history.since(Duration::ZERO, now), 5);
        assert_eq!(history.since(Duration::from_secs(60), now), 0);
    }

    #[test]
    fn chunked_framing_wraps_each_chunk() {
        let mut history = History::default();
        history.push(vec![0x47; 188], Instant::now());
        let chunk = history.chunk(0).expect("pushed");
        assert_eq!(chunk.wire(Framing::Chunked).concat()[..4], *b"bc\r\n");
        assert_eq!(chunk.wire(Framing::Chunked).concat().len(), 4 + 188 + 2);
    }
}
