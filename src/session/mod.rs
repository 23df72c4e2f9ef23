//! A channel's session: from origin bytes to published stores, and the decision when it all may stop.
//!
//! ```text
//!  origin bytes ─► demux ─► pacer ─► timeline ─► ES rings ─► packager ─► store ─► viewers of every shard
//! ```
//!
//! A session begins with the first viewer's touch and ends when nobody has touched it for the idle time; each begins an
//! epoch of its own. It runs on its owner shard only, without locks.
//!
//! What it deliberately does not do: IO, clocks and threads. `now` is an argument; what the runtime has to do comes out
//! of [`Session::poll`].
#![forbid(unsafe_code)]

mod burst;
mod encodes;
mod intake;
pub mod shared;
mod slot;
pub mod viewers;
mod want;

pub use want::Want;

use crate::es::carriage::Container;
use crate::es::encoding::Encoding;
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::mpegts::demux::{DemuxConfig, DemuxStats, Demuxer};
use crate::package::Feed;
use crate::package::cmaf::{CmafPackageConfig, CmafPackager, Wanted};
use crate::package::mpegts::{TsPackageConfig, TsPackager};
use crate::ring::branch::{Branch, OutputId};
use crate::store::Arena;
use crate::time::Now;
use crate::timeline::pacer::{Pacer, PacerConfig};
use crate::timeline::{Epoch, Numbers, Timeline, TimelineConfig};
use burst::ConnectBurst;
use encodes::Encodes;
use intake::Intake;
use shared::{ChannelState, ChannelView, TrackSummary};
use slot::Slot;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use want::Wants;

/// What every session of a channel is built with.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// program_number to take from the source; `None`: the first with video or audio.
    pub program: Option<u16>,
    pub timeline: TimelineConfig,
    pub ts: TsPackageConfig,
    pub cmaf: CmafPackageConfig,
    /// Samples and payload bytes of a video track's ring.
    pub video_ring: RingSize,
    /// Samples and payload bytes of an audio or data track's ring.
    pub audio_ring: RingSize,
    /// Hold back what arrives ahead of real time.
    pub pace: bool,
    /// A session ends this long after the last touch, microseconds.
    pub session_idle_us: u64,
    /// What a selection or rendition needs is dropped this long after the last touch, microseconds.
    pub variant_idle_us: u64,
    /// What viewers may have made.
    pub encodings: Arc<HashSet<Encoding>>,
}

/// Bounds of one ES ring.
#[derive(Clone, Copy, Debug)]
pub struct RingSize {
    pub samples_max: usize,
    pub bytes_max: usize,
}

/// What a session wants done. Returned by [`Session::poll`] until `None`.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Somebody watches: connect, and keep retrying until [`Command::CloseOrigin`].
    OpenOrigin,
    /// Somebody wants what the source does not have: hand this to a transcoder. What cannot be taken comes back by
    /// [`Session::on_refused`].
    StartTranscode(Branch),
    /// Nobody wants these any more: they are marked so already, and only have to be noticed.
    StopTranscode(Vec<OutputId>),
    /// Nobody watches any more: close the connection and drop the session.
    CloseOrigin,
}

/// What the origin's connection did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginEvent {
    /// A connection attempt began.
    Connecting,
    /// The origin answered and media follows.
    Connected,
    /// The connection is gone; the reason names no credentials.
    Down(Arc<str>),
}

/// Outcome of [`Session::ingest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Bytes taken; the rest is to be offered again.
    pub consumed: usize,
    /// Monotonic time at which to offer the rest, microseconds; `None`: at once.
    pub resume_us: Option<u64>,
}

