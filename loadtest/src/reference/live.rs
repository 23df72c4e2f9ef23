//! A recording, sent to all viewers along one timeline: the floor of a push path (continuous MPEG-TS).
//!
//! One send per viewer and chunk, also when a chunk is late: how large sends are is the recording's choice. Whoever joins gets the chunks from
//! then on, with nothing from before. At its end the recording begins anew; the bytes are not looked at, so the stream jumps there.
//!
//! Sleeping is the timeout of `epoll_pwait2`, which is in nanoseconds, with the timer slack at 1 ns. A timerfd rests on the same
//! high-resolution timers, but costs one `timerfd_settime` and one event more per chunk.
//!
//! A server that is held up for long says so on standard error, the only thing it says while it serves, and goes on later: see [`LATE_MAX`].
//!
//! A client that closes its sending half is taken for gone.

use super::ServerConfig;
use super::http::{LIVE_HEAD, RequestScan};
use super::recording::Recording;
use super::socket::{Poller, RECEIVE_BYTES, Received, Source, event_buffer, is_end, pin, receive};
use anyhow::{Context, Result};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::thread::set_current_timer_slack;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A viewer that is further behind is cut.
pub const BEHIND_BYTES_MAX: u64 = 8 << 20;

/// A server that is later than this (too many viewers, or a core that is not its own) gives up on the recorded moments, and says so.
pub const LATE_MAX: Duration = Duration::from_millis(250);

/// What [`serve`] is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to listen.
    pub server: ServerConfig,
    /// What to send, a file of [`Recording::save`], read once at the start.
    pub recording: PathBuf,
}

/// Serves on the calling thread until the process ends. `on_listening` is called once, with the address, when connections are taken; the
/// timeline begins then.
///
/// An error when the core, the recording or the address cannot be had, and when the system runs out of descriptors or memory.
pub fn serve(config: &Config, on_listening: impl FnOnce(SocketAddr)) -> Result<()> {
    pin(config.server.core)?;
    set_current_timer_slack(NonZeroU64::new(1)).context("cannot set the timer slack")?;
    let recording = Recording::load(&config.recording)?;
    let poller = Poller::listen(&config.server)?;
    on_listening(poller.address()?);
    let mut timeline = Timeline::new(&recording);
    let mut audience = Audience::default();
    let mut received = [0; RECEIVE_BYTES];
    let mut events = event_buffer();
    let started = Instant::now();
    loop {
        let wait = timeline.due().saturating_sub(started.elapsed());
        for event in poller.wait(&mut events, Some(wait))? {
            match poller.source(event) {
                Source::Listener => {
                    while let Some(fd) = poller.accept()? {
                        audience.admit(fd);
                    }
                }
                Source::Connection(fd) => audience.advance(fd, event.flags, &timeline, &mut received),
            }
        }
        let now = started.elapsed();
        if now >= timeline.due() {
            if let Some(late) = timeline.hold_up(now) {
                // What is measured meanwhile is not the floor, so whoever measures has to see it.
                eprintln!("held up: {} ms late, the timeline goes on from here", late.as_millis());
            }
            audience.send_next(&mut timeline);
        }
    }
}

/// Where a recording that repeats stands. Positions are bytes since the start of the timeline, over all repetitions. Pure.
#[derive(Debug)]
pub struct Timeline<'r> {
    recording: &'r Recording,
    /// The chunk that is due next.
    next: usize,
    /// Whole repetitions so far.
    laps: u64,
    /// The position behind the last chunk that was due.
    released: u64,
    /// By how much everything is later than recorded.
    delay: Duration,
}

impl<'r> Timeline<'r> {
    /// At its start, with nothing released.
    pub fn new(recording: &'r Recording) -> Self {
        Self { recording, next: 0, laps: 0, released: 0, delay: Duration::ZERO }
    }

    /// When the next chunk is due, from the start of the timeline.
    pub fn due(&self) -> Duration {
        let at_us = self.recording.chunks()[self.next].at_us;
        self.delay + Duration::from_micros(self.laps * self.recording.duration_us() + at_us)
    }

