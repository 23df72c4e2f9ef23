//! Recordings of a continuous stream: which bytes arrived at which moment. Pure but for `load` and `save`.
//!
//! Format, version 1, all integers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the magic `LTCHUNKS` |
//! | 4 | version, 1 |
//! | 4 | number of chunks, at least 1 |
//! | 8 | duration in microseconds, later than the last chunk |
//! | 12 each | per chunk: arrival in microseconds from the start (8), never falling; bytes (4), at least 1 |
//! | the rest | the bytes of all chunks, one after the other |
//!
//! No checksum: damage to the structure is found, other bytes of the stream are not.

use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// Bytes that are due at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Microseconds from the start of the recording, less than its duration.
    pub at_us: u64,
    /// Where they begin in [`Recording::bytes`].
    pub start: usize,
    /// Their number, at least 1.
    pub len: usize,
}

/// A recorded stream: at least one chunk, in the order of time, without holes between their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    chunks: Vec<Chunk>,
    bytes: Vec<u8>,
    duration_us: u64,
}

impl Recording {
    /// From chunks of (arrival in microseconds, bytes), at least one. An error for what the format does not allow.
    pub fn new<'a>(chunks: impl IntoIterator<Item = (u64, &'a [u8])>, duration_us: u64) -> Result<Self> {
        let mut recording = Self { chunks: Vec::new(), bytes: Vec::new(), duration_us };
        for (at_us, bytes) in chunks {
            recording.chunks.push(Chunk { at_us, start: recording.bytes.len(), len: bytes.len() });
            recording.bytes.extend_from_slice(bytes);
        }
        recording.check()?;
        Ok(recording)
    }

    /// The chunks in the order of time, at least one.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The bytes of all chunks.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Microseconds from the start to the end, which is where a loop of it begins anew.
    pub fn duration_us(&self) -> u64 {
        self.duration_us
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEAD_BYTES + self.chunks.len() * CHUNK_BYTES + self.bytes.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&(self.chunks.len() as u32).to_le_bytes());
        file.extend_from_slice(&self.duration_us.to_le_bytes());
        for chunk in &self.chunks {
            file.extend_from_slice(&chunk.at_us.to_le_bytes());
            file.extend_from_slice(&(chunk.len as u32).to_le_bytes());
        }
        file.extend_from_slice(&self.bytes);
        file
    }

    /// From a file. An error says what is wrong with it.
    pub fn decode(file: &[u8]) -> Result<Self> {
        let mut rest = file;
        ensure!(take(&mut rest) == Some(*MAGIC), "not a recording: it does not begin with LTCHUNKS");
        let version = take(&mut rest).map(u32::from_le_bytes).context("cut off in the head")?;
        ensure!(version == VERSION, "version {version}, not {VERSION}");
        let count = take(&mut rest).map(u32::from_le_bytes).context("cut off in the head")? as usize;
        let duration_us = take(&mut rest).map(u64::from_le_bytes).context("cut off in the head")?;
        ensure!(rest.len() / CHUNK_BYTES >= count, "cut off in the table of {count} chunks");
        let mut chunks = Vec::with_capacity(count);
        let mut start = 0;
        for _ in 0..count {
            let at_us = take(&mut rest).map(u64::from_le_bytes).context("cut off in the table")?;
            let len = take(&mut rest).map(u32::from_le_bytes).context("cut off in the table")? as usize;
            chunks.push(Chunk { at_us, start, len });
            start += len;
        }
        ensure!(rest.len() == start, "the chunks are {start} bytes, but {} follow the table", rest.len());
        let recording = Self { chunks, bytes: rest.to_vec(), duration_us };
        recording.check()?;
        Ok(recording)
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::decode(&file).with_context(|| format!("{} is no good recording", path.display()))
    }

    /// Writes a file.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.encode()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What the format demands of the values.
    fn check(&self) -> Result<()> {
        let Some(last) = self.chunks.last() else { bail!("there is no chunk") };
        ensure!(self.chunks.len() <= u32::MAX as usize, "more chunks than the format can count");
        for (index, chunk) in self.chunks.iter().enumerate() {
            ensure!((1..=u32::MAX as usize).contains(&chunk.len), "chunk {index} has {} bytes", chunk.len);
        }
        if let Some(index) = self.chunks.windows(2).position(|pair| pair[1].at_us < pair[0].at_us) {
            bail!("chunk {} is earlier than the one before", index + 1);
        }
        let (last_us, duration_us) = (last.at_us, self.duration_us);
        ensure!(last_us < duration_us, "the last chunk is at {last_us} us, but the duration {duration_us} us");
        Ok(())
    }
}

/// Makes chunks of what arrives: the pieces of one send belong together, as they follow each other closely.
#[derive(Debug)]
pub struct ChunkMerge {
    skip_us: u64,
    /// The arrival of the first piece of the stream, and of the last.
    seen_us: Option<(u64, u64)>,
    /// The arrival of the first piece that is kept.
    base_us: Option<u64>,
    chunks: Vec<Chunk>,
    bytes: Vec<u8>,
}

impl ChunkMerge {
    /// Drops what arrives in the first `skip_us` microseconds of the stream, and the rest of a send that this cuts (for a second at most: a
    /// stream without pauses is cut anywhere).
    pub fn new(skip_us: u64) -> Self {
        Self { skip_us, seen_us: None, base_us: None, chunks: Vec::new(), bytes: Vec::new() }
    }

