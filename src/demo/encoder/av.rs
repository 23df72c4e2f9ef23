//! libav behind safe types: an H.264 encoder, an AAC encoder, and libavformat's TS muxer writing into memory.
//!
//! Every object belongs to the thread that made it (raw pointers: neither `Send` nor `Sync`), owns what it points to,
//! and frees it on drop. Nothing here keeps a pointer to the caller's memory beyond a call.
//!
//! What it deliberately does not do: decode, demux, or take any input from a network.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{null, null_mut};

use ffmpeg_sys_next as ff;

use super::picture::Picture;

/// Why the picture cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    #[error(
        "this FFmpeg has no H.264 encoder that opens ({tried}); install libavcodec with libx264 \
         (Debian, Ubuntu: apt install libavcodec-extra), or give a TS file instead of the picture"
    )]
    NoVideoEncoder { tried: String },
    #[error("the test picture cannot be encoded: {what}: {reason}")]
    Libav { what: &'static str, reason: String },
    #[error("the test picture's {what} must lie in {min}..={max}{even}, not {value}", even = if *.even { " and be even" } else { "" })]
    Setting { what: &'static str, min: usize, max: usize, even: bool, value: usize },
}

/// Settings of the video encoder; the picture is planar YUV 4:2:0.
pub(super) struct VideoSettings {
    pub width: usize,
    pub height: usize,
    pub bits_per_s: usize,
    /// Frames a second; also the time base of its time stamps.
    pub frame_rate: i32,
    /// Frames from one IDR to the next.
    pub gop_frames: i32,
    pub b_frames: i32,
}

/// An encoder with one frame and one packet that are used again and again.
pub(super) struct VideoEncoder(Codec);

/// AAC-LC, stereo.
pub(super) struct AudioEncoder(Codec);

/// One compressed access unit; times in the encoder's time base (frames or samples).
#[derive(Clone, Copy)]
pub(super) struct Encoded<'a> {
    pub data: &'a [u8],
    pub pts: i64,
    pub dts: i64,
    pub key: bool,
}

/// One of the muxer's two streams.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Video = 0,
    Audio = 1,
}

/// libavformat's `mpegts` muxer.
pub(super) struct Muxer {
    context: *mut ff::AVFormatContext,
    io: *mut ff::AVIOContext,
    /// What was muxed and not yet taken: from `Box::into_raw`, also pointed to by `io`.
    sink: *mut Vec<u8>,
    packet: *mut ff::AVPacket,
    /// The access unit being written, with the padding that libav asks for.
    padded: Vec<u8>,
}

/// Owns an opened codec context, a frame with buffers of its own, and a packet. None of the three is ever null.
struct Codec {
    context: *mut ff::AVCodecContext,
    frame: *mut ff::AVFrame,
    packet: *mut ff::AVPacket,
}

/// Options by name; freed on drop.
struct Dictionary(*mut ff::AVDictionary);

impl VideoEncoder {
    /// Opens libx264, or else whatever H.264 encoder this FFmpeg has.
    pub fn open(settings: &VideoSettings) -> Result<Self, EncoderError> {
        // SAFETY: sets a process-wide integer; libav reads it atomically enough for a log level.
        unsafe { ff::av_log_set_level(ff::AV_LOG_ERROR) };
        let mut tried = Vec::new();
        for (name, options) in H264_ENCODERS {
            match Self::open_one(name, options, settings) {
                Ok(Some(encoder)) => return Ok(encoder),
                Ok(None) => tried.push(format!("{name:?} is not there")),
                Err(error) => tried.push(format!("{name:?}: {error}")),
            }
        }
        Err(EncoderError::NoVideoEncoder { tried: tried.join("; ") })
    }

