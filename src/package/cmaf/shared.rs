//! What viewers on every shard see of a CMAF packager.

use super::segment::{CmafSegment, Init};
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::package::{Text, window};
use crate::store::StoreShared;
use crate::timeline::Epoch;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The meeting point of the owner and all readers.
pub struct CmafShared {
    version: AtomicU64,
    snapshot: Mutex<Arc<CmafSnapshot>>,
}

impl CmafShared {
    pub(super) fn new(epoch: Epoch) -> CmafShared {
        CmafShared { version: AtomicU64::new(0), snapshot: Mutex::new(Arc::new(CmafSnapshot::empty(epoch))) }
    }
    pub(super) fn publish(&self, snapshot: CmafSnapshot) {
        let old = std::mem::replace(&mut *self.lock(), Arc::new(snapshot));
        // Not under the lock: it may be the last to hold a store, whose memory goes with it.
        drop(old);
        self.version.fetch_add(1, Ordering::Release);
    }
    /// Grows at each change of the snapshot (Acquire).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
    pub fn snapshot(&self) -> Arc<CmafSnapshot> {
        self.lock().clone()
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<CmafSnapshot>> {
        // A snapshot is replaced whole, so a panic elsewhere cannot leave it half written.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Playlists, MPD and segments at one point in time; rendered once per change and shared by all viewers.
#[derive(Clone)]
pub struct CmafSnapshot {
    pub epoch: Epoch,
    /// One for each selection that somebody asked for.
    pub presentations: Vec<Presentation>,
    /// In the order that playlists list them: video first.
    pub renditions: Vec<Arc<RenditionSnapshot>>,
}

/// A selection as players are shown it.
#[derive(Clone)]
pub struct Presentation {
    pub selection: Selection,
    /// HLS: the Multivariant Playlist; empty as long as a rendition has nothing to show.
    pub multivariant: Text,
    /// DASH: the MPD; empty likewise.
    pub mpd: Text,
    /// One past the newest segment number that the MPD lists.
    pub mpd_end: u64,
    /// Its renditions that the snapshot has.
    pub renditions: Vec<RenditionId>,
}

impl CmafSnapshot {
    fn empty(epoch: Epoch) -> CmafSnapshot {
        CmafSnapshot { epoch, presentations: Vec::new(), renditions: Vec::new() }
    }

    pub fn presentation(&self, selection: &Selection) -> Option<&Presentation> {
        self.presentations.iter().find(|presentation| presentation.selection == *selection)
    }

    pub fn rendition(&self, id: RenditionId) -> Option<&Arc<RenditionSnapshot>> {
        self.renditions.iter().find(|rendition| rendition.id == id)
    }

    /// One past the newest segment number that every MPD with this rendition lists.
    pub fn mpd_end(&self, id: RenditionId) -> u64 {
        let with_it = self.presentations.iter().filter(|presentation| presentation.renditions.contains(&id));
        with_it.map(|presentation| presentation.mpd_end).min().unwrap_or(0)
    }

    /// Bits a second of all renditions together, over what they list.
    pub fn average_bits_per_second(&self) -> u64 {
        self.renditions.iter().map(|rendition| rendition.rates().1).sum()
    }

    /// Store blocks that only slow readers hold, over all renditions.
    pub fn pinned_blocks(&self) -> usize {
        self.renditions.iter().map(|rendition| rendition.store.pinned_blocks()).sum()
    }
}

/// One track rendition at one point in time.
pub struct RenditionSnapshot {
    pub id: RenditionId,
    /// The Media Playlist; empty as long as no segment is complete.
    pub playlist: Text,
    /// Where the segments' bytes are.
    pub store: Arc<StoreShared>,
    /// Init segments of what is served, oldest first; the last is in force. At least one.
    pub inits: Box<[Init]>,
    /// Segments that are served, oldest first, numbers consecutive, times growing.
    pub segments: Box<[CmafSegment]>,
    /// Those of them that playlists list.
    pub(crate) listed: Range<usize>,
}

impl RenditionSnapshot {
    /// Segments that playlists list, oldest first.
    pub fn listed(&self) -> &[CmafSegment] {
        &self.segments[self.listed.clone()]
    }
    /// The init segment of this hash, while something that needs it is served.
    pub fn init(&self, hash: u32) -> Option<&Init> {
        self.inits.iter().find(|init| init.hash == hash)
    }
    /// The segment that begins at this time of its timescale.
    pub fn segment_at(&self, time: u64) -> Option<&CmafSegment> {
        // Times grow but where the timescale changed.
        self.segments.iter().rev().find(|segment| segment.time == time && !segment.is_gap())
    }
    /// Bits a second of the largest listed segment, and of all together; 0 as long as there is none.
    pub fn rates(&self) -> (u64, u64) {
        window::rates(self.listed().iter().filter(|segment| !segment.is_gap()).map(|segment| &segment.segment))
    }
}
