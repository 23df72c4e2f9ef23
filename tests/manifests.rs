//! Playlists and MPDs as they go out, against tests/golden. The parsers in tests/players/mpd.py and playlists.mjs judge the same files.

mod support;

use millrace::dash::mpd::{self, AdaptationSet, ContentKind, Mpd, Period, Representation, TimelineEntry};
use millrace::hls::media::{self, Entry, Header};
use millrace::hls::multivariant::{self, AudioRendition, Variant};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::golden;

/// Seconds since 1970 of the first segment: 2026-11-23.
const START_S: u64 = 1_795_400_000;

fn mpd(periods: Vec<Period>) -> Mpd {
    Mpd {
        publish_time_us: (START_S + 21) * 1_000_000 + 250_000,
        update_period_ms: 2_000,
        time_shift_buffer_ms: 60_000,
        presentation_delay_ms: 6_000,
        min_buffer_ms: 2_000,
        segment_ms_max: 3_000,
        utc_timing_url: "../../time?of=\"day\"&iso".into(),
        periods,
    }
}

fn set(id: u32, kind: ContentKind, language: Option<&str>, representation: Representation) -> AdaptationSet {
    AdaptationSet {
        id,
        kind,
        language: language.map(str::to_owned),
        label: None,
        roles: vec!["main"],
        audio_purpose: None,
        starts_with_sap: true,
        representations: vec![representation],
    }
}

/// `epoch` stands in the URLs; `offset` is the media time of the Period's begin.
fn representation(id: &str, codecs: &str, timescale: u32, offset: u64, timeline: Vec<TimelineEntry>) -> Representation {
    Representation {
        id: id.into(),
        bandwidth: 5_000_000,
        codecs: codecs.into(),
        resolution: None,
        sar: None,
        frame_rate: None,
        audio_sampling_rate: None,
        audio_channels: None,
        timescale,
        presentation_time_offset: offset,
        initialization: format!("{START_S}/{id}/init-1.mp4"),
        media: format!("{START_S}/{id}/$Time$.m4s"),
        timeline,
    }
}

fn video(codecs: &str, offset: u64, timeline: Vec<TimelineEntry>) -> Representation {
    Representation {
        resolution: Some((1_440, 1_080)),
        sar: Some((4, 3)),
        frame_rate: Some((25, 1)),
        ..representation("v0", codecs, 90_000, offset, timeline)
    }
}

fn audio(id: &str, codecs: &str, channels: u8, offset: u64, timeline: Vec<TimelineEntry>) -> Representation {
    Representation {
        bandwidth: 130_000,
        audio_sampling_rate: Some(48_000),
        audio_channels: Some(channels),
        ..representation(id, codecs, 48_000, offset, timeline)
    }
}

/// Segments one behind the other from `time` on.
fn segments(mut time: u64, durations: &[u64]) -> Vec<TimelineEntry> {
    let entry = |&duration: &u64| {
        time += duration;
        TimelineEntry { time: time - duration, duration }
    };
    durations.iter().map(entry).collect()
}

fn golden_mpd(name: &str, mpd: &Mpd) {
    let mut out = String::new();
    mpd::write(mpd, &mut out);
    golden(name, &out);
}

#[test]
fn mpd_of_one_period() {
    // AAC frames of 1024 samples never end with a picture: segments of 93 and 94 frames.
    let sound = segments(START_S * 48_000 + 512, &[96_256, 96_256, 95_232, 96_256, 96_256]);
    let period = Period {
        id: "1795400000".into(),
        start_90k: START_S * 90_000,
        adaptation_sets: vec![
            set(
                0,
                ContentKind::Video,
                None,
                video("avc1.640028", START_S * 90_000, segments(START_S * 90_000, &[180_000; 5])),
            ),
            set(1, ContentKind::Audio, Some("de"), audio("a1", "mp4a.40.2", 2, START_S * 48_000, sound)),
        ],
    };
    golden_mpd("one-period.mpd", &mpd(vec![period]));
}

