//! One shard's sight of one channel: notices what the owner published, wakes those who wait, drives the pump.
//!
//! The owner's own viewers read through a mirror too: one mechanism for all shards.

use super::Shard;
use super::deadlines::Watch;
use super::notify::Notify;
use super::pump::Pump;
use super::relay::Relay;
use crate::limits::SWEEP_MS;
use crate::package::mpegts::TsShared;
use crate::session::shared::ChannelView;
use crate::time::Now;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Mirror {
    pub channel: u32,
    view: RefCell<Arc<ChannelView>>,
    seen_view: Cell<u64>,
    seen_snapshot: Cell<u64>,
    /// Woken at every change of the view, of the playlist snapshot, and on the sweep so that waiters look at the clock.
    pub changed: Notify,
    pump: RefCell<Option<Rc<Pump>>>,
    touched_us: Cell<u64>,
    /// Connections that send a segment now, the one that began first in front.
    segments_in_flight: RefCell<VecDeque<Rc<Watch>>>,
}

impl Mirror {
    pub fn new(channel: u32, relay: &Relay) -> Mirror {
        let shared = &relay.channels[channel as usize].shared;
        let version = shared.version();
        Mirror {
            channel,
            view: RefCell::new(shared.view()),
            seen_view: Cell::new(version),
            seen_snapshot: Cell::new(0),
            changed: Notify::default(),
            pump: RefCell::new(None),
            touched_us: Cell::new(0),
            segments_in_flight: RefCell::default(),
        }
    }

    /// The channel as this shard knows it, at most a tick old.
    pub fn view(&self) -> Arc<ChannelView> {
        self.view.borrow().clone()
    }

    /// Whether it is time to touch the owner again; if so, counts as done. A channel without a session is touched more often,
    /// though not by each of a thousand viewers that wait for it.
    pub fn touch_due(&self, now_us: u64, interval_us: u64) -> bool {
        let has_session = self.view.borrow().epoch != 0;
        let interval_us = if has_session { interval_us } else { interval_us.min(SWEEP_MS * 1_000) };
        let due = now_us.saturating_sub(self.touched_us.get()) >= interval_us;
        if due {
            self.touched_us.set(now_us);
        }
        due
    }

    /// The touch did not get through: try again at the next chance.
    pub fn touch_failed(&self) {
        self.touched_us.set(0);
    }

    /// Looks for news. Cheap when there are none: three atomic loads.
    pub fn check(&self, shard: &Rc<Shard>) {
        let shared = &shard.relay.channels[self.channel as usize].shared;
        let version = shared.version();
        let mut changed = self.seen_view.replace(version) != version;
        if changed {
            *self.view.borrow_mut() = shared.view();
        }
        let ts = self.view.borrow().ts.clone();
        if let Some(ts) = &ts {
            let snapshot = ts.version();
            changed |= self.seen_snapshot.replace(snapshot) != snapshot;
        }
        if changed {
            self.changed.notify_all();
        }
        if let Some(pump) = &*self.pump.borrow() {
            pump.check();
        }
    }

    /// The pump of the channel's continuous viewers on this shard, started at first need and again for each new store.
    /// `None` when the channel has gone on to another store than `ts`.
    pub fn pump(&self, shard: &Rc<Shard>, ts: &Arc<TsShared>) -> Option<Rc<Pump>> {
        if !self.plays(ts) {
            return None;
        }
        let mut slot = self.pump.borrow_mut();
        if let Some(pump) = slot.as_ref().filter(|pump| Arc::ptr_eq(&pump.ts, ts)) {
            return Some(pump.clone());
        }
        let pump = Pump::start(shard, self.channel, ts.clone());
        if let Some(old) = slot.replace(pump.clone()) {
            old.close();
        }
        Some(pump)
    }

    /// Whether `ts` is what the channel's session muxes now.
    fn plays(&self, ts: &Arc<TsShared>) -> bool {
        self.view.borrow().ts.as_ref().is_some_and(|now| Arc::ptr_eq(now, ts))
    }

    /// Slow clocks: keeps the session of those who watch alive, ends a pump whose store or viewers are gone, lets waiters
    /// see the time.
    pub fn sweep(&self, shard: &Rc<Shard>, now: Now) {
        let mut watched = false;
        if let Some(pump) = &*self.pump.borrow() {
            pump.sweep(now.mono_us);
            watched = pump.viewer_count() > 0;
        }
        if watched || self.changed.is_waited_on() || !self.segments_in_flight.borrow().is_empty() {
            shard.touch(self.channel, now);
        }
        // A session that ended may have begun anew since: viewers of its old store get their end and come back.
        let done = |pump: &mut Rc<Pump>| pump.viewer_count() == 0 || !self.plays(&pump.ts);
        if let Some(pump) = self.pump.borrow_mut().take_if(done) {
            pump.close();
        }
        self.bound_pinned_blocks(shard);
        self.changed.notify_all();
    }

    /// Nothing here needs it.
    pub fn is_idle(&self) -> bool {
        self.pump.borrow().is_none() && !self.changed.is_waited_on()
    }

    /// The process ends: continuous viewers get their end of stream, waiters their answer.
    pub fn drain(&self) {
        if let Some(pump) = self.pump.borrow_mut().take() {
            pump.close();
        }
        self.changed.notify_all();
    }

    /// Notes a segment being sent, for as long as the guard lives.
    pub fn segment_in_flight(self: &Rc<Self>, watch: Rc<Watch>) -> SegmentInFlight {
        self.segments_in_flight.borrow_mut().push_back(watch.clone());
        SegmentInFlight { mirror: self.clone(), watch }
    }

    /// Slow readers hold blocks that the window has let go of: past the bound the one that reads for longest is cut.
    fn bound_pinned_blocks(&self, shard: &Shard) {
        let view = self.view.borrow();
        let Some(ts) = &view.ts else { return };
        let (pinned, bound) = (ts.store().pinned_blocks(), shard.relay.config.limits.pinned_blocks_per_channel);
        if pinned <= bound {
            return;
        }
        if let Some(oldest) = self.segments_in_flight.borrow_mut().pop_front() {
            let channel = &shard.relay.channels[self.channel as usize].config.id;
            tracing::info!(channel, shard = shard.index, pinned, bound, "viewer cut: it reads a segment too slowly");
            shard.metrics.viewers_cut.add(1);
            oldest.cut();
        }
    }
}

pub(crate) struct SegmentInFlight {
    mirror: Rc<Mirror>,
    watch: Rc<Watch>,
}

impl Drop for SegmentInFlight {
    fn drop(&mut self) {
        self.mirror.segments_in_flight.borrow_mut().retain(|w| !Rc::ptr_eq(w, &self.watch));
    }
}
