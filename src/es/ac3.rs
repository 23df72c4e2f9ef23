//! AC-3 and E-AC-3 sync frames (ETSI TS 102 366 4.3, 4.4 and Annex E), told apart by bsid.
//!
//! A sample is what FFmpeg's parser and ExoPlayer's reader take for one: an AC-3 sync frame, or independent substream 0 of
//! E-AC-3 with all substreams up to the next one. It may hold fewer than six audio blocks; a packager for ISO media, whose
//! samples hold six (Annex F), has to group them.
//!
//! Joint object coding (Atmos) shows in the codecs parameter of nobody: it is `ec-3` all the same. The `dec3` box says it (ETSI TS 103 420 C.3),
//! from the mark that encoders leave in addbsi.
//! What it deliberately does not do: look into audio blocks.

use super::bits::{BitReader, BitWriter};
use super::framer::audio::{Probe, SyncFrame};
use super::{AudioParams, Codec};
use bytes::Bytes;

/// Bytes of a header that are looked at.
pub const HEADER_BYTES: usize = 7;
/// PCM samples of an audio block.
const BLOCK_SAMPLES: u32 = 256;
/// Largest bsid of AC-3 syntax; 9 and 10 are its half and quarter rates.
const BSID_AC3_MAX: u8 = 10;
/// Largest bsid of E-AC-3 syntax.
const BSID_EAC3_MAX: u8 = 16;
/// fscod, Hz.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// frmsizecod / 2, kbit/s (table 4.13).
const BITRATES: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Full-bandwidth channels by acmod (table 4.3).
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
/// numblkscod, audio blocks.
const BLOCKS: [u32; 4] = [1, 2, 3, 6];

/// One sync frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    len: usize,
    bsid: u8,
    fscod: u8,
    sample_rate: u32,
    blocks: u32,
    acmod: u8,
    lfe: bool,
    /// bsmod and frmsizecod / 2 of AC-3, 0 in E-AC-3.
    bsmod: u8,
    bit_rate_code: u8,
    /// Goes with the frame before: a dependent substream, or an independent one other than 0.
    extends: bool,
}

/// Looks for a sync frame at the start of `data`, which begins with 0x0b.
pub fn probe(data: &[u8]) -> Probe {
    let Some(bytes) = data.first_chunk::<HEADER_BYTES>() else { return Probe::Short };
    let Some(header) = Header::parse(bytes) else { return Probe::Bad };
    let described = (header.bsid as u64) << 16
        | (header.fscod as u64) << 12
        | (header.acmod as u64) << 8
        | (header.bsmod as u64) << 4
        | header.lfe as u64;
    Probe::Frame(SyncFrame {
        codec: if header.bsid <= BSID_AC3_MAX { Codec::Ac3 } else { Codec::Eac3 },
        len: header.len,
        header_len: 0,
        samples: header.blocks * BLOCK_SAMPLES,
        sample_rate: header.sample_rate,
        tag: 0x0b77,
        config: described << 16 | (header.blocks as u64) << 8 | header.bit_rate_code as u64,
        extends: header.extends,
    })
}

