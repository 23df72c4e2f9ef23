//! Which time stamp belongs to which access unit (ISO/IEC 13818-1 2.4.3.7), and counting on where there is none.

use super::PesPayload;
use crate::time::{HZ_90K, Ts33};
use std::collections::VecDeque;

/// Most PES headers remembered while one access unit is put together; older ones can only stamp what is already lost.
const PENDING_MAX: usize = 64;

/// PTS and DTS of one access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
}

/// Time stamps of the PES packets whose payloads are in the framer's buffer and in which nothing has commenced yet.
#[derive(Debug, Default)]
pub struct Stamps {
    /// Offset of the payload's first byte in the framer's buffer, ascending.
    pending: VecDeque<(usize, Stamp)>,
}

impl Stamps {
    /// A payload begins at `offset` of the buffer.
    pub fn push(&mut self, offset: usize, pes: &PesPayload<'_>) {
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((offset, Stamp { pts: pes.pts, dts: pes.dts.or(pes.pts) }));
    }

    /// The stamp for an access unit that commences at `offset`: that of the payload it lies in, unless another one
    /// commenced there before.
    pub fn take(&mut self, offset: usize) -> Stamp {
        let mut stamp = Stamp::default();
        while let Some(&(start, pes)) = self.pending.front()
            && start <= offset
        {
            stamp = pes;
            self.pending.pop_front();
        }
        stamp
    }

    /// The first `count` bytes left the buffer.
    pub fn rebase(&mut self, count: usize) {
        for entry in &mut self.pending {
            // A payload that began in the bytes that left still reaches up to the new start of the buffer.
            entry.0 = entry.0.saturating_sub(count);
        }
    }

    pub fn clear(&mut self) {
        self.pending.clear();
    }
}

/// Counts time stamps on from the last one that the source gave: each is rounded to the nearest tick, none from a rounded one.
#[derive(Debug, Default)]
pub struct Clock {
    /// `None` when there is nothing to count from.
    anchor: Option<Stamp>,
    /// Time since `anchor`, in units of 1 / `rate` seconds.
    elapsed: u64,
    /// Units a second, 0 while not known.
    rate: u64,
}

impl Clock {
    /// The stamp of an access unit that lasts `duration` units of 1 / `rate` seconds, given what its PES said.
    /// Give a `duration` of 1 with a `rate` of 0 when it is not known: then the next one must have its own stamp.
    pub fn stamp(&mut self, given: Stamp, duration: u64, rate: u64) -> Stamp {
        if given.pts.is_some() {
            *self = Clock { anchor: Some(given), elapsed: 0, rate };
        } else if rate != self.rate {
            *self = Clock { anchor: self.now(), elapsed: 0, rate };
        }
        let now = self.now();
        self.elapsed = self.elapsed.saturating_add(duration);
        now.unwrap_or_default()
    }

    pub fn reset(&mut self) {
        *self = Clock::default();
    }

    fn now(&self) -> Option<Stamp> {
        let anchor = self.anchor?;
        if self.elapsed == 0 {
            return Some(anchor);
        }
        let (ticks, rate) = (self.elapsed as u128 * HZ_90K as u128, self.rate as u128);
        let ticks = (ticks + rate / 2).checked_div(rate)? as i64;
        Some(Stamp { pts: anchor.pts.map(|pts| pts.offset(ticks)), dts: anchor.dts.map(|dts| dts.offset(ticks)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pes(pts: Option<u64>) -> PesPayload<'static> {
        let pts = pts.map(Ts33::new);
        PesPayload { data: &[], pts, dts: pts, aligned: false, corrupt: false }
    }

    fn pts(ticks: u64) -> Stamp {
        Stamp { pts: Some(Ts33::new(ticks)), dts: Some(Ts33::new(ticks)) }
    }

    #[test]
    fn only_the_first_that_commences_in_a_payload_takes_its_stamp() {
        let mut stamps = Stamps::default();
        stamps.push(0, &pes(Some(10)));
        stamps.push(100, &pes(Some(20)));
        stamps.push(200, &pes(Some(30)));
        assert_eq!(stamps.take(150), pts(20), "what commenced nowhere in the first payload is lost");
        assert_eq!(stamps.take(180), Stamp::default());
        stamps.rebase(250);
        assert_eq!(stamps.take(0), pts(30));
    }

    #[test]
    fn a_payload_without_stamp_hides_the_one_before_it() {
        let mut stamps = Stamps::default();
        stamps.push(0, &pes(Some(10)));
        stamps.push(5, &pes(None));
        assert_eq!(stamps.take(7), Stamp::default());
    }

    #[test]
    fn counting_on_does_not_drift() {
        let mut clock = Clock::default();
        assert_eq!(clock.stamp(Stamp::default(), 1024, 44_100), Stamp::default());
        assert_eq!(clock.stamp(pts(1000), 1024, 44_100), pts(1000));
        for count in 1..44_100u64 {
            let expected = 1000 + (count * 1024 * 90_000 + 22_050) / 44_100;
            assert_eq!(clock.stamp(Stamp::default(), 1024, 44_100), pts(expected));
        }
        // 44,100 frames later, exactly 1,024 seconds: then the rate changes.
        assert_eq!(clock.stamp(Stamp::default(), 1024, 48_000), pts(1000 + 1024 * 90_000));
        assert_eq!(clock.stamp(Stamp::default(), 1024, 48_000), pts(1000 + 1024 * 90_000 + 1920));
    }

    #[test]
    fn an_unknown_duration_ends_the_count() {
        let mut clock = Clock::default();
        assert_eq!(clock.stamp(pts(7), 1, 0), pts(7));
        assert_eq!(clock.stamp(Stamp::default(), 1, 0), Stamp::default());
        assert_eq!(clock.stamp(Stamp::default(), 1, 25), Stamp::default());
    }
}
