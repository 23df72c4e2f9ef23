//! A decision meets the source: what of it the format carries, what is left out and why, or that nothing is left.
//!
//! What it deliberately does not do: place or start what is to be made.
#![forbid(unsafe_code)]

use super::ask::Wanted;
use super::decide::Choice;
use super::decodes;
use super::headers::CodecSet;
use super::profiles::Profiles;
use crate::es::carriage::Container;
use crate::es::encoding::{AudioEncoding, VideoEncoding};
use crate::es::selection::{Pick, Selection};
use crate::es::{Codec, TrackKind};
use crate::metrics::Format;
use std::fmt::Write as _;

/// What the client gets, now that the source is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub format: Format,
    /// What of the source, and made of it.
    pub selection: Selection,
    /// The URL alone decided: the answer is the same for every client.
    pub by_url: bool,
    /// The value of `X-Relay-Decision`: format, reason, what is made, and what was left out, for example
    /// `hls-fmp4; User-Agent: Safari; without mp2: not carried in CMAF`. One line of printable ASCII.
    pub decision: String,
}

/// Nothing of the source is left in any format that the client takes: 406, and why, in one line that names what would work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NothingLeft(pub String);

/// What becomes of a source in one format.
#[derive(Clone, Copy, Debug)]
struct Plan {
    format: Format,
    selection: Selection,
    /// Whether a picture, and sound, is left that the client decodes.
    keeps: (bool, bool),
    /// Whether that is the source's own.
    copies: (bool, bool),
}

/// What can be made for a client that says nothing, best first.
const VIDEO_ORDER: [Codec; 6] = [Codec::H264, Codec::Vp9, Codec::Av1, Codec::H265, Codec::Vp8, Codec::Mpeg2Video];
const AUDIO_ORDER: [Codec; 6] = [Codec::Aac, Codec::Opus, Codec::Mp3, Codec::Ac3, Codec::Eac3, Codec::Mp2];

impl Choice {
    /// Fits the choice to the source's audio and video codecs; those of data tracks are passed over. An empty `source` is one that is
    /// not known yet, and no objection.
    ///
    /// What the request asks for by parameters is made, or refused. Else the source's own is taken where container and client take it, and what they take is
    /// made of it where that is allowed. Picture goes before sound, and both before not having to make them: the fallback is taken when it keeps more.
    /// A track that the container cannot carry is left out by name. One that the client did not ask for is named too, but stays in
    /// playlists, which all viewers share.
    ///
    /// # Errors
    /// [`NothingLeft`] when no track is left in any format of the choice, or what is asked for cannot be had.
    pub fn settle(&self, source: &[Codec], profiles: &Profiles) -> Result<Settled, NothingLeft> {
        let source = leading(source);
        let plan = self.best_plan(source, profiles, self.decodes)?;
        let (format, selection) = (plan.format, plan.selection);
        let is_same = |decodes| match self.best_plan(source, profiles, decodes) {
            Ok(other) => (other.format, other.selection) == (format, selection),
            Err(_) => false,
        };
        let by_url = self.by_url && decodes::classes().all(is_same);
        Ok(Settled { format, selection, by_url, decision: self.explain(&plan, source) })
    }

    fn best_plan(&self, source: CodecSet, profiles: &Profiles, decodes: CodecSet) -> Result<Plan, NothingLeft> {
        let first = self.plan(self.format, source, profiles, decodes);
        let Some(fallback) = self.fallback else { return first };
        let other = self.plan(fallback, source, profiles, decodes);
        let grade = |plan: &Plan| (plan.keeps, plan.copies);
        match (first, other) {
            (Ok(first), Ok(other)) if grade(&other) > grade(&first) => Ok(other),
            (Err(_), Ok(other)) => Ok(other),
            (first, _) => first,
        }
    }

