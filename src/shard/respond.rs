//! From a request head to its answer: routes, waits for media where it has to, and sends.

use super::deadlines::{Phase, WatchGuard};
use super::mirror::Mirror;
use super::pump::Pump;
use super::relay::fnv1a;
use super::socket::{self, Sent};
use super::{Shard, pages};
use crate::http::fields::Field;
use crate::http::range::{Resolved, etag_matches, resolve};
use crate::http::request::{Head, Method, RequestError};
use crate::http::response::{
    Caching, ErrorAnswer, Persistence, ResponseHead, Status, write_not_modified, write_options, write_refusal,
    write_unsatisfiable,
};
use crate::http::url::Target;
use crate::limits::{COLD_RELOAD_HOLD_MS, COLD_SEGMENTS, FIRST_PLAYLIST_HOLD_MS, LIVE_JOIN_BACK_TICKS, SEND_STALL_MS};
use crate::metrics::Format;
use crate::package::mpegts::TsShared;
use crate::package::snapshot::TsSnapshot;
use crate::route::decide::Client;
use crate::route::rules::Rules;
use crate::route::{Resource, Route, RouteError, route};
use crate::session::shared::{ChannelState, ChannelView};
use crate::store::Held;
use crate::time::Now;
use glommio::net::TcpStream;
use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
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
    pub peer: IpAddr,
    pub is_admin: bool,
}

/// Why a request gets no media: status and one line.
struct Refusal {
    status: Status,
    why: String,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(status: Status, why: impl Into<String>) -> Self {
        Refusal { status, why: why.into(), retry_after_s: None }
    }
    fn unavailable(why: &str) -> Self {
        Refusal { status: Status::ServiceUnavailable, why: why.into(), retry_after_s: Some(1) }
    }
}

/// What all answers to one request share.
#[derive(Clone, Copy)]
struct Asked<'h> {
    head: &'h Head<'h>,
    persistence: Persistence,
    head_only: bool,
}

impl Asked<'_> {
    /// Whether the client says that it has the representation with this entity tag.
    fn has(&self, etag: &str) -> bool {
        self.head.field(Field::IfNoneMatch).is_some_and(|m| etag_matches(m, etag.as_bytes()))
    }
}

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
const TS_TYPE: &str = "video/mp2t";
/// A client has the full time to read each run of this many bytes.
const SEND_STEP_BYTES: usize = 64 << 10;
/// Seconds a segment may be cached: it never changes.
const SEGMENT_MAX_AGE_S: u32 = 86_400;

/// Answers one request.
pub(crate) async fn answer(on: &mut Answering<'_>, head: &Head<'_>) -> io::Result<Next> {
    let started_us = on.shard.now().mono_us;
    on.watch.enter(Phase::Sending, started_us + SEND_STALL_MS * 1_000);
    let draining = on.shard.relay.draining.load(Ordering::Relaxed);
    let keep = head.keep_alive() && !draining;
    let persistence = if keep { Persistence::KeepAlive } else { Persistence::Close };
    let asked = Asked { head, persistence, head_only: head.method() == Method::Head };
    let next = dispatch(on, asked).await?;
    if !matches!(next, Next::Live { .. }) {
        on.shard.metrics.request_duration.record_us(on.shard.now().mono_us - started_us);
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
        write_options(&mut out, &on.shard.date(), asked.persistence);
        return on.send(Status::NoContent, &out).await;
    }
    match route(Target::new(asked.head.target()), &client(asked.head), &Rules::default()) {
        Err(error) => {
            let status = match error {
                RouteError::NotFound => Status::NotFound,
                RouteError::UnknownFormat | RouteError::BadUrl(_) => Status::BadRequest,
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
            None => page(on, asked, found).await,
        },
    }
}

fn client<'h>(head: &Head<'h>) -> Client<'h> {
    let field = |field| head.field(field).unwrap_or_default();
    Client {
        user_agent: field(Field::UserAgent),
        accept: field(Field::Accept),
        video_codec: field(Field::XVideoCodec),
        audio_codec: field(Field::XAudioCodec),
        container: field(Field::XContainer),
    }
}

