//! The processors: what turns samples into each format's bytes and text.
//!
//! A packager is made lazily, when somebody first asks for its format. It reads the channel's [`Feed`] with plain cursors,
//! is backfilled from it at existing cuts, and writes an immutable store that viewers on every shard read.
//!
//! | file | what it holds |
//! |---|---|
//! | `mpegts.rs` | the TS packager: one store that continuous viewers and HLS-TS segments share |
//! | `snapshot.rs` | HLS playlists over that store's window |
//! | `interleave.rs` | rings merged into the order of a multiplex |
//! | `window.rs` | the sliding window of segments |
#![forbid(unsafe_code)]

pub mod interleave;
pub mod mpegts;
pub mod snapshot;
pub mod window;

use crate::es::TrackId;
use crate::ring::es::EsRing;
use crate::timeline::Cut;
use std::collections::VecDeque;

/// What a channel's session holds for its packagers: a ring per track rendition and the cuts they share.
pub struct Feed {
    pub rings: Vec<TrackRing>,
    /// The newest cuts, oldest first; a cut stays while its sample is in the reference track's ring.
    pub cuts: VecDeque<Cut>,
}

/// One track rendition's ring. Its newest description is in the ring itself ([`EsRing::track_at`]).
pub struct TrackRing {
    pub id: TrackId,
    pub ring: EsRing,
}
