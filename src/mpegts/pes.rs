//! The PES packet header (ISO/IEC 13818-1 2.4.3.6).
//!
//! What it deliberately does not do: assemble packets, which is [`super::demux`], or check marker bits: several hardware encoders
//! send them wrong beside good time stamps.

use crate::time::Ts33;

/// Bytes before the optional header: start code, stream_id, PES_packet_length.
pub const PES_PREFIX_BYTES: usize = 6;
/// Most bytes in front of a PES payload: prefix, two flag bytes, PES_header_data_length and what it counts.
pub const PES_HEADER_BYTES_MAX: usize = PES_PREFIX_BYTES + 3 + 255;
/// stream_id of private_stream_1: AC-3, teletext, subtitles and more.
pub const STREAM_ID_PRIVATE_1: u8 = 0xbd;
/// stream_id of padding_stream.
pub const STREAM_ID_PADDING: u8 = 0xbe;

/// What a PES header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesHeader {
    /// Table 2-22.
    pub stream_id: u8,
    /// Bytes of the whole PES packet with its header; `None` when PES_packet_length is 0: it ends where the next begins.
    pub packet_bytes: Option<usize>,
    /// Offset of the payload.
    pub header_bytes: usize,
    pub pts: Option<Ts33>,
    /// Equal to `pts` when only a PTS is there.
    pub dts: Option<Ts33>,
    /// data_alignment_indicator.
    pub aligned: bool,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PesParse {
    Header(PesHeader),
    /// The header is not whole yet.
    Partial,
    /// No packet_start_code_prefix, or a header longer than its packet.
    Bad,
}

/// Reads the header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> PesParse {
    if !bytes.iter().zip([0, 0, 1]).all(|(&b, code)| b == code) {
        return PesParse::Bad;
    }
    let Some(prefix) = bytes.get(..PES_PREFIX_BYTES) else { return PesParse::Partial };
    let stream_id = prefix[3];
    let packet_bytes = match u16::from_be_bytes([prefix[4], prefix[5]]) {
        0 => None,
        length => Some(PES_PREFIX_BYTES + length as usize),
    };
    if !has_extension(stream_id) {
        let header_bytes = PES_PREFIX_BYTES;
        return PesParse::Header(PesHeader {
            stream_id,
            packet_bytes,
            header_bytes,
            pts: None,
            dts: None,
            aligned: false,
        });
    }
    let Some(&length) = bytes.get(PES_PREFIX_BYTES + 2) else { return PesParse::Partial };
    let header_bytes = PES_PREFIX_BYTES + 3 + length as usize;
    // A video length is 16 bits of a longer one with some encoders (65,538 bytes as 2): it says nothing then.
    let packet_bytes = packet_bytes.filter(|&packet| packet >= header_bytes || !is_video(stream_id));
    if packet_bytes.is_some_and(|packet| packet < header_bytes) {
        return PesParse::Bad;
    }
    let Some(header) = bytes.get(..header_bytes) else { return PesParse::Partial };
    let (pts, dts) = time_stamps(header[7] >> 6, &header[9..]);
    let aligned = header[6] & 0x04 != 0;
    PesParse::Header(PesHeader { stream_id, packet_bytes, header_bytes, pts, dts, aligned })
}

/// PTS and DTS by PTS_DTS_flags; a header too short for them, or the forbidden `01`, has none.
fn time_stamps(flags: u8, fields: &[u8]) -> (Option<Ts33>, Option<Ts33>) {
    let pts = if flags & 2 != 0 { fields.get(..5).map(time_stamp) } else { None };
    let dts = if flags == 3 { fields.get(5..10).map(time_stamp) } else { None };
    (pts, dts.or(pts))
}

/// 3 + 15 + 15 bits, each followed by a marker bit.
fn time_stamp(b: &[u8]) -> Ts33 {
    let ticks = u64::from(b[0] >> 1 & 0x07) << 30
        | u64::from(b[1]) << 22
        | u64::from(b[2] >> 1) << 15
        | u64::from(b[3]) << 7
        | u64::from(b[4] >> 1);
    Ts33::new(ticks)
}

/// The stream_ids of video: the only ones whose PES packets may be unbounded.
pub fn is_video(stream_id: u8) -> bool {
    stream_id & 0xf0 == 0xe0
}

/// Table 2-21: these stream_ids have PES_packet_data_byte directly behind the length.
fn has_extension(stream_id: u8) -> bool {
    // program_stream_map, padding_stream, private_stream_2, ECM, EMM, DSM-CC, H.222.1 type E, program_stream_directory
    !matches!(stream_id, 0xbc | 0xbe | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Video, unbounded, PTS 2^33-1 and DTS 1, one stuffing byte, then payload.
    const BOTH: [u8; 22] = [
        0x00, 0x00, 0x01, 0xe0, // packet_start_code_prefix, stream_id
        0x00, 0x00, // PES_packet_length: unbounded
        0x84, // '10', data_alignment_indicator
        0xc0, // PTS and DTS
        0x0b, // PES_header_data_length
        0x3f, 0xff, 0xff, 0xff, 0xff, // PTS
        0x11, 0x00, 0x01, 0x00, 0x03, // DTS
        0xff, // stuffing
        0xaa, 0xbb, // payload
    ];

    #[test]
    fn both_time_stamps() {
        let PesParse::Header(h) = parse(&BOTH) else { panic!("a whole header") };
        assert_eq!((h.stream_id, h.packet_bytes, h.header_bytes, h.aligned), (0xe0, None, 20, true));
        assert_eq!((h.pts, h.dts), (Some(Ts33::new((1 << 33) - 1)), Some(Ts33::new(1))));
    }

    #[test]
    fn every_cut_before_the_payload_is_partial() {
        for end in 0..20 {
            assert_eq!(parse(&BOTH[..end]), PesParse::Partial, "{end}");
        }
    }

    #[test]
    fn pts_alone_is_the_dts_too_and_wrong_markers_pass() {
        let header = [0, 0, 1, 0xc0, 0, 20, 0x00, 0x80, 5, 0x00, 0x00, 0x02, 0x00, 0x04]; // no '10', no marker bits
        let PesParse::Header(h) = parse(&header) else { panic!("a whole header") };
        assert_eq!((h.pts, h.dts, h.packet_bytes), (Some(Ts33::new((1 << 15) + 2)), h.pts, Some(26)));
    }

    #[test]
    fn private_stream_2_has_no_header_extension() {
        let PesParse::Header(h) = parse(&[0, 0, 1, 0xbf, 0, 2, 9, 9]) else { panic!("a whole header") };
        assert_eq!((h.header_bytes, h.packet_bytes, h.pts), (6, Some(8), None));
    }

    #[test]
    fn no_start_code_or_a_header_over_its_packet_is_bad() {
        assert_eq!(parse(&[0, 0, 2, 0xe0]), PesParse::Bad);
        assert_eq!(parse(&[0, 0, 1, 0xc0, 0, 4, 0x80, 0x80, 5]), PesParse::Bad);
    }

    #[test]
    fn an_impossible_video_length_counts_as_none() {
        let PesParse::Header(h) = parse(&[0, 0, 1, 0xe0, 0, 2, 0x80, 0x00, 0]) else { panic!("a whole header") };
        assert_eq!((h.packet_bytes, h.header_bytes), (None, 9));
    }

    #[test]
    fn announced_time_stamps_that_do_not_fit_are_none() {
        let PesParse::Header(h) = parse(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0xc0, 5, 0x21, 0, 1, 0, 1]) else { panic!() };
        assert_eq!((h.pts, h.dts), (Some(Ts33::new(0)), Some(Ts33::new(0))));
    }
}
