//! A TCP proxy that makes networks as bad as they are: put between the relay and its viewers, or between the relay and its origin.
//!
//! ```text
//!            accept               Plan (seed, connection's number)             connect
//!            ┌──────────────────── Connection ────────────────────┐
//!  client ◄──┤ send ◄──────────── Line "down" ◄──────────── recv  ├◄── server
//!         ──►┤ recv ────────────►  Line "up"  ────────────► send  ├──►
//!            └─────────────────────────▲──────────────────────────┘
//!                                      │ pump(now)
//!                epoll edges ──► runnable ◄── timers (what is due next)
//! ```
//!
//! [`faults`]: what can go wrong, asked for and as drawn for one connection. [`mod@line`]: the model of one direction, without sockets or
//! clock. [`connection`]: two sockets with a line each way. Here: the proxy, and the loop of its one thread.
//!
//! Without faults it is transparent to a byte stream: half-closed connections stay half closed, an end of stream comes behind what was
//! sent before it, a reset of one side is a reset of the other. Times are kept to a millisecond, never early.
//!
//! What it deliberately does not do: look into what passes, delay the handshake, or pass addresses on. A peer has the bytes before a reset
//! that its receive buffer had room for; those still in the proxy's socket buffer are lost with it, as on a real path.

pub mod connection;
mod counters;
pub mod faults;
pub mod line;

pub use counters::Counters;
pub use faults::Faults;

use crate::procfs::thread_cpu_us;
use anyhow::{Context, Result, ensure};
use clap::Args;
use connection::{Connection, Next, Progress, Side};
use counters::LiveCounters;
use faults::Plan;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4_096;
/// Events taken at once.
const EVENTS_MAX: usize = 1_024;
/// Largest read, bytes.
const READ_BYTES_MAX: usize = 1 << 16;
/// Time until accepting is tried again when descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Between two readings of the thread's processor time.
const CPU_INTERVAL: Duration = Duration::from_millis(100);
/// The listener among connection numbers and timers.
const LISTENER: u64 = u64::MAX >> 1;
/// What stops the loop, among connection numbers.
const STOP: u64 = LISTENER - 1;

/// `loadtest proxy`: the command line of a proxy.
#[derive(Args)]
pub struct ProxyArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to connect to, HOST:PORT; a name is resolved once.
    #[arg(long)]
    to: String,
    #[command(flatten)]
    faults: Faults,
}

/// Runs a proxy until the process is ended, with its counters each second when standard output is a terminal.
///
/// # Errors
/// A name without address, figures out of range, an address that cannot be listened on, or a failure of the loop.
pub fn run(args: &ProxyArgs) -> Result<()> {
    let mut addresses = args.to.to_socket_addrs().with_context(|| format!("cannot resolve {}", args.to))?;
    let to = addresses.next().with_context(|| format!("{} has no address", args.to))?;
    let mut proxy = Proxy::start(args.listen, to, args.faults.clone())?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", proxy.local_addr())?;
    while proxy.is_running() {
        thread::sleep(Duration::from_secs(1));
        if stdout.is_terminal() {
            writeln!(stdout, "{}", proxy.counters())?;
        }
    }
    proxy.stop()
}

