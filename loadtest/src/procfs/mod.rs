//! Samples the server's processes and the machine from `/proc`, once a second and over all that counts.
//!
//! ```text
//!  /proc/PID/…, its children ─► process ─┐
//!  /proc/stat, /proc/net/sockstat ───────┼─► Sampler ─► SecondSample, ServerFigures, MachineFigures
//!  ss -tmnpH, before viewers leave ──────┘    (parse: the pure part)
//!  perf stat, where asked for ───► syscalls
//! ```
//! [`memory`] and [`socket_bytes`] look at one moment, for who takes differences.
//!
//! What it deliberately does not do: wait for the second to be over; its caller has the clock.

mod environment;
mod memory;
mod parse;
mod process;
pub mod syscalls;

pub use environment::environment;
pub use memory::{Memory, memory, send_queues, slab_bytes};
pub use process::run_delay_s;

use crate::result::{MachineFigures, ServerFigures};
use anyhow::{Context, Result};
use process::{Held, Processes};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Samples from its start on.
pub struct Sampler {
    server: Option<Server>,
    machine: Machine,
    /// Where what counts began.
    machine_begun: Machine,
    ticks_per_s: f64,
    tcp_memory_bytes: Option<u64>,
}

/// Since the sample before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecondSample {
    /// Processor seconds of the server; `None` without a pid, or when it is gone.
    pub server_cpu_s: Option<f64>,
    /// At the moment of the sample.
    pub server_rss_bytes: Option<u64>,
    /// Of all cores together.
    pub machine_busy_s: f64,
    /// By core, over what the call before left: processor seconds, which are shares where a second lies between.
    pub machine_cores_busy: Vec<f64>,
    /// Pages of all TCP sockets of the machine, in bytes, at the moment of the sample.
    pub tcp_memory_bytes: Option<u64>,
}

struct Server {
    processes: Processes,
    /// At the sample before.
    cpu_s: f64,
    rss_bytes_max: u64,
    /// What it held when it was looked at, and the memory of its sockets.
    looked_at: Option<(Held, Option<u64>)>,
}

#[derive(Default)]
struct Machine {
    cores: Vec<parse::Core>,
    context_switches: u64,
}

impl Sampler {
    /// Begins to measure: the server by its pid, children included, and the machine.
    ///
    /// For seconds of the warm-up too, start with the run, and take a new sampler for the old one when the warm-up is over.
    ///
    /// # Errors
    /// When there is no such process, it may not be looked into, or there is no `/proc`.
    pub fn start(pid: Option<u32>) -> Result<Sampler> {
        let ticks_per_s = rustix::param::clock_ticks_per_second();
        let server = pid.map(|pid| Server::start(pid, ticks_per_s)).transpose()?;
        let machine = Machine::read().context("cannot read /proc/stat")?;
        let machine_begun = Machine { cores: machine.cores.clone(), ..machine };
        Ok(Sampler { server, machine, machine_begun, ticks_per_s: ticks_per_s as f64, tcp_memory_bytes: None })
    }

    /// The server's process and its children now; none without a pid.
    pub fn server_pids(&self) -> Vec<u32> {
        self.server.as_ref().map(|server| server.processes.pids()).unwrap_or_default()
    }

    /// What was used since the call before, or since the start. Called once a second; costs a few file reads per thread of the server.
    pub fn second(&mut self) -> SecondSample {
        let (server_cpu_s, server_rss_bytes) = self.server.as_mut().and_then(Server::second).unzip();
        let now = Machine::read().unwrap_or_default();
        let machine_cores_busy = now.busy_since(&self.machine, self.ticks_per_s);
        let machine_busy_s = machine_cores_busy.iter().sum();
        self.machine = now;
        let tcp_memory_bytes = tcp_memory_bytes();
        SecondSample { server_cpu_s, server_rss_bytes, machine_busy_s, machine_cores_busy, tcp_memory_bytes }
    }

