//! What somebody wants of a channel, as shards tell its owner.
#![forbid(unsafe_code)]

use crate::es::carriage::Container;
use crate::es::encoding::Encoding;
use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::es::{Track, TrackKind};
use crate::limits::WANTS_MAX;
use std::collections::HashSet;
use std::sync::Arc;

/// A touch is of one of these; each lives for as long as it is touched, and keeps alive what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// The channel; what of it depends on the source.
    Channel,
    /// A selection multiplexed into TS: one picture at most, not a ladder.
    Ts(Selection),
    /// A selection's renditions in CMAF, with a multivariant playlist and an MPD.
    Cmaf(Selection),
    /// One rendition in CMAF, and the selections that its picture belongs to: the other rungs of its ladder.
    Rendition(RenditionId),
}

impl Want {
    /// Whether all that it needs made is among `allowed`: viewers cannot have anything else made.
    pub fn is_allowed(&self, allowed: &HashSet<Encoding>) -> bool {
        match self {
            Want::Channel => true,
            Want::Ts(selection) => !selection.is_ladder() && selection.encodings().all(|e| allowed.contains(&e)),
            Want::Cmaf(selection) => selection.encodings().all(|encoding| allowed.contains(&encoding)),
            Want::Rendition(id) => id.encoding.is_none_or(|encoding| allowed.contains(&encoding)),
        }
    }

    fn needs_transcoding(&self) -> bool {
        match self {
            Want::Channel => false,
            Want::Ts(selection) | Want::Cmaf(selection) => selection.encodings().next().is_some(),
            Want::Rendition(id) => id.encoding.is_some(),
        }
    }

    /// The renditions that it needs of a source.
    pub(super) fn renditions(&self, tracks: &[Arc<Track>]) -> Vec<RenditionId> {
        match self {
            Want::Channel => Vec::new(),
            Want::Ts(selection) => selection.renditions(tracks, Container::Ts),
            Want::Cmaf(selection) => selection.renditions(tracks, Container::Cmaf),
            // Of a track that is gone nothing can be made.
            Want::Rendition(id) => tracks.iter().any(|track| track.id == id.track).then_some(*id).into_iter().collect(),
        }
    }
}

/// All that is wanted, each with when it was touched last.
#[derive(Debug, Default)]
pub(super) struct Wants {
    list: Vec<(Want, u64)>,
}

impl Wants {
    /// True when the want is new. One that the source has nothing for is not taken, and past [`WANTS_MAX`] none that needs something made.
    pub fn touch(&mut self, want: Want, at_us: u64, tracks: &[Arc<Track>]) -> bool {
        if let Want::Rendition(id) = want {
            self.touch_selections_of(id, at_us, tracks);
        }
        if let Some((_, touched_us)) = self.list.iter_mut().find(|(known, _)| *known == want) {
            *touched_us = at_us.max(*touched_us);
            return false;
        }
        let is_known = tracks.is_empty() || !want.renditions(tracks).is_empty();
        let has_room = self.list.len() < WANTS_MAX || !want.needs_transcoding();
        let is_taken = want != Want::Channel && is_known && has_room;
        if is_taken {
            self.list.push((want, at_us));
        }
        is_taken
    }

    /// A player of a ladder polls one rung, and may go over to another at any time. Sound is shared by selections, and says nothing of them unless it is all
    /// they have.
    fn touch_selections_of(&mut self, id: RenditionId, at_us: u64, tracks: &[Arc<Track>]) {
        for (want, touched_us) in &mut self.list {
            if let Want::Cmaf(selection) = want
                && (id.kind == TrackKind::Video || !selection.has_video())
                && selection.renditions(tracks, Container::Cmaf).contains(&id)
            {
                *touched_us = at_us.max(*touched_us);
            }
        }
    }

    /// Drops what nobody touched for `idle_us`; true when there was something.
    pub fn expire(&mut self, now_us: u64, idle_us: u64) -> bool {
        let count = self.list.len();
        self.list.retain(|(_, touched_us)| now_us.saturating_sub(*touched_us) < idle_us);
        self.list.len() < count
    }

    /// Drops what needs one of these.
    pub fn forget(&mut self, renditions: &[RenditionId], tracks: &[Arc<Track>]) {
        self.list.retain(|(want, _)| want.renditions(tracks).iter().all(|id| !renditions.contains(id)));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Want> {
        self.list.iter().map(|(want, _)| want)
    }
}
