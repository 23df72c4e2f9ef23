//! The configuration file (TOML): every key with unit, default and range.
//!
//! [`Config::load`] reads a file, fills in defaults, imports the M3U lists it names and checks every range and relation; what it
//! finds wrong it reports all at once, each with line, key and remedy ([`ConfigError`]). The ranges come from [`crate::limits`].
//! The annotated reference of all keys is [`reference_toml`].
//!
//! What it deliberately does not do: reload, watch files, or look anything up in the network.
#![forbid(unsafe_code)]

mod channels;
mod check;
mod error;
mod routes;
mod secret;
mod transcode;

pub use crate::origin::OriginUrl;
pub use channels::{Channel, Header, Origin};
pub use check::{NUMBERS, NumberRule};
pub use error::{ConfigError, Located, Problem};
pub use routes::{RouteFormat, RouteRule};
pub use secret::Secret;
pub use transcode::{Auto, Profile, ResolvedProfile, Transcode};

use crate::limits;
use channels::{ChannelEntry, M3uEntry};
use error::Locator;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// Everything an operator may set. `Config::default()` is a server without channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// Listeners, shards and shutdown.
    pub server: Server,
    /// The structured log.
    pub log: Log,
    /// How origins are pulled.
    pub origin: OriginRules,
    /// Segments, windows, rings and stores.
    pub media: Media,
    /// The clocks after which something unused goes away.
    pub idle: Idle,
    /// Bounds on what clients may take.
    pub limits: Limits,
    /// Where and when transcoding happens.
    pub transcode: Transcode,
    /// `[[profile]]`: encodings by name, beside the built-in ones; at most [`limits::PROFILES_MAX`].
    pub profiles: Vec<Profile>,
    /// `[[route]]`: formats by User-Agent, before the built-in rules; at most [`limits::ROUTE_RULES_MAX`].
    pub routes: Vec<RouteRule>,
    /// The channels of `[[channel]]`, then those of every `[[m3u]]`, at most [`limits::CHANNELS_MAX`], ids unique.
    pub channels: Vec<Channel>,
    /// What was passed over while lists were imported, for the log: `list.m3u:12: ...`.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Addresses for viewers, at least one.
    pub listen: Vec<SocketAddr>,
    /// Address of metrics and the admin API; `/healthz` and `/readyz` answer here and on `listen`.
    pub admin_listen: SocketAddr,
    /// Shards, each a pinned executor; 0 = one per usable core; at most [`limits::SHARDS_MAX`].
    pub shards: usize,
    /// CPU ids that shards are pinned to, in this order; empty = the cores the process may run on.
    pub cores: Vec<usize>,
    /// Time that SIGTERM leaves for answers in flight, milliseconds.
    pub shutdown_ms: u64,
    /// Which shard gets a new connection.
    pub steering: Steering,
    /// The page at `/`, and what it is made of below `/web/`; without it both are 404.
    pub page: bool,
}

/// How the kernel spreads new connections over shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Steering {
    /// SO_REUSEPORT's own hash of addresses and ports.
    Hash,
    /// The shard of the CPU that the packet arrived on: for NICs with a queue per shard.
    Cpu,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least severity that is written.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[origin]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OriginRules {
    /// Longest TCP connect, milliseconds.
    pub connect_ms: u64,
    /// Longest wait from the request to the first byte of the answer, milliseconds.
    pub first_byte_ms: u64,
    /// Longest silence of a running origin, milliseconds.
    pub stall_ms: u64,
    /// Longest wait between two attempts while the channel is watched, milliseconds, at most [`limits::ORIGIN_RETRY_MS_MAX`].
    pub retry_ms_max: u64,
    /// Smooths an origin that sends in bursts; `false` takes samples as they come.
    pub pace: bool,
    /// User-Agent of requests to origins that have none of their own.
    pub user_agent: String,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// A segment ends at the first key sample after this much, milliseconds.
    pub segment_target_ms: u64,
    /// Longest segment, and EXT-X-TARGETDURATION: milliseconds, whole seconds, at least `segment_target_ms`.
    pub segment_max_ms: u64,
    /// Length of a playlist, milliseconds, at least three times `segment_max_ms` (RFC 8216 6.2.2).
    pub window_ms: u64,
    /// Samples that the ring of a video track keeps.
    pub video_ring_samples: usize,
    /// Samples that the ring of an audio or data track keeps.
    pub audio_ring_samples: usize,
    /// Bytes that the ring of a video track keeps.
    pub video_ring_bytes: usize,
    /// Bytes that the ring of an audio or data track keeps.
    pub audio_ring_bytes: usize,
    /// Bytes of muxed media that one shard may hold.
    pub store_bytes_max: usize,
    /// Continuous viewers are sent what was muxed this often, milliseconds; an access unit that comes later goes out at once.
    pub live_flush_ms: u64,
    /// Or once it is this much, bytes.
    pub live_flush_bytes: usize,
}

