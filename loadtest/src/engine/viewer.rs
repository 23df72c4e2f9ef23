//! One viewer: a player, its lanes' connections, and how it reads.
//!
//! It does what the player asks for, tells it what became of that, and counts. What it deliberately does not do: wait; it says when it is
//! to be visited next.

mod answers;

use crate::arrivals::Arrival;
use crate::engine::connection::{Connection, Exchange, split_url, write_request};
use crate::engine::io::Io;
use crate::engine::pace::Pace;
use crate::engine::timers::NEVER;
use crate::player::origin_latency::Arrived;
use crate::player::{Action, End, Fetch, FetchKind, LANES_MAX, Lane, Micros, Player};
use crate::random::Random;
use crate::scenario::Reading;
use answers::end_of;
use rustix::event::epoll::EventFlags;

/// Without a byte for this long, a request has failed, microseconds. Longer than a playlist request may be held back.
const TIMEOUT: Micros = 15_000_000;
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
            // Who does not read cannot tell silence from what it left unread.
            let is_deaf = !self.is_eager && self.pace.allowance(now) == 0;
            let may_last = is_deaf || in_body && (exchange.kind == FetchKind::Stream || !self.is_eager);
            if !may_last && now.saturating_sub(exchange.progress) > TIMEOUT && self.player.reads(now) {
                self.fail(io, lane, now, End::TimedOut, None);
                any = true;
            }
        }
        any
    }

    /// Closes all, counts what is left to count, and gives its bytes. With `at_end` the run is over, and the viewer was there to its end.
    pub fn end(mut self, io: &mut Io, at_end: bool) -> u64 {
        // What it lived through up to the end still counts.
        let now = io.now().min(io.end - 1);
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
        let peer = io.target_peer(self.arrival.group);
        self.connect(io, lane.0, peer);
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
            io.peer(self.arrival.group, authority)
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

    /// Counts what the player lived through since it was looked at last.
    fn account(&mut self, io: &mut Io, now: Micros) {
        if self.arrival.checked {
            for sighting in self.player.take_sightings() {
                if let Some(violation) = io.identity.see_sighting(&sighting) {
                    let place = format!("{} {}", io.group_name(self.arrival.group), self.arrival.number);
                    io.stats.violation(violation, &place);
                }
            }
            for Arrived { at, latency_us } in self.player.take_arrived() {
                io.stats.origin_to_viewer(self.arrival.group, at, latency_us);
                io.timed(at);
            }
        }
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