/// Parameters of a whole sample.
pub fn params(sample: &[u8]) -> Option<AudioParams> {
    let header = Header::parse(sample.first_chunk()?)?;
    let eac3 = header.bsid > BSID_AC3_MAX;
    let (dependents, locations) = dependent_substreams(sample.get(header.len..).unwrap_or(&[]));
    let own = CHANNELS[header.acmod as usize] + header.lfe as u8;
    let config = if eac3 { header.dec3(sample, dependents, locations) } else { header.dac3() };
    Some(AudioParams {
        sample_rate: header.sample_rate,
        channels: own + location_channels(locations),
        frame_samples: header.blocks * BLOCK_SAMPLES,
        rfc6381: if eac3 { "ec-3" } else { "ac-3" }.to_owned(),
        config,
    })
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        if bytes[..2] != [0x0b, 0x77] {
            return None;
        }
        match bytes[5] >> 3 {
            bsid @ 0..=BSID_AC3_MAX => Header::parse_ac3(bytes, bsid),
            bsid @ ..=BSID_EAC3_MAX => Header::parse_eac3(bytes, bsid),
            _ => None,
        }
    }

    /// syncinfo and bsi: crc1 (16), fscod (2), frmsizecod (6), bsid (5), bsmod (3), acmod (3), mix levels, lfeon.
    fn parse_ac3(bytes: &[u8; HEADER_BYTES], bsid: u8) -> Option<Header> {
        let (fscod, frmsizecod) = (bytes[4] >> 6, bytes[4] & 0x3f);
        let rate = *SAMPLE_RATES.get(fscod as usize)?;
        let bitrate = *BITRATES.get(frmsizecod as usize / 2)?;
        let words = match fscod {
            0 => bitrate * 2,
            1 => bitrate * 320 / 147 + frmsizecod as u32 % 2,
            _ => bitrate * 3,
        };
        let acmod = bytes[6] >> 5;
        // cmixlev for three front channels, surmixlev for surrounds, dsurmod for stereo.
        let mix_bits = 2 * ((acmod & 1 == 1 && acmod != 1) as u8 + (acmod & 4 != 0) as u8 + (acmod == 2) as u8);
        Some(Header {
            len: words as usize * 2,
            bsid,
            fscod,
            sample_rate: rate >> bsid.saturating_sub(8),
            blocks: 6,
            acmod,
            lfe: bytes[6] & (0x10 >> mix_bits) != 0,
            bsmod: bytes[5] & 7,
            bit_rate_code: frmsizecod / 2,
            extends: false,
        })
    }

    /// strmtyp (2), substreamid (3), frmsiz (11), fscod (2), fscod2 or numblkscod (2), acmod (3), lfeon (1), bsid (5).
    fn parse_eac3(bytes: &[u8; HEADER_BYTES], bsid: u8) -> Option<Header> {
        let (stream_type, substream) = (bytes[2] >> 6, bytes[2] >> 3 & 7);
        let len = ((bytes[2] as usize & 7) << 8 | bytes[3] as usize) * 2 + 2;
        let (fscod, second) = (bytes[4] >> 6, bytes[4] >> 4 & 3);
        let (sample_rate, blocks) = match fscod {
            3 => (*SAMPLE_RATES.get(second as usize)? / 2, 6),
            _ => (SAMPLE_RATES[fscod as usize], BLOCKS[second as usize]),
        };
        (stream_type != 3 && len > HEADER_BYTES).then_some(Header {
            len,
            bsid,
            fscod,
            sample_rate,
            blocks,
            acmod: bytes[4] >> 1 & 7,
            lfe: bytes[4] & 1 == 1,
            bsmod: 0,
            bit_rate_code: 0,
            extends: stream_type == 1 || substream != 0,
        })
    }

    /// The payload of AC3SpecificBox (F.4).
    fn dac3(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(3);
        let mut bits = BitWriter::new(&mut bytes);
        bits.bits(self.fscod as u32, 2);
        bits.bits(self.bsid as u32, 5);
        bits.bits(self.bsmod as u32, 3);
        bits.bits(self.acmod as u32, 3);
        bits.bits(self.lfe as u32, 1);
        bits.bits(self.bit_rate_code as u32, 5);
        bits.bits(0, 5);
        Bytes::from(bytes)
    }

    /// The payload of EC3SpecificBox (F.6) for one independent substream.
    fn dec3(&self, sample: &[u8], dependents: u8, locations: u16) -> Bytes {
        let samples = self.blocks * BLOCK_SAMPLES;
        let info = self.stream_info(sample).unwrap_or_default();
        let data_rate_kbps = sample.len() as u64 * 8 * self.sample_rate as u64 / samples as u64 / 1_000;
        let mut bytes = Vec::with_capacity(8);
        let mut bits = BitWriter::new(&mut bytes);
        bits.bits(data_rate_kbps.min(0x1fff) as u32, 13);
        bits.bits(0, 3); // num_ind_sub
        bits.bits(self.fscod as u32, 2);
        bits.bits(self.bsid as u32, 5);
        bits.bits(0, 1 + 1); // reserved, asvc
        bits.bits(info.bsmod, 3);
        bits.bits(self.acmod as u32, 3);
        bits.bits(self.lfe as u32, 1);
        bits.bits(0, 3);
        bits.bits(dependents.min(15) as u32, 4);
        if dependents > 0 {
            bits.bits(locations as u32, 9);
        } else {
            bits.bits(0, 1);
        }
        if let Some(complexity) = info.joc_complexity {
            bits.bits(1, 7 + 1); // reserved, flag_ec3_extension_type_a
            bits.bits(complexity, 8); // complexity_index_type_a
        }
        Bytes::from(bytes)
    }

    /// Reads the bsi of independent substream 0 (E.1.2.2) as far as addbsi; `None` when it is cut short.
    fn stream_info(&self, frame: &[u8]) -> Option<StreamInfo> {
        let mut info = StreamInfo::default();
        let mut bits = BitReader::new(frame);
        skip_to_channel_map(&mut bits)?;
        let six_blocks = self.blocks == 6;
        if bits.flag()? {
            self.skip_mixing_metadata(&mut bits)?;
        }
        if bits.flag()? {
            info.bsmod = bits.bits(3)?;
            self.skip_informational_metadata(&mut bits)?;
        }
        if !six_blocks {
            bits.skip(1)?; // convsync
        }
        // addbsil, then addbsi: seven reserved bits, flag_ec3_extension_type_a, complexity_index_type_a (TS 103 420 8.3).
        if bits.flag()? && bits.bits(6)? >= 1 {
            bits.skip(7)?;
            info.joc_complexity = if bits.flag()? { bits.bits(8) } else { None };
        }
        Some(info)
    }

    /// What follows mixmdate.
    fn skip_mixing_metadata(&self, bits: &mut BitReader<'_>) -> Option<()> {
        let (acmod, dual_mono) = (self.acmod, self.acmod == 0);
        bits.skip(if acmod > 2 { 2 } else { 0 })?; // dmixmod
        bits.skip(if acmod & 1 == 1 && acmod > 2 { 6 } else { 0 })?; // ltrtcmixlev, lorocmixlev
        bits.skip(if acmod & 4 == 4 { 6 } else { 0 })?; // ltrtsurmixlev, lorosurmixlev
        if self.lfe {
            skip_optional(bits, 5)?; // lfemixlevcod
        }
        for _ in 0..2 + dual_mono as u8 {
            skip_optional(bits, 6)?; // pgmscl, in dual mono pgmscl2, extpgmscl
        }
        match bits.bits(2)? {
            1 => bits.skip(5)?,  // premixcmpsel, drcsrc, premixcmpscl
            2 => bits.skip(12)?, // mixdata
            3 => {
                let mix_bytes = bits.bits(5)? as usize + 2;
                bits.skip(mix_bytes * 8)?;
            }
            _ => {}
        }
        for _ in 0..if acmod < 2 { 1 + dual_mono as u8 } else { 0 } {
            skip_optional(bits, 14)?; // panmean, paninfo
        }
        if bits.flag()? {
            match self.blocks {
                1 => bits.skip(5)?, // blkmixcfginfo
                blocks => (0..blocks).try_for_each(|_| skip_optional(bits, 5))?,
            }
        }
        Some(())
    }

    /// What follows infomdate and bsmod.
    fn skip_informational_metadata(&self, bits: &mut BitReader<'_>) -> Option<()> {
        bits.skip(2)?; // copyrightb, origbs
        match self.acmod {
            2 => bits.skip(4)?,   // dsurmod, dheadphonmod
            6.. => bits.skip(2)?, // dsurexmod
            _ => {}
        }
        for _ in 0..if self.acmod == 0 { 2 } else { 1 } {
            skip_optional(bits, 8)?; // mixlevel, roomtyp, adconvtyp
        }
        bits.skip(if self.fscod < 3 { 1 } else { 0 }) // sourcefscod
    }
}

