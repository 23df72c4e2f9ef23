//! Viewers against a model of a live channel on a virtual clock: what they live through in an hour, in outages, on a thin link, and what they find.
//!
//! What it deliberately does not do: sockets; the engine's own tests do.

mod channel;

use super::dash::Dash;
use super::hls::Hls;
use super::{Action, Body, End, FetchKind, Head, Lane, Micros, Player};
use crate::check::identity::Identity;
use channel::{Answer, BANDWIDTHS, EPOCH, S, Server};
use std::collections::BTreeMap;

/// What came of a run.
#[derive(Default)]
struct Log {
    /// Requests by kind.
    requests: BTreeMap<FetchKind, u64>,
    /// URL and time of each segment's request.
    segments: Vec<(String, Micros)>,
    left: bool,
}

/// Lets a viewer watch until a time. The link carries one answer after the other, 20 ms after the request.
fn watch(player: &mut dyn Player, server: &Server, until: Micros) -> Log {
    let mut log = Log::default();
    let mut under_way: BTreeMap<(Micros, Lane), Answer> = BTreeMap::new();
    let (mut now, mut link_free) = (0, 0);
    while now < until {
        let wake = match player.poll(now) {
            Action::Fetch(fetch) => {
                assert!(fetch.intended <= now, "{fetch:?} before it was due");
                *log.requests.entry(fetch.kind).or_default() += 1;
                if fetch.kind == FetchKind::Segment {
                    log.segments.push((fetch.url.to_string(), now));
                }
                assert!(under_way.keys().all(|(_, lane)| *lane != fetch.lane), "a busy lane");
                let asked = if server.outage.contains(&now) { server.outage.end } else { now };
                let answer = server.answer(&fetch, asked, player.wants_content(fetch.lane));
                let rate = server.rates.iter().rev().find(|(from, _)| *from <= asked).map_or(1, |(_, rate)| *rate);
                link_free = (asked + 20_000).max(link_free) + answer.length as u64 * 8 * S / rate;
                under_way.insert((link_free, fetch.lane), answer);
                continue;
            }
            Action::Wait(wake) => wake,
            Action::Connect(_) => continue,
            Action::Leave => {
                log.left = true;
                return log;
            }
        };
        assert!(wake > now, "a wait for the past");
        let Some(first) = under_way.first_entry().filter(|first| first.key().0 <= wake) else {
            now = wake;
            continue;
        };
        now = first.key().0;
        let answer = first.remove();
        let head = Head { status: answer.status, content_length: Some(answer.length as u64), fields: &[] };
        player.on_head(answer.lane, now, &head);
        let is_read = player.wants_content(answer.lane);
        let body = if is_read { Body::Bytes(&answer.body) } else { Body::Discarded(answer.length) };
        player.on_body(answer.lane, now, body);
        player.on_end(answer.lane, now, End::Complete);
    }
    log
}

fn hls(checked: bool) -> Hls {
    Hls::new("http://h/x.m3u8".into(), checked, 1).with_epoch(EPOCH)
}

fn dash(checked: bool) -> Dash {
    Dash::new("http://h/x.mpd".into(), checked, 1).with_epoch(EPOCH)
}

/// Rules that a checked HLS viewer finds broken in so many seconds.
fn rules(server: &Server, seconds: u64) -> Vec<String> {
    let mut player = hls(true);
    watch(&mut player, server, seconds * S);
    player.violations().iter().map(|violation| violation.rule.clone()).collect()
}

#[test]
fn hls_plays_an_hour() {
    for checked in [false, true] {
        let mut player = hls(checked);
        let log = watch(&mut player, &Server::default(), 3_600 * S);
        let figures = player.figures();
        assert_eq!((figures.rebuffers, figures.stalls, player.jumps()), (0, 0, 0), "checked: {checked}");
        assert_eq!(player.violations(), []);
        assert!(figures.startup_us.is_some_and(|us| us < S), "{figures:?}");
        // Three target durations behind, and at most a segment that was being made.
        assert!(figures.live_latency_us.is_some_and(|us| (6 * S..9 * S).contains(&us)), "{figures:?}");
        let segments = log.requests[&FetchKind::Segment];
        assert!((3_600..3_612).contains(&segments), "{segments} of two tracks");
        let playlists = log.requests[&FetchKind::Playlist];
        assert!((3_600..3_620).contains(&playlists), "{playlists}: one in a target duration on each of two tracks");
    }
}

