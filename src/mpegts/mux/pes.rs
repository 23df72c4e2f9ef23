//! PES packet headers (ISO/IEC 13818-1 2.4.3.6 and 2.4.3.7).
//!
//! What it deliberately does not do: ESCR, trick modes, copyright bits, PES CRC: none of them survives a relay.

use crate::es::{Codec, Track, TrackKind};
use crate::time::MediaTime;

/// Longest header written here: teletext's 45 bytes.
pub const HEADER_BYTES_MAX: usize = 45;
/// PES_header_data_length of teletext and other EBU data (ETSI EN 300 472 4.2).
const EBU_HEADER_DATA_LENGTH: u8 = 0x24;
const PRIVATE_STREAM_1: u8 = 0xbd;

/// Header shape of one track, worked out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesShape {
    stream_id: u8,
    kind: TrackKind,
    header_data_length_min: u8,
}

/// The PES packet cannot say how long it is: over 65535 bytes and not video (2.4.3.7, PES_packet_length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl PesShape {
    pub fn new(track: &Track) -> Self {
        let stream_id = match (track.codec.kind(), track.ts.stream_id) {
            (TrackKind::Video, id @ (0xe0..=0xef | 0xfd)) => id,
            (TrackKind::Audio, id @ (0xc0..=0xdf | PRIVATE_STREAM_1 | 0xfa | 0xfd)) => id,
            // Any id with a full header; those without one (2.4.3.7: padding, ECM, ...) could not carry our time stamps.
            (TrackKind::Data, id @ (PRIVATE_STREAM_1 | 0xc0..=0xef | 0xfa..=0xfe | 0xf3..=0xf7)) => id,
            (TrackKind::Video, _) => 0xe0,
            (TrackKind::Audio, _) if matches!(track.codec, Codec::Ac3 | Codec::Eac3 | Codec::Opus) => PRIVATE_STREAM_1,
            (TrackKind::Audio, _) => 0xc0,
            (TrackKind::Data, _) => PRIVATE_STREAM_1,
        };
        let header_data_length_min = if track.codec == Codec::Teletext { EBU_HEADER_DATA_LENGTH } else { 0 };
        PesShape { stream_id, kind: track.kind(), header_data_length_min }
    }

    /// Writes the header of a PES packet with `payload_len` bytes behind it, returns its length.
    pub fn write(
        &self,
        pts: MediaTime,
        dts: MediaTime,
        payload_len: usize,
        out: &mut [u8; HEADER_BYTES_MAX],
    ) -> Result<usize, TooLong> {
        let has_dts = dts != pts;
        let stamps_len = if has_dts { 10 } else { 5 };
        let header_data_length = self.header_data_length_min.max(stamps_len);
        let after_length_field = 3 + usize::from(header_data_length) + payload_len;
        let packet_length = match u16::try_from(after_length_field) {
            Ok(length) => length,
            Err(_) if self.kind == TrackKind::Video => 0,
            Err(_) => return Err(TooLong),
        };
        let [high, low] = packet_length.to_be_bytes();
        let pts_dts_flags = if has_dts { 0xc0 } else { 0x80 };
        // start code prefix, stream_id, PES_packet_length, '10' + data_alignment_indicator, PTS_DTS_flags, header length
        out[..9].copy_from_slice(&[0, 0, 1, self.stream_id, high, low, 0x84, pts_dts_flags, header_data_length]);
        out[9..].fill(0xff);
        out[9..14].copy_from_slice(&stamp(if has_dts { 0x31 } else { 0x21 }, pts));
        if has_dts {
            out[14..19].copy_from_slice(&stamp(0x11, dts));
        }
        Ok(9 + usize::from(header_data_length))
    }
}

/// Five bytes: 4-bit prefix, then 3, 15 and 15 bits of time, a marker bit behind each.
fn stamp(prefix_and_marker: u8, time: MediaTime) -> [u8; 5] {
    let ticks = time.wrapped().ticks();
    [
        prefix_and_marker | (ticks >> 29) as u8 & 0x0e,
        (ticks >> 22) as u8,
        (ticks >> 14) as u8 | 1,
        (ticks >> 7) as u8,
        (ticks << 1) as u8 | 1,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::{AudioRole, TrackId, TsStream};

    fn shape(codec: Codec, stream_id: u8) -> PesShape {
        PesShape::new(&Track {
            id: TrackId(0),
            codec,
            language: None,
            role: AudioRole::Main,
            ts: TsStream { stream_id, ..TsStream::default() },
            params: None,
        })
    }

    #[test]
    fn video_carries_both_stamps_and_no_length_when_it_is_long() {
        let mut header = [0; HEADER_BYTES_MAX];
        let video = shape(Codec::H264, 0xe0);
        let len = video.write(MediaTime(0x1_8000_8001), MediaTime(1), 70_000, &mut header).unwrap();
        assert_eq!(len, 19);
        assert_eq!(header[..9], [0, 0, 1, 0xe0, 0, 0, 0x84, 0xc0, 10]);
        // PTS 0x180008001: top three bits 110, then 0x0001, then 0x0001
        assert_eq!(header[9..14], [0x31 | 0b110 << 1, 0x00, 0x03, 0x00, 0x03]);
        assert_eq!(header[14..19], [0x11, 0x00, 0x01, 0x00, 0x03]);
        video.write(MediaTime(1), MediaTime(0), 65_522, &mut header).unwrap();
        assert_eq!(header[4..6], [0xff, 0xff], "the longest that its length field can say");
    }

    #[test]
    fn audio_carries_one_stamp_and_must_fit_its_length() {
        let mut header = [0; HEADER_BYTES_MAX];
        let audio = shape(Codec::Ac3, 0);
        assert_eq!(audio.write(MediaTime(5), MediaTime(5), 256, &mut header), Ok(14));
        assert_eq!(header[..9], [0, 0, 1, 0xbd, 1, 8, 0x84, 0x80, 5]);
        assert_eq!(audio.write(MediaTime(5), MediaTime(5), 65_528, &mut header), Err(TooLong));
    }

    #[test]
    fn teletext_headers_are_padded_to_45_bytes() {
        let mut header = [0; HEADER_BYTES_MAX];
        assert_eq!(shape(Codec::Teletext, 0xbd).write(MediaTime(5), MediaTime(5), 139, &mut header), Ok(45));
        assert_eq!(header[8], 0x24);
        assert_eq!(usize::from(header[5]) + 6, 184, "EN 300 472: a multiple of 184 bytes when the payload is");
    }
}
