//! The wall clock, carried by the monotonic one: between two looks it moves as CLOCK_MONOTONIC does, whoever sets the time of day meanwhile.
//!
//! The stamps of origins and the arrivals at viewers are told by it, so their difference is a time that passed. Two processes of one machine agree
//! as long as nobody steps the time of day between their starts; corrections of its rate (NTP) hold for both clocks alike.
//!
//! What it deliberately does not do: compare clocks of different machines.

use std::time::{Instant, SystemTime};

/// Looks at both clocks; the one that took least counts, for a thread that was held up between them would be wrong by that.
const LOOKS: usize = 5;

/// Which wall clock time it was at some instant.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    instant: Instant,
    unix_us: u64,
}

impl WallClock {
    /// Looks at both clocks. Before 1970 it is 1970.
    pub fn read() -> WallClock {
        let look = |_| {
            let before = Instant::now();
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let took = before.elapsed();
            (took, WallClock { instant: before + took / 2, unix_us: since_1970.as_micros() as u64 })
        };
        let (_, first) = look(0);
        (1..LOOKS).map(look).min_by_key(|(took, _)| *took).map_or(first, |(_, clock)| clock)
    }

    /// When it was read.
    pub fn instant(&self) -> Instant {
        self.instant
    }

    /// Microseconds since 1970-01-01 UTC at an instant.
    pub fn unix_us(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.instant).as_micros() as u64;
        let before = self.instant.saturating_duration_since(at).as_micros() as u64;
        (self.unix_us + after).saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_moves_with_the_instant_both_ways() {
        let clock = WallClock::read();
        let then = clock.unix_us(clock.instant());
        assert_eq!(clock.unix_us(clock.instant() + Duration::from_micros(1_500)), then + 1_500);
        assert_eq!(clock.unix_us(clock.instant() - Duration::from_micros(1_500)), then - 1_500);
    }
}
