//! Holds a transport stream against ISO/IEC 13818-1 and the relay's own promises.
//!
//! Made for what the relay sends: one programme in the clear, null packets allowed, time-base changes announced by
//! discontinuity_indicator. Arrival times are those of the standard's decoder model, interpolated between PCRs (2.4.2.2), so a stream is
//! judged as sent, whatever the network did. [`Rule`] lists what is checked.
//!
//! What it deliberately does not do: decode, check buffer sizes of the decoder model, or share code with the relay.

mod clock;
mod packet;
mod pes;
mod psi;
mod report;

pub use report::{Range, Report, Rule, StreamFigures, Violation};

use clock::{Clock, ms, stamp_minus_time_ms};
use packet::{NULL_PID, PACKET_BYTES, Packet, is_duplicate};
use pes::Pes;
use psi::{Media, Pmt, SectionBuffer};
use std::collections::BTreeMap;

/// Longest interval between PCRs, milliseconds (2.7.2).
const PCR_INTERVAL_MS_MAX: f64 = 100.0;
/// Longest interval between PATs and between PMTs, milliseconds (TR 101 290).
const PSI_INTERVAL_MS_MAX: f64 = 500.0;
/// Longest stay in the decoder's buffer, milliseconds (2.4.2.6).
const STAY_MS_MAX: f64 = 1_000.0;
/// Rounding of interpolated times, milliseconds.
const TOLERANCE_MS: f64 = 0.1;

/// Checks a whole stream that is at hand.
pub fn check(bytes: &[u8]) -> Report {
    let mut checker = Checker::new();
    checker.push(bytes);
    checker.finish()
}

/// The checker. Give it bytes in any pieces, then ask for the verdict.
#[derive(Default)]
pub struct Checker {
    report: Report,
    /// Bytes of a packet that is not whole yet.
    partial: Vec<u8>,
    pids: BTreeMap<u16, PidState>,
    /// The last section of the PAT.
    pat: Option<Vec<u8>>,
    /// PID of the PMT, from the PAT.
    pmt_pid: Option<u16>,
    /// The last section of the PMT, and what it says.
    pmt: Option<(Vec<u8>, Pmt)>,
    clock: Clock,
    /// Counts time bases: what began in one is not judged in the next.
    time_base: u32,
    /// Packet index of what waits for the PCR after it, and so for its arrival time.
    pending: Vec<(u64, Event)>,
    /// Arrival of the last PAT and the last PMT, 27 MHz.
    last_pat: Option<i64>,
    last_pmt: Option<i64>,
    /// Packet index of the last PAT and the last PMT.
    last_psi_packet: [Option<u64>; 2],
}

/// What happens at a packet and is judged by its arrival time.
enum Event {
    Pat,
    Pmt,
    /// An access unit's first byte with its DTS.
    FirstByte {
        pid: u16,
        dts: u64,
    },
    /// An access unit's last byte with its DTS.
    LastByte {
        pid: u16,
        dts: u64,
    },
}

/// State of one PID.
#[derive(Default)]
struct PidState {
    /// The last packet, and whether it was a duplicate already.
    last: Option<([u8; PACKET_BYTES], bool)>,
    sections: SectionBuffer,
    /// The PES packet that is coming in.
    pes: Option<Pes>,
    last_dts: Option<u64>,
    /// First packet of the PES before this one.
    last_pes_packet: Option<u64>,
}

/// What the continuity counter says of a packet.
#[derive(PartialEq, Eq)]
enum Continuity {
    InOrder,
    Duplicate,
    Broken,
}

