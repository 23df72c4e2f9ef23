//! Response heads, written straight into the caller's buffer, and whole small answers: errors, 304, preflight.
//!
//! Sources: RFC 9110 6.6 (Date), 8 (representation fields), 10.2 (Allow, Retry-After), 14.4 (Content-Range), 15 (status
//! codes), RFC 9112 4 and 6.3 (status line, length of an answer), RFC 9111 5.2 (Cache-Control), Fetch 3.2 (CORS).
//!
//! What it deliberately does not do: send, chunk (a stream of unknown length ends with its connection), compress.
//! A field value is written through [`ResponseHead::field`], which keeps CR, LF and other controls out of the head, so
//! that no text that came from a client can begin a field of its own.
#![forbid(unsafe_code)]

use crate::time::civil_from_days;
use std::fmt::Write as _;

/// `Server` of every answer.
pub const SERVER: &str = "millrace";
/// The methods that are served, as `Allow` and CORS list them.
pub const METHODS: &str = "GET, HEAD, OPTIONS";
/// Seconds a browser may remember a preflight answer (Chromium caps it at two hours).
pub const PREFLIGHT_MAX_AGE_S: u32 = 7_200;

/// The status codes that the relay sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)] // The names are those of RFC 9110 15.
pub enum Status {
    Ok = 200,
    NoContent = 204,
    PartialContent = 206,
    Found = 302,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    NotAcceptable = 406,
    RequestTimeout = 408,
    Gone = 410,
    ContentTooLarge = 413,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    TooManyRequests = 429,
    HeadTooLarge = 431,
    InternalServerError = 500,
    NotImplemented = 501,
    BadGateway = 502,
    ServiceUnavailable = 503,
    GatewayTimeout = 504,
    VersionNotSupported = 505,
}

impl Status {
    /// The number, 200 to 505.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The status line with its CRLF.
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "HTTP/1.1 200 OK\r\n",
            Self::NoContent => "HTTP/1.1 204 No Content\r\n",
            Self::PartialContent => "HTTP/1.1 206 Partial Content\r\n",
            Self::Found => "HTTP/1.1 302 Found\r\n",
            Self::NotModified => "HTTP/1.1 304 Not Modified\r\n",
            Self::BadRequest => "HTTP/1.1 400 Bad Request\r\n",
            Self::Unauthorized => "HTTP/1.1 401 Unauthorized\r\n",
            Self::Forbidden => "HTTP/1.1 403 Forbidden\r\n",
            Self::NotFound => "HTTP/1.1 404 Not Found\r\n",
            Self::MethodNotAllowed => "HTTP/1.1 405 Method Not Allowed\r\n",
            Self::NotAcceptable => "HTTP/1.1 406 Not Acceptable\r\n",
            Self::RequestTimeout => "HTTP/1.1 408 Request Timeout\r\n",
            Self::Gone => "HTTP/1.1 410 Gone\r\n",
            Self::ContentTooLarge => "HTTP/1.1 413 Content Too Large\r\n",
            Self::UriTooLong => "HTTP/1.1 414 URI Too Long\r\n",
            Self::RangeNotSatisfiable => "HTTP/1.1 416 Range Not Satisfiable\r\n",
            Self::ExpectationFailed => "HTTP/1.1 417 Expectation Failed\r\n",
            Self::TooManyRequests => "HTTP/1.1 429 Too Many Requests\r\n",
            Self::HeadTooLarge => "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            Self::InternalServerError => "HTTP/1.1 500 Internal Server Error\r\n",
            Self::NotImplemented => "HTTP/1.1 501 Not Implemented\r\n",
            Self::BadGateway => "HTTP/1.1 502 Bad Gateway\r\n",
            Self::ServiceUnavailable => "HTTP/1.1 503 Service Unavailable\r\n",
            Self::GatewayTimeout => "HTTP/1.1 504 Gateway Timeout\r\n",
            Self::VersionNotSupported => "HTTP/1.1 505 HTTP Version Not Supported\r\n",
        }
    }
}

/// What happens to the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open for a further request.
    KeepAlive,
    /// It is closed.
    Close,
}

/// What caches may do with an answer (RFC 9111 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// `no-store`: decided per viewer, or live.
    NoStore,
    /// `no-cache`: may be kept, and is to be asked for again each time.
    NoCache,
    /// `max-age` in seconds: playlists.
    MaxAge(u32),
    /// `max-age` in seconds and `immutable`: media below an epoch.
    Immutable(u32),
}

