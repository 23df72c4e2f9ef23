//! A decision meets the source: what of it the format carries, what is left out and why, or that nothing is left.
//!
//! What it deliberately does not do: judge whether the client can decode a codec; it only asks for some, if at all.
#![forbid(unsafe_code)]

use super::decide::Choice;
use super::headers::CodecSet;
use crate::es::carriage::Container;
use crate::es::selection::Selection;
use crate::es::{Codec, TrackKind};
use crate::metrics::Format;
use std::fmt::Write as _;

/// What the client gets, now that the source is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub format: Format,
    /// What of the source, and made of it.
    pub selection: Selection,
    /// The value of `X-Relay-Decision`: format, reason, and what was left out, for example
    /// `hls-fmp4; User-Agent: Safari; without mp2: not carried in CMAF`. One line of printable ASCII.
    pub decision: String,
}

/// Nothing of the source is left in any format that the client takes: 406, and why, in one line that names what would work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NothingLeft(pub String);

impl Choice {
    /// Fits the choice to the source's audio and video codecs; those of data tracks are passed over. An empty `source` is one that is
    /// not known yet, and no objection.
    ///
    /// Picture goes before sound: the fallback is taken when the format leaves no video of a source, or no sound, and the fallback does.
    /// A track that the container cannot carry is left out by name. One that the client did not ask for is named too, but stays in
    /// playlists, which all viewers share.
    ///
    /// # Errors
    /// [`NothingLeft`] when no track is left in any format of the choice, or `X-Video-Codec` asks for none of the source's video: nothing
    /// is transcoded.
    pub fn settle(&self, source: &[Codec]) -> Result<Settled, NothingLeft> {
        let source: CodecSet = source.iter().copied().filter(|codec| codec.kind() != TrackKind::Data).collect();
        let has_video = |set: &dyn Fn(Codec) -> bool| source.iter().any(|c| c.kind() == TrackKind::Video && set(c));
        let has = |set: &dyn Fn(Codec) -> bool| source.iter().any(set);
        if has_video(&|_| true) && !has_video(&|codec| self.wish.takes(codec)) {
            return Err(self.nothing_left(source));
        }
        let left = |format: Format| move |codec| format.container().carries(codec) && self.wish.takes(codec);
        // A picture before sound, and both before one of them.
        let keeps = |format| {
            let has_kind = |kind| source.iter().any(|codec| codec.kind() == kind && left(format)(codec));
            (has_kind(TrackKind::Video), has_kind(TrackKind::Audio))
        };
        let format = match self.fallback {
            Some(fallback) if keeps(fallback) > keeps(self.format) => fallback,
            _ => self.format,
        };
        if has(&|_| true) && !has(&left(format)) {
            return Err(self.nothing_left(source));
        }
        Ok(Settled { format, selection: Selection::SOURCE, decision: self.explain(format, source) })
    }

    /// The value of `X-Relay-Decision`.
    fn explain(&self, format: Format, source: CodecSet) -> String {
        let mut text = format!("{}; {}", format.name(), self.why);
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
        let settled = choice.settle(&[H264, Mp2, Mp2, Teletext, Scte35, Aac]).unwrap();
        assert_eq!(settled.decision, "hls-fmp4; format parameter; without mp2: not carried in CMAF");
        assert_eq!(choice.settle(&[Teletext]), choice.settle(&[]));
    }
}
