//! One connection through the proxy: two sockets and a [`Line`] each way between them.
//!
//! Readiness is kept here, as the epoll instance reports edges only: a full queue then needs no change of interest, and an event that
//! cannot be masked (EPOLLHUP) cannot spin.
//!
//! What it deliberately does not do: tell a peer that closed from one that only shut down its writing. Both are an end of stream, which
//! goes on as one; an error of either socket becomes a reset of both.

use super::faults::{CutKind, Plan};
use super::line::Line;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::net::{self, RecvFlags, SendFlags, Shutdown};
use std::time::Duration;

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to the proxy.
    Client,
    /// Where the proxy connects to.
    Server,
}

/// One connection.
pub struct Connection {
    client: Peer,
    server: Peer,
    /// From server to client.
    down: Line,
    /// From client to server.
    up: Line,
    state: State,
    /// Stalls of both lines that were told already.
    stalls_told: u64,
}

/// What a [`Connection::pump`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written to the client.
    pub bytes_down: u64,
    /// Bytes written to the server.
    pub bytes_up: u64,
    /// Stalls that were met.
    pub stalls: u64,
    /// Whether the connection went half open.
    pub half_opened: bool,
}

/// What a connection waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do now; others get their turn first.
    Again,
    /// An event of a socket, or this time if there is one.
    Wait(Option<Duration>),
    /// Nothing: both ends of stream were passed on. Drop it.
    Over,
    /// Nothing: it reached its reset. Drop it after [`Connection::reset`].
    Reset,
    /// Nothing: a socket failed. Drop it after [`Connection::reset`].
    Failed,
}

#[derive(PartialEq, Eq)]
enum State {
    Passing,
    /// Nothing is forwarded any more; the connection lasts until both peers gave up.
    HalfOpen,
}

/// One socket, non-blocking, with what its edges said.
struct Peer {
    socket: OwnedFd,
    readable: bool,
    writable: bool,
    /// It closed, shut down its writing or failed.
    has_hung_up: bool,
    has_failed: bool,
}

impl Connection {
    /// A connection between two non-blocking sockets that nothing has happened on; `server` may still be connecting.
    pub fn new(client: OwnedFd, server: OwnedFd, plan: Plan) -> Self {
        Connection {
            client: Peer::new(client),
            server: Peer::new(server),
            down: Line::new(plan.down),
            up: Line::new(plan.up),
            state: State::Passing,
            stalls_told: 0,
        }
    }

    /// The socket of `side`, to register.
    pub fn socket(&self, side: Side) -> BorrowedFd<'_> {
        match side {
            Side::Client => self.client.socket.as_fd(),
            Side::Server => self.server.socket.as_fd(),
        }
    }

    /// Takes note of an event of `side`.
    pub fn on_event(&mut self, side: Side, flags: EventFlags) {
        let peer = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let has_ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        peer.readable |= has_ended || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        peer.writable |= has_ended || flags.contains(EventFlags::OUT);
        peer.has_hung_up |= has_ended || flags.contains(EventFlags::RDHUP);
        peer.has_failed |= flags.contains(EventFlags::ERR);
    }

    /// Forwards what may be forwarded: at most one read and one write each way, so that others get their turn and slices do not stick
    /// together. `scratch` is where reads go.
    pub fn pump(&mut self, now: Duration, scratch: &mut [u8], progress: &mut Progress) -> Next {
        if self.state == State::HalfOpen {
            return if self.client.has_hung_up && self.server.has_hung_up { Next::Over } else { Next::Wait(None) };
        }
        let passed = pass(&mut self.down, &mut self.server, &mut self.client, now, scratch)
            .map(|bytes| progress.bytes_down += bytes)
            .and_then(|()| pass(&mut self.up, &mut self.client, &mut self.server, now, scratch))
            .map(|bytes| progress.bytes_up += bytes);
        let stalls = self.down.stall_count() + self.up.stall_count();
        progress.stalls += stalls - self.stalls_told;
        self.stalls_told = stalls;
        if passed.is_err() {
            return Next::Failed;
        }
        match self.down.cut_reached().or(self.up.cut_reached()).map(|cut| cut.kind) {
            Some(CutKind::Reset) => Next::Reset,
            Some(CutKind::HalfOpen) => {
                self.state = State::HalfOpen;
                progress.half_opened = true;
                self.pump(now, scratch, progress)
            }
            None if self.down.is_over() && self.up.is_over() => Next::Over,
            None => self.next(now),
        }
    }

    /// Makes the drop of this connection send RST to both sides, whatever is still in socket buffers.
    pub fn reset(&self) {
        for peer in [&self.client, &self.server] {
            // A socket that is past this is reset already.
            let _ = net::sockopt::set_socket_linger(&peer.socket, Some(Duration::ZERO));
        }
    }

    fn next(&mut self, now: Duration) -> Next {
        let mut wake: Option<Duration> = None;
        for (line, source, sink) in
            [(&mut self.down, &self.server, &self.client), (&mut self.up, &self.client, &self.server)]
        {
            if source.readable && line.room(now) > 0 {
                return Next::Again;
            }
            match line.next_due(now) {
                Some(due) if due > now => wake = Some(wake.map_or(due, |wake| wake.min(due))),
                Some(_) if sink.writable => return Next::Again,
                // Due, but the sink takes nothing: its event comes.
                Some(_) | None => {}
            }
        }
        Next::Wait(wake)
    }
}

impl Peer {
    fn new(socket: OwnedFd) -> Self {
        Peer { socket, readable: false, writable: false, has_hung_up: false, has_failed: false }
    }
}

/// One read from `source` and one write to `sink`; the bytes written.
fn pass(line: &mut Line, source: &mut Peer, sink: &mut Peer, now: Duration, scratch: &mut [u8]) -> io::Result<u64> {
    if source.has_failed && line.is_ending() {
        // No read will find out any more.
        return Err(Errno::CONNRESET);
    }
    fill(line, source, now, scratch)?;
    drain(line, sink, now)
}

fn fill(line: &mut Line, source: &mut Peer, now: Duration, scratch: &mut [u8]) -> io::Result<()> {
    // Readiness first: a stall counts when there is something that it holds back.
    let room = if source.readable { line.room(now).min(scratch.len()) } else { 0 };
    if room == 0 {
        return Ok(());
    }
    match net::recv(&source.socket, &mut scratch[..room], RecvFlags::empty()) {
        Ok((0, _)) => {
            source.readable = false;
            line.push_end(now)
        }
        Ok((count, _)) => line.push(now, &scratch[..count]),
        Err(Errno::AGAIN) => source.readable = false,
        Err(Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn drain(line: &mut Line, sink: &mut Peer, now: Duration) -> io::Result<u64> {
    if !sink.writable {
        return Ok(0);
    }
    let ready = line.ready(now);
    let mut sent = 0;
    if !ready.is_empty() {
        match net::send(&sink.socket, ready, SendFlags::NOSIGNAL) {
            Ok(count) => sent = count,
            Err(Errno::AGAIN) => sink.writable = false,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        line.sent(now, sent);
    }
    if line.take_end(now) {
        // A peer that is gone needs no end any more.
        let _ = net::shutdown(&sink.socket, Shutdown::Write);
    }
    Ok(sent as u64)
}
