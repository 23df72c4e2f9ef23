//! The Media Playlist (RFC 8216 4.3.2 and 4.3.3; EXT-X-GAP: draft-pantos-hls-rfc8216bis 4.4.4.7).
//!
//! What it deliberately does not do: EXT-X-ENDLIST and playlist types: every playlist here is a live window. EXT-X-SERVER-CONTROL's
//! HOLD-BACK: left out it means three target durations (4.4.3.8), which is what players keep.

use crate::time::UtcDate;
use std::fmt::{self, Write};

/// EXT-X-VERSION (RFC 8216bis 8): 3 for EXTINF with decimals, 6 for EXT-X-MAP. 8 for EXT-X-GAP is what the drafts that brought it and
/// hls-parser ask; the newest draft asks no version, as a player that does not know the tag gets a 404 and goes on.
const VERSION: u8 = 3;
const VERSION_MAP: u8 = 6;
const VERSION_GAP: u8 = 8;

/// What stands before the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// EXT-X-TARGETDURATION, seconds; no segment may round to more (and up to version 5, be more: RFC 8216bis 8). It must not change
    /// while the playlist lives (6.2.1).
    pub target_duration_s: u64,
    /// Number of the first segment.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE: that of the first segment, less one if that segment is itself marked.
    pub discontinuity_sequence: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS: every listed segment begins with a key sample.
    pub independent_segments: bool,
}

/// One segment's lines; `U` displays as its URI, relative to the playlist's URL, without a line break or a double quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<U> {
    pub uri: U,
    /// URI of its Media Initialization Section, for fMP4; EXT-X-MAP stands where it changes, and holds on for a segment without one
    /// (4.4.4.5), so that a playlist has it for all its segments or for none.
    pub map: Option<U>,
    /// The segment's number and time hold, its bytes do not exist (EXT-X-GAP).
    pub gap: bool,
    /// 90 kHz ticks.
    pub duration_90k: i64,
    pub discontinuity: bool,
    /// Wall clock of its first picture, microseconds since 1970.
    pub program_date_time_us: u64,
}

/// Appends the playlist. EXT-X-PROGRAM-DATE-TIME stands at the first segment and behind each discontinuity, where a player
/// can no longer count on from the one before.
pub fn write<U: fmt::Display + PartialEq>(
    header: &Header,
    segments: impl Iterator<Item = Entry<U>> + Clone,
    out: &mut String,
) {
    // Writing to a String cannot fail.
    let _ = try_write(header, segments, out);
}

fn try_write<U: fmt::Display + PartialEq>(
    header: &Header,
    segments: impl Iterator<Item = Entry<U>> + Clone,
    out: &mut String,
) -> fmt::Result {
    let version = segments.clone().map(|segment| version(&segment)).max().unwrap_or(VERSION);
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
    writeln!(out, "#EXT-X-TARGETDURATION:{}", header.target_duration_s)?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", header.media_sequence)?;
    writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", header.discontinuity_sequence)?;
    if header.independent_segments {
        writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
    }
    let mut map = None;
    for (index, segment) in segments.enumerate() {
        if segment.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if segment.discontinuity || index == 0 {
            writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", UtcDate(segment.program_date_time_us))?;
        }
        if segment.map.is_some() && segment.map != map {
            map = segment.map;
            if let Some(uri) = &map {
                writeln!(out, "#EXT-X-MAP:URI=\"{uri}\"")?;
            }
        }
        if segment.gap {
            writeln!(out, "#EXT-X-GAP")?;
        }
        writeln!(out, "#EXTINF:{},\n{}", Seconds(segment.duration_90k), segment.uri)?;
    }
    Ok(())
}

fn version<U>(segment: &Entry<U>) -> u8 {
    match (segment.gap, &segment.map) {
        (true, _) => VERSION_GAP,
        (false, Some(_)) => VERSION_MAP,
        (false, None) => VERSION,
    }
}

/// Ticks of 90 kHz as seconds with five decimals, rounded: a tick is 11 microseconds.
struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundred_thousandths = (self.0.max(0) * 10 + 4) / 9;
        write!(f, "{}.{:05}", hundred_thousandths / 100_000, hundred_thousandths % 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_stands_where_it_changes_and_the_version_follows_the_tags() {
        let header =
            Header { target_duration_s: 2, media_sequence: 7, discontinuity_sequence: 1, independent_segments: false };
        let entry = |uri, map, gap| Entry {
            uri,
            map: Some(map),
            gap,
            duration_90k: 180_000,
            discontinuity: false,
            program_date_time_us: 0,
        };
        let text = |entries: &[Entry<&'static str>]| {
            let mut out = String::new();
            write(&header, entries.iter().copied(), &mut out);
            out
        };
        let mapped = text(&[entry("1", "i", false), entry("2", "i", false), entry("3", "j", false)]);
        assert!(mapped.starts_with("#EXTM3U\n#EXT-X-VERSION:6\n"), "{mapped}");
        assert_eq!(mapped.matches("#EXT-X-MAP:URI=\"i\"").count(), 1);
        assert!(mapped.contains("2\n#EXT-X-MAP:URI=\"j\"\n#EXTINF:2.00000,\n3\n"), "{mapped}");
        let with_gap = text(&[entry("1", "i", false), entry("2", "i", true)]);
        assert!(with_gap.starts_with("#EXTM3U\n#EXT-X-VERSION:8\n"), "{with_gap}");
        assert!(with_gap.contains("#EXT-X-GAP\n#EXTINF:2.00000,\n2\n"), "{with_gap}");
    }

    #[test]
    fn a_discontinuity_stands_before_the_date_and_the_map_of_its_segment() {
        let header =
            Header { target_duration_s: 2, media_sequence: 0, discontinuity_sequence: 0, independent_segments: true };
        let entry = |uri, map, discontinuity| Entry {
            uri,
            map: Some(map),
            gap: false,
            duration_90k: 90_000,
            discontinuity,
            program_date_time_us: 1_000_000,
        };
        let mut out = String::new();
        write(&header, [entry("1", "i", false), entry("2", "j", true), entry("3", "j", false)].into_iter(), &mut out);
        let (_, segments) = out.split_once("#EXT-X-INDEPENDENT-SEGMENTS\n").unwrap();
        assert_eq!(
            segments,
            "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.000Z\n#EXT-X-MAP:URI=\"i\"\n#EXTINF:1.00000,\n1\n\
             #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.000Z\n#EXT-X-MAP:URI=\"j\"\n\
             #EXTINF:1.00000,\n2\n#EXTINF:1.00000,\n3\n"
        );
    }

    #[test]
    fn durations_are_rounded_to_the_nearest_decimal() {
        assert_eq!(Seconds(180_000).to_string(), "2.00000");
        assert_eq!(Seconds(180_180).to_string(), "2.00200");
        assert_eq!(Seconds(8).to_string(), "0.00009");
        assert_eq!(Seconds(-5).to_string(), "0.00000");
    }
}
