//! What the viewers of one thread share: clock, counts, buffers, and the making of connections.
//!
//! What it deliberately does not do: decide anything.

use crate::check::identity::Identity;
use crate::engine::connection::{Connection, DISCARD_BYTES_MAX, split_url};
use crate::player::Micros;
use crate::scenario::{Group, Scenario, Through};
use crate::stats::Stats;
use anyhow::{Context, Result};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::{self, Errno};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Instant;

/// Bits of a token that hold the connection's generation; the lane is above them, the viewer in the upper half.
const GENERATION_BITS: u32 = 28;

/// URLs of segments whose bytes a thread remembers.
const URLS_REMEMBERED_MAX: usize = 4_096;

/// What a thread's viewers share.
pub struct Io {
    pub epoll: OwnedFd,
    /// When the clock shows 0.
    pub start: Instant,
    /// The run's end.
    pub end: Micros,
    pub stats: Stats,
    /// What this thread's checked viewers got.
    pub identity: Identity,
    /// What is read, [`DISCARD_BYTES_MAX`].
    pub scratch: Vec<u8>,
    /// The request that is written.
    pub request: Vec<u8>,
    peers: Peers,
    /// Viewers that have more to read than one turn took.
    pub again: Vec<u32>,
    /// When what is being done now could have been done first.
    pub turn_since: Micros,
    generation: u32,
    spreads_sources: bool,
    target: SocketAddr,
    proxy: Option<SocketAddr>,
    groups: Vec<Group>,
    /// Connections that found no free file descriptor.
    pub files_exhausted: u64,
}

/// Addresses by authority; a name is looked up once, which blocks the thread that once.
#[derive(Default)]
pub struct Peers(Vec<(String, Option<SocketAddr>)>);

impl Io {
    /// For a thread that runs `scenario` on a clock that begins at `start`; `proxy` is where groups connect that go through it.
    ///
    /// # Errors
    /// No epoll instance, or a target without address.
    pub fn new(scenario: &Scenario, start: Instant, proxy: Option<SocketAddr>) -> Result<Io> {
        let mut peers = Peers::default();
        let target = peers.target(&scenario.target)?;
        Ok(Io {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            start,
            end: scenario.duration_s * 1_000_000,
            stats: Stats::new(scenario.group.len(), scenario.warmup_s * 1_000_000, scenario.duration_s * 1_000_000),
            identity: Identity::new(URLS_REMEMBERED_MAX),
            scratch: vec![0; DISCARD_BYTES_MAX],
            request: Vec::new(),
            peers,
            again: Vec::new(),
            turn_since: 0,
            generation: 0,
            spreads_sources: scenario.source_addresses > 1,
            target,
            proxy,
            groups: scenario.group.clone(),
            files_exhausted: 0,
        })
    }

    /// Since the run began; 0 before.
    pub fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// Something was timed at `now`: notes how late the thread was to see it.
    pub fn timed(&mut self, now: Micros) {
        self.stats.lag(now, now.saturating_sub(self.turn_since));
    }

    /// Where viewers of a group connect for the scenario's target.
    pub fn target_peer(&self, group: usize) -> SocketAddr {
        match self.groups[group].through {
            Through::Direct => self.target,
            Through::Proxy => self.proxy.unwrap_or(self.target),
        }
    }

    /// Where viewers of a group connect for an authority; `None`: it has no address.
    pub fn peer(&mut self, group: usize, authority: &str) -> Option<SocketAddr> {
        let peer = self.peers.resolve(authority)?;
        Some(if peer == self.target { self.target_peer(group) } else { peer })
    }

    /// For the place of a violation.
    pub fn group_name(&self, group: usize) -> &str {
        &self.groups[group].name
    }

    /// Opens a connection for a viewer's lane, from its source address where the peer is on this machine.
    pub fn connect(&mut self, viewer: u32, lane: u8, source: u8, peer: SocketAddr) -> io::Result<Connection> {
        self.generation = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
        let token = u64::from(viewer) << 32 | u64::from(lane) << GENERATION_BITS | u64::from(self.generation);
        let source = Some(source).filter(|_| self.spreads_sources && peer.is_ipv4() && peer.ip().is_loopback());
        let connection = Connection::open(peer, source, self.generation, &self.epoll, token);
        match connection {
            Err(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => self.stats.ports_exhausted += 1,
            Err(Errno::MFILE | Errno::NFILE) => self.files_exhausted += 1,
            _ => {}
        }
        connection
    }
}

impl Peers {
    /// Of a scenario's target.
    ///
    /// # Errors
    /// It is no `http` URL, or has no address.
    pub fn target(&mut self, url: &str) -> Result<SocketAddr> {
        let peer = split_url(url).and_then(|(authority, _)| self.resolve(authority));
        peer.with_context(|| format!("the target {url:?} is no http:// URL with an address"))
    }

    /// `None`: it has no address.
    pub fn resolve(&mut self, authority: &str) -> Option<SocketAddr> {
        if let Some((_, peer)) = self.0.iter().find(|(known, _)| known == authority) {
            return *peer;
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let peer = with_port.to_socket_addrs().ok().and_then(|mut found| found.next());
        self.0.push((authority.to_owned(), peer));
        peer
    }
}

/// Viewer, lane and generation of a connection's events.
pub fn unpack(token: u64) -> (u32, u8, u32) {
    let generation = token as u32 & ((1 << GENERATION_BITS) - 1);
    ((token >> 32) as u32, (token >> GENERATION_BITS & 0xf) as u8, generation)
}
