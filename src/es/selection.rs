//! What of a channel a viewer gets: which pictures, in which rungs, and which sound.
//!
//! A selection names encodings, not tracks. Fitted to the source's tracks it gives renditions ([`Selection::renditions`]).
#![forbid(unsafe_code)]

use super::carriage::Container;
use super::encoding::{AudioEncoding, Encoding, VideoEncoding};
use super::rendition::RenditionId;
use super::{Params, Track, TrackKind};
use crate::limits::LADDER_RUNGS_MAX;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One picture or sound of a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pick<E> {
    /// The source's own samples.
    Copy,
    Encode(E),
}

/// The pictures and the sound that a viewer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// What is made of the first video track: no rung is no picture, several are a ladder that players switch within, best first.
    rungs: [Option<Pick<VideoEncoding>>; LADDER_RUNGS_MAX],
    /// What is made of each audio track; `None`: no sound. A track that already is what `Encode` names is copied.
    pub audio: Option<Pick<AudioEncoding>>,
}

impl Selection {
    /// All of the source as it is.
    pub const SOURCE: Selection = Selection::new(Some(Pick::Copy), Some(Pick::Copy));

    /// One picture, or none, and a sound, or none.
    pub const fn new(video: Option<Pick<VideoEncoding>>, audio: Option<Pick<AudioEncoding>>) -> Selection {
        let mut rungs = [None; LADDER_RUNGS_MAX];
        rungs[0] = video;
        Selection { rungs, audio }
    }

    /// A ladder, best first. What is beyond [`LADDER_RUNGS_MAX`] or stands twice is left out.
    pub fn ladder(video: &[Pick<VideoEncoding>], audio: Option<Pick<AudioEncoding>>) -> Selection {
        let mut selection = Selection::new(None, audio);
        let mut count = 0;
        for pick in video {
            if count < LADDER_RUNGS_MAX && !selection.rungs.contains(&Some(*pick)) {
                selection.rungs[count] = Some(*pick);
                count += 1;
            }
        }
        selection
    }

    /// Pictures, best first.
    pub fn rungs(&self) -> impl DoubleEndedIterator<Item = Pick<VideoEncoding>> + use<> {
        self.rungs.into_iter().flatten()
    }
    pub fn has_video(&self) -> bool {
        self.rungs[0].is_some()
    }
    pub fn is_ladder(&self) -> bool {
        self.rungs[1].is_some()
    }
    /// The selection with each rung alone, best first: what a container that multiplexes all tracks is made of. Without picture: itself.
    pub fn singles(&self) -> impl Iterator<Item = Selection> + use<> {
        let audio = self.audio;
        let alone = (!self.has_video()).then_some(*self);
        self.rungs().map(move |pick| Selection::new(Some(pick), audio)).chain(alone)
    }
    /// Every encoding that it names.
    pub fn encodings(&self) -> impl Iterator<Item = Encoding> + use<> {
        let video = self.rungs().filter_map(|pick| match pick {
            Pick::Encode(video) => Some(Encoding::Video(video)),
            Pick::Copy => None,
        });
        let audio = match self.audio {
            Some(Pick::Encode(audio)) => Some(Encoding::Audio(audio)),
            _ => None,
        };
        video.chain(audio)
    }

