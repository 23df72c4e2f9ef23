//! A DASH viewer of live MPDs (ISO/IEC 23009-1 with SegmentTimeline): a Representation of video by throughput, and one of audio.
//!
//! What it deliberately does not do: low latency with chunks, UTCTiming (it goes by what is listed, not by the time of day), subtitles; decode.

use super::mpd::{self, AdaptationSet, Content, Mpd, Period, Representation};
use super::origin_latency::Arrived;
use super::session::{Outcome, Retry, Session, Wanted};
use super::transfer::{Done, Purpose};
use super::{Action, Body, End, Head, Lane, Micros, Player, PlayerFigures};
use crate::check::Sighting;
use crate::check::mpd::MpdCheck;
use crate::result::Violation;
use std::rc::Rc;

/// Behind the end of what is listed, in segments, where the MPD suggests no delay.
const LIVE_DISTANCE: u64 = 3;
/// Between listed segments, what is less is rounding, or frames of audio.
const SLACK: Micros = 100_000;
/// Of an MPD whose minimumUpdatePeriod is 0.
const UPDATE_MIN: Micros = 500_000;

/// The viewer.
#[derive(Debug)]
pub struct Dash {
    session: Session,
    url: Rc<str>,
    mpd: Option<Mpd>,
    /// When the MPD is to be loaded next; `None`: it will not change.
    reload: Option<Micros>,
    retry: Retry,
    /// Video and audio, or either alone.
    tracks: Vec<Track>,
    check: Option<MpdCheck>,
    jumps: u64,
}

/// What is fetched of a content, and the place in it.
#[derive(Debug)]
struct Track {
    content: Content,
    /// AdaptationSet that it takes in every Period that has it; else the first of its content.
    set: String,
    rung: usize,
    /// Period's start and `S@t` of the last segment; `None` before playback began.
    last: Option<(Micros, u64)>,
    /// Representation of the last segment.
    representation: String,
    /// Where the last segment ended, or where playback is to begin, on the presentation's timeline.
    end: Micros,
    coming: Option<Coming>,
}

/// The segment that is asked for.
#[derive(Debug)]
struct Coming {
    place: (Micros, u64),
    end: Micros,
    representation: String,
}

/// A segment with what it belongs to.
#[derive(Clone, Copy)]
struct Found<'a> {
    period: &'a Period,
    representation: &'a Representation,
    segment: &'a mpd::Segment,
}

impl Dash {
    /// A viewer of the MPD at `url`. A checked one looks into everything it fetches and chooses its audio by `seed`; another takes the main one.
    /// It arrives when it is first polled.
    pub fn new(url: Rc<str>, checked: bool, seed: u64) -> Dash {
        let check = checked.then(|| MpdCheck::new(&*url));
        let (session, retry) = (Session::new(checked, seed), Retry::default());
        Dash { session, url, mpd: None, reload: None, retry, tracks: Vec::new(), check, jumps: 0 }
    }

    /// Says what time of day (microseconds since 1970) time 0 was: live latency then goes by the presentation's times.
    #[must_use]
    pub fn with_epoch(mut self, unix_us: i64) -> Dash {
        self.session.set_epoch(unix_us);
        self
    }

    /// What a checked viewer found so far.
    pub fn violations(&self) -> &[Violation] {
        self.session.violations.as_slice()
    }

