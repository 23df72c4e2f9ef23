//! The sliding window of segments that a playlist lists (RFC 8216 6.2.2): ranges of one store, bounded in time and number.
//!
//! A segment that left the playlist stays fetchable for its own duration and that of the longest playlist that listed it.
//! What it deliberately does not do: choose where segments begin (the timeline does) or hold their bytes (the store does).

use crate::limits::WINDOW_SEGMENTS_MAX;
use crate::timeline::{Cut, Epoch};
use std::collections::VecDeque;
use std::ops::Range;

/// One closed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The cut that begins it: media sequence number, start, discontinuity, ...
    pub cut: Cut,
    /// Its bytes in the store.
    pub range: Range<u64>,
    /// 90 kHz ticks, above 0.
    pub duration_90k: i64,
}

impl Segment {
    pub fn number(&self) -> u64 {
        self.cut.segment
    }
    /// Whether players must set up their decoders anew. The first segment of an epoch is marked: to a player that comes from the epoch
    /// before it is a discontinuity, and to one that begins there it means nothing.
    pub fn is_marked(&self, epoch: Epoch) -> bool {
        self.cut.discontinuity || self.number() == epoch.id
    }
    /// Bits a second over the whole segment.
    pub fn bits_per_second(&self) -> u64 {
        let bits = (self.range.end - self.range.start) * 8;
        (u128::from(bits) * 90_000 / self.duration_90k.max(1) as u128) as u64
    }
}

/// Bits a second of the largest segment, and of all together; 0 when there is none.
pub fn rates<'a>(segments: impl Iterator<Item = &'a Segment> + Clone) -> (u64, u64) {
    let peak = segments.clone().map(Segment::bits_per_second).max().unwrap_or(0);
    let bits: u64 = segments.clone().map(|s| (s.range.end - s.range.start) * 8).sum();
    let ticks: i64 = segments.map(|s| s.duration_90k).sum();
    (peak, (u128::from(bits) * 90_000 / ticks.max(1) as u128) as u64)
}

impl AsRef<Segment> for Segment {
    fn as_ref(&self) -> &Segment {
        self
    }
}

/// Segments with consecutive numbers, oldest first; `S` is a [`Segment`] with whatever its format knows beside.
#[derive(Debug)]
pub struct Window<S> {
    listed_90k_min: i64,
    /// All that are served: first `retired` that no playlist lists any more, then the listed ones.
    segments: VecDeque<S>,
    retired: usize,
    listed_90k: i64,
    longest_90k: i64,
}

impl<S: AsRef<Segment>> Window<S> {
    /// A window that lists at least `listed_90k_min` ticks of segments once there are so many.
    pub fn new(listed_90k_min: i64) -> Self {
        Window { listed_90k_min, segments: VecDeque::new(), retired: 0, listed_90k: 0, longest_90k: 0 }
    }

    /// Adds a closed segment. Numbers must stay consecutive: after a hole in them the window starts afresh.
    pub fn push(&mut self, segment: S) {
        let (number, duration_90k) = (segment.as_ref().number(), segment.as_ref().duration_90k);
        if self.newest().is_some_and(|newest| newest.as_ref().number() + 1 != number) {
            self.reset();
        }
        self.listed_90k += duration_90k;
        self.segments.push_back(segment);
        self.retire();
    }

    /// The stream broke: nothing that is listed goes on.
    pub fn reset(&mut self) {
        self.segments.clear();
        self.retired = 0;
        self.listed_90k = 0;
    }

    /// Segments of the playlist, oldest first.
    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &S> + Clone {
        self.segments.iter().skip(self.retired)
    }

    /// Listed segments and those that are still served.
    pub fn served(&self) -> impl Iterator<Item = &S> {
        self.segments.iter()
    }

    /// The segment that was closed last.
    pub fn newest(&self) -> Option<&S> {
        self.segments.back()
    }

    /// Oldest store position that must be kept; `None` when no segment is there.
    pub fn oldest_pos(&self) -> Option<u64> {
        self.segments.front().map(|s| s.as_ref().range.start)
    }

    fn retire(&mut self) {
        while let Some(oldest) = self.segments.get(self.retired).map(S::as_ref) {
            let count = self.segments.len() - self.retired;
            let rest = self.listed_90k - oldest.duration_90k;
            if count <= 1 || (rest < self.listed_90k_min && count <= WINDOW_SEGMENTS_MAX) {
                break;
            }
            self.listed_90k = rest;
            self.retired += 1;
        }
        self.longest_90k = self.longest_90k.max(self.listed_90k);
        let Some(listed_from) = self.segments.get(self.retired).map(|s| s.as_ref().cut.start) else { return };
        while self.retired > 0 {
            let oldest = self.segments[0].as_ref();
            let age = listed_from - (oldest.cut.start + oldest.duration_90k);
            if age <= oldest.duration_90k + self.longest_90k && self.retired <= WINDOW_SEGMENTS_MAX {
                break;
            }
            self.segments.pop_front();
            self.retired -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MediaTime;

    fn segment(number: u64, start_s: i64) -> Segment {
        let cut = Cut {
            segment: number,
            discontinuity_sequence: 7,
            start: MediaTime(start_s * 90_000),
            previous_duration: 2 * 90_000,
            program_date_time_us: 0,
            discontinuity: false,
            independent: true,
        };
        Segment { cut, range: number * 1_000..number * 1_000 + 1_000, duration_90k: 2 * 90_000 }
    }

    fn numbers<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<u64> {
        segments.map(Segment::number).collect()
    }

    #[test]
    fn it_slides_and_keeps_what_left_the_playlist_for_a_while() {
        let mut window = Window::new(6 * 90_000);
        for i in 0..19 {
            window.push(segment(100 + i, 2 * i as i64));
        }
        assert_eq!(numbers(window.listed()), [116, 117, 118]);
        // A segment that ended at t is kept until the window begins at t + 2 s + 6 s.
        assert_eq!(numbers(window.served()), [111, 112, 113, 114, 115, 116, 117, 118]);
        assert_eq!(window.oldest_pos(), Some(111_000));
        assert_eq!(window.listed().next().unwrap().bits_per_second(), 4_000);
    }

    #[test]
    fn a_hole_in_the_numbers_starts_afresh() {
        let mut window = Window::new(6 * 90_000);
        window.push(segment(1, 0));
        window.push(segment(2, 2));
        window.push(segment(5, 8));
        assert_eq!(numbers(window.served()), [5]);
        assert_eq!(window.newest().map(Segment::number), Some(5));
    }

    #[test]
    fn the_number_of_segments_is_bounded() {
        let mut window = Window::new(i64::MAX);
        for i in 0..5_000 {
            window.push(segment(i, i as i64));
        }
        assert_eq!(window.listed().count(), WINDOW_SEGMENTS_MAX);
        assert!(window.served().count() <= 2 * WINDOW_SEGMENTS_MAX);
    }
}
