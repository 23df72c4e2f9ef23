//! Transport packets: PES bytes cut into 188-byte packets with their adaptation fields (ISO/IEC 13818-1 2.4.3.2 to 2.4.3.5).
//!
//! What it deliberately does not do: decide anything. When a PCR or a flag stands in a packet is the muxer's choice.

use crate::time::Ts33;

/// Bytes of a transport packet.
pub const PACKET_BYTES: usize = 188;
/// First byte of a transport packet.
pub const SYNC_BYTE: u8 = 0x47;
/// Bytes behind the four of the packet header.
const BODY_BYTES: usize = PACKET_BYTES - 4;
/// adaptation_field flags.
const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const PCR_FLAG: u8 = 0x10;

/// What the adaptation field of a packet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    pub discontinuity: bool,
    pub random_access: bool,
    /// program_clock_reference_base; the 27 MHz extension is always 0, as the output timeline counts in 90 kHz.
    pub pcr: Option<Ts33>,
}

impl Adaptation {
    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.discontinuity {
            flags |= DISCONTINUITY;
        }
        if self.random_access {
            flags |= RANDOM_ACCESS;
        }
        if self.pcr.is_some() {
            flags |= PCR_FLAG;
        }
        flags
    }
    /// Bytes it takes, with its length byte; 0 when it says nothing.
    fn len(&self) -> usize {
        match (self.flags(), self.pcr) {
            (0, _) => 0,
            (_, Some(_)) => 8,
            (_, None) => 2,
        }
    }
    /// Appends it, stuffed to `len` bytes, its length byte included.
    fn write(&self, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        out.push((len - 1) as u8);
        if len > 1 {
            out.push(self.flags());
        }
        if let Some(pcr) = self.pcr {
            let base = pcr.ticks();
            out.extend_from_slice(&((base >> 1) as u32).to_be_bytes());
            out.extend_from_slice(&[(base as u8 & 1) << 7 | 0x7e, 0]); // last base bit, six reserved ones, extension 0
        }
        out.resize(end, 0xff);
    }
}

/// A run of PCRs inside one PES packet.
#[derive(Clone, Copy, Debug)]
pub struct PcrSteps {
    /// PCR of the first step, behind the one in the first packet.
    pub next: Ts33,
    /// Ticks from step to step.
    pub ticks: i64,
    /// Steps left.
    pub count: usize,
    /// PES bytes between two steps.
    pub every_bytes: usize,
}

/// Up to five slices read as one.
pub struct Gather<'a> {
    parts: [&'a [u8]; 5],
    at: usize,
    left: usize,
}

impl<'a> Gather<'a> {
    pub fn new(parts: [&'a [u8]; 5]) -> Self {
        Gather { parts, at: 0, left: parts.iter().map(|p| p.len()).sum() }
    }
    /// Bytes not taken yet.
    pub fn left(&self) -> usize {
        self.left
    }
    fn take(&mut self, mut len: usize, out: &mut Vec<u8>) {
        self.left -= len;
        while len > 0 {
            let part = self.parts[self.at];
            let (now, later) = part.split_at(len.min(part.len()));
            out.extend_from_slice(now);
            self.parts[self.at] = later;
            if later.is_empty() {
                self.at += 1;
            }
            len -= now.len();
        }
    }
    /// Whole packets' worth of bytes at the front of the current part, at most `len_max`.
    fn run(&mut self, len_max: usize) -> &'a [u8] {
        let Some(&part) = self.parts.get(self.at) else { return &[] };
        let len = part.len().min(len_max) / BODY_BYTES * BODY_BYTES;
        let (now, later) = part.split_at(len);
        self.parts[self.at] = later;
        self.left -= len;
        now
    }
}

/// A PID and its continuity_counter.
#[derive(Clone, Copy, Debug)]
pub struct Pid {
    pub pid: u16,
    /// continuity_counter of the next packet that carries payload, 0 ..= 15.
    pub continuity: u8,
}

impl Pid {
    /// Appends the PES packet `pes` as transport packets: `first` in the first of them, `steps` spread behind it.
    pub fn write_pes(
        &mut self,
        first: Adaptation,
        mut steps: Option<PcrSteps>,
        mut pes: Gather<'_>,
        out: &mut Vec<u8>,
    ) {
        out.reserve((pes.left() / BODY_BYTES + 2 + steps.map_or(0, |s| s.count)) * PACKET_BYTES);
        self.write_packet(0x40, first, &mut pes, out);
        let mut taken = 0;
        while pes.left() > 0 {
            let until_step = steps.map_or(usize::MAX, |s| s.every_bytes.saturating_sub(taken));
            let left = pes.left();
            self.write_plain(pes.run(until_step), out);
            if pes.left() == 0 {
                break;
            }
            taken += left - pes.left();
            let due = steps.is_some_and(|s| taken + BODY_BYTES >= s.every_bytes);
            let adaptation = if due { next_step(&mut steps, &mut taken) } else { Adaptation::default() };
            let left = pes.left();
            self.write_packet(0, adaptation, &mut pes, out);
            taken += left - pes.left();
        }
    }

