//! An HLS viewer (RFC 8216 section 6.3): variant by throughput, an audio rendition of its own where the variant has one, reloads in time.
//!
//! What it deliberately does not do: Low-Latency HLS, byte ranges, keys, subtitles, giving up a segment half-way; decode.

#[cfg(test)]
mod tests;
mod track;

use super::origin_latency::Arrived;
use super::playlist::{self, Media, Multivariant, Playlist, Variant};
use super::session::{Outcome, Retry, Session, Wanted};
use super::transfer::{Done, Purpose};
use super::{Action, Body, End, Head, Lane, Micros, Player, PlayerFigures};
use crate::check::Sighting;
use crate::check::playlist::PlaylistCheck;
use crate::result::Violation;
use std::rc::Rc;
use track::{Track, beside, end_date, missing_us, start};

/// The viewer.
#[derive(Debug)]
pub struct Hls {
    session: Session,
    entry: Rc<str>,
    entry_retry: Retry,
    /// Variants that it chooses from, by rising bandwidth; empty before the entry came, and where that is a media playlist.
    ladder: Vec<Variant>,
    rung: usize,
    /// One of the variant, and one of an audio rendition where it has one.
    tracks: Vec<Track>,
    /// Segments left the playlist before they were fetched: how often.
    jumps: u64,
}

impl Hls {
    /// A viewer of what `url` (a multivariant or media playlist) names. A checked one looks into everything it fetches and chooses codecs and
    /// audio by `seed`; another takes the first variant and its default audio. It arrives when it is first polled.
    pub fn new(url: Rc<str>, checked: bool, seed: u64) -> Hls {
        Hls {
            session: Session::new(checked, seed),
            entry: url,
            entry_retry: Retry::default(),
            ladder: Vec::new(),
            rung: 0,
            tracks: Vec::new(),
            jumps: 0,
        }
    }

    /// Says what time of day (microseconds since 1970) time 0 was: live latency then goes by EXT-X-PROGRAM-DATE-TIME.
    #[must_use]
    pub fn with_epoch(mut self, unix_us: i64) -> Hls {
        self.session.set_epoch(unix_us);
        self
    }

    /// What a checked viewer found so far.
    pub fn violations(&self) -> &[Violation] {
        self.session.violations.as_slice()
    }

    /// How often it fell out of the playlist and went back to live.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Bandwidth of the variant it takes now, bits per second; `None` without a multivariant playlist.
    pub fn bandwidth(&self) -> Option<u64> {
        self.ladder.get(self.rung).map(|variant| variant.bandwidth)
    }

    /// The longest that a playlist of it certainly got no new segment, microseconds; 0 where it is not checked.
    pub fn stale_us_max(&self) -> Micros {
        self.tracks.iter().filter_map(|track| track.check.as_ref()).map(PlaylistCheck::stale_us_max).max().unwrap_or(0)
    }

    fn poll_entry(&mut self, now: Micros) -> Action {
        let intended = self.entry_retry.not_before.max(self.session.arrived(now));
        if self.session.transfers.has(Purpose::Entry) {
            return Session::wait(Micros::MAX, now);
        }
        if now < intended {
            return Session::wait(intended, now);
        }
        let asked = self.session.transfers.ask(Purpose::Entry, self.entry.clone(), intended, now);
        asked.unwrap_or_else(|| Session::wait(Micros::MAX, now))
    }

    /// A fetch, or when the next is due.
    fn poll_playlist(&mut self, track: usize, now: Micros) -> Result<Action, Micros> {
        let due = self.tracks[track].reload.ok_or(Micros::MAX)?;
        if self.session.transfers.has(Purpose::Playlist(track)) {
            return Err(Micros::MAX);
        }
        if now < due {
            return Err(due);
        }
        let url = self.tracks[track].url.clone();
        self.session.transfers.ask(Purpose::Playlist(track), url, due, now).ok_or(Micros::MAX)
    }

    fn poll_segment(&mut self, track: usize, now: Micros) -> Result<Action, Micros> {
        if !self.session.is_idle(track) {
            return Err(Micros::MAX);
        }
        let wanted = self.next(track, now).ok_or(Micros::MAX)?;
        if track == 0 && self.switch(now) {
            return self.poll_playlist(track, now);
        }
        self.session.want(track, wanted, now)
    }

    /// Takes another variant if throughput says so: true, and its playlist is due before the next segment.
    fn switch(&mut self, now: Micros) -> bool {
        let bandwidths: Vec<u64> = self.ladder.iter().map(|variant| variant.bandwidth).collect();
        if bandwidths.len() < 2 {
            return false;
        }
        let rung = self.session.choose(&bandwidths, self.rung);
        if rung == self.rung {
            return false;
        }
        if self.session.transfers.has(Purpose::Playlist(0)) {
            // The old variant's playlist is on its way: it must not be taken for the new one's, so the switch waits for it.
            return true;
        }
        self.rung = rung;
        let track = &mut self.tracks[0];
        track.url = self.ladder[rung].url.clone();
        (track.media, track.is_switching, track.reload, track.retry) = (None, true, Some(now), Retry::default());
        track.check = track.check.take().map(|_| PlaylistCheck::new(&*track.url));
        true
    }

