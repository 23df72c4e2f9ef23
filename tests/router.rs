//! The format router from outside: real clients' request heads through the real parser, what headers and parameters do, how a decision
//! meets a source, an operator's rules; and that no head makes it panic or say what a header cannot carry.

use millrace::es::Codec::{self, *};
use millrace::es::encoding::Encoding;
use millrace::es::selection::{Pick, Selection};
use millrace::http::request::{Parsed, Progress, parse};
use millrace::http::url::Target;
use millrace::limits::REQUEST_HEAD_BYTES_MAX;
use millrace::metrics::Format::{self, Dash, HlsFmp4, HlsTs, MpegTs};
use millrace::route::decide::{Choice, Client, decide};
use millrace::route::profiles::Profiles;
use millrace::route::rules::{OwnRule, Rules};
use millrace::route::{Route, RouteError, route};
use proptest::prelude::*;

/// Clients with their fields and what they must get, one after the other.
const HEADS: &str = include_str!("router/heads.txt");

/// One client of [`HEADS`].
struct Case {
    name: &'static str,
    head: String,
    /// Format, reason, fallback.
    expected: [&'static str; 3],
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in HEADS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix('[') {
            let (name, expected) = title.split_once("] => ").expect("a title");
            let expected: Vec<_> = expected.split(" | ").collect();
            let head = "GET /relay/channel/news/stream HTTP/1.1\r\nHost: relay.example:8080\r\n".to_owned();
            cases.push(Case { name, head, expected: expected.try_into().expect("three parts") });
        } else {
            cases.last_mut().expect("a title before its fields").head.extend([line, "\r\n"]);
        }
    }
    cases.iter_mut().for_each(|case| case.head.push_str("\r\n"));
    cases
}

/// As the relay does it: parses the head, and hands the router its fields.
fn routed<'h>(head: &'h [u8], rules: &Rules) -> Option<Result<Route<'h>, RouteError>> {
    let progress = Box::leak(Box::new(Progress::default()));
    let Ok(Parsed::Complete(head, _)) = parse(head, progress) else { return None };
    Some(route(Target::new(head.target()), &Client::of(&head), rules))
}

/// What a request for `path` with these fields is decided to get.
fn choice(path: &str, fields: &str, rules: &Rules) -> Choice {
    let head = format!("GET /relay/channel/news/{path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    match routed(head.as_bytes(), rules) {
        Some(Ok(Route::Entry { choice, channel })) if channel == "news" => choice,
        other => panic!("{path} {fields}: {other:?}"),
    }
}

/// Format, reason, fallback.
fn told(choice: &Choice) -> [&str; 3] {
    [choice.format.name(), &choice.why, choice.fallback.map_or("none", Format::name)]
}

#[test]
fn real_clients_get_what_suits_them() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} clients", cases.len());
    for case in &cases {
        let Some(Ok(Route::Entry { choice, .. })) = routed(case.head.as_bytes(), &Rules::default()) else {
            panic!("{}: no decision", case.name);
        };
        assert_eq!(told(&choice), case.expected, "{}", case.name);
        assert!(!choice.by_url && choice.wish.is_silent(), "{}", case.name);
    }
}

/// A file extension outranks all that a client sends; the format parameter outranks its headers.
#[test]
fn whatever_the_client_the_url_goes_first() {
    for case in cases() {
        for (path, format) in [
            ("stream.ts", Format::MpegTs),
            ("manifest.mpd", Format::Dash),
            ("index.m3u8?format=hls-ts", Format::HlsTs),
            ("index.m3u8?format=FMP4", Format::HlsFmp4),
            ("stream?format=dash", Format::Dash),
            ("stream?format=hls-fmp4", Format::HlsFmp4),
        ] {
            let head = case.head.replacen("/news/stream", &format!("/news/{path}"), 1);
            let Some(Ok(Route::Entry { choice, .. })) = routed(head.as_bytes(), &Rules::default()) else {
                panic!("{}: no decision for {path}", case.name);
            };
            assert_eq!((choice.format, choice.fallback, choice.by_url), (format, None, true), "{} {path}", case.name);
        }
        let head = case.head.replacen("/news/stream", "/news/index.m3u8", 1);
        let Some(Ok(Route::Entry { choice, .. })) = routed(head.as_bytes(), &Rules::default()) else {
            panic!("{}: no decision", case.name);
        };
        assert!(matches!(choice.format, Format::HlsTs | Format::HlsFmp4), "{}", case.name);
        assert!(choice.why.starts_with("extension .m3u8"), "{}: {}", case.name, choice.why);
    }
}

