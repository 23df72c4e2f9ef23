//! The dynamic MPD (ISO/IEC 23009-1 5.3.1; elements and attributes in the order of its schema, Annex B).
//!
//! availabilityStartTime is 1970-01-01T00:00:00Z, so presentation time is unix time, and a Period that begins at output time T has
//! `start` T seconds.
//!
//! What it deliberately does not do: claim the CMAF profile (urn:mpeg:dash:profile:cmaf:2019), whose every segment must begin with a sync
//! sample, which a source with too long GOPs does not give; `mediaPresentationDuration` and `type="static"`: every MPD here is a
//! live window; content protection.

use super::text::{Escaped, Millis, Ticks90k, push_integer};
use crate::time::UtcDate;
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// The whole presentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mpd {
    /// publishTime: wall clock of this version, microseconds since 1970.
    pub publish_time_us: u64,
    /// minimumUpdatePeriod, milliseconds.
    pub update_period_ms: u64,
    /// timeShiftBufferDepth, milliseconds.
    pub time_shift_buffer_ms: u64,
    /// suggestedPresentationDelay, milliseconds.
    pub presentation_delay_ms: u64,
    /// minBufferTime, milliseconds.
    pub min_buffer_ms: u64,
    /// maxSegmentDuration, milliseconds.
    pub segment_ms_max: u64,
    /// UTCTiming's value: a URL relative to the MPD's that answers with the wall clock (urn:mpeg:dash:utc:http-iso:2014).
    /// Left out when empty.
    pub utc_timing_url: String,
    /// In the order of their starts; a player wants at least one.
    pub periods: Vec<Period>,
}

/// Media between two discontinuities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Unique and stable while the Period is listed.
    pub id: String,
    /// Output time of its begin, 90 kHz ticks since 1970.
    pub start_90k: u64,
    pub adaptation_sets: Vec<AdaptationSet>,
}

/// Representations that a player may switch between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptationSet {
    /// Unique in the Period and stable over Periods.
    pub id: u32,
    pub kind: ContentKind,
    /// RFC 5646 language tag; `None` when unknown.
    pub language: Option<String>,
    /// Label: what a player's menu says, for tracks that their language does not tell apart; `None`: none.
    pub label: Option<String>,
    /// Values of urn:mpeg:dash:role:2011 (`main`, `alternate`, `description`, ...).
    pub roles: Vec<&'static str>,
    /// Values of the accessibility descriptor urn:tva:metadata:cs:AudioPurposeCS:2007 (1: visually impaired, 2: hard of hearing).
    pub audio_purpose: Option<u8>,
    /// Every segment begins with a sync sample (startWithSAP 1).
    pub starts_with_sap: bool,
    /// Those without a segment are not written, nor is a set that has no other.
    pub representations: Vec<Representation>,
}

/// contentType, and the MIME type that follows from it: all media is ISO BMFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    Video,
    Audio,
}

/// One rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    pub id: String,
    /// Bits a second of the largest segment.
    pub bandwidth: u64,
    /// RFC 6381.
    pub codecs: String,
    /// Pixels.
    pub resolution: Option<(u32, u32)>,
    /// Pixel aspect ratio, for `sar`.
    pub sar: Option<(u32, u32)>,
    /// Frames a second as a fraction.
    pub frame_rate: Option<(u32, u32)>,
    /// Hz.
    pub audio_sampling_rate: Option<u32>,
    /// Channels, the low-frequency one counted, for AudioChannelConfiguration.
    pub audio_channels: Option<u8>,
    /// Units a second of all media times below, at least 1.
    pub timescale: u32,
    /// Media time of the Period's begin.
    pub presentation_time_offset: u64,
    /// URL of the init segment, relative to the MPD's.
    pub initialization: String,
    /// Template of the media segments' URLs, with `$Time$`.
    pub media: String,
    /// In order of time; empty when nothing is there yet.
    pub timeline: Vec<TimelineEntry>,
}

/// One segment: its earliest presentation time and duration (at least 1), in the timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    pub time: u64,
    pub duration: u64,
}

/// Presentation time 0 is unix time 0; see the head of this file.
const AVAILABILITY_START: &str = "1970-01-01T00:00:00Z";

