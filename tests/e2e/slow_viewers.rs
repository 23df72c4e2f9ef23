//! Viewers that read slowly or not at all: they skip or are cut, and nobody else notices.

use crate::support::assert_clean;
use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE, viewer_address};
use crate::support::origin;
use crate::support::relay::{Relay, Setup};
use millrace::demo::{Origin, OriginConfig, Source};
use std::path::Path;
use std::time::{Duration, Instant};

/// A receive buffer so small that a pause is felt at once, bytes.
const SMALL_BUFFER_BYTES: usize = 8 << 10;

fn slow_stream(relay: &Relay, address: u8) -> Client {
    let client = Client::connect_small(viewer_address(address), relay.addr, SMALL_BUFFER_BYTES);
    client.stream("/relay/channel/live/stream.ts")
}

#[test]
fn a_viewer_that_paused_skips_and_its_stream_stays_clean() {
    let mut setup = Setup::new();
    setup.key("media.segment_max_ms", 2_000).key("media.window_ms", 6_000);
    let mut relay = setup.channel("live", &origin::url(origin::own_channel())).start();
    let (mut slow, mut steady) = (slow_stream(&relay, 1), relay.stream("live"));
    let mut slow_bytes = Vec::new();
    assert!(slow.read_while(&mut slow_bytes, |bytes| bytes.len() < 200 << 10));
    // Pauses: first until the kernel takes no more for it, then until all that was there by then is gone from the server, whose store lets
    // go of whole blocks, two seconds each.
    let mut steady_bytes = Vec::new();
    let end = Instant::now() + Duration::from_secs(5);
    assert!(steady.read_while(&mut steady_bytes, |_| Instant::now() < end));
    let mut player = Player::new(relay.connect(), "live");
    let newest = player.reload().segments.last().expect("a segment").clone();
    let end = Instant::now() + PATIENCE;
    assert!(steady.read_while(&mut steady_bytes, |_| player.is_served(&newest) && Instant::now() < end));
    let end = Instant::now() + Duration::from_secs(6);
    assert!(steady.read_while(&mut steady_bytes, |_| Instant::now() < end));

    let (end, before) = (Instant::now() + PATIENCE, slow_bytes.len());
    let skipped = || relay.metric("millrace_viewers_skipped_total", "") > 0.0;
    assert!(slow.read_while(&mut slow_bytes, |_| !skipped() && Instant::now() < end), "the slow viewer was cut");
    assert!(skipped(), "it never skipped in {} bytes", slow_bytes.len() - before);
    let end = Instant::now() + Duration::from_secs(3);
    assert!(slow.read_while(&mut slow_bytes, |_| Instant::now() < end), "the slow viewer was not cut");

    let report = assert_clean(&slow_bytes, "slow viewer");
    assert!(report.discontinuities > 0, "the skip is signalled:\n{report}");
    let report = assert_clean(&steady_bytes, "steady viewer");
    assert_eq!(report.discontinuities, 0, "the steady viewer did not notice");
    assert!(report.seconds > 10.0, "{report}");
    relay.assert_sound();
}

#[test]
fn a_viewer_that_never_reads_is_cut_and_the_log_says_why() {
    let mut setup = Setup::new();
    setup.key("idle.continuous_viewer_ms", 2_000);
    let mut relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let (mut dead, mut steady) = (slow_stream(&relay, 1), relay.stream("live"));
    let mut bytes = Vec::new();
    let cut = || relay.metric("millrace_viewers_cut_total", "") > 0.0;
    let begin = Instant::now();
    assert!(steady.read_while(&mut bytes, |_| !cut() && begin.elapsed() < PATIENCE), "the steady viewer was cut");
    assert!(cut(), "never cut");
    relay.await_log("no progress in reading the stream");
    relay.await_metric("millrace_viewers", "mpegts", PATIENCE, |viewers| viewers == 1.0);
    // What the kernel still held is delivered or not; then it ends.
    let begin = Instant::now();
    assert!(!dead.read_while(&mut Vec::new(), |_| begin.elapsed() < PATIENCE), "the connection is still open");
    assert_clean(&bytes, "steady viewer");
    relay.assert_sound();
}

