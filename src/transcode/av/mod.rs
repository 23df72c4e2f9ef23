//! libav behind safe types: decoders from an allowlist, encoders, scaling, resampling, filters.
//!
//! | file | what it holds |
//! |---|---|
//! | `frame.rs` | decoded pictures and sound |
//! | `packet.rs` | compressed access units, with the padding that libav reads into |
//! | `options.rs` | options by name |
//! | `decoder.rs` | decoders |
//! | `encoder.rs` | what picture and sound encoders share |
//! | `picture_encoder.rs`, `sound_encoder.rs` | encoders with their settings |
//! | `scale.rs`, `filter.rs` | size and pixel format; deinterlacing and tone mapping |
//! | `resample.rs` | sample rate, format and channels; the queue that makes frames of a size |
//!
//! Every object belongs to the thread that made it (raw pointers: neither `Send` nor `Sync`), owns what it points to and frees it on drop. None keeps
//! a pointer to the caller's memory beyond a call.
//!
//! What it deliberately does not do: demux or mux (no libavformat), or use threads of libav's own.

pub mod decoder;
pub mod encoder;
pub mod filter;
pub mod frame;
pub mod options;
pub mod packet;
pub mod picture_encoder;
pub mod resample;
pub mod scale;
pub mod sound_encoder;

use ffmpeg_sys_next as ff;
use std::ffi::{CStr, c_int, c_void};
use std::sync::Once;

/// A libav call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct AvError {
    pub what: &'static str,
    pub reason: String,
}

impl AvError {
    pub fn new(what: &'static str, reason: impl Into<String>) -> AvError {
        AvError { what, reason: reason.into() }
    }
    fn out_of_memory(what: &'static str) -> AvError {
        AvError::new(what, "out of memory")
    }
}

/// The time base of pictures and packets: 90 kHz.
const TIME_BASE: ff::AVRational = ff::AVRational { num: 1, den: 90_000 };

/// A libav result: negative is an error.
fn check(what: &'static str, result: c_int) -> Result<c_int, AvError> {
    if result >= 0 {
        return Ok(result);
    }
    let mut text: [libc::c_char; 128] = [0; 128];
    // SAFETY: writes at most the length given, always with a terminating zero.
    let reason = unsafe {
        ff::av_strerror(result, text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    };
    Err(AvError { what, reason })
}

/// What a receiving call found.
fn found(what: &'static str, result: c_int) -> Result<bool, AvError> {
    match result {
        result if result == -libc::EAGAIN || result == ff::AVERROR_EOF => Ok(false),
        result => check(what, result).map(|_| true),
    }
}

/// A pixel format as the bindings have it; `None` for one that they do not know: a libav newer than the headers, whose number would be no value of
/// the enum.
fn pixel_format(format: c_int) -> Option<ff::AVPixelFormat> {
    let known = 0..ff::AVPixelFormat::AV_PIX_FMT_NB as c_int;
    // SAFETY: the enum has every value from 0 to AV_PIX_FMT_NB: libav numbers them without holes.
    known.contains(&format).then(|| unsafe { std::mem::transmute::<c_int, ff::AVPixelFormat>(format) })
}

/// A sample format, likewise.
fn sample_format(format: c_int) -> Option<ff::AVSampleFormat> {
    let known = 0..ff::AVSampleFormat::AV_SAMPLE_FMT_NB as c_int;
    // SAFETY: as for pixel formats.
    known.contains(&format).then(|| unsafe { std::mem::transmute::<c_int, ff::AVSampleFormat>(format) })
}

/// Sends what libav has to say to the log, at debug level: with damaged input it has much to say.
pub fn install_log() {
    static ONCE: Once = Once::new();
    // SAFETY: the callback has the type that libav calls, and lives as long as the process.
    ONCE.call_once(|| unsafe { ff::av_log_set_callback(Some(log)) });
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
type VaList = *mut ff::__va_list_tag;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
type VaList = ff::va_list;

/// What libav calls with each line, from any thread.
///
/// SAFETY: called by libav alone, with arguments that fit each other. It does not unwind: a panic of the subscriber is stopped here.
unsafe extern "C" fn log(context: *mut c_void, level: c_int, format: *const libc::c_char, arguments: VaList) {
    let level = level & 0xff; // The upper bits are a colour.
    if level > ff::AV_LOG_WARNING || !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let mut line: [libc::c_char; 512] = [0; 512];
    let mut prefix: c_int = 1;
    // SAFETY: writes at most the length given, with a terminating zero; the other arguments are libav's own.
    let text = unsafe {
        ff::av_log_format_line2(context, level, format, arguments, line.as_mut_ptr(), line.len() as c_int, &mut prefix);
        CStr::from_ptr(line.as_ptr()).to_string_lossy()
    };
    let _ = std::panic::catch_unwind(|| tracing::debug!(libav = %text.trim_end()));
}
