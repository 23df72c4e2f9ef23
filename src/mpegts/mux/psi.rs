//! PAT and PMT of a one-programme stream, rendered once per track list (ISO/IEC 13818-1 2.4.4).
//!
//! Descriptors of elementary streams go out verbatim. What it deliberately does not do: SDT, EIT and all else that DVB
//! adds; players of a relayed channel take names from the channel list.

use super::packet::{PACKET_BYTES, SYNC_BYTE};
use crate::es::{Codec, Track};
use crate::mpegts::psi::crc32;

/// PID of the programme map. Fixed, so that it never changes under a viewer; a source stream that has it is moved.
pub const PMT_PID: u16 = 0x1000;
/// Largest section_length of a PMT (2.4.4.9: the first two of its 12 bits are zero, and it shall not exceed 1021).
const SECTION_LENGTH_MAX: usize = 1_021;
/// Bytes of a PMT after section_length that are always there: 9 of header, 4 of CRC.
const PMT_FIXED_BYTES: usize = 13;
/// stream_type, elementary_PID and ES_info_length.
const ENTRY_BYTES: usize = 5;
/// registration_descriptor with the format identifier that SCTE 35 9.6.1 (ANSI/SCTE 35 8.1) asks for in the programme loop.
const CUEI_DESCRIPTOR: [u8; 6] = [0x05, 0x04, b'C', b'U', b'E', b'I'];

/// One line of the PMT.
pub struct Entry<'a> {
    pub pid: u16,
    pub track: &'a Track,
}

/// Appends the PAT section, from table_id to CRC: one programme, no network PID.
pub fn pat_section(transport_stream_id: u16, program_number: u16, version: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0x00, 0xb0, 13]); // table_id, section_syntax_indicator and section_length
    out.extend_from_slice(&transport_stream_id.to_be_bytes());
    out.extend_from_slice(&[0xc1 | (version & 0x1f) << 1, 0, 0]); // current_next_indicator 1, section 0 of 0
    out.extend_from_slice(&program_number.to_be_bytes());
    out.extend_from_slice(&(0xe000 | PMT_PID).to_be_bytes());
    append_crc(out, start);
}