#[test]
fn the_format_parameter_knows_every_alias_in_any_case() {
    for (value, expected) in [
        ("hls", ["hls-fmp4", "format parameter", "hls-ts"]),
        ("HLS", ["hls-fmp4", "format parameter", "hls-ts"]),
        ("hls-ts", ["hls-ts", "format parameter", "none"]),
        ("Hls-TS", ["hls-ts", "format parameter", "none"]),
        ("hls-fmp4", ["hls-fmp4", "format parameter", "none"]),
        ("fmp4", ["hls-fmp4", "format parameter", "none"]),
        ("dash", ["dash", "format parameter", "none"]),
        ("mpegts", ["mpegts", "format parameter", "none"]),
        ("ts", ["mpegts", "format parameter", "none"]),
        ("%74s", ["mpegts", "format parameter", "none"]),
        ("auto", ["hls-fmp4", "default", "hls-ts"]),
        ("AUTO", ["hls-fmp4", "default", "hls-ts"]),
        ("", ["hls-fmp4", "default", "hls-ts"]),
    ] {
        let choice = choice(&format!("stream?format={value}"), "", &Rules::default());
        assert_eq!(told(&choice), expected, "{value}");
    }
    for value in ["avi", "hls-mp4", "ts%20", "tsx", "%ff", "mpegts,ts"] {
        let head = format!("GET /relay/channel/news/stream?format={value} HTTP/1.1\r\nHost: h\r\n\r\n");
        let error = routed(head.as_bytes(), &Rules::default()).unwrap().unwrap_err();
        assert!(matches!(error, RouteError::UnknownFormat | RouteError::BadUrl(_)), "{value}: {error}");
    }
    let message = RouteError::UnknownFormat.to_string();
    for alias in ["hls", "hls-ts", "hls-fmp4", "fmp4", "dash", "mpegts", "ts", "auto"] {
        assert!(message.split([' ', ',']).any(|word| word == alias), "{message} does not name {alias}");
    }
}

