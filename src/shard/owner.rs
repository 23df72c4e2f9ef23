//! The owner's side of a channel: carries a session's commands out and shows its view to all shards.
//!
//! A panic in a session is caught here: the channel's session ends, viewers' next requests open a new one, and nothing
//! else on the shard notices.

use super::Shard;
use super::deadlines::Watch;
use super::origin;
use super::pump::Flush;
use crate::ring::branch::{Branch, OutputId};
use crate::session::shared::{ChannelState, ChannelView};
use crate::session::{Command, Ingested, OriginEvent, Session, ViewStamp, Want};
use crate::time::Now;
use crate::transcode::Refused;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// An owned channel with a session.
pub(crate) struct Owned {
    pub channel: u32,
    session: RefCell<Session>,
    /// Set when the origin task has to end.
    pub stop: Cell<bool>,
    /// The origin's socket, to be shut when the session ends.
    origin_socket: RefCell<Option<Rc<Watch>>>,
    shown: RefCell<Option<ViewStamp>>,
    published: Cell<(u64, u64)>,
    /// When other shards' readers were called last, monotonic, and how far the TS stores were published then, in sum: less once one is gone.
    called: Cell<(u64, u64)>,
    counted: Cell<Counted>,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    samples: u64,
    dropped: u64,
    continuity_errors: u64,
}

/// Somebody, here or on another shard, wants the channel: opens its session if there is none.
pub(crate) fn touch(shard: &Rc<Shard>, channel: u32, want: Want, at_us: u64) {
    let now = shard.now();
    let existing = shard.owned.borrow().get(&channel).cloned();
    let owned = match existing {
        Some(owned) => owned,
        None if shard.relay.draining.load(std::sync::atomic::Ordering::Relaxed) => return,
        None => open(shard, channel, now),
    };
    owned.guarded(shard, |session| session.touch(want, at_us, now));
    owned.poll(shard, now);
}

fn open(shard: &Rc<Shard>, channel: u32, now: Now) -> Rc<Owned> {
    let entry = &shard.relay.channels[channel as usize];
    let last = shard.last_numbers.borrow().get(&channel).copied();
    let session = Session::open(entry.session.clone(), shard.arena.clone(), last, now);
    tracing::info!(channel = entry.config.id, shard = shard.index, epoch = session.epoch().id, "session opened");
    let owned = Rc::new(Owned {
        channel,
        session: RefCell::new(session),
        stop: Cell::new(false),
        origin_socket: RefCell::default(),
        shown: RefCell::new(None),
        published: Cell::default(),
        called: Cell::default(),
        counted: Cell::default(),
    });
    shard.owned.borrow_mut().insert(channel, owned.clone());
    owned
}

/// Runs the clocks of every session owned here.
pub(crate) fn poll_all(shard: &Rc<Shard>, now: Now) {
    let owned: Vec<Rc<Owned>> = shard.owned.borrow().values().cloned().collect();
    for owned in owned {
        owned.poll(shard, now);
    }
}

/// Ends every session owned here: the process is about to end.
pub(crate) fn close_all(shard: &Rc<Shard>) {
    let owned: Vec<Rc<Owned>> = shard.owned.borrow().values().cloned().collect();
    for owned in owned {
        owned.close(shard, "the relay is shutting down");
    }
}

impl Owned {
    /// Feeds origin bytes to the session and lets viewers see what came of it.
    pub fn ingest(&self, shard: &Rc<Shard>, bytes: &[u8], now: Now) -> Option<Ingested> {
        let ingested = self.guarded(shard, |session| session.ingest(bytes, now));
        self.show(shard);
        ingested
    }

    pub fn on_origin(&self, shard: &Rc<Shard>, event: OriginEvent, now: Now) {
        self.guarded(shard, |session| session.on_origin(event, now));
        self.show(shard);
    }

    pub fn set_origin_socket(&self, socket: Option<Rc<Watch>>) {
        *self.origin_socket.borrow_mut() = socket;
    }

    /// A panic was caught in what belongs to the session: it ends, and nothing else.
    pub fn panicked(&self, shard: &Rc<Shard>) {
        shard.relay.channels[self.channel as usize].shared.counters.panics.add(1);
        self.close(shard, "a panic in the session was caught");
    }

