//! Where runs of allowed bytes end and where control bytes stand: the byte loops of the request parser, as vector code.
//!
//! Sources: RFC 9110 5.6.2 (`token`), 5.5 (`field-value`), 7.2 (`Host`), RFC 9112 3.2 and RFC 3986 (request targets).
//!
//! The parser finds the ends of lines by [`LineEnds`], 64 bytes a step, before it looks into any line. A parser that
//! walks name, value, name, value has to wait for each end before it can look for the next; when the line ends are
//! known beforehand, the processor works on several lines at once. That, and not the width of the vectors, is the gain.
//!
//! The masks themselves come from [`super::sse2`] on x86-64, which always has SSE2, so nothing is detected at run time;
//! elsewhere from a plain loop, which is also what the tests hold the vector code against.
#![forbid(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::sse2 as mask;
#[cfg(not(target_arch = "x86_64"))]
use plain as mask;

/// Bytes one step of a run looks at.
pub(super) const RUN_BYTES: usize = 16;
/// Bytes one step of [`LineEnds`] looks at: one bit of a word each.
pub(super) const CONTROLS_BYTES: usize = 64;

/// Index of the first byte at or after `from` that is no `token` byte, or `buf.len()`.
#[inline]
pub fn token_end(buf: &[u8], from: usize) -> usize {
    let mut at = run_end(buf, from, mask::uncommon_name_bytes);
    // The mask knows letters, digits and `-`; the fourteen other token bytes are rare enough for the table.
    while at < buf.len() && is_token_byte(buf[at]) {
        at += 1;
    }
    at
}

/// Index of the first byte at or after `from` that a request target may not hold, or `buf.len()`.
#[inline]
pub fn target_end(buf: &[u8], from: usize) -> usize {
    run_end(buf, from, mask::non_target_bytes)
}

/// Index of the first byte at or after `from` that is no letter, digit, `-` or `.`, or `buf.len()`.
#[inline]
pub fn host_name_end(buf: &[u8], from: usize) -> usize {
    run_end(buf, from, mask::uncommon_host_bytes)
}

/// Index of the first `:` of `block`.
#[inline(always)]
pub(super) fn colon(block: &[u8; RUN_BYTES]) -> Option<usize> {
    let index = mask::colons(block).trailing_zeros() as usize;
    (index < RUN_BYTES).then_some(index)
}

/// Whether the first `len` bytes of `block`, `len` below 16, are letters, digits and `-` alone.
#[inline(always)]
pub(super) fn is_common_name(block: &[u8; RUN_BYTES], len: usize) -> bool {
    mask::uncommon_name_bytes(block).trailing_zeros() as usize >= len
}

/// The line ends of a head, in order: `Ok` with the index of the CR of each CRLF, `Err` with the index of a control
/// byte (all below space but tab, and DEL) that begins none. After an `Err` the walk is over.
#[derive(Clone, Debug)]
pub(super) struct LineEnds<'b> {
    buf: &'b [u8],
    /// Index of the byte that bit 0 stands for.
    base: usize,
    /// Control bytes of the current step not given out yet, tabs among them: the mask is cheaper so.
    bits: u64,
    /// Start of the next step.
    next: usize,
    /// 1 when the first byte of the next step is the LF of a line end given out already, else 0.
    given_out: u64,
}

impl<'b> LineEnds<'b> {
    /// Those at or after `from`.
    #[inline]
    pub fn new(buf: &'b [u8], from: usize) -> Self {
        LineEnds { buf, base: from, bits: 0, next: from, given_out: 0 }
    }

    #[inline(always)]
    fn step(&mut self) {
        self.base = self.next;
        self.next += CONTROLS_BYTES;
        let padding;
        let (block, shift) =
            match (self.buf.get(self.base..).and_then(|rest| rest.first_chunk()), self.buf.last_chunk()) {
                (Some(block), _) => (block, 0),
                // The end of the buffer: the last whole block again, without what lies before `base`.
                (None, Some(block)) => (block, self.next - self.buf.len()),
                (None, None) => {
                    padding = padded(self.buf);
                    (&padding, self.base)
                }
            };
        self.bits = mask::controls(block) >> shift & !self.given_out;
        // Of this step alone: the first byte of a later one is looked at, even when this one gives out no line end.
        self.given_out = 0;
    }
}

impl Iterator for LineEnds<'_> {
    type Item = Result<usize, usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.bits == 0 {
                if self.next >= self.buf.len() {
                    return None;
                }
                self.step();
            }
            let at = self.base + self.bits.trailing_zeros() as usize;
            match self.buf.get(at..) {
                Some([b'\r', b'\n', ..]) => {
                    let from_line_feed = self.bits & (self.bits - 1);
                    self.given_out = u64::from(from_line_feed == 0);
                    self.bits = from_line_feed & from_line_feed.wrapping_sub(1);
                    return Some(Ok(at));
                }
                Some([b'\t', ..]) => self.bits &= self.bits - 1,
                Some([_, ..]) => return Some(Err(at)),
                _ => return None, // Padding.
            }
        }
    }
}

/// `tchar` of RFC 9110 5.6.2: what methods and header names are made of.
#[inline]
pub const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// `VCHAR`, `obs-text`, space and tab (RFC 9110 5.5): what a header value is made of.
#[inline]
pub const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// What a request target may hold: visible ASCII without `"`, `#`, `<`, `>` and `\`.
///
/// RFC 3986 would also refuse `^`, `` ` ``, `{`, `|` and `}`; browsers send those raw in a query (WHATWG URL, "query
/// percent-encode set"), so they pass.
#[inline]
pub const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\')
}

