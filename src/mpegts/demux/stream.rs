//! One PID of the programme: its continuity counter (ISO/IEC 13818-1 2.4.3.3) and the PES packet or section in progress.
//!
//! The PES buffer is reused from packet to packet. It grows by doubling up to the track's bound, takes what it grows by from a
//! budget that all PIDs share with their framers, and is given back when a large PES is through.

use crate::es::framer::{Framer, FramerStats};
use crate::es::{Codec, TrackKind};
use crate::limits::{DATA_PES_BYTES_MAX, PES_BUFFER_KEPT_BYTES, PES_BYTES_MAX};
use crate::mpegts::packet::PACKET_BYTES;
use crate::mpegts::pes::{self, PES_HEADER_BYTES_MAX, PesHeader, PesParse};
use crate::mpegts::psi::SectionAssembler;

/// What the continuity counter of a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Next,
    /// Sent twice: to be skipped.
    Duplicate,
    /// Packets are missing in front of this one.
    Lost,
    /// The counter jumps, and discontinuity_indicator allows it to.
    Jump,
}

/// The continuity counter of one PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// No packet yet.
    Fresh,
    /// The counter of the last packet with payload, and whether that one was a duplicate.
    Last { counter: u8, repeated: bool },
}

impl Continuity {
    /// Judges a packet with payload. `same`: whether its payload equals that of the packet before; asked only when the counters do.
    #[inline]
    pub(super) fn step(&mut self, counter: u8, discontinuity: bool, same: impl FnOnce() -> bool) -> Order {
        let before = std::mem::replace(self, Continuity::Last { counter, repeated: false });
        let Continuity::Last { counter: last, repeated } = before else { return Order::Next };
        if counter == (last + 1) & 0x0f {
            Order::Next
        } else if discontinuity {
            Order::Jump
        } else if counter == last && !repeated && same() {
            *self = Continuity::Last { counter, repeated: true };
            Order::Duplicate
        } else {
            Order::Lost
        }
    }
}

/// Where a PES buffer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PesState {
    /// Waits for payload_unit_start_indicator.
    Idle,
    /// Begun, header not whole.
    Head,
    /// Header read; the packet is whole at `end` bytes, `usize::MAX` when it is unbounded.
    Body { header: PesHeader, end: usize },
    /// Handed out; the bytes stay to recognise a duplicate by.
    Done,
}

/// What an appended payload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    More,
    /// The PES packet has all the bytes that its header announced.
    Complete,
    /// No PES header; the packet is dropped.
    Bad,
    /// Over the track's bound or the shared budget; the packet is dropped.
    Oversized,
}

/// Puts one PID's PES packets together.
#[derive(Debug)]
pub(super) struct PesBuffer {
    bytes: Vec<u8>,
    state: PesState,
    /// Bytes were lost in or directly before this PES packet.
    corrupt: bool,
    bytes_max: usize,
}

impl PesBuffer {
    fn new(kind: TrackKind) -> Self {
        let payload_max = if kind == TrackKind::Data { DATA_PES_BYTES_MAX } else { PES_BYTES_MAX };
        PesBuffer {
            bytes: Vec::new(),
            state: PesState::Idle,
            corrupt: false,
            bytes_max: PES_HEADER_BYTES_MAX + payload_max,
        }
    }

    /// A PES packet begins: forgets the one before.
    pub(super) fn start(&mut self) {
        self.bytes.clear();
        self.state = PesState::Head;
    }

    /// Takes the payload of one transport packet. `held` counts the capacity of all buffers, bounded by `budget`.
    #[inline]
    pub(super) fn append(&mut self, payload: &[u8], held: &mut usize, budget: usize) -> Append {
        if matches!(self.state, PesState::Idle | PesState::Done) {
            return Append::More;
        }
        if self.bytes.capacity() - self.bytes.len() < payload.len() && !self.grow(held, budget) {
            self.drop_packet(held);
            return Append::Oversized;
        }
        self.bytes.extend_from_slice(payload);
        match self.state {
            PesState::Body { end, .. } if self.bytes.len() < end => Append::More,
            PesState::Body { header, .. } => self.reach_end(header),
            _ => self.read_header(),
        }
    }

