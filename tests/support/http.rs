//! A small HTTP/1.1 client over std sockets: raw bytes out, one answer in. Every wait has a generous limit.
//!
//! It shares no code with the relay. What it deliberately does not do: follow redirects, decode chunks, retry.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for a byte: far above anything a working relay needs on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// Panics with the whole answer unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{:?}: {}", self.fields, self.text());
        self
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Client {
        Client::connect_from(Ipv4Addr::LOCALHOST.into(), to)
    }

    /// Connects from a loopback address of its own, so that the relay takes it for another viewer.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Client {
        Client::open(from, to, None).unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
    }

    /// Connects with a small receive buffer, so that a reader that pauses is felt at once.
    pub fn connect_small(from: IpAddr, to: SocketAddr, receive_bytes: usize) -> Client {
        Client::open(from, to, Some(receive_bytes)).unwrap_or_else(|error| panic!("{from} to {to}: {error}"))
    }

    pub fn open(from: IpAddr, to: SocketAddr, receive_bytes: Option<usize>) -> io::Result<Client> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
        socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, pending: Vec::new() })
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the relay takes a request");
    }

    /// GET on this connection, which stays open.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, "")
    }

    /// One request; `fields` are whole lines, each with its CRLF.
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, fields: &str) -> Response {
        self.write(format!("{method} {path} HTTP/1.1\r\nHost: relay.test\r\n{fields}\r\n"));
        self.answer(method).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Reads the next answer. Its body is as long as Content-Length says, and empty without one.
    pub fn answer(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.head()?;
        let length = response.field("content-length").map_or(0, |v| v.parse().expect("Content-Length is a number"));
        if method != "HEAD" && response.status != 304 {
            while self.pending.len() < length {
                self.fill()?;
            }
            response.body = self.pending.drain(..length).collect();
        }
        Ok(response)
    }

    /// Reads the next answer's head and leaves its body to [`Client::take`].
    pub fn head(&mut self) -> io::Result<Response> {
        let end = loop {
            match self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.fill()?,
            }
        };
        let head: Vec<u8> = self.pending.drain(..end).collect();
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {head:?}")))?;
        let fields = lines.map(|line| line.split_once(": ").unwrap_or((line, "")));
        Ok(Response { status, fields: fields.map(|(n, v)| (n.into(), v.into())).collect(), body: Vec::new() })
    }

    /// Asks for a continuous stream and reads its head; the connection's bytes are the stream from here on.
    #[track_caller]
    pub fn stream(mut self, path: &str) -> Client {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n"));
        let head = self.head().unwrap_or_else(|error| panic!("{path}: {error}"));
        if head.status != 200 {
            let body = self.rest_until(Instant::now() + Duration::from_millis(500));
            panic!("{path}: {} {}", head.status, String::from_utf8_lossy(&body));
        }
        self
    }

    /// The bytes that come next, at most `max`; empty at the end of the stream.
    pub fn take(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.pending.is_empty() {
            match self.fill() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
                other => other?,
            }
        }
        let count = self.pending.len().min(max);
        Ok(self.pending.drain(..count).collect())
    }

    /// All bytes until `end`, or until the stream ends or fails before.
    pub fn rest_until(&mut self, end: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_while(&mut bytes, |_| Instant::now() < end);
        bytes
    }

    /// Appends to `bytes` for as long as `wants` says so; false when the stream ended or failed before.
    pub fn read_while(&mut self, bytes: &mut Vec<u8>, mut wants: impl FnMut(&[u8]) -> bool) -> bool {
        // Short waits, so that `wants` is asked again while nothing comes.
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout above zero");
        let is_open = loop {
            if !wants(bytes) {
                break true;
            }
            match self.take(usize::MAX) {
                Ok(more) if more.is_empty() => break false,
                Ok(more) => bytes.extend_from_slice(&more),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => break false,
            }
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        is_open
    }

    /// Whether the relay ends the connection within `limit`, with nothing further sent.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut bytes = Vec::new();
        let end = Instant::now() + limit;
        !self.read_while(&mut bytes, |_| Instant::now() < end) && bytes.is_empty()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 << 10];
        let count = self.stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pending.extend_from_slice(&piece[..count]);
        Ok(())
    }
}

/// The `n`th viewer's own loopback address.
pub fn viewer_address(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, n.max(1)).into()
}

/// Waits until `probe` finds something. Panics with `what` after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The status of one request on a connection of its own; `None` when there is nobody.
pub fn try_status(to: SocketAddr, path: &str) -> Option<u16> {
    let mut client = Client::open(Ipv4Addr::LOCALHOST.into(), to, None).ok()?;
    client.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\n\r\n").as_bytes()).ok()?;
    client.answer("GET").ok().map(|response| response.status)
}
