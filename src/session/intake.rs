//! The demuxer's sink: paces, places and stores what it finds, into the rings that packagers read.
#![forbid(unsafe_code)]

use super::RingSize;
use crate::es::{Codec, Track, TrackId, TrackKind};
use crate::limits::TRACKS_MAX;
use crate::mpegts::demux::{Flow, RawSample, Sink};
use crate::mpegts::mux::scte35;
use crate::package::{Feed, TrackRing};
use crate::ring::es::EsRing;
use crate::time::Now;
use crate::timeline::pacer::Pacer;
use crate::timeline::{RawTiming, Timeline};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) struct Intake {
    pub timeline: Timeline,
    pub feed: Feed,
    /// The source's tracks now, in PMT order.
    pub tracks: Vec<Arc<Track>>,
    /// Grows by one whenever `tracks` changes.
    pub tracks_version: u32,
    /// Monotonic time at which the demuxer may go on, set when the pacer said wait.
    pub resume_us: Option<u64>,
    /// Samples placed on the timeline.
    pub placed: u64,
    /// Samples the timeline or a ring refused.
    pub dropped: u64,
    /// Entries pushed to rings, samples and others.
    pub pushed: u64,
    pacer: Option<Pacer>,
    video_ring: RingSize,
    audio_ring: RingSize,
    ended: Vec<TrackId>,
    /// The splice section in hand, its times moved to the output timeline.
    section: Vec<u8>,
    now: Now,
}

impl Intake {
    pub fn new(timeline: Timeline, pacer: Option<Pacer>, video_ring: RingSize, audio_ring: RingSize) -> Self {
        Intake {
            timeline,
            feed: Feed { rings: Vec::new(), cuts: VecDeque::new() },
            tracks: Vec::new(),
            tracks_version: 0,
            resume_us: None,
            placed: 0,
            dropped: 0,
            pushed: 0,
            pacer,
            video_ring,
            audio_ring,
            ended: Vec::new(),
            section: Vec::new(),
            now: Now { mono_us: 0, unix_us: 0 },
        }
    }

    /// Sets the clock reading that holds for the calls that follow.
    pub fn begin(&mut self, now: Now) {
        self.now = now;
    }

    /// The source stopped; what comes next may have any time stamps.
    pub fn source_break(&mut self, now: Now) {
        self.timeline.source_break(now);
        if let Some(pacer) = &mut self.pacer {
            pacer.restart();
        }
        for ring in self.feed.rings.iter_mut().filter_map(|ring| ring.ring.source_mut()) {
            ring.push_gap();
            self.pushed += 1;
        }
    }

    /// Forgets rings whose end every packager has read.
    pub fn drop_ended_rings(&mut self) {
        if !self.ended.is_empty() {
            let ended = std::mem::take(&mut self.ended);
            self.feed.rings.retain(|r| r.id.encoding.is_some() || !ended.contains(&r.id.track));
        }
    }

    fn announce(&mut self, track: &Track) {
        let known = self.tracks.iter().any(|t| **t == *track);
        if known {
            return;
        }
        self.ended.retain(|id| *id != track.id); // It came back before its ring was dropped.
        let Some(ring) = self.ring_for(track) else { return };
        ring.push_track(Arc::new(track.clone()));
        self.pushed += 1;
    }

    /// The track's ring, made at first need; `None` when there is no room or no memory for one more.
    fn ring_for(&mut self, track: &Track) -> Option<&mut EsRing> {
        let sources = || self.feed.rings.iter().filter(|ring| ring.id.encoding.is_none());
        if sources().all(|ring| ring.id.track != track.id) {
            if sources().count() >= TRACKS_MAX {
                return None;
            }
            let size = if track.kind() == TrackKind::Video { self.video_ring } else { self.audio_ring };
            let ring = EsRing::new(size.samples_max, size.bytes_max);
            let ring = ring.inspect_err(|error| {
                tracing::warn!(track = track.id.0, %error, "no ring for the track: it is left out");
            });
            self.feed.rings.push(TrackRing::source(track, ring.ok()?));
        }
        self.feed.source_mut(track.id)
    }

    fn end_removed(&mut self, tracks: &[Track]) {
        for old in &self.tracks {
            if tracks.iter().all(|t| t.id != old.id)
                && let Some(ring) = self.feed.source_mut(old.id)
            {
                ring.push_end();
                self.pushed += 1;
                self.ended.push(old.id);
            }
        }
    }

    /// Moves the splice times of a section that was just placed along with its stretch of time. False when it is none that can be moved:
    /// it would point anywhere.
    fn shift_splice(&mut self, sample: &RawSample<'_>) -> bool {
        self.section.clear();
        let offset_90k = self.timeline.offset_90k(sample.track);
        offset_90k.is_some_and(|offset_90k| scte35::shift(sample.data, offset_90k, &mut self.section))
    }

    /// A cut is of use while the reference track's ring still holds its sample.
    fn forget_old_cuts(&mut self) {
        let samples_max = self.video_ring.samples_max.max(self.audio_ring.samples_max);
        while self.feed.cuts.len() > samples_max {
            self.feed.cuts.pop_front();
        }
    }
}

impl Sink for Intake {
    fn tracks(&mut self, tracks: &[Track]) {
        self.end_removed(tracks);
        for track in tracks {
            self.announce(track);
        }
        self.tracks = tracks.iter().cloned().map(Arc::new).collect();
        self.tracks_version = self.tracks_version.wrapping_add(1);
        self.timeline.set_tracks(tracks);
    }

    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow {
        self.timeline.pcr(pcr_27m, discontinuity, self.now);
        let resume = self.pacer.as_mut().and_then(|p| p.on_pcr(pcr_27m, discontinuity, self.now));
        match resume {
            Some(at_us) => {
                self.resume_us = Some(at_us);
                Flow::Pause
            }
            None => Flow::Continue,
        }
    }

    fn sample(&mut self, sample: RawSample<'_>) {
        let Some(track) = self.tracks.iter().find(|t| t.id == sample.track) else { return };
        let timing = RawTiming {
            track: sample.track,
            kind: track.kind(),
            pts: sample.pts,
            dts: sample.dts,
            key: sample.key,
            header_len: sample.header_len,
            corrupt: sample.corrupt,
        };
        let is_splice = track.codec == Codec::Scte35;
        let Ok(placed) = self.timeline.place(&timing, self.now) else {
            self.dropped += 1;
            return;
        };
        if is_splice && !self.shift_splice(&sample) {
            self.dropped += 1;
            return;
        }
        let data = if is_splice { &self.section } else { sample.data };
        let Some(ring) = self.feed.source_mut(sample.track) else { return };
        if ring.push(placed.meta, data).is_none() {
            self.dropped += 1;
            return;
        }
        self.placed += 1;
        self.pushed += 1;
        if let Some(cut) = placed.cut {
            self.feed.cuts.push_back(cut);
            self.forget_old_cuts();
        }
    }
}
