//! One track rendition: its ring's samples into the segments of its store.
//!
//! ```text
//!  ring ─► describe ─► clock ─► chunks ─► store          Open ──cut──► Window<CmafSegment>
//!            │ init segments                │               └ no bytes: a gap that keeps its number
//!            └ a change waits for a cut     └ begin_segment at a cut
//! ```
//! A sample belongs to the newest segment whose cut is not after its PTS, so each track is cut by its own time stamps.
//! What it deliberately does not do: wait for other tracks ([`super::CmafPackager`] says how far it may read).

use super::breaks::Breaks;
use super::chunks::{Chunks, Timing};
use super::clock::{Clock, ticks_90k};
use super::segment::{CmafSegment, Init};
use crate::es::carriage::Container;
use crate::es::rendition::RenditionId;
use crate::es::{Codec, Key, SampleMeta, Track, TrackKind};
use crate::fmp4::{framing, init};
use crate::limits::{CMAF_CHUNK_BYTES_MAX, TRACK_LATE_TICKS, TRANSCODE_LATE_TICKS};
use crate::package::TrackRing;
use crate::package::start::newest_dts;
use crate::package::window::{Segment, Window};
use crate::ring::es::{Cursor, Entry, Next};
use crate::ring::rendition::RenditionRing;
use crate::store::{Arena, StoreWriter};
use crate::time::MediaTime;
use crate::timeline::Cut;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A hole between two samples up to this long is closed by making the first one longer, as milliseconds: decoders and MSE then see an
/// unbroken timeline.
const STRETCH_MS_MAX: u64 = 500;
/// EXTINF of audio says what the frames make, when that is this close to what the cuts say or within two frames, 90 kHz ticks (100 ms).
const AUDIO_SLACK_TICKS: i64 = 9_000;

/// What a lane is told while it reads.
pub(super) struct Context<'a> {
    pub cuts: &'a VecDeque<Cut>,
    pub breaks: &'a mut Breaks,
    pub stats: &'a mut super::CmafStats,
    /// Samples beyond this PTS have to wait: cuts before it may still come. `None`: this is the reference.
    pub reach: Option<MediaTime>,
    /// How far the channel's time has come: the newest cut, or the reference's newest sample that was read.
    pub now: Option<MediaTime>,
    /// Bytes that may still be read in this go.
    pub budget: &'a mut usize,
}

/// The segment in the making.
#[derive(Debug)]
struct Open {
    cut: Cut,
    /// Store position of its begin.
    pos: u64,
    /// Presentation time of its first sample, in the timescale.
    time: u64,
    /// Wall clock of that, microseconds since 1970.
    unix_us: u64,
    /// Bytes of it were lost: it is listed as a gap.
    damaged: bool,
}

pub(super) struct Lane {
    pub id: RenditionId,
    /// Of the ring that is read.
    serial: u64,
    cursor: Cursor,
    store: StoreWriter,
    /// Init segments of what is served, oldest first; the last one is in force.
    inits: VecDeque<Init>,
    /// Takes over at the next cut.
    next_init: Option<Init>,
    clock: Option<Clock>,
    /// The samples that come now are of a codec that the lane has no init segment for.
    is_foreign: bool,
    /// Pictures were left out: what refers to them makes no sense.
    needs_key: bool,
    /// Time broke: frames belong to no segment until the cut that says so.
    is_between: bool,
    chunks: Chunks,
    /// Decode time of the end of the newest sample whose duration is known.
    media_end: u64,
    open: Option<Open>,
    /// Number of the newest segment that was begun, or one before the first.
    newest: u64,
    window: Window<CmafSegment>,
    segment_90k_max: i64,
    /// DTS of the newest sample that was read.
    reached: MediaTime,
    ended: bool,
    /// The window or the init segments changed since [`Lane::take_news`].
    news: bool,
}

impl Lane {
    /// A lane that reads its ring from `cursor` on, and whose first segment has number `first` or a higher one.
    pub fn new(
        (id, serial): (RenditionId, u64),
        arena: Arc<Arena>,
        cursor: Cursor,
        first: u64,
        listed_90k: i64,
        segment_90k_max: i64,
    ) -> Lane {
        Lane {
            id,
            serial,
            cursor,
            store: StoreWriter::new(arena),
            inits: VecDeque::new(),
            next_init: None,
            clock: None,
            is_foreign: false,
            needs_key: false,
            is_between: false,
            chunks: Chunks::default(),
            media_end: 0,
            open: None,
            newest: first.saturating_sub(1),
            window: Window::new(listed_90k),
            segment_90k_max,
            reached: MediaTime(i64::MIN),
            ended: false,
            news: false,
        }
    }

