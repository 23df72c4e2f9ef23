//! One connection to the synthetic origin: reads a head, then sends a short response or the live stream.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Counters;
use super::history::{Framing, History};
use super::request::{self, Method, Query, Refusal, Request, Status, Target};
use crate::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_HEAD_MS_MAX};

/// One accepted socket, non-blocking.
pub(super) struct Connection {
    socket: TcpStream,
    state: State,
    since: Instant,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Alive,
    Over,
}

enum State {
    /// The request head so far.
    Head(Vec<u8>),
    /// A short response; the connection ends with its last byte.
    Reply {
        bytes: Vec<u8>,
        sent: usize,
    },
    Stream(Viewer),
}

/// Where a viewer of a channel stands.
struct Viewer {
    channel: usize,
    framing: Framing,
    /// The part of the response head that was not sent yet.
    head: Vec<u8>,
    /// Number of the chunk being sent.
    chunk: u64,
    /// Bytes of that chunk, as framed, that were sent.
    offset: usize,
    /// The socket took less than it was offered: wait until it can be written to.
    blocked: bool,
}

impl Connection {
    pub fn new(socket: TcpStream, now: Instant) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Each chunk is due when it is written: Nagle's algorithm would hold its tail for an ACK.
        socket.set_nodelay(true)?;
        socket2::SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES)?;
        Ok(Connection { socket, state: State::Head(Vec::new()), since: now })
    }
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
    /// The channel that is streamed, once it is.
    pub fn channel(&self) -> Option<usize> {
        match &self.state {
            State::Stream(viewer) => Some(viewer.channel),
            State::Head(_) | State::Reply { .. } => None,
        }
    }
    /// Whether to wait for the socket to become writable.
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::Head(_) => false,
            State::Reply { .. } => true,
            State::Stream(viewer) => viewer.blocked,
        }
    }
    /// Reads what came: the head, or afterwards only the news that the client has left.
    pub fn read(&mut self, history: &History, counters: &Counters, now: Instant) -> Fate {
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => Fate::Over,
            Ok(count) => {
                if let State::Head(head) = &mut self.state {
                    head.extend_from_slice(&bytes[..count]);
                    self.answer(history, counters, now);
                }
                Fate::Alive
            }
            Err(error) => fate_of(&error),
        }
    }
    /// Whether the client kept its deadline and a viewer its place in the history.
    pub fn check(&self, history: &History, now: Instant) -> Fate {
        let in_time = match &self.state {
            State::Head(_) | State::Reply { .. } => {
                now.saturating_duration_since(self.since) <= Duration::from_millis(REQUEST_HEAD_MS_MAX)
            }
            State::Stream(viewer) => viewer.chunk >= history.first(),
        };
        if in_time {
            return Fate::Alive;
        }
        tracing::info!(channel = self.channel(), "origin client cut: too slow");
        Fate::Over
    }
    /// Sends what can be sent now.
    pub fn write(&mut self, history: &History, now: Instant) -> Fate {
        if self.check(history, now) == Fate::Over {
            return Fate::Over;
        }
        match &mut self.state {
            State::Head(_) => Fate::Alive,
            State::Reply { bytes, sent } => match self.socket.write(&bytes[*sent..]) {
                Ok(count) => {
                    *sent += count;
                    if *sent == bytes.len() { Fate::Over } else { Fate::Alive }
                }
                Err(error) => fate_of(&error),
            },
            State::Stream(viewer) => viewer.send(&mut self.socket, history),
        }
    }

    fn answer(&mut self, history: &History, counters: &Counters, now: Instant) {
        let State::Head(head) = &self.state else { return };
        let next = match request::parse(head) {
            Ok(Some(request)) => next_state(request, history, counters, now),
            Ok(None) if head.len() > REQUEST_HEAD_BYTES_MAX => {
                refused(Method::Get, Refusal { status: Status::HeadTooLarge, why: "the request head is too long" })
            }
            Ok(None) => return,
            Err(refusal) => refused(Method::Get, refusal),
        };
        self.state = next;
        self.since = now;
    }
}

impl Viewer {
    /// Writes until all is sent or the socket is full.
    fn send(&mut self, socket: &mut TcpStream, history: &History) -> Fate {
        self.blocked = false;
        loop {
            let offered = self.offer(history);
            let count: usize = offered.iter().map(|slice| slice.len()).sum();
            if count == 0 {
                return Fate::Alive;
            }
            match socket.write_vectored(&offered) {
                Ok(sent) => {
                    drop(offered);
                    self.advance(sent, history);
                    self.blocked = sent < count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Fate::Over,
            }
            if self.blocked {
                return Fate::Alive;
            }
        }
    }
    /// The head and up to [`CHUNKS_PER_WRITE`] chunks, without what was sent of them.
    fn offer<'a>(&'a self, history: &'a History) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(1 + 3 * CHUNKS_PER_WRITE);
        if !self.head.is_empty() {
            slices.push(IoSlice::new(&self.head));
        }
        let mut skip = self.offset;
        let upcoming = (self.chunk..).map_while(|number| history.chunk(number)).take(CHUNKS_PER_WRITE);
        for run in upcoming.flat_map(|chunk| chunk.wire(self.framing)) {
            let skipped = skip.min(run.len());
            skip -= skipped;
            if skipped < run.len() {
                slices.push(IoSlice::new(&run[skipped..]));
            }
        }
        slices
    }
    /// Moves on by `sent` bytes of what [`Viewer::offer`] gave.
    fn advance(&mut self, sent: usize, history: &History) {
        let of_head = sent.min(self.head.len());
        self.head.drain(..of_head);
        self.offset += sent - of_head;
        while let Some(chunk) = history.chunk(self.chunk) {
            let len: usize = chunk.wire(self.framing).iter().map(|run| run.len()).sum();
            if self.offset < len {
                break;
            }
            self.offset -= len;
            self.chunk += 1;
        }
    }
}

