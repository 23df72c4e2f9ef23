//! The byte masks of [`super::scan`] in SSE2: bit `i` is set when byte `i` is refused.
//!
//! All `unsafe` of `http` is here, and all of it has one reason: the compiler lets a function with a target feature be
//! called only by one that has it too. SSE2 belongs to the x86-64 baseline, so it is there wherever this compiles.
//! No pointer is touched; vectors are loaded from arrays by value.

use super::scan::{CONTROLS_BYTES, RUN_BYTES};
use std::arch::x86_64::*;

/// Not a letter, a digit or `-`.
#[inline(always)]
pub(super) fn uncommon_name_bytes(block: &[u8; RUN_BYTES]) -> u32 {
    // SAFETY: SSE2 is part of every x86-64 processor; the function has no other precondition.
    unsafe { bits(common(load(block))) ^ 0xffff }
}

/// Not a letter, a digit, `-` or `.`.
#[inline(always)]
pub(super) fn uncommon_host_bytes(block: &[u8; RUN_BYTES]) -> u32 {
    // SAFETY: as above.
    unsafe { bits(common_or_dot(load(block))) ^ 0xffff }
}

/// See [`super::scan::is_target_byte`].
#[inline(always)]
pub(super) fn non_target_bytes(block: &[u8; RUN_BYTES]) -> u32 {
    // SAFETY: as above.
    unsafe { bits(non_target(load(block))) }
}

/// `:`.
#[inline(always)]
pub(super) fn colons(block: &[u8; RUN_BYTES]) -> u32 {
    // SAFETY: as above.
    unsafe { bits(is(load(block), b':')) }
}

/// Below space, or DEL.
#[inline(always)]
pub(super) fn controls(block: &[u8; CONTROLS_BYTES]) -> u64 {
    let (quarters, _) = block.as_chunks::<RUN_BYTES>();
    quarters.iter().enumerate().fold(0, |all, (i, quarter)| {
        // SAFETY: as above.
        let bits = unsafe { bits(control(load(quarter))) };
        all | u64::from(bits) << (i * RUN_BYTES)
    })
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(block: &[u8; RUN_BYTES]) -> __m128i {
    let whole = u128::from_le_bytes(*block);
    _mm_set_epi64x((whole >> 64) as i64, whole as i64)
}

/// The highest bit of each byte.
#[inline]
#[target_feature(enable = "sse2")]
fn bits(bytes: __m128i) -> u32 {
    _mm_movemask_epi8(bytes) as u32
}

#[inline]
#[target_feature(enable = "sse2")]
fn is(bytes: __m128i, byte: u8) -> __m128i {
    _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))
}

/// All ones where the byte, as an unsigned number, is at most `max`.
#[inline]
#[target_feature(enable = "sse2")]
fn at_most(bytes: __m128i, max: u8) -> __m128i {
    _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(max as i8)), bytes)
}

#[inline]
#[target_feature(enable = "sse2")]
fn common(bytes: __m128i) -> __m128i {
    let lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
    let letter = at_most(_mm_sub_epi8(lower, _mm_set1_epi8(b'a' as i8)), 25);
    let digit = at_most(_mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8)), 9);
    _mm_or_si128(_mm_or_si128(letter, digit), is(bytes, b'-'))
}

#[inline]
#[target_feature(enable = "sse2")]
fn common_or_dot(bytes: __m128i) -> __m128i {
    _mm_or_si128(common(bytes), is(bytes, b'.'))
}

#[inline]
#[target_feature(enable = "sse2")]
fn control(bytes: __m128i) -> __m128i {
    _mm_or_si128(at_most(bytes, 0x1f), is(bytes, 0x7f))
}

#[inline]
#[target_feature(enable = "sse2")]
fn non_target(bytes: __m128i) -> __m128i {
    // As signed numbers, bytes from 0x80 lie below the space too.
    let low_or_high = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21));
    let quote_or_hash = is(_mm_or_si128(bytes, _mm_set1_epi8(1)), b'#'); // 0x22, 0x23
    let angle = is(_mm_or_si128(bytes, _mm_set1_epi8(2)), b'>'); // 0x3c, 0x3e
    let rest = _mm_or_si128(is(bytes, b'\\'), is(bytes, 0x7f));
    _mm_or_si128(_mm_or_si128(low_or_high, quote_or_hash), _mm_or_si128(angle, rest))
}
