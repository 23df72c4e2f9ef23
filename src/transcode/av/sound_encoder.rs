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

/// The number of channels that `codec` is encoded with: as many as asked for, up to what it has.
pub fn channels(codec: Codec, wanted: u32) -> u32 {
    let most = match codec {
        Codec::Mp3 | Codec::Mp2 => 2,
        Codec::Ac3 | Codec::Eac3 => 6,
        _ => 8,
    };
    wanted.clamp(1, most)
}

/// The bit rate asked for, or one that suits codec and channels.
pub fn kbps(codec: Codec, asked: u16, channels: u32) -> u16 {
    if asked > 0 {
        return asked;
    }
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

    /// Samples that the encoder puts in front of the first one it is given.
    pub fn delay_samples(&self) -> i64 {
        self.encoder.context().initial_padding.max(0).into()
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
