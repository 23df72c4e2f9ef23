//! One thread of the engine: its viewers, one epoll instance, and the clock.
//!
//! Sockets are registered once, edge-triggered: pausing a reader and going on costs no system call. No event allocates. What it deliberately
//! does not do: know players; a [`PlayerFactory`] makes them.

use crate::arrivals::{Arrival, Channels};
use crate::engine::io::{Io, unpack};
use crate::engine::timers::{NEVER, Timers};
use crate::engine::viewer::{Viewer, next_zap};
use crate::engine::{PlayerFactory, Publish, Spec, Start};
use crate::player::Micros;
use crate::procfs::thread_cpu_us;
use crate::random::Random;
use crate::scenario::{Arrivals, Scenario};
use crate::stats::Stats;
use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// Timers taken before events have their turn.
const TIMERS_MAX: usize = 64;
/// Every so often some viewers are looked at for time-outs, and totals are published, microseconds.
const TICK: Micros = 10_000;
/// Ticks in which all viewers are looked at.
const TICKS_PER_SWEEP: usize = 100;
/// Ticks between publishing totals.
const TICKS_PER_PUBLISH: u64 = 20;

/// A viewer's place, before, while and after it is there.
struct Place {
    arrival: Arrival,
    viewer: Option<Box<Viewer>>,
    zap_at: Micros,
    random: Random,
    bytes: u64,
    is_over: bool,
}

/// What a thread hands back.
pub struct WorkerResult {
    pub stats: Stats,
    /// Share of a core that it used since the warm-up.
    pub cpu_share: f64,
    pub files_exhausted: u64,
}

/// One thread's part of a run.
pub struct Worker<'a> {
    scenario: &'a Scenario,
    factory: &'a PlayerFactory<'a>,
    publish: &'a Publish,
    /// [`Start::epoch_us`]
    epoch_us: i64,
    io: Io,
    places: Vec<Place>,
    timers: Timers,
    urls: HashMap<(usize, u64), Rc<str>>,
    channels: Vec<Channels>,
    tick_at: Micros,
    ticks: u64,
    /// Viewers whose turn goes on in this turn of the loop.
    again: Vec<u32>,
    /// Next place that is looked at for time-outs.
    sweep: usize,
    /// Thread's CPU time and the clock when the warm-up ended, microseconds.
    cpu_begun: Option<(Micros, Micros)>,
}

