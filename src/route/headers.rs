//! What a client says of itself in fields of its own: `X-Container`, `X-Video-Codec`, `X-Audio-Codec` and `Accept`.
//!
//! Sources: RFC 9110 12.5.1 (`Accept`); RFC 8216 4 and RFC 6381 for media types and codec strings.
//!
//! What it deliberately does not do: guess. A wildcard (`*/*`, `video/*`) and a media type that is none of ours, such as a browser's
//! `text/html`, say nothing; names that nobody knows are passed over.
#![forbid(unsafe_code)]

use crate::es::carriage::Container;
use crate::es::{Codec, TrackKind};
use crate::http::fields::{list, weight, without_parameters};
use crate::metrics::Format;

/// What a name stands for where a client may name a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// HLS, whichever segments suit.
    Hls,
    One(Format),
    /// Whatever suits.
    Auto,
}

impl Named {
    /// A value of `?format=`, in any case; `None` for a name that there is not. An empty value is `auto`.
    pub fn parameter(value: &str) -> Option<Named> {
        pick(
            value.as_bytes(),
            &[
                (&["", "auto"], Named::Auto),
                (&["hls"], Named::Hls),
                (&["hls-ts"], Named::One(Format::HlsTs)),
                (&["hls-fmp4", "fmp4"], Named::One(Format::HlsFmp4)),
                (&["dash"], Named::One(Format::Dash)),
                (&["mpegts", "ts"], Named::One(Format::MpegTs)),
            ],
        )
    }

    /// A name in `X-Container`: those of the parameter, and what else players and people call them.
    fn container(name: &[u8]) -> Option<Named> {
        pick(
            name,
            &[
                (
                    &["ts", "mpegts", "mpeg-ts", "mpeg2ts", "mpeg2-ts", "mp2t", "m2ts", "video/mp2t"],
                    Named::One(Format::MpegTs),
                ),
                (&["fmp4", "hls-fmp4", "cmaf", "mp4", "isobmff", "m4s", "video/mp4"], Named::One(Format::HlsFmp4)),
                (&["hls-ts"], Named::One(Format::HlsTs)),
                (&["hls", "m3u8", "application/vnd.apple.mpegurl", "application/x-mpegurl"], Named::Hls),
                (&["dash", "mpd", "mpeg-dash", "application/dash+xml"], Named::One(Format::Dash)),
            ],
        )
    }
}

/// The value in the row that holds `name`, in any case.
fn pick<T: Copy>(name: &[u8], rows: &[(&[&str], T)]) -> Option<T> {
    let is_name = |known: &&str| known.as_bytes().eq_ignore_ascii_case(name);
    rows.iter().find(|(names, _)| names.iter().any(is_name)).map(|&(_, value)| value)
}

/// The names of an `X-Container` that mean something, in the client's order.
pub(super) fn containers(value: &[u8]) -> impl Iterator<Item = Named> {
    list(value).filter_map(|element| Named::container(without_parameters(element)))
}

/// A set of codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecSet(u32);

impl CodecSet {
    pub fn contains(self, codec: Codec) -> bool {
        self.0 & (1 << codec as u32) != 0
    }
    /// Whether `container` carries a codec of the set.
    fn fits(self, container: Container) -> bool {
        self.iter().any(|codec| container.carries(codec))
    }
    /// The set's codecs.
    pub fn iter(self) -> impl Iterator<Item = Codec> {
        Codec::ALL.into_iter().filter(move |&codec| self.contains(codec))
    }
}

impl FromIterator<Codec> for CodecSet {
    fn from_iter<I: IntoIterator<Item = Codec>>(codecs: I) -> Self {
        CodecSet(codecs.into_iter().fold(0, |bits, codec| bits | 1 << codec as u32))
    }
}

/// What `X-Video-Codec` and `X-Audio-Codec` ask for; `None` where the field is absent or says "any". A set may be empty: all its names
/// were unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecWish {
    pub video: Option<CodecSet>,
    pub audio: Option<CodecSet>,
}

