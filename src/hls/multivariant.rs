//! The Multivariant Playlist (draft-pantos-hls-rfc8216bis 4.4.6; RFC 8216 4.3.4, there called Master Playlist).
//!
//! What it deliberately does not do: VIDEO-RANGE, which only HDR needs; CLOSED-CAPTIONS, as nobody looked whether there are any.

use std::fmt::{self, Write};

/// EXT-X-VERSION: no tag here asks for one; 4 says that there are EXT-X-MEDIA (RFC 8216bis 8).
const VERSION: u8 = 3;
const VERSION_MEDIA: u8 = 4;

/// One EXT-X-MEDIA of TYPE=AUDIO (RFC 8216bis 4.4.6.1).
///
/// Groups are the same renditions in several encodings: each must have the same members, alike in all but `uri` and `channels`. Those of
/// a group that a player may pick by itself should differ in language or characteristics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AudioRendition {
    /// GROUP-ID.
    pub group: String,
    /// NAME; one that the group already has gets a number behind it, as they must differ.
    pub name: String,
    /// LANGUAGE: RFC 5646 tag.
    pub language: Option<String>,
    /// DEFAULT=YES: at most one of a group.
    pub default: bool,
    /// AUTOSELECT=YES; `default` implies it.
    pub autoselect: bool,
    /// CHARACTERISTICS, for example `public.accessibility.describes-video`.
    pub characteristics: Option<&'static str>,
    /// CHANNELS.
    pub channels: Option<u8>,
    /// Relative to the playlist's URL; `None`: its media is in the variants' own playlists.
    pub uri: Option<String>,
}

/// One EXT-X-STREAM-INF and its URI (RFC 8216bis 4.4.6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Relative to the playlist's URL.
    pub uri: String,
    /// BANDWIDTH: peak segment bit rate, bits a second.
    pub bandwidth: u64,
    /// AVERAGE-BANDWIDTH, bits a second.
    pub average_bandwidth: u64,
    /// CODECS: RFC 6381 strings in order, without doubles; the attribute is left out when empty.
    pub codecs: Vec<String>,
    /// AUDIO: the group whose renditions it is played with; `None`: its own sound, or none.
    pub audio_group: Option<String>,
    /// RESOLUTION: width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// FRAME-RATE: frames a second as a fraction.
    pub frame_rate: Option<(u32, u32)>,
}

/// Appends the playlist of `variants`, the first to be played first. `independent_segments`: every listed segment of every Media
/// Playlist begins with a key sample.
pub fn write(renditions: &[AudioRendition], variants: &[Variant], independent_segments: bool, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = try_write(renditions, variants, independent_segments, out);
}

fn try_write(
    renditions: &[AudioRendition],
    variants: &[Variant],
    independent_segments: bool,
    out: &mut String,
) -> fmt::Result {
    let version = if renditions.is_empty() { VERSION } else { VERSION_MEDIA };
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
    if independent_segments {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    for (index, rendition) in renditions.iter().enumerate() {
        let is_same = |other: &&AudioRendition| other.group == rendition.group && other.name == rendition.name;
        write_rendition(rendition, renditions[..index].iter().filter(is_same).count(), out)?;
    }
    for variant in variants {
        write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth)?;
        write!(out, ",AVERAGE-BANDWIDTH={}", variant.average_bandwidth)?;
        if !variant.codecs.is_empty() {
            out.push_str(",CODECS=\"");
            for (index, codec) in variant.codecs.iter().enumerate() {
                write!(out, "{}{}", if index == 0 { "" } else { "," }, Quotable(codec))?;
            }
            out.push('"');
        }
        if let Some((width, height)) = variant.resolution {
            write!(out, ",RESOLUTION={width}x{height}")?;
        }
        if let Some((numerator, denominator)) = variant.frame_rate.filter(|&(_, d)| d != 0) {
            write!(out, ",FRAME-RATE={:.3}", f64::from(numerator) / f64::from(denominator))?;
        }
        if let Some(group) = &variant.audio_group {
            write!(out, ",AUDIO=\"{}\"", Quotable(group))?;
        }
        writeln!(out, "\n{}", variant.uri)?;
    }
    Ok(())
}

