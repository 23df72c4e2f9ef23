//! Servers to be measured against, each started by its name: `loadtest peer NAME`, and `peer:NAME` wherever `ab` and `capacity` take a URL.
//!
//! ```text
//!   feed core                              server core
//!   origin: loops a TS file ─────────────► millrace
//!   ffmpeg -re -c copy, one a channel ───► nginx-rtmp (RTMP in, HLS out)
//!   (files in tmpfs) ────────────────────► nginx
//! ```
//! All serve the same stream: 3 Mb/s, H.264 with a key picture every two seconds and AAC. What they deliberately do not do: the same work.
//! `nginx` reads what is there, and is no live server; what it costs is the least that any server of segments could.

use super::contender::{Relay, RelaySettings, nginx, nginx_program, start_nginx};
use super::media;
use super::packages::need;
use super::process::{Process, free_address};
use super::scratch::Scratch;
use crate::scenario::Kind;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What peers serve, kb/s.
const KBPS: u32 = 3_000;
/// Segments that a live peer must list before it is measured.
const SEGMENTS: usize = 3;
/// Time that it has for it: six times what they last.
const WARM_UP: Duration = Duration::from_secs(36);
/// How often the file of a minute is in the recording that `nginx` serves: its viewers must not come to the end.
const LOOPS: u32 = 5;
/// Where Debian and Ubuntu put the module.
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A server that a package or this project provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The relay, with an origin that loops a TS file. HLS as MPEG-TS.
    Millrace,
    /// nginx with a recording of HLS in tmpfs.
    Nginx,
    /// nginx with its RTMP module: live HLS.
    NginxRtmp,
}

/// How peers are started.
#[derive(Args, Clone, Debug)]
pub struct PeerSettings {
    /// Install a peer's package through apt-get where it is missing.
    #[arg(long)]
    pub install: bool,
    /// The relay's binary, for the peer millrace.
    #[arg(long, default_value = "target/release/millrace")]
    pub relay: PathBuf,
    /// CPU that peers run on.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// CPU of what feeds peers; with a peer and without --core also that of the viewers.
    #[arg(long, default_value_t = 1)]
    pub feed_core: usize,
}

/// A running peer; it ends when dropped, with what feeds it.
pub struct Peer {
    process: Process,
    feeds: Vec<Process>,
    hls: String,
    /// A media playlist, and a segment that stays, of the first channel.
    playlist: String,
    object: Option<String>,
    /// Continuous TS and DASH, of the relay alone.
    ts_and_dash: Option<[String; 2]>,
    /// Goes last: the others write to it.
    _scratch: Scratch,
}

/// `loadtest peer`.
#[derive(Args)]
pub struct PeerArgs {
    #[arg(value_enum)]
    preset: Preset,
    /// Channels, numbered from 1 in the paths.
    #[arg(long, default_value_t = 1)]
    channels: u32,
    #[command(flatten)]
    settings: PeerSettings,
}

impl PeerArgs {
    /// Starts the peer, says where it is, and waits for SIGINT or SIGTERM.
    ///
    /// # Errors
    /// As [`Preset::start`].
    pub fn run(&self) -> Result<()> {
        let peer = self.preset.start(&self.settings, self.channels)?;
        println!("{}, process {}", peer.target(), peer.pid());
        for kind in Kind::value_variants() {
            if let Some(path) = peer.path(*kind) {
                println!("  --kind {:<10} --path '{path}'", kind.name());
            }
        }
        // Blocked only now: children would inherit it.
        let mut set = uapi::empty_sig_set()?;
        for signal in [uapi::c::SIGINT, uapi::c::SIGTERM] {
            uapi::sigaddset(&mut set, signal)?;
        }
        uapi::pthread_sigmask(uapi::c::SIG_BLOCK, Some(&set), None)?;
        uapi::sigwait(&set)?;
        Ok(())
    }
}