/// A response head under way. Writes into the buffer as it goes; [`ResponseHead::end`] closes it.
#[derive(Debug)]
#[must_use = "a head needs its empty line: call end()"]
pub struct ResponseHead<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> ResponseHead<'o> {
    /// Appends the status line, `Date`, `Server` and `Connection` to `out`.
    pub fn new(out: &'o mut Vec<u8>, status: Status, date: &HttpDate, persistence: Persistence) -> Self {
        out.extend_from_slice(status.line().as_bytes());
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&date.text);
        out.extend_from_slice(b"\r\nServer: ");
        out.extend_from_slice(SERVER.as_bytes());
        out.extend_from_slice(match persistence {
            Persistence::KeepAlive => b"\r\nConnection: keep-alive\r\n",
            Persistence::Close => b"\r\nConnection: close\r\n",
        });
        ResponseHead { out }
    }

    /// Any field. Control characters in `value` become spaces; `name` must be a token.
    pub fn field(&mut self, name: &str, value: &str) -> &mut Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend(value.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Content-Type`.
    pub fn content_type(&mut self, media_type: &str) -> &mut Self {
        self.field("Content-Type", media_type)
    }

    /// `Content-Length`, bytes. A 204 or 304 has none; without one the answer ends with the connection.
    pub fn content_length(&mut self, bytes: u64) -> &mut Self {
        self.out.extend_from_slice(b"Content-Length: ");
        push_decimal(self.out, bytes);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Content-Range: bytes start-(end-1)/len` of a 206.
    pub fn content_range(&mut self, start: u64, end: u64, len: u64) -> &mut Self {
        self.out.extend_from_slice(b"Content-Range: bytes ");
        push_decimal(self.out, start);
        self.out.push(b'-');
        push_decimal(self.out, end.saturating_sub(1));
        self.out.push(b'/');
        push_decimal(self.out, len);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Content-Range: bytes */len` of a 416.
    pub fn content_range_unsatisfied(&mut self, len: u64) -> &mut Self {
        self.out.extend_from_slice(b"Content-Range: bytes */");
        push_decimal(self.out, len);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Accept-Ranges: bytes` or, for live streams, `none`.
    pub fn accept_ranges(&mut self, accepted: bool) -> &mut Self {
        self.field("Accept-Ranges", if accepted { "bytes" } else { "none" })
    }

    /// `ETag`; `etag` has its quotes.
    pub fn etag(&mut self, etag: &str) -> &mut Self {
        self.field("ETag", etag)
    }

    /// `Cache-Control`.
    pub fn caching(&mut self, caching: Caching) -> &mut Self {
        let (seconds, tail) = match caching {
            Caching::NoStore => return self.field("Cache-Control", "no-store"),
            Caching::NoCache => return self.field("Cache-Control", "no-cache"),
            Caching::MaxAge(seconds) => (seconds, &b"\r\n"[..]),
            Caching::Immutable(seconds) => (seconds, &b", immutable\r\n"[..]),
        };
        self.out.extend_from_slice(b"Cache-Control: public, max-age=");
        push_decimal(self.out, u64::from(seconds));
        self.out.extend_from_slice(tail);
        self
    }

    /// CORS for media: any origin may read the answer and the fields that players look at.
    pub fn cors(&mut self) -> &mut Self {
        self.out.extend_from_slice(
            b"Access-Control-Allow-Origin: *\r\n\
              Access-Control-Expose-Headers: Content-Length, Content-Range, Date, X-Relay-Decision\r\n",
        );
        self
    }

    /// `Vary`: the request fields that the decision for this answer looked at.
    pub fn vary(&mut self, names: &str) -> &mut Self {
        self.field("Vary", names)
    }

    /// `X-Relay-Decision`: what was decided for this viewer and why, one line.
    pub fn decision(&mut self, why: &str) -> &mut Self {
        self.field("X-Relay-Decision", why)
    }

    /// `Retry-After`, seconds.
    pub fn retry_after(&mut self, seconds: u32) -> &mut Self {
        self.out.extend_from_slice(b"Retry-After: ");
        push_decimal(self.out, u64::from(seconds));
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// `Allow` with the methods that are served.
    pub fn allow(&mut self) -> &mut Self {
        self.field("Allow", METHODS)
    }

    /// The empty line.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// An error answer: a status and one line of plain text.
#[derive(Clone, Copy, Debug)]
pub struct ErrorAnswer<'a> {
    /// The status; 405 brings its `Allow` along.
    pub status: Status,
    /// Why, one line without its end.
    pub why: &'a str,
    /// True for HEAD: the head alone, `Content-Length` as GET would have it.
    pub head_only: bool,
    /// What happens to the connection; every [`crate::http::request::RequestError`] closes it.
    pub persistence: Persistence,
    /// `Retry-After` in seconds, for 503.
    pub retry_after_s: Option<u32>,
}

impl ErrorAnswer<'_> {
    /// Appends the whole answer to `out`. Not to be cached; readable across origins, so that players can report it.
    pub fn write(&self, out: &mut Vec<u8>, date: &HttpDate) {
        let mut head = ResponseHead::new(out, self.status, date, self.persistence);
        head.content_type("text/plain; charset=utf-8").content_length(self.why.len() as u64 + 1);
        head.caching(Caching::NoStore).cors();
        if let Some(seconds) = self.retry_after_s {
            head.retry_after(seconds);
        }
        if self.status == Status::MethodNotAllowed {
            head.allow();
        }
        head.end();
        if !self.head_only {
            out.extend_from_slice(self.why.as_bytes());
            out.push(b'\n');
        }
    }
}

/// Appends the answer to a request that was refused; the connection must be closed after it.
pub fn write_refusal(out: &mut Vec<u8>, refused: crate::http::request::RequestError, date: &HttpDate) {
    let why = refused.to_string();
    let persistence = Persistence::Close;
    // Whether it was a HEAD is not always known; a body before the close harms nobody.
    ErrorAnswer { status: refused.status(), why: &why, head_only: false, persistence, retry_after_s: None }
        .write(out, date);
}

/// Appends a 304 for media (RFC 9110 15.4.5): no body, no length, the fields a cache needs, and CORS.
pub fn write_not_modified(out: &mut Vec<u8>, date: &HttpDate, persistence: Persistence, etag: &str, caching: Caching) {
    let mut head = ResponseHead::new(out, Status::NotModified, date, persistence);
    head.etag(etag).caching(caching).cors();
    head.end();
}

/// Appends a 416 for a representation of `len` bytes.
pub fn write_unsatisfiable(out: &mut Vec<u8>, date: &HttpDate, persistence: Persistence, len: u64) {
    let mut head = ResponseHead::new(out, Status::RangeNotSatisfiable, date, persistence);
    head.content_range_unsatisfied(len).content_length(0).cors();
    head.end();
}

/// Appends the answer to any OPTIONS request, CORS preflights included: 204, no body, no length (RFC 9110 8.6).
pub fn write_options(out: &mut Vec<u8>, date: &HttpDate, persistence: Persistence) {
    let mut head = ResponseHead::new(out, Status::NoContent, date, persistence);
    head.allow().field("Access-Control-Allow-Origin", "*").field("Access-Control-Allow-Methods", METHODS);
    head.field(
        "Access-Control-Allow-Headers",
        "Range, If-Range, If-None-Match, Cache-Control, X-Video-Codec, X-Audio-Codec, X-Container",
    );
    head.out.extend_from_slice(b"Access-Control-Max-Age: ");
    push_decimal(head.out, u64::from(PREFLIGHT_MAX_AGE_S));
    head.out.extend_from_slice(b"\r\n");
    head.end();
}

/// The value of `Date`, kept for the second it is good for. One per shard.
#[derive(Clone, Debug)]
pub struct HttpDate {
    unix_s: u64,
    text: [u8; 29],
}

impl HttpDate {
    /// The date of a second since 1970-01-01 UTC.
    pub fn new(unix_s: u64) -> Self {
        HttpDate { unix_s, text: imf_fixdate(unix_s) }
    }

    /// Moves to `unix_s`; costs a comparison as long as the second is the same.
    pub fn set(&mut self, unix_s: u64) -> &Self {
        if unix_s != self.unix_s {
            *self = HttpDate::new(unix_s);
        }
        self
    }

    /// The text, always 29 bytes: `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn text(&self) -> &[u8; 29] {
        &self.text
    }
}

