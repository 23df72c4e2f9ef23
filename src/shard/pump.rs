//! Pushes a channel's continuous stream to this shard's viewers: one task per channel, a slab of viewers, direct sends
//! from the store's map. A viewer whose socket is full is left to its own task, which waits and lets it catch up here.
//!
//! ```text
//!   published ──► pump: for each viewer at the head: send ──full──► Blocked ──(its task) writable──► push again ─► Head
//!                                                        trimmed away ──► rest of packet, private head, newest key sample
//! ```

use super::Shard;
use super::notify::Notify;
use super::socket::{self, Sent};
use crate::limits::{PUMP_BATCH, STALL_NULL_MS};
use crate::metrics::{Counter, Format, ShardMetrics};
use crate::mpegts::packet::PACKET_BYTES;
use crate::package::mpegts::TsShared;
use crate::store::StoreReader;
use crate::time::Now;
use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// Bytes of one transport packet.
const PACKET_BYTES_U64: u64 = PACKET_BYTES as u64;

/// A packet that every receiver throws away (ISO/IEC 13818-1 2.4.1): keeps a connection alive and nothing else.
const NULL_PACKET: [u8; PACKET_BYTES] = {
    let mut packet = [0xff; PACKET_BYTES];
    packet[0] = 0x47; // sync_byte
    packet[1] = 0x1f; // PID 0x1fff, upper bits
    packet[2] = 0xff; // PID 0x1fff, lower bits
    packet[3] = 0x10; // payload only, continuity_counter 0
    packet
};

/// Index of a viewer in its pump.
pub(crate) type ViewerIndex = usize;

/// What a viewer's own task has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewerState {
    /// Has all that is published.
    Head,
    /// The socket is full; its task waits until it takes more. The byte is the next one to be sent.
    Blocked(u8),
    /// The stream ended and everything was sent.
    Ended,
    /// The socket failed or was cut.
    Dead,
}

struct Viewer {
    fd: RawFd,
    reader: StoreReader,
    /// Next store position; always at a packet boundary unless the viewer is at the rest of one in `pending`.
    pos: u64,
    /// Bytes outside the store that go first: the rest of a packet, a private head, null packets.
    pending: Vec<u8>,
    state: ViewerState,
    waker: Option<Waker>,
    /// Monotonic time of the last byte taken, microseconds.
    progress_us: u64,
}

pub(crate) struct Pump {
    pub ts: Arc<TsShared>,
    viewers: RefCell<Vec<Option<Viewer>>>,
    free: RefCell<Vec<ViewerIndex>>,
    count: Cell<usize>,
    seen: Cell<u64>,
    published_us: Cell<u64>,
    closed: Cell<bool>,
    wake: Notify,
    metrics: Arc<ShardMetrics>,
    sent_bytes: SentBytes,
}

/// Where sent bytes are counted beside the shard's metrics.
struct SentBytes {
    relay: Arc<super::relay::Relay>,
    channel: u32,
}

impl SentBytes {
    fn channel(&self) -> &Counter {
        &self.relay.channels[self.channel as usize].shared.counters.sent_bytes
    }
}

impl Pump {
    /// A pump on a store, with its task running.
    pub fn start(shard: &Rc<Shard>, channel: u32, ts: Arc<TsShared>) -> Rc<Pump> {
        let pump = Rc::new(Pump {
            seen: Cell::new(ts.store().published()),
            ts,
            viewers: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            published_us: Cell::new(shard.now().mono_us),
            closed: Cell::new(false),
            wake: Notify::default(),
            metrics: shard.metrics.clone(),
            sent_bytes: SentBytes { relay: shard.relay.clone(), channel },
        });
        glommio::spawn_local(run(shard.clone(), pump.clone())).detach();
        pump
    }

    /// Wakes the task when something new is published.
    pub fn check(&self) {
        if self.ts.store().published() != self.seen.get() {
            self.wake.notify_all();
        }
    }

