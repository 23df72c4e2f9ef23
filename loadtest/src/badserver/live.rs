//! The clock of the live channel: which segments exist, which are listed, and when a fault is at work.
//!
//! All of it is a function of *media time* in microseconds, which comes in as an argument. Media time [`HISTORY_US`] is, but for
//! less than a millisecond, the server's start, so that the window is full then; picture n is due at n times 40 ms, and a segment exists
//! when all of its pictures do.
//!
//! What it deliberately does not do: follow the wall clock when that is set anew while the server runs.

use super::Fault;
use super::access_unit::{FRAME_US, GOP_FRAMES};
use std::ops::Range;

/// Microseconds of a GOP, and so of a segment.
pub const GOP_US: u64 = GOP_FRAMES * FRAME_US;
/// Segments that a playlist lists.
pub const WINDOW_SEGMENTS: u64 = 10;
/// Media time at which the server starts: twelve segments.
pub const HISTORY_US: u64 = 12 * GOP_US;

/// How long a segment may still be fetched: 8.2 of HLS asks for its own and the playlist's duration after it left the playlist.
const KEPT_SEGMENTS: u64 = 2 * WINDOW_SEGMENTS + 2;
/// Seconds of the server's uptime, microseconds.
const SECOND_US: u64 = 1_000_000;

/// What a segment holds: whole GOPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one's index.
    pub first_gop: u64,
    /// How many.
    pub gops: u64,
}

/// The channel's clock, with its fault.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    fault: Fault,
    /// Wall clock at media time 0, microseconds since 1970, of whole milliseconds.
    epoch_unix_us: u64,
    /// Media time at the server's start.
    start_us: u64,
}

impl Span {
    /// Its pictures.
    pub fn frames(self) -> Range<u64> {
        self.first_gop * GOP_FRAMES..(self.first_gop + self.gops) * GOP_FRAMES
    }

    /// Media time of its begin and end, microseconds.
    pub fn time_us(self) -> Range<u64> {
        self.first_gop * GOP_US..(self.first_gop + self.gops) * GOP_US
    }
}

impl Live {
    /// A channel that is started at `now_unix_us`, microseconds since 1970, as if it ran for `uptime_us` already.
    pub fn new(fault: Fault, now_unix_us: u64, uptime_us: u64) -> Self {
        // Playlists and manifest give milliseconds; the rest is in the media time, so that pictures carry the exact wall clock.
        let epoch_unix_us = now_unix_us.saturating_sub(HISTORY_US + uptime_us) / 1_000 * 1_000;
        let start_us = now_unix_us.saturating_sub(epoch_unix_us);
        Live { fault, epoch_unix_us, start_us }
    }

    /// Wall clock at media time 0, microseconds since 1970.
    pub fn epoch_unix_us(&self) -> u64 {
        self.epoch_unix_us
    }

    /// Media time at the server's start, microseconds.
    pub fn start_us(&self) -> u64 {
        self.start_us
    }

    /// What segment `n` holds by name; its bytes may be others', see [`Live::content_of`].
    pub fn span(&self, n: u64) -> Span {
        if self.fault != Fault::WrongTargetDuration {
            return Span { first_gop: n, gops: 1 };
        }
        // Three segments hold four GOPs.
        let (first_gop, gops) = [(0, 1), (1, 2), (3, 1)][(n % 3) as usize];
        Span { first_gop: n / 3 * 4 + first_gop, gops }
    }

    /// Number of the segment whose bytes segment `n` has.
    pub fn content_of(&self, n: u64) -> u64 {
        if self.fault == Fault::RepeatSegment && is_chosen(n) { n - 1 } else { n }
    }

    /// Whether segment `n` is to be damaged by the faults that cut segments.
    pub fn is_cut(&self, n: u64) -> bool {
        matches!(self.fault, Fault::TornSegment | Fault::TornBody) && is_chosen(n)
    }

    /// Whether a packet is missing in transport stream GOP `gop`.
    pub fn drops_packet(&self, gop: u64) -> bool {
        self.fault == Fault::DropTsPacket && !gop.is_multiple_of(2)
    }

    /// How far `tfdt` of segment `n` is ahead, seconds.
    pub fn timeline_gap_seconds(&self, n: u64) -> u64 {
        if self.fault == Fault::TimelineGap { n / 4 } else { 0 }
    }

    /// Segments that are whole at `now_us`: those below this number.
    pub fn made(&self, now_us: u64) -> u64 {
        let gops = now_us / GOP_US;
        match self.fault {
            // The second of three segments needs two GOPs: of four GOPs 0, 1, 1, 2 segments are whole.
            Fault::WrongTargetDuration => gops / 4 * 3 + [0, 1, 1, 2][(gops % 4) as usize],
            _ => gops,
        }
    }

    /// Segments that a media playlist of HLS lists at `now_us`.
    pub fn hls_window(&self, now_us: u64) -> Range<u64> {
        let end = self.made(self.published_us(now_us));
        let late = if self.fault == Fault::SequenceBackwards && end.is_multiple_of(5) { 2 } else { 0 };
        window(end - late)
    }

    /// Segments that the manifest of DASH lists at `now_us`.
    pub fn dash_window(&self, now_us: u64) -> Range<u64> {
        window(self.made(self.published_us(now_us)))
    }

    /// Whether segment `n` can be fetched at `now_us`.
    pub fn is_there(&self, n: u64, now_us: u64) -> bool {
        let made = self.made(now_us);
        (made.saturating_sub(KEPT_SEGMENTS)..made).contains(&n)
    }

