//! Transport packet header and adaptation field (ISO/IEC 13818-1 2.4.3.2 to 2.4.3.5).

use super::report::Rule;

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 188;
/// PID of null packets.
pub const NULL_PID: u16 = 0x1fff;

/// One packet's fields.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// 13 bits.
    pub pid: u16,
    /// payload_unit_start_indicator
    pub unit_start: bool,
    /// continuity_counter
    pub counter: u8,
    /// discontinuity_indicator
    pub discontinuity: bool,
    /// random_access_indicator
    pub random_access: bool,
    /// Base and extension of the PCR.
    pub pcr: Option<Pcr>,
    /// Empty slice and no payload are different: a packet with adaptation field alone does not count up.
    pub payload: Option<&'a [u8]>,
}

/// program_clock_reference (2.4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcr {
    /// 33 bits at 90 kHz.
    pub base: u64,
    /// 9 bits, below 300 in a valid stream.
    pub extension: u16,
}

impl<'a> Packet<'a> {
    /// Err is the broken rule with what was met.
    pub fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Result<Self, (Rule, String)> {
        if bytes[0] != 0x47 {
            return Err((Rule::SyncByte, format!("{:#04x} in place of 0x47", bytes[0])));
        }
        if bytes[1] & 0x80 != 0 {
            return Err((Rule::TransportError, "transport_error_indicator is set".into()));
        }
        if bytes[3] & 0xc0 != 0 {
            return Err((Rule::Scrambled, format!("transport_scrambling_control {}", bytes[3] >> 6)));
        }
        let mut packet = Packet {
            pid: u16::from(bytes[1] & 0x1f) << 8 | u16::from(bytes[2]),
            unit_start: bytes[1] & 0x40 != 0,
            counter: bytes[3] & 0x0f,
            discontinuity: false,
            random_access: false,
            pcr: None,
            payload: None,
        };
        let length = usize::from(bytes[4]);
        match bytes[3] >> 4 & 3 {
            1 => packet.payload = Some(&bytes[4..]),
            2 if length == 183 => packet.adaptation_field(&bytes[5..])?,
            3 if length <= 182 => {
                packet.adaptation_field(&bytes[5..5 + length])?;
                packet.payload = Some(&bytes[5 + length..]);
            }
            control => {
                let detail = format!("adaptation_field_control {control} with length {length}");
                return Err((Rule::AdaptationField, detail));
            }
        }
        Ok(packet)
    }

    fn adaptation_field(&mut self, field: &[u8]) -> Result<(), (Rule, String)> {
        let Some((&flags, rest)) = field.split_first() else { return Ok(()) };
        self.discontinuity = flags & 0x80 != 0;
        self.random_access = flags & 0x40 != 0;
        if flags & 0x10 != 0 {
            let Some(pcr) = rest.first_chunk::<6>() else {
                return Err((Rule::AdaptationField, "PCR_flag without room for a PCR".into()));
            };
            let base = u64::from(u32::from_be_bytes([pcr[0], pcr[1], pcr[2], pcr[3]])) << 1 | u64::from(pcr[4] >> 7);
            self.pcr = Some(Pcr { base, extension: u16::from(pcr[4] & 1) << 8 | u16::from(pcr[5]) });
        }
        Ok(())
    }
}

/// Whether two packets are duplicates in the sense of 2.4.3.3: equal but for the PCR.
pub fn is_duplicate(a: &[u8; PACKET_BYTES], b: &[u8; PACKET_BYTES]) -> bool {
    let has_pcr = a[3] & 0x20 != 0 && a[4] > 0 && a[5] & 0x10 != 0;
    if has_pcr { a[..6] == b[..6] && a[12..] == b[12..] } else { a == b }
}
