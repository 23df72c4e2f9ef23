//! The stretches of source time that are alive at a moment, and the verdict which of them a sample belongs to.
//!
//! When a source's time jumps (an encoder restarts, a file starts over, a splice), its tracks cross the jump at different moments:
//!
//! ```text
//!  PCR    98.0 98.1 98.2│88.2 88.3 88.4 ...                 a jump of -10 s
//!  video  99.0 99.04 99.08│89.1 89.14 ...                   crosses a little later
//!  audio  97.5 97.52 97.54 97.56 97.58 97.6 │87.7 87.72     crosses last
//!         ───────────────┬─────────────────┬──────────
//!  alive   current       │ current + next  │ old + current
//! ```
//!
//! A sample goes to the stretch in which it is least astray: by its own track's last DTS, or by the distance to the PCR that its
//! track kept before. So nothing is lost on either side. The reference's crossing makes `next` the current stretch; `old`
//! stays for laggards for [`OVERLAP_US`].
//!
//! What it deliberately does not do: say where a new stretch lies on the output timeline.
#![forbid(unsafe_code)]

use super::mapping::{Anchor, Mapping};
use super::track::TrackState;
use crate::es::TrackKind;
use crate::time::{MediaTime, Ts33, ticks_from_us};

/// A step ahead that is longer than the time that passed by more than this is a jump, 90 kHz ticks (2 s).
pub(super) const JUMP_AHEAD: i64 = 180_000;
/// A step back by more than this is a jump; less is a glitch, 90 kHz ticks (500 ms).
pub(super) const JUMP_BACK: i64 = 45_000;
/// A track that is less astray than this stays where it is, 90 kHz ticks (50 ms).
const CROSSING_MIN: i64 = 4_500;
/// A track may run this far from the clock and still belong to it, 90 kHz ticks (10 s).
const RANGE: i64 = 900_000;
/// How long two stretches live side by side, microseconds.
pub(super) const OVERLAP_US: u64 = 5_000_000;

/// Where a sample belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// In its track's stretch.
    Stay,
    /// In this other stretch.
    Cross(u32),
    /// In none: time jumped.
    Jump,
    /// In none: time may be about to jump, and this track is the first to show it.
    Announce,
    /// The time stamp is damaged: count on from the last.
    Count,
    /// In none, and its track does not decide.
    Refuse,
}

#[derive(Clone, Debug)]
pub(super) struct Bases {
    /// Where the reference track is.
    pub current: Mapping,
    /// Announced by a PCR; the reference has not crossed yet.
    next: Option<Mapping>,
    /// Left by the reference.
    old: Option<Mapping>,
    changed_us: u64,
}

impl Bases {
    pub fn new(current: Mapping, now_us: u64) -> Self {
        Bases { current, next: None, old: None, changed_us: now_us }
    }

    pub fn get_mut(&mut self, generation: u32) -> Option<&mut Mapping> {
        let alive = [Some(&mut self.current), self.next.as_mut(), self.old.as_mut()];
        alive.into_iter().flatten().find(|mapping| mapping.generation == generation)
    }

    pub fn get(&self, generation: u32) -> Option<Mapping> {
        self.alive().find(|mapping| mapping.generation == generation)
    }

    /// A PCR jumped: its new stretch, or the one that a track has begun already.
    pub fn expect(&mut self, pcr: Ts33, output: MediaTime, generation: u32, now_us: u64) -> u32 {
        if self.current.distance(pcr, 0) < RANGE && self.old.is_some() {
            return self.current.generation;
        }
        if let Some(next) = self.next.filter(|next| next.distance(pcr, 0) < RANGE) {
            return next.generation;
        }
        self.next = Some(Mapping::new(generation, Anchor::Estimated, pcr, output, pcr));
        self.changed_us = now_us;
        generation
    }

    /// A track jumped before the PCR and the reference did.
    pub fn announce(&mut self, mapping: Mapping, now_us: u64) {
        self.next = Some(mapping);
        self.changed_us = now_us;
    }

    /// The reference's time jumped without a PCR that says so.
    pub fn jump(&mut self, mapping: Mapping, now_us: u64) {
        self.old = Some(self.current);
        self.next = None;
        self.current = mapping;
        self.changed_us = now_us;
    }

    /// The reference crossed into `generation`, forward or back again.
    pub fn promote(&mut self, generation: u32, now_us: u64) {
        let slot = [&mut self.next, &mut self.old].into_iter().find(|s| s.is_some_and(|m| m.generation == generation));
        let Some(mapping) = slot.and_then(Option::take) else { return };
        self.old = Some(std::mem::replace(&mut self.current, mapping));
        self.next = None;
        self.changed_us = now_us;
    }

    /// Forgets stretches that nothing crossed into, or that nothing is left in, for long. True when the expected one was dropped.
    pub fn expire(&mut self, now_us: u64) -> bool {
        if now_us.saturating_sub(self.changed_us) < OVERLAP_US {
            return false;
        }
        self.old = None;
        self.next.take().is_some()
    }

    pub fn verdict(&self, track: &TrackState, dts: Ts33, is_reference: bool, corrupt: bool, now_us: u64) -> Verdict {
        let Some(home) = track.home.and_then(|generation| self.get(generation)) else {
            return self.adopt(track, dts, is_reference);
        };
        let delta = dts.since(track.source);
        let astray = (delta - track.duration).abs();
        if let Some(newer) = self.alive().find(|m| m.generation > home.generation)
            && astray > CROSSING_MIN
            && newer.distance(dts, track.lead) < astray
        {
            return Verdict::Cross(newer.generation);
        }
        let elapsed = ticks_from_us(now_us.saturating_sub(track.placed_us));
        let moved_with_clock = delta > 0 && home.distance(dts, track.lead) < JUMP_AHEAD;
        if (-JUMP_BACK..JUMP_AHEAD + elapsed).contains(&delta) || moved_with_clock {
            return Verdict::Stay;
        }
        self.astray(track, home, dts, is_reference, corrupt)
    }

    /// A sample that goes on neither from its track's last nor with the clock.
    fn astray(&self, track: &TrackState, home: Mapping, dts: Ts33, is_reference: bool, corrupt: bool) -> Verdict {
        if corrupt {
            return Verdict::Count;
        }
        let after_last = |m: &Mapping| track.output.is_none_or(|last| m.to_output(dts) > last.dts);
        let mut others = self.alive().filter(|m| m.generation != home.generation);
        if let Some(other) = others.find(|m| m.distance(dts, track.lead) < JUMP_AHEAD && after_last(m)) {
            return Verdict::Cross(other.generation);
        }
        match track.kind {
            _ if is_reference => Verdict::Jump,
            TrackKind::Audio | TrackKind::Video if self.next.is_none() => Verdict::Announce,
            _ if home.distance(dts, 0) < RANGE => Verdict::Stay,
            _ => Verdict::Refuse,
        }
    }

    /// A track that is new, or whose stretch is gone.
    fn adopt(&self, track: &TrackState, dts: Ts33, is_reference: bool) -> Verdict {
        let nearest = self.alive().min_by_key(|mapping| mapping.distance(dts, track.lead));
        match nearest {
            Some(mapping) if mapping.distance(dts, track.lead) < RANGE => Verdict::Cross(mapping.generation),
            _ if is_reference => Verdict::Jump,
            _ => Verdict::Refuse,
        }
    }

    /// Newest first.
    fn alive(&self) -> impl Iterator<Item = Mapping> {
        [self.next, Some(self.current), self.old].into_iter().flatten()
    }
}
