//! The store against a plain Vec, and with real sockets. `tests/threads.rs` has it between threads.

use super::*;
use crate::limits::BLOCK_BYTES;
use proptest::prelude::*;
use std::io::Read;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const B: u64 = BLOCK_BYTES as u64;

/// The byte that stands at `pos` of the store with this seed.
fn byte(seed: u64, pos: u64) -> u8 {
    (pos.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes(seed: u64, range: Range<u64>) -> Vec<u8> {
    range.map(|pos| byte(seed, pos)).collect()
}

/// A store of `len` published bytes.
fn filled(arena: &Arc<Arena>, seed: u64, len: u64) -> StoreWriter {
    let mut writer = StoreWriter::new(arena.clone());
    writer.append(&bytes(seed, 0..len)).unwrap();
    writer.publish();
    writer
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Publish,
    Trim(u64),
    Read { back: u64, len_max: usize },
    Hold { back: u64, len: u64 },
    Release,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0usize..60_000).prop_map(Op::Append),
        1 => (0usize..600_000).prop_map(Op::Append),
        3 => Just(Op::Publish),
        1 => (0..4 * B).prop_map(Op::Trim),
        4 => (0..3 * B, 0usize..300_000).prop_map(|(back, len_max)| Op::Read { back, len_max }),
        2 => (0..3 * B, 0..3 * B).prop_map(|(back, len)| Op::Hold { back, len }),
        1 => Just(Op::Release),
    ];
    prop::collection::vec(op, 1..60)
}

/// A writer, a reader and a held range beside the oracle: all bytes ever appended, and two positions.
struct Model {
    writer: StoreWriter,
    reader: StoreReader,
    held: Option<Held>,
    oracle: Vec<u8>,
    published: u64,
    start: u64,
}

