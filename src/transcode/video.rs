//! Pictures: one decoder, then deinterlacing and tone mapping where they are needed, and a scaler and an encoder for each output.
//!
//! ```text
//!  samples ─► decoder ─┬────────────────────────────────► outputs, largest first:
//!                      └► filter (bwdif, tone mapping) ─►  scale from the next larger one ─► encode ─► sink
//! ```
//! Keys stand where the source's samples have `key` set: the first frame at or behind such a PTS becomes a key of every output. What the source lost, or
//! what cannot be decoded, leaves a hole in the output; its time stamps always grow.
//!
//! What it deliberately does not do: enlarge, or make up frames.

use super::av::decoder::Decoder;
use super::av::filter::Filter;
use super::av::frame::{Frame, PictureShape};
use super::av::{AvError, decoder};
use super::pipeline::{Pipeline, PipelineError, Sink};
use super::video_output::VideoOutput;
use crate::es::encoding::Encoding;
use crate::es::{Codec, Key, Params, SampleMeta, Track};
use crate::limits::DECODED_DELAY_MAX;
use crate::ring::branch::OutputId;
use std::any::Any;
use std::sync::Arc;

/// The pipeline of a video track.
pub struct VideoPipeline {
    track: Arc<Track>,
    decoder: Decoder,
    /// Nothing is decoded before the next entry point.
    needs_key: bool,
    /// Samples that went in since a picture came out.
    unanswered: usize,
    /// Frames a second of the source, and the DTS of the newest sample, from which that is told where the stream does not say it.
    frame_rate: (u32, u32),
    newest_dts: Option<i64>,
    frame: Frame,
    filtered: Frame,
    /// Pictures have been coded as two fields since the shape of pictures last changed.
    is_interlaced: bool,
    shape: Option<PictureShape>,
    /// For outputs that want progressive pictures, and for those that do not care.
    chains: [Option<Chain>; 2],
    /// Largest first, once the source's size is known.
    outputs: Vec<VideoOutput>,
}

/// A filter graph and what it does.
struct Chain {
    filter: Filter,
    work: Work,
}

/// What has to be done to a picture before it is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Work {
    deinterlace: bool,
    tone_map: bool,
}

/// Frames a second where nothing tells.
const FRAME_RATE_ASSUMED: (u32, u32) = (25, 1);

impl VideoPipeline {
    pub fn open(track: &Arc<Track>) -> Result<VideoPipeline, PipelineError> {
        Ok(VideoPipeline {
            decoder: Decoder::open(track).map_err(fatal)?,
            needs_key: true,
            unanswered: 0,
            frame_rate: declared_rate(track).unwrap_or(FRAME_RATE_ASSUMED),
            newest_dts: None,
            frame: Frame::new().map_err(fatal)?,
            filtered: Frame::new().map_err(fatal)?,
            is_interlaced: false,
            shape: None,
            chains: [None, None],
            outputs: Vec::new(),
            track: track.clone(),
        })
    }

    /// Takes what the decoder has, through filters and encoders.
    fn receive(&mut self, sink: &mut dyn Sink) {
        loop {
            match self.decoder.receive(&mut self.frame) {
                Ok(true) => self.take_frame(sink),
                Ok(false) => return,
                // One frame is lost; the decoder says when there are no more.
                Err(_) => {
                    self.count_dropped(sink);
                    return;
                }
            }
        }
    }

    fn take_frame(&mut self, sink: &mut dyn Sink) {
        self.unanswered = 0;
        if self.frame.pts().is_none() {
            self.count_dropped(sink);
            return;
        }
        let shape = self.frame.shape();
        if self.shape != Some(shape) {
            self.end_chains(sink);
            self.shape = Some(shape);
            self.is_interlaced = false;
            sort_by_size(&mut self.outputs, &shape);
        }
        self.is_interlaced |= self.frame.is_interlaced();
        for progressive in [true, false] {
            if self.outputs.iter().any(|output| output.encoding().deinterlace == progressive) {
                self.take_for(progressive, sink);
            }
        }
        self.frame.clear();
    }