    fn open_one(
        name: &CStr,
        options: &[(&CStr, &CStr)],
        settings: &VideoSettings,
    ) -> Result<Option<Self>, EncoderError> {
        // SAFETY: `name` is a C string; the result is a static description or null.
        let codec = unsafe { ff::avcodec_find_encoder_by_name(name.as_ptr()) };
        if codec.is_null() {
            return Ok(None);
        }
        let encoder = Codec::alloc(codec)?;
        // SAFETY: the context is not null, not opened yet and not shared.
        let context = unsafe { &mut *encoder.context };
        (context.width, context.height) = (settings.width as c_int, settings.height as c_int);
        context.pix_fmt = ff::AVPixelFormat::AV_PIX_FMT_YUV420P;
        context.time_base = ff::AVRational { num: 1, den: settings.frame_rate };
        context.framerate = ff::AVRational { num: settings.frame_rate, den: 1 };
        context.sample_aspect_ratio = ff::AVRational { num: 1, den: 1 };
        context.color_range = ff::AVColorRange::AVCOL_RANGE_MPEG;
        context.colorspace = ff::AVColorSpace::AVCOL_SPC_SMPTE170M;
        context.bit_rate = settings.bits_per_s as i64;
        context.rc_max_rate = context.bit_rate;
        context.rc_buffer_size = (settings.bits_per_s / 2) as c_int;
        context.gop_size = settings.gop_frames;
        context.keyint_min = settings.gop_frames;
        context.max_b_frames = settings.b_frames;
        context.thread_count = 1;
        context.flags |= ff::AV_CODEC_FLAG_CLOSED_GOP as c_int;
        encoder.open(codec, options)?;

        // SAFETY: the frame is not null and has no buffers yet; get_buffer fills it by the format and size set here.
        let result = unsafe {
            let frame = &mut *encoder.frame;
            frame.format = ff::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
            (frame.width, frame.height) = (settings.width as c_int, settings.height as c_int);
            ff::av_frame_get_buffer(encoder.frame, 0)
        };
        check("a frame", result)?;
        Ok(Some(VideoEncoder(encoder)))
    }
    /// Gives the encoder a picture of the size it was opened with; `pts` counts frames.
    pub fn send(&mut self, picture: &Picture, pts: i64) -> Result<(), EncoderError> {
        self.0.make_writable()?;
        // SAFETY: the frame is not null; the exclusive borrow of self keeps it from being used elsewhere.
        let frame = unsafe { &mut *self.0.frame };
        assert_eq!((frame.width as usize, frame.height as usize), (picture.width, picture.height), "one size for ever");
        let planes = [(&picture.y, picture.width), (&picture.u, picture.width / 2), (&picture.v, picture.width / 2)];
        for (index, (plane, width)) in planes.into_iter().enumerate() {
            let stride = frame.linesize[index] as usize;
            for (row, line) in plane.chunks_exact(width).enumerate() {
                // SAFETY: the frame was allocated as YUV 4:2:0 of the picture's size (asserted) and is writable, so its
                // plane `index` has at least as many rows as the picture's, `stride` bytes apart and at least `width` long.
                unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), frame.data[index].add(row * stride), width) };
            }
        }
        frame.pts = pts;
        self.0.send()
    }
    /// The next access unit in decoding order (Annex B), `None` when the encoder wants another picture first.
    pub fn receive(&mut self) -> Result<Option<Encoded<'_>>, EncoderError> {
        self.0.receive()
    }
}

impl AudioEncoder {
    pub fn open(sample_rate: u32, bits_per_s: usize) -> Result<Self, EncoderError> {
        // SAFETY: looks up a static description or null.
        let codec = unsafe { ff::avcodec_find_encoder(ff::AVCodecID::AV_CODEC_ID_AAC) };
        if codec.is_null() {
            return Err(EncoderError::Libav { what: "AAC", reason: "this FFmpeg has no AAC encoder".to_owned() });
        }
        let encoder = Codec::alloc(codec)?;
        // SAFETY: the context is not null, not opened yet and not shared; the layout written to is its own field.
        let context = unsafe { &mut *encoder.context };
        context.sample_fmt = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        context.sample_rate = sample_rate as c_int;
        context.time_base = ff::AVRational { num: 1, den: sample_rate as c_int };
        context.bit_rate = bits_per_s as i64;
        context.thread_count = 1;
        // SAFETY: as above.
        unsafe { ff::av_channel_layout_default(&mut context.ch_layout, CHANNELS) };
        encoder.open(codec, &[])?;

        // SAFETY: the frame is not null and has no buffers yet; the opened context says how many samples it takes.
        let result = unsafe {
            let frame = &mut *encoder.frame;
            frame.format = ff::AVSampleFormat::AV_SAMPLE_FMT_FLTP as c_int;
            frame.sample_rate = sample_rate as c_int;
            frame.nb_samples = (*encoder.context).frame_size;
            ff::av_channel_layout_default(&mut frame.ch_layout, CHANNELS);
            ff::av_frame_get_buffer(encoder.frame, 0)
        };
        check("an audio frame", result)?;
        Ok(AudioEncoder(encoder))
    }
    /// Samples of each channel that one frame takes.
    pub fn frame_samples(&self) -> usize {
        // SAFETY: the frame is never null; only an integer is read.
        unsafe { (*self.0.frame).nb_samples as usize }
    }
    /// Gives the encoder one frame: exactly [`AudioEncoder::frame_samples`] in both channels; `pts` counts samples.
    pub fn send(&mut self, left: &[f32], right: &[f32], pts: i64) -> Result<(), EncoderError> {
        self.0.make_writable()?;
        let count = self.frame_samples();
        assert!(left.len() == count && right.len() == count, "whole frames only");
        // SAFETY: the frame is writable planar f32 stereo with room for `count` samples in each of its two planes, and
        // both slices have exactly `count`.
        unsafe {
            let frame = &mut *self.0.frame;
            std::ptr::copy_nonoverlapping(left.as_ptr(), frame.data[0].cast::<f32>(), count);
            std::ptr::copy_nonoverlapping(right.as_ptr(), frame.data[1].cast::<f32>(), count);
            frame.pts = pts;
        }
        self.0.send()
    }
    /// The next frame of raw AAC, `None` when the encoder wants more sound first.
    pub fn receive(&mut self) -> Result<Option<Encoded<'_>>, EncoderError> {
        self.0.receive()
    }
}