    /// The next segment of an idle track, where it is listed. Passes over gaps and what left the playlist.
    fn next(&mut self, index: usize, now: Micros) -> Option<Wanted> {
        let live = self.tracks[index].media.as_ref().and_then(start)?;
        let track = &mut self.tracks[index];
        let media = track.media.as_ref()?;
        let mut next = track.next?;
        if next < media.media_sequence {
            let missing = missing_us(media, track.end, next, live);
            self.session.skip(index, missing, now);
            self.jumps += 1;
            next = live;
        }
        while let Some(segment) = media.segment(next).filter(|segment| segment.is_gap) {
            self.session.skip(index, segment.duration_us, now);
            track.end = Some((segment.discontinuity, end_date(segment)));
            next = next.saturating_add(1);
        }
        track.next = Some(next);
        let segment = media.segment(next)?;
        Some(Wanted {
            url: segment.url.clone(),
            init: segment.init.clone(),
            adds: segment.duration_us,
            duration: segment.duration_us,
            wall: segment.program_date_time,
            time: None,
            part: segment.discontinuity,
            follows: track.end.is_some_and(|(discontinuity, _)| discontinuity == segment.discontinuity),
        })
    }

    fn on_entry(&mut self, done: Done, now: Micros) {
        let parsed = done.result.map_err(|failure| format!("{failure:?}")).and_then(|body| parse(&done.url, &body));
        let urls = match parsed {
            Ok(Playlist::Multivariant(multivariant)) if !multivariant.variants.is_empty() => self.choose(multivariant),
            Ok(Playlist::Media(media)) => {
                self.begin(vec![self.entry.clone()], now);
                return self.on_media(0, done.asked, media, now);
            }
            Ok(_) => return self.entry_failed(Some("no variants".into()), now),
            // A failed request is the engine's to count, a broken document is a violation.
            Err(words) => {
                let is_broken = words.as_str() != "Broken" && !words.starts_with("Status");
                return self.entry_failed(is_broken.then_some(words), now);
            }
        };
        self.begin(urls, now);
    }

    fn entry_failed(&mut self, broken: Option<String>, now: Micros) {
        if let Some(words) = broken.filter(|_| self.session.is_checked) {
            self.session.violations.add("playlist-broken", || format!("{}: {words}", self.entry));
        }
        let jitter = self.session.jitter();
        self.entry_retry.fail(now, jitter);
    }

    /// Chooses variants and audio; the URLs of the media playlists.
    fn choose(&mut self, multivariant: Multivariant) -> Vec<Rc<str>> {
        let Multivariant { variants, renditions } = multivariant;
        let first = if self.session.is_checked { self.session.random(variants.len()) } else { 0 };
        let family = codec_names(&variants[first].codecs);
        let audio = variants[first].audio.clone();
        let chosen = variants[first].url.clone();
        self.ladder = variants.into_iter().filter(|variant| codec_names(&variant.codecs) == family).collect();
        self.ladder.sort_by_key(|variant| variant.bandwidth);
        // The same playlist comes once with each audio group.
        let mut seen: Vec<Rc<str>> = Vec::new();
        self.ladder.retain(|variant| {
            !seen.contains(&variant.url) && {
                seen.push(variant.url.clone());
                true
            }
        });
        self.rung = self.ladder.iter().position(|variant| variant.url == chosen).unwrap_or(0);
        let of_group: Vec<_> =
            renditions.into_iter().filter(|rendition| Some(&rendition.group) == audio.as_ref()).collect();
        let default = of_group.iter().position(|rendition| rendition.is_default).unwrap_or(0);
        let index = if self.session.is_checked { self.session.random(of_group.len()) } else { default };
        let audio = of_group.get(index).and_then(|rendition| rendition.url.clone());
        [Some(chosen), audio].into_iter().flatten().collect()
    }

    fn begin(&mut self, urls: Vec<Rc<str>>, now: Micros) {
        self.session.begin(now, &urls);
        let is_checked = self.session.is_checked;
        self.tracks = urls.into_iter().map(|url| Track::new(url, now, is_checked)).collect();
    }

