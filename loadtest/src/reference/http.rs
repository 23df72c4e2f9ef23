//! As much of HTTP/1.1 (RFC 9112) as the reference servers and the recorder need. Pure: bytes in, values out.
//!
//! Deliberately absent: methods, targets and headers of requests (each is answered alike), bodies of requests, `Connection: close`,
//! redirects, trailers other than to skip them, HTTP/2.

use anyhow::{Context, Result, bail, ensure};

/// What `reference live` answers with; the body ends with the connection.
pub const LIVE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n";

/// The head of a response with a body of `body_bytes` bytes.
pub fn segment_head(body_bytes: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n")
}

/// Counts the requests of a connection by their blank lines. As all are answered alike none of their bytes is kept, however they arrive.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestScan {
    /// Bytes of a blank line that the input so far ends with, 0 to 3.
    matched: usize,
}

impl RequestScan {
    /// The number of requests that end within `bytes`, the next piece of the connection.
    pub fn push(&mut self, bytes: &[u8]) -> u32 {
        let mut ended = 0;
        let mut from = 0;
        // A blank line that began in an earlier piece.
        while self.matched > 0 && from < bytes.len() {
            ended += u32::from(self.step(bytes[from]));
            from += 1;
        }
        let rest = &bytes[from..];
        // Behind the last blank line: two of them share no byte.
        let mut behind = 0;
        for at in memchr::memchr_iter(b'\n', rest) {
            if rest[behind..at].ends_with(b"\r\n\r") {
                ended += 1;
                behind = at + 1;
            }
        }
        for &byte in &rest[behind.max(rest.len().saturating_sub(BLANK_LINE.len() - 1))..] {
            self.step(byte);
        }
        ended
    }

    /// Takes one byte; true when a blank line ends with it.
    fn step(&mut self, byte: u8) -> bool {
        self.matched = match byte {
            _ if byte == BLANK_LINE[self.matched] => self.matched + 1,
            b'\r' => 1,
            _ => 0,
        };
        let is_whole = self.matched == BLANK_LINE.len();
        if is_whole {
            self.matched = 0;
        }
        is_whole
    }
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port` to connect to, which is also what the `Host` header says.
    pub authority: String,
    /// Path and query, with the leading `/`.
    pub path: String,
}

impl Target {
    /// Of an `http://` URL. An error for other schemes, user names and URLs without a host.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url} is no http:// URL"))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        ensure!(!authority.is_empty() && !authority.contains('@'), "{url} has no plain host");
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let is_bare = !has_port || authority.ends_with(']') || !authority.contains(':');
        let authority = if is_bare { format!("{authority}:80") } else { authority.to_owned() };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority, path })
    }

    /// A GET of this target with more header lines (`Name: value`). An error for a line that is none.
    pub fn request(&self, headers: &[String]) -> Result<String> {
        let mut request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.authority);
        for line in headers {
            ensure!(line.contains(':') && !line.contains(['\r', '\n']), "{line:?} is no header line (Name: value)");
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        Ok(request)
    }
}

/// What the head of a response says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bytes of the head, blank line included.
    pub bytes: usize,
    /// The body is in the chunked transfer coding; else it ends with the connection (or with a Content-Length, which is not looked at).
    pub is_chunked: bool,
}

impl ResponseHead {
    /// Parses what was received so far. `None`: the blank line is still to come. An error unless the status is 200 and HTTP is 1.x.
    pub fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(received, BLANK_LINE) else { return Ok(None) };
        let head = std::str::from_utf8(&received[..end]).context("the response head is not text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200"), "the answer is {status:?}");
        let is_chunked = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
        });
        Ok(Some(Self { bytes: end + BLANK_LINE.len(), is_chunked }))
    }
}

/// Takes the chunked transfer coding (RFC 9112, 7.1) off a body that arrives in pieces.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: ChunkedState,
}

#[derive(Clone, Debug, Default)]
enum ChunkedState {
    /// In the line with the size.
    #[default]
    Start,
    Size {
        bytes: u64,
    },
    /// Behind the size, up to the end of the line.
    Extension {
        bytes: u64,
    },
    Data {
        left: u64,
    },
    /// The line end behind the data of a chunk.
    DataEnd,
    /// Behind the last chunk: whatever comes is skipped.
    Ended,
}

impl ChunkedDecoder {
    /// Appends to `body` what `bytes` hold of it. An error where a size or the end of a chunk is not what it must be.
    pub fn push(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let ChunkedState::Data { left } = &mut self.state {
                let taken = (*left).min(bytes.len() as u64) as usize;
                body.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                *left -= taken as u64;
                if *left == 0 {
                    self.state = ChunkedState::DataEnd;
                }
            } else {
                self.state = self.state.after(byte)?;
                bytes = rest;
            }
        }
        Ok(())
    }

    /// Whether the last chunk was seen.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, ChunkedState::Ended)
    }
}

