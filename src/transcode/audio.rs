//! Sound: one decoder, then a resampler, a queue and an encoder for each output.
//!
//! ```text
//!  samples ─► decoder ─► resample, mix channels ─► queue ─► encoder's frames ─► encode ─► sink
//! ```
//! Output time is counted in samples from the source's first time stamp on, less the encoder's delay, so that it needs no edit list. What the source's time
//! stamps then say is compared with that count: a few milliseconds are jitter, a slow drift is resampled away, a hole is filled with silence, and what
//! is beyond [`SOUND_HOLE_MS_MAX`] begins anew.
//!
//! What it deliberately does not do: mind `key`: sound is cut by its time stamps.

use super::audio_output::AudioOutput;
use super::av::AvError;
use super::av::decoder::Decoder;
use super::av::frame::Frame;
use super::pipeline::{Pipeline, PipelineError, Sink};
use crate::es::encoding::Encoding;
use crate::es::{Codec, SampleMeta, Track};
use crate::ring::branch::OutputId;
use std::any::Any;
use std::sync::Arc;

#[cfg(doc)]
use crate::limits::SOUND_HOLE_MS_MAX;

/// The pipeline of an audio track.
pub struct AudioPipeline {
    track: Arc<Track>,
    decoder: Decoder,
    frame: Frame,
    outputs: Vec<AudioOutput>,
}

impl AudioPipeline {
    pub fn open(track: &Arc<Track>) -> Result<AudioPipeline, PipelineError> {
        let (decoder, frame) = (Decoder::open(track).map_err(fatal)?, Frame::new().map_err(fatal)?);
        Ok(AudioPipeline { track: track.clone(), decoder, frame, outputs: Vec::new() })
    }

    fn receive(&mut self, sink: &mut dyn Sink) {
        loop {
            match self.decoder.receive(&mut self.frame) {
                Ok(true) => {
                    for output in &mut self.outputs {
                        output.take(&self.frame, &self.track, sink);
                    }
                }
                Ok(false) => return,
                Err(_) => {
                    self.count_dropped(sink);
                    return;
                }
            }
        }
    }

    fn count_dropped(&self, sink: &mut dyn Sink) {
        for output in &self.outputs {
            sink.dropped(output.id());
        }
    }
}

impl Pipeline for AudioPipeline {
    fn add(&mut self, id: OutputId, encoding: Encoding) {
        if let Encoding::Audio(encoding) = encoding {
            self.outputs.push(AudioOutput::new(id, encoding));
        }
    }

    fn remove(&mut self, id: OutputId) {
        self.outputs.retain(|output| output.id() != id);
    }

    fn track(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        let config = |track: &Track| match (&track.codec, &track.params) {
            // What a decoder of these has to be told beforehand.
            (Codec::Opus | Codec::Flac, params) => params.clone(),
            _ => None,
        };
        if track.codec != self.track.codec || config(track) != config(&self.track) {
            self.drain(sink)?;
            self.decoder = Decoder::open(track).map_err(fatal)?;
        }
        self.track = track.clone();
        Ok(())
    }

    fn sample(&mut self, meta: &SampleMeta, data: &[u8], sink: &mut dyn Sink) -> Result<(), PipelineError> {
        if meta.discontinuity {
            self.drain(sink)?;
        }
        for output in &mut self.outputs {
            output.mark(meta);
        }
        let raw = match self.track.codec {
            // Its own decoder reads ADTS.
            Codec::Aac => data,
            _ => data.get(meta.header_len as usize..).unwrap_or(data),
        };
        if self.decoder.send(raw, meta.pts.0, meta.pts.0, true).is_err() {
            self.count_dropped(sink);
        }
        self.receive(sink);
        for output in &self.outputs {
            if let Some(why) = output.failure() {
                sink.failed(output.id(), why);
            }
        }
        self.outputs.retain(|output| output.failure().is_none());
        Ok(())
    }

    fn gap(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        self.drain(sink)
    }

    fn drain(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        if self.decoder.send_end().is_ok() {
            self.receive(sink);
        }
        self.decoder.flush();
        Ok(())
    }

    fn join(&mut self, other: Box<dyn Pipeline>) {
        let other: Box<dyn Any> = other;
        if let Ok(other) = other.downcast::<AudioPipeline>() {
            self.outputs.extend(other.outputs);
        }
    }
}

fn fatal(error: AvError) -> PipelineError {
    PipelineError(error.to_string())
}
