//! AAC in ADTS frames (ISO/IEC 14496-3 1.A.2): the header, the AudioSpecificConfig it stands for, the RFC 6381 string.
//!
//! SBR and PS that are only signalled inside the frames ("implicit") are not looked for, as only a decoder finds them behind the
//! spectral data: rate and channels are the core's, and the string is `mp4a.40.2`, which is what shaka-packager says of such streams too.
//! Chromium plays HE-AAC and HE-AACv2 under it in full bandwidth, as it does under `mp4a.40.5`.
//!
//! A frame of several raw data blocks (number_of_raw_data_blocks_in_frame above 0) is one sample of so many times 1,024 PCM samples. It
//! cannot go into ISO media, where a sample is one block and nothing but a decoder, or the positions of a protected frame, finds where
//! the next begins: a packager has to refuse AAC whose [`AudioParams::frame_samples`] is not [`BLOCK_SAMPLES`].
//! What it deliberately does not do: decode, or carry 960-sample frames, which ADTS cannot signal.

use super::bits::{BitReader, BitWriter};
use super::framer::audio::{Probe, SyncFrame};
use super::{AudioParams, Codec};
use bytes::Bytes;

/// Bytes of a header without CRC.
pub const HEADER_BYTES: usize = 7;
/// Largest aac_frame_length (13 bits), header included.
pub const FRAME_BYTES_MAX: usize = (1 << 13) - 1;
/// PCM samples of one raw data block.
pub const BLOCK_SAMPLES: u32 = 1_024;
/// samplingFrequencyIndex (table 1.18), Hz.
pub const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// id_syn_ele of a program config element (table 4.71).
const ID_PCE: u32 = 5;

/// The fields of an ADTS header that describe the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdtsConfig {
    /// 1 (Main) ..= 4 (LTP); 2 is LC.
    pub audio_object_type: u8,
    /// Index into [`SAMPLE_RATES`].
    pub rate_index: u8,
    /// channelConfiguration, 0 ..= 7; 0: a program config element says.
    pub channels: u8,
}

/// Looks for an ADTS header at the start of `data`, which begins with 0xff.
pub fn probe(data: &[u8]) -> Probe {
    let Some(&[_, second, third, fourth, fifth, sixth, _]) = data.first_chunk::<HEADER_BYTES>() else {
        return Probe::Short;
    };
    let rate_index = third >> 2 & 15;
    let len = (fourth as usize & 3) << 11 | (fifth as usize) << 3 | sixth as usize >> 5;
    let blocks = data[6] & 3;
    let header_len = header_len(second, blocks);
    // Twelve bits of syncword, and layer 0.
    let valid = second & 0xf6 == 0xf0 && (rate_index as usize) < SAMPLE_RATES.len() && len > header_len as usize;
    if !valid {
        return Probe::Bad;
    }
    // ID, profile and rate must not change between frames that vouch for each other; private_bit and channels may.
    let tag = 0xadu32 << 16 | (second as u32 & 8) << 8 | (third as u32 & 0xfc);
    Probe::Frame(SyncFrame {
        codec: Codec::Aac,
        len,
        header_len,
        samples: BLOCK_SAMPLES * (blocks as u32 + 1),
        sample_rate: SAMPLE_RATES[rate_index as usize],
        tag,
        config: (tag as u64) << 8 | (blocks as u64) << 3 | (third as u64 & 1) << 2 | fourth as u64 >> 6,
        extends: false,
    })
}

/// Bytes in front of the first raw data block: the header, and where protection_absent is 0 the positions of the other blocks and a CRC
/// (adts_header_error_check, 1.A.2.2.3). `blocks`: number_of_raw_data_blocks_in_frame, which is one less than there are.
fn header_len(second: u8, blocks: u8) -> u8 {
    HEADER_BYTES as u8 + if second & 1 == 1 { 0 } else { 2 * blocks + 2 }
}

