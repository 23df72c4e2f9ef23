//! The TS packager: a channel's rings muxed into one store, which continuous viewers read as it grows and HLS-TS viewers
//! read by segments.
//!
//! ```text
//!  rings ─► interleave ─► TsMuxer ─► store ─► continuous viewers (JoinPoint: where to begin, what to send first)
//!  cuts  ───────┴────────► window ─► TsSnapshot: playlists, segment ranges
//! ```
//!
//! PAT and PMT stand before every key sample and cut. A segment begins there, at the reference sample that the timeline
//! named; audio that the multiplex puts behind it belongs to it. Audio frames that are there at once share a PES packet, up
//! to 100 ms of them: at 64 kb/s that saves a third of the packets, and none waits for another.
//!
//! What it deliberately does not do: invent times, cuts or numbers; wait (a caller asks [`TsPackager::next_deadline`]).

use super::hls_ts::{self, TsSnapshot};
use super::interleave::{Event, Interleave, Pick};
use super::start::find_start;
use super::window::{Segment, Window};
use super::{Feed, Packager, Pulled, listed_ticks};
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::es::{Codec, Key, Params, SampleMeta, Track, TrackId, TrackKind};
use crate::limits::{AUDIO_PES_BYTES_MAX, AUDIO_PES_TICKS_MAX, FLUSH_BYTES, FLUSH_US, PULL_BYTES_MAX};
use crate::mpegts::mux::{MuxConfig, MuxSample, TsMuxer};
use crate::store::{Arena, StoreShared, StoreWriter};
use crate::time::{MediaTime, Now};
use crate::timeline::{Cut, Epoch};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A cut whose sample is missing is made at the first picture this far behind it, 90 kHz ticks.
const CUT_OVERDUE_TICKS: i64 = 90_000;
/// Join points lie at least this far apart but for cuts, 90 kHz ticks (400 ms): every frame of intra-only video and of audio is one.
const JOIN_TICKS_MIN: i64 = 36_000;
/// Frames of one PES packet follow each other to within this, 90 kHz ticks: stamps are rounded to a tick at each end.
const FRAME_SLACK_TICKS: i64 = 3;
/// Frame durations are counted in this fraction of a tick: 1024 samples at 44.1 kHz are 2089.8 ticks.
const FRAME_TICKS_SCALE: i64 = 1_000;

/// What a TS packager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TsPackageConfig {
    /// EXT-X-TARGETDURATION, seconds: the timeline's longest segment.
    pub target_duration_s: u64,
    /// Media listed in a playlist, milliseconds; at least three target durations are.
    pub window_ms: u64,
    pub mux: MuxConfig,
}

/// Whether TS has a mapping for the track and its stream_type is known.
pub fn fits_ts(track: &Track) -> bool {
    track.ts.stream_type != 0 && !matches!(track.codec, Codec::Vp8 | Codec::Vp9 | Codec::Flac)
}

/// A position of the store where a viewer may begin: PAT, PMT and a key sample follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPoint {
    pub pos: u64,
    /// Private head for a viewer that already got other bytes of this stream and skips to `pos`: it makes the step a signalled
    /// discontinuity. A fresh viewer needs none.
    pub head: Bytes,
    /// DTS of the key sample.
    pub dts: MediaTime,
    pub key: Key,
}

/// What viewers on every shard see of a TS packager.
pub struct TsShared {
    store: Arc<StoreShared>,
    version: AtomicU64,
    snapshot: Mutex<Arc<TsSnapshot>>,
    joins: Mutex<Arc<[JoinPoint]>>,
    /// DTS of the newest published sample of audio or video.
    newest_dts: AtomicI64,
}

impl TsShared {
    pub fn store(&self) -> &Arc<StoreShared> {
        &self.store
    }
    /// Grows at each change of the snapshot (Acquire).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
    pub fn snapshot(&self) -> Arc<TsSnapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Join points whose bytes are published and held, oldest first.
    pub fn joins(&self) -> Arc<[JoinPoint]> {
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// The newest join point.
    pub fn newest_join(&self) -> Option<JoinPoint> {
        self.joins().last().cloned()
    }
    /// The newest join point that lies at least `ticks` of 90 kHz before the newest sample, else the oldest.
    pub fn join_back(&self, ticks: i64) -> Option<JoinPoint> {
        let joins = self.joins();
        let time = MediaTime(self.newest_dts.load(Ordering::Acquire)) + -ticks;
        joins.iter().rev().find(|join| join.dts <= time).or(joins.first()).cloned()
    }
}

/// Counters since the packager was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TsPackageStats {
    pub samples: u64,
    /// Samples that the rings overwrote before they were read.
    pub lost: u64,
    /// Samples that do not fit a PES packet.
    pub refused: u64,
    /// Times the arena was full; the stream then begins anew at the next cut.
    pub store_full: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is muxed until the first usable cut with this number or a higher one.
    Waiting { from: u64 },
    /// The next cut has this number or a higher one.
    Running { next: u64 },
}