impl Codec {
    fn alloc(codec: *const ff::AVCodec) -> Result<Self, EncoderError> {
        // SAFETY: plain allocations; each is checked before use and Drop accepts null.
        let allocated = unsafe {
            let context = ff::avcodec_alloc_context3(codec);
            Codec { context, frame: ff::av_frame_alloc(), packet: ff::av_packet_alloc() }
        };
        if allocated.context.is_null() || allocated.frame.is_null() || allocated.packet.is_null() {
            return Err(out_of_memory("an encoder"));
        }
        Ok(allocated)
    }
    /// Opens the context; an option that the encoder does not know is an error, as libav would pass it over in silence.
    fn open(&self, codec: *const ff::AVCodec, options: &[(&CStr, &CStr)]) -> Result<(), EncoderError> {
        let mut options = Dictionary::new(options);
        // SAFETY: context and codec belong together and the context is not opened yet; the dictionary is ours.
        check("opening the encoder", unsafe { ff::avcodec_open2(self.context, codec, &mut options.0) })?;
        options.check_all_taken()
    }
    fn make_writable(&mut self) -> Result<(), EncoderError> {
        // SAFETY: the frame is not null and has buffers; when the encoder still holds them the frame gets new ones.
        check("a frame", unsafe { ff::av_frame_make_writable(self.frame) }).map(drop)
    }
    fn send(&mut self) -> Result<(), EncoderError> {
        // SAFETY: an opened encoder and a filled frame; the encoder takes references of its own.
        check("sending a frame", unsafe { ff::avcodec_send_frame(self.context, self.frame) }).map(drop)
    }
    fn receive(&mut self) -> Result<Option<Encoded<'_>>, EncoderError> {
        // SAFETY: an opened encoder; the packet is overwritten, its former contents are released by the call.
        let result = unsafe { ff::avcodec_receive_packet(self.context, self.packet) };
        if result == -libc::EAGAIN {
            return Ok(None);
        }
        check("encoding", result)?;
        // SAFETY: the call succeeded, so data and size describe the packet's own buffer. It lives until the next call on
        // this Codec, which the exclusive borrow in the result rules out while it is used.
        let packet = unsafe { &*self.packet };
        let data = unsafe { std::slice::from_raw_parts(packet.data, packet.size as usize) };
        let key = packet.flags & ff::AV_PKT_FLAG_KEY != 0;
        Ok(Some(Encoded { data, pts: packet.pts, dts: packet.dts, key }))
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: each pointer is null or owned by this Codec alone; the calls accept null and set the pointer to null.
        unsafe {
            ff::av_packet_free(&mut self.packet);
            ff::av_frame_free(&mut self.frame);
            ff::avcodec_free_context(&mut self.context);
        }
    }
}

