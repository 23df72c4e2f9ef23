//! The times in a TS packet, read and moved: PCR, OPCR, PTS, DTS (ISO/IEC 13818-1 2.4.3.4 and 2.4.3.6).
//!
//! What it deliberately does not do: follow a PES header into a second packet (no muxer in the field splits the first
//! 19 bytes), look into scrambled packets, or move times inside sections (SCTE-35).
#![forbid(unsafe_code)]

use super::reader::Packet;

/// One past the largest PCR, 27 MHz ticks (26.5 hours).
pub(super) const WRAP_27M: u64 = (1 << 33) * 300;

/// Where the times of a packet stand; each is a byte offset into the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub pcr: Option<usize>,
    pub opcr: Option<usize>,
    pub pts: Option<usize>,
    pub dts: Option<usize>,
}

/// Packet identifier, 13 bits.
pub(super) fn pid(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

pub(super) fn has_payload(packet: &Packet) -> bool {
    packet[3] & 0x10 != 0
}

/// Whether the adaptation field says that time or continuity breaks here.
pub(super) fn discontinuity(packet: &Packet) -> bool {
    adaptation(packet).is_some_and(|field| field.first().is_some_and(|flags| flags & 0x80 != 0))
}

/// Finds the times of a packet; a malformed or scrambled one has none.
pub(super) fn times(packet: &Packet) -> Times {
    let mut times = Times::default();
    // transport_error_indicator: nothing in the packet can be trusted.
    if packet[1] & 0x80 != 0 {
        return times;
    }
    let field = adaptation(packet).unwrap_or_default();
    if let Some(&flags) = field.first() {
        // The field's length byte is byte 4, its flags byte 5, the PCR stands in bytes 6 to 11, the OPCR behind it.
        times.pcr = (flags & 0x10 != 0 && field.len() >= 7).then_some(6);
        let opcr_at = if times.pcr.is_some() { 12 } else { 6 };
        times.opcr = (flags & 0x08 != 0 && field.len() >= opcr_at + 6 - 5).then_some(opcr_at);
    }
    if let Some(pes_at) = pes_start(packet) {
        let flags = packet[pes_at + 7] >> 6;
        let header_end = pes_at + 9 + usize::from(packet[pes_at + 8]);
        let at = |offset: usize| {
            (header_end >= pes_at + offset + 5 && pes_at + offset + 5 <= 188).then_some(pes_at + offset)
        };
        times.pts = if flags & 0b10 != 0 { at(9) } else { None };
        times.dts = if flags == 0b11 { at(14) } else { None };
    }
    times
}

/// PCR or OPCR at `at`, 27 MHz ticks.
pub(super) fn read_pcr(packet: &Packet, at: usize) -> u64 {
    let base = packet[at..at + 4].iter().fold(0, |value, &byte| value << 8 | u64::from(byte)) << 1
        | u64::from(packet[at + 4] >> 7);
    let extension = u64::from(packet[at + 4] & 1) << 8 | u64::from(packet[at + 5]);
    (base * 300 + extension) % WRAP_27M
}

/// Writes a PCR or OPCR; the six reserved bits between its parts become ones, as they must be.
pub(super) fn write_pcr(packet: &mut Packet, at: usize, pcr_27m: u64) {
    let (base, extension) = (pcr_27m % WRAP_27M / 300, pcr_27m % 300);
    // 33 bits of base, 6 reserved, 9 of extension, in 6 bytes.
    let bits = base << 15 | 0x3F << 9 | extension;
    packet[at..at + 6].copy_from_slice(&bits.to_be_bytes()[2..]);
}

/// PTS or DTS at `at`, 90 kHz ticks: 3, 15 and 15 bits, each followed by a marker bit.
pub(super) fn read_stamp(packet: &Packet, at: usize) -> u64 {
    let byte = |index: usize| u64::from(packet[at + index]);
    (byte(0) >> 1 & 7) << 30 | byte(1) << 22 | (byte(2) >> 1) << 15 | byte(3) << 7 | byte(4) >> 1
}

/// Writes a PTS or DTS; the four bits before it, which tell the two apart, stay.
pub(super) fn write_stamp(packet: &mut Packet, at: usize, ticks_90k: u64) {
    let bits = ticks_90k & ((1 << 33) - 1);
    packet[at] = packet[at] & 0xF0 | (bits >> 29) as u8 & 0x0E | 1;
    packet[at + 1] = (bits >> 22) as u8;
    packet[at + 2] = (bits >> 14) as u8 | 1;
    packet[at + 3] = (bits >> 7) as u8;
    packet[at + 4] = (bits << 1) as u8 | 1;
}

/// The adaptation field after its length byte, if there is one that fits.
fn adaptation(packet: &Packet) -> Option<&[u8]> {
    (packet[3] & 0x20 != 0).then(|| packet.get(5..5 + usize::from(packet[4]))).flatten()
}

/// Where the PES packet begins that starts in this packet and has the optional header with room for its flags.
fn pes_start(packet: &Packet) -> Option<usize> {
    let unit_start = packet[1] & 0x40 != 0;
    let scrambled = packet[3] & 0xC0 != 0;
    if !unit_start || scrambled || !has_payload(packet) {
        return None;
    }
    let at = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
    let head = packet.get(at..at + 9)?;
    // '10' leads the optional header; the stream ids without one (2.4.3.7: padding, private_stream_2, ECM, ...) are left out.
    let has_header = head[6] & 0xC0 == 0x80 && !matches!(head[3], 0xBC | 0xBE | 0xBF | 0xF0..=0xF2 | 0xF8 | 0xFF);
    (head[..3] == [0, 0, 1] && has_header).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PID 0x100, unit start, adaptation field with PCR, then a PES header with PTS and DTS.
    fn packet() -> Packet {
        let head = [
            0x47, 0x41, 0x00, 0x30, // sync, unit start + PID 0x100, adaptation and payload, counter 0
            0x07, 0x10, // adaptation_field_length, PCR_flag
            0x00, 0x00, 0x00, 0x01, 0xFE, 0x01, // PCR base 3, reserved, extension 1
            0x00, 0x00, 0x01, 0xE0, 0x00, 0x00, // PES start code, video, unbounded
            0x80, 0xC0, 0x0A, // '10', PTS and DTS, 10 bytes of header
            0x31, 0x00, 0x05, 0xBF, 0x21, // PTS 90,000
            0x11, 0x00, 0x05, 0xA3, 0x01, // DTS 86,400
        ];
        let mut packet = [0xFF; 188];
        packet[..head.len()].copy_from_slice(&head);
        packet
    }

    #[test]
    fn reads_every_time() {
        let packet = packet();
        assert_eq!(pid(&packet), 0x100);
        assert_eq!(times(&packet), Times { pcr: Some(6), opcr: None, pts: Some(21), dts: Some(26) });
        assert_eq!(read_pcr(&packet, 6), 3 * 300 + 1);
        assert_eq!(read_stamp(&packet, 21), 90_000);
        assert_eq!(read_stamp(&packet, 26), 86_400);
    }

    #[test]
    fn writing_what_was_read_changes_nothing() {
        let original = packet();
        let mut packet = original;
        write_pcr(&mut packet, 6, read_pcr(&original, 6));
        write_stamp(&mut packet, 21, read_stamp(&original, 21));
        write_stamp(&mut packet, 26, read_stamp(&original, 26));
        assert_eq!(packet, original);
    }

    #[test]
    fn times_wrap_at_33_bits() {
        let mut packet = packet();
        write_stamp(&mut packet, 21, (1 << 33) + 5);
        assert_eq!(read_stamp(&packet, 21), 5);
        write_stamp(&mut packet, 21, (1 << 33) - 1);
        assert_eq!(read_stamp(&packet, 21), (1 << 33) - 1);
        write_pcr(&mut packet, 6, WRAP_27M - 1);
        assert_eq!(read_pcr(&packet, 6), WRAP_27M - 1);
    }

    #[test]
    fn hostile_lengths_have_no_times() {
        let mut long_field = packet();
        long_field[4] = 255;
        assert_eq!(times(&long_field), Times::default());
        let mut short_header = packet();
        short_header[20] = 4; // PES_header_data_length too short for a PTS
        assert_eq!(times(&short_header).pts, None);
        let mut scrambled = packet();
        scrambled[3] |= 0x80;
        assert_eq!(times(&scrambled).pts, None);
        let mut broken = packet();
        broken[1] |= 0x80;
        assert_eq!(times(&broken), Times::default());
    }
}