/// `[idle]`: all milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Idle {
    /// A channel's session and its origin connection end this long after the last request or viewer.
    pub session_ms: u64,
    /// A format, or codec combination, of a channel ends this long after its last request or viewer.
    pub variant_ms: u64,
    /// A segment viewer counts as gone after this long without a request, or three target durations where that is longer.
    pub segment_viewer_ms: u64,
    /// A connection without a request is closed after this.
    pub keepalive_ms: u64,
    /// A continuous viewer that takes no byte for this long is cut: longer than a player's pause to drain its buffer.
    pub continuous_viewer_ms: u64,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Client connections of one shard; further ones are closed at once.
    pub connections_per_shard: usize,
    /// Client connections from one address on one shard; 0 = no bound.
    pub connections_per_address: usize,
    /// Longest time from the first byte of a request head to its last, milliseconds.
    pub request_head_ms: u64,
    /// Store blocks of [`limits::BLOCK_BYTES`] that slow readers of one channel may hold beyond its window; past it the oldest is cut.
    pub pinned_blocks_per_channel: usize,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            shards: 0,
            cores: Vec::new(),
            shutdown_ms: 5_000,
            steering: Steering::Hash,
            page: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Default for OriginRules {
    fn default() -> Self {
        OriginRules {
            connect_ms: 3_000,
            first_byte_ms: 5_000,
            stall_ms: 5_000,
            retry_ms_max: limits::ORIGIN_RETRY_MS_MAX,
            pace: true,
            user_agent: "millrace".into(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Media {
            segment_target_ms: 2_000,
            segment_max_ms: 4_000,
            window_ms: 20_000,
            video_ring_samples: limits::VIDEO_RING_SAMPLES_DEFAULT,
            audio_ring_samples: limits::AUDIO_RING_SAMPLES_DEFAULT,
            video_ring_bytes: 32 << 20,
            audio_ring_bytes: 4 << 20,
            store_bytes_max: 4 << 30,
            live_flush_ms: 40,
            live_flush_bytes: 32 << 10,
        }
    }
}

impl Default for Idle {
    fn default() -> Self {
        Idle {
            session_ms: 60_000,
            variant_ms: 60_000,
            segment_viewer_ms: 10_000,
            keepalive_ms: 15_000,
            continuous_viewer_ms: 60_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_per_shard: 65_536,
            connections_per_address: 0,
            request_head_ms: limits::REQUEST_HEAD_MS_MAX,
            pinned_blocks_per_channel: 256,
        }
    }
}

/// The file as written, before lists are imported and relations checked.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    server: Server,
    log: Log,
    origin: OriginRules,
    media: Media,
    idle: Idle,
    limits: Limits,
    transcode: Transcode,
    profile: Vec<Profile>,
    route: Vec<RouteRule>,
    channel: Vec<ChannelEntry>,
    m3u: Vec<M3uEntry>,
}

impl Config {
    /// Reads and checks the file at `path`; lists of `[[m3u]]` are found relative to it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = read_bounded(path).map_err(|e| ConfigError::unreadable(&file, &e))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&file, &text, &|list| read_bounded(&folder.join(list)))
    }

    /// Checks a config given as text; lists of `[[m3u]]` are found relative to the current folder. Errors call the text `config`.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        Self::parse("config", text, &read_bounded)
    }

    /// The work of both; `read` reads a list that an `[[m3u]]` names.
    fn parse(file: &str, text: &str, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Config, ConfigError> {
        let locator = Locator::new(file, text)?;
        let written: ConfigFile = toml::from_str(text).map_err(|e| locator.explain(&e))?;
        let mut problems = Vec::new();
        let mut config = Config {
            server: written.server,
            log: written.log,
            origin: written.origin,
            media: written.media,
            idle: written.idle,
            limits: written.limits,
            transcode: written.transcode,
            profiles: written.profile,
            routes: written.route,
            ..Config::default()
        };
        check::check(&config, &mut problems);
        routes::check(&config, &mut problems);
        transcode::check(&config, &mut problems);
        channels::resolve(written.channel, written.m3u, read, &mut config, &mut problems);
        if problems.is_empty() { Ok(config) } else { Err(locator.locate(problems)) }
    }

    /// The channel of this id.
    pub fn channel(&self, id: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.id == id)
    }

    /// The config in effect as TOML, with every default filled in; origin paths, queries and header values are redacted.
    pub fn effective_toml(&self) -> String {
        toml::to_string(self).expect("tables with string keys and no nulls always serialise")
    }
}

/// Every key with unit, range and default, as a TOML file that parses to `Config::default()`.
pub fn reference_toml() -> &'static str {
    include_str!("config/reference.toml")
}

/// A text file of at most [`limits::CONFIG_BYTES_MAX`]. Lists come in every encoding, so what is not UTF-8 is replaced.
fn read_bounded(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits::CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits::CONFIG_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("over {} bytes", limits::CONFIG_BYTES_MAX)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
