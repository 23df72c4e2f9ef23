//! A player's buffer: media goes in as it is fetched, and is played out by the wall clock.
//!
//! Media of each track lies on one timeline that begins at 0 with the first that was fetched; the playhead needs every track.
//! A hole is media that will not come (a gap, or segments that left the playlist): the playhead jumps over it.
//!
//! What it deliberately does not do: know of segments, bitrates or decoding; speed up to catch up with live.

use super::{Micros, PlayerFigures};
use std::collections::VecDeque;

/// Media needed before playback begins, and before it goes on after a rebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub start: Micros,
    pub resume: Micros,
}

impl Default for Thresholds {
    /// A second to begin, a second and a half to go on: less than any usual segment.
    fn default() -> Self {
        Thresholds { start: 1_000_000, resume: 1_500_000 }
    }
}

/// What the playhead does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was shown yet.
    Starting,
    Playing,
    /// Ran empty; a rebuffer.
    Dry,
    /// Everything was played, nothing more comes.
    Ended,
}

/// The model. Every method takes the time, which never goes back.
#[derive(Clone, Debug)]
pub struct Buffer {
    thresholds: Thresholds,
    arrived: Micros,
    state: State,
    /// When the playhead was where it is.
    at: Micros,
    /// On the timeline of media.
    playhead: Micros,
    tracks: Vec<Track>,
    /// Begin and end, in order, none before the playhead, none overlapping.
    holes: VecDeque<(Micros, Micros)>,
    /// Media and wall-clock time (microseconds since 1970) of the first track, in order.
    stamps: VecDeque<(Micros, i64)>,
    /// The last media is in.
    complete: bool,
}

/// What came of one track.
#[derive(Clone, Debug, Default)]
struct Track {
    /// End on the timeline.
    end: Micros,
    /// When the last came, and how much it was.
    last: Option<(Micros, Micros)>,
}

impl Buffer {
    /// An empty one of a viewer that arrives now, of so many tracks (at least one).
    pub fn new(now: Micros, tracks: usize, thresholds: Thresholds) -> Buffer {
        Buffer {
            thresholds,
            arrived: now,
            state: State::Starting,
            at: now,
            playhead: 0,
            tracks: vec![Track::default(); tracks.max(1)],
            holes: VecDeque::new(),
            stamps: VecDeque::new(),
            complete: false,
        }
    }

    /// Plays out what the time since the last call allows.
    pub fn advance(&mut self, now: Micros, figures: &mut PlayerFigures) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        match self.state {
            State::Starting | State::Ended => {}
            State::Dry => figures.rebuffer_us += elapsed,
            State::Playing => {
                let played = elapsed.min(self.level());
                self.play(played);
                // Empty at just this moment is not yet a rebuffer: what comes now may be in time.
                if played < elapsed {
                    self.run_dry(elapsed - played, figures);
                }
            }
        }
    }

    /// Media of a track came. `wall` is the wall-clock time of its first sample, microseconds since 1970, where known.
    pub fn append(&mut self, track: usize, now: Micros, media: Micros, wall: Option<i64>, figures: &mut PlayerFigures) {
        self.advance(now, figures);
        let Some(state) = self.tracks.get_mut(track) else { return };
        if state.last.is_some_and(|(at, before)| now - at > STALL_FACTOR.saturating_mul(before.max(media))) {
            figures.stalls += 1;
        }
        if let Some(wall) = wall.filter(|_| track == 0) {
            self.stamps.push_back((state.end, wall));
        }
        state.end = state.end.saturating_add(media);
        state.last = Some((now, media));
        self.go_on(now, figures);
    }

    /// Media of a track will never come: the playhead jumps over so much.
    pub fn skip(&mut self, track: usize, now: Micros, media: Micros, figures: &mut PlayerFigures) {
        self.advance(now, figures);
        let Some(state) = self.tracks.get_mut(track) else { return };
        let hole = (state.end, state.end.saturating_add(media));
        state.end = hole.1;
        self.holes.push_back(hole);
        let mut sorted: Vec<_> = self.holes.drain(..).collect();
        sorted.sort_unstable();
        for (begin, end) in sorted {
            match self.holes.back_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => self.holes.push_back((begin, end)),
            }
        }
        self.play(0);
    }

    /// The reader did not want more until now: a pause that is no stall.
    pub fn pause(&mut self, track: usize, now: Micros) {
        if let Some((at, _)) = self.tracks.get_mut(track).and_then(|state| state.last.as_mut()) {
            *at = now.max(*at);
        }
    }

    /// No more media will come: the end is no rebuffer.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Everything was played after [`Buffer::complete`].
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Playable media ahead of the playhead, of all tracks.
    pub fn level(&self) -> Micros {
        self.level_to(self.tracks.iter().map(|track| track.end).min().unwrap_or_default())
    }

    /// The same of one track, for its fetching.
    pub fn level_of(&self, track: usize) -> Micros {
        self.level_to(self.tracks.get(track).map_or(0, |track| track.end))
    }

    /// Wall-clock time of what is shown, microseconds since 1970.
    pub fn wall_clock(&self) -> Option<i64> {
        let (media, wall) = self.stamps.front()?;
        Some(wall.saturating_add_unsigned(self.playhead.saturating_sub(*media)))
    }

    fn level_to(&self, end: Micros) -> Micros {
        let holes: Micros =
            self.holes.iter().map(|(from, to)| (*to).min(end).saturating_sub((*from).max(self.playhead))).sum();
        end.saturating_sub(self.playhead).saturating_sub(holes)
    }

    /// Moves the playhead by so much media, over holes.
    fn play(&mut self, mut media: Micros) {
        while let Some((from, to)) = self.holes.front().copied() {
            let before = from.saturating_sub(self.playhead);
            if before > media {
                break;
            }
            media -= before;
            self.playhead = self.playhead.max(to);
            self.holes.pop_front();
        }
        self.playhead += media;
        while self.stamps.get(1).is_some_and(|(at, _)| *at <= self.playhead) {
            self.stamps.pop_front();
        }
    }

    fn run_dry(&mut self, since: Micros, figures: &mut PlayerFigures) {
        if self.complete {
            self.state = State::Ended;
            return;
        }
        self.state = State::Dry;
        figures.rebuffers += 1;
        figures.rebuffer_us += since;
    }

    fn go_on(&mut self, now: Micros, figures: &mut PlayerFigures) {
        let needed = match self.state {
            State::Starting => self.thresholds.start,
            State::Dry => self.thresholds.resume,
            State::Playing | State::Ended => return,
        };
        // A stream shorter than the threshold is shown all the same, when it is all there.
        let level = self.level();
        if level >= needed || self.complete && level > 0 {
            if self.state == State::Starting {
                figures.startup_us = Some(now - self.arrived);
            }
            self.state = State::Playing;
        }
    }
}

