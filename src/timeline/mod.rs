//! The one owner of time: input time stamps to one monotonic output timeline, epoch, discontinuities, cuts and segment numbers.
//!
//! ```text
//!   RawTiming ─► track      missing stamps counted on, frame duration
//!      │           │
//!   PCR ─► pcr ─► bases     which stretch of source time: the current one, the one after a jump, the one before it
//!                  │
//!               mapping     33 bits -> 64-bit output time; the same for all tracks, so lip sync is untouched
//!                  │  ▲
//!                  │  └──── drift   output DTS against the wall clock: slew, or re-anchor at a cut
//!                cuts       segments of the reference track, their numbers and discontinuities
//!                  ▼
//!               Placed { SampleMeta, Option<Cut> }
//! ```
//!
//! **Anchor.** The DTS of the epoch's first key sample is the wall clock of its arrival. DTS and not PCR, because no sample of the reference
//! then lies in the future, where DASH players that trust their clocks would not fetch it. From then on output follows the
//! source's time stamps; the wall clock is counted on by the monotonic one, so a step of the machine's clock disturbs nothing.
//!
//! **Breaks.** After a jump output goes on where it was, one frame later, or later by the time that passed when the source was silent; all samples
//! of a track behind the jump follow a first one with `discontinuity`, and the reference's next key begins a segment with
//! `discontinuity`. After [`Timeline::source_break`] samples are dropped up to a key, as on a cold start: what they refer to is lost.
//!
//! What it deliberately does not do: hold samples, wait, or read a clock. Memory: under 100 bytes a track, and constants.
#![forbid(unsafe_code)]

mod bases;
mod cuts;
mod drift;
mod mapping;
pub mod pacer;
mod pcr;
mod place;
mod reference;
mod track;

pub use place::Timeline;

use crate::es::{Key, SampleMeta, TrackId, TrackKind};
use crate::time::{MediaTime, Now, Ts33};

/// Identifies one uninterrupted run of a channel's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// max(last known media sequence + 1, unix seconds at the session's start): the first media sequence number. It stands in every
    /// media URL.
    pub id: u64,
    /// The discontinuity sequence number of its first segment, from 1.
    pub discontinuity_sequence: u64,
}

/// How far a channel's numbers have come in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Highest media sequence number.
    pub segment: u64,
    /// Highest discontinuity sequence number.
    pub discontinuity_sequence: u64,
}

impl Epoch {
    /// The epoch of a session that begins now. `last_known`: the numbers that earlier sessions of the channel used; `None` after a restart of
    /// the process, when unix seconds alone keep media sequence numbers from going back (segments are at least one second long).
    ///
    /// Discontinuity sequence numbers of epochs that a player meets one after the other must differ: hls.js takes equal ones for one
    /// timeline, puts the new epoch's samples in another place than its playlist says, and stands still for as long as the epoch before was
    /// old (measured: 20 s). So the first one is unix time in units of [`DISCONTINUITY_UNIT_S`]; but modulo [`DISCONTINUITY_UNITS`], for
    /// hls.js walks an array of that length at every playlist it loads (measured: 5 million cost 0.24 s each time, 1.8 billion hang the
    /// page). Within a process it never goes back; over a restart it may, once in six days.
    pub fn begin(last_known: Option<Numbers>, now: Now) -> Epoch {
        let unix_s = now.unix_us / 1_000_000;
        let after = last_known.map_or(Numbers::default(), |last| Numbers {
            segment: last.segment.saturating_add(1),
            discontinuity_sequence: last.discontinuity_sequence.saturating_add(1),
        });
        let discontinuity_sequence = 1 + unix_s / DISCONTINUITY_UNIT_S % DISCONTINUITY_UNITS;
        Epoch {
            id: after.segment.max(unix_s),
            discontinuity_sequence: after.discontinuity_sequence.max(discontinuity_sequence),
        }
    }
}

/// Seconds: about what passes until a player has the first segment of an epoch, so that no two epochs it plays share a unit.
const DISCONTINUITY_UNIT_S: u64 = 4;

/// Six days of units.
const DISCONTINUITY_UNITS: u64 = 1 << 17;

#[derive(Clone, Copy, Debug)]
pub struct TimelineConfig {
    /// A cut is made at the first key sample at or after this much of a segment, milliseconds.
    pub segment_target_ms: u64,
    /// Longest segment, and EXT-X-TARGETDURATION: a cut is forced before a segment grows over it, milliseconds, a whole number of seconds.
    pub segment_max_ms: u64,
}

/// Timing of one sample as the demuxer found it.
#[derive(Clone, Copy, Debug)]
pub struct RawTiming {
    pub track: TrackId,
    pub kind: TrackKind,
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    pub header_len: u8,
    pub corrupt: bool,
}

/// A segment begins. Made by the timeline alone and shared by all renditions and formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Media sequence number of the segment that begins here.
    pub segment: u64,
    /// Number of discontinuities up to and with this cut, from [`Epoch::discontinuity_sequence`] on (EXT-X-DISCONTINUITY-SEQUENCE).
    pub discontinuity_sequence: u64,
    /// PTS of the sample that begins the segment.
    pub start: MediaTime,
    /// Wall clock of `start`, microseconds since 1970: EXT-X-PROGRAM-DATE-TIME.
    pub program_date_time_us: u64,
    /// Media in the segment that ends here, 90 kHz ticks: what its EXTINF says. It is `start` minus the segment's own start unless
    /// time broke in between. Rounded to seconds it is never over [`Timeline::target_duration_s`]. 0 at the epoch's first cut.
    pub previous_duration: i64,
    /// The timeline or the source's description broke at this cut.
    pub discontinuity: bool,
    /// Nothing in the segment needs anything before it: it begins with an IDR (or its like) of the reference track.
    pub independent: bool,
}

/// Where a sample goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub meta: SampleMeta,
    /// This sample begins a segment. Only samples of the reference track cut, or of an audio track while the reference is silent.
    pub cut: Option<Cut>,
}

/// Why a sample was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No time stamp, and none to count from.
    NoTime,
    /// Before the first key sample of the reference track.
    BeforeFirstKey,
    /// Would go back in time on its track.
    Backwards,
    /// Too far behind or ahead of the reference track to belong to it.
    OutOfRange,
}

#[cfg(test)]
mod tests;
