//! Pictures to another size, and to the one pixel format that encoders take.

use super::frame::{Frame, PictureShape};
use super::{AvError, check, pixel_format};
use ffmpeg_sys_next as ff;
use std::ffi::c_int;
use std::ptr::{null, null_mut};

/// From one shape to one size. Set up at first use, and anew when the shape of what comes in changes.
pub struct Scaler {
    context: *mut ff::SwsContext,
    from: Option<PictureShape>,
    picture: Frame,
    size: (u32, u32),
}

impl Scaler {
    /// To 8 bit planar YUV 4:2:0 of `size`.
    pub fn new(size: (u32, u32)) -> Result<Scaler, AvError> {
        Ok(Scaler { context: null_mut(), from: None, picture: Frame::picture(size.0, size.1)?, size })
    }

    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The picture scaled last.
    pub fn picture(&mut self) -> &mut Frame {
        &mut self.picture
    }

    pub fn scale(&mut self, from: &Frame) -> Result<(), AvError> {
        let shape = from.shape();
        if self.from != Some(shape) {
            self.set_up(&shape)?;
        }
        self.picture.make_writable()?;
        let (source, target) = (from.raw(), self.picture.raw());
        // SAFETY: the context was made for this source's size and format and for the target's; both frames have the planes that go with those.
        check("scaling", unsafe {
            ff::sws_scale(
                self.context,
                source.data.as_ptr().cast(),
                source.linesize.as_ptr(),
                0,
                source.height,
                target.data.as_ptr().cast(),
                target.linesize.as_ptr(),
            )
        })?;
        Ok(())
    }

    fn set_up(&mut self, shape: &PictureShape) -> Result<(), AvError> {
        let format = pixel_format(shape.format).ok_or_else(|| AvError::new("scaling", "an unknown pixel format"))?;
        self.from = None;
        // SAFETY: the context is null or ours; the old one is freed or used again by the call.
        self.context = unsafe {
            ff::sws_getCachedContext(
                self.context,
                shape.width as c_int,
                shape.height as c_int,
                format,
                self.size.0 as c_int,
                self.size.1 as c_int,
                ff::AVPixelFormat::AV_PIX_FMT_YUV420P,
                SCALE_FLAGS,
                null_mut(),
                null_mut(),
                null(),
            )
        };
        if self.context.is_null() {
            return Err(AvError::new("scaling", "this pixel format cannot be scaled"));
        }
        let is_full = shape.colour[1] == ff::AVColorRange::AVCOL_RANGE_JPEG as c_int;
        // SAFETY: the context is ours; the tables are libav's own and constant. A refusal leaves the defaults, which are right for video.
        unsafe {
            let table = ff::sws_getCoefficients(shape.colour[0]);
            ff::sws_setColorspaceDetails(self.context, table, c_int::from(is_full), table, 0, 0, 1 << 16, 1 << 16);
        }
        self.from = Some(*shape);
        Ok(())
    }
}

#[cfg(ffmpeg_8_0)]
const SCALE_FLAGS: c_int = ff::SwsFlags::SWS_BILINEAR as c_int;
#[cfg(not(ffmpeg_8_0))]
const SCALE_FLAGS: c_int = 2; // SWS_BILINEAR: going down it weighs every pixel, at half the cost of bicubic.

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: null or ours.
        unsafe { ff::sws_freeContext(self.context) };
    }
}