impl CodecWish {
    /// Reads both fields' values, empty where absent.
    pub(super) fn new(video: &[u8], audio: &[u8]) -> CodecWish {
        CodecWish { video: codecs(video, TrackKind::Video), audio: codecs(audio, TrackKind::Audio) }
    }

    /// Whether the client asks for nothing.
    pub fn is_silent(&self) -> bool {
        *self == CodecWish::default()
    }

    /// Whether a track of this codec is what the client asks for.
    pub fn takes(&self, codec: Codec) -> bool {
        let set = match codec.kind() {
            TrackKind::Video => self.video,
            TrackKind::Audio => self.audio,
            TrackKind::Data => None,
        };
        set.is_none_or(|set| set.contains(codec))
    }

    /// The one container that carries what is asked for, and the field that says so; `None` where both or neither do.
    pub(super) fn container(&self) -> Option<(Container, &'static str)> {
        let of = |set: Option<CodecSet>, field| {
            let set = set?;
            match (set.fits(Container::Ts), set.fits(Container::Cmaf)) {
                (true, false) => Some((Container::Ts, field)),
                (false, true) => Some((Container::Cmaf, field)),
                _ => None,
            }
        };
        of(self.video, "X-Video-Codec").or_else(|| of(self.audio, "X-Audio-Codec"))
    }
}

/// The codecs of one kind that a field lists; `None` when it is empty or takes any.
fn codecs(value: &[u8], kind: TrackKind) -> Option<CodecSet> {
    let names = || list(value).map(without_parameters);
    let any = |name: &[u8]| pick(name, &[(&["*", "any", "auto", "copy", "source"], ())]).is_some();
    if names().next().is_none() || names().any(any) {
        return None;
    }
    Some(names().filter_map(codec).filter(|codec| codec.kind() == kind).collect())
}

/// A codec by [`Codec::name`], by what else it is called, or by its RFC 6381 string (`avc1.64001f`).
fn codec(name: &[u8]) -> Option<Codec> {
    // ISO/IEC 14496-1 object types 0x69 and 0x6b, and MPEG-4 audio object type 34, are MP3 behind AAC's code.
    let is_mp3 = [&b"mp4a.69"[..], b"mp4a.6b", b"mp4a.40.34"].iter().any(|mp3| name.eq_ignore_ascii_case(mp3));
    if is_mp3 {
        return Some(Codec::Mp3);
    }
    let code = name.split(|&byte| byte == b'.').next().unwrap_or(name);
    by_name(name).or_else(|| by_name(code))
}

fn by_name(name: &[u8]) -> Option<Codec> {
    pick(
        name,
        &[
            (&["h264", "h.264", "avc", "avc1", "avc3", "x264", "mpeg4-avc"], Codec::H264),
            (&["h265", "h.265", "hevc", "hvc1", "hev1", "x265"], Codec::H265),
            (&["mpeg2", "mpeg-2", "mpeg2video", "mp2v", "m2v", "h262", "h.262"], Codec::Mpeg2Video),
            (&["av1", "av01"], Codec::Av1),
            (&["vp9", "vp09"], Codec::Vp9),
            (&["vp8", "vp08"], Codec::Vp8),
            (&["aac", "aac-lc", "he-aac", "aac+", "mp4a"], Codec::Aac),
            (&["mp2", "mpga", "mpeg-audio", "mp2a", "mp1"], Codec::Mp2),
            (&["mp3", "mpeg-layer3"], Codec::Mp3),
            (&["ac3", "ac-3", "a52", "dd"], Codec::Ac3),
            (&["eac3", "ec-3", "ec3", "e-ac-3", "e-ac3", "eac-3", "ddp", "dd+"], Codec::Eac3),
            (&["opus"], Codec::Opus),
            (&["flac"], Codec::Flac),
        ],
    )
}