    /// No more will come: viewers get what is published and then their end.
    pub fn close(&self) {
        self.closed.set(true);
        self.wake.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub fn viewer_count(&self) -> usize {
        self.count.get()
    }

    /// Adds a viewer that starts at store position `pos`, a packet boundary with PAT and PMT.
    pub fn join(&self, fd: RawFd, pos: u64, now_us: u64) -> ViewerIndex {
        let viewer = Viewer {
            fd,
            reader: StoreReader::new(self.ts.store().clone()),
            pos,
            pending: Vec::new(),
            state: ViewerState::Head,
            waker: None,
            progress_us: now_us,
        };
        let mut viewers = self.viewers.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(viewers.len());
        if index == viewers.len() {
            viewers.push(None);
        }
        viewers[index] = Some(viewer);
        self.count.set(self.count.get() + 1);
        index
    }

    /// Takes a viewer out, before its socket is closed.
    pub fn leave(&self, index: ViewerIndex) {
        if self.viewers.borrow_mut()[index].take().is_some() {
            self.free.borrow_mut().push(index);
            self.count.set(self.count.get() - 1);
        }
    }

    /// Sends one viewer all it can take and tells how it stands. `waker` is called when that changes.
    pub fn push(&self, index: ViewerIndex, now_us: u64, waker: &Waker) -> ViewerState {
        let mut viewers = self.viewers.borrow_mut();
        let Some(viewer) = &mut viewers[index] else { return ViewerState::Dead };
        if !viewer.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            viewer.waker = Some(waker.clone());
        }
        if matches!(viewer.state, ViewerState::Head | ViewerState::Blocked(_)) {
            self.send_to(viewer, now_us);
        }
        viewer.state
    }

    /// The viewer's task handed `count` bytes of what comes next (0 or 1) to the socket itself.
    pub fn took(&self, index: ViewerIndex, count: usize) {
        let mut viewers = self.viewers.borrow_mut();
        let Some(viewer) = &mut viewers[index] else { return };
        if count == 0 {
            return;
        }
        self.count_sent(1);
        if viewer.pending.is_empty() {
            viewer.pos += 1;
            stash_rest_of_packet(viewer);
        } else {
            viewer.pending.remove(0);
        }
    }

    /// Slow clocks: null packets over a stall, and the end of viewers that take nothing.
    pub fn sweep(&self, shard: &Shard, now: Now) {
        let stalled = now.mono_us.saturating_sub(self.published_us.get()) >= STALL_NULL_MS * 1_000;
        if stalled {
            self.published_us.set(now.mono_us);
        }
        let idle_us = shard.relay.config.idle.continuous_viewer_ms * 1_000;
        for viewer in self.viewers.borrow_mut().iter_mut().flatten() {
            let silent_us = now.mono_us.saturating_sub(viewer.progress_us);
            match viewer.state {
                ViewerState::Blocked(_) if silent_us >= idle_us => {
                    let channel = &shard.relay.channels[self.sent_bytes.channel as usize].config.id;
                    let (why, seconds) = (super::deadlines::Phase::Live.reason(), silent_us / 1_000_000);
                    tracing::info!(channel, shard = shard.index, why, seconds, "viewer cut");
                    shard.metrics.viewers_cut.add(1);
                    self.end(viewer, ViewerState::Dead);
                    socket::shutdown(viewer.fd);
                }
                ViewerState::Head if stalled => {
                    viewer.pending.extend_from_slice(&NULL_PACKET);
                    self.send_to(viewer, now.mono_us);
                    self.wake_if_not_head(viewer);
                }
                _ => {}
            }
        }
    }

    /// Pushes a batch of viewers; false when there are none beyond it.
    fn push_batch(&self, from: usize, now_us: u64) -> bool {
        let mut viewers = self.viewers.borrow_mut();
        let to = (from + PUMP_BATCH).min(viewers.len());
        for viewer in viewers[from.min(to)..to].iter_mut().flatten() {
            if viewer.state == ViewerState::Head {
                self.send_to(viewer, now_us);
                self.wake_if_not_head(viewer);
            }
        }
        to < viewers.len()
    }

    fn wake_if_not_head(&self, viewer: &mut Viewer) {
        if viewer.state != ViewerState::Head
            && let Some(waker) = viewer.waker.take()
        {
            waker.wake();
        }
    }

    fn end(&self, viewer: &mut Viewer, state: ViewerState) {
        viewer.state = state;
        self.wake_if_not_head(viewer);
    }

