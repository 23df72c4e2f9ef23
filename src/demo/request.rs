//! What a request to the synthetic origin asks for, and the response heads (RFC 9110, RFC 9112).
//!
//! What it deliberately does not do: serve as the relay's HTTP parser. Heads are split by httparse, bodies are not read.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::history::Framing;
use crate::limits::{DEMO_HISTORY_MS, REQUEST_HEADERS_MAX};

/// A request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub method: Method,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Index,
    Stats,
    /// `/channel/{channel}.ts`; the number is not checked yet.
    Channel {
        channel: usize,
        query: Query,
    },
}

/// The query keys of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub framing: Framing,
    /// How much of the past to send first.
    pub burst: Duration,
    /// Redirects still to answer before the stream.
    pub redirects: u32,
}

/// A request that is answered by a status and one line that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: Status,
    pub why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Found,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::Found => "302 Found",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed\r\nAllow: GET, HEAD",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
        }
    }
}

/// Reads a request from `head`; `Ok(None)` when the empty line has not come yet.
pub(super) fn parse(head: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return refuse(Status::HeadTooLarge, "too many header fields"),
        Err(_) => return refuse(Status::BadRequest, "this is not an HTTP/1.1 request"),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => return refuse(Status::MethodNotAllowed, "only GET and HEAD"),
    };
    let target = parse_target(request.path.unwrap_or_default())?;
    Ok(Some(Request { method, target }))
}

/// The head of a live stream.
pub(super) fn stream_head(framing: Framing) -> Vec<u8> {
    let transfer = match framing {
        Framing::Close => "",
        Framing::Chunked => "Transfer-Encoding: chunked\r\n",
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{transfer}Cache-Control: no-store\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// A whole short response; a HEAD gets the head alone, with the length that a GET would have had.
pub(super) fn short(method: Method, status: Status, content_type: &str, extra: &str, body: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{extra}Cache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        status.line(),
        body.len()
    )
    .into_bytes();
    if method == Method::Get {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

/// The redirect that `redirects` (at least 1) asks for: the same channel with one redirect less.
pub(super) fn redirect(method: Method, channel: usize, query: Query) -> Vec<u8> {
    let framing = match query.framing {
        Framing::Close => "close",
        Framing::Chunked => "chunked",
    };
    let location = format!(
        "Location: /channel/{channel}.ts?framing={framing}&burst={}&redirect={}\r\n",
        query.burst.as_secs_f32(),
        query.redirects.saturating_sub(1)
    );
    short(method, Status::Found, "text/plain", &location, "elsewhere\n")
}

fn refuse<T>(status: Status, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

fn parse_target(target: &str) -> Result<Target, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/" => return Ok(Target::Index),
        "/stats" => return Ok(Target::Stats),
        _ => {}
    }
    let number = path.strip_prefix("/channel/").and_then(|rest| rest.strip_suffix(".ts"));
    match number.and_then(|number| number.parse().ok()) {
        Some(channel) => Ok(Target::Channel { channel, query: parse_query(query)? }),
        None => refuse(Status::NotFound, "nothing here; channels are /channel/1.ts and so on, / lists them"),
    }
}

fn parse_query(query: &str) -> Result<Query, Refusal> {
    let mut parsed = Query::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("framing", "close") => parsed.framing = Framing::Close,
            ("framing", "chunked") => parsed.framing = Framing::Chunked,
            ("framing", _) => return refuse(Status::BadRequest, "framing is close or chunked"),
            ("burst", seconds) => parsed.burst = parse_burst(seconds)?,
            ("redirect", count) => match count.parse() {
                Ok(redirects) if redirects <= REDIRECTS_MAX => parsed.redirects = redirects,
                _ => return refuse(Status::BadRequest, "redirect is a count from 0 to 20"),
            },
            // Real origins ignore what they do not know (tokens, cache busters), and relays may add some.
            _ => {}
        }
    }
    Ok(parsed)
}

fn parse_burst(seconds: &str) -> Result<Duration, Refusal> {
    let duration = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f32(seconds).ok());
    match duration {
        Some(burst) if burst.as_millis() <= u128::from(DEMO_HISTORY_MS) => Ok(burst),
        _ => refuse(Status::BadRequest, "burst is a number of seconds from 0 to 12"),
    }
}

/// Most redirects that may be asked for.
const REDIRECTS_MAX: u32 = 20;

const _: () = assert!(DEMO_HISTORY_MS == 12_000, "the line that refuses a burst names this bound");

#[cfg(test)]
mod tests {
    use super::*;

    fn target(target: &str) -> Result<Target, Refusal> {
        parse(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .map(|request| request.expect("complete").target)
    }

    #[test]
    fn a_head_without_its_empty_line_is_partial() {
        assert_eq!(parse(b"GET /channel/1.ts HTTP/1.1\r\nHost: x\r\n"), Ok(None));
    }

    #[test]
    fn channel_with_every_query_key() {
        let query = Query { framing: Framing::Chunked, burst: Duration::from_millis(1_500), redirects: 2 };
        assert_eq!(
            target("/channel/7.ts?framing=chunked&burst=1.5&redirect=2&token=x"),
            Ok(Target::Channel { channel: 7, query })
        );
    }

    #[test]
    fn refusals_say_which() {
        let status = |path| target(path).expect_err("refused").status;
        assert_eq!(status("/channel/x.ts"), Status::NotFound);
        assert_eq!(status("/channel/1.m3u8"), Status::NotFound);
        assert_eq!(status("/channel/1.ts?framing=gzip"), Status::BadRequest);
        assert_eq!(status("/channel/1.ts?burst=-1"), Status::BadRequest);
        assert_eq!(status("/channel/1.ts?burst=NaN"), Status::BadRequest);
        assert_eq!(status("/channel/1.ts?redirect=999"), Status::BadRequest);
        let post = parse(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").expect_err("refused");
        assert_eq!(post.status, Status::MethodNotAllowed);
    }

    #[test]
    fn a_redirect_leads_to_itself_with_one_less() {
        let query = Query { framing: Framing::Chunked, burst: Duration::from_millis(2_500), redirects: 2 };
        let reply = String::from_utf8(redirect(Method::Get, 3, query)).expect("text");
        assert!(reply.contains("Location: /channel/3.ts?framing=chunked&burst=2.5&redirect=1\r\n"), "{reply}");
    }
}
