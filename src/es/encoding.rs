//! How a transcoded rendition is encoded: the part of its name that says how it differs from the source.
//!
//! The text is the key in URLs, metrics and logs: codec, then only what departs from the default, in this order and no other, so that an
//! encoding has one spelling: `h264-360p-25fps-800k-crf23-veryfast-interlaced`, `aac-96k-2ch`.
//!
//! What it deliberately does not do: decide who may ask for what; profiles are names of the config.
#![forbid(unsafe_code)]

use super::{Codec, TrackKind};
use crate::limits::{
    ENCODED_AUDIO_KBPS, ENCODED_CHANNELS_MAX, ENCODED_CRF_MAX, ENCODED_FPS_MAX, ENCODED_HEIGHT, ENCODED_VIDEO_KBPS,
};
use std::fmt;
use std::str::FromStr;

/// What a track is encoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    Video(VideoEncoding),
    Audio(AudioEncoding),
}

/// What pictures are encoded to. Nothing is ever enlarged: a smaller source keeps its size and frame rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VideoEncoding {
    /// One of [`VideoEncoding::CODECS`].
    pub codec: Codec,
    /// Lines of the picture at most, within [`ENCODED_HEIGHT`]; 0: the source's.
    pub height_max: u16,
    /// Frames a second at most, up to [`ENCODED_FPS_MAX`]; 0: the source's.
    pub fps_max: u8,
    /// Target and peak bit rate, within [`ENCODED_VIDEO_KBPS`]; 0: by the picture's size and the codec.
    pub kbps: u32,
    /// Constant quality below that rate, up to [`ENCODED_CRF_MAX`] on the codec's own scale; `None`: the rate alone.
    pub crf: Option<u8>,
    pub preset: Preset,
    /// Interlaced sources are made progressive, frame by frame.
    pub deinterlace: bool,
}

/// What sound is encoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudioEncoding {
    /// One of [`AudioEncoding::CODECS`].
    pub codec: Codec,
    /// Bit rate, within [`ENCODED_AUDIO_KBPS`]; 0: by the number of channels and the codec.
    pub kbps: u16,
    /// Channels at most, 1 to [`ENCODED_CHANNELS_MAX`]; 0: the source's.
    pub channels_max: u8,
}

/// Speed against quality, in x264's words; other encoders take what comes nearest. Slower ones come later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    Ultrafast,
    #[default]
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
}

impl Preset {
    pub const ALL: [Preset; 6] =
        [Preset::Ultrafast, Preset::Superfast, Preset::Veryfast, Preset::Faster, Preset::Fast, Preset::Medium];

    pub fn name(self) -> &'static str {
        match self {
            Preset::Ultrafast => "ultrafast",
            Preset::Superfast => "superfast",
            Preset::Veryfast => "veryfast",
            Preset::Faster => "faster",
            Preset::Fast => "fast",
            Preset::Medium => "medium",
        }
    }
}

impl VideoEncoding {
    /// What can be encoded to.
    pub const CODECS: [Codec; 6] = [Codec::H264, Codec::H265, Codec::Vp9, Codec::Vp8, Codec::Av1, Codec::Mpeg2Video];

    /// The source's size and rate, at the bit rate that suits them.
    pub const fn of(codec: Codec) -> VideoEncoding {
        let preset = Preset::Superfast;
        VideoEncoding { codec, height_max: 0, fps_max: 0, kbps: 0, crf: None, preset, deinterlace: true }
    }
}

impl AudioEncoding {
    /// What can be encoded to.
    pub const CODECS: [Codec; 6] = [Codec::Aac, Codec::Opus, Codec::Mp3, Codec::Mp2, Codec::Ac3, Codec::Eac3];

    /// The source's channels, at the bit rate that suits them.
    pub const fn of(codec: Codec) -> AudioEncoding {
        AudioEncoding { codec, kbps: 0, channels_max: 0 }
    }
}

