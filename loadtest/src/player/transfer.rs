//! Answers under way on a viewer's lanes: which lane a request takes, what came, and how it ended.
//!
//! A track asks on the lane of its own number, and while that is busy, on a spare one, as browsers open a second connection for a playlist that is due
//! during a segment. What it deliberately does not do: retry.

use super::url::resolve;
use super::{Action, Body, End, Fetch, FetchKind, Head, Lane, Micros};
use std::collections::VecDeque;
use std::rc::Rc;

/// What a request is for; with the track's number, 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Entry,
    /// Also an MPD again, with track 0.
    Playlist(usize),
    Init(usize),
    Segment(usize),
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Status(u16),
    /// The connection, or more than is taken.
    Broken,
}

/// An answer that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub purpose: Purpose,
    /// Where it came from in the end, after redirects: what references in it are relative to.
    pub url: Rc<str>,
    /// When it was asked for, before redirects.
    pub asked: Micros,
    /// When this last request was sent.
    pub sent: Micros,
    pub bytes: u64,
    /// The body; empty where it was not to be kept.
    pub result: Result<Vec<u8>, Failure>,
}

/// All of a viewer's answers under way.
#[derive(Debug)]
pub(super) struct Transfers {
    lanes: [Option<Transfer>; LANES],
    redirects: VecDeque<Transfer>,
    keeps_segments: bool,
}

#[derive(Debug)]
struct Transfer {
    purpose: Purpose,
    url: Rc<str>,
    asked: Micros,
    sent: Micros,
    status: u16,
    location: Option<Rc<str>>,
    body: Vec<u8>,
    bytes: u64,
    hops: u32,
}

const LANES: usize = super::LANES_MAX as usize + 1;
/// The spare lane of a track is so many above its own.
const SPARE: usize = 2;
/// Redirects that are followed one after the other.
const HOPS_MAX: u32 = 5;
/// A longer body is a failure.
const BODY_BYTES_MAX: usize = 64 << 20;

impl Transfers {
    /// None yet; bodies of segments are kept or not.
    pub fn new(keeps_segments: bool) -> Transfers {
        Transfers { lanes: [const { None }; LANES], redirects: VecDeque::new(), keeps_segments }
    }

    /// Whether such a request is under way.
    pub fn has(&self, purpose: Purpose) -> bool {
        self.lanes.iter().flatten().chain(&self.redirects).any(|transfer| transfer.purpose == purpose)
    }

    /// Asks; `None` where both of the track's lanes are busy.
    pub fn ask(&mut self, purpose: Purpose, url: Rc<str>, intended: Micros, now: Micros) -> Option<Action> {
        let (status, location, body, bytes, hops) = (0, None, Vec::new(), 0, 0);
        self.begin(Transfer { purpose, url, asked: now, sent: now, status, location, body, bytes, hops }, intended)
    }

    /// Asks where an answer said it moved to.
    pub fn follow(&mut self, now: Micros) -> Option<Action> {
        let transfer = self.redirects.front()?;
        self.free_lane(transfer.purpose)?;
        let transfer = self.redirects.pop_front()?;
        self.begin(Transfer { sent: now, ..transfer }, now)
    }

    pub fn head(&mut self, lane: Lane, head: &Head) {
        let Some(transfer) = self.get(lane) else { return };
        transfer.status = head.status;
        let location = head.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
        if (300..400).contains(&head.status) {
            transfer.location = location.and_then(|(_, location)| resolve(&transfer.url, location));
        }
    }

    /// Takes what came; its length.
    pub fn body(&mut self, lane: Lane, body: Body) -> u64 {
        let wants = self.wants_content(lane);
        let length = match body {
            Body::Bytes(bytes) => bytes.len(),
            Body::Discarded(length) => length,
        };
        let Some(transfer) = self.get(lane) else { return 0 };
        transfer.bytes += length as u64;
        match body {
            Body::Bytes(bytes) if wants && transfer.body.len() <= BODY_BYTES_MAX => {
                transfer.body.extend_from_slice(bytes)
            }
            _ => {}
        }
        length as u64
    }

