//! Every key of the configuration does something that can be seen from outside.

use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE, eventually, viewer_address};
use crate::support::origin::{self, ScriptedOrigin};
use crate::support::relay::{Relay, Setup};
use millrace::config::reference_toml;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Each key with the test that sees its effect.
const SEEN_BY: &[(&str, &str)] = &[
    ("server.listen", "keys::listeners_shards_and_cores"),
    ("server.admin_listen", "keys::listeners_shards_and_cores"),
    ("server.shards", "keys::listeners_shards_and_cores"),
    ("server.cores", "keys::listeners_shards_and_cores"),
    ("server.shutdown_ms", "life::sigterm_waits_for_a_stuck_reader_no_longer_than_it_was_told"),
    ("server.steering", "keys::steering"),
    ("server.page", "keys::the_page_can_be_switched_off"),
    ("log.level", "keys::the_log"),
    ("log.format", "keys::the_log"),
    ("origin.connect_ms", "keys::clocks_of_origins"),
    ("origin.first_byte_ms", "keys::clocks_of_origins"),
    ("origin.stall_ms", "origins::null_packets_bridge_a_stall_until_the_origin_is_tried_again"),
    ("origin.retry_ms_max", "keys::clocks_of_origins"),
    ("origin.pace", "origins::a_file_sent_at_once_comes_out_at_its_own_pace"),
    ("origin.user_agent", "origins::an_origin_gets_the_headers_and_credentials_of_the_config"),
    ("media.segment_target_ms", "keys::segments_and_window"),
    ("media.segment_max_ms", "keys::segments_and_window"),
    ("media.window_ms", "keys::segments_and_window"),
    ("media.video_ring_samples", "keys::rings_and_the_idle_format"),
    ("media.audio_ring_samples", "keys::rings_and_the_idle_format"),
    ("media.video_ring_bytes", "keys::memory"),
    ("media.audio_ring_bytes", "keys::memory"),
    ("media.store_bytes_max", "keys::memory"),
    ("idle.session_ms", "single_flight::two_hundred_viewers_share_one_origin_connection"),
    ("idle.variant_ms", "keys::rings_and_the_idle_format"),
    ("idle.segment_viewer_ms", "keys::segment_viewers"),
    ("idle.keepalive_ms", "surface::a_dripped_head_is_read_and_one_that_takes_too_long_is_cut"),
    ("idle.continuous_viewer_ms", "slow_viewers::a_viewer_that_never_reads_is_cut_and_the_log_says_why"),
    ("transcode.enabled", "variants::what_is_not_to_be_made_is_refused"),
    ("transcode.cores", "variants::a_hundred_viewers_share_one_job_that_ends_with_them"),
    ("transcode.load_percent_max", "variants::full_cores_refuse_what_is_new_and_keep_what_runs"),
    ("transcode.hang_ms", "transcode_worker::a_worker_that_hangs_is_given_up_and_its_core_lost"),
    ("transcode.auto", "variants::what_a_browser_does_not_decode_is_made_for_it"),
    ("limits.connections_per_shard", "keys::limits_of_connections"),
    ("limits.connections_per_address", "keys::limits_of_connections"),
    ("media.live_flush_ms", "keys::continuous_viewers_get_fewer_and_larger_sends"),
    ("media.live_flush_bytes", "keys::continuous_viewers_get_fewer_and_larger_sends"),
    ("limits.request_head_ms", "surface::a_dripped_head_is_read_and_one_that_takes_too_long_is_cut"),
    ("limits.pinned_blocks_per_channel", "slow_viewers::segment_readers_that_pin_too_much_are_cut"),
];

#[test]
fn every_key_has_a_test() {
    let reference: toml::Table = toml::from_str(reference_toml()).expect("the reference parses");
    let keys: BTreeSet<String> = reference
        .iter()
        .filter_map(|(section, keys)| Some((section, keys.as_table()?)))
        .flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}")))
        .collect();
    let seen: BTreeSet<String> = SEEN_BY.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(keys, seen);
}

