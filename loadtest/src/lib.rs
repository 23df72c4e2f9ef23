//! Load generator and stream checker for the relay.
//!
//! It shares no code with the relay, so that its verdict is independent: what both get wrong in the same way would go unseen otherwise.
//!
//! ```text
//!  scenario ─► arrivals ─► engine, a thread per core ─► player (sans-IO) ──► check
//!                             │ epoll, keep-alive          ▲ what was fetched
//!                             ▼                            │
//!                          network ── proxy (faults) ── the server ◄── procfs samples it
//!                             └────────► stats ─► result (JSON) ─► report, compare, capacity, A/B
//! ```
//! [`scenario`] is what a run does and [`result`] what it measured; [`engine`] runs it, by [`arrivals`] and [`stats`]; [`player`] are the viewers; [`proxy`] spoils the network between them and the
//! server. [`ab`] compares two servers and [`capacity`] looks for the end of one; [`lab`] starts servers for them. [`tscheck`] holds an MPEG transport stream against ISO/IEC 13818-1.
#![forbid(unsafe_code)]

pub mod ab;
pub mod arrivals;
pub mod badserver;
pub mod capacity;
pub mod check;
pub mod clock;
pub mod engine;
pub mod lab;
pub mod player;
pub mod procfs;
pub mod proxy;
pub mod random;
pub mod reference;
pub mod report;
pub mod result;
pub mod rounds;
pub mod scenario;
pub mod stats;
pub mod tscheck;
