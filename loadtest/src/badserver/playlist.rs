//! Writes the texts: playlists of HLS (RFC 8216) and the manifest of DASH (ISO/IEC 23009-1, live profile).
//!
//! What it deliberately does not do: say anything that is not in the standards' required minimum for a live stream.

use super::access_unit::{AUDIO_FRAME_BYTES, AUDIO_FRAME_SAMPLES, AUDIO_HZ, PICTURE_SIZE};
use super::cmaf::Track;
use super::live::{Live, WINDOW_SEGMENTS};
use std::fmt::Write;

/// EXT-X-TARGETDURATION, seconds; [`super::Fault::WrongTargetDuration`] does not change it.
const TARGET_DURATION_SECONDS: u64 = 2;
const VIDEO_CODEC: &str = "avc1.42c01e";
const AUDIO_CODEC: &str = "mp4a.40.2";

/// Multivariant playlist of the transport stream segments.
pub fn ts_multivariant(kbps: u32) -> String {
    format!("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n{}\nts/index.m3u8\n", stream_inf(kbps))
}

/// Multivariant playlist of CMAF: a video variant with a group of one audio rendition.
pub fn cmaf_multivariant(kbps: u32) -> String {
    let media = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",\
                 URI=\"cmaf/a/index.m3u8\"";
    let stream_inf = stream_inf(kbps);
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n{media}\n{stream_inf},AUDIO=\"audio\"\ncmaf/v/index.m3u8\n"
    )
}

fn stream_inf(kbps: u32) -> String {
    let (width, height) = PICTURE_SIZE;
    format!(
        "#EXT-X-STREAM-INF:BANDWIDTH={}000,CODECS=\"{VIDEO_CODEC},{AUDIO_CODEC}\",RESOLUTION={width}x{height},FRAME-RATE=25.000",
        kbps
    )
}

/// Media playlist at media time `now_us`; `track` is `None` for the transport stream.
pub fn media(live: &Live, track: Option<Track>, now_us: u64) -> String {
    let window = live.hls_window(now_us);
    let (version, extension) = if track.is_some() { (7, "m4s") } else { (3, "ts") };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{TARGET_DURATION_SECONDS}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        window.start
    );
    if track.is_some() {
        text.push_str("#EXT-X-MAP:URI=\"init.mp4\"\n");
    }
    for n in window {
        let (time, timescale) = match track {
            Some(track) => (track.time_ticks(live.span(n)), track.timescale()),
            None => (live.span(n).time_us(), 1_000_000),
        };
        let date = date_time(live.epoch_unix_us() + time.start * 1_000_000 / timescale);
        let seconds = (time.end - time.start) as f64 / timescale as f64;
        // Writing to a string does not fail.
        let _ = write!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:{seconds:.6},\ns{n}.{extension}\n");
    }
    text
}

/// Manifest at media time `now_us`. It says when the last segment was made as its publishTime, so it changes only with its segments.
pub fn manifest(live: &Live, kbps: u32, now_us: u64) -> String {
    let window = live.dash_window(now_us);
    let audio_bps = AUDIO_FRAME_BYTES as u64 * 8 * AUDIO_HZ / AUDIO_FRAME_SAMPLES;
    let published_us = window.end.checked_sub(1).map_or(0, |last| live.span(last).time_us().end);
    let (width, height) = PICTURE_SIZE;
    let video = format!("codecs=\"{VIDEO_CODEC}\" width=\"{width}\" height=\"{height}\" frameRate=\"25\"");
    let audio = format!("codecs=\"{AUDIO_CODEC}\" audioSamplingRate=\"{AUDIO_HZ}\"");
    let video = adaptation_set(live, Track::Video, window.clone(), &video, u64::from(kbps) * 1_000 - audio_bps);
    let audio = adaptation_set(live, Track::Audio, window, &audio, audio_bps);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic"
  availabilityStartTime="{}" publishTime="{}" minimumUpdatePeriod="PT2S" minBufferTime="PT2S"
  timeShiftBufferDepth="PT{}S" suggestedPresentationDelay="PT6S">
<Period id="0" start="PT0S">
{video}{audio}</Period>
</MPD>
"#,
        date_time(live.epoch_unix_us()),
        date_time(live.epoch_unix_us() + published_us),
        WINDOW_SEGMENTS * TARGET_DURATION_SECONDS
    )
}