#[test]
fn listeners_shards_and_cores() {
    let admin = std::net::TcpListener::bind("127.0.0.2:0").and_then(|l| l.local_addr()).expect("a free port");
    let port = admin.port();
    let core = core_affinity::get_core_ids().unwrap_or_default().last().map_or(0, |core| core.id);
    let relay = Setup::new()
        .key("server.listen", format!("[\"127.0.0.3:{port}\", \"127.0.0.4:{port}\"]"))
        .key("server.admin_listen", format!("\"{admin}\""))
        .key("server.shards", 1)
        .key("server.cores", format!("[{core}]"))
        .start();
    for host in [[127, 0, 0, 3], [127, 0, 0, 4]] {
        Client::connect((host, port).into()).get("/readyz").expect(200);
    }
    assert_eq!(relay.admin, admin);
    let metrics = relay.admin_get("/metrics").expect(200).text();
    assert_eq!(metrics.lines().filter(|line| line.starts_with("millrace_accepted_total{")).count(), 1);
    // The resolver's threads bear the shard's name too, and may run anywhere.
    let cpus = tasks(&relay, "shard-");
    assert!(cpus.contains(&core.to_string()), "pinned to CPU {core}: {cpus:?}");
}

/// The CPUs that each thread of a name may run on, from proc(5).
fn tasks(relay: &Relay, name: &str) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{}/task", relay.pid())).expect("the relay runs");
    let statuses = folder.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    statuses
        .filter(|status| field(status, "Name:").starts_with(name))
        .map(|status| field(&status, "Cpus_allowed_list:"))
        .collect()
}

#[test]
fn steering() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [first, second, ..] = cores.as_slice() else {
        return println!("SKIP steering: one CPU");
    };
    let (first, second) = (*first, *second);
    let relay = Setup::new()
        .key("server.steering", "\"cpu\"")
        .key("server.cores", format!("[{}, {}]", first.id, second.id))
        .start();
    for (shard, core) in [first, second].into_iter().enumerate() {
        let before = relay.metric("millrace_accepted_total", &format!("shard=\"{shard}\""));
        let addr = relay.addr;
        // On loopback a connection arrives on the CPU that makes it.
        let connect = move || {
            assert!(core_affinity::set_for_current(core), "this thread can be pinned");
            (0..20).map(|_| TcpStream::connect(addr).expect("the relay listens")).collect::<Vec<_>>()
        };
        let clients = std::thread::spawn(connect).join().expect("the pinned thread");
        let label = format!("shard=\"{shard}\"");
        // Metrics requests go to the other listener, which is spread by hash and counted too.
        relay.await_metric("millrace_accepted_total", &label, PATIENCE, |now| now - before >= 20.0);
        drop(clients);
    }
}

#[test]
fn the_page_can_be_switched_off() {
    let relay = Setup::new().key("server.page", false).start();
    for path in ["/", "/web/page.css", "/web/channels.json"] {
        assert!(relay.get(path).expect(404).text().contains("no such resource"), "{path}");
    }
    relay.get("/channels.m3u").expect(200);
}

#[test]
fn the_log() {
    let run = |level: &str, format: &str| {
        let mut setup = Setup::new();
        setup.key("log.level", format!("\"{level}\"")).key("log.format", format!("\"{format}\""));
        let relay = setup.channel("live", &origin::url(origin::own_channel())).start();
        drop(relay.stream("live"));
        relay.await_metric("millrace_viewers", "mpegts", PATIENCE, |viewers| viewers == 0.0);
        relay
    };
    let debug = run("debug", "json");
    debug.await_log("continuous viewer left");
    for line in debug.log().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string(), "{line}");
    }
    let info = run("info", "text");
    info.await_log("session opened");
    assert!(!info.log().contains("continuous viewer left"), "{}", info.log());
    assert!(serde_json::from_str::<serde_json::Value>(info.log().lines().next().unwrap_or("1")).is_err());
    assert_eq!(run("error", "text").log(), "");
}

