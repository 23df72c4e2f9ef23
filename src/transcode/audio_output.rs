//! One output of an audio pipeline: its clock, its resampler and its encoder.

use super::av::AvError;
use super::av::frame::{Frame, SoundShape};
use super::av::resample::Resampler;
use super::av::sound_encoder::{SoundEncoder, SoundSettings, channels, kbps, sample_rate};
use super::describe;
use super::pipeline::Sink;
use crate::es::aac::AdtsConfig;
use crate::es::encoding::AudioEncoding;
use crate::es::{Codec, Key, SampleMeta, Track};
use crate::limits::{ENCODED_MARKS_MAX, SOUND_DRIFT_MS, SOUND_HOLE_MS_MAX, SOUND_JITTER_MS};
use crate::ring::branch::OutputId;
use crate::time::MediaTime;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) struct AudioOutput {
    id: OutputId,
    encoding: AudioEncoding,
    chain: Option<Chain>,
    /// Set from the first encoder's end on.
    end: Option<End>,
    /// PTS at or behind which the output says that time broke.
    breaks: VecDeque<i64>,
    discontinuity: bool,
    /// A sample went out.
    has_begun: bool,
    newest_pts: i64,
    announced: Option<Arc<Track>>,
    failure: Option<String>,
    /// Framing and payload of the sample in hand.
    framed: Vec<u8>,
}

struct Chain {
    encoder: SoundEncoder,
    resampler: Resampler,
    /// The output's time of the next sample that goes into the encoder, in samples since 1970.
    next: i64,
}

/// Where the last encoder's output ended, in samples since 1970.
#[derive(Clone, Copy)]
struct End {
    sample_rate: u32,
    at: i64,
}

/// What a frame's time stamp says of the samples that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// They follow.
    Follows,
    /// They follow, and are so many samples late, for which the clock makes up slowly.
    Drifts(i64),
    /// So many samples are missing before them.
    Hole(i64),
    /// So many samples of them were there before.
    Overlaps(i64),
    /// Time broke.
    Breaks,
}

impl AudioOutput {
    pub fn new(id: OutputId, encoding: AudioEncoding) -> AudioOutput {
        AudioOutput {
            id,
            encoding,
            chain: None,
            end: None,
            breaks: VecDeque::new(),
            discontinuity: false,
            has_begun: false,
            newest_pts: i64::MIN,
            announced: None,
            failure: None,
            framed: Vec::new(),
        }
    }

    pub fn id(&self) -> OutputId {
        self.id
    }
    /// Why it cannot go on.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Notes a sample that goes into the decoder.
    pub fn mark(&mut self, meta: &SampleMeta) {
        if meta.discontinuity {
            self.breaks.push_back(meta.pts.0);
            if self.breaks.len() > ENCODED_MARKS_MAX {
                self.breaks.pop_front();
            }
        }
    }

    /// Takes decoded sound.
    pub fn take(&mut self, frame: &Frame, track: &Arc<Track>, sink: &mut dyn Sink) {
        if self.failure.is_none()
            && let Err(error) = self.encode(frame, track, sink)
        {
            self.failure = Some(error.to_string());
        }
    }

    fn encode(&mut self, frame: &Frame, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        let shape = frame.sound_shape();
        if shape.sample_rate == 0 || shape.channels == 0 || frame.samples() == 0 {
            return Ok(());
        }
        if !self.follows(&shape, frame.pts())? {
            self.finish(track, sink)?;
        }
        if self.chain.is_none() {
            let Some(pts) = frame.pts() else {
                sink.dropped(self.id);
                return Ok(());
            };
            self.open(&shape, pts, sink)?;
        }
        let Some(chain) = &mut self.chain else { return Ok(()) };
        if chain.resampler.push(frame)? {
            sink.reconfigured(self.id);
        }
        self.drain_queue(track, sink)
    }

    /// Whether a frame goes on with what is in the encoder. It does not where time broke or another number of channels is to be encoded.
    fn follows(&mut self, shape: &SoundShape, pts: Option<i64>) -> Result<bool, AvError> {
        let wanted = self.channels(shape);
        let Some(chain) = &mut self.chain else { return Ok(true) };
        if chain.encoder.settings().channels != wanted {
            return Ok(false);
        }
        let Some(pts) = pts else { return Ok(true) };
        let mut is_marked = false;
        while self.breaks.front().is_some_and(|at| *at <= pts) {
            self.breaks.pop_front();
            is_marked = true;
        }
        let follows = !is_marked && chain.place(pts)?;
        self.discontinuity |= !follows;
        Ok(follows)
    }

