//! The same URL gives the same bytes to all viewers, as long as it is remembered.
//!
//! What it deliberately does not do: keep bytes, or compare what threads saw; each thread has its own.

use super::Sighting;
use crate::result::Violation;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// What was under a URL, of the newest URLs.
pub struct Identity {
    capacity: usize,
    seen: HashMap<Rc<str>, (u64, u64)>,
    /// In the order in which they were first seen.
    order: VecDeque<Rc<str>>,
}

impl Identity {
    /// Remembers so many URLs (at least one), and forgets the oldest beyond.
    pub fn new(capacity: usize) -> Identity {
        Identity { capacity: capacity.max(1), seen: HashMap::new(), order: VecDeque::new() }
    }

    /// Compares with what was seen under this URL before; one `segment-differs` where it is not the same.
    pub fn see(&mut self, url: &Rc<str>, hash: u64, len: u64) -> Option<Violation> {
        if let Some((known, known_len)) = self.seen.get(url) {
            let first = || format!("{url}: {len} bytes with hash {hash:016x}, before {known_len} with {known:016x}");
            let differs = (*known, *known_len) != (hash, len);
            return differs.then(|| Violation { rule: "segment-differs".into(), count: 1, first: first() });
        }
        if self.order.len() == self.capacity {
            self.order.pop_front().map(|oldest| self.seen.remove(&oldest));
        }
        self.order.push_back(url.clone());
        self.seen.insert(url.clone(), (hash, len));
        None
    }

    /// The same of a [`Sighting`].
    pub fn see_sighting(&mut self, sighting: &Sighting) -> Option<Violation> {
        self.see(&sighting.url, sighting.hash, sighting.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_difference_and_forgets_the_oldest() {
        let mut identity = Identity::new(2);
        let urls: Vec<Rc<str>> = ["http://h/1", "http://h/2", "http://h/3"].map(Rc::from).into();
        assert_eq!(identity.see(&urls[0], 1, 10), None);
        assert_eq!(identity.see(&urls[0], 1, 10), None);
        let violation = identity.see(&urls[0], 2, 10).expect("another hash");
        assert_eq!((violation.rule.as_str(), violation.count), ("segment-differs", 1));
        assert!(violation.first.contains("http://h/1"), "{}", violation.first);
        assert_eq!(identity.see(&urls[1], 1, 10), None);
        assert_eq!(identity.see(&urls[2], 1, 10), None);
        assert_eq!(identity.see(&urls[0], 3, 10), None, "forgotten");
    }
}