impl Muxer {
    /// A muxer for one video and one audio stream, times in 90 kHz. `name` becomes the DVB service name.
    pub fn open(video: &VideoEncoder, audio: &AudioEncoder, name: &str) -> Result<Self, EncoderError> {
        let mut muxer = Muxer::alloc()?;
        for codec in [&video.0, &audio.0] {
            // SAFETY: the format context is not null and has no header yet; the codec context is open.
            unsafe {
                let stream = ff::avformat_new_stream(muxer.context, null());
                if stream.is_null() {
                    return Err(out_of_memory("a stream"));
                }
                (*stream).time_base = ff::AVRational { num: 1, den: 90_000 };
                check("a stream", ff::avcodec_parameters_from_context((*stream).codecpar, codec.context))?;
            }
        }
        let name = CString::new(name.replace('\0', " ")).expect("zero bytes were replaced");
        let mut options = Dictionary::new(MUXER_OPTIONS);
        // SAFETY: the context is complete (streams and io) and has no header yet; strings and dictionary outlive the calls.
        unsafe {
            let metadata = &raw mut (*muxer.context).metadata;
            ff::av_dict_set(metadata, c"service_name".as_ptr(), name.as_ptr(), 0);
            ff::av_dict_set(metadata, c"service_provider".as_ptr(), c"millrace".as_ptr(), 0);
            // How far the PCR goes before the DTS, microseconds.
            (*muxer.context).max_delay = PCR_LEAD_US;
            check("the muxer's header", ff::avformat_write_header(muxer.context, &mut options.0))?;
        }
        options.check_all_taken()?;
        muxer.padded.reserve(64 << 10);
        Ok(muxer)
    }
    /// Muxes one access unit; its times are 90 kHz and never go back within a stream.
    pub fn write(&mut self, stream: Stream, unit: Encoded<'_>) -> Result<(), EncoderError> {
        self.padded.clear();
        self.padded.extend_from_slice(unit.data);
        self.padded.resize(unit.data.len() + ff::AV_INPUT_BUFFER_PADDING_SIZE as usize, 0);
        // SAFETY: the packet is not null and holds no buffer of its own (av_write_frame copies what it keeps of a packet
        // without one); `padded` is not touched until the call is over, and the pointer is taken out again after it.
        let result = unsafe {
            let packet = &mut *self.packet;
            (packet.data, packet.size) = (self.padded.as_mut_ptr(), unit.data.len() as c_int);
            (packet.pts, packet.dts) = (unit.pts, unit.dts);
            packet.flags = if unit.key { ff::AV_PKT_FLAG_KEY } else { 0 };
            packet.stream_index = stream as c_int;
            let result = ff::av_write_frame(self.context, self.packet);
            (packet.data, packet.size) = (null_mut(), 0);
            result
        };
        check("muxing", result).map(drop)
    }
    /// Appends everything muxed so far to `out`: whole TS packets.
    pub fn take(&mut self, out: &mut Vec<u8>) {
        // SAFETY: flushing runs the write callback on this thread, before the Vec is borrowed below; nothing else has the
        // pointer while `self` is borrowed exclusively.
        let sink = unsafe {
            ff::avio_flush(self.io);
            &mut *self.sink
        };
        out.append(sink);
    }

    fn alloc() -> Result<Self, EncoderError> {
        let sink = Box::into_raw(Box::new(Vec::new()));
        // From here on Drop frees what there is, whatever fails.
        let mut muxer = Muxer { context: null_mut(), io: null_mut(), sink, packet: null_mut(), padded: Vec::new() };
        // SAFETY: the out pointers are ours; the buffer given to avio_alloc_context belongs to it on success and is freed
        // here on failure. `sink` outlives `io`: both are freed in Drop, `io` first.
        unsafe {
            let result = ff::avformat_alloc_output_context2(&mut muxer.context, null(), c"mpegts".as_ptr(), null());
            check("the TS muxer", result)?;
            muxer.packet = ff::av_packet_alloc();
            let mut buffer = ff::av_malloc(IO_BYTES);
            if !buffer.is_null() {
                let opaque = sink.cast::<c_void>();
                let bytes = buffer.cast::<u8>();
                muxer.io = ff::avio_alloc_context(bytes, IO_BYTES as c_int, 1, opaque, None, Some(write_to_sink), None);
                if muxer.io.is_null() {
                    ff::av_freep((&raw mut buffer).cast());
                }
            }
            if muxer.packet.is_null() || muxer.io.is_null() {
                return Err(out_of_memory("the TS muxer"));
            }
            (*muxer.context).pb = muxer.io;
        }
        Ok(muxer)
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        // SAFETY: each pointer is null or owned by this Muxer alone. The format context goes first as it may use `io`, then
        // `io` with its buffer (which libav may have replaced, so it is freed through the context), then the sink.
        unsafe {
            ff::avformat_free_context(self.context);
            if !self.io.is_null() {
                ff::av_freep((&raw mut (*self.io).buffer).cast());
                ff::avio_context_free(&mut self.io);
            }
            ff::av_packet_free(&mut self.packet);
            drop(Box::from_raw(self.sink));
        }
    }
}

