//! One shard's sight of one channel: notices what the owner published, wakes those who wait, drives the pump.
//!
//! The owner's own viewers read through a mirror too: one mechanism for all shards.

use super::Shard;
use super::deadlines::Watch;
use super::notify::Notify;
use super::pump::Pump;
use super::relay::{Channel, Relay};
use crate::es::selection::Selection;
use crate::limits::SWEEP_MS;
use crate::package::mpegts::TsShared;
use crate::session::Want;
use crate::session::shared::{ChannelShared, ChannelView};
use crate::time::Now;
use foldhash::HashMap;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Mirror {
    pub channel: u32,
    view: RefCell<Arc<ChannelView>>,
    seen_view: Cell<u64>,
    seen_calls: Cell<u64>,
    /// Versions of the TS and the CMAF snapshot.
    seen_snapshots: Cell<(u64, u64)>,
    /// Woken at every change of the view, of the playlist snapshot, and on the sweep so that waiters look at the clock.
    pub changed: Notify,
    /// One for each TS store that somebody watches here.
    pumps: RefCell<Vec<Rc<Pump>>>,
    /// When the owner was last touched for what is wanted here.
    touched_us: RefCell<HashMap<Want, u64>>,
    /// Connections that send a segment now, the one that began first in front.
    segments_in_flight: RefCell<VecDeque<InFlight>>,
    /// The shard that it is for.
    shard: usize,
    relay: Arc<Relay>,
}

/// The owner need not call this shard any more.
impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared().readers.set(self.shard, false);
    }
}

impl Mirror {
    /// `shard`: which one it is for. From now on the channel's owner calls it; its own it tells without a call.
    pub fn new(channel: u32, shard: usize, relay: Arc<Relay>) -> Mirror {
        let Channel { owner, shared, .. } = &relay.channels[channel as usize];
        // Before the first look, so that nothing is missed in between.
        if *owner != shard {
            shared.readers.set(shard, true);
        }
        let version = shared.version();
        Mirror {
            channel,
            view: RefCell::new(shared.view()),
            seen_view: Cell::new(version),
            seen_calls: Cell::new(shared.readers.calls()),
            seen_snapshots: Cell::default(),
            changed: Notify::default(),
            pumps: RefCell::default(),
            touched_us: Default::default(),
            segments_in_flight: RefCell::default(),
            shard,
            relay,
        }
    }

    fn shared(&self) -> &ChannelShared {
        &self.relay.channels[self.channel as usize].shared
    }

    /// The channel as this shard knows it: its owner calls when that changes.
    pub fn view(&self) -> Arc<ChannelView> {
        self.view.borrow().clone()
    }

    /// Whether it is time to touch the owner again; if so, counts as done. A channel without a session is touched more often,
    /// though not by each of a thousand viewers that wait for it.
    pub fn touch_due(&self, want: Want, now_us: u64, interval_us: u64) -> bool {
        let has_session = self.view.borrow().epoch != 0;
        let interval_us = if has_session { interval_us } else { interval_us.min(SWEEP_MS * 1_000) };
        let mut touched_us = self.touched_us.borrow_mut();
        let due = touched_us.get(&want).is_none_or(|touched_us| now_us.saturating_sub(*touched_us) >= interval_us);
        if due {
            touched_us.insert(want, now_us);
        }
        due
    }

    /// The touch did not get through: try again at the next chance.
    pub fn touch_failed(&self, want: Want) {
        self.touched_us.borrow_mut().remove(&want);
    }

    /// Looks for news. Cheap when there are none: a few atomic loads.
    pub fn check(&self, now_us: u64) {
        let shared = self.shared();
        let version = shared.version();
        let mut changed = self.seen_view.replace(version) != version;
        if changed {
            *self.view.borrow_mut() = shared.view();
        }
        let snapshots = self.snapshots();
        changed |= self.seen_snapshots.replace(snapshots) != snapshots;
        if changed {
            self.changed.notify_all();
        }
        let calls = shared.readers.calls();
        let is_called = self.seen_calls.replace(calls) != calls;
        for pump in self.pumps.borrow().iter() {
            pump.check(now_us, is_called);
        }
    }

    fn snapshots(&self) -> (u64, u64) {
        let view = self.view.borrow();
        (view.ts.iter().map(|(_, ts)| ts.version()).sum(), view.cmaf.as_ref().map_or(0, |cmaf| cmaf.version()))
    }