/// Appends the MPD. Runs of equal durations become `S@r`; `S@t` stands at the first segment and where the one before does not end.
pub fn write(mpd: &Mpd, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = try_write(mpd, out);
}

fn try_write(mpd: &Mpd, out: &mut String) -> fmt::Result {
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"");
    out.push_str(" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"dynamic\"");
    write!(out, " availabilityStartTime=\"{AVAILABILITY_START}\" publishTime=\"{}\"", UtcDate(mpd.publish_time_us))?;
    write!(out, " minimumUpdatePeriod=\"{}\"", Millis(mpd.update_period_ms))?;
    write!(out, " minBufferTime=\"{}\"", Millis(mpd.min_buffer_ms))?;
    write!(out, " timeShiftBufferDepth=\"{}\"", Millis(mpd.time_shift_buffer_ms))?;
    write!(out, " suggestedPresentationDelay=\"{}\"", Millis(mpd.presentation_delay_ms))?;
    writeln!(out, " maxSegmentDuration=\"{}\">", Millis(mpd.segment_ms_max))?;
    for period in &mpd.periods {
        writeln!(out, " <Period id=\"{}\" start=\"{}\">", Escaped(&period.id), Ticks90k(period.start_90k))?;
        for set in &period.adaptation_sets {
            write_adaptation_set(set, out)?;
        }
        out.push_str(" </Period>\n");
    }
    if !mpd.utc_timing_url.is_empty() {
        write!(out, " <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\"")?;
        writeln!(out, " value=\"{}\"/>", Escaped(&mpd.utc_timing_url))?;
    }
    out.push_str("</MPD>\n");
    Ok(())
}

/// 5.3.3.
fn write_adaptation_set(set: &AdaptationSet, out: &mut String) -> fmt::Result {
    let listed = || set.representations.iter().filter(|representation| !representation.timeline.is_empty());
    if listed().next().is_none() {
        return Ok(());
    }
    let (content_type, mime_type) = match set.kind {
        ContentKind::Video => ("video", "video/mp4"),
        ContentKind::Audio => ("audio", "audio/mp4"),
    };
    write!(out, "  <AdaptationSet id=\"{}\" contentType=\"{content_type}\"", set.id)?;
    if let Some(language) = &set.language {
        write!(out, " lang=\"{}\"", Escaped(language))?;
    }
    write!(out, " mimeType=\"{mime_type}\" segmentAlignment=\"true\"")?;
    if set.starts_with_sap {
        out.push_str(" startWithSAP=\"1\"");
    }
    write_picture_bounds(listed(), out)?;
    out.push_str(">\n");
    if let Some(label) = &set.label {
        writeln!(out, "   <Label>{}</Label>", Escaped(label))?;
    }
    if let Some(purpose) = set.audio_purpose {
        let scheme = "urn:tva:metadata:cs:AudioPurposeCS:2007";
        writeln!(out, "   <Accessibility schemeIdUri=\"{scheme}\" value=\"{purpose}\"/>")?;
    }
    for role in &set.roles {
        writeln!(out, "   <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{}\"/>", Escaped(role))?;
    }
    for representation in listed() {
        write_representation(representation, out)?;
    }
    out.push_str("  </AdaptationSet>\n");
    Ok(())
}

/// par, maxWidth, maxHeight and maxFrameRate, which DASH-IF IOP 3.2.4 wants for video, from the representations that say.
fn write_picture_bounds<'a>(
    representations: impl Iterator<Item = &'a Representation> + Clone,
    out: &mut String,
) -> fmt::Result {
    let sizes = representations.clone().filter_map(|r| Some((r.resolution?, ratio(r.sar).unwrap_or((1, 1)))));
    if let Some(((width, height), sar)) = sizes.clone().find(|&((_, height), _)| height != 0) {
        let (x, y) = (u64::from(width) * u64::from(sar.0), u64::from(height) * u64::from(sar.1));
        let divisor = greatest_common_divisor(x, y);
        write!(out, " par=\"{}:{}\"", x / divisor, y / divisor)?;
    }
    if let (Some(width), Some(height)) = (sizes.clone().map(|s| s.0.0).max(), sizes.map(|s| s.0.1).max()) {
        write!(out, " maxWidth=\"{width}\" maxHeight=\"{height}\"")?;
    }
    match representations.filter_map(|r| ratio(r.frame_rate)).max_by(compare_fractions) {
        Some(rate) => write_frame_rate("maxFrameRate", rate, out),
        None => Ok(()),
    }
}