    /// Looks at what is held while viewers are there: sockets, open files, threads. Called once, a second before they
    /// leave: it takes half of that, and longer beside more than some 5,000 viewers.
    pub fn look(&mut self) {
        if let Some(server) = &mut self.server {
            let held = server.processes.read().ok();
            server.looked_at = held.map(|(_, held)| (held, mean_socket_bytes(&server.processes.pids())));
        }
        self.tcp_memory_bytes = tcp_memory_bytes();
    }

    /// The figures since the start. Without [`Sampler::look`] there is no memory of sockets. The server's are `None` without a pid, and when it did not live to the end.
    pub fn finish(self) -> (Option<ServerFigures>, MachineFigures) {
        let now = Machine::read().unwrap_or_default();
        let begun = &self.machine_begun;
        let softirq = now.cores.iter().zip(&begun.cores).map(|(now, begun)| now.softirq.saturating_sub(begun.softirq));
        let machine = MachineFigures {
            busy_s: now.busy_since(begun, self.ticks_per_s),
            softirq_s: softirq.map(|ticks| ticks as f64 / self.ticks_per_s).collect(),
            context_switches: now.context_switches.saturating_sub(begun.context_switches),
            tcp_memory_bytes: self.tcp_memory_bytes,
        };
        (self.server.and_then(Server::finish), machine)
    }
}

impl Server {
    fn start(pid: u32, ticks_per_s: u64) -> Result<Server> {
        Ok(Server { processes: Processes::follow(pid, ticks_per_s)?, cpu_s: 0.0, rss_bytes_max: 0, looked_at: None })
    }

    /// Processor seconds since the sample before, and resident bytes now.
    fn second(&mut self) -> Option<(f64, u64)> {
        let (used, held) = self.processes.read().ok()?;
        self.rss_bytes_max = self.rss_bytes_max.max(held.rss_bytes);
        // The clock may change from the scheduler's to ticks and back (see `Processes::read`).
        let since = (used.cpu_s - self.cpu_s).max(0.0);
        self.cpu_s = self.cpu_s.max(used.cpu_s);
        Some((since, held.rss_bytes))
    }

    fn finish(mut self) -> Option<ServerFigures> {
        let (used, at_end) = self.processes.read().ok()?;
        let (held, socket_bytes) = self.looked_at.unwrap_or((at_end, None));
        let ticks = used.user_ticks + used.system_ticks;
        // Without a single tick there is nothing to split by.
        let user_share = if ticks == 0 { 1.0 } else { used.user_ticks as f64 / ticks as f64 };
        Some(ServerFigures {
            pid: self.processes.pid(),
            cpu_user_s: used.cpu_s * user_share,
            cpu_system_s: used.cpu_s * (1.0 - user_share),
            context_switches_voluntary: used.voluntary,
            context_switches_involuntary: used.involuntary,
            syscalls: None,
            syscalls_by_name: BTreeMap::new(),
            syscalls_refused: None,
            rss_bytes: at_end.rss_bytes,
            rss_bytes_max: self.rss_bytes_max.max(held.rss_bytes).max(at_end.rss_bytes),
            socket_bytes,
            threads: held.threads,
            open_files: held.open_files,
        })
    }
}

impl Machine {
    fn read() -> std::io::Result<Machine> {
        let text = fs::read_to_string("/proc/stat")?;
        let context_switches = parse::machine_context_switches(&text).unwrap_or(0);
        Ok(Machine { cores: parse::cores(&text), context_switches })
    }

    /// Busy seconds by core.
    fn busy_since(&self, before: &Machine, ticks_per_s: f64) -> Vec<f64> {
        let cores = self.cores.iter().zip(&before.cores);
        cores.map(|(now, before)| now.busy.saturating_sub(before.busy) as f64 / ticks_per_s).collect()
    }
}

/// Pages of all TCP sockets of the machine, in bytes.
fn tcp_memory_bytes() -> Option<u64> {
    let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    parse::tcp_pages(&sockstat).map(|pages| pages * rustix::param::page_size() as u64)
}