    /// Media time at which sending may go on; `now_us` itself outside of a stall.
    pub fn sending_from_us(&self, now_us: u64) -> u64 {
        let phase_us = self.uptime_us(now_us) % (3 * SECOND_US);
        let is_stalled = self.fault == Fault::Stall300 && phase_us >= 2_700_000;
        if is_stalled { now_us + 3 * SECOND_US - phase_us } else { now_us }
    }

    /// Media time that playlists and manifest are made for.
    fn published_us(&self, now_us: u64) -> u64 {
        let phase_us = self.uptime_us(now_us) % (20 * SECOND_US);
        let is_stale = self.fault == Fault::StalePlaylist && (4 * SECOND_US..16 * SECOND_US).contains(&phase_us);
        if is_stale { now_us - (phase_us - 4 * SECOND_US) } else { now_us }
    }

    /// Since the start of a server that was started without uptime.
    fn uptime_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(HISTORY_US)
    }
}

/// Every third segment, from 1.
fn is_chosen(n: u64) -> bool {
    n % 3 == 1
}

fn window(end: u64) -> Range<u64> {
    end.saturating_sub(WINDOW_SEGMENTS)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_US: u64 = 1_700_000_000_123_456;

    fn live(fault: Fault) -> Live {
        Live::new(fault, UNIX_US, 0)
    }

    /// Media time at an uptime.
    fn up(ms: u64) -> u64 {
        HISTORY_US + ms * 1_000
    }

    #[test]
    fn the_window_is_full_at_the_start_and_moves_each_two_seconds() {
        let live = live(Fault::None);
        assert_eq!(live.start_us(), up(0) + 456);
        assert_eq!(live.epoch_unix_us(), 1_699_999_976_123_000);
        assert_eq!([0, 1_999, 2_000, 4_000].map(|ms| live.hls_window(up(ms))), [2..12, 2..12, 3..13, 4..14]);
        assert_eq!([11, 12].map(|n| live.is_there(n, up(1_999))), [true, false]);
        // 44 are made at the second 64; number 22 left the window at 42 and is kept for 22 s more.
        assert_eq!([21, 22].map(|n| live.is_there(n, up(64_000))), [false, true]);
        assert_eq!(live.span(7).time_us(), 14_000_000..16_000_000);
    }

    #[test]
    fn an_uptime_moves_media_time_and_not_the_wall_clock() {
        let live = Live::new(Fault::None, UNIX_US, 6_000_000);
        assert_eq!(live.hls_window(live.start_us()), 5..15);
        assert_eq!(live.epoch_unix_us() + live.start_us(), UNIX_US);
    }

    #[test]
    fn a_stale_playlist_stays_for_twelve_seconds() {
        let live = live(Fault::StalePlaylist);
        let windows = [3_999, 4_000, 15_999, 16_000, 23_999, 30_000].map(|ms| live.hls_window(up(ms)).end);
        assert_eq!(windows, [13, 14, 14, 20, 23, 24]);
        assert_eq!(live.dash_window(up(15_999)).end, 14);
        assert!(live.is_there(18, up(15_999)) && live.is_there(4, up(15_999)));
    }

    #[test]
    fn the_sequence_goes_back_by_one_each_ten_seconds() {
        let live = live(Fault::SequenceBackwards);
        let starts: Vec<u64> = (0..9).map(|n| live.hls_window(up(n * 2_000)).start).collect();
        assert_eq!(starts, [2, 3, 4, 3, 6, 7, 8, 9, 8]);
        assert_eq!(live.dash_window(up(6_000)).start, 5);
    }

    #[test]
    fn every_third_segment_is_four_seconds_long() {
        let live = live(Fault::WrongTargetDuration);
        let spans: Vec<(u64, u64)> = (0..5).map(|n| (live.span(n).first_gop, live.span(n).gops)).collect();
        assert_eq!(spans, [(0, 1), (1, 2), (3, 1), (4, 1), (5, 2)]);
        for now_us in (0..100).map(|gops| gops * GOP_US) {
            let made = live.made(now_us);
            assert!(made == 0 || live.span(made - 1).time_us().end <= now_us);
            assert!(live.span(made).time_us().end > now_us);
        }
    }

    #[test]
    fn sending_stops_in_the_last_300_ms_of_three_seconds() {
        let live = live(Fault::Stall300);
        let from = [0, 2_699, 2_700, 2_999, 3_000, 5_800].map(|ms| live.sending_from_us(up(ms)));
        assert_eq!(from, [0, 2_699, 3_000, 3_000, 3_000, 6_000].map(up));
    }

    #[test]
    fn each_fault_chooses_its_segments_and_no_other_fault_does() {
        let of = |f: Fault| {
            let live = live(f);
            let n = 0..9;
            (
                n.clone().map(|n| live.content_of(n)).collect::<Vec<u64>>(),
                n.clone().filter(|n| live.is_cut(*n)).collect::<Vec<u64>>(),
                n.clone().filter(|n| live.drops_packet(*n)).collect::<Vec<u64>>(),
                n.map(|n| live.timeline_gap_seconds(n)).sum::<u64>(),
            )
        };
        let all: Vec<u64> = (0..9).collect();
        assert_eq!(of(Fault::None), (all.clone(), vec![], vec![], 0));
        assert_eq!(of(Fault::RepeatSegment), (vec![0, 0, 2, 3, 3, 5, 6, 6, 8], vec![], vec![], 0));
        assert_eq!(of(Fault::TornBody), (all.clone(), vec![1, 4, 7], vec![], 0));
        assert_eq!(of(Fault::DropTsPacket), (all.clone(), vec![], vec![1, 3, 5, 7], 0));
        assert_eq!(of(Fault::TimelineGap), (all, vec![], vec![], 6));
    }
}
