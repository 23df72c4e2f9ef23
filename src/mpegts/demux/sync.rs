//! Finds packets in a stream of bytes: 188, 192 (M2TS: 4-byte prefix) and 204 bytes apart (16-byte Reed-Solomon suffix).
//!
//! Only the distance between sync bytes matters: whatever lies between the 188 bytes and the next sync byte is skipped, so a
//! prefix and a suffix are the same thing. Holds at most [`CARRY_BYTES`], in place.
//!
//! What it deliberately does not do: look behind a packet before handing it out. A packet that was cut short is found by the
//! next one's sync byte, and by its continuity counter.

use crate::mpegts::packet::{PACKET_BYTES, SYNC_BYTE};

/// Distances between sync bytes, by how common they are.
const STRIDES: [usize; 3] = [188, 192, 204];
/// Sync bytes that must stand a stride apart before a packet is believed.
const LOCK_SYNC_BYTES: usize = 4;
/// Bytes that must be there to judge one offset for every stride.
const SEARCH_BYTES: usize = (LOCK_SYNC_BYTES - 1) * 204 + 1;
/// Size of the carry buffer: what one search needs, and room to go on.
const CARRY_BYTES: usize = 1024;

/// Where the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Looking for [`LOCK_SYNC_BYTES`] sync bytes.
    Search,
    /// A sync byte is due `gap` bytes on, and each packet begins `stride` bytes after the one before.
    Locked { stride: usize, gap: usize },
}

/// Cuts bytes into packets, across any split of the input.
#[derive(Debug)]
pub(super) struct PacketSync {
    state: State,
    carry: [u8; CARRY_BYTES],
    /// The carried bytes are `carry[start..end]`.
    start: usize,
    end: usize,
    /// Bytes skipped in search of the sync byte.
    pub(super) skipped_bytes: u64,
}

impl PacketSync {
    pub(super) fn new() -> Self {
        PacketSync { state: State::Search, carry: [0; CARRY_BYTES], start: 0, end: 0, skipped_bytes: 0 }
    }

    /// The next packet, from the carried bytes or straight from `input`, which moves on. `None`: all input was taken.
    #[inline]
    pub(super) fn next<'p, 'b: 'p>(&'p mut self, input: &mut &'b [u8]) -> Option<&'p [u8; PACKET_BYTES]> {
        if self.start == self.end
            && let State::Locked { stride, gap: 0 } = self.state
            && let Some((packet, rest)) = input.split_first_chunk()
            && packet[0] == SYNC_BYTE
        {
            *input = rest;
            self.state = State::Locked { stride, gap: stride - PACKET_BYTES };
            return Some(packet);
        }
        self.next_slow(input)
    }

    /// The stream ended: the next packet of the bytes that were too few to lock on, or `None`. Call until `None`.
    pub(super) fn drain(&mut self) -> Option<&[u8; PACKET_BYTES]> {
        if self.state == State::Search {
            let stride = STRIDES.into_iter().find(|&stride| self.tail_fits(stride));
            self.state = State::Locked { stride: stride.unwrap_or(PACKET_BYTES), gap: 0 };
        }
        if let State::Locked { stride, gap } = self.state {
            self.start = (self.start + gap).min(self.end);
            return self.take_carried(stride).filter(|packet| packet[0] == SYNC_BYTE);
        }
        None
    }

    /// Forgets everything but the counter.
    pub(super) fn reset(&mut self) {
        *self = PacketSync { skipped_bytes: self.skipped_bytes, ..PacketSync::new() };
    }

    fn next_slow<'p, 'b: 'p>(&'p mut self, input: &mut &'b [u8]) -> Option<&'p [u8; PACKET_BYTES]> {
        loop {
            match self.state {
                State::Search => self.search(input)?,
                State::Locked { stride, gap } => {
                    let gap = gap - self.discard(gap, input);
                    self.state = State::Locked { stride, gap };
                    if gap > 0 || !self.first_is_there(input) {
                        return None;
                    }
                    if self.first(input) == SYNC_BYTE {
                        break;
                    }
                    self.state = State::Search;
                }
            }
        }
        let State::Locked { stride, .. } = self.state else { return None };
        if self.start == self.end
            && let Some((packet, rest)) = input.split_first_chunk()
        {
            *input = rest;
            self.state = State::Locked { stride, gap: stride - PACKET_BYTES };
            return Some(packet);
        }
        self.fill(PACKET_BYTES, input);
        self.take_carried(stride)
    }

    /// The packet at the front of the carried bytes, if it is whole.
    fn take_carried(&mut self, stride: usize) -> Option<&[u8; PACKET_BYTES]> {
        let from = self.start;
        if self.end - from < PACKET_BYTES {
            return None;
        }
        self.start += PACKET_BYTES;
        self.state = State::Locked { stride, gap: stride - PACKET_BYTES };
        self.carry[from..].first_chunk()
    }

    /// Looks for a lock in the carried bytes, then in the input. `None`: needs more input.
    fn search(&mut self, input: &mut &[u8]) -> Option<()> {
        while self.start < self.end {
            let carried = self.end - self.start;
            let before = *input;
            self.fill(CARRY_BYTES, input);
            let (offset, stride) = find_lock(&self.carry[self.start..self.end]);
            self.skipped_bytes += offset as u64;
            if offset >= carried {
                // The rest was only copied in to look at: go on in place.
                *input = &before[offset - carried..];
                (self.start, self.end) = (0, 0);
            } else {
                self.start += offset;
            }
            if let Some(stride) = stride {
                self.state = State::Locked { stride, gap: 0 };
                return Some(());
            }
            if offset < carried && input.is_empty() {
                return None;
            }
        }
        let (offset, stride) = find_lock(input);
        self.skipped_bytes += offset as u64;
        *input = &input[offset..];
        if let Some(stride) = stride {
            self.state = State::Locked { stride, gap: 0 };
            return Some(());
        }
        self.fill(CARRY_BYTES, input);
        None
    }

