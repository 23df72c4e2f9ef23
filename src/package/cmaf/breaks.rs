//! What the renditions of a channel share beside the timeline's cuts: discontinuities of the packager's own, and where Periods begin.

use super::segment::PeriodStart;
use crate::timeline::Cut;
use std::collections::VecDeque;

/// The timeline signals a break when decoders have to be set up anew; an init segment changes with less than that (a parameter set). Such
/// a change of the reference is a discontinuity of all renditions from the same segment on, so that their sequence numbers agree.
#[derive(Debug, Default)]
pub(super) struct Breaks {
    /// Numbers of segments that such discontinuities begin with, in order.
    segments: VecDeque<u64>,
    /// Those that were forgotten.
    forgotten: u64,
    periods: VecDeque<PeriodStart>,
    /// Number of the newest segment that a playlist lists: what it says of it holds for all.
    listed: u64,
}

impl Breaks {
    /// The reference's init segment changes at this cut. Where another rendition lists the segment already it is none: the change of the
    /// init segment has to do.
    pub fn add(&mut self, cut: &Cut) {
        if !cut.discontinuity
            && cut.segment > self.listed
            && self.segments.back().is_none_or(|last| *last < cut.segment)
        {
            self.segments.push_back(cut.segment);
        }
    }

    /// The timeline's cut, with the packager's own discontinuities counted in.
    fn own(&self, cut: &Cut) -> Cut {
        let before = self.segments.iter().take_while(|segment| **segment <= cut.segment).count() as u64;
        Cut {
            discontinuity: cut.discontinuity || self.segments.contains(&cut.segment),
            discontinuity_sequence: cut.discontinuity_sequence + self.forgotten + before,
            ..*cut
        }
    }

    /// The same, for a segment that is listed now.
    pub fn list(&mut self, cut: &Cut) -> Cut {
        self.listed = self.listed.max(cut.segment);
        self.own(cut)
    }

    /// A segment of a rendition begins: with it a Period, if time broke or it is the first of all.
    pub fn begin_segment(&mut self, cut: &Cut) {
        let is_first = self.periods.front().is_none_or(|first| cut.segment < first.segment);
        if is_first || self.own(cut).discontinuity {
            self.begin_period(cut);
        }
    }

    /// A Period begins with this cut's segment, if none does yet.
    pub fn begin_period(&mut self, cut: &Cut) {
        let begun = self.periods.iter().any(|period| period.segment == cut.segment);
        if !begun {
            let at = self.periods.partition_point(|period| period.segment < cut.segment);
            self.periods.insert(at, PeriodStart { segment: cut.segment, start: cut.start });
        }
    }

    /// Where Periods begin, oldest first.
    pub fn periods(&self) -> &VecDeque<PeriodStart> {
        &self.periods
    }

    /// Forgets what lies wholly before the segment of this number.
    pub fn forget_before(&mut self, segment: u64) {
        while self.segments.front().is_some_and(|oldest| *oldest < segment) {
            self.segments.pop_front();
            self.forgotten += 1;
        }
        while self.periods.get(1).is_some_and(|second| second.segment <= segment) {
            self.periods.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MediaTime;

    fn cut(segment: u64, discontinuity: bool) -> Cut {
        Cut {
            segment,
            discontinuity_sequence: 7,
            start: MediaTime(segment as i64 * 180_000),
            previous_duration: 180_000,
            program_date_time_us: 0,
            discontinuity,
            independent: true,
        }
    }

    #[test]
    fn own_discontinuities_count_from_their_segment_on_for_all() {
        let mut breaks = Breaks::default();
        breaks.add(&cut(5, false));
        breaks.add(&cut(6, true));
        let sequence = |breaks: &Breaks, n| breaks.own(&cut(n, false)).discontinuity_sequence;
        assert_eq!((sequence(&breaks, 4), sequence(&breaks, 5), sequence(&breaks, 9)), (7, 8, 8));
        assert!(breaks.own(&cut(5, false)).discontinuity && !breaks.own(&cut(7, false)).discontinuity);
        breaks.forget_before(8);
        assert_eq!(sequence(&breaks, 9), 8);
    }

    #[test]
    fn the_period_under_way_is_kept() {
        let mut breaks = Breaks::default();
        for n in [3, 9, 6, 9] {
            breaks.begin_period(&cut(n, false));
        }
        let numbers = |breaks: &Breaks| breaks.periods().iter().map(|period| period.segment).collect::<Vec<_>>();
        assert_eq!(numbers(&breaks), [3, 6, 9]);
        breaks.forget_before(8);
        assert_eq!(numbers(&breaks), [6, 9]);
    }
}
