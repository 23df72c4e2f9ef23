//! From a request head to its answer: routes it, and holds what all answers are made with. Playlists and MPDs are
//! [`super::manifest`]'s, segments [`super::segment`]'s, text about the relay [`super::pages`]'.

use super::deadlines::{Phase, WatchGuard};
use super::manifest::Manifest;
use super::pump::Pump;
use super::relay::fnv1a;
use super::segment::Wanted;
use super::socket;
use super::{Shard, pages};
use crate::http::fields::Field;
use crate::http::range::etag_matches;
use crate::http::request::{Head, Method, RequestError};
use crate::http::response::{Caching, ErrorAnswer, Persistence, ResponseHead, Status, write_options, write_refusal};
use crate::http::url::Target;
use crate::limits::SEND_STALL_MS;
use crate::metrics::Format;
use crate::route::decide::Client;
use crate::route::{Resource, Route, RouteError, route};
use crate::session::Want;
use crate::session::shared::{ChannelState, ChannelView};
use crate::session::viewers::{self, ViewerKey};
use crate::time::{Now, UtcDate};
use glommio::net::TcpStream;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// What a connection does after an answer.
pub(crate) enum Next {
    /// Takes the next request.
    Request,
    Close,
    /// The head of a live stream was sent: go over to the pump, at this store position.
    Live {
        pump: Rc<Pump>,
        pos: u64,
        channel: u32,
    },
}

/// A connection while it answers.
pub(crate) struct Answering<'a> {
    pub shard: &'a Rc<Shard>,
    pub stream: &'a mut TcpStream,
    pub fd: RawFd,
    pub watch: &'a WatchGuard,
    /// When the request was read, or what was waited for was there.
    pub now: Now,
    pub peer: IpAddr,
    pub is_admin: bool,
}

/// Why a request gets no media: status and one line.
pub(crate) struct Refusal {
    status: Status,
    why: String,
    retry_after_s: Option<u32>,
}

impl Refusal {
    pub fn new(status: Status, why: impl Into<String>) -> Self {
        Refusal { status, why: why.into(), retry_after_s: None }
    }
    pub fn unavailable(why: &str) -> Self {
        Refusal { status: Status::ServiceUnavailable, why: why.into(), retry_after_s: Some(1) }
    }
}

/// What all answers to one request share.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'h> {
    pub head: &'h Head<'h>,
    pub persistence: Persistence,
    pub head_only: bool,
}

impl Asked<'_> {
    /// Whether the client says that it has the representation with this entity tag.
    pub fn has(&self, etag: &str) -> bool {
        self.head.field(Field::IfNoneMatch).is_some_and(|m| etag_matches(m, etag.as_bytes()))
    }
}

/// A client has the full time to read each run of this many bytes.
const SEND_STEP_BYTES: usize = 64 << 10;

/// Answers one request.
pub(crate) async fn answer(on: &mut Answering<'_>, head: &Head<'_>) -> io::Result<Next> {
    let started_us = on.now.mono_us;
    on.shard.asked(started_us);
    on.watch.enter(Phase::Sending, started_us + SEND_STALL_MS * 1_000);
    let draining = on.shard.relay.draining.load(Ordering::Relaxed);
    let keep = head.keep_alive() && !draining;
    let persistence = if keep { Persistence::KeepAlive } else { Persistence::Close };
    let asked = Asked { head, persistence, head_only: head.method() == Method::Head };
    let next = dispatch(on, asked).await?;
    if !matches!(next, Next::Live { .. }) {
        on.now = on.shard.now();
        on.shard.metrics.request_duration.record_us(on.now.mono_us - started_us);
    }
    Ok(if keep { next } else { close_after(next) })
}

fn close_after(next: Next) -> Next {
    match next {
        Next::Request => Next::Close,
        other => other,
    }
}

