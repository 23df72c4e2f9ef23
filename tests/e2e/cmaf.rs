//! HLS with fMP4 segments and DASH: one store for both, what their texts say against what their segments hold, and what is not there.

use crate::support::hls::Playlist;
use crate::support::http::{Client, PATIENCE, Response, eventually, viewer_address};
use crate::support::origin;
use crate::support::presentation::{self, Init, Mpd, Rendition, Times};
use crate::support::relay::{Relay, Setup};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Viewers of each format.
const VIEWERS: u8 = 6;
/// Size of a store block.
pub const BLOCK_BYTES: u64 = 256 << 10;
/// What is not there and will not be there soon is answered this fast.
const AT_ONCE: Duration = Duration::from_millis(200);
/// EXT-X-TARGETDURATION of [`setup`].
const TARGET: Duration = Duration::from_secs(3);

/// The shortest window that goes with a target duration of three seconds.
pub fn setup() -> Setup {
    let mut setup = Setup::new();
    setup.key("media.window_ms", 9_000).key("idle.segment_viewer_ms", 1_000);
    setup
}

/// A relay with one channel, `live`, that has several segments at once.
pub fn relay(setup: &mut Setup) -> (Relay, usize) {
    let channel = origin::own_channel();
    (setup.channel("live", &origin::warm_url(channel)).start(), channel)
}

/// The session of `live` as the API shows it; `Null` when there is none.
pub fn session(relay: &Relay) -> Value {
    let json: Value = serde_json::from_slice(&relay.admin_get("/api/v1/sessions").expect(200).body).expect("JSON");
    json["sessions"][0].clone()
}

/// `store_bytes` of each rendition, by its name; a name that comes twice fails.
#[track_caller]
pub fn stores(session: &Value) -> BTreeMap<String, u64> {
    let mut stores = BTreeMap::new();
    for rendition in session["renditions"].as_array().map_or(&[][..], Vec::as_slice) {
        let id = rendition["id"].as_str().expect("a name").to_owned();
        let bytes = rendition["store_bytes"].as_u64().expect("a number");
        assert!(stores.insert(id, bytes).is_none(), "two stores of one rendition: {session}");
    }
    stores
}

/// A media playlist, polled until it changes: its next segment is a whole segment away.
#[track_caller]
fn fresh(client: &mut Client, path: &str) -> (Playlist, Rendition) {
    let before = presentation::hls_rendition(client, path).1.segments;
    eventually("a new segment", PATIENCE, || {
        let found = presentation::hls_rendition(client, path);
        (found.1.segments.last() != before.last()).then_some(found)
    })
}

/// The last Period's rendition of this name.
#[track_caller]
pub fn in_mpd<'a>(mpd: &'a Mpd, id: &str) -> &'a Rendition {
    let period = mpd.periods.last().expect("a Period");
    period.renditions.iter().find(|rendition| rendition.id == id).unwrap_or_else(|| panic!("no {id} in {period:?}"))
}

/// Path of the segment that begins `count` segments like the last one behind it: 1 is the next one.
#[track_caller]
fn ahead(rendition: &Rendition, count: u64) -> String {
    let last = rendition.segments.last().expect("segments");
    let (time, duration) = last.timeline.expect("of an MPD");
    sibling(&last.path, time + count * duration)
}

/// Path of the same rendition's segment at `time`.
fn sibling(path: &str, time: u64) -> String {
    let (folder, _) = path.rsplit_once('/').expect("an absolute path");
    format!("{folder}/{time}.m4s")
}

/// Refused with one line and without a hold: the fastest of three, as a loaded machine has its pauses.
#[track_caller]
pub fn assert_missing_at_once(client: &mut Client, path: &str) {
    let took = (0..3).map(|_| {
        let begin = Instant::now();
        let answer = client.get(path).expect(404);
        assert_eq!(answer.text().lines().count(), 1, "{path}: {:?}", answer.text());
        begin.elapsed()
    });
    let fastest = took.min().expect("three");
    assert!(fastest < AT_ONCE, "{path}: 404 after {fastest:?}");
}

