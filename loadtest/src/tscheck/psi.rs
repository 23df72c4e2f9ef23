//! PAT and PMT sections (ISO/IEC 13818-1 2.4.4).

use super::report::Rule;

/// Largest section of PAT and PMT, bytes (2.4.4.5).
const SECTION_BYTES_MAX: usize = 1_024;

/// Puts the sections of one PID together.
#[derive(Default)]
pub struct SectionBuffer {
    bytes: Vec<u8>,
    /// A section began and bytes of it are missing.
    open: bool,
}

impl SectionBuffer {
    /// Adds a packet's payload; gives each section that it completes.
    pub fn push(
        &mut self,
        unit_start: bool,
        payload: &[u8],
        sections: &mut Vec<Vec<u8>>,
    ) -> Result<(), (Rule, String)> {
        let (rest, begin) = if unit_start {
            let pointer = usize::from(*payload.first().unwrap_or(&0));
            if pointer + 1 > payload.len() {
                return Err((Rule::Section, format!("pointer_field {pointer} leads out of the packet")));
            }
            (&payload[1..1 + pointer], Some(&payload[1 + pointer..]))
        } else {
            (payload, None)
        };
        if self.open {
            self.bytes.extend_from_slice(rest);
            self.take(sections)?;
        }
        let Some(begin) = begin else { return Ok(()) };
        if self.open {
            self.open = false;
            return Err((Rule::Section, "a section begins before the last one ended".into()));
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(begin);
        self.open = true;
        self.take(sections)
    }

    fn take(&mut self, sections: &mut Vec<Vec<u8>>) -> Result<(), (Rule, String)> {
        while self.open {
            match self.bytes.as_slice() {
                // 2.4.4.1: 0xff fills the packet after the last section.
                [] | [0xff, ..] => self.open = false,
                [_, high, low, ..] => {
                    let length = 3 + (usize::from(high & 0x0f) << 8 | usize::from(*low));
                    if length > SECTION_BYTES_MAX {
                        self.open = false;
                        return Err((Rule::Section, format!("a section of {length} bytes")));
                    }
                    if self.bytes.len() < length {
                        break;
                    }
                    sections.push(self.bytes.drain(..length).collect());
                }
                _ => break,
            }
        }
        Ok(())
    }
}

/// What a PAT says: the one programme's number and PMT PID, or `None` when it names another count.
pub struct Pat {
    /// program_number and PMT PID of each programme; network PIDs are left out.
    pub programs: Vec<(u16, u16)>,
}

/// What a PMT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmt {
    /// PCR_PID
    pub pcr_pid: u16,
    /// elementary_PID, stream_type, and whether it is audio or video by type or descriptor.
    pub streams: Vec<(u16, u8, Media)>,
}

/// What a stream_type and its descriptors stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Mpeg2Video,
    H264,
    H265,
    /// Video whose pictures are not looked into.
    OtherVideo,
    Audio,
    /// Subtitles, teletext, sections and the unknown: no timing rules.
    Data,
}

impl Media {
    pub fn is_video(self) -> bool {
        matches!(self, Media::Mpeg2Video | Media::H264 | Media::H265 | Media::OtherVideo)
    }
}

/// Body of a valid section of `table_id`: from after last_section_number to before the CRC.
pub fn body(section: &[u8], table_id: u8) -> Result<&[u8], (Rule, String)> {
    if section.len() < 12 || section[0] != table_id || section[1] & 0xc0 != 0x80 {
        return Err((Rule::Section, format!("not a section of table_id {table_id}")));
    }
    if crc_32(section) != 0 {
        return Err((Rule::SectionCrc, "CRC_32 does not match".into()));
    }
    Ok(&section[8..section.len() - 4])
}

/// version_number of a section with long syntax.
pub fn version(section: &[u8]) -> u8 {
    section[5] >> 1 & 0x1f
}

pub fn parse_pat(section: &[u8]) -> Result<Pat, (Rule, String)> {
    let entries = body(section, 0)?.chunks_exact(4);
    let programs = entries.map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), pid(&entry[2..])));
    Ok(Pat { programs: programs.filter(|(number, _)| *number != 0).collect() })
}

pub fn parse_pmt(section: &[u8]) -> Result<Pmt, (Rule, String)> {
    let short = || (Rule::Section, "a PMT that ends within an entry".to_string());
    let body = body(section, 2)?;
    let (head, rest) = body.split_at_checked(4).ok_or_else(short)?;
    let mut rest = rest.get(length_12(&head[2..])..).ok_or_else(short)?;
    let mut streams = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = rest.split_at_checked(5).ok_or_else(short)?;
        let (descriptors, after) = after.split_at_checked(length_12(&entry[3..])).ok_or_else(short)?;
        streams.push((pid(&entry[1..]), entry[0], media(entry[0], descriptors)));
        rest = after;
    }
    Ok(Pmt { pcr_pid: pid(head), streams })
}

fn pid(bytes: &[u8]) -> u16 {
    u16::from(bytes[0] & 0x1f) << 8 | u16::from(bytes[1])
}

fn length_12(bytes: &[u8]) -> usize {
    usize::from(bytes[0] & 0x0f) << 8 | usize::from(bytes[1])
}

/// Table 2-34, and for private PES the descriptors of ETSI EN 300 468 and format identifiers.
fn media(stream_type: u8, mut descriptors: &[u8]) -> Media {
    match stream_type {
        0x01 | 0x02 => return Media::Mpeg2Video,
        0x1b => return Media::H264,
        0x24 => return Media::H265,
        0x10 | 0x20 | 0x21 | 0x33 => return Media::OtherVideo,
        0x03 | 0x04 | 0x0f | 0x11 | 0x81 | 0x87 => return Media::Audio,
        _ => {}
    }
    while let [tag, length, rest @ ..] = descriptors {
        let (content, after) = rest.split_at(usize::from(*length).min(rest.len()));
        // AC-3, enhanced AC-3, DTS, AAC; registration as AC-3, E-AC-3 or Opus.
        if matches!(tag, 0x6a | 0x7a | 0x7b | 0x7c) || (*tag == 5 && matches!(content, b"AC-3" | b"EAC3" | b"Opus")) {
            return Media::Audio;
        }
        descriptors = after;
    }
    Media::Data
}

/// CRC of Annex A over a section with its CRC_32: 0 when it is right.
pub fn crc_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte) << 24, |crc, _| if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 })
    })
}
