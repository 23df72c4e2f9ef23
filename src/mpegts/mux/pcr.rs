//! When a PCR is due and what it says (ISO/IEC 13818-1 2.4.2.2, 2.7.2 and the one second of 2.4.2.6).
//!
//! For every PES packet of audio or video must hold: last PCR <= DTS <= last PCR + 1 s, and PCRs must grow. Samples are
//! muxed nearly in order of arrival, where audio lies up to a second behind video in DTS; so a PCR may neither pass the
//! DTS of this sample nor one that a lagging track still has to bring. The caller knows that bound (it merges the
//! tracks) and gives it as `ceiling`. Below it, the source's own PCR is followed: it is what the source's encoder
//! planned the decoder's buffer by.
//!
//! What it deliberately does not do: hold back samples. When tracks lie more than a second apart, no PCR is right for
//! both; the caller waits for the lagging one (`package::interleave`).

use crate::es::SampleMeta;
use crate::limits::{PCR_INTERVAL_TICKS_MAX, PCR_LEAD_TICKS_MAX};
use crate::time::MediaTime;

/// How far a DTS may lie ahead of the PCR here, 90 kHz ticks: the bound less 10 ms.
pub const LEAD_TICKS: i64 = PCR_LEAD_TICKS_MAX - 900;
/// Aim for the interval between PCRs, 90 kHz ticks (40 ms).
const STEP_TICKS: i64 = 3_600;
/// A PCR rides along in a packet that is written anyway from this interval on, 90 kHz ticks (20 ms).
const RIDE_TICKS: i64 = 1_800;
/// A packet is spent on nothing but a PCR from this interval on, 90 kHz ticks (60 ms).
const ALONE_TICKS: i64 = 5_400;
/// A larger step is a gap in the source, and signalled as a new time base instead of being filled, 90 kHz ticks (1 s).
const JUMP_TICKS: i64 = 90_000;
/// Distance to the DTS when the source sends no PCR, 90 kHz ticks (100 ms).
const OWN_MARGIN_TICKS: i64 = 9_000;

const _: () = assert!(STEP_TICKS <= PCR_INTERVAL_TICKS_MAX && ALONE_TICKS <= PCR_INTERVAL_TICKS_MAX);

/// What to write with one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcrPlan {
    None,
    /// PCRs `first`, `first + ticks`, ... `count` more behind the first.
    Run {
        first: MediaTime,
        ticks: i64,
        count: usize,
        /// `first` begins a new time base: discontinuity_indicator.
        jump: bool,
    },
}

/// Why a PCR is wanted with a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// At a key sample: as soon as the PCR grew at all.
    Now,
    /// The sample is on the PCR's PID: cheap.
    Ride,
    /// The sample is on another PID: costs a packet.
    Alone,
}

#[derive(Debug, Default)]
pub struct PcrClock {
    last: Option<MediaTime>,
    /// Lowest DTS written since: the next PCR must not pass it, as the bytes before that PCR arrive up to its time.
    due: Option<MediaTime>,
}

impl PcrClock {
    /// PCR written last.
    pub fn last(&self) -> Option<MediaTime> {
        self.last
    }

    /// Whether going to `target` is too far to be filled with PCRs.
    pub fn jumps(&self, target: MediaTime) -> bool {
        self.last.is_some_and(|last| target - last > JUMP_TICKS)
    }

    /// Output time that the stream reaches with this sample, the base for intervals between tables.
    /// `timed`: the one second holds for it (audio and video; a subtitle may come as early as it likes).
    /// `enters`: a viewer may begin here, so that a PCR is wanted even if it can grow by a tick only; others leave that tick.
    pub fn target(&self, meta: &SampleMeta, ceiling: MediaTime, timed: bool, enters: bool) -> MediaTime {
        let low = if timed { meta.dts + -LEAD_TICKS } else { MediaTime(i64::MIN) };
        // Over a gap, what was written before it is of no account.
        let due = self.due.filter(|due| *due > low && self.last.is_none_or(|last| *due > last));
        let high = meta.dts.min(ceiling).min(due.unwrap_or(ceiling));
        let wanted = meta.pcr.unwrap_or(high + -OWN_MARGIN_TICKS);
        let target = wanted.max(low).min(high + -1);
        match self.last {
            Some(last) if enters => target.max((last + 1).min(high)).max(last),
            Some(last) => target.max(last),
            None => target,
        }
    }