/// What `dec3` wants of an independent substream's bsi.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StreamInfo {
    bsmod: u32,
    /// complexity_index_type_a: objects of joint object coding, 1 ..= 16; `None` without it.
    joc_complexity: Option<u32>,
}

/// A flag and, where it is set, so many bits.
fn skip_optional(bits: &mut BitReader<'_>, count: usize) -> Option<()> {
    if bits.flag()? { bits.skip(count) } else { Some(()) }
}

/// Reads up to what follows compre and compr2e: chanmape of a dependent substream, mixmdate of an independent one.
fn skip_to_channel_map(bits: &mut BitReader<'_>) -> Option<()> {
    bits.skip(16 + 2 + 3 + 11 + 4)?; // up to acmod
    let acmod = bits.bits(3)?;
    bits.skip(1 + 5)?; // lfeon, bsid
    for _ in 0..if acmod == 0 { 2 } else { 1 } {
        bits.skip(5)?; // dialnorm
        skip_optional(bits, 8)?; // compr
    }
    Some(())
}

/// Number of dependent substreams in the sync frames behind the first one, and their channel locations (chan_loc of F.6.2.13).
fn dependent_substreams(mut rest: &[u8]) -> (u8, u16) {
    let (mut count, mut locations) = (0u8, 0u16);
    while let Some(header) = rest.first_chunk().and_then(Header::parse) {
        if rest[2] >> 6 == 1 {
            count = count.saturating_add(1);
            locations |= channel_map(rest).map_or(0, locations_of_map);
        }
        rest = rest.get(header.len..).unwrap_or(&[]);
    }
    (count, locations)
}

/// chanmap of a dependent substream (E.1.2.2), `None` when it has none.
fn channel_map(frame: &[u8]) -> Option<u16> {
    let mut bits = BitReader::new(frame);
    skip_to_channel_map(&mut bits)?;
    if !bits.flag()? {
        return None;
    }
    bits.bits(16).map(|map| map as u16)
}