    /// Brings the decoded frame to the outputs that want progressive pictures, or to the others.
    fn take_for(&mut self, progressive: bool, sink: &mut dyn Sink) {
        let work = Work { deinterlace: progressive && self.is_interlaced, tone_map: self.frame.is_hdr() };
        if work == (Work { deinterlace: false, tone_map: false }) {
            encode(&mut self.outputs, progressive, &mut self.frame, &self.track, self.frame_rate, sink);
            return;
        }
        if self.chains[usize::from(progressive)].as_ref().is_none_or(|chain| chain.work != work) {
            self.end_chain(progressive, sink);
            let shape = self.frame.shape();
            self.chains[usize::from(progressive)] = open_filter(work, &shape).map(|filter| Chain { filter, work });
        }
        let Some(chain) = &mut self.chains[usize::from(progressive)] else {
            // Without the filter the picture is only worse.
            encode(&mut self.outputs, progressive, &mut self.frame, &self.track, self.frame_rate, sink);
            return;
        };
        if chain.filter.send(&self.frame).is_ok() {
            self.receive_filtered(progressive, sink);
        }
    }

    fn receive_filtered(&mut self, progressive: bool, sink: &mut dyn Sink) {
        let Some(chain) = &mut self.chains[usize::from(progressive)] else { return };
        while let Ok(true) = chain.filter.receive(&mut self.filtered) {
            encode(&mut self.outputs, progressive, &mut self.filtered, &self.track, self.frame_rate, sink);
        }
    }

    fn end_chain(&mut self, progressive: bool, sink: &mut dyn Sink) {
        if let Some(chain) = &mut self.chains[usize::from(progressive)]
            && chain.filter.send_end().is_ok()
        {
            self.receive_filtered(progressive, sink);
        }
        self.chains[usize::from(progressive)] = None;
    }

    fn end_chains(&mut self, sink: &mut dyn Sink) {
        self.end_chain(true, sink);
        self.end_chain(false, sink);
    }

    fn count_dropped(&self, sink: &mut dyn Sink) {
        for output in &self.outputs {
            sink.dropped(output.id());
        }
    }

    /// What comes next refers to nothing before it.
    fn begin_anew(&mut self) {
        self.decoder.flush();
        self.needs_key = true;
        self.unanswered = 0;
        self.newest_dts = None;
    }

    fn measure_rate(&mut self, dts: i64) {
        let before = self.newest_dts.replace(dts);
        if declared_rate(&self.track).is_none()
            && let Some(ticks) = before.map(|before| dts - before).filter(|ticks| (750..=90_000).contains(ticks))
        {
            self.frame_rate = (90_000, ticks as u32);
        }
    }
}

impl Pipeline for VideoPipeline {
    fn add(&mut self, id: OutputId, encoding: Encoding) {
        if let Encoding::Video(encoding) = encoding {
            self.outputs.push(VideoOutput::new(id, encoding));
            if let Some(shape) = &self.shape {
                sort_by_size(&mut self.outputs, shape);
            }
        }
    }

    fn remove(&mut self, id: OutputId) {
        self.outputs.retain(|output| output.id() != id);
    }

    fn track(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        if track.codec != self.track.codec {
            self.drain(sink)?;
            self.decoder = decoder::Decoder::open(track).map_err(fatal)?;
            self.begin_anew();
        }
        self.frame_rate = declared_rate(track).unwrap_or(self.frame_rate);
        self.track = track.clone();
        Ok(())
    }

    fn sample(&mut self, meta: &SampleMeta, data: &[u8], sink: &mut dyn Sink) -> Result<(), PipelineError> {
        let is_key = meta.key > Key::None;
        if meta.discontinuity || is_key && self.unanswered > DECODED_DELAY_MAX {
            // A decoder that is not told, and one whose source was cut without a word, shows no picture for as long as their order goes on from
            // before.
            self.drain(sink)?;
        }
        self.measure_rate(meta.dts.0);
        for output in &mut self.outputs {
            output.mark(meta, is_key);
        }
        if self.needs_key && !is_key {
            return Ok(());
        }
        self.needs_key = false;
        self.unanswered += 1;
        let raw = raw_frame(self.track.codec, meta, data);
        if self.decoder.send(raw, meta.pts.0, meta.dts.0, is_key).is_err() {
            self.count_dropped(sink);
        }
        self.receive(sink);
        let failed: Vec<OutputId> = self
            .outputs
            .iter()
            .filter_map(|output| output.failure().map(|why| (output.id(), why)))
            .map(|(id, why)| {
                sink.failed(id, why);
                id
            })
            .collect();
        self.outputs.retain(|output| !failed.contains(&output.id()));
        Ok(())
    }

