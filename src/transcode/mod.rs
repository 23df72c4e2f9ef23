//! Transcoding on dedicated cores: branches of samples in, encoded samples out, on threads of their own.
//!
//! ```text
//!  session ──Branch──► Transcoder (admits, places, stops)
//!                          │                     one worker thread for each source track, pinned
//!                          └► worker: input ring ─► decode ─► deinterlace ─┬► scale ─► encode ─► output ring
//!                                 ▲                                        └► scale ─► encode ─► output ring
//!                             watch: joins what ended, abandons what hangs, measures what it costs
//! ```
//! | file | what it holds |
//! |---|---|
//! | `coordinator.rs` | [`Transcoder`]: admission by measured cost, placement, start and stop |
//! | `cost.rs` | what an output is expected to cost before it was measured |
//! | `worker.rs` | one thread: its branches, their joining, waiting, stopping |
//! | `outlet.rs` | the sink that writes to output rings |
//! | `gauge.rs` | what a worker shows of itself |
//! | `watch.rs` | the thread that joins workers that ended and abandons those that hang |
//! | `status.rs` | all of it as the API shows it |
//! | `pipeline.rs` | [`pipeline::Pipeline`]: one decoder and its encoders, as a worker drives them |
//! | `video.rs`, `video_output.rs`, `audio.rs`, `audio_output.rs` | the two pipelines |
//! | `describe.rs` | an encoder's output as a [`crate::es::Track`] |
//! | `av/` | libav behind safe types; nothing else calls it |
//!
//! What it deliberately does not do: know of sessions, packagers or viewers; make a shard wait.

#[cfg(feature = "libav")]
pub mod audio;
#[cfg(feature = "libav")]
mod audio_output;
#[cfg(feature = "libav")]
pub mod av;
mod coordinator;
mod cost;
#[cfg(feature = "libav")]
mod describe;
mod gauge;
mod outlet;
pub mod pipeline;
pub mod status;
#[cfg(feature = "libav")]
pub mod video;
#[cfg(feature = "libav")]
mod video_output;
mod watch;
mod worker;

pub use coordinator::{Refused, TranscodeConfig, Transcoder};

use crate::es::{Track, TrackKind};
use pipeline::{Pipeline, PipelineError};
use std::sync::Arc;

/// Makes the pipeline of a track, on the worker's own thread.
pub type OpenPipeline = dyn Fn(&Arc<Track>) -> Result<Box<dyn Pipeline>, PipelineError> + Send + Sync;

/// The pipelines of libav.
fn open_pipeline(track: &Arc<Track>) -> Result<Box<dyn Pipeline>, PipelineError> {
    #[cfg(feature = "libav")]
    match track.kind() {
        TrackKind::Video => return Ok(Box::new(video::VideoPipeline::open(track)?)),
        TrackKind::Audio => return Ok(Box::new(audio::AudioPipeline::open(track)?)),
        TrackKind::Data => {}
    }
    let what = if track.kind() == TrackKind::Data { "data is not transcoded" } else { "this build does not transcode" };
    Err(PipelineError(what.into()))
}

/// Whether this build can transcode at all.
pub const IS_BUILT_IN: bool = cfg!(feature = "libav");
