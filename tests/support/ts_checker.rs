//! An independent checker of a transport stream with one programme: shares no code with the muxer.
//!
//! Continuity counters (ISO/IEC 13818-1 2.4.3.3), PCR every 100 ms at least and growing (2.7.2), PCR <= DTS <= PCR + 1 s
//! (2.4.2.6), PAT and PMT every 500 ms (ETSI TR 101 290), CRC, time stamps growing on each PID, PES lengths.

use std::collections::BTreeMap;

const SECOND: i64 = 90_000;

#[derive(Debug, Default)]
pub struct Report {
    pub errors: Vec<String>,
    pub packets: u64,
    pub pes: u64,
    /// PIDs of the first packets, in order, repeats left out.
    pub first_pids: Vec<u16>,
}

#[derive(Default)]
struct PidState {
    continuity: Option<u8>,
    dts: Option<i64>,
    /// Bytes that the open PES packet still has to bring; `None` when unbounded.
    pes_left: Option<i64>,
}

#[derive(Default)]
pub struct TsChecker {
    report: Report,
    pids: BTreeMap<u16, PidState>,
    pmt_pid: Option<u16>,
    pcr_pid: Option<u16>,
    streams: Vec<(u16, u8)>,
    pcr: Option<i64>,
    pat_at: Option<i64>,
    pmt_at: Option<i64>,
    broken: bool,
}

