//! What a session hands to a transcoder: a branch, which is one ring of samples in and a ring of samples out for each encoding.
//!
//! A branch stands for itself. A transcoder that decodes the same track already may join it to another branch, once both have read as far:
//! then it drops [`Branch::input`] and goes on writing to the outputs. It ends by dropping its ends of the rings; what became of an output
//! stands in its [`Progress`].
#![forbid(unsafe_code)]

use super::doorbell::Doorbell;
use super::spsc::{Consumer, Producer};
use crate::es::Track;
use crate::es::encoding::Encoding;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Names an output within its process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputId(pub u64);

/// One decoder's worth of work.
pub struct Branch {
    /// The source's track as it was when the branch was made; changes come through `input`.
    pub source: Arc<Track>,
    /// The source's samples, from a key sample on. A sample with `key` set is one whose picture becomes a key picture of every output:
    /// the source's own keys, and where the timeline cut without one.
    pub input: Consumer,
    /// Rung after something was pushed to `input`.
    pub doorbell: Arc<Doorbell>,
    /// At least one.
    pub outputs: Vec<Output>,
}

/// Branches are told apart by their outputs.
impl PartialEq for Branch {
    fn eq(&self, other: &Branch) -> bool {
        self.outputs.iter().map(|output| output.id).eq(other.outputs.iter().map(|output| output.id))
    }
}

impl fmt::Debug for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs = self.outputs.iter().map(|output| (output.id, output.encoding.to_string()));
        f.debug_struct("Branch").field("track", &self.source.id).field("outputs", &outputs.collect::<Vec<_>>()).finish()
    }
}

/// One encoding of a branch.
pub struct Output {
    pub id: OutputId,
    pub encoding: Encoding,
    /// The rendition's ring. The first entry is its description.
    pub ring: Producer,
    pub progress: Arc<Progress>,
}

/// How an output does: written by the transcoder, read by the session and the API. Counters since the output began.
#[derive(Debug, Default)]
pub struct Progress {
    /// The session wants no more: the transcoder ends the output at once.
    pub stop: AtomicBool,
    /// The transcoder will write no more, or cannot be trusted to: the ring is to be left.
    pub over: AtomicBool,
    /// Why it ended by itself, in one line without addresses or credentials.
    failure: OnceLock<Arc<str>>,
    /// Frames encoded.
    pub frames: AtomicU64,
    /// Payload bytes encoded.
    pub bytes: AtomicU64,
    /// Frames dropped: out of order, damaged, or too late.
    pub dropped: AtomicU64,
    /// Samples of the source left out because the transcoder was too slow.
    pub skipped: AtomicU64,
    /// Times the encoder was set up anew for another size, format or rate.
    pub reconfigured: AtomicU64,
}

impl Progress {
    /// The output ended by itself.
    pub fn fail(&self, why: impl Into<Arc<str>>) {
        let _ = self.failure.set(why.into());
        self.over.store(true, Ordering::Release);
    }
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failure.get().cloned()
    }
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