    fn plan(
        &self,
        format: Format,
        source: CodecSet,
        profiles: &Profiles,
        decodes: CodecSet,
    ) -> Result<Plan, NothingLeft> {
        let container = format.container();
        let of_kind = |kind| source.iter().filter(move |codec| codec.kind() == kind);
        let fits = |codec: &Codec| container.carries(*codec) && self.wish.takes(*codec);
        let plays = |codec: &Codec| fits(codec) && decodes.contains(*codec);
        let video = self.video(container, source, profiles, decodes)?;
        let audio = self.audio(container, source, profiles, decodes)?;
        let has_video = of_kind(TrackKind::Video).next().is_some();
        let rungs = match format {
            // One stream cannot switch.
            Format::MpegTs => &video[..video.len().min(1)],
            _ => &video[..],
        };
        let selection = Selection::ladder(rungs, audio);
        let made = |encodes: bool, kind| encodes || of_kind(kind).any(|codec| fits(&codec));
        let encodes_video = rungs.iter().any(|pick| *pick != Pick::Copy);
        let encodes_audio = matches!(audio, Some(Pick::Encode(_)));
        let (has_picture, has_sound) = (
            has_video && !rungs.is_empty() && made(encodes_video, TrackKind::Video),
            audio.is_some() && made(encodes_audio, TrackKind::Audio),
        );
        if source.iter().next().is_some() && !has_picture && !has_sound {
            let is_left_out =
                (rungs.is_empty() || !has_video) && (audio.is_none() || of_kind(TrackKind::Audio).next().is_none());
            return Err(if is_left_out { unwanted(has_video) } else { self.nothing_left(source) });
        }
        let plays_kind = |kind| of_kind(kind).any(|codec| plays(&codec));
        Ok(Plan {
            format,
            selection,
            keeps: (
                has_picture && (encodes_video || plays_kind(TrackKind::Video)),
                has_sound && (encodes_audio || plays_kind(TrackKind::Audio)),
            ),
            copies: (has_picture && !encodes_video, has_sound && !encodes_audio),
        })
    }

    /// What is made of the source's picture.
    fn video(
        &self,
        container: Container,
        source: CodecSet,
        profiles: &Profiles,
        decodes: CodecSet,
    ) -> Result<Vec<Pick<VideoEncoding>>, NothingLeft> {
        let videos: Vec<Codec> = source.iter().filter(|codec| codec.kind() == TrackKind::Video).collect();
        let Some(own) = videos.first().copied() else { return Ok(vec![Pick::Copy]) };
        let of_profile: Option<Vec<_>> = self.ask.profile.map(|profile| profile.rungs().collect());
        match self.ask.video {
            Some(Wanted::None) => return Ok(Vec::new()),
            Some(Wanted::Copy) if container.carries(own) => return Ok(vec![Pick::Copy]),
            Some(Wanted::Copy) => return Err(not_carried(own, container)),
            Some(Wanted::Codec(codec)) if of_profile.is_none() && codec == own && container.carries(own) => {
                return Ok(vec![Pick::Copy]);
            }
            Some(Wanted::Codec(codec)) => {
                let plain = profiles.video(codec).ok_or_else(|| not_made(codec))?;
                if !container.carries_encoded(codec) {
                    return Err(not_carried(codec, container));
                }
                let recoded = |pick| match pick {
                    Pick::Encode(encoding) => Pick::Encode(VideoEncoding { codec, ..encoding }),
                    Pick::Copy => Pick::Encode(plain),
                };
                // A profile without picture says nothing of how one is made.
                let rungs = of_profile.filter(|rungs| !rungs.is_empty()).unwrap_or_else(|| vec![Pick::Encode(plain)]);
                return Ok(rungs.into_iter().map(recoded).collect());
            }
            None => {}
        }
        if let Some(rungs) = of_profile {
            let carried = |pick: &Pick<VideoEncoding>| match pick {
                Pick::Encode(encoding) => container.carries_encoded(encoding.codec),
                Pick::Copy => container.carries(own),
            };
            return match rungs.iter().find(|pick| !carried(pick)) {
                Some(Pick::Encode(encoding)) => Err(not_carried(encoding.codec, container)),
                Some(Pick::Copy) => Err(not_carried(own, container)),
                None => Ok(rungs),
            };
        }
        let takes = |codec: Codec| self.wish.takes(codec) && decodes.contains(codec);
        if videos.iter().any(|codec| takes(*codec) && container.carries(*codec)) {
            return Ok(vec![Pick::Copy]);
        }
        let is_wished = self.wish.video.is_some();
        let may = is_wished && profiles.is_enabled() || profiles.is_automatic(TrackKind::Video);
        let made = VIDEO_ORDER.into_iter().filter(|_| may).filter(|codec| takes(*codec));
        let made = made.filter(|codec| container.carries_encoded(*codec)).find_map(|codec| profiles.video(codec));
        match made {
            Some(encoding) => Ok(vec![Pick::Encode(encoding)]),
            None if is_wished && !videos.iter().any(|codec| self.wish.takes(*codec)) => Err(self.nothing_left(source)),
            None => Ok(vec![Pick::Copy]),
        }
    }