    /// Moves all that is still to come when the next chunk is more than [`LATE_MAX`] late at `now`: by how much. Sent at once it would be a burst
    /// that cuts viewers for what the server did.
    pub fn hold_up(&mut self, now: Duration) -> Option<Duration> {
        let late = now.saturating_sub(self.due());
        if late <= LATE_MAX {
            return None;
        }
        self.delay += late;
        Some(late)
    }

    /// The position behind all that is released, which is where a viewer joins.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Releases the next chunk: its position and its bytes.
    pub fn release(&mut self) -> (u64, &'r [u8]) {
        let chunk = self.recording.chunks()[self.next];
        let position = self.released;
        self.released += chunk.len as u64;
        self.next += 1;
        if self.next == self.recording.chunks().len() {
            self.next = 0;
            self.laps += 1;
        }
        (position, &self.recording.bytes()[chunk.start..chunk.start + chunk.len])
    }

    /// What is released from `position` on, which is not behind [`Self::released`]: up to there, or to the end of the recording if that comes
    /// first. Empty only when `position` is all that is released.
    pub fn since(&self, position: u64) -> &'r [u8] {
        let bytes = self.recording.bytes();
        let start = (position % bytes.len() as u64) as usize;
        let left = (self.released - position).min((bytes.len() - start) as u64) as usize;
        &bytes[start..start + left]
    }
}

/// All viewers: dense, as each chunk walks over them.
#[derive(Default)]
struct Audience {
    viewers: Vec<Viewer>,
    /// By descriptor, where its viewer is in `viewers`; stale for descriptors that are closed.
    places: Vec<usize>,
}

struct Viewer {
    fd: OwnedFd,
    state: State,
}

enum State {
    /// The request is not complete.
    Asking(RequestScan),
    /// Has all that is released.
    Current,
    /// Its socket was full at this position; EPOLLOUT will come.
    Behind(u64),
}

/// Whether a viewer stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Cut,
}

impl Audience {
    fn admit(&mut self, fd: OwnedFd) {
        let index = fd.as_raw_fd() as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, 0);
        }
        self.places[index] = self.viewers.len();
        self.viewers.push(Viewer { fd, state: State::Asking(RequestScan::default()) });
    }

    /// Does what an event of the viewer with this descriptor makes possible.
    fn advance(&mut self, fd: usize, flags: EventFlags, timeline: &Timeline, received: &mut [u8; RECEIVE_BYTES]) {
        // No other connection has the descriptor yet: within the events of one wait a viewer is only cut by its own.
        let place = self.places[fd];
        if self.viewers[place].advance(flags, timeline, received) == Next::Cut {
            self.cut(place);
        }
    }

    /// Sends the next chunk to all that have what comes before it, and cuts who is too far behind.
    fn send_next(&mut self, timeline: &mut Timeline) {
        let (position, chunk) = timeline.release();
        let mut place = 0;
        while let Some(viewer) = self.viewers.get_mut(place) {
            match viewer.take_chunk(position, chunk) {
                Next::Keep => place += 1,
                Next::Cut => self.cut(place),
            }
        }
    }

    fn cut(&mut self, place: usize) {
        self.viewers.swap_remove(place);
        if let Some(moved) = self.viewers.get(place) {
            self.places[moved.fd.as_raw_fd() as usize] = place;
        }
    }
}

impl Viewer {
    fn advance(&mut self, flags: EventFlags, timeline: &Timeline, received: &mut [u8; RECEIVE_BYTES]) -> Next {
        if is_end(flags) {
            return Next::Cut;
        }
        match &mut self.state {
            State::Asking(scan) if flags.contains(EventFlags::IN) => {
                let mut requests = 0;
                let end = receive(self.fd.as_fd(), received, false, |bytes| requests += scan.push(bytes));
                match (end, requests) {
                    (Received::Ended, _) => Next::Cut,
                    (Received::Open, 0) => Next::Keep,
                    (Received::Open, _) => self.greet(),
                }
            }
            State::Behind(position) if flags.contains(EventFlags::OUT) => {
                let position = *position;
                self.catch_up(position, timeline)
            }
            _ => Next::Keep,
        }
    }

