//! What the checker found: the rules, their violations and the figures of a stream.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Violations kept word for word; all are counted.
const VIOLATIONS_KEPT_MAX: usize = 100;

/// A rule of ISO/IEC 13818-1, or where named, of ETSI TR 101 290 or of the relay's own promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// 2.4.3.2: every packet begins with 0x47.
    SyncByte,
    /// The stream ends within a packet.
    PartialPacket,
    /// 2.4.3.2: transport_error_indicator is clear.
    TransportError,
    /// The relay sends in the clear.
    Scrambled,
    /// 2.4.3.4: adaptation_field_control and adaptation_field_length agree.
    AdaptationField,
    /// 2.4.3.3: continuity_counter counts packets with payload; one duplicate is allowed.
    ContinuityCounter,
    /// 2.4.3.3: a duplicate differs from its original in nothing but the PCR.
    Duplicate,
    /// 2.4.4: a section is well formed.
    Section,
    /// 2.4.4, Annex A: CRC_32.
    SectionCrc,
    /// 2.4.4.5: content changes only with version_number.
    SectionVersion,
    /// The relay sends one programme.
    OneProgram,
    /// A packet whose PID neither PAT nor PMT named before.
    UnknownPid,
    /// TR 101 290 1.3.a: PAT every 500 ms.
    PatInterval,
    /// TR 101 290 1.5.a: PMT every 500 ms.
    PmtInterval,
    /// 2.4.2.2: the PCR grows.
    PcrOrder,
    /// 2.7.2: PCR every 100 ms.
    PcrInterval,
    /// 2.4.3.5: program_clock_reference_extension is below 300.
    PcrExtension,
    /// The stream has no PCR before its first time stamp, or none at all.
    PcrMissing,
    /// 2.4.3.7: a PES packet's header is well formed.
    PesHeader,
    /// 2.4.3.7: PES_packet_length is what was sent; 0 for video only.
    PesLength,
    /// 2.7.4 and the relay's promise: every access unit of audio and video has a PTS.
    PtsMissing,
    /// 2.7.5: PTS >= DTS.
    PtsBeforeDts,
    /// DTS grows within a PID.
    DtsOrder,
    /// 2.4.2: the last byte of an access unit arrives before its DTS.
    LateForDts,
    /// 2.4.2.6: no byte stays longer than a second in the decoder's buffer.
    EarlyForDts,
    /// 2.4.3.5 and the relay's promise: random_access_indicator stands on every IDR, IRAP or intra picture with sequence header.
    RandomAccess,
    /// The relay's promise: PAT and PMT stand before every key picture.
    PsiBeforeKey,
}

/// One place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Index of the packet, from 0.
    pub packet: u64,
    /// PID of the packet, or `None` where there is none.
    pub pid: Option<u16>,
    /// The rule.
    pub rule: Rule,
    /// What was met.
    pub detail: String,
}

/// Smallest and largest of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Range {
    /// `None` when the series is empty.
    pub min: Option<f64>,
    /// See `min`.
    pub max: Option<f64>,
}

impl Range {
    pub(super) fn add(&mut self, value: f64) {
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
    }
}

/// Figures of one elementary stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamFigures {
    /// stream_type of the PMT (ISO/IEC 13818-1 table 2-34).
    pub stream_type: u8,
    /// PES packets.
    pub pes: u64,
    /// Key pictures.
    pub keys: u64,
    /// DTS minus the arrival of an access unit's first byte, milliseconds.
    pub dts_after_first_byte_ms: Range,
    /// DTS minus the arrival of an access unit's last byte, milliseconds.
    pub dts_after_last_byte_ms: Range,
}

/// The verdict on a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whole packets.
    pub packets: u64,
    /// Null packets among them.
    pub null_packets: u64,
    /// Bytes after the last whole packet.
    pub trailing_bytes: usize,
    /// Duration by PCR, seconds, discontinuities left out.
    pub seconds: f64,
    /// Packets with discontinuity_indicator.
    pub discontinuities: u64,
    /// PCRs.
    pub pcrs: u64,
    /// Intervals between PCRs, milliseconds.
    pub pcr_interval_ms: Range,
    /// Intervals between PATs, milliseconds.
    pub pat_interval_ms: Range,
    /// Intervals between PMTs, milliseconds.
    pub pmt_interval_ms: Range,
    /// Elementary streams by PID.
    pub streams: BTreeMap<u16, StreamFigures>,
    /// How often each rule was broken.
    pub violation_counts: BTreeMap<Rule, u64>,
    /// The first hundred violations.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Something was checked, and no rule was broken.
    pub fn is_clean(&self) -> bool {
        self.packets > 0 && self.violation_counts.is_empty()
    }

    pub(super) fn violate(&mut self, packet: u64, pid: Option<u16>, rule: Rule, detail: impl Into<String>) {
        *self.violation_counts.entry(rule).or_default() += 1;
        if self.violations.len() < VIOLATIONS_KEPT_MAX {
            self.violations.push(Violation { packet, pid, rule, detail: detail.into() });
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min:.1} to {max:.1} ms"),
            _ => f.write_str("none"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets ({} null), {:.1} s by PCR, {} discontinuity indicators, {} bytes after the last packet",
            self.packets, self.null_packets, self.seconds, self.discontinuities, self.trailing_bytes
        )?;
        writeln!(f, "PCR  {} every {}", self.pcrs, self.pcr_interval_ms)?;
        writeln!(f, "PAT  every {}", self.pat_interval_ms)?;
        writeln!(f, "PMT  every {}", self.pmt_interval_ms)?;
        for (pid, stream) in &self.streams {
            write!(f, "PID {pid:#06x}  type {:#04x}  {} PES, {} keys", stream.stream_type, stream.pes, stream.keys)?;
            let (first, last) = (stream.dts_after_first_byte_ms, stream.dts_after_last_byte_ms);
            writeln!(f, "; DTS after first byte {first}, after last byte {last}")?;
        }
        for violation in &self.violations {
            let pid = violation.pid.map_or(String::new(), |pid| format!(" PID {pid:#06x}"));
            writeln!(f, "packet {}{pid}: {:?}: {}", violation.packet, violation.rule, violation.detail)?;
        }
        for (rule, count) in &self.violation_counts {
            writeln!(f, "{rule:?} broken {count} times")?;
        }
        writeln!(f, "{}", if self.is_clean() { "clean" } else { "NOT CLEAN" })
    }
}
