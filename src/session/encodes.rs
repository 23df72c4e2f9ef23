//! The renditions that transcoders make for a channel: started when something needs them, fed from the source's rings, stopped when nothing does.
//!
//! ```text
//!  needed renditions ─► missing ones, by source track ─► one Branch ─► StartTranscode
//!  source ring ─► Feeder ─► input ring ═► worker ═► output ring (in the feed, as any rendition's)
//! ```
//! A branch begins some segments back, so that its first playlist comes soon. A worker that falls behind by more than [`TRANSCODE_LAG_TICKS_MAX`] loses what lies
//! between it and the newest key sample. One that ends by itself is started again, later and later, and after [`TRANSCODE_FAILURES_MAX`] failures not for a while.
//!
//! What it deliberately does not do: know who asked, or what a transcoder is.

mod feeder;
mod sizes;
mod troubles;

use crate::es::rendition::RenditionId;
use crate::es::{Track, TrackId};
use crate::package::start::samples;
use crate::package::{Feed, TrackRing};
use crate::ring::branch::{Branch, Output, OutputId, Progress};
use crate::ring::doorbell::Doorbell;
use crate::ring::rendition::RenditionRing;
use crate::ring::spsc;
use crate::session::Command;
use crate::session::shared::Refusal;
use crate::time::{MediaTime, Now};
use feeder::Feeder;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use troubles::Troubles;

#[cfg(doc)]
use crate::limits::{TRANSCODE_FAILURES_MAX, TRANSCODE_LAG_TICKS_MAX};

/// All of a session's encoded renditions.
pub(super) struct Encodes {
    renditions: Vec<Rendition>,
    feeders: Vec<Feeder>,
    troubles: Troubles,
    /// How far renditions came that are not made any more: what is made anew begins behind that, for a URL never gets other bytes.
    made: HashMap<RenditionId, MediaTime>,
    /// Media that packagers may want of a ring, milliseconds.
    window_ms: u64,
    /// Changes with what [`Encodes::refusals`] says.
    version: u32,
}

/// One rendition that a transcoder makes; its ring is in the feed.
struct Rendition {
    id: RenditionId,
    output: OutputId,
    progress: Arc<Progress>,
}

/// Outputs are numbered over all sessions.
static OUTPUTS: AtomicU64 = AtomicU64::new(0);

impl Encodes {
    pub fn new(window_ms: u64) -> Encodes {
        Encodes {
            renditions: Vec::new(),
            feeders: Vec::new(),
            troubles: Troubles::default(),
            made: HashMap::new(),
            window_ms,
            version: 0,
        }
    }

    /// Makes what runs be what is needed; `commands` take what the runtime has to do for that. `needed`: encoded renditions, each once.
    pub fn sync(&mut self, needed: &[RenditionId], feed: &mut Feed, now: Now, commands: &mut impl Extend<Command>) {
        self.end_failed(feed, now);
        if self.troubles.forget(now.mono_us) {
            self.version += 1;
        }
        let unwanted: Vec<RenditionId> =
            self.renditions.iter().map(|rendition| rendition.id).filter(|id| !needed.contains(id)).collect();
        let stopped = self.end(&unwanted, feed);
        if !stopped.is_empty() {
            commands.extend([Command::StopTranscode(stopped)]);
        }
        let is_missing = |id: &&RenditionId| self.renditions.iter().all(|rendition| rendition.id != **id);
        let missing = needed.iter().filter(is_missing).filter(|id| self.troubles.may_start(**id, now.mono_us));
        let missing: Vec<RenditionId> = missing.copied().collect();
        let mut tracks: Vec<TrackId> = missing.iter().map(|id| id.track).collect();
        tracks.dedup();
        for track in tracks {
            let ids: Vec<RenditionId> = missing.iter().copied().filter(|id| id.track == track).collect();
            commands.extend(self.start(track, &ids, feed).map(Command::StartTranscode));
        }
    }

    /// Something runs, or is held against something: it is to be looked at on each beat.
    pub fn has_any(&self) -> bool {
        !self.renditions.is_empty() || !self.troubles.is_empty()
    }

    /// Ends all: the session does.
    pub fn end_all(&mut self, feed: &mut Feed) -> Vec<OutputId> {
        let all: Vec<RenditionId> = self.renditions.iter().map(|rendition| rendition.id).collect();
        self.end(&all, feed)
    }

    /// No transcoder took these: says which renditions they were.
    pub fn refused(
        &mut self,
        outputs: &[OutputId],
        why: &Arc<str>,
        retry_after_s: Option<u32>,
        feed: &mut Feed,
        now: Now,
    ) -> Vec<RenditionId> {
        let refused = self.renditions.iter().filter(|rendition| outputs.contains(&rendition.output));
        let ids: Vec<RenditionId> = refused.map(|rendition| rendition.id).collect();
        self.end(&ids, feed);
        for id in &ids {
            self.troubles.refused(*id, why.clone(), retry_after_s, now.mono_us);
        }
        self.version += 1;
        ids
    }

