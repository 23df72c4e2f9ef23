//! Decoders: which there are, and one of them at work.
//!
//! Only what stands in [`name_of`] is ever opened, whatever else this FFmpeg was built with.

use super::frame::Frame;
use super::packet::{self, Packet};
use super::{AvError, TIME_BASE, check, found};
use crate::es::{Codec, Params, Track};
use crate::limits::DECODED_PIXELS_MAX;
use ffmpeg_sys_next as ff;
use std::ffi::CStr;
use std::ptr::null_mut;

/// An opened decoder. Neither pointer is shared or null.
pub struct Decoder {
    context: *mut ff::AVCodecContext,
    packet: Packet,
}

/// The decoders that may be used for a codec, best first: those that decode in software, without threads of their own.
fn name_of(codec: Codec) -> &'static [&'static CStr] {
    match codec {
        Codec::H264 => &[c"h264"],
        Codec::H265 => &[c"hevc"],
        Codec::Mpeg2Video => &[c"mpeg2video"],
        Codec::Av1 => &[c"libdav1d", c"libaom-av1"],
        Codec::Vp9 => &[c"vp9"],
        Codec::Vp8 => &[c"vp8"],
        Codec::Aac => &[c"aac"],
        Codec::Mp2 => &[c"mp2float"],
        Codec::Mp3 => &[c"mp3float"],
        Codec::Ac3 => &[c"ac3"],
        Codec::Eac3 => &[c"eac3"],
        Codec::Opus => &[c"opus", c"libopus"],
        Codec::Flac => &[c"flac"],
        Codec::Teletext | Codec::DvbSubtitle | Codec::Scte35 | Codec::PrivatePes => &[],
    }
}

impl Decoder {
    /// Opens the decoder of a track.
    pub fn open(track: &Track) -> Result<Decoder, AvError> {
        super::install_log();
        let names = name_of(track.codec).iter();
        // SAFETY: the names are C strings; the result is a static description or null.
        let mut known = names.map(|name| unsafe { ff::avcodec_find_decoder_by_name(name.as_ptr()) });
        let codec = known
            .find(|codec| !codec.is_null())
            .ok_or_else(|| AvError::new("this FFmpeg has no decoder for", track.codec.name()))?;
        let packet = Packet::new()?;
        // SAFETY: `codec` is a description; the result is null or ours.
        let context = unsafe { ff::avcodec_alloc_context3(codec) };
        if context.is_null() {
            return Err(AvError::out_of_memory("a decoder"));
        }
        // From here on Drop frees what there is, whatever fails.
        let decoder = Decoder { context, packet };
        // SAFETY: the context is ours and not opened yet.
        let raw = unsafe { &mut *context };
        raw.thread_count = 1;
        raw.pkt_timebase = TIME_BASE;
        raw.max_pixels = DECODED_PIXELS_MAX as i64;
        let head = extradata_of(track);
        if !head.is_empty() {
            (raw.extradata, raw.extradata_size) = packet::extradata(&head)?;
        }
        if let (Codec::Opus, Some(Params::Audio(audio))) = (track.codec, &track.params) {
            raw.sample_rate = 48_000;
            // SAFETY: writes the context's own layout.
            unsafe { ff::av_channel_layout_default(&mut raw.ch_layout, audio.channels.max(1).into()) };
        }
        // SAFETY: the context was made for this codec and is opened once.
        check("opening a decoder", unsafe { ff::avcodec_open2(context, codec, null_mut()) })?;
        Ok(decoder)
    }

    /// Gives it one access unit; [`Decoder::receive`] until there is nothing, before the next. An error is the access unit's: the decoder goes on
    /// with the next.
    pub fn send(&mut self, data: &[u8], pts: i64, dts: i64, key: bool) -> Result<(), AvError> {
        self.packet.fill(data, pts, dts, key)?;
        // SAFETY: both are ours; the decoder takes a reference to the packet's buffer.
        check("decoding", unsafe { ff::avcodec_send_packet(self.context, self.packet.packet) }).map(drop)
    }

    /// Nothing follows: what is still held comes out. Then [`Decoder::flush`] before anything else is sent.
    pub fn send_end(&mut self) -> Result<(), AvError> {
        // SAFETY: no packet means the end.
        check("draining a decoder", unsafe { ff::avcodec_send_packet(self.context, std::ptr::null()) }).map(drop)
    }

    /// The next frame in order of presentation; false when there is none.
    pub fn receive(&mut self, frame: &mut Frame) -> Result<bool, AvError> {
        // SAFETY: both are ours; what the frame held is dropped by the call.
        found("decoding", unsafe { ff::avcodec_receive_frame(self.context, frame.0) })
    }

    /// Forgets all it holds: what comes next refers to nothing before it.
    pub fn flush(&mut self) {
        // SAFETY: the context is open.
        unsafe { ff::avcodec_flush_buffers(self.context) };
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: owned by this object alone; the extradata goes with it.
        unsafe { ff::avcodec_free_context(&mut self.context) };
    }
}

/// What a decoder has to know that does not stand in the samples.
fn extradata_of(track: &Track) -> Vec<u8> {
    let Some(Params::Audio(audio)) = &track.params else { return Vec::new() };
    match track.codec {
        Codec::Opus => opus_head(&audio.config),
        Codec::Flac => audio.config.to_vec(),
        _ => Vec::new(),
    }
}

/// The `OpusHead` (RFC 7845 5.1) of a `dOps` body (Opus in ISOBMFF 4.3.2): the same fields in the other byte order.
fn opus_head(dops: &[u8]) -> Vec<u8> {
    let &[_, channels, skip_high, skip_low, r3, r2, r1, r0, gain_high, gain_low, ref mapping @ ..] = dops else {
        return Vec::new();
    };
    let mut head = b"OpusHead\x01".to_vec();
    head.extend([channels, skip_low, skip_high, r0, r1, r2, r3, gain_low, gain_high]);
    head.extend_from_slice(mapping);
    head
}
