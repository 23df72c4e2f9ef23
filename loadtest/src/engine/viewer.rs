//! One viewer: a player, its lanes' connections, and how it reads.
//!
//! It does what the player asks for, tells it what became of that, and counts. What it deliberately does not do: wait; it says when it is
//! to be visited next.

use crate::arrivals::{Arrival, Random};
use crate::engine::connection::{Connection, Exchange, Received, split_url, write_request};
use crate::engine::pace::Pace;
use crate::engine::response::{Progress, Sink};
use crate::engine::timers::NEVER;
use crate::engine::worker::Io;
use crate::player::{Action, Body, End, Fetch, FetchKind, Head, LANES_MAX, Lane, Micros, Player};
use crate::scenario::Reading;
use crate::stats::{RequestTimes, Stats};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

/// Without a byte for this long, a request has failed, microseconds. Longer than a playlist request may be held back.
const TIMEOUT: Micros = 15_000_000;
/// Reads of a lane before others have their turn.
const READS_MAX: usize = 8;
/// Actions of a player before others have their turn.
const ACTIONS_MAX: usize = 64;

/// A viewer that has arrived.
pub struct Viewer {
    pub arrival: Arrival,
    /// Its place in its thread.
    pub index: u32,
    player: Box<dyn Player>,
    lanes: [Option<Box<Connection>>; LANES_MAX as usize + 1],
    /// Lanes that are to be connected and nothing else, by bit.
    held: u8,
    pace: Pace,
    is_eager: bool,
    /// When the player is to be asked again.
    player_wake: Micros,
    /// Bytes that count.
    bytes: u64,
    seen: Seen,
    has_left: bool,
    /// Whether it is in [`Io::again`].
    is_queued: bool,
}

/// What of the player's figures is counted already.
#[derive(Default)]
struct Seen {
    stalls: u64,
    rebuffers: u64,
    rebuffer_us: Micros,
    startup: bool,
    live_latency_us: Option<Micros>,
}

/// Tells the player of what is read, and counts it.
struct Telling<'a> {
    player: &'a mut dyn Player,
    stats: &'a mut Stats,
    lane: Lane,
    now: Micros,
    group: usize,
    /// Whether a head of success was for a stream, which counts as a request from then on.
    counts_stream: bool,
}

impl Sink for Telling<'_> {
    fn head(&mut self, head: &Head<'_>) {
        if self.counts_stream && is_success(head.status) {
            self.stats.request(self.group, self.now, None);
        }
        self.player.on_head(self.lane, self.now, head);
    }

    fn body(&mut self, bytes: &[u8]) {
        self.stats.bytes(self.group, self.now, bytes.len() as u64);
        self.player.on_body(self.lane, self.now, Body::Bytes(bytes));
    }
}

impl Viewer {
    /// A viewer whose first request is due at `due`.
    pub fn new(arrival: Arrival, index: u32, player: Box<dyn Player>, reading: Reading, due: Micros) -> Viewer {
        Viewer {
            arrival,
            index,
            player,
            lanes: Default::default(),
            held: 0,
            pace: Pace::new(reading, due),
            is_eager: reading == Reading::Eager,
            player_wake: 0,
            bytes: 0,
            seen: Seen::default(),
            has_left: false,
            is_queued: false,
        }
    }

    /// Asks the player for the first time, as of the time that it was due; then when to visit it.
    pub fn begin(&mut self, io: &mut Io, due: Micros) -> Micros {
        self.ask(io, due);
        self.wake_at(io.now())
    }

    /// Something happened on a lane; then when to visit it.
    pub fn on_event(&mut self, io: &mut Io, lane: u8, generation: u32, flags: EventFlags) -> Micros {
        let Some(connection) = self.lanes[usize::from(lane)].as_mut().filter(|lane| lane.generation == generation)
        else {
            return self.wake_at(io.now());
        };
        let is_failing = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        connection.is_ending |= is_failing || flags.contains(EventFlags::RDHUP);
        connection.readable |= connection.is_ending || flags.contains(EventFlags::IN);
        if (flags.contains(EventFlags::OUT) || is_failing)
            && let Err(error) = connection.on_writable()
        {
            let was_connecting = connection.is_connecting();
            if was_connecting || !connection.readable {
                let now = io.now();
                self.fail(io, lane, now, if was_connecting { End::ConnectFailed } else { end_of(error) }, None);
            }
        }
        self.visit(io)
    }

    /// It had more to read than one turn took; then when to visit it.
    pub fn on_more(&mut self, io: &mut Io) -> Micros {
        self.is_queued = false;
        self.visit(io)
    }