/// Index of the first byte at or after `from` whose bit `refused` sets, or `buf.len()`. `refused` must refuse NUL.
#[inline(always)]
fn run_end(buf: &[u8], from: usize, refused: impl Fn(&[u8; RUN_BYTES]) -> u32) -> usize {
    let mut at = from;
    while let Some(block) = buf.get(at..).and_then(|rest| rest.first_chunk()) {
        let hits = refused(block);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += RUN_BYTES;
    }
    // The last few bytes: look at the last whole block again and shift out what lies before `at`.
    let (hits, before) = match buf.last_chunk() {
        Some(block) => (refused(block), at + RUN_BYTES - buf.len()),
        None => (refused(&padded(buf)), at),
    };
    let hits = hits >> before;
    if hits == 0 { buf.len() } else { (at + hits.trailing_zeros() as usize).min(buf.len()) }
}

/// A buffer shorter than a block, made up with NUL.
#[cold]
#[inline(never)]
fn padded<const LEN: usize>(buf: &[u8]) -> [u8; LEN] {
    let mut block = [0; LEN];
    block[..buf.len()].copy_from_slice(buf);
    block
}

/// The masks byte by byte: for other processors, and the oracle of the tests.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::{CONTROLS_BYTES, RUN_BYTES, is_target_byte};

    fn bits(block: &[u8], allowed: impl Fn(u8) -> bool) -> u64 {
        block.iter().enumerate().fold(0, |bits, (i, &byte)| bits | (u64::from(!allowed(byte)) << i))
    }

    pub fn uncommon_name_bytes(block: &[u8; RUN_BYTES]) -> u32 {
        bits(block, |byte| byte.is_ascii_alphanumeric() || byte == b'-') as u32
    }

    pub fn uncommon_host_bytes(block: &[u8; RUN_BYTES]) -> u32 {
        bits(block, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') as u32
    }

    pub fn non_target_bytes(block: &[u8; RUN_BYTES]) -> u32 {
        bits(block, is_target_byte) as u32
    }

    pub fn colons(block: &[u8; RUN_BYTES]) -> u32 {
        bits(block, |byte| byte != b':') as u32
    }

    pub fn controls(block: &[u8; CONTROLS_BYTES]) -> u64 {
        bits(block, |byte| !byte.is_ascii_control())
    }
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

    /// Every byte value at every position, through the vector masks and the plain ones.
    #[test]
    fn masks_equal_the_plain_loop_for_every_byte() {
        for byte in 0..=255u8 {
            for at in 0..CONTROLS_BYTES {
                let mut block = [b'a'; CONTROLS_BYTES];
                block[at] = byte;
                assert_eq!(mask::controls(&block), plain::controls(&block), "{byte:#x} at {at}");
                let Some(run) = block[..RUN_BYTES].first_chunk().filter(|_| at < RUN_BYTES) else { continue };
                assert_eq!(mask::uncommon_name_bytes(run), plain::uncommon_name_bytes(run), "{byte:#x} at {at}");
                assert_eq!(mask::colons(run), plain::colons(run), "{byte:#x} at {at}");
                assert_eq!(mask::uncommon_host_bytes(run), plain::uncommon_host_bytes(run), "{byte:#x} at {at}");
                assert_eq!(mask::non_target_bytes(run), plain::non_target_bytes(run), "{byte:#x} at {at}");
            }
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
                    assert_eq!(target_end(&buf, from), naive(is_target_byte), "{len} {stop} {from}");
                }
            }
        }
    }

    #[test]
    fn line_ends_equal_a_byte_loop_at_every_length_and_start() {
        for len in 0..200 {
            // Short lines and long ones, so that a CRLF comes to lie across each edge of a step; the last may be cut.
            let mut buf: Vec<u8> = (0..len).map(|i| if i % 61 < 9 { b"a\r\n"[i % 61 % 3] } else { b'\t' }).collect();
            buf.truncate(len);
            for from in (0..=len).filter(|&from| buf.get(from) != Some(&b'\n')) {
                let naive: Vec<_> = (from..len).filter(|&i| buf[i] == b'\r' && i + 1 < len).collect();
                let ends: Vec<_> = LineEnds::new(&buf, from).map_while(Result::ok).collect();
                assert_eq!(ends, naive, "{len} {from}");
            }
        }
    }

    #[test]
    fn line_ends_stop_at_a_control_byte_that_begins_none() {
        for (buf, at) in
            [(&b"a\r\nb\n"[..], 4), (b"a\r\nb\rc", 4), (b"a\r\n\0", 3), (b"a\r\n\r\n\n", 5), (b"a\r\nbb\r", 5)]
        {
            assert_eq!(LineEnds::new(buf, 0).find_map(Result::err), Some(at), "{buf:?}");
        }
    }

    #[test]
    fn names_end_at_a_colon_within_the_block() {
        assert_eq!(colon(b"Host: h\r\n\r\na:cde"), Some(4));
        assert_eq!(colon(b"Content-Length1:"), Some(15));
        assert_eq!(colon(b"Content-Length12"), None);
        assert!(is_common_name(b"a1-Z: _         ", 4));
        assert!(!is_common_name(b"a_b: h          ", 3) && !is_common_name(b"a : h           ", 2));
    }
}
