//! The sliding window of segments that a playlist lists (RFC 8216 6.2.2): ranges of one store, bounded in time and number.
//!
//! A segment that left the playlist stays fetchable for its own duration and that of the longest playlist that listed it.
//! What it deliberately does not do: choose where segments begin (the timeline does) or hold their bytes (the store does).

use crate::limits::WINDOW_SEGMENTS_MAX;
use crate::timeline::Cut;
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
    /// Bits a second over the whole segment.
    pub fn bits_per_second(&self) -> u64 {
        let bits = (self.range.end - self.range.start) * 8;
        (u128::from(bits) * 90_000 / self.duration_90k.max(1) as u128) as u64
    }
}

/// Segments with consecutive numbers, oldest first.
#[derive(Debug)]
pub struct Window {
    listed_90k_min: i64,
    open: Option<(Cut, u64)>,
    /// All that are served: first `retired` that no playlist lists any more, then the listed ones.
    segments: VecDeque<Segment>,
    retired: usize,
    listed_90k: i64,
    longest_90k: i64,
}

impl Window {
    /// A window that lists at least `listed_90k_min` ticks of segments once there are so many.
    pub fn new(listed_90k_min: i64) -> Self {
        Window { listed_90k_min, open: None, segments: VecDeque::new(), retired: 0, listed_90k: 0, longest_90k: 0 }
    }

    /// A segment begins at store position `pos`. Closes the one before, if any; true when one was closed.
    /// Numbers must stay consecutive: after a hole in them the window starts afresh.
    pub fn cut(&mut self, cut: Cut, pos: u64) -> bool {
        let Some((last, start)) = self.open.replace((cut, pos)) else { return false };
        if cut.segment != last.segment + 1 {
            self.clear_closed();
            return false;
        }
        let segment = Segment { cut: last, range: start..pos, duration_90k: cut.previous_duration.max(1) };
        self.listed_90k += segment.duration_90k;
        self.segments.push_back(segment);
        self.retire();
        true
    }

    /// The stream broke: nothing that is open or listed goes on.
    pub fn reset(&mut self) {
        self.open = None;
        self.clear_closed();
    }

    /// Number of the segment that is being written.
    pub fn open_number(&self) -> Option<u64> {
        self.open.map(|(cut, _)| cut.segment)
    }

    /// Segments of the playlist, oldest first.
    pub fn listed(&self) -> impl Iterator<Item = &Segment> + Clone {
        self.segments.iter().skip(self.retired)
    }

    /// Listed segments and those that are still served.
    pub fn served(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Oldest store position that must be kept; `None` when there is nothing yet.
    pub fn oldest_pos(&self) -> Option<u64> {
        self.segments.front().map(|s| s.range.start).or(self.open.map(|(_, pos)| pos))
    }

    fn clear_closed(&mut self) {
        self.segments.clear();
        self.retired = 0;
        self.listed_90k = 0;
    }

    fn retire(&mut self) {
        while let Some(oldest) = self.segments.get(self.retired) {
            let count = self.segments.len() - self.retired;
            let rest = self.listed_90k - oldest.duration_90k;
            if count <= 1 || (rest < self.listed_90k_min && count <= WINDOW_SEGMENTS_MAX) {
                break;
            }
            self.listed_90k = rest;
            self.retired += 1;
        }
        self.longest_90k = self.longest_90k.max(self.listed_90k);
        let Some(listed_from) = self.segments.get(self.retired).map(|s| s.cut.start) else { return };
        while self.retired > 0 {
            let oldest = &self.segments[0];
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

    fn cut(segment: u64, start_s: i64) -> Cut {
        Cut {
            segment,
            discontinuity_sequence: 7,
            start: MediaTime(start_s * 90_000),
            previous_duration: 2 * 90_000,
            program_date_time_us: 0,
            discontinuity: false,
            independent: true,
        }
    }

    fn numbers<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<u64> {
        segments.map(Segment::number).collect()
    }

    #[test]
    fn it_slides_and_keeps_what_left_the_playlist_for_a_while() {
        let mut window = Window::new(6 * 90_000);
        for i in 0..20 {
            window.cut(cut(100 + i, 2 * i as i64), 1_000 * i);
        }
        assert_eq!(window.open_number(), Some(119));
        assert_eq!(numbers(window.listed()), [116, 117, 118]);
        // A segment that ended at t is kept until the window begins at t + 2 s + 6 s.
        assert_eq!(numbers(window.served()), [111, 112, 113, 114, 115, 116, 117, 118]);
        assert_eq!(window.oldest_pos(), Some(11_000));
        assert_eq!(window.listed().next().unwrap().bits_per_second(), 4_000);
    }

    #[test]
    fn a_hole_in_the_numbers_starts_afresh() {
        let mut window = Window::new(6 * 90_000);
        assert!(!window.cut(cut(1, 0), 0));
        assert!(window.cut(cut(2, 2), 10));
        assert!(!window.cut(cut(5, 8), 20));
        assert_eq!(window.listed().count(), 0);
        assert!(window.cut(cut(6, 10), 30));
        assert_eq!(numbers(window.served()), [5]);
    }

    #[test]
    fn the_number_of_segments_is_bounded() {
        let mut window = Window::new(i64::MAX);
        for i in 0..5_000 {
            window.cut(cut(i, i as i64), i);
        }
        assert_eq!(window.listed().count(), WINDOW_SEGMENTS_MAX);
        assert!(window.served().count() <= 2 * WINDOW_SEGMENTS_MAX);
    }
}
