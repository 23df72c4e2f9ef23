//! The programme clock reference as it arrives: where it stands, and whether it went on or jumped.
//!
//! Source: ISO/IEC 13818-1 2.4.3.5 (PCR: at least every 100 ms, discontinuity_indicator announces a new time base). Encoders set
//! the indicator on splices that do not change time at all, and jump without setting it; so the values decide.
//!
//! What it deliberately does not do: recover a 27 MHz clock.
#![forbid(unsafe_code)]

use super::bases::{JUMP_AHEAD, JUMP_BACK};
use crate::time::{Ts33, ticks_from_us};

/// A step that the indicator announced is a jump from this much on, 90 kHz ticks (100 ms).
const ANNOUNCED_MIN: i64 = 9_000;

/// The newest PCR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub base: Ts33,
    pub at_us: u64,
    /// The step that led to it, ticks, a guess after a jump.
    pub interval: i64,
}

/// What a PCR did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    GoesOn,
    /// From this reading to another time base.
    Jumped(Reading),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pcr {
    pub last: Option<Reading>,
    /// Generation of the stretch it counts in; `None` when no sample belongs to it.
    pub home: Option<u32>,
}

impl Pcr {
    pub fn observe(&mut self, base: Ts33, announced: bool, now_us: u64) -> Step {
        let Some(last) = self.last else {
            self.last = Some(Reading { base, at_us: now_us, interval: 0 });
            return Step::GoesOn;
        };
        let delta = base.since(last.base);
        let elapsed = ticks_from_us(now_us.saturating_sub(last.at_us));
        let (back, ahead) = if announced { (ANNOUNCED_MIN, ANNOUNCED_MIN * 5) } else { (JUMP_BACK, JUMP_AHEAD) };
        let jumped = !(-back..ahead + elapsed).contains(&delta);
        let interval = if jumped { last.interval } else { delta.clamp(0, ANNOUNCED_MIN) };
        self.last = Some(Reading { base, at_us: now_us, interval });
        if jumped { Step::Jumped(last) } else { Step::GoesOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WRAP_33;

    fn step(from: u64, to: u64, announced: bool, elapsed_us: u64) -> bool {
        let mut pcr = Pcr::default();
        pcr.observe(Ts33::new(from), false, 0);
        matches!(pcr.observe(Ts33::new(to), announced, elapsed_us), Step::Jumped(_))
    }

    #[test]
    fn tells_jumps_from_gaps_wraps_and_jitter() {
        assert!(!step(WRAP_33 - 1_000, 2_600, false, 40_000));
        assert!(!step(0, 3_600, true, 40_000), "an indicator alone changes nothing");
        assert!(!step(0, 450_000, false, 5_000_000), "5 s lost in 5 s");
        assert!(!step(0, 3_600, false, 20_000_000), "a stall of 20 s");
        assert!(!step(50_000, 40_000, false, 40_000), "jitter of a remultiplexer");
        assert!(step(0, 450_000, false, 40_000));
        assert!(step(900_000, 0, false, 40_000));
        assert!(step(50_000, 40_000, true, 40_000));
    }
}
