//! Transport stream bytes in, samples out: sans-IO, bounded on any input (ISO/IEC 13818-1 2.4).
//!
//! ```text
//! bytes -> sync (188/192/204) -> PID table -+-> PAT, PMT -> program (choice) -> tracks
//!                                           +-> stream (continuity, PES) -> es::framer -> samples
//!                                           +-> PCR
//! ```
//!
//! Memory: a PES buffer holds at most [`PES_BYTES_MAX`] (video, audio) or [`DATA_PES_BYTES_MAX`] (data) and a header; all PES
//! buffers and framers together at most [`DEMUX_BYTES_MAX`], but for the one framer that goes over it and is dropped
//! ([`FRAMER_BYTES_MAX`]); tables and the rest at most [`TABLE_BYTES_MAX`]. So [`MEMORY_BYTES_MAX`] in all, whatever the input;
//! [`Demuxer::memory_bytes`] tells what is held.
//!
//! What it deliberately does not do: descramble, interpret service information (SDT, EIT), carry DSM-CC or AIT tables on,
//! or map time: time stamps are the source's own.

mod core;
mod ids;
mod kind;
mod program;
mod stream;
mod sync;
#[cfg(test)]
mod tests;

use self::core::Core;
use self::sync::PacketSync;
use super::psi;
#[cfg(doc)]
use crate::es::Codec;
use crate::es::framer::FramerStats;
use crate::es::{Key, Track, TrackId};
#[cfg(doc)]
use crate::limits::DATA_PES_BYTES_MAX;
use crate::limits::{DEMUX_BYTES_MAX, PES_BYTES_MAX, PROGRAMS_MAX, TRACKS_MAX};
use crate::time::Ts33;

/// What the caller wants after a PCR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Stop after the packet that carried this PCR; [`Demuxer::push`] returns what it consumed.
    Pause,
}

/// Takes what the demuxer finds, in stream order.
pub trait Sink {
    /// The whole track list, at every change: new PMT, or parameters learned or changed. Comes before the first sample it holds for.
    fn tracks(&mut self, tracks: &[Track]);
    /// A PCR of the programme's PCR PID: 27 MHz ticks, below 2^33 x 300. `discontinuity`: the packet's discontinuity_indicator.
    /// A PES packet that ends where this packet begins is delivered before it.
    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow;
    /// One sample of a track in the list announced last.
    fn sample(&mut self, sample: RawSample<'_>);
}

/// One sample on the source's own timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSample<'a> {
    pub track: TrackId,
    /// `None` when the source gave no time stamp to count from, and always for [`Codec::Scte35`]: a section has none, its time
    /// is inside (splice_time and pts_adjustment).
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    /// Bytes of framing in front of the raw frame (ADTS), 0 otherwise.
    pub header_len: u8,
    /// Bytes were lost in or directly before it, or its end was not seen.
    pub corrupt: bool,
    /// An access unit; a PES payload for data tracks; a whole section for [`Codec::Scte35`].
    pub data: &'a [u8],
}

/// What to take from the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemuxConfig {
    /// program_number to take; `None`: the first with video or audio.
    pub program: Option<u16>,
}

/// Counters since [`Demuxer::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemuxStats {
    /// Transport packets, of all PIDs.
    pub packets: u64,
    /// Bytes skipped in search of the sync byte.
    pub resync_bytes: u64,
    /// Packets dropped for transport_error_indicator or an impossible adaptation field.
    pub transport_errors: u64,
    /// Jumps of a track's continuity_counter that were not signalled.
    pub continuity_errors: u64,
    /// Packets that were sent twice.
    pub duplicates: u64,
    /// Scrambled packets of a track's PID.
    pub scrambled: u64,
    /// Sections with a bad CRC, pointer or length.
    pub psi_errors: u64,
    /// PES packets without a start code, with an impossible header, or shorter than announced.
    pub pes_errors: u64,
    /// PES packets and access units dropped for being over a bound.
    pub oversized: u64,
    /// Bytes of PES payload that belong to no access unit.
    pub unframed_bytes: u64,
    /// Frames left out because their configuration is not supported.
    pub unsupported: u64,
}

/// Most bytes one framer may hold: an access unit and a payload of the largest size, in a buffer that doubles.
pub const FRAMER_BYTES_MAX: usize = 4 * PES_BYTES_MAX;
/// Most bytes of tables in progress, track descriptions and fixed state.
pub const TABLE_BYTES_MAX: usize = (PROGRAMS_MAX + TRACKS_MAX + 2) * (2 * psi::SECTION_BYTES_MAX + 256);
/// Most bytes a demuxer ever holds.
pub const MEMORY_BYTES_MAX: usize = DEMUX_BYTES_MAX + FRAMER_BYTES_MAX + TABLE_BYTES_MAX;

/// A transport stream demuxer.
pub struct Demuxer {
    sync: PacketSync,
    core: Core,
}

impl Demuxer {
    /// A demuxer that has seen nothing yet.
    pub fn new(config: DemuxConfig) -> Self {
        Demuxer { sync: PacketSync::new(), core: Core::new(config) }
    }

    /// Feeds any number of bytes. Returns how many were consumed: all, unless the sink said [`Flow::Pause`].
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) -> usize {
        let mut rest = bytes;
        while let Some(packet) = self.sync.next(&mut rest) {
            if self.core.packet(packet, sink) == Flow::Pause {
                return bytes.len() - rest.len();
            }
        }
        bytes.len()
    }

    /// The connection ended: emits what is there, then forgets all partial state but keeps track ids, so that a
    /// reconnect to the same source goes on with the same tracks. What was cut off by the end is marked corrupt.
    pub fn end(&mut self, sink: &mut impl Sink) {
        while let Some(packet) = self.sync.drain() {
            self.core.packet(packet, sink);
        }
        self.sync.reset();
        self.core.end(sink);
    }

    /// The track list in force.
    pub fn tracks(&self) -> &[Track] {
        self.core.tracks()
    }

    /// Counters since [`Demuxer::new`].
    pub fn stats(&self) -> DemuxStats {
        DemuxStats { resync_bytes: self.sync.skipped_bytes, ..self.core.stats() }
    }

    /// Bytes of memory held now, at most [`MEMORY_BYTES_MAX`].
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.core.memory_bytes()
    }
}

impl DemuxStats {
    fn add(&mut self, framer: FramerStats) {
        self.oversized += framer.oversized;
        self.unframed_bytes += framer.skipped_bytes;
        self.unsupported += framer.unsupported;
    }
}
