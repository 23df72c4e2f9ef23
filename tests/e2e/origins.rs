//! Origins as they are: framings, redirects, headers, and every way of failing while viewers watch.

use crate::support::assert_clean;
use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE, eventually};
use crate::support::origin::{self, Framing, ScriptedOrigin};
use crate::support::relay::Setup;
use std::time::{Duration, Instant};

/// Reads a continuous stream until `seconds` of it passed, and judges it.
#[track_caller]
fn watch(who: &str, viewer: &mut Client, seconds: u64) -> loadtest::tscheck::Report {
    let (mut bytes, end) = (Vec::new(), Instant::now() + Duration::from_secs(seconds));
    assert!(viewer.read_while(&mut bytes, |_| Instant::now() < end), "{who}: the stream ended");
    assert_clean(&bytes, who)
}

#[test]
fn every_framing_of_a_body_gives_the_same_clean_stream() {
    let framings = [("close", Framing::Close), ("chunked", Framing::Chunked), ("length", Framing::Length)];
    let origins = framings.map(|(_, framing)| {
        ScriptedOrigin::start(move |visit| {
            visit.ok(framing)?;
            visit.live(framing, Duration::MAX / 4)
        })
    });
    let mut setup = Setup::new();
    for ((id, _), origin) in framings.iter().zip(&origins) {
        setup.channel(id, &origin.url("/"));
    }
    let mut relay = setup.start();
    let mut viewers = framings.map(|(id, _)| (id, relay.stream(id)));
    for (id, viewer) in &mut viewers {
        let report = watch(id, viewer, 3);
        assert_eq!(report.streams.len(), 2, "{id}: video and audio");
    }
    for origin in &origins {
        assert_eq!(origin.visits().len(), 1);
    }
    relay.assert_sound();
}

#[test]
fn five_redirects_are_followed_and_six_are_not() {
    let (five, six) = (origin::own_channel(), origin::own_channel());
    let mut relay = Setup::new()
        .channel("five", &format!("{}?redirect=5&framing=chunked", origin::url(five)))
        .channel("six", &format!("{}?redirect=6", origin::url(six)))
        .start();
    watch("five", &mut relay.stream("five"), 1);
    let refused = relay.get("/relay/channel/six/stream.ts").expect(502).text();
    assert!(refused.contains("redirect"), "it says why: {refused:?}");
    assert_eq!((origin::shared().opened(five), origin::shared().opened(six)), (1, 0));
    relay.assert_sound();
}

#[test]
fn an_origin_gets_the_headers_and_credentials_of_the_config() {
    let seen = ScriptedOrigin::start(|visit| {
        visit.ok(Framing::Close)?;
        visit.live(Framing::Close, Duration::MAX / 4)
    });
    let plain = seen.url("/plain.ts?a=1&b=%20");
    let url = seen.url("/own.ts").replace("//", "//joe:pass%20word@");
    let relay = Setup::new()
        .key("origin.user_agent", "\"relay-test/1\"")
        .channel("plain", &plain)
        .channel_toml(&format!(
            "id = \"own\"\n[[channel.origin]]\nurl = \"{url}\"\nheaders = {{ User-Agent = \"set-top/1.0\", X-Token = \"t0ken\" }}"
        ))
        .start();
    relay.stream("plain").take(1).expect("media");
    relay.stream("own").take(1).expect("media");
    let heads: Vec<String> = seen.visits().into_iter().map(|(_, head)| head.to_lowercase()).collect();
    assert!(heads[0].starts_with("get /plain.ts?a=1&b=%20 http/1.1\r\n"), "{}", heads[0]);
    for field in ["user-agent: relay-test/1\r\n", &format!("host: {}\r\n", seen.addr)] {
        assert!(heads[0].contains(field), "{field:?} in {}", heads[0]);
    }
    for field in ["user-agent: set-top/1.0\r\n", "x-token: t0ken\r\n"] {
        assert!(heads[1].contains(field), "{field:?} in {}", heads[1]);
    }
    // The base64 of `joe:pass word`, whose case counts.
    assert!(seen.visits()[1].1.contains("Authorization: Basic am9lOnBhc3Mgd29yZA=="), "{}", seen.visits()[1].1);
    assert_eq!(heads[1].matches("user-agent:").count(), 1);
}

