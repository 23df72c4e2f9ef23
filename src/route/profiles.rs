//! What viewers may have made of a source: profiles by name, and an encoding for each codec. Plain data, built from the configuration.
//!
//! What it deliberately does not do: take numbers from a viewer. All that one can ask for is one of these.
#![forbid(unsafe_code)]

use crate::es::encoding::{AudioEncoding, Encoding, VideoEncoding};
use crate::es::selection::{Pick, Selection};
use crate::es::{Codec, TrackKind};
use std::collections::HashSet;

/// Profiles and encodings. The default is a relay that transcodes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiles {
    named: Vec<(String, Selection)>,
    is_enabled: bool,
    /// Client detection alone may have pictures, and sound, made.
    auto: (bool, bool),
}

impl Profiles {
    /// `named`: the profiles; `auto_video`, `auto_audio`: what client detection alone may start.
    pub fn new(named: Vec<(String, Selection)>, auto_video: bool, auto_audio: bool) -> Profiles {
        Profiles { named, is_enabled: true, auto: (auto_video, auto_audio) }
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
        (self.is_enabled && VideoEncoding::CODECS.contains(&codec)).then(|| VideoEncoding::of(codec))
    }

    /// The same for sound.
    pub fn audio(&self, codec: Codec) -> Option<AudioEncoding> {
        (self.is_enabled && AudioEncoding::CODECS.contains(&codec)).then(|| AudioEncoding::of(codec))
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
        let by_codec = |encoding: VideoEncoding| {
            // A codec asked for along with a profile takes the profile's size and rate.
            VideoEncoding::CODECS.map(|codec| Encoding::Video(VideoEncoding { codec, ..encoding }))
        };
        let plain_video = VideoEncoding::CODECS.map(|codec| Encoding::Video(VideoEncoding::of(codec)));
        let plain_audio = AudioEncoding::CODECS.map(|codec| Encoding::Audio(AudioEncoding::of(codec)));
        let of_profiles = self.named.iter().flat_map(|(_, selection)| selection.rungs());
        let of_profiles = of_profiles.filter_map(|pick| match pick {
            Pick::Encode(video) => Some(by_codec(video)),
            Pick::Copy => None,
        });
        let own = self.named.iter().flat_map(|(_, selection)| selection.encodings());
        plain_video.into_iter().chain(plain_audio).chain(of_profiles.flatten()).chain(own).collect()
    }
}
