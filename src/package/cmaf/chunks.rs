//! Samples gathered into chunks, and chunks written to the rendition's store.
//!
//! A sample's duration is known when the next one comes, so a chunk ends one sample late. Chunks are about half a second long: low
//! latency is a matter of listing them.

use crate::fmp4::chunk::{Chunk, ChunkSample, write_head};
use crate::limits::CMAF_CHUNK_MS;
use crate::store::StoreWriter;

/// The chunk in the making.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// sequence_number of the chunk written last.
    sequence_number: u32,
    /// Decode time of its first sample.
    base: u64,
    /// Presentation time of its first sample, wall clock in microseconds.
    unix_us: u64,
    samples: Vec<ChunkSample>,
    /// Decode time of the newest sample, whose duration is not known yet.
    newest: Option<u64>,
    /// Decode time of the end of the newest sample that was settled.
    end: u64,
    data: Vec<u8>,
    /// Duration of the last sample whose duration was known.
    usual: u32,
    /// The next chunk begins a segment.
    begins_segment: bool,
    /// moof and mdat head, kept for its memory.
    head: Vec<u8>,
}

/// What one sample is, but for its bytes and duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Decode time.
    pub time: u64,
    pub composition_offset: i32,
    pub sync: bool,
    /// Wall clock of its presentation, microseconds since 1970.
    pub unix_us: u64,
}

impl Chunks {
    /// Says that the next sample begins a segment. What was written before must be flushed.
    pub fn begin_segment(&mut self) {
        self.begins_segment = true;
    }

    /// Appends a sample; `write` appends its bytes and says how many. False when there were none: there is no sample then.
    pub fn push(&mut self, timing: Timing, write: impl FnOnce(&mut Vec<u8>) -> usize) -> bool {
        let size = write(&mut self.data);
        if size == 0 {
            return false;
        }
        if self.samples.is_empty() {
            (self.base, self.unix_us) = (timing.time, timing.unix_us);
        }
        let Timing { composition_offset, sync, time, .. } = timing;
        // A sample is at most PES_BYTES_MAX long, so its size fits.
        self.samples.push(ChunkSample { duration: 0, size: size as u32, composition_offset, sync });
        self.newest = Some(time);
        true
    }

    /// Gives the newest sample its duration: until `next`, its successor's decode time, or `frame` (else as long as the one before it)
    /// where there is none or it lies more than `stretch_max` behind. Returns the decode time of the sample's end.
    pub fn settle(&mut self, next: Option<u64>, frame: u64, stretch_max: u64) -> Option<u64> {
        let newest = self.newest.take()?;
        let usual = if frame > 0 { frame } else { u64::from(self.usual.max(1)) };
        let follows = next.and_then(|next| next.checked_sub(newest)).filter(|&d| d > 0 && d <= stretch_max.max(usual));
        let duration = follows.unwrap_or(usual);
        let sample = self.samples.last_mut()?;
        sample.duration = duration.min(u64::from(u32::MAX)) as u32;
        self.usual = sample.duration;
        self.end = newest + u64::from(sample.duration);
        Some(self.end)
    }

    /// Whether the settled samples, which end at `end`, make a whole chunk.
    pub fn is_full(&self, end: u64, timescale: u32) -> bool {
        let whole = u64::from(timescale) * CMAF_CHUNK_MS / 1_000;
        !self.samples.is_empty() && end.saturating_sub(self.base) + u64::from(self.usual) / 2 >= whole
    }

    /// Whether a sample of this decode time can follow in the chunk: durations alone say where a chunk's samples lie.
    pub fn goes_on_at(&self, time: u64) -> bool {
        self.samples.is_empty() || self.end == time
    }

    /// Bytes that wait for their chunk to be whole.
    pub fn waiting_bytes(&self) -> usize {
        self.data.len()
    }

    /// Writes the chunk, whose samples are settled, and publishes it. True when there was one; an error when the store is full: the chunk
    /// is lost.
    pub fn flush(&mut self, store: &mut StoreWriter) -> std::io::Result<bool> {
        if self.samples.is_empty() {
            return Ok(false);
        }
        self.sequence_number = self.sequence_number.wrapping_add(1).max(1);
        let chunk = Chunk {
            sequence_number: self.sequence_number,
            base_media_decode_time: self.base,
            begins_segment: std::mem::take(&mut self.begins_segment),
            producer_unix_us: Some(self.unix_us),
            samples: &self.samples,
        };
        self.head.clear();
        write_head(&chunk, &mut self.head);
        let outcome = store.append(&self.head).and_then(|()| store.append(&self.data));
        self.samples.clear();
        self.data.clear();
        store.publish();
        outcome.map(|()| true)
    }
}
