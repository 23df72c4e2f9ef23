//! The synthetic origin seen from outside: real sockets, ffprobe and ffmpeg as judges, and a small TS reader of its own.
//!
//! Each test reads like a viewer: connect, read for some seconds, look at what came. Without ffmpeg the parts that need it
//! are skipped, saying so.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use millrace::demo::{Origin, OriginConfig, OriginError, OriginHandle, Source};

#[test]
fn a_looped_file_goes_on_without_a_break() {
    let Some(file) = TestFile::encode("loop", 1.2) else { return };
    let origin = start(Source::File(file.path.clone()), 1);
    let body = Stream::open(&origin, "/channel/1.ts").read_for(Duration::from_millis(5_500));
    let (bytes, elapsed_s) = (body.bytes(), body.elapsed.as_secs_f64());
    assert_eq!(continuity_errors(&bytes), 0);

    let pcrs = pcrs_27m(&bytes);
    let span_s = seconds_between(pcrs[0], pcrs[pcrs.len() - 1]);
    assert!(span_s > 3.6, "three loops of 1.2 s were wanted, {span_s} s came");
    // No faster than real time, but for what was in flight at both ends.
    assert!(span_s < elapsed_s * 1.1 + 0.2, "{span_s} s of stream in {elapsed_s} s");
    let steps = pcrs.windows(2).map(|pair| seconds_between(pair[0], pair[1]));
    assert!(steps.clone().all(|step| step > 0.0 && step < 0.1), "{:?}", steps.collect::<Vec<_>>());

    let looped = file.beside("looped");
    std::fs::write(&looped.path, &bytes).unwrap();
    // The longer stream sets the length of the loop, here the sound; the picture waits for it at the joint.
    for (stream, step_max) in [("v", 0.1), ("a", 0.022)] {
        let stamps = looped.packets(stream);
        assert!(stamps.len() > 75, "{stream}: {}", stamps.len());
        for pair in stamps.windows(2) {
            let step = pair[1].dts - pair[0].dts;
            assert!(step > 0.0 && step < step_max, "{stream}: {pair:?}");
        }
        let mut pts: Vec<f64> = stamps.iter().map(|stamp| stamp.pts).collect();
        pts.sort_by(f64::total_cmp);
        assert!(pts.windows(2).all(|pair| pair[1] - pair[0] > 0.0), "{stream}: two samples at one PTS");
    }
}

#[test]
fn every_packet_size_is_looped_alike() {
    let Some(file) = TestFile::encode("sizes", 0.4) else { return };
    let plain = std::fs::read(&file.path).unwrap();
    for (name, before, after) in [("192", 4, 0), ("204", 0, 16)] {
        let framed = file.beside(name);
        let packets = plain.chunks_exact(188).map(|packet| [&vec![0; before], packet, &vec![0; after]].concat());
        std::fs::write(&framed.path, packets.flatten().collect::<Vec<u8>>()).unwrap();
        let origin = start(Source::File(framed.path.clone()), 1);
        let bytes = Stream::open(&origin, "/channel/1.ts").read_for(Duration::from_millis(900)).bytes();
        assert_eq!(continuity_errors(&bytes), 0);
        assert!(pcrs_27m(&bytes).len() > 10);
    }
}

#[test]
fn real_captures_loop_without_new_errors() {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media/ts");
    if !media.is_dir() {
        return println!("skipped: ../shared/media/ts is not there");
    }
    // The clock wraps inside; scrambled; a hundred packets without one whole picture.
    for (name, errors_max) in [("bear-640x360_ptswraparound.ts", 0), ("test-008.ts", 0), ("test-018.ts", 0)] {
        let origin = start(Source::File(media.join(name)), 1);
        let bytes = Stream::open(&origin, "/channel/1.ts").read_for(Duration::from_millis(2_000)).bytes();
        assert!(bytes.len() > 188 * 50, "{name}: {} bytes", bytes.len());
        assert!(continuity_errors(&bytes) <= errors_max, "{name}: {}", continuity_errors(&bytes));
    }
}

