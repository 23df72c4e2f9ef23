//! Request targets taken apart: path and query, percent-decoded segments, query pairs.
//!
//! Sources: RFC 3986 2.1, 3.3, 3.4, 5.2.4; RFC 9112 3.2 (target forms); the `+` of query pairs is from HTML forms
//! (WHATWG URL, application/x-www-form-urlencoded).
//!
//! What it deliberately does not do: normalise. A path with dot segments is refused, because nothing the relay links to
//! has any; an encoded slash is a character of its segment, never a separator.
#![forbid(unsafe_code)]

use crate::http::scan::host_name_end;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Why a path or a query could not be decoded. All are the client's fault: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// `%` without two hexadecimal digits after it.
    #[error("a percent sign in the URL is not followed by two hexadecimal digits")]
    Escape,
    /// An escape that stands for NUL, CR, LF or another control character.
    #[error("the URL holds an encoded control character")]
    Control,
    /// Escapes that give no valid UTF-8.
    #[error("the URL is not valid UTF-8")]
    Utf8,
    /// A `.` or `..` segment, encoded or not.
    #[error("the URL holds a dot segment")]
    DotSegment,
}

/// A request target taken apart; both parts still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// From the first `/` to before `?`; `*` for `OPTIONS *`.
    pub path: &'b [u8],
    /// What follows the first `?`.
    pub query: Option<&'b [u8]>,
}

impl<'b> Target<'b> {
    /// Takes apart a target that the request parser accepted. The authority of an absolute-form is left out: the relay
    /// serves every host alike.
    pub fn new(target: &'b [u8]) -> Self {
        let target = path_of_absolute(target).unwrap_or(target);
        match target.iter().position(|&byte| byte == b'?') {
            // `http://host?query` has an empty path, which means `/` (RFC 9110 4.2.3).
            Some(0) => Target { path: b"/", query: Some(&target[1..]) },
            None if target.is_empty() => Target { path: b"/", query: None },
            Some(mark) => Target { path: &target[..mark], query: Some(&target[mark + 1..]) },
            None => Target { path: target, query: None },
        }
    }

    /// The decoded segments of the path: `/a/b` gives `a`, `b`; `/a/` gives `a` and an empty one; `/` one empty one.
    ///
    /// # Errors
    /// Each segment on its own may fail with a [`UrlError`].
    pub fn segments(&self) -> impl Iterator<Item = Result<Cow<'b, str>, UrlError>> + use<'b> {
        let path = self.path.strip_prefix(b"/").unwrap_or(self.path);
        path.split(|&byte| byte == b'/').map(|segment| {
            let decoded = decode(segment, false)?;
            if matches!(decoded.as_ref(), "." | "..") { Err(UrlError::DotSegment) } else { Ok(decoded) }
        })
    }

    /// The decoded pairs of the query, in order; a name without `=` has an empty value, empty pairs are left out.
    ///
    /// # Errors
    /// Each pair on its own may fail with a [`UrlError`].
    pub fn query_pairs(&self) -> impl Iterator<Item = Result<(Cow<'b, str>, Cow<'b, str>), UrlError>> + use<'b> {
        let pairs = self.query.unwrap_or_default().split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let value = pair.get(equals + 1..).unwrap_or_default();
            Ok((decode(&pair[..equals], true)?, decode(value, true)?))
        })
    }
}

/// Percent-decodes one segment, query name or query value; without escapes it borrows.
///
/// # Errors
/// [`UrlError`], never [`UrlError::DotSegment`].
pub fn decode(encoded: &[u8], plus_is_space: bool) -> Result<Cow<'_, str>, UrlError> {
    let special = |&byte: &u8| byte == b'%' || (plus_is_space && byte == b'+');
    if !encoded.iter().any(special) {
        return checked(encoded).map(Cow::Borrowed);
    }
    let decoded = unescape(encoded, plus_is_space).ok_or(UrlError::Escape)?;
    checked(&decoded)?;
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| UrlError::Utf8)
}

/// Percent-decodes to any bytes; `None` for a broken escape.
pub(crate) fn decode_bytes(encoded: &[u8]) -> Option<Vec<u8>> {
    unescape(encoded, false)
}

fn unescape(encoded: &[u8], plus_is_space: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                decoded.push(hex(*high)? << 4 | hex(*low)?);
                rest = after;
            }
            b'+' if plus_is_space => decoded.push(b' '),
            &byte => decoded.push(byte),
        }
    }
    Some(decoded)
}

/// Appends `text` to `out` so that it stands for itself inside one path segment or query value: everything but the
/// unreserved characters of RFC 3986 2.3 is percent-encoded.
pub fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// What follows the authority of an `http://` or `https://` target; `None` for every other form and for an authority
/// that is empty, not valid or has user information (RFC 9110 4.2.4: to be treated as an error).
pub(crate) fn path_of_absolute(target: &[u8]) -> Option<&[u8]> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let after = &target[scheme.len()..];
    let end = after.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(after.len());
    is_host_and_port(&after[..end]).then(|| &after[end..])
}

