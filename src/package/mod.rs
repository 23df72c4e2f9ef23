//! The processors: what turns samples into each format's bytes and text.
//!
//! A packager is made lazily, when somebody first asks for its format. It reads the channel's [`Feed`] with plain cursors,
//! is backfilled from it at existing cuts, and writes an immutable store that viewers on every shard read.
//!
//! | file | what it holds |
//! |---|---|
//! | `mpegts.rs` | the TS packager: one store that continuous viewers and HLS-TS segments share |
//! | `hls_ts.rs` | HLS playlists over that store's window |
//! | `cmaf/` | the CMAF packager: a store for each track rendition, whose chunks HLS-fMP4 and DASH share |
//! | `hls_fmp4.rs`, `dash.rs` | playlists and MPD over those stores' windows |
//! | `start.rs` | where a packager begins |
//! | `interleave.rs` | rings merged into the order of a multiplex |
//! | `window.rs` | the sliding window of segments |
#![forbid(unsafe_code)]

pub mod cmaf;
mod dash;
mod hls_fmp4;
pub mod hls_ts;
pub mod interleave;
pub mod mpegts;
pub(crate) mod start;
pub mod window;

use crate::es::rendition::RenditionId;
use crate::es::{Track, TrackId, TrackKind};
use crate::limits::WINDOW_TARGETS_MIN;
use crate::ring::es::EsRing;
use crate::ring::rendition::RenditionRing;
use crate::time::Now;
use crate::timeline::Cut;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a channel's session holds for its packagers: a ring per track rendition and the cuts they share.
pub struct Feed {
    pub rings: Vec<TrackRing>,
    /// The newest cuts, oldest first; a cut stays while its sample is in the reference track's ring.
    pub cuts: VecDeque<Cut>,
}

impl Feed {
    /// The source's own tracks that have a ring.
    pub fn sources(&self) -> Vec<RenditionId> {
        self.rings.iter().map(|ring| ring.id).filter(|id| id.encoding.is_none()).collect()
    }
    /// The ring of the source's own track.
    pub fn source_mut(&mut self, track: TrackId) -> Option<&mut EsRing> {
        let is_it = |ring: &&mut TrackRing| ring.id.track == track && ring.id.encoding.is_none();
        self.rings.iter_mut().find(is_it)?.ring.source_mut()
    }
}

/// The source's picture, at whose samples the cuts are made; `None` for a source without.
fn picture_of(feed: &Feed) -> Option<&TrackRing> {
    let is_it = |ring: &&TrackRing| ring.id.kind == TrackKind::Video && ring.id.encoding.is_none();
    feed.rings.iter().filter(is_it).find(|ring| ring.newest_track().is_some())
}

/// One rendition's ring. Its newest description is in the ring itself ([`RenditionRing::track_at`]).
pub struct TrackRing {
    pub id: RenditionId,
    /// Tells this ring from one of the same rendition that stood here before, whose numbers mean nothing in this one.
    pub serial: u64,
    pub ring: RenditionRing,
}

impl TrackRing {
    /// The ring of the source's own track.
    pub fn source(track: &Track, ring: EsRing) -> TrackRing {
        let id = RenditionId::source(track.id, track.kind());
        TrackRing { id, serial: 0, ring: RenditionRing::Source(ring) }
    }

    /// The newest description; `None` for an empty ring.
    pub fn newest_track(&self) -> Option<&Arc<Track>> {
        self.ring.track_at(self.ring.range().end.checked_sub(1)?)
    }
}

/// A playlist or MPD, rendered once and sent to all who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Empty as long as there is nothing to list.
    pub body: Bytes,
    /// Entity tag with its quotes; another one for every change of the body.
    pub etag: Arc<str>,
}

impl Default for Text {
    fn default() -> Text {
        Text { body: Bytes::new(), etag: "".into() }
    }
}

impl Text {
    pub fn new(body: String, etag: String) -> Text {
        Text { body: body.into(), etag: etag.into() }
    }
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

/// A processor of one container, made when somebody first asks for it.
pub trait Packager {
    /// Reads what is new in the rings, muxes it, and publishes what is due.
    fn pull(&mut self, feed: &Feed, now: Now) -> Pulled;
}

/// What a pull did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// All that is there was read.
    All,
    /// Stopped at its bound: pull again soon.
    More,
}

/// Media that a playlist lists at least, 90 kHz ticks: `window_ms`, and three target durations (RFC 8216 6.2.2).
fn listed_ticks(window_ms: u64, target_duration_s: u64) -> i64 {
    window_ms.max(WINDOW_TARGETS_MIN * target_duration_s * 1_000) as i64 * 90
}