#[test]
fn clocks_of_origins() {
    let full = full_backlog();
    let silent = ScriptedOrigin::start(|visit| visit.hang());
    let refusing = ScriptedOrigin::start(|visit| visit.write("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
    let mut relay = Setup::new()
        .key("origin.connect_ms", 300)
        .key("origin.first_byte_ms", 300)
        .key("origin.retry_ms_max", 200)
        .channel("unreachable", &format!("http://{}/", full.0))
        .channel("silent", &silent.url("/"))
        .channel("refusing", &refusing.url("/"))
        .start();
    for id in ["unreachable", "silent", "refusing"] {
        let begin = Instant::now();
        relay.get(&format!("/relay/channel/{id}/stream.ts")).expect(502);
        // Far below the defaults of 3 and 5 s.
        assert!(begin.elapsed() < Duration::from_millis(2_500), "{id}: {:?}", begin.elapsed());
    }
    // By default the waits would double up to 2 s: ten attempts in 13 s or more.
    let begin = Instant::now();
    eventually("ten attempts", Duration::from_secs(9), || (refusing.visits().len() >= 10).then_some(()));
    println!("ten attempts in {:?}", begin.elapsed());
    relay.assert_sound();
}

/// A listener whose backlog is full, so that connecting to it hangs; and what keeps it so.
fn full_backlog() -> (std::net::SocketAddr, socket2::Socket, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("a listener");
    let addr = listener.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
    let fill = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket option");
        // In progress, for good.
        let _ = socket.connect(&addr.into());
        socket
    };
    (addr, listener, (0..4).map(fill).collect())
}

#[test]
fn segments_and_window() {
    let mut setup = Setup::new();
    setup.key("media.segment_target_ms", 3_000).key("media.segment_max_ms", 5_000).key("media.window_ms", 15_000);
    let relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut player = Player::new(relay.connect(), "live");
    let playlist = eventually("the window moves on", PATIENCE, || {
        let first = player.last.media_sequence;
        (player.reload().media_sequence > first && first > 0).then(|| player.last.clone())
    });
    assert_eq!(playlist.target_duration_s, 5);
    // Key pictures come every 2 s, so the first at or behind 3 s is at 4 s.
    assert!(playlist.segments.iter().all(|segment| (segment.seconds - 4.0).abs() < 0.1), "{playlist:?}");
    let length: f64 = playlist.segments.iter().map(|segment| segment.seconds).sum();
    assert!((12.0..=20.0).contains(&length), "{length} s of a window of 15 s");
}

#[test]
fn rings_and_the_idle_format() {
    let long = segments_after_return(1_000, 2_000);
    assert!(long >= 4, "{long} segments");
    // 64 pictures are two and a half seconds, which hold one whole GOP of two seconds at most.
    let short_video = segments_after_return(64, 2_000);
    assert!(short_video <= 2, "{short_video} segments");
    // 64 frames of AAC are 1.4 s, and a stream begins where both are there.
    let short_audio = segments_after_return(1_000, 64);
    assert!(short_audio <= 2, "{short_audio} segments");
}

/// Segments that a viewer finds who comes back after the format was dropped while the session lives on: what the rings still had.
fn segments_after_return(video_samples: usize, audio_samples: usize) -> usize {
    let mut setup = Setup::new();
    setup.key("media.video_ring_samples", video_samples).key("media.audio_ring_samples", audio_samples);
    setup.key("idle.variant_ms", 1_000).channel("live", &origin::warm_url(origin::own_channel()));
    let relay = setup.start();
    let mut player = Player::new(relay.connect(), "live");
    eventually("four segments", PATIENCE, || (player.reload().segments.len() >= 4).then_some(()));
    let sessions = || relay.admin_get("/api/v1/sessions").expect(200).text();
    eventually("the format is gone", PATIENCE, || sessions().contains("\"segments\":0").then_some(()));
    assert_eq!(relay.metric("millrace_sessions", ""), 1.0, "the session stays");
    let found = player.reload().segments.len();
    assert_eq!(relay.metric("millrace_origin_connections_total", ""), 1.0);
    found
}

#[test]
fn continuous_viewers_get_fewer_and_larger_sends() {
    let at_once = receipts(0, 1 << 20);
    // Three seconds of pictures alone are 75.
    assert!(at_once > 40, "{at_once} receipts with no wait");
    let by_time = receipts(500, 1 << 20);
    assert!(by_time < 25, "{by_time} receipts with a wait of half a second");
    // The demo's 1.1 Mb/s fill 8 KiB sixteen times a second.
    let by_bytes = receipts(500, 8 << 10);
    assert!((26..at_once).contains(&by_bytes), "{by_bytes} receipts of 8 KiB, {at_once} with no wait");
}

/// How often a continuous viewer gets something within three seconds.
fn receipts(flush_ms: u64, flush_bytes: usize) -> usize {
    let mut setup = Setup::new();
    setup.key("media.live_flush_ms", flush_ms).key("media.live_flush_bytes", flush_bytes);
    let relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut viewer = relay.stream("live");
    // What it begins with comes at once.
    let settled = Instant::now() + Duration::from_secs(2);
    while Instant::now() < settled {
        viewer.take(usize::MAX).expect("the stream goes on");
    }
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        viewer.take(usize::MAX).expect("the stream goes on");
        count += 1;
    }
    count
}