    fn channels(&self, shape: &SoundShape) -> u32 {
        let most = match self.encoding.channels_max {
            0 => shape.channels,
            most => shape.channels.min(most.into()),
        };
        channels(self.encoding.codec, most)
    }

    /// Opens the encoder for sound of this shape that begins at `pts`, or where what it made before ends. It keeps its sample rate for good.
    fn open(&mut self, shape: &SoundShape, pts: i64, sink: &mut dyn Sink) -> Result<(), AvError> {
        let codec = self.encoding.codec;
        let sample_rate = self.end.map_or(sample_rate(codec, shape.sample_rate), |end| end.sample_rate);
        let channels = self.channels(shape);
        let kbps = kbps(codec, self.encoding.kbps, channels);
        let encoder = SoundEncoder::open(SoundSettings { codec, sample_rate, channels, kbps })?;
        if self.end.is_some() {
            sink.reconfigured(self.id);
        }
        let resampler = Resampler::new(&encoder)?;
        let at = samples(pts, sample_rate);
        self.chain = Some(Chain { encoder, resampler, next: self.end.map_or(at, |end| at.max(end.at)) });
        self.breaks.retain(|at| *at > pts);
        Ok(())
    }

    /// Encodes what is queued, with silence up to a whole frame, and all that the encoder still holds, and closes it.
    fn finish(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        let Some(mut chain) = self.chain.take() else { return Ok(()) };
        // What breaks off is said of what comes behind it.
        let discontinuity = std::mem::take(&mut self.discontinuity);
        let rest = chain.resampler.queued() % chain.encoder.frame_samples();
        if rest > 0 {
            chain.resampler.push_silence(chain.encoder.frame_samples() - rest)?;
        }
        self.encode_queue(&mut chain, track, sink)?;
        chain.encoder.send_end()?;
        self.emit_encoded(&mut chain, track, sink)?;
        self.end = Some(End { sample_rate: chain.encoder.settings().sample_rate, at: chain.next });
        self.discontinuity = discontinuity && self.has_begun;
        Ok(())
    }

    fn drain_queue(&mut self, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        let Some(mut chain) = self.chain.take() else { return Ok(()) };
        let result = self.encode_queue(&mut chain, track, sink);
        self.chain = Some(chain);
        result
    }

    fn encode_queue(&mut self, chain: &mut Chain, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        while let Some(frame) = chain.resampler.next_frame(chain.next)? {
            chain.encoder.send(frame)?;
            chain.next += chain.encoder.frame_samples() as i64;
            self.emit_encoded(chain, track, sink)?;
        }
        Ok(())
    }

    fn emit_encoded(&mut self, chain: &mut Chain, track: &Arc<Track>, sink: &mut dyn Sink) -> Result<(), AvError> {
        let (settings, next) = (*chain.encoder.settings(), chain.next);
        let config = AdtsConfig::of(settings.sample_rate, settings.channels as u8);
        while let Some(encoded) = chain.encoder.receive()? {
            // What an encoder pads at its end has no time stamp.
            if (i64::MIN + 1..next).contains(&encoded.pts) {
                self.emit(encoded.pts, encoded.data, &settings, config.as_ref(), track, sink)?;
            }
        }
        Ok(())
    }

