//! MPEG audio frames: layers I, II and III of MPEG-1 (ISO/IEC 11172-3 2.4.2.3), MPEG-2 (13818-3) and the half rates known as 2.5.
//!
//! What it deliberately does not do: free format, whose frame length only a search can tell, is refused.

use super::framer::audio::{Probe, SyncFrame};
use super::{AudioParams, Codec};
use bytes::Bytes;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 4;

/// bitrate_index, kbit/s, of MPEG-1 layers I, II, III.
const BITRATES_1: [[u32; 15]; 3] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
];
/// bitrate_index, kbit/s, of MPEG-2 and 2.5: layer I, then layers II and III.
const BITRATES_2: [[u32; 15]; 2] = [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// sampling_frequency of MPEG-1, Hz; MPEG-2 has the half, 2.5 a quarter.
const SAMPLE_RATES_1: [u32; 3] = [44_100, 48_000, 32_000];
/// mode 3: single channel.
const MODE_MONO: u8 = 3;

/// Looks for a header at the start of `data`, which begins with 0xff.
pub fn probe(data: &[u8]) -> Probe {
    let Some(&[_, second, third, fourth]) = data.first_chunk::<HEADER_BYTES>() else { return Probe::Short };
    let Some((codec, len, samples, sample_rate)) = read(second, third) else { return Probe::Bad };
    // Version, layer and rate must not change between frames that vouch for each other.
    let tag = 0xafu32 << 16 | (second as u32 & 0xfe) << 8 | third as u32 & 0x0c;
    let mono = (fourth >> 6 == MODE_MONO) as u64;
    Probe::Frame(SyncFrame {
        codec,
        len,
        header_len: 0,
        samples,
        sample_rate,
        tag,
        config: (tag as u64) << 1 | mono,
        extends: false,
    })
}

/// Parameters of a whole frame.
pub fn params(frame: &[u8]) -> Option<AudioParams> {
    let &[_, second, third, fourth] = frame.first_chunk::<HEADER_BYTES>()?;
    let (codec, _, frame_samples, sample_rate) = read(second, third)?;
    // Audio object types 32 to 34 of ISO/IEC 14496-3 are layers I to III; mp4a.40.34 is what HLS players know as MP3. The string of the object
    // type indication, mp4a.6B, helps nobody: Chromium's MSE takes no MP3 in MP4 by any name, Firefox's only the word `mp3`, for which
    // hls.js exchanges mp4a.40.34.
    let rfc6381 = match (codec, second >> 1 & 3) {
        (Codec::Mp3, _) => "mp4a.40.34",
        (_, 3) => "mp4a.40.32",
        _ => "mp4a.40.33",
    };
    Some(AudioParams {
        sample_rate,
        channels: if fourth >> 6 == MODE_MONO { 1 } else { 2 },
        frame_samples,
        rfc6381: rfc6381.to_owned(),
        config: Bytes::new(),
    })
}

/// Codec, frame length, samples and rate from the second and third header byte.
fn read(second: u8, third: u8) -> Option<(Codec, usize, u32, u32)> {
    let rate_shift = match second >> 3 & 3 {
        3 => 0, // MPEG-1
        2 => 1, // MPEG-2
        0 => 2, // MPEG-2.5
        _ => return None,
    };
    let layer = 4 - (second >> 1 & 3) as usize;
    let (bitrate_index, rate_index) = ((third >> 4) as usize, (third >> 2 & 3) as usize);
    let padding = (third >> 1 & 1) as u32;
    if second & 0xe0 != 0xe0 || layer == 4 || rate_index == 3 {
        return None;
    }
    let table = if rate_shift == 0 { &BITRATES_1[layer - 1] } else { &BITRATES_2[(layer - 1).min(1)] };
    let bitrate = table.get(bitrate_index).copied().filter(|&kbps| kbps > 0)? * 1_000;
    let sample_rate = SAMPLE_RATES_1[rate_index] >> rate_shift;
    let samples = match layer {
        1 => 384,
        3 if rate_shift > 0 => 576,
        _ => 1_152,
    };
    let len = if layer == 1 {
        (12 * bitrate / sample_rate + padding) * 4
    } else {
        samples / 8 * bitrate / sample_rate + padding
    };
    let codec = if layer == 3 { Codec::Mp3 } else { Codec::Mp2 };
    Some((codec, len as usize, samples, sample_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: [u8; 4]) -> Option<SyncFrame> {
        match probe(&header) {
            Probe::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    #[test]
    fn lengths_of_layers_and_versions() {
        // MPEG-1 layer II, 192 kbit/s (index 10), 48 kHz
        let found = frame([0xff, 0xfd, 0xa4, 0x00]).unwrap();
        assert_eq!((found.codec, found.len, found.samples, found.sample_rate), (Codec::Mp2, 576, 1_152, 48_000));
        // MPEG-1 layer III, 128 kbit/s (index 9), 44.1 kHz, padded
        let found = frame([0xff, 0xfb, 0x92, 0x00]).unwrap();
        assert_eq!((found.codec, found.len, found.samples), (Codec::Mp3, 418, 1_152));
        // MPEG-2 layer III, 64 kbit/s (index 8), 22.05 kHz
        let found = frame([0xff, 0xf3, 0x80, 0x00]).unwrap();
        assert_eq!((found.len, found.samples, found.sample_rate), (208, 576, 22_050));
        // MPEG-2.5 layer III, 8 kbit/s (index 1), 8 kHz
        let found = frame([0xff, 0xe3, 0x18, 0x00]).unwrap();
        assert_eq!((found.len, found.samples, found.sample_rate), (72, 576, 8_000));
        // MPEG-1 layer I, 384 kbit/s (index 12), 32 kHz
        let found = frame([0xff, 0xff, 0xc8, 0x00]).unwrap();
        assert_eq!((found.codec, found.len, found.samples), (Codec::Mp2, 576, 384));
    }

    #[test]
    fn refuses_free_format_and_reserved_values() {
        assert_eq!(frame([0xff, 0xfd, 0x04, 0]), None, "bitrate index 0 is free format");
        assert_eq!(frame([0xff, 0xfd, 0xf4, 0]), None, "bitrate index 15");
        assert_eq!(frame([0xff, 0xfd, 0xac, 0]), None, "rate index 3");
        assert_eq!(frame([0xff, 0xed, 0xa4, 0]), None, "version 1 is reserved");
        assert!(matches!(probe(&[0xff, 0xfd]), Probe::Short));
    }

    #[test]
    fn parameters() {
        let params = params(&[0xff, 0xfb, 0x92, 0xc0]).unwrap();
        assert_eq!((params.channels, params.sample_rate, params.rfc6381.as_str()), (1, 44_100, "mp4a.40.34"));
    }
}