impl ChunkedState {
    /// The state after one byte of framing; not for `Data`.
    fn after(&self, byte: u8) -> Result<Self> {
        let digit = (byte as char).to_digit(16).map(u64::from);
        Ok(match (self, byte) {
            (Self::Start, _) => {
                Self::Size { bytes: digit.with_context(|| format!("a chunk size begins with byte {byte:#04x}"))? }
            }
            (Self::Size { bytes } | Self::Extension { bytes }, b'\n') if *bytes == 0 => Self::Ended,
            (Self::Size { bytes } | Self::Extension { bytes }, b'\n') => Self::Data { left: *bytes },
            (Self::Size { bytes }, _) => match digit {
                Some(digit) if bytes >> 60 == 0 => Self::Size { bytes: bytes << 4 | digit },
                Some(_) => bail!("a chunk size has more than 16 digits"),
                None => Self::Extension { bytes: *bytes },
            },
            (Self::Extension { bytes }, _) => Self::Extension { bytes: *bytes },
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Start,
            (Self::DataEnd, _) => bail!("byte {byte:#04x} where a chunk must end"),
            (Self::Data { .. } | Self::Ended, _) => Self::Ended,
        })
    }
}

const BLANK_LINE: &[u8; 4] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of blank lines that share no byte, by the slow way.
    fn count_naively(mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while let Some(at) = bytes.windows(4).position(|window| window == BLANK_LINE) {
            bytes = &bytes[at + 4..];
            count += 1;
        }
        count
    }

    /// All texts of up to eight bytes out of three letters, in all pairs of pieces.
    #[test]
    fn requests_are_counted_however_they_are_cut() {
        for length in 0..=8 {
            for number in 0..3_usize.pow(length) {
                let text: Vec<u8> = (0..length).map(|place| b"\r\na"[number / 3_usize.pow(place) % 3]).collect();
                for cut in 0..=text.len() {
                    let mut scan = RequestScan::default();
                    let count = scan.push(&text[..cut]) + scan.push(&text[cut..]);
                    assert_eq!(count, count_naively(&text), "{text:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn pipelined_requests_are_counted() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        assert_eq!(RequestScan::default().push(&text), 3);
        let mut scan = RequestScan::default();
        assert_eq!(text.iter().map(|&byte| scan.push(&[byte])).sum::<u32>(), 3);
    }

    #[test]
    fn urls() {
        let target = |url: &str| Target::parse(url).map(|target| (target.authority, target.path)).ok();
        let some = |authority: &str, path: &str| Some((authority.to_owned(), path.to_owned()));
        assert_eq!(target("http://a:8080/b/c.ts?d=1#e"), some("a:8080", "/b/c.ts?d=1"));
        assert_eq!(target("http://a"), some("a:80", "/"));
        assert_eq!(target("http://a?b"), some("a:80", "/?b"));
        assert_eq!(target("http://[::1]:81/b"), some("[::1]:81", "/b"));
        assert_eq!(target("http://[::1]/b"), some("[::1]:80", "/b"));
        for bad in ["https://a/", "a/b", "http:///b", "http://u:p@a/"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn requests_carry_the_given_headers() {
        let target = Target::parse("http://a/b").unwrap();
        let request = target.request(&["X-A: 1".into()]).unwrap();
        assert_eq!(request, "GET /b HTTP/1.1\r\nHost: a:80\r\nX-A: 1\r\n\r\n");
        assert!(target.request(&["no header".into()]).is_err());
        assert!(target.request(&["A: b\r\nC: d".into()]).is_err());
    }

    #[test]
    fn response_heads() {
        assert_eq!(ResponseHead::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap(), None);
        let plain = ResponseHead::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody").unwrap().unwrap();
        assert_eq!(plain, ResponseHead { bytes: 25, is_chunked: false });
        let chunked = ResponseHead::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n").unwrap().unwrap();
        assert!(chunked.is_chunked);
        let error = ResponseHead::parse(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().to_string();
        assert_eq!(error, "the answer is \"HTTP/1.1 404 Not Found\"");
    }

    #[test]
    fn the_chunked_coding_is_taken_off_however_it_is_cut() {
        let coded = b"5\r\nhello\r\n00C;name=value\r\n, you\r\nthere\r\n0\r\nTrailer: a\r\n\r\n";
        for size in 1..=coded.len() {
            let (mut decoder, mut body) = (ChunkedDecoder::default(), Vec::new());
            for piece in coded.chunks(size) {
                decoder.push(piece, &mut body).unwrap();
            }
            assert_eq!(body, b"hello, you\r\nthere", "in pieces of {size}");
            assert!(decoder.is_ended());
        }
    }

    #[test]
    fn a_broken_chunked_coding_is_an_error() {
        for bad in [&b"x\r\n"[..], b"1\r\nab\r\n", b"11111111111111111\r\n", b"\r\n"] {
            assert!(ChunkedDecoder::default().push(bad, &mut Vec::new()).is_err(), "{bad:?}");
        }
    }
}
