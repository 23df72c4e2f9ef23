//! What all shards see of a store: how far it is published, and the table of the blocks that are held.

use super::arena::Block;
use super::reader::Held;
use crate::limits::BLOCK_BYTES;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all shards see of a store. Outlives the writer: the blocks stay until the last `Arc` of this goes, so that responses that
/// are under way can finish.
#[derive(Default)]
pub struct StoreShared {
    /// One past the last byte that readers may see. Stored with Release after the bytes are in the file.
    published: AtomicU64,
    /// First byte of the first block of the table.
    start: AtomicU64,
    closed: AtomicBool,
    /// Blocks in the table.
    held: AtomicUsize,
    /// Blocks of this store that are alive, in the table or only with readers.
    live: Arc<AtomicUsize>,
    /// Locked for a push, a pop or the clone of an `Arc`, never over a system call or the drop of a block.
    table: Mutex<Table>,
}

/// Blocks by number, without holes; block `n` holds positions from `n * BLOCK_BYTES`. Its length is bounded by
/// [`crate::limits::STORE_BLOCKS_MAX`].
#[derive(Default)]
pub(super) struct Table {
    first: u64,
    blocks: VecDeque<Arc<Block>>,
}

impl Table {
    fn get(&self, index: u64) -> Option<&Arc<Block>> {
        self.blocks.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }
}

impl StoreShared {
    /// Position one past the last published byte (Acquire): all bytes before it can be read.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }
    /// Oldest position still held, a multiple of the block length.
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }
    /// The writer is gone: what [`StoreShared::published`] says after this was true is the end. What is held can still be read.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
    /// Blocks of the window, from [`StoreShared::start`] to the writer's end.
    pub fn held_blocks(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
    /// Blocks that were trimmed but that readers still hold. May be a few too high or too low while a trim or a last drop is going on elsewhere.
    pub fn pinned_blocks(&self) -> usize {
        self.live.load(Ordering::Relaxed).saturating_sub(self.held_blocks())
    }
    /// Holds all blocks of `range`, which stays readable however long it takes to send. `None` when part of it is trimmed or not yet
    /// published.
    pub fn hold(&self, range: Range<u64>) -> Option<Held> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        let indices = range.start / BLOCK_BYTES as u64..range.end.div_ceil(BLOCK_BYTES as u64);
        let table = self.table();
        // Clones dropped at a gap are never the last of their block: the table has them.
        let blocks: Option<VecDeque<_>> = indices.map(|index| table.get(index).cloned()).collect();
        drop(table);
        Some(Held::new(range, blocks?))
    }

    /// The block with this number, when it is held.
    pub(super) fn block(&self, index: u64) -> Option<Arc<Block>> {
        self.table().get(index).cloned()
    }
    /// The counter that new blocks of this store are to carry.
    pub(super) fn live(&self) -> &Arc<AtomicUsize> {
        &self.live
    }
    /// The writer's: enters the blocks that follow the last one.
    pub(super) fn extend(&self, blocks: Vec<Arc<Block>>) {
        let mut table = self.table();
        table.blocks.extend(blocks);
        self.held.store(table.blocks.len(), Ordering::Relaxed);
    }
    /// The writer's: makes positions before `end` visible.
    pub(super) fn publish(&self, end: u64) {
        self.published.store(end, Ordering::Release);
    }
    /// The writer's: says that nothing follows.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
    /// The writer's: takes out all blocks that lie wholly before `pos`.
    pub(super) fn trim(&self, pos: u64) {
        let mut table = self.table();
        let count = (pos / BLOCK_BYTES as u64).saturating_sub(table.first).min(table.blocks.len() as u64);
        let trimmed: Vec<_> = table.blocks.drain(..count as usize).collect();
        table.first += count;
        self.start.store(table.first * BLOCK_BYTES as u64, Ordering::Release);
        self.held.store(table.blocks.len(), Ordering::Relaxed);
        drop(table);
        drop(trimmed); // Punches holes, so after the lock.
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
