//! One stretch of source time and where it lies on the output timeline: a pair of equal moments that moves along with the stream.
//!
//! ```text
//!  source (33 bits, wraps)   ...8589934000 ─ 8589934591 | 0 ─ 3000 ─ 6600 ...
//!                                                              ▲ source
//!  output (64 bits, unix)    ─────────────────────────────── ▲ output ──────►
//! ```
//!
//! Because the pair moves, a time stamp is always far less than half a wrap (13 h) away from it, and the shortest distance on
//! the 33-bit circle (ISO/IEC 13818-1 2.4.3.7) unwraps PTS, DTS and PCR alike, whichever of them wraps first.
//! All tracks of a stretch share the pair, so the mapping never changes lip sync.
//!
//! What it deliberately does not do: decide when a stretch ends (`bases`), or how fast it slews (`drift`).
#![forbid(unsafe_code)]

use crate::time::{MediaTime, Ts33};

/// Whether the place on the output timeline is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Known from a PCR only: the first sample that crosses into the stretch settles it.
    Estimated,
    /// Samples were placed by it: only small slews and signalled shifts may move it.
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Numbers the stretches of an epoch in order.
    pub generation: u32,
    pub anchor: Anchor,
    source: Ts33,
    output: MediaTime,
    /// The newest PCR of this stretch, or what stands in for one. Tracks are told apart by their distance to it.
    pub clock: Ts33,
}

impl Mapping {
    /// A stretch in which `source` lies at `output`. `clock`: the newest PCR of the stretch, or `source`.
    pub fn new(generation: u32, anchor: Anchor, source: Ts33, output: MediaTime, clock: Ts33) -> Self {
        Mapping { generation, anchor, source, output, clock }
    }

    /// Output time of a time stamp less than 13 h away from the newest one.
    pub fn to_output(self, stamp: Ts33) -> MediaTime {
        self.output + stamp.since(self.source)
    }

    /// Output time less source time, modulo 2^33, 90 kHz ticks.
    pub fn offset_90k(self) -> i64 {
        self.output.0 - self.source.ticks() as i64
    }

    /// Moves the pair up to `stamp` without changing the mapping. Returns by how much, 0 when `stamp` lies behind, 90 kHz ticks.
    pub fn advance(&mut self, stamp: Ts33) -> i64 {
        let ahead = stamp.since(self.source);
        if ahead <= 0 {
            return 0;
        }
        self.output = self.output + ahead;
        self.source = stamp;
        ahead
    }

    /// Moves all of the stretch by `ticks` on the output timeline.
    pub fn shift(&mut self, ticks: i64) {
        self.output = self.output + ticks;
    }

    /// How far `stamp` is from where a track that runs `lead` ticks ahead of the clock is expected, ticks, never negative.
    pub fn distance(self, stamp: Ts33, lead: i64) -> i64 {
        (stamp.since(self.clock) - lead).abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WRAP_33;

    #[test]
    fn unwraps_while_it_moves_along() {
        let start = Ts33::new(WRAP_33 - 5_000);
        let mut mapping = Mapping::new(0, Anchor::Settled, start, MediaTime(1_000_000), start);
        assert_eq!(mapping.to_output(Ts33::new(1_000)), MediaTime(1_006_000));
        // Four wraps (106 h), in steps of one minute.
        let steps = 4 * (WRAP_33 as i64) / 5_400_000;
        for step in 1..=steps {
            mapping.advance(start.offset(step * 5_400_000));
        }
        let end = start.offset(steps * 5_400_000 + 3_600);
        assert_eq!(mapping.to_output(end), MediaTime(1_000_000 + steps * 5_400_000 + 3_600));
    }

    #[test]
    fn never_moves_back() {
        let mut mapping = Mapping::new(0, Anchor::Settled, Ts33::new(9_000), MediaTime(0), Ts33::new(9_000));
        assert_eq!(mapping.advance(Ts33::new(8_000)), 0);
        assert_eq!(mapping.to_output(Ts33::new(8_000)), MediaTime(-1_000));
    }
}