    /// The head goes into an empty buffer: a socket that does not take it whole is broken.
    fn greet(&mut self) -> Next {
        match send(&self.fd, LIVE_HEAD, SEND_FLAGS) {
            Ok(sent) if sent == LIVE_HEAD.len() => {
                self.state = State::Current;
                Next::Keep
            }
            _ => Next::Cut,
        }
    }

    fn take_chunk(&mut self, position: u64, chunk: &[u8]) -> Next {
        match self.state {
            State::Current => match self.send(chunk) {
                Some(sent) if sent == chunk.len() => Next::Keep,
                Some(sent) => {
                    self.state = State::Behind(position + sent as u64);
                    Next::Keep
                }
                None => Next::Cut,
            },
            State::Behind(at) if position + chunk.len() as u64 - at > BEHIND_BYTES_MAX => Next::Cut,
            State::Behind(_) | State::Asking(_) => Next::Keep,
        }
    }

    /// Sends what is missing from `position` on, until the socket is full again.
    fn catch_up(&mut self, mut position: u64, timeline: &Timeline) -> Next {
        loop {
            let missing = timeline.since(position);
            if missing.is_empty() {
                self.state = State::Current;
                return Next::Keep;
            }
            let Some(sent) = self.send(missing) else { return Next::Cut };
            position += sent as u64;
            if sent < missing.len() {
                self.state = State::Behind(position);
                return Next::Keep;
            }
        }
    }

    /// Bytes that the socket took, 0 when it is full; `None` when it is broken.
    fn send(&self, bytes: &[u8]) -> Option<usize> {
        loop {
            match send(&self.fd, bytes, SEND_FLAGS) {
                Ok(sent) => return Some(sent),
                Err(Errno::AGAIN) => return Some(0),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_repeats_the_recording() {
        let recording = Recording::new([(5, &b"abc"[..]), (40, b"de")], 100).unwrap();
        let mut timeline = Timeline::new(&recording);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let due_us = timeline.due().as_micros();
            let (position, bytes) = timeline.release();
            seen.push((due_us, position, std::str::from_utf8(bytes).unwrap()));
        }
        assert_eq!(seen, [(5, 0, "abc"), (40, 3, "de"), (105, 5, "abc"), (140, 8, "de"), (205, 10, "abc")]);
        assert_eq!(timeline.released(), 13);
    }

    #[test]
    fn a_long_hold_up_moves_all_that_is_to_come() {
        let ms = Duration::from_millis;
        let recording = Recording::new([(0, &b"a"[..]), (40_000, b"b")], 100_000).unwrap();
        let mut timeline = Timeline::new(&recording);
        assert_eq!(timeline.hold_up(ms(250)), None);
        timeline.release();
        assert_eq!(timeline.due(), ms(40));
        assert_eq!(timeline.hold_up(ms(341)), Some(ms(301)));
        assert_eq!(timeline.due(), ms(341));
        timeline.release();
        assert_eq!(timeline.due(), ms(401));
    }

    #[test]
    fn what_was_missed_ends_with_the_recording_or_with_what_is_released() {
        let recording = Recording::new([(0, &b"abc"[..]), (40, b"de")], 100).unwrap();
        let mut timeline = Timeline::new(&recording);
        assert_eq!(timeline.since(0), b"");
        timeline.release();
        assert_eq!(timeline.since(1), b"bc");
        assert_eq!(timeline.since(3), b"");
        timeline.release();
        assert_eq!(timeline.since(1), b"bcde");
        assert_eq!(timeline.since(5), b"");
        timeline.release();
        assert_eq!(timeline.since(1), b"bcde");
        assert_eq!(timeline.since(5), b"abc");
        assert_eq!(timeline.since(8), b"");
    }
}