/// Which viewers play, and what all of them got, by URL.
struct Crowd<'a> {
    relay: &'a Relay,
    bytes: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Crowd<'_> {
    /// Reads its playlists or MPD over and over and fetches what is new, until `end`.
    fn play(&self, n: u8, is_dash: bool, end: Instant) {
        let mut client = Client::connect_from(viewer_address(n), self.relay.addr);
        let mut seen = BTreeMap::new();
        while Instant::now() < end {
            let renditions = match is_dash {
                true => presentation::dash(&mut client, "live").periods.remove(0).renditions,
                false => presentation::hls(&mut client, "live"),
            };
            assert_eq!(renditions.len(), 2, "{renditions:?}");
            for path in renditions.iter().flat_map(|r| &r.segments).flat_map(|s| [&s.init, &s.path]) {
                seen.entry(path.clone()).or_insert_with(|| client.get(path).expect(200).body);
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        let mut bytes = self.bytes.lock().unwrap();
        for (path, found) in seen {
            let first = bytes.entry(path.clone()).or_insert_with(|| found.clone());
            assert!(*first == found, "{path} is not the same for all");
        }
    }
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    v0: u64,
    a1: u64,
    metric: u64,
    rss_kib: u64,
}

impl Memory {
    fn of(relay: &Relay) -> Memory {
        let stores = stores(&session(relay));
        let store = |id: &str| stores.get(id).copied().unwrap_or(0);
        let metric = relay.metric("millrace_store_bytes", "") as u64;
        Memory { v0: store("v0"), a1: store("a1"), metric, rss_kib: relay.memory_kib() }
    }

    /// The most of each over `time`.
    fn most(relay: &Relay, time: Duration) -> Memory {
        let (end, mut most) = (Instant::now() + time, Memory::default());
        while Instant::now() < end {
            let now = Memory::of(relay);
            most = Memory {
                v0: most.v0.max(now.v0),
                a1: most.a1.max(now.a1),
                metric: most.metric.max(now.metric),
                rss_kib: most.rss_kib.max(now.rss_kib),
            };
            std::thread::sleep(Duration::from_millis(100));
        }
        most
    }
}

#[test]
fn hls_and_dash_viewers_share_one_store_for_each_track() {
    let (mut relay, channel) = relay(&mut setup());
    let crowd = Crowd { relay: &relay, bytes: Mutex::default() };
    // Long enough for the window to be full: from then on stores are as large as they get.
    let (full, time) = (Duration::from_secs(16), Duration::from_secs(4));
    let (begin, end) = (Instant::now(), Instant::now() + full + time + time);
    let (hls_alone, both) = std::thread::scope(|scope| {
        for n in 1..=VIEWERS {
            let crowd = &crowd;
            scope.spawn(move || crowd.play(n, false, end));
        }
        std::thread::sleep(full.saturating_sub(begin.elapsed()));
        let hls_alone = Memory::most(&relay, time);
        assert_eq!(relay.metric("millrace_viewers", "\"dash\""), 0.0);
        for n in 1..=VIEWERS {
            let crowd = &crowd;
            scope.spawn(move || crowd.play(VIEWERS + n, true, end));
        }
        let up = |viewers| viewers == f64::from(VIEWERS);
        relay.await_metric("millrace_viewers", "\"dash\"", PATIENCE, up);
        relay.await_metric("millrace_viewers", "\"hls-fmp4\"", PATIENCE, up);
        (hls_alone, Memory::most(&relay, time))
    });
    println!("most bytes of            v0 store    a1 store  all stores     RSS KiB");
    for (who, memory) in [("HLS-fMP4 alone", hls_alone), ("HLS-fMP4 and DASH", both)] {
        println!("{who:20} {:>12}{:>12}{:>12}{:>12}", memory.v0, memory.a1, memory.metric, memory.rss_kib);
    }
    let session = session(&relay);
    assert_eq!(stores(&session).into_keys().collect::<Vec<_>>(), ["a1", "v0"], "{session}");
    assert_eq!(session["segments"], 0, "nobody asked for TS: {session}");
    assert!(hls_alone.v0 > 2 * BLOCK_BYTES, "too small to tell: {hls_alone:?}");
    // Segments differ in size, so one block each may come and go.
    assert!(both.v0 <= hls_alone.v0 + BLOCK_BYTES, "{both:?}, before {hls_alone:?}");
    assert!(both.a1 <= hls_alone.a1 + BLOCK_BYTES, "{both:?}, before {hls_alone:?}");
    assert!(both.metric <= hls_alone.metric + 2 * BLOCK_BYTES, "{both:?}, before {hls_alone:?}");
    assert_eq!(origin::shared().opened(channel), 1);
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        assert!(relay.metric("millrace_sent_bytes_total", shard) > 0.0, "{shard} served nobody");
    }
    assert!(crowd.bytes.into_inner().unwrap().len() > 16, "segments were played");
    for format in ["\"dash\"", "\"hls-fmp4\""] {
        relay.await_metric("millrace_viewers", format, 4 * TARGET, |viewers| viewers == 0.0);
    }
    relay.assert_sound();
}