#[test]
fn dash_plays_an_hour() {
    for checked in [false, true] {
        let mut player = dash(checked);
        let log = watch(&mut player, &Server::default(), 3_600 * S);
        let figures = player.figures();
        assert_eq!((figures.rebuffers, figures.stalls, player.jumps()), (0, 0, 0), "checked: {checked}");
        assert_eq!(player.violations(), []);
        assert!(figures.live_latency_us.is_some_and(|us| (6 * S..9 * S).contains(&us)), "{figures:?}");
        let segments = log.requests[&FetchKind::Segment];
        assert!((3_600..3_612).contains(&segments), "{segments} of two tracks");
        let updates = log.requests[&FetchKind::Playlist];
        assert!((1_790..=1_800).contains(&updates), "{updates}");
    }
}

#[test]
fn a_server_that_stalls_is_a_rebuffer() {
    let server = Server { outage: 100 * S..120 * S, ..Server::default() };
    let (mut hls, mut dash) = (hls(false), dash(false));
    for player in [&mut hls as &mut dyn Player, &mut dash] {
        watch(player, &server, 300 * S);
        let figures = player.figures();
        assert_eq!(figures.rebuffers, 1, "{figures:?}");
        // Between 20 s and the buffer, of up to three segments and the one that was due.
        assert!((12 * S..18 * S).contains(&figures.rebuffer_us), "{figures:?}");
        assert!(figures.stalls >= 1, "{figures:?}");
        assert!(figures.live_latency_us.is_some_and(|us| us > 18 * S), "it goes on where it stopped: {figures:?}");
    }
}

#[test]
fn who_falls_out_of_the_window_goes_back_to_live() {
    let server = Server { outage: 100 * S..200 * S, ..Server::default() };
    let (mut hls, mut dash) = (hls(true), dash(true));
    for player in [&mut hls as &mut dyn Player, &mut dash] {
        watch(player, &server, 300 * S);
        let figures = player.figures();
        assert_eq!(figures.rebuffers, 1, "{figures:?}");
        assert!((90 * S..100 * S).contains(&figures.rebuffer_us), "{figures:?}");
        assert!(figures.live_latency_us.is_some_and(|us| us < 9 * S), "{figures:?}");
    }
    assert_eq!((hls.jumps(), dash.jumps()), (2, 2), "each track");
    assert_eq!((hls.violations(), dash.violations()), (&[][..], &[][..]));
}

/// Bandwidth of the variant whose segment was asked for last before a time.
fn bandwidth_at(log: &Log, at: Micros) -> u64 {
    let mut before = log.segments.iter().filter(|(url, asked)| *asked < at && !url.starts_with("http://h/3/"));
    let (url, _) = before.next_back().expect("a segment");
    BANDWIDTHS[url[9..10].parse::<usize>().expect("a variant")]
}

#[test]
fn bitrate_follows_throughput() {
    let server =
        Server { rates: vec![(0, 20_000_000), (200 * S, 2_000_000), (400 * S, 20_000_000)], ..Server::default() };
    let (mut hls, mut dash) = (hls(false), dash(false));
    for player in [&mut hls as &mut dyn Player, &mut dash] {
        let log = watch(player, &server, 600 * S);
        assert_eq!(bandwidth_at(&log, 199 * S), 6_000_000);
        assert_eq!(bandwidth_at(&log, 399 * S), 1_000_000);
        assert_eq!(bandwidth_at(&log, 599 * S), 6_000_000);
        let rebuffers = player.figures().rebuffers;
        assert!(rebuffers <= 2, "{rebuffers}: one segment of the high rate takes 6 s at the low one");
    }
    assert_eq!((hls.jumps(), dash.jumps()), (0, 0));
}

#[test]
fn a_checked_viewer_that_switches_finds_nothing() {
    // Checked segments are small: a link this thin is below the lowest rung, and one this wide is above the highest.
    let server = Server { rates: vec![(0, 20_000), (60 * S, 20_000_000)], ..Server::default() };
    let (mut hls, mut dash) = (hls(true), dash(true));
    watch(&mut hls, &server, 300 * S);
    watch(&mut dash, &server, 300 * S);
    assert_eq!((hls.violations(), dash.violations()), (&[][..], &[][..]));
}

#[test]
fn finds_stale_playlists() {
    let server = Server { frozen: 100 * S..108 * S, ..Server::default() };
    assert_eq!(rules(&server, 200), ["playlist-stale"]);
    let mut player = dash(true);
    watch(&mut player, &server, 200 * S);
    assert_eq!(player.violations()[0].rule, "mpd-stale");
    assert_eq!(player.violations()[0].count, 1);
}

#[test]
fn finds_a_sequence_that_goes_back() {
    // At 100 s a version is served again that is three segments old, to all tracks.
    let old = Server::default();
    let tamper = move |path: &str, now: Micros, text: String| {
        Some(if path.ends_with("m.m3u8") && (100 * S..101 * S).contains(&now) { old.media(now - 6 * S) } else { text })
    };
    let found = rules(&Server { tamper: Box::new(tamper), ..Server::default() }, 200);
    assert!(found.contains(&"media-sequence-back".to_owned()), "{found:?}");
}