/// What a media type of [`Accept`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Hls,
    Dash,
    Ts,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Hls, Protocol::Dash, Protocol::Ts];

    pub fn of(format: Format) -> Protocol {
        match format {
            Format::HlsTs | Format::HlsFmp4 => Protocol::Hls,
            Format::Dash => Protocol::Dash,
            Format::MpegTs => Protocol::Ts,
        }
    }

    fn of_media_type(name: &[u8]) -> Option<Protocol> {
        pick(
            name,
            &[
                (
                    &["application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"],
                    Protocol::Hls,
                ),
                (&["application/dash+xml"], Protocol::Dash),
                (&["video/mp2t"], Protocol::Ts),
            ],
        )
    }
}

/// The weights that an `Accept` gives our protocols, in thousandths; `None` where it names none of its media types.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accept {
    /// By protocol: weight, and place in the list.
    named: [Option<(u16, usize)>; Protocol::ALL.len()],
}

impl Accept {
    pub fn new(value: &[u8]) -> Accept {
        let mut accept = Accept::default();
        for (place, element) in list(value).enumerate() {
            let Some(protocol) = Protocol::of_media_type(without_parameters(element)) else { continue };
            let weight = weight(element);
            let named = &mut accept.named[protocol as usize];
            if named.is_none_or(|(best, _)| best < weight) {
                *named = Some((weight, place));
            }
        }
        accept
    }

    /// What is named with the greatest weight, the first of equals, among those that `among` takes.
    pub fn best(&self, among: impl Fn(Protocol) -> bool) -> Option<Protocol> {
        let wanted = Protocol::ALL.into_iter().filter_map(|protocol| {
            let (weight, place) = self.named[protocol as usize]?;
            (weight > 0 && among(protocol)).then_some((std::cmp::Reverse(weight), place, protocol))
        });
        wanted.min_by_key(|&(weight, place, _)| (weight, place)).map(|(_, _, protocol)| protocol)
    }

    /// Whether the client says by a weight of 0 that it does not take this.
    pub fn refuses(&self, format: Format) -> bool {
        matches!(self.named[Protocol::of(format) as usize], Some((0, _)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_known_by_its_own_name() {
        for known in Codec::ALL.into_iter().filter(|codec| codec.kind() != TrackKind::Data) {
            assert_eq!(codec(known.name().as_bytes()), Some(known));
            assert_eq!(codec(known.name().to_ascii_uppercase().as_bytes()), Some(known));
        }
        assert_eq!(codec(b"avc1.64001f"), Some(Codec::H264));
        assert_eq!(codec(b"mp4a.40.2"), Some(Codec::Aac));
        assert_eq!(codec(b"mp4a.40.34"), Some(Codec::Mp3));
        assert_eq!(codec(b"teletext"), None);
    }

    #[test]
    fn a_codec_field_is_a_set_of_its_own_kind() {
        let set = |codecs: &[Codec]| Some(codecs.iter().copied().collect::<CodecSet>());
        let wish = CodecWish::new(b"HEVC, avc1.640028;q=0.5, aac", b" ec-3 ,, mp4a.40.2");
        assert_eq!(wish.video, set(&[Codec::H264, Codec::H265]));
        assert_eq!(wish.audio, set(&[Codec::Aac, Codec::Eac3]));
        assert_eq!(CodecWish::new(b"vvc", b"h264, *"), CodecWish { video: set(&[]), audio: None });
        assert!(CodecWish::new(b"", b" , ").is_silent());
    }

    #[test]
    fn codecs_that_one_container_carries_name_it() {
        let container = |video: &[u8], audio: &[u8]| CodecWish::new(video, audio).container();
        assert_eq!(container(b"vp9", b""), Some((Container::Cmaf, "X-Video-Codec")));
        assert_eq!(container(b"mpeg2", b"flac"), Some((Container::Ts, "X-Video-Codec")));
        assert_eq!(container(b"h264", b"mp2"), Some((Container::Ts, "X-Audio-Codec")));
        assert_eq!(container(b"mpeg2, h264", b"aac"), None);
        assert_eq!(container(b"vvc", b""), None);
    }
}
