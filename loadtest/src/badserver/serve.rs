//! The HTTP/1.1 server (RFC 9112): a thread per connection, keep-alive, one answer after the other.
//!
//! The stream without end keeps to an absolute schedule: each access unit is due at a fixed time since the server's start, so a late
//! write, a stall or a slow viewer delays what follows only until it has caught up.
//!
//! What it deliberately does not do: take more viewers than threads can serve, tens of them.

use super::access_unit::{self, Source};
use super::cmaf::{self, Track};
use super::http::{self, Request, Response};
use super::live::{GOP_US, Live};
use super::{Fault, Options, Stamp, playlist, ts};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A viewer that takes nothing for so long is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is written between two looks at the clock for [`Fault::Stall300`], bytes.
const PIECE_BYTES: usize = 16 << 10;
/// [`Fault::SlowFirstByte`]
const SLOW_FIRST_BYTE: Duration = Duration::from_millis(200);
/// [`Fault::Error500`]: each of so many requests.
const REQUESTS_PER_ERROR: u64 = 50;
/// Most that a stream is later than it is due, milliseconds.
const LATE_MS_MAX: u64 = 999;

/// What all connections share.
pub struct Server {
    options: Options,
    live: Live,
    source: Source,
    started: Instant,
    stopping: AtomicBool,
    requests: AtomicU64,
    /// Open connections by number, to be shut down at the end.
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

/// One connection.
struct Connection<'a> {
    server: &'a Server,
    stream: TcpStream,
    /// With other filler where the fault says so.
    source: Source,
}

