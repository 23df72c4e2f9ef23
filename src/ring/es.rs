//! The elementary-stream ring of one track rendition: payloads in a memfd-backed map, descriptors beside them.
//!
//! One writer and any number of readers, all on the owner shard: readers are plain [`Cursor`]s, a read is in place, and
//! a reader that was overtaken is told how many entries it lost. Payloads are contiguous, so a packager sees a slice.
//!
//! Memory: the map is virtual until written. Touched bytes stay near the live ones (the bound is [`EsRing::touched_bytes`]'s);
//! all of them go back to the system when the ring is dropped. An idle channel has no ring.
//!
//! What it deliberately does not do: cross threads ([`super::spsc`] does), or derive durations (the packager does).
#![forbid(unsafe_code)]

use super::bip::Bip;
use super::window::{Slot, Window};
use crate::es::{SampleMeta, Track};
use crate::limits::PES_BYTES_MAX;
use crate::memfd;
use crate::time::MediaTime;
use memmap2::MmapMut;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Sequence number of an entry, from 0, never reused within a ring.
pub type Seq = u64;

/// One entry of the queue.
#[derive(Debug)]
pub enum Entry<'a> {
    /// One access unit with its bytes, whole.
    Sample { meta: &'a SampleMeta, data: &'a [u8] },
    /// The description that holds for the samples behind it.
    Track(&'a Arc<Track>),
    /// The source stopped for a while or lost data; time may jump.
    Gap,
    /// The track is gone; nothing follows.
    End,
}

/// A reader's place. Plain data: any number may exist, and they hold nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The entry to be read next.
    pub next: Seq,
}

/// What a cursor finds.
#[derive(Debug)]
pub enum Next<'a> {
    /// The entry and its number; the cursor moved on.
    Entry(Seq, Entry<'a>),
    /// The ring overwrote this many entries that the cursor had not read; the cursor now stands at the oldest that is left.
    Lost(u64),
    /// Nothing new yet.
    Empty,
}

/// What went wrong at the ring's door, counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Samples refused: larger than the ring takes, or pushed after the end.
    pub refused: u64,
    /// Samples whose DTS did not grow and that no discontinuity excused. They were taken.
    pub dts_backwards: u64,
}

/// The ring. See the module.
pub struct EsRing {
    map: MmapMut,
    bip: Bip,
    window: Window,
    samples_max: usize,
    bytes_max: usize,
    bytes: usize,
    touched_bytes: usize,
    last_dts: Option<MediaTime>,
    faults: Faults,
}

impl EsRing {
    /// A ring that keeps at most `samples_max` entries and `bytes_max` payload bytes, both at least 1. It takes samples of up to
    /// `bytes_max` or [`PES_BYTES_MAX`] bytes, the smaller. Costs a few system calls and no memory to speak of.
    pub fn new(samples_max: usize, bytes_max: usize) -> io::Result<Self> {
        let (samples_max, bytes_max) = (samples_max.max(1), bytes_max.max(1));
        let bip = Bip::new(bytes_max, bytes_max.min(PES_BYTES_MAX));
        Ok(EsRing {
            map: memfd::private_map(c"millrace-es-ring", bip.capacity())?,
            bip,
            window: Window::default(),
            samples_max,
            bytes_max,
            bytes: 0,
            touched_bytes: 0,
            last_dts: None,
            faults: Faults::default(),
        })
    }

    /// Copies the sample in, overwriting the oldest entries as needed. `None` when it was refused, see [`Faults::refused`]; the
    /// ring is then as before.
    pub fn push(&mut self, meta: SampleMeta, data: &[u8]) -> Option<Seq> {
        if data.len() > self.bytes_max.min(PES_BYTES_MAX) || self.window.has_ended() {
            self.faults.refused += 1;
            return None;
        }
        self.check_order(&meta);
        while self.bytes + data.len() > self.bytes_max || self.window.len() >= self.samples_max {
            self.evict();
        }
        let at = self.write(data);
        // A sample is at most PES_BYTES_MAX long, so its length fits.
        Some(self.window.push(Slot::Sample { meta, at: at as u64, len: data.len() as u32 }))
    }
    /// Enters the description that holds for what follows, and says its number.
    pub fn push_track(&mut self, track: Arc<Track>) -> Seq {
        self.push_event(Slot::Track(track))
    }
    /// Enters a gap, and says its number.
    pub fn push_gap(&mut self) -> Seq {
        self.push_event(Slot::Gap)
    }
    /// Enters the end, and says its number. Whatever is pushed after it is refused.
    pub fn push_end(&mut self) -> Seq {
        self.push_event(Slot::End)
    }