/// Three languages and audio description, AC-3 and HEVC, an origin that was away for four seconds, then a jump: a second Period.
#[test]
fn mpd_of_two_periods_with_languages_and_a_hole() {
    // 29.97 Hz: a Period that begins at a tick with no finite decimals.
    let second_start = START_S * 90_000 + 12 * 90_000 + 1_001;
    let period = |id: &str, start: u64, holes: bool| {
        let hole = if holes { 360_000 } else { 0 };
        let begin_48k = start * 8 / 15;
        let mut pictures = segments(start, &[180_180, 180_180]);
        pictures.extend(segments(start + 360_360 + hole, &[180_180, 180_180]));
        let sound = |frame: u64| {
            let frames = |count: u64| frame * count;
            let mut sound = segments(begin_48k, &[frames(61), frames(62)]);
            sound.extend(segments(begin_48k + frames(123) + hole * 8 / 15, &[frames(61), frames(61)]));
            sound
        };
        let audio_set = |id: u32, language, codec, channels| {
            let representation = audio(&format!("a{id}"), codec, channels, begin_48k, sound(1_536));
            set(id, ContentKind::Audio, language, representation)
        };
        let picture =
            Representation { frame_rate: Some((30_000, 1_001)), ..video("hvc1.1.6.L120.90", start, pictures) };
        Period {
            id: id.into(),
            start_90k: start,
            adaptation_sets: vec![
                set(0, ContentKind::Video, None, picture),
                audio_set(1, Some("en"), "ac-3", 6),
                AdaptationSet { roles: vec!["dub"], ..audio_set(2, Some("fr"), "ec-3", 2) },
                AdaptationSet { roles: vec!["dub"], ..audio_set(3, Some("fil"), "ac-3", 2) },
                AdaptationSet {
                    label: Some("English <audio description> & \"more\"".into()),
                    roles: vec!["alternate", "description"],
                    audio_purpose: Some(1),
                    ..audio_set(4, Some("en"), "ac-3", 1)
                },
                // Nothing of this track is there yet.
                set(5, ContentKind::Audio, Some("cy"), audio("a5", "ac-3", 2, begin_48k, Vec::new())),
            ],
        }
    };
    golden_mpd(
        "two-periods.mpd",
        &mpd(vec![period("1795400000", START_S * 90_000, true), period("1795400001", second_start, false)]),
    );
}

#[test]
fn mpd_of_radio() {
    let sound = segments(START_S * 44_100, &[88_064, 88_064, 89_088, 88_064]);
    let representation = Representation {
        audio_sampling_rate: Some(44_100),
        timescale: 44_100,
        ..audio("a0", "mp4a.40.5", 2, START_S * 44_100, sound)
    };
    let period = Period {
        id: "1795400000".into(),
        start_90k: START_S * 90_000,
        adaptation_sets: vec![set(0, ContentKind::Audio, None, representation)],
    };
    golden_mpd("radio.mpd", &mpd(vec![period]));
}

fn rendition(group: &str, name: &str, language: &str, channels: u8, uri: &str) -> AudioRendition {
    AudioRendition {
        group: group.into(),
        name: name.into(),
        language: Some(language.into()),
        autoselect: true,
        channels: Some(channels),
        uri: Some(format!("{START_S}/{uri}/media.m3u8")),
        ..AudioRendition::default()
    }
}

