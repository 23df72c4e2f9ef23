//! Sound to an encoder's rate, format and channels, and into frames of its size.

use super::frame::{Frame, SoundShape};
use super::sound_encoder::SoundEncoder;
use super::{AvError, check};
use ffmpeg_sys_next as ff;
use std::ffi::c_int;
use std::ptr::null_mut;

/// A resampler and the queue behind it, for one encoder. No pointer but the resampler's is ever null.
pub struct Resampler {
    swr: *mut ff::SwrContext,
    from: Option<SoundShape>,
    fifo: *mut ff::AVAudioFifo,
    /// What was resampled last, before it goes into the queue.
    scratch: Frame,
    /// The frame that goes to the encoder.
    frame: Frame,
    /// Copy of what the encoder was opened with.
    rate: u32,
    format: ff::AVSampleFormat,
    channels: c_int,
    frame_samples: usize,
}

impl Resampler {
    pub fn new(encoder: &SoundEncoder) -> Result<Resampler, AvError> {
        let context = encoder.context();
        let (format, channels) = (context.sample_fmt, context.ch_layout.nb_channels);
        let (scratch, frame) = (Frame::new()?, Frame::new()?);
        // SAFETY: plain values; the result is null or ours.
        let fifo = unsafe { ff::av_audio_fifo_alloc(format, channels, 4 * encoder.frame_samples() as c_int) };
        if fifo.is_null() {
            return Err(AvError::out_of_memory("a queue of sound"));
        }
        let (rate, frame_samples) = (encoder.settings().sample_rate, encoder.frame_samples());
        let mut new =
            Resampler { swr: null_mut(), from: None, fifo, scratch, frame, rate, format, channels, frame_samples };
        allocate(&mut new.frame, new.rate, new.format, new.channels, frame_samples)?;
        Ok(new)
    }

    /// Samples of each channel in the queue.
    pub fn queued(&self) -> usize {
        // SAFETY: the queue is ours.
        unsafe { ff::av_audio_fifo_size(self.fifo) }.max(0) as usize
    }

    /// Samples, at the encoder's rate, that the resampler still holds.
    pub fn delay(&self) -> i64 {
        // SAFETY: the resampler is ours and set up.
        if self.swr.is_null() { 0 } else { unsafe { ff::swr_get_delay(self.swr, self.rate.into()) } }
    }

    /// Takes a frame in. True when that needed another resampler than the frame before.
    pub fn push(&mut self, from: &Frame) -> Result<bool, AvError> {
        let shape = from.sound_shape();
        let is_other = self.from.is_some_and(|from| from != shape);
        if self.from != Some(shape) {
            self.set_up(&shape)?;
        }
        let raw = from.raw();
        // SAFETY: the resampler is set up; arithmetic alone.
        let most = check("resampling", unsafe { ff::swr_get_out_samples(self.swr, raw.nb_samples) })?;
        if self.scratch.samples() < most as usize {
            self.scratch.clear();
            allocate(&mut self.scratch, self.rate, self.format, self.channels, (most as usize).max(4_096))?;
        }
        let target = self.scratch.raw_mut();
        // SAFETY: the resampler was set up for this frame's rate, format and layout, which has all its planes; the target has room for
        // `most` samples in the format that it was set up for.
        let count = check("resampling", unsafe {
            ff::swr_convert(self.swr, target.extended_data, most, raw.extended_data as *mut _, raw.nb_samples)
        })?;
        // SAFETY: the target holds `count` samples in the queue's format.
        check("a queue of sound", unsafe {
            ff::av_audio_fifo_write(self.fifo, target.extended_data as *mut _, count)
        })?;
        Ok(is_other)
    }

    /// Puts silence into the queue.
    pub fn push_silence(&mut self, samples: usize) -> Result<(), AvError> {
        let mut left = samples;
        while left > 0 {
            let count = left.min(self.frame_samples);
            self.frame.make_writable()?;
            let raw = self.frame.raw_mut();
            // SAFETY: the frame has room for `frame_samples`, of which `count` are set and then copied into the queue.
            unsafe {
                let planes = raw.extended_data;
                ff::av_samples_set_silence(planes, 0, count as c_int, self.channels, self.format);
                check("a queue of sound", ff::av_audio_fifo_write(self.fifo, planes as *mut _, count as c_int))?;
            }
            left -= count;
        }
        Ok(())
    }

    /// Drops the oldest of the queue; false when it holds fewer.
    pub fn skip(&mut self, samples: usize) -> bool {
        // SAFETY: the queue is ours.
        self.queued() >= samples && unsafe { ff::av_audio_fifo_drain(self.fifo, samples as c_int) } >= 0
    }

    /// Spreads a correction of `samples` over the next `over` samples that come out: more for a positive number.
    pub fn compensate(&mut self, samples: i32, over: i32) {
        if !self.swr.is_null() {
            // SAFETY: the resampler is set up. One that does not resample may refuse, and then nothing is corrected.
            unsafe { ff::swr_set_compensation(self.swr, samples, over) };
        }
    }

    /// A full frame for the encoder, at `pts` in its time base; `None` while the queue holds less.
    pub fn next_frame(&mut self, pts: i64) -> Result<Option<&Frame>, AvError> {
        if self.queued() < self.frame_samples {
            return Ok(None);
        }
        self.frame.make_writable()?;
        let raw = self.frame.raw_mut();
        raw.pts = pts;
        // SAFETY: the frame has room for `frame_samples` in the queue's format.
        check("a queue of sound", unsafe {
            ff::av_audio_fifo_read(self.fifo, raw.extended_data as *mut _, self.frame_samples as c_int)
        })?;
        Ok(Some(&self.frame))
    }

    fn set_up(&mut self, shape: &SoundShape) -> Result<(), AvError> {
        let format = shape.sample_format().ok_or_else(|| AvError::new("resampling", "an unknown sample format"))?;
        self.from = None;
        // SAFETY: layouts are made here of plain numbers (no allocation belongs to them); the old resampler is freed first.
        unsafe {
            ff::swr_free(&mut self.swr);
            let (mut input, mut output) = (std::mem::zeroed(), std::mem::zeroed());
            if shape.mask == 0 || ff::av_channel_layout_from_mask(&mut input, shape.mask) < 0 {
                ff::av_channel_layout_default(&mut input, shape.channels.max(1) as c_int);
            }
            ff::av_channel_layout_default(&mut output, self.channels);
            let (from, to) = (shape.sample_rate as c_int, self.rate as c_int);
            let swr = &mut self.swr;
            let result =
                ff::swr_alloc_set_opts2(swr, &mut output, self.format, to, &mut input, format, from, 0, null_mut());
            check("resampling", result)?;
            check("resampling", ff::swr_init(self.swr))?;
        }
        self.from = Some(*shape);
        Ok(())
    }
}

/// Gives a frame without content room for `samples`.
fn allocate(
    frame: &mut Frame,
    rate: u32,
    format: ff::AVSampleFormat,
    channels: c_int,
    samples: usize,
) -> Result<(), AvError> {
    let raw = frame.raw_mut();
    raw.nb_samples = samples as c_int;
    raw.format = format as c_int;
    raw.sample_rate = rate as c_int;
    // SAFETY: the frame has no buffers; format, layout and number of samples are set before it gets some.
    unsafe {
        ff::av_channel_layout_default(&mut raw.ch_layout, channels);
        check("a frame of sound", ff::av_frame_get_buffer(frame.0, 0)).map(drop)
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        // SAFETY: null or owned by this object alone.
        unsafe {
            ff::swr_free(&mut self.swr);
            ff::av_audio_fifo_free(self.fifo);
        }
    }
}
