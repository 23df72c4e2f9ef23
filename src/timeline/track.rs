//! What the timeline remembers of one track: where it stands in source and in output time, and how long its frames are.
//!
//! Source: ISO/IEC 13818-1 2.4.3.7: a PES header without DTS means DTS = PTS; a sample without either is counted on.
//!
//! What it deliberately does not do: choose the stretch of source time that a sample belongs to (`bases`).
#![forbid(unsafe_code)]

use super::{DropReason, RawTiming};
use crate::es::{TrackId, TrackKind};
use crate::time::{MediaTime, Ts33};

/// A DTS that lies at most this much behind where it must lie is nudged up instead of dropped, 90 kHz ticks (10 ms).
const NUDGE_MAX: i64 = 900;
/// A PTS further than this from its DTS is noise and replaced by the DTS, 90 kHz ticks (10 s).
const REORDER_MAX: i64 = 900_000;
/// Longest step between two samples that is taken for a frame duration, 90 kHz ticks (2 s).
const DURATION_MAX: i64 = 180_000;
/// A longer step between two samples is a pause, 90 kHz ticks (1 s).
const PAUSE_MIN: i64 = 90_000;

/// A sample's time stamps with nothing missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub dts: Ts33,
    /// PTS - DTS, never negative, ticks.
    pub reorder: i64,
    /// The source gave none: counted on, or from where it came in the stream.
    pub counted: bool,
}

/// Where a track stands on the output timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub dts: MediaTime,
    pub pts_max: MediaTime,
    /// DTS of the first sample after the last break or pause.
    pub run_start: MediaTime,
}

/// State of one track; a few dozen bytes.
#[derive(Clone, Debug)]
pub(super) struct TrackState {
    pub id: TrackId,
    pub kind: TrackKind,
    /// Generation of the stretch that the newest sample lies in; `None` before the first and after the source broke.
    pub home: Option<u32>,
    /// DTS of the newest sample as the source gave it. Meaningless without an `output`.
    pub source: Ts33,
    /// Ticks by which the newest DTS ran ahead of its stretch's clock.
    pub lead: i64,
    /// Frame duration, ticks, 0 while unknown.
    pub duration: i64,
    step: i64,
    /// `source` was counted on.
    counted: bool,
    /// The newest sample's place; `None` before the first of the epoch.
    pub output: Option<Output>,
    /// Monotonic time at which the newest sample was placed, microseconds.
    pub placed_us: u64,
    /// The next sample is to be flagged.
    pub discontinuity: bool,
    /// After a reconnect: the source sends again what it sent before.
    pub overlap: bool,
}

impl TrackState {
    pub fn new(id: TrackId, kind: TrackKind) -> Self {
        TrackState {
            id,
            kind,
            home: None,
            source: Ts33::default(),
            lead: 0,
            duration: 0,
            step: 0,
            counted: false,
            output: None,
            placed_us: 0,
            discontinuity: false,
            overlap: false,
        }
    }

    /// The track begins a stretch at `dts`.
    pub fn enter(&mut self, generation: u32, dts: Ts33, clock: Ts33) {
        self.home = Some(generation);
        self.source = dts;
        self.lead = dts.since(clock);
    }

    /// Whether a sample of a reconnected source was placed already by the connection before.
    pub fn seen_before(&mut self, dts: Ts33) -> bool {
        self.overlap &= self.home.is_some() && dts.since(self.source) <= 0;
        self.overlap
    }

    /// Completes a sample's time stamps. `None`: there are none, and none to count from.
    pub fn stamp(&self, raw: &RawTiming) -> Option<Stamp> {
        let counted = raw.dts.or(raw.pts).is_none();
        let dts = match (raw.dts, raw.pts) {
            (Some(dts), _) => dts,
            (None, Some(pts)) => pts,
            (None, None) => self.counted_on()?,
        };
        let reorder = raw.pts.map_or(0, |pts| pts.since(dts));
        Some(Stamp { dts, reorder: if (0..=REORDER_MAX).contains(&reorder) { reorder } else { 0 }, counted })
    }

    /// The DTS that follows the newest by one frame.
    pub fn counted_on(&self) -> Option<Ts33> {
        self.home.map(|_| self.source.offset(self.duration.max(1)))
    }

