//! Header fields of a request: the handful that the relay looks at, recognised while parsing, and a walk over all.
//!
//! Sources: RFC 9110 5 (fields), 7.6.1 (`Connection`), 5.6.1 (lists). Names are compared without regard to case.
//!
//! What it deliberately does not do: join the lines of a repeated list field. No list field that the relay reads
//! changes its meaning for the worse when a second line is not seen; `Connection`, where it would, is read in full.
#![forbid(unsafe_code)]

/// A field that the relay looks at. [`recognise`] finds it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// `Host`: required in HTTP/1.1.
    Host,
    /// `Connection`: `close` and `keep-alive`.
    Connection,
    /// `Range`: see [`crate::http::range`].
    Range,
    /// `If-Range`.
    IfRange,
    /// `If-None-Match`.
    IfNoneMatch,
    /// `If-Modified-Since`: no answer of the relay has a `Last-Modified`, so it only serves logs.
    IfModifiedSince,
    /// `Accept`.
    Accept,
    /// `User-Agent`.
    UserAgent,
    /// `Origin` of a cross-origin request.
    Origin,
    /// `X-Video-Codec`: video codec the viewer asks for.
    XVideoCodec,
    /// `X-Audio-Codec`: audio codec the viewer asks for.
    XAudioCodec,
    /// `X-Container`: container the viewer asks for.
    XContainer,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Expect`.
    Expect,
    /// `Upgrade`: never followed.
    Upgrade,
    /// `Access-Control-Request-Method` of a preflight.
    AccessControlRequestMethod,
    /// `Access-Control-Request-Headers` of a preflight.
    AccessControlRequestHeaders,
}

impl Field {
    /// Count of known fields.
    pub const COUNT: usize = Field::AccessControlRequestHeaders as usize + 1;
}

/// The known field of this name, which must be a valid token.
#[inline]
pub fn recognise(name: &[u8]) -> Option<Field> {
    use Field::*;
    // The length leaves one to three candidates, so that an unknown name costs a jump and rarely a comparison.
    let candidates: &[(&[u8], Field)] = match name.len() {
        4 => &[(b"host", Host)],
        5 => &[(b"range", Range)],
        6 => &[(b"accept", Accept), (b"origin", Origin), (b"expect", Expect)],
        7 => &[(b"upgrade", Upgrade)],
        8 => &[(b"if-range", IfRange)],
        10 => &[(b"connection", Connection), (b"user-agent", UserAgent)],
        11 => &[(b"x-container", XContainer)],
        13 => &[(b"if-none-match", IfNoneMatch), (b"x-video-codec", XVideoCodec), (b"x-audio-codec", XAudioCodec)],
        14 => &[(b"content-length", ContentLength)],
        17 => &[(b"transfer-encoding", TransferEncoding), (b"if-modified-since", IfModifiedSince)],
        29 => &[(b"access-control-request-method", AccessControlRequestMethod)],
        30 => &[(b"access-control-request-headers", AccessControlRequestHeaders)],
        _ => return None,
    };
    candidates.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, field)| field)
}

/// A walk over the field lines of a parsed head, in order: name as sent, value without the white space around it.
#[derive(Clone, Debug)]
pub struct Fields<'b> {
    /// Field lines, each with its CRLF, already validated by the parser.
    rest: &'b [u8],
}

impl<'b> Fields<'b> {
    pub(crate) fn new(lines: &'b [u8]) -> Self {
        Fields { rest: lines }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let colon = self.rest.iter().position(|&byte| byte == b':')?;
        let (name, after) = (&self.rest[..colon], &self.rest[colon + 1..]);
        let end = after.iter().position(|&byte| byte == b'\r').unwrap_or(after.len());
        self.rest = after.get(end + 2..).unwrap_or_default();
        Some((name, trim_ows(&after[..end])))
    }
}

/// The elements of a comma-separated list (RFC 9110 5.6.1), empty ones left out. Knows no quoted strings.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_ows).filter(|element| !element.is_empty())
}

/// `value` without spaces and tabs at its ends.
pub fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case_and_no_others() {
        assert_eq!(recognise(b"hOsT"), Some(Field::Host));
        assert_eq!(recognise(b"USER-AGENT"), Some(Field::UserAgent));
        assert_eq!(recognise(b"x-audio-codec"), Some(Field::XAudioCodec));
        assert_eq!(recognise(b"Access-Control-Request-Headers"), Some(Field::AccessControlRequestHeaders));
        for other in [&b"Hos_"[..], b"Content_Length", b"Cookie", b"", b"Accept-Encoding", b"user\x0dagent"] {
            assert_eq!(recognise(other), None, "{other:?}");
        }
    }

    #[test]
    fn fields_walk_keeps_order_and_trims() {
        let fields: Vec<_> = Fields::new(b"A: 1\r\nb:\t two words \r\nEmpty:\r\n").collect();
        assert_eq!(fields, [(&b"A"[..], &b"1"[..]), (b"b", b"two words"), (b"Empty", b"")]);
    }

    #[test]
    fn list_leaves_out_empty_elements() {
        assert_eq!(list(b" a,, b ,\t").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
