//! What it costs to render playlists and MPDs, into a buffer that is reused. `cargo bench --bench manifests`
//!
//! Each is rendered once a segment and channel, whatever the number of viewers. `10` is a short live window, `300` the longest.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millrace::dash::mpd::{self, AdaptationSet, ContentKind, Mpd, Period, Representation, TimelineEntry};
use millrace::hls::media::{self, Entry, Header};
use millrace::hls::multivariant::{self, AudioRendition, Variant};
use std::fmt;
use std::hint::black_box;

/// 2026-11-23, seconds since 1970.
const START: u64 = 1_795_400_000;
const SEGMENTS: [u64; 2] = [10, 300];

/// Renders over and over, and counts in bytes of text.
fn render(c: &mut Criterion, name: &str, write: impl Fn(&mut String)) {
    let mut out = String::new();
    write(&mut out);
    let mut group = c.benchmark_group("manifests");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function(format!("{name} ({} bytes)", out.len()), |b| {
        b.iter(|| {
            out.clear();
            write(&mut out);
            black_box(out.len())
        })
    });
    group.finish();
}

/// A segment's URI, as a packager gives it: it is displayed straight into the playlist.
#[derive(Clone, Copy, PartialEq)]
struct SegmentUri(u64);

impl fmt::Display for SegmentUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.m4s", self.0)
    }
}

fn media_playlist(c: &mut Criterion) {
    let header = Header {
        target_duration_s: 2,
        media_sequence: START,
        discontinuity_sequence: START,
        independent_segments: true,
    };
    for count in SEGMENTS {
        let entry = |number| Entry {
            uri: SegmentUri((START * 90_000) + number * 180_000),
            map: Some(SegmentUri(0)),
            gap: false,
            duration_90k: 180_000,
            discontinuity: false,
            program_date_time_us: (START + 2 * number) * 1_000_000,
        };
        render(c, &format!("media playlist of {count} segments"), |out| {
            media::write(&header, (0..black_box(count)).map(entry), out);
        });
    }
}

fn multivariant_playlist(c: &mut Criterion) {
    let rendition = |(index, name): (usize, &&str)| AudioRendition {
        group: "aac".into(),
        name: name.to_string(),
        language: Some("en".into()),
        default: index == 0,
        autoselect: true,
        characteristics: None,
        channels: Some(2),
        uri: Some(format!("{START}/a{index}/media.m3u8")),
    };
    let renditions: Vec<_> = ["English", "German", "French"].iter().enumerate().map(rendition).collect();
    let variant = Variant {
        uri: format!("{START}/v0/media.m3u8"),
        bandwidth: 5_128_000,
        average_bandwidth: 4_128_000,
        codecs: vec!["avc1.640028".into(), "mp4a.40.2".into()],
        audio_group: Some("aac".into()),
        resolution: Some((1_920, 1_080)),
        frame_rate: Some((25, 1)),
    };
    render(c, "multivariant of 1 video and 3 audio", |out| {
        multivariant::write(black_box(&renditions), std::slice::from_ref(&variant), true, out);
    });
}

/// `durations` in turn, as many segments as are asked for.
fn representation(id: &str, timescale: u32, durations: &[u64], count: u64) -> Representation {
    let mut time = START * u64::from(timescale);
    let entry = |&duration: &u64| {
        time += duration;
        TimelineEntry { time: time - duration, duration }
    };
    let is_video = timescale == 90_000;
    Representation {
        id: id.into(),
        bandwidth: 5_000_000,
        codecs: if is_video { "avc1.640028" } else { "mp4a.40.2" }.into(),
        resolution: is_video.then_some((1_920, 1_080)),
        sar: is_video.then_some((1, 1)),
        frame_rate: is_video.then_some((25, 1)),
        audio_sampling_rate: (!is_video).then_some(timescale),
        audio_channels: (!is_video).then_some(2),
        timescale,
        presentation_time_offset: START * u64::from(timescale),
        initialization: format!("{START}/{id}/init-1.mp4"),
        media: format!("{START}/{id}/$Time$.m4s"),
        timeline: durations.iter().cycle().take(count as usize).map(entry).collect(),
    }
}

/// The audio's segments are of 94, 94 and 93 frames in turn, so that its timeline has few runs; the video's is one run.
fn mpd(c: &mut Criterion) {
    for count in SEGMENTS {
        let set = |id: u32| {
            let (kind, representation) = match id {
                0 => (ContentKind::Video, representation("v0", 90_000, &[180_000], count)),
                _ => (ContentKind::Audio, representation(&format!("a{id}"), 48_000, &[96_256, 96_256, 95_232], count)),
            };
            AdaptationSet {
                id,
                kind,
                language: Some("en".into()),
                label: None,
                roles: vec!["main"],
                audio_purpose: None,
                starts_with_sap: true,
                representations: vec![representation],
            }
        };
        let period =
            Period { id: START.to_string(), start_90k: START * 90_000, adaptation_sets: (0..4).map(set).collect() };
        let mpd = Mpd {
            publish_time_us: START * 1_000_000,
            update_period_ms: 2_000,
            time_shift_buffer_ms: 60_000,
            presentation_delay_ms: 6_000,
            min_buffer_ms: 2_000,
            segment_ms_max: 3_000,
            utc_timing_url: "../../time".into(),
            periods: vec![period],
        };
        render(c, &format!("MPD of 1 video and 3 audio, {count} segments"), |out| mpd::write(black_box(&mpd), out));
    }
}

criterion_group!(benches, media_playlist, multivariant_playlist, mpd);
criterion_main!(benches);
