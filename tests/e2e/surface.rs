//! What every route answers, and how connections live.

use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE, Response};
use crate::support::origin::{self, Framing, ScriptedOrigin};
use crate::support::relay::{Relay, Setup, series};
use std::time::{Duration, Instant};

/// A relay with one channel, `live`, of the shared origin.
fn relay() -> (Relay, usize) {
    let channel = origin::own_channel();
    (Setup::new().channel("live", &origin::url(channel)).start(), channel)
}

#[test]
fn what_cannot_be_served_is_refused_with_one_line() {
    let (mut relay, channel) = relay();
    let mut client = relay.connect();
    for (path, status, why) in [
        ("/relay/channel/none/index.m3u8", 404, "no such channel"),
        ("/relay/channel/none/stream?format=mpegts", 404, "no such channel"),
        ("/nothing", 404, "no such resource"),
        ("/relay/channel/live/stream?format=avi", 400, "unknown format"),
        ("/relay/channel/live/1/v0/1.m4s", 404, "not available"),
        ("/relay/channel/live/1/v0/init-0.mp4", 404, "not available"),
        ("/relay/channel/live/1/x0/1.m4s", 404, "no such resource"),
        ("/relay/channel/live/1/ts/1.ts", 404, "not available"),
        ("/relay/channel/live/%zz/ts/1.ts", 400, "percent"),
    ] {
        let answer = client.get(path).expect(status);
        assert!(answer.text().contains(why), "{path}: {:?}", answer.text());
        assert_eq!(answer.text().lines().count(), 1, "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(origin::shared().opened(channel), 0, "none of these is worth an origin connection");
    relay.assert_sound();
}

#[test]
fn a_failed_origin_is_a_502_that_gives_nothing_away() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let missing = ScriptedOrigin::start(|visit| visit.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    let relay = Setup::new()
        .channel("refused", &format!("http://joe:s3cret@{refusing}/secret-path.ts?token=t0ken"))
        .channel("missing", &missing.url("/secret-path.ts?token=t0ken"))
        .start();
    for id in ["refused", "missing"] {
        for file in ["index.m3u8", "stream.ts"] {
            let answer = relay.get(&format!("/relay/channel/{id}/{file}")).expect(502);
            assert_eq!(answer.text().lines().count(), 1);
            assert!(answer.text().contains("origin"), "it says why: {:?}", answer.text());
            assert_tells_nothing(&answer.text());
        }
    }
    assert!(relay.get("/relay/channel/missing/index.m3u8").expect(502).text().contains("404"));
    for path in ["/api/v1/sessions", "/api/v1/channels", "/metrics"] {
        assert_tells_nothing(&relay.admin_get(path).expect(200).text());
    }
    for path in ["/channels.m3u", "/web/channels.json"] {
        assert_tells_nothing(&relay.get(path).expect(200).text());
    }
    for secret in ["s3cret", "t0ken"] {
        assert!(!relay.log().contains(secret), "the log holds {secret}:\n{}", relay.log());
    }
}

#[track_caller]
fn assert_tells_nothing(text: &str) {
    for secret in ["joe", "s3cret", "t0ken", "secret-path"] {
        assert!(!text.contains(secret), "{secret} in {text:?}");
    }
}

#[test]
fn an_origin_that_sends_no_media_is_a_503_after_the_hold() {
    let silent = ScriptedOrigin::start(|visit| {
        visit.ok(Framing::Close)?;
        visit.hang()
    });
    let garbage = ScriptedOrigin::start(|visit| {
        visit.ok(Framing::Chunked)?;
        let mut state = 1u64;
        while !visit.is_over() {
            let noise: Vec<u8> = (0..4_096).map(|_| noise(&mut state)).collect();
            visit.body(Framing::Chunked, &noise)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let mut relay = Setup::new()
        .key("origin.stall_ms", 60_000)
        .channel("silent", &silent.url("/"))
        .channel("garbage", &garbage.url("/"))
        .start();
    let mut clients: Vec<_> = ["silent", "garbage"].map(|id| (id, relay.connect(), Instant::now())).into();
    for (id, client, _) in &mut clients {
        client.write(format!("GET /relay/channel/{id}/index.m3u8 HTTP/1.1\r\nHost: relay.test\r\n\r\n"));
    }
    for (id, client, asked) in &mut clients {
        let answer = client.answer("GET").expect("an answer").expect(503);
        assert!(asked.elapsed() >= Duration::from_millis(6_900), "{id}: held for {:?} only", asked.elapsed());
        assert!(answer.field("retry-after").is_some_and(|v| v.parse::<u32>().is_ok()), "{id}: {:?}", answer.fields);
    }
    relay.assert_sound();
}

/// The next byte of a xorshift generator.
fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}

#[test]
fn head_answers_from_rules_and_opens_no_origin() {
    let (relay, channel) = relay();
    let mut client = relay.connect();
    let (hls, dash, ts) = ("application/vnd.apple.mpegurl", "application/dash+xml", "video/mp2t");
    for (path, media_type, caching, varies) in [
        ("/relay/channel/live/stream.ts", ts, "no-store", true),
        ("/relay/channel/live/index.m3u8", hls, "no-store", true),
        ("/relay/channel/live/index.m3u8?format=hls-ts", hls, "no-store", true),
        ("/relay/channel/live/stream?format=hls", hls, "no-store", true),
        ("/relay/channel/live/manifest.mpd", dash, "no-store", true),
    ] {
        // What is made of the source depends on the client, and a closed channel's source is not known.
        let answer = client.request("HEAD", path, "").expect(200);
        assert_eq!(answer.field("content-type"), Some(media_type), "{path}");
        assert_decided(&answer, caching, varies);
    }
    client.request("HEAD", "/relay/channel/none/stream.ts", "").expect(404);
    let list = client.get("/channels.m3u").expect(200);
    let head = client.request("HEAD", "/channels.m3u", "").expect(200);
    assert_eq!(head.field("content-length"), list.field("content-length"));
    assert_eq!(origin::shared().opened(channel), 0);
    assert_eq!(relay.metric("millrace_sessions", ""), 0.0);
}

/// An answer whose format depends on more than its URL says so, to caches and to people.
#[track_caller]
fn assert_decided(answer: &Response, caching: &str, varies: bool) {
    assert_eq!(answer.field("cache-control"), Some(caching), "{:?}", answer.fields);
    assert_eq!(answer.field("vary").is_some_and(|v| v.contains("User-Agent")), varies, "{:?}", answer.fields);
    assert!(answer.field("x-relay-decision").is_some_and(|v| v.contains("; ")), "{:?}", answer.fields);
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_format_follows_extension_parameter_and_user_agent() {
    let (relay, _) = relay();
    let mut client = relay.connect();
    let mut decision = |path: &str, agent: &str| {
        let answer = client.request("HEAD", path, &format!("User-Agent: {agent}\r\n")).expect(200);
        answer.field("x-relay-decision").expect("a decision").to_owned()
    };
    let stream = "/relay/channel/live/stream";
    assert!(decision(stream, "Mozilla/5.0").starts_with("hls-fmp4; "));
    assert!(decision(stream, "VLC/3.0.20 LibVLC/3.0.20").starts_with("mpegts; "));
    assert!(decision(&format!("{stream}?format=hls-ts"), "VLC/3.0.20").starts_with("hls-ts; "));
    assert!(decision(&format!("{stream}?format=auto"), "Lavf/60.3.100").starts_with("mpegts; "));
    assert!(decision("/relay/channel/live/stream.ts", "Mozilla/5.0").starts_with("mpegts; "));
    assert!(decision("/relay/channel/live/index.m3u8", "Mozilla/5.0").starts_with("hls-fmp4; "));
    assert!(decision("/relay/channel/live/index.m3u8", "VLC/3.0.20").starts_with("hls-ts; "));
    assert!(decision("/relay/channel/live/index.m3u8?format=hls-ts", "VLC/3.0.20").starts_with("hls-ts; "));
    assert!(decision("/relay/channel/live/manifest.mpd", "Mozilla/5.0").starts_with("dash; "));
}

#[test]
fn browsers_may_read_media_from_other_pages() {
    let (relay, _) = relay();
    let fields =
        "Origin: http://page.test\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n";
    let answer = relay.connect().request("OPTIONS", "/relay/channel/live/index.m3u8", fields).expect(204);
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert!(answer.field("access-control-allow-methods").is_some_and(|v| v.contains("GET")), "{:?}", answer.fields);
    assert!(
        answer.field("access-control-allow-headers").is_some_and(|v| v == "*" || v.to_lowercase().contains("range")),
        "{:?}",
        answer.fields
    );
    relay.connect().request("OPTIONS", "*", "").expect(204);
}

#[test]
fn operators_pages_stay_on_the_admin_address() {
    let (relay, channel) = relay();
    for path in ["/metrics", "/api/v1/channels", "/api/v1/sessions"] {
        relay.get(path).expect(404);
        relay.admin_get(path).expect(200);
    }
    for path in ["/relay/channel/live/index.m3u8", "/relay/channel/live/stream.ts", "/channels.m3u"] {
        relay.admin_get(path).expect(404);
    }
    for path in ["/healthz", "/readyz"] {
        relay.get(path).expect(200);
        relay.admin_get(path).expect(200);
    }
    assert_eq!(origin::shared().opened(channel), 0);
}

#[test]
fn the_channel_list_names_every_channel_for_players() {
    let relay = Setup::new()
        .channel_toml("id = \"a\"\nname = \"Channel A\"\ngroup = \"News\"\nlogo = \"http://logo.test/a.png\"\nlanguage = \"eng\"\norigins = [\"http://origin.test/hidden\"]")
        .channel("b", "http://origin.test/hidden")
        .start();
    let answer = relay.get("/channels.m3u").expect(200);
    let list = answer.text();
    assert!(answer.field("content-type").is_some_and(|v| v.contains("mpegurl")), "{:?}", answer.fields);
    assert!(list.starts_with("#EXTM3U"), "{list}");
    for part in ["tvg-id=\"a\"", "tvg-logo=\"http://logo.test/a.png\"", "group-title=\"News\"", ",Channel A"] {
        assert!(list.contains(part), "{part} in {list}");
    }
    for id in ["a", "b"] {
        assert!(list.contains(&format!("http://relay.test/relay/channel/{id}/")), "{list}");
    }
    assert!(!list.contains("hidden") && !list.contains("origin.test"), "{list}");
}

#[test]
fn metrics_are_prometheus_text_and_the_api_is_json() {
    let (relay, _) = relay();
    let mut viewer = relay.stream("live");
    assert!(!viewer.take(188).expect("media").is_empty());
    let page = relay.admin_get("/metrics").expect(200);
    assert!(page.field("content-type").is_some_and(|v| v.starts_with("text/plain; version=0.0.4")));
    let text = page.text();
    let typed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (name, labels, value) in series(&text) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        assert!(typed.contains(&name) || family.is_some_and(|f| typed.contains(&f)), "{name} has no TYPE");
        assert!(value.is_finite() && value >= 0.0, "{name}{{{labels}}} {value}");
        assert!(seen.insert((name, labels)), "{name}{{{labels}}} comes twice");
    }
    for name in ["millrace_origin_connections_total", "millrace_origin_up", "millrace_sessions", "millrace_viewers"] {
        assert!(typed.contains(&name), "{name} is missing:\n{text}");
    }
    assert_eq!(relay.metric("millrace_viewers", "format=\"mpegts\""), 1.0);
    assert_eq!(relay.metric("millrace_sessions", ""), 1.0);

    let parse =
        |path| serde_json::from_slice::<serde_json::Value>(&relay.admin_get(path).expect(200).body).expect("JSON");
    let channels = parse("/api/v1/channels");
    assert_eq!(channels["channels"][0]["id"], "live", "{channels}");
    assert_eq!(channels["channels"][0]["viewers"], 1, "{channels}");
    let sessions = parse("/api/v1/sessions");
    assert_eq!(sessions["sessions"][0]["state"], "live", "{sessions}");
    let tracks = sessions["sessions"][0]["tracks"].as_array().expect("tracks");
    let codecs: Vec<_> = tracks.iter().filter_map(|track| track["kind"].as_str()).collect();
    assert_eq!(codecs, ["video", "audio"], "{sessions}");
}

#[test]
fn a_segment_answers_ranges_and_conditions() {
    let (mut relay, _) = relay();
    let mut player = Player::new(relay.connect(), "live");
    player.step();
    let segment = player.last.segments[0].clone();
    let (path, whole) = (player.segment_path(&segment), player.segments[&segment.number].clone());
    let len = whole.len();
    let client = &mut player.client;
    let full = client.get(&path).expect(200);
    let etag = full.field("etag").expect("an ETag").to_owned();
    assert!(full.field("cache-control").is_some_and(|v| v.contains("immutable")), "{:?}", full.fields);
    assert_eq!(full.field("accept-ranges"), Some("bytes"));
    for (range, start, end) in [
        ("bytes=0-187", 0, 188),
        ("bytes=188-", 188, len),
        ("bytes=-188", len - 188, len),
        ("bytes=100-99999999999", 100, len),
    ] {
        let part = client.request("GET", &path, &format!("Range: {range}\r\n")).expect(206);
        assert_eq!(part.body, &whole[start..end], "{range}");
        assert_eq!(part.field("content-range"), Some(format!("bytes {start}-{}/{len}", end - 1).as_str()), "{range}");
    }
    let beyond = client.request("GET", &path, "Range: bytes=99999999999-\r\n").expect(416);
    assert_eq!(beyond.field("content-range"), Some(format!("bytes */{len}").as_str()));
    for (fields, status) in [
        (format!("Range: bytes=0-9\r\nIf-Range: {etag}\r\n"), 206),
        ("Range: bytes=0-9\r\nIf-Range: \"other\"\r\n".to_owned(), 200),
        ("Range: lines=0-9\r\n".to_owned(), 200),
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: \"other\", {etag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"other\"\r\n".to_owned(), 200),
    ] {
        let answer = client.request("GET", &path, &fields);
        assert_eq!(answer.status, status, "{fields}");
    }
    let head = client.request("HEAD", &path, "").expect(200);
    assert_eq!(head.field("content-length"), Some(len.to_string().as_str()));
    relay.assert_sound();
}

#[test]
fn a_playlist_is_the_same_for_all_until_it_changes() {
    let (mut relay, _) = relay();
    let mut player = Player::new(relay.connect(), "live");
    player.reload();
    let path = player.media_path().to_owned();
    let first = player.client.get(&path).expect(200);
    assert_eq!(first.field("cache-control"), Some("public, max-age=1"));
    let etag = first.field("etag").expect("an ETag").to_owned();
    let again = player.client.request("GET", &path, &format!("If-None-Match: {etag}\r\n"));
    if again.status == 200 {
        assert_ne!(again.field("etag"), Some(etag.as_str()), "unchanged, and sent again");
    } else {
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    let changed = Instant::now();
    while player.client.request("GET", &path, &format!("If-None-Match: {etag}\r\n")).status == 304 {
        assert!(changed.elapsed() < PATIENCE, "the playlist never changes");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Whatever epoch the URL names, it is the channel's playlist.
    let old = path.replace(path.split('/').nth(4).expect("an epoch"), "1");
    assert_ne!(old, path);
    assert!(player.client.get(&old).expect(200).text().contains("#EXTINF"));
    relay.assert_sound();
}

#[test]
fn ten_requests_in_one_write_get_ten_answers_in_order() {
    let (relay, _) = relay();
    let mut client = relay.connect();
    let paths: Vec<String> =
        (0..10).map(|n| if n % 2 == 0 { "/healthz".into() } else { format!("/nothing/{n}") }).collect();
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n")).collect();
    client.write(requests);
    for (n, path) in paths.iter().enumerate() {
        let answer = client.answer("GET").expect("an answer");
        assert_eq!(answer.status, if n % 2 == 0 { 200 } else { 404 }, "{path}");
    }
    client.get("/healthz").expect(200);
}

#[test]
fn a_connection_ends_when_asked_and_not_before() {
    let (relay, _) = relay();
    let mut client = relay.connect();
    for _ in 0..3 {
        client.get("/healthz").expect(200);
    }
    let last = client.request("GET", "/healthz", "Connection: close\r\n").expect(200);
    assert_eq!(last.field("connection"), Some("close"));
    assert!(client.is_closed_within(PATIENCE));

    let mut old = relay.connect();
    old.write("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer("GET").expect("an answer").field("connection"), Some("close"));
    assert!(old.is_closed_within(PATIENCE), "HTTP/1.0 closes by default");

    let mut broken = relay.connect();
    broken.write("GET /healthz HTTP/1.1\nHost: relay.test\n\n");
    assert_eq!(broken.answer("GET").expect("an answer").status, 400);
    assert!(broken.is_closed_within(PATIENCE), "nothing is read after a broken head");
}

#[test]
fn a_dripped_head_is_read_and_one_that_takes_too_long_is_cut() {
    let relay = Setup::new()
        .key("limits.request_head_ms", 3_000)
        .key("idle.keepalive_ms", 1_000)
        .channel("live", "http://127.0.0.1:9/")
        .start();
    let mut slow = relay.connect();
    for byte in "GET /healthz HTTP/1.1\r\nHost: relay.test\r\n\r\n".bytes() {
        slow.write([byte]);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(slow.answer("GET").expect("an answer").status, 200);
    assert!(slow.is_closed_within(PATIENCE), "idle for longer than keepalive_ms");

    let mut silent = relay.connect();
    assert!(silent.is_closed_within(PATIENCE), "never a request: no longer than keepalive_ms");

    let (mut stuck, begin) = (relay.connect(), Instant::now());
    stuck.write("GET /healthz HTTP/1.1\r\nHost: rel");
    let mut bytes = Vec::new();
    assert!(!stuck.read_while(&mut bytes, |_| begin.elapsed() < PATIENCE), "an unfinished head is not waited for");
    assert!(begin.elapsed() >= Duration::from_millis(2_900), "cut after {:?}", begin.elapsed());
    relay.await_log("request head not complete in time");
}

#[test]
fn a_client_may_close_its_side_and_still_gets_its_answer() {
    let (relay, _) = relay();
    let mut client: Client = relay.connect();
    client.write("GET /healthz HTTP/1.1\r\nHost: relay.test\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).expect("open until now");
    assert_eq!(client.answer("GET").expect("an answer").status, 200);
}

#[test]
fn the_page_comes_gzipped_or_plain_with_a_strict_policy() {
    let (relay, channel) = relay();
    let mut client = relay.connect();
    let plain = client.get("/").expect(200);
    assert_eq!(
        (plain.field("content-encoding"), plain.field("content-type")),
        (None, Some("text/html; charset=utf-8"))
    );
    let policy = plain.field("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(plain.field("x-content-type-options"), Some("nosniff"));
    let gzip = client.request("GET", "/", "Accept-Encoding: br, gzip\r\n").expect(200);
    assert_eq!((gzip.field("content-encoding"), gzip.field("vary")), (Some("gzip"), Some("Accept-Encoding")));
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]) && gzip.body.len() < plain.body.len());
    assert_ne!(gzip.field("etag"), plain.field("etag"), "two representations, two tags");
    let etag = format!("If-None-Match: {}\r\n", plain.field("etag").expect("a tag"));
    client.request("GET", "/", &etag).expect(304);
    client.request("HEAD", "/web/hls.min.js", "").expect(200);
    client.get("/web/none.js").expect(404);
    Client::connect(relay.admin).get("/").expect(404);
    let json = client.get("/web/channels.json").expect(200);
    let page: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(page["channels"][0]["id"].as_str(), Some("live"));
    assert_eq!(origin::shared().opened(channel), 0, "looking is not watching");
}
