//! Requests and answers as bytes (RFC 9112).
//!
//! What it deliberately does not do: request bodies, ranges, conditional requests, chunked coding, protection against attacks.

use super::ts::PACKET_BYTES;
use std::io::{self, Read};

/// Content-Type of a transport stream.
pub const TS: &str = "video/mp2t";
/// Content-Type of a playlist.
pub const HLS: &str = "application/vnd.apple.mpegurl";
/// Content-Type of a manifest.
pub const DASH: &str = "application/dash+xml";

/// Head of the answer whose body ends with the connection.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\nCache-Control: no-cache\r\n\
                               Access-Control-Allow-Origin: *\r\n\r\n";

/// Largest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// A request as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// HEAD in place of GET.
    pub is_head: bool,
    /// Without query.
    pub path: String,
    /// The connection stays open after the answer.
    pub keep_alive: bool,
}

/// An answer with a length.
pub struct Response {
    status: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    /// Bytes of the body that are really sent.
    sent_bytes: usize,
}

/// The next request's head without its empty line; what came behind it stays in `received`. `None` at the connection's end, or when a
/// head is too long.
pub fn read_head(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<Option<String>> {
    let mut piece = [0; 2_048];
    loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = received.drain(..end + 4).collect::<Vec<u8>>();
            return Ok(Some(String::from_utf8_lossy(&head[..end]).into_owned()));
        }
        let read = stream.read(&mut piece)?;
        if read == 0 || received.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        received.extend_from_slice(&piece[..read]);
    }
}

impl Request {
    /// `None` when it is no GET or HEAD of HTTP/1.x.
    pub fn parse(head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let is_head = match words.next()? {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let path = words.next()?.split('?').next()?.to_string();
        let version = words.next()?.strip_prefix("HTTP/1.")?;
        let mut keep_alive = version != "0";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("connection") {
                let has = |token: &str| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(token));
                keep_alive = !has("close") && (keep_alive || has("keep-alive"));
            }
        }
        Some(Request { is_head, path, keep_alive })
    }
}

impl Response {
    /// All of `body`.
    pub fn whole(content_type: &'static str, body: Vec<u8>) -> Response {
        Response { status: "200 OK", content_type, sent_bytes: body.len(), body }
    }

    /// A failure, which its body repeats.
    pub fn error(status: &'static str) -> Response {
        let body = format!("{status}\n").into_bytes();
        Response { status, content_type: "text/plain", sent_bytes: body.len(), body }
    }

    /// Cut in the middle of a transport stream packet. `is_honest`: Content-Length is that of what is left, else that of the whole.
    pub fn cut(mut self, is_honest: bool) -> Response {
        self.sent_bytes = self.body.len() / 2 / PACKET_BYTES * PACKET_BYTES + PACKET_BYTES / 2;
        if is_honest {
            self.body.truncate(self.sent_bytes);
        }
        self
    }

    /// Whether less is sent than Content-Length says: the connection must end.
    pub fn is_torn(&self) -> bool {
        self.sent_bytes < self.body.len()
    }

    /// What is written; for HEAD, without body.
    pub fn bytes(&self, is_head: bool, keep_alive: bool) -> Vec<u8> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let (status, content_type, length) = (self.status, self.content_type, self.body.len());
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\
             Cache-Control: no-cache\r\nAccess-Control-Allow-Origin: *\r\n\r\n"
        );
        let body = if is_head { &[] } else { &self.body[..self.sent_bytes] };
        [head.as_bytes(), body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_after_the_other() {
        let mut bytes: &[u8] = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\nHEAD /c HTTP/1.0\r\n\r\n";
        let mut received = Vec::new();
        let mut next = || read_head(&mut bytes, &mut received).unwrap().map(|head| Request::parse(&head).unwrap());
        assert_eq!(next(), Some(Request { is_head: false, path: "/a".into(), keep_alive: true }));
        assert_eq!(next(), Some(Request { is_head: true, path: "/c".into(), keep_alive: false }));
        assert_eq!(next(), None);
    }

    #[test]
    fn connection_options_and_other_methods() {
        let keeps = |head: &str| Request::parse(head).map(|request| request.keep_alive);
        assert_eq!(keeps("GET / HTTP/1.1\r\nconnection: Foo, Close"), Some(false));
        assert_eq!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive"), Some(true));
        assert_eq!([keeps("POST / HTTP/1.1"), keeps("GET /"), keeps("GET / HTTP/2"), keeps("")], [None; 4]);
    }

    #[test]
    fn a_cut_is_within_a_packet() {
        let whole = || Response::whole(TS, vec![7; 10 * PACKET_BYTES]);
        let (torn, honest) = (whole().cut(false), whole().cut(true));
        assert_eq!((torn.sent_bytes, torn.body.len(), torn.is_torn()), (5 * 188 + 94, 1_880, true));
        assert_eq!((honest.sent_bytes, honest.body.len(), honest.is_torn()), (5 * 188 + 94, 5 * 188 + 94, false));
        assert!(torn.bytes(true, true).ends_with(b"\r\n\r\n"));
    }
}