    fn gap(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        self.drain(sink)
    }

    fn drain(&mut self, sink: &mut dyn Sink) -> Result<(), PipelineError> {
        if self.decoder.send_end().is_ok() {
            self.receive(sink);
        }
        self.end_chains(sink);
        self.begin_anew();
        Ok(())
    }

    fn join(&mut self, other: Box<dyn Pipeline>) {
        let other: Box<dyn Any> = other;
        if let Ok(other) = other.downcast::<VideoPipeline>() {
            self.outputs.extend(other.outputs);
            if let Some(shape) = &self.shape {
                sort_by_size(&mut self.outputs, shape);
            }
        }
    }
}

/// What a decoder takes of a sample.
fn raw_frame<'a>(codec: Codec, meta: &SampleMeta, data: &'a [u8]) -> &'a [u8] {
    match codec {
        Codec::H264 | Codec::H265 | Codec::Mpeg2Video => data,
        _ => data.get(meta.header_len as usize..).unwrap_or(data),
    }
}

fn declared_rate(track: &Track) -> Option<(u32, u32)> {
    match &track.params {
        // More than this is a time base, not a rate.
        Some(Params::Video(video)) => video.frame_rate.filter(|(frames, seconds)| frames / (*seconds).max(1) <= 300),
        _ => None,
    }
}

fn sort_by_size(outputs: &mut [VideoOutput], shape: &PictureShape) {
    outputs.sort_by_key(|output| {
        let (width, height) = output.size_of(shape).0;
        std::cmp::Reverse(u64::from(width) * u64::from(height))
    });
}

/// Encodes a picture for the outputs that want progressive ones, or for the others: each is scaled from the smallest that was scaled already and is
/// not smaller.
fn encode(
    outputs: &mut [VideoOutput],
    progressive: bool,
    frame: &mut Frame,
    track: &Arc<Track>,
    frame_rate: (u32, u32),
    sink: &mut dyn Sink,
) {
    for index in 0..outputs.len() {
        let (before, rest) = outputs.split_at_mut(index);
        let output = &mut rest[0];
        if output.encoding().deinterlace != progressive {
            continue;
        }
        let larger = before.iter_mut().rev().filter(|other| other.encoding().deinterlace == progressive);
        output.take(frame, larger, track, frame_rate, sink);
    }
    for output in outputs {
        output.forget_picture();
    }
}

/// The filter for a piece of work; `None` when this FFmpeg lacks one: the log says so.
fn open_filter(work: Work, shape: &PictureShape) -> Option<Filter> {
    let mut steps = Vec::new();
    if work.deinterlace {
        steps.push("bwdif=mode=send_frame:parity=auto:deint=interlaced".to_owned());
    }
    if work.tone_map {
        steps.push(tone_map(shape));
    }
    let opened = Filter::open(&steps.join(","), *shape);
    opened.inspect_err(|error| tracing::warn!(%error, "pictures are encoded as they are decoded")).ok()
}

/// BT.2100 to BT.709: linear light with reference white at 203 cd/m² (ITU-R BT.2408), then Hable's curve.
fn tone_map(shape: &PictureShape) -> String {
    const ARIB_STD_B67: i32 = 18; // ITU-T H.273 table 3: HLG
    let transfer = if shape.colour[3] == ARIB_STD_B67 { "arib-std-b67" } else { "smpte2084" };
    format!(
        "zscale=tin={transfer}:pin=2020:min=2020_ncl:rin=limited:t=linear:npl=203,format=gbrpf32le,zscale=p=709,\
         tonemap=hable:desat=0,zscale=t=709:m=709:r=limited,format=yuv420p"
    )
}

fn fatal(error: AvError) -> PipelineError {
    PipelineError(error.to_string())
}
