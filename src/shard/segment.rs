//! Segments and init segments: found in the channel's snapshots, sent as ranges of its stores.
//!
//! libavformat's DASH demuxer (ffmpeg, mpv) asks for the segment behind the last one at once, and a thousand times a second when it gets
//! 404. So a request for exactly that segment is held until it is there. Whatever else is not there, further ahead or long gone, is
//! answered at once and touches nothing.

use super::hot::{HotKey, HotPiece};
use super::manifest::TS_TYPE;
use super::mirror::Mirror;
use super::respond::{Answering, Asked, Next, Refusal};
use super::socket::{self, Sent};
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::http::fields::Field;
use crate::http::range::{Resolved, resolve};
use crate::http::response::{Caching, ResponseHead, Status, write_not_modified, write_unsatisfiable};
use crate::limits::SEND_STALL_MS;
use crate::metrics::Format;
use crate::session::Want;
use crate::session::shared::ChannelView;
use crate::session::viewers;
use crate::store::Held;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// Seconds a segment may be cached: it never changes.
const SEGMENT_MAX_AGE_S: u32 = 86_400;

/// Names a segment within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    Ts { selection: Selection, number: u64 },
    Cmaf { rendition: RenditionId, time: u64 },
}

impl Wanted {
    /// The segment's bytes, while they are there.
    fn hold(self, view: &ChannelView) -> Option<Held> {
        match self {
            Wanted::Ts { selection, number } => {
                let ts = view.ts(&selection)?;
                ts.store().hold(ts.snapshot().segment(number)?)
            }
            Wanted::Cmaf { rendition, time } => {
                let snapshot = view.cmaf.as_ref()?.snapshot();
                let rendition = snapshot.rendition(rendition)?;
                rendition.store.hold(rendition.segment_at(time)?.segment.range.clone())
            }
        }
    }

    /// Whether it is exactly the CMAF segment that its rendition will list next, or one that the MPD does not list yet: libavformat takes the
    /// MPD anew after each segment, and loses its place when the segment that it just read is not in it.
    fn is_coming(self, view: &ChannelView, epoch: u64) -> bool {
        let Wanted::Cmaf { rendition, time } = self else { return false };
        let Some(snapshot) = view.cmaf.as_ref().filter(|_| view.epoch == epoch).map(|cmaf| cmaf.snapshot()) else {
            return false;
        };
        let newest = snapshot.rendition(rendition).and_then(|rendition| rendition.segments.last());
        newest.is_some_and(|newest| {
            let is_next = newest.time + newest.duration == time;
            is_next || newest.time == time && newest.segment.number() >= snapshot.mpd_end(rendition)
        })
    }

    fn etag(self, epoch: u64) -> String {
        match self {
            Wanted::Ts { selection, number } => format!("\"{epoch}-{selection}-{number}\""),
            Wanted::Cmaf { rendition, time } => format!("\"{epoch}-{rendition}-{time}\""),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Wanted::Ts { .. } => TS_TYPE,
            Wanted::Cmaf { rendition, .. } => mp4_type(rendition),
        }
    }

    /// What it keeps alive.
    fn want(self) -> Want {
        match self {
            Wanted::Ts { selection, .. } => Want::Ts(selection),
            Wanted::Cmaf { rendition, .. } => Want::Rendition(rendition),
        }
    }

    /// HLS and DASH share CMAF segments, so the request does not tell.
    fn plays(self) -> viewers::Asked {
        match self {
            Wanted::Ts { .. } => viewers::Asked { format: Format::HlsTs, is_certain: true },
            Wanted::Cmaf { .. } => viewers::Asked { format: Format::HlsFmp4, is_certain: false },
        }
    }
}

fn mp4_type(rendition: RenditionId) -> &'static str {
    if rendition.is_audio() { "audio/mp4" } else { "video/mp4" }
}

