//! FLAC (RFC 9639): the frame header (9.1), the STREAMINFO block it stands for (8.2), the RFC 6381 string.
//!
//! A sample is one frame. There is no mapping of FLAC to MPEG-TS: it is met in renditions that were transcoded.
//! What it deliberately does not do: find where a frame ends, which only decoding tells.

use super::AudioParams;
use super::bits::{BitReader, BitWriter};
use bytes::Bytes;

/// Bytes of a STREAMINFO block without its metadata block header.
pub const STREAM_INFO_BYTES: usize = 34;
/// Bytes of the longest frame header without its CRC: fixed fields, a coded number, block size, sample rate.
const HEADER_BYTES_MAX: usize = 4 + 7 + 2 + 2;
/// Smallest block (8.2): a last block may be smaller.
const BLOCK_SAMPLES_MIN: u32 = 16;
/// Generator of the header's CRC-8 (9.1.8): x^8 + x^2 + x + 1.
const CRC8_POLYNOMIAL: u8 = 0x07;
/// Sample rates of codes 1 to 11, Hz (table 15).
const SAMPLE_RATES: [u32; 11] =
    [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];
/// Bits a sample by code (table 17); 0: STREAMINFO says.
const BIT_DEPTHS: [u8; 8] = [0, 8, 12, 0, 16, 20, 24, 32];
/// The case matters: Safari takes this spelling (the sample entry's) alone, Chromium and Firefox this and `flac`.
const RFC_6381: &str = "fLaC";

/// A frame header. What is 0 stands in STREAMINFO only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// PCM samples of a channel, 1 ..= 65,536.
    pub block_samples: u32,
    /// Hz.
    pub sample_rate: u32,
    /// 1 ..= 8.
    pub channels: u8,
    pub bits_per_sample: u8,
}

impl FrameHeader {
    /// Reads the header at the start of a frame. `None` when it is cut short, reserved, or its CRC is wrong.
    pub fn parse(frame: &[u8]) -> Option<FrameHeader> {
        let mut bits = BitReader::new(frame);
        if bits.bits(15)? != 0x7ffc {
            return None; // frame sync code
        }
        bits.skip(1)?; // blocking strategy
        let (block_code, rate_code, channel_code) = (bits.bits(4)?, bits.bits(4)?, bits.bits(4)?);
        let (depth_code, reserved) = (bits.bits(3)?, bits.flag()?);
        skip_coded_number(&mut bits)?;
        let block_samples = match block_code {
            1 => 192,
            2..=5 => 144 << block_code,
            6 => bits.bits(8)? + 1,
            7 => bits.bits(16)? + 1,
            8.. => 1 << block_code,
            _ => return None,
        };
        let sample_rate = match rate_code {
            0 => 0,
            12 => bits.bits(8)? * 1_000,
            13 => bits.bits(16)?,
            14 => bits.bits(16)? * 10,
            code => *SAMPLE_RATES.get(code as usize - 1)?,
        };
        let channels = match channel_code {
            0..=7 => channel_code as u8 + 1,
            8..=10 => 2, // left and side, side and right, mid and side
            _ => return None,
        };
        let header = frame.get(..bits.position() / 8)?;
        debug_assert!(header.len() <= HEADER_BYTES_MAX);
        let valid = depth_code != 3 && !reserved && bits.bits(8)? == crc8(header) as u32;
        valid.then_some(FrameHeader {
            block_samples,
            sample_rate,
            channels,
            bits_per_sample: BIT_DEPTHS[depth_code as usize],
        })
    }

    /// STREAMINFO of a stream of such frames: blocks of one size, frame sizes, length and checksum not known.
    fn stream_info(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(STREAM_INFO_BYTES);
        let mut bits = BitWriter::new(&mut bytes);
        let block_samples = self.block_samples.clamp(BLOCK_SAMPLES_MIN, u16::MAX as u32);
        bits.bits(block_samples, 16); // minimum block size
        bits.bits(block_samples, 16); // maximum block size
        bits.bits(0, 24); // minimum frame size
        bits.bits(0, 24); // maximum frame size
        bits.bits(self.sample_rate, 20);
        bits.bits(self.channels as u32 - 1, 3);
        bits.bits(self.bits_per_sample as u32 - 1, 5);
        bits.bits(0, 32); // number of samples, 36 bits
        bits.bits(0, 4);
        bytes.resize(STREAM_INFO_BYTES, 0); // MD5 checksum
        Bytes::from(bytes)
    }
}

/// Parameters of a whole frame; `None` when it leaves its rate or depth to STREAMINFO (then see [`params_of_stream_info`]).
pub fn params(frame: &[u8]) -> Option<AudioParams> {
    let header = FrameHeader::parse(frame)?;
    if header.sample_rate == 0 || header.bits_per_sample == 0 {
        return None;
    }
    Some(AudioParams {
        sample_rate: header.sample_rate,
        channels: header.channels,
        frame_samples: header.block_samples,
        rfc6381: RFC_6381.to_owned(),
        config: header.stream_info(),
    })
}

