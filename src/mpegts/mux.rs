//! Samples in, transport stream packets out (ISO/IEC 13818-1 2.4): one programme, written into the caller's buffer.
//!
//! | file | what it holds |
//! |---|---|
//! | `mux/psi.rs` | PAT, PMT, sections as packets |
//! | `mux/pes.rs` | PES packet headers |
//! | `mux/packet.rs` | packets, adaptation fields, continuity counters |
//! | `mux/pcr.rs` | when a PCR is due and what it says |
//! | `mux/annexb.rs` | delimiters and parameter sets that a sample lacks |
//! | `mux/scte35.rs` | splice times moved along with the timeline |
//!
//! Sample bytes go out as they came in. Continuity counters run on for the life of the muxer, over cuts and track changes.
//! What it deliberately does not do: choose the order of samples, hold any back, or know of segments
//! (`package::mpegts` does); constant bit rate and null packets.

pub mod annexb;
pub mod packet;
pub mod pcr;
pub mod pes;
pub mod psi;
pub mod scte35;

use crate::es::{Codec, Key, SampleMeta, Track, TrackId, TrackKind};
use crate::limits::PSI_INTERVAL_TICKS_MAX;
use crate::time::MediaTime;
use packet::{Adaptation, Gather, PcrSteps, Pid};
use pcr::{PcrClock, PcrPlan, Want};
use pes::PesShape;
use psi::PMT_PID;
use std::sync::Arc;

/// When the PCR is about to get further than this beyond the last tables, new ones are written, 90 kHz ticks.
const PSI_DUE_TICKS: i64 = PSI_INTERVAL_TICKS_MAX - 4_500;
/// Within a longer step, tables are this far apart, 90 kHz ticks.
const PSI_AGAIN_TICKS: i64 = PSI_INTERVAL_TICKS_MAX - 9_000;
/// A PCR inside a PES packet needs at least this many bytes of it.
const STEP_BYTES_MIN: usize = 1_000;
/// First PID given to a stream whose own one cannot be kept.
const OWN_PIDS: std::ops::RangeInclusive<u16> = 0x0100..=0x1ffa;
/// PIDs that elementary streams may keep: not the ones of ISO, DVB and ATSC tables, not the null packets'.
const KEPT_PIDS: std::ops::RangeInclusive<u16> = 0x0020..=0x1ffa;

/// Numbers of the programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxConfig {
    pub transport_stream_id: u16,
    /// Not 0.
    pub program_number: u16,
}

impl Default for MuxConfig {
    fn default() -> Self {
        MuxConfig { transport_stream_id: 1, program_number: 1 }
    }
}

/// One PES packet's worth: a sample, or several audio frames in a row with the time stamps of the first.
#[derive(Clone, Copy, Debug)]
pub struct MuxSample<'a> {
    pub track: TrackId,
    pub meta: &'a SampleMeta,
    pub data: &'a [u8],
    /// No sample of audio or video that comes behind this one will have a smaller DTS: the PCR stays at or below.
    pub pcr_ceiling: MediaTime,
    /// PAT and PMT stand right before this sample, due or not.
    pub tables: bool,
}

/// Why a sample was not written. The stream is whole without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    #[error("track {0:?} is not in the programme map")]
    UnknownTrack(TrackId),
    #[error("{bytes} bytes do not fit one PES packet of PID {pid:#06x}")]
    TooLong { pid: u16, bytes: usize },
}

pub struct TsMuxer {
    config: MuxConfig,
    streams: Vec<Stream>,
    /// Continuity counters of streams that left, for the case that their PID comes back.
    retired: Vec<Pid>,
    pcr_stream: usize,
    pat: Pid,
    pmt: Pid,
    pat_section: Vec<u8>,
    pmt_section: Vec<u8>,
    pmt_version: u8,
    clock: PcrClock,
    psi_at: Option<MediaTime>,
    /// The next PCR begins a new time base.
    time_base_broken: bool,
}