    /// Carries input until `count` bytes are held or the input is empty.
    fn fill(&mut self, count: usize, input: &mut &[u8]) {
        if self.start + count > CARRY_BYTES {
            self.carry.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let take = count.saturating_sub(self.end - self.start).min(input.len());
        let (taken, rest) = input.split_at(take);
        self.carry[self.end..self.end + take].copy_from_slice(taken);
        self.end += take;
        *input = rest;
    }

    /// Throws away up to `count` bytes; says how many.
    fn discard(&mut self, count: usize, input: &mut &[u8]) -> usize {
        let carried = count.min(self.end - self.start);
        self.start += carried;
        let fresh = (count - carried).min(input.len());
        *input = &input[fresh..];
        carried + fresh
    }

    fn first_is_there(&self, input: &[u8]) -> bool {
        self.start < self.end || !input.is_empty()
    }

    fn first(&self, input: &[u8]) -> u8 {
        if self.start < self.end { self.carry[self.start] } else { input[0] }
    }

    /// Whether the carried bytes are whole packets of this stride, from the first one on.
    fn tail_fits(&self, stride: usize) -> bool {
        let bytes = &self.carry[self.start..self.end];
        bytes.len() >= PACKET_BYTES && bytes.iter().step_by(stride).all(|&b| b == SYNC_BYTE)
    }
}

/// The first offset where sync bytes stand a stride apart, with that stride; else the first offset that was too near the end to judge.
fn find_lock(bytes: &[u8]) -> (usize, Option<usize>) {
    let judged = (bytes.len() + 1).saturating_sub(SEARCH_BYTES);
    for offset in 0..judged {
        if bytes[offset] == SYNC_BYTE
            && let Some(stride) = STRIDES.into_iter().find(|&stride| locks(&bytes[offset..], stride))
        {
            return (offset, Some(stride));
        }
    }
    // A byte that is no sync byte need not be kept.
    let kept = bytes[judged..].iter().position(|&b| b == SYNC_BYTE);
    (judged + kept.unwrap_or(bytes.len() - judged), None)
}

fn locks(bytes: &[u8], stride: usize) -> bool {
    (1..LOCK_SYNC_BYTES).all(|k| bytes[k * stride] == SYNC_BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` packets, each with its number behind the sync byte, `stride` bytes apart.
    fn packets(count: u8, stride: usize) -> Vec<u8> {
        (0..count).flat_map(|n| [&[SYNC_BYTE, n][..], &vec![0x11; stride - 2]].concat()).collect()
    }

    /// Numbers of the packets found when the bytes come in pieces of `piece`.
    fn numbers(bytes: &[u8], piece: usize) -> (Vec<u8>, u64) {
        let mut sync = PacketSync::new();
        let mut got = Vec::new();
        for mut input in bytes.chunks(piece) {
            while let Some(packet) = sync.next(&mut input) {
                got.push(packet[1]);
            }
            assert!(input.is_empty());
        }
        while let Some(packet) = sync.drain() {
            got.push(packet[1]);
        }
        (got, sync.skipped_bytes)
    }

    #[test]
    fn every_stride_in_pieces_of_every_size() {
        for (stride, prefix) in [(188, 0), (192, 4), (204, 0)] {
            let bytes = [vec![0; prefix], packets(20, stride)].concat();
            for piece in (1..700).chain([bytes.len()]) {
                let (got, skipped) = numbers(&bytes, piece);
                assert_eq!((got, skipped), ((0..20).collect(), prefix as u64), "stride {stride}, pieces of {piece}");
            }
        }
    }

    #[test]
    fn garbage_costs_only_itself() {
        for garbage in [1, 13, 187, 188, 189, 500, 3000] {
            let bytes = [packets(8, 188), vec![0x22; garbage], packets(8, 188)].concat();
            for piece in [1, 7, 188, 1000, bytes.len()] {
                let (got, skipped) = numbers(&bytes, piece);
                assert_eq!(got, (0..8).chain(0..8).collect::<Vec<_>>(), "{garbage} bytes in pieces of {piece}");
                assert_eq!(skipped, garbage as u64);
            }
        }
    }

    #[test]
    fn garbage_full_of_sync_bytes_does_not_lock() {
        let mut noise: Vec<u8> = (0..997u32).map(|i| if i % 5 == 0 { SYNC_BYTE } else { i as u8 }).collect();
        noise.extend(packets(8, 188));
        let (got, _) = numbers(&noise, 64);
        assert_eq!(got[got.len() - 7..], [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn one_bad_sync_byte_costs_one_packet() {
        let mut bytes = packets(12, 188);
        bytes[5 * 188] = 0;
        assert_eq!(numbers(&bytes, 1000), ((0..12).filter(|&n| n != 5).collect(), 188));
    }

    #[test]
    fn the_stride_may_change() {
        let bytes = [packets(8, 188), packets(8, 204)].concat();
        assert_eq!(numbers(&bytes, 100).0, (0..8).chain(0..8).collect::<Vec<_>>());
    }

    #[test]
    fn too_few_packets_to_lock_come_at_the_end() {
        assert_eq!(numbers(&packets(1, 188), 50).0, [0]);
        assert_eq!(numbers(&packets(2, 192), 50).0, [0, 1]);
        assert!(numbers(&[0x47, 0x00], 50).0.is_empty());
    }
}