/// Fields, and what `/stream` gives.
const SPOKEN: &[(&str, [&str; 3])] = &[
    // X-Container goes before Accept and User-Agent.
    ("X-Container: ts\r\nUser-Agent: AppleCoreMedia/1.0\r\n", ["mpegts", "X-Container", "none"]),
    ("X-Container: MPEG2TS\r\nAccept: application/dash+xml\r\n", ["mpegts", "X-Container", "none"]),
    ("X-Container: mpegts\r\n", ["mpegts", "X-Container", "none"]),
    ("X-Container: fmp4\r\nUser-Agent: VLC/3.0\r\n", ["hls-fmp4", "X-Container", "none"]),
    ("X-Container: CMAF\r\n", ["hls-fmp4", "X-Container", "none"]),
    ("X-Container: mp4\r\n", ["hls-fmp4", "X-Container", "none"]),
    ("X-Container: dash\r\n", ["dash", "X-Container", "none"]),
    ("X-Container: hls-ts\r\n", ["hls-ts", "X-Container", "none"]),
    ("X-Container: hls\r\n", ["hls-fmp4", "X-Container", "hls-ts"]),
    ("X-Container: hls\r\nUser-Agent: VLC/3.0\r\n", ["hls-ts", "X-Container, User-Agent: VLC", "hls-fmp4"]),
    // A list is in order; a later one of the other container is what to fall back on; unknown names are passed over.
    ("X-Container: fmp4, ts\r\n", ["hls-fmp4", "X-Container", "mpegts"]),
    ("X-Container: webm, , ts;x=1, hls\r\n", ["mpegts", "X-Container", "hls-fmp4"]),
    ("X-Container: webm\r\nUser-Agent: VLC/3.0\r\n", ["mpegts", "User-Agent: VLC", "hls-fmp4"]),
    // Accept goes before User-Agent.
    ("Accept: application/vnd.apple.mpegurl\r\nUser-Agent: curl/8\r\n", ["hls-fmp4", "Accept", "hls-ts"]),
    ("Accept: APPLICATION/X-MPEGURL\r\n", ["hls-fmp4", "Accept", "hls-ts"]),
    ("Accept: audio/mpegurl, */*\r\n", ["hls-fmp4", "Accept", "hls-ts"]),
    ("Accept: application/dash+xml\r\nUser-Agent: VLC/3.0\r\n", ["dash", "Accept", "none"]),
    ("Accept: video/mp2t\r\nUser-Agent: AppleCoreMedia/1\r\n", ["mpegts", "Accept", "none"]),
    ("Accept: video/mp2t, application/dash+xml\r\n", ["mpegts", "Accept", "dash"]),
    ("Accept: video/mp2t;q=0.5, application/dash+xml;q=0.9\r\n", ["dash", "Accept", "mpegts"]),
    ("Accept: application/dash+xml, application/x-mpegurl;q=0.8, video/mp2t;q=0.1\r\n", ["dash", "Accept", "hls-ts"]),
    ("Accept: application/dash+xml;q=0.5, video/mp2t;q=0.5\r\n", ["dash", "Accept", "mpegts"]),
    ("Accept: video/mp2t;q=0.001, text/html\r\n", ["mpegts", "Accept", "none"]),
    // What says nothing.
    ("Accept: */*\r\nUser-Agent: VLC/3.0\r\n", ["mpegts", "User-Agent: VLC", "hls-fmp4"]),
    ("Accept: text/html,application/xml;q=0.9,*/*;q=0.8\r\n", ["hls-fmp4", "default", "hls-ts"]),
    ("Accept: video/*;q=0.9, application/ogg\r\nUser-Agent: Lavf/60\r\n", ["mpegts", "User-Agent: FFmpeg", "hls-fmp4"]),
    // A weight of 0 refuses, as long as something is left.
    ("Accept: video/mp2t;q=0, */*\r\nUser-Agent: VLC/3.0\r\n", ["hls-ts", "User-Agent: VLC", "hls-fmp4"]),
    ("Accept: application/x-mpegurl;q=0\r\n", ["mpegts", "default", "dash"]),
    (
        "Accept: application/x-mpegurl;q=0, video/mp2t;q=0\r\nUser-Agent: Enigma2 HbbTV/1.1.1\r\n",
        ["dash", "default", "none"],
    ),
    (
        "Accept: application/x-mpegurl;q=0, video/mp2t;q=0, application/dash+xml;q=0\r\n",
        ["hls-fmp4", "default", "none"],
    ),
    // Codecs that one container alone carries decide for it.
    ("X-Video-Codec: vp9\r\nUser-Agent: VLC/3.0\r\n", ["hls-fmp4", "X-Video-Codec", "none"]),
    ("X-Video-Codec: mpeg2\r\nUser-Agent: AppleCoreMedia/1\r\n", ["hls-ts", "X-Video-Codec", "none"]),
    ("X-Audio-Codec: flac\r\nAccept: video/mp2t\r\n", ["hls-fmp4", "X-Audio-Codec", "none"]),
    ("X-Audio-Codec: mp2\r\nX-Video-Codec: h264\r\n", ["hls-ts", "X-Audio-Codec", "none"]),
    ("X-Video-Codec: avc, hevc\r\nX-Audio-Codec: mp4a.40.2\r\n", ["hls-fmp4", "default", "hls-ts"]),
    ("X-Video-Codec: *\r\nX-Audio-Codec: any\r\nUser-Agent: VLC/3.0\r\n", ["mpegts", "User-Agent: VLC", "hls-fmp4"]),
];

