//! An HTTP/1.1 client for one continuous stream: connect, ask, follow redirects, hand on the body.
//!
//! Sources: RFC 9110 10.2.2 and 15.4 (redirects), 11.6.2 (Authorization), RFC 9112 3, 6 and 9 (request, body, closing).
//!
//! What it deliberately does not do: use a connection twice (each asks for `Connection: close`), resolve names or keep
//! what it resolved (each connection, after a redirect too, resolves anew), retry ([`super::retry`]).
#![forbid(unsafe_code)]

use super::response::{Answer, Body, head_end, interpret};
use super::{OriginError, OriginUrl, Outcome};
use crate::http::scan::{is_token_byte, is_value_byte};
use crate::limits::{ORIGIN_HEAD_BYTES_MAX, ORIGIN_REDIRECTS_MAX};
use crate::time::Now;
use std::fmt;

/// How long an origin may take, milliseconds each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginTimeouts {
    /// To resolve and connect.
    pub connect_ms: u64,
    /// From the connection to the end of the response head.
    pub first_byte_ms: u64,
    /// From one byte of the stream, or the head, to the next.
    pub stall_ms: u64,
}

/// What the runtime is to do next. The same as long as nothing was reported back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Drop any connection, resolve `host` (a name, or an address without brackets), connect to `port`.
    Connect {
        /// What to resolve.
        host: &'a str,
        /// TCP port.
        port: u16,
    },
    /// Send these bytes, or the first of them.
    Send(&'a [u8]),
    /// Read from the connection.
    Read,
    /// It is over; drop the connection.
    Done(&'a Outcome),
}

/// One attempt to get a stream, over as many connections as redirects make it.
pub struct HttpOrigin {
    /// The configured URL: credentials are for its server alone.
    start: OriginUrl,
    /// Where the attempt has come to by redirects.
    url: OriginUrl,
    /// `url`'s host, kept so that `poll` can lend it.
    host: String,
    headers: Vec<(String, String)>,
    timeouts: OriginTimeouts,
    redirect_count: usize,
    state: State,
}

/// `until_us`: the deadline, monotonic microseconds.
enum State {
    Connecting { until_us: u64 },
    Sending { request: Vec<u8>, sent: usize, until_us: u64 },
    Head { head: Vec<u8>, until_us: u64 },
    Body { body: Body, until_us: u64 },
    Done(Outcome),
}

impl HttpOrigin {
    /// An attempt that begins now. `headers` are sent with each request and replace the defaults of the same name.
    ///
    /// # Errors
    /// [`OriginError::HeaderInvalid`] for a header that is not valid or that would change the request's framing.
    pub fn new(
        url: OriginUrl,
        headers: Vec<(String, String)>,
        timeouts: OriginTimeouts,
        now: Now,
    ) -> Result<Self, OriginError> {
        if let Some((name, _)) = headers.iter().find(|(name, value)| !is_valid_header(name, value)) {
            return Err(OriginError::HeaderInvalid(name.clone()));
        }
        let state = State::Connecting { until_us: after(now, timeouts.connect_ms) };
        Ok(HttpOrigin { start: url.clone(), host: url.host(), url, headers, timeouts, redirect_count: 0, state })
    }

    /// What to do next.
    pub fn poll(&self) -> Action<'_> {
        match &self.state {
            State::Connecting { .. } => Action::Connect { host: &self.host, port: self.url.port() },
            State::Sending { request, sent, .. } => Action::Send(&request[*sent..]),
            State::Head { .. } | State::Body { .. } => Action::Read,
            State::Done(outcome) => Action::Done(outcome),
        }
    }

    /// Whether the stream itself has begun: head read, status good.
    pub fn is_streaming(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// The connection that [`Action::Connect`] asked for is there.
    pub fn on_connected(&mut self, now: Now) {
        if let State::Connecting { .. } = self.state {
            let until_us = after(now, self.timeouts.first_byte_ms);
            self.state = State::Sending { request: self.request(), sent: 0, until_us };
        }
    }

    /// `count` bytes of [`Action::Send`] have gone out.
    pub fn on_sent(&mut self, count: usize) {
        if let State::Sending { request, sent, until_us } = &mut self.state {
            *sent = sent.saturating_add(count).min(request.len());
            if *sent == request.len() {
                self.state = State::Head { head: Vec::new(), until_us: *until_us };
            }
        }
    }

    /// Bytes have come. Those of the stream go to `body` as slices of `bytes`.
    pub fn on_bytes(&mut self, bytes: &[u8], now: Now, body: &mut dyn FnMut(&[u8])) {
        let result = match self.state {
            State::Head { .. } => self.on_head_bytes(bytes, now, body),
            State::Body { .. } => self.on_body_bytes(bytes, now, body),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.state = State::Done(Outcome::Failed(error));
        }
    }

    /// The origin closed its side.
    pub fn on_closed(&mut self) {
        let outcome = match &self.state {
            State::Done(_) => return,
            State::Body { body, .. } => body.on_closed(),
            _ => Outcome::Failed(OriginError::ClosedBeforeHead),
        };
        self.state = State::Done(outcome);
    }

    /// Resolving, connecting, sending or reading failed. `why` is for the log: no URL, no credentials.
    pub fn on_io_error(&mut self, why: &str) {
        if !matches!(self.state, State::Done(_)) {
            self.state = State::Done(Outcome::Failed(OriginError::Io(why.to_owned())));
        }
    }

    /// When to call [`HttpOrigin::on_deadline`], monotonic microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::Connecting { until_us }
            | State::Sending { until_us, .. }
            | State::Head { until_us, .. }
            | State::Body { until_us, .. } => Some(until_us),
            State::Done(_) => None,
        }
    }

    /// Time has passed; does nothing before the deadline.
    pub fn on_deadline(&mut self, now: Now) {
        if self.next_deadline().is_none_or(|until_us| now.mono_us < until_us) {
            return;
        }
        let error = match self.state {
            State::Connecting { .. } => OriginError::ConnectTimeout(self.timeouts.connect_ms),
            State::Body { .. } => OriginError::Stalled(self.timeouts.stall_ms),
            _ => OriginError::FirstByteTimeout(self.timeouts.first_byte_ms),
        };
        self.state = State::Done(Outcome::Failed(error));
    }

    /// Gathers the head; what follows it in `bytes` is body already.
    fn on_head_bytes(&mut self, bytes: &[u8], now: Now, body: &mut dyn FnMut(&[u8])) -> Result<(), OriginError> {
        let mut rest = bytes;
        while let State::Head { head, .. } = &mut self.state {
            let known = head.len();
            let room = ORIGIN_HEAD_BYTES_MAX - known;
            head.extend_from_slice(&rest[..rest.len().min(room)]);
            let Some(end) = head_end(head, known) else {
                return if head.len() < ORIGIN_HEAD_BYTES_MAX { Ok(()) } else { Err(OriginError::HeadTooLarge) };
            };
            let answer = interpret(&head[..end])?;
            rest = &rest[end - known..];
            head.clear();
            match answer {
                Answer::Interim => {}
                Answer::Redirect(location) => return self.redirect(&location, now),
                Answer::Stream(stream) => {
                    self.state = State::Body { body: stream, until_us: after(now, self.timeouts.stall_ms) };
                    return self.on_body_bytes(rest, now, body);
                }
            }
        }
        Ok(())
    }

    fn on_body_bytes(&mut self, bytes: &[u8], now: Now, sink: &mut dyn FnMut(&[u8])) -> Result<(), OriginError> {
        if let State::Body { body, until_us } = &mut self.state {
            *until_us = after(now, self.timeouts.stall_ms);
            if let Some(reason) = body.decode(bytes, sink)? {
                self.state = State::Done(Outcome::Ended(reason));
            }
        }
        Ok(())
    }

    fn redirect(&mut self, location: &str, now: Now) -> Result<(), OriginError> {
        if self.redirect_count == ORIGIN_REDIRECTS_MAX {
            return Err(OriginError::TooManyRedirects(ORIGIN_REDIRECTS_MAX));
        }
        self.redirect_count += 1;
        self.url = self.url.redirected(location)?;
        self.host = self.url.host();
        self.state = State::Connecting { until_us: after(now, self.timeouts.connect_ms) };
        Ok(())
    }

    /// The request head for the current URL.
    fn request(&self) -> Vec<u8> {
        let at_start = self.url.is_same_server(&self.start);
        let own = || self.headers.iter().filter(|(name, _)| at_start || !is_for_one_server(name));
        let own_has = |name: &str| own().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let of_start = || if at_start { self.start.authorization() } else { None };
        let mut defaults = vec![
            ("Host", self.url.host_field()),
            ("User-Agent", concat!("millrace/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Accept", "*/*".to_owned()),
            // A compressed stream would have to be decompressed for nothing: MPEG-TS does not shrink.
            ("Accept-Encoding", "identity".to_owned()),
        ];
        defaults.extend(self.url.authorization().or_else(of_start).map(|value| ("Authorization", value)));
        let mut request = format!("GET {} HTTP/1.1\r\n", self.url.target());
        let kept = defaults.iter().filter(|(name, _)| !own_has(name)).map(|(name, value)| (*name, value.as_str()));
        for (name, value) in kept.chain(own().map(|(name, value)| (name.as_str(), value.as_str()))) {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("Connection: close\r\n\r\n");
        request.into_bytes()
    }
}

impl fmt::Debug for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Connecting { .. } => "connecting",
            State::Sending { .. } => "sending",
            State::Head { .. } => "reading the head",
            State::Body { .. } => "streaming",
            State::Done(_) => "done",
        };
        f.debug_struct("HttpOrigin").field("url", &self.url).field("state", &state).finish_non_exhaustive()
    }
}

/// The moment `ms` milliseconds after `now`.
fn after(now: Now, ms: u64) -> u64 {
    now.mono_us.saturating_add(ms.saturating_mul(1_000))
}

/// Whether a header of this name is meant for the configured server and must not follow a redirect to another.
fn is_for_one_server(name: &str) -> bool {
    ["Authorization", "Proxy-Authorization", "Cookie", "Host"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// A token and a field value, and not one of the fields that say where the request ends or what becomes of it.
fn is_valid_header(name: &str, value: &str) -> bool {
    let framing = ["Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Expect"];
    !name.is_empty()
        && name.bytes().all(is_token_byte)
        && value.bytes().all(is_value_byte)
        && !framing.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
