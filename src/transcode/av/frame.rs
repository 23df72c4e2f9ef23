//! Decoded pictures and sound.

use super::{AvError, check, pixel_format, sample_format};
use ffmpeg_sys_next as ff;
use std::ffi::c_int;

/// A frame; never null, not shared.
pub struct Frame(pub(super) *mut ff::AVFrame);

/// The size and format of pictures, for whoever has to be set up anew when that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureShape {
    pub width: u32,
    pub height: u32,
    /// An AVPixelFormat.
    pub format: c_int,
    /// Pixel aspect ratio; (1, 1) where the stream does not say.
    pub sar: (u32, u32),
    /// AVColorSpace, AVColorRange, AVColorPrimaries and AVColorTransferCharacteristic.
    pub colour: [c_int; 4],
}

/// The format of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundShape {
    pub sample_rate: u32,
    pub channels: u32,
    /// The channels' places as libav's mask; 0 where the order is none of the usual.
    pub mask: u64,
    /// An AVSampleFormat.
    pub format: c_int,
}

impl Frame {
    /// A frame without content.
    pub fn new() -> Result<Frame, AvError> {
        // SAFETY: no arguments; the result is null or ours.
        let frame = unsafe { ff::av_frame_alloc() };
        if frame.is_null() { Err(AvError::out_of_memory("a frame")) } else { Ok(Frame(frame)) }
    }

    /// A picture in planar YUV 4:2:0 of 8 bits, what every encoder takes.
    pub fn picture(width: u32, height: u32) -> Result<Frame, AvError> {
        let mut frame = Frame::new()?;
        let raw = frame.raw_mut();
        (raw.width, raw.height) = (width as c_int, height as c_int);
        raw.format = ff::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
        // SAFETY: the frame has no buffers yet, and size and format are set.
        check("a picture", unsafe { ff::av_frame_get_buffer(frame.0, 0) })?;
        Ok(frame)
    }

    /// Drops the content.
    pub fn clear(&mut self) {
        // SAFETY: the frame is ours.
        unsafe { ff::av_frame_unref(self.0) };
    }

    /// Gets the frame buffers of its own, where it shares them with an encoder that still reads.
    pub fn make_writable(&mut self) -> Result<(), AvError> {
        // SAFETY: the frame is ours and has buffers.
        check("a frame", unsafe { ff::av_frame_make_writable(self.0) }).map(drop)
    }

    pub fn shape(&self) -> PictureShape {
        let raw = self.raw();
        let sar = (raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den);
        PictureShape {
            width: raw.width.max(0) as u32,
            height: raw.height.max(0) as u32,
            format: raw.format,
            sar: if sar.0 > 0 && sar.1 > 0 { (sar.0 as u32, sar.1 as u32) } else { (1, 1) },
            colour: [
                raw.colorspace as c_int,
                raw.color_range as c_int,
                raw.color_primaries as c_int,
                raw.color_trc as c_int,
            ],
        }
    }

    pub fn sound_shape(&self) -> SoundShape {
        let raw = self.raw();
        let layout = &raw.ch_layout;
        let is_native = layout.order == ff::AVChannelOrder::AV_CHANNEL_ORDER_NATIVE;
        SoundShape {
            sample_rate: raw.sample_rate.max(0) as u32,
            channels: layout.nb_channels.max(0) as u32,
            // SAFETY: the order says that the mask is the member in use.
            mask: if is_native { unsafe { layout.u.mask } } else { 0 },
            format: raw.format,
        }
    }

    /// PCM samples of each channel.
    pub fn samples(&self) -> usize {
        self.raw().nb_samples.max(0) as usize
    }

    /// Presentation time in the decoder's packets' time base; `None` where it cannot be told.
    pub fn pts(&self) -> Option<i64> {
        let raw = self.raw();
        [raw.pts, raw.best_effort_timestamp].into_iter().find(|pts| *pts != ff::AV_NOPTS_VALUE)
    }
    pub fn set_pts(&mut self, pts: i64) {
        self.raw_mut().pts = pts;
    }

    /// Tells the encoder what the picture is to be: a key, or whatever it likes. The decoder left its own type there, which x264 would obey.
    pub fn set_key(&mut self, key: bool) {
        let kind = ff::AVPictureType::AV_PICTURE_TYPE_I;
        self.raw_mut().pict_type = if key { kind } else { ff::AVPictureType::AV_PICTURE_TYPE_NONE };
    }

    /// Coded as two fields.
    pub fn is_interlaced(&self) -> bool {
        #[cfg(ffmpeg_7_0)]
        return self.raw().flags & ff::AV_FRAME_FLAG_INTERLACED as c_int != 0;
        #[cfg(not(ffmpeg_7_0))]
        return self.raw().interlaced_frame != 0;
    }

    /// The encoder is to take it as one picture.
    pub fn set_progressive(&mut self) {
        #[cfg(ffmpeg_7_0)]
        {
            self.raw_mut().flags &= !(ff::AV_FRAME_FLAG_INTERLACED as c_int);
        }
        #[cfg(not(ffmpeg_7_0))]
        {
            self.raw_mut().interlaced_frame = 0;
        }
    }

    /// The decoder made it of damaged data.
    pub fn is_damaged(&self) -> bool {
        let raw = self.raw();
        raw.flags & ff::AV_FRAME_FLAG_CORRUPT as c_int != 0 || raw.decode_error_flags != 0
    }

    /// Whether the picture is coded for displays of high dynamic range (PQ or HLG, ITU-R BT.2100).
    pub fn is_hdr(&self) -> bool {
        use ff::AVColorTransferCharacteristic::{AVCOL_TRC_ARIB_STD_B67, AVCOL_TRC_SMPTE2084};
        matches!(self.raw().color_trc, AVCOL_TRC_SMPTE2084 | AVCOL_TRC_ARIB_STD_B67)
    }

    /// Whether it is in the format that encoders take.
    pub fn is_yuv420p(&self) -> bool {
        pixel_format(self.raw().format) == Some(ff::AVPixelFormat::AV_PIX_FMT_YUV420P)
    }

    pub(super) fn raw(&self) -> &ff::AVFrame {
        // SAFETY: not null, and nobody else has it while `self` is borrowed.
        unsafe { &*self.0 }
    }
    pub(super) fn raw_mut(&mut self) -> &mut ff::AVFrame {
        // SAFETY: likewise.
        unsafe { &mut *self.0 }
    }
}

impl SoundShape {
    pub(super) fn sample_format(&self) -> Option<ff::AVSampleFormat> {
        sample_format(self.format)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: owned by this object alone.
        unsafe { ff::av_frame_free(&mut self.0) };
    }
}
