//! [`Timeline`]: takes PCRs and samples in stream order and says where each sample goes.
//!
//! What it deliberately does not do: the parts; see the figure in the parent module.
#![forbid(unsafe_code)]

use super::bases::{Bases, Verdict};
use super::cuts::{Candidate, Cutter, target_duration_s};
use super::drift::Drift;
use super::mapping::{Anchor, Mapping};
use super::pcr::{Pcr, Reading, Step};
use super::reference::{Description, reference_of};
use super::track::{Stamp, TrackState};
use super::{Cut, DropReason, Epoch, Placed, RawTiming, TimelineConfig};
use crate::es::{Key, SampleMeta, Track, TrackId, TrackKind};
use crate::limits::TRACKS_MAX;
use crate::time::{MediaTime, Now, Ts33, ticks_from_us, us_from_ticks};

/// Audio that runs this far ahead of the reference's newest sample stands in for it, 90 kHz ticks (3 s).
const SILENCE_TICKS: i64 = 270_000;
/// A pause of a track shorter than this at a jump is no pause, microseconds; the usual jitter is added.
const PAUSE_US: u64 = 500_000;
/// Most jitter that is believed when a pause is judged, 90 kHz ticks (10 s).
const SPREAD_MAX: i64 = 900_000;
/// After a reconnect the old mapping is kept if the source starts at most this far before its last sample, 90 kHz ticks (10 s).
const RESUME_RANGE: i64 = 900_000;
/// The old mapping must have carried the reference this long to be kept, 90 kHz ticks (60 s): a short file that starts over at every
/// connection would else be dropped as seen before for ever.
const RESUME_AFTER: i64 = 60 * 90_000;
/// Track states remembered: tracks now there, and as many that went away.
const TRACK_STATES_MAX: usize = 2 * TRACKS_MAX;

/// What samples wait for.
#[derive(Clone, Debug)]
enum Phase {
    /// A key sample of the reference.
    Waiting {
        /// Monotonic time of the first sample that had to wait.
        since_us: Option<u64>,
        /// The reference sends, only no key: audio must not begin in its stead.
        reference_sends: bool,
        /// The stretch before the source broke, as long as its first sample did not show whether it goes on.
        before: Option<Mapping>,
    },
    Running(Bases),
}

/// The one owner of a channel's time. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Timeline {
    config: TimelineConfig,
    epoch: Epoch,
    began: Now,
    /// Reading that the wall clock is counted on from.
    wall: Now,
    phase: Phase,
    pcr: Pcr,
    tracks: Vec<TrackState>,
    description: Description,
    reference: Option<TrackId>,
    /// The audio track that cuts while the reference is silent.
    stand_in: Option<TrackId>,
    generations: u32,
    /// Output DTS of the sample that ended the last wait. Whatever lies before it came too late.
    opened_at: MediaTime,
    /// Age of the first bytes, see [`Timeline::begin_before_now`], and the DTS of the reference's first sample among them.
    first_lead: i64,
    first_dts: Option<Ts33>,
    cutter: Cutter,
    drift: Drift,
}

