//! ISO 8601 dates for EXT-X-PROGRAM-DATE-TIME (RFC 8216 4.3.2.6), in UTC with milliseconds.
//!
//! What it deliberately does not do: time zones and leap seconds.

use crate::time::civil_from_days;
use std::fmt;

/// Microseconds since 1970-01-01 UTC, displayed like `2026-11-23T02:28:23.120Z`, rounded down to the millisecond.
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

#[cfg(test)]
mod tests {
    use super::*;

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