#[test]
fn http_around_the_stream() {
    let Some(file) = TestFile::encode("http", 1.0) else { return };
    let origin = start(Source::File(file.path.clone()), 2);
    let status = |path: &str, method: &str| exchange(origin.local_addr(), method, path);

    assert!(status("/", "GET").ends_with("\r\n\r\n/channel/1.ts\n/channel/2.ts\n"));
    assert!(status("/channel/3.ts", "GET").starts_with("HTTP/1.1 404 "));
    assert!(status("/channel/0.ts", "GET").starts_with("HTTP/1.1 404 "));
    assert!(status("/channel/1.ts", "DELETE").starts_with("HTTP/1.1 405 "));
    let head = status("/channel/1.ts?framing=chunked", "HEAD");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("video/mp2t") && head.contains("chunked"), "{head}");
    assert!(head.ends_with("\r\n\r\n"));
    let moved = status("/channel/2.ts?redirect=2&framing=chunked", "GET");
    assert!(moved.starts_with("HTTP/1.1 302 ") && moved.contains("redirect=1\r\n"), "{moved}");
    assert_eq!((origin.opened(1), origin.opened(2)), (0, 0), "only streams count");

    let viewer = Stream::open(&origin, "/channel/2.ts");
    assert_eq!((origin.opened(2), origin.open(2)), (1, 1));
    let stats = status("/stats", "GET");
    assert!(stats.contains(r#"{"channel":2,"opened":1,"open":1}"#), "{stats}");
    drop(viewer);
    wait_until("the viewer is gone", || origin.open(2) == 0);
    assert_eq!((origin.opened(1), origin.opened(2), origin.opened(99)), (0, 1, 0));
}

#[test]
fn chunked_framing_carries_the_same_packets() {
    let Some(file) = TestFile::encode("chunked", 1.0) else { return };
    let origin = start(Source::File(file.path.clone()), 1);
    let mut stream = Stream::open(&origin, "/channel/1.ts?framing=chunked");
    assert!(stream.head.contains("Transfer-Encoding: chunked\r\n"), "{}", stream.head);
    let body = unchunk(&stream.read_for(Duration::from_millis(1_500)).bytes());
    assert!(body.len() > 188 * 50);
    assert_eq!(continuity_errors(&body), 0);
}

#[test]
fn a_burst_sends_the_past_first() {
    let Some(file) = TestFile::encode("burst", 1.0) else { return };
    let origin = start(Source::File(file.path.clone()), 1);
    // Something must have passed before it can be sent again.
    Stream::open(&origin, "/channel/1.ts").read_for(Duration::from_millis(2_500));
    let body = Stream::open(&origin, "/channel/1.ts?burst=2").read_for(Duration::from_millis(700));
    let pcrs = pcrs_27m(&body.bytes());
    let span_s = seconds_between(pcrs[0], pcrs[pcrs.len() - 1]);
    assert!(span_s > 1.8, "{span_s} s of stream after a burst of 2 s");
    assert_eq!(continuity_errors(&body.bytes()), 0);
}

#[test]
fn stopping_ends_the_streams() {
    let Some(file) = TestFile::encode("stop", 1.0) else { return };
    let origin = start(Source::File(file.path.clone()), 1);
    let mut stream = Stream::open(&origin, "/channel/1.ts");
    let addr = origin.local_addr();
    origin.stop();
    let mut rest = Vec::new();
    // An end or a reset: either way the connection is over and this returns.
    let _ = stream.socket.read_to_end(&mut rest);
    assert!(TcpStream::connect(addr).is_err(), "the port is closed");
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let failure = |source, channels| Origin::start(OriginConfig::new(loopback(), channels, source)).err().unwrap();
    let missing = failure(Source::File("no/such/file.ts".into()), 1);
    assert!(missing.to_string().contains("no/such/file.ts"), "{missing}");
    let text = failure(Source::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")), 1);
    assert!(text.to_string().contains("no transport stream"), "{text}");
    assert!(matches!(failure(Source::Picture, 0), OriginError::Channels { channels: 0 }));
    #[cfg(not(feature = "libav"))]
    assert!(matches!(failure(Source::Picture, 1), OriginError::NoEncoder));
}

#[cfg(feature = "libav")]
mod picture {
    use super::*;
    use millrace::demo::stamp;

    #[test]
    fn the_picture_is_what_it_promises() {
        let origin = start(Source::Picture, 3);
        let body = Stream::open(&origin, "/channel/3.ts").read_for(Duration::from_millis(6_500));
        let bytes = body.bytes();
        assert_eq!(continuity_errors(&bytes), 0);
        let pcrs = pcrs_27m(&bytes);
        assert!(pcrs.windows(2).all(|pair| (1..=27_000 * 40).contains(&(pair[1] - pair[0]))), "a PCR every 40 ms");
        check_psi_interval(&bytes);
        check_stamps(&body);

        let Some(file) = TestFile::write("picture", whole_access_units(&bytes)) else { return };
        let streams = file.ffprobe(&["-show_entries", "stream=codec_name,profile,has_b_frames,channels,sample_rate"]);
        assert!(streams.contains("h264,High,1"), "{streams}");
        assert!(streams.contains("aac,LC,48000,2"), "{streams}");
        let frames = file.ffprobe(&["-select_streams", "v", "-show_entries", "frame=key_frame,pts,pict_type"]);
        check_gop(&frames);
        let decoded =
            Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&file.path).args(["-f", "null", "-"]).output();
        let errors = String::from_utf8(decoded.unwrap().stderr).unwrap();
        assert!(errors.is_empty(), "{errors}");
    }

    /// Stamps rise, never lie in the future, and most are young when they come.
    fn check_stamps(body: &Body) {
        let mut ages_ms = Vec::new();
        let mut last = 0;
        for (bytes, unix_us) in &body.reads {
            // One read holds whole access units, but for the odd one that is cut; those are left out.
            let Some(sent_us) = stamp::find(&elementary(bytes, VIDEO_PID)) else { continue };
            assert!(sent_us > last && sent_us <= *unix_us, "{last} {sent_us} {unix_us}");
            ages_ms.push((unix_us - sent_us) / 1_000);
            last = sent_us;
        }
        assert!(ages_ms.len() > 100, "{} stamps", ages_ms.len());
        ages_ms.sort_unstable();
        assert!(ages_ms[ages_ms.len() / 2] < 200, "{ages_ms:?}");
    }

    /// Keys every two seconds; I, P and B in the pattern I B B P.
    fn check_gop(frames: &str) {
        let frames: Vec<Vec<&str>> = frames.lines().map(|line| line.split(',').collect()).collect();
        let keys = frames.iter().filter(|frame| frame[0] == "1").map(|frame| frame[1].parse::<u64>().unwrap());
        let keys: Vec<u64> = keys.collect();
        assert!(keys.len() >= 2 && keys.windows(2).all(|pair| pair[1] - pair[0] == 180_000), "{keys:?}");
        let types: String = frames.iter().map(|frame| frame[2]).collect();
        assert!(types.starts_with("IBBPBBP"), "{types}");
    }

    fn check_psi_interval(bytes: &[u8]) {
        let mut pcr = 0;
        let mut last = [None::<u64>; 2];
        for packet in bytes.chunks_exact(188) {
            pcr = pcr_27m(packet).unwrap_or(pcr);
            if let Some(last) = [0, PMT_PID].iter().position(|&psi| psi == pid(packet)).map(|index| &mut last[index])
                && pcr != 0
            {
                assert!(pcr - last.unwrap_or(pcr) <= 27_000 * 250, "PAT or PMT missing");
                *last = Some(pcr);
            }
        }
        assert!(last[0].is_some() && last[1].is_some());
    }

    /// From the tables before the first key frame to the last start of an access unit.
    fn whole_access_units(bytes: &[u8]) -> &[u8] {
        let packets: Vec<&[u8]> = bytes.chunks_exact(188).collect();
        let video_start = |packet: &&[u8]| pid(packet) == VIDEO_PID && packet[1] & 0x40 != 0;
        let key =
            packets.iter().position(|packet| video_start(packet) && packet[3] & 0x20 != 0 && packet[5] & 0x40 != 0);
        let first = packets[..key.unwrap()].iter().rposition(|packet| pid(packet) == 0).unwrap();
        let last = packets.iter().rposition(video_start).unwrap();
        &bytes[first * 188..last * 188]
    }

    /// Payload of one PID; PES headers are left in.
    fn elementary(bytes: &[u8], wanted: u16) -> Vec<u8> {
        let payload = |packet: &[u8]| {
            let start = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
            packet[start.min(188)..].to_vec()
        };
        bytes.chunks_exact(188).filter(|packet| pid(packet) == wanted).flat_map(payload).collect()
    }

    /// As libavformat's muxer numbers them.
    const VIDEO_PID: u16 = 0x100;
    const PMT_PID: u16 = 0x1000;
}

// ---- a viewer

/// One connection to a stream, its response head read.
struct Stream {
    socket: TcpStream,
    head: String,
}

/// What came in some seconds of reading.
struct Body {
    /// Bytes of each read and the wall clock after it, microseconds; only whole 188 bytes while the body is not chunked.
    reads: Vec<(Vec<u8>, u64)>,
    elapsed: Duration,
}

impl Stream {
    fn open(origin: &OriginHandle, path: &str) -> Stream {
        let mut socket = TcpStream::connect(origin.local_addr()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: origin\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Stream { socket, head }
    }
    fn read_for(&mut self, duration: Duration) -> Body {
        let start = Instant::now();
        let (mut reads, mut buffer, mut kept) = (Vec::new(), vec![0; 1 << 20], Vec::new());
        while start.elapsed() < duration {
            let count = self.socket.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "the origin ended the stream");
            kept.extend_from_slice(&buffer[..count]);
            let whole = if self.head.contains("chunked") { kept.len() } else { kept.len() / 188 * 188 };
            reads.push((kept.drain(..whole).collect(), unix_us()));
        }
        Body { reads, elapsed: start.elapsed() }
    }
}

impl Body {
    fn bytes(&self) -> Vec<u8> {
        self.reads.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect()
    }
}

fn start(source: Source, channels: usize) -> OriginHandle {
    Origin::start(OriginConfig::new(loopback(), channels, source)).unwrap()
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A whole short response.
fn exchange(addr: SocketAddr, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(socket, "{method} {path} HTTP/1.1\r\nHost: origin\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    reply
}

/// The data of all whole chunks (RFC 9112 7.1).
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line_end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line_end]).unwrap(), 16).unwrap();
        assert!(size > 0 && size.is_multiple_of(188), "a chunk of {size} bytes");
        let Some(chunk) = bytes.get(line_end + 2..line_end + 2 + size + 2) else { break };
        assert!(chunk.ends_with(b"\r\n"));
        body.extend_from_slice(&chunk[..size]);
        bytes = &bytes[line_end + 2 + size + 2..];
    }
    body
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn unix_us() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