    /// Sends until the viewer has all or its socket is full.
    fn send_to(&self, viewer: &mut Viewer, now_us: u64) {
        viewer.state = loop {
            if !viewer.pending.is_empty() {
                match socket::send(viewer.fd, &viewer.pending, false) {
                    Ok(Sent::Bytes(n)) => {
                        viewer.pending.drain(..n);
                        self.progress(viewer, n, now_us);
                        continue;
                    }
                    Ok(Sent::Full) => break ViewerState::Blocked(viewer.pending[0]),
                    Err(_) => break ViewerState::Dead,
                }
            }
            if viewer.pending.capacity() > 0 {
                viewer.pending = Vec::new();
            }
            let published = self.ts.store().published();
            if viewer.pos >= published {
                break if self.closed.get() { ViewerState::Ended } else { ViewerState::Head };
            }
            let piece = viewer.reader.piece(viewer.pos, (published - viewer.pos) as usize);
            let whole = piece.map(|piece| whole_packets(piece.bytes)).unwrap_or_default();
            if whole.is_empty() {
                // The packet lies across two blocks, or is gone.
                match stash_packet(viewer) || self.skip(viewer) {
                    true => continue,
                    false if self.closed.get() => break ViewerState::Ended,
                    false => break ViewerState::Head,
                }
            }
            let (wanted, next) = (whole.len(), whole[0]);
            match socket::send(viewer.fd, whole, false) {
                Ok(Sent::Bytes(n)) => {
                    viewer.pos += n as u64;
                    self.progress(viewer, n, now_us);
                    if n < wanted {
                        stash_rest_of_packet(viewer);
                    }
                }
                Ok(Sent::Full) => break ViewerState::Blocked(next),
                Err(_) => break ViewerState::Dead,
            }
        };
    }

    fn progress(&self, viewer: &mut Viewer, bytes: usize, now_us: u64) {
        viewer.progress_us = now_us;
        self.count_sent(bytes as u64);
    }

    fn count_sent(&self, bytes: u64) {
        self.metrics.sent_bytes(Format::MpegTs).add(bytes);
        self.sent_bytes.channel().add(bytes);
    }

    /// What the viewer was to get next is gone from the store: on to the newest key sample, behind a private head.
    /// False when there is none ahead of it yet.
    fn skip(&self, viewer: &mut Viewer) -> bool {
        let Some(join) = self.ts.newest_join() else { return false };
        if join.pos < viewer.pos {
            return false;
        }
        self.metrics.viewers_skipped.add(1);
        viewer.pending.extend_from_slice(&join.head);
        viewer.pos = join.pos;
        true
    }
}

/// The whole packets that `bytes` begins with.
fn whole_packets(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() / PACKET_BYTES * PACKET_BYTES]
}

/// Copies the packet at the viewer's position to `pending`; false, and nothing is changed, when it is not all there.
///
/// Packets across two blocks go this way, whole or not at all: the second block may be trimmed while the first is held.
fn stash_packet(viewer: &mut Viewer) -> bool {
    let end = viewer.pos + PACKET_BYTES_U64;
    let pos = copy_to_pending(viewer, viewer.pos, end);
    if pos < end {
        viewer.pending.clear();
        return false;
    }
    viewer.pos = end;
    true
}

/// After a send that stopped within a packet, which then lies in the block that the reader holds: keeps a copy of the packet's rest,
/// for the store may let go of it.
fn stash_rest_of_packet(viewer: &mut Viewer) {
    let end = viewer.pos.next_multiple_of(PACKET_BYTES_U64);
    viewer.pos = copy_to_pending(viewer, viewer.pos, end);
}

/// Appends the store's bytes from `pos` to `end` to `pending`, as far as they are there; tells how far.
fn copy_to_pending(viewer: &mut Viewer, mut pos: u64, end: u64) -> u64 {
    while pos < end {
        let Some(piece) = viewer.reader.piece(pos, (end - pos) as usize) else { break };
        viewer.pending.extend_from_slice(piece.bytes);
        pos += piece.bytes.len() as u64;
    }
    pos
}

async fn run(shard: Rc<Shard>, pump: Rc<Pump>) {
    loop {
        if pump.ts.store().published() == pump.seen.get() && !pump.closed.get() {
            pump.wake.changed().await;
        }
        let now_us = shard.now().mono_us;
        pump.seen.set(pump.ts.store().published());
        pump.published_us.set(now_us);
        let mut from = 0;
        while pump.push_batch(from, now_us) {
            from += PUMP_BATCH;
            glommio::executor().yield_if_needed().await;
        }
        if pump.closed.get() {
            pump.wake_all();
            return;
        }
    }
}

impl Pump {
    /// Lets every viewer's task see that the stream ended.
    fn wake_all(&self) {
        for viewer in self.viewers.borrow_mut().iter_mut().flatten() {
            if let Some(waker) = viewer.waker.take() {
                waker.wake();
            }
        }
    }
}