    pub fn window(&self) -> &Window<CmafSegment> {
        &self.window
    }
    pub fn store(&self) -> &StoreWriter {
        &self.store
    }
    /// Init segments of what is served, oldest first; the newest is in force.
    pub fn inits(&self) -> &VecDeque<Init> {
        &self.inits
    }
    /// DTS of the newest sample that was read.
    pub fn reached(&self) -> MediaTime {
        self.reached
    }
    /// The ring is gone, whether or not its end was read.
    pub fn end(&mut self) {
        self.ended = true;
    }
    /// Whether something changed since the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
    /// Whether the track is gone and nothing of it is left to serve.
    pub fn is_over(&self) -> bool {
        self.ended && self.open.is_none() && self.window.served().all(CmafSegment::is_gap)
    }

    /// Goes over to another ring of the same rendition, as after a loss.
    pub fn follow(&mut self, ring: &TrackRing) {
        if self.serial != ring.serial {
            self.serial = ring.serial;
            self.cursor.next = ring.ring.range().start;
            self.ended = false;
            self.time_broke();
            self.needs_key = self.id.kind == TrackKind::Video;
        }
    }

    /// Reads the ring up to its end, the context's reach or its budget. True when the budget ended it.
    pub fn pull(&mut self, ring: &RenditionRing, context: &mut Context<'_>) -> bool {
        if self.inits.is_empty() && self.next_init.is_none() {
            self.describe_at(ring);
        }
        let newest = newest_dts(ring);
        // What waits is let go before `expire` closes the segment it belongs to.
        let newest = newest.max(context.now);
        loop {
            let mut probe = self.cursor;
            match ring.next(&mut probe) {
                Next::Empty => return false,
                Next::Entry(_, Entry::Sample { meta, data }) => {
                    if must_wait(meta, newest, context.reach) {
                        return false;
                    }
                    if *context.budget == 0 {
                        return true;
                    }
                    *context.budget = context.budget.saturating_sub(data.len());
                    self.take(meta, data, context);
                }
                Next::Entry(_, Entry::Track(track)) => self.describe(track),
                Next::Entry(_, Entry::Gap) => self.time_broke(),
                Next::Entry(_, Entry::End) => self.ended = true,
                Next::Lost(count) => self.lost(ring, probe, count, context),
            }
            self.cursor = probe;
        }
    }

    /// Closes segments that nothing of the track has come for.
    pub fn expire(&mut self, context: &mut Context<'_>) {
        let Some(now) = context.now else { return };
        if self.open.is_none() && self.window.newest().is_none() {
            return;
        }
        while let Some(next) = cut_of(context.cuts, self.newest + 1) {
            // The cut after it tells how long it would have been.
            let end = if self.open.is_some() { Some(next) } else { cut_of(context.cuts, next.segment + 1) };
            // An encoder comes later, and may be catching up.
            let patience = if self.id.encoding.is_some() { TRANSCODE_LATE_TICKS } else { TRACK_LATE_TICKS };
            let Some(end) = end.filter(|end| now - end.start > patience) else { return };
            if self.open.is_some() {
                self.settle(None, context);
                self.close(&end, context);
            } else {
                self.gap(&next, &end, context.breaks);
            }
        }
    }

    /// The description in force where the cursor stands.
    fn describe_at(&mut self, ring: &RenditionRing) {
        if let Some(track) = ring.track_at(self.cursor.next).cloned() {
            self.describe(&track);
        }
    }

