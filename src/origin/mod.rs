//! Origin protocols as sans-IO state machines: the runtime connects, sends and reads; what to do next and what came
//! of it is decided here.
//!
//! ```text
//!  OriginUrl ─► HttpOrigin ──poll──► Action::Connect / Send / Read / Done(Outcome)
//!                   ▲                         │ the runtime does it
//!                   └─ on_connected, on_sent, on_bytes(.., body), on_closed, on_deadline
//!  Outcome ─► Retry ─► which URL next, and when
//! ```
//!
//! The driver is a loop; `poll` is level-triggered, so it may be called at any time:
//! ```text
//! loop { match origin.poll() {
//!     Action::Connect { host, port } => drop any old connection, resolve, connect; on_connected or on_io_error
//!     Action::Send(bytes)            => send; on_sent(count)
//!     Action::Read                   => read until next_deadline(); on_bytes, on_closed, on_io_error or on_deadline
//!     Action::Done(outcome)          => break
//! } }
//! ```
//!
//! Credentials: an origin's URL may carry them in its user information, path or query, its headers anywhere. No
//! `Display` or `Debug` of this module shows more of either than scheme, host and port.
//!
//! What it deliberately does not have: sockets, name resolution, TLS, and any knowledge of MPEG-TS.

mod base64;
mod chunked;
pub mod http;
mod response;
pub mod retry;
pub mod url;

pub use http::{Action, HttpOrigin, OriginTimeouts};
pub use retry::Retry;
pub use url::OriginUrl;

/// How a connection to an origin came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin ended its stream properly.
    Ended(EndReason),
    /// The stream could not be had, or broke.
    Failed(OriginError),
}

/// What told that the stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// `Content-Length` bytes have come.
    LengthReached,
    /// The last chunk has come.
    LastChunk,
    /// The origin closed a stream that ends with its connection.
    Closed,
}

/// Why an origin failed. The text is for operators' logs and shows neither URL nor credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// An URL that cannot be parsed or has no host.
    #[error("the origin URL is not valid: {0}")]
    UrlSyntax(&'static str),
    /// An `https://` URL.
    #[error("https origins are not supported")]
    HttpsUnsupported,
    /// A configured request header that would break the request; its name.
    #[error("the request header {0:?} is not valid")]
    HeaderInvalid(String),
    /// No connection within this many milliseconds.
    #[error("no connection to the origin within {0} ms")]
    ConnectTimeout(u64),
    /// No complete response head within this many milliseconds of the connection.
    #[error("no response from the origin within {0} ms")]
    FirstByteTimeout(u64),
    /// No byte of the stream for this many milliseconds.
    #[error("the origin sent nothing for {0} ms")]
    Stalled(u64),
    /// What the operating system or the resolver said.
    #[error("connection to the origin failed: {0}")]
    Io(String),
    /// The connection closed before the response head was complete.
    #[error("the origin closed the connection before it answered")]
    ClosedBeforeHead,
    /// The connection closed before the announced end.
    #[error("the origin closed the connection in the middle of the stream")]
    Truncated,
    /// See [`crate::limits::ORIGIN_HEAD_BYTES_MAX`] and [`crate::limits::ORIGIN_HEADERS_MAX`].
    #[error("the origin's response head is too large")]
    HeadTooLarge,
    /// The response head is no HTTP.
    #[error("the origin's response head is not valid: {0}")]
    HeadSyntax(&'static str),
    /// A status that is neither the stream nor a redirect.
    #[error("the origin answered {code} ({meaning})")]
    Status {
        /// The status code, 101 to 999.
        code: u16,
        /// What to make of it.
        meaning: &'static str,
    },
    /// See [`crate::limits::ORIGIN_REDIRECTS_MAX`].
    #[error("the origin redirects more than {0} times")]
    TooManyRedirects(usize),
    /// A redirect without `Location`, or with one that is no URL.
    #[error("the origin redirects to nowhere")]
    RedirectTarget,
    /// A `Transfer-Encoding` or `Content-Encoding` that is not understood.
    #[error("the origin's stream has an encoding that is not understood")]
    EncodingUnknown,
    /// The chunked coding is broken.
    #[error("the origin's chunked coding is broken: {0}")]
    ChunkSyntax(&'static str),
}

impl OriginError {
    /// What an operator can do about a URL that [`OriginUrl::parse`] refused.
    pub fn url_remedy(&self) -> &'static str {
        match self {
            Self::HttpsUnsupported => {
                "name the http:// address, or put a TLS proxy on this host between the relay and the origin"
            }
            _ => "write it as http://host[:port]/path",
        }
    }
}
