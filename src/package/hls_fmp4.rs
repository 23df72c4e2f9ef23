//! HLS with fMP4 segments: a media playlist for each track rendition, and the multivariant playlist that ties them together.
//!
//! URLs, below `/relay/channel/{id}/`: the multivariant playlist stands there under any name and points to
//! `{epoch}/{rendition}/media.m3u8`; media playlists point to `../../{epoch}/{rendition}/...`, so that they resolve for a player that
//! still polls the playlist of an epoch before.
//!
//! Audio tracks of one codec make a group; a variant is the video with one such group, so that a player that cannot decode AC-3 takes the
//! variant with AAC. All groups must have the same members (RFC 8216bis 4.4.6.1.1): what another group lacks it gets as AAC, which every
//! player decodes. The first main track of a group is its default, never an audio description.

use super::Text;
use super::cmaf::{CmafSegment, RenditionSnapshot};
use crate::es::language;
use crate::es::rendition::RenditionId;
use crate::es::{AudioRole, Codec, Params, Track};
use crate::hls::media::{self, Entry, Header};
use crate::hls::multivariant::{self, AudioRendition, Variant};
use crate::timeline::Epoch;
use std::fmt;
use std::sync::Arc;

/// The Media Playlist of a rendition over its listed segments; empty when there are none.
pub(super) fn playlist(epoch: Epoch, target_duration_s: u64, id: RenditionId, listed: &[&CmafSegment]) -> Text {
    let (Some(first), Some(last)) = (listed.first(), listed.last()) else { return Text::default() };
    let cut = &first.segment.cut;
    let header = Header {
        target_duration_s,
        media_sequence: cut.segment,
        discontinuity_sequence: cut.discontinuity_sequence.saturating_sub(u64::from(first.segment.is_marked(epoch))),
        independent_segments: is_independent(id, listed.iter().copied()),
    };
    let entries = listed.iter().map(|segment| entry(epoch, id, segment));
    let mut out = String::with_capacity(512 + listed.len() * 96);
    media::write(&header, entries, &mut out);
    Text::new(out, format!("\"{id}-{}-{}\"", epoch.id, last.segment.number()))
}

fn entry(epoch: Epoch, rendition: RenditionId, segment: &CmafSegment) -> Entry<Uri> {
    let uri = |file| Uri { epoch: epoch.id, rendition, file };
    Entry {
        uri: uri(File::Segment(segment.time)),
        map: Some(uri(File::Init(segment.init))),
        gap: segment.is_gap(),
        duration_90k: segment.segment.duration_90k,
        discontinuity: segment.segment.is_marked(epoch),
        program_date_time_us: segment.unix_us,
    }
}

/// Whether every segment begins with a sample that needs none before it.
pub(super) fn is_independent<'a>(id: RenditionId, mut listed: impl Iterator<Item = &'a CmafSegment>) -> bool {
    id.is_audio() || listed.all(|segment| segment.segment.cut.independent)
}

/// A file below an epoch, relative to a media playlist.
#[derive(Clone, Copy, PartialEq)]
struct Uri {
    epoch: u64,
    rendition: RenditionId,
    file: File,
}

#[derive(Clone, Copy, PartialEq)]
enum File {
    Init(u32),
    Segment(u64),
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "../../{}/{}/", self.epoch, self.rendition)?;
        match self.file {
            File::Init(hash) => write!(f, "init-{hash}.mp4"),
            File::Segment(time) => write!(f, "{time}.m4s"),
        }
    }
}

/// The Multivariant Playlist.
pub(super) fn multivariant(epoch: Epoch, renditions: &[Arc<RenditionSnapshot>]) -> String {
    let sounds: Vec<Sound<'_>> = renditions.iter().filter(|r| r.id.is_audio()).filter_map(|r| Sound::of(r)).collect();
    let groups = groups(&sounds);
    let pictures = renditions.iter().filter(|r| !r.id.is_audio());
    let mut variants: Vec<Variant> = Vec::new();
    let has_picture = pictures.clone().next().is_some();
    for picture in pictures {
        match groups.is_empty() {
            true => variants.push(variant(epoch, picture, None)),
            false => variants.extend(groups.iter().map(|group| variant(epoch, picture, Some(group)))),
        }
    }
    if !has_picture {
        variants = groups.iter().filter_map(|group| sound_alone(epoch, group)).collect();
    }
    let audio = groups.iter().filter(|group| has_picture || group.is_choice());
    let audio: Vec<AudioRendition> = audio.flat_map(|group| audio_renditions(epoch, group, has_picture)).collect();
    let independent = renditions.iter().all(|r| is_independent(r.id, r.listed().iter()));
    let mut out = String::with_capacity(1_024);
    multivariant::write(&audio, &variants, independent, &mut out);
    out
}

/// An audio rendition and what its newest init segment says.
#[derive(Clone, Copy)]
struct Sound<'a> {
    rendition: &'a RenditionSnapshot,
    track: &'a Track,
    codec: &'a str,
    channels: u8,
}

