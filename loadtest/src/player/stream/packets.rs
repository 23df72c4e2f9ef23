//! Cuts pieces of a transport stream into packets, across any split.
//!
//! What it deliberately does not do: look for the sync byte; a stream that lost it is reported by [`crate::tscheck`].

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 188;

/// Holds the beginning of a packet whose end has not come.
#[derive(Debug, Default)]
pub struct Packets(Vec<u8>);

impl Packets {
    /// Takes the next bytes; `each` gets every packet that is whole with them.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8; PACKET_BYTES])) {
        if !self.0.is_empty() {
            let missing = (PACKET_BYTES - self.0.len()).min(bytes.len());
            self.0.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if let Some(packet) = self.0.first_chunk() {
                each(packet);
                self.0.clear();
            }
        }
        while let Some((packet, rest)) = bytes.split_first_chunk() {
            each(packet);
            bytes = rest;
        }
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_makes_no_difference() {
        let stream: Vec<u8> = (0..5 * PACKET_BYTES + 7).map(|at| (at / PACKET_BYTES) as u8).collect();
        for size in [1, 187, 188, 189, 1_000] {
            let (mut packets, mut seen) = (Packets::default(), Vec::new());
            stream.chunks(size).for_each(|piece| packets.push(piece, |packet| seen.push(*packet)));
            assert_eq!(seen, [0, 1, 2, 3, 4].map(|index| [index; PACKET_BYTES]), "pieces of {size}");
        }
    }
}
