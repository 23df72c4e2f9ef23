//! The one owner of time: input time stamps to one monotonic output timeline, epoch, discontinuities, cuts and segment numbers.

pub mod pacer;

use crate::es::{Key, SampleMeta, TrackId, TrackKind};
use crate::time::{MediaTime, Now, Ts33};

/// Identifies one uninterrupted run of a channel's session. It stands in every media URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// max(last known media sequence + 1, unix seconds at the session's start): the first media sequence **and** discontinuity sequence number.
    pub id: u64,
}

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
    /// Number of discontinuities up to and with this cut, from the epoch's id on (EXT-X-DISCONTINUITY-SEQUENCE of the segment).
    pub discontinuity_sequence: u64,
    /// PTS of the sample that begins the segment.
    pub start: MediaTime,
    /// Wall clock of `start`, microseconds since 1970: EXT-X-PROGRAM-DATE-TIME.
    pub program_date_time_us: u64,
    /// The timeline or the source's description broke at this cut.
    pub discontinuity: bool,
    /// The segment begins with a key sample of the reference track.
    pub independent: bool,
}

/// Where a sample goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub meta: SampleMeta,
    /// This sample begins a segment. Only samples of the reference track cut.
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
