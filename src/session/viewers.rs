//! Segment viewers: who fetched playlists or segments of late. An estimate, for HTTP has no sessions.
//!
//! A viewer is told from others by address and User-Agent; one that stays silent for long enough is gone.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Who fetches: a hash of address and User-Agent, and the channel's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewerKey {
    pub client: u64,
    pub channel: u32,
}

/// One shard's segment viewers.
#[derive(Debug)]
pub struct SegmentViewers {
    last_seen_us: HashMap<ViewerKey, Seen>,
    len_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at_us: u64,
    gone_after_us: u64,
}

impl SegmentViewers {
    /// A table of at most `len_max` viewers; more are served but not counted.
    pub fn new(len_max: usize) -> Self {
        SegmentViewers { last_seen_us: HashMap::new(), len_max }
    }

    /// Notes a request at monotonic time `now_us`; the viewer is gone `gone_after_us` later. True when it is new.
    pub fn seen(&mut self, key: ViewerKey, now_us: u64, gone_after_us: u64) -> bool {
        let seen = Seen { at_us: now_us, gone_after_us };
        let full = self.last_seen_us.len() >= self.len_max;
        match self.last_seen_us.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.insert(seen);
                false
            }
            Entry::Vacant(_) if full => false,
            Entry::Vacant(entry) => {
                entry.insert(seen);
                true
            }
        }
    }

    /// Forgets the silent ones, telling each one's channel.
    pub fn expire(&mut self, now_us: u64, mut gone: impl FnMut(u32)) {
        self.last_seen_us.retain(|key, seen| {
            let stays = now_us.saturating_sub(seen.at_us) < seen.gone_after_us;
            if !stays {
                gone(key.channel);
            }
            stays
        });
    }

    pub fn len(&self) -> usize {
        self.last_seen_us.len()
    }
    pub fn is_empty(&self) -> bool {
        self.last_seen_us.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_viewer_is_gone_after_its_time_and_counted_once() {
        let mut viewers = SegmentViewers::new(10);
        let key = ViewerKey { client: 7, channel: 3 };
        assert!(viewers.seen(key, 0, 10));
        assert!(!viewers.seen(key, 5, 10));
        let mut gone = Vec::new();
        viewers.expire(14, |c| gone.push(c));
        assert!(gone.is_empty());
        viewers.expire(15, |c| gone.push(c));
        assert_eq!(gone, [3]);
        assert!(viewers.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut viewers = SegmentViewers::new(1);
        assert!(viewers.seen(ViewerKey { client: 1, channel: 0 }, 0, 10));
        assert!(!viewers.seen(ViewerKey { client: 2, channel: 0 }, 0, 10));
        assert_eq!(viewers.len(), 1);
    }
}