    /// Renditions that are not to be had for now.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.troubles.refusals()
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    /// Moves samples both ways; true when packagers have something new to read.
    pub fn pump(&mut self, feed: &mut Feed) -> bool {
        for feeder in &mut self.feeders {
            feeder.feed(feed);
        }
        self.feeders.retain(|feeder| !feeder.is_over());
        let newest_cut = feed.cuts.back().map(|cut| cut.start);
        let mut has_news = false;
        for ring in &mut feed.rings {
            if let RenditionRing::Encoded(consumer) = &mut ring.ring {
                has_news |= consumer.poll() > 0;
                sizes::free_old(consumer, newest_cut, self.window_ms);
            }
        }
        has_news
    }

    fn start(&mut self, track: TrackId, ids: &[RenditionId], feed: &mut Feed) -> Option<Branch> {
        let ring = feed.rings.iter().find(|ring| ring.id.track == track && ring.id.encoding.is_none())?;
        let source: Arc<Track> = ring.newest_track().filter(|track| track.params.is_some())?.clone();
        let after = ids.iter().filter_map(|id| self.made.get(id)).max().copied();
        let begin = feeder::begin(ring, feed, after);
        let (input, consumer) = sizes::input(&source).inspect_err(log_no_memory).ok()?;
        let doorbell = Arc::new(Doorbell::default());
        let mut outputs = Vec::new();
        for id in ids {
            let Some(encoding) = id.encoding else { continue };
            let (producer, ring) = sizes::output(&source, encoding, self.window_ms).inspect_err(log_no_memory).ok()?;
            let output = OutputId(OUTPUTS.fetch_add(1, Ordering::Relaxed));
            let progress = Arc::new(Progress::default());
            outputs.push(Output { id: output, encoding, ring: producer, progress: progress.clone() });
            self.renditions.push(Rendition { id: *id, output, progress });
            feed.rings.push(TrackRing { id: *id, serial: output.0 + 1, ring: RenditionRing::Encoded(ring) });
        }
        let progress = outputs.iter().map(|output| output.progress.clone()).collect();
        let mut feeder = Feeder::new(track, begin, input, doorbell.clone(), progress);
        feeder.feed(feed);
        self.feeders.push(feeder);
        Some(Branch { source, input: consumer, doorbell, outputs })
    }

    /// Stops renditions and takes their rings out of the feed.
    fn end(&mut self, ids: &[RenditionId], feed: &mut Feed) -> Vec<OutputId> {
        let mut stopped = Vec::new();
        self.renditions.retain(|rendition| {
            let ends = ids.contains(&rendition.id);
            if ends {
                rendition.progress.stop.store(true, Ordering::Release);
                stopped.push(rendition.output);
            }
            !ends
        });
        for ring in feed.rings.iter().filter(|ring| ids.contains(&ring.id)) {
            let newest = samples(&ring.ring).next_back().map(|(_, meta)| meta.pts);
            // A ring without samples has said nothing of how far the one before it came.
            if let Some(newest) = newest.max(self.made.get(&ring.id).copied()) {
                self.made.insert(ring.id, newest);
            }
        }
        if !ids.is_empty() {
            feed.rings.retain(|ring| !ids.contains(&ring.id));
        }
        stopped
    }

    /// Takes note of what ended by itself.
    fn end_failed(&mut self, feed: &mut Feed, now: Now) {
        let is_gone = |rendition: &Rendition, feed: &Feed| {
            let ring = feed.rings.iter().find(|ring| ring.id == rendition.id);
            let drained = ring.is_none_or(|ring| match &ring.ring {
                RenditionRing::Encoded(consumer) => consumer.is_abandoned(),
                RenditionRing::Source(_) => true,
            });
            rendition.progress.is_over() || drained
        };
        let gone: Vec<(RenditionId, Arc<str>, bool)> = self
            .renditions
            .iter()
            .filter(|rendition| is_gone(rendition, feed))
            .map(|rendition| {
                let why = rendition.progress.failure().unwrap_or_else(|| "the transcoder ended".into());
                (rendition.id, why, rendition.progress.frames.load(Ordering::Relaxed) > 0)
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        let ids: Vec<RenditionId> = gone.iter().map(|(id, ..)| *id).collect();
        self.end(&ids, feed);
        for (id, why, has_worked) in gone {
            self.troubles.failed(id, why, has_worked, now.mono_us);
        }
        self.version += 1;
    }
}

fn log_no_memory(error: &std::io::Error) {
    tracing::warn!(%error, "no ring for a transcoder");
}

/// The channel that a spsc ring is made as.
type Ends = (spsc::Producer, spsc::Consumer);