impl Answering<'_> {
    pub async fn segment(&mut self, asked: Asked<'_>, channel: u32, epoch: u64, wanted: Wanted) -> io::Result<Next> {
        let mirror = self.shard.mirror(channel);
        let mut view = mirror.view();
        let mut held = wanted.hold(&view);
        if held.is_none() && !asked.head_only && wanted.is_coming(&view, epoch) {
            self.wait_for_next(channel, epoch, wanted).await;
            view = mirror.view();
            held = wanted.hold(&view);
        }
        let Some(held) = held.filter(|_| view.epoch == epoch) else {
            return self.refuse(asked, Refusal::new(Status::NotFound, "this segment is not available")).await;
        };
        let mut format = wanted.plays().format;
        if !asked.head_only {
            self.shard.touch(channel, wanted.want(), self.now);
            format = self.saw(asked, channel, wanted.plays(), view.target_duration_s);
        }
        let etag = wanted.etag(epoch);
        let date = self.shard.date(self.now);
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
        head.content_type(wanted.content_type()).content_length(end - start).etag(&etag);
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
        let is_whole = part.is_none();
        let hot = is_whole.then(|| {
            let key = HotKey { channel, epoch, wanted };
            self.shard.hot_segments.borrow_mut().request(key, &held, self.now.mono_us)
        });
        let body = Body { held, range: base + start..base + end, hot: hot.flatten() };
        self.send_held(&mirror, (channel, wanted.want(), format), body).await?;
        Ok(Next::Request)
    }

    /// Waits until the segment is listed, in the MPD too, or another one in its place, for as long as two segments may take.
    async fn wait_for_next(&mut self, channel: u32, epoch: u64, wanted: Wanted) {
        let hold_us = 2 * 1_000_000 * self.shard.mirror(channel).view().target_duration_s;
        let deadline_us = self.now.mono_us + hold_us;
        let is_through = |view: &ChannelView| (!wanted.is_coming(view, epoch)).then_some(());
        // Whatever ended the wait: the answer is looked up anew.
        let _ = self.wait(channel, &[wanted.want()], deadline_us, is_through).await;
    }

    /// An init segment: some hundred bytes, from memory.
    pub async fn init(
        &mut self,
        asked: Asked<'_>,
        channel: u32,
        epoch: u64,
        rendition: RenditionId,
        hash: u32,
    ) -> io::Result<Next> {
        let view = self.shard.mirror(channel).view();
        let snapshot = view.cmaf.as_ref().filter(|_| view.epoch == epoch).map(|cmaf| cmaf.snapshot());
        let init = snapshot.as_ref().and_then(|snapshot| snapshot.rendition(rendition)?.init(hash));
        let Some(init) = init else {
            return self.refuse(asked, Refusal::new(Status::NotFound, "this init segment is not available")).await;
        };
        let etag = format!("\"{epoch}-{rendition}-init-{hash}\"");
        let date = self.shard.date(self.now);
        let mut out = Vec::with_capacity(2_048);
        if asked.has(&etag) {
            write_not_modified(&mut out, &date, asked.persistence, &etag, Caching::Immutable(SEGMENT_MAX_AGE_S));
            return self.send(Status::NotModified, &out).await;
        }
        let mut head = ResponseHead::new(&mut out, Status::Ok, &date, asked.persistence);
        head.content_type(mp4_type(rendition)).content_length(init.bytes.len() as u64).etag(&etag);
        head.caching(Caching::Immutable(SEGMENT_MAX_AGE_S)).cors();
        head.end();
        self.send_with_body(asked, Status::Ok, out, &init.bytes).await
    }

    /// Sends a held range out of its pipes or by sendfile, letting go of each block as it is sent.
    async fn send_held(
        &mut self,
        mirror: &Rc<Mirror>,
        (channel, want, format): (u32, Want, Format),
        mut body: Body,
    ) -> io::Result<()> {
        let _in_flight = mirror.segment_in_flight(self.watch.handle(), want);
        let mut pos = body.range.start;
        while pos < body.range.end {
            let Some(piece) = body.held.piece(pos, (body.range.end - pos) as usize) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let more = pos + (piece.bytes.len() as u64) < body.range.end;
            let sent = match body.hot_piece(pos) {
                Some(hot) => self.shard.hot_segments.borrow_mut().send(hot, self.fd, more)?,
                None => socket::sendfile(self.fd, piece.fd, piece.file_offset, piece.bytes.len())?,
            };
            let mut count = if let Sent::Bytes(count) = sent { count } else { 0 };
            // What did not take all is full: another try would only say so.
            if let Some(next) = piece.bytes.get(count) {
                count += socket::writable(self.stream, *next).await?;
            }
            if count > 0 {
                pos += count as u64;
                body.held.release_before(pos);
                self.watch.extend(self.shard.now().mono_us + SEND_STALL_MS * 1_000);
                self.shard.metrics.sent_bytes(format).add(count as u64);
                self.shard.relay.channels[channel as usize].shared.counters.sent_bytes.add(count as u64);
                // A client that reads as fast as this sends never blocks the socket.
                glommio::executor().yield_if_needed().await;
            }
        }
        Ok(())
    }
}

/// What of a segment is to be sent.
struct Body {
    held: Held,
    range: Range<u64>,
    hot: Option<Rc<[HotPiece]>>,
}

impl Body {
    /// The piece that begins at `pos`, where the segment is kept in pipes.
    fn hot_piece(&self, pos: u64) -> Option<&HotPiece> {
        self.hot.as_ref()?.iter().find(|piece| piece.pos == pos)
    }
}
