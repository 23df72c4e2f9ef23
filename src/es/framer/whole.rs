//! Streams whose PES payload is the sample: teletext, DVB subtitles, private data, and codecs that are not framed here.
//!
//! What it deliberately does not do: look inside.

use super::{Frame, FramerStats, PesPayload};
use crate::es::{Codec, Key, Params, TrackKind};
use crate::limits::{DATA_PES_BYTES_MAX, PES_BYTES_MAX};

/// Passes one track's payloads on.
#[derive(Debug)]
pub struct WholeFramer {
    codec: Codec,
    stats: FramerStats,
}

impl WholeFramer {
    pub fn new(codec: Codec) -> Self {
        WholeFramer { codec, stats: FramerStats::default() }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    pub fn push(&mut self, pes: PesPayload<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        let kind = self.codec.kind();
        if pes.data.len() > if kind == TrackKind::Data { DATA_PES_BYTES_MAX } else { PES_BYTES_MAX } {
            self.stats.oversized += 1;
            return;
        }
        if pes.data.is_empty() {
            return;
        }
        emit(Frame {
            data: pes.data,
            pts: pes.pts,
            dts: pes.dts.or(pes.pts),
            // Which pictures are key is not known here.
            key: if kind == TrackKind::Video { Key::None } else { Key::Idr },
            header_len: 0,
            corrupt: pes.corrupt,
            codec: self.codec,
            params: None,
            params_version: 0,
        });
    }

    pub fn flush(&mut self, _emit: &mut dyn FnMut(Frame<'_>)) {}

    pub fn params(&self) -> Option<&Params> {
        None
    }

    pub fn params_version(&self) -> u32 {
        0
    }

    pub fn stats(&self) -> FramerStats {
        self.stats
    }

    pub fn memory_bytes(&self) -> usize {
        0
    }
}