#[test]
fn headers_are_obeyed_in_their_order() {
    for (fields, expected) in SPOKEN {
        for path in ["stream", "stream?format=auto"] {
            let choice = choice(path, fields, &Rules::default());
            assert_eq!(told(&choice), *expected, "{fields}");
            assert!(!choice.by_url);
        }
    }
}

#[test]
fn hls_takes_its_segments_from_what_the_client_says() {
    for (fields, expected) in [
        ("X-Container: ts\r\n", ["hls-ts", "extension .m3u8, X-Container", "none"]),
        ("X-Container: cmaf\r\nUser-Agent: VLC/3\r\n", ["hls-fmp4", "extension .m3u8, X-Container", "none"]),
        ("X-Video-Codec: mpeg2\r\n", ["hls-ts", "X-Video-Codec", "none"]),
        ("User-Agent: x LG NetCast.TV-2013\r\n", ["hls-ts", "extension .m3u8, User-Agent: NetCast", "hls-fmp4"]),
        ("User-Agent: x AndroidXMedia3/1.8.0\r\n", ["hls-fmp4", "extension .m3u8", "hls-ts"]),
        ("", ["hls-fmp4", "extension .m3u8", "hls-ts"]),
    ] {
        assert_eq!(told(&choice("index.m3u8", fields, &Rules::default())), expected, "{fields}");
    }
}

#[test]
fn a_named_format_is_one_for_all_only_without_codec_fields() {
    assert!(choice("stream.ts", "Accept: */*\r\n", &Rules::default()).by_url);
    assert!(!choice("stream.ts", "X-Video-Codec: vp9\r\n", &Rules::default()).by_url);
}

