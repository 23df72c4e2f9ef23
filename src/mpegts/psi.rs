//! Sections (ISO/IEC 13818-1 2.4.4): CRC-32, assembly from packet payloads, the PAT (2.4.4.3) and the PMT (2.4.4.8).
//!
//! What it deliberately does not do: choose a programme or judge descriptors; that is [`super::demux`].

/// Longest section: 3 bytes and a 12-bit section_length (private sections; PAT and PMT stop at 1024).
pub const SECTION_BYTES_MAX: usize = 3 + 4093;
/// table_id of the programme association table.
pub const TABLE_PAT: u8 = 0x00;
/// table_id of the programme map table.
pub const TABLE_PMT: u8 = 0x02;
/// table_id of a splice_info_section (ANSI/SCTE 35).
pub const TABLE_SCTE35: u8 = 0xfc;

/// CRC-32 of sections (Annex A): polynomial 0x04c11db7, initial value all ones, not reflected, no final exclusive or.
/// Over a section with its CRC_32 field it gives 0.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &b| crc << 8 ^ CRC_TABLE[((crc >> 24) as u8 ^ b) as usize])
}

/// A table section with the long header, its CRC already checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    pub table_id: u8,
    /// transport_stream_id of a PAT, program_number of a PMT.
    pub table_id_extension: u16,
    /// version_number, 0 ..= 31.
    pub version: u8,
    /// current_next_indicator: in force now rather than next.
    pub current: bool,
    pub number: u8,
    pub last_number: u8,
    /// Bytes between last_section_number and CRC_32.
    pub body: &'a [u8],
    pub crc: u32,
}

/// Why a section was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    #[error("section of {0} bytes is too short for its header and CRC")]
    Short(usize),
    #[error("section_syntax_indicator is 0 in table {0:#04x}")]
    Syntax(u8),
    #[error("CRC-32 of table {0:#04x} does not match")]
    Crc(u8),
}

impl<'a> Section<'a> {
    /// Reads one whole section, from table_id to CRC_32.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SectionError> {
        if bytes.len() < 12 {
            return Err(SectionError::Short(bytes.len()));
        }
        let table_id = bytes[0];
        if bytes[1] & 0x80 == 0 {
            return Err(SectionError::Syntax(table_id));
        }
        if crc32(bytes) != 0 {
            return Err(SectionError::Crc(table_id));
        }
        let (body, crc) = bytes[8..].split_at(bytes.len() - 12);
        Ok(Section {
            table_id,
            table_id_extension: be16(&bytes[3..]),
            version: bytes[5] >> 1 & 0x1f,
            current: bytes[5] & 1 != 0,
            number: bytes[6],
            last_number: bytes[7],
            body,
            crc: u32::from_be_bytes([crc[0], crc[1], crc[2], crc[3]]),
        })
    }
}

/// (program_number, program_map_PID) of every programme in a PAT section's body; the network PID is left out.
pub fn pat_programs(body: &[u8]) -> impl Iterator<Item = (u16, u16)> + '_ {
    body.chunks_exact(4).map(|e| (be16(e), be16(&e[2..]) & 0x1fff)).filter(|&(number, _)| number != 0)
}

/// The body of a PMT section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pmt<'a> {
    /// PID that carries the PCR; 0x1fff when there is none.
    pub pcr_pid: u16,
    /// The programme's descriptor loop.
    pub descriptors: &'a [u8],
    streams: &'a [u8],
}

impl<'a> Pmt<'a> {
    /// `None` when a length points behind the section.
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_at_checked(4)?;
        let (descriptors, streams) = rest.split_at_checked((be16(&head[2..]) & 0x0fff) as usize)?;
        Some(Pmt { pcr_pid: be16(head) & 0x1fff, descriptors, streams })
    }
    /// The elementary streams in order; ends early at one whose length points behind the section.
    pub fn streams(&self) -> impl Iterator<Item = PmtStream<'a>> + 'a {
        let mut rest = self.streams;
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(5)?;
            let (descriptors, next) = tail.split_at_checked((be16(&head[3..]) & 0x0fff) as usize)?;
            rest = next;
            Some(PmtStream { stream_type: head[0], pid: be16(&head[1..]) & 0x1fff, descriptors })
        })
    }
}

