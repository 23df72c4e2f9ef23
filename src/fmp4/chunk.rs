//! One CMAF chunk (ISO/IEC 23000-19 7.3.2.3): `moof` and `mdat`, with `styp` where a segment begins and `prft` in front.

/// One sample of a chunk, in decoding order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSample {
    /// In the track's timescale, above 0.
    pub duration: u32,
    /// Bytes in `mdat`.
    pub size: u32,
    /// PTS less DTS, in the track's timescale.
    pub composition_offset: i32,
    /// Nothing after it needs anything before it (sample_is_non_sync_sample is 0).
    pub sync: bool,
}

/// What stands before the samples' bytes.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// sequence_number of `mfhd`, from 1, growing by one a chunk.
    pub sequence_number: u32,
    /// baseMediaDecodeTime of `tfdt`, in the track's timescale.
    pub base_media_decode_time: u64,
    /// The chunk begins a segment: `styp` goes first.
    pub begins_segment: bool,
    /// Wall clock of the first sample's presentation at the origin, microseconds since 1970, for `prft`.
    pub producer_unix_us: Option<u64>,
    /// At least one.
    pub samples: &'a [ChunkSample],
}

/// Appends everything up to the first byte of the samples: `styp`, `prft`, `moof`, and the head of an `mdat` that holds all samples.
pub fn write_head(_chunk: &Chunk<'_>, _out: &mut Vec<u8>) {}
