//! Where a packager that is made in mid-stream begins: at a cut whose samples the rings still hold.

use super::{Feed, TrackRing};
use crate::es::rendition::RenditionId;
use crate::es::{SampleMeta, TrackKind};
use crate::ring::es::{Entry, Seq};
use crate::ring::rendition::RenditionRing;
use crate::time::MediaTime;
use crate::timeline::Cut;

/// Audio is taken to be complete at a cut when it begins at most this late behind it, 90 kHz ticks.
const AUDIO_LATE_TICKS: i64 = 45_000;

/// Where a packager begins.
pub struct Start {
    /// Number of the segment.
    pub segment: u64,
    /// The track whose sample begins it, and that sample.
    pub track: RenditionId,
    pub seq: Seq,
    pub meta: SampleMeta,
}

/// The oldest cut within the window whose sample is still there and for which no audio was overwritten; where there is none, the
/// newest whose sample is there.
pub fn find_start(feed: &Feed, from: u64, listed_ticks: i64) -> Option<Start> {
    let newest = feed.cuts.back()?.start;
    let candidates = feed.cuts.iter().filter(|cut| cut.segment >= from && newest - cut.start <= listed_ticks);
    let starts = || candidates.clone().filter_map(|cut| start_at(feed, cut));
    starts().find(|start| has_all(feed, start.meta.dts)).or_else(|| starts().next_back())
}

fn start_at(feed: &Feed, cut: &Cut) -> Option<Start> {
    let rings = |kind| feed.rings.iter().filter(move |ring| kind_of(ring) == Some(kind));
    let found = |ring: &TrackRing| {
        let (seq, meta) = find_cut(&ring.ring, cut.start)?;
        Some(Start { segment: cut.segment, track: ring.id, seq, meta })
    };
    rings(TrackKind::Video).find_map(found).or_else(|| rings(TrackKind::Audio).find_map(found))
}

/// Whether all audio from `dts` on is still there.
fn has_all(feed: &Feed, dts: MediaTime) -> bool {
    feed.rings.iter().filter(|ring| kind_of(ring) == Some(TrackKind::Audio)).all(|ring| {
        let overwrote = ring.ring.range().start > 0;
        !overwrote || oldest_dts(&ring.ring).is_none_or(|oldest| oldest - dts <= AUDIO_LATE_TICKS)
    })
}

fn kind_of(ring: &TrackRing) -> Option<TrackKind> {
    ring.newest_track().map(|track| track.kind())
}

/// Sequence number and time stamps of the reference sample that begins a cut at `start`; `None` when the ring lost it.
fn find_cut(ring: &RenditionRing, start: MediaTime) -> Option<(Seq, SampleMeta)> {
    samples(ring).find(|(_, meta)| meta.pts == start)
}

/// DTS of the oldest sample that is left.
fn oldest_dts(ring: &RenditionRing) -> Option<MediaTime> {
    samples(ring).next().map(|(_, meta)| meta.dts)
}

/// The ring's samples, oldest first.
pub fn samples(ring: &RenditionRing) -> impl DoubleEndedIterator<Item = (Seq, SampleMeta)> {
    ring.iter_from(0).filter_map(|(seq, entry)| match entry {
        Entry::Sample { meta, .. } => Some((seq, *meta)),
        _ => None,
    })
}

/// DTS of the newest sample.
pub fn newest_dts(ring: &RenditionRing) -> Option<MediaTime> {
    samples(ring).next_back().map(|(_, meta)| meta.dts)
}
