//! The hand-over ring between a shard and a transcoder thread: bytes in an mmap, descriptors over rtrb, space returned by one atomic tail.
//!
//! The producer writes payloads in place ([`Producer::reserve`]) and sends a descriptor; nothing is allocated and nothing waits: a full ring
//! says [`NoRoom::Full`], and the shard then drops to the next key sample while a worker waits in its own way.
//!
//! The consumer reads in place too, and what it has read stays: a *window* that it frees when it likes ([`Consumer::free_until`]). So the ring
//! from a worker is the rendition's ES ring, with the same cursors as [`super::es::EsRing`].
//!
//! Positions are counted in bytes since the start and never wrap in practice (2^64); position `p` lies at `p % capacity`. A sample that
//! would cross the end of the map starts at the next multiple of the capacity instead, and the bytes skipped belong to nobody.
//!
//! Invariant of the unsafe code: bytes of `tail..head` belong to the consumer, all others to the producer. `head` is the end of the
//! last sample sent, `tail` that of the last one freed. Descriptors carry the first kind of bytes over (rtrb pushes with Release, pops
//! with Acquire), the stores and loads of `tail` carry them back.
//!
//! What it deliberately does not do: wake the other side, or check DTS order (the mux does).

use super::es::{Cursor, Entry, Next, Seq};
use super::window::{Slot, Window};
use crate::es::{SampleMeta, Track};
use crate::limits::RING_BYTES_MAX;
use crate::memfd;
use memmap2::MmapRaw;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A ring of `bytes` payload bytes (rounded up to a page) and `descriptors` entries under way, both at least 1; the consumer may hold as
/// many entries again. No memory is touched yet. Err (InvalidInput) when `bytes` is over [`RING_BYTES_MAX`].
pub fn channel(bytes: usize, descriptors: usize) -> io::Result<(Producer, Consumer)> {
    if bytes > RING_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a hand-over ring cannot be that large"));
    }
    let descriptors = descriptors.max(1);
    let capacity = memfd::whole_pages(bytes.max(1));
    let map = memfd::raw_map(c"millrace-hand-over", capacity)?;
    let shared = Arc::new(Shared { map, tail: Tail(AtomicU64::new(0)) });
    let (tx, rx) = rtrb::RingBuffer::new(descriptors);
    let producer = Producer { shared: shared.clone(), slots: tx, head: 0, tail_seen: 0, skipped: 0..0, next: 0 };
    let consumer = Consumer {
        shared,
        slots: rx,
        window: Window::default(),
        entries_max: descriptors,
        bytes: 0,
        read: Cursor::default(),
    };
    Ok((producer, consumer))
}

/// Why the producer cannot place a sample or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The consumer must free something first.
    #[error("the hand-over ring is full")]
    Full,
    /// The sample is larger than the ring and will never fit.
    #[error("the sample is larger than the hand-over ring")]
    TooLarge,
}

struct Shared {
    map: MmapRaw,
    tail: Tail,
}

/// Position up to which the consumer freed. On a cache line of its own: the producer looks at it while the consumer reads the map's address.
#[repr(align(64))]
struct Tail(AtomicU64);

impl Shared {
    fn capacity(&self) -> u64 {
        self.map.len() as u64
    }
    fn payload(&self, at: u64) -> *mut u8 {
        let offset = (at % self.capacity()) as usize;
        self.map.as_mut_ptr().wrapping_add(offset)
    }
}

/// The writing end.
pub struct Producer {
    shared: Arc<Shared>,
    slots: rtrb::Producer<Slot>,
    /// Position after the last sample sent.
    head: u64,
    /// The tail as it was last looked at; the true one may be further on.
    tail_seen: u64,
    /// The newest bytes left out at the end of the map. One is enough: those before it lie more than a lap back.
    skipped: Range<u64>,
    next: Seq,
}

/// Room for one sample, written in place. Dropping it without [`Reservation::commit`] leaves the ring as it was.
pub struct Reservation<'a> {
    producer: &'a mut Producer,
    at: u64,
    len: usize,
}