#[test]
fn playlist_mpd_and_segments_say_the_same() {
    let (mut relay, _) = relay(&mut setup());
    let mut client = relay.connect();
    let video = presentation::hls_playlists(&mut client, "live")[0].clone();
    eventually("some segments", PATIENCE, || {
        (presentation::hls_rendition(&mut client, &video).1.segments.len() >= 3).then_some(())
    });
    let hls = presentation::hls(&mut client, "live");
    let mpd = presentation::dash(&mut client, "live");
    assert_eq!(mpd.periods.len(), 1, "{mpd:?}");
    let mut starts = BTreeMap::new();
    for rendition in &hls {
        let (init, times) = assert_hls(&mut client, rendition);
        let listed = in_mpd(&mpd, &rendition.id);
        assert_eq!(listed.timescale, Some(init.timescale));
        assert_dash(&mut client, listed);
        // A segment more may have come in between.
        let same = listed.segments.iter().filter(|s| rendition.segments.iter().any(|other| other.path == s.path));
        assert!(same.count() + 1 >= rendition.segments.len(), "{rendition:?} against {listed:?}");
        for (segment, times) in rendition.segments.iter().zip(times) {
            let scale = f64::from(init.timescale);
            let start = (init.is_audio, times.start as f64 / scale, times.longest_sample as f64 / scale);
            starts.entry(segment.number.expect("of HLS")).or_insert_with(Vec::new).push(start);
        }
    }
    let mut compared = 0;
    for (number, starts) in starts {
        if let [(false, video, video_frame), (true, audio, audio_frame)] = starts[..] {
            let apart = (video - audio).abs();
            assert!(apart < video_frame + audio_frame, "segment {number}: {apart} s apart");
            compared += 1;
        }
    }
    assert!(compared >= 3, "only {compared} segments have both");
    relay.assert_sound();
}

/// Fetches and reads all that a media playlist lists; URLs tell the times, and EXTINF the distances.
#[track_caller]
fn assert_hls(client: &mut Client, rendition: &Rendition) -> (Init, Vec<Times>) {
    let init = client.get(&rendition.segments[0].init).expect(200);
    let init = presentation::parse_init(&init.body);
    assert_eq!(init.is_audio, rendition.id.starts_with('a'), "{}", rendition.id);
    let times: Vec<Times> =
        rendition.segments.iter().map(|s| presentation::parse_segment(&presentation::fetch(client, s).body)).collect();
    for (segment, times) in rendition.segments.iter().zip(&times) {
        assert!(segment.path.ends_with(&format!("/{}.m4s", times.start)), "{segment:?}: {times:?}");
        assert!(init.is_audio || times.begins_with_sync, "{segment:?}: {times:?}");
        let seconds = (times.end - times.start) as f64 / f64::from(init.timescale);
        assert!((seconds - segment.seconds).abs() < 0.001, "{segment:?} lasts {seconds} s");
    }
    for pair in times.windows(2) {
        assert_eq!(pair[0].end, pair[1].start, "{}: segments adjoin", rendition.id);
    }
    (init, times)
}