struct Stream {
    track: Arc<Track>,
    pid: Pid,
    shape: PesShape,
    /// Annex B.
    parameter_sets: Vec<u8>,
    /// discontinuity_indicator in the next packet.
    broken: bool,
}

impl TsMuxer {
    /// A muxer without tracks: nothing can be written until [`TsMuxer::set_tracks`].
    pub fn new(config: MuxConfig) -> Self {
        let mut pat_section = Vec::new();
        psi::pat_section(config.transport_stream_id, config.program_number, 0, &mut pat_section);
        TsMuxer {
            config,
            streams: Vec::new(),
            retired: Vec::new(),
            pcr_stream: 0,
            pat: Pid { pid: 0, continuity: 0 },
            pmt: Pid { pid: PMT_PID, continuity: 0 },
            pat_section,
            pmt_section: Vec::new(),
            pmt_version: 31,
            clock: PcrClock::default(),
            psi_at: None,
            time_base_broken: false,
        }
    }

    /// Takes the programme's tracks, in PMT order. When the map changes by that its version grows, tables are due before
    /// the next sample, and true is returned. Streams keep their PIDs.
    pub fn set_tracks(&mut self, tracks: &[Arc<Track>]) -> bool {
        let mut old = std::mem::take(&mut self.streams);
        for track in tracks {
            let kept = old.iter().position(|s| s.track.id == track.id).map(|i| old.swap_remove(i));
            let pid = match &kept {
                Some(stream) => stream.pid,
                None => self.free_pid(track.ts.pid, &old),
            };
            self.streams.push(Stream {
                pid,
                shape: PesShape::new(track),
                parameter_sets: annexb::parameter_sets(track),
                broken: kept.is_some_and(|s| s.broken),
                track: track.clone(),
            });
        }
        self.retired.extend(old.iter().map(|s| s.pid));
        let kind = |kind| self.streams.iter().position(|s| s.track.kind() == kind);
        self.pcr_stream = kind(TrackKind::Video).or_else(|| kind(TrackKind::Audio)).unwrap_or(0);
        self.render_pmt()
    }

    /// PID of a track in the output.
    pub fn pid(&self, track: TrackId) -> Option<u16> {
        self.streams.iter().find(|s| s.track.id == track).map(|s| s.pid.pid)
    }

    /// PCR written last.
    pub fn last_pcr(&self) -> Option<MediaTime> {
        self.clock.last()
    }

    /// All streams break here: discontinuity_indicator in the next packet of each, and the next PCR begins a new time base.
    pub fn break_all(&mut self) {
        self.streams.iter_mut().for_each(|s| s.broken = true);
        self.time_base_broken = true;
    }

    /// Samples of this track were lost.
    pub fn break_track(&mut self, track: TrackId) {
        if let Some(index) = self.streams.iter().position(|s| s.track.id == track) {
            self.streams[index].broken = true;
            self.time_base_broken |= index == self.pcr_stream;
        }
    }

    /// Appends one sample as whole packets. Tables that are due come first of all, PCRs behind them.
    pub fn write(&mut self, sample: &MuxSample<'_>, out: &mut Vec<u8>) -> Result<(), MuxError> {
        let index =
            self.streams.iter().position(|s| s.track.id == sample.track).ok_or(MuxError::UnknownTrack(sample.track))?;
        let is_pcr_stream = index == self.pcr_stream;
        let stream = &mut self.streams[index];
        stream.broken |= sample.meta.discontinuity;
        self.time_base_broken |= sample.meta.discontinuity && is_pcr_stream;
        let timed = stream.track.kind() != TrackKind::Data;
        let enters = is_pcr_stream && (sample.tables || stream.is_key(sample.meta));
        let target = self.clock.target(sample.meta, sample.pcr_ceiling, timed, enters);
        if sample.tables || self.psi_at.is_none() {
            self.write_tables(target, out);
        }
        self.write_due_tables(target, sample.meta.dts, out);
        if self.streams[index].track.codec == Codec::Scte35 {
            self.advance_pcr(target, sample.meta.dts, out);
            let pid = &mut self.streams[index].pid;
            psi::write_section(pid.pid, &mut pid.continuity, sample.data, out);
            return Ok(());
        }
        if is_pcr_stream {
            self.write_pcr_sample(index, sample, target, out)?;
        } else {
            self.advance_pcr(target, sample.meta.dts, out);
            self.streams[index].write(sample, Adaptation::default(), None, out)?;
        }
        if timed {
            self.clock.wrote(sample.meta.dts);
        }
        Ok(())
    }

