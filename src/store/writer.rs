//! The owner's end of a store: appends, publishes, trims.

use super::arena::{Arena, Block};
use super::shared::StoreShared;
use crate::limits::{BLOCK_BYTES, STORE_BLOCKS_MAX};
use std::io;
use std::sync::Arc;

/// Appended bytes are gathered up to here before they go to the memfd: a system call costs as much as copying 4 KiB.
const STAGE_BYTES: usize = 32 << 10;

/// The owner's end: appends, publishes, trims. When it is dropped the store is closed, and stays readable while anyone has its [`StoreShared`].
pub struct StoreWriter {
    shared: Arc<StoreShared>,
    arena: Arc<Arena>,
    /// Appended but not yet in the memfd.
    staged: Vec<u8>,
    /// Position one past the last byte in the memfd.
    written: u64,
    /// Number of blocks ever entered into the table.
    blocks_end: u64,
    /// The block written to last, with its number, so that the table is not asked each time.
    current: Option<(u64, Arc<Block>)>,
}

impl StoreWriter {
    /// An empty store that takes its blocks from `arena`, none until the first append.
    pub fn new(arena: Arc<Arena>) -> Self {
        let shared = Arc::default();
        StoreWriter { shared, arena, staged: Vec::new(), written: 0, blocks_end: 0, current: None }
    }
    /// What readers need.
    pub fn shared(&self) -> &Arc<StoreShared> {
        &self.shared
    }
    /// Appends without publishing. Err when the arena or this store (at [`STORE_BLOCKS_MAX`]) is full: nothing was appended.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve(self.end() + bytes.len() as u64)?;
        if self.staged.len() + bytes.len() > STAGE_BYTES {
            self.flush()?;
        }
        if bytes.len() > STAGE_BYTES {
            return self.write(bytes);
        }
        self.staged.extend_from_slice(bytes);
        Ok(())
    }
    /// Position one past the last appended byte.
    pub fn end(&self) -> u64 {
        self.written + self.staged.len() as u64
    }
    /// Makes all appended bytes visible to readers (Release). When the system refuses memory, what could not be written stays appended
    /// and is tried again by the next append or publish.
    pub fn publish(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!(%error, "a store could not be written");
        }
        self.shared.publish(self.written);
    }
    /// Lets go of all blocks that lie wholly before `pos` and are published. Readers that hold one keep it.
    pub fn trim(&mut self, pos: u64) {
        let pos = pos.min(self.shared.published());
        // Else this handle would pin a block that it will not write to again.
        self.current.take_if(|(index, _)| *index < pos / BLOCK_BYTES as u64);
        self.shared.trim(pos);
    }
    /// Closes the store and lets go of all published blocks at once: readers keep only what they stand in.
    pub fn discard(mut self) {
        self.publish();
        self.trim(self.end());
    }

    /// Makes sure that the table has blocks up to `end`, all or none.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        let blocks_end = end.div_ceil(BLOCK_BYTES as u64);
        if blocks_end <= self.blocks_end {
            return Ok(());
        }
        if blocks_end - self.shared.start() / BLOCK_BYTES as u64 > STORE_BLOCKS_MAX as u64 {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the store holds as many blocks as it may"));
        }
        let blocks: io::Result<Vec<_>> =
            (self.blocks_end..blocks_end).map(|_| self.arena.take(self.shared.live())).collect();
        self.shared.extend(blocks?);
        self.blocks_end = blocks_end;
        Ok(())
    }

    /// Writes what is staged. On an error it stays staged.
    fn flush(&mut self) -> io::Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let outcome = self.write(&staged);
        self.staged = staged;
        if outcome.is_ok() {
            self.staged.clear();
        }
        outcome
    }

    /// Writes `bytes` at `written`, over as many blocks as it takes, and moves `written` on, or leaves it where it is.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pos = self.written;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (pos % BLOCK_BYTES as u64) as usize;
            let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - offset));
            let block = self.block(pos / BLOCK_BYTES as u64);
            // SAFETY: `pos >= written >= published`, so these bytes are not published; publish() follows with Release.
            unsafe { block.write_at(offset, now)? };
            pos += now.len() as u64;
            rest = later;
        }
        self.written = pos;
        Ok(())
    }

    fn block(&mut self, index: u64) -> &Block {
        let shared = &self.shared;
        let fetch = || shared.block(index).expect("reserve() entered it, and trim() takes out published blocks only");
        let current = self.current.get_or_insert_with(|| (index, fetch()));
        if current.0 != index {
            *current = (index, fetch());
        }
        &current.1
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        self.shared.close();
    }
}
