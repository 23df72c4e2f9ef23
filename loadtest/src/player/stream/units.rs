//! When access units of the picture are complete, and the wall clock that they carry ([`crate::badserver::MADE_UUID`]).
//!
//! A unit is complete with its last byte: where PES_packet_length tells it, with the packet that holds it; where that is 0, with the last packet before
//! the next unit begins, which shows only then. One unit per PES packet is taken for granted, as relays and encoders send pictures. What it
//! deliberately does not do: look into more than a unit's beginning, where encoders put their messages.

use super::packets::{PACKET_BYTES, Packets};
use crate::badserver::made_us;
use crate::player::Micros;

/// Bytes of a PES packet in which its stamp is looked for: behind an access unit delimiter and parameter sets.
const HEAD_BYTES_MAX: usize = 1_024;
/// Bytes up to and with PES_packet_length.
const PREFIX_BYTES: usize = 6;

/// Reads the pictures of one stream.
#[derive(Debug, Default)]
pub struct Units {
    packets: Packets,
    /// Of the first PID on which a PES packet of a picture began.
    pid: Option<u16>,
    pes: Option<Pes>,
}

/// A picture's PES packet that comes in.
#[derive(Debug)]
struct Pes {
    /// Bytes of the whole; `None`: it ends where the next begins.
    declared: Option<usize>,
    received: usize,
    head: Vec<u8>,
    made_us: Option<u64>,
    last_at: Micros,
}

impl Units {
    /// Takes bytes that came at `now`; `each` gets the stamp of every unit that is known to be complete with them, and when its last byte came.
    pub fn push(&mut self, bytes: &[u8], now: Micros, mut each: impl FnMut(u64, Micros)) {
        let Units { packets, pid, pes } = self;
        packets.push(bytes, |packet| {
            let Some((packet_pid, unit_start, payload)) = split(packet) else { return };
            if unit_start && pid.is_none() && is_picture(payload) {
                *pid = Some(packet_pid);
            }
            if *pid != Some(packet_pid) {
                return;
            }
            if unit_start {
                if let Some((made_us, at)) = pes.take().and_then(Pes::ended_by_next) {
                    each(made_us, at);
                }
                *pes = Pes::begin(payload, now);
            } else if let Some(pes) = pes {
                pes.add(payload, now);
            }
            if pes.as_ref().is_some_and(Pes::has_all) {
                pes.take().and_then(|pes| pes.made_us).into_iter().for_each(|made_us| each(made_us, now));
            }
        });
    }
}

impl Pes {
    fn begin(payload: &[u8], now: Micros) -> Option<Pes> {
        let length = payload.get(PREFIX_BYTES - 2..PREFIX_BYTES)?;
        let declared = match u16::from_be_bytes([length[0], length[1]]) {
            0 => None,
            length => Some(PREFIX_BYTES + usize::from(length)),
        };
        let mut pes = Pes { declared, received: 0, head: Vec::new(), made_us: None, last_at: now };
        pes.add(payload, now);
        Some(pes)
    }

    fn add(&mut self, payload: &[u8], now: Micros) {
        self.received += payload.len();
        self.last_at = now;
        if self.made_us.is_none() && self.head.len() < HEAD_BYTES_MAX {
            self.head.extend_from_slice(payload);
            self.made_us = made_us(&self.head);
        }
    }

    fn has_all(&self) -> bool {
        self.declared.is_some_and(|declared| self.received >= declared)
    }

    /// Stamp and time of its last byte; `None` as well where bytes that were declared did not come.
    fn ended_by_next(self) -> Option<(u64, Micros)> {
        self.made_us.filter(|_| self.declared.is_none()).map(|made_us| (made_us, self.last_at))
    }
}

/// PID, payload_unit_start_indicator and payload; `None` where there is no payload.
fn split(packet: &[u8; PACKET_BYTES]) -> Option<(u16, bool, &[u8])> {
    let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
    let field_bytes = match packet[3] >> 4 & 3 {
        1 => 0,
        3 => 1 + usize::from(packet[4]),
        _ => return None,
    };
    Some((pid, packet[1] & 0x40 != 0, packet.get(4 + field_bytes..)?))
}

/// packet_start_code_prefix and a stream_id of video (Table 2-22).
fn is_picture(payload: &[u8]) -> bool {
    matches!(payload, [0, 0, 1, 0xe0..=0xef, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::badserver::MADE_UUID;

    /// Two packets of PID 0x100 with a PES packet of `stuffing` more than a whole payload, stamped, with this PES_packet_length.
    fn picture(made_us: u64, length: u16) -> [[u8; PACKET_BYTES]; 2] {
        let mut first = vec![0x47, 0x41, 0x00, 0x10, 0, 0, 1, 0xe0];
        first.extend(length.to_be_bytes());
        first.extend([0x80, 0, 0]);
        first.extend([0xaa; 150]);
        // The stamp spans both packets.
        let stamp = [&MADE_UUID[..], format!("{made_us:016}").as_bytes()].concat();
        let (begin, end) = stamp.split_at(PACKET_BYTES - first.len());
        first.extend(begin);
        let mut second = vec![0x47, 0x01, 0x00, 0x11];
        second.extend(end);
        second.resize(PACKET_BYTES, 0xaa);
        [first, second].map(|packet| packet.try_into().expect("packets are whole"))
    }

    /// What was told, given packets with the times at which they came.
    fn told(packets: &[(Micros, [u8; PACKET_BYTES])]) -> Vec<(u64, Micros)> {
        let (mut units, mut told) = (Units::default(), Vec::new());
        for (at, packet) in packets {
            units.push(packet, *at, |made_us, at| told.push((made_us, at)));
        }
        told
    }

    #[test]
    fn a_bounded_unit_is_complete_with_its_last_packet() {
        let [first, second] = picture(77, 2 * 184 - 6);
        assert_eq!(told(&[(10, first), (20, second)]), [(77, 20)]);
        assert_eq!(told(&[(10, first), (20, first), (30, second)]), [(77, 30)], "a packet was lost before the second");
    }

    #[test]
    fn an_unbounded_unit_is_complete_with_its_last_packet_as_the_next_shows() {
        let [first, second] = picture(77, 0);
        let mut other_pid = first;
        other_pid[2] = 1;
        let next = picture(78, 0)[0];
        assert_eq!(told(&[(10, first), (20, second), (25, other_pid)]), []);
        assert_eq!(told(&[(10, first), (20, second), (25, other_pid), (60, next)]), [(77, 20)]);
    }

    #[test]
    fn a_stream_without_stamps_tells_nothing() {
        let [mut first, second] = picture(77, 2 * 184 - 6);
        first[170] ^= 1;
        assert_eq!(told(&[(10, first), (20, second), (30, first), (40, second)]), []);
    }
}
