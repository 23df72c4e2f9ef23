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
use crate::limits::{CMAF_CHUNK_BYTES_MAX, TRACK_LATE_TICKS};
use crate::package::window::{Segment, Window};
use crate::ring::es::{Cursor, Entry, EsRing, Next};
use crate::store::{Arena, StoreWriter};
use crate::time::MediaTime;
use crate::timeline::Cut;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A hole between two samples up to this long is closed by making the first one longer, as milliseconds: decoders and MSE then see an
/// unbroken timeline.
const STRETCH_MS_MAX: u64 = 500;

/// What a lane is told while it reads.
pub(super) struct Context<'a> {
    pub cuts: &'a VecDeque<Cut>,
    pub breaks: &'a mut Breaks,
    pub stats: &'a mut super::CmafStats,
    /// Samples beyond this PTS have to wait: cuts before it may still come. `None`: this is the reference.
    pub reach: Option<MediaTime>,
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
    cursor: Cursor,
    store: StoreWriter,
    /// Init segments of what is served, oldest first; the last one is in force.
    inits: VecDeque<Init>,
    /// Takes over at the next cut.
    next_init: Option<Init>,
    clock: Option<Clock>,
    chunks: Chunks,
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
        id: RenditionId,
        arena: Arc<Arena>,
        cursor: Cursor,
        first: u64,
        listed_90k: i64,
        segment_90k_max: i64,
    ) -> Lane {
        Lane {
            id,
            cursor,
            store: StoreWriter::new(arena),
            inits: VecDeque::new(),
            next_init: None,
            clock: None,
            chunks: Chunks::default(),
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
    /// Whether something changed since the last call.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
    /// Whether the track is gone and nothing of it is left to serve.
    pub fn is_over(&self) -> bool {
        self.ended && self.open.is_none() && self.window.served().all(CmafSegment::is_gap)
    }

    /// Reads the ring up to its end, the context's reach or its budget. True when the budget ended it.
    pub fn pull(&mut self, ring: &EsRing, context: &mut Context<'_>) -> bool {
        if self.inits.is_empty() && self.next_init.is_none() {
            self.describe_at(ring);
        }
        let newest = super::super::start::samples(ring).next_back().map(|(_, meta)| meta.dts);
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
                Next::Entry(_, Entry::Gap) => self.time_broke(context),
                Next::Entry(_, Entry::End) => self.ended = true,
                Next::Lost(count) => self.lost(ring, probe, count, context),
            }
            self.cursor = probe;
        }
    }

    /// Closes segments that nothing of the track has come for, `now` being how far the channel's time has come.
    pub fn expire(&mut self, now: MediaTime, context: &mut Context<'_>) {
        if self.open.is_none() && self.window.newest().is_none() {
            return;
        }
        while let Some(next) = context.cuts.iter().find(|cut| cut.segment == self.newest + 1).copied() {
            // The cut after it tells how long it would have been.
            let end = if self.open.is_some() { Some(next) } else { cut_after(context.cuts, &next) };
            let Some(end) = end.filter(|end| now - end.start > TRACK_LATE_TICKS) else { return };
            if self.open.is_some() {
                self.settle(None, context);
                self.close(&end, None, context);
            } else {
                self.gap(&next, &end, context.breaks);
            }
        }
    }

    /// The description in force where the cursor stands.
    fn describe_at(&mut self, ring: &EsRing) {
        if let Some(track) = ring.track_at(self.cursor.next).cloned() {
            self.describe(&track);
        }
    }

    fn describe(&mut self, track: &Arc<Track>) {
        self.ended = false;
        if !Container::Cmaf.carries(track.codec) || self.id.kind() != track.kind() {
            return;
        }
        let mut bytes = Vec::with_capacity(1_024);
        let (Some(timescale), Ok(())) = (init::timescale(track), init::write(track, &mut bytes)) else { return };
        let in_force = self.inits.back();
        if in_force.is_some_and(|init| init.bytes == bytes) {
            self.next_init = None;
            return;
        }
        let version = in_force.map_or(0, |init| init.version + 1);
        let is_unused =
            self.open.is_none() && self.window.newest().is_none_or(|s| Some(s.init) != version.checked_sub(1));
        let init = Init { version, bytes: Bytes::from(bytes), timescale, track: track.clone() };
        if is_unused {
            self.inits.pop_back();
            self.put_in_force(init);
        } else {
            self.next_init = Some(init);
        }
    }

    fn put_in_force(&mut self, init: Init) {
        self.clock = Some(Clock::new(&init.track, init.timescale));
        self.inits.push_back(init);
        self.news = true;
    }

    fn time_broke(&mut self, context: &mut Context<'_>) {
        self.settle(None, context);
        self.flush(context);
        if let Some(clock) = &mut self.clock {
            clock.time_broke();
        }
    }

    /// The ring overwrote what was not read: pictures make no sense before the next cut.
    fn lost(&mut self, ring: &EsRing, at: Cursor, count: u64, context: &mut Context<'_>) {
        context.stats.lost += count;
        self.time_broke(context);
        if self.id.kind() == TrackKind::Video
            && let Some(open) = &mut self.open
        {
            open.damaged = true;
        }
        if let Some(track) = ring.track_at(at.next).cloned() {
            self.describe(&track);
        }
    }

    fn take(&mut self, meta: &SampleMeta, data: &[u8], context: &mut Context<'_>) {
        self.reached = self.reached.max(meta.dts);
        if self.inits.is_empty() {
            context.stats.dropped += 1;
            return;
        }
        let cut = self.due_cut(meta, context.cuts);
        let switches = cut.is_some() && self.next_init.is_some();
        if switches {
            self.settle(None, context);
        }
        if let (Some(cut), true) = (&cut, switches) {
            self.close(cut, None, context);
            self.switch_init(cut, context.breaks);
        }
        let Some(time) = self.clock.as_mut().and_then(|clock| clock.place(meta)) else {
            context.stats.dropped += 1;
            return;
        };
        self.settle(Some(time), context);
        if let Some(cut) = cut {
            self.close(&cut, Some(time), context);
            self.begin(&cut, time, meta, context.breaks);
        }
        if self.is_usable() {
            self.push(meta, data, time, context);
        } else {
            context.stats.dropped += 1;
        }
    }

    /// Whether samples of the ring can go into the open segment.
    fn is_usable(&self) -> bool {
        let fits = match (&self.next_init, self.inits.back()) {
            (Some(_), Some(init)) => describes_itself(init.track.codec),
            _ => true,
        };
        fits && self.open.as_ref().is_some_and(|open| !open.damaged)
    }

    /// The cut that this sample makes on this track: the newest that is not after its PTS, if its segment has not begun yet.
    fn due_cut(&self, meta: &SampleMeta, cuts: &VecDeque<Cut>) -> Option<Cut> {
        let open = cuts.iter().rev().take_while(|cut| cut.segment > self.newest);
        let cut = open.into_iter().find(|cut| cut.start <= meta.pts)?;
        // After a loss or a late start pictures begin at an entry point.
        let enters = self.id.is_audio || meta.pts == cut.start || meta.key > Key::None;
        let goes_on = self.open.as_ref().is_some_and(|open| !open.damaged);
        (enters || goes_on).then_some(*cut)
    }

    fn begin(&mut self, cut: &Cut, time: u64, meta: &SampleMeta, breaks: &mut Breaks) {
        let Some(init) = self.inits.back() else { return };
        let cut = breaks.own(cut);
        if cut.discontinuity || breaks.periods().is_empty() {
            breaks.begin_period(&cut);
        }
        let offset = super::clock::scale(MediaTime(meta.pts - meta.dts), init.timescale);
        self.newest = cut.segment;
        self.open =
            Some(Open { cut, pos: self.store.end(), time: time + offset, unix_us: meta.pts.unix_us(), damaged: false });
        self.chunks.begin_segment();
    }

    fn switch_init(&mut self, cut: &Cut, breaks: &mut Breaks) {
        let Some(init) = self.next_init.take() else { return };
        if self.id.kind() == TrackKind::Video {
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
            sync: self.id.is_audio || meta.key > Key::None,
            unix_us: meta.pts.unix_us(),
        };
        let codec = init.track.codec;
        if self.chunks.waiting_bytes() + data.len() > CMAF_CHUNK_BYTES_MAX {
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

    /// Ends the open segment, whose samples are settled, where `next` begins another one; `end`: decode time of the sample behind it. Numbers
    /// that were passed over become gaps.
    fn close(&mut self, next: &Cut, end: Option<u64>, context: &mut Context<'_>) {
        self.flush(context);
        if let Some(open) = self.open.take() {
            let following = context.cuts.iter().find(|cut| cut.segment == open.cut.segment + 1).unwrap_or(next);
            let segment = self.closed(&open, following, end);
            self.list(segment);
        }
        while self.newest + 1 < next.segment && self.window.newest().is_some() {
            let Some(missed) = context.cuts.iter().find(|cut| cut.segment == self.newest + 1).copied() else { return };
            let following = cut_after(context.cuts, &missed).unwrap_or(*next);
            self.gap(&missed, &following, context.breaks);
        }
    }

    fn closed(&self, open: &Open, following: &Cut, end: Option<u64>) -> CmafSegment {
        let init = self.inits.back();
        let timescale = init.map_or(1, |init| init.timescale);
        let version = init.map_or(0, |init| init.version);
        let end_pos = if open.damaged { open.pos } else { self.store.shared().published() };
        let from_cuts = following.previous_duration.max(1);
        // Audio has its own length; and so has video where something follows that the cuts do not tell of.
        let own = end.filter(|_| self.id.is_audio).map(|end| end.saturating_sub(open.time).max(1));
        let duration = own.unwrap_or_else(|| super::clock::scale(MediaTime(from_cuts), timescale).max(1));
        let duration_90k = own.map_or(from_cuts, |own| ticks_90k(own, timescale)).clamp(1, self.segment_90k_max);
        let segment = Segment { cut: open.cut, range: open.pos..end_pos.max(open.pos), duration_90k };
        CmafSegment { segment, time: open.time, duration, unix_us: open.unix_us, init: version }
    }

    /// A segment that the track has nothing for.
    fn gap(&mut self, cut: &Cut, following: &Cut, breaks: &Breaks) {
        let init = self.inits.back();
        let timescale = init.map_or(1, |init| init.timescale);
        let duration_90k = following.previous_duration.clamp(1, self.segment_90k_max);
        let pos = self.store.end();
        self.newest = cut.segment;
        let segment = CmafSegment {
            segment: Segment { cut: breaks.own(cut), range: pos..pos, duration_90k },
            time: super::clock::scale(cut.start, timescale),
            duration: super::clock::scale(MediaTime(duration_90k), timescale).max(1),
            unix_us: cut.start.unix_us(),
            init: init.map_or(0, |init| init.version),
        };
        self.list(segment);
    }

    fn list(&mut self, segment: CmafSegment) {
        self.window.push(segment);
        if let Some(pos) = self.window.oldest_pos() {
            self.store.trim(pos);
        }
        let oldest = self.window.served().next().map_or(0, |segment| segment.init);
        while self.inits.front().is_some_and(|init| init.version < oldest) && self.inits.len() > 1 {
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

fn cut_after(cuts: &VecDeque<Cut>, cut: &Cut) -> Option<Cut> {
    cuts.iter().find(|next| next.segment == cut.segment + 1).copied()
}

/// Whether decoders take a change of the codec's parameters without a new init segment: each frame carries them.
fn describes_itself(codec: Codec) -> bool {
    matches!(codec, Codec::Ac3 | Codec::Eac3 | Codec::Mp3)
}