    fn describe(&mut self, track: &Arc<Track>) {
        let is_carried = Container::Cmaf.carries(track.codec) && self.id.kind == track.kind();
        self.ended = self.id.kind != track.kind();
        let mut bytes = Vec::with_capacity(1_024);
        let written = is_carried && init::write(track, &mut bytes).is_ok();
        let Some(timescale) = init::timescale(track).filter(|_| written) else {
            // Samples whose parameters are not told may be as before, but not those of another codec.
            let known = self.next_init.as_ref().or(self.inits.back());
            self.is_foreign = !is_carried || known.is_some_and(|init| init.track.codec != track.codec);
            return;
        };
        self.is_foreign = false;
        let in_force = self.inits.back();
        if in_force.is_some_and(|init| init.bytes == bytes) {
            self.next_init = None;
            return;
        }
        let is_unused =
            self.open.is_none() && self.window.newest().is_none_or(|s| in_force.is_none_or(|init| init.hash != s.init));
        let init = Init { hash: init::hash(&bytes), bytes: Bytes::from(bytes), timescale, track: track.clone() };
        if is_unused {
            self.inits.pop_back();
            self.next_init = None;
            self.put_in_force(init);
        } else {
            self.next_init = Some(init);
        }
    }

    /// Whether time goes on as it is counted when this init segment takes over.
    fn keeps_time(&self, init: &Init) -> bool {
        let clock = Clock::new(&init.track, init.timescale);
        self.clock.as_ref().is_some_and(|old| old.is_like(&clock))
    }

    fn put_in_force(&mut self, init: Init) {
        if !self.keeps_time(&init) {
            self.clock = Some(Clock::new(&init.track, init.timescale));
        }
        self.inits.push_back(init);
        self.news = true;
    }

    /// What follows is placed by its time stamps. The newest sample still gets its duration from what follows.
    fn time_broke(&mut self) {
        if let Some(clock) = &mut self.clock {
            clock.time_broke();
        }
    }

    /// The ring overwrote what was not read: pictures make no sense before the next cut.
    fn lost(&mut self, ring: &RenditionRing, at: Cursor, count: u64, context: &mut Context<'_>) {
        context.stats.lost += count;
        self.time_broke();
        if self.id.kind == TrackKind::Video
            && let Some(open) = &mut self.open
        {
            open.damaged = true;
        }
        if let Some(track) = ring.track_at(at.next).cloned() {
            self.describe(&track);
        }
    }

    fn take(&mut self, meta: &SampleMeta, data: &[u8], context: &mut Context<'_>) {
        let before = self.reached;
        self.reached = before.max(meta.dts);
        if self.inits.is_empty() || self.is_foreign {
            self.needs_key = self.id.kind == TrackKind::Video;
            context.stats.dropped += 1;
            return;
        }
        let cut = self.due_cut(meta, context.cuts);
        if cut.is_none() && self.is_stray(meta, before, context.cuts) {
            context.stats.dropped += 1;
            return;
        }
        if let (Some(cut), true) = (&cut, self.next_init.as_ref().is_some_and(|init| !self.keeps_time(init))) {
            self.settle(None, context);
            self.close(cut, context);
            self.switch_init(cut, context.breaks);
        }
        let Some(time) = self.clock.as_mut().and_then(|clock| clock.place(meta)) else {
            context.stats.dropped += 1;
            return;
        };
        self.settle(Some(time), context);
        if let Some(cut) = cut {
            self.close(&cut, context);
            self.switch_init(&cut, context.breaks);
            self.begin(&cut, time, meta, context.breaks);
        }
        let is_usable = self.is_usable() && (meta.key > Key::None || !self.needs_key);
        self.needs_key = !is_usable && self.id.kind == TrackKind::Video;
        if is_usable {
            self.push(meta, data, time, context);
        } else {
            context.stats.dropped += 1;
        }
    }

    /// Whether samples of the ring can go into the open segment.
    fn is_usable(&self) -> bool {
        let fits = match (&self.next_init, self.inits.back()) {
            (Some(next), Some(init)) => decodes_on(&init.track, &next.track),
            _ => true,
        };
        fits && self.open.as_ref().is_some_and(|open| !open.damaged)
    }

    /// Whether the sample lies behind a pause and before the cut that signals it: the reference's key is shown a little later than it comes,
    /// and a segment with that little of audio at its end would be as long as the pause.
    fn is_stray(&mut self, meta: &SampleMeta, before: MediaTime, cuts: &VecDeque<Cut>) -> bool {
        if self.id.is_audio() && self.open.is_some() && before < meta.dts + -(STRETCH_MS_MAX as i64 * 90) {
            self.is_between |= cut_of(cuts, self.newest + 1).is_some_and(|next| next.discontinuity);
        }
        self.is_between
    }