/// `uri-host [":" port]` with a host that is not empty (RFC 9110 7.2, 4.2.1).
///
/// Of what RFC 3986 allows in a name, `,` is refused: in practice it is two values joined by a proxy.
pub(crate) fn is_host_and_port(value: &[u8]) -> bool {
    // A plain name or IPv4 address with or without a port: nearly every `Host` there is.
    let name_end = host_name_end(value, 0);
    let plain_port = match value.get(name_end..) {
        Some([]) => true,
        Some([b':', digits @ ..]) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    name_end > 0 && plain_port || is_unusual_host_and_port(value)
}

fn is_unusual_host_and_port(value: &[u8]) -> bool {
    let colon = match value {
        [b'[', ..] => match value.iter().position(|&byte| byte == b']') {
            Some(close) if is_ip_literal(&value[1..close]) => close + 1,
            _ => return false,
        },
        _ => value.iter().position(|&byte| byte == b':').unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(colon);
    let port_ok = matches!(port, [] | [b':']) || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit));
    let name_ok = host.starts_with(b"[") || host.iter().all(|&byte| is_reg_name_byte(byte));
    !host.is_empty() && port.len() <= 6 && port_ok && name_ok
}

/// The inside of `[...]`: hexadecimal digits, colons and dots; zone names and future versions are not for a `Host`.
fn is_ip_literal(inside: &[u8]) -> bool {
    inside.contains(&b':') && inside.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
}

fn is_reg_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

/// Text without control characters.
fn checked(bytes: &[u8]) -> Result<&str, UrlError> {
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(UrlError::Control);
    }
    std::str::from_utf8(bytes).map_err(|_| UrlError::Utf8)
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &[u8]) -> Result<Vec<String>, UrlError> {
        Target::new(path).segments().map(|segment| segment.map(Cow::into_owned)).collect()
    }

    #[test]
    fn path_and_query_part_at_the_first_question_mark() {
        let target = Target::new(b"/relay/channel/a/stream?format=hls&x=?");
        assert_eq!(target.path, b"/relay/channel/a/stream");
        assert_eq!(target.query, Some(&b"format=hls&x=?"[..]));
        assert_eq!(Target::new(b"/"), Target { path: b"/", query: None });
    }

    #[test]
    fn absolute_form_loses_its_authority() {
        assert_eq!(Target::new(b"HTTP://h:80/p?q").path, b"/p");
        assert_eq!(Target::new(b"https://[::1]:8080"), Target { path: b"/", query: None });
        assert_eq!(Target::new(b"http://h?q"), Target { path: b"/", query: Some(b"q") });
        for bad in [&b"http://"[..], b"http:///p", b"http://user@h/", b"ftp://h/", b"http://h:p/", b"http://[h]/"] {
            assert_eq!(path_of_absolute(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn segments_decode_and_an_encoded_slash_stays_data() {
        assert_eq!(segments(b"/a%2Fb/caf%C3%A9/").unwrap(), ["a/b", "caf\u{e9}", ""]);
        assert_eq!(segments(b"/a+b").unwrap(), ["a+b"]);
    }

    #[test]
    fn bad_segments_are_refused() {
        assert_eq!(segments(b"/a/../b"), Err(UrlError::DotSegment));
        assert_eq!(segments(b"/%2e%2E/b"), Err(UrlError::DotSegment));
        assert_eq!(segments(b"/./b"), Err(UrlError::DotSegment));
        assert_eq!(segments(b"/a%00"), Err(UrlError::Control));
        assert_eq!(segments(b"/a%0d%0aX:1"), Err(UrlError::Control));
        assert_eq!(segments(b"/a%4"), Err(UrlError::Escape));
        assert_eq!(segments(b"/a%zz"), Err(UrlError::Escape));
        assert_eq!(segments(b"/%c0%af"), Err(UrlError::Utf8));
    }

    #[test]
    fn query_pairs_decode_names_and_values() {
        let pairs: Result<Vec<_>, _> = Target::new(b"/?a=1%262&&b&c=x+y%2B&=v").query_pairs().collect();
        let pairs = pairs.unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        assert_eq!(pairs, [("a", "1&2"), ("b", ""), ("c", "x y+"), ("", "v")]);
        assert!(Target::new(b"/?a=%").query_pairs().next().unwrap().is_err());
    }

    #[test]
    fn encoding_survives_the_round_trip() {
        let mut out = String::new();
        push_encoded(&mut out, "a b/\u{e9}?#%-._~");
        assert_eq!(out, "a%20b%2F%C3%A9%3F%23%25-._~");
        assert_eq!(decode(out.as_bytes(), false).unwrap(), "a b/\u{e9}?#%-._~");
    }

    #[test]
    fn hosts() {
        for good in [&b"h"[..], b"localhost:8080", b"1.2.3.4", b"[::1]", b"[fe80::1]:80", b"h:", b"a_b.example"] {
            assert!(is_host_and_port(good), "{good:?}");
        }
        for bad in
            [&b""[..], b":80", b"h/p", b"u@h", b"a, b", b"a b", b"[::1", b"[::1]80", b"h:8a", b"h:123456", b"a:1:2"]
        {
            assert!(!is_host_and_port(bad), "{bad:?}");
        }
    }
}
