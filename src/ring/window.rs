//! The descriptors of a ring: what is held, by sequence number, and the descriptions in force.
//!
//! Shared by the ES ring, whose window the writer moves, and the hand-over ring, whose window the reader moves.
//! It knows where payloads lie but not the map they lie in.
#![forbid(unsafe_code)]

use super::es::{Cursor, Entry, Next, Seq};
use crate::es::{SampleMeta, Track};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// One entry's descriptor.
#[derive(Debug)]
pub(super) enum Slot {
    /// `at` is the payload's place, in the ring's own terms; `len` its bytes.
    Sample {
        meta: SampleMeta,
        at: u64,
        len: u32,
    },
    Track(Arc<Track>),
    Gap,
    End,
}

impl Slot {
    /// The entry as readers see it; `payload` turns place and length into bytes.
    fn entry<'a>(&'a self, payload: impl FnOnce(u64, u32) -> &'a [u8]) -> Entry<'a> {
        match self {
            Slot::Sample { meta, at, len } => Entry::Sample { meta, data: payload(*at, *len) },
            Slot::Track(track) => Entry::Track(track),
            Slot::Gap => Entry::Gap,
            Slot::End => Entry::End,
        }
    }
}

/// A run of entries without holes in their numbers.
#[derive(Debug, Default)]
pub(super) struct Window {
    first: Seq,
    slots: VecDeque<Slot>,
    /// Descriptions by the number they came with: those held, and the newest before them.
    tracks: VecDeque<(Seq, Arc<Track>)>,
}

impl Window {
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    pub fn range(&self) -> Range<Seq> {
        self.first..self.first + self.slots.len() as u64
    }
    pub fn has_ended(&self) -> bool {
        matches!(self.slots.back(), Some(Slot::End))
    }

    pub fn push(&mut self, slot: Slot) -> Seq {
        let seq = self.range().end;
        if let Slot::Track(track) = &slot {
            self.tracks.push_back((seq, track.clone()));
        }
        self.slots.push_back(slot);
        seq
    }

    /// Takes out the oldest entry.
    pub fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.first += 1;
        while self.tracks.get(1).is_some_and(|(seq, _)| *seq <= self.first) {
            self.tracks.pop_front();
        }
        Some(slot)
    }

    /// The newest description at or before `seq`.
    pub fn track_at(&self, seq: Seq) -> Option<&Arc<Track>> {
        let newer = self.tracks.partition_point(|(at, _)| *at <= seq);
        self.tracks.get(newer.checked_sub(1)?).map(|(_, track)| track)
    }

    pub fn get<'a>(&'a self, seq: Seq, payload: impl FnOnce(u64, u32) -> &'a [u8]) -> Option<Entry<'a>> {
        let index = seq.checked_sub(self.first)?;
        Some(self.slots.get(usize::try_from(index).ok()?)?.entry(payload))
    }

    pub fn next<'a>(&'a self, cursor: &mut Cursor, payload: impl FnOnce(u64, u32) -> &'a [u8]) -> Next<'a> {
        if cursor.next < self.first {
            let lost = self.first - cursor.next;
            cursor.next = self.first;
            return Next::Lost(lost);
        }
        match self.get(cursor.next, payload) {
            Some(entry) => {
                cursor.next += 1;
                Next::Entry(cursor.next - 1, entry)
            }
            None => Next::Empty,
        }
    }

    /// All entries from `seq` on, or from the oldest when `seq` is gone.
    pub fn iter_from<'a>(
        &'a self,
        seq: Seq,
        payload: impl Fn(u64, u32) -> &'a [u8],
    ) -> impl DoubleEndedIterator<Item = (Seq, Entry<'a>)> {
        let skipped = (seq.saturating_sub(self.first)).min(self.slots.len() as u64);
        let first = self.first;
        let slots = self.slots.range(skipped as usize..).enumerate();
        slots.map(move |(index, slot)| (first + skipped + index as u64, slot.entry(&payload)))
    }

    /// Tells samples whose payload lay at or after `from` that it moved up by `by`.
    pub fn moved(&mut self, from: u64, by: u64) {
        for slot in &mut self.slots {
            if let Slot::Sample { at, len, .. } = slot
                && *len > 0
                && *at >= from
            {
                *at += by;
            }
        }
    }
}