    /// Appends what a viewer needs who jumps to the position of the *next* byte to be written, whatever it saw last: an
    /// adaptation-only packet with discontinuity_indicator for each PID, the PCR's with a PCR (2.4.3.5 wants both in one
    /// packet). Their counters are those right before the next packets', so that all is continuous from there on. The
    /// tables themselves must follow at that position.
    pub fn join_head(&self, out: &mut Vec<u8>) {
        let broken = Adaptation { discontinuity: true, ..Adaptation::default() };
        self.pat.write_adaptation_only(broken, out);
        self.pmt.write_adaptation_only(broken, out);
        for (index, stream) in self.streams.iter().enumerate() {
            let pcr = self.clock.last().filter(|_| index == self.pcr_stream).map(MediaTime::wrapped);
            stream.pid.write_adaptation_only(Adaptation { pcr, ..broken }, out);
        }
    }

    fn write_tables(&mut self, target: MediaTime, out: &mut Vec<u8>) {
        psi::write_section(self.pat.pid, &mut self.pat.continuity, &self.pat_section, out);
        psi::write_section(self.pmt.pid, &mut self.pmt.continuity, &self.pmt_section, out);
        self.psi_at = Some(self.clock.last().unwrap_or(target));
    }

    /// Writes tables wherever they fall due on the way to `target`, however long the step is.
    fn write_due_tables(&mut self, target: MediaTime, dts: MediaTime, out: &mut Vec<u8>) {
        while let Some(at) = self.psi_at
            && target - at > PSI_DUE_TICKS
            && !self.clock.jumps(target)
        {
            self.advance_pcr(at + PSI_AGAIN_TICKS, dts, out);
            self.write_tables(target, out);
        }
    }

    fn write_pcr_sample(
        &mut self,
        index: usize,
        sample: &MuxSample<'_>,
        target: MediaTime,
        out: &mut Vec<u8>,
    ) -> Result<(), MuxError> {
        let enters = sample.tables || self.streams[index].is_key(sample.meta);
        let want = if enters { Want::Now } else { Want::Ride };
        let plan = self.clock.plan(target, sample.meta.dts, want, self.time_base_broken);
        let PcrPlan::Run { first, ticks, count, jump } = plan else {
            // The indicator of the PCR's stream goes into the packet that has the PCR (2.4.3.5).
            let broken = std::mem::take(&mut self.streams[index].broken);
            let written = self.streams[index].write(sample, Adaptation::default(), None, out);
            self.streams[index].broken = broken;
            return written;
        };
        self.time_base_broken = false;
        let stream = &mut self.streams[index];
        stream.broken |= jump;
        let every_bytes = sample.data.len() / (count + 1);
        let spread = every_bytes >= STEP_BYTES_MIN && sample.meta.dts - first <= crate::limits::PCR_LEAD_TICKS_MAX;
        if count == 0 || spread {
            let steps = PcrSteps { next: (first + ticks).wrapped(), ticks, count, every_bytes };
            let adaptation = Adaptation { pcr: Some(first.wrapped()), ..Adaptation::default() };
            return stream.write(sample, adaptation, (count > 0).then_some(steps), out);
        }
        stream.write_pcrs(first, ticks, count, out);
        let adaptation = Adaptation { pcr: Some(target.wrapped()), ..Adaptation::default() };
        stream.write(sample, adaptation, None, out)
    }

