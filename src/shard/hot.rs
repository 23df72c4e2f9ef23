//! Segments that several viewers ask for, kept in pipes so that each further viewer costs less ([`super::pipe`]).
//!
//! A segment is hot from its third whole request on, as filling and dropping pipes costs about what two sends save. It is forgotten
//! when nobody asked for it for a while, or for one that was asked for later when there are too many: then it is sent by `sendfile` again.
//! Pipes hold pages, not blocks: bounded by [`HOT_PIECES_MAX`], whatever the window lets go of.

use super::pipe::{Pipe, Spout};
use super::segment::Wanted;
use super::socket::Sent;
use crate::limits::{BLOCK_BYTES, HOT_PIECES_MAX, HOT_SEGMENT_IDLE_MS, HOT_SEGMENT_REQUESTS, HOT_SEGMENTS_MAX};
use crate::store::Held;
use foldhash::{HashMap, HashMapExt};
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

/// Names a segment of any channel, for ever: epochs are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HotKey {
    pub channel: u32,
    pub epoch: u64,
    pub wanted: Wanted,
}

/// One shard's hot segments.
pub(crate) struct HotSegments {
    segments: HashMap<HotKey, Hot>,
    /// Pipes of all of them, and how many there may be on this shard.
    pieces: usize,
    pieces_max: usize,
    /// The kernel gave no pipe: try again at the next sweep.
    is_refused: bool,
    spout: Option<Spout>,
}

struct Hot {
    requests: u32,
    /// Monotonic time of the last request, microseconds.
    asked_us: u64,
    pieces: Option<Rc<[HotPiece]>>,
}

/// The part of a segment that lies in one block of its store.
pub(crate) struct HotPiece {
    /// Store position of its first byte.
    pub pos: u64,
    len: usize,
    pipe: Pipe,
}

impl HotSegments {
    /// Hot segments of one of `shards` shards.
    pub fn new(shards: usize) -> HotSegments {
        let pieces_max = HOT_PIECES_MAX / shards.max(1);
        HotSegments { segments: HashMap::new(), pieces: 0, pieces_max, is_refused: false, spout: None }
    }

    /// Notes a request for the whole of a segment; its pieces when it is hot. `None`: by sendfile.
    pub fn request(&mut self, key: HotKey, held: &Held, now_us: u64) -> Option<Rc<[HotPiece]>> {
        let full = self.segments.len() >= HOT_SEGMENTS_MAX;
        let hot = match self.segments.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(entry) => entry.insert(Hot { requests: 0, asked_us: now_us, pieces: None }),
        };
        hot.requests = hot.requests.saturating_add(1);
        hot.asked_us = now_us;
        if hot.pieces.is_some() || hot.requests < HOT_SEGMENT_REQUESTS || self.is_refused {
            return hot.pieces.clone();
        }
        let count = held.pieces().count();
        if !self.make_room(count) {
            return None;
        }
        match self.fill(held) {
            Ok(pieces) => {
                self.pieces += pieces.len();
                self.segments.get_mut(&key)?.pieces = Some(pieces.clone());
                Some(pieces)
            }
            Err(error) => {
                tracing::debug!(%error, "no pipe for a hot segment: it is sent by sendfile");
                self.is_refused = true;
                None
            }
        }
    }

    /// Sends a piece to the non-blocking socket `fd`, as far as it takes it. `more`: further bytes follow at once.
    pub fn send(&mut self, piece: &HotPiece, fd: RawFd, more: bool) -> io::Result<Sent> {
        let spout = self.spout.as_mut().ok_or(io::ErrorKind::NotFound)?;
        spout.send(&piece.pipe, piece.len, fd, more)
    }

    /// Forgets what nobody asked for of late.
    pub fn sweep(&mut self, now_us: u64) {
        self.is_refused = false;
        let mut freed = 0;
        self.segments.retain(|_, hot| {
            let stays = now_us.saturating_sub(hot.asked_us) < HOT_SEGMENT_IDLE_MS * 1_000;
            freed += if stays { 0 } else { hot.len() };
            stays
        });
        self.pieces -= freed;
    }

    /// Lets go of the segments that were asked for longest ago until there is room. False when `count` is too many in any case.
    fn make_room(&mut self, count: usize) -> bool {
        if count > self.pieces_max {
            return false;
        }
        while self.pieces + count > self.pieces_max {
            let filled = self.segments.values_mut().filter(|hot| hot.pieces.is_some());
            let Some(oldest) = filled.min_by_key(|hot| hot.asked_us) else { return false };
            self.pieces -= oldest.len();
            *oldest = Hot { requests: 0, asked_us: oldest.asked_us, pieces: None };
        }
        true
    }

    fn fill(&mut self, held: &Held) -> io::Result<Rc<[HotPiece]>> {
        if self.spout.is_none() {
            self.spout = Some(Spout::new(BLOCK_BYTES)?);
        }
        let mut pos = held.range().start;
        let filled = held.pieces().map(|piece| {
            let (at, len) = (pos, piece.bytes.len());
            pos += len as u64;
            Ok(HotPiece { pos: at, len, pipe: Pipe::filled(piece.fd, piece.file_offset, len)? })
        });
        filled.collect()
    }
}

impl Hot {
    fn len(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.len())
    }
}