/// Parameters of a whole ADTS frame.
pub fn params(frame: &[u8]) -> Option<AudioParams> {
    let &[_, second, third, fourth, _, _, seventh] = frame.first_chunk::<HEADER_BYTES>()?;
    let blocks = seventh & 3;
    let config = AdtsConfig {
        audio_object_type: (third >> 6) + 1,
        rate_index: third >> 2 & 15,
        channels: (third & 1) << 2 | fourth >> 6,
    };
    let header_len = header_len(second, blocks) as usize;
    let mut bytes = Vec::with_capacity(2);
    config.write_audio_specific_config(&mut bytes);
    let channels = match config.channels {
        0 => copy_program_config(frame.get(header_len..)?, &mut bytes).unwrap_or(0),
        7 => 8,
        channels => channels,
    };
    Some(AudioParams {
        sample_rate: *SAMPLE_RATES.get(config.rate_index as usize)?,
        channels,
        frame_samples: BLOCK_SAMPLES * (blocks as u32 + 1),
        rfc6381: format!("mp4a.40.{}", config.audio_object_type),
        config: Bytes::from(bytes),
    })
}

impl AdtsConfig {
    /// AAC-LC of a rate and a number of channels that ADTS has an index for.
    pub fn of(sample_rate: u32, channels: u8) -> Option<AdtsConfig> {
        let rate_index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate)? as u8;
        let channels = match channels {
            1..=6 => channels,
            8 => 7,
            _ => return None,
        };
        Some(AdtsConfig { audio_object_type: 2, rate_index, channels })
    }

    /// AudioSpecificConfig (1.6.2.1) with an all-zero GASpecificConfig, two bytes.
    fn write_audio_specific_config(&self, bytes: &mut Vec<u8>) {
        let mut bits = BitWriter::new(bytes);
        bits.bits(self.audio_object_type as u32, 5);
        bits.bits(self.rate_index as u32, 4);
        bits.bits(self.channels as u32, 4);
        bits.bits(0, 3); // frameLengthFlag, dependsOnCoreCoder, extensionFlag
    }

    /// Appends the header of a frame whose raw data block has `payload_len` bytes; false when that is too much for ADTS.
    pub fn write_adts_header(&self, payload_len: usize, out: &mut Vec<u8>) -> bool {
        let len = payload_len + HEADER_BYTES;
        if len > FRAME_BYTES_MAX {
            return false;
        }
        out.extend_from_slice(&[
            0xff,
            0xf1, // syncword, ID 0 (MPEG-4), layer 0, protection_absent 1
            (self.audio_object_type - 1) << 6 | self.rate_index << 2 | self.channels >> 2,
            self.channels << 6 | (len >> 11) as u8,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1f,
            0xfc, // adts_buffer_fullness 0x7ff (variable rate), one raw data block
        ]);
        true
    }
}

/// Appends the program config element (4.4.1.1) that begins `raw` to an AudioSpecificConfig of whole bytes; answers its channels.
/// `None` when the block does not begin with one.
fn copy_program_config(raw: &[u8], config: &mut Vec<u8>) -> Option<u8> {
    let mut bits = BitReader::new(raw);
    if bits.bits(3)? != ID_PCE {
        return None;
    }
    let start = bits.position();
    let channels = program_config_channels(&mut bits)?;
    let element_bits = bits.position() - start;
    let comment_at = bits.position().div_ceil(8);
    let comment_bytes = *raw.get(comment_at)? as usize;
    let comment = raw.get(comment_at..comment_at + 1 + comment_bytes)?;
    let mut element = BitReader::new(raw);
    element.skip(start)?;
    let mut writer = BitWriter::new(config);
    for _ in 0..element_bits {
        writer.bits(element.bits(1)?, 1);
    }
    writer.align();
    config.extend_from_slice(comment);
    Some(channels)
}

