//! What an origin's response head means: a stream, a redirect, an interim answer or a failure; and the stream's body.
//!
//! Sources: RFC 9110 15 (status codes), RFC 9112 4 and 6.3 (status line, where a body ends).
//!
//! Lenient where old servers need it: `ICY 200 OK` (SHOUTcast) counts as HTTP/1.0, lines may end in LF alone, field
//! lines that are no fields are passed over. `Content-Type` is not looked at: half of all origins have it wrong.
#![forbid(unsafe_code)]

use super::chunked::Chunked;
use super::{EndReason, OriginError, Outcome};
use crate::http::fields::list;
use crate::limits::ORIGIN_HEADERS_MAX;

/// What a complete head says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The stream begins right after the head.
    Stream(Body),
    /// The stream is elsewhere: the `Location` as sent.
    Redirect(String),
    /// 1xx: the real head follows.
    Interim,
}

/// A body under way, by what marks its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Bytes to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    /// Takes in `bytes`, hands data to `body`, and tells when the end was among them.
    pub fn decode(&mut self, bytes: &[u8], body: &mut dyn FnMut(&[u8])) -> Result<Option<EndReason>, OriginError> {
        match self {
            Body::Length(remaining) => {
                let count = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                if count > 0 {
                    body(&bytes[..count]);
                }
                *remaining -= count as u64;
                Ok((*remaining == 0).then_some(EndReason::LengthReached))
            }
            Body::Chunked(chunked) => {
                chunked.decode(bytes, body)?;
                Ok(chunked.is_done().then_some(EndReason::LastChunk))
            }
            Body::UntilClose => {
                if !bytes.is_empty() {
                    body(bytes);
                }
                Ok(None)
            }
        }
    }

    /// What it means that the connection closed here.
    pub fn on_closed(&self) -> Outcome {
        match self {
            Body::UntilClose => Outcome::Ended(EndReason::Closed),
            Body::Length(_) | Body::Chunked(_) => Outcome::Failed(OriginError::Truncated),
        }
    }
}

/// Index after the empty line that ends the head in `buf`. `from`: bytes known to hold no end.
pub(super) fn head_end(buf: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(2);
    buf[from..].iter().enumerate().filter(|&(_, &byte)| byte == b'\n').find_map(|(i, _)| {
        let line_feed = from + i;
        match &buf[line_feed + 1..] {
            [b'\n', ..] => Some(line_feed + 2),
            [b'\r', b'\n', ..] => Some(line_feed + 3),
            _ => None,
        }
    })
}

