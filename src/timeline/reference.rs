//! Which track leads (cuts and the wall anchor follow it), and which changes of the track list make a decoder start anew.
//!
//! Source: RFC 8216 4.3.2.3: EXT-X-DISCONTINUITY stands before a change of the number, type and identifiers of tracks and of
//! encoding parameters. A new PPS, bitrate, language or descriptor is none of these: decoders take it in their stride.
//!
//! What it deliberately does not do: keep the descriptions themselves; those travel in the ES rings.
#![forbid(unsafe_code)]

use crate::es::{Codec, Params, Track, TrackId, TrackKind};

/// What a decoder is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Picture { width: u32, height: u32 },
    Sound { sample_rate: u32, channels: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Described {
    id: TrackId,
    codec: Codec,
    /// `None` until the parameters arrived.
    shape: Option<Shape>,
}

/// The part of a track list that players must be told about when it changes. At most [`crate::limits::TRACKS_MAX`] entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Description(Vec<Described>);

impl Description {
    /// Of the video and audio tracks; data tracks never disturb a decoder.
    pub fn of(tracks: &[Track]) -> Self {
        let described = tracks.iter().filter(|track| track.kind() != TrackKind::Data);
        Description(
            described.map(|t| Described { id: t.id, codec: t.codec, shape: t.params.as_ref().map(shape) }).collect(),
        )
    }

    /// Whether going from `self` to `next` needs a decoder to be set up anew. Parameters that become known are no change.
    pub fn breaks_into(&self, next: &Description) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.len() != next.0.len() || self.0.iter().zip(&next.0).any(|(old, new)| old.differs(new))
    }

    /// Keeps shapes that were known when `next` does not say them (yet), so that a change over an unknown is still seen.
    pub fn carry_into(&self, next: &mut Description) {
        for new in next.0.iter_mut().filter(|new| new.shape.is_none()) {
            let old = self.0.iter().find(|old| old.id == new.id && old.codec == new.codec);
            new.shape = old.and_then(|old| old.shape);
        }
    }
}

impl Described {
    fn differs(&self, new: &Described) -> bool {
        let shape_differs = matches!((self.shape, new.shape), (Some(old), Some(new)) if old != new);
        self.id != new.id || self.codec != new.codec || shape_differs
    }
}

fn shape(params: &Params) -> Shape {
    match params {
        Params::Video(video) => Shape::Picture { width: video.width, height: video.height },
        Params::Audio(audio) => Shape::Sound { sample_rate: audio.sample_rate, channels: audio.channels },
    }
}

/// The reference track: the first video, else the first audio track.
pub(super) fn reference_of(tracks: &[Track]) -> Option<TrackId> {
    let first = |kind| tracks.iter().find(|track| track.kind() == kind);
    first(TrackKind::Video).or_else(|| first(TrackKind::Audio)).map(|track| track.id)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::es::{AudioParams, AudioRole, TsStream, VideoParams};
    use bytes::Bytes;

    pub fn video(id: u16, height: Option<u32>) -> Track {
        let params = height.map(|height| {
            Params::Video(VideoParams {
                width: height * 16 / 9,
                height,
                sar: (1, 1),
                frame_rate: Some((25, 1)),
                interlaced: false,
                rfc6381: String::new(),
                parameter_sets: Vec::new(),
            })
        });
        track(id, Codec::H264, params)
    }

    pub fn audio(id: u16, sample_rate: u32) -> Track {
        let params =
            AudioParams { sample_rate, channels: 2, frame_samples: 1024, rfc6381: String::new(), config: Bytes::new() };
        track(id, Codec::Aac, Some(Params::Audio(params)))
    }

    fn track(id: u16, codec: Codec, params: Option<Params>) -> Track {
        Track { id: TrackId(id), codec, language: None, role: AudioRole::Main, ts: TsStream::default(), params }
    }

    #[test]
    fn video_leads_wherever_it_stands() {
        let data = track(0, Codec::Teletext, None);
        assert_eq!(reference_of(std::slice::from_ref(&data)), None);
        assert_eq!(reference_of(&[data.clone(), audio(1, 48_000)]), Some(TrackId(1)));
        assert_eq!(reference_of(&[data, audio(1, 48_000), video(2, None)]), Some(TrackId(2)));
    }

    #[test]
    fn only_what_a_decoder_minds_is_a_break() {
        let of = |tracks: &[Track]| Description::of(tracks);
        let plain = of(&[video(0, Some(720)), audio(1, 48_000)]);
        assert!(!Description::default().breaks_into(&plain));
        assert!(!of(&[video(0, None), audio(1, 48_000)]).breaks_into(&plain));
        assert!(!plain.breaks_into(&of(&[video(0, Some(720)), audio(1, 48_000), track(7, Codec::Scte35, None)])));
        assert!(plain.breaks_into(&of(&[video(0, Some(1080)), audio(1, 48_000)])));
        assert!(plain.breaks_into(&of(&[video(0, Some(720)), audio(1, 44_100)])));
        assert!(plain.breaks_into(&of(&[video(0, Some(720))])));
        assert!(plain.breaks_into(&of(&[video(3, Some(720)), audio(1, 48_000)])));
    }

    #[test]
    fn a_size_change_is_seen_over_an_unknown() {
        let known = Description::of(&[video(0, Some(720))]);
        let mut unknown = Description::of(&[video(0, None)]);
        known.carry_into(&mut unknown);
        assert!(unknown.breaks_into(&Description::of(&[video(0, Some(576))])));
    }
}