async fn dispatch(on: &mut Answering<'_>, asked: Asked<'_>) -> io::Result<Next> {
    if asked.head.method() == Method::Options {
        let mut out = Vec::new();
        write_options(&mut out, &on.shard.date(on.now), asked.persistence);
        return on.send(Status::NoContent, &out).await;
    }
    match route(Target::new(asked.head.target()), &Client::of(asked.head), &on.shard.relay.rules) {
        Err(error) => {
            let status = match error {
                RouteError::NotFound => Status::NotFound,
                RouteError::UnknownFormat
                | RouteError::UnknownVideo
                | RouteError::UnknownAudio
                | RouteError::UnknownProfile(_)
                | RouteError::NothingAsked
                | RouteError::BadUrl(_) => Status::BadRequest,
            };
            on.refuse(asked, Refusal::new(status, error.to_string())).await
        }
        Ok(found) => match media_channel(&found) {
            Some(id) if !on.is_admin => match on.shard.relay.by_id.get(id).copied() {
                Some(channel) => media(on, asked, found, channel).await,
                None => on.refuse(asked, Refusal::new(Status::NotFound, "no such channel")).await,
            },
            Some(_) => {
                on.refuse(asked, Refusal::new(Status::NotFound, "media is not served on the admin address")).await
            }
            None if found == Route::Time => time(on, asked).await,
            None => page(on, asked, found).await,
        },
    }
}

fn media_channel<'r>(route: &'r Route<'_>) -> Option<&'r str> {
    match route {
        Route::Entry { channel, .. } | Route::Media { channel, .. } => Some(channel),
        _ => None,
    }
}

async fn page(on: &mut Answering<'_>, asked: Asked<'_>, route: Route<'_>) -> io::Result<Next> {
    let Some(page) = pages::render(on.shard, &route, on.is_admin, asked.head) else {
        return on.refuse(asked, Refusal::new(Status::NotFound, "no such resource")).await;
    };
    let etag = page.etag();
    let status = if page.status == Status::Ok && asked.has(&etag) { Status::NotModified } else { page.status };
    let mut out = Vec::with_capacity(1_024 + page.body.len().min(SEND_STEP_BYTES));
    page.write_head(&mut out, status, &etag, &on.shard.date(on.now), asked.persistence);
    if status == Status::NotModified {
        return on.send(status, &out).await;
    }
    on.send_with_body(asked, status, out, &page.body).await
}

async fn media(on: &mut Answering<'_>, asked: Asked<'_>, route: Route<'_>, channel: u32) -> io::Result<Next> {
    on.watch.channel.set(Some(channel));
    match route {
        Route::Entry { choice, .. } if asked.head_only => on.entry_head(asked, channel, &choice).await,
        Route::Entry { choice, .. } => on.entry(asked, channel, &choice).await,
        Route::Media { epoch, resource, .. } => match resource {
            Resource::TsPlaylist { selection } => on.playlist(asked, channel, Manifest::TsMedia(selection)).await,
            Resource::Playlist { rendition } => on.playlist(asked, channel, Manifest::CmafMedia(rendition)).await,
            Resource::TsSegment { selection, number } => {
                on.segment(asked, channel, epoch, Wanted::Ts { selection, number }).await
            }
            Resource::Segment { rendition, time } => {
                on.segment(asked, channel, epoch, Wanted::Cmaf { rendition, time }).await
            }
            Resource::Init { rendition, hash } => on.init(asked, channel, epoch, rendition, hash).await,
        },
        _ => on.refuse(asked, Refusal::new(Status::NotFound, "no such resource")).await,
    }
}

/// `/relay/time`: the wall clock that output time is anchored to (urn:mpeg:dash:utc:http-iso:2014).
async fn time(on: &mut Answering<'_>, asked: Asked<'_>) -> io::Result<Next> {
    let body = UtcDate(on.now.unix_us).to_string();
    let mut out = Vec::with_capacity(512);
    let mut head = ResponseHead::new(&mut out, Status::Ok, &on.shard.date(on.now), asked.persistence);
    head.content_type("text/plain; charset=utf-8").content_length(body.len() as u64).caching(Caching::NoStore).cors();
    head.end();
    on.send_with_body(asked, Status::Ok, out, body.as_bytes()).await
}

