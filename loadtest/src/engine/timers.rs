//! What is due when: a binary heap of viewers by time.
//!
//! A viewer has one armed time. Setting a later one leaves the heap alone, an earlier one adds an entry; entries that are no longer the
//! armed time are dropped when they come up. What it deliberately does not do: read a clock.

use crate::player::Micros;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// "Never", as an armed time.
pub const NEVER: Micros = Micros::MAX;

/// The timers of one thread's viewers, by index.
#[derive(Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Micros, u32)>>,
    /// Time of the entry in the heap that counts, by viewer.
    queued: Vec<Micros>,
    /// When the viewer is due: at `queued` or later.
    due: Vec<Micros>,
}

impl Timers {
    /// Timers for viewers `0..count`, none armed.
    pub fn new(count: usize) -> Timers {
        Timers { heap: BinaryHeap::with_capacity(count), queued: vec![NEVER; count], due: vec![NEVER; count] }
    }

    /// The viewer is due at `at` and at no other time; [`NEVER`] disarms.
    pub fn set(&mut self, viewer: u32, at: Micros) {
        self.due[viewer as usize] = at;
        let queued = &mut self.queued[viewer as usize];
        if at < *queued {
            *queued = at;
            self.heap.push(Reverse((at, viewer)));
        }
    }

    /// The next viewer that is due by `now`, and since when; it is disarmed.
    pub fn pop(&mut self, now: Micros) -> Option<(u32, Micros)> {
        while let Some(&Reverse((at, viewer))) = self.heap.peek().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let index = viewer as usize;
            if self.queued[index] != at {
                continue;
            }
            self.queued[index] = NEVER;
            let due = std::mem::replace(&mut self.due[index], NEVER);
            if due <= now {
                return Some((viewer, due));
            }
            self.set(viewer, due);
        }
        None
    }

    /// When to look again: not later than the next that is due.
    pub fn next(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_once_at_the_time_last_set() {
        let mut timers = Timers::new(3);
        timers.set(0, 100);
        timers.set(1, 50);
        timers.set(1, 150);
        timers.set(2, 30);
        timers.set(2, 20);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop(19), None);
        assert_eq!(timers.pop(60), Some((2, 20)));
        assert_eq!(timers.pop(60), None);
        assert_eq!(timers.pop(200), Some((0, 100)));
        assert_eq!(timers.pop(200), Some((1, 150)));
        assert_eq!(timers.pop(NEVER - 1), None);
    }

    #[test]
    fn a_disarmed_viewer_does_not_come_up_and_can_be_armed_again() {
        let mut timers = Timers::new(1);
        timers.set(0, 10);
        timers.set(0, NEVER);
        assert_eq!(timers.pop(1_000), None);
        timers.set(0, 2_000);
        assert_eq!(timers.pop(2_000), Some((0, 2_000)));
        assert_eq!(timers.next(), None);
    }
}
