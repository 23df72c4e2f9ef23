//! One output of a video pipeline: which frames it takes, how large they become, and its encoder.

use super::av::AvError;
use super::av::frame::{Frame, PictureShape};
use super::av::picture_encoder::{PictureEncoder, PictureSettings};
use super::av::scale::Scaler;
use super::describe;
use super::pipeline::Sink;
use crate::es::encoding::VideoEncoding;
use crate::es::{Codec, Key, SampleMeta, Track};
use crate::limits::ENCODED_MARKS_MAX;
use crate::ring::branch::OutputId;
use crate::time::MediaTime;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) struct VideoOutput {
    id: OutputId,
    encoding: VideoEncoding,
    /// PTS at or behind which a frame becomes a key.
    keys: VecDeque<i64>,
    /// PTS at or behind which the output says that time broke.
    breaks: VecDeque<i64>,
    /// A frame was taken: before that only a key may begin.
    has_begun: bool,
    newest_pts: i64,
    /// PTS before which no frame is due, where the frame rate is bounded.
    next_due: i64,
    scaler: Option<Scaler>,
    /// The scaler holds the picture in hand.
    is_scaled: bool,
    encoder: Option<PictureEncoder>,
    /// What was announced last.
    announced: Option<Arc<Track>>,
    /// The encoder was opened since, so its first packet has to be described.
    needs_description: bool,
    discontinuity: bool,
    failure: Option<String>,
}

impl VideoOutput {
    pub fn new(id: OutputId, encoding: VideoEncoding) -> VideoOutput {
        VideoOutput {
            id,
            encoding,
            keys: VecDeque::new(),
            breaks: VecDeque::new(),
            has_begun: false,
            newest_pts: i64::MIN,
            next_due: i64::MIN,
            scaler: None,
            is_scaled: false,
            encoder: None,
            announced: None,
            needs_description: false,
            discontinuity: false,
            failure: None,
        }
    }

    pub fn id(&self) -> OutputId {
        self.id
    }
    pub fn encoding(&self) -> &VideoEncoding {
        &self.encoding
    }
    /// Why it cannot go on.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Notes a sample that goes into the decoder.
    pub fn mark(&mut self, meta: &SampleMeta, is_key: bool) {
        let note = |marks: &mut VecDeque<i64>| {
            marks.push_back(meta.pts.0);
            // A decoder holds fewer frames; what is older never came out of it.
            if marks.len() > ENCODED_MARKS_MAX {
                marks.pop_front();
            }
        };
        if is_key {
            note(&mut self.keys);
        }
        if meta.discontinuity {
            note(&mut self.breaks);
        }
    }

    /// The size that pictures of this shape become, and their pixel aspect ratio. Never larger than they are, but that codecs which cannot say a pixel aspect
    /// ratio get square pixels.
    pub fn size_of(&self, shape: &PictureShape) -> ((u32, u32), (u32, u32)) {
        let even = |value: u64| ((value as u32) & !1).max(2);
        let (width, height) = (u64::from(shape.width), u64::from(shape.height));
        let (sar_width, sar_height) = (u64::from(shape.sar.0), u64::from(shape.sar.1));
        let is_square = sar_width == sar_height;
        let says_sar = !matches!(self.encoding.codec, Codec::Vp8 | Codec::Vp9 | Codec::Av1);
        let lines = u64::from(self.encoding.height_max);
        if lines == 0 || height <= lines {
            return match is_square || says_sar {
                true => ((even(width), even(height)), shape.sar),
                false => ((even(width * sar_width / sar_height), even(height)), (1, 1)),
            };
        }
        // To the nearest even width.
        let display = (width * sar_width * lines / (sar_height * height)).saturating_add(1);
        ((even(display), even(lines)), (1, 1))
    }

