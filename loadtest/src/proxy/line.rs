//! One direction of one connection: bytes go in as they arrive and come out when the faults let them.
//!
//! Sans-IO: time is an argument, a [`Duration`] since the proxy's start that never goes back; what is due is handed out as a slice that
//! the caller writes and then reports with [`Line::sent`].
//!
//! ```text
//!  push ──► latency + jitter ──► rate (token bucket) ──► stall ──► slice, cut ──► ready / sent
//!          └────────────── held, bounded: room() says how much more ─────────────┘
//! ```
//!
//! What it deliberately does not do: say what becomes of the connection at a cut; it only stops there.

use super::faults::{Cut, Hazards, Stalls};
use crate::random::Random;
use std::collections::VecDeque;
use std::time::Duration;

/// What the rate lets out at once, bytes: one Ethernet payload, so that a window of any length has the rate's bytes and one of these.
pub const MTU_BYTES: usize = 1_500;
/// Time that the rate makes up for when it is asked late: a share of a second small enough for "never above the rate", long enough for a
/// thread that was not scheduled in time.
pub const CATCH_UP: Duration = Duration::from_millis(10);
/// Most bytes of one write when nothing else says less.
const WRITE_BYTES_MAX: usize = 1 << 16;
/// Most bytes held without a rate: what latency keeps in flight. A window of 4 MiB carries 335 Mbit/s over 100 ms.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;
/// Capacity kept when nothing is held; thousands of idle connections are to cost little.
const IDLE_CAPACITY_BYTES: usize = 1 << 13;

/// The model of one direction of one connection.
pub struct Line {
    latency: Duration,
    jitter: Duration,
    chance: Random,
    pace: Option<Pace>,
    stalls: Option<Stalls>,
    slice_bytes: usize,
    cut: Option<Cut>,
    held_bytes_max: usize,
    /// Bytes that came in and did not go out.
    held: VecDeque<u8>,
    /// How many of `held`, in order, are due when; counts are never 0 and sum up to `held.len()`, times never fall.
    parcels: VecDeque<Parcel>,
    /// When the last byte was or is due.
    last_due: Duration,
    end: End,
    forwarded_bytes: u64,
    /// End of the stall that was counted last.
    counted_stall: Option<Duration>,
    stall_count: u64,
}

/// Bytes that came in together.
struct Parcel {
    due: Duration,
    bytes: usize,
}

/// Where the end of the stream is.
#[derive(PartialEq, Eq)]
enum End {
    /// Not read yet.
    Ahead,
    /// Read, and passed on no earlier than this.
    Due(Duration),
    /// Passed on.
    Passed,
}

impl Line {
    /// A line that nothing has come into, with `hazards` in the way.
    pub fn new(hazards: Hazards) -> Self {
        let held_bytes_max = match hazards.rate_kbps {
            // What the rate brings during the latency is in flight; what is beyond waits in the queue.
            Some(kbps) => hazards.queue_bytes.saturating_add(bytes_in(kbps, hazards.latency + hazards.jitter)),
            None => hazards.queue_bytes.max(IN_FLIGHT_BYTES_MAX),
        };
        Line {
            latency: hazards.latency,
            jitter: hazards.jitter,
            chance: hazards.chance,
            pace: hazards.rate_kbps.map(|kbps| Pace { kbps, next: Duration::ZERO }),
            stalls: hazards.stalls,
            slice_bytes: hazards.slice_bytes.unwrap_or(WRITE_BYTES_MAX).min(WRITE_BYTES_MAX),
            cut: hazards.cut,
            held_bytes_max,
            held: VecDeque::new(),
            parcels: VecDeque::new(),
            last_due: Duration::ZERO,
            end: End::Ahead,
            forwarded_bytes: 0,
            counted_stall: None,
            stall_count: 0,
        }
    }

    /// Bytes that may be pushed now: 0 when the queue is full, in a stall (nothing passes then), after the end and after the cut.
    pub fn room(&mut self, now: Duration) -> usize {
        if self.end != End::Ahead || self.cut_reached().is_some() || self.holds_back(now).is_some() {
            return 0;
        }
        self.held_bytes_max - self.held.len()
    }

    /// Takes bytes that arrived now, no more than [`room`](Self::room) said.
    pub fn push(&mut self, now: Duration, bytes: &[u8]) {
        debug_assert!(self.end == End::Ahead && self.held.len() + bytes.len() <= self.held_bytes_max);
        if bytes.is_empty() {
            return;
        }
        let due = self.due(now);
        match self.parcels.back_mut() {
            Some(parcel) if parcel.due == due => parcel.bytes += bytes.len(),
            _ => self.parcels.push_back(Parcel { due, bytes: bytes.len() }),
        }
        self.held.extend(bytes);
    }

    /// The source has ended; so will this line, behind what it holds.
    pub fn push_end(&mut self, now: Duration) {
        debug_assert!(self.end == End::Ahead);
        self.end = End::Due(self.due(now));
    }

    /// What may be written now, in one write; empty when nothing may. Report what was written with [`sent`](Self::sent).
    pub fn ready(&mut self, now: Duration) -> &[u8] {
        let count = self.ready_count(now);
        if self.held.as_slices().0.len() < count {
            self.held.make_contiguous();
        }
        &self.held.as_slices().0[..count]
    }