/// Path, fields, source, and the decision, or the refusal after `!`.
const SETTLED: &[(&str, &str, &[Codec], &str)] = &[
    ("stream", "User-Agent: Version/18 Safari/605 AppleWebKit/605\r\n", &[H264, Aac], "hls-fmp4; User-Agent: Safari"),
    (
        "stream",
        "User-Agent: Version/18 Safari/605 AppleWebKit/605\r\n",
        &[H264, Mp2],
        "hls-ts; User-Agent: Safari; not hls-fmp4: mp2 not carried in CMAF",
    ),
    (
        "stream",
        "User-Agent: Version/18 Safari/605 AppleWebKit/605\r\n",
        &[Mpeg2Video, Mp2, Teletext],
        "hls-ts; User-Agent: Safari; not hls-fmp4: mpeg2 and mp2 not carried in CMAF",
    ),
    ("stream", "User-Agent: VLC/3.0\r\n", &[Mpeg2Video, Mp2, Ac3], "mpegts; User-Agent: VLC"),
    (
        "stream",
        "User-Agent: VLC/3.0\r\n",
        &[Vp9, Opus],
        "hls-fmp4; User-Agent: VLC; not mpegts: vp9 not carried in MPEG-TS",
    ),
    ("stream", "", &[H265, Ac3, Eac3], "hls-fmp4; default"),
    ("stream", "", &[Av1, Opus], "hls-fmp4; default"),
    ("stream", "", &[], "hls-fmp4; default"),
    ("stream", "", &[Scte35, PrivatePes], "hls-fmp4; default"),
    // Sound alone.
    ("stream", "", &[Ac3], "hls-fmp4; default"),
    ("stream", "", &[Opus], "hls-fmp4; default"),
    ("stream", "", &[Mp2], "hls-ts; default; not hls-fmp4: mp2 not carried in CMAF"),
    ("stream", "", &[Mp2, Aac], "hls-fmp4; default; without mp2: not carried in CMAF"),
    ("manifest.mpd", "", &[Mp2], "!the source has mp2, which CMAF does not carry; hls-ts, mpegts would work"),
    // Who names a format gets it without what it cannot carry, or nothing.
    ("manifest.mpd", "", &[H264, Mp2, Aac], "dash; extension .mpd; without mp2: not carried in CMAF"),
    ("stream?format=fmp4", "", &[Mpeg2Video, Aac], "hls-fmp4; format parameter; without mpeg2: not carried in CMAF"),
    (
        "stream?format=dash",
        "",
        &[Mpeg2Video, Mp2],
        "!the source has mpeg2 and mp2, which CMAF does not carry; hls-ts, mpegts would work",
    ),
    (
        "stream?format=hls",
        "",
        &[Mpeg2Video, Mp2],
        "hls-ts; format parameter; not hls-fmp4: mpeg2 and mp2 not carried in CMAF",
    ),
    (
        "stream.ts",
        "",
        &[Vp9, Flac],
        "!the source has vp9 and flac, which MPEG-TS does not carry; hls-fmp4, dash would work",
    ),
    ("stream.ts", "", &[H264, Flac, Aac], "mpegts; extension .ts; without flac: not carried in MPEG-TS"),
    // Neither container takes both: each takes what it can.
    ("stream", "", &[Vp8, Aac], "hls-fmp4; default"),
    // What the client asks for.
    ("stream", "X-Video-Codec: h264\r\n", &[H264, Aac], "hls-fmp4; default"),
    (
        "stream",
        "X-Video-Codec: vp9, av1\r\n",
        &[H264, Aac],
        "!the source has h264 and aac, X-Video-Codec asks for av1 and vp9, and nothing is transcoded; \
         hls-ts, hls-fmp4, dash, mpegts would work without X-Video-Codec",
    ),
    (
        "stream.ts",
        "X-Video-Codec: theora\r\n",
        &[Mpeg2Video],
        "!the source has mpeg2, X-Video-Codec asks for no codec that is known, and nothing is transcoded; \
         hls-ts, mpegts would work without X-Video-Codec",
    ),
    ("stream", "X-Video-Codec: h264\r\n", &[Aac], "hls-fmp4; default"),
    ("stream", "X-Audio-Codec: aac\r\n", &[H264, Aac, Ac3], "hls-fmp4; default; not asked for: ac3 (X-Audio-Codec)"),
    (
        "stream",
        "X-Audio-Codec: opus\r\n",
        &[Ac3],
        "!the source has ac3, X-Audio-Codec asks for opus, and nothing is transcoded; \
         hls-ts, hls-fmp4, dash, mpegts would work without X-Audio-Codec",
    ),
    (
        "stream",
        "X-Audio-Codec: mp2\r\nUser-Agent: Version/18 Safari/605 AppleWebKit/605\r\n",
        &[H264, Mp2],
        "hls-ts; X-Audio-Codec",
    ),
    (
        "stream",
        "X-Video-Codec: mpeg2, h264\r\n",
        &[Mpeg2Video, Mp2],
        "hls-ts; default; not hls-fmp4: mpeg2 and mp2 not carried in CMAF",
    ),
];

#[test]
fn a_decision_meets_its_source() {
    for (path, fields, source, expected) in SETTLED {
        let choice = choice(path, fields, &Rules::default());
        let settled = choice.settle(source, &Profiles::default());
        let text = match &settled {
            Ok(settled) => settled.decision.clone(),
            Err(nothing) => format!("!{nothing}"),
        };
        assert_eq!(text, *expected, "{path} {fields} {source:?}");
        if let Ok(settled) = settled {
            assert!(text.starts_with(&format!("{}; ", settled.format.name())));
        }
    }
}

const CHROME: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36\r\n";
const CHROME_WINDOWS: &str =
    "User-Agent: Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36\r\n";
const FIREFOX: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n";
const SAFARI: &str = "User-Agent: Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15\r\n";
const VLC: &str = "User-Agent: VLC/3.0.20 LibVLC/3.0.20\r\n";

/// Target, fields, the source's codecs, format, selection, and whether the URL alone decided.
type Made = (&'static str, &'static str, &'static [Codec], Format, &'static str, bool);

