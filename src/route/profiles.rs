//! What viewers may have made of a source: profiles by name, and an encoding for each codec. Plain data, built from the configuration.
//!
//! What it deliberately does not do: take numbers from a viewer. All that one can ask for is one of these.
#![forbid(unsafe_code)]

use crate::es::encoding::{AudioEncoding, Encoding, VideoEncoding};
use crate::es::selection::Selection;
use crate::es::{Codec, TrackKind};
use std::collections::HashSet;

/// Profiles and encodings. The default is a relay that transcodes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiles {
    named: Vec<(String, Selection)>,
    is_enabled: bool,
    /// How codecs are encoded that are asked for by name alone, where that is configured.
    by_codec: Vec<Encoding>,
    /// Client detection alone may have pictures, and sound, made.
    auto: (bool, bool),
}

impl Profiles {
    /// `named`: the profiles; `auto_video`, `auto_audio`: what client detection alone may start.
    pub fn new(named: Vec<(String, Selection)>, auto_video: bool, auto_audio: bool) -> Profiles {
        Profiles { named, is_enabled: true, by_codec: Vec::new(), auto: (auto_video, auto_audio) }
    }

    /// With these encodings for their codecs, of which each stands once.
    pub fn with_codecs(self, by_codec: Vec<Encoding>) -> Profiles {
        Profiles { by_codec, ..self }
    }

    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The profile of this name.
    pub fn find(&self, name: &str) -> Option<Selection> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, selection)| *selection)
    }

    /// The names, as configured.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| name.as_str())
    }

    /// How a codec is encoded that is asked for by its name alone; `None` for one that is not encoded.
    pub fn video(&self, codec: Codec) -> Option<VideoEncoding> {
        let configured = self.by_codec.iter().find_map(|encoding| match encoding {
            Encoding::Video(video) if video.codec == codec => Some(*video),
            _ => None,
        });
        let encoding = || configured.unwrap_or_else(|| VideoEncoding::of(codec));
        (self.is_enabled && VideoEncoding::CODECS.contains(&codec)).then(encoding)
    }

    /// The same for sound.
    pub fn audio(&self, codec: Codec) -> Option<AudioEncoding> {
        let configured = self.by_codec.iter().find_map(|encoding| match encoding {
            Encoding::Audio(audio) if audio.codec == codec => Some(*audio),
            _ => None,
        });
        let encoding = || configured.unwrap_or_else(|| AudioEncoding::of(codec));
        (self.is_enabled && AudioEncoding::CODECS.contains(&codec)).then(encoding)
    }

    /// Whether client detection alone may have this kind of track made.
    pub fn is_automatic(&self, kind: TrackKind) -> bool {
        let (video, audio) = self.auto;
        self.is_enabled && if kind == TrackKind::Video { video } else { audio }
    }

    /// Everything that viewers can have made.
    pub fn encodings(&self) -> HashSet<Encoding> {
        if !self.is_enabled {
            return HashSet::new();
        }
        // A codec asked for along with a profile takes the profile's size and rate.
        let by_codec = |encoding| -> Vec<Encoding> {
            match encoding {
                Encoding::Video(video) => {
                    let recoded = |codec| Encoding::Video(VideoEncoding { codec, ..video });
                    VideoEncoding::CODECS.into_iter().map(recoded).collect()
                }
                Encoding::Audio(audio) => {
                    let recoded = |codec| Encoding::Audio(AudioEncoding { codec, ..audio });
                    AudioEncoding::CODECS.into_iter().map(recoded).collect()
                }
            }
        };
        let plain_video = VideoEncoding::CODECS.into_iter().filter_map(|codec| self.video(codec)).map(Encoding::Video);
        let plain_audio = AudioEncoding::CODECS.into_iter().filter_map(|codec| self.audio(codec)).map(Encoding::Audio);
        let of_profiles = self.named.iter().flat_map(|(_, selection)| selection.encodings()).flat_map(by_codec);
        plain_video.chain(plain_audio).chain(of_profiles).collect()
    }
}