    /// How often it fell out of what is listed and went back to live.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    fn poll_mpd(&mut self, now: Micros) -> Result<Action, Micros> {
        let (purpose, due) = match (&self.mpd, self.reload) {
            (None, _) => (Purpose::Entry, self.retry.not_before.max(self.session.arrived(now))),
            (Some(_), reload) => (Purpose::Playlist(0), reload.ok_or(Micros::MAX)?),
        };
        if self.session.transfers.has(purpose) {
            return Err(Micros::MAX);
        }
        if now < due {
            return Err(due);
        }
        self.session.transfers.ask(purpose, self.url.clone(), due, now).ok_or(Micros::MAX)
    }

    fn poll_segment(&mut self, index: usize, now: Micros) -> Result<Action, Micros> {
        let mpd = self.mpd.as_ref().filter(|_| self.session.is_idle(index)).ok_or(Micros::MAX)?;
        let track = &mut self.tracks[index];
        if index == 0 {
            track.rung = self.session.choose(&track.ladder(mpd), track.rung);
        }
        let (mut found, is_oldest) = track.next(mpd).ok_or(Micros::MAX)?;
        let is_lost = is_oldest && track.last.is_some() && found.segment.start > track.end.saturating_add(SLACK);
        if is_lost {
            // What comes next left the MPD: back to live.
            let live = live_position(mpd, track);
            found = track.at(mpd, live).unwrap_or(found);
            self.jumps += 1;
            // The place is where the hole ends, as at the begin.
            track.last = None;
        }
        let hole = found.segment.start.saturating_sub(track.end);
        let coming = Coming {
            place: (found.period.start, found.segment.time),
            end: found.segment.end,
            representation: found.representation.id.clone(),
        };
        if hole > SLACK {
            self.session.skip(index, hole, now);
            track.end = found.segment.start;
        }
        let wanted = track.wanted(mpd, &found);
        track.coming = Some(coming);
        self.session.want(index, wanted, now)
    }

    fn on_segment(&mut self, index: usize, done: Done, now: Micros) {
        let outcome = self.session.segment_done(index, done, now);
        let track = &mut self.tracks[index];
        let Some(coming) = track.coming.take() else { return };
        match &outcome {
            Outcome::Pending => return,
            Outcome::Got(_) => {}
            Outcome::GaveUp(wanted) => self.session.skip(index, wanted.adds, now),
        }
        (track.last, track.end, track.representation) =
            (Some(coming.place), track.end.max(coming.end), coming.representation);
    }

    fn on_mpd(&mut self, done: Done, now: Micros) {
        (0..self.tracks.len()).for_each(|track| self.session.touch(track, now));
        let Ok(body) = done.result else { return self.mpd_failed(now) };
        let text = std::str::from_utf8(&body).map_err(|error| error.to_string());
        match text.and_then(|text| mpd::parse(&done.url, text)) {
            Ok(mpd) => self.take_mpd(done.asked, mpd, now),
            Err(words) => {
                if self.session.is_checked {
                    self.session.violations.add("mpd-broken", || format!("{}: {words}", done.url));
                }
                self.mpd_failed(now);
            }
        }
    }

    fn mpd_failed(&mut self, now: Micros) {
        let jitter = self.session.jitter();
        self.retry.fail(now, jitter);
        self.reload = self.mpd.is_some().then_some(self.retry.not_before);
    }

    fn take_mpd(&mut self, asked: Micros, mpd: Mpd, now: Micros) {
        if let Some(check) = &mut self.check {
            check.see(asked, now, &mpd, &mut self.session.violations);
        }
        self.retry = Retry::default();
        let update = mpd.minimum_update.filter(|_| mpd.is_dynamic);
        self.reload = update.map(|update| asked.saturating_add(update.max(UPDATE_MIN)).max(now));
        if self.tracks.is_empty() && !self.begin(&mpd, now) {
            // Nothing is listed yet.
            return self.mpd_failed(now);
        }
        let listed = self.tracks.first().map_or(0, |track| track.edge(&mpd).saturating_sub(track.end));
        self.mpd = Some(mpd);
        self.session.measure_latency(listed, now);
    }

    /// Chooses what to fetch and where to begin; false where nothing is listed yet.
    fn begin(&mut self, mpd: &Mpd, now: Micros) -> bool {
        let Some(period) = mpd.periods.last() else { return false };
        let of =
            |content| period.sets.iter().filter(move |set| set.content == content && !set.representations.is_empty());
        let video = of(Content::Video).find(|set| set.is_main).or_else(|| of(Content::Video).next());
        let audio: Vec<&AdaptationSet> = of(Content::Audio).collect();
        let main = audio.iter().position(|set| set.is_main).unwrap_or(0);
        let index = if self.session.is_checked { self.session.random(audio.len()) } else { main };
        let sets: Vec<&AdaptationSet> = video.into_iter().chain(audio.get(index).copied()).collect();
        let mut tracks: Vec<Track> = sets.into_iter().map(Track::new).collect();
        let Some(first) = tracks.first().filter(|first| first.edge(mpd) > 0) else { return false };
        let position = live_position(mpd, first);
        let begin = first.at(mpd, position).map_or(position, |found| found.segment.start);
        for track in &mut tracks {
            track.end = begin;
        }
        let labels: Vec<Rc<str>> =
            tracks.iter().map(|track| format!("{} {:?}", self.url, track.content).into()).collect();
        self.session.begin(now, &labels);
        self.tracks = tracks;
        true
    }

    /// The last segments of all tracks are in: the end will be no rebuffer.
    fn complete(&mut self) {
        let Some(mpd) = self.mpd.as_ref().filter(|_| self.reload.is_none()) else { return };
        if self.tracks.iter().all(|track| track.next(mpd).is_none()) {
            self.session.buffer.iter_mut().for_each(super::buffer::Buffer::complete);
        }
    }
}

impl Track {
    fn new(set: &AdaptationSet) -> Track {
        let (content, id) = (set.content, set.id.clone());
        let bandwidth = set.representations.first().map_or(0, |first| first.bandwidth);
        let rung = set.representations.iter().filter(|other| other.bandwidth < bandwidth).count();
        Track { content, set: id, rung, last: None, representation: String::new(), end: 0, coming: None }
    }