impl Dictionary {
    fn new(options: &[(&CStr, &CStr)]) -> Self {
        let mut dictionary = Dictionary(null_mut());
        for (name, value) in options {
            // SAFETY: the pointer is null or a dictionary of ours; both strings are copied. Out of memory leaves the option
            // out, which opening then survives.
            unsafe { ff::av_dict_set(&mut dictionary.0, name.as_ptr(), value.as_ptr(), 0) };
        }
        dictionary
    }
    /// libav takes what it knows out of the dictionary: what is left was misspelt or is too new for this version.
    fn check_all_taken(&self) -> Result<(), EncoderError> {
        // SAFETY: iterating a dictionary of ours; an entry lives as long as the dictionary is not changed.
        unsafe {
            let entry = ff::av_dict_get(self.0, c"".as_ptr(), null(), ff::AV_DICT_IGNORE_SUFFIX as c_int);
            if entry.is_null() {
                return Ok(());
            }
            let reason = CStr::from_ptr((*entry).key).to_string_lossy().into_owned();
            Err(EncoderError::Libav { what: "this FFmpeg does not know the option", reason })
        }
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: null or a dictionary of ours.
        unsafe { ff::av_dict_free(&mut self.0) };
    }
}

#[cfg(ffmpeg_7_0)]
type WriteBuffer = *const u8;
#[cfg(not(ffmpeg_7_0))]
type WriteBuffer = *mut u8;

/// What the muxer's io context calls with finished bytes.
///
/// SAFETY: called only by libavformat with the `opaque` of [`Muxer::alloc`], a live Vec that nobody borrows during a libav
/// call, and `len` bytes at `bytes`. It does not unwind: appending to a Vec aborts when memory is out.
unsafe extern "C" fn write_to_sink(opaque: *mut c_void, bytes: WriteBuffer, len: c_int) -> c_int {
    // SAFETY: see above.
    unsafe {
        let sink = &mut *opaque.cast::<Vec<u8>>();
        sink.extend_from_slice(std::slice::from_raw_parts(bytes, len.max(0) as usize));
    }
    len
}

/// A libav result: negative is an error.
fn check(what: &'static str, result: c_int) -> Result<c_int, EncoderError> {
    if result >= 0 {
        return Ok(result);
    }
    let mut text: [libc::c_char; 128] = [0; 128];
    // SAFETY: writes at most the length given, always with a terminating zero.
    let reason = unsafe {
        ff::av_strerror(result, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    };
    Err(EncoderError::Libav { what, reason })
}

fn out_of_memory(what: &'static str) -> EncoderError {
    EncoderError::Libav { what, reason: "out of memory".to_owned() }
}

/// Encoders by preference, with the options that make them send B-frames in a fixed pattern at low delay.
/// `superfast` is the fastest preset of x264 that still uses the 8x8 transform, which is what makes the profile High.
const H264_ENCODERS: [(&CStr, &[(&CStr, &CStr)]); 2] = [
    (
        c"libx264",
        &[
            (c"preset", c"superfast"),
            (c"profile", c"high"),
            (c"aud", c"1"),
            (c"sc_threshold", c"0"),
            (c"b_strategy", c"0"),
            (c"b-pyramid", c"none"),
            (c"rc-lookahead", c"0"),
            (c"x264-params", c"sync-lookahead=0"),
        ],
    ),
    (c"libopenh264", &[]),
];

/// Times are written as they come (`mpegts_copyts`), a PCR at every video frame (`pcr_period`, ms), PAT and PMT five times
/// a second and before key frames, and audio frames in PES packets of their own instead of several held back together.
const MUXER_OPTIONS: &[(&CStr, &CStr)] = &[
    (c"mpegts_copyts", c"1"),
    (c"mpegts_flags", c"+pat_pmt_at_frames"),
    (c"pcr_period", c"20"),
    (c"pat_period", c"0.2"),
    (c"sdt_period", c"1"),
    (c"pes_payload_size", c"0"),
];
/// Longer than a frame, shorter than the second that ISO/IEC 13818-1 2.7.4 allows.
const PCR_LEAD_US: c_int = 200_000;
const CHANNELS: c_int = 2;
/// The muxer's own buffer.
const IO_BYTES: usize = 32 << 10;
