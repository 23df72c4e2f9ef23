//! Chooses a rung of the bitrate ladder by measured throughput, as players do.
//!
//! What it deliberately does not do: look at how full the buffer is (it is told when it is nearly empty), or give up a segment half-way.

use super::Micros;

/// Share of the throughput that a rung may take to stay on it, and to climb to it: the gap keeps a viewer from swinging.
const STAY_SHARE: f64 = 0.8;
const CLIMB_SHARE: f64 = 0.7;
/// Half-lives of the averages, seconds of transfer: the lower of a fast and a slow one counts, so that it falls at once and rises late.
const HALF_LIVES_S: [f64; 2] = [3.0, 9.0];
/// Smaller answers measure latency.
const BYTES_MIN: u64 = 16_384;
/// Transfers shorter than this count as this long: their measured time is mostly that of the clock.
const TRANSFER_US_MIN: Micros = 1_000;

/// Throughput of a viewer's transfers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throughput {
    /// Weighted sums of bits a second, and of weights.
    averages: [(f64, f64); 2],
    /// Bits per second of the newest.
    last: f64,
}

impl Throughput {
    /// Takes a transfer: bytes, and the time from the request to the last of them.
    pub fn add(&mut self, bytes: u64, us: Micros) {
        if bytes < BYTES_MIN {
            return;
        }
        let seconds = us.max(TRANSFER_US_MIN) as f64 / 1e6;
        let rate = bytes as f64 * 8.0 / seconds;
        self.last = rate;
        for ((sum, weight), half_life) in self.averages.iter_mut().zip(HALF_LIVES_S) {
            // At least a tenth of the newest: an hour of transfers of milliseconds would else outweigh what comes now.
            let keep = 0.5f64.powf(seconds / half_life).min(0.9);
            (*sum, *weight) = (*sum * keep + rate * (1.0 - keep), *weight * keep + 1.0 - keep);
        }
    }

    /// Bits per second; `None` before the first transfer that counts.
    pub fn estimate(&self) -> Option<f64> {
        self.averages.iter().filter(|(_, weight)| *weight > 0.0).map(|(sum, weight)| sum / weight).reduce(f64::min)
    }

    /// Which rung to take next, on a ladder of rising bandwidths (bits per second), from the one that is taken now. With a buffer that is
    /// nearly empty the newest transfer alone may say that it must be less.
    pub fn choose(&self, ladder: &[u64], current: usize, is_low: bool) -> usize {
        let Some(average) = self.estimate() else { return current };
        let estimate = if is_low { average.min(self.last) } else { average };
        let fits = |rung: usize| {
            let share = if rung > current { CLIMB_SHARE } else { STAY_SHARE };
            ladder[rung] as f64 <= estimate * share
        };
        (0..ladder.len()).rev().find(|rung| fits(*rung)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: [u64; 3] = [1_000_000, 3_000_000, 6_000_000];

    #[test]
    fn stays_before_anything_was_measured() {
        assert_eq!(Throughput::default().choose(&LADDER, 1, false), 1);
        let mut throughput = Throughput::default();
        throughput.add(1_000, 1_000_000);
        assert_eq!(throughput.choose(&LADDER, 1, false), 1, "too small to count");
    }

    #[test]
    fn falls_at_once_and_climbs_late() {
        let mut throughput = Throughput::default();
        for _ in 0..10 {
            throughput.add(1_000_000, 800_000); // 10 Mb/s
        }
        assert_eq!(throughput.choose(&LADDER, 1, false), 2);
        throughput.add(500_000, 4_000_000); // 1 Mb/s for four seconds
        assert!(throughput.choose(&LADDER, 2, false) < 2);
        assert_eq!(throughput.choose(&LADDER, 2, true), 0, "nearly empty");
        throughput.add(1_000_000, 800_000);
        assert!(throughput.choose(&LADDER, 1, false) < 2, "one good transfer is not enough");
    }

    #[test]
    fn climbing_needs_more_than_staying() {
        let mut throughput = Throughput::default();
        throughput.add(1_000_000, 1_000_000); // 8 Mb/s, of which 6 Mb/s are 0.75
        assert_eq!((throughput.choose(&LADDER, 2, false), throughput.choose(&LADDER, 1, false)), (2, 1));
    }

    #[test]
    fn the_lowest_is_taken_where_none_fits() {
        let mut throughput = Throughput::default();
        throughput.add(20_000, 1_000_000);
        assert_eq!(throughput.choose(&LADDER, 2, false), 0);
    }
}
