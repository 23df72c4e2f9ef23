//! Encoders of sound.

use super::AvError;
use super::encoder::{Encoded, Encoder};
use super::frame::Frame;
use crate::es::Codec;
use ffmpeg_sys_next as ff;
use std::ffi::{CStr, c_int};

/// What a sound encoder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundSettings {
    pub codec: Codec,
    /// One that [`sample_rate`] names.
    pub sample_rate: u32,
    /// One that [`channels`] names.
    pub channels: u32,
    pub kbps: u16,
}

/// An encoder whose time base is its sample rate.
pub struct SoundEncoder {
    encoder: Encoder,
    settings: SoundSettings,
}

/// The rate that `codec` is encoded at for a source of `source` Hz: the source's where the codec has it, else 48 kHz.
pub fn sample_rate(codec: Codec, source: u32) -> u32 {
    let rates: &[u32] = match codec {
        Codec::Opus => &[48_000],
        Codec::Mp3 | Codec::Mp2 | Codec::Ac3 | Codec::Eac3 => &[48_000, 44_100, 32_000],
        _ => &[96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000],
    };
    if rates.contains(&source) { source } else { 48_000 }
}

/// The number of channels that `codec` is encoded with: as many as asked for, up to what it has, and in libav's default layout of that number.
pub fn channels(codec: Codec, wanted: u32) -> u32 {
    let most = match codec {
        Codec::Mp3 | Codec::Mp2 => 2,
        Codec::Ac3 | Codec::Eac3 => 6,
        _ => 8,
    };
    match wanted.clamp(1, most) {
        // libav's default is 2.1, which AAC and Opus have no configuration for.
        3 => 2,
        // 4.0 is none of Opus' mappings (RFC 7845 5.1.1.2), 6.1 none of AAC's channel configurations.
        4 if codec == Codec::Opus => 2,
        7 => 6,
        count => count,
    }
}

/// The bit rate asked for, or one that suits codec and channels; in codecs with a table of rates the next of that, in Opus at most what it has.
pub fn kbps(codec: Codec, asked: u16, channels: u32) -> u16 {
    let wanted = if asked > 0 { asked } else { usual_kbps(codec, channels) };
    let table: &[u16] = match codec {
        // ISO/IEC 11172-3 2.4.2.3, layers II and III. In layer II the rates of one channel end at 192, those of two begin at 64 without 80.
        Codec::Mp2 if channels == 1 => &[32, 48, 56, 64, 80, 96, 112, 128, 160, 192],
        Codec::Mp2 => &[64, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        Codec::Mp3 => &[32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        // ETSI TS 102 366 table F.4.
        Codec::Ac3 => &[32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640],
        Codec::Opus => return wanted.min(256 * channels as u16),
        _ => return wanted,
    };
    table.iter().copied().find(|rate| *rate >= wanted).unwrap_or(table[table.len() - 1])
}

fn usual_kbps(codec: Codec, channels: u32) -> u16 {
    let (mono, each_more) = match codec {
        Codec::Opus => (64, 32),
        Codec::Aac => (80, 48),
        Codec::Mp3 => (96, 64),
        Codec::Eac3 => (96, 64),
        // Rates of its table (ETSI TS 102 366 table F.4): 96, 192, 448 for mono, stereo and 5.1.
        Codec::Ac3 if channels > 2 => return 448,
        Codec::Ac3 => (96, 96),
        _ => (128, 64),
    };
    mono + each_more * (channels.saturating_sub(1) as u16)
}

impl SoundEncoder {
    pub fn open(settings: SoundSettings) -> Result<SoundEncoder, AvError> {
        let encoder = Encoder::open(names(settings.codec), |name, context, options| {
            context.sample_fmt = match name.to_bytes() {
                b"libopus" => ff::AVSampleFormat::AV_SAMPLE_FMT_FLT,
                b"mp2" => ff::AVSampleFormat::AV_SAMPLE_FMT_S16,
                _ => ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP,
            };
            context.sample_rate = settings.sample_rate as c_int;
            context.time_base = ff::AVRational { num: 1, den: settings.sample_rate as c_int };
            // SAFETY: writes the context's own layout.
            unsafe { ff::av_channel_layout_default(&mut context.ch_layout, settings.channels as c_int) };
            context.bit_rate = i64::from(settings.kbps) * 1_000;
            if name == c"aac" {
                // A third of the cost of its default, and no worse at these rates.
                options.set(c"aac_coder", "fast");
            }
        })?;
        Ok(SoundEncoder { encoder, settings })
    }

    pub fn settings(&self) -> &SoundSettings {
        &self.settings
    }

    /// PCM samples of each channel that a frame must have.
    pub fn frame_samples(&self) -> usize {
        // None of these encoders takes frames of any size.
        usize::try_from(self.encoder.context().frame_size).ok().filter(|size| *size > 0).unwrap_or(1_024)
    }

    pub(super) fn context(&self) -> &ff::AVCodecContext {
        self.encoder.context()
    }

    pub fn extradata(&self) -> &[u8] {
        self.encoder.extradata()
    }

    pub fn send(&mut self, frame: &Frame) -> Result<(), AvError> {
        self.encoder.send(frame)
    }

    /// Nothing follows; see [`Encoder::send_end`].
    pub fn send_end(&mut self) -> Result<(), AvError> {
        self.encoder.send_end()
    }

    pub fn receive(&mut self) -> Result<Option<Encoded<'_>>, AvError> {
        self.encoder.receive()
    }
}

fn names(codec: Codec) -> &'static [&'static CStr] {
    match codec {
        Codec::Aac => &[c"aac"],
        Codec::Opus => &[c"libopus"],
        Codec::Mp3 => &[c"libmp3lame"],
        Codec::Mp2 => &[c"mp2"],
        Codec::Ac3 => &[c"ac3"],
        Codec::Eac3 => &[c"eac3"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_codecs_table() {
        for (codec, asked, channels, expected) in [
            (Codec::Mp2, 100, 2, 112),
            (Codec::Mp2, 1_024, 1, 192),
            (Codec::Mp2, 0, 2, 192),
            (Codec::Ac3, 450, 6, 512),
            (Codec::Ac3, 0, 6, 448),
            (Codec::Mp3, 6, 2, 32),
            (Codec::Opus, 1_024, 2, 512),
            (Codec::Aac, 100, 2, 100),
        ] {
            assert_eq!(kbps(codec, asked, channels), expected, "{codec:?} {asked} {channels}");
        }
    }

    #[test]
    fn every_number_of_channels_can_be_encoded() {
        for codec in crate::es::encoding::AudioEncoding::CODECS {
            for wanted in 1..=8 {
                let channels = channels(codec, wanted);
                let kbps = kbps(codec, 0, channels);
                let settings = SoundSettings { codec, sample_rate: 48_000, channels, kbps };
                let opened = SoundEncoder::open(settings);
                assert!(opened.is_ok(), "{settings:?}: {}", opened.err().map(|e| e.to_string()).unwrap_or_default());
            }
        }
    }
}
