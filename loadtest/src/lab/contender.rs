//! The servers that are compared. Each is a process on the server's core, ended when it is dropped.

use super::media;
use super::process::{Process, free_address};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A server to be measured: what its viewers ask for, and by which process.
pub struct Contender {
    pub name: &'static str,
    process: Process,
    /// Path that viewers ask for.
    pub path: String,
    /// What it needs beside it.
    _origin: Option<Process>,
}

impl Contender {
    pub fn new(name: &'static str, process: Process, path: &str) -> Contender {
        Contender { name, process, path: path.to_owned(), _origin: None }
    }

    /// `http://` and its address.
    pub fn target(&self) -> String {
        format!("http://{}", self.process.addr)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The relay.
pub struct Relay {
    pub process: Process,
    /// Where it tells its metrics.
    pub admin: SocketAddr,
    /// What it says, from level info on.
    pub log: PathBuf,
    /// Where it was started with the relay.
    pub origin: Option<Process>,
}

/// What differs between relays of an experiment.
pub struct RelaySettings<'a> {
    /// Lines of `[media]`.
    pub media: &'a str,
    pub shards: Vec<usize>,
    pub channels: u32,
}

impl Relay {
    /// A relay of the channels `c1` to `cN`, each of which plays `file` in a loop.
    ///
    /// # Errors
    /// One of both does not start.
    pub fn start(
        binary: &Path,
        file: &Path,
        settings: &RelaySettings<'_>,
        origin_core: usize,
        folder: &Path,
    ) -> Result<Relay> {
        let origin_addr = free_address()?;
        let arguments = ["origin", "--listen", &origin_addr.to_string(), "--channels", &settings.channels.to_string()]
            .map(String::from)
            .into_iter()
            .chain(["--file".into(), file.display().to_string()]);
        let log = folder.join(format!("origin-{}.log", origin_addr.port()));
        let origin = Process::start(binary, &arguments.collect::<Vec<_>>(), origin_core, origin_addr, &log)?;
        let url = |n| format!("http://{origin_addr}/channel/{n}.ts");
        let urls: Vec<String> = (1..=settings.channels).map(url).collect();
        let relay = Relay::of_origins(binary, settings.media, &settings.shards, &urls, folder)?;
        Ok(Relay { origin: Some(origin), ..relay })
    }

    /// A relay with a channel `c1` to `cN` for each of these origins, which run already.
    ///
    /// # Errors
    /// It does not start.
    pub fn of_origins(
        binary: &Path,
        media: &str,
        shards: &[usize],
        origins: &[String],
        folder: &Path,
    ) -> Result<Relay> {
        let (listen, admin) = (free_address()?, free_address()?);
        let mut config = format!(
            "[server]\nlisten = [\"{listen}\"]\nadmin_listen = \"{admin}\"\nshards = {}\ncores = {shards:?}\npage = false\n\
             [transcode]\nenabled = false\n[media]\n{media}\n[idle]\nsession_ms = 3600000\nvariant_ms = 3600000\nkeepalive_ms = 600000\n",
            shards.len(),
        );
        for (n, origin) in (1..).zip(origins) {
            config += &format!("[[channel]]\nid = \"c{n}\"\norigins = [\"{origin}\"]\n");
        }
        let path = folder.join(format!("relay-{}.toml", listen.port()));
        std::fs::write(&path, config)?;
        let arguments = ["serve".to_owned(), "--config".to_owned(), path.display().to_string()];
        let log = folder.join(format!("relay-{}.log", listen.port()));
        // Its shards pin themselves; the pacemaker stays with the first.
        let process = Process::start(binary, &arguments, shards[0], listen, &log)?;
        Ok(Relay { process, admin, log, origin: None })
    }

    /// `http://` and its address.
    pub fn target(&self) -> String {
        format!("http://{}", self.process.addr)
    }

    /// The relay as a contender whose viewers ask for `path`.
    pub fn into_contender(self, path: &str) -> Contender {
        Contender { name: "millrace", process: self.process, path: path.to_owned(), _origin: self.origin }
    }

    /// Waits until the first channel's playlist lists `segments`, and gives the path of its newest, and the playlist's path.
    ///
    /// # Errors
    /// The relay does not answer.
    pub fn warmed(&self, segments: usize) -> Result<(String, String)> {
        loop {
            let (path, text) = media::media_playlist(self.process.addr, "c1")?;
            if text.matches("#EXTINF").count() >= segments {
                let segment = media::newest_segment(&path, &text).context("a playlist without segments")?;
                return Ok((segment, path));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// nginx with a file in tmpfs: its documented way to serve segments (sendfile, tcp_nopush), one worker, no access log.
///
/// # Errors
/// It is not installed or does not start.
pub fn nginx(folder: &Path, root: &Path, core: usize) -> Result<Process> {
    let location = format!("location / {{ root {}; }}", root.display());
    start_nginx(folder, core, "master_process off;", &location, "")
}

/// Its program, where it is installed.
pub fn nginx_program() -> Option<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/nginx/sbin/nginx"].map(PathBuf::from);
    found.into_iter().find(|path| path.exists())
}

/// nginx with one worker: `main` are directives above all blocks, `locations` those of its HTTP server, `more` is what stands beside `http`.
///
/// # Errors
/// It is not installed or does not start.
pub fn start_nginx(folder: &Path, core: usize, main: &str, locations: &str, more: &str) -> Result<Process> {
    let nginx = nginx_program().context("nginx is missing: apt-get install nginx-light")?;
    let addr = free_address()?;
    let (name, folder) = (format!("nginx-{}", addr.port()), folder.display());
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "{main} {user} worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/{name}.pid; error_log {folder}/{name}.err; daemon off;\n\
         events {{ worker_connections 16384; multi_accept on; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600; \
         open_file_cache max=100 inactive=1h; types {{ video/mp2t ts; application/vnd.apple.mpegurl m3u8; }} \
         client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/{name}-fcgi; \
         uwsgi_temp_path {folder}/{name}-uwsgi; scgi_temp_path {folder}/{name}-scgi;\n\
         server {{ listen {addr} backlog=4096; {locations} }} }}\n{more}\n",
    );
    let config = PathBuf::from(format!("{folder}/{name}.conf"));
    std::fs::write(&config, text)?;
    let arguments = ["-c".to_owned(), config.display().to_string()];
    Process::start(&nginx, &arguments, core, addr, &PathBuf::from(format!("{folder}/{name}.log")))
}

/// A bare loop of this program.
///
/// # Errors
/// It does not start.
pub fn reference(arguments: &[&str], core: usize, folder: &Path) -> Result<Process> {
    let addr = free_address()?;
    let mut all: Vec<String> =
        std::iter::once("reference").chain(arguments.iter().copied()).map(String::from).collect();
    all.extend(["--listen".into(), addr.to_string(), "--core".into(), core.to_string()]);
    Process::start(&std::env::current_exe()?, &all, core, addr, &folder.join(format!("reference-{}.log", addr.port())))
}

/// Records what one viewer of a continuous stream gets.
///
/// # Errors
/// The recorder fails.
pub fn record(relay: &Relay, path: &str, seconds: u64, out: &Path, core: usize) -> Result<()> {
    let url = format!("http://{}{path}", relay.process.addr);
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(std::env::current_exe()?).args(["record", &url]);
    let status = command.args(["--seconds", &seconds.to_string(), "--out"]).arg(out).status()?;
    anyhow::ensure!(status.success(), "the recorder failed on {url}");
    Ok(())
}
