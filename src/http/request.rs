//! The request-head parser: hand-rolled, zero-copy, incremental, one pass.
//!
//! Sources: RFC 9112 2 to 6 (message, request line, fields, framing), RFC 9110 5 to 9 (fields, `Host`, methods).
//!
//! Every byte of a head is checked, and checked more strictly than a general parser may: bare LF, folded lines, space
//! before a colon, control bytes, doubtful framing and anything with a body are refused with a reason
//! ([`RequestError`]). What makes it fast is what it leaves out: no array of headers is filled. The dozen fields that
//! the relay looks at are remembered as offsets; the others can still be walked ([`Head::fields`]).
//!
//! What it deliberately does not do: read bodies, decode percent-escapes ([`crate::http::url`]), follow `Upgrade`, or
//! accept HTTP/1.2 as 1.1.
#![forbid(unsafe_code)]

use crate::http::fields::{Field, Fields, list, recognise, trim_ows};
pub use crate::http::refuse::RequestError;
use crate::http::{rules, scan};
use crate::limits::{
    REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX, REQUEST_LEADING_CRLF_MAX, REQUEST_METHOD_BYTES_MAX,
    REQUEST_TARGET_BYTES_MAX,
};

/// What a look at the bytes that have come so far gave.
// The head is large and that is the point: it lives on the caller's stack for one request, boxing would allocate.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Parsed<'b> {
    /// The head, and how many bytes it took, leading empty lines included. What follows belongs to the next request.
    Complete(Head<'b>, usize),
    /// The head goes on: call again with the same bytes and more.
    Partial,
}

/// How far earlier calls for the same head got. One per connection; starts and ends a request at its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes known to hold no end of a head.
    scanned: usize,
}

/// A request method that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
}

/// The protocol version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What `Connection` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionWish {
    /// Neither option: the version decides.
    Silent,
    Close,
    KeepAlive,
}

/// A complete, valid request head; all slices lie in the buffer that was parsed.
#[derive(Clone, Debug)]
pub struct Head<'b> {
    method: Method,
    version: Version,
    target: &'b [u8],
    /// All field lines with their CRLF, without the empty line.
    lines: &'b [u8],
    known: Known<'b>,
}

/// Looks for a request head at the start of `buf`.
///
/// `progress` makes a head that arrives in drips cost linear work: as long as no empty line has come, only new bytes
/// are looked at, and the head is parsed when its end is there. It goes back to its default when a head is complete.
///
/// # Errors
/// [`RequestError`], as soon as the bytes show it or, for a head in drips, at its end. The connection must be closed
/// after the answer.
pub fn parse<'b>(buf: &'b [u8], progress: &mut Progress) -> Result<Parsed<'b>, RequestError> {
    let window = &buf[..buf.len().min(REQUEST_HEAD_BYTES_MAX)];
    if progress.scanned > 0 && !end_may_have_come(window, progress)? {
        return partial(window);
    }
    match parse_head(window)? {
        Some((head, consumed)) => {
            *progress = Progress::default();
            Ok(Parsed::Complete(head, consumed))
        }
        None => {
            progress.scanned = window.len();
            partial(window)
        }
    }
}

impl<'b> Head<'b> {
    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The request target as sent: origin-form, absolute-form with `http` or `https`, or `*` with `OPTIONS`.
    pub fn target(&self) -> &'b [u8] {
        self.target
    }

    /// The value of the first line of `field`, without white space around it; `None` when absent or empty.
    pub fn field(&self, field: Field) -> Option<&'b [u8]> {
        self.known.value(field).filter(|value| !value.is_empty())
    }

    /// All fields in the order in which they came.
    pub fn fields(&self) -> Fields<'b> {
        Fields::new(self.lines)
    }

    /// Whether the client lets the connection stay open after the answer (RFC 9112 9.3).
    pub fn keep_alive(&self) -> bool {
        match self.known.connection {
            ConnectionWish::Close => false,
            ConnectionWish::KeepAlive => true,
            ConnectionWish::Silent => self.version == Version::Http11,
        }
    }
}

/// The known fields of a head under way.
#[derive(Clone, Debug)]
pub(super) struct Known<'b> {
    buf: &'b [u8],
    /// Start and end of each value in `buf`. A value never starts at 0, so a start of 0 means absent.
    spans: [(u16, u16); Field::COUNT],
    connection: ConnectionWish,
}

