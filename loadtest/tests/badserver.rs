//! The bad server over sockets: without fault all is right, and each fault does what it says and nothing else.

use loadtest::badserver::{BadServer, Fault, Options, made_us};
use loadtest::tscheck::{Checker, Report, Rule};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// A viewer on one connection.
struct Client {
    stream: TcpStream,
}

struct Response {
    status: u16,
    content_length: usize,
    body: Vec<u8>,
    /// From the request to the first byte.
    waited: Duration,
}

impl Client {
    fn new(server: &BadServer) -> Client {
        let stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Client { stream }
    }

    /// Asks, and reads the head.
    fn ask(&mut self, method: &str, path: &str) -> (String, Duration) {
        let asked = Instant::now();
        write!(self.stream, "{method} /live/x{path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut head = Vec::new();
        let mut waited = Duration::ZERO;
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            if head.is_empty() {
                waited = asked.elapsed();
            }
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), waited)
    }

    fn get(&mut self, path: &str) -> Response {
        let (head, waited) = self.ask("GET", path);
        let content_length = header(&head, "Content-Length").unwrap().parse().unwrap();
        let mut body = Vec::new();
        (&self.stream).take(content_length as u64).read_to_end(&mut body).unwrap();
        Response { status: head[9..12].parse().unwrap(), content_length, body, waited }
    }

    /// The body of what must be there, whole.
    fn body(&mut self, path: &str) -> Vec<u8> {
        let response = self.get(path);
        assert_eq!((response.status, response.body.len()), (200, response.content_length), "{path}");
        response.body
    }

    fn text(&mut self, path: &str) -> String {
        String::from_utf8(self.body(path)).unwrap()
    }

    /// EXT-X-MEDIA-SEQUENCE of a media playlist.
    fn sequence(&mut self, path: &str) -> u64 {
        let text = self.text(path);
        let line = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
        line.unwrap().parse().unwrap()
    }

    /// The stream without end for so long: the time and the bytes of each read.
    fn watch(mut self, duration: Duration) -> Vec<(SystemTime, Vec<u8>)> {
        let (head, _) = self.ask("GET", ".ts");
        assert!(head.starts_with("HTTP/1.1 200") && header(&head, "Content-Length").is_none(), "{head}");
        let begin = Instant::now();
        let mut reads = Vec::new();
        let mut buffer = vec![0; 1 << 18];
        while begin.elapsed() < duration {
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the stream ended");
            reads.push((SystemTime::now(), buffer[..read].to_vec()));
        }
        reads
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn start(fault: Fault, uptime_ms: u64) -> BadServer {
    BadServer::start_with(Options { fault, uptime: Duration::from_millis(uptime_ms), ..Options::default() }).unwrap()
}

/// The verdict on a segment, or on several in a row.
fn check_whole(bytes: &[u8]) -> Report {
    let mut checker = Checker::new();
    checker.push(bytes);
    checker.finish_whole()
}

fn check_stream(reads: &[(SystemTime, Vec<u8>)]) -> Report {
    let mut checker = Checker::new();
    reads.iter().for_each(|(_, bytes)| checker.push(bytes));
    checker.finish()
}

fn assert_clean(bytes: &[u8]) {
    let report = check_whole(bytes);
    assert!(report.is_clean(), "{report}");
}

/// Milliseconds from the making to the arrival of each picture that begins in a read, the oldest of the read.
fn delays_ms(reads: &[(SystemTime, Vec<u8>)]) -> Vec<f64> {
    let delay = |(time, bytes): &(SystemTime, Vec<u8>)| {
        let unix_us = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64;
        made_us(bytes).map(|made_us| (unix_us - made_us as i64) as f64 / 1_000.0)
    };
    reads.iter().filter_map(delay).collect()
}

/// Position behind the box type, the first time it appears.
fn behind(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|window| window == kind).unwrap() + 4
}