    /// Appends a packet without payload: the continuity_counter does not count it (2.4.3.3).
    pub fn write_adaptation_only(&self, adaptation: Adaptation, out: &mut Vec<u8>) {
        self.write_header(0, 0x20, self.continuity.wrapping_sub(1) & 0x0f, out);
        adaptation.write(BODY_BYTES, out);
    }

    fn write_plain(&mut self, run: &[u8], out: &mut Vec<u8>) {
        for body in run.chunks_exact(BODY_BYTES) {
            self.write_header(0, 0x10, self.continuity, out);
            out.extend_from_slice(body);
            self.continuity = (self.continuity + 1) & 0x0f;
        }
    }

    fn write_packet(&mut self, start_bit: u8, adaptation: Adaptation, pes: &mut Gather<'_>, out: &mut Vec<u8>) {
        let body = pes.left().min(BODY_BYTES - adaptation.len());
        let adaptation_len = BODY_BYTES - body;
        let control = if adaptation_len == 0 { 0x10 } else { 0x30 };
        self.write_header(start_bit, control, self.continuity, out);
        if adaptation_len > 0 {
            adaptation.write(adaptation_len, out);
        }
        pes.take(body, out);
        self.continuity = (self.continuity + 1) & 0x0f;
    }

    fn write_header(&self, start_bit: u8, control: u8, continuity: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(&[SYNC_BYTE, start_bit | (self.pid >> 8) as u8, self.pid as u8, control | continuity]);
    }
}

fn next_step(steps: &mut Option<PcrSteps>, taken: &mut usize) -> Adaptation {
    *taken = 0;
    let Some(step) = steps else { return Adaptation::default() };
    let adaptation = Adaptation { pcr: Some(step.next), ..Adaptation::default() };
    step.next = step.next.offset(step.ticks);
    step.count -= 1;
    if step.count == 0 {
        *steps = None;
    }
    adaptation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid() -> Pid {
        Pid { pid: 0x101, continuity: 15 }
    }

    #[test]
    fn a_short_pes_is_stuffed_by_an_adaptation_field() {
        let mut out = Vec::new();
        let pes = Gather::new([&[1, 2], &[3], &[], &[], &[]]);
        pid().write_pes(Adaptation::default(), None, pes, &mut out);
        assert_eq!(out.len(), 188);
        // sync, payload_unit_start + PID, adaptation + payload + counter 15, adaptation length 180, no flags
        assert_eq!(out[..6], [0x47, 0x41, 0x01, 0x3f, 180, 0]);
        assert!(out[6..185].iter().all(|&b| b == 0xff));
        assert_eq!(out[185..], [1, 2, 3]);
    }

    #[test]
    fn one_byte_of_stuffing_is_a_lone_length_byte() {
        let mut out = Vec::new();
        let body = [7; 183];
        pid().write_pes(Adaptation::default(), None, Gather::new([&body, &[], &[], &[], &[]]), &mut out);
        assert_eq!(out.len(), 188);
        assert_eq!(out[3..6], [0x3f, 0, 7]);
    }

    #[test]
    fn a_pcr_takes_33_bits_of_base_and_no_extension() {
        let mut out = Vec::new();
        let pcr = Some(Ts33::new(0x1_2345_6789));
        pid().write_adaptation_only(Adaptation { discontinuity: true, random_access: false, pcr }, &mut out);
        assert_eq!(out.len(), 188);
        // counter stays at that of the packet before (14); length 183; discontinuity + PCR; base 0x123456789 << 15 | 0x7e00
        assert_eq!(out[..12], [0x47, 0x01, 0x01, 0x2e, 183, 0x90, 0x91, 0xa2, 0xb3, 0xc4, 0xfe, 0x00]);
    }

    #[test]
    fn steps_stand_inside_a_long_pes_and_lose_no_byte() {
        let bytes: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let steps = PcrSteps { next: Ts33::new(900), ticks: 900, count: 3, every_bytes: 2_500 };
        let first = Adaptation { pcr: Some(Ts33::new(0)), ..Adaptation::default() };
        let mut out = Vec::new();
        pid().write_pes(first, Some(steps), Gather::new([&bytes[..14], &bytes[14..], &[], &[], &[]]), &mut out);
        let mut body = Vec::new();
        let mut pcr_at = Vec::new();
        for (index, packet) in out.chunks(188).enumerate() {
            assert_eq!(packet[3] & 0x0f, ((15 + index) & 0x0f) as u8);
            let adaptation_len = if packet[3] & 0x20 == 0 { 0 } else { usize::from(packet[4]) + 1 };
            if adaptation_len > 1 && packet[5] & 0x10 != 0 {
                pcr_at.push(index);
            }
            body.extend_from_slice(&packet[4 + adaptation_len..]);
        }
        assert_eq!(body, bytes);
        assert_eq!(pcr_at.len(), 4, "{pcr_at:?}");
        assert!(pcr_at.windows(2).all(|w| w[1] - w[0] >= 12), "{pcr_at:?}");
    }
}
