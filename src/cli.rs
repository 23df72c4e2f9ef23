//! The command line: `serve`, `check-config`, `demo`, `origin`.

use anyhow::Context;
use clap::{Parser, Subcommand};
use millrace::config::{self, Config, ConfigError, LogFormat, OriginUrl};
use millrace::demo::{Origin, OriginConfig, Source};
use millrace::shard::boot::{self, BootError, EXIT_SYSTEM, Running};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A live-stream relay: pulls each origin stream once and serves every viewer HLS, DASH or continuous MPEG-TS.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  millrace demo                              a synthetic channel at http://127.0.0.1:8080/
  millrace serve --config /etc/millrace.toml
  millrace check-config /etc/millrace.toml
  millrace origin --file recording.ts        loop a TS file as a live origin"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the relay.
    #[command(after_help = "Example:\n  millrace serve --config /etc/millrace.toml")]
    Serve {
        /// Configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Checks a configuration file and says what is wrong: key, line and remedy.
    #[command(
        after_help = "Examples:\n  millrace check-config /etc/millrace.toml\n  millrace check-config --print-defaults > millrace.toml"
    )]
    CheckConfig {
        /// Configuration file (TOML).
        #[arg(value_name = "FILE", required_unless_present = "print_defaults")]
        file: Option<PathBuf>,
        /// Prints every key with its unit, default and range instead.
        #[arg(long)]
        print_defaults: bool,
    },
    /// Runs a synthetic origin and the relay in one process, and prints URLs that play.
    #[command(after_help = "Examples:\n  millrace demo\n  millrace demo --channels 100 --shards 1")]
    Demo {
        /// Address for viewers; port 0 lets the system choose.
        #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
        listen: SocketAddr,
        /// Address for metrics and the API; port 0 lets the system choose.
        #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
        admin_listen: SocketAddr,
        /// Channels, demo-1 to demo-N, all fed from one encoder.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        channels: u32,
        /// Shards, each a pinned executor; 0 = one per core.
        #[arg(long, default_value_t = 0, value_name = "K")]
        shards: usize,
        /// A configuration file whose [server], [media], [idle] and other sections hold instead of the defaults; its channels stay beside the demo's.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Loops this TS file instead of the synthetic picture.
        #[arg(long, value_name = "X.ts")]
        file: Option<PathBuf>,
    },
    /// Runs the synthetic origin alone: GET /channel/1.ts to /channel/N.ts
    #[command(
        after_help = "Examples:\n  millrace origin --channels 10\n  millrace origin --listen 127.0.0.1:9000 --file recording.ts"
    )]
    Origin {
        /// Address to serve at; port 0 lets the system choose.
        #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDR")]
        listen: SocketAddr,
        /// Channels: /channel/1.ts to /channel/N.ts
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        channels: u32,
        /// A TS file to loop for ever, paced by its PCR, instead of the synthetic picture.
        #[arg(long, value_name = "X.ts")]
        file: Option<PathBuf>,
    },
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let wants_remedy = matches!(error.downcast_ref(), Some(BootError::System(_)));
    if wants_remedy || error.is::<ConfigError>() { EXIT_SYSTEM as u8 } else { 1 }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config } => serve(Config::load(&config)?),
        Command::CheckConfig { print_defaults: true, .. } => {
            print!("{}", config::reference_toml());
            Ok(())
        }
        Command::CheckConfig { file, .. } => check_config(&file.unwrap_or_default()),
        Command::Demo { listen, admin_listen, channels, shards, config, file } => {
            let mut config = config.map(|file| Config::load(&file)).transpose()?.unwrap_or_default();
            config.server.listen = vec![listen];
            config.server.admin_listen = admin_listen;
            config.server.shards = shards;
            demo(config, channels, source(file))
        }
        Command::Origin { listen, channels, file } => origin(listen, channels, source(file)),
    }
}

fn source(file: Option<PathBuf>) -> Source {
    file.map_or(Source::Picture, Source::File)
}

fn serve(config: Config) -> anyhow::Result<()> {
    start_log(&config);
    let running = start(config)?;
    say(&format!("LISTENING {}\nmetrics and API at http://{}/metrics\n", running.listen[0], running.admin_listen));
    running.join();
    Ok(())
}

fn start(config: Config) -> anyhow::Result<Running> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(boot::start(config)?)
}

fn check_config(file: &std::path::Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    println!("{}: ok, {} channels", file.display(), config.channels.len());
    Ok(())
}

fn demo(mut config: Config, channels: u32, source: Source) -> anyhow::Result<()> {
    start_log(&config);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let origin = Origin::start(OriginConfig::new(listen, channels as usize, source)).context("the synthetic origin")?;
    for n in 1..=channels {
        let url = OriginUrl::parse(&format!("http://{}/channel/{n}.ts", origin.local_addr()))?;
        let mut channel = config::Channel::new(&format!("demo-{n}"), url);
        channel.name = format!("Demo {n}");
        config.channels.push(channel);
    }
    let running = start(config)?;
    announce(&running, channels);
    running.join();
    origin.stop();
    Ok(())
}

fn announce(running: &Running, channels: u32) {
    let base = format!("http://{}", running.listen[0]);
    let shards = running.relay.shards.len();
    let metrics = running.admin_listen;
    say(&format!(
        "LISTENING {}

millrace demo: {channels} channel(s), {shards} shard(s)

  the page: all channels, a player    {base}/
  HLS (browsers, Safari, hls.js)      {base}/relay/channel/demo-1/index.m3u8
  DASH (shaka, dash.js)               {base}/relay/channel/demo-1/manifest.mpd
  MPEG-TS (VLC, mpv, ffplay)          {base}/relay/channel/demo-1/stream.ts
  all channels, for VLC or Kodi       {base}/channels.m3u
  metrics                             http://{metrics}/metrics

  try:  ffplay {base}/relay/channel/demo-1/stream.ts
        vlc {base}/channels.m3u

Ctrl-C ends it.
",
        running.listen[0]
    ));
}

/// Prints to stdout. Whoever reads it may have read enough: a closed pipe ends nothing.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn origin(listen: SocketAddr, channels: u32, source: Source) -> anyhow::Result<()> {
    start_log(&Config::default());
    let origin = Origin::start(OriginConfig::new(listen, channels as usize, source)).context("the synthetic origin")?;
    let addr = origin.local_addr();
    say(&format!("LISTENING {addr}\nhttp://{addr}/channel/1.ts to /channel/{channels}.ts\n"));
    // Its threads do the work until a signal ends the process.
    loop {
        std::thread::park();
    }
}

/// One structured log on stderr. `RUST_LOG` overrides the configured level.
fn start_log(config: &Config) {
    let level = format!("{:?}", config.log.level).to_lowercase();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