    /// What is made of the source's sound.
    fn audio(
        &self,
        container: Container,
        source: CodecSet,
        profiles: &Profiles,
        decodes: CodecSet,
    ) -> Result<Option<Pick<AudioEncoding>>, NothingLeft> {
        let audios: Vec<Codec> = source.iter().filter(|codec| codec.kind() == TrackKind::Audio).collect();
        if audios.is_empty() {
            return Ok(Some(Pick::Copy));
        }
        match self.ask.audio {
            Some(Wanted::None) => return Ok(None),
            Some(Wanted::Copy) => {
                let is_carried = audios.iter().any(|codec| container.carries(*codec));
                return if is_carried { Ok(Some(Pick::Copy)) } else { Err(not_carried(audios[0], container)) };
            }
            Some(Wanted::Codec(codec)) => {
                let of_profile = self.ask.profile.and_then(|profile| profile.audio);
                if of_profile.is_none() && audios == [codec] && container.carries(codec) {
                    return Ok(Some(Pick::Copy));
                }
                let plain = profiles.audio(codec).ok_or_else(|| not_made(codec))?;
                let encoding = match of_profile {
                    Some(Pick::Encode(encoding)) => AudioEncoding { codec, ..encoding },
                    _ => plain,
                };
                return match container.carries_encoded(codec) {
                    true => Ok(Some(Pick::Encode(encoding))),
                    false => Err(not_carried(codec, container)),
                };
            }
            None => {}
        }
        if let Some(profile) = self.ask.profile {
            return match profile.audio {
                Some(Pick::Encode(encoding)) if !container.carries_encoded(encoding.codec) => {
                    Err(not_carried(encoding.codec, container))
                }
                audio => Ok(audio),
            };
        }
        let takes = |codec: Codec| self.wish.takes(codec) && decodes.contains(codec);
        if audios.iter().any(|codec| takes(*codec) && container.carries(*codec)) {
            return Ok(Some(Pick::Copy));
        }
        let may = self.wish.audio.is_some() && profiles.is_enabled() || profiles.is_automatic(TrackKind::Audio);
        let made = AUDIO_ORDER.into_iter().filter(|_| may).filter(|codec| takes(*codec));
        let made = made.filter(|codec| container.carries_encoded(*codec)).find_map(|codec| profiles.audio(codec));
        Ok(Some(made.map_or(Pick::Copy, Pick::Encode)))
    }

    /// The value of `X-Relay-Decision`.
    fn explain(&self, plan: &Plan, source: CodecSet) -> String {
        let format = plan.format;
        let mut text = format!("{}; {}", format.name(), self.why);
        self.explain_made(plan, source, &mut text);
        // What is made of a track is not left out.
        let made = |kind| match kind {
            TrackKind::Video => plan.selection.rungs().all(|pick| pick != Pick::Copy),
            _ => plan.selection.audio != Some(Pick::Copy),
        };
        let source: CodecSet = source.iter().filter(|codec| !made(codec.kind())).collect();
        if format != self.format {
            let _ = write!(text, "; not {}", self.format.name());
            note(
                &mut text,
                source.iter().filter(|&codec| !self.format.container().carries(codec)),
                ": ",
                " not carried in ",
            );
            text.push_str(container_name(self.format));
        }
        let carried = |codec: &Codec| format.container().carries(*codec);
        if !source.iter().all(|codec| carried(&codec)) {
            text.push_str("; ");
            note(&mut text, source.iter().filter(|codec| !carried(codec)), "without ", ": not carried in ");
            text.push_str(container_name(format));
        }
        for (kind, field) in [(TrackKind::Video, "X-Video-Codec"), (TrackKind::Audio, "X-Audio-Codec")] {
            let unwanted = || source.iter().filter(|c| carried(c) && c.kind() == kind && !self.wish.takes(*c));
            if unwanted().next().is_some() {
                text.push_str("; ");
                note(&mut text, unwanted(), "not asked for: ", "");
                let _ = write!(text, " ({field})");
            }
        }
        text
    }

    /// What is made, of what, and for whose sake.
    fn explain_made(&self, plan: &Plan, source: CodecSet, text: &mut String) {
        for encoding in plan.selection.encodings() {
            let kind = encoding.kind();
            let asked = match kind {
                TrackKind::Video => self.ask.video.is_some(),
                _ => self.ask.audio.is_some(),
            };
            let of = || source.iter().filter(|codec| codec.kind() == kind);
            if of().next().is_none() {
                continue;
            }
            let why =
                match (asked || self.ask.profile.is_some(), of().any(|codec| plan.format.container().carries(codec))) {
                    (true, _) => "asked for".to_owned(),
                    (_, true) if of().all(|codec| self.wish.takes(codec)) => {
                        "the client does not decode that".to_owned()
                    }
                    (_, true) => "asked for by a header".to_owned(),
                    (_, false) => format!("not carried in {}", container_name(plan.format)),
                };
            let _ = write!(text, "; {encoding}");
            note(text, of(), " of ", "");
            let _ = write!(text, ": {why}");
        }
    }