fn next_state(request: Request, history: &History, counters: &Counters, now: Instant) -> State {
    let Request { method, target } = request;
    let (channel, query) = match target {
        Target::Index => return reply(request::short(method, Status::Ok, "text/plain", "", &index(counters))),
        Target::Stats => return reply(request::short(method, Status::Ok, "application/json", "", &stats(counters))),
        Target::Channel { channel, query } => (channel, query),
    };
    if counters.at(channel).is_none() {
        return refused(method, Refusal { status: Status::NotFound, why: "no such channel; / lists them" });
    }
    if query.redirects > 0 {
        return reply(request::redirect(method, channel, query));
    }
    match method {
        Method::Head => reply(request::stream_head(query.framing)),
        Method::Get => begin_stream(channel, query, history, counters, now),
    }
}

fn begin_stream(channel: usize, query: Query, history: &History, counters: &Counters, now: Instant) -> State {
    counters.begin(channel);
    State::Stream(Viewer {
        channel,
        framing: query.framing,
        head: request::stream_head(query.framing),
        chunk: history.since(query.burst, now),
        offset: 0,
        blocked: true,
    })
}

fn reply(bytes: Vec<u8>) -> State {
    State::Reply { bytes, sent: 0 }
}

fn refused(method: Method, refusal: Refusal) -> State {
    reply(request::short(method, refusal.status, "text/plain", "", &format!("{}\n", refusal.why)))
}

fn index(counters: &Counters) -> String {
    (1..=counters.len()).map(|channel| format!("/channel/{channel}.ts\n")).collect()
}

fn stats(counters: &Counters) -> String {
    let channel = |n| format!(r#"{{"channel":{n},"opened":{},"open":{}}}"#, counters.opened(n), counters.open(n));
    let channels: Vec<String> = (1..=counters.len()).map(channel).collect();
    format!("{{\"channels\":[{}]}}\n", channels.join(","))
}

fn fate_of(error: &io::Error) -> Fate {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Fate::Alive,
        _ => Fate::Over,
    }
}

/// What the kernel may hold for one viewer: enough for 20 Mb/s over 100 ms, little enough that a dead one is noticed.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// Chunks offered in one write: a viewer at the head of the stream has one, one that catches up has many.
const CHUNKS_PER_WRITE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEMO_HISTORY_MS;
    use std::net::TcpListener;

    /// A client's socket and the origin's connection to it.
    fn pair(now: Instant) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (socket, _) = listener.accept().expect("accepts");
        (client, Connection::new(socket, now).expect("a fresh socket"))
    }

    /// Loopback delivers before `write` returns, but a read that comes too early only finds nothing.
    fn read_until_answered(connection: &mut Connection, history: &History, counters: &Counters, now: Instant) {
        while matches!(connection.state, State::Head(_)) {
            assert_eq!(connection.read(history, counters, now), Fate::Alive);
        }
    }

    #[test]
    fn a_viewer_that_never_reads_is_cut_when_the_history_has_passed_it() {
        let start = Instant::now();
        let (mut history, counters) = (History::default(), Counters::new(1));
        let (mut client, mut connection) = pair(start);
        client.write_all(b"GET /channel/1.ts HTTP/1.1\r\n\r\n").expect("sends");
        read_until_answered(&mut connection, &history, &counters, start);
        let mut now = start;
        // 1 MB every 100 ms: the kernel's buffers are full at once, the history has passed after its 12 seconds.
        let mut fate = Fate::Alive;
        while fate == Fate::Alive && now - start < Duration::from_secs(60) {
            now += Duration::from_millis(100);
            history.push(vec![0x47; 188 * 5_000], now);
            fate = connection.write(&history, now);
        }
        assert_eq!(fate, Fate::Over);
        assert!(now - start < Duration::from_millis(DEMO_HISTORY_MS + 2_000), "{:?}", now - start);
    }

    #[test]
    fn a_head_that_does_not_end_is_cut() {
        let start = Instant::now();
        let (history, counters) = (History::default(), Counters::new(1));
        let (_client, mut connection) = pair(start);
        let later = start + Duration::from_millis(REQUEST_HEAD_MS_MAX);
        assert_eq!(connection.read(&history, &counters, later), Fate::Alive);
        assert_eq!(connection.write(&history, later), Fate::Alive);
        assert_eq!(connection.write(&history, later + Duration::from_millis(1)), Fate::Over);
    }

    #[test]
    fn a_head_that_is_too_long_is_refused() {
        let now = Instant::now();
        let (history, counters) = (History::default(), Counters::new(1));
        let (mut client, mut connection) = pair(now);
        client.write_all(b"GET / HTTP/1.1\r\nX: ").expect("sends");
        client.write_all(&vec![b'a'; REQUEST_HEAD_BYTES_MAX]).expect("sends");
        read_until_answered(&mut connection, &history, &counters, now);
        let State::Reply { bytes, .. } = &connection.state else { panic!("no reply") };
        assert!(bytes.starts_with(b"HTTP/1.1 431 "));
    }
}
