//! The answer to a GET, as bytes come (RFC 9112): head, then a body by Content-Length, in chunks, or up to the connection's end.
//!
//! Sans-IO: bytes are pushed in any pieces. A body that nobody looks at can be skipped without bytes at all ([`Response::skippable`]).
//! What it deliberately does not do: answers to other methods than GET, trailers (they are skipped), or decoding of a Content-Encoding.

use crate::player::Head;

/// Longest head, bytes, and longest line between chunks.
const HEAD_BYTES_MAX: usize = 1 << 16;
/// Most fields of a head.
const FIELDS_MAX: usize = 64;

/// Where what is found goes.
pub trait Sink {
    /// The final head; those of 1xx are left out.
    fn head(&mut self, head: &Head<'_>);
    /// Some of the body, never empty.
    fn body(&mut self, bytes: &[u8]);
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All that was pushed is taken, and there is more to come.
    Partial,
    /// The answer is complete; so many of the bytes that were pushed belong to it.
    Complete(usize),
}

/// What is no HTTP/1.x answer, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// An answer that comes in.
#[derive(Debug, Default)]
pub struct Response {
    state: State,
    /// Of a head or a line of the chunked coding, what came in pieces.
    partial: Vec<u8>,
    /// Whether a head was found.
    status: Option<u16>,
    closes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Bytes to go.
    Length(u64),
    UntilClose,
    /// The line with a chunk's size.
    ChunkSize,
    /// Bytes to go in the chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Lines behind the last chunk, up to an empty one.
    Trailers,
    Done,
}

impl Response {
    /// Makes it ready for the next answer on the connection.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.partial.clear();
        (self.status, self.closes) = (None, false);
    }

