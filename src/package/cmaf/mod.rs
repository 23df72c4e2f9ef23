//! The CMAF packager: a store for each track rendition, which HLS with fMP4 segments and DASH share.
//!
//! ```text
//!  ring (video) ─► Lane ─► store ─┐
//!  ring (audio) ─► Lane ─► store ─┼─► CmafSnapshot: playlist per rendition, multivariant playlist, MPD, segment ranges
//!  cuts ─────────────┴────────────┘
//! ```
//! | file | what it holds |
//! |---|---|
//! | `lane.rs` | one track rendition: samples to segments |
//! | `clock.rs` | decode times in the rendition's timescale |
//! | `chunks.rs` | samples to chunks |
//! | `breaks.rs` | discontinuities of the packager's own, Periods |
//! | `segment.rs` | what a window lists |
//! | `shared.rs` | what viewers on every shard see |
//!
//! Each rendition publishes on its own: one that lags or falls silent holds up no other. The first video track and all audio tracks that
//! CMAF carries become renditions.
//!
//! What it deliberately does not do: invent times, cuts or numbers; wait.

mod breaks;
mod chunks;
mod clock;
mod lane;
mod segment;
mod shared;

pub(super) use clock::scale;
pub use segment::{CmafSegment, Init, PeriodStart};
pub use shared::{CmafShared, CmafSnapshot, Presentation, RenditionSnapshot};

use super::start::{Start, find_start, newest_dts};
use super::{Feed, Packager, Pulled, Text, TrackRing, dash, hls_fmp4, listed_ticks, picture_of};
use crate::es::TrackKind;
use crate::es::carriage::Container;
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::limits::{PULL_BYTES_MAX, TRACK_LATE_TICKS};
use crate::ring::es::Cursor;
use crate::store::Arena;
use crate::time::{MediaTime, Now};
use crate::timeline::Epoch;
use breaks::Breaks;
use lane::{Context, Lane};
use std::sync::Arc;

/// What a CMAF packager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmafPackageConfig {
    /// EXT-X-TARGETDURATION, seconds: the timeline's longest segment.
    pub target_duration_s: u64,
    /// Media listed in a playlist, milliseconds; at least three target durations are.
    pub window_ms: u64,
}

/// What somebody wants of a channel in CMAF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Each with the renditions that it makes of the source.
    pub selections: Vec<(Selection, Vec<RenditionId>)>,
    /// Renditions for themselves.
    pub others: Vec<RenditionId>,
}

impl Wanted {
    pub fn is_empty(&self) -> bool {
        self.selections.is_empty() && self.others.is_empty()
    }
    fn renditions(&self) -> Vec<RenditionId> {
        let of_selections = self.selections.iter().flat_map(|(_, ids)| ids);
        of_selections.chain(&self.others).copied().collect()
    }
}

/// Counters since the packager was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmafStats {
    pub samples: u64,
    /// Samples that the rings overwrote before they were read.
    pub lost: u64,
    /// Samples that fit no segment: without parameters, back in time, empty, or of another description before the next cut.
    pub dropped: u64,
    /// Chunks lost because the arena was full.
    pub store_full: u64,
}

/// The owner's end. See the module.
pub struct CmafPackager {
    config: CmafPackageConfig,
    epoch: Epoch,
    arena: Arc<Arena>,
    shared: Arc<CmafShared>,
    wanted: Wanted,
    lanes: Vec<Lane>,
    breaks: Breaks,
    stats: CmafStats,
    /// A lane went, or something else is wanted, since the last snapshot.
    has_changed: bool,
    /// All that is in the rings was read once: what a rendition lacks now is late.
    is_caught_up: bool,
    /// Of the newest snapshot; from the wall clock on, so that a packager that is made anew in the same epoch gives no entity tag twice.
    version: u64,
}

impl CmafPackager {
    /// A packager that is backfilled from the rings: from the oldest cut on that its window has room for. The first
    /// [`PULL_BYTES_MAX`] of that are muxed and published at once, [`CmafPackager::pull`] goes on.
    pub fn new(
        arena: Arc<Arena>,
        config: CmafPackageConfig,
        epoch: Epoch,
        wanted: Wanted,
        feed: &Feed,
        now: Now,
    ) -> Self {
        let mut packager = CmafPackager {
            config,
            epoch,
            arena,
            shared: Arc::new(CmafShared::new(epoch)),
            wanted,
            lanes: Vec::new(),
            breaks: Breaks::default(),
            stats: CmafStats::default(),
            has_changed: true,
            is_caught_up: false,
            version: now.unix_us,
        };
        packager.pull(feed, now);
        packager
    }

    /// What viewers read, on any shard.
    pub fn shared(&self) -> &Arc<CmafShared> {
        &self.shared
    }

    pub fn stats(&self) -> CmafStats {
        self.stats
    }