    fn emit(
        &mut self,
        at: i64,
        data: &[u8],
        settings: &SoundSettings,
        config: Option<&AdtsConfig>,
        source: &Arc<Track>,
        sink: &mut dyn Sink,
    ) -> Result<(), AvError> {
        let pts = ticks(at, settings.sample_rate);
        if pts <= self.newest_pts {
            sink.dropped(self.id);
            return Ok(());
        }
        self.framed.clear();
        let header_len = frame_header(settings.codec, config, data.len(), &mut self.framed)?;
        self.framed.extend_from_slice(data);
        if self.announced.is_none() || self.discontinuity {
            let track = describe::sound(source, settings.codec, &self.framed, header_len, settings.channels);
            let track =
                track.ok_or_else(|| AvError::new("describing what was encoded", "its first frame says too little"))?;
            if self.announced.as_deref() != Some(&track) {
                let track = Arc::new(track);
                self.announced = Some(track.clone());
                sink.track(self.id, track);
            }
        }
        self.newest_pts = pts;
        self.has_begun = true;
        let meta = SampleMeta {
            pts: MediaTime(pts),
            dts: MediaTime(pts),
            key: Key::Idr,
            discontinuity: std::mem::take(&mut self.discontinuity),
            header_len,
            corrupt: false,
            pcr: None,
        };
        sink.sample(self.id, meta, &self.framed);
        Ok(())
    }
}

impl Chain {
    /// Brings the queue to where a frame with this PTS belongs; false when time broke.
    fn place(&mut self, pts: i64) -> Result<bool, AvError> {
        let sample_rate = self.encoder.settings().sample_rate;
        let (rate, at) = (i64::from(sample_rate), samples(pts, sample_rate));
        // Where it would come to lie if it just followed.
        let expected = self.next + self.resampler.queued() as i64 + self.resampler.delay();
        match fit(at - expected, rate) {
            Fit::Follows => {}
            // Over two seconds: three samples in a thousand are heard by nobody.
            Fit::Drifts(late) => {
                let most = rate * 6 / 1_000;
                self.resampler.compensate(late.clamp(-most, most) as i32, (2 * rate) as i32);
            }
            Fit::Hole(samples) => self.resampler.push_silence(samples as usize)?,
            Fit::Overlaps(samples) => {
                let queued = self.resampler.queued().min(samples as usize);
                self.resampler.skip(queued);
                if (queued as i64) < samples {
                    // The encoder has it already: what is too much is given up slowly.
                    self.resampler.compensate(-(rate * 6 / 1_000) as i32, (2 * rate) as i32);
                }
            }
            Fit::Breaks => return Ok(false),
        }
        Ok(true)
    }
}

/// What a frame is that comes `late` samples behind where it would follow; negative: before it.
fn fit(late: i64, rate: i64) -> Fit {
    let of_ms = |ms: i64| rate * ms / 1_000;
    match late {
        late if late.abs() <= of_ms(SOUND_JITTER_MS) => Fit::Follows,
        late if late.abs() <= of_ms(SOUND_DRIFT_MS) => Fit::Drifts(late),
        late if late.abs() > of_ms(SOUND_HOLE_MS_MAX) => Fit::Breaks,
        late if late > 0 => Fit::Hole(late),
        late => Fit::Overlaps(-late),
    }
}

fn samples(ticks: i64, rate: u32) -> i64 {
    (i128::from(ticks) * i128::from(rate) / 90_000) as i64
}

fn ticks(samples: i64, rate: u32) -> i64 {
    (i128::from(samples) * 90_000 / i128::from(rate.max(1))) as i64
}

/// Writes what stands before a raw frame in a sample, and says how many bytes that is.
fn frame_header(codec: Codec, config: Option<&AdtsConfig>, len: usize, out: &mut Vec<u8>) -> Result<u8, AvError> {
    match codec {
        Codec::Aac => {
            let written = config.is_some_and(|config| config.write_adts_header(len, out));
            if written { Ok(out.len() as u8) } else { Err(AvError::new("framing AAC", "no ADTS header fits")) }
        }
        Codec::Opus => {
            crate::es::opus::write_control_header(len, out);
            Ok(out.len() as u8)
        }
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_follows_drifts_or_leaves_a_hole() {
        let cases = [
            (0, Fit::Follows),
            (-100, Fit::Follows),
            (48 * SOUND_DRIFT_MS, Fit::Drifts(48 * SOUND_DRIFT_MS)),
            (48 * 200, Fit::Hole(9_600)),
            (-48 * 200, Fit::Overlaps(9_600)),
            (48 * (SOUND_HOLE_MS_MAX + 1), Fit::Breaks),
            (i64::MIN + 1, Fit::Breaks),
        ];
        for (late, expected) in cases {
            assert_eq!(fit(late, 48_000), expected, "{late}");
        }
    }
}
