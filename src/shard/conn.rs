//! One client connection: accept, read heads, answer, keep alive, or go over to a live stream. A panic ends only its connection.

use super::deadlines::{Phase, WatchGuard};
use super::live::Live;
use super::pump::Pump;
use super::respond::{self, Answering, Next};
use super::{Shard, socket};
use crate::http::request::{Parsed, Progress, parse};
use crate::http::response::{ErrorAnswer, Persistence, Status};
use crate::limits::{NOTSENT_LOWAT_BYTES, REQUEST_HEAD_BYTES_MAX, REQUEST_READ_BYTES};
use crate::metrics::Format;
use crate::time::Now;
use futures_lite::{AsyncRead, FutureExt};
use glommio::net::{TcpListener, TcpStream};
use socket2::Socket;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// Takes connections from one listener for the shard's life.
pub(crate) async fn accept_all(shard: Rc<Shard>, socket: Socket, is_admin: bool) {
    let fd = socket.as_raw_fd();
    shard.listeners.borrow_mut().push(fd);
    // SAFETY: the descriptor is owned by `socket` and given up here, so the listener is its only owner.
    let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
    let mut fails = false;
    loop {
        let accepted = listener.shared_accept().await;
        if shard.relay.draining.load(Ordering::Relaxed) {
            return;
        }
        let failing = std::mem::replace(&mut fails, accepted.is_err());
        match accepted {
            Ok(accepted) => admit(&shard, accepted.bind_to_executor(), is_admin),
            Err(error) => {
                if !failing {
                    tracing::warn!(shard = shard.index, %error, "cannot accept");
                }
                // Most likely no descriptor is left: wait for connections to end instead of spinning.
                glommio::timer::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(shard: &Rc<Shard>, stream: TcpStream, is_admin: bool) {
    shard.metrics.accepted.add(1);
    let Ok(peer) = stream.peer_addr() else { return };
    if !shard.addresses.borrow_mut().enter(peer.ip(), shard, is_admin) {
        return turn_away(shard, &stream);
    }
    socket::tune(stream.as_raw_fd(), NOTSENT_LOWAT_BYTES);
    let guard = Admitted { shard: shard.clone(), peer: peer.ip(), is_admin };
    shard.asked(shard.now().mono_us);
    let task = async move {
        let shard = &guard.shard;
        if AssertUnwindSafe(serve(shard, stream, guard.peer, is_admin)).catch_unwind().await.is_err() {
            shard.metrics.connection_panics.add(1);
            tracing::error!(shard = shard.index, "a panic in a connection was caught; only this connection ends");
        }
    };
    glommio::spawn_local(task).detach();
}

/// Says that there is no room, as far as the socket takes it at once, before it is closed.
fn turn_away(shard: &Shard, stream: &TcpStream) {
    tracing::debug!(shard = shard.index, "connection refused: over the limit of connections");
    let answer = ErrorAnswer {
        status: Status::ServiceUnavailable,
        why: "too many connections",
        head_only: false,
        persistence: Persistence::Close,
        retry_after_s: Some(1),
    };
    let mut out = Vec::new();
    answer.write(&mut out, &shard.date(shard.now()));
    shard.metrics.responses(5).add(1);
    // Whoever does not get it sees the connection close all the same.
    let _ = socket::send(stream.as_raw_fd(), &out, false);
}

/// Counts a connection for as long as its task lives.
struct Admitted {
    shard: Rc<Shard>,
    peer: IpAddr,
    is_admin: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shard.addresses.borrow_mut().leave(self.peer, &self.shard, self.is_admin);
    }
}

/// How many connections each address has on this shard.
#[derive(Default)]
pub(crate) struct Addresses {
    by_address: std::collections::HashMap<IpAddr, usize>,
}

impl Addresses {
    /// False when a limit is reached. Operators are always let in: a full relay is when they want to look.
    fn enter(&mut self, peer: IpAddr, shard: &Shard, is_admin: bool) -> bool {
        let limits = &shard.relay.config.limits;
        if !is_admin && shard.connections.get() >= limits.connections_per_shard {
            return false;
        }
        if !is_admin && limits.connections_per_address > 0 {
            let count = self.by_address.entry(peer).or_insert(0);
            if *count >= limits.connections_per_address {
                return false;
            }
            *count += 1;
        }
        shard.connections.set(shard.connections.get() + 1);
        shard.metrics.connections.add(1);
        true
    }

    fn leave(&mut self, peer: IpAddr, shard: &Shard, is_admin: bool) {
        shard.connections.set(shard.connections.get() - 1);
        shard.metrics.connections.sub(1);
        if is_admin {
            return;
        }
        if let Some(count) = self.by_address.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&peer);
            }
        }
    }
}

