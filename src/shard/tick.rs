//! What a shard does on every beat: mesh, mirrors, owned sessions; and more rarely: deadlines, viewers, tempo.

use super::deadlines::{Phase, Watch};
use super::mesh::Message;
use super::pacemaker::Tempo;
use super::{Shard, owner};
use crate::limits::{BUSY_AFTER_REQUEST_MS, SWEEP_MS, TICK_FAST_MS, TICK_STEADY_MS};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// The immortal task that the pacemaker and other shards wake. It ends when the shard has drained.
pub(crate) async fn run(shard: Rc<Shard>) {
    let drain_deadline_us = Cell::new(None);
    let mut registered = false;
    poll_fn(|cx| {
        if !registered {
            shard.heart().register(cx.waker());
            registered = true;
        }
        beat(&shard);
        if shard.has_drained(&drain_deadline_us) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}

/// Beats where a wake-up for something else comes about when the next beat would: that saves one of two. What
/// was woken meanwhile, a push to viewers above all, goes first.
pub(crate) async fn beat_along(shard: &Rc<Shard>) {
    let since_us = shard.now().mono_us.saturating_sub(shard.heart().beat_us());
    if since_us >= TICK_STEADY_MS * 1_000 / 2 {
        futures_lite::future::yield_now().await;
        beat(shard);
    }
}

fn beat(shard: &Rc<Shard>) {
    let now = shard.now();
    shard.heart().beat(now.mono_us);
    loop {
        let message = shard.mesh.borrow_mut().receive();
        match message {
            Some(Message::Touch { channel, want, at_us }) => owner::touch(shard, channel, want, at_us),
            None => break,
        }
    }
    owner::poll_all(shard, now);
    // Anew: sessions have published since, and told mirrors when.
    let now = shard.now();
    let mirrors: Vec<_> = shard.mirrors.borrow().values().cloned().collect();
    for mirror in &mirrors {
        mirror.check(now.mono_us);
    }
    if now.mono_us.saturating_sub(shard.swept_us.get()) >= SWEEP_MS * 1_000 {
        shard.swept_us.set(now.mono_us);
        sweep(shard, now.mono_us, &mirrors);
    }
    shard.beats.notify_all();
    shard.heart().set_tempo(shard.tempo(now.mono_us));
}

fn sweep(shard: &Rc<Shard>, now_us: u64, mirrors: &[Rc<super::mirror::Mirror>]) {
    shard.deadlines.sweep(now_us, |watch| log_cut(shard, watch));
    shard.segment_viewers.borrow_mut().expire(now_us, |channel, format| {
        shard.metrics.viewers(format).sub(1);
        shard.relay.channels[channel as usize].shared.counters.viewers(format).sub(1);
    });
    shard.hot_segments.borrow_mut().sweep(now_us);
    let now = shard.now();
    for mirror in mirrors {
        mirror.sweep(shard, now);
    }
    shard.mirrors.borrow_mut().retain(|_, mirror| Rc::strong_count(mirror) > 2 || !mirror.is_idle());
    shard.metrics.store_bytes.set(shard.arena.bytes_in_use() as u64);
    shard.metrics.sessions.set(shard.owned.borrow().len() as u64);
}

/// Says why a viewer was cut. The origin's task speaks for itself; the others just went quiet.
fn log_cut(shard: &Shard, watch: &Watch) {
    let phase = watch.phase.get();
    if matches!(phase, Phase::Idle | Phase::Lingering | Phase::Origin) {
        return;
    }
    let channel = watch.channel.get().map(|channel| shard.relay.channels[channel as usize].config.id.as_str());
    tracing::info!(channel, shard = shard.index, why = phase.reason(), "viewer cut");
    shard.metrics.viewers_cut.add(1);
}

impl Shard {
    /// How fast the pacemaker has to beat. Thousands of connections that are merely kept alive need no beat.
    fn tempo(&self, now_us: u64) -> Tempo {
        let is_asked = now_us.saturating_sub(self.asked_us.get()) < BUSY_AFTER_REQUEST_MS * 1_000;
        if is_asked || !self.mirrors.borrow().is_empty() || !self.owned.borrow().is_empty() {
            Tempo::Steady
        } else {
            Tempo::Idle
        }
    }

    /// While draining: closes what waits, and says when all is sent or the deadline passed.
    fn has_drained(self: &Rc<Self>, deadline_us: &Cell<Option<u64>>) -> bool {
        if !self.relay.draining.load(Ordering::Relaxed) {
            return false;
        }
        let now_us = self.now().mono_us;
        let deadline = deadline_us.get().unwrap_or_else(|| {
            let deadline = now_us + self.relay.config.server.shutdown_ms * 1_000;
            deadline_us.set(Some(deadline));
            deadline
        });
        for listener in self.listeners.take() {
            super::socket::shutdown(listener);
        }
        owner::close_all(self);
        self.deadlines.cut_all(&[Phase::Idle, Phase::Head]);
        for mirror in self.mirrors.borrow().values() {
            mirror.drain();
        }
        let left_ms = deadline.saturating_sub(now_us) / 1_000;
        self.connections.get() == 0 || left_ms < TICK_FAST_MS
    }
}