    /// The pump of the channel's continuous viewers on this shard, started at first need and again for each new store.
    /// `None` when the channel has gone on to another store than `ts`.
    pub fn pump(&self, shard: &Rc<Shard>, selection: Selection, ts: &Arc<TsShared>) -> Option<Rc<Pump>> {
        if !self.plays(ts) {
            return None;
        }
        let mut pumps = self.pumps.borrow_mut();
        if let Some(pump) = pumps.iter().find(|pump| Arc::ptr_eq(&pump.ts, ts)) {
            return Some(pump.clone());
        }
        let pump = Pump::start(shard, self.channel, selection, ts.clone());
        pumps.push(pump.clone());
        Some(pump)
    }

    /// Whether `ts` is what the channel's session muxes now.
    fn plays(&self, ts: &Arc<TsShared>) -> bool {
        self.view.borrow().ts.iter().any(|(_, now)| Arc::ptr_eq(now, ts))
    }

    /// Slow clocks: keeps the session of those who watch alive, ends a pump whose store or viewers are gone, lets waiters
    /// see the time.
    pub fn sweep(&self, shard: &Rc<Shard>, now: Now) {
        let pumps = self.pumps.borrow().clone();
        for pump in pumps {
            pump.sweep(now.mono_us);
            if pump.viewer_count() > 0 {
                shard.touch(self.channel, Want::Ts(pump.selection), now);
            }
        }
        let wants: Vec<Want> = self.segments_in_flight.borrow().iter().map(|segment| segment.want).collect();
        for want in wants {
            shard.touch(self.channel, want, now);
        }
        // A session that ended may have begun anew since: viewers of its old store get their end and come back.
        self.pumps.borrow_mut().retain(|pump| {
            let goes_on = pump.viewer_count() > 0 && self.plays(&pump.ts);
            if !goes_on {
                pump.close();
            }
            goes_on
        });
        let idle = &shard.relay.config.idle;
        let forgotten_us = 2_000 * idle.session_ms.max(idle.variant_ms);
        self.touched_us.borrow_mut().retain(|_, touched_us| now.mono_us.saturating_sub(*touched_us) < forgotten_us);
        self.bound_pinned_blocks(shard);
        self.changed.notify_all();
    }

    /// Nothing here needs it.
    pub fn is_idle(&self) -> bool {
        self.pumps.borrow().is_empty() && !self.changed.is_waited_on()
    }

    /// The process ends: continuous viewers get their end of stream, waiters their answer.
    pub fn drain(&self) {
        for pump in self.pumps.borrow_mut().drain(..) {
            pump.close();
        }
        self.changed.notify_all();
    }

    /// Notes a segment being sent, for as long as the guard lives.
    pub fn segment_in_flight(self: &Rc<Self>, watch: Rc<Watch>, want: Want) -> SegmentInFlight {
        self.segments_in_flight.borrow_mut().push_back(InFlight { watch: watch.clone(), want });
        SegmentInFlight { mirror: self.clone(), watch }
    }

    /// Slow readers hold blocks that the window has let go of: past the bound the one that reads for longest is cut.
    fn bound_pinned_blocks(&self, shard: &Shard) {
        let view = self.view.borrow();
        let ts = view.ts.iter().map(|(_, ts)| ts.store().pinned_blocks()).sum::<usize>();
        let cmaf = view.cmaf.as_ref().map_or(0, |cmaf| cmaf.snapshot().pinned_blocks());
        let (pinned, bound) = (ts + cmaf, shard.relay.config.limits.pinned_blocks_per_channel);
        if pinned <= bound {
            return;
        }
        if let Some(oldest) = self.segments_in_flight.borrow_mut().pop_front() {
            let channel = &shard.relay.channels[self.channel as usize].config.id;
            tracing::info!(channel, shard = shard.index, pinned, bound, "viewer cut: it reads a segment too slowly");
            shard.metrics.viewers_cut.add(1);
            oldest.watch.cut();
        }
    }
}

/// A segment that is being sent.
struct InFlight {
    watch: Rc<Watch>,
    want: Want,
}

pub(crate) struct SegmentInFlight {
    mirror: Rc<Mirror>,
    watch: Rc<Watch>,
}

impl Drop for SegmentInFlight {
    fn drop(&mut self) {
        self.mirror.segments_in_flight.borrow_mut().retain(|segment| !Rc::ptr_eq(&segment.watch, &self.watch));
    }
}