    /// Takes a decoded picture, when it is one for this output: scaled from it, or from the first of `larger` that is large enough.
    pub fn take<'a>(
        &mut self,
        frame: &mut Frame,
        mut larger: impl Iterator<Item = &'a mut VideoOutput>,
        track: &Arc<Track>,
        frame_rate: (u32, u32),
        sink: &mut dyn Sink,
    ) {
        let (Some(pts), None) = (frame.pts(), &self.failure) else { return };
        let Some(key) = self.wants(pts, frame.is_damaged(), sink) else { return };
        let rate = bounded_rate(frame_rate, self.encoding.fps_max);
        if !self.is_due(pts, key, frame_rate, rate) {
            return;
        }
        let shape = frame.shape();
        let (size, sar) = self.size_of(&shape);
        let result = self.prepare(&shape, size, sar, rate, sink).and_then(|is_new| {
            let key = key || is_new;
            if (shape.width, shape.height) == size && frame.is_yuv420p() && !is_full_range(&shape) {
                return self.send(frame, pts, key);
            }
            if let Some(same) = larger.by_ref().find(|other| other.is_scaled && other.covers(size)) {
                let picture = same.picture()?;
                if (picture.shape().width, picture.shape().height) == size {
                    return self.send(picture, pts, key);
                }
                self.scale(picture, size)?;
            } else {
                self.scale(frame, size)?;
            }
            let mut scaler = self.scaler.take().ok_or_else(|| AvError::new("scaling", "no scaler"))?;
            let sent = self.send(scaler.picture(), pts, key);
            self.scaler = Some(scaler);
            sent
        });
        let result = result.and_then(|()| self.receive(track, sink));
        if let Err(error) = result {
            self.failure = Some(error.to_string());
        }
    }

    /// The picture in hand is done with.
    pub fn forget_picture(&mut self) {
        self.is_scaled = false;
    }

    /// Whether the frame is to be encoded, and as a key.
    fn wants(&mut self, pts: i64, is_damaged: bool, sink: &mut dyn Sink) -> Option<bool> {
        if pts <= self.newest_pts {
            // After a join the decoder repeats what the output has already.
            return None;
        }
        let mut key = false;
        while self.keys.front().is_some_and(|key| *key <= pts) {
            self.keys.pop_front();
            key = true;
        }
        while self.breaks.front().is_some_and(|at| *at <= pts) {
            self.breaks.pop_front();
            self.discontinuity = self.has_begun;
        }
        if is_damaged {
            // Most often it can be looked at; what is lost is counted.
            sink.dropped(self.id);
        }
        (self.has_begun || key).then_some(key)
    }

    /// Frame by frame where the rate is bounded; a key is always due.
    fn is_due(&mut self, pts: i64, key: bool, source: (u32, u32), rate: (u32, u32)) -> bool {
        let ticks = |(frames, seconds): (u32, u32)| 90_000 * i64::from(seconds) / i64::from(frames.max(1));
        if rate == source {
            return true;
        }
        if !key && pts + ticks(source) / 2 < self.next_due {
            return false;
        }
        let next = if key { pts } else { self.next_due.max(pts - ticks(rate)) };
        self.next_due = next + ticks(rate);
        true
    }

    /// Has an encoder ready for such pictures; true when it is a new one.
    fn prepare(
        &mut self,
        shape: &PictureShape,
        size: (u32, u32),
        sar: (u32, u32),
        frame_rate: (u32, u32),
        sink: &mut dyn Sink,
    ) -> Result<bool, AvError> {
        if self.encoder.as_ref().is_some_and(|encoder| encoder.settings().fits(shape, size, sar)) {
            return Ok(false);
        }
        if self.encoder.take().is_some() {
            sink.reconfigured(self.id);
        }
        let (encoding, (width, height)) = (self.encoding, size);
        let settings = PictureSettings { encoding, width, height, sar, frame_rate, colour: shape.colour };
        self.encoder = Some(PictureEncoder::open(settings)?);
        self.needs_description = true;
        Ok(true)
    }

    fn scale(&mut self, from: &Frame, size: (u32, u32)) -> Result<(), AvError> {
        if self.scaler.as_ref().is_none_or(|scaler| scaler.size() != size) {
            self.scaler = Some(Scaler::new(size)?);
        }
        if let Some(scaler) = &mut self.scaler {
            scaler.scale(from)?;
            self.is_scaled = true;
        }
        Ok(())
    }

    /// Whether its scaled picture is at least as large.
    fn covers(&self, (width, height): (u32, u32)) -> bool {
        self.scaler.as_ref().is_some_and(|scaler| scaler.size().0 >= width && scaler.size().1 >= height)
    }

    fn picture(&mut self) -> Result<&mut Frame, AvError> {
        self.scaler.as_mut().map(Scaler::picture).ok_or_else(|| AvError::new("scaling", "no picture"))
    }

    fn send(&mut self, picture: &mut Frame, pts: i64, key: bool) -> Result<(), AvError> {
        self.has_begun = true;
        self.newest_pts = pts;
        let encoder = self.encoder.as_mut().ok_or_else(|| AvError::new("encoding", "no encoder"))?;
        encoder.send(picture, pts, key)
    }

    fn receive(&mut self, source: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        let head = if self.needs_description { encoder.extradata().to_vec() } else { Vec::new() };
        let settings = *encoder.settings();
        while let Some(encoded) = encoder.receive()? {
            if std::mem::take(&mut self.needs_description) {
                let picture = describe::Picture {
                    codec: self.encoding.codec,
                    head: &head,
                    unit: encoded.data,
                    frame_rate: settings.frame_rate,
                    sar: settings.sar,
                };
                let track = describe::picture(source, &picture).ok_or_else(|| {
                    AvError::new("describing what was encoded", "its first access unit says too little")
                })?;
                if self.announced.as_deref() != Some(&track) {
                    let track = Arc::new(track);
                    self.announced = Some(track.clone());
                    sink.track(self.id, track);
                }
            }
            let meta = SampleMeta {
                pts: MediaTime(encoded.pts),
                dts: MediaTime(encoded.dts),
                key: if encoded.key { Key::Idr } else { Key::None },
                discontinuity: std::mem::take(&mut self.discontinuity),
                header_len: 0,
                corrupt: false,
                pcr: None,
            };
            sink.sample(self.id, meta, encoded.data);
        }
        self.encoder = Some(encoder);
        Ok(())
    }
}

fn is_full_range(shape: &PictureShape) -> bool {
    const AVCOL_RANGE_JPEG: i32 = 2;
    shape.colour[1] == AVCOL_RANGE_JPEG
}

/// The source's rate, or the bound where that is lower.
fn bounded_rate(source: (u32, u32), fps_max: u8) -> (u32, u32) {
    let fps_max = u32::from(fps_max);
    if fps_max == 0 || source.0 <= fps_max * source.1.max(1) { source } else { (fps_max, 1) }
}
