//! Bare send loops on epoll: the floor that the send path of a relay is measured against.
//!
//! ```text
//! relay ── record ──> recording file ── reference live ──────> viewers   the relay's bytes at the relay's moments
//!                      any file ─────── reference segments ──> viewers   one file as the answer to each request
//! ```
//!
//! - [`segments`] answers each request with one file (keep-alive); [`live`] sends a recording to all viewers along one timeline.
//! - [`recording`] is the file format between [`record`] and [`live`], and pure; so are [`http`] and [`live::Timeline`].
//! - `socket` holds what both servers do with sockets, [`cli`] the command line.
//!
//! What makes them cheap, and is to stay so: one thread, pinned to its core before all else; sockets registered with epoll once, edge
//! triggered for both directions, so that a connection costs one `epoll_ctl` in its life and a send buffer that was full reports itself (level
//! triggering would cost two more calls for each time that it fills); up to 1024 events a wait; no allocation per request and per send; no
//! logging once they listen. A short send is taken for "buffer full" without a second call to be told EAGAIN: the kernel asks for the next
//! EPOLLOUT whenever it accepts less than it was given.
//!
//! Deliberately not here: routing, errors of HTTP, timeouts of idle connections, TLS, more than one core, figures (who measures counts).

pub mod cli;
pub mod http;
pub mod live;
pub mod record;
pub mod recording;
pub mod segments;
mod socket;

use std::net::SocketAddr;

/// What the relay under test sets too: unsent bytes per socket beyond which the kernel says that it is full.
pub const NOTSENT_LOWAT_BYTES: u32 = 256 << 10;

/// What both servers are told.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen on; port 0 has the kernel choose one.
    pub listen: SocketAddr,
    /// The CPU that the calling thread is pinned to before anything else; `None` leaves it where it is (tests).
    pub core: Option<usize>,
    /// TCP_NOTSENT_LOWAT of each connection in bytes; 0 leaves the default of the system.
    pub notsent_lowat_bytes: u32,
}
