//! Track ids: stable for a PID and kind, over PMT changes and reconnects.

use crate::es::{TrackId, TrackKind};
use crate::limits::TRACKS_MAX;

/// Who an id was given to.
#[derive(Debug)]
struct Holder {
    pid: u16,
    kind: TrackKind,
    /// The newest PMT that had the stream, by [`TrackIds::generation`].
    last_seen: u64,
}

/// Gives out ids 0 .. [`TRACKS_MAX`]. A stream that comes back gets its old id. Only when all ids were given out, the one whose
/// stream has been gone longest is given to another stream.
#[derive(Debug, Default)]
pub(super) struct TrackIds {
    holders: Vec<Holder>,
    /// Counts PMTs put in force.
    generation: u64,
}

impl TrackIds {
    /// A new PMT comes into force: ids asked for from here on are in use with it.
    pub(super) fn begin(&mut self) {
        self.generation += 1;
    }

    /// The id of a stream of the PMT in force; `None` when that PMT already uses all of them.
    pub(super) fn assign(&mut self, pid: u16, kind: TrackKind) -> Option<TrackId> {
        let generation = self.generation;
        let known = self.holders.iter().position(|h| (h.pid, h.kind) == (pid, kind));
        let holder = Holder { pid, kind, last_seen: generation };
        let id = match known {
            None if self.holders.len() < TRACKS_MAX => {
                self.holders.push(holder);
                return Some(TrackId(self.holders.len() as u16 - 1));
            }
            None => (0..TRACKS_MAX)
                .filter(|&i| self.holders[i].last_seen < generation)
                .min_by_key(|&i| self.holders[i].last_seen)?,
            Some(id) => id,
        };
        self.holders[id] = holder;
        Some(TrackId(id as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_comes_back_gets_its_id_back() {
        let mut ids = TrackIds::default();
        ids.begin();
        assert_eq!(ids.assign(0x100, TrackKind::Video), Some(TrackId(0)));
        assert_eq!(ids.assign(0x101, TrackKind::Audio), Some(TrackId(1)));
        ids.begin();
        assert_eq!(ids.assign(0x101, TrackKind::Data), Some(TrackId(2)), "another kind is another track");
        ids.begin();
        assert_eq!(ids.assign(0x100, TrackKind::Video), Some(TrackId(0)));
    }

    #[test]
    fn when_all_ids_are_out_the_one_gone_longest_goes_first() {
        let mut ids = TrackIds::default();
        for n in 0..TRACKS_MAX as u16 {
            ids.begin();
            assert_eq!(ids.assign(n, TrackKind::Video), Some(TrackId(n)));
        }
        ids.begin();
        assert_eq!(ids.assign(0, TrackKind::Video), Some(TrackId(0)));
        assert_eq!(ids.assign(99, TrackKind::Video), Some(TrackId(1)));
    }
}