/// The owner's end. See the module.
pub struct TsPackager {
    config: TsPackageConfig,
    epoch: Epoch,
    selection: Selection,
    store: StoreWriter,
    shared: Arc<TsShared>,
    mux: TsMuxer,
    lanes: Interleave,
    tracks: Vec<Arc<Track>>,
    state: State,
    window: Window<Segment>,
    /// The cut that began the segment in the making, and its store position.
    open: Option<(Cut, u64)>,
    joins: VecDeque<JoinPoint>,
    newest_dts: MediaTime,
    /// The next cut is a discontinuity that only this packager had.
    broken: bool,
    /// Such discontinuities so far: they count on top of the timeline's.
    own_discontinuities: u64,
    /// Packets that are not in the store yet.
    packets: Vec<u8>,
    /// Audio frames of the PES packet in the making.
    frames: Vec<u8>,
    due: Due,
    stats: TsPackageStats,
}

/// What the next publication brings along.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// Monotonic time of the first byte that is not published, microseconds.
    since_us: Option<u64>,
    picture: bool,
    joins: bool,
    window: bool,
}

impl TsPackager {
    /// A packager that is backfilled from the rings: from the oldest cut on that its window has room for. The first
    /// [`PULL_BYTES_MAX`] of that are muxed and published at once, [`TsPackager::pull`] goes on.
    ///
    /// `selection` names the folder of its URLs, `renditions` are what it makes of the source.
    pub fn new(
        arena: Arc<Arena>,
        config: TsPackageConfig,
        epoch: Epoch,
        selection: Selection,
        renditions: Vec<RenditionId>,
        feed: &Feed,
        now: Now,
    ) -> Self {
        let store = StoreWriter::new(arena);
        let shared = Arc::new(TsShared {
            store: store.shared().clone(),
            version: AtomicU64::new(0),
            snapshot: Mutex::new(Arc::new(TsSnapshot::empty(epoch))),
            joins: Mutex::new(Arc::default()),
            newest_dts: AtomicI64::new(i64::MIN),
        });
        let mut packager = TsPackager {
            mux: TsMuxer::new(config.mux),
            window: Window::new(listed_ticks(config.window_ms, config.target_duration_s)),
            open: None,
            config,
            epoch,
            selection,
            store,
            shared,
            lanes: Interleave::default(),
            tracks: Vec::new(),
            state: State::Waiting { from: 0 },
            joins: VecDeque::new(),
            newest_dts: MediaTime(i64::MIN),
            broken: false,
            own_discontinuities: 0,
            packets: Vec::new(),
            frames: Vec::new(),
            due: Due::default(),
            stats: TsPackageStats::default(),
        };
        packager.lanes.set_renditions(renditions);
        packager.pull(feed, now);
        packager
    }

    /// What the selection makes of the source's tracks now.
    pub fn set_renditions(&mut self, renditions: Vec<RenditionId>) {
        self.lanes.set_renditions(renditions);
    }

    /// What viewers read, on any shard.
    pub fn shared(&self) -> &Arc<TsShared> {
        &self.shared
    }

    pub fn stats(&self) -> TsPackageStats {
        self.stats
    }

    /// Monotonic microseconds at which [`TsPackager::poll_flush`] has something to publish; `None`: nothing waits.
    pub fn next_deadline(&self) -> Option<u64> {
        self.due.since_us.map(|since| since + FLUSH_US)
    }

    /// Publishes what was muxed when a picture is complete, enough bytes wait, or they wait long enough.
    pub fn poll_flush(&mut self, now: Now) {
        let Some(since_us) = self.due.since_us else { return };
        let bytes = self.bytes_end() - self.shared.store.published();
        let late = now.mono_us >= since_us + FLUSH_US;
        if self.due.picture || self.due.window || late || bytes >= FLUSH_BYTES as u64 {
            self.publish();
        }
    }

    /// Media that the playlist lists at least, 90 kHz ticks.
    fn listed_ticks(&self) -> i64 {
        listed_ticks(self.config.window_ms, self.config.target_duration_s)
    }

    /// Position one past the last byte muxed.
    fn bytes_end(&self) -> u64 {
        self.store.end() + self.packets.len() as u64
    }

