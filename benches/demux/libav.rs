//! Reads a transport stream from memory through libavformat, packet by packet, parsers on.

use ffmpeg_sys_next as ff;
use std::ffi::{c_int, c_void};
use std::ptr;

/// What the callbacks read from.
struct Memory<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Packets that `av_read_frame` gives for these bytes; `None` when libavformat refuses them.
pub fn read_all(bytes: &[u8]) -> Option<u64> {
    let mut memory = Memory { bytes, at: 0 };
    // SAFETY: every pointer below is made by libav in this call and freed once at its end, in the order its documentation
    // asks for; `memory` outlives the contexts whose callbacks use it, and nothing else touches it meanwhile.
    unsafe {
        ff::av_log_set_level(ff::AV_LOG_QUIET);
        let buffer = ff::av_malloc(BUFFER_BYTES).cast();
        let opaque = ptr::from_mut(&mut memory).cast();
        let mut io = ff::avio_alloc_context(buffer, BUFFER_BYTES as c_int, 0, opaque, Some(read), None, Some(seek));
        let mut context = ff::avformat_alloc_context();
        (*context).pb = io;
        let format = ff::av_find_input_format(c"mpegts".as_ptr());
        let opened = ff::avformat_open_input(&mut context, ptr::null(), format, ptr::null_mut()) >= 0;
        let packets = opened.then(|| {
            let packet = ff::av_packet_alloc();
            let mut count = 0;
            while ff::av_read_frame(context, packet) >= 0 {
                count += 1;
                ff::av_packet_unref(packet);
            }
            ff::av_packet_free(&mut { packet });
            count
        });
        ff::avformat_close_input(&mut context);
        ff::av_freep(ptr::from_mut(&mut (*io).buffer).cast());
        ff::avio_context_free(&mut io);
        packets
    }
}

const BUFFER_BYTES: usize = millrace::limits::ORIGIN_READ_BYTES;

unsafe extern "C" fn read(opaque: *mut c_void, to: *mut u8, size: c_int) -> c_int {
    // SAFETY: libav hands back the `Memory` that `read_all` gave it, which lives and is used by this callback alone;
    // `to` has room for `size` bytes, and `count` is at most that and at most what is left.
    unsafe {
        let memory = &mut *opaque.cast::<Memory<'_>>();
        let count = (memory.bytes.len() - memory.at).min(size as usize);
        if count == 0 {
            return ff::AVERROR_EOF;
        }
        ptr::copy_nonoverlapping(memory.bytes.as_ptr().add(memory.at), to, count);
        memory.at += count;
        count as c_int
    }
}

unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`.
    let memory = unsafe { &mut *opaque.cast::<Memory<'_>>() };
    match whence {
        0 if (0..=memory.bytes.len() as i64).contains(&offset) => memory.at = offset as usize,
        0x10000 => return memory.bytes.len() as i64, // AVSEEK_SIZE
        _ => return -1,
    }
    offset
}
