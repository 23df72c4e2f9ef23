//! How far a run of allowed bytes reaches, 16 bytes a step: header names, header values, request targets.
//!
//! Sources: RFC 9110 5.6.2 (`token`), 5.5 (`field-value`), RFC 9112 3.2 and RFC 3986 (request targets).
//!
//! A step is a loop of fixed length without a branch, which the compiler turns into a handful of SSE2 or NEON
//! instructions: vector speed on every processor, no detection at run time and no unsafe code. That is why the byte
//! classes below use `|` and `&` where `||` and `&&` would read more usual. Wider vectors would not pay: heads are short.
#![forbid(unsafe_code)]

/// Bytes one step looks at.
const BLOCK_BYTES: usize = 16;

/// Index of the first byte at or after `from` that is no `token` byte, or `buf.len()`.
#[inline]
pub fn token_end(buf: &[u8], from: usize) -> usize {
    let mut at = run_end(buf, from, |byte| !is_common_name_byte(byte));
    // The vector loop knows letters, digits and `-`; the fourteen other token bytes are rare enough for the table.
    while at < buf.len() && is_token_byte(buf[at]) {
        at += 1;
    }
    at
}

/// Index of the first byte at or after `from` that a field value may not hold, or `buf.len()`.
#[inline]
pub fn value_end(buf: &[u8], from: usize) -> usize {
    run_end(buf, from, |byte| !is_value_byte(byte))
}

/// Index of the first byte at or after `from` that a request target may not hold, or `buf.len()`.
#[inline]
pub fn target_end(buf: &[u8], from: usize) -> usize {
    run_end(buf, from, |byte| !is_target_byte(byte))
}

/// `tchar` of RFC 9110 5.6.2: what methods and header names are made of.
#[inline]
pub const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// `VCHAR`, `obs-text`, space and tab (RFC 9110 5.5): what a header value is made of.
#[inline]
pub const fn is_value_byte(byte: u8) -> bool {
    (byte == b'\t') | ((byte >= b' ') & (byte != 0x7f))
}

/// What a request target may hold: visible ASCII without `"`, `#`, `<`, `>` and `\`.
///
/// RFC 3986 would also refuse `^`, `` ` ``, `{`, `|` and `}`; browsers send those raw in a query (WHATWG URL, "query
/// percent-encode set"), so they pass.
#[inline]
pub const fn is_target_byte(byte: u8) -> bool {
    let special = (byte == b'"') | (byte == b'#') | (byte == b'<') | (byte == b'>') | (byte == b'\\');
    (byte > b' ') & (byte < 0x7f) & !special
}

/// A letter, a digit or `-`.
#[inline]
const fn is_common_name_byte(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'-')
}

/// Index of the first byte at or after `from` that `refused` holds for, or `buf.len()`. `refused` must hold for NUL.
#[inline(always)]
fn run_end(buf: &[u8], from: usize, refused: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(block) = buf.get(at..).and_then(|rest| rest.first_chunk()) {
        let hits = mask(block, &refused);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += BLOCK_BYTES;
    }
    // The last few bytes: look at the last whole block again and shift out what lies before `at`.
    let (hits, before) = match buf.last_chunk() {
        Some(block) => (mask(block, &refused), at + BLOCK_BYTES - buf.len()),
        None => (mask(&padded(buf), &refused), at),
    };
    let hits = hits.checked_shr(8 * before as u32).unwrap_or(0);
    if hits == 0 { buf.len() } else { (at + hits.trailing_zeros() as usize / 8).min(buf.len()) }
}

/// Byte `i` of the mask, from the low end, is all ones where `refused` holds for byte `i` of the block.
///
/// The loop has no branch and a fixed length, so the compiler makes it a few vector comparisons.
#[inline(always)]
fn mask(block: &[u8; BLOCK_BYTES], refused: &impl Fn(u8) -> bool) -> u128 {
    let mut mask = [0u8; BLOCK_BYTES];
    for (mask, &byte) in mask.iter_mut().zip(block) {
        *mask = if refused(byte) { 0xff } else { 0 };
    }
    u128::from_le_bytes(mask)
}

/// A buffer shorter than a block, made up with NUL, which ends every run.
#[cold]
fn padded(buf: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..buf.len()].copy_from_slice(buf);
    block
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte classes in the words of the specifications.
    #[test]
    fn classes_hold_for_every_byte() {
        for byte in 0..=255u8 {
            let common = byte.is_ascii_alphanumeric() || byte == b'-';
            assert_eq!(is_common_name_byte(byte), common, "{byte:#x}");
            assert_eq!(is_token_byte(byte), common || b"!#$%&'*+.^_`|~".contains(&byte), "{byte:#x}");
            assert_eq!(is_value_byte(byte), !byte.is_ascii_control() || byte == b'\t', "{byte:#x}");
            assert_eq!(is_target_byte(byte), byte.is_ascii_graphic() && !b"\"#<>\\".contains(&byte), "{byte:#x}");
        }
    }

    /// Buffers from empty to several blocks, each start, a refused byte at each place or none.
    #[test]
    fn run_ends_equal_a_byte_loop_at_every_length_and_start() {
        for len in 0..50 {
            for stop in 0..=len {
                let mut buf = vec![b'_'; len];
                if stop < len {
                    buf[stop] = b'\r';
                }
                for from in 0..=len {
                    let naive = |ok: fn(u8) -> bool| (from..len).find(|&i| !ok(buf[i])).unwrap_or(len);
                    assert_eq!(token_end(&buf, from), naive(is_token_byte), "{len} {stop} {from}");
                    assert_eq!(value_end(&buf, from), naive(is_value_byte), "{len} {stop} {from}");
                    assert_eq!(target_end(&buf, from), naive(is_target_byte), "{len} {stop} {from}");
                }
            }
        }
    }

    #[test]
    fn nul_ends_every_run_so_that_padding_does() {
        assert!(!is_common_name_byte(0) && !is_value_byte(0) && !is_target_byte(0));
    }
}