    /// Finds where to begin and goes there. False when there is no usable cut yet.
    fn start(&mut self, feed: &Feed, from: u64) -> bool {
        let Some(start) = find_start(feed, self.lanes.renditions(), from, self.listed_ticks()) else { return false };
        self.lanes.start(feed, start.track, start.seq, start.meta.dts);
        self.set_tracks();
        self.state = State::Running { next: start.segment };
        true
    }

    /// The stream cannot go on: it begins anew at the next cut, as a discontinuity. What is published stays readable.
    fn restart(&mut self) {
        let State::Running { next } = self.state else { return };
        self.state = State::Waiting { from: next };
        self.window.reset();
        self.open = None;
        self.mux.break_all();
        self.broken = true;
        self.own_discontinuities += 1;
    }

    fn apply_events(&mut self) {
        while let Some(event) = self.lanes.pop_event() {
            match event {
                Event::Tracks => self.set_tracks(),
                Event::Lost(track, count) => {
                    self.stats.lost += count;
                    self.mux.break_track(track.track);
                    if self.leads(track.track) {
                        self.restart();
                    }
                }
            }
        }
    }

    fn set_tracks(&mut self) {
        let wanted = self.lanes.lanes().iter().filter(|lane| lane.wanted);
        self.tracks = wanted.filter_map(|lane| lane.track.clone()).collect();
        self.tracks.sort_by_key(|track| track.id);
        self.mux.set_tracks(&self.tracks);
    }

    /// Whether segments and join points follow this kind of track: video, or audio where there is no video.
    fn leading_kind(&self) -> TrackKind {
        let has_video = self.tracks.iter().any(|track| track.kind() == TrackKind::Video);
        if has_video { TrackKind::Video } else { TrackKind::Audio }
    }

    fn leads(&self, id: TrackId) -> bool {
        let kind = self.leading_kind();
        self.tracks.iter().any(|track| track.id == id && track.kind() == kind)
    }

    fn mux(&mut self, feed: &Feed, pick: Pick, now: Now) {
        let lane = &self.lanes.lanes()[pick.lane];
        let (id, kind) = (lane.id, lane.kind);
        let frame_ticks = lane.track.as_deref().and_then(frame_ticks);
        let cut = self.due_cut(feed, kind, &pick.meta);
        let Some((meta, mut data)) = self.lanes.take(feed, pick.lane) else { return };
        if kind != TrackKind::Data {
            self.newest_dts = self.newest_dts.max(meta.dts);
        }
        let mut frames = std::mem::take(&mut self.frames);
        if let Some(ticks) = frame_ticks {
            data = self.group(feed, pick.lane, (&meta, data), ticks, &mut frames);
        }
        let tables = self.mark(kind, &meta, cut);
        let sample = MuxSample { track: id.track, meta: &meta, data, pcr_ceiling: pick.ceiling, tables };
        match self.mux.write(&sample, &mut self.packets) {
            Ok(()) => self.stats.samples += 1,
            Err(_) => self.stats.refused += 1,
        }
        self.frames = frames;
        self.due.picture |= kind == TrackKind::Video;
        self.due.since_us.get_or_insert(now.mono_us);
        if self.packets.len() >= FLUSH_BYTES {
            self.store_packets();
        }
    }

    /// Notes that a segment or a join point begins with the sample that is written next; whether tables go before it.
    fn mark(&mut self, kind: TrackKind, meta: &SampleMeta, cut: Option<Cut>) -> bool {
        let pos = self.bytes_end();
        if let Some(cut) = cut {
            self.state = State::Running { next: cut.segment + 1 };
            let cut = self.own(cut);
            self.close_segment(&cut, pos);
            self.open = Some((cut, pos));
            self.due.window = true;
        }
        let key = kind == TrackKind::Video && meta.key > Key::None;
        let far = self.joins.back().is_none_or(|last| meta.dts - last.dts >= JOIN_TICKS_MIN);
        let enters = key || (kind == TrackKind::Audio && self.leading_kind() == TrackKind::Audio);
        if enters && (far || cut.is_some()) {
            let mut head = Vec::new();
            self.mux.join_head(&mut head);
            self.joins.push_back(JoinPoint { pos, head: head.into(), dts: meta.dts, key: meta.key });
            self.due.joins = true;
        }
        key || cut.is_some() || (enters && far)
    }

    /// The segment in the making, if any, ends at store position `pos`, where `next` begins another.
    fn close_segment(&mut self, next: &Cut, pos: u64) {
        let Some((cut, start)) = self.open.take() else { return };
        if next.segment == cut.segment + 1 {
            self.window.push(Segment { cut, range: start..pos, duration_90k: next.previous_duration.max(1) });
        } else {
            self.window.reset();
        }
    }

