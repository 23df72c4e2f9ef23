//! Command line of the reference servers and of the recorder.

use super::record::{self, record};
use super::{NOTSENT_LOWAT_BYTES, ServerConfig, live, segments};
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `loadtest reference`.
#[derive(Args, Debug)]
pub struct ReferenceArgs {
    #[command(subcommand)]
    server: Server,
}

#[derive(Subcommand, Debug)]
enum Server {
    /// Answers each GET with one file, keep-alive.
    Segments {
        #[command(flatten)]
        server: ServerArgs,
        /// The file, read once at the start.
        #[arg(long)]
        file: PathBuf,
        /// How its bytes are sent.
        #[arg(long, value_enum, default_value = "sendfile")]
        method: segments::Method,
    },
    /// Sends a recording to all viewers, over and over, the recorded bytes at the recorded moments.
    Live {
        #[command(flatten)]
        server: ServerArgs,
        /// A file of `loadtest record`, read once at the start.
        #[arg(long)]
        recording: PathBuf,
    },
}

#[derive(Args, Debug)]
struct ServerArgs {
    /// Address to listen on; port 0 has one chosen. `listening on http://ADDR/` is printed once it is.
    #[arg(long)]
    listen: SocketAddr,
    /// The CPU to stay on.
    #[arg(long)]
    core: usize,
    /// TCP_NOTSENT_LOWAT of each connection; 0 leaves the default of the system.
    #[arg(long, value_name = "BYTES", default_value_t = NOTSENT_LOWAT_BYTES)]
    notsent_lowat: u32,
}

impl ReferenceArgs {
    /// Serves until the process is ended, or until an error.
    pub fn run(self) -> Result<()> {
        match self.server {
            Server::Segments { server, file, method } => {
                segments::serve(&segments::Config { server: server.into(), file, method }, announce)
            }
            Server::Live { server, recording } => {
                live::serve(&live::Config { server: server.into(), recording }, announce)
            }
        }
    }
}

impl From<ServerArgs> for ServerConfig {
    fn from(args: ServerArgs) -> Self {
        Self { listen: args.listen, core: Some(args.core), notsent_lowat_bytes: args.notsent_lowat }
    }
}

/// `loadtest record`.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// The stream, http:// only.
    url: String,
    /// How long to record.
    #[arg(long)]
    seconds: f64,
    /// Where to write the recording.
    #[arg(long)]
    out: PathBuf,
    /// Seconds to drop before: a stream that begins with a burst would repeat it with each repetition of the recording.
    #[arg(long, default_value_t = 0.0)]
    skip: f64,
    /// One more header of the request, `Name: value`; may be given again.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
}

impl RecordArgs {
    /// Records, and prints how much it was.
    pub fn run(self) -> Result<()> {
        ensure!(self.seconds > 0.0, "--seconds must be more than 0");
        let duration = Duration::try_from_secs_f64(self.seconds)?;
        let skip = Duration::try_from_secs_f64(self.skip)?;
        let recording = record(&record::Config { url: self.url, duration, skip, headers: self.headers })?;
        recording.save(&self.out)?;
        let (chunks, bytes) = (recording.chunks().len(), recording.bytes().len());
        println!("{chunks} chunks, {bytes} bytes in {:.3} s", recording.duration_us() as f64 / 1e6);
        Ok(())
    }
}

/// Nothing to be done about a reader that is gone.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "listening on http://{address}/").and_then(|()| stdout.flush());
}