    fn on_playlist(&mut self, index: usize, done: Done, now: Micros) {
        self.session.touch(index, now);
        let document = match done.result {
            Ok(body) => parse(&done.url, &body),
            Err(_) => return self.playlist_failed(index, done.asked, now),
        };
        match document {
            Ok(Playlist::Media(media)) => self.on_media(index, done.asked, media, now),
            other => {
                let words =
                    other.err().unwrap_or_else(|| "a multivariant playlist in place of a media playlist".into());
                if self.session.is_checked {
                    self.session.violations.add("playlist-broken", || format!("{}: {words}", done.url));
                }
                self.playlist_failed(index, done.asked, now);
            }
        }
    }

    /// What failed is asked for again as though nothing had changed, or sooner.
    fn playlist_failed(&mut self, index: usize, asked: Micros, now: Micros) {
        let jitter = self.session.jitter();
        let track = &mut self.tracks[index];
        track.retry.fail(now, jitter);
        let unchanged = track
            .media
            .as_ref()
            .map_or(Micros::MAX, |media| asked.saturating_add((media.target_us() / 2).max(WAIT_MIN)));
        track.reload = Some(track.retry.not_before.min(unchanged).max(now));
    }

    fn on_media(&mut self, index: usize, asked: Micros, media: Media, now: Micros) {
        let track = &mut self.tracks[index];
        if let Some(check) = &mut track.check {
            check.see(asked, now, &media, &mut self.session.violations);
        }
        track.retry = Retry::default();
        // 6.3.4: a target duration after a change, else half of it, from when it was asked for.
        let is_changed = track.media.as_ref() != Some(&media);
        let wait = if is_changed { media.target_us() } else { media.target_us() / 2 };
        track.reload = (!media.is_ended).then(|| asked.saturating_add(wait.max(WAIT_MIN)).max(now));
        let place = match track.next {
            Some(next) => Some(track.place(&media, next)),
            None => {
                self.tracks.iter().find_map(|other| beside(&media, other.first.as_ref()?)).or_else(|| start(&media))
            }
        };
        let track = &mut self.tracks[index];
        if track.is_switching || track.next.is_some() && track.next != place {
            // Another variant's segments follow in time, but neither its bytes nor its decoder's state do.
            self.session.skip(index, 0, now);
        }
        if track.first.is_none() {
            track.first = place.and_then(|place| media.segment(place)).cloned();
        }
        (track.next, track.media, track.is_switching) = (place, Some(media), false);
        if index == 0 {
            self.session.measure_latency(self.tracks[0].listed_us(), now);
        }
    }

    fn on_segment(&mut self, index: usize, done: Done, now: Micros) {
        let wanted = match self.session.segment_done(index, done, now) {
            Outcome::Pending => return,
            Outcome::Got(wanted) => wanted,
            Outcome::GaveUp(wanted) => {
                self.session.skip(index, wanted.adds, now);
                wanted
            }
        };
        let track = &mut self.tracks[index];
        track.end = Some((wanted.part, wanted.wall.map(|wall| wall + wanted.duration as i64)));
        // The playlist may have moved on meanwhile; the place did not.
        track.next = track.next.map(|next| next.saturating_add(1));
    }

    /// The last segments of all tracks are in: the end will be no rebuffer.
    fn complete(&mut self) {
        let is_in = |track: &Track| {
            track.media.as_ref().is_some_and(|media| media.is_ended && track.next == Some(media.next_sequence()))
        };
        if !self.tracks.is_empty() && self.tracks.iter().all(is_in) {
            self.session.buffer.iter_mut().for_each(super::buffer::Buffer::complete);
        }
    }
}

/// Of a playlist whose target duration says 0.
const WAIT_MIN: Micros = 500_000;

impl Player for Hls {
    fn poll(&mut self, now: Micros) -> Action {
        self.session.arrived(now);
        self.session.advance(now);
        if let Some(action) = self.session.transfers.follow(now) {
            return action;
        }
        if self.tracks.is_empty() {
            return self.poll_entry(now);
        }
        self.complete();
        if self.session.buffer.as_ref().is_some_and(super::buffer::Buffer::is_ended) {
            return Action::Leave;
        }
        let mut until = Micros::MAX;
        for track in 0..self.tracks.len() {
            for poll in [Hls::poll_playlist, Hls::poll_segment] {
                match poll(self, track, now) {
                    Ok(action) => return action,
                    Err(due) => until = until.min(due),
                }
            }
        }
        Session::wait(until, now)
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
            Purpose::Entry => self.on_entry(done, now),
            Purpose::Playlist(track) => self.on_playlist(track, done, now),
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

fn parse(url: &str, body: &[u8]) -> Result<Playlist, String> {
    playlist::parse(url, std::str::from_utf8(body).map_err(|error| error.to_string())?)
}

/// `avc1.640028,mp4a.40.2` without what differs from rung to rung: `avc1`, `mp4a`.
fn codec_names(codecs: &str) -> Vec<String> {
    codecs.split(',').map(|codec| codec.trim().split('.').next().unwrap_or_default().to_owned()).collect()
}