/// 5.3.5.
fn write_representation(representation: &Representation, out: &mut String) -> fmt::Result {
    write!(out, "   <Representation id=\"{}\"", Escaped(&representation.id))?;
    // The schema's type has 32 bits.
    write!(out, " bandwidth=\"{}\"", representation.bandwidth.min(u64::from(u32::MAX)))?;
    if let Some((width, height)) = representation.resolution {
        write!(out, " width=\"{width}\" height=\"{height}\"")?;
    }
    if let Some((x, y)) = ratio(representation.sar) {
        write!(out, " sar=\"{x}:{y}\"")?;
    }
    if let Some(rate) = ratio(representation.frame_rate) {
        write_frame_rate("frameRate", rate, out)?;
    }
    if let Some(rate) = representation.audio_sampling_rate {
        write!(out, " audioSamplingRate=\"{rate}\"")?;
    }
    writeln!(out, " codecs=\"{}\">", Escaped(&representation.codecs))?;
    if let Some((scheme, value)) = channel_configuration(representation) {
        writeln!(out, "    <AudioChannelConfiguration schemeIdUri=\"{scheme}\" value=\"{value}\"/>")?;
    }
    write!(out, "    <SegmentTemplate timescale=\"{}\"", representation.timescale)?;
    write!(out, " presentationTimeOffset=\"{}\"", representation.presentation_time_offset)?;
    write!(out, " initialization=\"{}\"", Escaped(&representation.initialization))?;
    writeln!(out, " media=\"{}\">\n     <SegmentTimeline>", Escaped(&representation.media))?;
    write_timeline(&representation.timeline, out);
    out.push_str("     </SegmentTimeline>\n    </SegmentTemplate>\n   </Representation>\n");
    Ok(())
}

/// 5.3.9.6. `S` is not indented, as there may be hundreds.
fn write_timeline(timeline: &[TimelineEntry], out: &mut String) {
    let mut expected = None;
    let follows = |a: &TimelineEntry, b: &TimelineEntry| a.duration == b.duration && end(a) == b.time;
    for run in timeline.chunk_by(follows) {
        out.push_str("<S");
        if expected != Some(run[0].time) {
            push_attribute(" t=\"", run[0].time, out);
        }
        push_attribute(" d=\"", run[0].duration, out);
        if run.len() > 1 {
            push_attribute(" r=\"", run.len() as u64 - 1, out);
        }
        out.push_str("/>\n");
        expected = run.last().map(end);
    }
}

fn end(entry: &TimelineEntry) -> u64 {
    entry.time.saturating_add(entry.duration)
}

fn push_attribute(head: &str, value: u64, out: &mut String) {
    out.push_str(head);
    push_integer(value, out);
    out.push('"');
}

/// Scheme and value of AudioChannelConfiguration; `None` where the number of channels names no usual layout.
///
/// Dolby's codecs get Dolby's scheme (ETSI TS 102 366 I.1.2.1: four hexadecimal digits, a bit per position from the left: L 8000,
/// C 4000, R 2000, Ls 1000, Rs 0800, Lrs/Rrs 0200, LFE 0001), as their players look for it. All others get ISO/IEC 23003-3's up to 5.1,
/// where its value is the number of channels, and ISO/IEC 23091-3's (CICP) above, as shaka takes the first's value for a number of
/// channels always. In CICP, 7 is the layout of AAC's channelConfiguration 7, 12 the 7.1 of all others. dash.js, shaka and ExoPlayer
/// read the three.
fn channel_configuration(representation: &Representation) -> Option<(&'static str, &'static str)> {
    const DOLBY: &str = "tag:dolby.com,2014:dash:audio_channel_configuration:2011";
    const MPEG: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
    const CICP: &str = "urn:mpeg:mpegB:cicp:ChannelConfiguration";
    let index = usize::from(representation.audio_channels?).checked_sub(1)?;
    let is = |codec| representation.codecs.starts_with(codec);
    if is("ac-3") || is("ec-3") {
        let values = ["4000", "A000", "E000", "B800", "F800", "F801", "", "FA01"];
        return values.get(index).filter(|value| !value.is_empty()).map(|&value| (DOLBY, value));
    }
    match index {
        0..=5 => Some((MPEG, ["1", "2", "3", "4", "5", "6"][index])),
        6 => Some((CICP, "11")),
        7 => Some((CICP, if is("mp4a") { "7" } else { "12" })),
        _ => None,
    }
}