#[test]
fn a_slow_segment_reader_holds_nobody_up() {
    let mut setup = Setup::new();
    setup.key("media.segment_max_ms", 2_000).key("media.window_ms", 6_000);
    let mut relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut player = Player::new(relay.connect(), "live");
    player.step();
    let held = player.last.segments.last().expect("a segment").clone();
    let path = player.segment_path(&held);
    // Asked for often enough, it goes out of pipes.
    for _ in 0..5 {
        let again = player.client.get(&path).expect(200);
        assert!(again.body == player.segments[&held.number], "the bytes differ from request to request");
    }
    let mut slow = Client::connect_small(viewer_address(1), relay.addr, SMALL_BUFFER_BYTES);
    slow.write(format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n"));
    let head = slow.head().expect("a head").expect(200);
    let length: usize = head.field("content-length").and_then(|v| v.parse().ok()).expect("a length");

    // Others play on until the held segment is long gone from the playlist and from the server.
    let fetched_before = player.segments.len();
    while player.is_served(&held) {
        player.step();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(player.segments.len() >= fetched_before + 3, "the other player got on");
    // The slow reader still gets the bytes that the segment had.
    let mut bytes = Vec::new();
    assert!(slow.read_while(&mut bytes, |bytes| bytes.len() < length), "the slow reader was cut");
    assert!(bytes == player.segments[&held.number], "the bytes changed while they were read");
    relay.assert_sound();
}

#[test]
fn segment_readers_that_pin_too_much_are_cut() {
    // The synthetic picture is too small to pin much: the kernel takes most of a segment.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media/ts/test-025.ts");
    if !file.exists() {
        return println!("SKIP segment readers that pin too much: {} is not there", file.display());
    }
    let config = OriginConfig::new(([127, 0, 0, 1], 0).into(), 1, Source::File(file));
    let source = Origin::start(config).expect("the file is a transport stream");
    // Each shard cuts the oldest of its own readers, so the test is exact with one.
    let mut setup = Setup::new();
    setup
        .key("server.shards", 1)
        .key("limits.pinned_blocks_per_channel", 8)
        .key("media.segment_max_ms", 2_000)
        .key("media.window_ms", 6_000);
    let mut relay = setup.channel("live", &format!("http://{}/channel/1.ts", source.local_addr())).start();
    let mut player = Player::new(relay.connect(), "live");
    let mut slow: Vec<(Client, usize)> = Vec::new();
    let mut asked = 0;
    let begin = Instant::now();
    while relay.metric("millrace_viewers_cut_total", "") == 0.0 {
        assert!(begin.elapsed() < 2 * PATIENCE, "none of {} readers was cut", slow.len());
        let new = player.reload().segments.clone().into_iter().filter(|segment| segment.number > asked);
        for segment in new.collect::<Vec<_>>() {
            asked = segment.number;
            let mut client = Client::connect_small(viewer_address(1), relay.addr, SMALL_BUFFER_BYTES);
            client.write(format!("GET {} HTTP/1.1\r\nHost: relay.test\r\n\r\n", player.segment_path(&segment)));
            let head = client.head().expect("a head").expect(200);
            slow.push((client, head.field("content-length").and_then(|v| v.parse().ok()).expect("a length")));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    relay.await_log("it reads a segment too slowly");
    let (oldest, length) = &mut slow[0];
    let mut bytes = Vec::new();
    assert!(!oldest.read_while(&mut bytes, |bytes| bytes.len() < *length), "the one that read for longest is cut");
    let (newest, length) = slow.last_mut().expect("readers");
    bytes.clear();
    assert!(newest.read_while(&mut bytes, |bytes| bytes.len() < *length), "the newest reader is left alone");
    relay.assert_sound();
}
