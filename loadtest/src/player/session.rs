//! What HLS and DASH viewers have in common: fetching one segment after the other on each track, the buffer, retries, and what is checked of segments.
//!
//! What it deliberately does not do: know playlists; [`super::hls`] and [`super::dash`] say which segment is next.

use super::abr::Throughput;
use super::buffer::{Buffer, Thresholds};
use super::origin_latency::{Arrived, OriginLatency};
use super::transfer::{Done, Failure, Purpose, Transfers};
use super::{Action, Body, Lane, Micros, PlayerFigures};
use crate::badserver::newest_made_us;
use crate::check::segment::{Seen, SegmentCheck};
use crate::check::{Sighting, Violations};
use crate::random::Random;
use std::rc::Rc;

/// Media that a viewer keeps ahead at most.
const AHEAD_MAX: Micros = 30_000_000;
/// With less, it is nearly empty.
const LOW: Micros = 2_500_000;
/// A segment that fails so often is passed over.
const ATTEMPTS: u32 = 4;
/// Wait after the first failure; it doubles with each, up to the other.
const RETRY: Micros = 500_000;
const RETRY_MAX: Micros = 4_000_000;
/// Sightings kept until they are asked for; the oldest are dropped.
const SIGHTINGS_MAX: usize = 64;
/// A waiting viewer is asked again after so long, so that its figures are up to date.
const WAIT_MAX: Micros = 10_000_000;

/// The segment that a track is to fetch next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub url: Rc<str>,
    pub init: Option<Rc<str>>,
    /// Media that it adds to what came before.
    pub adds: Micros,
    /// As listed.
    pub duration: Micros,
    /// Of its first sample, microseconds since 1970.
    pub wall: Option<i64>,
    /// Its listed first decode time, in its timescale.
    pub time: Option<u64>,
    /// Number of what it is a part of: its discontinuity number or its Period's.
    pub part: u64,
    /// It continues what was listed before it, and that was fetched.
    pub follows: bool,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is in the buffer.
    Got(Wanted),
    /// It failed too often: pass it over.
    GaveUp(Wanted),
    /// Nothing yet.
    Pending,
}

/// State of a track's fetching.
#[derive(Debug)]
struct Track {
    wanted: Option<Wanted>,
    /// Which initialization segment it has.
    init: Option<Rc<str>>,
    retry: Retry,
    /// The last event that could have made a segment due.
    due: Micros,
    /// The segment before was fetched: the next may continue it.
    is_unbroken: bool,
    check: Option<SegmentCheck>,
}

/// Failures in a row, and when to try again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    pub failures: u32,
    pub not_before: Micros,
}

/// The common part of a viewer.
#[derive(Debug)]
pub(super) struct Session {
    pub transfers: Transfers,
    pub buffer: Option<Buffer>,
    pub figures: PlayerFigures,
    throughput: Throughput,
    pub violations: Violations,
    /// Microseconds since 1970 at time 0.
    epoch: Option<i64>,
    pub is_checked: bool,
    sightings: Vec<Sighting>,
    origin_latency: OriginLatency,
    arrived: Option<Micros>,
    tracks: Vec<Track>,
    random: Random,
}

impl Retry {
    /// One more failure: the next attempt comes after a wait that grows.
    pub fn fail(&mut self, now: Micros, jitter: f64) {
        let wait = (RETRY << self.failures.min(8)).min(RETRY_MAX);
        self.failures += 1;
        self.not_before = now + (wait as f64 * jitter) as Micros;
    }
}

