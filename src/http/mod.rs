//! HTTP/1.1 as bytes: what the relay understands of a request and what it writes before an answer's body.
//!
//! ```text
//!  socket bytes ─► request::parse ─► Head { method, target, fields } ─► url::Target ─► (route)
//!                                                       │
//!                                      range::resolve, range::etag_matches
//!                                                       ▼
//!                                  response::ResponseHead ─► socket bytes
//! ```
//!
//! Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (URLs), Fetch (CORS).
//!
//! What it deliberately does not have: sockets, clocks, request bodies, content codings, HTTP/2. Bodies are refused
//! because nothing the relay serves takes one, and a server that never reads a body cannot be desynchronised by one.
pub mod fields;
pub mod range;
pub mod refuse;
pub mod request;
pub mod response;
mod rules;
pub mod scan;
#[cfg(target_arch = "x86_64")]
mod sse2;
pub mod url;
