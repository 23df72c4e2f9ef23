//! Viewers as players are, without sockets or clock: time comes in as an argument, requests come out.
//!
//! What it deliberately does not do: connect, parse HTTP, or decode.

pub mod abr;
pub mod buffer;
pub mod dash;
pub mod hls;
pub mod idle;
pub mod mpd;
pub mod object;
pub mod origin_latency;
pub mod playlist;
mod session;
#[cfg(test)]
mod simulation;
pub mod stream;
mod transfer;
pub mod url;

use crate::check::Sighting;
use crate::result::Violation;
use origin_latency::Arrived;
use std::rc::Rc;

/// Microseconds since the run began.
pub type Micros = u64;

/// A viewer. The engine asks [`Player::poll`] for what to do, and tells what became of it.
pub trait Player {
    /// What to do next, now and after each thing that was told. A player with nothing more to say on any lane waits.
    fn poll(&mut self, now: Micros) -> Action;
    /// The head of the answer on a lane.
    fn on_head(&mut self, lane: Lane, now: Micros, head: &Head<'_>);
    /// Some of its body.
    fn on_body(&mut self, lane: Lane, now: Micros, body: Body<'_>);
    /// The answer is complete, or will not be.
    fn on_end(&mut self, lane: Lane, now: Micros, end: End);
    /// Whether the body under way on this lane is looked at. The engine may discard it unread where not.
    fn wants_content(&self, lane: Lane) -> bool;
    /// Whether it would read now: false lets the socket's buffer fill up.
    fn reads(&self, now: Micros) -> bool;
    /// What it has lived through so far.
    fn figures(&self) -> &PlayerFigures;
    /// Rules that its content broke, without group and viewer, which the engine puts before. Asked for once, at the end.
    fn violations(&mut self) -> Vec<Violation> {
        Vec::new()
    }
    /// Segments that a checked viewer got since it was last asked: the same for all, whoever asks.
    fn take_sightings(&mut self) -> Vec<Sighting> {
        Vec::new()
    }
    /// Access units with the origin's stamp that a checked viewer got since it was last asked.
    fn take_arrived(&mut self) -> Vec<Arrived> {
        Vec::new()
    }
}

/// One of a player's requests at a time; each lane has a connection of its own, kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u8);

/// Lanes that a player may use: 0 to this.
pub const LANES_MAX: u8 = 3;

/// What a player does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Asks for a URL on a lane that has no answer under way. Ask again: there may be more to do.
    Fetch(Fetch),
    /// Connects a lane and sends nothing.
    Connect(Lane),
    /// Nothing before this, unless something is told.
    Wait(Micros),
    /// Nothing ever again; its connections close.
    Leave,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    pub lane: Lane,
    /// Absolute, `http` only.
    pub url: Rc<str>,
    pub kind: FetchKind,
    /// When it was due: what a player's clock asks for, not when something late allowed it.
    pub intended: Micros,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchKind {
    /// A multivariant playlist or the first MPD.
    Entry,
    /// A media playlist, or an MPD again.
    Playlist,
    Init,
    Segment,
    /// Continuous: its end is a failure.
    Stream,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub status: u16,
    pub content_length: Option<u64>,
    /// Name and value as they came, in order.
    pub fields: &'a [(&'a str, &'a str)],
}

/// Some of a body.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    Bytes(&'a [u8]),
    /// So many, unread.
    Discarded(usize),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The connection closed before Content-Length was reached, or in the head.
    Short,
    Reset,
    ConnectFailed,
    TimedOut,
}

/// What a viewer has lived through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlayerFigures {
    /// From arrival to the first picture that could be shown.
    pub startup_us: Option<Micros>,
    /// Times that the buffer ran empty after start-up.
    pub rebuffers: u64,
    pub rebuffer_us: Micros,
    /// Times that nothing came for longer than the media that the gap should have brought, rebuffer or not.
    pub stalls: u64,
    /// Behind live at the last measurement.
    pub live_latency_us: Option<Micros>,
    pub bytes: u64,
}
