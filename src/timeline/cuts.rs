//! Where segments begin, and their numbers.
//!
//! ```text
//!  PTS  0 ········ target ······· max
//!       K . . . . K . .|. . K                a key at or after the target: cut there
//!       K . . . . . . .|. . . . . f          none until max: a forced cut, not independent
//!       K . . . . . K .|. . . . . . . . K    no further key fits under max, by the last GOP: cut at the early one
//! ```
//!
//! Rules (RFC 8216 4.3.2.2, 4.3.3.1; every EXTINF, rounded, is at most EXT-X-TARGETDURATION):
//! - Only the reference track cuts; when it is silent for long, an audio track stands in, so that playlists go on.
//! - A forced cut is made only where PTS is greater than every PTS before it in decoding order (a P picture, never one of the B pictures
//!   that follow it), so starts grow and durations are positive. The B pictures behind it belong to the new segment with
//!   a PTS just before its start, as leading pictures of an open GOP do.
//! - A segment's duration is start to start while time is continuous. Where time broke in it or at its end it is the media
//!   it holds; [`Cut::previous_duration`] says it.
//! - A key of kind [`Key::RecoveryPoint`] is good to cut at, but not `independent`: its leading pictures need the GOP before it.
#![forbid(unsafe_code)]

use super::{Cut, Epoch, TimelineConfig};
use crate::es::Key;
use crate::time::MediaTime;

/// Segments shorter than the target that may be made beyond one a second, so that numbers stay behind unix seconds.
const SHORT_SEGMENTS_MAX: u64 = 10;

/// A sample that may begin a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub pts: MediaTime,
    /// Frame duration, ticks.
    pub duration: i64,
    pub key: Key,
    /// Whole seconds since the epoch began.
    pub age_s: u64,
}

/// A run of continuous time within the segment.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: MediaTime,
    /// PTS + duration of what reaches furthest.
    end: MediaTime,
}

/// The segment that is being filled.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: MediaTime,
    /// Media of the runs before this one, ticks.
    banked: i64,
    /// `None` after time broke, until the next sample of the reference.
    run: Option<Run>,
    pts_max: MediaTime,
}

#[derive(Clone, Debug)]
pub(super) struct Cutter {
    first_segment: u64,
    target: i64,
    max: i64,
    /// Longest duration that still rounds to the target duration, ticks.
    limit: i64,
    next_segment: u64,
    discontinuity_sequence: u64,
    open: Option<Open>,
    /// The next cut is a discontinuity.
    broke: bool,
    last_key: Option<MediaTime>,
    gop: i64,
    /// Distance of the last two PTS maxima: how far apart forced cuts are possible.
    reach: i64,
}

impl Cutter {
    pub fn new(config: &TimelineConfig, epoch: Epoch) -> Self {
        let target_duration_s = target_duration_s(config) as i64;
        Cutter {
            first_segment: epoch.id,
            target: config.segment_target_ms as i64 * 90,
            max: (config.segment_max_ms as i64 * 90).max(config.segment_target_ms as i64 * 90),
            limit: target_duration_s * 90_000 + 44_999,
            next_segment: epoch.id,
            discontinuity_sequence: epoch.discontinuity_sequence,
            open: None,
            broke: false,
            last_key: None,
            gop: 0,
            reach: 0,
        }
    }

    /// Time breaks between the last sample and the next of the reference: what follows is a new run, and the next cut says so.
    pub fn time_broke(&mut self) {
        let Some(open) = &mut self.open else { return };
        self.broke = true;
        self.last_key = None;
        if let Some(run) = open.run.take() {
            open.banked += run.end - run.start;
        }
    }

    /// Decoders have to be set up anew: the next cut says so.
    pub fn description_broke(&mut self) {
        self.broke |= self.open.is_some();
    }

    /// Whether [`Cutter::offer`] would cut here at a key.
    pub fn due_at_key(&self, sample: &Candidate) -> bool {
        let Some(open) = &self.open else { return true };
        sample.key != Key::None && self.due(sample, open.length(sample.pts), self.gop)
    }

    /// Takes in a sample of the reference and cuts when it begins a segment.
    pub fn offer(&mut self, sample: Candidate) -> Option<Cut> {
        self.measure_gop(&sample);
        let cut = self.decide(&sample, self.gop);
        if let Some(open) = &mut self.open {
            open.take(sample.pts, sample.duration);
        }
        cut
    }

