//! Transport stream bytes in, samples out: sans-IO, bounded on any input.

use crate::es::{Key, Track, TrackId};
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
    /// The whole track list, at every change: new PMT version, or parameters learned or changed. Comes before the first sample it holds for.
    fn tracks(&mut self, tracks: &[Track]);
    /// A PCR of the programme's PCR PID: 27 MHz ticks, below 2^33 x 300. `discontinuity`: the packet's discontinuity_indicator.
    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow;
    fn sample(&mut self, sample: RawSample<'_>);
}

/// One sample on the source's own timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSample<'a> {
    pub track: TrackId,
    /// `None` when the source gave no time stamp to count from.
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    pub header_len: u8,
    pub corrupt: bool,
    pub data: &'a [u8],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemuxConfig {
    /// program_number to take; `None`: the first with video or audio.
    pub program: Option<u16>,
}

/// Counters since [`Demuxer::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemuxStats {
    pub packets: u64,
    /// Bytes skipped in search of the sync byte.
    pub resync_bytes: u64,
    pub continuity_errors: u64,
    pub duplicates: u64,
    pub scrambled: u64,
    pub psi_errors: u64,
    pub pes_errors: u64,
    /// Access units dropped for being over a bound.
    pub oversized: u64,
}

pub struct Demuxer {
    stats: DemuxStats,
}

impl Demuxer {
    pub fn new(_config: DemuxConfig) -> Self {
        Demuxer { stats: DemuxStats::default() }
    }
    /// Feeds any number of bytes. Returns how many were consumed: all, unless the sink said [`Flow::Pause`].
    pub fn push(&mut self, bytes: &[u8], _sink: &mut impl Sink) -> usize {
        bytes.len()
    }
    /// The connection ended: emits what is complete, then forgets all partial state but keeps track ids, so that a
    /// reconnect to the same source goes on with the same tracks.
    pub fn end(&mut self, _sink: &mut impl Sink) {}
    pub fn stats(&self) -> &DemuxStats {
        &self.stats
    }
}