impl Checker {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Checker::default()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() {
            let missing = (PACKET_BYTES - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if let Ok(packet) = <[u8; PACKET_BYTES]>::try_from(self.partial.as_slice()) {
                self.packet(&packet);
                self.partial.clear();
            }
        }
        while let Some((packet, rest)) = bytes.split_first_chunk::<PACKET_BYTES>() {
            self.packet(packet);
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// The verdict on a stream that was stopped anywhere.
    pub fn finish(mut self) -> Report {
        self.settle();
        if let Some(end) = self.clock.time(self.report.packets) {
            self.check_psi_overdue(end);
        } else if self.report.packets > 0 {
            self.report.violate(self.report.packets, None, Rule::PcrMissing, "no PCR in the whole stream");
        }
        self.report.trailing_bytes = self.partial.len();
        self.report
    }

    /// The verdict on a stream that must end with a whole packet and a whole PES packet on each PID: a segment.
    pub fn finish_whole(mut self) -> Report {
        if !self.partial.is_empty() {
            let detail = format!("{} bytes after the last packet", self.partial.len());
            self.report.violate(self.report.packets, None, Rule::PartialPacket, detail);
        }
        self.end_every_pes();
        self.finish()
    }

    fn violate(&mut self, pid: u16, (rule, detail): (Rule, String)) {
        self.report.violate(self.report.packets, Some(pid), rule, detail);
    }

    fn packet(&mut self, bytes: &[u8; PACKET_BYTES]) {
        match Packet::parse(bytes) {
            Ok(packet) if packet.pid == NULL_PID => self.report.null_packets += 1,
            Ok(packet) => self.counted_packet(bytes, &packet),
            Err(broken) => self.violate(u16::from(bytes[1] & 0x1f) << 8 | u16::from(bytes[2]), broken),
        }
        self.report.packets += 1;
    }

    fn counted_packet(&mut self, bytes: &[u8; PACKET_BYTES], packet: &Packet) {
        self.report.discontinuities += u64::from(packet.discontinuity);
        let continuity = self.continuity(bytes, packet);
        if packet.discontinuity {
            self.discontinuity(packet.pid);
        }
        if let Some(pcr) = packet.pcr {
            self.pcr(packet, pcr);
        }
        let Some(payload) = packet.payload.filter(|_| continuity != Continuity::Duplicate) else { return };
        match packet.pid {
            0 => self.sections(packet, payload, Self::pat_section),
            pid if Some(pid) == self.pmt_pid => self.sections(packet, payload, Self::pmt_section),
            // Tables of DVB (EN 300 468) that a source's packets may carry.
            0x10..=0x1f => {}
            _ => self.elementary(packet, payload),
        }
    }

    /// 2.4.3.3: packets with payload count up by one, others repeat the count; one duplicate is allowed; discontinuity_indicator allows any.
    fn continuity(&mut self, bytes: &[u8; PACKET_BYTES], packet: &Packet) -> Continuity {
        let state = self.pids.entry(packet.pid).or_default();
        let mut found = Continuity::InOrder;
        let mut broken = None;
        if let Some((last, was_duplicate)) = state.last.as_ref().filter(|_| !packet.discontinuity) {
            let last_counter = last[3] & 0x0f;
            let expected = (last_counter + u8::from(packet.payload.is_some())) & 0x0f;
            let both_have_payload = packet.payload.is_some() && last[3] & 0x10 != 0;
            if packet.counter == last_counter && both_have_payload {
                found = Continuity::Duplicate;
                if *was_duplicate || !is_duplicate(last, bytes) {
                    let detail = format!("counter {last_counter} again, but the packet is no single, equal duplicate");
                    broken = Some((Rule::Duplicate, detail));
                }
            } else if packet.counter != expected {
                found = Continuity::Broken;
                broken = Some((Rule::ContinuityCounter, format!("{} in place of {expected}", packet.counter)));
            }
        }
        state.last = Some((*bytes, found == Continuity::Duplicate));
        if let Some(broken) = broken {
            self.violate(packet.pid, broken);
        }
        found
    }

    fn pcr(&mut self, packet: &Packet, pcr: packet::Pcr) {
        if self.pmt.as_ref().is_some_and(|(_, pmt)| pmt.pcr_pid != packet.pid) {
            return;
        }
        self.report.pcrs += 1;
        if pcr.extension >= 300 {
            self.violate(packet.pid, (Rule::PcrExtension, format!("extension {}", pcr.extension)));
        }
        let Some(step) = self.clock.push(self.report.packets, pcr) else { return };
        let interval_ms = ms(step);
        if step <= 0 {
            self.violate(packet.pid, (Rule::PcrOrder, format!("{interval_ms:.3} ms after the PCR before it")));
        } else if interval_ms > PCR_INTERVAL_MS_MAX + TOLERANCE_MS {
            self.violate(packet.pid, (Rule::PcrInterval, format!("{interval_ms:.1} ms after the PCR before it")));
        }
        self.report.pcr_interval_ms.add(interval_ms);
        self.report.seconds += interval_ms / 1_000.0;
        self.settle();
    }

    /// 2.4.3.5: the indicator on the PCR's PID begins a new time base; on any PID it may cut short what was coming in.
    fn discontinuity(&mut self, pid: u16) {
        let is_clock = self.pmt.as_ref().is_some_and(|(_, pmt)| pmt.pcr_pid == pid);
        if is_clock {
            self.end_every_unbounded_pes();
            self.settle();
            self.clock = Clock::default();
            self.time_base += 1;
            (self.last_pat, self.last_pmt) = (None, None);
            self.pids.values_mut().for_each(|state| state.last_dts = None);
        }
        let state = self.pids.entry(pid).or_default();
        state.sections = SectionBuffer::default();
        state.pes = None;
    }

    fn end_every_unbounded_pes(&mut self) {
        let is_unbounded = |state: &PidState| state.pes.as_ref().is_some_and(Pes::is_unbounded);
        let pids: Vec<u16> = self.pids.iter().filter(|(_, state)| is_unbounded(state)).map(|(pid, _)| *pid).collect();
        pids.into_iter().for_each(|pid| self.end_pes(pid));
    }

    fn end_every_pes(&mut self) {
        let pids: Vec<u16> = self.pids.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.end_pes(pid));
    }