#[test]
fn an_origin_that_drops_is_tried_again_and_viewers_stay() {
    let dropping = ScriptedOrigin::start(|visit| {
        visit.ok(Framing::Close)?;
        // Long enough for a segment to be cut in each.
        visit.live(Framing::Close, Duration::from_millis(4_500))?;
        visit.close()
    });
    let mut relay = Setup::new().channel("live", &dropping.url("/")).start();
    let mut viewer = relay.stream("live");
    let mut bytes = Vec::new();
    assert!(viewer.read_while(&mut bytes, |_| dropping.visits().len() < 4), "the viewer lost its connection");
    let end = Instant::now() + Duration::from_secs(3);
    assert!(viewer.read_while(&mut bytes, |_| Instant::now() < end), "the viewer lost its connection");

    let report = assert_clean(&bytes, "viewer over four connections");
    assert!(report.discontinuities >= 3, "each gap is signalled:\n{report}");
    let visits = dropping.visits();
    for pair in visits.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!(gap < Duration::from_millis(4_500 + 2_000 + 2_500), "tried again after {gap:?}");
    }
    let mut player = Player::new(relay.connect(), "live");
    let playlist = player.reload();
    assert!(playlist.segments.iter().any(|s| s.discontinuity), "{playlist:?}");
    player.step();
    for (number, segment) in &player.segments {
        assert_clean(segment, &format!("segment {number}"));
    }
    assert_eq!(relay.metric("millrace_origin_connections_total", "live") as usize, dropping.visits().len());
    relay.assert_sound();
}

#[test]
fn null_packets_bridge_a_stall_until_the_origin_is_tried_again() {
    let stalling = ScriptedOrigin::start(|visit| {
        visit.ok(Framing::Chunked)?;
        if visit.number == 0 {
            visit.live(Framing::Chunked, Duration::from_millis(4_500))?;
            return visit.hang();
        }
        visit.live(Framing::Chunked, Duration::MAX / 4)
    });
    let mut relay = Setup::new().key("origin.stall_ms", 4_000).channel("live", &stalling.url("/")).start();
    let mut viewer = relay.stream("live");
    let (mut bytes, mut longest, mut last) = (Vec::new(), Duration::ZERO, (0, Instant::now()));
    let open = viewer.read_while(&mut bytes, |bytes| {
        if bytes.len() > last.0 {
            longest = longest.max(last.1.elapsed());
            last = (bytes.len(), Instant::now());
        }
        stalling.visits().len() < 2
    });
    assert!(open, "the viewer lost its connection");
    relay.await_metric("millrace_origin_up", "live", PATIENCE, |up| up == 1.0);
    let end = Instant::now() + Duration::from_secs(4);
    assert!(viewer.read_while(&mut bytes, |_| Instant::now() < end));
    let report = assert_clean(&bytes, "viewer over a stall");
    assert!(report.null_packets >= 2, "the stall was bridged:\n{report}");
    assert!(longest < Duration::from_secs(3), "silent for {longest:?}");
    relay.await_log("origin lost");
    relay.assert_sound();
}

#[test]
fn a_file_sent_at_once_comes_out_at_its_own_pace() {
    let mut took = Vec::new();
    for pace in [false, true] {
        let recorded = origin::record_with_past(12, 3.0);
        let file = ScriptedOrigin::start(move |visit| {
            visit.ok(Framing::Close)?;
            if visit.number == 0 {
                visit.write(&recorded)?;
            }
            visit.hang()
        });
        let relay = Setup::new()
            .key("origin.pace", pace)
            .key("origin.stall_ms", 60_000)
            .channel("file", &file.url("/"))
            .start();
        let mut viewer = relay.connect();
        viewer.write("GET /relay/channel/file/stream.ts HTTP/1.1\r\nHost: relay.test\r\n\r\n");
        let begin = Instant::now();
        let (mut samples, mut at) = (0.0, Instant::now());
        eventually("the file's end", PATIENCE, || {
            let now = relay.metric("millrace_samples_total", "file");
            if now != samples {
                (samples, at) = (now, Instant::now());
            }
            (samples > 0.0 && at.elapsed() > Duration::from_secs(2)).then_some(())
        });
        took.push(at - begin);
    }
    // Fifteen seconds of media, of which ten go through at once: what fast-starting origins send.
    assert!(took[0] < took[1], "paced {:?}, unpaced {:?}", took[1], took[0]);
    assert!(took[1] >= Duration::from_secs(3), "paced in {:?}", took[1]);
}