pub struct Session {
    config: Arc<SessionConfig>,
    arena: Arc<Arena>,
    demuxer: Demuxer,
    /// Until it is known what the origin's first bytes are.
    burst: Option<ConnectBurst>,
    /// The rest of such a burst, while the pacer holds it.
    backlog: Vec<u8>,
    intake: Intake,
    wants: Wants,
    encodes: Encodes,
    ts: Vec<(Selection, Slot<TsPackager>)>,
    cmaf: Option<Slot<CmafPackager>>,
    commands: VecDeque<Command>,
    touched_us: u64,
    origin: OriginState,
    /// Ring entries that packagers were shown.
    pulled: u64,
    /// The tracks that packagers and renditions were last fitted to.
    fitted: Option<u32>,
}

/// What a [`ChannelView`] was made of, cheap to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStamp {
    tracks_version: u32,
    ts: Vec<Selection>,
    has_cmaf: bool,
    refusals_version: u32,
    pub state: ChannelState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginState {
    Connecting,
    Connected,
    Down(Arc<str>),
}

impl Session {
    /// Opens a session for a viewer that has just come. `last_known`: [`Session::last_numbers`] of the
    /// channel's session before, if there was one in this process.
    pub fn open(config: Arc<SessionConfig>, arena: Arc<Arena>, last_known: Option<Numbers>, now: Now) -> Session {
        let epoch = Epoch::begin(last_known, now);
        let timeline = Timeline::new(config.timeline, epoch, now);
        let pacer = config.pace.then(|| Pacer::new(PacerConfig::default()));
        Session {
            demuxer: Demuxer::new(DemuxConfig { program: config.program }),
            burst: Some(ConnectBurst::new(DemuxConfig { program: config.program })),
            backlog: Vec::new(),
            intake: Intake::new(timeline, pacer, config.video_ring, config.audio_ring),
            wants: Wants::default(),
            encodes: Encodes::new(config.cmaf.window_ms.max(config.ts.window_ms)),
            ts: Vec::new(),
            cmaf: None,
            commands: VecDeque::from([Command::OpenOrigin]),
            touched_us: now.mono_us,
            origin: OriginState::Connecting,
            pulled: 0,
            fitted: None,
            config,
            arena,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.intake.timeline.epoch()
    }

    /// What [`Session::open`] of the channel's next session has to be told.
    pub fn last_numbers(&self) -> Numbers {
        let before = Numbers {
            segment: self.epoch().id.saturating_sub(1),
            discontinuity_sequence: self.epoch().discontinuity_sequence.saturating_sub(1),
        };
        self.intake
            .feed
            .cuts
            .back()
            .map_or(before, |cut| Numbers { segment: cut.segment, discontinuity_sequence: cut.discontinuity_sequence })
    }

    /// Somebody wants something of the channel; `at_us`: when, on the monotonic clock. What needs an encoding that the configuration does not name is
    /// not made.
    pub fn touch(&mut self, want: Want, at_us: u64, now: Now) {
        self.touched_us = self.touched_us.max(at_us);
        if want.is_allowed(&self.config.encodings) && self.wants.touch(want, at_us, &self.intake.tracks) {
            self.fit(now);
            self.pull(now);
        }
    }

    /// No transcoder took these outputs: whoever waits for them is told why.
    pub fn on_refused(&mut self, outputs: &[OutputId], why: &Arc<str>, retry_after_s: Option<u32>, now: Now) {
        let refused = self.encodes.refused(outputs, why, retry_after_s, &mut self.intake.feed, now);
        // They were told no, and are gone; who asks again gets a new try.
        self.wants.forget(&refused, &self.intake.tracks);
        self.fit(now);
    }

    /// Makes renditions and packagers be what is wanted of the source's tracks.
    fn fit(&mut self, now: Now) {
        let tracks = &self.intake.tracks;
        self.fitted = Some(self.intake.tracks_version);
        let mut needed: Vec<RenditionId> = self.wants.iter().flat_map(|want| want.renditions(tracks)).collect();
        needed.retain(|id| id.encoding.is_some());
        needed.sort_unstable();
        needed.dedup();
        self.encodes.sync(&needed, &mut self.intake.feed, now, &mut self.commands);
        self.fit_ts(now);
        self.fit_cmaf(now);
    }

    fn fit_ts(&mut self, now: Now) {
        let wanted = self.wants.iter().filter_map(|want| match want {
            Want::Ts(selection) => Some(*selection),
            _ => None,
        });
        let wanted: Vec<Selection> = wanted.collect();
        self.ts.retain(|(selection, _)| wanted.contains(selection));
        for selection in wanted {
            let renditions = selection.renditions(&self.intake.tracks, Container::Ts);
            if let Some((_, slot)) = self.ts.iter_mut().find(|(known, _)| *known == selection) {
                slot.packager.set_renditions(renditions);
            } else {
                let (arena, config, epoch) = (self.arena.clone(), self.config.ts, self.epoch());
                let packager = TsPackager::new(arena, config, epoch, selection, renditions, &self.intake.feed, now);
                self.ts.push((selection, Slot::new(packager)));
            }
        }
    }

    fn fit_cmaf(&mut self, now: Now) {
        let tracks = &self.intake.tracks;
        let mut wanted = Wanted::default();
        for want in self.wants.iter() {
            match want {
                Want::Cmaf(selection) => wanted.selections.push((*selection, want.renditions(tracks))),
                Want::Rendition(_) => wanted.others.extend(want.renditions(tracks)),
                Want::Channel | Want::Ts(_) => {}
            }
        }
        if wanted.is_empty() {
            self.cmaf = None;
        } else if let Some(slot) = &mut self.cmaf {
            slot.packager.set_wanted(wanted);
        } else {
            let (arena, config, epoch) = (self.arena.clone(), self.config.cmaf, self.epoch());
            let packager = CmafPackager::new(arena, config, epoch, wanted, &self.intake.feed, now);
            self.cmaf = Some(Slot::new(packager));
        }
    }

    /// Takes bytes from the origin's body. Everything that they complete is published before this returns, but for the first
    /// moments of a session, when bytes are held to see whether they are a burst of the past.
    pub fn ingest(&mut self, bytes: &[u8], now: Now) -> Ingested {
        if let Some(burst) = &mut self.burst {
            burst.take(bytes, now);
            self.end_burst(now);
            return Ingested { consumed: bytes.len(), resume_us: None };
        }
        if !self.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            let ingested = self.demux(&backlog, now);
            if ingested.consumed < backlog.len() {
                self.backlog = backlog[ingested.consumed..].to_vec();
                return Ingested { consumed: 0, ..ingested };
            }
        }
        self.demux(bytes, now)
    }