/// One elementary stream of a PMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmtStream<'a> {
    /// Table 2-34.
    pub stream_type: u8,
    pub pid: u16,
    /// The stream's descriptor loop, verbatim.
    pub descriptors: &'a [u8],
}

/// (descriptor_tag, payload) of every descriptor of a loop (2.6); ends early at one that is cut off.
pub fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, tail) = bytes.split_at_checked(2)?;
        let (body, next) = tail.split_at_checked(head[1] as usize)?;
        bytes = next;
        Some((head[0], body))
    })
}

/// Puts one PID's sections together. Holds at most [`SECTION_BYTES_MAX`] bytes, and none before a section spans packets.
#[derive(Debug, Default)]
pub struct SectionAssembler {
    /// The section so far; empty while waiting for a start.
    partial: Vec<u8>,
}

impl SectionAssembler {
    /// Takes one packet's payload, calls `emit` with each section that is whole, from table_id to its last byte.
    /// The CRC is not looked at. Answers false when the pointer_field or a length was impossible.
    pub fn push(&mut self, payload: &[u8], unit_start: bool, mut emit: impl FnMut(&[u8])) -> bool {
        if !unit_start {
            self.extend(payload, &mut emit);
            return true;
        }
        let Some((&pointer, rest)) = payload.split_first() else { return true };
        let Some((tail, starts)) = rest.split_at_checked(pointer as usize) else {
            self.partial.clear();
            return false;
        };
        self.extend(tail, &mut emit);
        // What is still open here was cut short: a new section begins.
        let whole = self.partial.is_empty();
        self.partial.clear();
        self.start(starts, &mut emit) && whole
    }

    /// Packets were lost: forgets the section in progress.
    pub fn reset(&mut self) {
        self.partial.clear();
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Goes on with the section in progress, if any. Nothing may start behind it without a pointer_field.
    fn extend(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() {
            return;
        }
        let room = SECTION_BYTES_MAX - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if let Some(size) = section_size(&self.partial)
            && self.partial.len() >= size
        {
            emit(&self.partial[..size]);
            self.partial.clear();
        }
    }

    /// Sections one after another, up to stuffing or the packet's end.
    fn start(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(&[u8])) -> bool {
        while let Some(&table_id) = bytes.first() {
            if table_id == 0xff {
                return true;
            }
            match section_size(bytes) {
                Some(size) if size > SECTION_BYTES_MAX => return false,
                Some(size) if size <= bytes.len() => {
                    emit(&bytes[..size]);
                    bytes = &bytes[size..];
                }
                _ => {
                    self.partial.extend_from_slice(bytes);
                    return true;
                }
            }
        }
        true
    }
}

/// Size of the section that begins with `bytes`, at most 4098; `None` before its length is there.
fn section_size(bytes: &[u8]) -> Option<usize> {
    bytes.get(1..3).map(|length| 3 + (be16(length) & 0x0fff) as usize)
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A PAT of one programme as FFmpeg writes it.
    const PAT: [u8; 16] = [
        0x00, // table_id
        0xb0, 0x0d, // section_syntax_indicator, section_length 13
        0x00, 0x01, // transport_stream_id 1
        0xc1, // version 0, current
        0x00, 0x00, // section 0 of 0
        0x00, 0x01, 0xf0, 0x00, // program_number 1, PID 0x1000
        0x2a, 0xb1, 0x04, 0xb2, // CRC_32
    ];

    #[test]
    fn crc_of_a_known_section_and_of_the_check_string() {
        assert_eq!(crc32(&PAT), 0);
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7); // CRC-32/MPEG-2 check value
    }

    #[test]
    fn pat_section_is_read() {
        let s = Section::parse(&PAT).expect("a good section");
        assert_eq!((s.table_id, s.table_id_extension, s.version, s.current), (TABLE_PAT, 1, 0, true));
        assert_eq!(pat_programs(s.body).collect::<Vec<_>>(), [(1, 0x1000)]);
    }

    #[test]
    fn a_flipped_bit_is_a_crc_error() {
        let mut bad = PAT;
        bad[10] ^= 1;
        assert_eq!(Section::parse(&bad), Err(SectionError::Crc(0)));
        assert_eq!(Section::parse(&PAT[..11]), Err(SectionError::Short(11)));
    }

