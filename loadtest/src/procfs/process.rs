//! The server's processes: what they used since the measuring began, read from `/proc`.
//!
//! A server may be several processes (a master and its workers), so the children of the pid belong to it. Time and context switches are
//! summed by thread and by difference, so that a thread which ends takes nothing back; what it used after its last reading is lost, unless the
//! coarser clock ticks of its process, which keep it, know better.

use super::parse;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs;

/// What the processes used since the reading began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// On a processor, seconds, by the scheduler's clock where the kernel has it.
    pub cpu_s: f64,
    /// The same by clock ticks, for the split.
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub voluntary: u64,
    pub involuntary: u64,
}

/// What they hold at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub rss_bytes: u64,
    pub threads: u32,
    pub open_files: u32,
}

/// Follows a process and its children.
pub struct Processes {
    pid: u32,
    /// [`parse::Stat::started`] of the pid: another process under the same pid is another server.
    started: u64,
    ticks_per_s: u64,
    threads: HashMap<u32, Thread>,
    /// User and system ticks by pid.
    ticks: HashMap<u32, (u64, u64)>,
    used: Used,
    /// Whether no reading was yet: what was used before it does not count.
    first: bool,
}

#[derive(Clone, Copy, Default)]
struct Thread {
    on_cpu_ns: Option<u64>,
    voluntary: u64,
    involuntary: u64,
}

impl Processes {
    /// Starts to follow `pid` with a first reading. Fails when there is no such process, or it may not be looked into.
    pub fn follow(pid: u32, ticks_per_s: u64) -> Result<Processes> {
        let stat = read_stat(pid).with_context(|| format!("there is no process {pid}"))?;
        open_files(pid).with_context(|| format!("cannot look into process {pid}; run as its user or as root"))?;
        let mut followed = Processes {
            pid,
            started: stat.started,
            ticks_per_s,
            threads: HashMap::new(),
            ticks: HashMap::new(),
            used: Used::default(),
            first: true,
        };
        followed.read()?;
        Ok(followed)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads all again. Fails when the server is gone.
    pub fn read(&mut self) -> Result<(Used, Held)> {
        match read_stat(self.pid) {
            Some(stat) if stat.alive && stat.started == self.started => {}
            _ => bail!("the server, process {}, is gone", self.pid),
        }
        let mut held = Held::default();
        for pid in self.pids() {
            self.read_process(pid, &mut held);
        }
        self.first = false;
        let mut used = self.used;
        // A reading may be a tick late for each process; more than that are threads that ended between readings.
        let ticks_s = (used.user_ticks + used.system_ticks) as f64 / self.ticks_per_s as f64;
        if ticks_s - used.cpu_s > 2.0 * self.ticks.len() as f64 / self.ticks_per_s as f64 {
            used.cpu_s = ticks_s;
        }
        Ok((used, held))
    }

    /// The pid and its children's, at any depth.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.pid];
        let mut next = 0;
        while let Some(&pid) = pids.get(next) {
            for tid in numbers(&format!("/proc/{pid}/task")) {
                let children = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
                pids.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
            next += 1;
        }
        pids
    }

    /// A process that ends meanwhile has used what was read last.
    fn read_process(&mut self, pid: u32, held: &mut Held) {
        let Some(stat) = read_stat(pid) else { return };
        let before = self.ticks.insert(pid, (stat.user, stat.system));
        let (user, system) = before.unwrap_or(if self.first { (stat.user, stat.system) } else { (0, 0) });
        self.used.user_ticks += stat.user.saturating_sub(user);
        self.used.system_ticks += stat.system.saturating_sub(system);
        for tid in numbers(&format!("/proc/{pid}/task")) {
            self.read_thread(pid, tid);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        held.rss_bytes += parse::resident(&status).map_or(0, |(now, _)| now);
        held.threads += stat.threads;
        held.open_files += open_files(pid).unwrap_or(0);
    }

    fn read_thread(&mut self, pid: u32, tid: u32) {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{name}"));
        let (Ok(status), schedstat) = (file("status"), file("schedstat")) else { return };
        let (voluntary, involuntary) = parse::context_switches(&status).unwrap_or_default();
        let now = Thread { on_cpu_ns: schedstat.ok().as_deref().and_then(parse::schedstat), voluntary, involuntary };
        let before = self.threads.insert(tid, now);
        let before = before.unwrap_or(if self.first { now } else { Thread::default() });
        let on_cpu_ns = now.on_cpu_ns.unwrap_or(0).saturating_sub(before.on_cpu_ns.unwrap_or(0));
        self.used.cpu_s += on_cpu_ns as f64 / 1e9;
        self.used.voluntary += now.voluntary.saturating_sub(before.voluntary);
        self.used.involuntary += now.involuntary.saturating_sub(before.involuntary);
    }
}

/// Seconds that the threads of a process could have run and waited for a processor: what others took from it. 0 when it is gone.
pub fn run_delay_s(pid: u32) -> f64 {
    let delay = |tid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        parse::run_delay(&text)
    };
    numbers(&format!("/proc/{pid}/task")).into_iter().filter_map(delay).sum::<u64>() as f64 / 1e9
}

fn read_stat(pid: u32) -> Option<parse::Stat> {
    parse::stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn open_files(pid: u32) -> std::io::Result<u32> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u32)
}

/// The entries of a folder that are numbers; none when it is gone.
fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