/// FrameRateType: an integer, or a fraction.
fn write_frame_rate(name: &str, (numerator, denominator): (u32, u32), out: &mut String) -> fmt::Result {
    if numerator.is_multiple_of(denominator) {
        write!(out, " {name}=\"{}\"", numerator / denominator)
    } else {
        write!(out, " {name}=\"{numerator}/{denominator}\"")
    }
}

/// The fraction, unless one of its terms is 0: streams carry such.
fn ratio(fraction: Option<(u32, u32)>) -> Option<(u32, u32)> {
    fraction.filter(|&(a, b)| a != 0 && b != 0)
}

fn compare_fractions(a: &(u32, u32), b: &(u32, u32)) -> Ordering {
    (u64::from(a.0) * u64::from(b.1)).cmp(&(u64::from(b.0) * u64::from(a.1)))
}

/// Euclid's; at least 1.
fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(entries: &[(u64, u64)]) -> String {
        let entries: Vec<_> = entries.iter().map(|&(time, duration)| TimelineEntry { time, duration }).collect();
        let mut out = String::new();
        write_timeline(&entries, &mut out);
        out
    }

    #[test]
    fn runs_are_counted_and_holes_are_dated() {
        assert_eq!(timeline(&[(5, 2), (7, 2), (9, 2)]), "<S t=\"5\" d=\"2\" r=\"2\"/>\n");
        assert_eq!(timeline(&[(5, 2), (7, 3), (10, 2)]), "<S t=\"5\" d=\"2\"/>\n<S d=\"3\"/>\n<S d=\"2\"/>\n");
        assert_eq!(timeline(&[(5, 2), (9, 2), (11, 2)]), "<S t=\"5\" d=\"2\"/>\n<S t=\"9\" d=\"2\" r=\"1\"/>\n");
        assert_eq!(timeline(&[(0, 1)]), "<S t=\"0\" d=\"1\"/>\n");
    }

    #[test]
    fn channels_are_told_in_the_codec_s_own_scheme() {
        let value = |codecs: &str, channels| {
            let representation = Representation {
                id: String::new(),
                bandwidth: 0,
                codecs: codecs.into(),
                resolution: None,
                sar: None,
                frame_rate: None,
                audio_sampling_rate: None,
                audio_channels: Some(channels),
                timescale: 1,
                presentation_time_offset: 0,
                initialization: String::new(),
                media: String::new(),
                timeline: Vec::new(),
            };
            channel_configuration(&representation).map(|(_, value)| value)
        };
        assert_eq!(value("mp4a.40.2", 2), Some("2"));
        assert_eq!((value("mp4a.40.2", 8), value("opus", 8), value("opus", 7)), (Some("7"), Some("12"), Some("11")));
        assert_eq!(value("ac-3", 6), Some("F801"));
        assert_eq!(value("ec-3", 2), Some("A000"));
        assert_eq!((value("ac-3", 0), value("ec-3", 7), value("opus", 255)), (None, None, None));
    }

    #[test]
    fn frame_rates_and_shapes_that_make_no_sense_are_left_out() {
        assert_eq!(ratio(Some((25, 0))), None);
        assert_eq!(ratio(Some((0, 1))), None);
        assert_eq!(greatest_common_divisor(0, 0), 1);
        let mut out = String::new();
        write_frame_rate("frameRate", (50, 2), &mut out).unwrap();
        write_frame_rate("frameRate", (30_000, 1_001), &mut out).unwrap();
        assert_eq!(out, " frameRate=\"25\" frameRate=\"30000/1001\"");
    }
}
