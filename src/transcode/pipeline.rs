//! One decoder and its encoders, as a worker drives them.

use crate::es::encoding::Encoding;
use crate::es::{SampleMeta, Track};
use crate::ring::branch::OutputId;
use std::sync::Arc;

/// Where a pipeline's output goes.
pub trait Sink {
    /// The description that holds for what follows of this output. It comes before the first sample, and again at each change.
    fn track(&mut self, output: OutputId, track: Arc<Track>);
    /// One encoded access unit in the source's framing conventions of [`crate::es`] (Annex B, ADTS, ...).
    fn sample(&mut self, output: OutputId, meta: SampleMeta, data: &[u8]);
    /// Time breaks: what was lost is not made up for.
    fn gap(&mut self, output: OutputId);
    /// A frame was dropped; the encoder was set up anew.
    fn dropped(&mut self, output: OutputId);
    fn reconfigured(&mut self, output: OutputId);
}

/// Why a pipeline cannot go on. Damaged samples are no reason: they are counted and passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(pub String);

/// One decoder and its encoders. Lives on the worker's thread alone.
pub trait Pipeline {
    fn add(&mut self, output: OutputId, encoding: Encoding) -> Result<(), PipelineError>;
    /// Drops an encoder at once, what it holds included.
    fn remove(&mut self, output: OutputId);
    /// A new description of the source.
    fn track(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// One sample of the source.
    fn sample(&mut self, meta: &SampleMeta, data: &[u8], sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// The source stopped for a while or lost data: what was decoded so far is encoded, and decoding begins anew at a key sample.
    fn gap(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// Hands over all frames that the decoder still holds: called before outputs are moved away.
    fn drain(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError>;
    /// Takes `other`'s outputs, encoders and all, as of the sample that comes next for both. Whatever this decoder still gives out from before
    /// that is not encoded for them.
    fn join(&mut self, other: Box<dyn Pipeline>);
    /// For [`Pipeline::join`], which knows that both are of one kind.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}