    /// Where the next frame would begin if the track went on without a gap: its earliest DTS and PTS.
    pub fn next_output(&self) -> Option<Output> {
        let step = self.duration.max(1);
        self.output.map(|last| Output { dts: last.dts + step, pts_max: last.pts_max + step, ..last })
    }

    /// The DTS to write for `dts`: strictly after the one before it, nudged when it is only just not.
    pub fn monotonic(&self, dts: MediaTime) -> Result<MediaTime, DropReason> {
        match self.output {
            Some(last) if dts <= last.dts && last.dts - dts < NUDGE_MAX => Ok(last.dts + 1),
            Some(last) if dts <= last.dts => Err(DropReason::Backwards),
            _ => Ok(dts),
        }
    }

    /// Takes note of a placed sample.
    pub fn placed(&mut self, stamp: Stamp, clock: Ts33, dts: MediaTime, pts: MediaTime, now_us: u64) {
        if !(self.discontinuity || self.counted || stamp.counted) && self.output.is_some() {
            self.learn_duration(stamp.dts.since(self.source));
        }
        self.counted = stamp.counted;
        let pts_max = self.output.map_or(pts, |last| last.pts_max.max(pts));
        let goes_on = |last: &Output| !self.discontinuity && dts - last.dts < PAUSE_MIN;
        let run_start = self.output.filter(goes_on).map_or(dts, |last| last.run_start);
        self.output = Some(Output { dts, pts_max, run_start });
        self.source = stamp.dts;
        self.lead = stamp.dts.since(clock);
        self.placed_us = now_us;
        self.discontinuity = false;
    }

    /// One odd step (a lost frame, a glitch) is not a new frame rate; two alike are.
    fn learn_duration(&mut self, step: i64) {
        if !(1..=DURATION_MAX).contains(&step) {
            return;
        }
        let alike = (step - self.step).abs() <= step / 8;
        if self.duration == 0 || alike {
            self.duration = step;
        }
        self.step = step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::Key;

    fn raw(pts: Option<u64>, dts: Option<u64>) -> RawTiming {
        RawTiming {
            track: TrackId(0),
            kind: TrackKind::Video,
            pts: pts.map(Ts33::new),
            dts: dts.map(Ts33::new),
            key: Key::None,
            header_len: 0,
            corrupt: false,
        }
    }

    fn placed_at(track: &mut TrackState, dts: u64) {
        track.home = Some(0);
        let stamp = Stamp { dts: Ts33::new(dts), reorder: 0, counted: false };
        track.placed(stamp, Ts33::new(dts), MediaTime(dts as i64), MediaTime(dts as i64), 0);
    }

    #[test]
    fn completes_missing_stamps() {
        let mut track = TrackState::new(TrackId(0), TrackKind::Video);
        assert_eq!(track.stamp(&raw(None, None)), None);
        assert_eq!(
            track.stamp(&raw(Some(50), None)).unwrap(),
            Stamp { dts: Ts33::new(50), reorder: 0, counted: false }
        );
        assert_eq!(track.stamp(&raw(Some(50), Some(20))).unwrap().reorder, 30);
        // PTS before DTS, and PTS half an hour after it, are noise.
        assert_eq!(track.stamp(&raw(Some(20), Some(50))).unwrap().reorder, 0);
        assert_eq!(track.stamp(&raw(Some(200_000_000), Some(50))).unwrap().reorder, 0);
        placed_at(&mut track, 0);
        placed_at(&mut track, 3_600);
        assert_eq!(track.stamp(&raw(None, None)).unwrap().dts, Ts33::new(7_200));
    }

    #[test]
    fn one_lost_frame_does_not_change_the_duration() {
        let mut track = TrackState::new(TrackId(0), TrackKind::Video);
        for dts in [0, 3_600, 7_200, 14_400] {
            placed_at(&mut track, dts);
        }
        assert_eq!(track.duration, 3_600);
        placed_at(&mut track, 21_600);
        assert_eq!(track.duration, 7_200);
    }

    #[test]
    fn nudges_what_is_just_late_and_drops_the_rest() {
        let mut track = TrackState::new(TrackId(0), TrackKind::Video);
        placed_at(&mut track, 90_000);
        assert_eq!(track.monotonic(MediaTime(90_000)), Ok(MediaTime(90_001)));
        assert_eq!(track.monotonic(MediaTime(89_101)), Ok(MediaTime(90_001)));
        assert_eq!(track.monotonic(MediaTime(89_100)), Err(DropReason::Backwards));
    }
}
