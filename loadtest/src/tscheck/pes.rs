//! PES packets (ISO/IEC 13818-1 2.4.3.6 and 2.4.3.7) and what begins in them.

use super::psi::Media;
use super::report::Rule;

/// Bytes of a PES packet that are looked at for its header and first picture.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One PES packet as it comes in.
pub struct Pes {
    /// Index of its first packet.
    pub first_packet: u64,
    /// Index of its last packet so far.
    pub last_packet: u64,
    /// The time base that its time stamps belong to.
    pub time_base: u32,
    /// random_access_indicator of its first packet.
    pub random_access: bool,
    /// PAT and PMT came since the PES before it.
    pub after_psi: bool,
    /// Its first bytes.
    head: Vec<u8>,
    /// All of its bytes.
    length: usize,
}

/// PTS and DTS of a PES packet, 33 bits; DTS is the PTS where none was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    pub pts: u64,
    pub dts: u64,
}

impl Pes {
    pub fn begin(packet: u64, time_base: u32, random_access: bool, after_psi: bool) -> Self {
        Pes {
            first_packet: packet,
            last_packet: packet,
            time_base,
            random_access,
            after_psi,
            head: Vec::new(),
            length: 0,
        }
    }

    pub fn push(&mut self, packet: u64, payload: &[u8]) {
        let room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&payload[..payload.len().min(room)]);
        self.length += payload.len();
        self.last_packet = packet;
    }

    /// Whether PES_packet_length says that all has come.
    pub fn is_complete(&self) -> bool {
        self.declared().is_some_and(|declared| declared > 0 && self.length >= declared + 6)
    }

    /// Whether only the next PES packet ends this one: PES_packet_length 0.
    pub fn is_unbounded(&self) -> bool {
        self.declared() == Some(0)
    }

    fn declared(&self) -> Option<usize> {
        self.head.get(4..6).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])))
    }

    /// The time stamps, where the header is well formed and has them.
    pub fn stamps(&self) -> Result<Option<Stamps>, (Rule, String)> {
        let malformed = |detail: &str| (Rule::PesHeader, detail.to_string());
        let [0, 0, 1, stream_id, _, _, rest @ ..] = self.head.as_slice() else {
            return Err(malformed("no packet_start_code_prefix"));
        };
        if has_no_header(*stream_id) {
            return Ok(None);
        }
        let [flags, more_flags, header_length, fields @ ..] = rest else { return Err(malformed("a header cut short")) };
        if flags & 0xc0 != 0x80 {
            return Err(malformed("the bits before PES_scrambling_control are not 10"));
        }
        let fields = fields.get(..usize::from(*header_length)).ok_or_else(|| malformed("a header cut short"))?;
        match more_flags >> 6 {
            0 => Ok(None),
            2 => {
                let pts = stamp(fields, 2)?;
                Ok(Some(Stamps { pts, dts: pts }))
            }
            3 => {
                let dts = stamp(fields.get(5..).unwrap_or_default(), 1)?;
                Ok(Some(Stamps { pts: stamp(fields, 3)?, dts }))
            }
            _ => Err(malformed("PTS_DTS_flags 01")),
        }
    }

    /// Whether PES_packet_length is what was sent.
    pub fn check_length(&self, media: Media) -> Result<(), (Rule, String)> {
        match self.declared() {
            Some(0) if media.is_video() => Ok(()),
            Some(0) => Err((Rule::PesLength, "PES_packet_length 0 outside video".into())),
            Some(declared) if declared + 6 == self.length => Ok(()),
            Some(declared) => Err((
                Rule::PesLength,
                format!("{} bytes after PES_packet_length {declared}", self.length.saturating_sub(6)),
            )),
            None => Err((Rule::PesHeader, "a header cut short".into())),
        }
    }

    /// Whether a key picture begins here: IDR (H.264), IRAP (H.265), or an intra picture after a sequence header (MPEG-2 video).
    pub fn is_key(&self, media: Media) -> bool {
        let start = 9 + usize::from(*self.head.get(8).unwrap_or(&0));
        let payload = self.head.get(start..).unwrap_or_default();
        // Everything after a start code prefix 00 00 01.
        let mut units =
            payload.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| &payload[at + 3..]);
        match media {
            // nal_unit_type 1 to 5 carry slices; 5 is the IDR.
            Media::H264 => {
                units.find_map(|unit| unit.first().map(|b| b & 0x1f).filter(|t| (1..=5).contains(t))) == Some(5)
            }
            // nal_unit_type below 32 carry slices; 16 to 23 are IRAP.
            Media::H265 => {
                units.find_map(|unit| unit.first().map(|b| b >> 1 & 0x3f).filter(|t| *t < 32)).is_some_and(|t| t >= 16)
            }
            Media::Mpeg2Video => has_intra_after_sequence_header(&mut units),
            _ => false,
        }
    }
}

fn has_intra_after_sequence_header<'a>(units: &mut impl Iterator<Item = &'a [u8]>) -> bool {
    let mut sequence_header = false;
    for unit in units {
        match unit {
            [0xb3, ..] => sequence_header = true,
            // picture_coding_type after ten bits of temporal_reference: 1 = intra.
            [0x00, _, second, ..] => return sequence_header && second >> 3 & 7 == 1,
            _ => {}
        }
    }
    false
}

/// program_stream_map, padding, private_stream_2, ECM, EMM, DSMCC, H.222.1 type E, directory: data follow the length at once.
fn has_no_header(stream_id: u8) -> bool {
    matches!(stream_id, 0xbc | 0xbe | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff)
}

/// A time stamp of five bytes: four bits of prefix, then 3, 15 and 15 bits, each with a marker bit.
fn stamp(bytes: &[u8], prefix: u8) -> Result<u64, (Rule, String)> {
    let Some([a, b, c, d, e]) = bytes.first_chunk::<5>() else {
        return Err((Rule::PesHeader, "a time stamp cut short".into()));
    };
    if a >> 4 != prefix || a & c & e & 1 == 0 {
        return Err((Rule::PesHeader, "a time stamp with wrong prefix or marker bits".into()));
    }
    let high = u64::from(a >> 1 & 7) << 30;
    Ok(high | u64::from(*b) << 22 | u64::from(c >> 1) << 15 | u64::from(*d) << 7 | u64::from(e >> 1))
}