fn media_channel(route: &Route) -> Option<&str> {
    match route {
        Route::Entry { channel, .. } | Route::Media { channel, .. } => Some(channel),
        _ => None,
    }
}

async fn page(on: &mut Answering<'_>, asked: Asked<'_>, route: Route) -> io::Result<Next> {
    let host = asked.head.field(Field::Host).unwrap_or_default();
    let Some(page) = pages::render(on.shard, &route, on.is_admin, host) else {
        return on.refuse(asked, Refusal::new(Status::NotFound, "no such resource")).await;
    };
    let mut out = Vec::with_capacity(page.body.len() + 512);
    let etag = format!("\"{:016x}\"", fnv1a(page.body.as_bytes(), 0));
    if page.status == Status::Ok && asked.has(&etag) {
        write_not_modified(&mut out, &on.shard.date(), asked.persistence, &etag, Caching::NoCache);
        return on.send(Status::NotModified, &out).await;
    }
    let mut head = ResponseHead::new(&mut out, page.status, &on.shard.date(), asked.persistence);
    head.content_type(page.content_type).content_length(page.body.len() as u64).etag(&etag).caching(Caching::NoCache);
    if matches!(route, Route::ChannelList) {
        head.cors();
    }
    head.end();
    on.send_with_body(asked, page.status, out, page.body.as_bytes()).await
}

async fn media(on: &mut Answering<'_>, asked: Asked<'_>, route: Route, channel: u32) -> io::Result<Next> {
    on.watch.channel.set(Some(channel));
    match route {
        Route::Entry { choice, .. } if asked.head_only => on.entry_head(asked, choice.format, &choice.why).await,
        Route::Entry { choice, .. } if choice.format == Format::MpegTs => on.live(asked, channel, &choice.why).await,
        Route::Entry { choice, .. } => on.hls(asked, channel, Playlist::Multivariant { why: choice.why }).await,
        Route::Media { resource: Resource::TsPlaylist, .. } if asked.head_only => {
            on.playlist_head(asked, channel).await
        }
        Route::Media { resource: Resource::TsPlaylist, .. } => on.hls(asked, channel, Playlist::Media).await,
        Route::Media { resource: Resource::TsSegment { number }, epoch, .. } => {
            on.segment(asked, channel, epoch, number).await
        }
        _ => on.refuse(asked, Refusal::new(Status::NotFound, "no such resource")).await,
    }
}

/// A playlist is worth sending once it lists `segments_min` segments, at least one.
fn playable(view: &ChannelView, segments_min: usize) -> Option<Playable> {
    let snapshot = view.ts.as_ref()?.snapshot();
    (snapshot.segments.len() >= segments_min.max(1)).then_some((snapshot, view.target_duration_s))
}

/// Whether a playlist that is still short is about to get its next segment. A player that begins on the first segment or two has nothing
/// else in its buffer: if its reload comes just before the next one is listed, it waits for half a target duration and runs dry.
fn next_segment_is_due(snapshot: &TsSnapshot, now: Now) -> bool {
    let Some(last) = snapshot.segments.last().filter(|_| snapshot.segments.len() < COLD_SEGMENTS) else { return false };
    let due = last.cut.start + 2 * last.duration_90k;
    let late_us = now.unix_us as i64 - due.unix_us() as i64;
    late_us.unsigned_abs() < COLD_RELOAD_HOLD_MS * 1_000
}

/// How many segments the asking player wants to see at first. Browsers' own HLS players say that they fetch for a media element, and
/// Chromium's refuses a live playlist of fewer than three (DEMUXER_ERROR_COULD_NOT_PARSE).
fn segments_wanted(head: &Head<'_>) -> usize {
    let mut fields = head.fields();
    let for_media_element = fields
        .any(|(name, value)| name.eq_ignore_ascii_case(b"sec-fetch-dest") && matches!(value, b"video" | b"audio"));
    if for_media_element { 3 } else { 1 }
}