    /// Takes in an audio sample that stands in for a silent reference.
    pub fn offer_stand_in(&mut self, sample: Candidate) -> Option<Cut> {
        // Every frame of audio is a key, however far apart those of the reference are.
        let cut = self.decide(&Candidate { key: Key::RecoveryPoint, ..sample }, sample.duration);
        if let Some(open) = &mut self.open {
            open.take(sample.pts, sample.duration);
        }
        cut
    }

    /// `gop`: ticks until the next key, judged by what came before.
    fn decide(&mut self, sample: &Candidate, gop: i64) -> Option<Cut> {
        let Some(open) = self.open else {
            return Some(self.cut(sample, 0, false));
        };
        let length = open.length(sample.pts);
        let is_max = sample.pts > open.pts_max || open.run.is_none();
        if is_max && open.run.is_some() {
            self.reach = (sample.pts - open.pts_max).min(self.limit);
        }
        let due = sample.key != Key::None && self.due(sample, length, gop);
        let next = length + self.reach.max(sample.duration);
        let forced =
            is_max && length > 0 && next > if self.key_comes_in_time(&open, length) { self.limit } else { self.max };
        if !(due || forced) || sample.pts <= open.start {
            return None;
        }
        // A hole in the source's time that no EXTINF can cover is a break as well.
        let hole = length > self.limit;
        let media = if hole { open.media().clamp(1, self.limit) } else { length };
        Some(self.cut(sample, media, self.broke || hole))
    }

    /// Whether the next key, judged by the last GOP, comes while the segment still rounds to the target duration: a GOP as long as the
    /// longest segment is cut at its keys and not one picture before them.
    fn key_comes_in_time(&self, open: &Open, length: i64) -> bool {
        let key = self.last_key.filter(|_| self.gop > 0).map(|last| open.length(last + self.gop));
        key.is_some_and(|key| (length + 1..=self.limit).contains(&key))
    }

    /// Whether a key sample that is `length` into the segment begins the next.
    fn due(&self, sample: &Candidate, length: i64, gop: i64) -> bool {
        let full = length + sample.duration / 2 >= self.target;
        let last_chance = self.broke || length + gop > self.max;
        let short_ones = self.next_segment - self.first_segment;
        length > 0 && (full || last_chance && short_ones < sample.age_s + SHORT_SEGMENTS_MAX)
    }

    fn cut(&mut self, sample: &Candidate, previous_duration: i64, discontinuity: bool) -> Cut {
        let segment = self.next_segment;
        self.next_segment += 1;
        self.discontinuity_sequence += u64::from(discontinuity);
        self.broke = false;
        self.open = Some(Open { start: sample.pts, banked: 0, run: None, pts_max: sample.pts });
        Cut {
            segment,
            discontinuity_sequence: self.discontinuity_sequence,
            start: sample.pts,
            program_date_time_us: sample.pts.unix_us(),
            previous_duration,
            discontinuity,
            independent: sample.key == Key::Idr,
        }
    }

    fn measure_gop(&mut self, sample: &Candidate) {
        if sample.key == Key::None {
            return;
        }
        if let Some(last) = self.last_key {
            self.gop = (sample.pts - last).max(0);
        }
        self.last_key = Some(sample.pts);
    }
}

impl Open {
    /// Ticks from the segment's begin to `pts`, breaks left out. Not positive for pictures displayed before its start.
    fn length(&self, pts: MediaTime) -> i64 {
        self.banked + self.run.map_or(0, |run| pts - run.start)
    }

    /// Ticks of media held.
    fn media(&self) -> i64 {
        self.banked + self.run.map_or(0, |run| run.end - run.start)
    }

    fn take(&mut self, pts: MediaTime, duration: i64) {
        let end = pts + duration.max(1);
        let run = self.run.get_or_insert(Run { start: pts, end });
        run.end = run.end.max(end);
        self.pts_max = self.pts_max.max(pts);
    }
}

/// EXT-X-TARGETDURATION: `segment_max_ms` in whole seconds, rounded up.
pub(super) fn target_duration_s(config: &TimelineConfig) -> u64 {
    config.segment_max_ms.max(config.segment_target_ms).div_ceil(1_000).max(1)
}
