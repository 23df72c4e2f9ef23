//! The elementary-stream ring of one track rendition: payloads in a memfd-backed map, descriptors beside them.

use crate::es::{SampleMeta, Track};
use std::io;
use std::sync::Arc;

/// Sequence number of an entry, from 0, never reused within a ring.
pub type Seq = u64;

/// One entry of the queue.
#[derive(Debug)]
pub enum Entry<'a> {
    Sample {
        meta: &'a SampleMeta,
        data: &'a [u8],
    },
    /// The description that holds for the samples behind it.
    Track(&'a Arc<Track>),
    /// The source stopped for a while or lost data; time may jump.
    Gap,
    /// The track is gone; nothing follows.
    End,
}

/// A reader's place. Plain data: any number may exist, and they hold nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub next: Seq,
}

/// What a cursor finds.
#[derive(Debug)]
pub enum Next<'a> {
    Entry(Seq, Entry<'a>),
    /// The ring overwrote this many entries that the cursor had not read; the cursor now stands at the oldest that is left.
    Lost(u64),
    /// Nothing new yet.
    Empty,
}

pub struct EsRing {}

impl EsRing {
    /// A ring that keeps at most `samples_max` entries and `bytes_max` payload bytes.
    pub fn new(_samples_max: usize, _bytes_max: usize) -> io::Result<Self> {
        Ok(EsRing {})
    }
    /// Copies the sample in, overwriting the oldest as needed. A sample larger than the ring is refused and counted as lost.
    pub fn push(&mut self, _meta: SampleMeta, _data: &[u8]) -> Option<Seq> {
        None
    }
    pub fn push_track(&mut self, _track: Arc<Track>) -> Seq {
        0
    }
    pub fn push_gap(&mut self) -> Seq {
        0
    }
    pub fn push_end(&mut self) -> Seq {
        0
    }
    /// The oldest entry still held and one past the newest.
    pub fn range(&self) -> std::ops::Range<Seq> {
        0..0
    }
    /// Reads the cursor's entry and moves it on.
    pub fn next(&self, _cursor: &mut Cursor) -> Next<'_> {
        Next::Empty
    }
    /// The description in force at `seq` (the newest at or before it, even when its own entry was overwritten).
    pub fn track_at(&self, _seq: Seq) -> Option<&Arc<Track>> {
        None
    }
    /// Payload bytes held now.
    pub fn bytes(&self) -> usize {
        0
    }
}