/// A proxy that runs in a thread of its own until it is dropped, which closes its connections.
pub struct Proxy {
    local_addr: SocketAddr,
    counters: Arc<LiveCounters>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Proxy {
    /// Listens on `listen` (port 0 takes a free one) and forwards each connection to `to`, with `faults` in the way. Raises the process's
    /// limit of open files as far as it may: a connection takes two.
    ///
    /// # Errors
    /// Faults out of range, or an address that cannot be listened on.
    pub fn start(listen: SocketAddr, to: SocketAddr, faults: Faults) -> Result<Proxy> {
        faults.validate()?;
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Refused: then fewer connections are accepted at once.
        let _ = setrlimit(Resource::Nofile, limit);
        let listener = listener(listen, &faults).with_context(|| format!("cannot listen on {listen}"))?;
        let local_addr: SocketAddr = net::getsockname(&listener)?.try_into()?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let counters = Arc::new(LiveCounters::default());
        let mut events = EventLoop::new(listener, to, faults, counters.clone(), stop.clone())?;
        let thread = thread::Builder::new().name(format!("proxy:{}", local_addr.port())).spawn(move || events.run())?;
        Ok(Proxy { local_addr, counters, stop, thread: Some(thread) })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.counters.read()
    }

    /// Whether its loop goes on; only a failure of epoll ends it otherwise.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops it, as dropping does, and says how its loop went.
    ///
    /// # Errors
    /// The failure that ended the loop.
    pub fn stop(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        io::write(&self.stop, &1_u64.to_ne_bytes())?;
        let ended = thread.join();
        ensure!(ended.is_ok(), "the proxy's thread panicked");
        ended.unwrap_or(Ok(()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("proxy on {}: {error:#}", self.local_addr);
        }
    }
}

/// The loop of the proxy's thread.
struct EventLoop {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// Where connections go to.
    to: SocketAddr,
    faults: Faults,
    counters: Arc<LiveCounters>,
    /// Readable when the loop is to end.
    _stop: Arc<OwnedFd>,
    start: Instant,
    /// By number, in the order of acceptance; a number is never used again, so an event of a closed connection finds nothing.
    connections: HashMap<u64, (Connection, Option<Duration>)>,
    /// Each connection's time to wake, if it has one, and the listener's.
    timers: BTreeSet<(Duration, u64)>,
    /// Connections with something to do.
    runnable: HashSet<u64>,
    next_number: u64,
}

impl EventLoop {
    fn new(
        listener: OwnedFd,
        to: SocketAddr,
        faults: Faults,
        counters: Arc<LiveCounters>,
        stop: Arc<OwnedFd>,
    ) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // A listener and an eventfd: not for writing, which the latter always is ready for.
        for (source, number) in [(listener.as_fd(), LISTENER), (stop.as_fd(), STOP)] {
            register(&epoll, source, number, Side::Client, epoll::EventFlags::IN)?;
        }
        Ok(EventLoop {
            epoll,
            listener,
            to,
            faults,
            counters,
            _stop: stop,
            start: Instant::now(),
            connections: HashMap::new(),
            timers: BTreeSet::new(),
            runnable: HashSet::new(),
            next_number: 0,
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut scratch = vec![0; READ_BYTES_MAX];
        let mut cpu_due = Duration::ZERO;
        loop {
            let timeout = self.timeout().map(rustix::event::Timespec::try_from).transpose()?;
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll_wait failed"),
            }
            let now = self.start.elapsed();
            for event in events.drain(..) {
                let (number, side) = unpack(event.data.u64());
                match number {
                    STOP => return Ok(()),
                    LISTENER => self.accept(now),
                    _ => {
                        if let Some((connection, _)) = self.connections.get_mut(&number) {
                            connection.on_event(side, event.flags);
                            self.runnable.insert(number);
                        }
                    }
                }
            }
            self.fire_timers(now);
            for number in std::mem::take(&mut self.runnable) {
                self.pump(number, now, &mut scratch);
            }
            if now >= cpu_due {
                self.counters.cpu_us.store(thread_cpu_us(), Relaxed);
                cpu_due = now + CPU_INTERVAL;
            }
        }
    }

    /// How long to wait for events; without end when nothing will be due. The kernel rounds up to a millisecond.
    fn timeout(&self) -> Option<Duration> {
        if !self.runnable.is_empty() {
            return Some(Duration::ZERO);
        }
        self.timers.first().map(|(wake, _)| wake.saturating_sub(self.start.elapsed()))
    }

    fn fire_timers(&mut self, now: Duration) {
        while let Some(&(wake, number)) = self.timers.first().filter(|(wake, _)| *wake <= now) {
            self.timers.remove(&(wake, number));
            if let Some((_, wake)) = self.connections.get_mut(&number) {
                *wake = None;
                self.runnable.insert(number);
            } else {
                self.accept(now);
            }
        }
    }

    /// Accepts all that wait.
    fn accept(&mut self, now: Duration) {
        loop {
            match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(client) => self.open(client, now),
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.timers.insert((now + ACCEPT_RETRY, LISTENER));
                    return;
                }
                // Of the connection, which was gone before it was accepted (accept(2), "Error handling").
                Err(_) => {}
            }
        }
    }