    /// Judges what waits for its arrival time.
    fn settle(&mut self) {
        for (packet, event) in std::mem::take(&mut self.pending) {
            let Some(time) = self.clock.time(packet) else { continue };
            match event {
                Event::Pat => {
                    let figures = &mut self.report.pat_interval_ms;
                    let interval_ms = interval_ms(self.last_pat.replace(time), time, figures);
                    self.judge_psi(packet, Rule::PatInterval, interval_ms);
                }
                Event::Pmt => {
                    let figures = &mut self.report.pmt_interval_ms;
                    let interval_ms = interval_ms(self.last_pmt.replace(time), time, figures);
                    self.judge_psi(packet, Rule::PmtInterval, interval_ms);
                }
                Event::FirstByte { pid, dts } => self.judge_first_byte(packet, pid, stamp_minus_time_ms(dts, time)),
                Event::LastByte { pid, dts } => self.judge_last_byte(packet, pid, stamp_minus_time_ms(dts, time)),
            }
        }
    }

    fn judge_psi(&mut self, packet: u64, rule: Rule, interval_ms: f64) {
        if interval_ms > PSI_INTERVAL_MS_MAX + TOLERANCE_MS {
            self.report.violate(packet, None, rule, format!("{interval_ms:.1} ms after the one before it"));
        }
    }

    /// At the end no table may be overdue.
    fn check_psi_overdue(&mut self, end: i64) {
        for (rule, last) in [(Rule::PatInterval, self.last_pat), (Rule::PmtInterval, self.last_pmt)] {
            match last {
                Some(last) => {
                    self.judge_psi(self.report.packets, rule, ms(end - last));
                }
                None => self.report.violate(self.report.packets, None, rule, "never came"),
            }
        }
    }

    fn judge_first_byte(&mut self, packet: u64, pid: u16, ahead_ms: f64) {
        let figures = self.report.streams.entry(pid).or_default();
        figures.dts_after_first_byte_ms.add(ahead_ms);
        if ahead_ms > STAY_MS_MAX + TOLERANCE_MS {
            self.report.violate(
                packet,
                Some(pid),
                Rule::EarlyForDts,
                format!("first byte {ahead_ms:.1} ms before its DTS"),
            );
        }
    }

    fn judge_last_byte(&mut self, packet: u64, pid: u16, ahead_ms: f64) {
        let figures = self.report.streams.entry(pid).or_default();
        figures.dts_after_last_byte_ms.add(ahead_ms);
        if ahead_ms < -TOLERANCE_MS {
            self.report.violate(
                packet,
                Some(pid),
                Rule::LateForDts,
                format!("last byte {:.1} ms after its DTS", -ahead_ms),
            );
        }
    }

    fn sections(&mut self, packet: &Packet, payload: &[u8], take: fn(&mut Self, u16, Vec<u8>)) {
        let mut sections = Vec::new();
        let state = self.pids.entry(packet.pid).or_default();
        let pushed = state.sections.push(packet.unit_start, payload, &mut sections);
        if let Err(broken) = pushed {
            self.violate(packet.pid, broken);
        }
        for section in sections {
            take(self, packet.pid, section);
        }
    }

    fn pat_section(&mut self, pid: u16, section: Vec<u8>) {
        let pat = match psi::parse_pat(&section) {
            Ok(pat) => pat,
            Err(broken) => return self.violate(pid, broken),
        };
        self.check_version(pid, self.pat.clone(), &section);
        match pat.programs.as_slice() {
            [(_, pmt_pid)] => self.pmt_pid = Some(*pmt_pid),
            programs => self.violate(pid, (Rule::OneProgram, format!("{} programmes", programs.len()))),
        }
        self.pat = Some(section);
        self.last_psi_packet[0] = Some(self.report.packets);
        self.pending.push((self.report.packets, Event::Pat));
    }

    fn pmt_section(&mut self, pid: u16, section: Vec<u8>) {
        let pmt = match psi::parse_pmt(&section) {
            Ok(pmt) => pmt,
            Err(broken) => return self.violate(pid, broken),
        };
        self.check_version(pid, self.pmt.as_ref().map(|(last, _)| last.clone()), &section);
        for (pid, stream_type, _) in &pmt.streams {
            self.report.streams.entry(*pid).or_default().stream_type = *stream_type;
        }
        self.pmt = Some((section, pmt));
        self.last_psi_packet[1] = Some(self.report.packets);
        self.pending.push((self.report.packets, Event::Pmt));
    }