    /// The cut that this sample makes on this track: the newest that is not after its PTS, if its segment has not begun yet.
    fn due_cut(&self, meta: &SampleMeta, cuts: &VecDeque<Cut>) -> Option<Cut> {
        let open = cuts.iter().rev().take_while(|cut| cut.segment > self.newest);
        let cut = open.into_iter().find(|cut| cut.start <= meta.pts)?;
        // The key that came with a new init segment may be gone: what refers to it makes no sense.
        let waits = self.needs_key && self.next_init.is_some();
        // After a loss or a late start pictures begin at an entry point.
        let enters = self.id.is_audio() || meta.key > Key::None || (meta.pts == cut.start && !waits);
        let goes_on = self.open.as_ref().is_some_and(|open| !open.damaged) && !waits;
        (enters || goes_on).then_some(*cut)
    }

    fn begin(&mut self, cut: &Cut, time: u64, meta: &SampleMeta, breaks: &mut Breaks) {
        let Some(init) = self.inits.back() else { return };
        breaks.begin_segment(cut);
        let offset = super::clock::scale(MediaTime(meta.pts - meta.dts), init.timescale);
        self.newest = cut.segment;
        self.needs_key = false;
        self.is_between = false;
        // Pictures may begin elsewhere than at the cut's own sample, and other tracks than theirs may have cut.
        let independent = if self.id.is_audio() { cut.independent } else { meta.key == Key::Idr };
        self.open = Some(Open {
            cut: Cut { independent, ..*cut },
            pos: self.store.end(),
            time: time + offset,
            unix_us: meta.pts.unix_us(),
            damaged: false,
        });
        self.chunks.begin_segment();
    }

    fn switch_init(&mut self, cut: &Cut, breaks: &mut Breaks) {
        let Some(init) = self.next_init.take() else { return };
        if self.id.kind == TrackKind::Video {
            breaks.add(cut);
        }
        breaks.begin_period(cut);
        self.put_in_force(init);
    }

    fn push(&mut self, meta: &SampleMeta, data: &[u8], time: u64, context: &mut Context<'_>) {
        let Some(init) = self.inits.back() else { return };
        let offset = super::clock::scale(MediaTime(meta.pts - meta.dts), init.timescale);
        let timing = Timing {
            time,
            composition_offset: offset.min(i32::MAX as u64) as i32,
            // Recovery points too: players that go by this flag (Firefox, AVPlayer) could not begin in a stream without IDR pictures.
            sync: self.id.is_audio() || meta.key > Key::None,
            unix_us: meta.pts.unix_us(),
        };
        let codec = init.track.codec;
        // Samples were left out: they make a hole, and what comes behind it a chunk of its own.
        if self.chunks.waiting_bytes() + data.len() > CMAF_CHUNK_BYTES_MAX || !self.chunks.goes_on_at(time) {
            self.flush(context);
        }
        let written = self.chunks.push(timing, |out| framing::convert(codec, data, meta.header_len, out));
        context.stats.samples += u64::from(written);
        context.stats.dropped += u64::from(!written);
    }

