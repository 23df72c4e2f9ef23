//! Append-only stores of muxed bytes in recycled memfd blocks. A published byte never changes; readers hold the block.
//!
//! One [`Arena`] per shard, one [`StoreWriter`] per muxed stream on its owner shard, any number of [`StoreReader`]s on any shard.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

/// A shard's sparse memfd, cut into blocks of [`crate::limits::BLOCK_BYTES`].
pub struct Arena {}

impl Arena {
    /// An arena of at most `bytes_max` bytes, none of them touched yet.
    pub fn new(_bytes_max: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Arena {}))
    }
    /// Blocks in use, by writers and by readers that still hold them.
    pub fn blocks_in_use(&self) -> usize {
        0
    }
}

/// The owner's end: appends, publishes, trims.
pub struct StoreWriter {
    shared: Arc<StoreShared>,
}

/// What all shards see of a store.
pub struct StoreShared {}

/// A run of published bytes within one block.
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    /// The arena's memfd and the offset of `bytes` in it, for sendfile(2). Valid while the reader is not moved.
    pub fd: RawFd,
    pub file_offset: u64,
}

impl StoreWriter {
    pub fn new(_arena: Arc<Arena>) -> Self {
        StoreWriter { shared: Arc::new(StoreShared {}) }
    }
    pub fn shared(&self) -> &Arc<StoreShared> {
        &self.shared
    }
    /// Appends without publishing. Err when the arena is full: nothing was appended.
    pub fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// Position one past the last appended byte.
    pub fn end(&self) -> u64 {
        0
    }
    /// Makes all appended bytes visible to readers (Release).
    pub fn publish(&mut self) {}
    /// Lets go of all blocks that lie wholly before `pos`. Readers that hold one keep it.
    pub fn trim(&mut self, _pos: u64) {}
}

impl StoreShared {
    /// Position one past the last published byte (Acquire).
    pub fn published(&self) -> u64 {
        0
    }
    /// Oldest position still held.
    pub fn start(&self) -> u64 {
        0
    }
}

/// One reader's view; keeps the block it stands in.
pub struct StoreReader {
    _shared: Arc<StoreShared>,
}

impl StoreReader {
    pub fn new(shared: Arc<StoreShared>) -> Self {
        StoreReader { _shared: shared }
    }
    /// The published bytes from `pos` to the end of its block, at most `len_max`; `None` when `pos` was trimmed away or is not published yet.
    pub fn piece(&mut self, _pos: u64, _len_max: usize) -> Option<Piece<'_>> {
        None
    }
}
