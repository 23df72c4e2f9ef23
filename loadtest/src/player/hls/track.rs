//! A media playlist with the place in it: where playback begins, where it goes on in another version or variant.
//!
//! What it deliberately does not do: fetch.

use super::super::Micros;
use super::super::playlist::{Media, Segment};
use super::super::session::Retry;
use crate::check::playlist::PlaylistCheck;
use std::rc::Rc;

/// Target durations behind the end of the playlist at which playback begins (6.3.3).
const LIVE_DISTANCE: u64 = 3;

/// A media playlist and the place in it.
#[derive(Debug)]
pub(super) struct Track {
    pub url: Rc<str>,
    pub media: Option<Media>,
    /// The playlist is of another variant than the place.
    pub is_switching: bool,
    /// When it is to be loaded next; `None` after EXT-X-ENDLIST.
    pub reload: Option<Micros>,
    pub retry: Retry,
    /// Media Sequence Number of the next segment; `None` before playback began.
    pub next: Option<u64>,
    /// Where playback began, for the other track to begin beside it.
    pub first: Option<Segment>,
    /// Where the last segment ended: discontinuities before it and date, to find the place in another playlist.
    pub end: Option<(u64, Option<i64>)>,
    pub check: Option<PlaylistCheck>,
}

impl Track {
    pub fn new(url: Rc<str>, now: Micros, is_checked: bool) -> Track {
        let check = is_checked.then(|| PlaylistCheck::new(&*url));
        let retry = Retry::default();
        Track {
            url,
            media: None,
            is_switching: false,
            reload: Some(now),
            retry,
            next: None,
            first: None,
            end: None,
            check,
        }
    }

    /// Where playback goes on in a new version, or in another variant's playlist.
    pub fn place(&self, media: &Media, next: u64) -> u64 {
        let is_dated = media.segments.last().is_some_and(|segment| segment.program_date_time.is_some());
        if let Some((_, Some(date))) = self.end.filter(|_| self.is_switching && is_dated) {
            // Encoders may cut variants a frame apart: the segment that begins nearest, or the one that is listed next.
            let is_near = |segment: &&Segment| {
                segment.program_date_time.is_some_and(|begin| begin + segment.duration_us as i64 / 2 > date)
            };
            return media.segments.iter().find(is_near).map_or(media.next_sequence(), |segment| segment.sequence);
        }
        // Numbered anew, below all that was listed: the server began again.
        match self.media.as_ref() {
            Some(last) if media.next_sequence() <= last.media_sequence => start(media).unwrap_or(media.next_sequence()),
            _ => next,
        }
    }

    /// Listed and not fetched.
    pub fn listed_us(&self) -> Micros {
        let Some((media, next)) = self.media.as_ref().zip(self.next) else { return 0 };
        media.segments.iter().filter(|segment| segment.sequence >= next).map(|segment| segment.duration_us).sum()
    }
}

/// Media Sequence Number at which playback begins: the last segment that begins three target durations before the end, or the first; from its
/// beginning where the playlist ended.
pub(super) fn start(media: &Media) -> Option<u64> {
    let first = media.segments.first()?;
    if media.is_ended {
        return Some(first.sequence);
    }
    let mut behind = 0;
    let far = media.segments.iter().rev().find(|segment| {
        behind += segment.duration_us;
        behind >= LIVE_DISTANCE.saturating_mul(media.target_us()) && !segment.is_gap
    });
    Some(far.unwrap_or(first).sequence)
}

/// The place in `media` that goes with a segment of another track: by date, else by number.
pub(super) fn beside(media: &Media, other: &Segment) -> Option<u64> {
    let by_date = other.program_date_time.and_then(|date| {
        let ends_after = |segment: &&Segment| end_date(segment).is_some_and(|end| end > date + SLACK_US);
        media.segments.iter().find(ends_after)
    });
    by_date.or_else(|| media.segment(other.sequence)).map(|segment| segment.sequence)
}

/// Dates are written to the millisecond, and audio is cut at frames of its own.
const SLACK_US: i64 = 100_000;

pub(super) fn end_date(segment: &Segment) -> Option<i64> {
    Some(segment.program_date_time? + segment.duration_us as i64)
}

/// Media between the end of what was fetched and segment `live`: by date, else by what segments last as a rule.
pub(super) fn missing_us(media: &Media, end: Option<(u64, Option<i64>)>, next: u64, live: u64) -> Micros {
    let date = media.segment(live).and_then(|segment| segment.program_date_time);
    if let Some((end, begin)) = end.and_then(|(_, date)| date).zip(date) {
        return begin.saturating_sub(end).max(0).unsigned_abs();
    }
    let sum: Micros = media.segments.iter().map(|segment| segment.duration_us).sum();
    (sum / media.segments.len().max(1) as u64).saturating_mul(live.saturating_sub(next))
}
