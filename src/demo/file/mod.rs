//! A TS file as an endless live stream: read, moved in time for each loop, and paced by its own clock.
//!
//! The pace comes from the PCRs of the first PID that has any; without one from the DTSs of the first PID that has
//! them; without any times from a guessed bitrate. Between two clock values packets are spread evenly.
//!
//! What it deliberately does not do: load the file into memory, or repair it. A jump inside the file is sent as it is,
//! only its pause is not waited for.
#![forbid(unsafe_code)]

mod packet;
mod reader;
mod retime;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::reader::{PACKET_BYTES, PacketReader};
use self::retime::{Clock, Retimer, Tick, distance};
use super::OriginError;
use super::pace::Program;

/// Why a file cannot be looped.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: no transport stream packets found (188, 192 or 204 bytes apart)", .0.display())]
    NoPackets(PathBuf),
}

/// The file, and the portion of it that is being sent.
pub(super) struct FileLoop {
    reader: PacketReader,
    retimer: Retimer,
    /// Packets from behind one clock value up to and with the next.
    span: Vec<u8>,
    /// Bytes of `span` that were sent.
    sent: usize,
    /// When `span` begins and how long it takes, microseconds since the start.
    span_start_us: u64,
    span_us: u64,
    /// Last clock value sent.
    clock: Option<u64>,
    /// Time already spent on packets behind that clock value, when a span was cut for its size.
    ahead_us: u64,
    /// Last known rate.
    bytes_per_s: u64,
    span_bytes_max: usize,
}

impl FileLoop {
    /// Opens `path`, finds its packet size and its clock.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mut reader = PacketReader::open(path)?;
        let clock = find_clock(&mut reader)?;
        if clock == Clock::None {
            tracing::warn!(path = %path.display(), kbps = RATE_GUESS * 8 / 1000, "the file has no times; its bitrate is guessed");
        }
        reader.rewind()?;
        let mut file = FileLoop {
            reader,
            retimer: Retimer::new(clock),
            span: Vec::new(),
            sent: 0,
            span_start_us: 0,
            span_us: 0,
            clock: None,
            ahead_us: 0,
            bytes_per_s: RATE_GUESS,
            // Without a clock every span ends at this size, so there it also sets how smooth the stream is.
            span_bytes_max: if clock == Clock::None { PACKET_BYTES * 50 } else { SPAN_BYTES_MAX },
        };
        file.next_span()?;
        Ok(file)
    }

    /// Reads the packets up to the next clock value and finds out how long they take.
    fn next_span(&mut self) -> Result<(), FileError> {
        self.span.clear();
        self.sent = 0;
        self.span_start_us += self.span_us;
        let mut ends_seen = 0;
        while self.span.len() < self.span_bytes_max {
            let Some(mut packet) = self.reader.next()? else {
                ends_seen += 1;
                if ends_seen > 1 && self.span.is_empty() {
                    return Err(FileError::NoPackets(self.reader.path().to_owned()));
                }
                self.retimer.next_loop();
                self.reader.rewind()?;
                continue;
            };
            let tick = self.retimer.apply(&mut packet);
            self.span.extend_from_slice(&packet);
            if let Some(tick) = tick {
                self.span_us = self.until(tick);
                return Ok(());
            }
        }
        self.span_us = self.span_guess_us();
        self.ahead_us += self.span_us;
        Ok(())
    }

    /// How long the span takes that ends with `tick`.
    fn until(&mut self, tick: Tick) -> u64 {
        let step = self.clock.replace(tick.clock_27m).map(|last| distance(tick.clock_27m, last));
        let ahead_us = std::mem::take(&mut self.ahead_us);
        match step {
            // What stands before the first clock value goes out at once, with it.
            None => 0,
            Some(step @ 0..=STEP_MAX) if !tick.discontinuity => {
                let step_us = step as u64 / 27;
                // Short spans tell little of the rate: a PCR may stand in every packet.
                if step_us >= 10_000 && ahead_us == 0 {
                    self.bytes_per_s = (self.span.len() as u64 * 1_000_000 / step_us).max(1);
                }
                step_us.saturating_sub(ahead_us)
            }
            Some(_) => self.span_guess_us(),
        }
    }
    fn span_guess_us(&self) -> u64 {
        self.span.len() as u64 * 1_000_000 / self.bytes_per_s
    }
    /// Where in the span the next portion ends, bytes: portions of at most [`PORTION_US`].
    fn portion_end(&self) -> usize {
        let packets = self.span.len() / PACKET_BYTES;
        let portions = (self.span_us.div_ceil(PORTION_US) as usize).clamp(1, packets.max(1));
        let number = self.sent / PACKET_BYTES * portions / packets.max(1) + 1;
        ((packets * number).div_ceil(portions) * PACKET_BYTES).clamp(self.sent, self.span.len())
    }
}

impl Program for FileLoop {
    fn due(&self) -> Duration {
        let share = self.span_us as u128 * self.portion_end() as u128 / self.span.len().max(1) as u128;
        Duration::from_micros(self.span_start_us + share as u64)
    }
    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), OriginError> {
        let end = self.portion_end();
        out.extend_from_slice(&self.span[self.sent..end]);
        self.sent = end;
        if self.sent == self.span.len() {
            self.next_span()?;
        }
        Ok(())
    }
}

