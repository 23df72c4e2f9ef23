//! Arrival times: PCRs and, by interpolation between them, the time of every packet (ISO/IEC 13818-1 2.4.2.2).

use super::packet::Pcr;
use std::collections::VecDeque;

/// One past the largest PCR, 27 MHz.
const WRAP_27M: i64 = (1 << 33) * 300;
/// Longest interval between two PCRs, 27 MHz (ISO/IEC 13818-1 2.7.2: 100 ms).
const PCR_INTERVAL_27M_MAX: i64 = 2_700_000;
/// PCRs kept: a PES packet is judged when it is whole, and its first byte may lie many PCRs back.
const POINTS_MAX: usize = 256;

/// The system clock of one time base.
#[derive(Default)]
pub struct Clock {
    /// Packet index and PCR, 27 MHz and unwrapped, oldest first.
    points: VecDeque<(u64, i64)>,
}

impl Clock {
    /// Takes the PCR of packet `packet`; gives its distance from the one before, 27 MHz.
    pub fn push(&mut self, packet: u64, pcr: Pcr) -> Option<i64> {
        let value = pcr.base as i64 * 300 + i64::from(pcr.extension);
        let step = self.points.back().map(|(_, last)| signed(value - last));
        let unwrapped = self.points.back().map_or(value, |(_, last)| last + step.unwrap_or(0));
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back((packet, unwrapped));
        step
    }

    /// Arrival of packet `packet`, 27 MHz: between two PCRs in proportion, outside them at the nearest rate, yet behind the last at most
    /// as late as the next one may come, for the rate of a last, short interval says little. `None` before the first PCR.
    pub fn time(&self, packet: u64) -> Option<i64> {
        let after = self.points.partition_point(|(known, _)| *known <= packet);
        let begin = after.saturating_sub(1).min(self.points.len().saturating_sub(2));
        let (from_packet, from) = *self.points.get(begin)?;
        let Some((to_packet, to)) = self.points.get(begin + 1) else { return Some(from) };
        let rate = (to - from) as f64 / (to_packet - from_packet) as f64;
        let time = from + (rate * (packet as f64 - from_packet as f64)) as i64;
        Some(if packet > *to_packet { time.min(to + PCR_INTERVAL_27M_MAX) } else { time })
    }
}

/// `stamp`, 33 bits at 90 kHz, minus `time`, 27 MHz, in milliseconds, on the circle of the PCR.
pub fn stamp_minus_time_ms(stamp: u64, time: i64) -> f64 {
    ms(signed(stamp as i64 * 300 - time))
}

/// Milliseconds in ticks of 27 MHz.
pub fn ms(ticks: i64) -> f64 {
    ticks as f64 / 27_000.0
}

/// The shortest way on the circle.
fn signed(difference: i64) -> i64 {
    (difference + WRAP_27M / 2).rem_euclid(WRAP_27M) - WRAP_27M / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_on_over_the_wrap_and_between_pcrs() {
        let mut clock = Clock::default();
        assert_eq!(clock.time(0), None);
        assert_eq!(clock.push(10, Pcr { base: (1 << 33) - 900, extension: 0 }), None);
        let start = clock.time(10).unwrap();
        assert_eq!(clock.time(99), Some(start));
        assert_eq!(clock.push(20, Pcr { base: 900, extension: 0 }), Some(1_800 * 300));
        assert_eq!(clock.push(30, Pcr { base: 1_000, extension: 0 }), Some(100 * 300));
        let since_start = |packet| (clock.time(packet).unwrap() - start) / 300;
        assert_eq!([9, 10, 15, 20, 25, 30, 40].map(since_start), [-180, 0, 900, 1_800, 1_850, 1_900, 2_000]);
        let last = clock.time(30).unwrap();
        assert_eq!(clock.time(1_000_000), Some(last + PCR_INTERVAL_27M_MAX));
        // DTS 0 lies at the wrap, where packet 15 arrives.
        assert_eq!(stamp_minus_time_ms(0, clock.time(15).unwrap()), 0.0);
        assert_eq!(stamp_minus_time_ms(90, clock.time(15).unwrap()), 1.0);
    }
}
