//! What a continuous viewer got, held against the independent stream checker.

use loadtest::tscheck::{self, Report};

const PACKET_BYTES: usize = 188;

/// The checker's report on what a viewer read until it left, which may be in mid-packet.
pub fn report(bytes: &[u8]) -> Report {
    tscheck::check(&bytes[..bytes.len() - bytes.len() % PACKET_BYTES])
}

/// Panics unless the stream is clean; gives the report. `who` names the viewer.
#[track_caller]
pub fn assert_clean(who: &str, bytes: &[u8]) -> Report {
    let report = report(bytes);
    assert!(report.is_clean(), "{who}, {} bytes:\n{report}", bytes.len());
    report
}

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