/// Fetches and reads all that a representation lists.
#[track_caller]
fn assert_dash(client: &mut Client, rendition: &Rendition) {
    let mut expected = None;
    for segment in &rendition.segments {
        let (time, duration) = segment.timeline.expect("of an MPD");
        assert!(expected.is_none_or(|expected| expected == time), "{}: {time} after {expected:?}", rendition.id);
        expected = Some(time + duration);
        let times = presentation::parse_segment(&presentation::fetch(client, segment).body);
        assert_eq!((times.start, times.end), (time, time + duration), "{segment:?}");
    }
}

#[test]
fn segments_playlists_and_init_segments_have_the_headers_of_their_kind() {
    let (mut relay, _) = relay(&mut setup());
    let mut client = relay.connect();
    let playlists = presentation::hls_playlists(&mut client, "live");
    let (hls, mpegurl, dash) =
        ("/relay/channel/live/index.m3u8?format=hls-fmp4", "application/vnd.apple.mpegurl", "application/dash+xml");
    let texts = [
        (hls, mpegurl),
        (&playlists[0], mpegurl),
        (&playlists[1], mpegurl),
        ("/relay/channel/live/manifest.mpd", dash),
    ];
    for (path, media_type) in texts {
        let answer = client.get(path).expect(200);
        assert_media(&answer, media_type, "public, max-age=1");
        let etag = answer.field("etag").expect("an ETag");
        // The text may change in between; then its tag does too.
        let again = client.request("GET", path, &format!("If-None-Match: {etag}\r\n"));
        assert!(again.status == 304 || again.field("etag") != Some(etag), "{path}: {:?}", again.fields);
        let head = client.request("HEAD", path, "").expect(200);
        assert_media(&head, media_type, "public, max-age=1");
    }
    for rendition in presentation::hls(&mut client, "live") {
        let media_type = if rendition.id == "v0" { "video/mp4" } else { "audio/mp4" };
        let segment = rendition.segments.last().expect("segments");
        for path in [&segment.init, &segment.path] {
            assert_immutable(&mut client, path, media_type);
        }
        assert_ranges(&mut client, &segment.path);
    }
    relay.assert_sound();
}

#[track_caller]
fn assert_media(answer: &Response, media_type: &str, caching: &str) {
    assert_eq!(answer.field("content-type"), Some(media_type), "{:?}", answer.fields);
    assert_eq!(answer.field("cache-control"), Some(caching), "{:?}", answer.fields);
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{:?}", answer.fields);
}

#[track_caller]
fn assert_immutable(client: &mut Client, path: &str, media_type: &str) {
    let whole = client.get(path).expect(200);
    assert_media(&whole, media_type, "public, max-age=86400, immutable");
    let etag = whole.field("etag").expect("an ETag");
    let again = client.request("GET", path, &format!("If-None-Match: {etag}\r\n")).expect(304);
    assert_eq!((again.field("etag"), again.body.len()), (Some(etag), 0));
    assert_eq!(again.field("cache-control"), whole.field("cache-control"));
    client.request("GET", path, "If-None-Match: \"other\"\r\n").expect(200);
    let head = client.request("HEAD", path, "").expect(200);
    assert_media(&head, media_type, "public, max-age=86400, immutable");
    assert_eq!(head.field("content-length"), Some(whole.body.len().to_string().as_str()), "{path}");
    assert_eq!(head.field("etag"), Some(etag), "{path}");
}

#[track_caller]
fn assert_ranges(client: &mut Client, path: &str) {
    let whole = client.get(path).expect(200).body;
    let len = whole.len();
    for (range, start, end) in [("bytes=0-23", 0, 24), ("bytes=100-", 100, len), ("bytes=-50", len - 50, len)] {
        let part = client.request("GET", path, &format!("Range: {range}\r\n")).expect(206);
        assert!(part.body == whole[start..end], "{path}: {range}");
        assert_eq!(part.field("content-range"), Some(format!("bytes {start}-{}/{len}", end - 1).as_str()), "{range}");
    }
    let beyond = client.request("GET", path, &format!("Range: bytes={len}-\r\n")).expect(416);
    assert_eq!(beyond.field("content-range"), Some(format!("bytes */{len}").as_str()));
}

