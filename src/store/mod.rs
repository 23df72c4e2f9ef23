//! Append-only stores of muxed bytes in recycled memfd blocks. A published byte never changes; readers hold the block.
//!
//! One [`Arena`] per shard, one [`StoreWriter`] per muxed stream on its owner shard, any number of [`StoreReader`]s and
//! [`Held`] ranges on any shard.
//!
//! ```text
//!  StoreWriter ── append, publish, trim ──► StoreShared: published (AtomicU64), start, table of Arc<Block>
//!                                               │ clone an Arc under a short lock, once per block and reader
//!                       StoreReader (one block) ┴ Held (the blocks of a segment) ──► Piece: bytes + (fd, offset) for sendfile(2)
//! ```
//!
//! Position `p` of a store lies in its block `p / BLOCK_BYTES`: blocks are filled to the brim, and a position never moves.
//!
//! Invariants
//! - Bytes before `published` never change while anyone can see them, a socket's queue included: when the last holder of a
//!   block goes, on whatever thread, its pages are punched out of the file *before* its slot can be taken again. The file then gets fresh
//!   pages; those that a socket still holds (`sendfile` queues pages, not bytes) live on with the old content.
//! - A reader never makes the writer wait for longer than the clone of an `Arc`, and pins at most the blocks it holds;
//!   [`StoreShared::pinned_blocks`] says how many that are, so that the owner can cut the oldest.
//!
//! What it deliberately does not do: know what the bytes mean, wait for bytes, or touch a socket.

mod arena;
mod reader;
mod shared;
mod writer;

pub use arena::Arena;
pub use reader::{Held, StoreReader};
pub use shared::StoreShared;
pub use writer::StoreWriter;

use std::os::fd::RawFd;

/// A run of published bytes within one block.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The bytes, at most [`crate::limits::BLOCK_BYTES`] of them.
    pub bytes: &'a [u8],
    /// The arena's memfd, for sendfile(2). Valid while the reader is not moved.
    pub fd: RawFd,
    /// Offset of `bytes` in `fd`. Always give it to sendfile: the file's own offset is shared by all.
    pub file_offset: u64,
}

#[cfg(test)]
mod tests;