/// What is made where it may be.
const MADE: &[Made] = &[
    // What the client decodes is copied, what it does not is made.
    ("stream", CHROME, &[H264, Aac], HlsFmp4, "copy_copy", false),
    ("stream", CHROME, &[H264, Ac3], HlsFmp4, "copy_aac", false),
    ("stream", CHROME, &[H264, Ac3, Aac], HlsFmp4, "copy_copy", false),
    ("stream", CHROME, &[Mpeg2Video, Mp2], HlsFmp4, "h264_aac", false),
    ("stream", CHROME, &[H265, Eac3], HlsFmp4, "h264_aac", false),
    ("stream", CHROME_WINDOWS, &[H265, Aac], HlsFmp4, "copy_copy", false),
    ("stream", FIREFOX, &[H265, Opus], HlsFmp4, "h264_copy", false),
    ("stream", SAFARI, &[H265, Eac3], HlsFmp4, "copy_copy", false),
    ("stream", SAFARI, &[H264, Mp2], HlsFmp4, "copy_aac", false),
    ("stream", VLC, &[Mpeg2Video, Mp2], MpegTs, "copy_copy", false),
    // Who says nothing of itself gets the container that needs nothing made.
    ("stream", "", &[Mpeg2Video, Mp2], HlsTs, "copy_copy", false),
    // The URL names the format: what that does not carry is made, for all alike; what only this client lacks, not.
    ("stream?format=fmp4", "", &[H264, Mp2], HlsFmp4, "copy_aac", true),
    ("manifest.mpd", CHROME, &[H264, Ac3], Dash, "copy_aac", false),
    ("manifest.mpd", VLC, &[H264, Ac3], Dash, "copy_copy", false),
    ("manifest.mpd", VLC, &[H264, Aac], Dash, "copy_copy", true),
    // Two pictures: what is made is made of the first.
    ("stream", CHROME, &[H265, H264, Aac], HlsFmp4, "h264_copy", false),
    // Asked for.
    ("stream?format=fmp4&video=h264&audio=aac", "", &[H264, Aac], HlsFmp4, "copy_copy", true),
    ("stream?format=fmp4&video=vp9&audio=opus", "", &[H264, Aac], HlsFmp4, "vp9_opus", true),
    ("stream.ts?audio=none", "", &[H264, Aac], MpegTs, "copy_none", true),
    ("stream.ts?audio=aac&video=", "", &[H264, Aac], MpegTs, "copy_copy", true),
    ("stream.ts?audio=aac", "", &[H264, Aac, Mp2], MpegTs, "copy_aac", true),
    ("stream.ts?profile=radio&video=h264", "", &[H264, Aac], MpegTs, "h264_aac-96k", true),
    ("stream.ts?profile=ladder&audio=mp3", "", &[H264, Aac], MpegTs, "h264-720p_mp3-96k", true),
    ("stream?format=dash&profile=LADDER", "", &[H264, Aac], Dash, "h264-720p+h264-360p_aac-96k", true),
    ("stream.ts?profile=ladder", "", &[H264, Aac], MpegTs, "h264-720p_aac-96k", true),
    ("manifest.mpd?profile=ladder&video=vp9&audio=copy", "", &[H264, Aac], Dash, "vp9-720p+vp9-360p_copy", true),
    // Asked for by a header: the first of what can be made and carried.
    ("stream", "X-Video-Codec: av1, vp9\r\n", &[H264, Aac], HlsFmp4, "vp9_copy", false),
];

