//! Command line of the load generator and stream checker.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use loadtest::badserver::{BadServer, Fault, Options};
use loadtest::tscheck::{Checker, Report};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks what the relay sends.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Two servers under the same scenario, in interleaved rounds: medians, and ratios with exact intervals.
    ///
    /// Example: loadtest ab --a http://127.0.0.1:8080 --a-pid 77 --a-path /x.m3u8 --b peer:nginx-rtmp --install --kind hls --viewers 200 --duration 20
    Ab(loadtest::ab::AbArgs),
    /// The largest number of viewers for which a server holds its bounds.
    ///
    /// Example: loadtest capacity --target peer:millrace --kind hls --from 200 --duration 20 --precision 10
    Capacity(loadtest::capacity::CapacityArgs),
    /// Holds two results side by side.
    Compare(loadtest::report::CompareArgs),
    /// Starts a server to be measured against, prints where it is, and waits for SIGINT.
    Peer(loadtest::lab::peer::PeerArgs),
    /// Forwards TCP connections over a path that is as bad as asked for.
    ///
    /// Example: loadtest proxy --listen 127.0.0.1:9000 --to 127.0.0.1:8080 --latency-ms 80 --rate-kbps 6000
    Proxy(loadtest::proxy::ProxyArgs),
    /// Shows what a run has measured.
    Report(loadtest::report::ReportArgs),
    /// Runs viewers against a server; exit code 1 when a bound is missed, 2 when the harness itself did not keep up.
    ///
    /// Example: loadtest run --kind ts --path /live/{n}.ts --viewers 1000 --duration 30 --target http://127.0.0.1:8080 --core 1
    Run(loadtest::engine::args::RunArgs),
    /// Holds a transport stream against ISO/IEC 13818-1; exit code 1 when a rule is broken.
    ///
    /// Example: curl -s --max-time 60 URL | loadtest tscheck -
    Tscheck {
        /// The stream, or `-` for standard input.
        file: PathBuf,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// The stream must end with a whole packet (a segment), not wherever the capture was stopped.
        #[arg(long)]
        whole: bool,
    },
    /// Serves a synthetic live channel with one chosen fault, until it is killed.
    Badserver {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
        /// What to do wrong.
        #[arg(long, value_enum, default_value_t)]
        fault: Fault,
        /// Bitrate of the transport stream, kb/s.
        #[arg(long, default_value_t = 1_000)]
        kbps: u32,
        /// Name of the channel in the paths.
        #[arg(long, default_value = "x")]
        channel: String,
        /// What the filler bytes come from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Serves a synthetic live channel whose pictures carry the time at which they were written, until it is killed.
    ///
    /// Example: loadtest origin --listen 127.0.0.1:8091 --kbps 3000
    Origin(loadtest::badserver::origin::OriginArgs),
    /// Measures the relay's fan-out path beside bare loops and nginx.
    Fanout(loadtest::lab::FanoutArgs),
    /// A bare epoll loop that a relay's send path is measured against.
    Reference(loadtest::reference::cli::ReferenceArgs),
    /// Records what one viewer of a continuous stream receives, and when, for `reference live`.
    Record(loadtest::reference::cli::RecordArgs),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Ab(args) => loadtest::ab::run(&args),
        Command::Capacity(args) => loadtest::capacity::run(&args),
        Command::Compare(args) => loadtest::report::run_compare(&args).map(|()| ExitCode::SUCCESS),
        Command::Report(args) => loadtest::report::run_report(&args).map(|()| ExitCode::SUCCESS),
        Command::Peer(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Proxy(args) => loadtest::proxy::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => loadtest::engine::args::run_command(&args),
        Command::Tscheck { file, json, whole } => {
            let report = if file.as_os_str() == "-" {
                check(io::stdin().lock(), whole)?
            } else {
                check(File::open(&file).with_context(|| format!("cannot open {}", file.display()))?, whole)?
            };
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?)
            } else {
                print!("{report}")
            }
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Badserver { listen, fault, kbps, channel, seed } => {
            serve(BadServer::start_with(Options { fault, listen, kbps, channel, seed, ..Options::default() })?)
        }
        Command::Origin(args) => serve(args.start()?),
        Command::Fanout(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Reference(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Record(args) => args.run().map(|()| ExitCode::SUCCESS),
    }
}

/// Until the process is ended.
fn serve(server: BadServer) -> ! {
    println!("listening on {}", server.addr());
    loop {
        std::thread::park();
    }
}

fn check(mut input: impl Read, whole: bool) -> Result<Report> {
    let mut checker = Checker::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = input.read(&mut buffer).context("cannot read the stream")?;
        if read == 0 {
            break;
        }
        checker.push(&buffer[..read]);
    }
    Ok(if whole { checker.finish_whole() } else { checker.finish() })
}