/// Nothing for longer than this many times the media that came before is a stall: segments come once in their duration, with jitter.
const STALL_FACTOR: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const S: Micros = 1_000_000;

    fn new(tracks: usize) -> (Buffer, PlayerFigures) {
        (Buffer::new(10 * S, tracks, Thresholds { start: 2 * S, resume: 3 * S }), PlayerFigures::default())
    }

    #[test]
    fn starts_at_enough_media_of_every_track() {
        let (mut buffer, mut figures) = new(2);
        buffer.append(0, 11 * S, 4 * S, None, &mut figures);
        buffer.append(1, 12 * S, S, None, &mut figures);
        assert_eq!((buffer.level(), figures.startup_us), (S, None));
        buffer.append(1, 13 * S, S, None, &mut figures);
        assert_eq!((buffer.level(), figures.startup_us), (2 * S, Some(3 * S)));
        buffer.advance(14 * S, &mut figures);
        assert_eq!((buffer.level(), buffer.level_of(0)), (S, 3 * S));
    }

    #[test]
    fn rebuffers_when_it_runs_empty_and_goes_on_at_the_resume_threshold() {
        let (mut buffer, mut figures) = new(1);
        buffer.append(0, 10 * S, 2 * S, None, &mut figures);
        buffer.advance(12 * S, &mut figures);
        assert_eq!(figures.rebuffers, 0, "empty just now");
        buffer.advance(15 * S, &mut figures);
        assert_eq!((figures.rebuffers, figures.rebuffer_us), (1, 3 * S));
        buffer.append(0, 16 * S, 2 * S, None, &mut figures);
        assert_eq!(figures.rebuffer_us, 4 * S);
        buffer.append(0, 17 * S, 2 * S, None, &mut figures);
        buffer.advance(20 * S, &mut figures);
        assert_eq!((figures.rebuffers, figures.rebuffer_us, buffer.level()), (1, 5 * S, S));
        assert_eq!(figures.stalls, 1, "from 10 s to 16 s nothing came");
    }

    #[test]
    fn jumps_over_holes_of_any_track_once() {
        let (mut buffer, mut figures) = new(2);
        for track in 0..2 {
            buffer.append(track, 10 * S, 2 * S, (track == 0).then_some(100_000_000), &mut figures);
            buffer.skip(track, 10 * S, 6 * S, &mut figures);
            buffer.append(track, 10 * S, 2 * S, (track == 0).then_some(108_000_000), &mut figures);
        }
        assert_eq!(buffer.level(), 4 * S);
        buffer.advance(11 * S, &mut figures);
        assert_eq!(buffer.wall_clock(), Some(101_000_000));
        buffer.advance(13 * S, &mut figures);
        assert_eq!((buffer.level(), figures.rebuffers, buffer.wall_clock()), (S, 0, Some(109_000_000)));
    }

    #[test]
    fn a_hole_at_an_empty_buffer_moves_the_playhead_at_once() {
        let (mut buffer, mut figures) = new(1);
        buffer.append(0, 10 * S, 2 * S, None, &mut figures);
        buffer.skip(0, 20 * S, 30 * S, &mut figures);
        assert_eq!(buffer.level(), 0);
        buffer.append(0, 20 * S, 4 * S, None, &mut figures);
        buffer.advance(21 * S, &mut figures);
        assert_eq!((buffer.level(), figures.rebuffers), (3 * S, 1));
    }

    #[test]
    fn the_end_is_no_rebuffer() {
        let (mut buffer, mut figures) = new(1);
        buffer.append(0, 10 * S, 2 * S, None, &mut figures);
        buffer.complete();
        buffer.advance(30 * S, &mut figures);
        assert!(buffer.is_ended());
        assert_eq!((figures.rebuffers, figures.rebuffer_us), (0, 0));
    }
}