const _: () = assert!(REQUEST_HEAD_BYTES_MAX <= u16::MAX as usize, "offsets in a head are u16");

impl<'b> Known<'b> {
    fn new(buf: &'b [u8]) -> Self {
        Known { buf, spans: [(0, 0); Field::COUNT], connection: ConnectionWish::Silent }
    }

    /// The value of `field`, possibly empty.
    pub(super) fn value(&self, field: Field) -> Option<&'b [u8]> {
        let (start, end) = self.spans[field as usize];
        if start == 0 { None } else { self.buf.get(usize::from(start)..usize::from(end)) }
    }

    /// Notes a line of a known field; a repeated one counts only where it matters for framing or routing.
    #[inline]
    fn note(&mut self, field: Field, start: usize, end: usize) -> Result<(), RequestError> {
        if field == Field::Connection {
            self.note_connection(&self.buf[start..end]);
        }
        let span = &mut self.spans[field as usize];
        if span.0 == 0 {
            *span = (start as u16, end as u16);
            return Ok(());
        }
        match field {
            Field::Host => Err(RequestError::HostRepeated),
            Field::TransferEncoding => Err(RequestError::CodingSyntax),
            Field::ContentLength if self.value(field) != Some(&self.buf[start..end]) => {
                Err(RequestError::LengthConflict)
            }
            _ => Ok(()),
        }
    }

    /// `close` anywhere wins over `keep-alive`.
    fn note_connection(&mut self, value: &[u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.connection = ConnectionWish::Close;
            } else if option.eq_ignore_ascii_case(b"keep-alive") && self.connection == ConnectionWish::Silent {
                self.connection = ConnectionWish::KeepAlive;
            }
        }
    }
}

/// Looks at the bytes that are new since the last call: is there an empty line? Refuses LF without CR on the way.
fn end_may_have_come(window: &[u8], progress: &mut Progress) -> Result<bool, RequestError> {
    let from = progress.scanned.min(window.len());
    progress.scanned = window.len();
    for (i, _) in window[from..].iter().enumerate().filter(|&(_, &byte)| byte == b'\n') {
        match &window[..from + i] {
            [.., b'\n', b'\r'] | [b'\r'] => return Ok(true),
            [.., b'\r'] => {}
            _ => return Err(RequestError::BareLf),
        }
    }
    Ok(false)
}

/// A head that has not ended: fine, unless it already fills the room a head may take.
fn partial<'b>(window: &[u8]) -> Result<Parsed<'b>, RequestError> {
    if window.len() < REQUEST_HEAD_BYTES_MAX {
        return Ok(Parsed::Partial);
    }
    let in_request_line = !window.iter().skip(2 * REQUEST_LEADING_CRLF_MAX).any(|&byte| byte == b'\n');
    Err(if in_request_line { RequestError::TargetTooLong } else { RequestError::HeadTooLarge })
}

/// `Ok(None)`: more bytes are needed.
fn parse_head(buf: &[u8]) -> Result<Option<(Head<'_>, usize)>, RequestError> {
    let Some(start) = skip_empty_lines(buf)? else { return Ok(None) };
    let Some((method, target_at)) = parse_method(buf, start)? else { return Ok(None) };
    let Some((target, version_at)) = parse_target(buf, target_at)? else { return Ok(None) };
    let Some((version, lines_at)) = parse_version(buf, version_at)? else { return Ok(None) };
    let mut known = Known::new(buf);
    let Some(lines_end) = parse_fields(buf, lines_at, &mut known)? else { return Ok(None) };
    let method = rules::check(method, target, version, &known)?;
    let head = Head { method, version, target, lines: &buf[lines_at..lines_end], known };
    Ok(Some((head, lines_end + 2)))
}

/// RFC 9112 2.2: at least one empty line before a request line is to be ignored.
fn skip_empty_lines(buf: &[u8]) -> Result<Option<usize>, RequestError> {
    let mut at = 0;
    while buf.get(at) == Some(&b'\r') {
        match buf.get(at + 1) {
            None => return Ok(None),
            Some(b'\n') if at < 2 * REQUEST_LEADING_CRLF_MAX => at += 2,
            Some(_) => return Err(RequestError::MethodSyntax),
        }
    }
    Ok(Some(at))
}