/// Each language in AAC and AC-3: two groups of the same members, a variant for each.
#[test]
fn multivariant_with_two_groups() {
    let group = |name: &str, channels, first: u32| {
        let uri = |index| format!("a{}", first + index);
        vec![
            AudioRendition { default: true, ..rendition(name, "English", "en", channels, &uri(0)) },
            rendition(name, "German", "de", 2, &uri(1)),
            AudioRendition {
                characteristics: Some("public.accessibility.describes-video"),
                ..rendition(name, "English \"described\"", "en", 2, &uri(2))
            },
        ]
    };
    let variant = |group: &str, codec: &str, bandwidth| Variant {
        uri: format!("{START_S}/v0/media.m3u8"),
        bandwidth,
        average_bandwidth: bandwidth - 500_000,
        codecs: vec!["avc1.640028".into(), codec.into()],
        audio_group: Some(group.into()),
        resolution: Some((1_920, 1_080)),
        frame_rate: Some((30_000, 1_001)),
    };
    let renditions = [group("aac", 2, 1), group("ac3", 6, 4)].concat();
    let variants = [variant("aac", "mp4a.40.2", 5_128_000), variant("ac3", "ac-3", 5_384_000)];
    let mut out = String::new();
    multivariant::write(&renditions, &variants, true, &mut out);
    golden("multivariant-groups.m3u8", &out);
}

#[test]
fn multivariant_of_radio() {
    let variant = |uri: &str, codec: &str, bandwidth| Variant {
        uri: format!("{START_S}/{uri}/media.m3u8"),
        bandwidth,
        average_bandwidth: bandwidth,
        codecs: vec![codec.into()],
        ..Variant::default()
    };
    let mut out = String::new();
    multivariant::write(&[], &[variant("a0", "mp4a.40.2", 128_000), variant("a1", "ac-3", 384_000)], true, &mut out);
    golden("multivariant-radio.m3u8", &out);
}

/// A new init section without and with a discontinuity, and a segment that was lost.
#[test]
fn media_playlist_with_maps_a_gap_and_a_discontinuity() {
    let entry = |number: u64, map: u64, gap: bool, discontinuity: bool| Entry {
        uri: format!("{}.m4s", START_S * 90_000 + number * 180_180),
        map: Some(format!("init-{map}.mp4")),
        gap,
        duration_90k: 180_180,
        discontinuity,
        program_date_time_us: START_S * 1_000_000 + number * 2_002_000,
    };
    let header = Header {
        target_duration_s: 2,
        media_sequence: START_S,
        discontinuity_sequence: START_S,
        independent_segments: false,
    };
    let segments = [
        entry(0, 1, false, false),
        entry(1, 1, true, false),
        entry(2, 1, false, false),
        entry(3, 2, false, false),
        entry(4, 3, false, true),
        entry(5, 3, false, false),
    ];
    let mut out = String::new();
    media::write(&header, segments.into_iter(), &mut out);
    golden("media-fmp4.m3u8", &out);
}

/// Every golden file by parsers that share no code with us; `./run test` installs them.
#[test]
fn independent_parsers_take_the_golden_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of_kind = |extension: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root.join("tests/golden")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    };
    let (playlists, mpds) = (of_kind("m3u8"), of_kind("mpd"));
    assert!(playlists.len() >= 5 && mpds.len() >= 3, "the golden files were not found");
    let players = root.join("tests/players");
    // The program is <target>/<profile>/deps/manifests-<hash>.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let python = target.join("venv/bin/python");
    check(&python, &["-c", "import mpegdash"], &players.join("mpd.py"), &mpds);
    check(Path::new("python3"), &["--version"], &players.join("hlsrules.py"), &playlists);
    let module = format!("{}/node_modules/mpd-parser/package.json", players.display());
    let has_modules = ["-e", "require(process.argv[1])", module.as_str()];
    check(Path::new("node"), &has_modules, &players.join("playlists.mjs"), &[playlists, mpds].concat());
}

/// Runs a checker, whose complaints fail the test; skips it where `probe` does not run.
fn check(program: &Path, probe: &[&str], script: &Path, files: &[PathBuf]) {
    let probed = Command::new(program).args(probe).output().is_ok_and(|output| output.status.success());
    if !probed {
        println!("SKIP {}: {} or its modules are not installed", script.display(), program.display());
        return;
    }
    let output = Command::new(program).arg(script).args(files).output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{errors}", script.display());
}
