//! Cuts PES payloads into samples (access units): one [`Framer`] per track, whatever the codec.
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

/// One sample as the framer hands it out; `data` lives until the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub data: &'a [u8],
    /// `None` only when no time stamp was ever seen; else taken from the PES or counted on from the last one.
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    /// Bytes of framing in front of the raw frame (ADTS), 0 otherwise.
    pub header_len: u8,
    pub corrupt: bool,
}

/// Splits one track's PES payloads into samples and learns its parameters.
pub struct Framer {
    codec: Codec,
}

impl Framer {
    pub fn new(codec: Codec) -> Self {
        Framer { codec }
    }
    /// The codec in force; may differ from what the PMT said (MPEG audio layer, AAC declared as MPEG audio, ...).
    pub fn codec(&self) -> Codec {
        self.codec
    }
    /// Takes one PES payload and emits the samples that it completes.
    pub fn push(&mut self, _pes: PesPayload<'_>, _emit: &mut dyn FnMut(Frame<'_>)) {}
    /// End of stream or a break: emits what is complete, forgets the rest.
    pub fn flush(&mut self, _emit: &mut dyn FnMut(Frame<'_>)) {}
    /// Parameters in force for the sample emitted last, `None` until known.
    pub fn params(&self) -> Option<&Params> {
        None
    }
    /// Grows by one whenever [`Framer::params`] or [`Framer::codec`] changed.
    pub fn params_version(&self) -> u32 {
        0
    }
}