#[test]
fn what_is_made_follows_request_client_and_source() {
    let ladder = Selection::ladder(
        &["h264-720p", "h264-360p"].map(|name| match name.parse() {
            Ok(Encoding::Video(video)) => Pick::Encode(video),
            _ => unreachable!("a picture"),
        }),
        match "aac-96k".parse() {
            Ok(Encoding::Audio(audio)) => Some(Pick::Encode(audio)),
            _ => unreachable!("a sound"),
        },
    );
    let radio = Selection::new(None, ladder.audio);
    let profiles = Profiles::new(vec![("ladder".into(), ladder), ("radio".into(), radio)], true, true);
    let rules = Rules::default().with_profiles(profiles.clone());
    for (path, fields, source, format, selection, by_url) in MADE {
        let settled = choice(path, fields, &rules).settle(source, &profiles);
        let settled = settled.unwrap_or_else(|why| panic!("{path} {fields} {source:?}: {why}"));
        let found = (settled.format, settled.selection.to_string(), settled.by_url);
        assert_eq!(
            found,
            (*format, (*selection).to_owned(), *by_url),
            "{path} {fields} {source:?}: {}",
            settled.decision
        );
        let made = settled.selection.encodings().all(|encoding| profiles.encodings().contains(&encoding));
        assert!(made, "a session would refuse {selection}");
        assert!(settled.decision.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", settled.decision);
    }
    let refused =
        |path: &str| choice(path, "", &rules).settle(&[H264, Aac], &profiles).map(|s| s.selection).unwrap_err().0;
    assert_eq!(refused("stream.ts?video=vp9"), "MPEG-TS does not carry vp9; hls-fmp4, dash would work");
    let nothing = "the source has a picture, and the request asks for none; leave out video, audio or profile";
    assert_eq!(refused("stream.ts?profile=radio&audio=none"), nothing);
    let radio = choice("stream.ts?video=copy&audio=none", "", &rules).settle(&[Aac], &profiles).unwrap_err().0;
    assert_eq!(
        radio,
        "the source has sound only, and the request asks for no sound; leave out video, audio or profile"
    );
    let copied = choice("stream?format=fmp4&audio=copy", "", &rules).settle(&[H264, Mp2], &profiles).unwrap_err().0;
    assert_eq!(copied, "CMAF does not carry mp2; hls-ts, mpegts would work");
    assert_eq!(refused("manifest.mpd?video=mpeg2"), "CMAF does not carry mpeg2; hls-ts, mpegts would work");
    // Detection may be bounded; what is asked for is not.
    let quiet = Profiles::new(Vec::new(), false, false);
    let of = |path: &str| choice(path, CHROME, &rules).settle(&[H264, Ac3], &quiet).map(|s| s.selection.to_string());
    assert_eq!((of("stream"), of("stream?audio=aac")), (Ok("copy_copy".into()), Ok("copy_aac".into())));
}

#[test]
fn an_operators_rules_go_before_the_built_in_ones_and_after_what_the_client_says() {
    let rule = |name: &str, texts: &[&str], format| OwnRule {
        name: name.into(),
        user_agent: texts.iter().map(|text| text.to_string()).collect(),
        format,
    };
    let rules = Rules::new([
        rule("", &["AcmeBox/", "Acme TV"], Format::Dash),
        rule("set-top", &["vlc"], Format::HlsTs),
        rule("late", &["AcmeBox/2"], Format::MpegTs),
    ]);
    for (fields, expected) in [
        ("User-Agent: acmebox/2.0\r\n", ["dash", "config rule 1", "hls-ts"]),
        ("User-Agent: Mozilla/5.0 (Acme TV) Chrome/99\r\n", ["dash", "config rule 1", "hls-ts"]),
        ("User-Agent: VLC/3.0.21 LibVLC/3.0.21\r\n", ["hls-ts", "config rule 2 \"set-top\"", "hls-fmp4"]),
        ("User-Agent: VLC/3.0.21\r\nAccept: application/dash+xml\r\n", ["dash", "Accept", "none"]),
        ("User-Agent: VLC/3.0.21\r\nX-Container: ts\r\n", ["mpegts", "X-Container", "none"]),
        ("User-Agent: libmpv\r\n", ["mpegts", "User-Agent: mpv", "hls-fmp4"]),
        ("", ["hls-fmp4", "default", "hls-ts"]),
    ] {
        assert_eq!(told(&choice("stream", fields, &rules)), expected, "{fields}");
    }
}

/// Holds what a decision says against what may stand in a header, and against what its format carries.
fn check(choice: &Choice, mask: u32) {
    let source: Vec<Codec> =
        Codec::ALL.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, c)| *c).collect();
    let line = match choice.settle(&source, &Profiles::default()) {
        Ok(settled) => {
            assert!(settled.format == choice.format || Some(settled.format) == choice.fallback);
            settled.decision
        }
        Err(nothing) => nothing.to_string(),
    };
    assert!(!line.is_empty() && line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
    assert!(line.len() < 1_024, "{} bytes: {line}", line.len());
}