    /// What is over now; `None` for a redirect that will be followed.
    pub fn end(&mut self, lane: Lane, end: End) -> Option<Done> {
        let mut transfer = self.lanes.get_mut(usize::from(lane.0))?.take()?;
        if let Some(url) = transfer.location.take().filter(|_| end == End::Complete && transfer.hops < HOPS_MAX) {
            let hops = transfer.hops + 1;
            self.redirects.push_back(Transfer { url, hops, status: 0, body: Vec::new(), bytes: 0, ..transfer });
            return None;
        }
        let result = match (end, transfer.status) {
            (End::Complete, 200) if transfer.body.len() <= BODY_BYTES_MAX => Ok(transfer.body),
            (End::Complete, status) if status != 200 => Err(Failure::Status(status)),
            _ => Err(Failure::Broken),
        };
        let Transfer { purpose, url, asked, sent, bytes, .. } = transfer;
        Some(Done { purpose, url, asked, sent, bytes, result })
    }

    /// Documents always, segments where they are checked.
    pub fn wants_content(&self, lane: Lane) -> bool {
        match self.lanes.get(usize::from(lane.0)).and_then(Option::as_ref).map(|transfer| transfer.purpose) {
            Some(Purpose::Entry | Purpose::Playlist(_)) => true,
            Some(Purpose::Init(_) | Purpose::Segment(_)) => self.keeps_segments,
            None => false,
        }
    }

    fn begin(&mut self, transfer: Transfer, intended: Micros) -> Option<Action> {
        let lane = self.free_lane(transfer.purpose)?;
        let kind = match transfer.purpose {
            Purpose::Entry => FetchKind::Entry,
            Purpose::Playlist(_) => FetchKind::Playlist,
            Purpose::Init(_) => FetchKind::Init,
            Purpose::Segment(_) => FetchKind::Segment,
        };
        let url = transfer.url.clone();
        self.lanes[lane] = Some(transfer);
        Some(Action::Fetch(Fetch { lane: Lane(lane as u8), url, kind, intended }))
    }

    fn free_lane(&self, purpose: Purpose) -> Option<usize> {
        let track = match purpose {
            Purpose::Entry => 0,
            Purpose::Playlist(track) | Purpose::Init(track) | Purpose::Segment(track) => track,
        };
        [track, track + SPARE].into_iter().find(|lane| self.lanes.get(*lane).is_some_and(Option::is_none))
    }

    fn get(&mut self, lane: Lane) -> Option<&mut Transfer> {
        self.lanes.get_mut(usize::from(lane.0))?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(status: u16, fields: &'a [(&'a str, &'a str)]) -> Head<'a> {
        Head { status, content_length: None, fields }
    }

    fn fetch(action: Option<Action>) -> Option<Fetch> {
        action.map(|action| if let Action::Fetch(fetch) = action { fetch } else { panic!("{action:?}") })
    }

    #[test]
    fn a_busy_lane_gives_way_to_the_spare_one() {
        let mut transfers = Transfers::new(false);
        let mut lane = |purpose| fetch(transfers.ask(purpose, "http://h/".into(), 0, 0)).map(|fetch| fetch.lane.0);
        assert_eq!(lane(Purpose::Segment(0)), Some(0));
        assert_eq!(lane(Purpose::Playlist(0)), Some(2));
        assert_eq!(lane(Purpose::Playlist(1)), Some(1));
        assert_eq!(lane(Purpose::Init(0)), None);
    }

    #[test]
    fn follows_redirects_and_keeps_when_it_was_asked() {
        let mut transfers = Transfers::new(false);
        transfers.ask(Purpose::Entry, "http://h/a/b".into(), 5, 5);
        transfers.head(Lane(0), &head(302, &[("Location", "../c")]));
        assert!(transfers.end(Lane(0), End::Complete).is_none());
        assert!(transfers.has(Purpose::Entry));
        assert_eq!(&*fetch(transfers.follow(9)).expect("a fetch").url, "http://h/c");
        transfers.head(Lane(0), &head(200, &[]));
        transfers.body(Lane(0), Body::Bytes(b"x"));
        let done = transfers.end(Lane(0), End::Complete).expect("an answer");
        assert_eq!((&*done.url, done.asked, done.sent, done.bytes), ("http://h/c", 5, 9, 1));
        assert_eq!(done.result, Ok(b"x".to_vec()));
    }

    #[test]
    fn tells_failures_apart() {
        let mut transfers = Transfers::new(false);
        for (status, end, failure) in [
            (404, End::Complete, Failure::Status(404)),
            (200, End::Short, Failure::Broken),
            (0, End::ConnectFailed, Failure::Broken),
        ] {
            transfers.ask(Purpose::Entry, "http://h/".into(), 0, 0);
            transfers.head(Lane(0), &head(status, &[]));
            assert_eq!(transfers.end(Lane(0), end).map(|done| done.result), Some(Err(failure)));
        }
    }
}