/// `doubles`: renditions before it in its group that have its name.
fn write_rendition(rendition: &AudioRendition, doubles: usize, out: &mut String) -> fmt::Result {
    let yes_no = |yes| if yes { "YES" } else { "NO" };
    write!(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\"", Quotable(&rendition.group))?;
    write!(out, ",NAME=\"{}", Quotable(&rendition.name))?;
    if doubles > 0 {
        write!(out, " {}", doubles + 1)?;
    }
    out.push('"');
    if let Some(language) = &rendition.language {
        write!(out, ",LANGUAGE=\"{}\"", Quotable(language))?;
    }
    let autoselect = rendition.autoselect || rendition.default;
    write!(out, ",DEFAULT={},AUTOSELECT={}", yes_no(rendition.default), yes_no(autoselect))?;
    if let Some(characteristics) = rendition.characteristics {
        write!(out, ",CHARACTERISTICS=\"{}\"", Quotable(characteristics))?;
    }
    if let Some(channels) = rendition.channels {
        write!(out, ",CHANNELS=\"{channels}\"")?;
    }
    if let Some(uri) = &rendition.uri {
        write!(out, ",URI=\"{}\"", Quotable(uri))?;
    }
    writeln!(out)
}

/// Displays as the inside of a quoted-string, which has no escapes and can hold neither a double quote nor a line break (RFC 8216bis 4.2):
/// a name that an origin chose must not become an attribute or a tag of its own.
struct Quotable<'a>(&'a str);

impl fmt::Display for Quotable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(|c: char| c == '"' || c.is_control()) {
            f.write_str(&rest[..at])?;
            let mut after = rest[at..].chars();
            f.write_char(if after.next() == Some('"') { '\'' } else { ' ' })?;
            rest = after.as_str();
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_are_not_known_are_left_out() {
        let mut out = String::new();
        let variant = Variant { uri: "a".into(), bandwidth: 2, average_bandwidth: 1, ..Variant::default() };
        write(&[], &[variant], false, &mut out);
        assert_eq!(out, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:BANDWIDTH=2,AVERAGE-BANDWIDTH=1\na\n");
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        let mut out = String::new();
        let rendition = AudioRendition {
            group: "a".into(),
            name: "The \"Big\"\r\nShow\u{85}".into(),
            uri: Some("u".into()),
            ..AudioRendition::default()
        };
        write(&[rendition], &[], true, &mut out);
        let (_, media) = out.split_once("#EXT-X-INDEPENDENT-SEGMENTS\n").unwrap();
        let wanted = "TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"The 'Big'  Show \",DEFAULT=NO,AUTOSELECT=NO,URI=\"u\"";
        assert_eq!(media, format!("#EXT-X-MEDIA:{wanted}\n"));
    }

    #[test]
    fn names_of_a_group_differ_and_a_default_may_be_picked() {
        let rendition = |group: &str, default| AudioRendition {
            group: group.into(),
            name: "English".into(),
            default,
            ..AudioRendition::default()
        };
        let mut out = String::new();
        write(&[rendition("a", true), rendition("a", false), rendition("b", false)], &[], false, &mut out);
        assert!(out.starts_with("#EXTM3U\n#EXT-X-VERSION:4\n"), "{out}");
        assert_eq!(out.matches("NAME=\"English\"").count(), 2);
        assert_eq!(out.matches("GROUP-ID=\"a\",NAME=\"English 2\",DEFAULT=NO,AUTOSELECT=NO").count(), 1);
        assert_eq!(out.matches("DEFAULT=YES,AUTOSELECT=YES").count(), 1);
    }
}