/// Reads a program_config_element behind its id up to the alignment before the comment.
fn program_config_channels(bits: &mut BitReader<'_>) -> Option<u8> {
    bits.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let (front, side, back) = (bits.bits(4)?, bits.bits(4)?, bits.bits(4)?);
    let (lfe, associated, coupling) = (bits.bits(2)?, bits.bits(3)?, bits.bits(4)?);
    for mixdown_bits in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += 1 + bits.bits(1)?; // is_cpe: a channel pair
        bits.skip(4)?; // tag_select
    }
    bits.skip(4 * (lfe + associated) as usize + 5 * coupling as usize)?;
    u8::try_from(channels).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_written_is_read_back() {
        let config = AdtsConfig { audio_object_type: 2, rate_index: 3, channels: 2 };
        let mut frame = Vec::new();
        assert!(config.write_adts_header(300, &mut frame));
        frame.resize(307, 0);
        let Probe::Frame(head) = probe(&frame) else { panic!() };
        assert_eq!((head.len, head.header_len, head.samples, head.sample_rate), (307, 7, 1024, 48_000));
        let params = params(&frame).unwrap();
        assert_eq!((params.channels, params.rfc6381.as_str()), (2, "mp4a.40.2"));
        // 00010 (LC) 0011 (48 kHz) 0010 (stereo) 000
        assert_eq!(params.config[..], [0x11, 0x90]);
        assert!(!config.write_adts_header(FRAME_BYTES_MAX, &mut frame));
    }

    #[test]
    fn several_raw_data_blocks_show_in_the_parameters() {
        let mut frame = Vec::new();
        AdtsConfig { audio_object_type: 2, rate_index: 3, channels: 2 }.write_adts_header(300, &mut frame);
        frame.resize(307, 0);
        frame[6] |= 2; // number_of_raw_data_blocks_in_frame
        let found = |frame: &[u8]| match probe(frame) {
            Probe::Frame(head) => (head.header_len, head.samples, params(frame).unwrap().frame_samples),
            _ => panic!("no frame"),
        };
        assert_eq!(found(&frame), (7, 3_072, 3_072));
        frame[1] &= !1; // protection_absent 0: two positions and a CRC
        assert_eq!(found(&frame), (13, 3_072, 3_072));
    }

    #[test]
    fn channels_of_a_program_config_element() {
        let mut frame = Vec::new();
        AdtsConfig { audio_object_type: 2, rate_index: 4, channels: 0 }.write_adts_header(40, &mut frame);
        let mut bits = BitWriter::new(&mut frame);
        // PCE: tag 0, object type 1 (LC), 44.1 kHz; front 2 (a single, a pair), side 0, back 1 (a pair), 1 LFE
        for (value, count) in [(5, 3), (0, 4), (1, 2), (4, 4), (2, 4), (0, 4), (1, 4), (1, 2), (0, 3), (0, 4), (0, 3)] {
            bits.bits(value, count);
        }
        for (value, count) in [(0, 5), (0b10000, 5), (0b10001, 5), (0, 4)] {
            bits.bits(value, count);
        }
        bits.align();
        bits.bits(0, 8); // comment_field_bytes
        frame.resize(47, 0);
        let params = params(&frame).unwrap();
        assert_eq!(params.channels, 6);
        assert_eq!(params.config[..2], [0x12, 0x00]);
        assert_eq!(params.config.len(), 2 + 7 + 1, "53 bits of element, aligned, and the comment's length");
    }

    #[test]
    fn what_is_no_header() {
        assert!(matches!(probe(&[0xff, 0xf1, 0x50]), Probe::Short));
        assert!(matches!(probe(&[0xff, 0xf1, 0x7c, 0x80, 0x20, 0, 0]), Probe::Bad), "rate index 15");
        assert!(matches!(probe(&[0xff, 0xf1, 0x50, 0x80, 0x00, 0xe0, 0]), Probe::Bad), "length 7 holds no block");
        assert!(matches!(probe(&[0xff, 0xf3, 0x50, 0x80, 0x20, 0, 0]), Probe::Bad), "layer 1");
    }
}