/// Appends the PMT section, from table_id to CRC, never longer than 1024 bytes: descriptor loops that do not fit any
/// more are left out, entries never are.
pub fn pmt_section(program_number: u16, version: u8, pcr_pid: u16, entries: &[Entry<'_>], out: &mut Vec<u8>) {
    let start = out.len();
    let program_info: &[u8] =
        if entries.iter().any(|e| e.track.codec == Codec::Scte35) { &CUEI_DESCRIPTOR } else { &[] };
    out.extend_from_slice(&[0x02, 0, 0]); // table_id; section_length follows below
    out.extend_from_slice(&program_number.to_be_bytes());
    out.extend_from_slice(&[0xc1 | (version & 0x1f) << 1, 0, 0]);
    out.extend_from_slice(&(0xe000 | pcr_pid).to_be_bytes());
    out.extend_from_slice(&(0xf000 | program_info.len() as u16).to_be_bytes());
    out.extend_from_slice(program_info);
    let taken = PMT_FIXED_BYTES + program_info.len() + ENTRY_BYTES * entries.len();
    let mut room = SECTION_LENGTH_MAX.saturating_sub(taken);
    for entry in entries {
        let all = &entry.track.ts.descriptors[..];
        let descriptors = if all.len() <= room { all } else { &[] };
        room -= descriptors.len();
        out.push(entry.track.ts.stream_type);
        out.extend_from_slice(&(0xe000 | entry.pid).to_be_bytes());
        out.extend_from_slice(&(0xf000 | descriptors.len() as u16).to_be_bytes());
        out.extend_from_slice(descriptors);
    }
    let section_length = out.len() - start - 3 + 4;
    out[start + 1] = 0xb0 | (section_length >> 8) as u8;
    out[start + 2] = section_length as u8;
    append_crc(out, start);
}

/// Appends `section` as packets of `pid`, the first with pointer_field 0, the last filled up with 0xff.
pub fn write_section(pid: u16, continuity: &mut u8, section: &[u8], out: &mut Vec<u8>) {
    let mut rest = section;
    let mut first = true;
    while !rest.is_empty() {
        let packet_end = out.len() + PACKET_BYTES;
        let start_bit = if first { 0x40 } else { 0 };
        out.extend_from_slice(&[SYNC_BYTE, start_bit | (pid >> 8) as u8, pid as u8, 0x10 | *continuity]);
        if first {
            out.push(0);
        }
        let take = rest.len().min(packet_end - out.len());
        out.extend_from_slice(&rest[..take]);
        out.resize(packet_end, 0xff);
        rest = &rest[take..];
        *continuity = (*continuity + 1) & 0x0f;
        first = false;
    }
}

fn append_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::es::{AudioRole, TrackId, TsStream};
    use bytes::Bytes;

    fn track(codec: Codec, stream_type: u8, descriptors: &'static [u8]) -> Track {
        let ts = TsStream { pid: 0, stream_type, descriptors: Bytes::from_static(descriptors), stream_id: 0 };
        Track { id: TrackId(0), codec, language: None, role: AudioRole::Main, ts, params: None }
    }

    #[test]
    fn a_pmt_lists_its_streams_with_their_descriptors() {
        let audio = track(Codec::Aac, 0x0f, &[0x0a, 4, b'd', b'e', b'u', 0]);
        let cue = track(Codec::Scte35, 0x86, &[]);
        let entries = [Entry { pid: 0x101, track: &audio }, Entry { pid: 0x1f0, track: &cue }];
        let mut section = Vec::new();
        pmt_section(1, 3, 0x101, &entries, &mut section);
        assert_eq!(crc32(&section), 0);
        // table_id, section_length 35, programme 1, version 3, section 0 of 0, PCR PID, CUEI in the programme loop
        assert_eq!(section[..12], [0x02, 0xb0, 35, 0, 1, 0xc7, 0, 0, 0xe1, 0x01, 0xf0, 6]);
        assert_eq!(section[12..18], CUEI_DESCRIPTOR);
        assert_eq!(section[18..29], [0x0f, 0xe1, 0x01, 0xf0, 6, 0x0a, 4, b'd', b'e', b'u', 0]);
        assert_eq!(section[29..34], [0x86, 0xe1, 0xf0, 0xf0, 0]);
    }

    #[test]
    fn a_pmt_drops_descriptors_before_it_grows_over_its_bound() {
        let long = track(Codec::PrivatePes, 0x06, &[0xff; 500]);
        let entries: Vec<_> = (0..32).map(|i| Entry { pid: 0x100 + i, track: &long }).collect();
        let mut section = Vec::new();
        pmt_section(1, 0, 0x100, &entries, &mut section);
        assert_eq!(section.len(), 3 + PMT_FIXED_BYTES - 4 + 32 * ENTRY_BYTES + 500 + 4);
        assert!(section.len() <= 3 + SECTION_LENGTH_MAX);
    }

    #[test]
    fn a_long_section_spans_packets_and_its_end_is_filled() {
        let section: Vec<u8> = (0..300).map(|i| i as u8).collect();
        let (mut out, mut continuity) = (Vec::new(), 15);
        write_section(0x1000, &mut continuity, &section, &mut out);
        assert_eq!((out.len(), continuity), (2 * 188, 1));
        assert_eq!(out[..6], [0x47, 0x50, 0x00, 0x1f, 0, 0]); // start bit, counter 15, pointer_field, first byte
        assert_eq!(out[188..193], [0x47, 0x10, 0x00, 0x10, 183]);
        assert_eq!(out[192..192 + 117], section[183..]);
        assert!(out[192 + 117..].iter().all(|&byte| byte == 0xff));
    }
}
