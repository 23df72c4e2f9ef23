//! A continuous viewer's place in a store: which bytes it gets next. Nothing here sends.
//!
//! It never stands within a packet unless the packet's rest waits in `pending`, so that a viewer that lost its place can
//! be given other bytes at any time and every packet it got is whole. 188 does not divide a block: the packet that lies
//! across two blocks is put together in `pending`, or not begun.

use crate::mpegts::packet::PACKET_BYTES;
use crate::package::mpegts::JoinPoint;
use crate::store::{StoreReader, StoreShared};
use std::sync::Arc;

/// A packet that every receiver throws away (ISO/IEC 13818-1 2.4.1): keeps a connection alive and nothing else.
const NULL_PACKET: [u8; PACKET_BYTES] = {
    let mut packet = [0xff; PACKET_BYTES];
    packet[0] = 0x47; // sync_byte
    packet[1] = 0x1f; // PID 0x1fff, upper bits
    packet[2] = 0xff; // PID 0x1fff, lower bits
    packet[3] = 0x10; // payload only, continuity_counter 0
    packet
};

pub(super) struct Place {
    reader: StoreReader,
    /// Next store position, a packet boundary.
    pos: u64,
    /// Bytes outside the store that go first: the rest of a packet, a private head, null packets.
    pending: Vec<u8>,
}

/// What lies ahead of a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead<'a> {
    /// The bytes to send next, at least one. `more`: others follow them at once.
    Bytes { bytes: &'a [u8], more: bool },
    /// It has all that is published.
    Nothing,
    /// What it was to get next is gone from the store.
    Trimmed,
}

impl Place {
    /// At `pos`, a packet boundary.
    pub fn new(store: &Arc<StoreShared>, pos: u64) -> Self {
        Place { reader: StoreReader::new(store.clone()), pos, pending: Vec::new() }
    }

