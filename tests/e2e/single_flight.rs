//! Many viewers at once on one channel: one origin connection, both shards at work, the same bytes for all, and nothing left behind.

use crate::support::assert_clean;
use crate::support::full;
use crate::support::hls::Player;
use crate::support::http::{Client, viewer_address};
use crate::support::origin;
use crate::support::relay::{Relay, Setup};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Viewers of each kind.
const VIEWERS: u8 = 100;
/// Most that memory may stay above its baseline after all left, KiB.
const LEFT_KIB_MAX: u64 = 8 << 10;
/// Limit after which viewers that left are no longer counted.
const GONE: Duration = Duration::from_secs(15);

#[test]
fn two_hundred_viewers_share_one_origin_connection() {
    let channel = origin::own_channel();
    let mut setup = Setup::new();
    setup.key("idle.session_ms", 2_000).key("idle.variant_ms", 2_000).key("idle.segment_viewer_ms", 2_000);
    let mut relay = setup.channel("live", &origin::url(channel)).start();

    // The first round fills what is filled once: pools, tables, page caches.
    one_round(&relay, Duration::from_secs(6));
    assert_eq!(origin::shared().opened(channel), 1, "opened for the first round");
    assert_all_gone(&relay, channel, GONE);
    let baseline_kib = relay.memory_kib();

    let sent_before = sent_bytes(&relay);
    one_round(&relay, Duration::from_secs(10));
    assert_eq!(origin::shared().opened(channel), 2, "one more for the second round");
    assert_eq!(relay.metric("millrace_origin_connections_total", "live"), 2.0);
    assert_both_shards_worked(sent_before, sent_bytes(&relay));
    assert_all_gone(&relay, channel, GONE);
    assert_memory_back(&relay, baseline_kib);
    relay.assert_sound();
}

#[test]
fn with_the_real_clocks_everything_is_gone_after_a_minute() {
    if !full("the single flight with clocks of 60 s") {
        return;
    }
    let channel = origin::own_channel();
    let mut relay = Setup::new().channel("live", &origin::url(channel)).start();
    one_round(&relay, Duration::from_secs(6));
    assert_all_gone(&relay, channel, Duration::from_secs(90));
    let baseline_kib = relay.memory_kib();
    one_round(&relay, Duration::from_secs(30));
    relay.await_metric("millrace_viewers", "", GONE, |viewers| viewers == 0.0);
    assert_eq!(relay.metric("millrace_sessions", ""), 1.0, "viewers left, the session stays for its minute");
    assert_all_gone(&relay, channel, Duration::from_secs(90));
    assert_memory_back(&relay, baseline_kib);
    assert_eq!(origin::shared().opened(channel), 2);
    relay.assert_sound();
}

/// All viewers come, watch for `time`, are judged and leave.
fn one_round(relay: &Relay, time: Duration) {
    let (continuous, players) = (spread_connections(relay), spread_connections(relay));
    let end = Instant::now() + time;
    let segments = Mutex::new(BTreeMap::new());
    let streams = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in continuous {
            scope.spawn(|| {
                let bytes = client.stream("/relay/channel/live/stream.ts").rest_until(end);
                streams.lock().unwrap().push(bytes);
            });
        }
        for client in players {
            scope.spawn(|| play(Player::new(client, "live"), end, &segments));
        }
        let up = |viewers| viewers == f64::from(VIEWERS);
        relay.await_metric("millrace_viewers", "mpegts", time, up);
        relay.await_metric("millrace_viewers", "hls-ts", time, up);
        assert_eq!(relay.metric("millrace_sessions", ""), 1.0);
    });
    for (n, bytes) in streams.lock().unwrap().iter().enumerate() {
        let report = assert_clean(bytes, &format!("continuous viewer {n}"));
        assert!(report.discontinuities == 0 && report.seconds > 1.0, "continuous viewer {n}:\n{report}");
    }
    let segments = segments.lock().unwrap();
    assert!(!segments.is_empty(), "no segment was played");
    for (number, bytes) in &*segments {
        assert_clean(bytes, &format!("segment {number}"));
    }
}

/// Plays to `end`; what it got must be what others got.
fn play(mut player: Player, end: Instant, segments: &Mutex<BTreeMap<u64, Vec<u8>>>) {
    while Instant::now() < end {
        player.step();
        std::thread::sleep(Duration::from_millis(500));
    }
    let mut segments = segments.lock().unwrap();
    for (number, bytes) in player.segments {
        let first = segments.entry(number).or_insert_with(|| bytes.clone());
        assert!(*first == bytes, "segment {number} is not the same for all");
    }
}

/// Connections of [`VIEWERS`] addresses, about half of them on each shard. The kernel spreads by hash, so an unlucky draw is drawn anew.
fn spread_connections(relay: &Relay) -> Vec<Client> {
    for _ in 0..20 {
        let before = accepted(relay);
        let clients: Vec<Client> = (1..=VIEWERS).map(|n| Client::connect_from(viewer_address(n), relay.addr)).collect();
        let all = f64::from(VIEWERS);
        let after = crate::support::http::eventually("all are accepted", GONE, || {
            let now = accepted(relay);
            (now[0] + now[1] - before[0] - before[1] >= all).then_some(now)
        });
        if (0..2).all(|shard| after[shard] - before[shard] >= 0.44 * all) {
            return clients;
        }
    }
    panic!("the kernel never spread connections over both shards");
}

fn accepted(relay: &Relay) -> [f64; 2] {
    ["shard=\"0\"", "shard=\"1\""].map(|shard| relay.metric("millrace_accepted_total", shard))
}

fn sent_bytes(relay: &Relay) -> [f64; 2] {
    ["shard=\"0\"", "shard=\"1\""].map(|shard| relay.metric("millrace_sent_bytes_total", shard))
}

fn assert_both_shards_worked(before: [f64; 2], after: [f64; 2]) {
    let sent = [after[0] - before[0], after[1] - before[1]];
    let share = sent[0].min(sent[1]) / (sent[0] + sent[1]);
    println!("sent by shard 0: {:.1} MB, by shard 1: {:.1} MB", sent[0] / 1e6, sent[1] / 1e6);
    assert!(share >= 0.4, "a shard carried {share:.2} of the bytes only");
}

fn assert_all_gone(relay: &Relay, channel: usize, limit: Duration) {
    relay.await_metric("millrace_viewers", "", limit, |viewers| viewers == 0.0);
    relay.await_metric("millrace_sessions", "", limit, |sessions| sessions == 0.0);
    crate::support::http::eventually("the origin connection is closed", GONE, || {
        (origin::shared().open(channel) == 0).then_some(())
    });
}

fn assert_memory_back(relay: &Relay, baseline_kib: u64) {
    let back = || Some(relay.memory_kib()).filter(|kib| *kib <= baseline_kib + LEFT_KIB_MAX);
    let now_kib = crate::support::http::eventually("memory is given back", GONE, back);
    println!("memory: baseline {baseline_kib} KiB, after the viewers left {now_kib} KiB");
}