/// The method token and where the target begins.
#[inline]
fn parse_method(buf: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, RequestError> {
    if let Some(b"GET ") = buf.get(from..from + 4) {
        return Ok(Some((&buf[from..from + 3], from + 4)));
    }
    let end = scan::token_end(buf, from);
    if end - from > REQUEST_METHOD_BYTES_MAX {
        return Err(RequestError::MethodUnknown);
    }
    match buf.get(end) {
        None => Ok(None),
        Some(b' ') if end > from => Ok(Some((&buf[from..end], end + 1))),
        Some(_) => Err(RequestError::MethodSyntax),
    }
}

/// The target and where the version begins.
#[inline]
fn parse_target(buf: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, RequestError> {
    let end = scan::target_end(buf, from);
    if end - from > REQUEST_TARGET_BYTES_MAX {
        return Err(RequestError::TargetTooLong);
    }
    match buf.get(end) {
        None => Ok(None),
        Some(b' ') if end > from => Ok(Some((&buf[from..end], end + 1))),
        // HTTP/0.9, or a line without a target: `GET HTTP/1.1`.
        Some(b'\r' | b'\n') if end > from => Err(RequestError::VersionSyntax),
        Some(_) => Err(RequestError::TargetSyntax),
    }
}

/// The version and where the field lines begin.
#[inline]
fn parse_version(buf: &[u8], from: usize) -> Result<Option<(Version, usize)>, RequestError> {
    const LEN: usize = b"HTTP/1.1\r\n".len();
    let line_end = &buf[from..];
    let Some(line_end) = line_end.first_chunk::<LEN>() else {
        return if is_version_start(line_end) { Ok(None) } else { Err(RequestError::VersionSyntax) };
    };
    match line_end {
        b"HTTP/1.1\r\n" => Ok(Some((Version::Http11, from + LEN))),
        b"HTTP/1.0\r\n" => Ok(Some((Version::Http10, from + LEN))),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n'] => {
            Err(RequestError::VersionUnknown)
        }
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\n', _] => Err(RequestError::BareLf),
        _ => Err(RequestError::VersionSyntax),
    }
}

/// Whether `bytes`, shorter than a version and its CRLF, may become one.
fn is_version_start(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/0.0\r\n").all(|(&byte, &like)| byte == like || (like == b'0' && byte.is_ascii_digit()))
}

/// Checks the field lines, notes the known ones, and gives the place of the empty line.
fn parse_fields(buf: &[u8], from: usize, known: &mut Known<'_>) -> Result<Option<usize>, RequestError> {
    let mut at = from;
    let mut count = 0;
    loop {
        if buf.get(at) == Some(&b'\r') {
            return match buf.get(at + 1) {
                None => Ok(None),
                Some(b'\n') => Ok(Some(at)),
                Some(_) => Err(RequestError::BareCr),
            };
        }
        let name_end = scan::token_end(buf, at);
        match buf.get(name_end) {
            Some(b':') if name_end > at => {}
            None => return Ok(None),
            Some(&byte) => return Err(name_error(byte, name_end == at)),
        }
        let mut value = name_end + 1;
        while matches!(buf.get(value), Some(b' ' | b'\t')) {
            value += 1;
        }
        let line_end = scan::value_end(buf, value);
        match (buf.get(line_end), buf.get(line_end + 1)) {
            (Some(b'\r'), Some(b'\n')) => {}
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            (Some(b'\n'), _) => return Err(RequestError::BareLf),
            (Some(b'\r'), _) => return Err(RequestError::BareCr),
            _ => return Err(RequestError::ValueSyntax),
        }
        count += 1;
        if count > REQUEST_HEADERS_MAX {
            return Err(RequestError::TooManyFields);
        }
        if let Some(field) = recognise(&buf[at..name_end]) {
            let value_end = value + trim_ows(&buf[value..line_end]).len();
            known.note(field, value, value_end)?;
        }
        at = line_end + 2;
    }
}

/// Why `byte` may not stand in or after a field name.
#[cold]
fn name_error(byte: u8, at_line_start: bool) -> RequestError {
    match byte {
        b' ' | b'\t' if at_line_start => RequestError::ObsFold,
        b' ' | b'\t' => RequestError::SpaceBeforeColon,
        b'\n' => RequestError::BareLf,
        _ => RequestError::NameSyntax,
    }
}