    fn open(&mut self, client: OwnedFd, now: Duration) {
        let number = self.next_number;
        self.next_number += 1;
        self.counters.connections.fetch_add(1, Relaxed);
        let plan = self.faults.plan(number, now);
        if plan.refuse {
            self.counters.refused.fetch_add(1, Relaxed);
            return;
        }
        match self.connect(client, number, plan) {
            Ok(connection) => {
                self.connections.insert(number, (connection, None));
                self.counters.open.fetch_add(1, Relaxed);
            }
            Err(_) => {
                self.counters.failures.fetch_add(1, Relaxed);
            }
        }
    }

    /// Connects to where connections go to, and registers both sockets. On an error `client` is reset.
    fn connect(&self, client: OwnedFd, number: u64, plan: Plan) -> io::Result<Connection> {
        net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
        net::sockopt::set_tcp_nodelay(&client, true)?;
        let connection = Connection::new(client, connect(self.to, &self.faults)?, plan);
        for side in [Side::Client, Side::Server] {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
            register(&self.epoll, connection.socket(side), number, side, flags)?;
        }
        net::sockopt::set_socket_linger(connection.socket(Side::Client), None)?;
        Ok(connection)
    }

    fn pump(&mut self, number: u64, now: Duration, scratch: &mut [u8]) {
        let Some((connection, wake)) = self.connections.get_mut(&number) else { return };
        let mut progress = Progress::default();
        let next = connection.pump(now, scratch, &mut progress);
        count(&self.counters, &progress);
        if let Some(wake) = wake.take() {
            self.timers.remove(&(wake, number));
        }
        let ended = match next {
            Next::Again => {
                self.runnable.insert(number);
                return;
            }
            Next::Wait(next) => {
                *wake = next;
                self.timers.extend(next.map(|wake| (wake, number)));
                return;
            }
            Next::Over => None,
            Next::Reset => Some(&self.counters.resets),
            Next::Failed => Some(&self.counters.failures),
        };
        if let Some(counter) = ended {
            connection.reset();
            counter.fetch_add(1, Relaxed);
        }
        // Counted before the sockets close: who sees them closed finds it counted.
        self.counters.open.fetch_sub(1, Relaxed);
        self.connections.remove(&number);
    }
}

fn count(counters: &LiveCounters, progress: &Progress) {
    counters.bytes_down.fetch_add(progress.bytes_down, Relaxed);
    counters.bytes_up.fetch_add(progress.bytes_up, Relaxed);
    counters.stalls.fetch_add(progress.stalls, Relaxed);
    counters.half_opens.fetch_add(u64::from(progress.half_opened), Relaxed);
}

/// Registers a socket once and for all, for the edges in `flags`.
fn register(
    epoll: &OwnedFd,
    socket: BorrowedFd<'_>,
    number: u64,
    side: Side,
    flags: epoll::EventFlags,
) -> io::Result<()> {
    let data = (number << 1) | u64::from(side == Side::Server);
    epoll::add(epoll, socket, epoll::EventData::new_u64(data), flags | epoll::EventFlags::ET)
}

fn unpack(data: u64) -> (u64, Side) {
    (data >> 1, if data & 1 == 0 { Side::Client } else { Side::Server })
}

fn listener(address: SocketAddr, faults: &Faults) -> io::Result<OwnedFd> {
    // Buffers before listen: accepted sockets inherit them, and the window scale is fixed by the handshake.
    let socket = socket(address, faults)?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket that connects to `address`; it is writable once it has.
fn connect(address: SocketAddr, faults: &Faults) -> io::Result<OwnedFd> {
    let socket = socket(address, faults)?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// A non-blocking socket whose buffers hold no more than the proxy's queue is meant to.
fn socket(address: SocketAddr, faults: &Faults) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    let bytes = faults.queue_bytes().min(i32::MAX as usize / 2);
    net::sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    net::sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    Ok(socket)
}