impl Producer {
    /// Room for a sample of `len` bytes, whose content is arbitrary until it is written.
    ///
    /// A sample always fits when it, all samples not yet freed and once more the largest of them all are within the capacity; else it
    /// may, and always does when everything is freed.
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, NoRoom> {
        self.descriptor_room()?;
        let at = self.place(len as u64)?;
        Ok(Reservation { producer: self, at, len })
    }
    /// Copies a sample in, and says its number.
    pub fn push(&mut self, meta: SampleMeta, data: &[u8]) -> Result<Seq, NoRoom> {
        let mut reservation = self.reserve(data.len())?;
        reservation.copy_from_slice(data);
        Ok(reservation.commit(meta))
    }
    /// Enters the description that holds for what follows, and says its number.
    pub fn push_track(&mut self, track: Arc<Track>) -> Result<Seq, NoRoom> {
        self.push_event(Slot::Track(track))
    }
    /// Enters a gap, and says its number.
    pub fn push_gap(&mut self) -> Result<Seq, NoRoom> {
        self.push_event(Slot::Gap)
    }
    /// Enters the end, and says its number. The caller pushes nothing after it.
    pub fn push_end(&mut self) -> Result<Seq, NoRoom> {
        self.push_event(Slot::End)
    }
    /// Payload bytes the ring has room for when it is empty.
    pub fn capacity(&self) -> usize {
        self.shared.map.len()
    }
    /// The consumer is gone: nothing will be read or freed any more.
    pub fn is_abandoned(&self) -> bool {
        self.slots.is_abandoned()
    }

    fn push_event(&mut self, slot: Slot) -> Result<Seq, NoRoom> {
        self.descriptor_room()?;
        Ok(self.send(slot))
    }

    fn descriptor_room(&self) -> Result<(), NoRoom> {
        if self.slots.is_full() { Err(NoRoom::Full) } else { Ok(()) }
    }

    fn send(&mut self, slot: Slot) -> Seq {
        self.slots.push(slot).expect("descriptor_room() said there is room, and nobody else fills it");
        self.next += 1;
        self.next - 1
    }