    /// The oldest entry still held and one past the newest.
    pub fn range(&self) -> Range<Seq> {
        self.window.range()
    }
    /// Reads the cursor's entry and moves it on.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        self.window.next(cursor, |at, len| self.payload(at, len))
    }
    /// The entry with this number, when it is held.
    pub fn get(&self, seq: Seq) -> Option<Entry<'_>> {
        self.window.get(seq, |at, len| self.payload(at, len))
    }
    /// The entries from `seq` on (from the oldest held when `seq` is gone), in order; from the back, the newest first.
    pub fn iter_from(&self, seq: Seq) -> impl DoubleEndedIterator<Item = (Seq, Entry<'_>)> {
        self.window.iter_from(seq, |at, len| self.payload(at, len))
    }
    /// The first sample in decoding order whose PTS is `pts` or later: where a cut falls in this track. Linear in the entries held.
    pub fn seq_at_or_after_pts(&self, pts: MediaTime) -> Option<Seq> {
        self.iter_from(0)
            .find(|(_, entry)| matches!(entry, Entry::Sample { meta, .. } if meta.pts >= pts))
            .map(|(seq, _)| seq)
    }
    /// The description in force at `seq` (the newest at or before it, even when its own entry was overwritten). `None` when
    /// none came by then, or `seq` is so old that its description is gone.
    pub fn track_at(&self, seq: Seq) -> Option<&Arc<Track>> {
        self.window.track_at(seq)
    }

    /// Payload bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Bytes of the map ever written to, the ring's memory: at most `17/16 x (most bytes held at once + 2 x the largest sample)`, or
    /// 64 KiB, and never more than `bytes_max` and one largest sample together.
    pub fn touched_bytes(&self) -> usize {
        self.touched_bytes
    }
    /// What went wrong so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Events need no room in the map, but count as entries.
    fn push_event(&mut self, slot: Slot) -> Seq {
        if self.window.has_ended() {
            self.faults.refused += 1;
            return self.window.range().end - 1;
        }
        while self.window.len() >= self.samples_max {
            self.evict();
        }
        self.window.push(slot)
    }

    fn check_order(&mut self, meta: &SampleMeta) {
        let in_order = meta.discontinuity || self.last_dts.is_none_or(|last| last < meta.dts);
        debug_assert!(in_order, "DTS {:?} after {:?} on one track", meta.dts, self.last_dts);
        self.faults.dts_backwards += u64::from(!in_order);
        self.last_dts = Some(meta.dts);
    }

    /// Finds room for `data`, makes it, and copies.
    fn write(&mut self, data: &[u8]) -> usize {
        let place = self.bip.place(data.len());
        if let Some(moved) = place.moved {
            self.map.copy_within(moved.from..moved.from + moved.len, moved.to);
            self.window.moved(moved.from as u64, (moved.to - moved.from) as u64);
            self.touched_bytes = self.touched_bytes.max(moved.to + moved.len);
        }
        let end = place.at + data.len();
        self.map[place.at..end].copy_from_slice(data);
        self.bytes += data.len();
        self.touched_bytes = self.touched_bytes.max(end);
        place.at
    }

    fn evict(&mut self) {
        if let Some(Slot::Sample { at, len, .. }) = self.window.pop() {
            self.bip.free(at as usize, len as usize);
            self.bytes -= len as usize;
        }
    }

    fn payload(&self, at: u64, len: u32) -> &[u8] {
        &self.map[at as usize..at as usize + len as usize]
    }
}

#[cfg(test)]
mod tests;