/// A continuous viewer may begin once there is a key sample.
fn joinable(view: &ChannelView) -> Option<(Arc<TsShared>, u64)> {
    let ts = view.ts.as_ref()?;
    Some((ts.clone(), ts.join_back(LIVE_JOIN_BACK_TICKS)?.pos))
}

/// A snapshot with something to play, and its target duration in seconds.
type Playable = (Arc<TsSnapshot>, u64);

enum Playlist {
    Multivariant { why: Cow<'static, str> },
    Media,
}

impl Answering<'_> {
    /// Answers what the parser refused; the connection closes after it.
    pub async fn refuse_request(&mut self, refused: RequestError) -> io::Result<Next> {
        let mut out = Vec::new();
        write_refusal(&mut out, refused, &self.shard.date());
        self.send(refused.status(), &out).await?;
        Ok(Next::Close)
    }

    async fn send(&mut self, status: Status, bytes: &[u8]) -> io::Result<Next> {
        self.shard.metrics.responses(usize::from(status.code() / 100)).add(1);
        for (index, bytes) in bytes.chunks(SEND_STEP_BYTES).enumerate() {
            if index > 0 {
                // A channel list may be long and its client slow, as long as it reads.
                self.watch.extend(self.shard.now().mono_us + SEND_STALL_MS * 1_000);
            }
            socket::send_all(self.stream, self.fd, bytes, false).await?;
        }
        Ok(Next::Request)
    }

    async fn send_with_body(
        &mut self,
        asked: Asked<'_>,
        status: Status,
        mut head: Vec<u8>,
        body: &[u8],
    ) -> io::Result<Next> {
        if !asked.head_only {
            head.extend_from_slice(body);
        }
        self.send(status, &head).await
    }

    async fn refuse(&mut self, asked: Asked<'_>, refusal: Refusal) -> io::Result<Next> {
        let mut out = Vec::new();
        let answer = ErrorAnswer {
            status: refusal.status,
            why: &refusal.why,
            head_only: asked.head_only,
            persistence: asked.persistence,
            retry_after_s: refusal.retry_after_s,
        };
        answer.write(&mut out, &self.shard.date());
        self.send(refusal.status, &out).await
    }

    fn saw(&self, asked: Asked<'_>, channel: u32, target_duration_s: u64) {
        let user_agent = asked.head.field(Field::UserAgent).unwrap_or_default();
        let address = match self.peer {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => fnv1a(&ip.octets(), 6),
        };
        self.shard.saw_segment_viewer(channel, fnv1a(user_agent, address), target_duration_s);
    }

    /// Opens the channel's session if there is none, and waits until `probe` finds what it wants.
    async fn wait<T>(
        &mut self,
        channel: u32,
        hold_ms: u64,
        probe: impl Fn(&ChannelView) -> Option<T>,
    ) -> Result<T, Refusal> {
        let shard = self.shard;
        let mirror = shard.mirror(channel);
        let deadline_us = shard.now().mono_us + hold_ms * 1_000;
        let phase_deadline_us = deadline_us + SEND_STALL_MS * 1_000;
        loop {
            let now = shard.now();
            shard.touch(channel, now);
            let view = mirror.view();
            if let Some(found) = probe(&view) {
                self.watch.enter(Phase::Sending, now.mono_us + SEND_STALL_MS * 1_000);
                return Ok(found);
            }
            if let ChannelState::Failed(reason) = &view.state {
                return Err(Refusal::new(Status::BadGateway, format!("the origin failed: {reason}")));
            }
            if shard.relay.draining.load(Ordering::Relaxed) {
                return Err(Refusal::unavailable("the relay is shutting down"));
            }
            if now.mono_us >= deadline_us {
                return Err(Refusal::unavailable("the origin has sent nothing playable yet"));
            }
            self.watch.enter(Phase::Waiting, phase_deadline_us);
            mirror.changed.changed().await;
        }
    }

    /// Waits for a playlist of so many segments; what there is of it after the longest hold is good too.
    async fn wait_for_segments(
        &mut self,
        channel: u32,
        segments_min: usize,
        hold_ms: u64,
    ) -> Result<Playable, Refusal> {
        let wanted = self.wait(channel, hold_ms, |view| playable(view, segments_min)).await;
        wanted.or_else(|refusal| playable(&self.shard.mirror(channel).view(), 1).ok_or(refusal))
    }

