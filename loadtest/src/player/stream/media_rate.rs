//! What checked viewers of a group measure for the others, who do not look at what they get: media rate, and bytes to a first picture.
//!
//! What it deliberately does not do: check anything; [`crate::tscheck`] does.

use super::packets::{PACKET_BYTES, Packets};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Media over which a rate is taken, 27 MHz: long enough for a group of pictures to even out.
const WINDOW: u64 = 2 * 27_000_000;
/// A longer step of the PCR, or one back, is a new time base.
const STEP_MAX: u64 = 10 * 27_000_000;
/// The PCR counts modulo 2^33 times 300.
const PCR_CYCLE: u64 = (1 << 33) * 300;

/// Shared by the viewers of a group, of all threads; 0: not known yet.
#[derive(Debug, Default)]
pub struct MediaRate {
    /// Of the last window, b/s.
    bits_per_s: AtomicU64,
    /// Bytes from the beginning of an answer to the end of its first picture.
    first_picture_bytes: AtomicU64,
}

impl MediaRate {
    /// A rate that is known, kb/s; 0: to be measured.
    pub fn new(kbps: u64) -> MediaRate {
        MediaRate { bits_per_s: AtomicU64::new(kbps * 1_000), first_picture_bytes: AtomicU64::new(0) }
    }

    /// b/s; `None`: not known yet.
    pub fn bits_per_s(&self) -> Option<u64> {
        Some(self.bits_per_s.load(Relaxed)).filter(|rate| *rate > 0)
    }

    /// Bytes from the beginning of an answer to the end of its first picture; 0: not known yet.
    pub fn first_picture_bytes(&self) -> u64 {
        self.first_picture_bytes.load(Relaxed)
    }
}

/// Reads the PCRs of one stream.
pub struct RateMeter {
    packets: Packets,
    pcrs: Pcrs,
}

/// What was read so far.
struct Pcrs {
    bytes: u64,
    /// PID of the first PCR; in what this reads that is the picture's.
    pid: Option<u16>,
    /// Last PCR; and PCR and bytes at the window's beginning.
    last: Option<u64>,
    window: Option<(u64, u64)>,
    /// Of the PID: PES packets that began.
    pictures: u32,
    measures_rate: bool,
}

/// What a piece brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Media by PCR, microseconds.
    pub media_us: u64,
    /// The first picture is complete.
    pub has_picture: bool,
}

impl RateMeter {
    /// Of a stream that begins; with `measures_rate` it sets the rate of others.
    pub fn new(measures_rate: bool) -> RateMeter {
        let pcrs = Pcrs { bytes: 0, pid: None, last: None, window: None, pictures: 0, measures_rate };
        RateMeter { packets: Packets::default(), pcrs }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], rate: &MediaRate) -> Step {
        let mut step = Step::default();
        self.packets.push(bytes, |packet| self.pcrs.packet(packet, rate, &mut step));
        step.has_picture = self.pcrs.pictures > 1;
        step
    }
}

impl Pcrs {
    fn packet(&mut self, packet: &[u8; PACKET_BYTES], rate: &MediaRate, step: &mut Step) {
        self.bytes += PACKET_BYTES as u64;
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        // adaptation_field_control, adaptation_field_length and PCR_flag.
        let pcr = (packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0).then(|| pcr(&packet[6..12]));
        if pcr.is_some() && self.pid.is_none() {
            self.pid = Some(pid);
        }
        if self.pid != Some(pid) {
            return;
        }
        // payload_unit_start_indicator of the second picture: the first is complete.
        self.pictures += u32::from(packet[1] & 0x40 != 0);
        if self.pictures == 2 && rate.first_picture_bytes() == 0 {
            rate.first_picture_bytes.store(self.bytes, Relaxed);
        }
        if let Some(pcr) = pcr {
            step.media_us += self.pcr(pcr, rate) / 27;
        }
    }

    /// Media since the PCR before, 27 MHz.
    fn pcr(&mut self, pcr: u64, rate: &MediaRate) -> u64 {
        let step = self.last.map_or(0, |last| (pcr + PCR_CYCLE - last) % PCR_CYCLE);
        self.last = Some(pcr);
        let Some((begun, bytes)) = self.window.filter(|_| step <= STEP_MAX) else {
            self.window = Some((pcr, self.bytes));
            return 0;
        };
        let window = (pcr + PCR_CYCLE - begun) % PCR_CYCLE;
        if window >= WINDOW {
            if self.measures_rate {
                let bits = u128::from(self.bytes - bytes) * 8;
                rate.bits_per_s.store((bits * 27_000_000 / u128::from(window)) as u64, Relaxed);
            }
            self.window = Some((pcr, self.bytes));
        }
        step
    }
}

/// program_clock_reference_base (33 bits), 6 reserved bits, program_clock_reference_extension (9 bits); 27 MHz.
fn pcr(bytes: &[u8]) -> u64 {
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (value >> 15) * 300 + (value & 0x1ff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of PID 0x100 with a PCR, in milliseconds, and the beginning of a PES packet.
    fn packet(ms: u64) -> Vec<u8> {
        let base = ms * 90;
        let mut packet = vec![0x47, 0x41, 0x00, 0x30, 7, 0x10];
        packet.extend_from_slice(&(base << 15 | 0x7e00).to_be_bytes()[2..]);
        packet.resize(PACKET_BYTES, 0xff);
        packet
    }

    #[test]
    fn the_rate_is_of_media_time_whatever_the_pieces() {
        for size in [1, 100, 188, 1_000] {
            let (rate, mut meter) = (MediaRate::default(), RateMeter::new(true));
            let stream: Vec<u8> = (0..200).flat_map(|index| packet(index * 20)).collect();
            let media_us: u64 = stream.chunks(size).map(|piece| meter.push(piece, &rate).media_us).sum();
            assert_eq!(media_us, 199 * 20_000);
            // 188 bytes every 20 ms.
            assert_eq!(rate.bits_per_s(), Some(188 * 8 * 50), "pieces of {size}");
            assert_eq!(rate.first_picture_bytes(), 2 * 188);
        }
    }

    #[test]
    fn a_new_time_base_is_no_media() {
        let (rate, mut meter) = (MediaRate::default(), RateMeter::new(true));
        let pieces = [packet(1_000), packet(1_020), packet(500), packet(520), packet(100_000)];
        let media: Vec<u64> = pieces.iter().map(|piece| meter.push(piece, &rate).media_us).collect();
        assert_eq!(media, [0, 20_000, 0, 20_000, 0]);
    }
}
