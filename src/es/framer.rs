//! Cuts PES payloads into samples (access units): one [`Framer`] per track, whatever the codec.
//!
//! Time stamps follow ISO/IEC 13818-1 2.4.3.7: those of a PES header belong to the first access unit that commences in
//! its payload; the access units behind it are counted on.
//!
//! What it deliberately does not do: know of PIDs, PES headers or output time.

use super::{Codec, Key, Params};
use crate::time::Ts33;

/// One PES payload, whole, in arrival order.
#[derive(Clone, Copy, Debug)]
pub struct PesPayload<'a> {
    pub data: &'a [u8],
    pub pts: Option<Ts33>,
    /// Equal to `pts` when the PES header carries PTS only.
    pub dts: Option<Ts33>,
    /// PES header's data_alignment_indicator.
    pub aligned: bool,
    /// Bytes were lost in or directly before this payload.
    pub corrupt: bool,
}

/// One sample as the framer hands it out; everything borrowed lives until the closure returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub data: &'a [u8],
    /// Taken from the PES or counted on from the last one. `None` when no time stamp was ever seen, and for a picture that
    /// shares its PES with others in a stream that does not tell its frame rate.
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    /// Bytes of framing in front of the raw frame (ADTS), 0 otherwise.
    pub header_len: u8,
    pub corrupt: bool,
    /// The codec in force for this frame.
    pub codec: Codec,
    /// The parameters in force for this frame, `None` until known.
    pub params: Option<&'a Params>,
    /// Grows by one whenever `codec` or `params` differ from those of the frame before: compare this, not the parameters.
    /// 0 only while neither has changed since [`Framer::new`].
    pub params_version: u32,
}

/// Counters since [`Framer::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramerStats {
    /// Access units dropped for being over [`crate::limits::PES_BYTES_MAX`].
    pub oversized: u64,
    /// Bytes that belong to no access unit: garbage, or what stood before the first one.
    pub skipped_bytes: u64,
    /// Frames left out because their configuration is not supported (free format MPEG audio, LATM that does not fit ADTS).
    pub unsupported: u64,
}

/// Splits one track's PES payloads into samples and learns its parameters.
pub struct Framer {
    codec: Codec,
}

impl Framer {
    pub fn new(codec: Codec) -> Self {
        Framer { codec }
    }
    /// The codec in force after the frame emitted last; may differ from what the PMT said (MPEG audio layer, AAC declared
    /// as MPEG audio, ...).
    pub fn codec(&self) -> Codec {
        self.codec
    }
    /// Takes one PES payload and emits the samples that it completes.
    pub fn push(&mut self, _pes: PesPayload<'_>, _emit: &mut dyn FnMut(Frame<'_>)) {}
    /// End of stream or a break: emits what is complete, forgets the rest but keeps the parameters.
    pub fn flush(&mut self, _emit: &mut dyn FnMut(Frame<'_>)) {}
    /// Parameters in force for the sample emitted last, `None` until known.
    pub fn params(&self) -> Option<&Params> {
        None
    }
    /// [`Frame::params_version`] of the sample emitted last.
    pub fn params_version(&self) -> u32 {
        0
    }
    pub fn stats(&self) -> FramerStats {
        FramerStats::default()
    }
}