    /// Its time has come; then when to visit it.
    pub fn on_time(&mut self, io: &mut Io) -> Micros {
        for connection in self.lanes.iter_mut().flatten() {
            // What is below the low-water mark: the player may be about to call it a stall.
            connection.readable |= connection.has_low_water;
        }
        self.visit(io)
    }

    /// Ends requests that nothing came for; whether there were any.
    pub fn time_out(&mut self, io: &mut Io, now: Micros) -> bool {
        let mut any = false;
        for lane in 0..=LANES_MAX {
            let Some(connection) = &self.lanes[usize::from(lane)] else { continue };
            let Some(exchange) = &connection.exchange else { continue };
            let in_body = connection.response.status().is_some();
            let may_last = in_body && (exchange.kind == FetchKind::Stream || !self.is_eager);
            if !may_last && now.saturating_sub(exchange.progress) > TIMEOUT && self.player.reads(now) {
                self.fail(io, lane, now, End::TimedOut, None);
                any = true;
            }
        }
        any
    }

    /// Closes all, counts what is left to count, and gives its bytes. With `at_end` the run is over, and the viewer was there to its end.
    pub fn end(mut self, io: &mut Io, at_end: bool) -> u64 {
        let now = io.now();
        if at_end && !self.has_left {
            // Brings its figures up to date; what it asks for is not done any more.
            let _ = self.player.poll(now);
        }
        self.account(io, now);
        let place = format!("{} {}", io.group_name(self.arrival.group), self.arrival.number);
        for violation in self.player.violations() {
            io.stats.violation(violation, &place);
        }
        self.bytes
    }