/// Processor time of the calling thread, microseconds.
pub fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Mean of some moments: a socket is empty between what is sent at once and what comes next, as all are of viewers of one channel.
/// It is on the low side where `ss` shares its core with viewers: it runs when they have read all there is.
fn mean_socket_bytes(pids: &[u32]) -> Option<u64> {
    // Uneven, so that they do not fall in step with a server's flushes.
    let pauses = [0, 70, 110, 130].map(Duration::from_millis);
    let mut sum = 0;
    for pause in pauses {
        thread::sleep(pause);
        sum += socket_bytes(pids)?;
    }
    Some(sum / pauses.len() as u64)
}

/// Kernel memory of the processes' TCP sockets now, where `ss` of iproute2 is there to tell.
pub fn socket_bytes(pids: &[u32]) -> Option<u64> {
    // It shares its core with viewers, and goes through all sockets and open files of the machine.
    let output = Command::new("nice")
        .args(["-n", "19", "ss", "-tmnpH"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| parse::socket_memory(&String::from_utf8_lossy(&output.stdout), pids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    /// Keeps a processor busy for this long by the clock of the wall.
    fn burn(time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            black_box((0..1000_u64).sum::<u64>());
        }
    }

    #[test]
    fn the_time_of_a_thread_that_ended_is_not_lost() {
        let mut sampler = Sampler::start(Some(std::process::id())).unwrap();
        std::thread::spawn(|| burn(Duration::from_millis(300))).join().unwrap();
        let sample = sampler.second();
        // Other tests share the processors, so that the thread may have had less than its 300 ms.
        assert!(sample.server_cpu_s.unwrap() > 0.03, "{sample:?}");
        assert!(sample.server_rss_bytes.unwrap() > 100_000);
        assert!(sample.machine_busy_s > 0.0);
        sampler.look();
        let (server, machine) = sampler.finish();
        let server = server.unwrap();
        assert!(machine.tcp_memory_bytes.is_some());
        assert!(server.cpu_user_s + server.cpu_system_s > 0.03, "{server:?}");
        assert!(server.threads >= 1 && server.open_files >= 3 && server.rss_bytes_max >= server.rss_bytes);
        assert!(!machine.busy_s.is_empty() && machine.busy_s.len() == machine.softirq_s.len());
    }

    #[test]
    fn a_child_belongs_to_the_server_and_its_end_is_told() {
        // A shell that waits for a busy child, as a master does for its workers. Its input ends when the test does.
        let script = "sh -c 'while :; do :; done' & child=$!; read line; kill $child";
        let mut shell = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let mut sampler = Sampler::start(Some(shell.id())).unwrap();
        std::thread::sleep(Duration::from_millis(400));
        let busy = sampler.second();
        drop(shell.stdin.take());
        // Gone is also who only waits to be waited for.
        let deadline = Instant::now() + Duration::from_secs(10);
        while sampler.second().server_cpu_s.is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(busy.server_cpu_s.unwrap() > 0.02, "{busy:?}");
        assert_eq!(sampler.second().server_cpu_s, None);
        shell.wait().unwrap();
        assert_eq!(sampler.finish().0, None);
    }

    #[test]
    fn no_process_is_an_error_and_no_pid_is_none() {
        assert!(Sampler::start(Some(u32::MAX)).is_err());
        let mut sampler = Sampler::start(None).unwrap();
        assert_eq!(sampler.second().server_cpu_s, None);
        assert_eq!(sampler.finish().0, None);
    }

    #[test]
    fn unread_bytes_are_socket_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut &sender, &[7; 50_000]).unwrap();
        // Where there is no `ss`, or it may not see owners, there is nothing to hold against.
        if let Some(bytes) = socket_bytes(&[std::process::id()]).filter(|bytes| *bytes > 0) {
            assert!(bytes >= 50_000, "{bytes}");
        }
        let mut sampler = Sampler::start(Some(std::process::id())).unwrap();
        sampler.look();
        let mut read = [0; 50_000];
        reader.read_exact(&mut read).unwrap();
        let server = sampler.finish().0.unwrap();
        // As it was when it was looked at.
        assert!(server.socket_bytes.is_none_or(|bytes| bytes == 0 || bytes >= 50_000), "{server:?}");
    }
}
