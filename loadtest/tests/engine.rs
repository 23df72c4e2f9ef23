//! The load generator's engine over real sockets, against a server of a few lines that does what its paths say.

use loadtest::engine::{Options, run, run_with};
use loadtest::player::{Action, Body, End, Fetch, FetchKind, Head, Lane, Micros, Player, PlayerFigures};
use loadtest::proxy::Faults;
use loadtest::report::text;
use loadtest::result::RunResult;
use loadtest::scenario::{Arrivals, Group, Kind, Reading, Scenario, Through};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// What the server counts.
#[derive(Default)]
struct Served {
    requests: AtomicU64,
    connections: AtomicU64,
    /// Bytes of streams that the sockets took.
    streamed: AtomicU64,
    /// Different addresses of clients, by last octet.
    sources: [AtomicU64; 5],
}

/// A server with a thread per connection.
struct Server {
    address: SocketAddr,
    served: Arc<Served>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let served = Arc::new(Served::default());
        let counted = served.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = counted.clone();
                served.connections.fetch_add(1, SeqCst);
                if let Ok(SocketAddr::V4(peer)) = stream.peer_addr() {
                    served.sources[usize::from(peer.ip().octets()[3]).min(4)].fetch_add(1, SeqCst);
                }
                thread::spawn(move || serve(stream, &served));
            }
        });
        Server { address, served }
    }

    fn target(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Answers until the connection ends, which an error of any write brings about.
fn serve(mut stream: TcpStream, served: &Served) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut path = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next()?.to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        let count = served.requests.fetch_add(1, SeqCst);
        let words: Vec<&str> = path.split('/').skip(1).collect();
        match words.as_slice() {
            ["bytes", size] => answer(&mut stream, &vec![b'x'; size.parse().ok()?])?,
            ["growing"] => answer(&mut stream, &vec![b'x'; 100 + count as usize])?,
            ["changing"] => answer(&mut stream, count.to_string().repeat(10).get(..10)?.as_bytes())?,
            ["503"] => write(&mut stream, b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")?,
            ["short"] => return write(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfew"),
            ["chunked"] => chunked(&mut stream)?,
            ["until-close"] => return write(&mut stream, b"HTTP/1.0 200 OK\r\n\r\n0123456789"),
            // Closed without a word, as servers do with connections that were idle.
            ["stale"] => return answer(&mut stream, b"0123456789"),
            ["reset"] => {
                write(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfew")?;
                thread::sleep(Duration::from_millis(20));
                return rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).ok();
            }
            ["nonsense"] => return write(&mut stream, b"SSH-2.0-x\r\n\r\n"),
            ["stalls-once"] => {
                if count == 4 {
                    thread::sleep(Duration::from_millis(300));
                }
                answer(&mut stream, b"x")?;
            }
            ["stream", kbps] => return continuous(&mut stream, kbps.parse().ok()?, served),
            _ => return write(&mut stream, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

fn answer(stream: &mut TcpStream, body: &[u8]) -> Option<()> {
    write(stream, &[format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat())
}

/// A small chunk, a large one, and a pause in a line between them.
fn chunked(stream: &mut TcpStream) -> Option<()> {
    write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n186")?;
    thread::sleep(Duration::from_millis(5));
    write(stream, b"a0\r\n")?;
    write(stream, &[b'x'; 100_000])?;
    write(stream, b"\r\n0\r\n\r\n")
}

/// Null packets at a rate, every 20 ms, for as long as the client takes them.
fn continuous(stream: &mut TcpStream, kbps: usize, served: &Served) -> Option<()> {
    write(stream, b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")?;
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    let piece = packet.repeat(kbps * 20 / 8 / 188);
    let begun = Instant::now();
    for turn in 1.. {
        write(stream, &piece)?;
        served.streamed.fetch_add(piece.len() as u64, SeqCst);
        thread::sleep((begun + Duration::from_millis(20) * turn).saturating_duration_since(Instant::now()));
    }
    None
}

fn group(kind: Kind, path: &str, viewers: u32) -> Group {
    Group { checked: 0.0, ..Group::new("viewers", kind, viewers, path) }
}

fn scenario(server: &Server, duration_s: u64, group: Group) -> Scenario {
    Scenario { target: server.target(), ..Scenario::new("test", duration_s, vec![group]) }
}

fn run_group(server: &Server, duration_s: u64, group: Group) -> RunResult {
    run(&scenario(server, duration_s, group), &Options::default()).expect("the scenario can be run")
}

/// A second of one object viewer on `path`.
fn errors_of(path: &str) -> Vec<(String, u64)> {
    let result = run_group(&Server::start(), 1, group(Kind::Object, path, 1));
    result.groups["viewers"].errors.clone().into_iter().collect()
}

#[test]
fn bytes_and_requests_are_what_the_server_sent() {
    let server = Server::start();
    for (checked, size) in [(0.0, 200_000), (1.0, 200_000), (0.0, 10), (0.0, 3_000_000)] {
        server.served.requests.store(0, SeqCst);
        let result = run_group(&server, 1, Group { checked, ..group(Kind::Object, &format!("/bytes/{size}"), 3) });
        let figures = &result.groups["viewers"];
        let served = server.served.requests.load(SeqCst);
        assert!(figures.requests > 10 && (figures.requests..=figures.requests + 6).contains(&served), "{figures:?}");
        // What is under way at the end is counted as bytes, but not as requests.
        let whole = figures.requests * size;
        assert!((whole..=whole + 3 * size).contains(&figures.bytes), "{figures:?}");
        assert!(figures.errors.is_empty() && result.violations.is_empty(), "{result:?}");
        assert_eq!((figures.viewers, figures.timings["segment"].complete.count), (3, figures.requests));
        let of_seconds: u64 = result.seconds.iter().map(|second| second.bytes).sum();
        assert_eq!(of_seconds, figures.bytes);
    }
    // Kept alive: three connections in each of four runs.
    assert_eq!(server.served.connections.load(SeqCst), 12);
}

#[test]
fn every_framing_of_a_body_is_complete() {
    for (path, size) in [("/chunked", 100_005), ("/until-close", 10), ("/stale", 10)] {
        for checked in [0.0, 1.0] {
            let result = run_group(&Server::start(), 1, Group { checked, ..group(Kind::Object, path, 1) });
            let figures = &result.groups["viewers"];
            assert!(figures.requests > 5 && figures.errors.is_empty(), "{path}: {figures:?}");
            let whole = figures.requests * size;
            assert!((whole..=whole + size).contains(&figures.bytes), "{path}: {figures:?}");
            assert!(result.verdict.passed || !result.harness.refused.is_empty(), "{result:?}");
        }
    }
}

#[test]
fn failures_are_told_apart() {
    // Each is asked for at the start, and again a second after it failed, which is the run's end.
    assert_eq!(errors_of("/503"), [("status 503".into(), 1)]);
    assert_eq!(errors_of("/nowhere"), [("status 404".into(), 1)]);
    assert_eq!(errors_of("/short"), [("short body".into(), 1)]);
    assert_eq!(errors_of("/reset"), [("reset".into(), 1)]);
    assert_eq!(errors_of("/nonsense"), [("malformed".into(), 1)]);
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
    let server = Server { address: gone, served: Arc::default() };
    for kind in [Kind::Object, Kind::Idle] {
        let result = run_group(&server, 1, group(kind, "/", 2));
        let figures = &result.groups["viewers"];
        assert_eq!(figures.errors.clone().into_iter().collect::<Vec<_>>(), [("connect".into(), 2)], "{kind:?}");
    }
}

#[test]
fn objects_that_change_are_violations() {
    for (path, checked, rule) in [("/growing", 0.0, "object-length"), ("/changing", 1.0, "object-content")] {
        let result = run_group(&Server::start(), 1, Group { checked, ..group(Kind::Object, path, 1) });
        assert_eq!(result.violations[0].rule, rule);
        assert!(result.violations[0].first.starts_with("viewers 0: "), "{:?}", result.violations[0]);
        assert!(!result.verdict.passed);
    }
    let result = run_group(&Server::start(), 1, group(Kind::Playlist, "/changing", 1));
    assert!(result.violations.is_empty() && result.groups["viewers"].timings.contains_key("playlist"));
}

/// Asks every 50 ms, whatever became of the last time; one request at a time.
struct Ticking {
    url: Rc<str>,
    next: Option<Micros>,
    is_under_way: bool,
    figures: PlayerFigures,
}

impl Player for Ticking {
    fn poll(&mut self, now: Micros) -> Action {
        let due = *self.next.get_or_insert(now);
        if self.is_under_way {
            return Action::Wait(Micros::MAX);
        }
        if now < due {
            return Action::Wait(due);
        }
        self.is_under_way = true;
        self.next = Some(due + 50_000);
        Action::Fetch(Fetch { lane: Lane(1), url: self.url.clone(), kind: FetchKind::Playlist, intended: due })
    }

    fn on_head(&mut self, _: Lane, _: Micros, _: &Head<'_>) {}
    fn on_body(&mut self, _: Lane, _: Micros, _: Body<'_>) {}
    fn on_end(&mut self, _: Lane, _: Micros, _: End) {
        self.is_under_way = false;
    }
    fn wants_content(&self, _: Lane) -> bool {
        false
    }
    fn reads(&self, _: Micros) -> bool {
        true
    }
    fn figures(&self) -> &PlayerFigures {
        &self.figures
    }
}

#[test]
fn a_group_behind_the_proxy_has_its_latency_and_the_other_has_not() {
    let server = Server::start();
    let mut scenario = scenario(&server, 2, group(Kind::Object, "/bytes/1000", 2));
    scenario.group.push(Group { name: "far".into(), through: Through::Proxy, ..scenario.group[0].clone() });
    assert!(run(&scenario, &Options::default()).unwrap_err().to_string().contains("has no [proxy]"));
    scenario.proxy = Some(Faults { latency_ms: 60, ..Faults::default() });
    let result = run(&scenario, &Options::default()).expect("the scenario can be run");
    let first_byte = |name: &str| &result.groups[name].timings["segment"].first_byte;
    // There and back.
    assert!(first_byte("far").p50 >= 120.0, "{:?}", first_byte("far"));
    assert!(first_byte("viewers").p50 < first_byte("far").p50, "{:?}", first_byte("viewers"));
    assert!(result.groups.values().all(|group| group.errors.is_empty()), "{:?}", result.groups);
    let proxy = result.proxy.expect("the proxy has figures");
    assert_eq!(proxy.counters.connections, 2);
    assert!(proxy.counters.bytes_down > result.groups["far"].bytes && proxy.cpu_s > 0.0, "{proxy:?}");
    let report = text::report(&result);
    assert!(report.contains("note: far: through the harness's fault proxy"), "{report}");
    scenario.group.pop();
    assert!(run(&scenario, &Options::default()).unwrap_err().to_string().contains("no group goes through"));
}

#[test]
fn first_bytes_leave_no_omission_where_the_server_stalls() {
    let server = Server::start();
    let scenario = scenario(&server, 2, group(Kind::Playlist, "/stalls-once", 1));
    let ticking =
        |url: &Rc<str>| Ticking { url: url.clone(), next: None, is_under_way: false, figures: Default::default() };
    let result = run_with(&scenario, &Options::default(), &|spec, _| Ok(Box::new(ticking(&spec.url))))
        .expect("the scenario can be run");
    let timing = &result.groups["viewers"].timings["playlist"];
    assert!((38..=41).contains(&timing.first_byte.count), "{timing:?}");
    // By the clock: 300, 250, ... 50 ms, six of forty requests. Raw: one of 300 ms, and p95 knows nothing of it.
    assert!(timing.first_byte.p90 > 100.0 && timing.first_byte.p95 > 190.0, "{timing:?}");
    assert!(timing.first_byte_raw.p95 < 150.0 && timing.first_byte_raw.max >= 299.0, "{timing:?}");
    let above_131_ms: u32 = result.seconds.iter().flat_map(|second| second.first_byte_buckets.iter().skip(17)).sum();
    assert!(above_131_ms >= 4, "300, 250, 200 and 150 ms at least, not {above_131_ms}");
}

#[test]
fn threads_and_source_addresses_share_the_viewers() {
    let server = Server::start();
    let mut scenario = scenario(&server, 1, group(Kind::Object, "/bytes/1000", 9));
    scenario.source_addresses = 3;
    scenario.group.push(Group { name: "idle".into(), ..group(Kind::Idle, "/", 6) });
    scenario.group[0].arrivals = Arrivals::Ramp { over_s: 0.2 };
    let result = run(&scenario, &Options { cores: vec![0, 0], ..Options::default() }).expect("the scenario can be run");
    assert_eq!((result.harness.threads, result.harness.cpu_share.len()), (2, 2));
    assert_eq!((result.groups["viewers"].viewers, result.groups["idle"].viewers), (9, 6));
    assert_eq!(result.seconds[0].viewers, 15);
    assert!(result.groups["viewers"].requests > 50 && result.groups["viewers"].errors.is_empty());
    let by_source: Vec<u64> = server.served.sources[1..4].iter().map(|count| count.load(SeqCst)).collect();
    assert_eq!(by_source, [5, 5, 5]);
}

#[test]
fn continuous_viewers_get_what_is_sent_and_see_it_stop() {
    let server = Server::start();
    let viewers = Group { checked: 0.1, kbps: 2_000, ..group(Kind::Ts, "/stream/2000", 4) };
    let result = run_group(&server, 3, viewers);
    let figures = &result.groups["viewers"];
    // 2 Mb/s for three seconds.
    assert!((680_000..=751_000).contains(&figures.bytes_least), "{figures:?}");
    assert!(figures.bytes_most <= 751_000, "{figures:?}");
    assert_eq!((figures.requests, figures.stalls, figures.rebuffers), (4, 0, 0), "{figures:?}");
    assert!(figures.startup.as_ref().is_some_and(|startup| startup.count >= 3), "{figures:?}");
    // Null packets alone are no programme.
    assert!(result.violations.iter().any(|violation| violation.rule == "pcr-missing"), "{:?}", result.violations);
    let silent = Group { kbps: 2_000, ..group(Kind::Ts, "/stream/1", 1) };
    assert_eq!(run_group(&server, 2, silent).groups["viewers"].stalls, 1);
}

#[test]
fn slow_and_stopping_viewers_leave_the_server_with_the_rest() {
    let server = Server::start();
    let slow = Group { reading: Reading::Slow { kbps: 800 }, ..group(Kind::Ts, "/stream/100000", 1) };
    let bytes = run_group(&server, 2, slow).groups["viewers"].bytes;
    assert!((180_000..=210_000).contains(&bytes), "{bytes} in place of 200 kB");
    let stops = Group { reading: Reading::Stops { after_s: 0.5 }, ..group(Kind::Ts, "/stream/8000", 1) };
    let bytes = run_group(&server, 2, stops).groups["viewers"].bytes;
    assert!((430_000..=520_000).contains(&bytes), "{bytes} in place of 500 kB");
    let stalls = Reading::Stalls { every_s: 0.5, for_s: 0.5 };
    let stalls = Group { reading: stalls, ..group(Kind::Ts, "/stream/8000", 1) };
    let bytes = run_group(&server, 2, stalls).groups["viewers"].bytes;
    assert!((1_380_000..=1_520_000).contains(&bytes), "{bytes} in place of 1.5 MB: the last half second is a pause");
}

#[test]
fn zapping_and_the_warm_up() {
    let server = Server::start();
    let zapping = Group { zap_s: 0.1, channels: 3, ..group(Kind::Ts, "/stream/{n}000", 2) };
    let mut scenario = scenario(&server, 2, zapping);
    scenario.warmup_s = 1;
    let result = run(&scenario, &Options::default()).expect("the scenario can be run");
    let figures = &result.groups["viewers"];
    assert!((8..=45).contains(&figures.requests) && figures.errors.is_empty(), "{figures:?}");
    assert!(result.seconds[0].requests > 8 && result.seconds[0].bytes > 0, "{:?}", result.seconds[0]);
    assert_eq!((figures.viewers, result.seconds[1].viewers, result.measured_s), (2, 2, 1.0));
}
