//! The Media Playlist (RFC 8216 4.3.2 and 4.3.3).
//!
//! What it deliberately does not do: EXT-X-ENDLIST and playlist types: every playlist here is a live window.

use super::date::UtcDate;
use std::fmt::{self, Write};

/// EXT-X-VERSION: 3, for EXTINF with decimals (RFC 8216 7). Nothing here needs more.
const VERSION: u8 = 3;

/// What stands before the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// EXT-X-TARGETDURATION, seconds; no segment may round to more.
    pub target_duration_s: u64,
    /// Number of the first segment.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE: that of the first segment, less one if that segment is itself marked.
    pub discontinuity_sequence: u64,
    /// Every listed segment begins with a key sample.
    pub independent_segments: bool,
}

/// One segment's lines; `U` displays as its URI, relative to the playlist's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<U> {
    pub uri: U,
    /// 90 kHz ticks.
    pub duration_90k: i64,
    pub discontinuity: bool,
    /// Wall clock of its first picture, microseconds since 1970.
    pub program_date_time_us: u64,
}

/// Appends the playlist. EXT-X-PROGRAM-DATE-TIME stands at the first segment and behind each discontinuity, where a player
/// can no longer count on from the one before.
pub fn write<U: fmt::Display>(header: &Header, segments: impl Iterator<Item = Entry<U>>, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = try_write(header, segments, out);
}

fn try_write<U: fmt::Display>(
    header: &Header,
    segments: impl Iterator<Item = Entry<U>>,
    out: &mut String,
) -> fmt::Result {
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}")?;
    writeln!(out, "#EXT-X-TARGETDURATION:{}", header.target_duration_s)?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", header.media_sequence)?;
    writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", header.discontinuity_sequence)?;
    if header.independent_segments {
        writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
    }
    for (index, segment) in segments.enumerate() {
        if segment.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if segment.discontinuity || index == 0 {
            writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", UtcDate(segment.program_date_time_us))?;
        }
        writeln!(out, "#EXTINF:{},\n{}", Seconds(segment.duration_90k), segment.uri)?;
    }
    Ok(())
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
    fn durations_are_rounded_to_the_nearest_decimal() {
        assert_eq!(Seconds(180_000).to_string(), "2.00000");
        assert_eq!(Seconds(180_180).to_string(), "2.00200");
        assert_eq!(Seconds(8).to_string(), "0.00009");
        assert_eq!(Seconds(-5).to_string(), "0.00000");
    }
}
