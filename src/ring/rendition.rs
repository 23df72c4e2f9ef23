//! The ring of one rendition as packagers read it: the source's, written on the owner shard, or one that a transcoder thread fills. Both have the
//! same cursors.
#![forbid(unsafe_code)]

use super::es::{Cursor, Entry, EsRing, Next, Seq};
use super::spsc::Consumer;
use crate::es::Track;
use crate::time::MediaTime;
use std::ops::Range;
use std::sync::Arc;

pub enum RenditionRing {
    Source(EsRing),
    /// What was polled and not freed yet.
    Encoded(Consumer),
}

impl RenditionRing {
    /// The source's ring; `None` for one that a transcoder fills.
    pub fn source_mut(&mut self) -> Option<&mut EsRing> {
        match self {
            RenditionRing::Source(ring) => Some(ring),
            RenditionRing::Encoded(_) => None,
        }
    }
    /// The oldest entry that is left and one past the newest.
    pub fn range(&self) -> Range<Seq> {
        match self {
            RenditionRing::Source(ring) => ring.range(),
            RenditionRing::Encoded(ring) => ring.range(),
        }
    }
    /// Reads the cursor's entry and moves it on.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        match self {
            RenditionRing::Source(ring) => ring.next(cursor),
            RenditionRing::Encoded(ring) => ring.next(cursor),
        }
    }
    /// The entry with this number, while it is there.
    pub fn get(&self, seq: Seq) -> Option<Entry<'_>> {
        match self {
            RenditionRing::Source(ring) => ring.get(seq),
            RenditionRing::Encoded(ring) => ring.get(seq),
        }
    }
    /// Entries from `seq` on, in order; from the back, the newest first.
    pub fn iter_from(&self, seq: Seq) -> impl DoubleEndedIterator<Item = (Seq, Entry<'_>)> {
        let range = self.range();
        (range.start.max(seq)..range.end).filter_map(|seq| Some((seq, self.get(seq)?)))
    }
    /// The first sample whose PTS is not before `pts`.
    pub fn seq_at_or_after_pts(&self, pts: MediaTime) -> Option<Seq> {
        self.iter_from(0)
            .find(|(_, entry)| matches!(entry, Entry::Sample { meta, .. } if meta.pts >= pts))
            .map(|(seq, _)| seq)
    }
    /// The description in force at `seq`, as [`EsRing::track_at`].
    pub fn track_at(&self, seq: Seq) -> Option<&Arc<Track>> {
        match self {
            RenditionRing::Source(ring) => ring.track_at(seq),
            RenditionRing::Encoded(ring) => ring.track_at(seq),
        }
    }
    /// Payload bytes held now.
    pub fn bytes(&self) -> usize {
        match self {
            RenditionRing::Source(ring) => ring.bytes(),
            RenditionRing::Encoded(ring) => ring.bytes(),
        }
    }
}