impl Session {
    pub fn new(is_checked: bool, seed: u64) -> Session {
        Session {
            transfers: Transfers::new(is_checked),
            buffer: None,
            figures: PlayerFigures::default(),
            throughput: Throughput::default(),
            violations: Violations::default(),
            epoch: None,
            is_checked,
            sightings: Vec::new(),
            origin_latency: OriginLatency::default(),
            arrived: None,
            tracks: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// When the viewer was first asked what to do.
    pub fn arrived(&mut self, now: Micros) -> Micros {
        *self.arrived.get_or_insert_with(|| {
            self.origin_latency.begin(now);
            now
        })
    }

    /// Gives it the wall clock at time 0, microseconds since 1970.
    pub fn set_epoch(&mut self, epoch: i64) {
        self.epoch = Some(epoch);
        self.origin_latency.set_epoch(epoch);
    }

    /// Begins with as many tracks as there are labels, which name them in violations.
    pub fn begin(&mut self, now: Micros, labels: &[Rc<str>]) {
        self.buffer = Some(Buffer::new(self.arrived(now), labels.len(), Thresholds::default()));
        self.tracks =
            labels.iter().map(|label| Track::new(now, self.is_checked.then(|| SegmentCheck::new(&**label)))).collect();
    }

    /// How many.
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Uniform below `bound` (at least 1).
    pub fn random(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    /// Three quarters to five quarters: viewers that failed together do not come back together.
    pub fn jitter(&mut self) -> f64 {
        0.75 + self.random(1_000) as f64 / 2_000.0
    }

    /// Plays out up to now.
    pub fn advance(&mut self, now: Micros) {
        if let Some(buffer) = &mut self.buffer {
            buffer.advance(now, &mut self.figures);
        }
    }

    /// Which rung of rising bandwidths (bits per second) to take next.
    pub fn choose(&self, ladder: &[u64], current: usize) -> usize {
        let is_low = self.buffer.as_ref().is_some_and(|buffer| buffer.level() < LOW);
        self.throughput.choose(ladder, current, is_low)
    }

    /// A track fetches nothing: its next segment may be chosen.
    pub fn is_idle(&self, track: usize) -> bool {
        !self.transfers.has(Purpose::Segment(track)) && !self.transfers.has(Purpose::Init(track))
    }

    /// Fetches what an idle track wants next, or says when.
    pub fn want(&mut self, track: usize, wanted: Wanted, now: Micros) -> Result<Action, Micros> {
        let state = &mut self.tracks[track];
        let level = self.buffer.as_ref().map_or(0, |buffer| buffer.level_of(track));
        let over = level.saturating_add(wanted.adds).saturating_sub(AHEAD_MAX);
        // A segment longer than what is kept ahead still has to come.
        if over > 0 && level > 0 {
            state.due = now.saturating_add(over.min(level));
            if let Some(buffer) = &mut self.buffer {
                buffer.pause(track, now);
            }
            return Err(state.due);
        }
        if now < state.retry.not_before {
            state.due = state.retry.not_before;
            return Err(state.due);
        }
        let intended = state.due.min(now);
        let (purpose, url) = match &wanted.init {
            Some(init) if state.init.as_ref() != Some(init) => (Purpose::Init(track), init.clone()),
            _ => (Purpose::Segment(track), wanted.url.clone()),
        };
        state.wanted = Some(wanted);
        self.transfers.ask(purpose, url, intended, now).ok_or(Micros::MAX)
    }

    /// Something that may make a segment due happened on a track.
    pub fn touch(&mut self, track: usize, now: Micros) {
        self.tracks[track].due = now;
    }

    /// Takes the end of a track's initialization or media segment.
    pub fn segment_done(&mut self, track: usize, done: Done, now: Micros) -> Outcome {
        self.touch(track, now);
        let Some(wanted) = self.tracks[track].wanted.take() else { return Outcome::Pending };
        match (done.purpose, done.result) {
            (_, Err(failure)) => self.segment_failed(track, wanted, failure, now),
            (Purpose::Init(_), Ok(body)) => {
                let state = &mut self.tracks[track];
                if let Some(check) = &mut state.check {
                    check.init(&done.url, &body, &mut self.violations);
                }
                state.init = wanted.init;
                Outcome::Pending
            }
            (_, Ok(body)) => {
                if track == 0 {
                    self.throughput.add(done.bytes, now - done.sent);
                }
                self.check_segment(track, &wanted, &body);
                // Its last byte completes the newest picture in it.
                newest_made_us(&body).into_iter().for_each(|made_us| self.origin_latency.see(made_us, now));
                if let Some(buffer) = &mut self.buffer {
                    buffer.append(track, now, wanted.adds, wanted.wall, &mut self.figures);
                }
                let state = &mut self.tracks[track];
                (state.is_unbroken, state.retry) = (true, Retry::default());
                Outcome::Got(wanted)
            }
        }
    }

    /// Media of a track will not come.
    pub fn skip(&mut self, track: usize, media: Micros, now: Micros) {
        self.tracks[track].is_unbroken = false;
        if let Some(buffer) = self.buffer.as_mut().filter(|_| media > 0) {
            buffer.skip(track, now, media, &mut self.figures);
        }
    }

    /// Measures the distance to live: by wall clock where both sides have one, else by `listed`, what is listed and was not fetched yet.
    pub fn measure_latency(&mut self, listed: Micros, now: Micros) {
        let Some(buffer) = self.buffer.as_ref().filter(|_| self.figures.startup_us.is_some()) else { return };
        let by_clock = buffer
            .wall_clock()
            .zip(self.epoch)
            .map(|(shown, epoch)| epoch.saturating_add_unsigned(now).saturating_sub(shown));
        let latency = by_clock.map_or(buffer.level().saturating_add(listed), |us| us.max(0).unsigned_abs());
        self.figures.live_latency_us = Some(latency);
    }

    /// Takes some of a body.
    pub fn body(&mut self, lane: Lane, body: Body) {
        self.figures.bytes += self.transfers.body(lane, body);
    }

    /// What was seen since it was last asked.
    pub fn take_sightings(&mut self) -> Vec<Sighting> {
        std::mem::take(&mut self.sightings)
    }

    /// Newest pictures of segments that came since it was last asked.
    pub fn take_arrived(&mut self) -> Vec<Arrived> {
        self.origin_latency.take()
    }

    /// Waits until a time, or for an event.
    pub fn wait(until: Micros, now: Micros) -> Action {
        Action::Wait(until.clamp(now + 1, now + WAIT_MAX))
    }

    fn segment_failed(&mut self, track: usize, wanted: Wanted, failure: Failure, now: Micros) -> Outcome {
        let jitter = self.jitter();
        let state = &mut self.tracks[track];
        state.retry.fail(now, jitter);
        // Gone is gone: asking again would not bring it back.
        if state.retry.failures < ATTEMPTS && failure != Failure::Status(410) {
            return Outcome::Pending;
        }
        state.retry.failures = 0;
        Outcome::GaveUp(wanted)
    }

    fn check_segment(&mut self, track: usize, wanted: &Wanted, body: &[u8]) {
        let state = &mut self.tracks[track];
        let Some(check) = &mut state.check else { return };
        let Wanted { url, duration, time, .. } = wanted;
        let follows = wanted.follows && state.is_unbroken;
        let seen = Seen { url, bytes: body, follows, duration_us: *duration, time: *time };
        let sighting = check.segment(&seen, &mut self.violations);
        if self.sightings.len() == SIGHTINGS_MAX {
            self.sightings.remove(0);
        }
        self.sightings.push(sighting);
    }
}

impl Track {
    fn new(now: Micros, check: Option<SegmentCheck>) -> Track {
        Track { wanted: None, init: None, retry: Retry::default(), due: now, is_unbroken: false, check }
    }
}
