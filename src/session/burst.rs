//! The first moments of a session's first connection: how much of the past does the origin send at once?
//!
//! Many origins send seconds of media in one go so that players start fast. Output time is anchored to the wall clock at the
//! first sample; if that sample is 8 s old by then, everything behind it would lie 8 s in the future for ever. So the first bytes are
//! held until it shows whether they are a burst, and the timeline is told to begin that much before now.
//!
//! ```text
//!  lead │        ╭──── quiet for QUIET_US: over, lead known
//!       │    ╭───╯
//!       │ ╭──╯        a real-time origin: no lead after LOOK_US, over
//!       └──────────── time
//! ```
//!
//! What it deliberately does not do: drop anything, or wait longer than [`HOLD_US_MAX`].
#![forbid(unsafe_code)]

use crate::es::Track;
use crate::limits::{CONNECT_BURST_BYTES_MAX, CONNECT_BURST_TICKS_MAX};
use crate::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use crate::mpegts::packet::PCR_WRAP_27M;
use crate::time::{Now, ticks_from_us};

/// A burst shows within this time, microseconds: what a cold start costs with an origin that sends in real time.
const LOOK_US: u64 = 20_000;
/// Less of a lead than this is jitter, 90 kHz ticks (150 ms).
const LEAD_TICKS_MIN: i64 = 13_500;
/// Less of a growth than this is jitter too, 90 kHz ticks (20 ms).
const LEAD_STEP_TICKS: i64 = 1_800;
/// A burst is over when its lead has not grown for this long, microseconds: longer than a round trip of TCP's slow start.
const QUIET_US: u64 = 120_000;
/// Longest hold, microseconds.
const HOLD_US_MAX: u64 = 1_000_000;

/// The held bytes, and what their PCRs tell.
pub(super) struct ConnectBurst {
    held: Vec<u8>,
    scan: Demuxer,
    span: Span,
    began_us: Option<u64>,
}

/// PCRs seen so far.
#[derive(Default)]
struct Span {
    pcr: Option<PcrSpan>,
    now_us: u64,
}

#[derive(Clone, Copy)]
struct PcrSpan {
    last_27m: u64,
    /// Media between the first PCR and the last, 27 MHz ticks.
    media_27m: u64,
    first_us: u64,
    lead_max: i64,
    /// When the lead last grew.
    grown_us: u64,
}

impl ConnectBurst {
    pub fn new(config: DemuxConfig) -> Self {
        ConnectBurst { held: Vec::new(), scan: Demuxer::new(config), span: Span::default(), began_us: None }
    }

    /// Holds `bytes`.
    pub fn take(&mut self, bytes: &[u8], now: Now) {
        self.began_us.get_or_insert(now.mono_us);
        self.span.now_us = now.mono_us;
        self.scan.push(bytes, &mut self.span);
        self.held.extend_from_slice(bytes);
    }

    /// How old the first byte is by the media behind it, 90 kHz ticks, once the burst is over; 0 when there was none.
    pub fn over(&self, now: Now) -> Option<i64> {
        let held_us = now.mono_us.saturating_sub(self.began_us?);
        let (lead, quiet_us) = match self.span.pcr {
            Some(pcr) => (pcr.lead(now.mono_us), now.mono_us.saturating_sub(pcr.grown_us)),
            None => (0, held_us),
        };
        let is_over = match lead >= LEAD_TICKS_MIN {
            true => quiet_us >= QUIET_US || lead >= CONNECT_BURST_TICKS_MAX,
            false => held_us >= LOOK_US && (self.span.pcr.is_some() || quiet_us >= QUIET_US),
        };
        let is_over = is_over || held_us >= HOLD_US_MAX || self.held.len() >= CONNECT_BURST_BYTES_MAX;
        let media = self.span.pcr.map_or(0, |pcr| pcr.media());
        is_over.then_some(if lead >= LEAD_TICKS_MIN { media.min(CONNECT_BURST_TICKS_MAX) } else { 0 })
    }

    /// The held bytes, in order.
    pub fn into_held(self) -> Vec<u8> {
        self.held
    }
}

impl PcrSpan {
    /// 90 kHz ticks.
    fn media(&self) -> i64 {
        (self.media_27m / 300) as i64
    }

    /// Media beyond the time that passed, 90 kHz ticks.
    fn lead(&self, now_us: u64) -> i64 {
        self.media() - ticks_from_us(now_us.saturating_sub(self.first_us))
    }
}

impl Sink for Span {
    fn tracks(&mut self, _: &[Track]) {}
    fn sample(&mut self, _: RawSample<'_>) {}

    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow {
        let now_us = self.now_us;
        let first = PcrSpan { last_27m: pcr_27m, media_27m: 0, first_us: now_us, lead_max: 0, grown_us: now_us };
        let Some(pcr) = &mut self.pcr else {
            self.pcr = Some(first);
            return Flow::Continue;
        };
        let step = (pcr_27m + PCR_WRAP_27M - pcr.last_27m) % PCR_WRAP_27M;
        // A jump says nothing of how fast media comes: what lies before it does not count.
        if discontinuity || step > 10 * 27_000_000 {
            self.pcr = Some(first);
            return Flow::Continue;
        }
        pcr.last_27m = pcr_27m;
        pcr.media_27m += step;
        if pcr.lead(now_us) > pcr.lead_max + LEAD_STEP_TICKS {
            pcr.lead_max = pcr.lead(now_us);
            pcr.grown_us = now_us;
        }
        Flow::Continue
    }
}
