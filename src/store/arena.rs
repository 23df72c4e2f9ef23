//! A shard's sparse memfd and the slots it is cut into. All unsafe code of the store is here.
//!
//! Writes go by pwrite(2), not through the map: on fresh pages, and most are fresh, that costs half (a third of a millisecond per MiB
//! against two thirds by page faults), and a full machine is then an error and no SIGBUS. Readers see the same pages in a map
//! that cannot be written through.

use super::Piece;
use crate::limits::{BLOCK_BYTES, SHARD_STORE_BYTES_MAX};
use crate::memfd;
use memmap2::{Advice, MmapRaw};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shard's sparse memfd, cut into blocks of [`crate::limits::BLOCK_BYTES`]. Slots are reused last in, first out, so that the file stays compact.
pub struct Arena {
    file: File,
    map: MmapRaw,
    blocks_max: u32,
    /// The kernel would give this file huge pages: see [`Arena::take`].
    small_pages_first: bool,
    slots: Mutex<Slots>,
}

/// Which slots are free: those given back, and all from `fresh` on.
#[derive(Default)]
struct Slots {
    returned: Vec<u32>,
    fresh: u32,
}

/// One slot of an arena in use. Its pages go back to the system and its slot to the arena when it is dropped, on any thread.
///
/// Invariant: bytes of the block that were published are never written again ([`Block::write_at`]'s contract).
pub(super) struct Block {
    arena: Arc<Arena>,
    slot: u32,
    /// Blocks of one store that are alive, this one included.
    live: Arc<AtomicUsize>,
}