    /// Of the final head, once it was there.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether any of it came.
    pub fn is_begun(&self) -> bool {
        self.status.is_some() || !self.partial.is_empty()
    }

    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Bytes that are body and nothing else, whatever they are; [`Response::skip`] may take up to so many in place of `push`.
    pub fn skippable(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            State::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Counts bytes of the body that were received unread, at most [`Response::skippable`].
    pub fn skip(&mut self, bytes: u64) -> Progress {
        debug_assert!(bytes <= self.skippable());
        match &mut self.state {
            State::Length(left) | State::Chunk(left) => *left = left.saturating_sub(bytes),
            _ => {}
        }
        self.settle();
        if self.state == State::Done { Progress::Complete(0) } else { Progress::Partial }
    }

    /// Whether the answer is complete where the connection ends in order.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is no HTTP/1.x answer; nothing may be pushed after that.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Progress, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            at += self.step(&bytes[at..], sink)?;
            self.settle();
        }
        Ok(if self.state == State::Done { Progress::Complete(at) } else { Progress::Partial })
    }

    /// Goes on where nothing is left to come of a part.
    fn settle(&mut self) {
        match self.state {
            State::Length(0) => self.state = State::Done,
            State::Chunk(0) => self.state = State::ChunkEnd,
            _ => {}
        }
    }

    /// Takes at least one byte.
    fn step(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<usize, Malformed> {
        let taken = match &mut self.state {
            State::Head => return self.head(bytes, sink),
            State::ChunkSize | State::ChunkEnd | State::Trailers => return self.line(bytes),
            State::Length(left) | State::Chunk(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                taken
            }
            State::UntilClose => bytes.len(),
            State::Done => 0,
        };
        if taken > 0 {
            sink.body(&bytes[..taken]);
        }
        Ok(taken)
    }

    fn head(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<usize, Malformed> {
        // A whole head in one piece, as it nearly always comes, is not copied.
        if self.partial.is_empty()
            && let Some(end) = head_end(bytes, 0)
        {
            self.parse_head(&bytes[..end], sink)?;
            return Ok(end);
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(end) = head_end(&self.partial, before.saturating_sub(3)) else {
            let is_short = self.partial.len() <= HEAD_BYTES_MAX;
            return if is_short { Ok(bytes.len()) } else { Err(Malformed("the head is too long")) };
        };
        let partial = std::mem::take(&mut self.partial);
        self.parse_head(&partial[..end], sink)?;
        Ok(end - before)
    }

    fn parse_head(&mut self, head: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let text = std::str::from_utf8(head).map_err(|_| Malformed("the head is no UTF-8"))?;
        let mut lines = text.split("\r\n");
        let (status, mut closes) = status_line(lines.next().unwrap_or_default())?;
        let mut fields = [("", ""); FIELDS_MAX];
        let mut count = 0;
        let (mut content_length, mut is_chunked) = (None, false);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(Malformed("a field without colon"))?;
            let value = value.trim_matches([' ', '\t']);
            let field = fields.get_mut(count).ok_or(Malformed("too many fields"))?;
            *field = (name, value);
            count += 1;
            if name.eq_ignore_ascii_case("content-length") {
                content_length = Some(value.parse::<u64>().map_err(|_| Malformed("Content-Length is no number"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close") || closes && !value.eq_ignore_ascii_case("keep-alive");
            }
        }
        if (100..200).contains(&status) {
            return Ok(());
        }
        self.state = match content_length {
            _ if matches!(status, 204 | 304) => State::Done,
            _ if is_chunked => State::ChunkSize,
            Some(length) => State::Length(length),
            None => State::UntilClose,
        };
        self.closes = closes || self.state == State::UntilClose;
        self.status = Some(status);
        sink.head(&Head { status, content_length: content_length.filter(|_| !is_chunked), fields: &fields[..count] });
        Ok(())
    }

    /// A line of the chunked coding.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.partial.extend_from_slice(bytes);
            let is_short = self.partial.len() <= HEAD_BYTES_MAX;
            return if is_short { Ok(bytes.len()) } else { Err(Malformed("a line between chunks is too long")) };
        };
        self.partial.extend_from_slice(&bytes[..end]);
        let line = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        self.state = match self.state {
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(Malformed("no line end behind a chunk")),
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers => State::Trailers,
            _ => match chunk_size(line)? {
                0 => State::Trailers,
                size => State::Chunk(size),
            },
        };
        self.partial.clear();
        Ok(end + 1)
    }
}

/// Status, and whether the version is without keep-alive.
fn status_line(line: &str) -> Result<(u16, bool), Malformed> {
    let rest = line.strip_prefix("HTTP/1.").ok_or(Malformed("no HTTP/1.x answer"))?;
    let mut words = rest.split(' ');
    let is_old = words.next() == Some("0");
    let status = words.next().and_then(|status| status.parse().ok()).filter(|status| (100..1_000).contains(status));
    Ok((status.ok_or(Malformed("no status"))?, is_old))
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(size).ok().map(str::trim);
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(Malformed("a chunk's size is no number"))
}

/// Index behind the empty line that ends a head, looked for from `from` on.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(4).position(|window| window == b"\r\n\r\n").map(|index| from + index + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found, in words, with the body as one.
    #[derive(Default)]
    struct Found {
        heads: Vec<String>,
        body: Vec<u8>,
    }

    impl Sink for Found {
        fn head(&mut self, head: &Head<'_>) {
            self.heads.push(format!("{} {:?} {:?}", head.status, head.content_length, head.fields));
        }
        fn body(&mut self, bytes: &[u8]) {
            assert!(!bytes.is_empty());
            self.body.extend_from_slice(bytes);
        }
    }

    /// Pushes `answer` split before `split`; what was found, and how much of it was taken.
    fn push(answer: &[u8], split: usize) -> (Found, Response, Option<usize>) {
        let (mut found, mut response) = (Found::default(), Response::default());
        match response.push(&answer[..split], &mut found).expect("the first piece is taken") {
            Progress::Complete(taken) => (found, response, Some(taken)),
            Progress::Partial => {
                match response.push(&answer[split..], &mut found).expect("the second piece is taken") {
                    Progress::Complete(taken) => (found, response, Some(split + taken)),
                    Progress::Partial => (found, response, None),
                }
            }
        }
    }

    /// Whatever the split, finds the same: a body, and where the answer ends.
    fn check(answer: &[u8], head: &str, body: &[u8], end: Option<usize>) {
        for split in 0..=answer.len() {
            let (found, response, taken) = push(answer, split);
            assert_eq!(found.heads, [head], "split at {split}");
            assert_eq!((found.body.as_slice(), taken), (body, end), "split at {split}");
            assert_eq!(response.ends_with_connection(), end.is_some() || response.state == State::UntilClose);
        }
    }

    #[test]
    fn content_length_leaves_what_follows() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA:b \r\n\r\nhelloHTTP/1.1";
        let head = r#"200 Some(5) [("Content-Length", "5"), ("A", "b")]"#;
        check(answer, head, b"hello", Some(answer.len() - 8));
    }

    #[test]
    fn an_empty_body_is_complete_with_its_head() {
        let answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
        check(answer, r#"503 Some(0) [("content-length", "0")]"#, b"", Some(answer.len()));
        check(b"HTTP/1.1 304 Not Modified\r\n\r\n", "304 None []", b"", Some(29));
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: r\r\n\r\n";
        check(answer, r#"200 None [("Transfer-Encoding", "chunked")]"#, b"abc0123456789", Some(answer.len()));
    }

    #[test]
    fn without_length_the_connections_end_is_the_bodys() {
        check(b"HTTP/1.0 200 OK\r\n\r\nuntil close", "200 None []", b"until close", None);
        assert!(push(b"HTTP/1.1 200 OK\r\n\r\n", 0).1.closes());
    }

    #[test]
    fn interim_heads_are_left_out() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        check(answer, r#"200 Some(1) [("Content-Length", "1")]"#, b"x", Some(answer.len()));
    }

    #[test]
    fn keep_alive_is_by_version_and_field() {
        let closes = |head: &str| push(format!("HTTP/{head}\r\nContent-Length: 1\r\n\r\n").as_bytes(), 0).1.closes();
        assert!(!closes("1.1 200 OK"));
        assert!(closes("1.1 200 OK\r\nConnection: Close"));
        assert!(closes("1.0 200 OK"));
        assert!(!closes("1.0 200 OK\r\nConnection: keep-alive"));
    }

    #[test]
    fn a_body_is_skipped_where_nothing_else_can_be_in_it() {
        let (_, mut response, _) = push(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 0);
        assert_eq!((response.skippable(), response.skip(6), response.skippable()), (7, Progress::Partial, 1));
        assert_eq!(response.skip(1), Progress::Complete(0));
        let (mut found, mut response, _) = push(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc", 0);
        assert_eq!((response.skippable(), response.skip(13)), (13, Progress::Partial));
        assert_eq!(response.skippable(), 0);
        assert_eq!(response.push(b"\r\n0\r\n\r\n", &mut found), Ok(Progress::Complete(7)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 OK\r\n\r\n",
            "HTTP/1.1 200\r\nx\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert!(Response::default().push(answer.as_bytes(), &mut Found::default()).is_err(), "{answer}");
        }
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab";
        assert!(Response::default().push(chunked, &mut Found::default()).is_err());
    }
}