    fn demux(&mut self, bytes: &[u8], now: Now) -> Ingested {
        self.intake.begin(now);
        let consumed = self.demuxer.push(bytes, &mut self.intake);
        self.pull(now);
        Ingested { consumed, resume_us: self.intake.resume_us.take() }
    }

    /// Once the first burst is over: begins the timeline as far back as the burst reaches, and goes on with what was held.
    fn end_burst(&mut self, now: Now) {
        let Some(age) = self.burst.as_ref().and_then(|burst| burst.over(now)) else { return };
        let Some(burst) = self.burst.take() else { return };
        self.intake.timeline.begin_before_now(age);
        let held = burst.into_held();
        let consumed = self.demux(&held, now).consumed;
        self.backlog = held[consumed..].to_vec();
    }

    /// Tells what became of the origin's connection.
    pub fn on_origin(&mut self, event: OriginEvent, now: Now) {
        match event {
            OriginEvent::Connecting => self.origin = OriginState::Connecting,
            OriginEvent::Connected => self.origin = OriginState::Connected,
            OriginEvent::Down(reason) => {
                self.burst = None;
                self.backlog = Vec::new();
                self.intake.begin(now);
                self.demuxer.end(&mut self.intake);
                self.intake.source_break(now);
                self.pull(now);
                self.origin = OriginState::Down(reason);
            }
        }
    }