#[test]
fn memory() {
    let mut setup = Setup::new();
    setup.key("media.video_ring_bytes", 3 << 20).key("media.audio_ring_bytes", 2 << 20);
    let relay =
        setup.key("media.store_bytes_max", 64 << 20).channel("live", &origin::url(origin::own_channel())).start();
    let _viewer = relay.stream("live");
    assert_eq!(map_bytes(&relay, "millrace-store"), [64 << 20, 64 << 20], "one for each shard");
    // A ring maps twice what it keeps, for a sample never lies across its end.
    assert_eq!(map_bytes(&relay, "millrace-es-ring"), [4 << 20, 6 << 20]);
}

/// Sizes of the maps of this name, smallest first, from proc(5).
fn map_bytes(relay: &Relay, name: &str) -> Vec<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", relay.pid())).expect("the relay runs");
    let size = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
    };
    let mut sizes: Vec<u64> = maps.lines().filter(|line| line.contains(name)).filter_map(size).collect();
    sizes.sort();
    sizes
}

#[test]
fn segment_viewers() {
    let mut setup = Setup::new();
    setup.key("idle.segment_viewer_ms", 14_000).key("media.segment_max_ms", 2_000);
    let relay = setup.channel("live", &origin::warm_url(origin::own_channel())).start();
    Player::new(relay.connect(), "live").reload();
    let left = Instant::now();
    relay.await_metric("millrace_viewers", "hls-ts", PATIENCE, |viewers| viewers == 1.0);
    // Three target durations would be 6 s, the default 10 s.
    relay.await_metric("millrace_viewers", "hls-ts", PATIENCE, |viewers| viewers == 0.0);
    assert!(left.elapsed() >= Duration::from_millis(13_500), "gone after {:?}", left.elapsed());
}

#[test]
fn limits_of_connections() {
    let shard = Setup::new().key("server.shards", 1).key("limits.connections_per_shard", 3).start();
    let mut held: Vec<Client> = (0..3).map(|n| Client::connect_from(viewer_address(n), shard.addr)).collect();
    held.iter_mut().for_each(|client| {
        client.get("/healthz").expect(200);
    });
    let mut fourth = Client::connect_from(viewer_address(9), shard.addr);
    assert_eq!(fourth.answer("GET").expect("an answer unasked").status, 503, "a fourth connection");
    assert!(fourth.is_closed_within(PATIENCE));
    held.pop();
    eventually("room again", PATIENCE, || {
        let mut client = Client::open(viewer_address(9), shard.addr, None).ok()?;
        client.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay.test\r\n\r\n").ok()?;
        client.answer("GET").ok().filter(|answer| answer.status == 200)
    });

    let address = Setup::new().key("server.shards", 1).key("limits.connections_per_address", 2).start();
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect_from(viewer_address(1), address.addr)).collect();
    held.iter_mut().for_each(|client| {
        client.get("/healthz").expect(200);
    });
    let mut third = Client::connect_from(viewer_address(1), address.addr);
    assert_eq!(third.answer("GET").expect("an answer unasked").status, 503, "a third from one address");
    Client::connect_from(viewer_address(2), address.addr).get("/healthz").expect(200);
}