    /// What is to be made from now on.
    pub fn set_wanted(&mut self, wanted: Wanted) {
        self.has_changed |= self.wanted != wanted;
        self.wanted = wanted;
    }

    /// Takes note of rings that came, and of lanes that nothing is left of, or that nobody wants. False when there is no cut yet.
    fn sync(&mut self, feed: &Feed) -> bool {
        let count = self.lanes.len();
        let wanted = self.wanted.renditions();
        self.lanes.retain(|lane| wanted.contains(&lane.id) && !lane.is_over());
        self.has_changed |= self.lanes.len() < count;
        let lacks = |ring: &&TrackRing| wanted.contains(&ring.id) && self.lanes.iter().all(|lane| lane.id != ring.id);
        let missing: Vec<&TrackRing> = feed.rings.iter().filter(lacks).collect();
        if !missing.is_empty() {
            let Some(start) = find_start(feed, &feed.sources(), 0, self.listed_ticks()) else {
                return !self.lanes.is_empty();
            };
            for ring in missing {
                let next = first_sample(ring, &start, feed);
                self.lanes.extend(self.lane(ring, next, start.segment));
            }
        }
        true
    }

    /// A lane for a track that CMAF carries.
    fn lane(&self, ring: &TrackRing, next: u64, first: u64) -> Option<Lane> {
        let track = ring.newest_track().filter(|track| Container::Cmaf.carries(track.codec))?;
        let segment_90k_max = self.config.target_duration_s as i64 * 90_000 + 44_999;
        let (arena, listed) = (self.arena.clone(), self.listed_ticks());
        (track.kind() != TrackKind::Data)
            .then(|| Lane::new((ring.id, ring.serial), arena, Cursor { next }, first, listed, segment_90k_max))
    }

    /// How far a lane may read: as far as the reference came. `None` for the reference itself.
    fn reach(&self, feed: &Feed, reference: Option<RenditionId>, index: usize) -> Option<MediaTime> {
        let reference = reference.filter(|id| *id != self.lanes[index].id)?;
        match self.lanes.iter().find(|lane| lane.id == reference) {
            Some(lane) => Some(lane.reached()),
            // A reference that CMAF does not carry has cuts all the same.
            None => feed.rings.iter().find(|ring| ring.id == reference).and_then(|ring| newest_dts(&ring.ring)),
        }
    }

    /// How far the channel's time has come.
    fn now(&self, feed: &Feed, reference: Option<RenditionId>) -> Option<MediaTime> {
        let cut = feed.cuts.back().map(|cut| cut.start);
        let reached = self.lanes.iter().find(|lane| Some(lane.id) == reference).map(Lane::reached);
        cut.max(reached)
    }

    fn expire(&mut self, feed: &Feed, reference: Option<RenditionId>) {
        let now = self.now(feed, reference);
        for lane in &mut self.lanes {
            lane.expire(&mut Context {
                cuts: &feed.cuts,
                breaks: &mut self.breaks,
                stats: &mut self.stats,
                reach: None,
                now,
                budget: &mut 0,
            });
        }
    }

    fn listed_ticks(&self) -> i64 {
        listed_ticks(self.config.window_ms, self.config.target_duration_s)
    }

    /// Puts a new snapshot in place when something changed and all renditions can be shown.
    fn publish(&mut self, now: Now) {
        let mut changed: Vec<RenditionId> = Vec::new();
        for lane in &mut self.lanes {
            if lane.take_news() {
                changed.push(lane.id);
            }
        }
        if changed.is_empty() && !std::mem::take(&mut self.has_changed) {
            return;
        }
        let before = self.shared.snapshot();
        let oldest = self.lanes.iter().filter_map(|lane| Some(lane.window().served().next()?.segment.number())).min();
        self.breaks.forget_before(oldest.unwrap_or(0));
        self.version += 1;
        let shown: Vec<&Lane> = self.lanes.iter().filter(|lane| !lane.inits().is_empty()).collect();
        let renditions = shown.iter().map(|lane| match before.rendition(lane.id) {
            Some(old) if !changed.contains(&lane.id) => old.clone(),
            _ => Arc::new(self.rendition(lane)),
        });
        let renditions: Vec<Arc<RenditionSnapshot>> = renditions.collect();
        let presentations = self.wanted.selections.iter().map(|(selection, ids)| {
            let was_shown = before.presentation(selection).is_some_and(|shown| !shown.multivariant.is_empty());
            self.presentation(*selection, ids, &renditions, was_shown, now)
        });
        let presentations = presentations.collect();
        self.shared.publish(CmafSnapshot { epoch: self.epoch, presentations, renditions });
    }