fn adaptation_set(live: &Live, track: Track, window: std::ops::Range<u64>, attributes: &str, bps: u64) -> String {
    let (id, content, folder) = match track {
        Track::Video => (0, "video", "v"),
        Track::Audio => (1, "audio", "a"),
    };
    let (timescale, start_number) = (track.timescale(), window.start);
    let mut text = format!(
        r#"<AdaptationSet id="{id}" contentType="{content}" mimeType="{content}/mp4" segmentAlignment="true" startWithSAP="1">
<SegmentTemplate timescale="{timescale}" initialization="cmaf/{folder}/init.mp4" media="cmaf/{folder}/s$Number$.m4s" startNumber="{start_number}">
<SegmentTimeline>
"#
    );
    for n in window {
        let time = track.time_ticks(live.span(n));
        let _ = writeln!(text, r#"<S t="{}" d="{}"/>"#, time.start, time.end - time.start);
    }
    text.push_str("</SegmentTimeline>\n</SegmentTemplate>\n");
    let _ = writeln!(text, r#"<Representation id="{folder}" bandwidth="{bps}" {attributes}/>"#);
    text.push_str("</AdaptationSet>\n");
    text
}

/// Date and time of ISO 8601 with milliseconds, UTC, of microseconds since 1970.
fn date_time(unix_us: u64) -> String {
    let ms = unix_us / 1_000;
    let (day, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(day);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, ms) = (ms_of_day / 1_000 % 60, ms_of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms": years begin in March).
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::super::live::HISTORY_US;
    use super::*;

    fn live(fault: Fault) -> Live {
        Live::new(fault, 1_700_000_024_500_000, 0)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(1_700_000_000_123_456), "2023-11-14T22:13:20.123Z");
        assert_eq!(date_time(951_782_400_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(date_time(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_media_playlist_of_the_transport_stream() {
        let text = media(&live(Fault::None), None, HISTORY_US);
        let begin = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:2\n\
                     #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:24.500Z\n#EXTINF:2.000000,\ns2.ts\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("\ns11.ts\n"), "{text}");
        assert_eq!(text.matches("#EXTINF:2.000000,").count(), 10);
    }

    #[test]
    fn a_media_playlist_of_audio_has_its_own_durations() {
        let text = media(&live(Fault::None), Some(Track::Audio), HISTORY_US);
        assert!(text.contains("#EXT-X-MAP:URI=\"init.mp4\"\n"), "{text}");
        // The first AAC frame at or after 4 s is number 188, due at 4.010667 s; 94 of them begin before 6 s.
        assert!(text.contains("T22:13:24.510Z\n#EXTINF:2.005333,\ns2.m4s\n"), "{text}");
    }

    #[test]
    fn a_segment_too_long_stands_under_the_same_target_duration() {
        let text = media(&live(Fault::WrongTargetDuration), Some(Track::Video), HISTORY_US);
        assert!(text.contains("#EXT-X-TARGETDURATION:2\n"), "{text}");
        assert!(text.contains("#EXTINF:4.000000,\ns1.m4s\n"), "{text}");
    }

    #[test]
    fn the_manifest_lists_what_the_tracks_hold() {
        let text = manifest(&live(Fault::None), 1_000, HISTORY_US);
        assert!(
            text.contains(r#"availabilityStartTime="2023-11-14T22:13:20.500Z" publishTime="2023-11-14T22:13:44.500Z""#)
        );
        assert!(text.contains(r#"startNumber="2""#) && text.contains(r#"<S t="360000" d="180000"/>"#), "{text}");
        assert_eq!(text.matches("<S t=").count(), 20);
    }
}
