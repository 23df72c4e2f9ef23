//! Where the samples of a ring lie in its map: first in, first out, each contiguous, in as few bytes as they need.
//!
//! A bip-buffer: samples go up from 0, wrap to 0 when the next does not fit below `limit`, and go up again behind the oldest.
//! `limit` is what keeps the touched memory small: it starts near 0 and grows only when live bytes and the new sample do not
//! fit below it, so a ring of a low-bitrate track walks round a few hundred KiB of its map and not through all of it.
//! When a wrapped ring has no room between newest and oldest, the older part is moved to the top, at most once per lap.
//!
//! Bound: `limit <= max(LIMIT_BYTES_MIN, 17/16 x (L + 2 x S))`, L the most live bytes at once, S the largest sample, rounded up to a page.
//!
//! Pure arithmetic: the owner of the map does the moves.
#![forbid(unsafe_code)]

use crate::memfd::whole_pages;

/// First value of the limit: below this, growing in steps is not worth its moves.
pub(super) const LIMIT_BYTES_MIN: usize = 64 << 10;

/// Placement of live bytes in `0..capacity`.
#[derive(Debug)]
pub(super) struct Bip {
    capacity: usize,
    limit: usize,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Live bytes are `tail..head`.
    Straight { tail: usize, head: usize },
    /// Live bytes are `tail..end`, then `0..head`; `head <= tail`.
    Wrapped { tail: usize, end: usize, head: usize },
}

/// Bytes to move within the map before the new sample is written: `len` bytes from `from` up to `to`. The regions may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub from: usize,
    pub to: usize,
    pub len: usize,
}

/// Where a sample goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: usize,
    pub moved: Option<Move>,
}

impl Bip {
    /// Room for samples of up to `sample_bytes_max` each and `bytes_max` together.
    pub fn new(bytes_max: usize, sample_bytes_max: usize) -> Self {
        let capacity = whole_pages(bytes_max + sample_bytes_max);
        Bip { capacity, limit: LIMIT_BYTES_MIN.min(capacity), layout: Layout::Straight { tail: 0, head: 0 } }
    }
    /// Bytes of map that the placements may reach.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    /// Bytes of map that the placements reached so far at most.
    #[cfg(test)]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Finds room for `len` bytes. The caller made sure that live bytes and `len` are within `bytes_max` and `len` within
    /// `sample_bytes_max`; then there always is room, because the capacity exceeds `bytes_max` by a whole sample.
    pub fn place(&mut self, len: usize) -> Place {
        if len == 0 {
            return Place { at: 0, moved: None }; // Takes no room, so no free() may count on it either.
        }
        match self.layout {
            Layout::Straight { tail, head } => Place { at: self.place_straight(tail, head, len), moved: None },
            Layout::Wrapped { tail, end, head } => self.place_wrapped(tail, end, head, len),
        }
    }

    /// Gives back the oldest sample, which lay at `at`.
    pub fn free(&mut self, at: usize, len: usize) {
        if len == 0 {
            return;
        }
        self.layout = match self.layout {
            Layout::Straight { tail, head } => {
                debug_assert_eq!(at, tail, "freed out of order");
                let tail = tail + len;
                if tail == head { Layout::Straight { tail: 0, head: 0 } } else { Layout::Straight { tail, head } }
            }
            Layout::Wrapped { tail, end, head } => {
                debug_assert_eq!(at, tail, "freed out of order");
                let tail = tail + len;
                if tail == end { Layout::Straight { tail: 0, head } } else { Layout::Wrapped { tail, end, head } }
            }
        };
    }

    fn place_straight(&mut self, tail: usize, head: usize, len: usize) -> usize {
        if head + len > self.limit && len <= tail {
            self.layout = Layout::Wrapped { tail, end: head, head: len };
            return 0;
        }
        if head + len > self.limit {
            self.grow(head - tail, len);
        }
        debug_assert!(head + len <= self.limit);
        self.layout = Layout::Straight { tail, head: head + len };
        head
    }

    fn place_wrapped(&mut self, tail: usize, end: usize, head: usize, len: usize) -> Place {
        if head + len <= tail {
            self.layout = Layout::Wrapped { tail, end, head: head + len };
            return Place { at: head, moved: None };
        }
        let upper = end - tail;
        if head + len + upper > self.limit {
            self.grow(head + upper, len);
        }
        let to = self.limit - upper;
        debug_assert!(head + len <= to);
        self.layout = Layout::Wrapped { tail: to, end: self.limit, head: head + len };
        Place { at: head, moved: Some(Move { from: tail, to, len: upper }) }
    }

    /// Raises the limit by a sixteenth, or more when `live` bytes and the new sample need it, never beyond the capacity.
    fn grow(&mut self, live: usize, len: usize) {
        let wanted = (self.limit + self.limit / 16).max(live + 2 * len);
        self.limit = whole_pages(wanted).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Keeps every live range and the bytes it should hold, and fails when two ranges meet.
    #[derive(Default)]
    struct Model {
        live: VecDeque<(usize, usize)>,
        bytes: usize,
        bytes_peak: usize,
        sample_peak: usize,
    }

    impl Model {
        fn push(&mut self, bip: &mut Bip, len: usize) {
            let place = bip.place(len);
            if let Some(moved) = place.moved {
                for (at, len) in &mut self.live {
                    if *len > 0 && *at >= moved.from {
                        *at += moved.to - moved.from;
                    }
                }
            }
            let end = place.at + len;
            assert!(end <= bip.limit() && bip.limit() <= bip.capacity());
            assert!(self.live.iter().all(|&(at, l)| l == 0 || len == 0 || end <= at || at + l <= place.at), "overlap");
            self.live.push_back((place.at, len));
            self.bytes += len;
            self.bytes_peak = self.bytes_peak.max(self.bytes);
            self.sample_peak = self.sample_peak.max(len);
        }
        fn pop(&mut self, bip: &mut Bip) {
            if let Some((at, len)) = self.live.pop_front() {
                bip.free(at, len);
                self.bytes -= len;
            }
        }
    }

    proptest! {
        #[test]
        fn samples_never_overlap_and_the_limit_stays_near_the_live_bytes(
            bytes_max in 1usize..600_000,
            lens in prop::collection::vec((0usize..120_000, 1usize..40), 1..400),
        ) {
            let mut bip = Bip::new(bytes_max, bytes_max);
            let mut model = Model::default();
            for (len, count_max) in lens {
                let len = len % (bytes_max + 1);
                while model.bytes + len > bytes_max || model.live.len() > count_max {
                    model.pop(&mut bip);
                }
                model.push(&mut bip, len);
                let bound = (model.bytes_peak + 2 * model.sample_peak) * 17 / 16;
                prop_assert!(bip.limit() <= whole_pages(bound.max(LIMIT_BYTES_MIN)), "{} > {bound}", bip.limit());
            }
        }
    }

    #[test]
    fn a_full_wrapped_ring_moves_its_older_part_up_once() {
        let mut bip = Bip::new(1 << 20, 1 << 20);
        let mut model = Model::default();
        for _ in 0..6 {
            model.push(&mut bip, 10_000); // 60,000 of 65,536
        }
        for _ in 0..3 {
            model.pop(&mut bip); // free: 0..30,000
        }
        model.push(&mut bip, 20_000); // wraps
        let place = bip.place(12_000); // 20,000..32,000 would run into 30,000
        assert_eq!(place, Place { at: 20_000, moved: Some(Move { from: 30_000, to: 65_536 - 30_000, len: 30_000 }) });
        assert_eq!(bip.limit(), LIMIT_BYTES_MIN);
    }
}