    /// Where `len` bytes can be written now.
    fn place(&mut self, len: u64) -> Result<u64, NoRoom> {
        let capacity = self.shared.capacity();
        if len > capacity {
            return Err(NoRoom::TooLarge);
        }
        let offset = self.head % capacity;
        let at = if offset + len <= capacity { self.head } else { self.head + capacity - offset };
        if !self.is_free(at + len) {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        if self.is_free(at + len) { Ok(at) } else { Err(NoRoom::Full) }
    }

    /// Whether no byte that the consumer owns lies below `end` in the map: the ring is empty, or `end` is within one lap of the tail.
    /// Skipped bytes are nobody's, so a tail that stands before them stands behind them as well.
    fn is_free(&self, end: u64) -> bool {
        let tail = if self.tail_seen == self.skipped.start { self.skipped.end } else { self.tail_seen };
        self.tail_seen == self.head || end - tail <= self.shared.capacity()
    }
}

impl Reservation<'_> {
    /// Hands the sample over, and says its number.
    pub fn commit(self, meta: SampleMeta) -> Seq {
        if self.at != self.producer.head {
            self.producer.skipped = self.producer.head..self.at;
        }
        self.producer.head = self.at + self.len as u64;
        // The map is at most RING_BYTES_MAX long, far below 2^32.
        self.producer.send(Slot::Sample { meta, at: self.at, len: self.len as u32 })
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: as in deref_mut; `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.producer.shared.payload(self.at), self.len) }
    }
}

impl DerefMut for Reservation<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: place() chose `at` so that `at..at + len` does not cross the end of the map (in bounds) and holds no byte of
        // `tail..head` (module's invariant: the consumer has no slice onto it, seen by an Acquire load of the tail). The one
        // Producer is borrowed mutably, so this is the only reservation. Bytes of a memfd map are always initialised.
        unsafe { std::slice::from_raw_parts_mut(self.producer.shared.payload(self.at), self.len) }
    }
}

/// The reading end, and the owner of the window.
pub struct Consumer {
    shared: Arc<Shared>,
    slots: rtrb::Consumer<Slot>,
    window: Window,
    entries_max: usize,
    bytes: usize,
    /// Place of [`Consumer::read_next`].
    read: Cursor,
}

impl Consumer {
    /// Takes what has arrived into the window, and says how many entries that were. A window that holds as many entries as the channel was
    /// made for takes no more until some are freed.
    pub fn poll(&mut self) -> usize {
        let before = self.window.len();
        while self.window.len() < self.entries_max
            && let Ok(slot) = self.slots.pop()
        {
            if let Slot::Sample { len, .. } = &slot {
                self.bytes += *len as usize;
            }
            self.window.push(slot);
        }
        self.window.len() - before
    }
    /// The next entry that this call has not returned yet, polling as needed. It stays in the window.
    pub fn read_next(&mut self) -> Option<(Seq, Entry<'_>)> {
        if self.read.next == self.window.range().end {
            self.poll();
        }
        let seq = self.read.next;
        let entry = self.window.get(seq, |at, len| payload(&self.shared, at, len))?;
        self.read.next += 1;
        Some((seq, entry))
    }
    /// Frees the entries before `seq`, read or not; of those not polled yet, none. The producer may overwrite them at once.
    pub fn free_until(&mut self, seq: Seq) {
        let mut tail = None;
        while self.window.range().start < seq {
            match self.window.pop() {
                Some(Slot::Sample { at, len, .. }) => {
                    tail = Some(at + u64::from(len));
                    self.bytes -= len as usize;
                }
                Some(_) => {}
                None => break,
            }
        }
        self.read.next = self.read.next.max(self.window.range().start);
        if let Some(tail) = tail {
            self.shared.tail.0.store(tail, Ordering::Release);
        }
    }

    /// The oldest entry in the window and one past the newest.
    pub fn range(&self) -> Range<Seq> {
        self.window.range()
    }
    /// Reads the cursor's entry in the window and moves it on.
    pub fn next(&self, cursor: &mut Cursor) -> Next<'_> {
        self.window.next(cursor, |at, len| payload(&self.shared, at, len))
    }
    /// The entry with this number, when it is in the window.
    pub fn get(&self, seq: Seq) -> Option<Entry<'_>> {
        self.window.get(seq, |at, len| payload(&self.shared, at, len))
    }
    /// The entries of the window from `seq` on, in order; from the back, the newest first.
    pub fn iter_from(&self, seq: Seq) -> impl DoubleEndedIterator<Item = (Seq, Entry<'_>)> {
        self.window.iter_from(seq, |at, len| payload(&self.shared, at, len))
    }
    /// The description in force at `seq`, as [`super::es::EsRing::track_at`].
    pub fn track_at(&self, seq: Seq) -> Option<&Arc<Track>> {
        self.window.track_at(seq)
    }
    /// Payload bytes the ring has room for, and entries the window may hold.
    pub fn capacity(&self) -> (usize, usize) {
        (self.shared.map.len(), self.entries_max)
    }
    /// Payload bytes in the window.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// The producer is gone: what [`Consumer::poll`] finds after this was true is all that will come.
    pub fn is_abandoned(&self) -> bool {
        self.slots.is_abandoned()
    }
}

/// The bytes of a sample that is in the window (`at` and `len` as its descriptor has them).
fn payload(shared: &Shared, at: u64, len: u32) -> &[u8] {
    // SAFETY: called with descriptors of the window only, so the bytes lie in `tail..head`, do not cross the end of the map, and were
    // written before the descriptor was popped (Acquire). The producer does not write there until free_until(), which needs the
    // Consumer mutably and so outlives every slice, moves the tail past them. Bytes of a memfd map are always initialised.
    unsafe { std::slice::from_raw_parts(shared.payload(at), len as usize) }
}

#[cfg(test)]
mod tests;
