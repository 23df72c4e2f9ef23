//! Header fields of a request: the handful that the relay looks at, recognised while parsing, and a walk over all.
//!
//! Sources: RFC 9110 5 (fields), 7.6.1 (`Connection`), 5.6.1 (lists), 12.4.2 (weights). Names are compared without regard to case.
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

/// The known field of this name, which must hold no CR.
pub fn recognise(name: &[u8]) -> Option<Field> {
    match name.first_chunk::<16>() {
        None => {
            let mut block = [0; 16];
            block[..name.len()].copy_from_slice(name);
            recognise_short(&block, name.len())
        }
        Some(_) => LONG.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, field)| field),
    }
}

/// [`recognise`] for the first `len` bytes of `block`, `len` below 16; a name that it knows is a valid token.
///
/// One multiplication and one comparison, whatever the name: heads mix names too well for a processor to predict
/// branches over them.
#[inline(always)]
pub(super) fn recognise_short(block: &[u8; 16], len: usize) -> Option<Field> {
    // Setting the bit makes letters lower case and leaves `-` alone. The only other byte that becomes one of these is
    // CR, as `-`, and a line holds none.
    let lower = u128::from_le_bytes(*block) | u128::from_le_bytes([0x20; 16]);
    let name = lower & LEADING[len];
    let (known, field) = SHORT_BY_SLOT[slot(name)];
    if known == name { field } else { None }
}

/// Masks of the first 0 to 15 bytes: cheaper than shifting 128 bits.
static LEADING: [u128; 16] = {
    let mut masks = [0; 16];
    let mut len = 0;
    while len < masks.len() {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// Names of up to 15 bytes in lower case.
const SHORT: [(&[u8], Field); 14] = [
    (b"host", Field::Host),
    (b"connection", Field::Connection),
    (b"range", Field::Range),
    (b"if-range", Field::IfRange),
    (b"if-none-match", Field::IfNoneMatch),
    (b"accept", Field::Accept),
    (b"user-agent", Field::UserAgent),
    (b"origin", Field::Origin),
    (b"x-video-codec", Field::XVideoCodec),
    (b"x-audio-codec", Field::XAudioCodec),
    (b"x-container", Field::XContainer),
    (b"content-length", Field::ContentLength),
    (b"expect", Field::Expect),
    (b"upgrade", Field::Upgrade),
];

/// The others.
const LONG: [(&[u8], Field); 4] = [
    (b"transfer-encoding", Field::TransferEncoding),
    (b"if-modified-since", Field::IfModifiedSince),
    (b"access-control-request-method", Field::AccessControlRequestMethod),
    (b"access-control-request-headers", Field::AccessControlRequestHeaders),
];

const SLOT_COUNT: usize = 16;

/// A slot for a packed name by its first eight bytes. The factor was searched for at random; that it gives each name of
/// [`SHORT`] a slot of its own is checked when the table is built.
const fn slot(name: u128) -> usize {
    ((name as u64).wrapping_mul(0x912859056f9c1793) >> 60) as usize
}

/// [`SHORT`] by [`slot`], each name packed into a number, first byte lowest.
static SHORT_BY_SLOT: [(u128, Option<Field>); SLOT_COUNT] = {
    let mut table = [(0, None); SLOT_COUNT];
    let mut i = 0;
    while i < SHORT.len() {
        let (bytes, field) = SHORT[i];
        let (mut name, mut at) = (0, 0);
        while at < bytes.len() {
            name |= (bytes[at] as u128) << (8 * at);
            at += 1;
        }
        assert!(table[slot(name)].1.is_none(), "two names share a slot: choose another factor");
        table[slot(name)] = (name, Some(field));
        i += 1;
    }
    table
};

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

/// A list element without `;q=...` and the like.
pub fn without_parameters(element: &[u8]) -> &[u8] {
    trim_ows(element.split(|&byte| byte == b';').next().unwrap_or_default())
}

/// The weight of a list element in thousandths. One that is not written as RFC 9110 12.4.2 says counts as none: 1000.
pub fn weight(element: &[u8]) -> u16 {
    let mut parameters = element.split(|&byte| byte == b';').skip(1).map(trim_ows);
    let quality = parameters.find_map(|p| p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q=")));
    quality.and_then(thousandths).unwrap_or(1_000)
}

/// `0`, `1`, or one of them with a point and up to three digits.
fn thousandths(quality: &[u8]) -> Option<u16> {
    let (whole, fraction) = match quality {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| u16::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    Some((u16::from(whole - b'0') * 1_000 + digit(0) * 100 + digit(1) * 10 + digit(2)).min(1_000))
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
        for (name, field) in SHORT.iter().chain(&LONG) {
            assert_eq!(recognise(&name.to_ascii_uppercase()), Some(*field));
            assert_eq!(recognise(&name[1..]), None);
        }
        for other in [&b"Hos_"[..], b"Content_Length", b"Cookie", b"", b"Accept-Encoding"] {
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

    #[test]
    fn weights_are_read_as_the_rfc_writes_them() {
        for (element, thousandths) in [
            (&b"video/mp2t"[..], 1_000),
            (b"video/mp2t;q=0.5", 500),
            (b"video/mp2t; Q=0.25", 250),
            (b"video/mp2t;level=1;q=0.125", 125),
            (b"video/mp2t;q=0", 0),
            (b"video/mp2t;q=0.000", 0),
            (b"video/mp2t;q=1.000", 1_000),
            (b"video/mp2t;q=1.5", 1_000),
            (b"video/mp2t;q=", 1_000),
            (b"video/mp2t;q=-1", 1_000),
            (b"video/mp2t;q=0.1234", 1_000),
        ] {
            assert_eq!(weight(element), thousandths, "{:?}", String::from_utf8_lossy(element));
        }
    }
}