impl Preset {
    /// Starts it with its feeds and waits until it can be measured.
    ///
    /// # Errors
    /// Something is missing, does not start, or never lists a segment.
    pub fn start(self, settings: &PeerSettings, channels: u32) -> Result<Peer> {
        ensure!(channels > 0, "a peer needs a channel");
        need("ffmpeg", || on_path("ffmpeg"), settings.install)?;
        let scratch = Scratch::new()?;
        match self {
            Preset::Millrace => millrace(settings, channels, scratch),
            Preset::Nginx => recording(settings, scratch),
            Preset::NginxRtmp => nginx_rtmp(settings, channels, scratch),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Peer {
    /// `http://` and its address.
    pub fn target(&self) -> String {
        format!("http://{}", self.process.addr)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What viewers of a kind ask it for, with `{n}` for a channel's number; `None`: it does not serve them.
    pub fn path(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Hls => Some(&self.hls),
            Kind::Playlist => Some(&self.playlist),
            Kind::Object => self.object.as_deref(),
            Kind::Ts => self.ts_and_dash.as_ref().map(|[ts, _]| ts.as_str()),
            Kind::Dash => self.ts_and_dash.as_ref().map(|[_, dash]| dash.as_str()),
            Kind::Idle => Some("/"),
        }
    }

    /// # Errors
    /// The server or a feed has ended.
    pub fn ensure_lives(&mut self) -> Result<()> {
        self.process.ensure_lives()?;
        self.feeds.iter_mut().try_for_each(Process::ensure_lives)
    }
}

fn millrace(settings: &PeerSettings, channels: u32, scratch: Scratch) -> Result<Peer> {
    let relay = &settings.relay;
    ensure!(relay.exists(), "{} is missing: cargo build --release, or --relay PATH", relay.display());
    let file = media::ts_file(&media::cache()?, KBPS)?;
    // A window so long that the object is there to the end.
    let shards = vec![settings.server_core];
    let asked = RelaySettings { media: "window_ms = 600000", shards, channels };
    let relay = Relay::start(relay, &file, &asked, settings.feed_core, scratch.path())?;
    let (object, playlist) = relay.warmed(SEGMENTS)?;
    let below = "/relay/channel/c{n}";
    Ok(Peer {
        process: relay.process,
        feeds: relay.origin.into_iter().collect(),
        hls: format!("{below}/index.m3u8?format=hls-ts"),
        playlist,
        object: Some(object),
        ts_and_dash: Some([format!("{below}/stream.ts"), format!("{below}/manifest.mpd")]),
        _scratch: scratch,
    })
}

/// Channels are all the same recording.
fn recording(settings: &PeerSettings, scratch: Scratch) -> Result<Peer> {
    need("nginx-light", || nginx_program().is_some(), settings.install)?;
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let root = scratch.path().join("files");
    std::fs::create_dir(&root)?;
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-stream_loop", &(LOOPS - 1).to_string(), "-i"]).arg(&file).args(["-c", "copy"]);
    command.args(["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"]);
    let status = command.arg(root.join("media.m3u8")).status().context("cannot start ffmpeg")?;
    ensure!(status.success(), "ffmpeg could not make a recording of {}", file.display());
    let process = nginx(scratch.path(), &root, settings.server_core)?;
    Ok(Peer {
        process,
        feeds: Vec::new(),
        hls: "/media.m3u8".into(),
        playlist: "/media.m3u8".into(),
        object: Some("/media0.ts".into()),
        ts_and_dash: None,
        _scratch: scratch,
    })
}

fn nginx_rtmp(settings: &PeerSettings, channels: u32, scratch: Scratch) -> Result<Peer> {
    let is_there = || nginx_program().is_some() && Path::new(RTMP_MODULE).exists();
    need("libnginx-mod-rtmp", is_there, settings.install)?;
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let (folder, rtmp) = (scratch.path(), free_address()?);
    let root = folder.join("hls");
    std::fs::create_dir(&root)?;
    // The cache of open files would go on serving a playlist that was replaced.
    let locations = format!("location / {{ root {}; open_file_cache off; }}", root.display());
    let more = format!(
        "rtmp {{ access_log off; server {{ listen {rtmp}; application live {{ live on; hls on; hls_path {}; hls_fragment 2s; \
         hls_playlist_length 20s; }} }} }}",
        root.display()
    );
    // With its master, which runs the process that removes old fragments.
    let process = start_nginx(folder, settings.server_core, &format!("load_module {RTMP_MODULE};"), &locations, &more)?;
    let mut feeds = Vec::new();
    for n in 1..=channels {
        let url = format!("rtmp://{rtmp}/live/c{n}");
        let head = ["-v", "error", "-re", "-stream_loop", "-1", "-i", &file.display().to_string()].map(String::from);
        let tail = ["-c", "copy", "-f", "flv", &url].map(String::from);
        let arguments = [head.as_slice(), tail.as_slice()].concat();
        let log = folder.join(format!("feed-{n}.log"));
        feeds.push(Process::spawn(Path::new("ffmpeg"), &arguments, settings.feed_core, rtmp, &log)?);
    }
    let mut peer = Peer {
        process,
        feeds,
        hls: "/c{n}.m3u8".into(),
        playlist: "/c1.m3u8".into(),
        object: None,
        ts_and_dash: None,
        _scratch: scratch,
    };
    warm_up(&mut peer, channels)?;
    Ok(peer)
}

/// Waits until all channels list segments.
fn warm_up(peer: &mut Peer, channels: u32) -> Result<()> {
    let begun = Instant::now();
    for n in 1..=channels {
        let path = peer.hls.replace("{n}", &n.to_string());
        let listed = |peer: &Peer| {
            let playlist = media::get(peer.process.addr, &path).unwrap_or_default();
            String::from_utf8_lossy(&playlist).matches("#EXTINF").count()
        };
        while listed(peer) < SEGMENTS {
            peer.ensure_lives()?;
            if begun.elapsed() > WARM_UP {
                bail!("{}{path} lists no {SEGMENTS} segments after {} s", peer.target(), WARM_UP.as_secs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// Whether a program is on the PATH.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