    /// Representations that it chooses from in a Period, by rising bandwidth.
    fn representations<'a>(&self, period: &'a Period) -> Vec<&'a Representation> {
        let of_content = || period.sets.iter().filter(|set| set.content == self.content);
        let set = of_content().find(|set| set.id == self.set).or_else(|| of_content().next());
        let mut representations: Vec<_> = set.into_iter().flat_map(|set| &set.representations).collect();
        representations.sort_by_key(|representation| representation.bandwidth);
        representations
    }

    /// Bandwidths of the newest Period, rising.
    fn ladder(&self, mpd: &Mpd) -> Vec<u64> {
        let representations = mpd.periods.last().map(|period| self.representations(period));
        representations.unwrap_or_default().iter().map(|representation| representation.bandwidth).collect()
    }

    /// All that is listed for it, in order.
    fn listed<'a>(&self, mpd: &'a Mpd) -> impl Iterator<Item = Found<'a>> {
        let chosen = mpd.periods.iter().filter_map(|period| {
            let representations = self.representations(period);
            let index = self.rung.min(representations.len().checked_sub(1)?);
            Some((period, representations[index]))
        });
        chosen.flat_map(|(period, representation)| {
            representation.segments.iter().map(move |segment| Found { period, representation, segment })
        })
    }

    /// The segment after the last, or at the begin, and whether it is the oldest that is listed.
    fn next<'a>(&self, mpd: &'a Mpd) -> Option<(Found<'a>, bool)> {
        let is_next = |found: &Found| match self.last {
            Some(last) => (found.period.start, found.segment.time) > last,
            // The one that is shown at the begin, though audio may begin it earlier.
            None => found.segment.end > self.end.saturating_add(SLACK),
        };
        let (index, found) = self.listed(mpd).enumerate().find(|(_, found)| is_next(found))?;
        Some((found, index == 0))
    }

    /// The last segment that begins at `position` or before, else the first.
    fn at<'a>(&self, mpd: &'a Mpd, position: Micros) -> Option<Found<'a>> {
        let before = self.listed(mpd).take_while(|found| found.segment.start <= position).last();
        before.or_else(|| self.listed(mpd).next())
    }

    /// Where what is listed ends.
    fn edge(&self, mpd: &Mpd) -> Micros {
        self.listed(mpd).last().map_or(0, |found| found.segment.end)
    }

    fn wanted(&self, mpd: &Mpd, found: &Found) -> Wanted {
        let Found { period, representation, segment } = found;
        let is_same =
            self.last.is_some_and(|(start, _)| start == period.start) && self.representation == representation.id;
        Wanted {
            url: segment.url.clone(),
            init: representation.init.clone(),
            adds: segment.end.saturating_sub(self.end),
            duration: segment.end - segment.start,
            wall: Some(mpd.availability_start.saturating_add_unsigned(self.end)).filter(|_| mpd.is_dynamic),
            time: Some(segment.time),
            part: period.start,
            follows: is_same && segment.start.abs_diff(self.end) <= SLACK,
        }
    }
}

impl Player for Dash {
    fn poll(&mut self, now: Micros) -> Action {
        self.session.arrived(now);
        self.session.advance(now);
        if let Some(action) = self.session.transfers.follow(now) {
            return action;
        }
        self.complete();
        if self.session.buffer.as_ref().is_some_and(super::buffer::Buffer::is_ended) {
            return Action::Leave;
        }
        let mut polled = self.poll_mpd(now);
        for track in 0..self.session.tracks() {
            polled = polled.or_else(|until| self.poll_segment(track, now).map_err(|due| due.min(until)));
        }
        polled.unwrap_or_else(|until| Session::wait(until, now))
    }

    fn on_head(&mut self, lane: Lane, _now: Micros, head: &Head<'_>) {
        self.session.transfers.head(lane, head);
    }

    fn on_body(&mut self, lane: Lane, _now: Micros, body: Body<'_>) {
        self.session.body(lane, body);
    }

    fn on_end(&mut self, lane: Lane, now: Micros, end: End) {
        self.session.advance(now);
        let Some(done) = self.session.transfers.end(lane, end) else { return };
        match done.purpose {
            Purpose::Entry | Purpose::Playlist(_) => self.on_mpd(done, now),
            Purpose::Init(track) | Purpose::Segment(track) => self.on_segment(track, done, now),
        }
    }

    fn wants_content(&self, lane: Lane) -> bool {
        self.session.transfers.wants_content(lane)
    }

    fn reads(&self, _now: Micros) -> bool {
        true
    }

    fn figures(&self) -> &PlayerFigures {
        &self.session.figures
    }

    fn take_sightings(&mut self) -> Vec<Sighting> {
        self.session.take_sightings()
    }

    fn take_arrived(&mut self) -> Vec<Arrived> {
        self.session.take_arrived()
    }

    fn violations(&mut self) -> Vec<Violation> {
        self.session.violations.as_slice().to_vec()
    }
}

/// Where to play: so far behind the end of what is listed; at the beginning of what will not change.
fn live_position(mpd: &Mpd, track: &Track) -> Micros {
    if !mpd.is_dynamic {
        return 0;
    }
    let last_us = track.listed(mpd).last().map_or(0, |found| found.segment.end - found.segment.start);
    track.edge(mpd).saturating_sub(mpd.suggested_delay.unwrap_or(LIVE_DISTANCE.saturating_mul(last_us)))
}
