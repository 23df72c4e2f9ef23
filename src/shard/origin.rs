//! Carries out what the origin's state machine says: resolve, connect, send, read, and hand the body to the session.
//!
//! One task per session, and so at most one connection per channel. It retries for as long as the session lives. When
//! the pacer says wait, it does not read, and the origin feels it through TCP.

use super::Shard;
use super::deadlines::{Phase, WatchGuard};
use super::owner::Owned;
use super::socket;
use super::tick;
use crate::config;
use crate::limits::{ORIGIN_ADDRESSES_MAX, ORIGIN_READ_BYTES, ORIGIN_WORTH_BYTES_MAX};
use crate::origin::{Action, HttpOrigin, OriginError, OriginTimeouts, Outcome, Retry};
use crate::session::OriginEvent;
use futures_lite::FutureExt;
use glommio::net::TcpStream;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

/// Longest sleep before the task looks whether it has to end, microseconds.
const NAP_US: u64 = 100_000;

/// Starts the origin task of a session.
pub(crate) fn spawn(shard: &Rc<Shard>, owned: &Rc<Owned>) {
    let (shard, owned) = (shard.clone(), owned.clone());
    let task = async move {
        if AssertUnwindSafe(run(&shard, &owned)).catch_unwind().await.is_err() {
            owned.panicked(&shard);
        }
    };
    glommio::spawn_local(task).detach();
}

async fn run(shard: &Rc<Shard>, owned: &Rc<Owned>) {
    let channel = &shard.relay.channels[owned.channel as usize].config;
    let mut retry = Retry::new(channel.origins.len(), shard.relay.config.origin.retry_ms_max);
    while !owned.stop.get() {
        let origin = &channel.origins[retry.url_index()];
        owned.on_origin(shard, OriginEvent::Connecting, shard.now());
        let outcome = match Attempt::new(shard, owned, origin) {
            Ok(attempt) => attempt.run(&mut retry).await,
            Err(error) => Outcome::Failed(error),
        };
        if owned.stop.get() {
            return;
        }
        let why = match outcome {
            Outcome::Ended(_) => "the origin ended the stream".to_owned(),
            Outcome::Failed(error) => error.to_string(),
        };
        tracing::warn!(channel = channel.id, origin = %origin.url, why, "origin lost");
        owned.on_origin(shard, OriginEvent::Down(why.into()), shard.now());
        retry.on_lost(shard.now());
        sleep_until(shard, owned, retry.attempt_at_us()).await;
    }
}

/// Sleeps in short naps, so that the end of the session is never far.
async fn sleep_until(shard: &Rc<Shard>, owned: &Rc<Owned>, at_us: u64) {
    while !owned.stop.get() {
        let left_us = at_us.saturating_sub(shard.now().mono_us);
        if left_us == 0 {
            return;
        }
        glommio::timer::sleep(Duration::from_micros(left_us.min(NAP_US))).await;
    }
}

/// One attempt, redirects included.
struct Attempt<'a> {
    shard: &'a Rc<Shard>,
    owned: &'a Rc<Owned>,
    machine: HttpOrigin,
    connect_ms: u64,
    stall_us: u64,
    connection: Option<Connection>,
    is_live: bool,
    /// Reading was held back since the last read.
    paused: bool,
}

/// Dropped in this order: the watch ends before the descriptor is closed.
struct Connection {
    watch: WatchGuard,
    stream: TcpStream,
    worth: Worth,
}

/// How many bytes of the origin are worth a wake-up: what comes in half the time between two pushes to viewers, as it came in the last second. What is
/// less waits for a beat after that time. Many origins send each packet by itself.
struct Worth {
    /// The time of media that is worth it, microseconds.
    us: u64,
    /// Never more than half of what is pushed whatever the time, bytes.
    max: u64,
    /// When something came last, monotonic, microseconds.
    read_us: u64,
    /// What came in the second that is counted, and when that began.
    bytes: u64,
    since_us: u64,
    /// What the socket waits for, bytes.
    set: u64,
}

impl Worth {
    fn new(flush_ms: u64, flush_bytes: usize, now_us: u64) -> Worth {
        let max = (flush_bytes as u64 / 2).min(ORIGIN_WORTH_BYTES_MAX);
        Worth { us: flush_ms * 1_000 / 2, max, read_us: now_us, since_us: now_us, bytes: 0, set: 1 }
    }

