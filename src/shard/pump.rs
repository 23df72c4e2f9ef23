//! Pushes a channel's continuous stream to this shard's viewers: one task per channel, a slab of viewers, direct sends
//! from the store's map. A viewer whose socket is full is left to its own task, which waits and lets it catch up here.
//!
//! ```text
//!   published ──► pump: for each viewer at the head: send ──full──► Blocked ──(its task) writable──► push again ─► Head
//!                                                        trimmed away ──► rest of packet, private head, newest key sample
//! ```

use super::Shard;
use super::notify::Notify;
use super::place::{Ahead, Place};
use super::socket::{self, Sent};
use crate::config::Media;
use crate::es::selection::Selection;
use crate::limits::{FLUSH_EARLY_MS, PUMP_BATCH, STALL_NULL_MS};
use crate::metrics::{Counter, Format, ShardMetrics};
use crate::package::mpegts::TsShared;
use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// Index of a viewer in its pump.
pub(crate) type ViewerIndex = usize;

/// What a viewer's own task has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewerState {
    /// Has all that is published.
    Head,
    /// The socket is full; its task waits until it takes more. `next`: the next byte to be sent; `since_us`: when it took
    /// the last one, monotonic.
    Blocked { next: u8, since_us: u64 },
    /// The stream ended and everything was sent.
    Ended,
    /// The socket failed or was cut.
    Dead,
}

struct Viewer {
    fd: RawFd,
    place: Place,
    state: ViewerState,
    waker: Option<Waker>,
    /// Monotonic time of the last byte taken, microseconds.
    progress_us: u64,
}

pub(crate) struct Pump {
    /// What of the channel the store holds.
    pub selection: Selection,
    pub ts: Arc<TsShared>,
    viewers: RefCell<Vec<Option<Viewer>>>,
    free: RefCell<Vec<ViewerIndex>>,
    count: Cell<usize>,
    seen: Cell<u64>,
    flush: Flush,
    /// When published bytes were last pushed, microseconds.
    pushed_us: Cell<u64>,
    closed: Cell<bool>,
    wake: Notify,
    metrics: Arc<ShardMetrics>,
    sent_bytes: SentBytes,
}

/// How often published bytes are pushed, so that viewers get fewer and larger sends: what a send costs hardly depends on its size. An access unit
/// that comes this long after the last push goes out at once; others wait for the rest of the time, or until there are enough bytes.
#[derive(Clone, Copy)]
pub(super) struct Flush {
    us: u64,
    bytes: u64,
}

impl Flush {
    pub fn of(media: &Media) -> Flush {
        Flush { us: media.live_flush_ms * 1_000, bytes: media.live_flush_bytes as u64 }
    }

    /// Whether `ahead` bytes are to be pushed when the last push is `passed_us` ago.
    pub fn is_due(self, ahead: u64, passed_us: u64) -> bool {
        ahead > 0 && (ahead >= self.bytes || passed_us + FLUSH_EARLY_MS * 1_000 >= self.us)
    }
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
    pub fn start(shard: &Rc<Shard>, channel: u32, selection: Selection, ts: Arc<TsShared>) -> Rc<Pump> {
        let pump = Rc::new(Pump {
            selection,
            seen: Cell::new(ts.store().published()),
            flush: Flush::of(&shard.relay.config.media),
            ts,
            viewers: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            pushed_us: Cell::new(shard.now().mono_us),
            closed: Cell::new(false),
            wake: Notify::default(),
            metrics: shard.metrics.clone(),
            sent_bytes: SentBytes { relay: shard.relay.clone(), channel },
        });
        glommio::spawn_local(run(shard.clone(), pump.clone())).detach();
        pump
    }

    /// Wakes the task when something new is published and the last push is long enough ago, or enough is, or the owner called.
    pub fn check(&self, now_us: u64, is_called: bool) {
        let ahead = self.ts.store().published().saturating_sub(self.seen.get());
        if (is_called && ahead > 0) || self.flush.is_due(ahead, now_us.saturating_sub(self.pushed_us.get())) {
            self.wake.notify_all();
        }
    }

