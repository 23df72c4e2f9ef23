//! Compressed access units on their way into a decoder.

use super::{AvError, check};
use ffmpeg_sys_next as ff;
use std::ffi::c_int;
use std::ptr::null_mut;

/// A packet, and the pool its buffers come from. Neither pointer is shared; `packet` is never null.
pub struct Packet {
    pub(super) packet: *mut ff::AVPacket,
    pool: *mut ff::AVBufferPool,
    /// Size of the pool's buffers, 0 before there is one.
    buffer_bytes: usize,
}

/// Zero bytes behind the data: bit readers read ahead.
const PADDING: usize = ff::AV_INPUT_BUFFER_PADDING_SIZE as usize;
/// The smallest buffers that are worth a pool.
const BUFFER_BYTES_MIN: usize = 64 << 10;

impl Packet {
    pub fn new() -> Result<Packet, AvError> {
        // SAFETY: no arguments; the result is null or ours.
        let packet = unsafe { ff::av_packet_alloc() };
        if packet.is_null() {
            return Err(AvError::out_of_memory("a packet"));
        }
        Ok(Packet { packet, pool: null_mut(), buffer_bytes: 0 })
    }

    /// Copies one access unit in. Copying takes microseconds where decoding takes milliseconds, and a buffer of the ring's has no padding.
    pub fn fill(&mut self, data: &[u8], pts: i64, dts: i64, key: bool) -> Result<(), AvError> {
        let needed = data.len() + PADDING;
        let size = c_int::try_from(data.len()).map_err(|_| AvError::new("a packet", "too large"))?;
        // SAFETY: the packet is ours. A pool that is replaced stays with libav until its last buffer is back. The buffer has at least
        // `needed` bytes, is not shared yet, and does not overlap `data`.
        unsafe {
            ff::av_packet_unref(self.packet);
            if needed > self.buffer_bytes {
                ff::av_buffer_pool_uninit(&mut self.pool);
                self.buffer_bytes = needed.next_power_of_two().max(BUFFER_BYTES_MIN);
                self.pool = ff::av_buffer_pool_init(self.buffer_bytes as _, None);
            }
            let buffer = if self.pool.is_null() { null_mut() } else { ff::av_buffer_pool_get(self.pool) };
            if buffer.is_null() {
                self.buffer_bytes = 0;
                return Err(AvError::out_of_memory("a packet"));
            }
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*buffer).data, data.len());
            std::ptr::write_bytes((*buffer).data.add(data.len()), 0, PADDING);
            let packet = &mut *self.packet;
            (packet.buf, packet.data, packet.size) = (buffer, (*buffer).data, size);
            (packet.pts, packet.dts) = (pts, dts);
            packet.flags = if key { ff::AV_PKT_FLAG_KEY } else { 0 };
        }
        Ok(())
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: both pointers are null or owned by this object alone.
        unsafe {
            ff::av_packet_free(&mut self.packet);
            ff::av_buffer_pool_uninit(&mut self.pool);
        }
    }
}

/// Bytes with padding behind them, as extradata of a decoder: allocated by libav, which frees them with the context.
pub(super) fn extradata(bytes: &[u8]) -> Result<(*mut u8, c_int), AvError> {
    let size = check("extradata", c_int::try_from(bytes.len()).unwrap_or(-libc::EINVAL))?;
    // SAFETY: the allocation is large enough for the copy, and zeroed behind it.
    unsafe {
        let copy = ff::av_mallocz((bytes.len() + PADDING) as _).cast::<u8>();
        if copy.is_null() {
            return Err(AvError::out_of_memory("extradata"));
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        Ok((copy, size))
    }
}
