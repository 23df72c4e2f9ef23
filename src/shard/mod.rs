//! The only runtime layer: pinned executors, listeners, connections, pumps, origin IO, the mesh between shards, shutdown.
//!
//! ```text
//!   main ── boot ──► one glommio executor per shard ◄── pacemaker (foreign thread: wakes, watches)
//!                       │ accept ─► conn ─► route ─► playlist | segment (splice) | live ─► pump (send)
//!                       │ owner: origin ─► session ─► store ──published──► mirrors of every shard
//!                       └ tick (with media, called by another shard, or after 45 to 280 ms): mesh, mirrors, idle clocks, deadlines
//! ```
//!
//! A channel has one owner shard; a viewer stays on the shard that accepted it. Shards share nothing but the [`Relay`]
//! directory (atomics and snapshots), carry requests to each other by the [`mesh`], and call each other through the pacemaker's [`Heart`](pacemaker::Heart).

pub mod boot;
mod conn;
mod deadlines;
mod hot;
mod listen;
mod live;
mod manifest;
mod mesh;
mod mirror;
mod notify;
mod origin;
mod owner;
mod pacemaker;
mod pages;
mod pipe;
mod place;
mod pump;
pub mod relay;
mod respond;
mod segment;
mod socket;
mod tick;

use crate::http::response::HttpDate;
use crate::metrics::{Format, ShardMetrics};
use crate::session::Want;
use crate::session::viewers::{Asked, SegmentViewers, ViewerKey};
use crate::store::Arena;
use crate::time::Now;
use crate::timeline::Numbers;
use deadlines::Deadlines;
use foldhash::HashMap;
use hot::HotSegments;
use mesh::Mesh;
use mirror::Mirror;
use notify::Notify;
use owner::Owned;
use pacemaker::{Heart, Tempo};
use relay::Relay;
use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

/// One shard's state, shared by its tasks. Single-threaded: borrows never last across an await.
pub(crate) struct Shard {
    pub index: usize,
    pub relay: Arc<Relay>,
    pub metrics: Arc<ShardMetrics>,
    pub arena: Arc<Arena>,
    pub mesh: RefCell<Mesh>,
    /// Origins' tasks wait for the next beat here.
    pub beats: Notify,
    /// When the slow clocks ran last, monotonic.
    pub swept_us: Cell<u64>,
    /// Channels owned here that have a session, by channel index.
    pub owned: RefCell<HashMap<u32, Rc<Owned>>>,
    /// Channels watched from here, owned here or not.
    pub mirrors: RefCell<HashMap<u32, Rc<Mirror>>>,
    pub deadlines: Deadlines,
    pub segment_viewers: RefCell<SegmentViewers>,
    pub hot_segments: RefCell<HotSegments>,
    /// When the last connection or request came, monotonic, microseconds.
    pub asked_us: Cell<u64>,
    /// Connection tasks alive.
    pub connections: Cell<usize>,
    pub addresses: RefCell<conn::Addresses>,
    /// Listening sockets, to be shut when the shard drains.
    pub listeners: RefCell<Vec<RawFd>>,
    /// What connections read into, one at a time.
    pub scratch: RefCell<Box<[u8]>>,
    /// Taken and given back by who answers, so that most answers allocate nothing.
    pub texts: Cell<Texts>,
    date: RefCell<HttpDate>,
    /// Numbers that ended sessions reached, by channel index.
    pub last_numbers: RefCell<HashMap<u32, Numbers>>,
}

/// What an answer is written into.
#[derive(Default)]
pub(crate) struct Texts {
    pub head: Vec<u8>,
    pub etag: String,
}

impl Shard {
    pub fn now(&self) -> Now {
        self.relay.clock.now()
    }

    pub fn heart(&self) -> &Heart {
        &self.relay.shards[self.index].heart
    }

    /// The value of `Date` at `now`.
    pub fn date(&self, now: Now) -> HttpDate {
        self.date.borrow_mut().set(now.unix_us / 1_000_000).clone()
    }

    /// This shard's view of a channel, made at first need.
    pub fn mirror(self: &Rc<Self>, channel: u32) -> Rc<Mirror> {
        let mut mirrors = self.mirrors.borrow_mut();
        let make = || Rc::new(Mirror::new(channel, self.index, self.relay.clone()));
        mirrors.entry(channel).or_insert_with(make).clone()
    }

    /// Says to the channel's owner that somebody here wants this of it. Cheap to call for every request.
    pub fn touch(self: &Rc<Self>, channel: u32, want: Want, now: Now) {
        let mirror = self.mirror(channel);
        if !mirror.touch_due(want, now.mono_us, self.relay.touch_interval_us) {
            return;
        }
        let owner = self.relay.channels[channel as usize].owner;
        let message = mesh::Message::Touch { channel, want, at_us: now.mono_us };
        if owner == self.index {
            owner::touch(self, channel, want, now.mono_us);
        } else if self.mesh.borrow_mut().send(owner, message) {
            // The viewer is not to wait for its beat.
            self.relay.shards[owner].heart.wake();
        } else {
            mirror.touch_failed(want);
        }
    }

    /// Notes that somebody asks for something: the shard does not idle for a while.
    pub fn asked(&self, now_us: u64) {
        self.asked_us.set(now_us);
        self.heart().hasten(Tempo::Steady);
    }

    /// Notes a playlist or segment request of a client, and says what it plays.
    pub fn saw_segment_viewer(&self, key: ViewerKey, asked: Asked, target_duration_s: u64, now_us: u64) -> Format {
        let idle_us = self.relay.config.idle.segment_viewer_ms * 1_000;
        let gone_after_us = idle_us.max(3 * target_duration_s * 1_000_000);
        let sighting = self.segment_viewers.borrow_mut().seen(key, asked, now_us, gone_after_us);
        let counters = &self.relay.channels[key.channel as usize].shared.counters;
        if let Some(format) = sighting.left {
            self.metrics.viewers(format).sub(1);
            counters.viewers(format).sub(1);
        }
        if sighting.came {
            self.metrics.viewers(sighting.format).add(1);
            counters.viewers(sighting.format).add(1);
        }
        sighting.format
    }

    /// Wakes this shard's readers of a channel after its owner published; `call`: other shards' readers too.
    pub fn published(self: &Rc<Self>, channel: u32, call: bool) {
        if call {
            for reader in self.relay.channels[channel as usize].shared.readers.call() {
                self.relay.shards[reader].heart.wake();
            }
        }
        if let Some(mirror) = self.mirrors.borrow().get(&channel) {
            mirror.check(self.now().mono_us);
        }
    }
}
