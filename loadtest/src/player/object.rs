//! One URL again and again over a kept-alive connection: an object for throughput, or a playlist for requests.
//!
//! Closed loop: it asks again as soon as it has the answer, so its rate is the server's. An object must have the same length each time, and
//! where it is checked the same content. What it deliberately does not do: hold a live playlist, which changes, to that.

use super::{Action, Body, End, Fetch, FetchKind, Head, Lane, Micros, Player, PlayerFigures};
use crate::result::Violation;
use std::rc::Rc;

/// From a failure to the next request.
const RETRY_US: Micros = 1_000_000;
const LANE: Lane = Lane(0);

/// The viewer.
pub struct Object {
    url: Rc<str>,
    kind: FetchKind,
    checked: bool,
    next: Next,
    status: u16,
    /// Of the body that comes in.
    body: Print,
    /// Of the first body.
    first: Option<Print>,
    figures: PlayerFigures,
    /// Bodies of another length, of other content, and empty ones, with the first of each in words.
    violations: [Option<Violation>; 3],
}

/// What is due next.
enum Next {
    FetchAt(Micros),
    /// Due at the first poll.
    First,
    Answer,
}

/// Length and FNV-1a hash; the hash of what was not looked at is that of nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print {
    bytes: u64,
    hash: u64,
}

impl Print {
    const EMPTY: Print = Print { bytes: 0, hash: 0xcbf2_9ce4_8422_2325 };
}

impl Object {
    /// Fetches `url` as `kind`: [`FetchKind::Playlist`] may change, all others may not.
    pub fn new(url: Rc<str>, kind: FetchKind, checked: bool) -> Object {
        Object {
            url,
            kind,
            checked,
            next: Next::First,
            status: 0,
            body: Print::EMPTY,
            first: None,
            figures: PlayerFigures::default(),
            violations: Default::default(),
        }
    }

    fn judge(&mut self) {
        let body = self.body;
        if self.kind == FetchKind::Playlist {
            if body.bytes == 0 {
                self.violate(2, "playlist-empty", "an empty playlist".into());
            }
            return;
        }
        let first = *self.first.get_or_insert(body);
        if body.bytes != first.bytes {
            self.violate(0, "object-length", format!("{} bytes in place of {}", body.bytes, first.bytes));
        } else if body.hash != first.hash {
            self.violate(1, "object-content", format!("hash {:016x} in place of {:016x}", body.hash, first.hash));
        }
    }

    fn violate(&mut self, index: usize, rule: &str, first: String) {
        self.violations[index].get_or_insert(Violation { rule: rule.into(), count: 0, first }).count += 1;
    }
}

impl Player for Object {
    fn poll(&mut self, now: Micros) -> Action {
        let intended = match self.next {
            Next::FetchAt(at) if now < at => return Action::Wait(at),
            Next::FetchAt(at) => at,
            Next::First => now,
            Next::Answer => return Action::Wait(Micros::MAX),
        };
        self.next = Next::Answer;
        self.body = Print::EMPTY;
        Action::Fetch(Fetch { lane: LANE, url: self.url.clone(), kind: self.kind, intended })
    }

    fn on_head(&mut self, _: Lane, _: Micros, head: &Head<'_>) {
        self.status = head.status;
    }

    fn on_body(&mut self, _: Lane, _: Micros, body: Body<'_>) {
        match body {
            Body::Discarded(bytes) => self.body.bytes += bytes as u64,
            Body::Bytes(bytes) => {
                self.body.bytes += bytes.len() as u64;
                if self.checked {
                    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
                    self.body.hash = bytes.iter().fold(self.body.hash, fold);
                }
            }
        }
        self.figures.bytes += match body {
            Body::Discarded(bytes) => bytes as u64,
            Body::Bytes(bytes) => bytes.len() as u64,
        };
    }

    fn on_end(&mut self, _: Lane, now: Micros, end: End) {
        let is_good = end == End::Complete && self.status == 200;
        if is_good {
            self.judge();
        }
        self.next = Next::FetchAt(if is_good { now } else { now + RETRY_US });
    }

    fn wants_content(&self, _: Lane) -> bool {
        self.checked
    }

    fn reads(&self, _: Micros) -> bool {
        true
    }

    fn figures(&self) -> &PlayerFigures {
        &self.figures
    }

    fn violations(&mut self) -> Vec<Violation> {
        self.violations.iter_mut().filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(object: &mut Object, now: Micros, status: u16, body: &[u8]) {
        assert!(matches!(object.poll(now), Action::Fetch(fetch) if fetch.intended == now));
        object.on_head(LANE, now, &Head { status, content_length: None, fields: &[] });
        object.on_body(LANE, now, Body::Bytes(body));
        object.on_end(LANE, now, End::Complete);
    }

    #[test]
    fn asks_again_at_once_and_after_a_failure_later() {
        let mut object = Object::new("http://a/".into(), FetchKind::Segment, false);
        answer(&mut object, 5, 200, b"x");
        answer(&mut object, 5, 503, b"busy");
        assert_eq!(object.poll(6), Action::Wait(1_000_005));
    }

    #[test]
    fn other_lengths_and_other_contents_are_told_apart() {
        let mut object = Object::new("http://a/".into(), FetchKind::Segment, true);
        for body in ["same", "same", "sane", "other", "same"] {
            answer(&mut object, 0, 200, body.as_bytes());
        }
        let found: Vec<_> = object.violations().into_iter().map(|found| (found.rule, found.count)).collect();
        assert_eq!(found, [("object-length".into(), 1), ("object-content".into(), 1)]);
    }

    #[test]
    fn a_playlist_may_change_but_not_be_empty() {
        let mut object = Object::new("http://a/".into(), FetchKind::Playlist, true);
        for body in ["one", "other", ""] {
            answer(&mut object, 0, 200, body.as_bytes());
        }
        assert_eq!(object.violations()[0].rule, "playlist-empty");
    }
}
