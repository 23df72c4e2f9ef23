//! A packager's place in a session: filled when somebody asks for its container, emptied when nobody has for the idle time.

use crate::package::{Feed, Packager, Pulled};
use crate::time::Now;

pub(super) struct Slot<P> {
    packager: Option<P>,
    touched_us: u64,
    /// The packager has samples left to mux: the rest of a backfill.
    has_more: bool,
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Slot { packager: None, touched_us: 0, has_more: false }
    }
}

impl<P: Packager> Slot<P> {
    pub fn get(&self) -> Option<&P> {
        self.packager.as_ref()
    }
    pub fn get_mut(&mut self) -> Option<&mut P> {
        self.packager.as_mut()
    }

    /// Somebody asked for the container at monotonic time `at_us`.
    pub fn touch(&mut self, at_us: u64, make: impl FnOnce() -> P) {
        self.touched_us = self.touched_us.max(at_us);
        if self.packager.is_none() {
            self.packager = Some(make());
            self.has_more = true;
        }
    }

    /// Lets the packager read what is new; what it leaves over is muxed with the next samples or on the next beat.
    pub fn pull(&mut self, feed: &Feed, has_news: bool, now: Now) {
        if let Some(packager) = self.packager.as_mut().filter(|_| has_news || self.has_more) {
            self.has_more = packager.pull(feed, now) == Pulled::More;
        }
    }

    pub fn expire(&mut self, now_us: u64, idle_us: u64) {
        if now_us.saturating_sub(self.touched_us) >= idle_us {
            self.packager = None;
        }
    }
}