impl<'a> Worker<'a> {
    /// A thread's part: the viewers in `arrivals`, on a clock that begins at `start`; `proxy` is where groups connect that go through it.
    ///
    /// # Errors
    /// No epoll instance, or a target without address.
    pub fn new(
        scenario: &'a Scenario,
        arrivals: Vec<Arrival>,
        factory: &'a PlayerFactory<'a>,
        publish: &'a Publish,
        start: Start,
        proxy: Option<SocketAddr>,
    ) -> Result<Worker<'a>> {
        let io = Io::new(scenario, start.instant, proxy)?;
        let mut timers = Timers::new(arrivals.len());
        arrivals.iter().zip(0..).for_each(|(arrival, index)| timers.set(index, arrival.at));
        Ok(Worker {
            scenario,
            factory,
            publish,
            epoch_us: start.epoch_us,
            io,
            places: arrivals.into_iter().map(Place::new).collect(),
            timers,
            urls: HashMap::new(),
            channels: scenario.group.iter().map(|group| Channels::new(group.channels, group.zipf)).collect(),
            tick_at: 0,
            ticks: 0,
            again: Vec::new(),
            sweep: 0,
            cpu_begun: None,
        })
    }

    /// Runs to the end of the scenario.
    ///
    /// # Errors
    /// A failure of epoll, or a player that cannot be made.
    pub fn run(mut self) -> Result<WorkerResult> {
        std::thread::sleep(self.io.start.saturating_duration_since(Instant::now()));
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = self.io.now();
            if now >= self.io.end {
                break;
            }
            let is_behind = events.len() >= EVENTS_MAX;
            if !is_behind {
                self.io.turn_since = now;
            }
            self.handle(&mut events)?;
            self.run_timers()?;
            self.run_again();
            self.tick(self.io.now());
            let timeout = if is_behind { Duration::ZERO } else { self.timeout() };
            let timeout = Timespec::try_from(timeout).context("a wait of hours")?;
            match epoll::wait(&self.io.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll_wait failed"),
            }
        }
        Ok(self.finish())
    }

    /// How long nothing is due.
    fn timeout(&self) -> Duration {
        if !self.io.again.is_empty() {
            return Duration::ZERO;
        }
        let next = self.timers.next().unwrap_or(NEVER).min(self.io.end).min(self.tick_at);
        Duration::from_micros(next.saturating_sub(self.io.now()))
    }

    fn handle(&mut self, events: &mut Vec<epoll::Event>) -> Result<()> {
        for event in events.drain(..) {
            let (index, lane, generation) = unpack(event.data.u64());
            let Some(viewer) = &mut self.places[index as usize].viewer else { continue };
            // A field of a packed struct may not be borrowed.
            let flags = event.flags;
            let wake = viewer.on_event(&mut self.io, lane, generation, flags);
            self.rest(index, wake);
        }
        Ok(())
    }

    fn run_timers(&mut self) -> Result<()> {
        for _ in 0..TIMERS_MAX {
            let now = self.io.now();
            let Some((index, due)) = self.timers.pop(now) else { break };
            self.visit(index, due, now)?;
        }
        Ok(())
    }

    fn run_again(&mut self) {
        std::mem::swap(&mut self.io.again, &mut self.again);
        for at in 0..self.again.len() {
            let index = self.again[at];
            let Some(viewer) = &mut self.places[index as usize].viewer else { continue };
            let wake = viewer.on_more(&mut self.io);
            self.rest(index, wake);
        }
        self.again.clear();
    }

    /// The viewer of a place is due: it arrives, zaps, or has something to do.
    fn visit(&mut self, index: u32, due: Micros, now: Micros) -> Result<()> {
        let place = &mut self.places[index as usize];
        if place.is_over {
            return Ok(());
        }
        let group = place.arrival.group;
        let wake = match place.viewer.take() {
            None => {
                // All at once is as fast as it goes: being late at that is no lag.
                let at = if is_storm(self.scenario.group[group].arrivals) { now } else { due };
                self.io.stats.lag(now, now - at);
                self.io.stats.arrived(group, now);
                self.begin(index, at)?
            }
            Some(viewer) if now >= place.zap_at => {
                self.io.stats.lag(now, now - due);
                place.bytes += viewer.end(&mut self.io, false);
                place.arrival.channel = self.channels[group].draw(&mut place.random);
                self.begin(index, due)?
            }
            Some(mut viewer) => {
                self.io.stats.lag(now, now - due);
                let wake = viewer.on_time(&mut self.io);
                place.viewer = Some(viewer);
                wake
            }
        };
        self.rest(index, wake);
        Ok(())
    }

    /// Puts a new viewer into its place.
    fn begin(&mut self, index: u32, due: Micros) -> Result<Micros> {
        let place = &mut self.places[index as usize];
        let arrival = place.arrival;
        let group = &self.scenario.group[arrival.group];
        let (target, path) = (&self.scenario.target, &group.path);
        let url = self.urls.entry((arrival.group, arrival.channel)).or_insert_with(|| {
            format!("{}{}", target.trim_end_matches('/'), path.replace("{n}", &arrival.channel.to_string())).into()
        });
        let (seed, epoch_us) = (place.random.next_u64(), self.epoch_us);
        let spec = Spec { group, url: url.clone(), checked: arrival.checked, seed, epoch_us };
        let player = (self.factory)(&spec, arrival.group)?;
        place.zap_at = next_zap(group.zap_s, due, &mut place.random);
        let mut viewer = Box::new(Viewer::new(arrival, index, player, group.reading, due));
        let wake = viewer.begin(&mut self.io, due);
        place.viewer = Some(viewer);
        Ok(wake)
    }

    /// Arms a viewer's timer, or sees it off.
    fn rest(&mut self, index: u32, wake: Micros) {
        let place = &mut self.places[index as usize];
        if place.viewer.as_ref().is_some_and(|viewer| viewer.has_left()) {
            self.timers.set(index, NEVER);
            place.is_over = true;
            place.bytes += place.viewer.take().map_or(0, |viewer| viewer.end(&mut self.io, false));
            self.io.stats.left(place.arrival.group, self.io.now());
            return;
        }
        self.timers.set(index, wake.min(place.zap_at));
    }

    /// What is done now and then.
    fn tick(&mut self, now: Micros) {
        if now < self.tick_at {
            return;
        }
        // However idle or busy the viewers are: the loop came round so late.
        self.io.stats.lag(now, now - self.tick_at);
        self.tick_at = now + TICK;
        self.ticks += 1;
        if self.cpu_begun.is_none() && self.io.stats.counts(now) {
            self.cpu_begun = Some((thread_cpu_us(), now));
        }
        for _ in 0..self.places.len().div_ceil(TICKS_PER_SWEEP) {
            self.sweep = (self.sweep + 1) % self.places.len();
            let Some(viewer) = &mut self.places[self.sweep].viewer else { continue };
            if viewer.time_out(&mut self.io, now) {
                let wake = viewer.on_time(&mut self.io);
                self.rest(self.sweep as u32, wake);
            }
        }
        if self.ticks.is_multiple_of(TICKS_PER_PUBLISH) {
            let live = &mut self.io.stats.live;
            (live.cpu, live.at) = (thread_cpu_us(), now);
            // Being read at this moment: next time.
            if let Ok(mut published) = self.publish.try_lock() {
                published.clone_from(live);
            }
        }
    }

    fn finish(mut self) -> WorkerResult {
        let (cpu_then, then) = self.cpu_begun.unwrap_or((0, 0));
        let now = self.io.now();
        let cpu_share = thread_cpu_us().saturating_sub(cpu_then) as f64 / now.saturating_sub(then).max(1) as f64;
        let warmup = self.scenario.warmup_s * 1_000_000;
        for place in self.places {
            let Some(viewer) = place.viewer else { continue };
            let bytes = place.bytes + viewer.end(&mut self.io, true);
            if place.arrival.at <= warmup {
                self.io.stats.viewer_bytes(place.arrival.group, bytes);
            }
        }
        self.io.stats.finish(self.scenario.duration_s as usize);
        WorkerResult { stats: self.io.stats, cpu_share, files_exhausted: self.io.files_exhausted }
    }
}

impl Place {
    fn new(arrival: Arrival) -> Place {
        let random = Random::new(arrival.seed);
        Place { arrival, viewer: None, zap_at: NEVER, random, bytes: 0, is_over: false }
    }
}

fn is_storm(arrivals: Arrivals) -> bool {
    matches!(arrivals, Arrivals::Flash { .. }) || arrivals == Arrivals::Ramp { over_s: 0.0 }
}