    /// All announced bytes are there. A transport packet holds nothing behind the end of a PES packet, so when there is more,
    /// PES_packet_length is wrong: some encoders send video with a length one short, or the low 16 bits of a longer one. Such a
    /// packet goes on until the next begins. Elsewhere what is behind the end is stuffing.
    fn reach_end(&mut self, header: PesHeader) -> Append {
        let lies = pes::is_video(header.stream_id) && header.packet_bytes.is_some_and(|end| self.bytes.len() > end);
        if !lies {
            return Append::Complete;
        }
        let header = PesHeader { packet_bytes: None, ..header };
        self.state = PesState::Body { header, end: usize::MAX };
        Append::More
    }

    /// The PES packet in progress, as header, payload and corrupt mark, and whether it lacks bytes that were announced.
    /// Call [`PesBuffer::done`] behind it.
    pub(super) fn packet(&self) -> Option<(PesHeader, &[u8], bool, bool)> {
        let PesState::Body { header, end } = self.state else { return None };
        let short = end != usize::MAX && self.bytes.len() < end;
        let payload = &self.bytes[header.header_bytes..end.min(self.bytes.len())];
        Some((header, payload, self.corrupt, short))
    }

    /// The PES packet was handed out or is of no use. A large buffer is given back.
    pub(super) fn done(&mut self, held: &mut usize) {
        self.corrupt = false;
        self.state = if self.state == PesState::Idle { PesState::Idle } else { PesState::Done };
        if self.bytes.capacity() > PES_BUFFER_KEPT_BYTES {
            self.drop_packet(held);
        }
    }

    /// Drops the PES packet in progress and gives the memory back.
    pub(super) fn drop_packet(&mut self, held: &mut usize) {
        *held -= self.bytes.capacity();
        self.bytes = Vec::new();
        self.state = PesState::Idle;
    }

    /// Whether a PES packet has begun and not been handed out.
    pub(super) fn in_progress(&self) -> bool {
        matches!(self.state, PesState::Head | PesState::Body { .. })
    }

    /// Whether `payload` was appended last; true when that is no longer known.
    fn ends_with(&self, payload: &[u8]) -> bool {
        self.state == PesState::Idle || self.bytes.ends_with(payload)
    }

    fn read_header(&mut self) -> Append {
        match pes::parse(&self.bytes) {
            PesParse::Partial => Append::More,
            PesParse::Bad => {
                self.state = PesState::Idle;
                Append::Bad
            }
            PesParse::Header(header) => {
                let end = header.packet_bytes.unwrap_or(usize::MAX);
                self.state = PesState::Body { header, end };
                if self.bytes.len() < end { Append::More } else { self.reach_end(header) }
            }
        }
    }

    /// Makes room for one more packet's payload; false when a bound forbids it.
    #[cold]
    fn grow(&mut self, held: &mut usize, budget: usize) -> bool {
        let capacity = self.bytes.capacity();
        let target = (2 * capacity).max(PES_BUFFER_FIRST_BYTES).min(self.bytes_max);
        if target < self.bytes.len() + PACKET_BYTES || *held + (target - capacity) > budget {
            return false;
        }
        self.bytes.reserve_exact(target - self.bytes.len());
        *held += self.bytes.capacity() - capacity;
        true
    }
}

/// What a PID carries.
#[derive(Debug)]
pub(super) enum Carriage {
    Pes(PesBuffer),
    Sections(SectionAssembler),
}

/// State of one elementary stream of the programme.
pub(super) struct Stream {
    pub(super) pid: u16,
    /// Codec by the PMT; the framer may know better.
    pub(super) codec: Codec,
    /// stream_type by the PMT.
    pub(super) stream_type: u8,
    pub(super) continuity: Continuity,
    pub(super) carriage: Carriage,
    /// `None` for data tracks: their PES payloads and sections are samples as they are.
    pub(super) framer: Option<Framer>,
    /// [`Framer::memory_bytes`] as it was accounted for last.
    pub(super) framer_bytes: usize,
    /// [`crate::es::framer::Frame::params_version`] that the track list shows.
    pub(super) params_version: u32,
}

