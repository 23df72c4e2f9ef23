//! TS packets of a file, 188, 192 (a time stamp before each packet) or 204 bytes apart (parity after each packet).
//!
//! What it deliberately does not do: hand on what is not a packet. Time stamps and parity are left out, as both would be
//! wrong after the packet has been retimed; after garbage it searches the sync byte again.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::FileError;

/// One transport stream packet (ISO/IEC 13818-1 2.4.3.2).
pub(super) type Packet = [u8; PACKET_BYTES];
/// Bytes of a packet.
pub(super) const PACKET_BYTES: usize = 188;

/// Reads a file packet by packet, any number of times.
pub(super) struct PacketReader {
    path: PathBuf,
    file: File,
    /// Distance of two packets: 188, 192 or 204.
    stride: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken.
    taken: usize,
}

impl PacketReader {
    /// Opens a file and finds its packet size.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let in_file = |source| FileError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(in_file)?;
        let (stride, buffer, taken) = (PACKET_BYTES, Vec::new(), 0);
        let mut reader = PacketReader { path: path.to_owned(), file, stride, buffer, taken };
        reader.fill()?;
        reader.stride = find_stride(&reader.buffer).ok_or_else(|| FileError::NoPackets(path.to_owned()))?;
        Ok(reader)
    }
    /// Goes back to the start of the file.
    pub fn rewind(&mut self) -> Result<(), FileError> {
        self.buffer.clear();
        self.taken = 0;
        self.file.seek(SeekFrom::Start(0)).map(drop).map_err(|source| self.error(source))
    }
    /// The next packet, `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<Packet>, FileError> {
        loop {
            // One byte more than a packet and its padding: the sync byte behind it confirms it.
            if self.buffer.len() - self.taken <= self.stride {
                self.fill()?;
            }
            let rest = &self.buffer[self.taken..];
            let Some(packet) = rest.first_chunk::<PACKET_BYTES>() else { return Ok(None) };
            if packet[0] == SYNC && rest.get(self.stride).is_none_or(|&byte| byte == SYNC) {
                let packet = *packet;
                self.taken += self.stride.min(rest.len());
                return Ok(Some(packet));
            }
            self.taken += rest[1..].iter().position(|&byte| byte == SYNC).map_or(rest.len(), |skip| skip + 1);
        }
    }
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads on until the buffer holds [`READ_BYTES`] or the file ends.
    fn fill(&mut self) -> Result<(), FileError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let want = READ_BYTES.saturating_sub(self.buffer.len()) as u64;
        match (&self.file).take(want).read_to_end(&mut self.buffer) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.error(source)),
        }
    }
    fn error(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), source }
    }
}

/// The packet distance for which sync bytes repeat, looked for at every phase of the first packets.
fn find_stride(start: &[u8]) -> Option<usize> {
    let repeats = |phase: usize, stride: usize| {
        let syncs = start[phase..].iter().step_by(stride).take(SYNCS_NEEDED);
        syncs.clone().all(|&byte| byte == SYNC) && (syncs.len() > 1 || start.len() - phase == PACKET_BYTES)
    };
    let phases = 0..(start.len().saturating_sub(PACKET_BYTES - 1)).min(PHASES_TRIED);
    phases
        .flat_map(|phase| STRIDES.map(|stride| (phase, stride)))
        .find(|&(phase, stride)| repeats(phase, stride))
        .map(|(_, stride)| stride)
}

const SYNC: u8 = 0x47;
/// 188: plain. 192: BDAV, 4 bytes of arrival time before each. 204: DVB with 16 bytes of Reed-Solomon parity behind each.
const STRIDES: [usize; 3] = [PACKET_BYTES, 192, 204];
/// Sync bytes in a row that make a packet size certain.
const SYNCS_NEEDED: usize = 8;
/// Garbage at the start of a file that is searched through, bytes.
const PHASES_TRIED: usize = 4096;
const READ_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` packets `stride` apart, numbered in byte 1, sync at `phase`.
    fn file(count: u8, stride: usize, phase: usize) -> Vec<u8> {
        let mut bytes = vec![0xAA; stride * count as usize];
        for number in 0..count {
            let at = stride * number as usize + phase;
            bytes[at] = SYNC;
            bytes[at + 1] = number;
        }
        bytes
    }

    fn numbers(name: &str, bytes: &[u8]) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("millrace-reader-{}-{name}.ts", std::process::id()));
        std::fs::write(&path, bytes).expect("temporary file");
        let mut reader = PacketReader::open(&path).expect("opens");
        let read = |reader: &mut PacketReader| {
            std::iter::from_fn(|| reader.next().expect("reads")).map(|packet| packet[1]).collect::<Vec<u8>>()
        };
        let first = read(&mut reader);
        reader.rewind().expect("rewinds");
        assert_eq!(read(&mut reader), first);
        std::fs::remove_file(&path).expect("removes");
        first
    }

    #[test]
    fn all_three_packet_sizes() {
        assert_eq!(numbers("188", &file(10, 188, 0)), (0..10).collect::<Vec<u8>>());
        assert_eq!(numbers("192", &file(10, 192, 4)), (0..10).collect::<Vec<u8>>());
        assert_eq!(numbers("204", &file(10, 204, 0)), (0..10).collect::<Vec<u8>>());
    }

    #[test]
    fn one_packet_is_a_file() {
        assert_eq!(numbers("one", &file(1, 188, 0)), [0]);
    }

    #[test]
    fn goes_on_after_garbage() {
        let mut bytes = file(10, 188, 0);
        bytes.splice(188 * 5..188 * 5, [0x47; 77]);
        let read = numbers("garbage", &bytes);
        // The packet before the garbage has no sync byte behind it where one is expected only if the garbage has none.
        assert!(read.starts_with(&[0, 1, 2, 3, 4]) && read.ends_with(&[6, 7, 8, 9]), "{read:?}");
    }

    #[test]
    fn text_is_refused() {
        assert_eq!(find_stride(&b"Good text, but nothing of a transport stream".repeat(100)), None);
        assert_eq!(find_stride(b""), None);
    }
}