    /// Whether its player has left for good.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    fn visit(&mut self, io: &mut Io) -> Micros {
        for lane in 0..=LANES_MAX {
            self.read_lane(io, lane);
        }
        let now = io.now();
        self.ask(io, now);
        self.account(io, now);
        if !self.is_queued && self.is_ready(now) {
            self.is_queued = true;
            io.again.push(self.index);
        }
        self.wake_at(now)
    }

    fn wake_at(&self, now: Micros) -> Micros {
        if self.has_left {
            return NEVER;
        }
        let waits_to_read = |lane: &Connection| lane.readable && lane.exchange.is_some();
        let is_paced = !self.is_eager && self.lanes.iter().flatten().any(|lane| waits_to_read(lane));
        // Reading that is allowed now goes on without a timer.
        let read_wake =
            if is_paced { Some(self.pace.next(now)).filter(|at| *at > now).unwrap_or(NEVER) } else { NEVER };
        self.player_wake.min(read_wake)
    }

    /// Whether a lane has something that may be read now.
    fn is_ready(&mut self, now: Micros) -> bool {
        self.lanes.iter().flatten().any(|lane| lane.readable) && self.player.reads(now) && self.pace.allowance(now) > 0
    }

    /// Does what the player asks for.
    fn ask(&mut self, io: &mut Io, now: Micros) {
        self.player_wake = NEVER;
        for _ in 0..ACTIONS_MAX {
            match self.player.poll(now) {
                Action::Fetch(fetch) => self.fetch(io, &fetch),
                Action::Connect(lane) => self.hold(io, lane),
                Action::Wait(until) => {
                    self.player_wake = until.max(now + 1);
                    return;
                }
                Action::Leave => {
                    self.lanes = Default::default();
                    self.has_left = true;
                    return;
                }
            }
        }
        self.player_wake = now + 1_000;
    }

    fn hold(&mut self, io: &mut Io, lane: Lane) {
        self.held |= 1 << lane.0;
        if let Some(peer) = io.target_peer() {
            self.connect(io, lane.0, peer);
        }
    }

    fn fetch(&mut self, io: &mut Io, fetch: &Fetch) {
        self.held &= !(1 << fetch.lane.0);
        let now = io.now();
        let exchange = Exchange {
            url: fetch.url.clone(),
            kind: fetch.kind,
            intended: fetch.intended,
            sent: now,
            first_byte: None,
            progress: now,
            counted: false,
            retried: false,
        };
        self.send(io, fetch.lane.0, exchange);
    }

    /// Sends on the lane's connection, or on a new one.
    fn send(&mut self, io: &mut Io, lane: u8, exchange: Exchange) {
        let now = exchange.sent;
        let peer = split_url(&exchange.url).and_then(|(authority, path)| {
            write_request(&mut io.request, authority, path);
            io.peers.resolve(authority)
        });
        let slot = &mut self.lanes[usize::from(lane)];
        if slot.as_ref().is_some_and(|lane| Some(lane.peer) != peer || lane.is_ending) {
            *slot = None;
        }
        let is_connected = slot.is_some() || peer.is_some_and(|peer| self.connect(io, lane, peer));
        let Some(connection) = self.lanes[usize::from(lane)].as_mut().filter(|_| is_connected) else {
            if peer.is_none() {
                // Otherwise it is told and counted where connecting failed.
                self.report(io, lane, now, &exchange, End::ConnectFailed, None);
            }
            return;
        };
        if let Err(error) = connection.send(&io.request, exchange) {
            self.fail(io, lane, now, end_of(error), None);
        }
    }

    /// Opens the lane's connection; tells and counts a failure.
    fn connect(&mut self, io: &mut Io, lane: u8, peer: std::net::SocketAddr) -> bool {
        match io.connect(self.index, lane, self.arrival.source, peer) {
            Ok(connection) => {
                self.lanes[usize::from(lane)] = Some(Box::new(connection));
                true
            }
            Err(_) => {
                let now = io.now();
                io.stats.request(self.arrival.group, now, Some("connect"));
                self.player.on_end(Lane(lane), now, End::ConnectFailed);
                false
            }
        }
    }

    fn read_lane(&mut self, io: &mut Io, lane: u8) {
        for _ in 0..READS_MAX {
            let Some(connection) = self.lanes[usize::from(lane)].as_mut().filter(|lane| lane.readable) else { return };
            let now = io.now();
            let is_body = connection.exchange.is_some();
            let limit = if is_body { self.pace.allowance(now) } else { usize::MAX };
            if limit == 0 || is_body && !self.player.reads(now) {
                return;
            }
            let kind = connection.exchange.as_ref().map(|exchange| exchange.kind);
            let had_head = connection.response.status().is_some();
            let wants = self.player.wants_content(Lane(lane));
            let mut telling = Telling {
                player: self.player.as_mut(),
                stats: &mut io.stats,
                lane: Lane(lane),
                now,
                group: self.arrival.group,
                counts_stream: kind == Some(FetchKind::Stream),
            };
            let received = connection.receive(limit, !wants, &mut io.scratch, &mut telling);
            match received {
                Received::Blocked => return,
                Received::Bytes { count, progress, discarded } => {
                    self.received(io, lane, now, count, discarded, had_head);
                    if let Progress::Complete(_) = progress {
                        self.complete(io, lane, now);
                    }
                }
                Received::Closed => return self.closed(io, lane, now),
                Received::Failed(error) => return self.fail(io, lane, now, end_of(error), None),
                Received::Malformed(_) => return self.fail(io, lane, now, End::Short, Some("malformed")),
            }
        }
    }

    /// Counts what was read, and times the first of it.
    fn received(&mut self, io: &mut Io, lane: u8, now: Micros, count: usize, discarded: bool, had_head: bool) {
        self.pace.took(count);
        let Some(connection) = self.lanes[usize::from(lane)].as_mut() else { return };
        let has_head = connection.response.status().is_some();
        let group = self.arrival.group;
        let Some(exchange) = connection.exchange.as_mut() else { return };
        exchange.progress = now;
        if exchange.first_byte.is_none() {
            exchange.first_byte = Some(now);
            let times = RequestTimes { intended: exchange.intended, sent: exchange.sent, first_byte: now };
            io.stats.first_byte(group, exchange.kind, times);
            io.timed(now);
        }
        if io.stats.counts(now) {
            self.bytes += count as u64;
        }
        let is_stream = exchange.kind == FetchKind::Stream;
        if has_head && !had_head && is_stream {
            exchange.counted = connection.response.status().is_some_and(is_success);
            if self.is_eager && !self.player.wants_content(Lane(lane)) {
                connection.set_low_water();
            }
        }
        if discarded {
            io.stats.bytes(group, now, count as u64);
            self.player.on_body(Lane(lane), now, Body::Discarded(count));
        }
    }

    fn complete(&mut self, io: &mut Io, lane: u8, now: Micros) {
        let slot = &mut self.lanes[usize::from(lane)];
        let Some(connection) = slot.as_mut() else { return };
        let Some(exchange) = connection.exchange.take() else { return };
        let status = connection.response.status();
        connection.answers += 1;
        if connection.response.closes() || connection.has_low_water {
            *slot = None;
        }
        self.report(io, lane, now, &exchange, End::Complete, status);
    }

    /// The peer sends no more.
    fn closed(&mut self, io: &mut Io, lane: u8, now: Micros) {
        let ends = self.lanes[usize::from(lane)]
            .as_ref()
            .is_some_and(|lane| lane.exchange.is_some() && lane.response.ends_with_connection());
        if !ends {
            return self.fail(io, lane, now, End::Short, None);
        }
        self.complete(io, lane, now);
        self.lanes[usize::from(lane)] = None;
    }

    /// The lane's connection is of no more use.
    fn fail(&mut self, io: &mut Io, lane: u8, now: Micros, end: End, error: Option<&str>) {
        let Some(mut connection) = self.lanes[usize::from(lane)].take() else { return };
        let Some(mut exchange) = connection.exchange.take() else {
            if self.held & (1 << lane) != 0 {
                let error = if end == End::ConnectFailed { "connect" } else { "closed" };
                io.stats.error(self.arrival.group, now, error);
                self.player.on_end(Lane(lane), now, end);
            }
            return;
        };
        // RFC 9112, 9.3.1: a kept-alive connection may be closed at any time; then the request was not seen.
        let is_stale = connection.answers > 0 && !connection.response.is_begun() && !exchange.retried;
        if is_stale && matches!(end, End::Short | End::Reset) && error.is_none() {
            exchange.retried = true;
            drop(connection);
            return self.send(io, lane, exchange);
        }
        let status = connection.response.status();
        match error {
            Some(error) => self.report_as(io, lane, now, &exchange, end, Some(error)),
            None => self.report(io, lane, now, &exchange, end, status),
        }
    }

    fn report(&mut self, io: &mut Io, lane: u8, now: Micros, exchange: &Exchange, end: End, status: Option<u16>) {
        let bad_status = status.filter(|status| !is_success(*status)).map(|status| format!("status {status}"));
        let error = match end {
            _ if bad_status.is_some() => bad_status.as_deref(),
            End::Complete if exchange.kind == FetchKind::Stream => Some("ended"),
            End::Complete => None,
            End::Short => Some("short body"),
            End::Reset => Some("reset"),
            End::ConnectFailed => Some("connect"),
            End::TimedOut => Some("timeout"),
        };
        self.report_as(io, lane, now, exchange, end, error);
    }

    /// Counts the end of a request and tells it.
    fn report_as(&mut self, io: &mut Io, lane: u8, now: Micros, exchange: &Exchange, end: End, error: Option<&str>) {
        let group = self.arrival.group;
        match error {
            Some(error) if exchange.counted => io.stats.error(group, now, error),
            _ if exchange.counted => {}
            _ => io.stats.request(group, now, error),
        }
        if error.is_none() {
            io.stats.complete(group, exchange.kind, exchange.intended, now);
        }
        io.timed(now);
        self.player.on_end(Lane(lane), now, end);
    }

    /// Counts what the player lived through since it was looked at last.
    fn account(&mut self, io: &mut Io, now: Micros) {
        let (group, figures, seen) = (self.arrival.group, self.player.figures(), &mut self.seen);
        if (figures.stalls, figures.rebuffer_us) != (seen.stalls, seen.rebuffer_us)
            || figures.rebuffers != seen.rebuffers
        {
            let stalls = figures.stalls.saturating_sub(seen.stalls);
            let rebuffers = figures.rebuffers.saturating_sub(seen.rebuffers);
            let rebuffer_us = figures.rebuffer_us.saturating_sub(seen.rebuffer_us);
            io.stats.playback(group, now, stalls, rebuffers, rebuffer_us);
            (seen.stalls, seen.rebuffers, seen.rebuffer_us) = (figures.stalls, figures.rebuffers, figures.rebuffer_us);
        }
        if let Some(startup) = figures.startup_us.filter(|_| !seen.startup) {
            seen.startup = true;
            io.stats.startup(group, now, startup);
        }
        if figures.live_latency_us != seen.live_latency_us {
            seen.live_latency_us = figures.live_latency_us;
            figures.live_latency_us.into_iter().for_each(|latency| io.stats.live_latency(group, now, latency));
        }
    }
}

/// The time of the next zap, `NEVER` where viewers do not zap.
pub fn next_zap(zap_s: f64, now: Micros, random: &mut Random) -> Micros {
    if zap_s > 0.0 { now + (random.exponential() * zap_s * 1e6) as Micros } else { NEVER }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status) || status == 304
}

fn end_of(error: Errno) -> End {
    match error {
        Errno::TIMEDOUT => End::TimedOut,
        Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH => End::ConnectFailed,
        _ => End::Reset,
    }
}
