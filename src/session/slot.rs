//! A packager's place in a session: filled when somebody wants what it makes, emptied when nobody does.

use crate::package::{Feed, Packager, Pulled};
use crate::time::Now;

pub(super) struct Slot<P> {
    pub packager: P,
    /// The packager has samples left to mux: the rest of a backfill.
    has_more: bool,
}

impl<P: Packager> Slot<P> {
    pub fn new(packager: P) -> Self {
        Slot { packager, has_more: true }
    }

    /// Lets the packager read what is new; what it leaves over is muxed with the next samples or on the next beat.
    pub fn pull(&mut self, feed: &Feed, has_news: bool, now: Now) {
        if has_news || self.has_more {
            self.has_more = self.packager.pull(feed, now) == Pulled::More;
        }
    }
}