impl Model {
    fn new(arena: &Arc<Arena>) -> Self {
        let writer = StoreWriter::new(arena.clone());
        let reader = StoreReader::new(writer.shared().clone());
        Model { writer, reader, held: None, oracle: Vec::new(), published: 0, start: 0 }
    }
    fn step(&mut self, op: Op) {
        match op {
            Op::Append(len) => {
                let more = bytes(1, self.writer.end()..self.writer.end() + len as u64);
                if self.writer.append(&more).is_ok() {
                    self.oracle.extend(more);
                }
            }
            Op::Publish => {
                self.writer.publish();
                self.published = self.oracle.len() as u64;
            }
            Op::Trim(back) => {
                let pos = self.published.saturating_sub(back);
                self.writer.trim(pos);
                self.start = self.start.max(pos / B * B);
            }
            Op::Read { back, len_max } => self.read(self.published.saturating_sub(back), len_max),
            Op::Hold { back, len } => self.hold(self.published.saturating_sub(back), len),
            Op::Release => self.reader.release(),
        }
        assert_eq!(self.writer.end(), self.oracle.len() as u64);
        let shared = self.writer.shared();
        assert_eq!((shared.published(), shared.start()), (self.published, self.start));
    }
    fn read(&mut self, pos: u64, len_max: usize) {
        let stands_in = self.reader.holds() == Some(pos / B * B);
        let readable = pos < self.published && (pos >= self.start || stands_in);
        let piece = self.reader.piece(pos, len_max);
        assert_eq!(piece.is_some(), readable);
        if let Some(piece) = piece {
            let end = self.published.min(pos / B * B + B).min(pos + len_max as u64);
            assert_eq!(piece.bytes, &self.oracle[pos as usize..end as usize]);
        }
    }
    fn hold(&mut self, pos: u64, len: u64) {
        if let Some(held) = &self.held {
            // What was held before must still be there, whatever was trimmed since.
            let all: Vec<u8> = held.pieces().flat_map(|piece| piece.bytes.to_vec()).collect();
            assert_eq!(all, self.oracle[held.range().start as usize..held.range().end as usize]);
        }
        self.held = self.writer.shared().hold(pos..pos + len);
        if len > 0 {
            assert_eq!(self.held.is_some(), pos + len <= self.published && pos >= self.start);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_a_plain_vec(ops in ops()) {
        let arena = Arena::new(12 * BLOCK_BYTES).unwrap();
        let mut model = Model::new(&arena);
        ops.into_iter().for_each(|op| model.step(op));
        drop(model);
        prop_assert_eq!((arena.blocks_in_use(), arena.bytes_resident().unwrap()), (0, 0));
    }
}

#[test]
fn a_full_arena_refuses_an_append_and_takes_it_after_a_trim() {
    let arena = Arena::new(2 * BLOCK_BYTES).unwrap();
    let mut writer = filled(&arena, 1, B + 10);
    assert_eq!(writer.append(&bytes(1, B + 10..3 * B)).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    assert_eq!((writer.end(), arena.blocks_in_use()), (B + 10, 2));
    writer.trim(B);
    writer.append(&bytes(1, B + 10..3 * B)).unwrap();
    writer.publish();
    let held = writer.shared().hold(B..3 * B).unwrap();
    assert_eq!(held.pieces().map(|piece| piece.bytes.len()).collect::<Vec<_>>(), [BLOCK_BYTES; 2]);
    assert!(held.pieces().flat_map(|piece| piece.bytes).copied().eq(bytes(1, B..3 * B)));
}

#[test]
fn blocks_that_only_readers_hold_count_as_pinned() {
    let arena = Arena::new(8 * BLOCK_BYTES).unwrap();
    let mut writer = filled(&arena, 1, 4 * B);
    let shared = writer.shared().clone();
    let mut reader = StoreReader::new(shared.clone());
    reader.piece(5, 1).unwrap();
    let mut held = shared.hold(B + 3..3 * B).unwrap();
    writer.trim(4 * B);
    assert_eq!((shared.held_blocks(), shared.pinned_blocks(), arena.blocks_in_use()), (0, 3, 3));
    assert_eq!(reader.holds(), Some(0));
    held.release_before(2 * B);
    assert_eq!((shared.pinned_blocks(), held.range()), (2, 2 * B..3 * B));
    assert!(reader.piece(B, 1).is_none(), "it stood in block 0; block 1 is gone");
    assert!(reader.piece(6, 1).is_some());
    reader.release();
    drop(held);
    assert_eq!((shared.pinned_blocks(), arena.bytes_in_use()), (0, 0));
}

#[test]
fn a_closed_store_stays_readable_and_a_discarded_one_goes_at_once() {
    let arena = Arena::new(8 * BLOCK_BYTES).unwrap();
    let (closed, discarded) = (filled(&arena, 1, 2 * B), filled(&arena, 2, 2 * B));
    let (closed_shared, discarded_shared) = (closed.shared().clone(), discarded.shared().clone());
    drop(closed);
    discarded.discard();
    assert!(closed_shared.is_closed() && discarded_shared.is_closed());
    assert!(closed_shared.hold(0..2 * B).is_some());
    assert!(discarded_shared.hold(0..2 * B).is_none());
    assert_eq!(arena.blocks_in_use(), 2);
    drop(closed_shared);
    assert_eq!(arena.blocks_in_use(), 0);
}

/// Sends `piece` as a response would, and leaves it in the socket's queue.
fn queue_by_sendfile(socket: &UnixStream, piece: &Piece<'_>) {
    let mut offset = piece.file_offset as libc::off_t;
    // SAFETY: both descriptors are open, and the offset outlives the call.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), piece.fd, &mut offset, piece.bytes.len()) };
    assert_eq!(sent, piece.bytes.len() as isize);
}

#[test]
fn a_socket_delivers_the_old_bytes_after_the_slot_was_used_again() {
    const LEN: u64 = 64 << 10;
    let arena = Arena::new(BLOCK_BYTES).unwrap(); // One slot, so that the second store must reuse it.
    let first = filled(&arena, 1, LEN);
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut reader = StoreReader::new(first.shared().clone());
    queue_by_sendfile(&near, &reader.piece(0, LEN as usize).unwrap());
    drop((reader, first));
    let second = filled(&arena, 2, LEN);
    let held = second.shared().hold(0..LEN).unwrap();
    assert_eq!(held.pieces().next().unwrap().file_offset, 0, "the same place in the file");
    let mut received = vec![0; LEN as usize];
    far.read_exact(&mut received).unwrap();
    assert!(received == bytes(1, 0..LEN), "the receiver must get what was sent");
    assert!(held.pieces().next().unwrap().bytes == bytes(2, 0..LEN));
}
