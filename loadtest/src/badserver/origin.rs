//! `loadtest origin`: the server without fault, as an origin that latency is measured from.
//!
//! Each access unit is written at its time in one write, with the wall clock of that moment in it ([`Stamp::Written`]), so a viewer anywhere behind it
//! sees how long the unit was under way. What it deliberately does not do: count waiting at home. When the peer's full socket holds a write up, that is
//! in the time of the unit that is written, and not in the times of those that are late behind it.

use super::{BadServer, Fault, Options, PesForm, Stamp};
use anyhow::Result;
use clap::Args;
use std::net::SocketAddr;

/// `loadtest origin`.
#[derive(Args, Clone, Debug)]
pub struct OriginArgs {
    /// Where to listen; the stream is at /live/x.ts, and N ms later at /live/x/late{N}ms.ts.
    #[arg(long, default_value = "127.0.0.1:8091")]
    pub listen: SocketAddr,
    /// Bitrate of the transport stream, kb/s.
    #[arg(long, default_value_t = 3_000)]
    pub kbps: u32,
    /// How PES packets tell their end.
    #[arg(long, value_enum, default_value_t = PesForm::Aligned)]
    pub pes: PesForm,
}

impl OriginArgs {
    /// Starts it.
    ///
    /// # Errors
    /// A bitrate out of range, and an address that cannot be listened on.
    pub fn start(&self) -> Result<BadServer> {
        let OriginArgs { listen, kbps, pes } = *self;
        BadServer::start_with(Options {
            fault: Fault::None,
            listen,
            kbps,
            pes,
            stamp: Stamp::Written,
            ..Options::default()
        })
    }
}