/// base_media_decode_time of a CMAF segment.
fn decode_time(segment: &[u8]) -> u64 {
    let at = behind(segment, b"tfdt") + 4;
    u64::from_be_bytes(segment[at..at + 8].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn without_fault_five_seconds_of_the_stream_are_clean_and_in_real_time() {
    let server = start(Fault::None, 0);
    let reads = Client::new(&server).watch(Duration::from_secs(5));
    let report = check_stream(&reads);
    assert!(report.is_clean(), "{report}");
    assert!((4.5..7.5).contains(&report.seconds), "{report}");
    let delays = delays_ms(&reads);
    assert!(delays.len() > 100, "a write for each picture: {}", delays.len());
    let least = |delays: &[f64]| delays.iter().copied().fold(f64::MAX, f64::min);
    // The machine may be busy at times, so the quickest of a second speaks; a schedule that drifts is late in all.
    let (first, last) = (least(&delays[..25]), least(&delays[delays.len() - 25..]));
    assert!((-2.0..20.0).contains(&first) && (-2.0..20.0).contains(&last), "{first} ms, at last {last} ms");
}

#[test]
fn a_viewer_who_comes_late_begins_at_the_newest_key_picture() {
    let options = Options { packets_per_write: Some(7), uptime: Duration::from_secs(3), ..Options::default() };
    let server = BadServer::start_with(options).unwrap();
    let reads = Client::new(&server).watch(Duration::from_millis(1_500));
    let report = check_stream(&reads);
    assert!(report.is_clean(), "{report}");
    assert!((1_000.0..2_000.0).contains(&delays_ms(&reads)[0]), "{:?}", delays_ms(&reads)[0]);
    assert!(report.seconds > 2.2 && report.streams[&0x100].keys == 2, "{report}");
}

#[test]
fn without_fault_segments_are_clean_alone_and_in_a_row() {
    let server = start(Fault::None, 0);
    let mut client = Client::new(&server);
    let playlist = client.text("/ts/index.m3u8");
    let paths: Vec<String> =
        playlist.lines().filter(|line| !line.starts_with('#')).map(|uri| format!("/ts/{uri}")).collect();
    assert_eq!(paths.len(), 10);
    let segments: Vec<Vec<u8>> = paths[..3].iter().map(|path| client.body(path)).collect();
    segments.iter().for_each(|segment| assert_clean(segment));
    assert_clean(&segments.concat());
    assert!((segments.concat().len() * 8).abs_diff(6_000_000) < 20_000, "1 Mb/s");
}

#[test]
fn without_fault_cmaf_segments_follow_on_each_other() {
    let server = start(Fault::None, 0);
    let mut client = Client::new(&server);
    for (folder, sample_ticks) in [("v", 3_600), ("a", 1_024)] {
        assert_eq!(&client.body(&format!("/cmaf/{folder}/init.mp4"))[4..8], b"ftyp");
        let mut expected = None;
        for n in 2..12 {
            let segment = client.body(&format!("/cmaf/{folder}/s{n}.m4s"));
            let time = decode_time(&segment);
            assert_eq!(expected.unwrap_or(time), time);
            let samples = word(&segment, behind(&segment, b"trun") + 4);
            expected = Some(time + u64::from(samples) * sample_ticks);
            assert_eq!(word(&segment, behind(&segment, b"mfhd") + 4), n + 1);
        }
    }
}

#[test]
fn what_is_named_is_there_and_nothing_else() {
    let server = start(Fault::None, 0);
    let mut client = Client::new(&server);
    assert!(client.text("/master.m3u8").ends_with("\nts/index.m3u8\n"));
    let multivariant = client.text("/cmaf.m3u8");
    assert!(multivariant.contains("URI=\"cmaf/a/index.m3u8\"") && multivariant.ends_with("\ncmaf/v/index.m3u8\n"));
    for path in ["/cmaf/v/index.m3u8", "/cmaf/a/index.m3u8"] {
        let text = client.text(path);
        assert!(text.contains("#EXT-X-MAP:URI=\"init.mp4\"\n") && text.ends_with("\ns11.m4s\n"), "{text}");
    }
    let manifest = client.text("/manifest.mpd");
    assert!(manifest.contains("media=\"cmaf/a/s$Number$.m4s\" startNumber=\"2\""), "{manifest}");
    // One that is not made yet, and names that mean nothing.
    for path in ["/ts/s12.ts", "/ts/s011.ts", "/ts/s11.m4s", "/ts/init.mp4", "/cmaf/v/s12.m4s", "/", "", "y.ts"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let (head, _) = client.ask("HEAD", "/ts/s11.ts");
    assert!(head.starts_with("HTTP/1.1 200") && header(&head, "Content-Length") != Some("0"));
    // The same connection is still good: nothing followed the head.
    assert_clean(&client.body("/ts/s11.ts"));
}

#[test]
fn dropping_the_server_ends_its_connections() {
    let server = start(Fault::None, 0);
    let (mut idle, mut viewer) = (Client::new(&server), Client::new(&server));
    idle.body("/ts/index.m3u8");
    viewer.ask("GET", ".ts");
    let addr = server.addr();
    drop(server);
    assert_eq!(idle.stream.read(&mut [0]).unwrap(), 0);
    viewer.stream.read_to_end(&mut Vec::new()).unwrap();
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn drop_ts_packet() {
    // The GOP that is under way is number 13.
    let server = start(Fault::DropTsPacket, 2_000);
    let mut client = Client::new(&server);
    let broken = |report: &Report| report.violation_counts.get(&Rule::ContinuityCounter).copied();
    assert_eq!(broken(&check_whole(&client.body("/ts/s11.ts"))), Some(1));
    assert_clean(&client.body("/ts/s12.ts"));
    let report = check_stream(&client.watch(Duration::from_millis(1_500)));
    assert_eq!(broken(&report), Some(1), "{report}");
}

#[test]
fn repeat_segment() {
    let server = start(Fault::RepeatSegment, 0);
    let mut client = Client::new(&server);
    for (folder, extension) in [("ts", "ts"), ("cmaf/v", "m4s"), ("cmaf/a", "m4s")] {
        let [third, fourth, fifth] = [3, 4, 5].map(|n| client.body(&format!("/{folder}/s{n}.{extension}")));
        assert!(third == fourth && fourth != fifth);
    }
}

#[test]
fn stale_playlist() {
    let playlists = ["/ts/index.m3u8", "/cmaf/v/index.m3u8", "/manifest.mpd"];
    let server = start(Fault::StalePlaylist, 4_200);
    let mut client = Client::new(&server);
    let before = playlists.map(|path| client.text(path));
    assert_eq!(client.get("/ts/s14.ts").status, 404);
    sleep(Duration::from_millis(2_100));
    assert_eq!(playlists.map(|path| client.text(path)), before);
    assert_eq!(client.get("/ts/s14.ts").status, 200, "the stream goes on");

    let server = start(Fault::StalePlaylist, 15_600);
    let mut client = Client::new(&server);
    assert_eq!(client.sequence(playlists[0]), 4, "still that of second 4");
    sleep(Duration::from_millis(500));
    assert_eq!(client.sequence(playlists[0]), 10);
}

#[test]
fn torn_segment() {
    let server = start(Fault::TornSegment, 0);
    for path in ["/ts/s4.ts", "/cmaf/v/s4.m4s"] {
        let mut client = Client::new(&server);
        assert!(client.body(&path.replace('4', "3").replace("m3s", "m4s")).len() > 1_000);
        let torn = client.get(path);
        assert_eq!(torn.status, 200);
        assert!(torn.body.len().abs_diff(torn.content_length / 2) < 200, "{} bytes", torn.body.len());
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "closed");
    }
}

#[test]
fn torn_body() {
    let server = start(Fault::TornBody, 0);
    let mut client = Client::new(&server);
    let [whole, torn] = ["/ts/s3.ts", "/ts/s4.ts"].map(|path| client.body(path));
    assert_clean(&whole);
    assert!(torn.len().abs_diff(whole.len() / 2) < 200);
    assert_eq!(check_whole(&torn).violation_counts.get(&Rule::PartialPacket), Some(&1));
    let cmaf = client.body("/cmaf/v/s4.m4s");
    let mdat = behind(&cmaf, b"mdat");
    assert!(mdat - 8 + word(&cmaf, mdat - 8) as usize > cmaf.len(), "mdat is cut");
}

#[test]
fn stall_300() {
    // Sending stops from second 2.7 to 3.0.
    let server = start(Fault::Stall300, 2_000);
    let reads = Client::new(&server).watch(Duration::from_millis(1_600));
    assert!(check_stream(&reads).is_clean(), "{}", check_stream(&reads));
    let gaps = reads.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).unwrap().as_millis());
    let longest = gaps.max().unwrap();
    assert!((270..600).contains(&longest), "{longest} ms");
    let delays = delays_ms(&reads);
    assert!(delays[delays.len() - 10..].iter().any(|delay| *delay < 20.0), "it caught up: {delays:?}");

    let server = start(Fault::Stall300, 2_720);
    let waited = Client::new(&server).get("/ts/index.m3u8").waited;
    assert!((150..600).contains(&waited.as_millis()), "{waited:?}");
}

#[test]
fn wrong_target_duration() {
    let server = start(Fault::WrongTargetDuration, 0);
    let mut client = Client::new(&server);
    let playlist = client.text("/ts/index.m3u8");
    assert!(
        playlist.contains("#EXT-X-TARGETDURATION:2\n") && playlist.contains("#EXTINF:4.000000,\ns4.ts\n"),
        "{playlist}"
    );
    let segments = [3, 4, 5].map(|n| client.body(&format!("/ts/s{n}.ts")));
    let seconds = segments.each_ref().map(|segment| check_whole(segment).seconds.round());
    assert_eq!(seconds, [2.0, 4.0, 2.0]);
    assert_clean(&segments.concat());
}

#[test]
fn sequence_backwards() {
    let server = start(Fault::SequenceBackwards, 5_700);
    let mut client = Client::new(&server);
    assert_eq!(client.sequence("/ts/index.m3u8"), 4);
    sleep(Duration::from_millis(400));
    assert_eq!(["/ts/index.m3u8", "/cmaf/a/index.m3u8"].map(|path| client.sequence(path)), [3, 3]);
    sleep(Duration::from_millis(2_000));
    assert_eq!(client.sequence("/ts/index.m3u8"), 6);
}

#[test]
fn differs_by_viewer() {
    let server = start(Fault::DiffersByViewer, 0);
    let (mut one, mut two) = (Client::new(&server), Client::new(&server));
    for path in ["/ts/s5.ts", "/cmaf/v/s5.m4s", "/cmaf/a/s5.m4s"] {
        let (of_one, of_two) = (one.body(path), two.body(path));
        assert!(of_one != of_two && of_one.len() == of_two.len());
        assert!(of_one == one.body(path));
    }
    [one, two].iter_mut().for_each(|client| assert_clean(&client.body("/ts/s5.ts")));

    let server = start(Fault::None, 0);
    let [one, two] = [0, 1].map(|_| Client::new(&server).body("/ts/s5.ts"));
    assert!(one == two, "without the fault viewers get the same");
}

#[test]
fn timeline_gap() {
    let server = start(Fault::TimelineGap, 0);
    let mut client = Client::new(&server);
    let mut times = |folder: &str| [3, 4, 5].map(|n| decode_time(&client.body(&format!("/cmaf/{folder}/s{n}.m4s"))));
    let [third, fourth, fifth] = times("v");
    assert_eq!((fourth - third, fifth - fourth), (3 * 90_000, 2 * 90_000));
    let [third, fourth, fifth] = times("a");
    assert_eq!((fourth - third, fifth - fourth), (48_000 + 93 * 1_024, 94 * 1_024));
    assert!(!client.text("/cmaf/v/index.m3u8").contains("DISCONTINUITY"));
    assert_clean(&client.body("/ts/s4.ts"));
}

#[test]
fn error_500() {
    let server = start(Fault::Error500, 0);
    let mut client = Client::new(&server);
    let statuses: Vec<u16> = (0..120).map(|_| client.get("/ts/index.m3u8").status).collect();
    let failed: Vec<usize> = (1..=120).filter(|n| statuses[n - 1] != 200).collect();
    assert_eq!((failed, statuses[49]), (vec![50, 100], 500));
}

#[test]
fn slow_first_byte() {
    let server = start(Fault::SlowFirstByte, 0);
    let mut client = Client::new(&server);
    for path in ["/ts/s5.ts", "/cmaf/a/s5.m4s"] {
        let waited = client.get(path).waited;
        assert!((200..500).contains(&waited.as_millis()), "{waited:?}");
    }
    assert!(client.get("/ts/index.m3u8").waited < Duration::from_millis(200));
}