/// Parameters of a STREAMINFO block, as an encoder gives it. `None` when it is cut short or says no rate.
pub fn params_of_stream_info(stream_info: &[u8]) -> Option<AudioParams> {
    let block = stream_info.get(..STREAM_INFO_BYTES)?;
    let mut bits = BitReader::new(block);
    bits.skip(16)?;
    let frame_samples = bits.bits(16).filter(|&samples| samples >= BLOCK_SAMPLES_MIN)?;
    bits.skip(24 + 24)?;
    let sample_rate = bits.bits(20).filter(|&rate| rate > 0)?;
    let channels = bits.bits(3)? as u8 + 1;
    Some(AudioParams {
        sample_rate,
        channels,
        frame_samples,
        rfc6381: RFC_6381.to_owned(),
        config: Bytes::copy_from_slice(block),
    })
}

/// Bits a sample of a STREAMINFO block, 1 ..= 32; 16 when the block is cut short.
pub fn bits_per_sample(stream_info: &[u8]) -> u8 {
    // Five bits, less one, behind 103 bits: rate (20) and channels (3) after four sizes (80).
    match stream_info {
        [_, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => ((high & 1) << 4 | low >> 4) + 1,
        _ => 16,
    }
}

/// The number of the frame or of its first sample, written like an UTF-8 character of up to seven bytes (9.1.5).
fn skip_coded_number(bits: &mut BitReader<'_>) -> Option<()> {
    let first = bits.bits(8)? as u8;
    let continued = match first.leading_ones() {
        0 => 0,
        ones @ 2..=7 => ones - 1,
        _ => return None,
    };
    for _ in 0..continued {
        bits.bits(8).filter(|byte| byte >> 6 == 0b10)?;
    }
    Some(())
}

fn crc8(data: &[u8]) -> u8 {
    data.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| (crc << 1) ^ if crc & 0x80 != 0 { CRC8_POLYNOMIAL } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The header of the frame in RFC 9639 appendix D.1: 1 sample a block (code 6), 44.1 kHz, stereo, 16 bits, frame 0, CRC 0xbf.
    const HEADER: [u8; 7] = [0xff, 0xf8, 0x69, 0x18, 0x00, 0x00, 0xbf];

    /// A header behind which the right CRC stands.
    fn with_crc(header: &[u8]) -> Vec<u8> {
        [header, &[crc8(header)]].concat()
    }

    #[test]
    fn the_example_of_rfc_9639() {
        let header = FrameHeader::parse(&HEADER).unwrap();
        let expected = FrameHeader { block_samples: 1, sample_rate: 44_100, channels: 2, bits_per_sample: 16 };
        assert_eq!(header, expected);
        for index in 0..HEADER.len() {
            let mut broken = HEADER;
            broken[index] ^= 0x10;
            assert_eq!(FrameHeader::parse(&broken), None, "byte {index}");
            assert_eq!(FrameHeader::parse(&HEADER[..index]), None, "{index} bytes");
        }
    }

    #[test]
    fn parameters() {
        // 4,096 samples (code 12), 48 kHz (10), mid and side (10), 24 bits (6), frame 200 (two bytes)
        let found = params(&with_crc(&[0xff, 0xf8, 0xca, 0xac, 0xc3, 0x88])).unwrap();
        assert_eq!((found.sample_rate, found.channels, found.frame_samples), (48_000, 2, 4_096));
        assert_eq!(found.rfc6381, "fLaC");
        // blocks of 4,096, frame sizes 0, 48,000 (20 bits), 2 - 1 (3), 24 - 1 (5), no length, no checksum
        assert_eq!(found.config[..14], [0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x0b, 0xb8, 0x03, 0x70]);
        assert_eq!((found.config.len(), params_of_stream_info(&found.config)), (STREAM_INFO_BYTES, Some(found)));
        // block size in 16 bits (7), rate in units of 10 Hz (14), 6 channels, depth by STREAMINFO, variable blocks, sample 2^31
        let long =
            with_crc(&[0xff, 0xf9, 0x7e, 0x50, 0xfe, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x0f, 0xff, 0x12, 0xc0]);
        let header = FrameHeader::parse(&long).unwrap();
        assert_eq!((header.block_samples, header.sample_rate, header.channels), (4_096, 48_000, 6));
        assert_eq!(params(&long), None);
        assert_eq!(params_of_stream_info(&[0; STREAM_INFO_BYTES]), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(data in proptest::collection::vec(any::<u8>(), 0..40)) {
            let synced = [&[0xff, 0xf8][..], &data].concat();
            let crc_of_each_length = (3..synced.len()).filter_map(|len| params(&with_crc(&synced[..len])));
            prop_assert!(crc_of_each_length.into_iter().all(|params| params.config.len() == STREAM_INFO_BYTES));
            params_of_stream_info(&data);
        }
    }
}
