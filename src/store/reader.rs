//! The readers' end: one block after the other, or all the blocks of a range.

use super::Piece;
use super::arena::Block;
use super::shared::StoreShared;
use crate::limits::BLOCK_BYTES;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// One reader's view; keeps the block it stands in, which stays readable even when it is trimmed meanwhile.
pub struct StoreReader {
    shared: Arc<StoreShared>,
    /// The block it stands in, with its number.
    standing: Option<(u64, Arc<Block>)>,
}

impl StoreReader {
    /// A reader that holds nothing yet.
    pub fn new(shared: Arc<StoreShared>) -> Self {
        StoreReader { shared, standing: None }
    }
    /// The store it reads.
    pub fn shared(&self) -> &Arc<StoreShared> {
        &self.shared
    }
    /// The published bytes from `pos` to the end of its block, at most `len_max`; `None` when `pos` was trimmed away or is not published yet
    /// (compare with [`StoreShared::start`] and [`StoreShared::published`]).
    pub fn piece(&mut self, pos: u64, len_max: usize) -> Option<Piece<'_>> {
        let published = self.shared.published();
        if pos >= published {
            return None;
        }
        let index = pos / BLOCK_BYTES as u64;
        if self.standing.as_ref().is_none_or(|(standing, _)| *standing != index) {
            self.standing = Some((index, self.shared.block(index)?));
        }
        let (_, block) = self.standing.as_ref()?;
        let len = (published - pos).min(len_max as u64);
        // SAFETY: `pos + len <= published`, which was loaded with Acquire.
        Some(unsafe { clipped(block, pos, len) })
    }
    /// First position of the block that this reader holds, if any: the smallest of all readers is the oldest to cut.
    pub fn holds(&self) -> Option<u64> {
        self.standing.as_ref().map(|(index, _)| index * BLOCK_BYTES as u64)
    }
    /// Lets go of the block it stands in, for a reader that will be idle.
    pub fn release(&mut self) {
        self.standing = None;
    }
}

/// A published range with all its blocks held, for a response of known length such as a segment.
pub struct Held {
    range: Range<u64>,
    /// The blocks from that of `range.start` on.
    blocks: VecDeque<Arc<Block>>,
}

impl Held {
    /// `range` was published when the caller looked (Acquire), and `blocks` are all that it touches.
    pub(super) fn new(range: Range<u64>, blocks: VecDeque<Arc<Block>>) -> Self {
        Held { range, blocks }
    }
    /// What is held: positions of the store.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
    /// The bytes from `pos` to the end of its block or of the range, at most `len_max`; `None` when `pos` is outside the range.
    pub fn piece(&self, pos: u64, len_max: usize) -> Option<Piece<'_>> {
        if !self.range.contains(&pos) {
            return None;
        }
        let index = pos / BLOCK_BYTES as u64 - self.range.start / BLOCK_BYTES as u64;
        let block = self.blocks.get(index as usize)?;
        let len = (self.range.end - pos).min(len_max as u64);
        // SAFETY: `pos + len <= range.end`, and the range was published when it was held.
        Some(unsafe { clipped(block, pos, len) })
    }
    /// The whole range in order, a piece per block.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut pos = self.range.start;
        std::iter::from_fn(move || {
            let piece = self.piece(pos, BLOCK_BYTES)?;
            pos += piece.bytes.len() as u64;
            Some(piece)
        })
    }
    /// Lets go of everything before `pos`: what has been sent need not be pinned.
    pub fn release_before(&mut self, pos: u64) {
        let pos = pos.clamp(self.range.start, self.range.end);
        let count = pos / BLOCK_BYTES as u64 - self.range.start / BLOCK_BYTES as u64;
        self.blocks.drain(..(count as usize).min(self.blocks.len()));
        self.range.start = pos;
    }
}

/// The bytes from position `pos` on, `len` or to the end of the block.
///
/// # Safety
/// `pos` lies in `block`, and `len` bytes from there on are published as the caller has seen (Acquire).
unsafe fn clipped(block: &Block, pos: u64, len: u64) -> Piece<'_> {
    let offset = (pos % BLOCK_BYTES as u64) as usize;
    let len = len.min((BLOCK_BYTES - offset) as u64) as usize;
    // SAFETY: handed on from the caller.
    unsafe { block.piece(offset, len) }
}
