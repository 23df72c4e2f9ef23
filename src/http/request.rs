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

use crate::http::fields::{Field, Fields, list, recognise, recognise_short, trim_ows};
pub use crate::http::refuse::RequestError;
use crate::http::rules;
use crate::http::scan::{self, LineEnds};
use crate::limits::{
    REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX, REQUEST_LEADING_CRLF_MAX, REQUEST_METHOD_BYTES_MAX,
    REQUEST_TARGET_BYTES_MAX,
};

/// What a look at the bytes that have come so far gave.
#[derive(Clone, Debug)]
pub enum Parsed<'b> {
    /// The head, and how many bytes it took, leading empty lines included. What follows belongs to the next request.
    Complete(Head<'b>, usize),
    /// The head goes on: call again with the same bytes and more.
    Partial,
}

/// The parser's memory: how far earlier calls for the same head got, and where in a complete head the known fields
/// lie. One per connection, used for one request after the other.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Bytes known to hold no end of a head.
    scanned: usize,
    // Here and not in `Head`, because moving freshly written offsets with the head stalls the processor.
    known: Known,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ConnectionWish {
    /// Neither option: the version decides.
    #[default]
    Silent,
    Close,
    KeepAlive,
}

/// A complete, valid request head; all slices lie in the buffer that was parsed.
#[derive(Clone, Copy, Debug)]
pub struct Head<'b> {
    buf: &'b [u8],
    known: &'b Known,
    /// The request target.
    target: Span,
    /// All field lines with their CRLF, without the empty line.
    lines: Span,
    method: Method,
    version: Version,
}

/// Looks for a request head at the start of `buf`.
///
/// `progress` makes a head that arrives in drips cost linear work: as long as no empty line has come, only new bytes
/// are looked at, and the head is parsed when its end is there. A complete head leaves it ready for the next one.
///
/// # Errors
/// [`RequestError`], as soon as the bytes show it or, for a head in drips, at its end. The connection must be closed
/// after the answer.
#[inline]
pub fn parse<'b>(buf: &'b [u8], progress: &'b mut Progress) -> Result<Parsed<'b>, RequestError> {
    let window = &buf[..buf.len().min(REQUEST_HEAD_BYTES_MAX)];
    if progress.scanned > 0 && !end_may_have_come(window, progress)? {
        return partial(window);
    }
    parse_head(window, progress)
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
        self.target.of(self.buf)
    }

    /// The value of the first line of `field`, without white space around it; `None` when absent or empty.
    pub fn field(&self, field: Field) -> Option<&'b [u8]> {
        self.known.value(self.buf, field).filter(|value| !value.is_empty())
    }

    /// All fields in the order in which they came.
    pub fn fields(&self) -> Fields<'b> {
        Fields::new(self.lines.of(self.buf))
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

/// The known fields of a head.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Where each value lies, with the white space around it. None starts at 0, so a start of 0 means absent.
    spans: [Span; Field::COUNT],
    connection: ConnectionWish,
}

/// A piece of a head, from `start` to before `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

const _: () = assert!(REQUEST_HEAD_BYTES_MAX <= u16::MAX as usize, "offsets in a head are u16");

impl Span {
    fn new(start: usize, end: usize) -> Self {
        Span { start: start as u16, end: end as u16 }
    }

    fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

impl Known {
    /// The value of `field` in `buf`, possibly empty. Few are ever asked for, so white space is cut off only here.
    fn value<'b>(&self, buf: &'b [u8], field: Field) -> Option<&'b [u8]> {
        let span = self.spans[field as usize];
        (span.start > 0).then(|| trim_ows(span.of(buf)))
    }

    /// Notes a line of a known field with its value.
    #[inline(always)]
    fn note(&mut self, buf: &[u8], field: Field, value: Span) -> Result<(), RequestError> {
        if field == Field::Connection {
            self.note_connection(trim_ows(value.of(buf)));
        }
        let span = &mut self.spans[field as usize];
        if span.start == 0 {
            *span = value;
            return Ok(());
        }
        self.note_again(buf, field, value)
    }

    /// A repeated field counts only where it matters for framing or routing.
    #[cold]
    fn note_again(&self, buf: &[u8], field: Field, value: Span) -> Result<(), RequestError> {
        match field {
            Field::Host => Err(RequestError::HostRepeated),
            Field::TransferEncoding => Err(RequestError::CodingSyntax),
            Field::ContentLength if self.value(buf, field) != Some(trim_ows(value.of(buf))) => {
                Err(RequestError::LengthConflict)
            }
            _ => Ok(()),
        }
    }

    /// `close` anywhere wins over `keep-alive`.
    #[inline(never)]
    fn note_connection(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") && self.connection == ConnectionWish::Silent {
            self.connection = ConnectionWish::KeepAlive; // Nearly every head: spared the walk over a list.
            return;
        }
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

