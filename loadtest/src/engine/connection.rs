//! One HTTP/1.1 client connection: non-blocking, kept alive, one request at a time.
//!
//! What it deliberately does not do: TLS, pipelining, waiting, or deciding what a failure means.

use crate::engine::response::{Malformed, Progress, Response, Sink};
use crate::player::{FetchKind, Micros};
use rustix::event::epoll;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Largest read of a body that nobody looks at, bytes. The kernel copies nothing of it.
pub const DISCARD_BYTES_MAX: usize = 1 << 20;
/// Largest other read, bytes.
const READ_BYTES_MAX: usize = 1 << 18;
/// A rest of a body or chunk below this is read like what follows it: that is cheaper than a system call of its own.
const DISCARD_BYTES_MIN: u64 = 1 << 14;
/// What must have come in before a continuous viewer is woken, bytes.
const LOW_WATER_BYTES: i32 = 1 << 14;

/// A request under way.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Absolute.
    pub url: Rc<str>,
    pub kind: FetchKind,
    pub intended: Micros,
    /// When it was given to the connection.
    pub sent: Micros,
    pub first_byte: Option<Micros>,
    /// When something came last, or it was sent.
    pub progress: Micros,
    /// Whether it is counted as a request already.
    pub counted: bool,
    /// Whether it was sent before, on a kept-alive connection that turned out to be closed.
    pub retried: bool,
}

/// A connection of one lane.
pub struct Connection {
    socket: OwnedFd,
    /// Whom it is connected to.
    pub peer: SocketAddr,
    /// Tells its events from those of the lane's connection before it.
    pub generation: u32,
    is_connecting: bool,
    /// What of the request is not sent yet.
    unsent: Vec<u8>,
    pub exchange: Option<Exchange>,
    pub response: Response,
    /// The socket may have something to read.
    pub readable: bool,
    /// The peer sends no more, or the connection failed: read to the end.
    pub is_ending: bool,
    /// Answers that were complete on it.
    pub answers: u64,
    /// Whether small amounts leave it asleep.
    pub has_low_water: bool,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, the answer's state, and whether they went unread.
    Bytes {
        count: usize,
        progress: Progress,
        discarded: bool,
    },
    /// Nothing is there.
    Blocked,
    Closed,
    Failed(Errno),
    Malformed(Malformed),
}

impl Connection {
    /// Connects to `peer`, from 127.0.0.`source` where that is given, and registers with `epoll` for all edges under `token`.
    ///
    /// # Errors
    /// `ADDRNOTAVAIL` and `ADDRINUSE`: no port is free; `MFILE`; or a refusal that came at once.
    pub fn open(
        peer: SocketAddr,
        source: Option<u8>,
        generation: u32,
        epoll: &OwnedFd,
        token: u64,
    ) -> io::Result<Connection> {
        let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(octet) = source {
            // The port is chosen by connect then, from those free towards this peer. Refused: bind chooses it.
            let _ = set_option(&socket, uapi::c::IPPROTO_IP, uapi::c::IP_BIND_ADDRESS_NO_PORT, 1);
            net::bind(&socket, &SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, octet)), 0))?;
        }
        let is_connecting = match net::connect(&socket, &peer) {
            Ok(()) => false,
            Err(Errno::INPROGRESS) => true,
            Err(error) => return Err(error),
        };
        use epoll::EventFlags as Flags;
        epoll::add(
            epoll,
            &socket,
            epoll::EventData::new_u64(token),
            Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET,
        )?;
        Ok(Connection {
            socket,
            peer,
            generation,
            is_connecting,
            unsent: Vec::new(),
            exchange: None,
            response: Response::default(),
            readable: false,
            is_ending: false,
            answers: 0,
            has_low_water: false,
        })
    }

    /// Sends a request, as far as it goes now.
    ///
    /// # Errors
    /// Of the socket.
    pub fn send(&mut self, request: &[u8], exchange: Exchange) -> io::Result<()> {
        self.response.reset();
        self.exchange = Some(exchange);
        let sent = if self.is_connecting { 0 } else { self.write(request)? };
        self.unsent.clear();
        self.unsent.extend_from_slice(&request[sent..]);
        Ok(())
    }

    /// Goes on where the socket is writable.
    ///
    /// # Errors
    /// Of connecting, or of the socket.
    pub fn on_writable(&mut self) -> io::Result<()> {
        if self.is_connecting {
            net::sockopt::socket_error(&self.socket)??;
            self.is_connecting = false;
        }
        if !self.unsent.is_empty() {
            let sent = self.write(&self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => Ok(0),
            result => result,
        }
    }

    /// Whether the handshake goes on.
    pub fn is_connecting(&self) -> bool {
        self.is_connecting
    }

    /// Reads once, at most `limit` bytes, and gives what was read to `sink`; with `discard`, a body is taken unread where that is cheaper.
    /// `scratch` is of [`DISCARD_BYTES_MAX`] bytes.
    pub fn receive(&mut self, limit: usize, discard: bool, scratch: &mut [u8], sink: &mut impl Sink) -> Received {
        let skippable = self.response.skippable();
        let discarded = discard && skippable >= DISCARD_BYTES_MIN;
        let (most, flags) = if discarded {
            (DISCARD_BYTES_MAX.min(usize::try_from(skippable).unwrap_or(usize::MAX)), RecvFlags::TRUNC)
        } else {
            (READ_BYTES_MAX, RecvFlags::empty())
        };
        let want = most.min(limit);
        let count = match net::recv(&self.socket, &mut scratch[..want], flags) {
            Ok((_, 0)) => return Received::Closed,
            Ok((_, count)) => count,
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Received::Blocked;
            }
            Err(error) => return Received::Failed(error),
        };
        // A short read has emptied the socket: the next bytes bring a new edge. An end that was announced brings none.
        self.readable = count == want || self.is_ending;
        if discarded {
            return Received::Bytes { count, progress: self.response.skip(count as u64), discarded };
        }
        if self.exchange.is_none() {
            return Received::Malformed(Malformed("an answer to no request"));
        }
        match self.response.push(&scratch[..count], sink) {
            Ok(Progress::Complete(taken)) if taken < count => Received::Malformed(Malformed("bytes behind the answer")),
            Ok(progress) => Received::Bytes { count, progress, discarded },
            Err(malformed) => Received::Malformed(malformed),
        }
    }

    /// From now on small amounts that come in wake nobody; the end does.
    pub fn set_low_water(&mut self) {
        // Refused: it is woken more often.
        let _ = set_option(&self.socket, uapi::c::SOL_SOCKET, uapi::c::SO_RCVLOWAT, LOW_WATER_BYTES);
        self.has_low_water = true;
    }
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> Result<(), uapi::Errno> {
    uapi::setsockopt(socket.as_raw_fd(), level, name, &value)
}

/// Authority and path of an absolute `http` URL.
pub fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.split('#').next().unwrap_or_default();
    (!authority.is_empty()).then_some((authority, if path.is_empty() { "/" } else { path }))
}

/// Writes a GET for a URL split by [`split_url`].
pub fn write_request(request: &mut Vec<u8>, authority: &str, path: &str) {
    request.clear();
    for part in ["GET ", path, " HTTP/1.1\r\nHost: ", authority, "\r\nUser-Agent: loadtest\r\nAccept: */*\r\n\r\n"] {
        request.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        assert_eq!(split_url("http://a:80/b?c#d"), Some(("a:80", "/b?c")));
        assert_eq!(split_url("http://a"), Some(("a", "/")));
        assert_eq!(split_url("https://a/"), None);
        assert_eq!(split_url("http:///x"), None);
    }
}
