//! What picture and sound encoders share: an opened context that frames go into and packets come out of.

use super::frame::Frame;
use super::options::Options;
use super::{AvError, check, found};
use ffmpeg_sys_next as ff;
use std::ffi::CStr;

/// An encoder. Neither pointer is null or shared.
pub struct Encoder {
    context: *mut ff::AVCodecContext,
    packet: *mut ff::AVPacket,
}

/// One compressed access unit. Times in the encoder's time base.
pub struct Encoded<'a> {
    pub data: &'a [u8],
    pub pts: i64,
    pub dts: i64,
    pub key: bool,
}

impl Encoder {
    /// Opens the first of `names` that this FFmpeg has and that opens; `setup` fills in context and options.
    pub(super) fn open(
        names: &[&CStr],
        mut setup: impl FnMut(&CStr, &mut ff::AVCodecContext, &mut Options),
    ) -> Result<Encoder, AvError> {
        super::install_log();
        let mut last =
            AvError::new("this FFmpeg has no encoder", names.first().map_or("", |n| n.to_str().unwrap_or("")));
        for name in names {
            // SAFETY: a C string; the result is a static description or null.
            let codec = unsafe { ff::avcodec_find_encoder_by_name(name.as_ptr()) };
            if codec.is_null() {
                continue;
            }
            match Encoder::open_one(codec, |context, options| setup(name, context, options)) {
                Ok(encoder) => return Ok(encoder),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open_one(
        codec: *const ff::AVCodec,
        setup: impl FnOnce(&mut ff::AVCodecContext, &mut Options),
    ) -> Result<Encoder, AvError> {
        // SAFETY: `codec` is a description; the results are null or ours.
        let encoder = unsafe { Encoder { context: ff::avcodec_alloc_context3(codec), packet: ff::av_packet_alloc() } };
        if encoder.context.is_null() || encoder.packet.is_null() {
            return Err(AvError::out_of_memory("an encoder"));
        }
        let mut options = Options::new();
        // SAFETY: the context is ours and not opened yet.
        let context = unsafe { &mut *encoder.context };
        context.thread_count = 1;
        context.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as std::ffi::c_int;
        setup(context, &mut options);
        // SAFETY: the context was made for this codec and is opened once.
        check("opening an encoder", unsafe { ff::avcodec_open2(encoder.context, codec, &mut options.0) })?;
        options.check_all_taken()?;
        Ok(encoder)
    }

    /// Gives it a frame; [`Encoder::receive`] until there is nothing, before the next.
    pub fn send(&mut self, frame: &Frame) -> Result<(), AvError> {
        // SAFETY: both are ours; the encoder takes references to the frame's buffers.
        check("encoding", unsafe { ff::avcodec_send_frame(self.context, frame.0) }).map(drop)
    }

    /// Nothing follows: what is still held comes out. The encoder is of no use after that.
    pub fn send_end(&mut self) -> Result<(), AvError> {
        // SAFETY: no frame means the end.
        check("draining an encoder", unsafe { ff::avcodec_send_frame(self.context, std::ptr::null()) }).map(drop)
    }

    /// The next access unit in decoding order.
    pub fn receive(&mut self) -> Result<Option<Encoded<'_>>, AvError> {
        // SAFETY: both pointers are ours; what the packet held is released by the call.
        if !found("encoding", unsafe { ff::avcodec_receive_packet(self.context, self.packet) })? {
            return Ok(None);
        }
        // SAFETY: the call succeeded, so data and size describe the packet's own buffer, which lives until the next call on this object; the
        // exclusive borrow in the result rules that out while it is used.
        let packet = unsafe { &*self.packet };
        let data = unsafe { bytes(packet.data, packet.size) };
        let key = packet.flags & ff::AV_PKT_FLAG_KEY != 0;
        Ok(Some(Encoded { data, pts: packet.pts, dts: packet.dts, key }))
    }

    /// What a decoder has to know before the first packet, in the codec's own form.
    pub fn extradata(&self) -> &[u8] {
        let context = self.context();
        // SAFETY: libav set both to the context's own buffer, which lives as long as it.
        unsafe { bytes(context.extradata, context.extradata_size) }
    }

    pub(super) fn context(&self) -> &ff::AVCodecContext {
        // SAFETY: not null, and nobody else has it while `self` is borrowed.
        unsafe { &*self.context }
    }
}

/// A slice of what a pointer and a length of libav's describe; empty for null.
///
/// # Safety
/// `data` is null or points to `size` initialised bytes that live for `'a` and are not written to meanwhile.
unsafe fn bytes<'a>(data: *const u8, size: std::ffi::c_int) -> &'a [u8] {
    if data.is_null() || size <= 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, size as usize) }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: each pointer is null or owned by this object alone; the calls take null.
        unsafe {
            ff::av_packet_free(&mut self.packet);
            ff::avcodec_free_context(&mut self.context);
        }
    }
}
