//! What both reference servers do with the operating system: pin, listen, accept, wait.
//!
//! No connection state: the servers keep that, found by the descriptor that an event carries.

use super::ServerConfig;
use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

/// Room for the events of one wait, left uninitialized as the kernel fills it.
pub(super) type EventBuffer = [MaybeUninit<epoll::Event>; EVENTS_MAX];

const EVENTS_MAX: usize = 1024;

/// Bytes one `recv` may take. A request of a player fits several times.
pub(super) const RECEIVE_BYTES: usize = 16 << 10;

/// The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A listening socket and the epoll instance that it and its connections are registered with.
pub(super) struct Poller {
    epoll: OwnedFd,
    listener: OwnedFd,
}

/// What an event is about.
pub(super) enum Source {
    Listener,
    /// The connection with this descriptor.
    Connection(usize),
}

impl Poller {
    /// Listens as `config` says. Also lifts the limit of open files as far as the system lets it, as each viewer is one.
    pub(super) fn listen(config: &ServerConfig) -> Result<Self> {
        lift_file_limit()?;
        let listener = listener(config).with_context(|| format!("cannot listen on {}", config.listen))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot create an epoll instance")?;
        // Level triggered: connections that one wait-round leaves in the queue are reported again.
        epoll::add(&epoll, &listener, data_of(&listener), epoll::EventFlags::IN)?;
        Ok(Self { epoll, listener })
    }

    /// The address that is listened on, with its port.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.listener)?)?)
    }

    /// Waits until something happens or `timeout` is over (`None`: for ever). A signal ends the wait with no events.
    pub(super) fn wait<'b>(
        &self,
        events: &'b mut EventBuffer,
        timeout: Option<Duration>,
    ) -> Result<&'b mut [epoll::Event]> {
        let timeout =
            timeout.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
        match wait_initialized(&self.epoll, events, timeout.as_ref()) {
            Ok(events) => Ok(events),
            Err(Errno::INTR) => Ok(&mut []),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    pub(super) fn source(&self, event: &epoll::Event) -> Source {
        let fd = event.data.u64();
        if fd == self.listener.as_raw_fd() as u64 { Source::Listener } else { Source::Connection(fd as usize) }
    }

    /// The next connection of the queue, not blocking and registered, or `None` when the queue is empty. Its options (TCP_NODELAY,
    /// TCP_NOTSENT_LOWAT) are those of the listener, as Linux copies them: no call for each connection.
    ///
    /// Out of descriptors or memory is an error: a floor that turns viewers away is none.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>> {
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(connection) => {
                    let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                    let flags = both | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
                    epoll::add(&self.epoll, &connection, data_of(&connection), flags)?;
                    return Ok(Some(connection));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // The client gave up in the queue.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return Err(error).context("cannot accept a connection"),
            }
        }
    }
}

/// An empty buffer for [`Poller::wait`].
pub(super) fn event_buffer() -> Box<EventBuffer> {
    Box::new([MaybeUninit::uninit(); EVENTS_MAX])
}

/// Whether an event says that the peer will send nothing more, or that the connection is broken.
pub(super) fn is_end(flags: epoll::EventFlags) -> bool {
    flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
}

/// What a `recv` until the socket is empty came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There may be more later, which a new event will say.
    Open,
    /// The peer sent its end, or the connection is broken.
    Ended,
}

/// Receives all there is and hands it to `take`. A read that does not fill the buffer is the last one (epoll(7), question 9), unless the
/// event told of an end (`is_end`), which only a read of nothing confirms.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8; RECEIVE_BYTES],
    is_end: bool,
    mut take: impl FnMut(&[u8]),
) -> Received {
    loop {
        match rustix::net::recv(fd, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Received::Ended,
            Ok((count, _)) => {
                take(&buffer[..count]);
                if count < RECEIVE_BYTES && !is_end {
                    return Received::Open;
                }
            }
            Err(Errno::AGAIN) => return Received::Open,
            Err(Errno::INTR) => {}
            Err(_) => return Received::Ended,
        }
    }
}

/// Pins the calling thread to one CPU.
pub(super) fn pin(core: Option<usize>) -> Result<()> {
    let Some(core) = core else { return Ok(()) };
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cpus = CpuSet::new();
    cpus.set(core);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot pin to core {core}"))
}

fn listener(config: &ServerConfig) -> Result<OwnedFd> {
    let family = if config.listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    sockopt::set_tcp_nodelay(&listener, true)?;
    if config.notsent_lowat_bytes > 0 {
        SockRef::from(&listener).set_tcp_notsent_lowat(config.notsent_lowat_bytes)?;
    }
    rustix::net::bind(&listener, &config.listen)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn lift_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot lift the limit of open files")
}

fn data_of(fd: &impl AsRawFd) -> epoll::EventData {
    epoll::EventData::new_u64(fd.as_raw_fd() as u64)
}

/// The initialized part of the buffer after a wait.
fn wait_initialized<'b>(
    epoll: impl AsFd,
    events: &'b mut EventBuffer,
    timeout: Option<&Timespec>,
) -> rustix::io::Result<&'b mut [epoll::Event]> {
    epoll::wait(epoll, &mut events[..], timeout).map(|(filled, _)| filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn connections_have_the_options_of_the_listener() {
        let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), core: None, notsent_lowat_bytes: 77_777 };
        let poller = Poller::listen(&config).unwrap();
        assert!(poller.accept().unwrap().is_none());
        let _client = TcpStream::connect(poller.address().unwrap()).unwrap();
        let mut events = event_buffer();
        let events = poller.wait(&mut events, None).unwrap();
        assert!(matches!(poller.source(&events[0]), Source::Listener));
        let connection = poller.accept().unwrap().unwrap();
        assert!(sockopt::tcp_nodelay(&connection).unwrap());
        assert_eq!(SockRef::from(&connection).tcp_notsent_lowat().unwrap(), 77_777);
    }

    #[test]
    fn a_wait_is_not_rounded_to_milliseconds() {
        let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), core: None, notsent_lowat_bytes: 0 };
        let poller = Poller::listen(&config).unwrap();
        let mut events = event_buffer();
        let shortest = (0..50).map(|_| {
            let started = std::time::Instant::now();
            assert!(poller.wait(&mut events, Some(Duration::from_micros(200))).unwrap().is_empty());
            started.elapsed()
        });
        let shortest = shortest.min().unwrap();
        assert!((200..1_000).contains(&shortest.as_micros()), "{shortest:?}");
    }

    #[test]
    fn no_such_core_is_an_error() {
        assert!(pin(Some(CpuSet::MAX_CPU)).is_err());
        assert!(pin(Some(CpuSet::MAX_CPU - 1)).is_err());
        pin(None).unwrap();
    }
}