    /// Gives the newest sample its duration, and writes the chunk when it is whole.
    fn settle(&mut self, next: Option<u64>, context: &mut Context<'_>) {
        let Some(init) = self.inits.back() else { return };
        let timescale = init.timescale;
        let frame = self.clock.as_ref().map_or(0, Clock::frame);
        let stretch_max = u64::from(timescale) * STRETCH_MS_MAX / 1_000;
        let Some(end) = self.chunks.settle(next, frame, stretch_max) else { return };
        self.media_end = end;
        if self.chunks.is_full(end, timescale) || next.is_some_and(|next| next != end) {
            self.flush(context);
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) {
        if self.chunks.flush(&mut self.store).is_err() {
            context.stats.store_full += 1;
            if let Some(open) = &mut self.open {
                open.damaged = true;
            }
        }
    }

    /// Ends the open segment, whose samples are settled, where `next` begins another one. Numbers that were passed over become gaps.
    fn close(&mut self, next: &Cut, context: &mut Context<'_>) {
        self.flush(context);
        if let Some(open) = self.open.take() {
            let following = cut_of(context.cuts, open.cut.segment + 1).unwrap_or(*next);
            let segment = self.closed(&open, &following, context.breaks);
            self.list(segment);
        }
        while self.newest + 1 < next.segment && self.window.newest().is_some() {
            let Some(missed) = cut_of(context.cuts, self.newest + 1) else { return };
            let following = cut_of(context.cuts, missed.segment + 1).unwrap_or(*next);
            self.gap(&missed, &following, context.breaks);
        }
    }

    fn closed(&self, open: &Open, following: &Cut, breaks: &mut Breaks) -> CmafSegment {
        let init = self.inits.back();
        let timescale = init.map_or(1, |init| init.timescale);
        let end_pos = if open.damaged { open.pos } else { self.store.shared().published() };
        // What the cuts say, less what the track's own begin lies behind its cut.
        let late = (ticks_90k(open.time, timescale) - open.cut.start.0).max(0);
        let by_cuts = (following.previous_duration - late).clamp(1, self.segment_90k_max);
        let media = self.media_end.saturating_sub(open.time);
        let media_90k = ticks_90k(media, timescale).clamp(1, self.segment_90k_max);
        let frames = ticks_90k(2 * self.clock.as_ref().map_or(0, Clock::frame), timescale);
        let is_near = (media_90k - by_cuts).abs() <= AUDIO_SLACK_TICKS.max(frames);
        // Audio has its own length. Where a part is missing the playlist's time goes on all the same, a SegmentTimeline has a hole.
        let duration_90k = if self.id.is_audio() && is_near { media_90k } else { by_cuts };
        let duration = if self.id.is_audio() { media } else { super::clock::scale(MediaTime(by_cuts), timescale) };
        CmafSegment {
            segment: Segment { cut: breaks.list(&open.cut), range: open.pos..end_pos.max(open.pos), duration_90k },
            time: open.time,
            duration: duration.max(1),
            unix_us: open.unix_us,
            init: init.map_or(0, |init| init.hash),
        }
    }

    /// A segment that the track has nothing for.
    fn gap(&mut self, cut: &Cut, following: &Cut, breaks: &mut Breaks) {
        breaks.begin_segment(cut);
        let init = self.inits.back();
        let timescale = init.map_or(1, |init| init.timescale);
        let duration_90k = following.previous_duration.clamp(1, self.segment_90k_max);
        let pos = self.store.end();
        // Frames that are counted may begin behind their cut.
        let after =
            self.window.newest().filter(|s| init.is_some_and(|init| init.hash == s.init)).map_or(0, |s| s.time + 1);
        self.newest = cut.segment;
        let segment = CmafSegment {
            segment: Segment { cut: breaks.list(cut), range: pos..pos, duration_90k },
            time: super::clock::scale(cut.start, timescale).max(after),
            duration: super::clock::scale(MediaTime(duration_90k), timescale).max(1),
            unix_us: cut.start.unix_us(),
            init: init.map_or(0, |init| init.hash),
        };
        self.list(segment);
    }

    fn list(&mut self, segment: CmafSegment) {
        self.window.push(segment);
        if let Some(pos) = self.window.oldest_pos() {
            self.store.trim(pos);
        }
        let oldest = self.window.served().next().map(|segment| segment.init);
        while self.inits.len() > 1 && self.inits.front().map(|init| init.hash) != oldest {
            self.inits.pop_front();
        }
        self.news = true;
    }
}

/// Whether the sample has to wait until the reference has come as far, for a cut before it may still come. Not for longer than
/// [`TRACK_LATE_TICKS`] of media.
fn must_wait(meta: &SampleMeta, newest: Option<MediaTime>, reach: Option<MediaTime>) -> bool {
    let beyond = reach.is_some_and(|reach| meta.pts > reach);
    beyond && newest.is_none_or(|newest| newest - meta.pts < TRACK_LATE_TICKS)
}

/// The cut that begins the segment of this number.
fn cut_of(cuts: &VecDeque<Cut>, segment: u64) -> Option<Cut> {
    let index = cuts.binary_search_by_key(&segment, |cut| cut.segment).ok()?;
    cuts.get(index).copied()
}

/// Whether decoders that were set up for `old` take samples of `new` without a new init segment: what decodes them is the same, or each
/// frame carries its parameters.
fn decodes_on(old: &Track, new: &Track) -> bool {
    let describes_itself = matches!(old.codec, Codec::Ac3 | Codec::Eac3 | Codec::Mp3);
    old.codec == new.codec && (describes_itself || old.params == new.params)
}