/// Looks through the start of the file for the times to pace by.
fn find_clock(reader: &mut PacketReader) -> Result<Clock, FileError> {
    let mut clock = Clock::None;
    for _ in 0..PROBE_PACKETS {
        let Some(packet) = reader.next()? else { break };
        let times = packet::times(&packet);
        if times.pcr.is_some() {
            return Ok(Clock::Pcr(packet::pid(&packet)));
        }
        if clock == Clock::None && (times.pts.is_some() || times.dts.is_some()) {
            clock = Clock::Dts(packet::pid(&packet));
        }
    }
    Ok(clock)
}

/// Packets looked at to find the clock: 10 s of a 20 Mb/s stream have 133,000.
const PROBE_PACKETS: usize = 150_000;
/// Longest portion, microseconds: half a frame, so that the stream flows as evenly as from an encoder.
const PORTION_US: u64 = 20_000;
/// 5 s: a longer step of the clock is a jump inside the file, not a pause.
const STEP_MAX: i64 = 5 * 27_000_000;
/// Most bytes without a clock value before they are paced by the last known rate.
const SPAN_BYTES_MAX: usize = 1 << 20;
/// Rate before any is known, bytes a second: 4 Mb/s.
const RATE_GUESS: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of 25 PES starts a second on PID 0x100, three packets for each; `pcr` and `pts`: whether they are there.
    fn file(pcr: bool, pts: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in 0..50_u64 {
            let mut head = [0xFF; PACKET_BYTES];
            head[..6].copy_from_slice(&[
                0x47,
                0x41,
                0x00,
                0x30 | (frame * 3 % 16) as u8,
                7,
                if pcr { 0x10 } else { 0 },
            ]);
            if pcr {
                packet::write_pcr(&mut head, 6, frame * 27_000_000 / 25);
            }
            // PES start code, stream id, length, '10', flags, header length, the first bits of the PTS
            head[12..22].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, if pts { 0x80 } else { 0 }, 5, 0x21]);
            packet::write_stamp(&mut head, 21, 9_000 + frame * 3_600);
            bytes.extend_from_slice(&head);
            for rest in 1..3 {
                let mut packet = [0xFF; PACKET_BYTES];
                packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | ((frame * 3 + rest) % 16) as u8]);
                bytes.extend_from_slice(&packet);
            }
        }
        bytes
    }

    /// Due time and bytes of every portion until `bytes_wanted` have come.
    fn play(name: &str, bytes: &[u8], bytes_wanted: usize) -> Vec<(Duration, usize)> {
        let path = std::env::temp_dir().join(format!("millrace-file-{}-{name}.ts", std::process::id()));
        std::fs::write(&path, bytes).expect("temporary file");
        let mut file = FileLoop::open(&path).expect("opens");
        let (mut portions, mut total) = (Vec::new(), 0);
        while total < bytes_wanted {
            let (due, mut out) = (file.due(), Vec::new());
            file.write(&mut out).expect("goes on");
            assert!(!out.is_empty() && out.len().is_multiple_of(PACKET_BYTES), "{}", out.len());
            total += out.len();
            portions.push((due, out.len()));
        }
        std::fs::remove_file(&path).expect("removes");
        portions
    }

    #[test]
    fn pace_comes_from_pcrs_or_else_from_time_stamps() {
        for (name, pcr) in [("pcr", true), ("dts", false)] {
            let bytes = file(pcr, true);
            let portions = play(name, &bytes, bytes.len() * 3);
            let steps = portions.windows(2).map(|pair| pair[1].0.checked_sub(pair[0].0).expect("never goes back"));
            // Three packets in 40 ms: two portions of 20 ms have two packets and one.
            assert!(steps.clone().all(|step| step < Duration::from_millis(27)), "{name}: {:?}", steps.max());
            let took = portions.last().expect("some").0;
            assert!((5_900..=6_000).contains(&took.as_millis()), "{name}: {took:?}");
        }
    }

    #[test]
    fn without_any_time_the_bitrate_is_guessed() {
        let bytes = file(false, false);
        let took = play("none", &bytes, RATE_GUESS as usize).last().expect("some").0;
        assert!((900..=1_100).contains(&took.as_millis()), "{took:?}");
    }

    #[test]
    fn a_jump_of_the_clock_is_not_waited_for() {
        let mut bytes = file(true, true);
        let hour = 3_600 * 27_000_000;
        for packet in bytes.chunks_exact_mut(PACKET_BYTES).skip(75).filter(|packet| packet[5] == 0x10 && packet[4] == 7)
        {
            let packet = packet.first_chunk_mut().expect("a whole packet");
            packet::write_pcr(packet, 6, packet::read_pcr(packet, 6) + hour);
        }
        let took = play("jump", &bytes, bytes.len()).last().expect("some").0;
        assert!((1_900..=2_100).contains(&took.as_millis()), "{took:?}");
    }
}
