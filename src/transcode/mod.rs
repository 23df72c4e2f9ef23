//! Transcoding on dedicated cores: branches of samples in, encoded samples out, on threads of their own.
//!
//! ```text
//!  session ──Branch──► Transcoder (coordinator: admits, places, watches) ──► worker thread, pinned, one for each source track
//!                                                                            input ring ─► decode ─► deinterlace ─┬► scale ─► encode ─► output ring
//!                                                                                                                 └► scale ─► encode ─► output ring
//! ```
//! | file | what it holds |
//! |---|---|
//! | `coordinator.rs` | [`Transcoder`]: admission by measured cost, placement, start and stop |
//! | `cost.rs` | what a job is expected to cost before it was measured |
//! | `worker.rs` | one thread: branches, their joining, waiting, stopping |
//! | `watch.rs` | the thread that joins what ended, and abandons what hangs |
//! | `pipeline.rs` | [`Pipeline`]: one decoder and its encoders, as the worker drives them |
//! | `video.rs`, `audio.rs` | the two pipelines |
//! | `describe.rs` | an encoder's output as a [`crate::es::Track`] |
//! | `av/` | libav behind safe types; the only place that calls it |
//!
//! What it deliberately does not do: know about channels' sessions, packagers or viewers.

pub mod pipeline;

use crate::ring::branch::{Branch, OutputId};
use std::sync::Arc;

/// What the transcoding cores may be used for.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscodeConfig {
    /// CPU ids that workers are pinned to. Empty: nothing is transcoded.
    pub cores: Vec<usize>,
    /// Shards run on the same cores: workers then give way to them.
    pub cores_are_shared: bool,
    /// Share of a core that admitted jobs may use together, 0 to 1.
    pub load_max: f64,
    /// A worker that is busy with one sample for longer is abandoned, milliseconds.
    pub hang_ms: u64,
}

/// Why a branch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// One line, fit for viewers.
    pub why: Arc<str>,
    /// Seconds after which it is worth to ask again; `None`: it will not change.
    pub retry_after_s: Option<u32>,
}

/// The transcoding cores and what runs on them. One for the process; any thread may call it.
pub struct Transcoder {
    config: TranscodeConfig,
}

impl Transcoder {
    pub fn new(config: TranscodeConfig) -> Arc<Transcoder> {
        Arc::new(Transcoder { config })
    }

    /// Takes a branch: joins it to a worker of the same channel and track where that has room, else starts one. `channel`: for the API and
    /// the log. Never waits for an encoder to open: what fails later stands in the outputs' progress.
    pub fn start(&self, _channel: &str, _branch: Branch) -> Result<(), Refused> {
        let why = if self.config.cores.is_empty() { "transcoding is off" } else { "this build does not transcode" };
        Err(Refused { why: why.into(), retry_after_s: None })
    }

    /// Ends these outputs at once, and their workers where nothing else is left.
    pub fn stop(&self, _outputs: &[OutputId]) {}
}