    /// Whether what is there is to be read, however little it is.
    fn is_due(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.read_us) >= self.us
    }

    /// Counts what came, and says what is worth a wake-up from now on when that has changed.
    fn came(&mut self, bytes: usize, now_us: u64) -> Option<usize> {
        const SECOND_US: u64 = 1_000_000;
        self.bytes += bytes as u64;
        self.read_us = now_us;
        let passed_us = now_us.saturating_sub(self.since_us);
        if passed_us < SECOND_US {
            return None;
        }
        let worth = (self.bytes * self.us / passed_us).clamp(1, self.max);
        (self.since_us, self.bytes) = (now_us, 0);
        let is_news = worth.abs_diff(self.set) > self.set / 4;
        self.set = if is_news { worth } else { self.set };
        is_news.then_some(worth as usize)
    }
}

impl<'a> Attempt<'a> {
    fn new(shard: &'a Rc<Shard>, owned: &'a Rc<Owned>, origin: &config::Origin) -> Result<Self, OriginError> {
        let rules = &shard.relay.config.origin;
        let timeouts = OriginTimeouts {
            connect_ms: rules.connect_ms,
            first_byte_ms: rules.first_byte_ms,
            stall_ms: rules.stall_ms,
        };
        let mut headers: Vec<(String, String)> =
            origin.headers.iter().map(|h| (h.name.clone(), h.value.expose().to_owned())).collect();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            headers.push(("User-Agent".into(), rules.user_agent.clone()));
        }
        let machine = HttpOrigin::new(origin.url.clone(), headers, timeouts, shard.now())?;
        Ok(Attempt {
            shard,
            owned,
            machine,
            connect_ms: rules.connect_ms,
            stall_us: rules.stall_ms * 1_000,
            connection: None,
            is_live: false,
            paused: false,
        })
    }

    async fn run(mut self, retry: &mut Retry) -> Outcome {
        let mut buf = vec![0; ORIGIN_READ_BYTES];
        let mut body = Vec::new();
        loop {
            if self.owned.stop.get() {
                return Outcome::Failed(OriginError::Io("nobody watches".into()));
            }
            match self.machine.poll() {
                Action::Done(outcome) => return outcome.clone(),
                Action::Connect { host, port } => {
                    self.connection = None;
                    let (host, port) = (host.to_owned(), port);
                    self.connect(host, port).await;
                }
                Action::Send(bytes) => {
                    let bytes = bytes.to_vec();
                    self.send(&bytes).await;
                }
                Action::Read => {
                    body.clear();
                    self.read(&mut buf, &mut body).await;
                    if !body.is_empty() {
                        retry.on_data(self.shard.now());
                        self.feed(&body).await;
                        tick::beat_along(self.shard).await;
                    }
                    // An origin that sends as fast as this reads never makes the socket wait, and would hold the shard.
                    glommio::executor().yield_if_needed().await;
                }
            }
        }
    }

    async fn connect(&mut self, host: String, port: u16) {
        let stream = match resolve(host, port).await {
            Ok(addresses) => self.connect_to_any(&addresses).await,
            Err(error) => Err(error),
        };
        let now = self.shard.now();
        match stream {
            Ok(stream) => {
                self.shard.relay.channels[self.owned.channel as usize].shared.counters.origin_connections.add(1);
                socket::tune(stream.as_raw_fd(), 0);
                let watch = self.shard.deadlines.watch(stream.as_raw_fd(), Phase::Origin, u64::MAX);
                self.owned.set_origin_socket(Some(watch.handle()));
                let media = &self.shard.relay.config.media;
                let worth = Worth::new(media.live_flush_ms, media.live_flush_bytes, now.mono_us);
                self.connection = Some(Connection { watch, stream, worth });
                self.machine.on_connected(now);
            }
            Err(error) => self.machine.on_io_error(&reason(&error)),
        }
    }

    /// One address after the other: `localhost` is often ::1 first, where the origin need not listen.
    async fn connect_to_any(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let timeout = Duration::from_millis(self.connect_ms);
        let mut outcome = Err(io::Error::other("the host name has no address"));
        for addr in addresses.iter().take(ORIGIN_ADDRESSES_MAX) {
            if self.owned.stop.get() {
                break;
            }
            outcome = TcpStream::connect_timeout(*addr, timeout).await.map_err(io::Error::from);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn send(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        let fd = connection.stream.as_raw_fd();
        match socket::send_all(&mut connection.stream, fd, bytes, false).await {
            Ok(()) => self.machine.on_sent(bytes.len()),
            Err(error) => self.machine.on_io_error(&reason(&error)),
        }
    }

    async fn read(&mut self, buf: &mut [u8], body: &mut Vec<u8>) {
        let Some(connection) = &mut self.connection else { return };
        // An origin that was not read while the pacer waited is not to blame: it gets its full time from now on.
        let resumed_us = if self.paused { self.shard.now().mono_us + self.stall_us } else { 0 };
        self.paused = false;
        connection.watch.extend(self.machine.next_deadline().unwrap_or(u64::MAX).max(resumed_us));
        let is_due = || connection.worth.is_due(self.shard.now().mono_us);
        let result = socket::read_on_beat(&mut connection.stream, buf, &self.shard.beats, is_due).await;
        let now = self.shard.now();
        if let Ok(count) = result
            && let Some(bytes) = connection.worth.came(count, now.mono_us)
        {
            socket::wait_for_bytes(connection.stream.as_raw_fd(), bytes);
        }
        match result {
            _ if connection.watch.was_cut() => {
                self.machine.on_deadline(now);
                self.machine.on_closed();
            }
            Ok(0) => self.machine.on_closed(),
            Ok(n) => self.machine.on_bytes(&buf[..n], now, &mut |part| body.extend_from_slice(part)),
            Err(error) => self.machine.on_io_error(&reason(&error)),
        }
    }

    /// Hands body bytes to the session, in the pacer's time.
    async fn feed(&mut self, mut body: &[u8]) {
        let counters = &self.shard.relay.channels[self.owned.channel as usize].shared.counters;
        counters.origin_bytes.add(body.len() as u64);
        if !self.is_live {
            self.is_live = true;
            self.owned.on_origin(self.shard, OriginEvent::Connected, self.shard.now());
        }
        while !body.is_empty() && !self.owned.stop.get() {
            let Some(ingested) = self.owned.ingest(self.shard, body, self.shard.now()) else { return };
            body = &body[ingested.consumed..];
            if let Some(at_us) = ingested.resume_us {
                self.paused = true;
                sleep_until(self.shard, self.owned, at_us).await;
            }
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.owned.set_origin_socket(None);
    }
}

/// What the system says, as the end of a sentence: `connection refused`, not `Connection refused (os error 111)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let mut chars = text.split(" (os error").next().unwrap_or_default().chars();
    chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect()
}

/// Resolves on a thread of the executor's pool: the system's resolver blocks.
async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let lookup = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    glommio::executor().spawn_blocking(lookup).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_a_wake_up_follows_the_bit_rate() {
        let mut worth = Worth::new(40, 1 << 20, 0);
        // 3 Mb/s: 7,500 bytes in 20 ms.
        let mut came = |range: std::ops::RangeInclusive<u64>, bytes| {
            range.filter_map(|ms| worth.came(bytes, ms * 1_000)).collect::<Vec<_>>()
        };
        assert_eq!(came(1..=3_000, 375), [7_500]);
        assert!(came(3_001..=4_000, 400).is_empty(), "a little more is no news");
        assert_eq!(came(4_001..=5_000, 10), [200]);
        assert_eq!(came(5_001..=6_000, 100_000), [ORIGIN_WORTH_BYTES_MAX as usize]);
        assert!(!worth.is_due(6_019_000) && worth.is_due(6_020_000));
        let mut at_once = Worth::new(0, 1 << 20, 0);
        assert_eq!((1..=3_000).filter_map(|ms| at_once.came(375, ms * 1_000)).count(), 0);
    }

    #[test]
    fn a_reason_ends_the_sentence_that_it_stands_in() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(
            OriginError::Io(reason(&refused)).to_string(),
            "connection to the origin failed: connection refused"
        );
        assert_eq!(reason(&io::Error::other("the host name has no address")), "the host name has no address");
        assert_eq!(reason(&io::Error::other("")), "");
    }
}
