//! The real binary as a child process, with a config written for the test, its log and its metrics.

use super::http::{Client, PATIENCE, Response, eventually};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a test sets; all else is at its default. Idle clocks are short, so that tests see their ends.
#[derive(Clone)]
pub struct Setup {
    keys: Vec<(String, String)>,
    channels: Vec<String>,
    routes: Vec<String>,
    profiles: Vec<String>,
}

impl Setup {
    pub fn new() -> Setup {
        let mut setup = Setup { keys: Vec::new(), channels: Vec::new(), routes: Vec::new(), profiles: Vec::new() };
        setup.key("server.listen", "[\"127.0.0.1:0\"]").key("server.admin_listen", "\"127.0.0.1:0\"");
        setup.key("server.shards", 2);
        setup.key("media.segment_target_ms", 1_000).key("media.segment_max_ms", 3_000);
        setup
    }

    /// Sets `section.key` to a TOML value.
    pub fn key(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Setup {
        self.keys.retain(|(known, _)| known != name);
        self.keys.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn channel(&mut self, id: &str, origin: &str) -> &mut Setup {
        self.channel_toml(&format!("id = \"{id}\"\norigins = [\"{origin}\"]"))
    }

    /// A whole `[[channel]]` table's text.
    pub fn channel_toml(&mut self, table: &str) -> &mut Setup {
        self.channels.push(table.to_owned());
        self
    }

    /// A whole `[[route]]` table's text.
    pub fn route_toml(&mut self, table: &str) -> &mut Setup {
        self.routes.push(table.to_owned());
        self
    }

    /// A whole `[[profile]]` table's text.
    pub fn profile_toml(&mut self, table: &str) -> &mut Setup {
        self.profiles.push(table.to_owned());
        self
    }

    /// The file's text.
    pub fn toml(&self) -> String {
        let mut keys: Vec<_> =
            self.keys.iter().filter_map(|(name, value)| Some((name.split_once('.')?, value))).collect();
        keys.sort();
        let (mut text, mut section) = (String::new(), "");
        for ((in_section, key), value) in keys {
            if in_section != section {
                section = in_section;
                let _ = writeln!(text, "[{section}]");
            }
            let _ = writeln!(text, "{key} = {value}");
        }
        for channel in &self.channels {
            let _ = writeln!(text, "[[channel]]\n{channel}");
        }
        for profile in &self.profiles {
            let _ = writeln!(text, "[[profile]]\n{profile}");
        }
        for route in &self.routes {
            let _ = writeln!(text, "[[route]]\n{route}");
        }
        text
    }

    pub fn start(&self) -> Relay {
        Relay::start(&self.toml(), |_| {})
    }
}

/// A running relay. Dropped, it is killed; when the test failed, the end of its log is shown.
pub struct Relay {
    child: Child,
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    folder: PathBuf,
}

impl Relay {
    /// Starts the binary on `config`; `prepare` may change the command.
    pub fn start(config: &str, prepare: impl FnOnce(&mut Command)) -> Relay {
        let folder = scratch_folder();
        let mut command = serve_command(&folder, config);
        prepare(&mut command);
        let mut child = command.spawn().expect("the relay's binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().expect("stderr is a pipe"), log.clone());
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let mut line = || lines.next().and_then(Result::ok).unwrap_or_default();
        let (listening, metrics) = (line(), line());
        let addr = listening.strip_prefix("LISTENING ").and_then(|addr| addr.parse().ok());
        let admin = metrics.split("http://").nth(1).and_then(|url| url.split('/').next()?.parse().ok());
        let (Some(addr), Some(admin)) = (addr, admin) else {
            let status = child.wait();
            panic!("no addresses in {listening:?}, {metrics:?}; {status:?}; log:\n{}", log.lock().unwrap());
        };
        Relay { child, addr, admin, log, folder }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// GET for a viewer, on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// GET on the admin address.
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> Response {
        Client::connect(self.admin).get(path)
    }

    /// Opens a channel's continuous stream.
    #[track_caller]
    pub fn stream(&self, channel: &str) -> Client {
        self.connect().stream(&format!("/relay/channel/{channel}/stream.ts"))
    }

    /// Sum of all series of `name` whose label text holds `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.admin_get("/metrics").expect(200).text();
        series(&text).filter(|(n, l, _)| *n == name && l.contains(labels)).map(|(_, _, value)| value).sum()
    }

    /// Waits until a metric is what `is` wants, and gives it.
    #[track_caller]
    pub fn await_metric(&self, name: &str, labels: &str, limit: Duration, is: impl Fn(f64) -> bool) -> f64 {
        let what = format!("{name}{{{labels}}}");
        eventually(&what, limit, || Some(self.metric(name, labels)).filter(|value| is(*value)))
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that holds `text`.
    #[track_caller]
    pub fn await_log(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), PATIENCE, || self.log().contains(text).then_some(()));
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory in RAM, shared memory files included, KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the relay runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS is there");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Sends a signal and waits for the end; its status and how long that took.
    pub fn end_by(mut self, signal: libc::c_int) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        self.signal(signal);
        let status = eventually("the relay's end", PATIENCE, || self.child.try_wait().expect("our own child"));
        (status, begin.elapsed())
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: only names a process, our own child that has not been waited for.
        let sent = unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "kill: {}", std::io::Error::last_os_error());
    }

    /// Panics when a panic was caught in the relay, or when it died.
    #[track_caller]
    pub fn assert_sound(&mut self) {
        if let Some(status) = self.child.try_wait().expect("our own child") {
            panic!("the relay ended: {status:?}, signal {:?}", status.signal());
        }
        assert_eq!(self.metric("millrace_connection_panics_total", ""), 0.0, "panics in connections");
        assert_eq!(self.metric("millrace_session_panics_total", ""), 0.0, "panics in sessions");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6_000);
            let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("the end of the relay's log:\n{}", &log[from..]);
        }
    }
}

/// `millrace serve` on `config`, not started yet; its files lie in `folder`.
pub fn serve_command(folder: &Path, config: &str) -> Command {
    let file = folder.join("millrace.toml");
    std::fs::write(&file, config).expect("the scratch folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("serve").arg("--config").arg(file).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A new empty folder below cargo's own for tests.
pub fn scratch_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("relay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    folder
}

fn collect(from: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// The series of a metrics page: name, label text without braces, value. Comments are passed over.
pub fn series(page: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
        (name, labels.trim_end_matches('}'), value)
    })
}