    /// Brings the PCR forward by packets of its own, before a sample of another stream.
    fn advance_pcr(&mut self, target: MediaTime, dts: MediaTime, out: &mut Vec<u8>) {
        if let PcrPlan::Run { first, ticks, count, jump } = self.clock.plan(target, dts, Want::Alone, false) {
            let stream = &mut self.streams[self.pcr_stream];
            stream.broken |= jump;
            stream.write_pcrs(first, ticks, count + 1, out);
        }
    }

    fn free_pid(&mut self, wanted: u16, leaving: &[Stream]) -> Pid {
        let taken = |pid: u16| pid == PMT_PID || self.streams.iter().chain(leaving).any(|stream| stream.pid.pid == pid);
        let pid = if KEPT_PIDS.contains(&wanted) && !taken(wanted) {
            wanted
        } else {
            // A PMT holds far fewer streams than there are PIDs.
            OWN_PIDS.clone().find(|&pid| !taken(pid)).unwrap_or(*OWN_PIDS.end())
        };
        let known = self.retired.iter().position(|p| p.pid == pid);
        known.map_or(Pid { pid, continuity: 0 }, |index| self.retired.swap_remove(index))
    }

    fn render_pmt(&mut self) -> bool {
        let entries: Vec<_> = self.streams.iter().map(|s| psi::Entry { pid: s.pid.pid, track: &s.track }).collect();
        let pcr_pid = self.streams.get(self.pcr_stream).map_or(0x1fff, |s| s.pid.pid);
        let mut section = Vec::new();
        psi::pmt_section(self.config.program_number, self.pmt_version, pcr_pid, &entries, &mut section);
        if section == self.pmt_section {
            return false;
        }
        self.pmt_version = (self.pmt_version + 1) & 0x1f;
        section.clear();
        psi::pmt_section(self.config.program_number, self.pmt_version, pcr_pid, &entries, &mut section);
        self.pmt_section = section;
        self.psi_at = None;
        true
    }
}

impl Stream {
    /// Pictures only: every audio frame is a key, and a flag on each would cost a packet on many.
    fn is_key(&self, meta: &SampleMeta) -> bool {
        self.track.kind() == TrackKind::Video && meta.key > Key::None
    }

    fn write(
        &mut self,
        sample: &MuxSample<'_>,
        mut first: Adaptation,
        steps: Option<PcrSteps>,
        out: &mut Vec<u8>,
    ) -> Result<(), MuxError> {
        let dressed = annexb::dress(self.track.codec, sample.meta.key, sample.data, &self.parameter_sets);
        let parts = [dressed.delimiter, dressed.front, dressed.parameter_sets, dressed.rest];
        let payload_len = parts.iter().map(|p| p.len()).sum();
        let mut header = [0; pes::HEADER_BYTES_MAX];
        let header_len = self
            .shape
            .write(sample.meta.pts, sample.meta.dts, payload_len, &mut header)
            .map_err(|_| MuxError::TooLong { pid: self.pid.pid, bytes: payload_len })?;
        first.discontinuity = std::mem::take(&mut self.broken);
        first.random_access = self.is_key(sample.meta);
        let pes = Gather::new([&header[..header_len], parts[0], parts[1], parts[2], parts[3]]);
        self.pid.write_pes(first, steps, pes, out);
        Ok(())
    }

    fn write_pcrs(&mut self, first: MediaTime, ticks: i64, count: usize, out: &mut Vec<u8>) {
        for step in 0..count {
            let pcr = Some((first + ticks * step as i64).wrapped());
            let discontinuity = std::mem::take(&mut self.broken);
            self.pid.write_adaptation_only(Adaptation { discontinuity, random_access: false, pcr }, out);
        }
    }
}

#[cfg(test)]
mod tests;