impl Arena {
    /// An arena of at most `bytes_max` bytes (whole blocks, at least one, at most [`SHARD_STORE_BYTES_MAX`]), none of them touched yet.
    pub fn new(bytes_max: usize) -> io::Result<Arc<Self>> {
        let bytes = (bytes_max / BLOCK_BYTES).max(1) * BLOCK_BYTES;
        let bytes = bytes.min(SHARD_STORE_BYTES_MAX);
        let file = memfd::sparse(c"millrace-store", bytes)?;
        let map = memfd::read_only_map(&file, bytes)?;
        // A shmem file says by its preferred IO size that it would be given huge pages.
        let small_pages_first = file.metadata()?.blksize() > BLOCK_BYTES as u64;
        let blocks_max = (bytes / BLOCK_BYTES) as u32;
        Ok(Arc::new(Arena { file, map, blocks_max, small_pages_first, slots: Mutex::default() }))
    }
    /// Blocks in use, by writers and by readers that still hold them.
    pub fn blocks_in_use(&self) -> usize {
        let slots = self.slots();
        slots.fresh as usize - slots.returned.len()
    }
    /// Bytes of the blocks in use: an upper bound of the memory, as a block's pages come when they are first written.
    pub fn bytes_in_use(&self) -> usize {
        self.blocks_in_use() * BLOCK_BYTES
    }
    /// Bytes of memory that the arena's pages take now, from fstat(2).
    pub fn bytes_resident(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// A block nobody uses. Its content is zero. Err (StorageFull) when all are in use.
    pub(super) fn take(self: &Arc<Self>, live: &Arc<AtomicUsize>) -> io::Result<Arc<Block>> {
        let slot = self.slots().take(self.blocks_max);
        let slot = slot.ok_or_else(|| io::Error::new(io::ErrorKind::StorageFull, "the shard's store is full"))?;
        live.fetch_add(1, Ordering::Relaxed);
        let block = Arc::new(Block { arena: self.clone(), slot, live: live.clone() });
        if self.small_pages_first {
            // A hole in a huge page that a socket holds would be zeroed in place. Faults through our map make small pages
            // (MADV_NOHUGEPAGE), writes into the file would not: so let the map fault first.
            self.map.advise_range(Advice::PopulateRead, block.file_offset(), BLOCK_BYTES)?;
        }
        Ok(block)
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the pages of a slot out of the file. Whoever still refers to them (a socket) keeps them as they are.
    fn punch(&self, file_offset: usize) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open as long as `self` lives. The pages vanish under our map too, which then reads as zeros; nobody
        // reads there, as only a Block's Drop calls this, so no Block and no slice into it is left.
        match unsafe { libc::fallocate(self.file.as_raw_fd(), mode, file_offset as i64, BLOCK_BYTES as i64) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Slots {
    fn take(&mut self, blocks_max: u32) -> Option<u32> {
        if let Some(slot) = self.returned.pop() {
            return Some(slot);
        }
        if self.fresh == blocks_max {
            return None;
        }
        self.fresh += 1;
        // So that the return of a block, which may come on any thread at any time, never allocates.
        self.returned.reserve(self.fresh as usize);
        Some(self.fresh - 1)
    }
}

impl Block {
    fn file_offset(&self) -> usize {
        self.slot as usize * BLOCK_BYTES
    }

    /// Writes `bytes` at `offset` of the block, all or an error.
    ///
    /// # Safety
    /// The bytes `offset..offset + bytes.len()` of this block are not published: no slice onto them exists or can be made until
    /// the caller publishes them with a Release store that follows this call.
    pub(super) unsafe fn write_at(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() <= BLOCK_BYTES);
        self.arena.file.write_all_at(bytes, (self.file_offset() + offset) as u64)
    }

    /// The `len` bytes at `offset` of the block.
    ///
    /// # Safety
    /// They are published: written, and the caller has seen the publication by an Acquire load.
    pub(super) unsafe fn piece(&self, offset: usize, len: usize) -> Piece<'_> {
        assert!(offset + len <= BLOCK_BYTES);
        let file_offset = self.file_offset() + offset;
        // SAFETY: slot < blocks_max, so the range lies within the map, which lives as long as the arena, which the block holds. The
        // bytes are initialised (file pages always are) and, being published, written by nobody until the block is dropped, which
        // the borrow of `self` prevents. No other process has the memfd.
        let bytes = unsafe { std::slice::from_raw_parts(self.arena.map.as_ptr().add(file_offset), len) };
        Piece { bytes, fd: self.arena.file.as_raw_fd(), file_offset: file_offset as u64 }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        match self.arena.punch(self.file_offset()) {
            Ok(()) => self.arena.slots().returned.push(self.slot),
            // Reusing the slot could change bytes that a socket still sends. Losing one is the lesser harm; it stays counted as in use.
            Err(error) => tracing::error!(slot = self.slot, %error, "a store block could not be freed"),
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_returns_empty_and_is_the_next_to_be_taken() {
        let arena = Arena::new(3 * BLOCK_BYTES).unwrap();
        let live = Arc::default();
        let mut blocks: Vec<_> = (0..3).map(|_| arena.take(&live).unwrap()).collect();
        assert_eq!(arena.take(&live).err().map(|e| e.kind()), Some(io::ErrorKind::StorageFull));
        // SAFETY: nobody else has the block and no slice onto it exists.
        unsafe { blocks[1].write_at(100, b"abc").unwrap() };
        assert_eq!(arena.bytes_resident().unwrap(), 4096);
        let middle = blocks.remove(1);
        let slot = middle.slot;
        drop(middle);
        assert_eq!((arena.blocks_in_use(), arena.bytes_resident().unwrap()), (2, 0));
        let again = arena.take(&live).unwrap();
        assert_eq!(again.slot, slot);
        // SAFETY: nobody writes to the block.
        assert_eq!(unsafe { again.piece(100, 3) }.bytes, [0, 0, 0]);
        assert_eq!(live.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn pages_faulted_in_by_the_map_are_those_that_writes_fill() {
        let mut arena = Arc::into_inner(Arena::new(2 * BLOCK_BYTES).unwrap()).unwrap();
        arena.small_pages_first = true;
        let arena = Arc::new(arena);
        let block = arena.take(&Arc::default()).unwrap();
        assert_eq!(arena.bytes_resident().unwrap(), BLOCK_BYTES as u64);
        // SAFETY: nobody else has the block, and the slice is made after the write.
        unsafe {
            block.write_at(BLOCK_BYTES - 3, b"abc").unwrap();
            assert_eq!(block.piece(BLOCK_BYTES - 3, 3).bytes, b"abc");
        }
        drop(block);
        assert_eq!(arena.bytes_resident().unwrap(), 0);
    }
}