    /// The timeline's cut, with this packager's own discontinuities counted in.
    fn own(&mut self, cut: Cut) -> Cut {
        Cut {
            discontinuity: cut.discontinuity || std::mem::take(&mut self.broken),
            discontinuity_sequence: cut.discontinuity_sequence + self.own_discontinuities,
            ..cut
        }
    }

    /// The cut that this sample makes. One whose own sample is missing is made by a later picture.
    fn due_cut(&self, feed: &Feed, kind: TrackKind, meta: &SampleMeta) -> Option<Cut> {
        let State::Running { next } = self.state else { return None };
        if kind == TrackKind::Data {
            return None;
        }
        let open = || feed.cuts.iter().rev().take_while(|cut| cut.segment >= next);
        let exact = open().find(|cut| cut.start == meta.pts);
        exact.copied().or_else(|| {
            // An encoder that has dropped the cut's own sample begins with a key behind it; sound alone is cut between two of its frames.
            let late =
                |cut: &&Cut| meta.pts > cut.start && (meta.key == Key::Idr || meta.pts - cut.start > CUT_OVERDUE_TICKS);
            let overdue = open().find(|cut| kind == self.leading_kind() && late(cut));
            overdue.map(|cut| Cut { independent: meta.key == Key::Idr, ..*cut })
        })
    }

    /// Adds the frames that follow at once to one audio frame; returns them all.
    fn group<'a>(
        &mut self,
        feed: &Feed,
        lane: usize,
        (first, data): (&SampleMeta, &'a [u8]),
        frame_ticks: i64,
        frames: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        frames.clear();
        let mut count = 1;
        while let Some((meta, next)) = self.lanes.peek(feed, lane) {
            let expected = first.pts + count * frame_ticks / FRAME_TICKS_SCALE;
            let fits = (meta.pts - expected).abs() <= FRAME_SLACK_TICKS
                && !meta.discontinuity
                && (count + 1) * frame_ticks / FRAME_TICKS_SCALE <= AUDIO_PES_TICKS_MAX
                && data.len().max(frames.len()) + next.len() <= AUDIO_PES_BYTES_MAX
                && self.due_cut(feed, TrackKind::Audio, &meta).is_none();
            if !fits || self.lanes.take(feed, lane).is_none() {
                break;
            }
            if frames.is_empty() {
                frames.extend_from_slice(data);
            }
            frames.extend_from_slice(next);
            count += 1;
        }
        if frames.is_empty() { data } else { frames }
    }

    fn store_packets(&mut self) {
        if self.store.append(&self.packets).is_err() {
            self.stats.store_full += 1;
            self.restart();
        }
        self.packets.clear();
    }

    fn publish(&mut self) {
        self.store_packets();
        self.store.publish();
        self.shared.newest_dts.store(self.newest_dts.0, Ordering::Release);
        let due = std::mem::take(&mut self.due);
        if due.window {
            let open_pos = self.open.map(|(_, pos)| pos);
            if let Some(pos) = self.window.oldest_pos().or(open_pos) {
                self.store.trim(pos);
                while self.joins.front().is_some_and(|join| join.pos < pos) {
                    self.joins.pop_front();
                }
            }
            let snapshot =
                hls_ts::render(self.epoch, &self.selection, self.config.target_duration_s, &self.window, &self.tracks);
            *self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        }
        if due.joins || due.window {
            let joins = self.joins.iter().cloned().collect();
            *self.shared.joins.lock().unwrap_or_else(PoisonError::into_inner) = joins;
            self.shared.version.fetch_add(1, Ordering::Release);
        }
    }
}

impl Packager for TsPackager {
    fn pull(&mut self, feed: &Feed, now: Now) -> Pulled {
        if let State::Waiting { from } = self.state
            && !self.start(feed, from)
        {
            return Pulled::All;
        }
        self.lanes.sync(feed);
        let bytes_end = self.bytes_end() + PULL_BYTES_MAX as u64;
        let mut pulled = Pulled::All;
        while let Some(pick) = self.lanes.next(feed) {
            self.apply_events();
            if self.bytes_end() >= bytes_end || !matches!(self.state, State::Running { .. }) {
                pulled = Pulled::More;
                break;
            }
            self.mux(feed, pick, now);
        }
        self.apply_events();
        self.poll_flush(now);
        pulled
    }
}

/// Duration of an audio frame in [`FRAME_TICKS_SCALE`]ths of a 90 kHz tick, when it is known.
fn frame_ticks(track: &Track) -> Option<i64> {
    match &track.params {
        Some(Params::Audio(audio)) if audio.sample_rate > 0 && audio.frame_samples > 0 => {
            Some(i64::from(audio.frame_samples) * 90_000 * FRAME_TICKS_SCALE / i64::from(audio.sample_rate))
        }
        _ => None,
    }
}