    /// HEAD on an entry point answers from rules alone.
    async fn entry_head(&mut self, asked: Asked<'_>, format: Format, why: &str) -> io::Result<Next> {
        let mut out = Vec::new();
        let mut head = ResponseHead::new(&mut out, Status::Ok, &self.shard.date(), asked.persistence);
        head.content_type(if format == Format::MpegTs { TS_TYPE } else { PLAYLIST_TYPE });
        decided(&mut head, format, why);
        head.end();
        self.send(Status::Ok, &out).await
    }

    /// HEAD on a media playlist opens nothing either: it answers with what is there.
    async fn playlist_head(&mut self, asked: Asked<'_>, channel: u32) -> io::Result<Next> {
        match playable(&self.shard.mirror(channel).view(), 1) {
            Some((snapshot, _)) => self.playlist(asked, &snapshot, Playlist::Media).await,
            None => self.refuse(asked, Refusal::unavailable("nobody watches the channel")).await,
        }
    }

    /// Answers with a playlist, once there is one.
    async fn hls(&mut self, asked: Asked<'_>, channel: u32, which: Playlist) -> io::Result<Next> {
        let segments_min = match which {
            Playlist::Multivariant { .. } => 1,
            Playlist::Media => segments_wanted(asked.head),
        };
        let mut found = self.wait_for_segments(channel, segments_min, FIRST_PLAYLIST_HOLD_MS).await;
        if let (Ok((snapshot, _)), Playlist::Media) = (&found, &which)
            && next_segment_is_due(snapshot, self.shard.now())
        {
            found = self.wait_for_segments(channel, snapshot.segments.len() + 1, COLD_RELOAD_HOLD_MS).await;
        }
        match found {
            Ok((snapshot, target_duration_s)) => {
                self.saw(asked, channel, target_duration_s);
                self.playlist(asked, &snapshot, which).await
            }
            Err(refusal) => self.refuse(asked, refusal).await,
        }
    }

    async fn playlist(&mut self, asked: Asked<'_>, snapshot: &TsSnapshot, which: Playlist) -> io::Result<Next> {
        let date = self.shard.date();
        let mut out = Vec::with_capacity(1024 + snapshot.media_playlist.len());
        let body = match which {
            Playlist::Multivariant { .. } => &snapshot.multivariant,
            Playlist::Media => &snapshot.media_playlist,
        };
        if matches!(which, Playlist::Media) && asked.has(&snapshot.playlist_etag) {
            write_not_modified(&mut out, &date, asked.persistence, &snapshot.playlist_etag, Caching::MaxAge(1));
            return self.send(Status::NotModified, &out).await;
        }
        let mut head = ResponseHead::new(&mut out, Status::Ok, &date, asked.persistence);
        head.content_type(PLAYLIST_TYPE).content_length(body.len() as u64);
        match which {
            Playlist::Multivariant { why } => decided(&mut head, Format::HlsTs, &why),
            Playlist::Media => {
                head.etag(&snapshot.playlist_etag).caching(Caching::MaxAge(1)).cors();
            }
        }
        head.end();
        self.send_with_body(asked, Status::Ok, out, body).await
    }