impl<'a> Sound<'a> {
    /// `None` for a track that went away: all that its playlist lists are gaps.
    fn of(rendition: &'a RenditionSnapshot) -> Option<Sound<'a>> {
        if !rendition.listed().is_empty() && rendition.listed().iter().all(CmafSegment::is_gap) {
            return None;
        }
        let track = &rendition.inits.last()?.track;
        match &track.params {
            Some(Params::Audio(audio)) => {
                Some(Sound { rendition, track, codec: &audio.rfc6381, channels: audio.channels })
            }
            _ => None,
        }
    }
}

impl Sound<'_> {
    /// Whether both say the same, in whatever codec.
    fn is_like(&self, other: &Sound<'_>) -> bool {
        (self.track.language, self.track.role) == (other.track.language, other.track.role)
    }
}

/// Sounds that one variant is played with.
struct Group<'a> {
    codec: Codec,
    sounds: Vec<Sound<'a>>,
}

impl Group<'_> {
    fn id(&self) -> &'static str {
        self.codec.name()
    }
    /// What its members need, each once.
    fn codecs(&self) -> Vec<String> {
        let mut codecs: Vec<String> = Vec::new();
        for sound in &self.sounds {
            if codecs.iter().all(|codec| codec != sound.codec) {
                codecs.push(sound.codec.to_owned());
            }
        }
        codecs
    }
    /// Bits a second of its largest member: peak and average.
    fn rates(&self) -> (u64, u64) {
        self.sounds.iter().map(|sound| sound.rendition.rates()).max().unwrap_or((0, 0))
    }
    /// Whether there is more than one to choose from.
    fn is_choice(&self) -> bool {
        self.sounds.len() > 1
    }
    fn default(&self) -> usize {
        self.sounds.iter().position(|sound| sound.track.role == AudioRole::Main).unwrap_or(0)
    }
}

/// Sounds by codec, in the source's order.
fn groups<'a>(sounds: &[Sound<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for sound in sounds {
        match groups.iter_mut().find(|group| group.codec == sound.track.codec) {
            Some(group) => group.sounds.push(*sound),
            None => groups.push(Group { codec: sound.track.codec, sounds: vec![*sound] }),
        }
    }
    for group in groups.iter_mut().filter(|group| group.codec != Codec::Aac) {
        for aac in sounds.iter().filter(|sound| sound.track.codec == Codec::Aac) {
            if group.sounds.iter().all(|sound| !sound.is_like(aac)) {
                group.sounds.push(*aac);
            }
        }
    }
    groups
}

fn variant(epoch: Epoch, picture: &RenditionSnapshot, group: Option<&Group<'_>>) -> Variant {
    let (peak, average) = picture.rates();
    let (sound_peak, sound_average) = group.map_or((0, 0), Group::rates);
    let mut variant = Variant {
        uri: playlist_uri(epoch, picture.id),
        bandwidth: peak + sound_peak,
        average_bandwidth: average + sound_average,
        audio_group: group.map(|group| group.id().to_owned()),
        ..Variant::default()
    };
    if let Some(Params::Video(video)) = picture.inits.last().and_then(|init| init.track.params.as_ref()) {
        variant.resolution = Some((video.width, video.height));
        variant.frame_rate = video.frame_rate;
        variant.codecs.push(video.rfc6381.clone());
    }
    variant.codecs.extend(group.map(Group::codecs).unwrap_or_default());
    variant
}

/// Sound without a picture: each group is a variant, whose own playlist is the group's default.
fn sound_alone(epoch: Epoch, group: &Group<'_>) -> Option<Variant> {
    let (bandwidth, average_bandwidth) = group.rates();
    Some(Variant {
        uri: playlist_uri(epoch, group.sounds.get(group.default())?.rendition.id),
        bandwidth,
        average_bandwidth,
        codecs: group.codecs(),
        audio_group: group.is_choice().then(|| group.id().to_owned()),
        ..Variant::default()
    })
}

/// `has_picture`: the default has a playlist beside the variant's; without, it is the variant's own, which must not be named twice.
fn audio_renditions(epoch: Epoch, group: &Group<'_>, has_picture: bool) -> Vec<AudioRendition> {
    let default = group.default();
    let rendition = |(index, sound): (usize, &Sound<'_>)| AudioRendition {
        group: group.id().to_owned(),
        name: name(sound.track),
        language: language_tag(sound.track).map(str::to_owned),
        default: index == default,
        autoselect: true,
        characteristics: (sound.track.role == AudioRole::VisualImpaired)
            .then_some("public.accessibility.describes-video"),
        channels: Some(sound.channels).filter(|channels| *channels > 0),
        uri: (has_picture || index != default).then(|| playlist_uri(epoch, sound.rendition.id)),
    };
    group.sounds.iter().enumerate().map(rendition).collect()
}

/// RFC 5646 tag of the track's language.
pub(super) fn language_tag(track: &Track) -> Option<&'static str> {
    track.language.and_then(language::tag)
}

/// What a menu calls the track.
pub(super) fn name(track: &Track) -> String {
    let language = track.language.and_then(language::name).unwrap_or("Audio");
    if track.language.is_some_and(language::is_audio_description) {
        return language.to_owned();
    }
    let suffix = match track.role {
        AudioRole::Main => "",
        AudioRole::CleanEffects => ", clean effects",
        AudioRole::HearingImpaired => ", hard of hearing",
        AudioRole::VisualImpaired => ", audio description",
    };
    format!("{language}{suffix}")
}

fn playlist_uri(epoch: Epoch, id: RenditionId) -> String {
    format!("{}/{id}/media.m3u8", epoch.id)
}
