//! The transport packet: header (ISO/IEC 13818-1 2.4.3.2) and adaptation field (2.4.3.4).
//!
//! What it deliberately does not do: keep state. Continuity, sync and PID tables belong to [`super::demux`].

/// Bytes of a transport packet without M2TS prefix or Reed-Solomon suffix.
pub const PACKET_BYTES: usize = 188;
/// First byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// PID of the programme association table.
pub const PID_PAT: u16 = 0x0000;
/// PID of null packets.
pub const PID_NULL: u16 = 0x1fff;
/// PIDs are 13 bits wide.
pub const PID_COUNT: usize = 0x2000;
/// Ticks of a full PCR: 2^33 of the 90 kHz base, 300 of the extension each.
pub const PCR_WRAP_27M: u64 = (1 << 33) * 300;

/// The four header bytes, read on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(u32);

impl Header {
    /// The header of `packet`; its sync byte is the caller's business.
    #[inline]
    pub fn new(packet: &[u8; PACKET_BYTES]) -> Self {
        Header(u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]))
    }
    /// transport_error_indicator: the receiver in front of us could not correct a bit error.
    #[inline]
    pub fn transport_error(self) -> bool {
        self.0 & 0x0080_0000 != 0
    }
    /// payload_unit_start_indicator: a PES packet begins, or a pointer_field comes first.
    #[inline]
    pub fn unit_start(self) -> bool {
        self.0 & 0x0040_0000 != 0
    }
    /// PID, 0 ..= 0x1fff.
    #[inline]
    pub fn pid(self) -> u16 {
        (self.0 >> 8) as u16 & 0x1fff
    }
    /// transport_scrambling_control is not zero.
    #[inline]
    pub fn scrambled(self) -> bool {
        self.0 & 0xc0 != 0
    }
    /// adaptation_field_control, high bit.
    #[inline]
    pub fn has_adaptation(self) -> bool {
        self.0 & 0x20 != 0
    }
    /// adaptation_field_control, low bit.
    #[inline]
    pub fn has_payload(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// continuity_counter, 0 ..= 15.
    #[inline]
    pub fn continuity_counter(self) -> u8 {
        self.0 as u8 & 0x0f
    }
}

/// What the relay reads of an adaptation field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// discontinuity_indicator: the continuity counter, or on the PCR PID the clock, may jump here.
    pub discontinuity: bool,
    /// random_access_indicator.
    pub random_access: bool,
    /// program_clock_reference, 27 MHz ticks below [`PCR_WRAP_27M`].
    pub pcr_27m: Option<u64>,
}

/// The adaptation field of `packet` and the offset of its payload, [`PACKET_BYTES`] when there is none.
///
/// `None` when adaptation_field_length points behind the packet or when adaptation_field_control is the reserved `00`.
#[inline]
pub fn split(packet: &[u8; PACKET_BYTES], header: Header) -> Option<(Adaptation, usize)> {
    match (header.has_adaptation(), header.has_payload()) {
        (false, true) => Some((Adaptation::default(), 4)),
        (true, has_payload) => {
            let length = packet[4] as usize;
            let end = 5 + length;
            if end > PACKET_BYTES {
                return None;
            }
            Some((adaptation(&packet[5..end]), if has_payload { end } else { PACKET_BYTES }))
        }
        (false, false) => None,
    }
}

/// Reads the field's bytes behind adaptation_field_length; an empty one is a single stuffing byte.
fn adaptation(field: &[u8]) -> Adaptation {
    let Some(&flags) = field.first() else { return Adaptation::default() };
    Adaptation {
        discontinuity: flags & 0x80 != 0,
        random_access: flags & 0x40 != 0,
        pcr_27m: if flags & 0x10 != 0 { field.get(1..7).map(pcr) } else { None },
    }
}

/// 33 bits of base, 6 reserved, 9 bits of extension. An extension of 300 or more is forbidden and is clamped.
fn pcr(b: &[u8]) -> u64 {
    let base = u64::from(b[0]) << 25
        | u64::from(b[1]) << 17
        | u64::from(b[2]) << 9
        | u64::from(b[3]) << 1
        | u64::from(b[4]) >> 7;
    let extension = u64::from(b[4] & 1) << 8 | u64::from(b[5]);
    base * 300 + extension.min(299)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut p = [0xff; PACKET_BYTES];
        p[..head.len()].copy_from_slice(head);
        p
    }

    #[test]
    fn header_fields_come_from_their_bits() {
        // sync; TEI 0, PUSI 1, priority 0, PID 0x0100; clear, payload only, counter 7
        let h = Header::new(&packet(&[0x47, 0x41, 0x00, 0x17]));
        assert!(h.unit_start() && h.has_payload() && !h.has_adaptation() && !h.transport_error() && !h.scrambled());
        assert_eq!((h.pid(), h.continuity_counter()), (0x100, 7));
        // TEI 1, PID 0x1fff; scrambled with the odd key, adaptation only, counter 15
        let h = Header::new(&packet(&[0x47, 0x9f, 0xff, 0xef]));
        assert!(h.transport_error() && h.scrambled() && h.has_adaptation() && !h.has_payload() && !h.unit_start());
        assert_eq!((h.pid(), h.continuity_counter()), (0x1fff, 15));
    }

    #[test]
    fn pcr_is_base_times_300_plus_extension() {
        let p = packet(&[
            0x47,
            0x01,
            0x00,
            0x30, // PID 0x100, adaptation and payload
            0x07, // adaptation_field_length
            0x90, // discontinuity_indicator, PCR_flag
            0x00,
            0x00,
            0x00,
            0x01,
            0x80 | 0x7e,
            0x05, // base 3, extension 5
        ]);
        let (a, payload) = split(&p, Header::new(&p)).expect("a valid packet");
        assert_eq!(a, Adaptation { discontinuity: true, random_access: false, pcr_27m: Some(905) });
        assert_eq!(payload, 12);
    }

    #[test]
    fn largest_pcr_stays_below_the_wrap() {
        assert_eq!(pcr(&[0xff; 6]), PCR_WRAP_27M - 1);
    }

    #[test]
    fn adaptation_fields_of_every_length() {
        for length in 0..=255u8 {
            let p = packet(&[0x47, 0x01, 0x00, 0x30, length, 0x00]);
            let payload = split(&p, Header::new(&p)).map(|(_, payload)| payload);
            assert_eq!(payload, (length <= 183).then(|| 5 + length as usize));
        }
    }

    #[test]
    fn a_field_too_short_for_its_pcr_has_none() {
        let p = packet(&[0x47, 0x01, 0x00, 0x30, 0x06, 0x10]); // PCR_flag, but 5 bytes left for 6
        assert_eq!(split(&p, Header::new(&p)), Some((Adaptation::default(), 11)));
    }

    #[test]
    fn reserved_adaptation_field_control_is_refused() {
        let p = packet(&[0x47, 0x01, 0x00, 0x00]);
        assert_eq!(split(&p, Header::new(&p)), None);
    }
}