// ---- files, and ffmpeg on them

/// A temporary TS file, removed on drop.
struct TestFile {
    path: PathBuf,
}

/// Times of a packet as ffprobe unwraps them, seconds.
#[derive(Debug)]
struct Stamp {
    pts: f64,
    dts: f64,
}

impl TestFile {
    fn new(name: &str) -> TestFile {
        TestFile { path: std::env::temp_dir().join(format!("millrace-origin-{}-{name}.ts", std::process::id())) }
    }
    fn beside(&self, name: &str) -> TestFile {
        let stem = self.path.file_stem().unwrap().to_str().unwrap();
        TestFile { path: self.path.with_file_name(format!("{stem}-{name}.ts")) }
    }
    /// `None`, saying so, when there is no ffmpeg to judge the file with.
    fn write(name: &str, bytes: &[u8]) -> Option<TestFile> {
        have_ffmpeg().then(|| {
            let file = TestFile::new(name);
            std::fs::write(&file.path, bytes).unwrap();
            file
        })
    }
    /// H.264 with B-frames and AAC, `seconds` long; `None`, saying so, without ffmpeg.
    fn encode(name: &str, seconds: f64) -> Option<TestFile> {
        let file = TestFile::write(name, &[])?;
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
            .args(["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", &seconds.to_string()])
            .args("-c:v libx264 -preset superfast -bf 2 -g 25 -pix_fmt yuv420p -c:a aac -pcr_period 20 -pes_payload_size 0".split(' '))
            .arg(&file.path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(file)
    }
    fn ffprobe(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("ffprobe").args(["-v", "error", "-of", "csv=p=0"]).args(arguments).arg(&self.path).output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .lines()
            .filter(|line| !line.is_empty())
            .fold(String::new(), |text, line| text + line.trim_end_matches(',') + "\n")
    }
    /// Packets of a stream ("v" or "a") that have both times.
    fn packets(&self, stream: &str) -> Vec<Stamp> {
        let text = self.ffprobe(&["-select_streams", stream, "-show_entries", "packet=pts_time,dts_time"]);
        let stamp = |line: &str| {
            let (pts, dts) = line.split_once(',')?;
            Some(Stamp { pts: pts.parse().ok()?, dts: dts.split(',').next()?.parse().ok()? })
        };
        text.lines().filter_map(stamp).collect()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // Some are never written.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn have_ffmpeg() -> bool {
    let there = ["ffmpeg", "ffprobe"].iter().all(|tool| match Command::new(tool).arg("-version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        found => found.is_ok_and(|output| output.status.success()),
    });
    if !there {
        println!("skipped: ffmpeg and ffprobe are not there");
    }
    there
}

// ---- a small TS reader

fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

fn pcr_27m(packet: &[u8]) -> Option<u64> {
    let there = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
    let bits = packet[6..12].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
    there.then_some((bits >> 15) * 300 + (bits & 0x1FF))
}

fn pcrs_27m(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(188).filter_map(pcr_27m).collect()
}

/// Forward distance of two PCRs on their circle.
fn seconds_between(from: u64, to: u64) -> f64 {
    let wrap = 300 << 33;
    ((to + wrap - from) % wrap) as f64 / 27e6
}

/// Packets whose counter does not follow (ISO/IEC 13818-1 2.4.3.3), after checking that every packet is one.
fn continuity_errors(bytes: &[u8]) -> usize {
    let mut last = [None::<u8>; 1 << 13];
    let mut errors = 0;
    for packet in bytes.chunks_exact(188) {
        assert_eq!(packet[0], 0x47, "sync byte");
        let (pid, counter) = (usize::from(pid(packet)), packet[3] & 0x0F);
        let has_payload = packet[3] & 0x10 != 0;
        if pid == 0x1FFF {
            continue;
        }
        let wanted = last[pid].map_or(counter, |last| (last + u8::from(has_payload)) & 0x0F);
        errors += usize::from(counter != wanted);
        last[pid] = Some(counter);
    }
    errors
}
