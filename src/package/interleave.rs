//! Merges the rings of a channel into the order of a multiplex: lowest DTS first among what has arrived.
//!
//! In live operation that is nearly the order of arrival; in a backfill it is DTS order. A video sample waits only when
//! a live audio track lags more than the one second behind it that a PCR can serve (`mpegts::mux::pcr`), the source's own
//! PCR does not settle it, and no longer than [`LAGGARD_HOLD_TICKS`] of media time. What it deliberately does not do: hold samples. All it keeps are cursors.

use super::start::{newest_dts, samples};
use super::{Feed, TrackRing};
use crate::es::rendition::RenditionId;
use crate::es::{SampleMeta, Track, TrackKind};
use crate::limits::{LAGGARD_HOLD_TICKS, TRANSCODE_LATE_TICKS};
use crate::mpegts::mux::pcr::LEAD_TICKS;
use crate::ring::es::{Cursor, Entry, Next, Seq};
use crate::ring::rendition::RenditionRing;
use crate::time::MediaTime;
use std::collections::VecDeque;
use std::sync::Arc;

/// A track that has not begun is taken to lie this far behind the first sample, 90 kHz ticks.
const LATE_START_TICKS: i64 = 72_000;

/// One track's place in the merge.
pub struct Lane {
    pub id: RenditionId,
    /// Of the ring that is read.
    serial: u64,
    pub kind: TrackKind,
    /// Description in force for the next sample; `None` until one was met.
    pub track: Option<Arc<Track>>,
    /// Whether its samples go into the multiplex.
    pub wanted: bool,
    cursor: Cursor,
    head: Option<SampleMeta>,
    /// DTS of the sample taken last.
    reached: Option<MediaTime>,
    /// Its newest sample in the ring.
    newest: Option<MediaTime>,
}

/// What happened on a lane between samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A description began, changed or ended.
    Tracks,
    /// The ring overwrote samples of this track that were not read.
    Lost(RenditionId, u64),
}

/// The sample to mux next.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// Index into [`Interleave::lanes`].
    pub lane: usize,
    pub meta: SampleMeta,
    /// No audio or video sample behind this one will have a smaller DTS.
    pub ceiling: MediaTime,
}

#[derive(Default)]
pub struct Interleave {
    /// The renditions that are merged.
    renditions: Vec<RenditionId>,
    lanes: Vec<Lane>,
    begun: Option<MediaTime>,
    events: VecDeque<Event>,
}

impl Interleave {
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Places all cursors at a start: the reference track's at `seq`, the others' at their first sample that is not
    /// before it in DTS.
    pub fn start(&mut self, feed: &Feed, reference: RenditionId, seq: Seq, dts: MediaTime) {
        self.lanes.clear();
        self.events.clear();
        self.begun = Some(dts);
        for ring in feed.rings.iter().filter(|ring| self.renditions.contains(&ring.id)) {
            let next = if ring.id == reference { seq } else { seq_at_dts(&ring.ring, dts) };
            self.lanes.extend(lane(ring, next));
        }
    }

    /// What is merged from now on.
    pub fn set_renditions(&mut self, renditions: Vec<RenditionId>) {
        self.renditions = renditions;
    }
    pub fn renditions(&self) -> &[RenditionId] {
        &self.renditions
    }

    /// Takes note of rings that came and went. Call before a run of [`Interleave::next`].
    pub fn sync(&mut self, feed: &Feed) {
        let before = self.lanes.len();
        self.lanes.retain(|lane| self.renditions.contains(&lane.id) && ring_of(feed, lane.id).is_some());
        if self.lanes.len() < before {
            self.events.push_back(Event::Tracks);
        }
        for ring in feed.rings.iter().filter(|ring| self.renditions.contains(&ring.id)) {
            match self.lanes.iter_mut().find(|lane| lane.id == ring.id) {
                Some(lane) if lane.serial != ring.serial => {
                    lane.serial = ring.serial;
                    lane.cursor.next = ring.ring.range().start;
                    self.events.push_back(Event::Lost(ring.id, 0));
                }
                Some(_) => {}
                None => {
                    self.lanes.extend(lane(ring, ring.ring.range().start));
                    self.events.push_back(Event::Tracks);
                }
            }
        }
        for lane in &mut self.lanes {
            lane.head = None;
            lane.newest = ring_of(feed, lane.id).and_then(newest_dts).max(lane.newest);
        }
    }

    /// The next sample in order, or nothing when there is none or it has to wait. Does not move on: [`Interleave::take`] does.
    pub fn next(&mut self, feed: &Feed) -> Option<Pick> {
        for lane in &mut self.lanes {
            if lane.head.is_none() {
                lane.advance(feed, &mut self.events);
            }
        }
        let ready = self.lanes.iter().enumerate().filter_map(|(i, lane)| Some((i, lane, lane.head?)));
        let (lane, _, meta) = ready.min_by_key(|(i, lane, meta)| (meta.dts, lane.kind != TrackKind::Video, *i))?;
        let ceiling = self.ceiling(meta.pcr.is_some());
        if self.waits_for_encoder(feed, meta.dts) {
            return None;
        }
        if self.lanes[lane].kind == TrackKind::Data {
            return Some(Pick { lane, meta, ceiling });
        }
        // The lowest PCR that serves this sample. A source that says its PCR is believed to serve the lagging ones as well.
        let needed = meta.dts + -LEAD_TICKS;
        let waits = needed > ceiling && meta.pcr.is_none_or(|pcr| needed > pcr);
        (!waits).then_some(Pick { lane, meta, ceiling: ceiling.max(needed + 1) })
    }