    #[test]
    fn pmt_streams_and_descriptors() {
        let body = [
            0xe1, 0x00, // PCR_PID 0x100
            0xf0, 0x02, 0x88, 0x00, // 2 bytes of programme descriptors: tag 0x88, empty
            0x1b, 0xe1, 0x00, 0xf0, 0x00, // H.264 on 0x100, no descriptors
            0x0f, 0xe1, 0x01, 0xf0, 0x06, // AAC on 0x101, 6 bytes
            0x0a, 0x04, b'd', b'e', b'u', 0x00, // ISO_639_language_descriptor
        ];
        let pmt = Pmt::parse(&body).expect("a good body");
        assert_eq!((pmt.pcr_pid, pmt.descriptors), (0x100, &[0x88, 0x00][..]));
        let streams: Vec<_> = pmt.streams().collect();
        assert_eq!(streams[0], PmtStream { stream_type: 0x1b, pid: 0x100, descriptors: &[] });
        assert_eq!((streams[1].stream_type, streams[1].pid, streams.len()), (0x0f, 0x101, 2));
        assert_eq!(descriptors(streams[1].descriptors).collect::<Vec<_>>(), [(0x0a, &b"deu\0"[..])]);
    }

    #[test]
    fn lengths_behind_the_end_stop_the_reading() {
        assert_eq!(Pmt::parse(&[0xe1, 0x00, 0xf0, 0x01]), None);
        let pmt = Pmt::parse(&[0xe1, 0x00, 0xf0, 0x00, 0x1b, 0xe1, 0x00, 0xf0, 0x09]).expect("the head is whole");
        assert_eq!(pmt.streams().count(), 0);
        assert_eq!(descriptors(&[0x0a, 0x04, b'd']).count(), 0);
    }

    fn collect(assembler: &mut SectionAssembler, payload: &[u8], start: bool) -> (Vec<Vec<u8>>, bool) {
        let mut got = Vec::new();
        let ok = assembler.push(payload, start, |s| got.push(s.to_vec()));
        (got, ok)
    }

    #[test]
    fn two_sections_and_stuffing_in_one_payload() {
        let mut a = SectionAssembler::default();
        let payload = [&[0u8][..], &PAT, &PAT, &[0xff; 20]].concat();
        assert_eq!(collect(&mut a, &payload, true), (vec![PAT.to_vec(), PAT.to_vec()], true));
        assert_eq!(a.memory_bytes(), 0, "whole sections are not copied");
    }

    #[test]
    fn a_section_over_three_payloads_with_its_length_split() {
        let mut a = SectionAssembler::default();
        assert!(collect(&mut a, &[&[0u8][..], &PAT[..2]].concat(), true).0.is_empty());
        assert!(collect(&mut a, &PAT[2..9], false).0.is_empty());
        // pointer_field 7: the tail of the old section, then a new one
        let last = [&[7u8][..], &PAT[9..], &PAT, &[0xff]].concat();
        assert_eq!(collect(&mut a, &last, true), (vec![PAT.to_vec(), PAT.to_vec()], true));
    }

    #[test]
    fn loss_and_bad_pointers_forget_the_partial_section() {
        let mut a = SectionAssembler::default();
        collect(&mut a, &[&[0u8][..], &PAT[..9]].concat(), true);
        a.reset();
        assert!(collect(&mut a, &PAT[9..], false).0.is_empty());
        collect(&mut a, &[&[0u8][..], &PAT[..9]].concat(), true);
        assert_eq!(collect(&mut a, &[200, 0, 0], true), (vec![], false));
        assert!(collect(&mut a, &PAT[9..], false).0.is_empty());
    }

    #[test]
    fn memory_stays_within_one_section() {
        let mut a = SectionAssembler::default();
        collect(&mut a, &[0, 0x40, 0xbf, 0xfd, 1, 2], true); // section_length 4093
        for _ in 0..100 {
            collect(&mut a, &[7; 184], false);
        }
        assert!(a.memory_bytes() <= 2 * SECTION_BYTES_MAX);
    }
}