/// What a path stands for.
enum Resource {
    /// The stream without end, so many microseconds later than it is due.
    Stream(u64),
    Text(&'static str, String),
    Init(Track),
    /// A segment, of the transport stream where there is no track.
    Segment(Option<Track>, u64),
}

/// Accepts connections until the server stops, then waits for theirs.
pub fn accept(server: &Arc<Server>, listener: TcpListener) -> Result<JoinHandle<()>> {
    let server = Arc::clone(server);
    let run = move || {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for (number, stream) in (0..).zip(listener.incoming()) {
            if server.stopping.load(Ordering::SeqCst) {
                break;
            }
            threads.retain(|thread| !thread.is_finished());
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: they come back when viewers leave.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let server = Arc::clone(&server);
            let spawned =
                thread::Builder::new().name("badserver-viewer".into()).spawn(move || server.serve(number, stream));
            threads.extend(spawned);
        }
        // A panic of a connection was printed where it happened.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    };
    thread::Builder::new().name("badserver".into()).spawn(run).context("cannot start a thread")
}

impl Server {
    /// Listens; the server's time began with `started`.
    pub fn bind(
        options: Options,
        live: Live,
        source: Source,
        started: Instant,
    ) -> Result<(Arc<Server>, TcpListener, SocketAddr)> {
        let listener =
            TcpListener::bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
        let addr = listener.local_addr().context("a listener without address")?;
        let server = Server {
            options,
            live,
            source,
            started,
            stopping: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            open: Mutex::default(),
        };
        Ok((Arc::new(server), listener, addr))
    }

    /// Closes every connection and wakes the listener at `addr`, so that its thread ends.
    pub fn stop(&self, addr: SocketAddr) {
        self.stopping.store(true, Ordering::SeqCst);
        for stream in self.open().values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let wake: SocketAddr = match addr {
            SocketAddr::V4(_) if addr.ip().is_unspecified() => ([127, 0, 0, 1], addr.port()).into(),
            SocketAddr::V6(_) if addr.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, addr.port()).into(),
            _ => addr,
        };
        // Refused: then the thread has ended.
        let _ = TcpStream::connect_timeout(&wake, Duration::from_secs(1));
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        // No panic can leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, number: u64, stream: TcpStream) {
        let Ok(other) = stream.try_clone() else { return };
        self.open().insert(number, other);
        // `stop` may have looked through the map before.
        if !self.stopping.load(Ordering::SeqCst) {
            let by = if self.options.fault == Fault::DiffersByViewer { number } else { 0 };
            let source = self.source.with_other_filler(by);
            // The viewer left, or asked for what is no HTTP: nothing to tell anybody.
            let _ = Connection { server: self, stream, source }.run();
        }
        self.open().remove(&number);
    }

    /// Media time, microseconds.
    fn now_us(&self) -> u64 {
        self.live.start_us() + self.started.elapsed().as_micros() as u64
    }

    /// Waits until media time `until_us`; gives whether the server goes on.
    fn sleep_until(&self, until_us: u64) -> bool {
        let deadline = Duration::from_micros(until_us.saturating_sub(self.live.start_us()));
        thread::sleep(deadline.saturating_sub(self.started.elapsed()));
        !self.stopping.load(Ordering::SeqCst)
    }

    /// What `path` stands for now.
    fn resource(&self, path: &str, now_us: u64) -> Option<Resource> {
        let below = path.strip_prefix("/live/")?.strip_prefix(self.options.channel.as_str())?;
        let (live, kbps) = (&self.live, self.options.kbps);
        let text = |content_type, text| Some(Resource::Text(content_type, text));
        match below {
            ".ts" => Some(Resource::Stream(0)),
            "/master.m3u8" => text(http::HLS, playlist::ts_multivariant(kbps)),
            "/cmaf.m3u8" => text(http::HLS, playlist::cmaf_multivariant(kbps)),
            "/manifest.mpd" => text(http::DASH, playlist::manifest(live, kbps, now_us)),
            _ => {
                let (folder, name) = below.rsplit_once('/')?;
                if let Some(late_ms) =
                    number(name, "late", "ms.ts").filter(|ms| folder.is_empty() && *ms <= LATE_MS_MAX)
                {
                    return Some(Resource::Stream(late_ms * 1_000));
                }
                let track = match folder {
                    "/ts" => None,
                    "/cmaf/v" => Some(Track::Video),
                    "/cmaf/a" => Some(Track::Audio),
                    _ => return None,
                };
                match (name, track) {
                    ("index.m3u8", _) => text(http::HLS, playlist::media(live, track, now_us)),
                    ("init.mp4", Some(track)) => Some(Resource::Init(track)),
                    _ => {
                        let n = number(name, "s", if track.is_some() { ".m4s" } else { ".ts" })?;
                        live.is_there(n, now_us).then_some(Resource::Segment(track, n))
                    }
                }
            }
        }
    }

    /// GOP `gop` of the transport stream.
    fn gop(&self, source: &Source, gop: u64) -> Vec<ts::Unit> {
        let units = ts::gop(source, self.options.pes, gop);
        if self.live.drops_packet(gop) { ts::without_a_packet(units) } else { units }
    }

    fn segment(&self, source: &Source, track: Option<Track>, n: u64) -> Vec<u8> {
        let content = self.live.content_of(n);
        let span = self.live.span(content);
        match track {
            // Numbers of mfhd begin at 1.
            Some(track) => {
                cmaf::segment(source, track, span, content as u32 + 1, self.live.timeline_gap_seconds(content))
            }
            None => {
                let gops = span.first_gop..span.first_gop + span.gops;
                gops.flat_map(|gop| self.gop(source, gop)).flat_map(|unit| unit.bytes).collect()
            }
        }
    }
}

impl Connection<'_> {
    /// Answers requests until either side has enough.
    fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut received = Vec::new();
        while let Some(head) = http::read_head(&mut self.stream, &mut received)? {
            let Some(request) = Request::parse(&head) else {
                return self.respond(&Response::error("400 Bad Request"), false, false).map(drop);
            };
            if !self.answer(&request)? {
                break;
            }
        }
        Ok(())
    }

    /// Gives whether the connection stays open.
    fn answer(&mut self, request: &Request) -> io::Result<bool> {
        let fault = self.server.options.fault;
        let count = self.server.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if fault == Fault::Error500 && count.is_multiple_of(REQUESTS_PER_ERROR) {
            return self.respond(&Response::error("500 Internal Server Error"), request.is_head, request.keep_alive);
        }
        let response = match self.server.resource(&request.path, self.server.now_us()) {
            None => Response::error("404 Not Found"),
            Some(Resource::Stream(late_us)) => return self.stream(late_us, request.is_head).map(|()| false),
            Some(Resource::Text(content_type, text)) => Response::whole(content_type, text.into_bytes()),
            Some(Resource::Init(track)) => Response::whole(track_type(track), cmaf::init_segment(track)),
            Some(Resource::Segment(track, n)) => {
                if fault == Fault::SlowFirstByte {
                    thread::sleep(SLOW_FIRST_BYTE);
                }
                let body = self.server.segment(&self.source, track, n);
                let response = Response::whole(track.map_or(http::TS, track_type), body);
                if self.server.live.is_cut(n) { response.cut(fault == Fault::TornBody) } else { response }
            }
        };
        self.respond(&response, request.is_head, request.keep_alive)
    }

    /// Gives whether the connection stays open.
    fn respond(&mut self, response: &Response, is_head: bool, keep_alive: bool) -> io::Result<bool> {
        self.send(&response.bytes(is_head, keep_alive))?;
        Ok(keep_alive && (is_head || !response.is_torn()))
    }

    /// The stream from the newest key picture on, in real time or `late_us` behind it, until either side ends it. It has the same bytes for all
    /// viewers, whatever the fault, but for stamps of the time of writing.
    fn stream(&mut self, late_us: u64, is_head: bool) -> io::Result<()> {
        self.send(http::STREAM_HEAD.as_bytes())?;
        let first = self.server.now_us().saturating_sub(late_us) / GOP_US;
        let mut unsent = Vec::new();
        for gop in if is_head { 0..0 } else { first..u64::MAX } {
            for mut unit in self.server.gop(&self.server.source, gop) {
                if !self.server.sleep_until(unit.due_us + late_us) {
                    return Ok(());
                }
                if self.server.options.stamp == Stamp::Written {
                    let completing_us = if unit.completed_us > unit.due_us { unit.completed_us + late_us } else { 0 };
                    let written_us = self.server.now_us().max(completing_us);
                    access_unit::restamp(&mut unit.bytes, self.server.live.epoch_unix_us() + written_us);
                }
                unsent.extend(unit.bytes);
                let write_bytes = self.server.options.packets_per_write.map_or(unsent.len(), |n| n * ts::PACKET_BYTES);
                let whole = unsent.len() / write_bytes * write_bytes;
                for write in unsent[..whole].chunks(write_bytes) {
                    self.send(write)?;
                }
                unsent.drain(..whole);
            }
        }
        Ok(())
    }

    /// Sends everything, but nothing during a stall.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Only a stall needs looks at the clock within an answer.
        let piece_bytes = if self.server.options.fault == Fault::Stall300 { PIECE_BYTES } else { usize::MAX };
        for piece in bytes.chunks(piece_bytes) {
            let now_us = self.server.now_us();
            let from_us = self.server.live.sending_from_us(now_us);
            if from_us > now_us && !self.server.sleep_until(from_us) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.stream.write_all(piece)?;
        }
        Ok(())
    }
}

/// N between what stands before and behind it, as playlists write it.
fn number(name: &str, before: &str, behind: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix(behind)?;
    let n: u64 = digits.parse().ok()?;
    (n.to_string() == digits).then_some(n)
}

fn track_type(track: Track) -> &'static str {
    match track {
        Track::Video => "video/mp4",
        Track::Audio => "audio/mp4",
    }
}