impl TsChecker {
    pub fn push(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len() % 188, 0);
        bytes.chunks(188).for_each(|packet| self.packet(packet));
    }

    pub fn finish(self) -> Report {
        self.report
    }

    fn error(&mut self, text: String) {
        if self.report.errors.len() < 20 {
            self.report.errors.push(format!("packet {}: {text}", self.report.packets));
        }
    }

    fn packet(&mut self, packet: &[u8]) {
        self.report.packets += 1;
        if packet[0] != 0x47 || packet[1] & 0x80 != 0 {
            return self.error("no sync byte, or an error flag".into());
        }
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        if self.report.first_pids.last() != Some(&pid) && self.report.first_pids.len() < 16 {
            self.report.first_pids.push(pid);
        }
        let (has_adaptation, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let adaptation_len = if has_adaptation { 1 + usize::from(packet[4]) } else { 0 };
        if 4 + adaptation_len > 188 || (!has_payload && adaptation_len != 184) {
            return self.error(format!("adaptation field of {adaptation_len} bytes"));
        }
        let flags = if adaptation_len > 1 { packet[5] } else { 0 };
        let discontinuity = flags & 0x80 != 0;
        self.continuity(pid, packet[3] & 0x0f, has_payload, discontinuity);
        if flags & 0x10 != 0 {
            let b = &packet[6..12];
            let base = i64::from(u32::from_be_bytes([b[0], b[1], b[2], b[3]])) << 1 | i64::from(b[4] >> 7);
            self.on_pcr(pid, base, discontinuity);
        }
        if has_payload {
            self.payload(pid, packet[1] & 0x40 != 0, &packet[4 + adaptation_len..]);
        }
    }

    fn continuity(&mut self, pid: u16, counter: u8, has_payload: bool, discontinuity: bool) {
        let state = self.pids.entry(pid).or_default();
        let last = state.continuity.replace(counter);
        if discontinuity {
            state.pes_left = None;
            return;
        }
        let Some(last) = last else { return };
        let expected = if has_payload { (last + 1) & 0x0f } else { last };
        if counter != expected {
            self.error(format!("PID {pid:#x}: counter {counter}, expected {expected}"));
        }
    }

    fn on_pcr(&mut self, pid: u16, pcr: i64, discontinuity: bool) {
        if self.pcr_pid.is_some_and(|expected| expected != pid) {
            self.error(format!("PCR on PID {pid:#x}"));
        }
        if let Some(last) = self.pcr.replace(pcr)
            && !discontinuity
            && !(1..=SECOND / 10).contains(&(pcr - last))
        {
            self.error(format!("PCR {pcr} after {last}: {} ms", (pcr - last) as f64 / 90.0));
        }
        if discontinuity {
            self.broken = true;
            (self.pat_at, self.pmt_at) = (None, None);
        }
        for (name, at) in [("PAT", self.pat_at), ("PMT", self.pmt_at)] {
            if at.is_some_and(|at| pcr - at > SECOND / 2) {
                self.error(format!("no {name} for {} ms", (pcr - at.unwrap()) as f64 / 90.0));
            }
        }
    }

    fn payload(&mut self, pid: u16, starts: bool, payload: &[u8]) {
        if pid == 0 || Some(pid) == self.pmt_pid {
            if starts {
                self.section(pid, &payload[1 + usize::from(payload[0])..]);
            }
            return;
        }
        let Some(&(_, stream_type)) = self.streams.iter().find(|(known, _)| *known == pid) else {
            return self.error(format!("PID {pid:#x} is in no PMT"));
        };
        if stream_type == 0x86 {
            return;
        }
        if starts {
            self.pes(pid, payload);
        }
        let state = self.pids.entry(pid).or_default();
        if let Some(left) = &mut state.pes_left {
            *left -= payload.len() as i64;
            if *left < 0 {
                let left = *left;
                self.error(format!("PID {pid:#x}: {} bytes more than PES_packet_length", -left));
            }
        }
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        let end = 3 + (usize::from(section[1] & 0x0f) << 8 | usize::from(section[2]));
        if end > section.len() {
            return self.error("a table over several packets is not checked".into());
        }
        let crc = section[..end].iter().fold(u32::MAX, |mut crc, byte| {
            crc ^= u32::from(*byte) << 24;
            for _ in 0..8 {
                crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 };
            }
            crc
        });
        if crc != 0 {
            self.error(format!("CRC of the section on PID {pid:#x}"));
        }
        let word = |at: usize| u16::from(section[at]) << 8 | u16::from(section[at + 1]);
        if pid == 0 {
            self.pmt_pid = Some(word(10) & 0x1fff);
            self.pat_at = self.pcr;
            return;
        }
        self.pmt_at = self.pcr;
        self.pcr_pid = Some(word(8) & 0x1fff);
        self.streams.clear();
        let mut at = 12 + usize::from(word(10) & 0x0fff);
        while at + 5 <= end - 4 {
            self.streams.push((word(at + 1) & 0x1fff, section[at]));
            at += 5 + usize::from(word(at + 3) & 0x0fff);
        }
    }

    fn pes(&mut self, pid: u16, payload: &[u8]) {
        self.report.pes += 1;
        if payload[..3] != [0, 0, 1] || payload[6] >> 6 != 2 || payload[7] >> 7 != 1 {
            return self.error(format!("PID {pid:#x}: no PES header with a PTS"));
        }
        let unfinished = self.pids.entry(pid).or_default().pes_left.filter(|&left| left != 0);
        if let Some(left) = unfinished {
            self.error(format!("PID {pid:#x}: PES packet ends {left} bytes early"));
        }
        let length = i64::from(payload[4]) << 8 | i64::from(payload[5]);
        let pts = stamp(&payload[9..14]);
        let dts = if payload[7] & 0x40 != 0 { stamp(&payload[14..19]) } else { pts };
        let state = self.pids.entry(pid).or_default();
        state.pes_left = (length > 0).then_some(length + 6);
        let last = state.dts.replace(dts);
        if last.is_some_and(|last| dts <= last) || pts < dts {
            self.error(format!("PID {pid:#x}: DTS {dts} after {last:?}, PTS {pts}"));
        }
        match self.pcr {
            None => self.error("PES before the first PCR".into()),
            Some(pcr) if !(0..=SECOND).contains(&(dts - pcr)) => {
                self.error(format!("PID {pid:#x}: DTS {} ms after the PCR", (dts - pcr) as f64 / 90.0));
            }
            Some(_) => {}
        }
    }
}

fn stamp(b: &[u8]) -> i64 {
    let b: Vec<i64> = b.iter().map(|&b| i64::from(b)).collect();
    (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1
}
