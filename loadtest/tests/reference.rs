//! The reference servers and the recorder over real sockets: every byte, in order, to everyone, and never early.

#[path = "reference/timeline.rs"]
mod timeline;

use loadtest::reference::record::{self, record};
use loadtest::reference::recording::Recording;
use loadtest::reference::segments::Method;
use loadtest::reference::{NOTSENT_LOWAT_BYTES, ServerConfig, live, segments};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use timeline::{Arrivals, SAMPLE_BYTES, check_bytes, fast_recording, joined, lateness_us, noise, sample_recording};

const REQUEST: &[u8] = b"GET /any/path?x HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\n\r\n";

// ---- segments

#[test]
fn fifty_connections_get_the_file_again_and_again() {
    let file = noise(1_500_001);
    for method in [Method::Sendfile, Method::Send] {
        let address = serve_segments("fifty", &file, method);
        thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let mut client = connect(address);
                    for _ in 0..3 {
                        client.write_all(REQUEST).unwrap();
                        assert!(read_segment(&mut client) == file, "{method:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let file = noise(6_000_000);
    for method in [Method::Sendfile, Method::Send] {
        let mut client = connect(serve_segments("slow", &file, method));
        client.write_all(REQUEST).unwrap();
        let bytes_left = read_head(&mut client).unwrap();
        let mut body = vec![0; bytes_left];
        for piece in body.chunks_mut(100_000) {
            thread::sleep(Duration::from_millis(3));
            client.read_exact(piece).unwrap();
        }
        assert!(body == file, "{method:?}");
    }
}

#[test]
fn pipelined_requests_are_answered_one_by_one() {
    let file = noise(700_000);
    for method in [Method::Sendfile, Method::Send] {
        let mut client = connect(serve_segments("pipelined", &file, method));
        client.write_all(&REQUEST.repeat(5)).unwrap();
        // A request in pieces, while answers are under way.
        for piece in REQUEST.chunks(7) {
            client.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..6 {
            assert!(read_segment(&mut client) == file, "{method:?}");
        }
    }
}

#[test]
fn a_client_that_says_its_end_is_answered_and_closed() {
    let file = noise(2_000_000);
    let address = serve_segments("end", &file, Method::Sendfile);
    let mut client = connect(address);
    client.write_all(&REQUEST.repeat(2)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_segment(&mut client) == file);
    assert!(read_segment(&mut client) == file);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // One that goes in the middle of an answer disturbs nobody.
    for _ in 0..20 {
        connect(address).write_all(REQUEST).unwrap();
    }
    let mut client = connect(address);
    client.write_all(REQUEST).unwrap();
    assert!(read_segment(&mut client) == file);
}

#[test]
fn an_empty_file_and_no_file_are_errors() {
    let server = server_config();
    let config = segments::Config { server, file: scratch("empty", b""), method: Method::Sendfile };
    assert!(segments::serve(&config, |_| ()).unwrap_err().to_string().contains("empty"));
    std::fs::remove_file(&config.file).unwrap();
    let config = segments::Config { file: "/nowhere/at/all".into(), ..config };
    assert!(segments::serve(&config, |_| ()).unwrap_err().to_string().contains("/nowhere/at/all"));
}

// ---- live

#[test]
fn all_viewers_get_the_same_bytes_at_their_moments() {
    let recording = sample_recording();
    let (address, started) = serve_live("same", &recording);
    let viewers: Vec<_> =
        (0..20).map(|_| thread::spawn(move || read_timed(&mut ask_live(address), 3 * SAMPLE_BYTES, started))).collect();
    let viewers: Vec<_> = viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect();
    let jitter_us = |arrivals| {
        let lateness_us = lateness_us(&recording, arrivals);
        lateness_us.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect::<Vec<_>>()
    };
    let mut jitter_us: Vec<u64> = viewers.iter().flat_map(jitter_us).collect();
    jitter_us.sort();
    // Chunks are 25 ms apart. A quarter keeps this; the rest is the scheduler's, on a busy machine.
    assert!(jitter_us[jitter_us.len() / 4] < 10_000, "{jitter_us:?}");
}

#[test]
fn who_joins_later_gets_the_chunks_from_then_on() {
    let recording = sample_recording();
    let (address, started) = serve_live("later", &recording);
    let mut first = ask_live(address);
    thread::sleep(Duration::from_millis(90));
    let mut second = ask_live(address);
    let (arrivals, later) =
        (read_timed(&mut first, SAMPLE_BYTES, started), read_timed(&mut second, SAMPLE_BYTES, started));
    let (bytes, later_bytes) = (joined(&arrivals), joined(&later));
    let missed = (0..SAMPLE_BYTES).find(|&missed| bytes[missed..] == later_bytes[..SAMPLE_BYTES - missed]).unwrap();
    assert!(missed > 0, "the second viewer got what was sent before it came");
}

#[test]
fn viewers_that_go_take_nobody_along() {
    let recording = sample_recording();
    let (address, _) = serve_live("go", &recording);
    let mut viewers: Vec<_> = (0..6).map(|_| ask_live(address)).collect();
    // First and last by turns: each moves another viewer to the place of the one that went.
    for place in [0, 4, 0, 2] {
        drop(viewers.remove(place));
        thread::sleep(Duration::from_millis(30));
    }
    for viewer in &mut viewers {
        let mut received = vec![0; 3 * SAMPLE_BYTES];
        viewer.read_exact(&mut received).unwrap();
        check_bytes(&recording, &received);
    }
}

#[test]
fn a_viewer_that_pauses_is_caught_up() {
    let recording = fast_recording();
    let (address, _) = serve_live("pauses", &recording);
    let mut client = ask_live(address);
    // 2 MB, more than the sockets take of them.
    thread::sleep(Duration::from_millis(500));
    let mut received = vec![0; 6_000_000];
    client.read_exact(&mut received).unwrap();
    check_bytes(&recording, &received);
}

#[test]
fn a_viewer_too_far_behind_is_cut_and_nobody_else() {
    let recording = fast_recording();
    let (address, _) = serve_live("behind", &recording);
    let asleep = ask_live(address);
    let mut awake = ask_live(address);
    // More than the sleeper may be behind and its sockets hold.
    let mut received = vec![0; 12_800_000];
    awake.read_exact(&mut received).unwrap();
    check_bytes(&recording, &received);
    let slept_through = asleep.take(received.len() as u64).read_to_end(&mut Vec::new()).unwrap();
    assert!(slept_through < received.len(), "the sleeper is still served");
}

#[test]
fn a_bad_recording_is_an_error() {
    let config = live::Config { server: server_config(), recording: scratch("bad", b"LTCHUNKS\x09\0\0\0") };
    let error = format!("{:#}", live::serve(&config, |_| ()).unwrap_err());
    assert!(error.contains("is no good recording: version 9, not 1"), "{error}");
    std::fs::remove_file(config.recording).unwrap();
}

// ---- record

#[test]
fn what_is_recorded_is_what_is_served() {
    let recording = sample_recording();
    let (address, _) = serve_live("recorded", &recording);
    let config = record::Config {
        url: format!("http://{address}/live.ts"),
        duration: Duration::from_millis(600),
        skip: Duration::from_millis(50),
        headers: vec!["X-Test: yes".into()],
    };
    let recorded = record(&config).unwrap();
    assert_eq!(recorded.duration_us(), 600_000);
    // 24 were sent; a recorder that is held up finds several at once.
    assert!(recorded.chunks().len() >= 3, "{} chunks", recorded.chunks().len());
    check_bytes(&recording, recorded.bytes());
    let file = scratch("round-trip", b"");
    recorded.save(&file).unwrap();
    assert_eq!(Recording::load(&file).unwrap(), recorded);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_chunked_stream_is_recorded_without_its_coding() {
    let address = answer_once(&[
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"llo\r\n3\r\nyou\r\n",
        b"0\r\n\r\n",
    ]);
    let recorded = record(&plain_record(address)).unwrap();
    assert_eq!(recorded.bytes(), b"helloyou");
    assert_eq!(recorded.chunks().iter().map(|chunk| chunk.len).collect::<Vec<_>>(), [2, 6]);
}

#[test]
fn what_is_no_stream_is_an_error() {
    let error = |pieces: &[&'static [u8]]| record(&plain_record(answer_once(pieces))).unwrap_err().to_string();
    assert_eq!(error(&[b"HTTP/1.1 404 Not Found\r\n\r\n"]), "the answer is \"HTTP/1.1 404 Not Found\"");
    assert_eq!(error(&[b"HTTP/1.1 200 OK\r\n\r\n"]), "nothing was received");
    assert_eq!(error(&[b"HTTP/1.1 200"]), "the connection ended before the head of the answer did");
}

// ---- servers

fn server_config() -> ServerConfig {
    // Pinned to a core that this process may use, whichever that is.
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let core = (0..rustix::thread::CpuSet::MAX_CPU).find(|&core| allowed.is_set(core));
    ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), core, notsent_lowat_bytes: NOTSENT_LOWAT_BYTES }
}

fn serve_segments(name: &str, file: &[u8], method: Method) -> SocketAddr {
    let file = scratch(&format!("{name}-{method:?}"), file);
    let config = segments::Config { server: server_config(), file, method };
    let (sender, receiver) = mpsc::channel();
    let path = config.file.clone();
    thread::spawn(move || segments::serve(&config, |address| sender.send(address).unwrap()).unwrap());
    let address = receiver.recv().unwrap();
    std::fs::remove_file(path).unwrap();
    address
}

/// The address, and a moment just before the timeline began.
fn serve_live(name: &str, recording: &Recording) -> (SocketAddr, Instant) {
    let file = scratch(name, b"");
    recording.save(&file).unwrap();
    let config = live::Config { server: server_config(), recording: file };
    let (sender, receiver) = mpsc::channel();
    let path = config.recording.clone();
    thread::spawn(move || live::serve(&config, |address| sender.send((address, Instant::now())).unwrap()).unwrap());
    let listening = receiver.recv().unwrap();
    std::fs::remove_file(path).unwrap();
    listening
}

/// Takes one connection and sends pieces 100 ms apart.
fn answer_once(pieces: &[&'static [u8]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pieces = pieces.to_vec();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_nodelay(true).unwrap();
        let _ = client.read(&mut [0; 4096]).unwrap();
        for piece in pieces {
            client.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
    });
    address
}

fn plain_record(address: SocketAddr) -> record::Config {
    let (duration, skip) = (Duration::from_secs(5), Duration::ZERO);
    record::Config { url: format!("http://{address}/"), duration, skip, headers: Vec::new() }
}

/// A file of this test and process; removed by who has read it.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reference-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

// ---- viewers

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client
}

/// Reads a response head byte by byte, so that nothing behind it is taken: its Content-Length, if it has one.
fn read_head(client: &mut TcpStream) -> Option<usize> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map(|length| length.parse().unwrap())
}

fn read_segment(client: &mut TcpStream) -> Vec<u8> {
    let mut body = vec![0; read_head(client).unwrap()];
    client.read_exact(&mut body).unwrap();
    body
}

fn ask_live(address: SocketAddr) -> TcpStream {
    let mut client = connect(address);
    client.write_all(REQUEST).unwrap();
    assert_eq!(read_head(&mut client), None);
    client
}

fn read_timed(client: &mut TcpStream, bytes: usize, started: Instant) -> Arrivals {
    let mut arrivals = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let mut buffer = vec![0; left];
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended");
        buffer.truncate(count);
        left -= count;
        arrivals.push((started.elapsed(), buffer));
    }
    arrivals
}