/// Reads a complete head, its empty line included.
///
/// # Errors
/// [`OriginError::HeadSyntax`], [`OriginError::HeadTooLarge`], [`OriginError::Status`],
/// [`OriginError::EncodingUnknown`], [`OriginError::RedirectTarget`].
pub(super) fn interpret(head: &[u8]) -> Result<Answer, OriginError> {
    let as_http;
    let head = match head.strip_prefix(b"ICY ") {
        Some(rest) => {
            as_http = [b"HTTP/1.0 ", rest].concat();
            &as_http[..]
        }
        None => head,
    };
    let mut headers = [httparse::EMPTY_HEADER; ORIGIN_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    match config.parse_response(&mut response, head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(OriginError::HeadSyntax("it has no end")),
        Err(error) => return Err(syntax(error)),
    }
    answer(response.code.unwrap_or(0), response.headers)
}

fn answer(code: u16, headers: &[httparse::Header<'_>]) -> Result<Answer, OriginError> {
    match code {
        100 | 102..=199 => Ok(Answer::Interim),
        200 | 206 => body(headers).map(Answer::Stream),
        301 | 302 | 303 | 307 | 308 => {
            let location = values(headers, "location").next().ok_or(OriginError::RedirectTarget)?;
            let location = std::str::from_utf8(location).map_err(|_| OriginError::RedirectTarget)?;
            Ok(Answer::Redirect(location.to_owned()))
        }
        _ => Err(OriginError::Status { code, meaning: meaning(code) }),
    }
}

/// RFC 9112 6.3: how the body ends.
fn body(headers: &[httparse::Header<'_>]) -> Result<Body, OriginError> {
    let is_identity = |coding: &[u8]| coding.eq_ignore_ascii_case(b"identity");
    if values(headers, "content-encoding").flat_map(list).any(|coding| !is_identity(coding)) {
        return Err(OriginError::EncodingUnknown);
    }
    let mut codings = values(headers, "transfer-encoding").flat_map(list).filter(|coding| !is_identity(coding));
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => return Ok(Body::Chunked(Chunked::new())),
        _ => return Err(OriginError::EncodingUnknown),
    }
    let mut lengths = values(headers, "content-length").flat_map(list);
    let Some(length) = lengths.next() else { return Ok(Body::UntilClose) };
    if lengths.any(|other| other != length) {
        return Err(OriginError::HeadSyntax("it has several lengths"));
    }
    let is_number = length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| is_number).and_then(|digits| digits.parse().ok());
    number.map(Body::Length).ok_or(OriginError::HeadSyntax("its length is not a number"))
}

/// The values of all fields of this name.
fn values<'h>(headers: &'h [httparse::Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn syntax(error: httparse::Error) -> OriginError {
    match error {
        httparse::Error::TooManyHeaders => OriginError::HeadTooLarge,
        httparse::Error::Version => OriginError::HeadSyntax("it is not HTTP/1.0 or HTTP/1.1"),
        httparse::Error::Status => OriginError::HeadSyntax("its status is not a number"),
        httparse::Error::HeaderName => OriginError::HeadSyntax("a header name is not valid"),
        httparse::Error::HeaderValue => OriginError::HeadSyntax("a header value is not valid"),
        httparse::Error::NewLine | httparse::Error::Token => OriginError::HeadSyntax("a line is not valid"),
    }
}

fn meaning(code: u16) -> &'static str {
    match code {
        101 => "it wants another protocol",
        204 | 205 | 304 => "it has nothing to send",
        300..=399 => "a redirect that cannot be followed",
        401 | 407 => "credentials are missing or wrong",
        403 => "it refuses access",
        404 | 410 => "there is no such stream",
        429 => "too many requests or connections",
        400..=499 => "it refuses the request",
        500..=599 => "it is at fault itself",
        _ => "an unknown status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &str) -> Result<Answer, OriginError> {
        interpret(format!("{lines}\r\n\r\n").as_bytes())
    }

    fn stream(body: Body) -> Result<Answer, OriginError> {
        Ok(Answer::Stream(body))
    }

    #[test]
    fn bodies_end_as_the_head_says() {
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 376"), stream(Body::Length(376)));
        assert_eq!(of("HTTP/1.1 206 Partial\r\nContent-Length: 3, 3"), stream(Body::Length(3)));
        assert_eq!(of("HTTP/1.0 200 OK"), stream(Body::UntilClose));
        assert_eq!(of("ICY 200 OK\r\nicy-name: x"), stream(Body::UntilClose));
        let chunked = || stream(Body::Chunked(Chunked::new()));
        assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked"), chunked());
        // RFC 9112 6.3: the coding wins over a length.
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ntransfer-encoding: identity, chunked"), chunked());
    }

    #[test]
    fn lenient_where_old_servers_need_it() {
        assert_eq!(interpret(b"HTTP/1.0 200\nContent-Length : 7\n\n"), stream(Body::Length(7)));
        assert_eq!(of("HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 1"), stream(Body::Length(1)));
    }

    #[test]
    fn bad_framing_fails() {
        for lines in
            ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: +1", "Content-Length: 99999999999999999999"]
        {
            assert!(matches!(of(&format!("HTTP/1.1 200 OK\r\n{lines}")), Err(OriginError::HeadSyntax(_))), "{lines}");
        }
        for lines in ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: gzip", "Content-Encoding: br"] {
            assert_eq!(of(&format!("HTTP/1.1 200 OK\r\n{lines}")), Err(OriginError::EncodingUnknown), "{lines}");
        }
        assert!(matches!(of("RTSP/1.0 200 OK"), Err(OriginError::HeadSyntax(_))));
    }

    #[test]
    fn statuses() {
        assert_eq!(of("HTTP/1.1 302 Found\r\nLocation: /b"), Ok(Answer::Redirect("/b".into())));
        assert_eq!(of("HTTP/1.1 302 Found"), Err(OriginError::RedirectTarget));
        assert_eq!(of("HTTP/1.1 103 Early Hints"), Ok(Answer::Interim));
        for (code, text) in [(401, "credentials"), (403, "access"), (404, "no such"), (503, "fault"), (101, "protocol")]
        {
            let error = of(&format!("HTTP/1.1 {code} X")).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(&code.to_string()), "{error}");
        }
    }

    #[test]
    fn head_ends_are_found_wherever_the_search_goes_on() {
        let head = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\n\n";
        for from in 0..25 {
            assert_eq!(head_end(head, from), Some(25), "{from}");
        }
        assert_eq!(head_end(b"HTTP/1.1 200 OK\n\nbody", 0), Some(17));
        assert_eq!(head_end(b"HTTP/1.1 200 OK\r\n", 0), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120), with_status in any::<bool>()) {
            let start: &[u8] = if with_status { b"HTTP/1.1 200 OK\r\n" } else { b"" };
            let head = [start, &bytes, b"\r\n\r\n"].concat();
            let end = head_end(&head, 0).unwrap();
            let _ = interpret(&head[..end]);
        }
    }
}