    pub fn ahead(&mut self) -> Ahead<'_> {
        let left = self.reader.shared().published().saturating_sub(self.pos);
        if self.pending.is_empty() {
            if left < PACKET_BYTES as u64 {
                return Ahead::Nothing;
            }
            let Some(piece) = self.reader.piece(self.pos, left as usize) else { return Ahead::Trimmed };
            let in_block = piece.bytes.len();
            if in_block >= PACKET_BYTES {
                let whole = in_block - in_block % PACKET_BYTES;
                // Asked for again, as the borrow checker does not see that the first answer was not kept.
                return match self.reader.piece(self.pos, whole) {
                    Some(piece) => Ahead::Bytes { bytes: piece.bytes, more: false },
                    None => Ahead::Trimmed,
                };
            }
            if !self.gather() {
                return Ahead::Trimmed;
            }
        }
        Ahead::Bytes { bytes: &self.pending, more: self.reader.shared().published() > self.pos }
    }

    /// `count` of the bytes that [`Place::ahead`] gave were sent.
    pub fn sent(&mut self, count: usize) {
        if self.pending.is_empty() {
            self.pos += count as u64;
            let rest = self.pos.next_multiple_of(PACKET_BYTES as u64) - self.pos;
            // Kept apart, for the store may let go of it. It lies in the same block: whole packets were given.
            self.copy(rest as usize);
        } else if count < self.pending.len() {
            self.pending.drain(..count);
        } else {
            // Gives the memory back: most viewers never need it again.
            self.pending = Vec::new();
        }
    }

    /// On to a later join point, behind its private head. False when the join point lies behind.
    pub fn skip_to(&mut self, join: &JoinPoint) -> bool {
        let is_ahead = join.pos >= self.pos;
        if is_ahead {
            self.pending.extend_from_slice(&join.head);
            self.pos = join.pos;
        }
        is_ahead
    }

    /// Puts a null packet before what comes next.
    pub fn push_null_packet(&mut self) {
        self.pending.extend_from_slice(&NULL_PACKET);
    }

    /// Lets go of a block that the store has trimmed, but for the packet that is next, a byte of which may be on its way:
    /// a viewer that takes nothing must not keep memory.
    pub fn unpin(&mut self) {
        if self.reader.holds().is_none_or(|pos| pos >= self.reader.shared().start()) {
            return;
        }
        if self.pending.is_empty() && matches!(self.ahead(), Ahead::Bytes { .. }) && self.pending.is_empty() {
            self.copy(PACKET_BYTES);
        }
        self.reader.release();
    }

    /// Puts the packet at `pos`, which lies across two blocks, into `pending`; all of it or nothing.
    fn gather(&mut self) -> bool {
        let start = self.pos;
        let complete = self.copy(PACKET_BYTES);
        if !complete {
            self.pos = start;
            self.pending = Vec::new();
        }
        complete
    }

    /// Moves `len` published bytes from the store to `pending`. False when some are gone.
    fn copy(&mut self, mut len: usize) -> bool {
        while len > 0 {
            let Some(piece) = self.reader.piece(self.pos, len) else { return false };
            self.pending.extend_from_slice(piece.bytes);
            self.pos += piece.bytes.len() as u64;
            len -= piece.bytes.len();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::Key;
    use crate::limits::BLOCK_BYTES;
    use crate::store::{Arena, StoreWriter};
    use crate::time::MediaTime;

    const PACKETS: usize = 3 * BLOCK_BYTES / PACKET_BYTES;

    /// A store of packets that carry their own number.
    fn store() -> StoreWriter {
        let mut writer = StoreWriter::new(Arena::new(8 * BLOCK_BYTES).unwrap());
        for number in 0..PACKETS as u32 {
            let mut packet = [0x47; PACKET_BYTES];
            packet[1..5].copy_from_slice(&number.to_be_bytes());
            writer.append(&packet).unwrap();
        }
        writer.publish();
        writer
    }

    /// Takes what lies ahead, at most `step` bytes at a time.
    fn take(place: &mut Place, step: usize, bytes_max: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < bytes_max {
            let Ahead::Bytes { bytes, .. } = place.ahead() else { break };
            let n = bytes.len().min(step).min(bytes_max - got.len());
            got.extend_from_slice(&bytes[..n]);
            place.sent(n);
        }
        got
    }

    fn numbers(bytes: &[u8]) -> Vec<u32> {
        assert!(bytes.len().is_multiple_of(PACKET_BYTES), "{} bytes end within a packet", bytes.len());
        let number = |packet: &[u8]| u32::from_be_bytes([packet[1], packet[2], packet[3], packet[4]]);
        bytes.chunks(PACKET_BYTES).inspect(|packet| assert_eq!(packet[0], 0x47)).map(number).collect()
    }

    #[test]
    fn steps_of_any_length_give_every_byte_once() {
        let writer = store();
        for step in [1, 187, 188, 189, 1_000_003] {
            let mut place = Place::new(writer.shared(), 0);
            let got = take(&mut place, step, usize::MAX);
            assert!(numbers(&got).into_iter().eq(0..PACKETS as u32), "step {step}");
            assert_eq!(place.ahead(), Ahead::Nothing);
        }
    }

    #[test]
    fn a_viewer_whose_next_block_is_gone_stops_at_a_packet_boundary_and_skips() {
        let mut writer = store();
        let join = JoinPoint {
            pos: 10 * PACKET_BYTES as u64,
            head: bytes::Bytes::from(vec![0x47; PACKET_BYTES]),
            dts: MediaTime(0),
            key: Key::Idr,
        };
        let mut place = Place::new(writer.shared(), 0);
        let mut got = take(&mut place, 1_000, 100_001);
        writer.trim(2 * BLOCK_BYTES as u64);
        got.extend(take(&mut place, 1_000, usize::MAX));
        assert!(numbers(&got).into_iter().eq(0..(BLOCK_BYTES / PACKET_BYTES) as u32));
        assert_eq!(place.ahead(), Ahead::Trimmed);
        assert!(!place.skip_to(&join), "that lies behind");
        let ahead = JoinPoint { pos: (PACKETS as u64 - 1) * PACKET_BYTES as u64, ..join };
        assert!(place.skip_to(&ahead));
        assert_eq!(numbers(&take(&mut place, 7, usize::MAX)), [0x4747_4747, PACKETS as u32 - 1]);
    }

    #[test]
    fn a_viewer_that_takes_nothing_keeps_one_packet_and_no_block() {
        for (taken, expected) in [(0, &[0][..]), (100, &[0]), (188, &[0, 1])] {
            let mut writer = store();
            let mut place = Place::new(writer.shared(), 0);
            assert!(matches!(place.ahead(), Ahead::Bytes { .. }));
            let mut got = take(&mut place, 1_000, taken);
            writer.trim(BLOCK_BYTES as u64);
            assert_eq!(writer.shared().pinned_blocks(), 1);
            place.unpin();
            assert_eq!(writer.shared().pinned_blocks(), 0);
            got.extend(take(&mut place, 1_000, usize::MAX));
            assert_eq!(numbers(&got), expected);
            assert_eq!(place.ahead(), Ahead::Trimmed);
        }
    }
}