    async fn segment(&mut self, asked: Asked<'_>, channel: u32, epoch: u64, number: u64) -> io::Result<Next> {
        let mirror = self.shard.mirror(channel);
        let view = mirror.view();
        let found = view.ts.as_ref().filter(|_| view.epoch == epoch).and_then(|ts| {
            let range = ts.snapshot().segment(number)?;
            ts.store().hold(range)
        });
        let Some(held) = found else {
            return self.refuse(asked, Refusal::new(Status::NotFound, "this segment is not available")).await;
        };
        if !asked.head_only {
            self.shard.touch(channel, self.shard.now());
            self.saw(asked, channel, view.target_duration_s);
        }
        let etag = format!("\"{epoch}-{number}\"");
        let date = self.shard.date();
        let mut out = Vec::with_capacity(512);
        if asked.has(&etag) {
            write_not_modified(&mut out, &date, asked.persistence, &etag, Caching::Immutable(SEGMENT_MAX_AGE_S));
            return self.send(Status::NotModified, &out).await;
        }
        let len = held.range().end - held.range().start;
        let range = asked.head.field(Field::Range).filter(|_| !asked.head_only);
        let part = match resolve(range, asked.head.field(Field::IfRange), etag.as_bytes(), len) {
            Resolved::Unsatisfiable => {
                write_unsatisfiable(&mut out, &date, asked.persistence, len);
                return self.send(Status::RangeNotSatisfiable, &out).await;
            }
            Resolved::Whole => None,
            Resolved::Part { start, end } => Some((start, end)),
        };
        let status = if part.is_some() { Status::PartialContent } else { Status::Ok };
        let (start, end) = part.unwrap_or((0, len));
        let mut head = ResponseHead::new(&mut out, status, &date, asked.persistence);
        head.content_type(TS_TYPE).content_length(end - start).etag(&etag);
        head.caching(Caching::Immutable(SEGMENT_MAX_AGE_S)).accept_ranges(true).cors();
        if part.is_some() {
            head.content_range(start, end, len);
        }
        head.end();
        if asked.head_only {
            return self.send(status, &out).await;
        }
        self.shard.metrics.responses(usize::from(status.code() / 100)).add(1);
        socket::send_all(self.stream, self.fd, &out, true).await?;
        drop(out);
        let base = held.range().start;
        self.send_held(&mirror, channel, held, base + start..base + end).await?;
        Ok(Next::Request)
    }

    /// Sends a held range by sendfile, letting go of each block as it is sent.
    async fn send_held(
        &mut self,
        mirror: &Rc<Mirror>,
        channel: u32,
        mut held: Held,
        range: std::ops::Range<u64>,
    ) -> io::Result<()> {
        let _in_flight = mirror.segment_in_flight(self.watch.handle());
        let mut pos = range.start;
        while pos < range.end {
            let Some(piece) = held.piece(pos, (range.end - pos) as usize) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let next = piece.bytes[0];
            let sent = match socket::sendfile(self.fd, piece.fd, piece.file_offset, piece.bytes.len())? {
                Sent::Bytes(n) => n,
                Sent::Full => socket::writable(self.stream, next).await?,
            };
            if sent > 0 {
                pos += sent as u64;
                held.release_before(pos);
                self.watch.extend(self.shard.now().mono_us + SEND_STALL_MS * 1_000);
                self.shard.metrics.sent_bytes(Format::HlsTs).add(sent as u64);
                self.shard.relay.channels[channel as usize].shared.counters.sent_bytes.add(sent as u64);
                // A client that reads as fast as this sends never blocks the socket.
                glommio::executor().yield_if_needed().await;
            }
        }
        Ok(())
    }

    async fn live(&mut self, asked: Asked<'_>, channel: u32, why: &str) -> io::Result<Next> {
        let (ts, pos) = match self.wait(channel, FIRST_PLAYLIST_HOLD_MS, joinable).await {
            Ok(found) => found,
            Err(refusal) => return self.refuse(asked, refusal).await,
        };
        let mut out = Vec::with_capacity(512);
        let mut head = ResponseHead::new(&mut out, Status::Ok, &self.shard.date(), Persistence::Close);
        head.content_type(TS_TYPE).accept_ranges(false);
        decided(&mut head, Format::MpegTs, why);
        head.end();
        self.send(Status::Ok, &out).await?;
        // While the head was on its way the session may have ended: so does the stream then.
        let pump = self.shard.mirror(channel).pump(self.shard, &ts);
        Ok(pump.map_or(Next::Close, |pump| Next::Live { pump, pos, channel }))
    }
}

/// Fields of an answer whose format was decided for this client.
fn decided(head: &mut ResponseHead<'_>, format: Format, why: &str) {
    head.caching(Caching::NoStore).cors().vary("Accept, User-Agent, X-Video-Codec, X-Audio-Codec, X-Container");
    head.decision(&format!("{}; {why}", format.name()));
}