    /// `count` bytes of what was [`ready`](Self::ready) at `now` are written.
    pub fn sent(&mut self, now: Duration, count: usize) {
        let (Some(head), true) = (self.parcels.front(), count > 0) else { return };
        if let Some(pace) = &mut self.pace {
            pace.spend(head.due, now, count);
        }
        self.held.drain(..count);
        self.forwarded_bytes += count as u64;
        let mut rest = count;
        while let Some(parcel) = self.parcels.front_mut().filter(|_| rest > 0) {
            let taken = parcel.bytes.min(rest);
            parcel.bytes -= taken;
            rest -= taken;
            if parcel.bytes == 0 {
                self.parcels.pop_front();
            }
        }
        if self.held.is_empty() && self.held.capacity() > IDLE_CAPACITY_BYTES {
            self.held = VecDeque::new();
        }
    }

    /// Whether the end of the stream is to be passed on now: true once, after which the line is [over](Self::is_over).
    pub fn take_end(&mut self, now: Duration) -> bool {
        let is_due = matches!(self.end, End::Due(due) if due <= now);
        if !is_due || !self.held.is_empty() || self.cut_reached().is_some() || self.holds_back(now).is_some() {
            return false;
        }
        self.end = End::Passed;
        true
    }

    /// When something may change by time alone: bytes or the end become due, or a stall is over. A time that is not after `now` says
    /// that something is due; `None` that only more input changes anything.
    pub fn next_due(&mut self, now: Duration) -> Option<Duration> {
        if self.end == End::Passed || self.cut_reached().is_some() {
            return None;
        }
        if let Some(end) = self.stalls.as_mut().and_then(|stalls| stalls.end(now)) {
            return Some(end);
        }
        match (self.parcels.front(), &self.pace, &self.end) {
            (Some(head), Some(pace), _) => Some(pace.next.max(head.due)),
            (Some(head), None, _) => Some(head.due),
            (None, _, &End::Due(due)) => Some(due),
            (None, ..) => None,
        }
    }

    /// The cut, once all bytes before it are written. Nothing is ready any more then.
    pub fn cut_reached(&self) -> Option<Cut> {
        self.cut.filter(|cut| cut.position <= self.forwarded_bytes)
    }

    /// Whether the end of the stream was read from the source.
    pub fn is_ending(&self) -> bool {
        self.end != End::Ahead
    }

    /// Whether the end of the stream was passed on.
    pub fn is_over(&self) -> bool {
        self.end == End::Passed
    }

    /// Stalls that held something back so far.
    pub fn stall_count(&self) -> u64 {
        self.stall_count
    }

    /// When what arrives now is due: after its delay, and not before what came earlier.
    fn due(&mut self, now: Duration) -> Duration {
        let jitter = self.jitter.mul_f64(self.chance.uniform());
        self.last_due = self.last_due.max(now + self.latency + jitter);
        self.last_due
    }

    fn ready_count(&mut self, now: Duration) -> usize {
        let Some(head_due) = self.parcels.front().map(|head| head.due).filter(|&due| due <= now) else { return 0 };
        if self.holds_back(now).is_some() {
            return 0;
        }
        let until_cut = self.cut.map_or(u64::MAX, |cut| cut.position.saturating_sub(self.forwarded_bytes));
        let limit = self.pace.as_ref().map_or(usize::MAX, |pace| pace.allowance(head_due, now));
        let limit = limit.min(self.slice_bytes).min(usize::try_from(until_cut).unwrap_or(usize::MAX));
        let mut due_bytes = 0;
        for parcel in self.parcels.iter().take_while(|parcel| parcel.due <= now) {
            due_bytes += parcel.bytes;
            if due_bytes >= limit {
                return limit;
            }
        }
        due_bytes
    }

    /// The end of the stall that is on. Asked only when there is something that it holds back, so it is counted.
    fn holds_back(&mut self, now: Duration) -> Option<Duration> {
        let end = self.stalls.as_mut()?.end(now)?;
        if self.counted_stall != Some(end) {
            self.counted_stall = Some(end);
            self.stall_count += 1;
        }
        Some(end)
    }
}

/// A token bucket of one MTU, kept as the time at which the next byte may leave. Times on its schedule do not move when it is asked late,
/// so that lateness below [`CATCH_UP`] costs no rate.
struct Pace {
    kbps: u64,
    next: Duration,
}

impl Pace {
    /// Bytes that may leave now, the first of which was due at `head_due`.
    fn allowance(&self, head_due: Duration, now: Duration) -> usize {
        match now.checked_sub(self.start(head_due, now)) {
            Some(late) => MTU_BYTES + bytes_in(self.kbps, late),
            None => 0,
        }
    }

    /// `count` bytes left now.
    fn spend(&mut self, head_due: Duration, now: Duration, count: usize) {
        // Rounded up: never above the rate.
        let nanoseconds = (count as u128 * 8_000_000).div_ceil(u128::from(self.kbps));
        self.next = self.start(head_due, now) + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    }

    /// When these bytes could have left; time in which nothing was due is not made up for.
    fn start(&self, head_due: Duration, now: Duration) -> Duration {
        self.next.max(head_due).max(now.saturating_sub(CATCH_UP))
    }
}

/// Whole bytes that `kbps` brings in `time`.
fn bytes_in(kbps: u64, time: Duration) -> usize {
    usize::try_from(u128::from(kbps) * time.as_nanos() / 8_000_000).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
