//! Byte ranges and entity-tag conditions: which part of a representation to send, and whether to send it at all.
//!
//! Sources: RFC 9110 8.8.3 (entity tags), 13.1.2 (`If-None-Match`), 13.1.5 (`If-Range`), 14.1 and 14.2 (ranges).
//!
//! What it deliberately does not do: multipart answers. RFC 9110 14.2 lets a server ignore `Range`, so a request for
//! several ranges gets the whole. Nor dates: the relay sends no `Last-Modified`, so a date in `If-Range` never matches.
#![forbid(unsafe_code)]

use crate::http::fields::{list, trim_ows};

/// What to send of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// All of it: 200.
    Whole,
    /// Bytes `start..end`, `start < end <= len`: 206.
    Part {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// None of it can be sent: 416 with `Content-Range: bytes */len`.
    Unsatisfiable,
}

/// One `range-spec`; numbers too large for 64 bits count as the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// `first-` or `first-last`.
    From { first: u64, last: u64 },
    /// `-length`.
    Suffix { length: u64 },
}

/// Resolves `Range` and `If-Range` of a GET against a representation of `len` bytes with the strong entity tag `etag`
/// (quotes included). Ranges of other methods are to be ignored by the caller (RFC 9110 14.2).
pub fn resolve(range: Option<&[u8]>, if_range: Option<&[u8]>, etag: &[u8], len: u64) -> Resolved {
    let Some(spec) = range.and_then(single_spec) else { return Resolved::Whole };
    if if_range.is_some_and(|validator| trim_ows(validator) != etag || !is_strong(etag)) {
        return Resolved::Whole;
    }
    match spec {
        Spec::From { first, .. } if first >= len => Resolved::Unsatisfiable,
        Spec::From { first, last } => Resolved::Part { start: first, end: last.saturating_add(1).min(len) },
        Spec::Suffix { length: 0 } => Resolved::Unsatisfiable,
        // A suffix of nothing is satisfiable by the letter, yet no `Content-Range` can say so.
        Spec::Suffix { .. } if len == 0 => Resolved::Whole,
        Spec::Suffix { length } => Resolved::Part { start: len.saturating_sub(length), end: len },
    }
}

/// Whether an `If-None-Match` value names `etag`, so that GET and HEAD are answered 304. Weak comparison; `*` matches
/// every representation that exists.
pub fn etag_matches(if_none_match: &[u8], etag: &[u8]) -> bool {
    let opaque = |tag| -> &[u8] { <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag) };
    // The relay's own tags hold no comma, so cutting a foreign tag in two at one cannot make a match.
    trim_ows(if_none_match) == b"*" || list(if_none_match).any(|tag| opaque(tag) == opaque(etag))
}

/// The range when there is exactly one, in bytes, with valid syntax.
fn single_spec(value: &[u8]) -> Option<Spec> {
    let equals = value.iter().position(|&byte| byte == b'=')?;
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = list(&value[equals + 1..]);
    let (spec, None) = (specs.next()?, specs.next()) else { return None };
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    match (&spec[..dash], &spec[dash + 1..]) {
        (b"", length) => Some(Spec::Suffix { length: number(length)? }),
        (first, b"") => Some(Spec::From { first: number(first)?, last: u64::MAX }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last })
        }
    }
}

/// `1*DIGIT`, held at the largest 64-bit number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(value.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

fn is_strong(etag: &[u8]) -> bool {
    etag.starts_with(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &[u8] = b"\"e1\"";

    fn of(range: &str, len: u64) -> Resolved {
        resolve(Some(range.as_bytes()), None, ETAG, len)
    }

    fn part(start: u64, end: u64) -> Resolved {
        Resolved::Part { start, end }
    }

    #[test]
    fn single_ranges() {
        assert_eq!(of("bytes=0-0", 10), part(0, 1));
        assert_eq!(of("bytes=0-", 10), part(0, 10));
        assert_eq!(of("bytes=2-5", 10), part(2, 6));
        assert_eq!(of("BYTES= 9-99 ", 10), part(9, 10));
        assert_eq!(of("bytes=-3", 10), part(7, 10));
        assert_eq!(of("bytes=-30", 10), part(0, 10));
        assert_eq!(of("bytes=5-99999999999999999999999", 10), part(5, 10));
    }

    #[test]
    fn unsatisfiable_ranges() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(range, 10), Resolved::Unsatisfiable, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Resolved::Unsatisfiable);
        assert_eq!(of("bytes=-1", 0), Resolved::Whole);
    }

    #[test]
    fn invalid_or_several_ranges_give_the_whole() {
        for range in [
            "bytes=abc-xyz",
            "bytes=5-2",
            "bytes=-",
            "bytes=",
            "items=0-1",
            "bytes",
            "bytes=0-1,4-5",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1--2",
        ] {
            assert_eq!(of(range, 10), Resolved::Whole, "{range}");
        }
        assert_eq!(resolve(None, None, ETAG, 10), Resolved::Whole);
    }

    #[test]
    fn if_range_compares_strongly() {
        let with = |validator: &[u8], etag: &[u8]| resolve(Some(b"bytes=1-2"), Some(validator), etag, 10);
        assert_eq!(with(ETAG, ETAG), part(1, 3));
        assert_eq!(with(b"\"other\"", ETAG), Resolved::Whole);
        assert_eq!(with(b"W/\"e1\"", ETAG), Resolved::Whole);
        assert_eq!(with(b"W/\"e1\"", b"W/\"e1\""), Resolved::Whole);
        assert_eq!(with(b"Thu, 01 Jan 2026 00:00:00 GMT", ETAG), Resolved::Whole);
    }

    #[test]
    fn if_none_match_compares_weakly_in_lists() {
        for value in [&b"*"[..], b"\"e1\"", b"W/\"e1\"", b"\"a\", W/\"b\",\"e1\""] {
            assert!(etag_matches(value, ETAG), "{value:?}");
        }
        for value in [&b""[..], b"e1", b"\"e2\"", b"\"*\"", b"w/\"e1\""] {
            assert!(!etag_matches(value, ETAG), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_part_lies_within(range in "(bytes=)?[0-9,-]{0,24}", len in 0u64..1000) {
            if let Resolved::Part { start, end } = of(&range, len) {
                prop_assert!(start < end && end <= len);
            }
        }
    }
}
