//! One decoder and its encoders, as a worker drives them.
#![forbid(unsafe_code)]

use crate::es::encoding::Encoding;
use crate::es::{SampleMeta, Track};
use crate::ring::branch::OutputId;
use std::any::Any;
use std::sync::Arc;

/// Where a pipeline's output goes.
pub trait Sink {
    /// The description that holds for what follows of this output. It comes before the first sample, and again at each change.
    fn track(&mut self, output: OutputId, track: Arc<Track>);
    /// One encoded access unit, framed as [`crate::es`] says of its codec.
    fn sample(&mut self, output: OutputId, meta: SampleMeta, data: &[u8]);
    /// A frame was dropped: damaged, out of order, or of no known time.
    fn dropped(&mut self, output: OutputId);
    /// The encoder was set up anew.
    fn reconfigured(&mut self, output: OutputId);
    /// The output cannot go on, and is gone from the pipeline.
    fn failed(&mut self, output: OutputId, why: &str);
}

/// Why a pipeline cannot go on. Damaged samples are no reason: they are counted and passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(pub String);

/// One decoder and its encoders. Lives on the worker's thread alone.
pub trait Pipeline: Any {
    /// Adds an encoder. Pictures begin with the next sample whose `key` is set, sound with the next sample. The encoder opens when the first frame is
    /// there; what fails then is told to the sink.
    fn add(&mut self, output: OutputId, encoding: Encoding);
    /// Drops an encoder at once, with what it holds.
    fn remove(&mut self, output: OutputId);
    /// A new description of the source.
    fn track(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// One sample of the source.
    fn sample(&mut self, meta: &SampleMeta, data: &[u8], sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// The source stopped for a while or lost data: what was decoded so far is encoded, and decoding begins anew.
    fn gap(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// Hands over all frames that the decoder still holds: called before [`Pipeline::join`] takes the outputs away, or the source ends.
    fn drain(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// Takes the outputs of `other`, which was drained, encoders and all, as of the sample that comes next for both. What this decoder still gives
    /// out from before that is not encoded for them: they have it.
    fn join(&mut self, other: Box<dyn Pipeline>);
}
