//! From origin to viewer: arrival of the bytes that complete an access unit, minus the wall clock that it carries.
//!
//! What was made before the viewer had anything is what it was given to begin with, and does not count. What it deliberately does not do: correct clocks;
//! origin and viewer are on one machine, or on machines whose clocks agree.

use super::Micros;

/// One access unit that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// When its last byte came.
    pub at: Micros,
    /// Since the time that it carries; 0 where that lies ahead.
    pub latency_us: Micros,
}

/// Collects them for one viewer.
#[derive(Debug, Default)]
pub struct OriginLatency {
    /// Microseconds since 1970 at time 0; `None`: nothing can be told.
    epoch: Option<i64>,
    /// What was made before this does not count.
    since: Micros,
    arrived: Vec<Arrived>,
}

impl OriginLatency {
    /// The wall clock at time 0, microseconds since 1970.
    pub fn set_epoch(&mut self, epoch: i64) {
        self.epoch = Some(epoch);
    }

    /// The viewer has something from `now` on.
    pub fn begin(&mut self, now: Micros) {
        self.since = now;
    }

    /// An access unit made at `made_us`, microseconds since 1970, was complete at `at`.
    pub fn see(&mut self, made_us: u64, at: Micros) {
        let Some(epoch) = self.epoch else { return };
        let made = i64::try_from(made_us).unwrap_or(i64::MAX).saturating_sub(epoch);
        if made >= self.since as i64 {
            self.arrived.push(Arrived { at, latency_us: at.saturating_sub(made.unsigned_abs()) });
        }
    }

    /// Those since it was last asked.
    pub fn take(&mut self) -> Vec<Arrived> {
        std::mem::take(&mut self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_before_the_viewer_came_does_not_count() {
        let mut latency = OriginLatency::default();
        latency.see(5_000, 5_000);
        latency.set_epoch(1_000_000);
        latency.begin(2_000);
        latency.see(1_001_999, 2_500);
        latency.see(1_002_000, 2_500);
        latency.see(1_003_000, 2_900);
        let told = latency.take();
        assert_eq!(told, [Arrived { at: 2_500, latency_us: 500 }, Arrived { at: 2_900, latency_us: 0 }]);
        assert_eq!(latency.take(), []);
    }
}
