//! What a CMAF rendition's window lists: segments and the init segments they need.

use crate::es::Track;
use crate::package::window::Segment;
use bytes::Bytes;
use std::sync::Arc;

/// One closed segment of a track rendition: a run of chunks in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmafSegment {
    /// Cut, bytes and EXTINF. The bytes of a gap are none.
    pub segment: Segment,
    /// Earliest presentation time, in the timescale of its init segment: it stands in the URL.
    pub time: u64,
    /// Until the next segment's `time` where nothing broke or is missing in between, same unit, above 0. Of audio it is what the bytes
    /// hold, which EXTINF may not say where the cut came late: while the reference is silent.
    pub duration: u64,
    /// Wall clock of `time`, microseconds since 1970: EXT-X-PROGRAM-DATE-TIME.
    pub unix_us: u64,
    /// [`Init::hash`] of its init segment.
    pub init: u32,
}

impl CmafSegment {
    /// The track had nothing to put into the segment: its number and time hold (EXT-X-GAP; a hole in a SegmentTimeline).
    pub fn is_gap(&self) -> bool {
        self.segment.range.is_empty()
    }
}

impl AsRef<Segment> for CmafSegment {
    fn as_ref(&self) -> &Segment {
        &self.segment
    }
}

/// An init segment, and what it was made of.
#[derive(Clone, Debug)]
pub struct Init {
    /// Of its bytes: it stands in the URL, where bytes never change, not even when a packager is made anew in its epoch.
    pub hash: u32,
    pub bytes: Bytes,
    /// Units a second of the media times of its segments.
    pub timescale: u32,
    pub track: Arc<Track>,
}

/// Where a DASH Period begins: the epoch's first cut, every discontinuity, and every change of an init segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodStart {
    /// Number of its first segment.
    pub segment: u64,
    /// Output time of its first segment's cut.
    pub start: crate::time::MediaTime,
}