    /// Plans the PCRs up to `target` that go with a sample of this `dts`, and takes them as written.
    pub fn plan(&mut self, target: MediaTime, dts: MediaTime, want: Want, broken: bool) -> PcrPlan {
        let Some(last) = self.last else {
            self.set(target);
            return PcrPlan::Run { first: target, ticks: 0, count: 0, jump: false };
        };
        let grown = target - last;
        let due = match want {
            _ if broken || dts - last > PCR_LEAD_TICKS_MAX => 1,
            Want::Now => 1,
            Want::Ride => RIDE_TICKS,
            Want::Alone => ALONE_TICKS,
        };
        if grown < due {
            return PcrPlan::None;
        }
        let jump = broken || self.jumps(target);
        self.set(target);
        if jump {
            return PcrPlan::Run { first: target, ticks: 0, count: 0, jump: true };
        }
        let count = if grown < 2 * STEP_TICKS { 0 } else { grown / STEP_TICKS };
        let ticks = if count == 0 { 0 } else { grown / (count + 1) };
        PcrPlan::Run { first: target + -(count * ticks), ticks, count: count as usize, jump: false }
    }

    /// A sample of audio or video was written behind the last PCR.
    pub fn wrote(&mut self, dts: MediaTime) {
        self.due = Some(self.due.map_or(dts, |due| due.min(dts)));
    }

    fn set(&mut self, pcr: MediaTime) {
        self.last = Some(pcr);
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::Key;

    fn meta(dts: i64, pcr: Option<i64>) -> SampleMeta {
        SampleMeta {
            pts: MediaTime(dts),
            dts: MediaTime(dts),
            key: Key::None,
            discontinuity: false,
            header_len: 0,
            corrupt: false,
            pcr: pcr.map(MediaTime),
        }
    }

    const FAR: MediaTime = MediaTime(i64::MAX);

    #[test]
    fn the_sources_pcr_is_followed_between_the_bounds() {
        let clock = PcrClock::default();
        let target = |dts, pcr, ceiling| clock.target(&meta(dts, Some(pcr)), ceiling, true, false).0;
        assert_eq!(target(1_000_000, 950_000, FAR), 950_000);
        assert_eq!(target(1_000_000, 1_000_400, FAR), 999_999, "a PCR past the DTS is pulled back to it");
        assert_eq!(target(1_000_000, 700_000, FAR), 910_900, "a PCR over a second early is pulled forward");
        assert_eq!(target(1_000_000, 950_000, MediaTime(930_000)), 929_999, "audio that is still to come bounds it");
    }

    #[test]
    fn a_large_step_is_filled_and_a_gap_is_a_new_time_base() {
        let mut clock = PcrClock::default();
        let mut plan = |target, want| clock.plan(MediaTime(target), MediaTime(target + 9_000), want, false);
        assert_eq!(plan(0, Want::Ride), PcrPlan::Run { first: MediaTime(0), ticks: 0, count: 0, jump: false });
        assert_eq!(plan(1_700, Want::Ride), PcrPlan::None);
        assert_eq!(plan(1_800, Want::Ride), PcrPlan::Run { first: MediaTime(1_800), ticks: 0, count: 0, jump: false });
        assert_eq!(plan(1_800, Want::Now), PcrPlan::None, "a PCR that stands still is not repeated");
        let PcrPlan::Run { first, ticks, count, jump: false } = plan(19_800, Want::Alone) else { panic!() };
        assert!(first.0 - 1_800 <= 3_600 && ticks <= 3_600, "{first:?} {ticks}");
        assert_eq!(first.0 + ticks * count as i64, 19_800);
        assert!(matches!(plan(200_000, Want::Alone), PcrPlan::Run { jump: true, count: 0, .. }));
    }

    #[test]
    fn a_dts_over_a_second_ahead_forces_a_small_step() {
        let mut clock = PcrClock::default();
        clock.plan(MediaTime(0), MediaTime(0), Want::Ride, false);
        let plan = clock.plan(MediaTime(1_000), MediaTime(90_100), Want::Alone, false);
        assert_eq!(plan, PcrPlan::Run { first: MediaTime(1_000), ticks: 0, count: 0, jump: false });
    }
}