    fn check_version(&mut self, pid: u16, last: Option<Vec<u8>>, section: &[u8]) {
        if last.is_some_and(|last| last != section && psi::version(&last) == psi::version(section)) {
            self.violate(pid, (Rule::SectionVersion, "the content changed, version_number did not".into()));
        }
    }

    fn media(&self, pid: u16) -> Option<Media> {
        let (_, pmt) = self.pmt.as_ref()?;
        pmt.streams.iter().find(|(known, _, _)| *known == pid).map(|(_, _, media)| *media)
    }

    fn elementary(&mut self, packet: &Packet, payload: &[u8]) {
        let Some(stream_type) = self.report.streams.get(&packet.pid).map(|figures| figures.stream_type) else {
            return self.violate(packet.pid, (Rule::UnknownPid, "no PMT names this PID".into()));
        };
        // Private sections (SCTE-35, object carousels) are no PES.
        if matches!(stream_type, 0x05 | 0x0b..=0x0d | 0x86) {
            return;
        }
        let index = self.report.packets;
        if packet.unit_start {
            self.end_pes(packet.pid);
            let state = self.pids.entry(packet.pid).or_default();
            let since = state.last_pes_packet.replace(index);
            let after_psi =
                self.last_psi_packet.iter().all(|psi| psi.is_some_and(|psi| since.is_none_or(|since| psi > since)));
            state.pes = Some(Pes::begin(index, self.time_base, packet.random_access, after_psi));
        }
        let state = self.pids.entry(packet.pid).or_default();
        if let Some(pes) = &mut state.pes {
            pes.push(index, payload);
            if pes.is_complete() {
                self.end_pes(packet.pid);
            }
        }
    }

    /// Judges the PES packet that is coming in on `pid`, which is whole now.
    fn end_pes(&mut self, pid: u16) {
        let Some(pes) = self.pids.get_mut(&pid).and_then(|state| state.pes.take()) else { return };
        let Some(media) = self.media(pid) else { return };
        self.report.streams.entry(pid).or_default().pes += 1;
        if let Err(broken) = pes.check_length(media) {
            self.violate(pid, broken);
        }
        match pes.stamps() {
            Err(broken) => self.violate(pid, broken),
            Ok(_) if media == Media::Data || pes.time_base != self.time_base => {}
            Ok(None) => self.violate(pid, (Rule::PtsMissing, "a PES packet of audio or video without PTS".into())),
            Ok(Some(stamps)) => self.check_stamps(pid, &pes, stamps),
        }
        if pes.is_key(media) {
            self.key(pid, &pes);
        }
    }

    fn check_stamps(&mut self, pid: u16, pes: &Pes, stamps: pes::Stamps) {
        let state = self.pids.entry(pid).or_default();
        let step = state.last_dts.replace(stamps.dts).map(|last| since_33(stamps.dts, last));
        let reorder = since_33(stamps.pts, stamps.dts);
        if let Some(step) = step.filter(|step| *step <= 0) {
            self.violate(pid, (Rule::DtsOrder, format!("DTS {step} ticks after the one before it")));
        }
        if reorder < 0 {
            self.violate(pid, (Rule::PtsBeforeDts, format!("PTS {} ticks before DTS", -reorder)));
        }
        if self.clock.time(pes.last_packet).is_none() {
            return self.violate(pid, (Rule::PcrMissing, "a time stamp before the first PCR".into()));
        }
        self.pending.push((pes.first_packet, Event::FirstByte { pid, dts: stamps.dts }));
        self.pending.push((pes.last_packet, Event::LastByte { pid, dts: stamps.dts }));
    }

    fn key(&mut self, pid: u16, pes: &Pes) {
        self.report.streams.entry(pid).or_default().keys += 1;
        if !pes.random_access {
            self.violate(pid, (Rule::RandomAccess, "a key picture without random_access_indicator".into()));
        }
        if !pes.after_psi {
            self.violate(
                pid,
                (Rule::PsiBeforeKey, "no PAT and PMT between the picture before and a key picture".into()),
            );
        }
    }
}

fn interval_ms(last: Option<i64>, now: i64, figures: &mut Range) -> f64 {
    let Some(last) = last else { return 0.0 };
    let interval_ms = ms(now - last);
    figures.add(interval_ms);
    interval_ms
}

/// Signed distance on the 33-bit circle.
fn since_33(later: u64, earlier: u64) -> i64 {
    let half = 1i64 << 32;
    (later as i64 - earlier as i64 + half).rem_euclid(2 * half) - half
}
