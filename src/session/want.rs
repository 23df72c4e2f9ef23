//! What somebody wants of a channel, as shards tell its owner.
#![forbid(unsafe_code)]

use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;

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