    fn poll(self: &Rc<Self>, shard: &Rc<Shard>, now: Now) {
        while let Some(Some(command)) = self.guarded(shard, |session| session.poll(now)) {
            match command {
                Command::OpenOrigin => origin::spawn(shard, self),
                Command::StartTranscode(branch) => self.start_transcode(shard, branch, now),
                Command::StopTranscode(outputs) => shard.relay.transcoder.stop(&outputs),
                Command::CloseOrigin => self.close(shard, "nobody watches"),
            }
        }
        self.show(shard);
    }

    fn start_transcode(&self, shard: &Rc<Shard>, branch: Branch, now: Now) {
        let outputs: Vec<OutputId> = branch.outputs.iter().map(|output| output.id).collect();
        let id = &shard.relay.channels[self.channel as usize].config.id;
        if let Err(refused) = shard.relay.transcoder.start(id, branch) {
            tracing::info!(channel = id, why = &*refused.why, "transcoding refused");
            let Refused { why, retry_after_s } = refused;
            self.guarded(shard, |session| session.on_refused(&outputs, &why, retry_after_s, now));
        }
    }

    /// Ends the session and its origin connection.
    fn close(&self, shard: &Rc<Shard>, why: &str) {
        if self.stop.replace(true) {
            return;
        }
        if let Some(socket) = self.origin_socket.take() {
            socket.cut();
        }
        shard.owned.borrow_mut().remove(&self.channel);
        let ended = catch_unwind(AssertUnwindSafe(|| self.session.borrow_mut().end_transcodes()));
        if let Ok(Some(Command::StopTranscode(outputs))) = ended {
            shard.relay.transcoder.stop(&outputs);
        }
        let entry = &shard.relay.channels[self.channel as usize];
        if let Ok(last) = catch_unwind(AssertUnwindSafe(|| self.session.borrow().last_numbers())) {
            shard.last_numbers.borrow_mut().insert(self.channel, last);
        }
        entry.shared.publish(ChannelView::default());
        shard.published(self.channel, true);
        entry.shared.counters.origin_up.set(0);
        tracing::info!(channel = entry.config.id, shard = shard.index, why, "session closed");
    }

    /// Runs `work` on the session; a panic in it ends the session.
    fn guarded<T>(&self, shard: &Rc<Shard>, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        if self.stop.get() {
            return None;
        }
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut self.session.borrow_mut())));
        match result {
            Ok(value) => Some(value),
            Err(_) => {
                self.panicked(shard);
                None
            }
        }
    }

    /// Publishes a new view when it differs, counts, and wakes readers: those of other shards no more often than the continuous stream is flushed.
    fn show(&self, shard: &Rc<Shard>) {
        if self.stop.get() {
            return;
        }
        let session = self.session.borrow();
        let entry = &shard.relay.channels[self.channel as usize];
        let stamp = session.view_stamp();
        let mut is_new_view = false;
        if self.shown.borrow().as_ref() != Some(&stamp) {
            let up = stamp.state == ChannelState::Live;
            entry.shared.counters.origin_up.set(u64::from(up));
            entry.shared.publish(session.view());
            *self.shown.borrow_mut() = Some(stamp);
            is_new_view = true;
        }
        self.count(&session, &entry.shared.counters);
        let published = session.published();
        let before = self.published.replace(published);
        drop(session);
        if is_new_view || before != published {
            let now_us = shard.now().mono_us;
            let (called_us, called_at) = self.called.get();
            let flush = Flush::of(&shard.relay.config.media);
            let is_due = flush.is_due(published.0.abs_diff(called_at), now_us.saturating_sub(called_us));
            let call = is_new_view || before.1 != published.1 || is_due;
            if call {
                self.called.set((now_us, published.0));
            }
            shard.published(self.channel, call);
        }
    }

    fn count(&self, session: &Session, counters: &crate::session::shared::ChannelCounters) {
        let (samples, dropped) = session.sample_counts();
        let counted = Counted { samples, dropped, continuity_errors: session.demux_stats().continuity_errors };
        let before = self.counted.replace(counted);
        counters.samples.add(counted.samples - before.samples);
        counters.samples_dropped.add(counted.dropped - before.dropped);
        counters.continuity_errors.add(counted.continuity_errors - before.continuity_errors);
    }
}