impl Stream {
    pub(super) fn new(pid: u16, codec: Codec) -> Self {
        let kind = codec.kind();
        let carriage = match codec {
            Codec::Scte35 => Carriage::Sections(SectionAssembler::default()),
            _ => Carriage::Pes(PesBuffer::new(kind)),
        };
        let framer = (kind != TrackKind::Data).then(|| Framer::new(codec));
        Stream {
            pid,
            codec,
            stream_type: 0,
            continuity: Continuity::Fresh,
            carriage,
            framer,
            framer_bytes: 0,
            params_version: 0,
        }
    }

    /// Judges the packet's continuity counter, and notes a loss in what is in progress.
    #[inline]
    pub(super) fn order(&mut self, counter: u8, discontinuity: bool, payload: &[u8]) -> Order {
        let carriage = &self.carriage;
        let same = || match carriage {
            Carriage::Pes(pes) => pes.ends_with(payload),
            Carriage::Sections(_) => true,
        };
        let order = self.continuity.step(counter, discontinuity, same);
        if matches!(order, Order::Lost | Order::Jump) {
            self.lose();
        }
        order
    }

    /// Packets of this PID were lost or cannot be read.
    pub(super) fn lose(&mut self) {
        match &mut self.carriage {
            Carriage::Pes(pes) => pes.corrupt = true,
            Carriage::Sections(sections) => sections.reset(),
        }
    }

    /// Brings what the framer holds to account in `held`. Over `budget` the framer is dropped with its access unit in progress
    /// and what it learned; answers the counters of a dropped one.
    pub(super) fn account_framer(&mut self, held: &mut usize, budget: usize) -> Option<FramerStats> {
        let framer = self.framer.as_mut()?;
        *held = *held + framer.memory_bytes() - self.framer_bytes;
        self.framer_bytes = framer.memory_bytes();
        if *held <= budget || self.framer_bytes == 0 {
            return None;
        }
        let dropped = std::mem::replace(framer, Framer::new(self.codec));
        *held -= self.framer_bytes;
        (self.framer_bytes, self.params_version) = (0, 0);
        Some(dropped.stats())
    }

    /// Bytes of memory held outside the budget.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.carriage {
            Carriage::Pes(_) => 0,
            Carriage::Sections(sections) => sections.memory_bytes(),
        }
    }
}