    /// Runs the clocks: late flushes, idle ends. Returns the next thing to do.
    pub fn poll(&mut self, now: Now) -> Option<Command> {
        self.end_burst(now);
        for (_, slot) in &mut self.ts {
            slot.packager.poll_flush(now);
        }
        if self.wants.expire(now.mono_us, self.config.variant_idle_us) || self.encodes.has_any() {
            self.fit(now);
        }
        self.pull(now);
        self.intake.drop_ended_rings();
        if now.mono_us.saturating_sub(self.touched_us) >= self.config.session_idle_us {
            let ends = self.end_transcodes();
            self.commands.extend(ends);
            self.commands.push_back(Command::CloseOrigin);
            self.touched_us = u64::MAX;
        }
        self.commands.pop_front()
    }

    /// Ends all transcoding: what the runtime still has to do for that.
    pub fn end_transcodes(&mut self) -> Option<Command> {
        let stopped = self.encodes.end_all(&mut self.intake.feed);
        (!stopped.is_empty()).then_some(Command::StopTranscode(stopped))
    }

    /// What viewers on every shard see of this session.
    pub fn view(&self) -> ChannelView {
        ChannelView {
            epoch: self.epoch().id,
            state: self.state(),
            target_duration_s: self.intake.timeline.target_duration_s(),
            ts: self.ts.iter().map(|(selection, slot)| (*selection, slot.packager.shared().clone())).collect(),
            cmaf: self.cmaf.as_ref().map(|slot| slot.packager.shared().clone()),
            tracks: self.intake.tracks.iter().map(|t| TrackSummary::of(t)).collect(),
            source: self.intake.tracks.clone(),
            refused: self.encodes.refusals(),
        }
    }

    pub fn state(&self) -> ChannelState {
        match &self.origin {
            OriginState::Connected if self.intake.placed > 0 => ChannelState::Live,
            OriginState::Connecting | OriginState::Connected if self.intake.placed == 0 => ChannelState::Starting,
            OriginState::Down(reason) if self.intake.placed == 0 => ChannelState::Failed(reason.clone()),
            _ => ChannelState::Stalled,
        }
    }

    /// Changes whenever [`Session::view`] would: cheap to compare after each call.
    pub fn view_stamp(&self) -> ViewStamp {
        ViewStamp {
            tracks_version: self.intake.tracks_version,
            ts: self.ts.iter().map(|(selection, _)| *selection).collect(),
            has_cmaf: self.cmaf.is_some(),
            refusals_version: self.encodes.version(),
            state: self.state(),
        }
    }

    /// Differs when packagers have published something: the positions up to which the TS stores are published, and the version of the CMAF
    /// snapshot.
    pub fn published(&self) -> (u64, u64) {
        let ts = self.ts.iter().map(|(_, slot)| slot.packager.shared().store().published()).sum();
        let cmaf = self.cmaf.as_ref().map_or(0, |slot| slot.packager.shared().version());
        (ts, cmaf)
    }

    /// Counters of the demuxer since the session began.
    pub fn demux_stats(&self) -> DemuxStats {
        self.demuxer.stats()
    }

    /// Samples placed on the timeline, and dropped by it, since the session began.
    pub fn sample_counts(&self) -> (u64, u64) {
        (self.intake.placed, self.intake.dropped)
    }

    /// The samples and cuts held for packagers.
    pub fn feed(&self) -> &Feed {
        &self.intake.feed
    }

    fn pull(&mut self, now: Now) {
        if self.fitted != Some(self.intake.tracks_version) {
            self.fit(now);
        }
        let has_encoded = self.encodes.pump(&mut self.intake.feed);
        let has_news = std::mem::replace(&mut self.pulled, self.intake.pushed) != self.intake.pushed || has_encoded;
        for (_, slot) in &mut self.ts {
            slot.pull(&self.intake.feed, has_news, now);
        }
        if let Some(slot) = &mut self.cmaf {
            slot.pull(&self.intake.feed, has_news, now);
        }
    }
}
