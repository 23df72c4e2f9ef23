//! Brings a source track's samples to a transcoder: from some segments back, and from then on as they come.

use crate::es::{Key, SampleMeta, TrackId, TrackKind};
use crate::limits::{TRANSCODE_BACKFILL_SEGMENTS, TRANSCODE_LAG_TICKS_MAX};
use crate::package::start::{newest_dts, samples};
use crate::package::{Feed, TrackRing};
use crate::ring::branch::Progress;
use crate::ring::doorbell::Doorbell;
use crate::ring::es::{Cursor, Entry, Next, Seq};
use crate::ring::rendition::RenditionRing;
use crate::ring::spsc::{NoRoom, Producer};
use crate::time::MediaTime;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) struct Feeder {
    track: TrackId,
    cursor: Cursor,
    input: Producer,
    doorbell: Arc<Doorbell>,
    /// Samples were left out: the worker is to be told before the next one.
    owes_gap: bool,
    /// Pictures are left out up to the next key.
    needs_key: bool,
    /// Of the outputs that the branch was made for.
    progress: Vec<Arc<Progress>>,
    is_over: bool,
}

/// Where a track is to be read from: at the cut so many segments back, or the oldest there is, behind `after`; else with what comes next.
pub(super) fn begin(ring: &TrackRing, feed: &Feed, after: Option<MediaTime>) -> Seq {
    let is_video = ring.id.kind == TrackKind::Video;
    let is_new = |start: MediaTime| after.is_none_or(|after| start > after);
    let recent = feed.cuts.iter().rev().take(TRANSCODE_BACKFILL_SEGMENTS + 1).filter(|cut| is_new(cut.start));
    let at = |start: MediaTime| match is_video {
        // A picture at a cut that is no key cannot be entered at.
        true => samples(&ring.ring).find(|(_, meta)| meta.pts == start && meta.key > Key::None).map(|(seq, _)| seq),
        false => ring.ring.seq_at_or_after_pts(start),
    };
    let from_cut = recent.filter_map(|cut| at(cut.start)).next_back();
    let is_entry = |meta: &SampleMeta| meta.key > Key::None && is_new(meta.pts);
    let newest_key = || samples(&ring.ring).rev().find(|(_, meta)| is_entry(meta)).map(|(seq, _)| seq);
    from_cut.or_else(newest_key).unwrap_or(ring.ring.range().end)
}

impl Feeder {
    pub fn new(
        track: TrackId,
        begin: Seq,
        input: Producer,
        doorbell: Arc<Doorbell>,
        progress: Vec<Arc<Progress>>,
    ) -> Feeder {
        Feeder {
            track,
            cursor: Cursor { next: begin },
            input,
            doorbell,
            owes_gap: false,
            needs_key: true,
            progress,
            is_over: false,
        }
    }

    /// The worker has joined the branch to another, or is gone.
    pub fn is_over(&self) -> bool {
        self.is_over || self.input.is_abandoned()
    }

    /// Pushes what is new, as far as there is room.
    pub fn feed(&mut self, feed: &Feed) {
        let is_source = |ring: &&TrackRing| ring.id.track == self.track && ring.id.encoding.is_none();
        let Some(source) = feed.rings.iter().find(is_source) else {
            // The track is gone, and its end was read or is not to be had.
            self.is_over = true;
            return;
        };
        let before = self.cursor;
        self.skip_when_late(&source.ring);
        while !self.is_over() && self.push_next(&source.ring, feed) {}
        if self.cursor != before {
            self.doorbell.ring();
        }
    }

    /// Pushes the next entry; false when there is none, or no room for it.
    fn push_next(&mut self, ring: &RenditionRing, feed: &Feed) -> bool {
        let mut probe = self.cursor;
        let pushed = match ring.next(&mut probe) {
            Next::Empty => return false,
            Next::Lost(count) => {
                self.lost(count);
                Ok(())
            }
            Next::Entry(_, Entry::Sample { meta, data }) => self.push_sample(meta, data, feed),
            Next::Entry(_, Entry::Track(track)) => self.input.push_track(track.clone()).map(drop),
            Next::Entry(_, Entry::Gap) => self.input.push_gap().map(drop),
            Next::Entry(_, Entry::End) => self.input.push_end().map(drop).inspect(|()| self.is_over = true),
        };
        match pushed {
            Ok(()) => {}
            Err(NoRoom::Full) => return false,
            Err(NoRoom::TooLarge) => self.lost(1),
        }
        self.cursor = probe;
        true
    }

    fn push_sample(&mut self, meta: &SampleMeta, data: &[u8], feed: &Feed) -> Result<(), NoRoom> {
        let is_video = feed.rings.iter().any(|ring| ring.id.track == self.track && ring.id.kind == TrackKind::Video);
        if is_video && self.needs_key && meta.key == Key::None {
            self.count_skipped(1);
            return Ok(());
        }
        if self.owes_gap {
            self.input.push_gap()?;
            self.owes_gap = false;
        }
        // Where the timeline cut without a key of the source's, encoders still make one.
        let is_cut = || feed.cuts.binary_search_by_key(&meta.pts, |cut| cut.start).is_ok();
        let key = if is_video && meta.key == Key::None && is_cut() { Key::Idr } else { meta.key };
        self.input.push(SampleMeta { key, ..*meta }, data)?;
        self.needs_key = false;
        Ok(())
    }

    fn lost(&mut self, count: u64) {
        self.count_skipped(count);
        self.owes_gap = true;
        self.needs_key = true;
    }

    fn count_skipped(&self, count: u64) {
        for progress in &self.progress {
            progress.skipped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A worker that is too far behind goes on at the newest key.
    fn skip_when_late(&mut self, ring: &RenditionRing) {
        let dts = |entry: Option<Entry<'_>>| match entry {
            Some(Entry::Sample { meta, .. }) => Some(meta.dts),
            _ => None,
        };
        let (Some(at), Some(newest)) = (dts(ring.get(self.cursor.next)), newest_dts(ring)) else { return };
        if newest - at <= TRANSCODE_LAG_TICKS_MAX {
            return;
        }
        let key = samples(ring).rev().find(|(_, meta)| meta.key > Key::None);
        if let Some((seq, _)) = key.filter(|(seq, _)| *seq > self.cursor.next) {
            let count = seq - self.cursor.next;
            tracing::info!(track = self.track.0, count, "a transcoder is too slow: samples are left out");
            self.lost(count);
            self.cursor.next = seq;
        }
    }
}
