//! What all shards see of a channel: its state, its stores and its counters. Written by the owner shard, read by every other.
#![forbid(unsafe_code)]

use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::es::{Params, Track, TrackKind};
use crate::limits::SHARDS_MAX;
use crate::metrics::{Counter, Format};
use crate::package::cmaf::CmafShared;
use crate::package::mpegts::TsShared;
use crate::session::Want;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a channel does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChannelState {
    /// Nobody watches; no session.
    #[default]
    Idle,
    /// The origin is being reached; nothing has come yet.
    Starting,
    /// Media flows.
    Live,
    /// Media flowed, and stopped; the origin is tried again while somebody watches.
    Stalled,
    /// The origin was never reached in this session; why, without credentials.
    Failed(Arc<str>),
}

impl ChannelState {
    /// Lower-case name for the API.
    pub fn name(&self) -> &'static str {
        match self {
            ChannelState::Idle => "idle",
            ChannelState::Starting => "starting",
            ChannelState::Live => "live",
            ChannelState::Stalled => "stalled",
            ChannelState::Failed(_) => "failed",
        }
    }
}

/// A session as viewers see it. Replaced as a whole, never changed.
#[derive(Clone, Default)]
pub struct ChannelView {
    /// Epoch id; 0 when there is no session.
    pub epoch: u64,
    pub state: ChannelState,
    /// EXT-X-TARGETDURATION of the epoch, seconds.
    pub target_duration_s: u64,
    /// The TS packagers' output: one for each selection that somebody asked for.
    pub ts: Vec<(Selection, Arc<TsShared>)>,
    /// The CMAF packager's output, once somebody asked for it.
    pub cmaf: Option<Arc<CmafShared>>,
    /// The source's tracks in PMT order; empty until known.
    pub source: Vec<Arc<Track>>,
    pub tracks: Vec<TrackSummary>,
    /// Renditions that are not to be had for now.
    pub refused: Vec<Refusal>,
}

/// A rendition that no transcoder takes, or that failed too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub rendition: RenditionId,
    /// One line, fit for viewers.
    pub why: Arc<str>,
    /// Seconds after which it is worth to ask again; `None`: it will not change.
    pub retry_after_s: Option<u32>,
}

impl ChannelView {
    /// The TS packager's output of a selection.
    pub fn ts(&self, selection: &Selection) -> Option<&Arc<TsShared>> {
        self.ts.iter().find(|(of, _)| of == selection).map(|(_, ts)| ts)
    }
    /// Why a want cannot be had, when one of its renditions is refused.
    pub fn refusal(&self, want: &Want) -> Option<&Refusal> {
        if self.refused.is_empty() {
            return None;
        }
        let renditions = want.renditions(&self.source);
        self.refused.iter().find(|refusal| renditions.contains(&refusal.rendition))
    }
}

/// One line about a track for the API and the page.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TrackSummary {
    pub pid: u16,
    pub kind: &'static str,
    pub codec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// RFC 6381, empty until known.
    pub rfc6381: String,
    /// "1920x1080" or "48000 Hz, 2 ch", empty until known.
    pub detail: String,
}

impl TrackSummary {
    pub fn of(track: &Track) -> Self {
        let (rfc6381, detail) = match &track.params {
            Some(Params::Video(v)) => (v.rfc6381.clone(), format!("{}x{}", v.width, v.height)),
            Some(Params::Audio(a)) => (a.rfc6381.clone(), format!("{} Hz, {} ch", a.sample_rate, a.channels)),
            None => Default::default(),
        };
        TrackSummary {
            pid: track.ts.pid,
            kind: match track.kind() {
                TrackKind::Video => "video",
                TrackKind::Audio => "audio",
                TrackKind::Data => "data",
            },
            codec: track.codec.name(),
            language: track.language.map(|l| String::from_utf8_lossy(&l).into_owned()),
            rfc6381,
            detail,
        }
    }
}

/// One configured channel's meeting point, made at start-up and kept for life.
#[derive(Default)]
pub struct ChannelShared {
    view: Mutex<Arc<ChannelView>>,
    /// Grows with every new view.
    version: AtomicU64,
    pub readers: Readers,
    pub counters: ChannelCounters,
}

/// The shards that read a channel without owning it, and how often its owner has called them.
#[derive(Default)]
pub struct Readers {
    /// A bit for each shard.
    shards: [AtomicU64; SHARDS_MAX.div_ceil(64)],
    calls: AtomicU64,
}

impl Readers {
    /// Says whether `shard` reads the channel from now on.
    pub fn set(&self, shard: usize, reads: bool) {
        let (word, bit) = (&self.shards[shard / 64], 1 << (shard % 64));
        if reads {
            word.fetch_or(bit, Ordering::AcqRel)
        } else {
            word.fetch_and(!bit, Ordering::AcqRel)
        };
    }
    /// The shards that read it, once there is something for them: they find that they were called (owner shard only).
    pub fn call(&self) -> impl Iterator<Item = usize> {
        let words = self.shards.each_ref().map(|word| word.load(Ordering::Acquire));
        if words.iter().any(|word| *word != 0) {
            self.calls.fetch_add(1, Ordering::Release);
        }
        (0..).step_by(64).zip(words).flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(first + bit)
            })
        })
    }
    /// Grows with every call.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Acquire)
    }
}

/// Counters of one channel since the process began.
#[derive(Default)]
pub struct ChannelCounters {
    /// Connections opened to the origin.
    pub origin_connections: Counter,
    /// 1 while media flows from the origin.
    pub origin_up: Counter,
    /// Body bytes received from the origin.
    pub origin_bytes: Counter,
    /// Samples placed and dropped by the timeline.
    pub samples: Counter,
    pub samples_dropped: Counter,
    pub continuity_errors: Counter,
    /// Panics caught in the channel's session.
    pub panics: Counter,
    viewers: [Counter; Format::ALL.len()],
    pub sent_bytes: Counter,
}

impl ChannelCounters {
    /// Viewers now, summed over shards: exact for the continuous stream, an estimate where they fetch segments.
    pub fn viewers(&self, format: Format) -> &Counter {
        &self.viewers[format.index()]
    }
}

impl ChannelShared {
    /// The newest view.
    pub fn view(&self) -> Arc<ChannelView> {
        self.lock().clone()
    }
    /// Puts a new view in place (owner shard only).
    pub fn publish(&self, view: ChannelView) {
        let old = std::mem::replace(&mut *self.lock(), Arc::new(view));
        // Not under the lock: it may be the last to hold a store, whose memory goes with it.
        drop(old);
        self.version.fetch_add(1, Ordering::Release);
    }
    /// Changes whenever [`ChannelShared::view`] does.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
    fn lock(&self) -> MutexGuard<'_, Arc<ChannelView>> {
        // A view is replaced whole, so a panic elsewhere cannot leave it half written.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shards_that_read_are_called_and_no_others() {
        let readers = Readers::default();
        assert_eq!((readers.call().count(), readers.calls()), (0, 0));
        for shard in [0, 63, 64, SHARDS_MAX - 1, 3] {
            readers.set(shard, true);
        }
        readers.set(3, false);
        assert_eq!(readers.call().collect::<Vec<_>>(), [0, 63, 64, SHARDS_MAX - 1]);
        assert_eq!(readers.calls(), 1);
    }
}
