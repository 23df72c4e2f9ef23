//! Segment viewers: who fetched playlists or segments of late. An estimate, for HTTP has no sessions.
//!
//! A viewer is told from others by address and User-Agent; one that stays silent for long enough is gone.
#![forbid(unsafe_code)]

use crate::metrics::Format;
use foldhash::{HashMap, HashMapExt};
use std::collections::hash_map::Entry;

/// Who fetches: a hash of address and User-Agent, and the channel's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewerKey {
    pub client: u64,
    pub channel: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub format: Format,
    /// `false`: the bytes serve other formats too, `format` is but the likeliest.
    pub is_certain: bool,
}

/// One shard's segment viewers.
#[derive(Debug)]
pub struct SegmentViewers {
    last_seen_us: HashMap<ViewerKey, Seen>,
    len_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    format: Format,
    at_us: u64,
    gone_after_us: u64,
}

/// What a request told of its viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it plays.
    pub format: Format,
    /// It counts as a viewer of this format from now on...
    pub came: bool,
    /// ... and as one of this format no more.
    pub left: Option<Format>,
}

impl SegmentViewers {
    /// A table of at most `len_max` viewers; more are served but not counted.
    pub fn new(len_max: usize) -> Self {
        SegmentViewers { last_seen_us: HashMap::new(), len_max }
    }

    /// Notes a request at monotonic time `now_us`; the viewer is gone `gone_after_us` later. `asked`: the format, where the request
    /// tells it; HLS and DASH share their segments, so a segment counts for what its viewer's last playlist was.
    pub fn seen(&mut self, key: ViewerKey, asked: Asked, now_us: u64, gone_after_us: u64) -> Sighting {
        let full = self.last_seen_us.len() >= self.len_max;
        let Asked { format, is_certain } = asked;
        match self.last_seen_us.entry(key) {
            Entry::Occupied(mut entry) => {
                let before = entry.get().format;
                let format = if is_certain { format } else { before };
                entry.insert(Seen { format, at_us: now_us, gone_after_us });
                Sighting { format, came: format != before, left: (format != before).then_some(before) }
            }
            Entry::Vacant(_) if full => Sighting { format, came: false, left: None },
            Entry::Vacant(entry) => {
                entry.insert(Seen { format, at_us: now_us, gone_after_us });
                Sighting { format, came: true, left: None }
            }
        }
    }

    /// Forgets the silent ones, telling each one's channel and format.
    pub fn expire(&mut self, now_us: u64, mut gone: impl FnMut(u32, Format)) {
        self.last_seen_us.retain(|key, seen| {
            let stays = now_us.saturating_sub(seen.at_us) < seen.gone_after_us;
            if !stays {
                gone(key.channel, seen.format);
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

    const HLS: Asked = Asked { format: Format::HlsFmp4, is_certain: true };

    #[test]
    fn a_silent_viewer_is_gone_after_its_time_and_counted_once() {
        let mut viewers = SegmentViewers::new(10);
        let key = ViewerKey { client: 7, channel: 3 };
        assert!(viewers.seen(key, HLS, 0, 10).came);
        assert!(!viewers.seen(key, HLS, 5, 10).came);
        let mut gone = Vec::new();
        viewers.expire(14, |channel, _| gone.push(channel));
        assert!(gone.is_empty());
        viewers.expire(15, |channel, _| gone.push(channel));
        assert_eq!(gone, [3]);
        assert!(viewers.is_empty());
    }

    #[test]
    fn a_segment_counts_for_the_format_of_the_last_playlist() {
        let mut viewers = SegmentViewers::new(10);
        let key = ViewerKey { client: 7, channel: 3 };
        let dash = Asked { format: Format::Dash, is_certain: true };
        let segment = Asked { format: Format::HlsFmp4, is_certain: false };
        viewers.seen(key, dash, 0, 10);
        assert_eq!(viewers.seen(key, segment, 1, 10), Sighting { format: Format::Dash, came: false, left: None });
        let moved = Sighting { format: Format::HlsFmp4, came: true, left: Some(Format::Dash) };
        assert_eq!(viewers.seen(key, HLS, 2, 10), moved);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut viewers = SegmentViewers::new(1);
        assert!(viewers.seen(ViewerKey { client: 1, channel: 0 }, HLS, 0, 10).came);
        assert!(!viewers.seen(ViewerKey { client: 2, channel: 0 }, HLS, 0, 10).came);
        assert_eq!(viewers.len(), 1);
    }
}