    /// No more will come: viewers get what is published and then their end.
    pub fn close(&self) {
        self.closed.set(true);
        self.wake.notify_all();
    }

    pub fn viewer_count(&self) -> usize {
        self.count.get()
    }

    /// Adds a viewer that starts at store position `pos`, a packet boundary with PAT and PMT.
    pub fn join(&self, fd: RawFd, pos: u64, now_us: u64) -> ViewerIndex {
        let viewer = Viewer {
            fd,
            place: Place::new(self.ts.store(), pos),
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
        if matches!(viewer.state, ViewerState::Head | ViewerState::Blocked { .. }) {
            self.send_to(viewer, now_us);
        }
        viewer.state
    }

    /// The viewer's task handed `count` bytes of what comes next (0 or 1) to the socket itself.
    pub fn took(&self, index: ViewerIndex, count: usize, now_us: u64) {
        let mut viewers = self.viewers.borrow_mut();
        let Some(viewer) = &mut viewers[index] else { return };
        if count > 0 {
            viewer.place.sent(count);
            self.progress(viewer, count, now_us);
        }
    }

    /// Slow clock: null packets over a stall; viewers that take nothing let go of what the store has trimmed.
    pub fn sweep(&self, now_us: u64) {
        let stalled = now_us.saturating_sub(self.pushed_us.get()) >= STALL_NULL_MS * 1_000;
        if stalled {
            self.pushed_us.set(now_us);
        }
        for viewer in self.viewers.borrow_mut().iter_mut().flatten() {
            match viewer.state {
                ViewerState::Blocked { .. } => viewer.place.unpin(),
                ViewerState::Head if stalled => {
                    viewer.place.push_null_packet();
                    self.send_to(viewer, now_us);
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

    /// Sends until the viewer has all or its socket is full.
    fn send_to(&self, viewer: &mut Viewer, now_us: u64) {
        viewer.state = loop {
            let (bytes, more) = match viewer.place.ahead() {
                Ahead::Bytes { bytes, more } => (bytes, more),
                Ahead::Trimmed => {
                    if self.skip(&mut viewer.place) {
                        continue;
                    }
                    break self.at_head();
                }
                Ahead::Nothing => break self.at_head(),
            };
            let next = bytes[0];
            match socket::send(viewer.fd, bytes, more) {
                Ok(Sent::Bytes(count)) => {
                    viewer.place.sent(count);
                    self.progress(viewer, count, now_us);
                }
                Ok(Sent::Full) => break ViewerState::Blocked { next, since_us: viewer.progress_us },
                Err(_) => break ViewerState::Dead,
            }
        };
    }

    /// The state of a viewer for which there is nothing.
    fn at_head(&self) -> ViewerState {
        if self.closed.get() { ViewerState::Ended } else { ViewerState::Head }
    }

    fn progress(&self, viewer: &mut Viewer, bytes: usize, now_us: u64) {
        viewer.progress_us = now_us;
        self.metrics.sent_bytes(Format::MpegTs).add(bytes as u64);
        self.sent_bytes.channel().add(bytes as u64);
    }

    /// What the viewer was to get next is gone from the store: on to the newest key sample, behind a private head.
    /// False when there is none ahead of it yet.
    fn skip(&self, place: &mut Place) -> bool {
        let skipped = self.ts.newest_join().is_some_and(|join| place.skip_to(&join));
        self.metrics.viewers_skipped.add(u64::from(skipped));
        skipped
    }

    /// Lets every viewer's task see that the stream ended.
    fn wake_all(&self) {
        for viewer in self.viewers.borrow_mut().iter_mut().flatten() {
            if let Some(waker) = viewer.waker.take() {
                waker.wake();
            }
        }
    }
}

async fn run(shard: Rc<Shard>, pump: Rc<Pump>) {
    loop {
        if !pump.closed.get() {
            pump.wake.changed().await;
        }
        let now_us = shard.now().mono_us;
        pump.seen.set(pump.ts.store().published());
        pump.pushed_us.set(now_us);
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
