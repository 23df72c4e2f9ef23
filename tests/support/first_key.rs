//! Where a continuous stream first shows a picture.

const PACKET_BYTES: usize = 188;

/// Byte offset of the end of the first packet that begins a key picture: random_access_indicator on a video PID with a unit start.
pub fn first_key(bytes: &[u8]) -> Option<usize> {
    let is_key = |packet: &[u8]| {
        let unit_start = packet[1] & 0x40 != 0;
        let has_adaptation = packet[3] & 0x20 != 0 && packet[4] > 0;
        let random_access = has_adaptation && packet[5] & 0x40 != 0;
        let payload = if has_adaptation { 5 + packet[4] as usize } else { 4 };
        // stream_id 1110 xxxx of PES: video.
        unit_start
            && random_access
            && packet.get(payload..payload + 4).is_some_and(|p| p[..3] == [0, 0, 1] && p[3] & 0xf0 == 0xe0)
    };
    bytes.chunks_exact(PACKET_BYTES).position(is_key).map(|at| (at + 1) * PACKET_BYTES)
}
