//! Wakes the thread at the far end of a hand-over ring, flag first: a push costs one load as long as that thread is awake.
//!
//! ```text
//!  waiting thread                       pushing side
//!   look: nothing                        push
//!   arm()                                ring(): armed? then disarm and wake
//!   look again: nothing ─► sleep
//! ```
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

#[derive(Debug, Default)]
pub struct Doorbell {
    armed: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Doorbell {
    /// Who is to be woken; set once, before the first [`Doorbell::arm`]. A second call changes nothing.
    pub fn install(&self, waker: Waker) {
        let _ = self.waker.set(waker);
    }
    /// The waiting side is about to sleep: it looks once more after this, and then may.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        // Between the flag and the second look, so that one of both sides sees the other.
        fence(Ordering::SeqCst);
    }
    /// The waiting side is awake.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }
    /// Something was pushed: wakes the far end when it sleeps.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed)
            && self.armed.swap(false, Ordering::Relaxed)
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }
}