#[test]
fn the_next_segment_is_waited_for_and_any_other_is_missing_at_once() {
    let (mut relay, _) = relay(setup().key("idle.session_ms", 2_000));
    let mut client = relay.connect();
    let playlists = presentation::hls_playlists(&mut client, "live");
    let video = playlists[0].clone();
    let oldest = fresh(&mut client, &video).1.segments[0].clone();
    for id in ["v0", "a1"] {
        // Audio comes last, and with it the segment stands in the MPD.
        fresh(&mut client, &playlists[1]);
        let mpd = presentation::dash(&mut client, "live");
        let rendition = in_mpd(&mpd, id);
        let (path, begin) = (ahead(rendition, 1), Instant::now());
        let body = client.get(&path).expect(200).body;
        let took = begin.elapsed();
        println!("{id}: the next segment came after {} ms", took.as_millis());
        assert!(took > Duration::from_millis(50) && took < 2 * TARGET, "{id}: held for {took:?}");
        assert!(path.ends_with(&format!("/{}.m4s", presentation::parse_segment(&body).start)), "{path}");
        // ffmpeg looks at the MPD next, and loses its place when the segment is not in it.
        let mpd = presentation::dash(&mut client, "live");
        assert!(
            in_mpd(&mpd, id).segments.iter().any(|segment| segment.path == path),
            "{path} came before the MPD had it"
        );
    }
    fresh(&mut client, &playlists[1]);
    let mpd = presentation::dash(&mut client, "live");
    let rendition = in_mpd(&mpd, "v0");
    let (last, (time, _)) =
        (&rendition.segments.last().expect("segments").path, rendition.segments[0].timeline.expect("a time"));
    let epoch = format!("/{}/", presentation::epoch(last));
    let next = ahead(rendition, 1);
    for path in [
        ahead(rendition, 2),
        sibling(last, time + 1),
        sibling(last, 1),
        next.replace(&epoch, "/1/"),
        next.replace("/v0/", "/v7/"),
        last.replace("/v0/", "/a1/"),
        rendition.segments[0].init.replace("init-", "init-9"),
    ] {
        assert_missing_at_once(&mut client, &path);
    }
    eventually("the oldest segment is trimmed", PATIENCE, || {
        presentation::hls_rendition(&mut client, &video);
        (client.request("HEAD", &oldest.path, "").status == 404).then_some(())
    });
    assert_missing_at_once(&mut client, &oldest.path);
    // Whoever asks for nothing but such segments keeps no session alive.
    assert_eq!(relay.metric("millrace_sessions", ""), 1.0);
    let far = ahead(rendition, 1_000);
    eventually("the session ends", PATIENCE, || {
        for path in [&far, &oldest.path, &next.replace(&epoch, "/1/")] {
            client.get(path).expect(404);
        }
        (relay.metric("millrace_sessions", "") == 0.0).then_some(())
    });
    // Nor does it open one.
    for path in [&far, &next] {
        assert_missing_at_once(&mut client, path);
    }
    assert_eq!(relay.metric("millrace_sessions", ""), 0.0);
    relay.assert_sound();
}

#[test]
fn the_clock_is_utc_and_where_the_mpd_says() {
    let (relay, channel) = relay(&mut setup());
    let mut client = relay.connect();
    let unix_s = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let answer = client.get("/relay/time").expect(200);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    let off = unix_seconds(answer.text().trim_end()) - unix_s();
    assert!(off.abs() < 1.0, "{:?} is {off} s off", answer.text());
    client.request("HEAD", "/relay/time", "").expect(200);
    assert_eq!(origin::shared().opened(channel), 0, "the time is no channel's");
    assert_eq!(presentation::dash(&mut client, "live").utc_timing, "/relay/time");
}

