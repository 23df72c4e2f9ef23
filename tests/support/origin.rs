//! Origins for tests: one synthetic origin for the whole test program, with a channel for each test, and origins that misbehave
//! by a script, on std threads.

use millrace::demo::{Origin, OriginConfig, OriginHandle, Source};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Channels of the shared origin; all carry one encode.
const CHANNELS: usize = 512;
/// Period of key pictures in the synthetic stream.
pub const GOP: Duration = Duration::from_secs(2);

/// The synthetic origin of this test program, started at first need.
pub fn shared() -> &'static OriginHandle {
    static SHARED: OnceLock<OriginHandle> = OnceLock::new();
    SHARED.get_or_init(|| {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Origin::start(OriginConfig::new(listen, CHANNELS, Source::Picture)).expect("the synthetic origin starts")
    })
}

/// A channel of the shared origin that no other test uses.
pub fn own_channel() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Path of a channel on the shared origin.
pub fn path(channel: usize) -> String {
    format!("/channel/{channel}.ts")
}

/// URL of a channel on the shared origin.
pub fn url(channel: usize) -> String {
    format!("http://{}{}", shared().local_addr(), path(channel))
}

/// An origin that does what a script says with each connection.
pub struct ScriptedOrigin {
    pub addr: SocketAddr,
    visits: Arc<Mutex<Vec<(Instant, String)>>>,
    stop: Arc<AtomicBool>,
}

/// One request to a scripted origin.
pub struct Visit {
    /// 0 for the first connection.
    pub number: usize,
    /// The request head.
    pub head: String,
    pub stream: TcpStream,
    stop: Arc<AtomicBool>,
}

impl ScriptedOrigin {
    /// Serves every connection on a thread of its own by `script`.
    pub fn start(script: impl Fn(&mut Visit) -> io::Result<()> + Send + Sync + 'static) -> ScriptedOrigin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (visits, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (script, seen, stopped) = (Arc::new(script), visits.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (script, seen, stop) = (script.clone(), seen.clone(), stopped.clone());
                std::thread::spawn(move || {
                    // What the script's writes meet, such as a relay that left, is the test's to judge.
                    let _ = visit(stream, &seen, stop, &*script);
                });
            }
        });
        ScriptedOrigin { addr, visits, stop }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Arrival times and heads of all requests so far.
    pub fn visits(&self) -> Vec<(Instant, String)> {
        self.visits.lock().unwrap().clone()
    }
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees the end.
        let _ = TcpStream::connect(self.addr);
    }
}

fn visit(
    mut stream: TcpStream,
    seen: &Mutex<Vec<(Instant, String)>>,
    stop: Arc<AtomicBool>,
    script: &dyn Fn(&mut Visit) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = read_head(&mut stream)?;
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push((Instant::now(), head.clone()));
        seen.len() - 1
    };
    script(&mut Visit { number, head, stream, stop })
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// How a body is framed (RFC 9112 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Close,
    Chunked,
    /// Content-Length of a body that is never reached.
    Length,
}

impl Visit {
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// A 200 head; [`Visit::body`] is to follow in the same framing.
    pub fn ok(&mut self, framing: Framing) -> io::Result<()> {
        let field = match framing {
            Framing::Close => "",
            Framing::Chunked => "Transfer-Encoding: chunked\r\n",
            Framing::Length => "Content-Length: 1000000000000\r\n",
        };
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{field}\r\n"))
    }

    pub fn body(&mut self, framing: Framing, bytes: &[u8]) -> io::Result<()> {
        match framing {
            Framing::Close | Framing::Length => self.write(bytes),
            Framing::Chunked => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                self.write(chunk)
            }
        }
    }

    /// Passes the shared origin's live stream on, in mid-GOP as it comes, for `time` or until either side leaves.
    pub fn live(&mut self, framing: Framing, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        let mut upstream = upstream(0)?;
        let mut piece = [0; 16 << 10];
        while Instant::now() < end && !self.is_over() {
            let count = upstream.read(&mut piece)?;
            if count == 0 {
                break;
            }
            self.body(framing, &piece[..count])?;
        }
        Ok(())
    }

    /// Holds the connection open and sends nothing, until the relay leaves it.
    pub fn hang(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        while !self.is_over() {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the connection both ways.
    pub fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }

    /// Whether the test is over.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The body of the shared origin's last channel, which all scripts share, `past` seconds of the past first.
fn upstream(past: u32) -> io::Result<TcpStream> {
    let mut upstream = TcpStream::connect(shared().local_addr())?;
    upstream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let target = format!("{}?burst={past}", path(CHANNELS));
    upstream.write_all(format!("GET {target} HTTP/1.1\r\nHost: origin.test\r\n\r\n").as_bytes())?;
    read_head(&mut upstream)?;
    Ok(upstream)
}

/// The shared origin's stream: `past` seconds of the past, then `seconds` more in real time.
pub fn record_with_past(past: u32, seconds: f32) -> Vec<u8> {
    wait_for_history();
    let end = Instant::now() + Duration::from_secs_f32(seconds);
    let mut upstream = upstream(past).expect("the shared origin answers");
    let (mut recorded, mut piece) = (Vec::new(), [0; 16 << 10]);
    while Instant::now() < end {
        let count = upstream.read(&mut piece).expect("the shared origin sends");
        recorded.extend_from_slice(&piece[..count]);
    }
    recorded
}

/// URL of a channel that sends its last eight seconds at once, as fast-starting origins do: several segments without a wait.
pub fn warm_url(channel: usize) -> String {
    wait_for_history();
    format!("{}?burst=8", url(channel))
}

/// Waits until the shared origin has as much of a past as it keeps.
fn wait_for_history() {
    static START: OnceLock<Instant> = OnceLock::new();
    shared();
    let start = START.get_or_init(Instant::now);
    std::thread::sleep(Duration::from_millis(12_500).saturating_sub(start.elapsed()));
}