#[test]
fn finds_segments_that_changed_in_the_playlist() {
    let tamper = |_: &str, now: Micros, text: String| {
        Some(if now > 100 * S { text.replace("#EXTINF:2.0,\n1040", "#EXTINF:1.9,\n1040") } else { text })
    };
    assert_eq!(rules(&Server { tamper: Box::new(tamper), ..Server::default() }, 110), ["listed-segment-changed"]);
}

#[test]
fn finds_a_gap_in_tfdt() {
    let server = Server { moved: (1_050, 9_000), ..Server::default() };
    assert_eq!(rules(&server, 150), ["tfdt-gap"]);
    let mut player = dash(true);
    watch(&mut player, &server, 150 * S);
    let found: Vec<&str> = player.violations().iter().map(|violation| violation.rule.as_str()).collect();
    assert_eq!(found, ["tfdt-listed", "tfdt-gap"]);
}

#[test]
fn finds_segments_that_differ_between_viewers() {
    let mut identity = Identity::new(1_000);
    let mut found = Vec::new();
    for server in [Server::default(), Server { moved: (1_010, 1), ..Server::default() }] {
        let mut player = hls(true);
        watch(&mut player, &server, 60 * S);
        found.extend(player.take_sightings().iter().filter_map(|sighting| identity.see_sighting(sighting)));
    }
    assert_eq!(found.len(), 2, "on each track: {found:?}");
    assert!(found[0].first.contains("1010.m4s"), "{found:?}");
}

#[test]
fn tries_again_until_the_channel_is_there() {
    let tamper = |_: &str, now: Micros, text: String| (now > 9 * S).then_some(text);
    let server = Server { tamper: Box::new(tamper), ..Server::default() };
    let (mut hls, mut dash) = (hls(true), dash(true));
    for player in [&mut hls as &mut dyn Player, &mut dash] {
        let log = watch(player, &server, 60 * S);
        assert!((3..10).contains(&log.requests[&FetchKind::Entry]), "{:?}", log.requests);
        assert!(player.figures().startup_us.is_some_and(|us| (9 * S..15 * S).contains(&us)));
        assert_eq!(player.figures().rebuffers, 0);
    }
    assert_eq!((hls.violations(), dash.violations()), (&[][..], &[][..]));
}

#[test]
fn gaps_are_passed_over() {
    let tamper = |_: &str, _: Micros, text: String| {
        Some(
            text.replace("#EXTINF:2.0,\n1020", "#EXT-X-GAP\n#EXTINF:2.0,\n1020")
                .replace("#EXTINF:2.0,\n1021", "#EXT-X-GAP\n#EXTINF:2.0,\n1021"),
        )
    };
    let mut player = hls(true);
    let log = watch(&mut player, &Server { tamper: Box::new(tamper), ..Server::default() }, 120 * S);
    assert!(!log.segments.iter().any(|(url, _)| url.ends_with("1020.m4s")));
    assert_eq!(player.violations(), []);
    assert!(player.figures().live_latency_us.is_some_and(|us| us < 9 * S), "{:?}", player.figures());
}

#[test]
fn leaves_at_the_end() {
    let ended = Server::default();
    let tamper = move |path: &str, now: Micros, text: String| {
        Some(if path.ends_with("m.m3u8") && now > 50 * S { ended.media(50 * S) + "#EXT-X-ENDLIST\n" } else { text })
    };
    let mut player = hls(true);
    let log = watch(&mut player, &Server { tamper: Box::new(tamper), ..Server::default() }, 120 * S);
    assert!(log.left);
    assert_eq!((player.figures().rebuffers, player.violations()), (0, &[][..]));
}

/// Digits and letters of documents are changed at random: viewers go on, whatever they make of it.
#[test]
fn broken_documents_do_not_end_a_viewer() {
    for seed in 0..40u64 {
        let tamper = move |_: &str, now: Micros, text: String| {
            let mut bytes = text.into_bytes();
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ now;
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (random >> 33) as usize % bytes.len();
                bytes[at] = b"0189-:.$<>\"=/ PTS,\n"[(random >> 20) as usize % 19];
            }
            // Once in a while a number that is larger than any.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(if random.is_multiple_of(8) { text.replacen("100", "18446744073709551", 1) } else { text })
        };
        let server = Server { tamper: Box::new(tamper), ..Server::default() };
        let (mut hls, mut dash) = (hls(true), dash(true));
        watch(&mut hls, &server, 120 * S);
        watch(&mut dash, &server, 120 * S);
        assert!(!hls.violations().is_empty() && !dash.violations().is_empty(), "seed {seed}");
    }
}
