//! What a checked viewer holds content against, beyond what it needs to play.
//!
//! [`playlist`] compares versions of a media playlist, [`mpd`] those of a manifest; [`segment`] looks into segments; [`identity`] compares what
//! different viewers got under the same URL.
//!
//! What it deliberately does not do: fetch, or know of viewers; it sees documents and bytes with the time at which they came.

pub mod cmaf;
pub mod identity;
pub mod mpd;
pub mod playlist;
pub mod segment;

use crate::result::Violation;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

/// Broken rules, counted by rule, with the first case of each in words.
#[derive(Clone, Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Counts one more case of a rule (kebab-case); the words are asked for the first only.
    pub fn add(&mut self, rule: &str, case: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|known| known.rule == rule) {
            Some(known) => known.count += 1,
            None => self.0.push(Violation { rule: rule.into(), count: 1, first: case() }),
        }
    }

    /// All, in the order in which they first came up.
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// Adds those of another.
    pub fn merge(&mut self, others: &[Violation]) {
        for other in others {
            match self.0.iter_mut().find(|known| known.rule == other.rule) {
                Some(known) => known.count += other.count,
                None => self.0.push(other.clone()),
            }
        }
    }
}

/// A segment as a checked viewer got it, for [`identity::Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub url: Rc<str>,
    /// By [`hash`].
    pub hash: u64,
    pub len: u64,
}

/// Of a whole body; equal within one build of this program, and no more than that.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
