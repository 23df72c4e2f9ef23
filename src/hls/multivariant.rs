//! The Multivariant Playlist (RFC 8216 4.3.4; there called Master Playlist).

use std::fmt::{self, Write};

/// One EXT-X-MEDIA of TYPE=AUDIO (RFC 8216bis 4.4.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AudioRendition {
    /// GROUP-ID.
    pub group: String,
    /// NAME, unique in its group.
    pub name: String,
    /// LANGUAGE: RFC 5646 tag.
    pub language: Option<String>,
    /// DEFAULT=YES: at most one of a group.
    pub default: bool,
    /// AUTOSELECT=YES; must hold where `default` does.
    pub autoselect: bool,
    /// CHARACTERISTICS, for example `public.accessibility.describes-video`.
    pub characteristics: Option<&'static str>,
    /// CHANNELS.
    pub channels: Option<u8>,
    /// Relative to the playlist's URL.
    pub uri: String,
}

/// One EXT-X-STREAM-INF and its URI.
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
    out.push_str("#EXTM3U\n#EXT-X-VERSION:3\n");
    if independent_segments {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    for rendition in renditions {
        write_rendition(rendition, out)?;
    }
    for variant in variants {
        write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth)?;
        write!(out, ",AVERAGE-BANDWIDTH={}", variant.average_bandwidth)?;
        if !variant.codecs.is_empty() {
            write!(out, ",CODECS=\"{}\"", variant.codecs.join(","))?;
        }
        if let Some((width, height)) = variant.resolution {
            write!(out, ",RESOLUTION={width}x{height}")?;
        }
        if let Some((numerator, denominator)) = variant.frame_rate.filter(|&(_, d)| d != 0) {
            write!(out, ",FRAME-RATE={:.3}", f64::from(numerator) / f64::from(denominator))?;
        }
        if let Some(group) = &variant.audio_group {
            write!(out, ",AUDIO=\"{group}\"")?;
        }
        writeln!(out, "\n{}", variant.uri)?;
    }
    Ok(())
}

fn write_rendition(rendition: &AudioRendition, out: &mut String) -> fmt::Result {
    let yes_no = |yes| if yes { "YES" } else { "NO" };
    write!(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{}\",NAME=\"{}\"", rendition.group, rendition.name)?;
    if let Some(language) = &rendition.language {
        write!(out, ",LANGUAGE=\"{language}\"")?;
    }
    write!(out, ",DEFAULT={},AUTOSELECT={}", yes_no(rendition.default), yes_no(rendition.autoselect))?;
    if let Some(characteristics) = rendition.characteristics {
        write!(out, ",CHARACTERISTICS=\"{characteristics}\"")?;
    }
    if let Some(channels) = rendition.channels {
        write!(out, ",CHANNELS=\"{channels}\"")?;
    }
    writeln!(out, ",URI=\"{}\"", rendition.uri)
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
}
