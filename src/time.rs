//! Time as the relay counts it: 90 kHz media time, the 33-bit form that MPEG-TS carries, and the caller's clock reading.
//!
//! Source: ISO/IEC 13818-1 2.4.3.7 (PTS and DTS: 33 bits at 90 kHz) and 2.4.3.5 (PCR: 33 bits at 90 kHz plus 9 bits at 27 MHz).
//!
//! What it deliberately does not do: read a clock. Every state machine takes [`Now`] as an argument.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Add, Sub};

/// Ticks a second of every media time in the relay.
pub const HZ_90K: i64 = 90_000;
/// One past the largest 33-bit MPEG-TS time stamp, 90 kHz ticks (26.5 hours).
pub const WRAP_33: u64 = 1 << 33;

/// A reading of both clocks, taken once per wake-up by the runtime and passed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock, microseconds from an arbitrary start; never goes back.
    pub mono_us: u64,
    /// Wall clock, microseconds since 1970-01-01 UTC; may jump.
    pub unix_us: u64,
}

impl Now {
    /// Microseconds of monotonic time since `earlier`, 0 when `earlier` lies ahead.
    pub fn since_us(self, earlier: Now) -> u64 {
        self.mono_us.saturating_sub(earlier.mono_us)
    }
    /// Both clocks moved on by `us` microseconds.
    pub fn plus_us(self, us: u64) -> Now {
        Now { mono_us: self.mono_us + us, unix_us: self.unix_us + us }
    }
}

/// A point on a channel's **output** timeline: 90 kHz ticks since 1970-01-01 UTC, 64 bits, never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaTime(pub i64);

impl MediaTime {
    /// The output time of a wall-clock reading.
    pub fn from_unix_us(unix_us: u64) -> Self {
        MediaTime((unix_us as i128 * 9 / 100) as i64)
    }
    /// Microseconds since 1970-01-01 UTC, rounded down; 0 for times before 1970.
    pub fn unix_us(self) -> u64 {
        (self.0.max(0) as i128 * 100 / 9) as u64
    }
    /// The 33-bit form for a PES header or a PCR base.
    pub fn wrapped(self) -> Ts33 {
        Ts33(self.0.rem_euclid(WRAP_33 as i64) as u64)
    }
}

impl Add<i64> for MediaTime {
    type Output = MediaTime;
    fn add(self, ticks: i64) -> MediaTime {
        MediaTime(self.0.saturating_add(ticks))
    }
}

impl Sub for MediaTime {
    type Output = i64;
    fn sub(self, other: MediaTime) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// A 33-bit time stamp as MPEG-TS carries it, 90 kHz, wrapping every 26.5 hours. Always below [`WRAP_33`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ts33(u64);

impl Ts33 {
    /// Takes the low 33 bits of `ticks`.
    pub fn new(ticks: u64) -> Self {
        Ts33(ticks & (WRAP_33 - 1))
    }
    /// The 33-bit value.
    pub fn ticks(self) -> u64 {
        self.0
    }
    /// Shortest signed distance `self - earlier` on the 33-bit circle, in -2^32 ..= 2^32-1 ticks.
    pub fn since(self, earlier: Ts33) -> i64 {
        let forward = self.0.wrapping_sub(earlier.0) & (WRAP_33 - 1);
        if forward >= WRAP_33 / 2 { forward as i64 - WRAP_33 as i64 } else { forward as i64 }
    }
    /// This stamp moved by `ticks`, which may be negative.
    pub fn offset(self, ticks: i64) -> Ts33 {
        Ts33::new((self.0 as i64).wrapping_add(ticks) as u64)
    }
}

/// Ticks of 90 kHz in `us` microseconds, rounded down.
pub fn ticks_from_us(us: u64) -> i64 {
    (us as i128 * 9 / 100) as i64
}

/// Microseconds in `ticks` of 90 kHz, rounded down; 0 for negative ticks.
pub fn us_from_ticks(ticks: i64) -> u64 {
    (ticks.max(0) as i128 * 100 / 9) as u64
}

/// Microseconds since 1970-01-01 UTC, displayed as ISO 8601 with milliseconds, rounded down: `2026-11-23T02:28:23.120Z`. It is both
/// EXT-X-PROGRAM-DATE-TIME's value (RFC 8216 4.3.2.6) and an xs:dateTime. No leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcDate(pub u64);

impl fmt::Display for UtcDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000;
        let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// Year, month (1-12) and day (1-31), Gregorian, of a day since 1970-01-01, by eras of 400 years that begin on a 1 March, so that
/// the leap day is the last of its year.
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_crosses_the_wrap_both_ways() {
        let late = Ts33::new(WRAP_33 - 10);
        let early = Ts33::new(5);
        assert_eq!(early.since(late), 15);
        assert_eq!(late.since(early), -15);
        assert_eq!(late.offset(15), early);
    }

    #[test]
    fn unix_time_survives_the_round_trip_to_a_microsecond_tick() {
        let us = 1_790_000_000_123_456;
        let back = MediaTime::from_unix_us(us).unix_us();
        assert!(us - back < 12, "{us} {back}");
    }

    #[test]
    fn dates_hold_over_leap_days_and_centuries() {
        let date = |seconds: u64| UtcDate(seconds * 1_000_000).to_string();
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_709_164_800 + 86_399), "2024-02-29T23:59:59.000Z");
        assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(UtcDate(1_795_400_903_120_999).to_string(), "2026-11-23T02:28:23.120Z");
    }
}