impl Timeline {
    /// A timeline without a source yet.
    pub fn new(config: TimelineConfig, epoch: Epoch, now: Now) -> Timeline {
        Timeline {
            config,
            epoch,
            began: now,
            wall: now,
            phase: Phase::Waiting { since_us: None, reference_sends: false, before: None },
            pcr: Pcr::default(),
            tracks: Vec::with_capacity(TRACKS_MAX),
            description: Description::default(),
            reference: None,
            stand_in: None,
            generations: 0,
            opened_at: MediaTime(i64::MIN),
            first_lead: 0,
            first_dts: None,
            cutter: Cutter::new(&config, epoch),
            drift: Drift::new(),
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// EXT-X-TARGETDURATION, seconds; never changes.
    pub fn target_duration_s(&self) -> u64 {
        target_duration_s(&self.config)
    }

    /// The source's track list, at every change and before the samples it holds for. Chooses the reference track: the first video,
    /// else the first audio. A change that a decoder must be set up anew for makes the reference's next key begin a segment with `discontinuity`.
    pub fn set_tracks(&mut self, tracks: &[Track]) {
        let mut description = Description::of(tracks);
        if self.description.breaks_into(&description) {
            self.cutter.description_broke();
        }
        self.description.carry_into(&mut description);
        self.description = description;
        self.reference = reference_of(tracks);
        self.stand_in = None;
    }

    /// A PCR of the source, 27 MHz ticks. `discontinuity`: its discontinuity_indicator.
    pub fn pcr(&mut self, pcr_27m: u64, discontinuity: bool, now: Now) {
        let base = Ts33::new(pcr_27m / 300);
        let step = self.pcr.observe(base, discontinuity, now.mono_us);
        self.expire(now);
        let Phase::Running(bases) = &mut self.phase else { return };
        if let Step::Jumped(from) = step {
            let output = expected_output(bases, self.pcr.home, from, now);
            self.generations += 1;
            self.pcr.home = Some(bases.expect(base, output, self.generations, now.mono_us));
        }
        match self.pcr.home.and_then(|home| bases.get_mut(home)) {
            Some(mapping) => mapping.clock = base,
            None => self.adopt_pcr(base),
        }
    }

    /// The source's first bytes are a burst of the past, of this many 90 kHz ticks: the epoch begins that much before the wall clock,
    /// so that its newest sample, and not its first, is now. To be called before the first sample; without effect later.
    pub fn begin_before_now(&mut self, ticks: i64) {
        if self.generations == 0 {
            self.first_lead = ticks.max(0);
        }
    }

    /// The connection ended or was made anew: the next time stamps may be any.
    pub fn source_break(&mut self, _now: Now) {
        let carried = self.reference_state().and_then(|track| track.output).map_or(0, |last| last.dts - self.opened_at);
        let before = match &self.phase {
            Phase::Running(bases) if carried >= RESUME_AFTER => Some(bases.current),
            _ => None,
        };
        self.phase = Phase::Waiting { since_us: None, reference_sends: false, before };
        self.pcr = Pcr::default();
        self.stand_in = None;
        for track in &mut self.tracks {
            track.home = None;
            track.overlap = false;
        }
    }

    /// Places a sample. Samples come in stream order; a dropped one leaves no trace but the time waited.
    pub fn place(&mut self, raw: &RawTiming, now: Now) -> Result<Placed, DropReason> {
        let index = self.track_index(raw)?;
        let is_reference = self.reference == Some(raw.track);
        let stamp = self.stamp(index, raw)?;
        if let Phase::Waiting { .. } = self.phase {
            self.wait(index, raw, stamp, now)?;
        }
        let (stamp, generation) = self.locate(index, raw, stamp, now)?;
        let mapping = self.mapping(generation).ok_or(DropReason::OutOfRange)?;
        if mapping.to_output(stamp.dts) < self.opened_at {
            return Err(DropReason::BeforeFirstKey);
        }
        self.tracks[index].monotonic(mapping.to_output(stamp.dts))?;
        if is_reference {
            self.catch_up(mapping.to_output(stamp.dts), stamp, raw.key, index, now);
        }
        self.commit(index, raw, stamp, generation, now)
    }

    /// Output time less source time of the stretch that the track's newest sample lies in, modulo 2^33, 90 kHz ticks: for times that
    /// a sample tells in its payload. `None` while the track is in no stretch.
    pub fn offset_90k(&self, track: TrackId) -> Option<i64> {
        self.mapping(self.state(track)?.home?).map(Mapping::offset_90k)
    }

    // ---- waiting for a key

    /// While waiting: lets the sample that ends the wait through, as well as what goes on where it was before the source broke.
    fn wait(&mut self, index: usize, raw: &RawTiming, stamp: Stamp, now: Now) -> Result<(), DropReason> {
        let Phase::Waiting { since_us, reference_sends, before } = &mut self.phase else { return Ok(()) };
        let since_us = match raw.kind {
            TrackKind::Data => since_us.unwrap_or(now.mono_us),
            _ => *since_us.get_or_insert(now.mono_us),
        };
        let waited = now.mono_us.saturating_sub(since_us) > self.config.segment_max_ms * 1_000;
        let is_reference = self.reference == Some(raw.track);
        if is_reference {
            self.first_dts.get_or_insert(stamp.dts);
        }
        *reference_sends |= is_reference;
        let stands_in = raw.kind == TrackKind::Audio && self.reference.is_some() && !*reference_sends;
        if let (true, Some(mapping)) = (is_reference, *before) {
            *before = None;
            if self.tracks[index].output.is_some() && self.goes_on(index, mapping, stamp.dts, now) {
                self.resume(mapping, now);
                return Ok(());
            }
        }
        let by_reference = is_reference && (raw.key != Key::None || waited);
        if !(by_reference || waited && stands_in) {
            return Err(DropReason::BeforeFirstKey);
        }
        self.open(index, stamp, now);
        Ok(())
    }

    /// Begins a stretch with this sample, at the wall clock, but after all that was placed before.
    fn open(&mut self, index: usize, stamp: Stamp, now: Now) {
        if self.wall_time(now) < MediaTime::from_unix_us(now.unix_us) || self.generations == 0 {
            self.wall = now;
        }
        let placed = self.tracks.iter().filter(|track| track.kind != TrackKind::Data);
        let earliest = placed.filter_map(TrackState::next_output).map(|next| next.dts.max(next.pts_max)).max();
        let begin = self.wall_time(now) + -self.age_of_first(stamp);
        let output = earliest.map_or(begin, |earliest| earliest.max(begin));
        self.generations += 1;
        let clock = self.pcr.last.map(|last| last.base).filter(|base| plausible_lead(stamp.dts.since(*base)));
        self.pcr.home = clock.map(|_| self.generations);
        let clock = clock.unwrap_or(stamp.dts);
        let mapping = Mapping::new(self.generations, Anchor::Settled, stamp.dts, output, clock);
        self.phase = Phase::Running(Bases::new(mapping, now.mono_us));
        self.opened_at = output;
        self.break_all();
        self.cutter.time_broke();
        self.drift = Drift::new();
        self.tracks[index].enter(self.generations, stamp.dts, clock);
    }

    /// Whether the source broke without loss: the reference starts over a few seconds that it sent before, or at the very next frame.
    fn goes_on(&self, index: usize, mapping: Mapping, dts: Ts33, now: Now) -> bool {
        let track = &self.tracks[index];
        (-RESUME_RANGE..=track.duration * 3 / 2).contains(&dts.since(track.source))
            && (self.wall_time(now) - mapping.to_output(dts)).abs() < 2 * RESUME_RANGE
    }

    /// Takes the old mapping up again: what was seen before is dropped, then all goes on without a break.
    fn resume(&mut self, mut mapping: Mapping, now: Now) {
        for track in self.tracks.iter_mut().filter(|track| track.output.is_some()) {
            track.home = Some(mapping.generation);
            track.overlap = true;
        }
        self.pcr.home = self.pcr.last.map(|_| mapping.generation);
        mapping.clock = self.pcr.last.map_or(mapping.clock, |last| last.base);
        self.phase = Phase::Running(Bases::new(mapping, now.mono_us));
    }

    // ---- finding the stretch

    /// The stretch of a sample; begins or enters it where time jumped.
    fn locate(&mut self, index: usize, raw: &RawTiming, stamp: Stamp, now: Now) -> Result<(Stamp, u32), DropReason> {
        self.expire(now);
        let is_reference = self.reference == Some(raw.track);
        if self.tracks[index].seen_before(stamp.dts) {
            return Err(DropReason::Backwards);
        }
        let Phase::Running(bases) = &mut self.phase else { return Err(DropReason::BeforeFirstKey) };
        let track = &self.tracks[index];
        let home = track.home.unwrap_or(bases.current.generation);
        match bases.verdict(track, stamp.dts, is_reference, raw.corrupt, now.mono_us) {
            Verdict::Stay => Ok((stamp, home)),
            Verdict::Count => {
                let dts = track.counted_on().ok_or(DropReason::OutOfRange)?;
                Ok((Stamp { dts, counted: true, ..stamp }, home))
            }
            Verdict::Refuse => Err(DropReason::OutOfRange),
            Verdict::Cross(generation) => {
                self.cross(index, stamp, generation, now);
                Ok((stamp, generation))
            }
            verdict @ (Verdict::Jump | Verdict::Announce) => {
                self.generations += 1;
                let generation = self.generations;
                let clock = stamp.dts.offset(-track.lead);
                let mapping = Mapping::new(generation, Anchor::Estimated, stamp.dts, MediaTime(0), clock);
                if verdict == Verdict::Jump {
                    bases.jump(mapping, now.mono_us);
                    self.pcr.home = None;
                    self.cutter.time_broke();
                } else {
                    bases.announce(mapping, now.mono_us);
                }
                self.settle(index, stamp, generation, now);
                Ok((stamp, generation))
            }
        }
    }

    /// A track enters another stretch than it was in.
    fn cross(&mut self, index: usize, stamp: Stamp, generation: u32, now: Now) {
        let Phase::Running(bases) = &mut self.phase else { return };
        let is_reference = self.reference == Some(self.tracks[index].id);
        let is_new = self.tracks[index].output.is_none();
        if is_reference && generation != bases.current.generation {
            bases.promote(generation, now.mono_us);
            self.cutter.time_broke();
        }
        if is_new {
            let clock = self.mapping(generation).map_or(stamp.dts, |mapping| mapping.clock);
            self.tracks[index].enter(generation, stamp.dts, clock);
        } else {
            self.settle(index, stamp, generation, now);
        }
    }

    /// Puts a stretch in its place on the output timeline when this is the first sample in it: one frame after the track's last, or
    /// later when nothing came for a while. The reference may also move a settled one up: the other tracks then break once more.
    fn settle(&mut self, index: usize, stamp: Stamp, generation: u32, now: Now) {
        let spread_us = us_from_ticks(self.drift.spread().min(SPREAD_MAX));
        let is_reference = self.reference == Some(self.tracks[index].id);
        let Phase::Running(bases) = &mut self.phase else { return };
        let Some(mapping) = bases.get_mut(generation) else { return };
        let track = &mut self.tracks[index];
        track.enter(generation, stamp.dts, mapping.clock);
        track.discontinuity = true;
        let (Some(next), false) = (track.next_output(), track.kind == TrackKind::Data) else { return };
        let dts = mapping.to_output(stamp.dts);
        let short = (next.dts - dts).max(next.pts_max - (dts + stamp.reorder));
        let paused_us = now.mono_us.saturating_sub(track.placed_us);
        let pause = if paused_us > PAUSE_US + spread_us { ticks_from_us(paused_us) - track.duration } else { 0 };
        match mapping.anchor {
            Anchor::Estimated => {
                mapping.shift(short + pause.max(0));
                mapping.advance(stamp.dts);
                mapping.anchor = Anchor::Settled;
                self.break_in(generation);
            }
            Anchor::Settled if is_reference && short > 0 => {
                mapping.shift(short);
                self.break_all();
            }
            Anchor::Settled => {}
        }
    }

    // ---- placing

    /// When output settled too far behind the wall clock, moves it up at a cut.
    fn catch_up(&mut self, dts: MediaTime, stamp: Stamp, key: Key, index: usize, now: Now) {
        let Some(behind) = self.drift.behind() else { return };
        let candidate = self.candidate(index, dts + stamp.reorder, key, now);
        let Phase::Running(bases) = &mut self.phase else { return };
        if !self.cutter.due_at_key(&candidate) {
            return;
        }
        bases.current.shift(behind);
        self.cutter.time_broke();
        self.break_all();
        self.drift.restart();
    }

    fn commit(
        &mut self,
        index: usize,
        raw: &RawTiming,
        stamp: Stamp,
        generation: u32,
        now: Now,
    ) -> Result<Placed, DropReason> {
        let mapping = self.mapping(generation).ok_or(DropReason::OutOfRange)?;
        let dts = self.tracks[index].monotonic(mapping.to_output(stamp.dts))?;
        let pts = dts.max(mapping.to_output(stamp.dts) + stamp.reorder);
        let pcr = self.pcr_output();
        let meta = SampleMeta {
            pts,
            dts,
            key: raw.key,
            discontinuity: self.tracks[index].discontinuity,
            header_len: raw.header_len,
            corrupt: raw.corrupt,
            pcr,
        };
        let cut = self.cut(index, dts, pts, raw.key, now);
        self.tracks[index].placed(stamp, mapping.clock, dts, pts, now.mono_us);
        self.move_along(index, stamp, generation, dts, now);
        Ok(Placed { meta, cut })
    }

    fn cut(&mut self, index: usize, dts: MediaTime, pts: MediaTime, key: Key, now: Now) -> Option<Cut> {
        let track = &self.tracks[index];
        let candidate = self.candidate(index, pts, key, now);
        if self.reference == Some(track.id) {
            self.stand_in = None;
            return self.cutter.offer(candidate);
        }
        if track.kind != TrackKind::Audio {
            return None;
        }
        // Silence is judged over what this track has sent since its own last break: after a pause of all tracks, one of them is the first.
        let run_start = track.output.filter(|_| !track.discontinuity).map_or(dts, |last| last.run_start);
        let ahead_of = |state: Option<&TrackState>| {
            state.and_then(|state| state.output).is_none_or(|last| dts - last.dts.max(run_start) > SILENCE_TICKS)
        };
        let other = self.stand_in.filter(|id| *id != track.id);
        let stands_in = ahead_of(self.reference_state()) && other.is_none_or(|id| ahead_of(self.state(id)));
        if !stands_in {
            return None;
        }
        self.stand_in = Some(track.id);
        self.cutter.offer_stand_in(candidate)
    }

    /// Lets the mapping and the drift follow a placed sample.
    fn move_along(&mut self, index: usize, stamp: Stamp, generation: u32, dts: MediaTime, now: Now) {
        let is_reference = self.reference == Some(self.tracks[index].id);
        let lateness = self.wall_time(now) - dts;
        let Phase::Running(bases) = &mut self.phase else { return };
        let Some(mapping) = bases.get_mut(generation) else { return };
        if self.tracks[index].kind == TrackKind::Data {
            return;
        }
        let advance = mapping.advance(stamp.dts);
        if generation != bases.current.generation {
            return;
        }
        bases.current.shift(self.drift.slew(advance));
        if is_reference {
            self.drift.observe(lateness, now.mono_us);
            // Without a believable PCR the reference itself is the clock that other tracks are told apart by.
            if self.pcr.home != Some(generation) || !plausible_lead(stamp.dts.since(bases.current.clock)) {
                bases.current.clock = stamp.dts.offset(-self.tracks[index].lead.clamp(-90_000, 900_000));
            }
        }
    }

    // ---- small parts

    fn stamp(&self, index: usize, raw: &RawTiming) -> Result<Stamp, DropReason> {
        let track = &self.tracks[index];
        let at_reference = || match (raw.kind, self.reference_state()) {
            // Sections (SCTE 35) have no time stamps: they belong where they came.
            (TrackKind::Data, Some(reference)) if reference.home.is_some() => Some(reference.source),
            _ => None,
        };
        match (raw.pts.or(raw.dts), at_reference()) {
            (None, Some(dts)) => Ok(Stamp { dts, reorder: 0, counted: true }),
            _ => track.stamp(raw).ok_or(DropReason::NoTime),
        }
    }

    fn candidate(&self, index: usize, pts: MediaTime, key: Key, now: Now) -> Candidate {
        let age_s = now.since_us(self.began) / 1_000_000;
        Candidate { pts, duration: self.tracks[index].duration, key, age_s }
    }

    /// The next sample of every track is flagged.
    fn break_all(&mut self) {
        for track in self.tracks.iter_mut().filter(|track| track.output.is_some()) {
            track.discontinuity = true;
        }
    }

    /// The next sample of every track that is in this stretch is flagged.
    fn break_in(&mut self, generation: u32) {
        for track in self.tracks.iter_mut().filter(|track| track.home == Some(generation)) {
            track.discontinuity |= track.output.is_some();
        }
    }

    fn expire(&mut self, now: Now) {
        let Phase::Running(bases) = &mut self.phase else { return };
        if bases.expire(now.mono_us) && self.pcr.home != Some(bases.current.generation) {
            self.pcr.home = None;
        }
    }

    /// A PCR that counts in no stretch is tried again: it may be right from now on.
    fn adopt_pcr(&mut self, base: Ts33) {
        let Some(reference) = self.reference_state().map(|track| track.source) else { return };
        let Phase::Running(bases) = &mut self.phase else { return };
        if plausible_lead(reference.since(base)) {
            self.pcr.home = Some(bases.current.generation);
            bases.current.clock = base;
        }
    }

    fn pcr_output(&self) -> Option<MediaTime> {
        let last = self.pcr.last?;
        Some(self.mapping(self.pcr.home?)?.to_output(last.base))
    }

    fn mapping(&self, generation: u32) -> Option<Mapping> {
        match &self.phase {
            Phase::Running(bases) => bases.get(generation),
            Phase::Waiting { .. } => None,
        }
    }

    /// The wall clock on the output timeline, counted on by the monotonic clock.
    /// How old the epoch's first sample is by the burst it came in, 90 kHz ticks.
    fn age_of_first(&self, stamp: Stamp) -> i64 {
        match self.first_dts {
            Some(first) if self.generations == 0 => {
                (self.first_lead - stamp.dts.since(first)).clamp(0, self.first_lead)
            }
            _ => 0,
        }
    }

    fn wall_time(&self, now: Now) -> MediaTime {
        MediaTime::from_unix_us(self.wall.unix_us + now.since_us(self.wall))
    }

    fn reference_state(&self) -> Option<&TrackState> {
        self.state(self.reference?)
    }

    fn state(&self, id: TrackId) -> Option<&TrackState> {
        self.tracks.iter().find(|track| track.id == id)
    }

    fn track_index(&mut self, raw: &RawTiming) -> Result<usize, DropReason> {
        if let Some(index) = self.tracks.iter().position(|track| track.id == raw.track) {
            return Ok(index);
        }
        if self.tracks.len() == TRACK_STATES_MAX {
            return Err(DropReason::OutOfRange);
        }
        self.tracks.push(TrackState::new(raw.track, raw.kind));
        Ok(self.tracks.len() - 1)
    }
}

/// Whether a DTS may run this far ahead of the PCR, ticks: -1 s (late samples) to 10 s (ISO/IEC 13818-1 2.7.9: at most 10 s in a buffer).
fn plausible_lead(lead: i64) -> bool {
    (-90_000..=900_000).contains(&lead)
}

/// Where a PCR that jumped away from `from` would be had it gone on.
fn expected_output(bases: &Bases, home: Option<u32>, from: Reading, now: Now) -> MediaTime {
    let mapping = home.and_then(|generation| bases.get(generation)).unwrap_or(bases.current);
    let elapsed = ticks_from_us(now.mono_us.saturating_sub(from.at_us));
    mapping.to_output(from.base) + elapsed.max(from.interval)
}