fn parse_head<'b>(buf: &'b [u8], progress: &'b mut Progress) -> Result<Parsed<'b>, RequestError> {
    progress.known = Known::default();
    let Some((line, lines_at, lines_end)) = parse_lines(buf, &mut progress.known)? else {
        progress.scanned = buf.len();
        return partial(buf);
    };
    let target = line.target.of(buf);
    let method = rules::check(line.method, target, line.version, &|field| progress.known.value(buf, field))?;
    progress.scanned = 0;
    let lines = Span::new(lines_at, lines_end);
    let head = Head { buf, known: &progress.known, target: line.target, lines, method, version: line.version };
    Ok(Parsed::Complete(head, lines_end + 2))
}

/// What a request line holds.
struct RequestLine<'b> {
    method: &'b [u8],
    target: Span,
    version: Version,
}

/// The request line, and where the field lines begin and end. `Ok(None)`: more bytes are needed.
#[inline]
fn parse_lines<'b>(buf: &'b [u8], known: &mut Known) -> Result<Option<(RequestLine<'b>, usize, usize)>, RequestError> {
    let Some(start) = skip_empty_lines(buf)? else { return Ok(None) };
    let Some((method, target_at)) = parse_method(buf, start)? else { return Ok(None) };
    let Some((target, version_at)) = parse_target(buf, target_at)? else { return Ok(None) };
    let Some((version, lines_at)) = parse_version(buf, version_at)? else { return Ok(None) };
    let Some(lines_end) = parse_fields(buf, lines_at, known)? else { return Ok(None) };
    Ok(Some((RequestLine { method, target, version }, lines_at, lines_end)))
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
fn parse_target(buf: &[u8], from: usize) -> Result<Option<(Span, usize)>, RequestError> {
    let end = scan::target_end(buf, from);
    if end - from > REQUEST_TARGET_BYTES_MAX {
        return Err(RequestError::TargetTooLong);
    }
    match buf.get(end) {
        None => Ok(None),
        Some(b' ') if end > from => Ok(Some((Span::new(from, end), end + 1))),
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
#[inline]
fn parse_fields(buf: &[u8], from: usize, known: &mut Known) -> Result<Option<usize>, RequestError> {
    let mut line_ends = LineEnds::new(buf, from);
    let mut at = from;
    for _ in 0..REQUEST_HEADERS_MAX + 1 {
        let line_end = match line_ends.next() {
            Some(Ok(line_end)) => line_end,
            Some(Err(control)) => return bad_line_end(buf, at, control).map(|()| None),
            None => return Ok(None),
        };
        if line_end == at {
            return Ok(Some(at));
        }
        let (name_end, field) = field_name(buf, at);
        if name_end == at || buf[name_end] != b':' {
            return Err(name_error(buf[name_end], name_end == at));
        }
        if let Some(field) = field {
            known.note(buf, field, Span::new(name_end + 1, line_end))?;
        }
        at = line_end + 2;
    }
    Err(RequestError::TooManyFields)
}

/// The end of the token at `at`, and the field that it names.
///
/// A name that is recognised needs no look at its bytes: it has none but letters and `-`.
#[inline(always)]
fn field_name(buf: &[u8], at: usize) -> (usize, Option<Field>) {
    if let Some(block) = buf.get(at..).and_then(|rest| rest.first_chunk())
        && let Some(len) = scan::colon(block)
    {
        let field = recognise_short(block, len);
        if field.is_some() || scan::is_common_name(block, len) {
            return (at + len, field);
        }
    }
    long_field_name(buf, at)
}

/// The same for any name. Apart, so that the loop over the common ones keeps its registers.
#[inline(never)]
fn long_field_name(buf: &[u8], at: usize) -> (usize, Option<Field>) {
    let end = scan::token_end(buf, at);
    (end, recognise(&buf[at..end]))
}

/// What to make of a control byte that does not begin a CRLF: `Ok` when only more bytes can tell.
#[cold]
fn bad_line_end(buf: &[u8], line: usize, control: usize) -> Result<(), RequestError> {
    match buf[control] {
        b'\r' if control + 1 == buf.len() => Ok(()),
        b'\r' => Err(RequestError::BareCr),
        b'\n' => Err(RequestError::BareLf),
        _ if buf[line..control].contains(&b':') => Err(RequestError::ValueSyntax),
        _ => Err(RequestError::NameSyntax),
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