    /// Adds what one `recv` brought at `at_us`, which never falls. A piece that comes at most [`MERGE_US`] after the one before it belongs to
    /// the same chunk, and moves it no later. No bytes are no piece.
    pub fn push(&mut self, at_us: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (first_us, last_us) = self.seen_us.unwrap_or((at_us, at_us));
        let is_new = self.seen_us.is_none() || at_us - last_us > MERGE_US;
        self.seen_us = Some((first_us, at_us));
        let wait_us = self.skip_us + if is_new { 0 } else { CUT_WAIT_US };
        if self.base_us.is_none() && at_us - first_us >= wait_us {
            self.base_us = Some(at_us);
        }
        let Some(base_us) = self.base_us else { return };
        match self.chunks.last_mut() {
            Some(chunk) if !is_new && chunk.len < MERGED_BYTES_MAX => chunk.len += bytes.len(),
            _ => self.chunks.push(Chunk { at_us: at_us - base_us, start: self.bytes.len(), len: bytes.len() }),
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Microseconds that the recording is long at the moment `at_us`; 0 as long as nothing is kept.
    pub fn duration_us(&self, at_us: u64) -> u64 {
        self.base_us.map_or(0, |base_us| at_us - base_us)
    }

    /// The recording up to the moment `at_us`. An error when nothing was kept.
    pub fn finish(self, at_us: u64) -> Result<Recording> {
        let last_us = self.chunks.last().context("nothing was received")?.at_us;
        let duration_us = self.duration_us(at_us).max(last_us + 1);
        let recording = Recording { chunks: self.chunks, bytes: self.bytes, duration_us };
        recording.check()?;
        Ok(recording)
    }
}

/// Pieces no further apart than this are of one send.
pub const MERGE_US: u64 = 300;

/// A chunk of this size takes no more pieces.
const MERGED_BYTES_MAX: usize = 16 << 20;

/// How long the end of a send is waited for where a recording begins.
const CUT_WAIT_US: u64 = 1_000_000;

const MAGIC: &[u8; 8] = b"LTCHUNKS";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;
const CHUNK_BYTES: usize = 12;

/// The next bytes, or `None` when there are fewer.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Recording {
        Recording::new([(0, &b"abc"[..]), (40_000, b"d"), (40_000, b"ef")], 80_000).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let file = sample().encode();
        assert_eq!(&file[..24], b"LTCHUNKS\x01\0\0\0\x03\0\0\0\x80\x38\x01\0\0\0\0\0");
        assert_eq!(file.len(), 24 + 3 * 12 + 6);
        assert_eq!(Recording::decode(&file).unwrap(), sample());
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let file = sample().encode();
        for length in 0..file.len() {
            assert!(Recording::decode(&file[..length]).is_err(), "cut to {length}");
        }
        assert!(Recording::decode(&[&file[..], b"x"].concat()).is_err());
    }

    #[test]
    fn damage_is_named() {
        // (offset, new byte, what the error says)
        let cases = [
            (0, b'X', "does not begin with LTCHUNKS"),
            (8, 2, "version 2, not 1"),
            (12, 0, "the chunks are 0 bytes"),
            (15, 1, "cut off in the table of 16777219 chunks"),
            (18, 0, "the last chunk is at 40000 us, but the duration 14464 us"),
            (26, 1, "chunk 1 is earlier"),
            (32, 4, "the chunks are 7 bytes, but 6 follow"),
        ];
        for (offset, byte, expected) in cases {
            let mut file = sample().encode();
            file[offset] = byte;
            let error = Recording::decode(&file).unwrap_err().to_string();
            assert!(error.contains(expected), "at {offset}: {error}");
        }
    }

    #[test]
    fn what_the_format_does_not_allow_is_an_error() {
        assert!(Recording::new([], 1).is_err());
        assert!(Recording::new([(0, &b""[..])], 1).is_err());
        assert!(Recording::new([(1, &b"a"[..])], 1).is_err());
        assert!(Recording::new([(1, &b"a"[..]), (0, b"b")], 2).is_err());
    }

    #[test]
    fn pieces_of_one_send_are_merged() {
        let mut merge = ChunkMerge::new(0);
        for (at_us, bytes) in [(500, "a"), (700, "b"), (1_000, "c"), (1_301, "d"), (5_000, ""), (9_000, "e")] {
            merge.push(at_us, bytes.as_bytes());
        }
        assert_eq!(merge.duration_us(10_500), 10_000);
        let expected = Recording::new([(0, &b"abc"[..]), (801, b"d"), (8_500, b"e")], 10_000).unwrap();
        assert_eq!(merge.finish(10_500).unwrap(), expected);
    }

    #[test]
    fn the_start_is_skipped_up_to_a_whole_send() {
        let mut merge = ChunkMerge::new(1_000);
        for (at_us, bytes) in [(0, "a"), (900, "b"), (1_100, "c"), (2_000, "d"), (2_100, "e"), (3_000, "f")] {
            merge.push(at_us, bytes.as_bytes());
        }
        let expected = Recording::new([(0, &b"de"[..]), (1_000, b"f")], 1_001).unwrap();
        assert_eq!(merge.finish(3_000).unwrap(), expected);
    }

    #[test]
    fn a_stream_without_pauses_is_cut_after_a_second() {
        let mut merge = ChunkMerge::new(1_000);
        for at_us in (0..=1_001_200).step_by(200) {
            merge.push(at_us, b"a");
        }
        assert_eq!(merge.finish(1_001_200).unwrap().bytes(), b"aa");
    }

    #[test]
    fn nothing_received_is_an_error() {
        let mut merge = ChunkMerge::new(1_000);
        merge.push(0, b"a");
        assert_eq!(merge.duration_us(5), 0);
        assert!(merge.finish(5).is_err());
    }
}