impl Answering<'_> {
    /// Answers what the parser refused; the connection closes after it.
    pub async fn refuse_request(&mut self, refused: RequestError) -> io::Result<Next> {
        let mut out = Vec::new();
        write_refusal(&mut out, refused, &self.shard.date(self.now));
        self.send(refused.status(), &out).await?;
        Ok(Next::Close)
    }

    pub async fn send(&mut self, status: Status, bytes: &[u8]) -> io::Result<Next> {
        self.shard.metrics.responses(usize::from(status.code() / 100)).add(1);
        self.send_steps(bytes).await?;
        Ok(Next::Request)
    }

    async fn send_steps(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut steps = bytes.chunks(SEND_STEP_BYTES);
        socket::send_all(self.stream, self.fd, steps.next().unwrap_or_default(), false).await?;
        for bytes in steps {
            // A channel list may be long and its client slow, as long as it reads.
            self.watch.extend(self.shard.now().mono_us + SEND_STALL_MS * 1_000);
            socket::send_all(self.stream, self.fd, bytes, false).await?;
        }
        Ok(())
    }

    pub async fn send_with_body(
        &mut self,
        asked: Asked<'_>,
        status: Status,
        mut head: Vec<u8>,
        body: &[u8],
    ) -> io::Result<Next> {
        if asked.head_only {
            return self.send(status, &head).await;
        }
        // The rest of a long body is sent from where it lies: a thousand slow clients of a player's script do not hold as many copies.
        let (first, rest) = body.split_at(body.len().min(SEND_STEP_BYTES.saturating_sub(head.len())));
        head.extend_from_slice(first);
        let next = self.send(status, &head).await?;
        drop(head);
        self.send_steps(rest).await?;
        Ok(next)
    }

    pub async fn refuse(&mut self, asked: Asked<'_>, refusal: Refusal) -> io::Result<Next> {
        let mut out = Vec::new();
        let answer = ErrorAnswer {
            status: refusal.status,
            why: &refusal.why,
            head_only: asked.head_only,
            persistence: asked.persistence,
            retry_after_s: refusal.retry_after_s,
        };
        answer.write(&mut out, &self.shard.date(self.now));
        self.send(refusal.status, &out).await
    }

    /// Notes that the client plays `format`, or something that shares its bytes where that is not certain; says what it plays.
    pub fn saw(&self, asked: Asked<'_>, channel: u32, plays: viewers::Asked, target_duration_s: u64) -> Format {
        let user_agent = asked.head.field(Field::UserAgent).unwrap_or_default();
        let address = match self.peer {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => fnv1a(&ip.octets(), 6),
        };
        let key = ViewerKey { client: fnv1a(user_agent, address), channel };
        self.shard.saw_segment_viewer(key, plays, target_duration_s, self.now.mono_us)
    }

    /// Opens the channel's session if there is none, and waits until `probe` finds what it wants, or until the deadline.
    pub async fn wait<T>(
        &mut self,
        channel: u32,
        wants: &[Want],
        deadline_us: u64,
        probe: impl Fn(&ChannelView) -> Option<T>,
    ) -> Result<T, Refusal> {
        let shard = self.shard;
        let mirror = shard.mirror(channel);
        let phase_deadline_us = deadline_us + SEND_STALL_MS * 1_000;
        loop {
            let now = self.now;
            for want in wants {
                shard.touch(channel, *want, now);
            }
            let view = mirror.view();
            if let Some(found) = probe(&view) {
                self.watch.enter(Phase::Sending, now.mono_us + SEND_STALL_MS * 1_000);
                return Ok(found);
            }
            if let Some(refusal) = wants.iter().find_map(|want| view.refusal(want)) {
                let (status, why) = (Status::ServiceUnavailable, refusal.why.to_string());
                return Err(Refusal { status, why, retry_after_s: refusal.retry_after_s });
            }
            if let ChannelState::Failed(reason) = &view.state {
                return Err(Refusal::new(Status::BadGateway, reason.to_string()));
            }
            if shard.relay.draining.load(Ordering::Relaxed) {
                return Err(Refusal::unavailable("the relay is shutting down"));
            }
            if now.mono_us >= deadline_us {
                return Err(Refusal::unavailable("the origin has sent nothing playable yet"));
            }
            self.watch.enter(Phase::Waiting, phase_deadline_us);
            mirror.changed.changed().await;
            self.now = shard.now();
        }
    }
}
