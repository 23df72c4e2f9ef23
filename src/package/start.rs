//! Where a packager that is made in mid-stream begins: at a cut whose samples the rings still hold.

use super::{Feed, TrackRing};
use crate::es::rendition::RenditionId;
use crate::es::{Key, SampleMeta, TrackKind};
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

/// The oldest cut within the window that `ids` have whole: whose sample is still there, for which no audio was overwritten, and behind which every encoded
/// rendition has begun. Where there is none, the newest whose sample is there.
pub fn find_start(feed: &Feed, ids: &[RenditionId], from: u64, listed_ticks: i64) -> Option<Start> {
    let newest = feed.cuts.back()?.start;
    let candidates = feed.cuts.iter().filter(|cut| cut.segment >= from && newest - cut.start <= listed_ticks);
    let starts = || candidates.clone().filter_map(|cut| start_at(feed, ids, cut));
    starts().find(|start| has_all(feed, ids, start.meta.dts)).or_else(|| starts().next_back())
}

fn start_at(feed: &Feed, ids: &[RenditionId], cut: &Cut) -> Option<Start> {
    let rings = || feed.rings.iter().filter(|ring| ids.contains(&ring.id));
    let has_begun = |ring: &TrackRing| {
        let oldest = samples(&ring.ring).next().map(|(_, meta)| meta.pts);
        oldest.is_some_and(|oldest| oldest - cut.start <= AUDIO_LATE_TICKS) && find_cut(ring, cut.start).is_some()
    };
    let encoded = ids.iter().filter(|id| id.encoding.is_some());
    if !encoded.clone().all(|id| rings().find(|ring| ring.id == *id).is_some_and(has_begun)) {
        return None;
    }
    let of_kind = |kind| rings().filter(move |ring| kind_of(ring) == Some(kind));
    let has_video = of_kind(TrackKind::Video).next().is_some();
    let found = |ring: &TrackRing| {
        let (seq, meta) = find_cut(ring, cut.start)?;
        // Sound cuts a picture's segments only where it stood in for it.
        let fits = meta.pts == cut.start || ring.id.kind == TrackKind::Video || !has_video;
        fits.then_some(Start { segment: cut.segment, track: ring.id, seq, meta })
    };
    of_kind(TrackKind::Video).find_map(found).or_else(|| of_kind(TrackKind::Audio).find_map(found))
}

/// Whether all audio from `dts` on is still there.
fn has_all(feed: &Feed, ids: &[RenditionId], dts: MediaTime) -> bool {
    let is_audio = |ring: &&TrackRing| ids.contains(&ring.id) && kind_of(ring) == Some(TrackKind::Audio);
    feed.rings.iter().filter(is_audio).all(|ring| {
        let overwrote = ring.ring.range().start > 0;
        !overwrote || oldest_dts(&ring.ring).is_none_or(|oldest| oldest - dts <= AUDIO_LATE_TICKS)
    })
}

fn kind_of(ring: &TrackRing) -> Option<TrackKind> {
    ring.newest_track().map(|track| track.kind())
}

/// Sequence number and time stamps of the sample that begins a segment cut at `start`: the one with that PTS, and where the cut was made at another track's
/// sample, or at one that an encoder has dropped, the next that may begin one. `None` when the ring lost it, or it is yet to come.
fn find_cut(ring: &TrackRing, start: MediaTime) -> Option<(Seq, SampleMeta)> {
    let exact = samples(&ring.ring).find(|(_, meta)| meta.pts == start);
    let is_own = ring.id.kind == TrackKind::Video && ring.id.encoding.is_none();
    exact
        .or_else(|| samples(&ring.ring).filter(|_| !is_own).find(|(_, meta)| meta.pts >= start && meta.key > Key::None))
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