    /// Whether a sample has to wait for an encoded rendition, which comes later than the source it is made of, or for the source's picture, whose cuts
    /// sound alone is cut by. Not for longer than [`TRANSCODE_LATE_TICKS`] of media.
    fn waits_for_encoder(&self, feed: &Feed, dts: MediaTime) -> bool {
        let is_encoded = |lane: &&Lane| lane.id.encoding.is_some() && lane.wanted;
        let lagging = self.lanes.iter().filter(is_encoded).filter(|lane| lane.head.is_none());
        let oldest = lagging.map(|lane| lane.reached.or(self.begun).unwrap_or(MediaTime(i64::MIN))).min();
        let picture = super::picture_of(feed)
            .filter(|ring| self.lanes.iter().all(|lane| lane.kind != TrackKind::Video && lane.id != ring.id));
        let shown = picture.and_then(|ring| newest_dts(&ring.ring));
        let newest = || {
            feed.rings.iter().filter(|ring| ring.id.encoding.is_none()).filter_map(|ring| newest_dts(&ring.ring)).max()
        };
        let bound = oldest.into_iter().chain(shown).min();
        bound.is_some_and(|bound| dts > bound && newest().is_none_or(|newest| newest - bound <= TRANSCODE_LATE_TICKS))
    }

    /// What was met on the way to the sample that [`Interleave::next`] named, in order.
    pub fn pop_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The bytes of the picked lane's sample; moves behind it.
    pub fn take<'a>(&mut self, feed: &'a Feed, lane: usize) -> Option<(SampleMeta, &'a [u8])> {
        let lane = &mut self.lanes[lane];
        lane.head = None;
        let Next::Entry(_, Entry::Sample { meta, data }) = ring_of(feed, lane.id)?.next(&mut lane.cursor) else {
            return None;
        };
        lane.reached = Some(meta.dts);
        Some((*meta, data))
    }

    /// The sample that follows in the lane, when it is there and is a sample.
    pub fn peek<'a>(&self, feed: &'a Feed, lane: usize) -> Option<(SampleMeta, &'a [u8])> {
        let lane = &self.lanes[lane];
        let mut probe = lane.cursor;
        match ring_of(feed, lane.id)?.next(&mut probe) {
            Next::Entry(_, Entry::Sample { meta, data }) => Some((*meta, data)),
            _ => None,
        }
    }

    /// The lowest DTS still to come, as far as it can be told. Where the source sends no PCR to go by, a track that has not
    /// begun is reckoned with too.
    fn ceiling(&self, has_pcr: bool) -> MediaTime {
        let timed = || self.lanes.iter().filter(|lane| lane.wanted && lane.kind != TrackKind::Data);
        let newest = timed().filter_map(|lane| lane.newest).max();
        let late = newest.map_or(MediaTime(i64::MIN), |newest| newest + -(LEAD_TICKS + LAGGARD_HOLD_TICKS));
        timed()
            .filter_map(|lane| match lane.head {
                Some(head) => Some(head.dts),
                None => {
                    let begin = self.begun.filter(|_| !has_pcr).map(|begun| begun + -LATE_START_TICKS);
                    let reached = lane.reached.or(begin)?;
                    (reached > late).then_some(reached)
                }
            })
            .min()
            .unwrap_or(MediaTime(i64::MAX))
    }
}

impl Lane {
    /// Reads up to the next wanted sample and leaves the cursor on it.
    fn advance(&mut self, feed: &Feed, events: &mut VecDeque<Event>) {
        let Some(ring) = ring_of(feed, self.id) else { return };
        loop {
            let mut probe = self.cursor;
            match ring.next(&mut probe) {
                Next::Empty => return,
                Next::Entry(_, Entry::Sample { meta, .. }) if self.wanted => {
                    self.head = Some(*meta);
                    return;
                }
                Next::Entry(_, Entry::Track(track)) => {
                    self.describe(track.clone());
                    events.push_back(Event::Tracks);
                }
                Next::Entry(_, Entry::End) => {
                    self.wanted = false;
                    events.push_back(Event::Tracks);
                }
                Next::Entry(..) => {}
                Next::Lost(count) => {
                    if let Some(track) = ring.track_at(probe.next) {
                        self.describe(track.clone());
                    }
                    events.push_back(Event::Lost(self.id, count));
                }
            }
            self.cursor = probe;
        }
    }

    fn describe(&mut self, track: Arc<Track>) {
        self.kind = track.kind();
        self.wanted = super::mpegts::fits_ts(&track);
        self.track = Some(track);
    }
}

fn lane(ring: &TrackRing, next: Seq) -> Option<Lane> {
    let track = ring.ring.track_at(next)?.clone();
    let mut lane = Lane {
        id: ring.id,
        serial: ring.serial,
        kind: track.kind(),
        track: None,
        wanted: false,
        cursor: Cursor { next },
        head: None,
        reached: None,
        newest: None,
    };
    lane.describe(track);
    Some(lane)
}

fn ring_of(feed: &Feed, id: RenditionId) -> Option<&RenditionRing> {
    feed.rings.iter().find(|ring| ring.id == id).map(|ring| &ring.ring)
}

fn seq_at_dts(ring: &RenditionRing, dts: MediaTime) -> Seq {
    samples(ring).find(|(_, meta)| meta.dts >= dts).map_or(ring.range().end, |(seq, _)| seq)
}