impl Encoding {
    pub fn kind(self) -> TrackKind {
        match self {
            Encoding::Video(_) => TrackKind::Video,
            Encoding::Audio(_) => TrackKind::Audio,
        }
    }
    pub fn codec(self) -> Codec {
        match self {
            Encoding::Video(video) => video.codec,
            Encoding::Audio(audio) => audio.codec,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec().name())?;
        let mut number = |value: u32, unit: &str| if value == 0 { Ok(()) } else { write!(f, "-{value}{unit}") };
        match self {
            Encoding::Video(video) => {
                number(video.height_max.into(), "p")?;
                number(video.fps_max.into(), "fps")?;
                number(video.kbps, "k")?;
                if let Some(crf) = video.crf {
                    write!(f, "-crf{crf}")?;
                }
                if video.preset != Preset::default() {
                    write!(f, "-{}", video.preset.name())?;
                }
                f.write_str(if video.deinterlace { "" } else { "-interlaced" })
            }
            Encoding::Audio(audio) => {
                number(audio.kbps.into(), "k")?;
                number(audio.channels_max.into(), "ch")
            }
        }
    }
}

/// The text names no encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no encoding has this name")]
pub struct NoEncoding;

impl FromStr for Encoding {
    type Err = NoEncoding;

    /// Takes what [`fmt::Display`] writes and nothing else.
    fn from_str(text: &str) -> Result<Encoding, NoEncoding> {
        let mut words = text.split('-');
        let name = words.next().unwrap_or_default();
        let codec = Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or(NoEncoding)?;
        let mut encoding = match codec.kind() {
            TrackKind::Video if VideoEncoding::CODECS.contains(&codec) => Encoding::Video(VideoEncoding::of(codec)),
            TrackKind::Audio if AudioEncoding::CODECS.contains(&codec) => Encoding::Audio(AudioEncoding::of(codec)),
            _ => return Err(NoEncoding),
        };
        for word in words {
            match &mut encoding {
                Encoding::Video(video) => video.take(word),
                Encoding::Audio(audio) => audio.take(word),
            }
            .ok_or(NoEncoding)?;
        }
        // Another order, a word twice, a default spelt out: none of them is written like that.
        if encoding.to_string() == text { Ok(encoding) } else { Err(NoEncoding) }
    }
}

impl VideoEncoding {
    fn take(&mut self, word: &str) -> Option<()> {
        if let Some(crf) = word.strip_prefix("crf") {
            self.crf = Some(crf.parse().ok().filter(|crf| *crf <= ENCODED_CRF_MAX)?);
        } else if let Some(preset) = Preset::ALL.into_iter().find(|preset| preset.name() == word) {
            self.preset = preset;
        } else if word == "interlaced" {
            self.deinterlace = false;
        } else if let Some(fps) = word.strip_suffix("fps") {
            self.fps_max = fps.parse().ok().filter(|fps| *fps <= ENCODED_FPS_MAX)?;
        } else if let Some(height) = word.strip_suffix('p') {
            self.height_max = height.parse().ok().filter(|height| ENCODED_HEIGHT.contains(height))?;
        } else {
            let kbps = word.strip_suffix('k')?;
            self.kbps = kbps.parse().ok().filter(|kbps| ENCODED_VIDEO_KBPS.contains(kbps))?;
        }
        Some(())
    }
}

impl AudioEncoding {
    fn take(&mut self, word: &str) -> Option<()> {
        if let Some(channels) = word.strip_suffix("ch") {
            self.channels_max = channels.parse().ok().filter(|channels| *channels <= ENCODED_CHANNELS_MAX)?;
        } else {
            let kbps = word.strip_suffix('k')?;
            self.kbps = kbps.parse().ok().filter(|kbps| ENCODED_AUDIO_KBPS.contains(kbps))?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_has_one_spelling() {
        for good in [
            "h264",
            "h264-360p-800k",
            "vp9-720p-25fps-1500k-crf32-fast-interlaced",
            "av1-240p",
            "aac",
            "opus-96k-2ch",
            "ac3-6ch",
        ] {
            let encoding: Encoding = good.parse().unwrap();
            assert_eq!(encoding.to_string(), good);
        }
        for bad in [
            "",
            "h266",
            "h264-",
            "h264-800k-360p",
            "h264-0p",
            "h264-360p-360p",
            "h264-superfast",
            "h264-0360p",
            "h264-+8k",
            "aac-2ch-96k",
            "aac-360p",
            "flac",
            "teletext",
            "h264-360",
            "H264",
            "aac-0k",
            "h264-9999999k",
            "opus-99ch",
        ] {
            assert_eq!(bad.parse::<Encoding>(), Err(NoEncoding), "{bad}");
        }
    }
}