/// RFC 9110 5.6.7, for years up to 9999; later seconds give the last one of 9999.
fn imf_fixdate(unix_s: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970-01-01 was a Thursday.
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const UNIX_S_MAX: u64 = 253_402_300_799; // 9999-12-31 23:59:59
    let unix_s = unix_s.min(UNIX_S_MAX);
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[(month - 1) as usize]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(29);
    // Writing to a String cannot fail.
    let _ = write!(text, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    text.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

/// Decimal digits without the machinery of `fmt`.
fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20]; // u64::MAX has 20 digits.
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::RequestError;

    fn date() -> HttpDate {
        HttpDate::new(784_111_777)
    }

    #[test]
    fn dates_follow_the_rfc() {
        for (unix_s, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // the example of RFC 9110 5.6.7
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), // 2100 is no leap year
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(HttpDate::new(unix_s).text()), text);
        }
    }

    #[test]
    fn date_is_kept_for_its_second() {
        let mut date = HttpDate::new(0);
        assert_eq!(&date.set(1).text()[17..25], b"00:00:01");
        assert_eq!(&date.set(1).text()[17..25], b"00:00:01");
    }

    #[test]
    fn segment_head_byte_for_byte() {
        let mut out = Vec::new();
        let mut head = ResponseHead::new(&mut out, Status::PartialContent, &date(), Persistence::KeepAlive);
        head.content_type("video/mp2t").content_length(188).content_range(0, 188, 376).etag("\"7\"");
        head.caching(Caching::Immutable(3600)).accept_ranges(true);
        head.end();
        let expected = "HTTP/1.1 206 Partial Content\r\n\
            Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Server: millrace\r\n\
            Connection: keep-alive\r\n\
            Content-Type: video/mp2t\r\n\
            Content-Length: 188\r\n\
            Content-Range: bytes 0-187/376\r\n\
            ETag: \"7\"\r\n\
            Cache-Control: public, max-age=3600, immutable\r\n\
            Accept-Ranges: bytes\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_client_cannot_write_fields_of_its_own() {
        let mut out = Vec::new();
        let mut head = ResponseHead::new(&mut out, Status::Ok, &date(), Persistence::Close);
        head.decision("user-agent \"x\r\nSet-Cookie: a=b\"");
        head.end();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("X-Relay-Decision: user-agent \"x  Set-Cookie: a=b\"\r\n\r\n"), "{text}");
    }

    #[test]
    fn error_answers_say_why_and_head_has_no_body() {
        let mut error = ErrorAnswer {
            status: Status::ServiceUnavailable,
            why: "no capacity",
            head_only: false,
            persistence: Persistence::KeepAlive,
            retry_after_s: Some(2),
        };
        let (mut get, mut head) = (Vec::new(), Vec::new());
        error.write(&mut get, &date());
        error.head_only = true;
        error.write(&mut head, &date());
        let get = String::from_utf8(get).unwrap();
        assert!(get.contains("Content-Length: 12\r\n") && get.contains("Retry-After: 2\r\n"));
        assert_eq!(get.strip_suffix("no capacity\n").unwrap().as_bytes(), head);
    }

    #[test]
    fn refusals_close_and_405_allows() {
        let mut out = Vec::new();
        write_refusal(&mut out, RequestError::MethodNotAllowed, &date());
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 "));
        assert!(text.contains("Connection: close\r\n") && text.contains("Allow: GET, HEAD, OPTIONS\r\n"));
    }

    #[test]
    fn answers_without_a_body_have_no_length() {
        let (mut options, mut not_modified) = (Vec::new(), Vec::new());
        write_options(&mut options, &date(), Persistence::KeepAlive);
        write_not_modified(&mut not_modified, &date(), Persistence::KeepAlive, "\"1\"", Caching::MaxAge(1));
        for out in [options, not_modified] {
            let text = String::from_utf8(out).unwrap();
            assert!(!text.contains("\r\nContent-Length:") && text.ends_with("\r\n\r\n"), "{text}");
        }
    }

    #[test]
    fn decimals() {
        let mut out = Vec::new();
        for number in [0, 9, 10, 18_446_744_073_709_551_615] {
            push_decimal(&mut out, number);
            out.push(b' ');
        }
        assert_eq!(out, b"0 9 10 18446744073709551615 ");
    }
}