/// Capacity of a PES buffer when it first holds anything.
const PES_BUFFER_FIRST_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::framer::PesPayload;

    fn steps(counters: &[u8], same: bool) -> Vec<Order> {
        let mut continuity = Continuity::Fresh;
        counters.iter().map(|&counter| continuity.step(counter, false, || same)).collect()
    }

    #[test]
    fn counters_in_order_wrap_at_16() {
        assert_eq!(steps(&[14, 15, 0, 1], false), [Order::Next; 4]);
    }

    #[test]
    fn exactly_one_duplicate_is_allowed() {
        use Order::*;
        assert_eq!(steps(&[3, 3, 4, 4, 4], true), [Next, Duplicate, Next, Duplicate, Lost]);
        assert_eq!(steps(&[3, 3], false), [Next, Lost], "another payload under the same counter is a loss of 16");
    }

    #[test]
    fn a_jump_is_a_loss_unless_it_is_signalled() {
        assert_eq!(steps(&[3, 5, 6], false), [Order::Next, Order::Lost, Order::Next]);
        let mut continuity = Continuity::Last { counter: 3, repeated: false };
        assert_eq!(continuity.step(9, true, || false), Order::Jump);
        assert_eq!(continuity.step(10, false, || false), Order::Next);
    }

    /// Bounded PES: 8 bytes of payload, no time stamps.
    const BOUNDED: [u8; 17] = [0, 0, 1, 0xc0, 0, 11, 0x80, 0x00, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn a_bounded_packet_is_complete_with_its_last_byte() {
        let mut held = 0;
        let mut pes = PesBuffer::new(TrackKind::Audio);
        pes.start();
        for b in &BOUNDED[..16] {
            assert_eq!(pes.append(&[*b], &mut held, 1 << 20), Append::More);
        }
        assert_eq!(pes.packet().map(|(_, payload, _, short)| (payload.len(), short)), Some((7, true)));
        assert_eq!(pes.append(&[8, 0xff, 0xff], &mut held, 1 << 20), Append::Complete);
        let (header, payload, corrupt, short) = pes.packet().expect("a whole packet");
        assert_eq!((header.stream_id, payload, corrupt, short), (0xc0, &[1, 2, 3, 4, 5, 6, 7, 8][..], false, false));
        pes.done(&mut held);
        assert!(pes.packet().is_none() && !pes.in_progress());
        assert_eq!(held, PES_BUFFER_FIRST_BYTES);
    }

    #[test]
    fn video_with_a_length_too_short_goes_on_to_the_next_start() {
        let mut held = 0;
        let mut pes = PesBuffer::new(TrackKind::Video);
        pes.start();
        let mut short = BOUNDED;
        (short[3], short[5]) = (0xe0, 10); // one byte fewer than there are
        assert_eq!(pes.append(&short, &mut held, 1 << 20), Append::More);
        assert_eq!(pes.append(&[9], &mut held, 1 << 20), Append::More);
        assert_eq!(pes.packet().map(|(_, payload, _, short)| (payload.len(), short)), Some((9, false)));
    }

    #[test]
    fn a_packet_over_its_bound_is_dropped_with_its_memory() {
        let mut held = 0;
        let mut pes = PesBuffer::new(TrackKind::Data);
        pes.start();
        pes.append(&[0, 0, 1, 0xbd, 0, 0, 0x80, 0, 0], &mut held, 1 << 30);
        let appended = (0..1000).take_while(|_| pes.append(&[0; 184], &mut held, 1 << 30) == Append::More).count();
        let kept = appended * 184;
        assert!(kept <= DATA_PES_BYTES_MAX + PES_HEADER_BYTES_MAX && kept + 368 > DATA_PES_BYTES_MAX, "{kept}");
        assert_eq!((held, pes.in_progress()), (0, false));
    }

    #[test]
    fn the_shared_budget_bounds_all_buffers() {
        let mut held = 0;
        let mut pes = PesBuffer::new(TrackKind::Video);
        pes.start();
        pes.append(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0], &mut held, 10_000);
        assert!((0..100).any(|_| pes.append(&[0; 184], &mut held, 10_000) == Append::Oversized));
        assert_eq!(held, 0);
    }

    #[test]
    fn a_framer_over_the_budget_is_dropped() {
        let mut stream = Stream::new(0x100, Codec::H264);
        let first_slice = [&[0, 0, 1, 0x65, 0x88][..], &[0x55; 5_000]].concat();
        let payload = PesPayload { data: &first_slice, pts: None, dts: None, aligned: false, corrupt: false };
        let mut held = 0;
        stream.framer.as_mut().expect("video has one").push(payload, &mut |_| {});
        assert_eq!(stream.account_framer(&mut held, 1 << 20), None);
        assert!(held >= 3, "it waits for the end of its picture, or at least of a start code: {held}");
        assert!(stream.account_framer(&mut held, 1).is_some());
        assert_eq!((held, stream.framer_bytes), (0, 0));
    }

    #[test]
    fn no_start_code_is_bad_and_waits_for_the_next_start() {
        let mut held = 0;
        let mut pes = PesBuffer::new(TrackKind::Video);
        pes.start();
        assert_eq!(pes.append(&[1, 2, 3, 4], &mut held, 1 << 20), Append::Bad);
        assert_eq!(pes.append(&BOUNDED, &mut held, 1 << 20), Append::More);
        assert!(pes.packet().is_none());
    }
}