/// A head with some bytes changed, dropped or doubled.
fn mutated(mut head: Vec<u8>, edits: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(at, byte, kind) in edits {
        let at = usize::from(at) % head.len().max(1);
        match kind % 3 {
            0 if !head.is_empty() => head[at] = byte,
            1 => head.insert(at.min(head.len()), byte),
            _ if head.len() > 1 => drop(head.remove(at)),
            _ => {}
        }
    }
    head.truncate(REQUEST_HEAD_BYTES_MAX);
    head
}

/// Pieces that mean something, for fields made of them.
fn words() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "ts",
        "fmp4",
        "hls",
        "dash",
        "h264",
        "avc1.64001f",
        "vp9",
        "mp4a.40.2",
        "ac-3",
        "*",
        "any",
        "*/*",
        "video/mp2t",
        "application/x-mpegurl",
        "application/dash+xml",
        ";q=0",
        ";q=0.5",
        ";q=",
        "q=9",
        ";",
        ",",
        " ",
        "\t",
        "VLC/3.0",
        "AppleWebKit/1",
        "Safari/1",
        "Chrome/",
        "tizen 3.",
        "\u{e9}",
        "\"",
        "%0d%0a",
    ]);
    prop::collection::vec(known, 0..8).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn mutated_heads_never_panic(pick in any::<prop::sample::Index>(), mask in 0u32..1 << 17,
                                 edits in prop::collection::vec(any::<(u16, u8, u8)>(), 0..6)) {
        let cases = cases();
        let head = mutated(pick.get(&cases).head.clone().into_bytes(), &edits);
        if let Some(Ok(Route::Entry { choice, .. })) = routed(&head, &Rules::default()) {
            check(&choice, mask);
        }
    }

    #[test]
    fn any_bytes_in_any_field_never_panic(user_agent in prop::collection::vec(any::<u8>(), 0..700),
                                          accept in prop::collection::vec(any::<u8>(), 0..80),
                                          other in prop::collection::vec(any::<u8>(), 0..40),
                                          name in ".{0,80}", format in prop::option::of(".{0,8}"), mask in 0u32..1 << 17) {
        let rules = Rules::new([OwnRule { name, user_agent: vec!["a".into(), "\u{e9}".into()], format: Format::Dash }]);
        let client = Client {
            user_agent: &user_agent, accept: &accept, video_codec: &other, audio_codec: &other, container: &other,
        };
        if let Ok(choice) = decide(format.as_deref(), &client, &rules) {
            check(&choice, mask);
        }
    }

    #[test]
    fn fields_of_meaningful_pieces_settle_on_any_source(path in prop::sample::select(vec![
            "stream", "stream?format=hls", "stream?format=ts", "index.m3u8", "manifest.mpd", "stream.ts"]),
            agent in words(), accept in words(), video in words(), audio in words(), container in words(), mask in 0u32..1 << 17) {
        let head = format!("GET /relay/channel/news/{path} HTTP/1.1\r\nHost: h\r\nUser-Agent: {agent}\r\nAccept: {accept}\r\n\
            X-Video-Codec: {video}\r\nX-Audio-Codec: {audio}\r\nX-Container: {container}\r\n\r\n");
        match routed(head.as_bytes(), &Rules::default()) {
            Some(Ok(Route::Entry { choice, .. })) => check(&choice, mask),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