    fn rendition(&self, lane: &Lane) -> RenditionSnapshot {
        let segments: Box<[CmafSegment]> = lane.window().served().cloned().collect();
        let listed: Vec<&CmafSegment> = lane.window().listed().collect();
        RenditionSnapshot {
            id: lane.id,
            playlist: hls_fmp4::playlist(self.epoch, self.config.target_duration_s, lane.id, &listed),
            store: lane.store().shared().clone(),
            inits: lane.inits().iter().cloned().collect(),
            listed: segments.len() - listed.len()..segments.len(),
            segments,
        }
    }

    fn presentation(
        &self,
        selection: Selection,
        ids: &[RenditionId],
        all: &[Arc<RenditionSnapshot>],
        was_shown: bool,
        now: Now,
    ) -> Presentation {
        let of = |id: &RenditionId| all.iter().find(|rendition| rendition.id == *id).cloned();
        let renditions: Vec<Arc<RenditionSnapshot>> = ids.iter().filter_map(of).collect();
        // What is still being made is waited for; a track of the source that brings nothing is not.
        let has_encoded = ids.iter().filter(|id| id.encoding.is_some()).all(|id| of(id).is_some_and(|r| has_media(&r)));
        let is_presentable = has_encoded && is_presentable(&renditions, was_shown, self.is_caught_up);
        let mut presentation = Presentation {
            selection,
            multivariant: Text::default(),
            mpd: Text::default(),
            mpd_end: dash::common_end(&renditions),
            renditions: renditions.iter().map(|rendition| rendition.id).collect(),
        };
        if is_presentable {
            let etag = |name: &str| format!("\"{name}-{selection}-{}-{}\"", self.epoch.id, self.version);
            let (epoch, window_ms, end) = (self.epoch, self.config.window_ms, presentation.mpd_end);
            let mpd = dash::mpd(epoch, window_ms, &renditions, self.breaks.periods(), end, now);
            presentation.mpd = Text::new(mpd, etag("mpd"));
            presentation.multivariant = Text::new(hls_fmp4::multivariant(epoch, &renditions), etag("fmp4"));
        }
        presentation
    }
}

impl Packager for CmafPackager {
    fn pull(&mut self, feed: &Feed, now: Now) -> Pulled {
        if !self.sync(feed) {
            return Pulled::All;
        }
        let mut budget = PULL_BYTES_MAX;
        let mut pulled = Pulled::All;
        let reference = reference_of(feed);
        // The reference first: the others wait for its cuts and its breaks.
        self.lanes.sort_by_key(|lane| (Some(lane.id) != reference, lane.id));
        for index in 0..self.lanes.len() {
            let reach = self.reach(feed, reference, index);
            let channel_now = self.now(feed, reference);
            let lane = &mut self.lanes[index];
            let Some(ring) = feed.rings.iter().find(|ring| ring.id == lane.id) else {
                lane.end();
                continue;
            };
            lane.follow(ring);
            let mut context = Context {
                cuts: &feed.cuts,
                breaks: &mut self.breaks,
                stats: &mut self.stats,
                reach,
                now: channel_now,
                budget: &mut budget,
            };
            if lane.pull(&ring.ring, &mut context) {
                pulled = Pulled::More;
            }
        }
        if pulled == Pulled::All {
            self.is_caught_up = true;
            self.expire(feed, reference);
        }
        self.publish(now);
        pulled
    }
}

/// Whether players may see the renditions: each has a segment, or the others have waited long enough for it, which `is_caught_up` lets
/// them. One that is missing from the first multivariant playlist is missing for good to a player that has read it. What was shown once
/// stays so, as long as there is media.
fn is_presentable(renditions: &[Arc<RenditionSnapshot>], was_shown: bool, is_caught_up: bool) -> bool {
    let longest = renditions.iter().map(|r| r.listed().iter().map(|s| s.segment.duration_90k).sum()).max().unwrap_or(0);
    let is_late = is_caught_up && longest >= TRACK_LATE_TICKS;
    renditions.iter().any(|r| has_media(r)) && (was_shown || is_late || renditions.iter().all(|r| has_media(r)))
}

fn has_media(rendition: &RenditionSnapshot) -> bool {
    rendition.segments.iter().any(|segment| !segment.is_gap())
}

/// The track of the source whose samples the cuts are made at: the first video, else the first audio.
fn reference_of(feed: &Feed) -> Option<RenditionId> {
    let sound = || feed.rings.iter().find(|ring| ring.id.kind == TrackKind::Audio && ring.id.encoding.is_none());
    picture_of(feed).or_else(sound).map(|ring| ring.id)
}

/// Where a lane that begins at `start` reads first.
fn first_sample(ring: &TrackRing, start: &Start, feed: &Feed) -> u64 {
    if ring.id == start.track {
        return start.seq;
    }
    if ring.id.encoding.is_some() {
        return ring.ring.range().start;
    }
    let cut = feed.cuts.iter().find(|cut| cut.segment == start.segment).map_or(start.meta.pts, |cut| cut.start);
    ring.ring.seq_at_or_after_pts(cut).unwrap_or(ring.ring.range().end)
}