    /// The renditions it makes of the source's tracks, for a container: pictures in the order of rungs, then sounds and, in TS, data in the order of
    /// tracks. What the container does not carry is left out.
    pub fn renditions(&self, tracks: &[Arc<Track>], container: Container) -> Vec<RenditionId> {
        let of_kind = |kind| tracks.iter().filter(move |track| track.kind() == kind);
        let mut found = Vec::new();
        for picture in of_kind(TrackKind::Video).take(1) {
            found.extend(self.rungs().map(|pick| match pick {
                Pick::Encode(video) => RenditionId::encoded(picture.id, Encoding::Video(video)),
                Pick::Copy => RenditionId::source(picture.id, TrackKind::Video),
            }));
        }
        // A source's further pictures travel on in a multiplex only, and with the first.
        let has_copy = self.rungs().any(|pick| pick == Pick::Copy);
        if container == Container::Ts && has_copy {
            found
                .extend(of_kind(TrackKind::Video).skip(1).map(|track| RenditionId::source(track.id, TrackKind::Video)));
        }
        if let Some(pick) = self.audio {
            found.extend(of_kind(TrackKind::Audio).map(|track| match pick {
                Pick::Encode(audio) if !is_already(track, audio) => {
                    RenditionId::encoded(track.id, Encoding::Audio(audio))
                }
                _ => RenditionId::source(track.id, TrackKind::Audio),
            }));
        }
        if container == Container::Ts {
            found.extend(of_kind(TrackKind::Data).map(|track| RenditionId::source(track.id, TrackKind::Data)));
        }
        found.retain(|id| match id.encoding {
            Some(encoding) => container.carries_encoded(encoding.codec()),
            None => tracks.iter().any(|track| track.id == id.track && container.carries(track.codec)),
        });
        found
    }
}

/// Whether a track needs no encoding to be what `audio` names. Its bit rate is no reason: sound costs little and loses by each encoding.
fn is_already(track: &Track, audio: AudioEncoding) -> bool {
    let channels = match &track.params {
        Some(Params::Audio(params)) => params.channels,
        _ => 0,
    };
    track.codec == audio.codec && (audio.channels_max == 0 || channels <= audio.channels_max)
}

/// As in the folder of a TS variant: `copy_copy`, `h264-360p-800k_aac-96k-2ch`, `none_copy`; the rungs of a ladder joined by `+`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pick) in self.rungs().enumerate() {
            f.write_str(if index > 0 { "+" } else { "" })?;
            match pick {
                Pick::Copy => f.write_str("copy")?,
                Pick::Encode(video) => write!(f, "{}", Encoding::Video(video))?,
            }
        }
        f.write_str(if self.has_video() { "_" } else { "none_" })?;
        match self.audio {
            None => f.write_str("none"),
            Some(Pick::Copy) => f.write_str("copy"),
            Some(Pick::Encode(audio)) => write!(f, "{}", Encoding::Audio(audio)),
        }
    }
}

/// The text names no selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no selection has this name")]
pub struct NoSelection;

impl FromStr for Selection {
    type Err = NoSelection;

    /// Takes what [`fmt::Display`] writes and nothing else.
    fn from_str(text: &str) -> Result<Selection, NoSelection> {
        let (video, audio) = text.split_once('_').ok_or(NoSelection)?;
        let mut rungs = Vec::new();
        for word in video.split('+').filter(|_| video != "none").take(LADDER_RUNGS_MAX + 1) {
            rungs.push(match (word, word.parse()) {
                ("copy", _) => Pick::Copy,
                (_, Ok(Encoding::Video(video))) => Pick::Encode(video),
                _ => return Err(NoSelection),
            });
        }
        let audio = match (audio, audio.parse()) {
            ("none", _) => None,
            ("copy", _) => Some(Pick::Copy),
            (_, Ok(Encoding::Audio(audio))) => Some(Pick::Encode(audio)),
            _ => return Err(NoSelection),
        };
        let selection = Selection::ladder(&rungs, audio);
        if selection.to_string() == text { Ok(selection) } else { Err(NoSelection) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_has_one_spelling() {
        for good in ["copy_copy", "none_opus-96k", "h264-360p-800k_aac-96k-2ch", "copy+h264-360p_copy", "none_none"] {
            assert_eq!(good.parse::<Selection>().unwrap().to_string(), good);
        }
        assert_eq!("copy_copy".parse(), Ok(Selection::SOURCE));
        for bad in ["", "copy", "_", "copy_", "_copy", "copy+copy_copy", "aac_h264", "none+copy_copy", "copy_copy_copy"]
        {
            assert_eq!(bad.parse::<Selection>(), Err(NoSelection), "{bad}");
        }
    }
}