async fn serve(shard: &Rc<Shard>, mut stream: TcpStream, peer: IpAddr, is_admin: bool) {
    let fd = stream.as_raw_fd();
    let keepalive_us = shard.relay.config.idle.keepalive_ms * 1_000;
    let watch = shard.deadlines.watch(fd, Phase::Idle, shard.now().mono_us + keepalive_us);
    let mut carry = Vec::new();
    let mut progress = Progress::default();
    let mut is_partial = true;
    let next = loop {
        if is_partial && !read_more(shard, &mut stream, &watch, &mut carry).await.is_ok_and(|count| count > 0) {
            return;
        }
        let answering = Answering { shard, stream: &mut stream, fd, watch: &watch, now: shard.now(), peer, is_admin };
        // On the heap for as long as it is being answered: a request takes kilobytes that a waiting connection must not.
        let (next, consumed, now) = match Box::pin(exchange(answering, &carry, &mut progress)).await {
            Ok(Exchange::Partial) => {
                is_partial = true;
                continue;
            }
            Ok(Exchange::Answered { next, consumed, now }) => (next, consumed, now),
            Err(_) => return,
        };
        if !matches!(next, Next::Request) {
            break next;
        }
        carry.drain(..consumed);
        is_partial = carry.is_empty();
        watch.channel.set(None);
        watch.enter(Phase::Idle, now.mono_us + keepalive_us);
        // A client that has its next request ready each time must not keep others waiting.
        glommio::executor().yield_if_needed().await;
    };
    drop((carry, progress));
    if let Next::Live { pump, pos, channel } = next {
        watch.enter(Phase::Live, u64::MAX);
        let joined = Joined::new(shard, &pump, channel, fd, pos);
        let live = Live { shard, pump: &pump, watch: &watch, index: joined.index };
        let ended = live.serve(&mut stream).await;
        let id = &shard.relay.channels[channel as usize].config.id;
        tracing::debug!(channel = id, shard = shard.index, ?ended, "continuous viewer left");
    }
    linger(shard, &watch, &mut stream).await;
}

/// What became of the bytes that were read.
enum Exchange {
    /// They are no whole head yet.
    Partial,
    /// A request of this many bytes was answered.
    Answered { next: Next, consumed: usize, now: Now },
}

async fn exchange(mut answering: Answering<'_>, bytes: &[u8], progress: &mut Progress) -> io::Result<Exchange> {
    match parse(bytes, progress) {
        Ok(Parsed::Partial) => Ok(Exchange::Partial),
        Ok(Parsed::Complete(head, consumed)) => {
            let next = respond::answer(&mut answering, &head).await?;
            Ok(Exchange::Answered { next, consumed, now: answering.now })
        }
        Err(refused) => {
            let next = answering.refuse_request(refused).await?;
            Ok(Exchange::Answered { next, consumed: bytes.len(), now: answering.now })
        }
    }
}

/// Waits for more of a head. A connection between requests gives its buffer back while it waits.
async fn read_more(
    shard: &Rc<Shard>,
    stream: &mut TcpStream,
    watch: &WatchGuard,
    carry: &mut Vec<u8>,
) -> io::Result<usize> {
    if carry.is_empty() {
        *carry = Vec::new();
    } else if watch.phase.get() == Phase::Idle {
        watch.enter(Phase::Head, shard.now().mono_us + shard.relay.config.limits.request_head_ms * 1_000);
    }
    std::future::poll_fn(|cx| {
        // The bytes go through one buffer of the shard, so that a waiting connection owns none.
        let mut scratch = shard.scratch.borrow_mut();
        let room = (REQUEST_HEAD_BYTES_MAX + 1).saturating_sub(carry.len()).clamp(1, REQUEST_READ_BYTES);
        let poll = Pin::new(&mut *stream).poll_read(cx, &mut scratch[..room]);
        if let Poll::Ready(Ok(n)) = poll {
            carry.extend_from_slice(&scratch[..n]);
        }
        poll
    })
    .await
}

/// A viewer in a pump, counted for as long as it is there.
struct Joined<'a> {
    shard: &'a Rc<Shard>,
    pump: &'a Rc<Pump>,
    channel: u32,
    index: usize,
}

impl<'a> Joined<'a> {
    fn new(shard: &'a Rc<Shard>, pump: &'a Rc<Pump>, channel: u32, fd: i32, pos: u64) -> Self {
        let index = pump.join(fd, pos, shard.now().mono_us);
        shard.metrics.viewers(Format::MpegTs).add(1);
        shard.relay.channels[channel as usize].shared.counters.viewers(Format::MpegTs).add(1);
        Joined { shard, pump, channel, index }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.pump.leave(self.index);
        self.shard.metrics.viewers(Format::MpegTs).sub(1);
        self.shard.relay.channels[self.channel as usize].shared.counters.viewers(Format::MpegTs).sub(1);
    }
}

/// Ends a connection so that the client gets every byte: without this, unread input makes the kernel reset (RFC 9112 9.6).
async fn linger(shard: &Rc<Shard>, watch: &WatchGuard, stream: &mut TcpStream) {
    const LINGER_US: u64 = 1_000_000;
    const LINGER_BYTES_MAX: usize = 256 << 10;
    socket::shutdown_write(stream.as_raw_fd());
    watch.enter(Phase::Lingering, shard.now().mono_us + LINGER_US);
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        match socket::discard(stream).await {
            Ok(n) if n > 0 => left = left.saturating_sub(n),
            _ => return,
        }
    }
}