    fn nothing_left(&self, source: CodecSet) -> NothingLeft {
        let mut text = String::new();
        note(&mut text, source.iter(), "the source has ", "");
        let wanted = |codec| self.wish.takes(codec);
        let videos = || source.iter().filter(|codec| codec.kind() == TrackKind::Video);
        let field = match (videos().next(), videos().any(wanted), source.iter().any(wanted)) {
            (Some(_), false, _) => Some(("X-Video-Codec", self.wish.video)),
            (None, _, false) => Some(("X-Audio-Codec", self.wish.audio)),
            _ => None,
        };
        if let Some((field, set)) = field {
            let _ = write!(text, ", {field} asks for ");
            match set.filter(|set| set.iter().next().is_some()) {
                Some(set) => note(&mut text, set.iter(), "", ""),
                None => text.push_str("no codec that is known"),
            }
            text.push_str(", and nothing is transcoded");
        } else {
            let _ = write!(text, ", which {} does not carry", container_name(self.format));
        }
        let matters = |codec: &Codec| videos().next().is_none() || codec.kind() == TrackKind::Video;
        let works = |format: &Format| source.iter().any(|codec| matters(&codec) && format.container().carries(codec));
        let names: Vec<&str> = Format::ALL.iter().filter(|format| works(format)).map(|format| format.name()).collect();
        if !names.is_empty() {
            let without = field.map_or(String::new(), |(field, _)| format!(" without {field}"));
            let _ = write!(text, "; {} would work{without}", names.join(", "));
        }
        NothingLeft(text)
    }
}

fn not_carried(codec: Codec, container: Container) -> NothingLeft {
    let works: Vec<&str> = Format::ALL
        .iter()
        .filter(|format| format.container() != container && format.container().carries_encoded(codec))
        .map(|format| format.name())
        .collect();
    let name = match container {
        Container::Ts => "MPEG-TS",
        Container::Cmaf => "CMAF",
    };
    let remedy = if works.is_empty() { String::new() } else { format!("; {} would work", works.join(", ")) };
    NothingLeft(format!("{name} does not carry {}{remedy}", codec.name()))
}

/// What the request leaves of a source with a picture, or without one, is nothing.
fn unwanted(has_video: bool) -> NothingLeft {
    let (has, lacks) = if has_video { ("a picture", "none") } else { ("sound only", "no sound") };
    NothingLeft(format!("the source has {has}, and the request asks for {lacks}; leave out video, audio or profile"))
}

/// The codecs of the tracks that a selection is made of: of several pictures the first, and all sounds.
fn leading(source: &[Codec]) -> CodecSet {
    let of_kind = |kind| source.iter().copied().filter(move |codec| codec.kind() == kind);
    of_kind(TrackKind::Video).take(1).chain(of_kind(TrackKind::Audio)).collect()
}

fn not_made(codec: Codec) -> NothingLeft {
    NothingLeft(format!("the source has no {}, and nothing is transcoded here", codec.name()))
}

/// Appends the codecs' names between two texts: `without ` `ac3 and mp2` `: `.
fn note(text: &mut String, codecs: impl Iterator<Item = Codec>, before: &str, after: &str) {
    text.push_str(before);
    let mut codecs = codecs.peekable();
    let mut first = true;
    while let Some(codec) = codecs.next() {
        match (first, codecs.peek()) {
            (true, _) => {}
            (false, Some(_)) => text.push_str(", "),
            (false, None) => text.push_str(" and "),
        }
        text.push_str(codec.name());
        first = false;
    }
    text.push_str(after);
}

fn container_name(format: Format) -> &'static str {
    match format.container() {
        Container::Ts => "MPEG-TS",
        Container::Cmaf => "CMAF",
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::{Client, decide};
    use super::super::rules::Rules;
    use super::*;
    use Codec::*;

    #[test]
    fn codecs_are_listed_as_in_a_sentence() {
        let listed = |codecs: &[Codec]| {
            let mut text = String::new();
            note(&mut text, codecs.iter().copied(), "<", ">");
            text
        };
        assert_eq!(listed(&[]), "<>");
        assert_eq!(listed(&[H264]), "<h264>");
        assert_eq!(listed(&[H264, Aac]), "<h264 and aac>");
        assert_eq!(listed(&[H264, Aac, Ac3]), "<h264, aac and ac3>");
    }

    #[test]
    fn data_tracks_and_repeated_codecs_say_nothing() {
        let choice = decide(Some("fmp4"), &Client::default(), &Rules::default()).unwrap();
        let settled = choice.settle(&[H264, Mp2, Mp2, Teletext, Scte35, Aac], &Profiles::default()).unwrap();
        assert_eq!(settled.decision, "hls-fmp4; format parameter; without mp2: not carried in CMAF");
        assert_eq!(choice.settle(&[Teletext], &Profiles::default()), choice.settle(&[], &Profiles::default()));
    }
}