/// `2026-01-02T03:04:05.678Z` as seconds since 1970.
#[track_caller]
fn unix_seconds(text: &str) -> f64 {
    let (date, time) = text.strip_suffix('Z').and_then(|text| text.split_once('T')).expect("ISO 8601, UTC");
    let ([year, month, day], [hour, minute, second]) = (three_numbers(date, '-'), three_numbers(time, ':'));
    // Days of the civil calendar, years counted from March, so that a leap day is a year's last.
    let (year, month) = if month <= 2.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let leaps = (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = year * 365.0 + leaps + ((month * 153.0 + 2.0) / 5.0).floor() + day - 1.0 - 719_468.0;
    ((days * 24.0 + hour) * 60.0 + minute) * 60.0 + second
}

#[track_caller]
fn three_numbers(text: &str, between: char) -> [f64; 3] {
    let numbers: Vec<f64> = text.split(between).map(|part| part.parse().expect("a number")).collect();
    numbers.try_into().expect("three numbers")
}

#[test]
fn the_router_gives_every_client_what_suits_it() {
    let mut setup = setup();
    setup.route_toml("name = \"our box\"\nuser_agent = [\"AcmeBox\"]\nformat = \"dash\"");
    setup.route_toml("user_agent = [\"vlc/2.\"]\nformat = \"hls-ts\"");
    let (mut relay, _) = relay(&mut setup);
    let (hls, dash, ts) = ("application/vnd.apple.mpegurl", "application/dash+xml", "video/mp2t");
    let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1";
    for (agent, decision, media_type) in [
        (safari, "hls-fmp4; User-Agent: Safari", hls),
        ("VLC/3.0.20 LibVLC/3.0.20", "mpegts; User-Agent: VLC", ts),
        ("curl/8.5.0", "hls-fmp4; default", hls),
        ("AcmeBox/1.0 VLC/3.0.20", "dash; config rule 1 \"our box\"", dash),
        ("VLC/2.2.8 LibVLC/2.2.8", "hls-ts; config rule 2", hls),
    ] {
        let mut client = relay.connect();
        client.write(format!(
            "GET /relay/channel/live/stream HTTP/1.1\r\nHost: relay.test\r\nUser-Agent: {agent}\r\n\r\n"
        ));
        let answer = client.head().expect("an answer").expect(200);
        assert_eq!(answer.field("x-relay-decision"), Some(decision), "{agent}");
        assert_eq!(answer.field("content-type"), Some(media_type), "{agent}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{agent}");
        let body = client.take(4_096).expect("a body");
        let begins = match media_type {
            _ if media_type == ts => b"G".as_slice(),
            _ if media_type == dash => b"<?xml",
            _ => b"#EXTM3U",
        };
        assert!(body.starts_with(begins), "{agent}: {}", String::from_utf8_lossy(&body));
        let names_ts = String::from_utf8_lossy(&body).contains("/ts/media.m3u8");
        assert_eq!(names_ts, decision.starts_with("hls-ts"), "{agent}");
    }
    let mut client = relay.connect();
    for path in ["stream", "index.m3u8", "manifest.mpd", "stream.ts"] {
        let answer =
            client.request("GET", &format!("/relay/channel/live/{path}"), "X-Video-Codec: vvc\r\n").expect(406);
        let text = answer.text();
        assert!(
            text.contains("X-Video-Codec asks for no codec that is known") && text.contains("h264"),
            "{path}: {text:?}"
        );
        assert_eq!((text.lines().count(), answer.field("cache-control")), (1, Some("no-store")), "{path}");
    }
    client.request("GET", "/relay/channel/live/manifest.mpd", "X-Video-Codec: hevc, h264\r\n").expect(200);
    relay.assert_sound();
}

#[test]
fn a_rendition_that_the_channel_does_not_have_is_missing_once_it_is_live() {
    let (mut relay, _) = relay(&mut setup());
    let mut client = relay.connect();
    let playlists = presentation::hls_playlists(&mut client, "live");
    for path in [playlists[0].replace("/v0/", "/v7/"), playlists[0].replace("/v0/", "/a0/")] {
        assert_ne!(path, playlists[0]);
        assert_missing_at_once(&mut client, &path);
        let epoch = format!("/{}/", presentation::epoch(&path));
        assert_missing_at_once(&mut client, &path.replace(&epoch, "/1/"));
    }
    // The renditions that it has are found under any epoch.
    for path in &playlists {
        let epoch = format!("/{}/", presentation::epoch(path));
        client.get(&path.replace(&epoch, "/1/")).expect(200);
    }
    relay.assert_sound();
}
