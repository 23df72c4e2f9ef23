//! The process's life: stop by SIGTERM, death by SIGKILL and the return on the same port.

use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE, eventually, try_status, viewer_address};
use crate::support::origin;
use crate::support::relay::{Relay, Setup};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A port that is free now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn sigterm_finishes_what_is_being_sent() {
    let mut setup = Setup::new();
    setup.key("server.shutdown_ms", 20_000);
    let relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut player = Player::new(relay.connect(), "live");
    player.step();
    let segment = player.last.segments[0].clone();
    let whole = player.segments[&segment.number].clone();
    let mut slow = Client::connect_small(viewer_address(1), relay.addr, 4 << 10);
    slow.write(format!("GET {} HTTP/1.1\r\nHost: relay.test\r\n\r\n", player.segment_path(&segment)));
    slow.head().expect("a head").expect(200);
    let mut viewer = relay.stream("live");

    let addr = relay.addr;
    let ended = std::thread::spawn(move || relay.end_by(libc::SIGTERM));
    let mut bytes = Vec::new();
    let end = Instant::now() + PATIENCE;
    assert!(!viewer.read_while(&mut bytes, |_| Instant::now() < end), "a continuous viewer gets its end of stream");
    bytes.clear();
    while bytes.len() < whole.len() {
        let more = slow.take(32 << 10).expect("the segment goes on");
        assert!(!more.is_empty(), "cut after {} of {} bytes", bytes.len(), whole.len());
        bytes.extend_from_slice(&more);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(bytes == whole, "the segment arrived whole");
    drop((slow, player));
    let (status, took) = ended.join().expect("the waiting thread");
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    assert!(Client::open([127, 0, 0, 1].into(), addr, None).is_err(), "nobody listens any more");
}

#[test]
fn sigterm_waits_for_a_stuck_reader_no_longer_than_it_was_told() {
    let mut setup = Setup::new();
    setup.key("server.shutdown_ms", 1_000).key("media.segment_target_ms", 4_000).key("media.segment_max_ms", 6_000);
    let relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut player = Player::new(relay.connect(), "live");
    player.reload();
    let path = player.segment_path(&player.last.segments[0]);
    let mut stuck = Client::connect_small(viewer_address(1), relay.addr, 4 << 10);
    stuck.write(format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n"));
    stuck.head().expect("a head").expect(200);
    let (status, took) = relay.end_by(libc::SIGTERM);
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(took < Duration::from_secs(8), "it took {took:?}");
}

#[test]
fn a_killed_relay_comes_back_and_players_go_on() {
    let addr = free_address();
    let mut setup = Setup::new();
    setup.key("server.listen", format!("[\"{addr}\"]")).channel("live", &origin::warm_url(origin::own_channel()));
    let relay = setup.start();
    let mut player = Player::new(relay.connect(), "live");
    player.step();
    // Numbers count from the unix second of the session's begin, so what the origin's burst put ahead of it has to come to pass first.
    eventually("the clock is past the newest number", PATIENCE, || {
        player.step();
        (unix_seconds() > player.last.segments.last()?.number).then_some(())
    });
    let before = player.last.clone();
    let old_media = player.media_path().to_owned();
    let last_discontinuity = before.discontinuity_number(before.segments.len() - 1);
    let (status, _) = relay.end_by(libc::SIGKILL);
    assert_eq!(status.code(), None);

    let begin = Instant::now();
    let mut relay = Relay::start(&setup.toml(), |_| {});
    eventually("ready again", PATIENCE, || (try_status(addr, "/readyz") == Some(200)).then_some(()));
    let took = begin.elapsed();
    println!("serving {} ms after the restart", took.as_millis());
    assert!(took < Duration::from_secs(2), "serving after {took:?}");

    // The player knows nothing of it: same playlist URL, on a new connection.
    player.client = relay.connect();
    player.step();
    assert_eq!(player.media_path(), old_media);
    let (last, first) = (before.segments.last().expect("segments"), &player.last.segments[0]);
    assert!(first.number > last.number, "segment {} after {}", first.number, last.number);
    // Numbers of discontinuities begin at the minute, so a quick restart may share its number; the tag tells it apart.
    assert!(player.last.discontinuity_number(0) >= last_discontinuity, "{:?}", player.last);
    assert!(first.discontinuity, "the break is signalled: {:?}", player.last);
    relay.assert_sound();
}
