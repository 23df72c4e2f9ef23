//! Wakes tasks of one shard that wait for something to change. No allocation while nobody waits.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub(crate) struct Notify {
    generation: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// Waits for the first [`Notify::notify_all`] after the call was made.
    pub async fn changed(&self) {
        let mut seen = self.generation();
        poll_fn(|cx| self.poll_changed(&mut seen, cx)).await
    }

    /// What [`Notify::poll_changed`] begins with.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Ready once for all of [`Notify::notify_all`] since `seen`, which it brings up to date.
    pub fn poll_changed(&self, seen: &mut u64, cx: &Context<'_>) -> Poll<()> {
        let generation = self.generation();
        if std::mem::replace(seen, generation) != generation {
            return Poll::Ready(());
        }
        self.wakers.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Whether somebody waits.
    pub fn is_waited_on(&self) -> bool {
        !self.wakers.borrow().is_empty()
    }
}