/// chan_loc: bits 5 (Lc/Rc) to 12 (Cvh) of chanmap, counted from its first bit, are bits 0 to 7; bit 14 (LFE2) is bit 8.
fn locations_of_map(map: u16) -> u16 {
    let reversed = map.reverse_bits();
    reversed >> 5 & 0xff | (reversed >> 14 & 1) << 8
}

/// Channels of the locations that a dependent substream adds: pairs but for Cs, Ts, Cvh and LFE2.
fn location_channels(locations: u16) -> u8 {
    const SINGLES: u16 = 1 << 2 | 1 << 3 | 1 << 7 | 1 << 8;
    (locations & SINGLES).count_ones() as u8 + 2 * (locations & !SINGLES).count_ones() as u8
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    fn frame(data: &[u8]) -> Option<SyncFrame> {
        match probe(data) {
            Probe::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// 48 kHz, 448 kbit/s (code 15, frmsizecod 30), bsid 8, 3/2 channels with LFE: acmod 7, cmixlev, surmixlev, lfeon.
    const AC3: [u8; 7] = [0x0b, 0x77, 0, 0, 30, 8 << 3, 0b111_00_00_1];
    /// Independent substream 0, frmsiz 383, 48 kHz, 6 blocks, acmod 7, lfe, bsid 16.
    const EAC3: [u8; 7] = [0x0b, 0x77, 0x01, 0x7f, 0b00_11_111_1, 16 << 3, 0];

    #[test]
    fn ac3_header() {
        let found = frame(&AC3).unwrap();
        assert_eq!((found.codec, found.len, found.samples, found.sample_rate), (Codec::Ac3, 1792, 1536, 48_000));
        let params = params(&AC3).unwrap();
        assert_eq!((params.channels, params.rfc6381.as_str()), (6, "ac-3"));
        // fscod 00, bsid 01000, bsmod 000, acmod 111, lfeon 1, bit_rate_code 01111, reserved
        assert_eq!(params.config[..], [0b00_01000_0, 0b00_111_1_01, 0b111_00000]);
        // 44.1 kHz, 128 kbit/s: 278 and 279 words (table 4.13)
        assert_eq!(frame(&[0x0b, 0x77, 0, 0, 1 << 6 | 16, 8 << 3, 0x40]).unwrap().len, 556);
        assert_eq!(frame(&[0x0b, 0x77, 0, 0, 1 << 6 | 17, 8 << 3, 0x40]).unwrap().len, 558);
    }

    #[test]
    fn eac3_with_a_dependent_substream_of_rear_surrounds() {
        let mut sample = EAC3.to_vec();
        sample.resize(768, 0);
        // Dependent substream 0, frmsiz 127, acmod 6, bsid 16, dialnorm 0, compre 0, chanmape 1,
        // chanmap: Ls and Rs (bits 3, 4), Lrs/Rrs pair (bit 6).
        let mut dependent = vec![0x0b, 0x77, 0x40, 0x7f, 0b00_11_110_0];
        let mut bits = BitWriter::new(&mut dependent);
        for (value, count) in [(16, 5), (0, 5), (0, 1), (1, 1), (0b0001_1010_0000_0000, 16)] {
            bits.bits(value, count);
        }
        dependent.resize(256, 0);
        assert!(frame(&dependent).unwrap().extends);
        sample.extend_from_slice(&dependent);
        let params = params(&sample).unwrap();
        assert_eq!((params.channels, params.rfc6381.as_str()), (8, "ec-3"));
        // data_rate 256 (13), num_ind_sub 0 (3), fscod 00, bsid 10000, 0, asvc 0, bsmod 000, acmod 111, lfeon 1, 000,
        // num_dep_sub 0001, chan_loc 000000010
        assert_eq!(params.config[..], [0b00001000, 0b00000_000, 0b00_10000_0, 0b0_000_111_1, 0b000_0001_0, 0b00000010]);
    }

    #[test]
    fn reserved_values_are_refused() {
        assert_eq!(frame(&[0x0b, 0x77, 0, 0, 0xc0, 8 << 3, 0]), None, "fscod 3");
        assert_eq!(frame(&[0x0b, 0x77, 0, 0, 38, 8 << 3, 0]), None, "frmsizecod 38");
        assert_eq!(frame(&[0x0b, 0x77, 0, 0, 0, 17 << 3, 0]), None, "bsid 17");
        assert_eq!(frame(&[0x0b, 0x77, 0xc1, 0x7f, 0x3f, 16 << 3, 0]), None, "strmtyp 3");
    }
}
