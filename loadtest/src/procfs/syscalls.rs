//! Counts the server's system calls with `perf stat` on the kernel's tracepoints: all (`raw_syscalls:sys_enter`), and by name those that servers use.
//!
//! The kernel counts, nothing is recorded. Still each system call of the whole machine takes a longer way meanwhile, so it is done only where
//! asked for. What it deliberately does not do: trace arguments or times (perf-trace(1), strace(1)).

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Counted by name where the kernel has a tracepoint of it, as the kernel names them; the others are `other` together.
const NAMES: [&str; 37] = [
    "accept4",
    "brk",
    "clock_nanosleep",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "futex",
    "getsockopt",
    "io_uring_enter",
    "madvise",
    "mmap",
    "munmap",
    "newfstat",
    "openat",
    "poll",
    "ppoll",
    "pread64",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "rt_sigprocmask",
    "sched_yield",
    "sendfile64",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "splice",
    "tee",
    "timerfd_settime",
    "write",
    "writev",
];
/// The tracepoint of all.
const ALL: &str = "raw_syscalls:sys_enter";
/// What the tracepoint of one is called before its name.
const ONE: &str = "syscalls:sys_enter_";
/// Where the kernel lists tracepoints by name.
const FOLDERS: [&str; 2] = ["/sys/kernel/tracing/events/syscalls", "/sys/kernel/debug/tracing/events/syscalls"];

/// Tracepoints that can be counted here.
#[derive(Debug)]
pub struct Tracepoints(Vec<String>);

/// A count that goes on.
pub struct Counter(Child);

/// System calls of a process and its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syscalls {
    pub all: u64,
    /// Without those that did not occur.
    pub by_name: BTreeMap<String, u64>,
}

impl Tracepoints {
    /// Finds out what can be counted.
    ///
    /// # Errors
    /// Why nothing can, with what to do about it.
    pub fn find() -> Result<Tracepoints> {
        let output = match perf(&[ALL.to_owned()]).arg("true").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no perf: install linux-perf (Debian), linux-tools-generic (Ubuntu) or perf (Fedora)")
            }
            other => other.context("cannot start perf")?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && parse(&said).is_some(), "{}", remedy(&said));
        let folder = FOLDERS.iter().map(Path::new).find(|folder| folder.is_dir());
        let there = |name: &&str| folder.is_some_and(|folder| folder.join(format!("sys_enter_{name}")).is_dir());
        let one = NAMES.iter().filter(|name| there(name)).map(|name| format!("{ONE}{name}"));
        Ok(Tracepoints(std::iter::once(ALL.to_owned()).chain(one).collect()))
    }

    /// Counts from some hundredths of a second from now on, for these processes and the threads they start.
    ///
    /// # Errors
    /// perf cannot be started.
    pub fn count(&self, pids: &[u32]) -> Result<Counter> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut perf = perf(&self.0);
        perf.args(["-p", &pids.join(",")]);
        Ok(Counter(perf.spawn().context("cannot start perf")?))
    }
}

impl Counter {
    /// Stops counting.
    ///
    /// # Errors
    /// perf did not count, in its own words.
    pub fn finish(mut self) -> Result<Syscalls> {
        if self.0.try_wait()?.is_none()
            && let Some(pid) = Pid::from_raw(self.0.id() as i32)
        {
            kill_process(pid, Signal::INT).context("cannot stop perf")?;
        }
        let said = self.0.wait_with_output().context("perf says nothing")?;
        let said = String::from_utf8_lossy(&said.stderr);
        parse(&said).with_context(|| remedy(&said))
    }
}

/// perf with its counts as comma-separated values on standard error.
fn perf(events: &[String]) -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", &events.join(",")]).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Lines of `count,unit,event,…` (perf-stat(1), "CSV FORMAT"). A process that did not run is `<not counted>`: 0. `None`: not even all were counted.
fn parse(text: &str) -> Option<Syscalls> {
    let mut syscalls = Syscalls::default();
    let mut is_counted = false;
    for line in text.lines() {
        let mut fields = line.split(',');
        let (Some(count), Some(event)) = (fields.next(), fields.nth(1)) else { continue };
        let count = if count == "<not counted>" { Some(0) } else { count.parse::<u64>().ok() };
        match (count, event.strip_prefix(ONE)) {
            (Some(count), None) if event == ALL => (syscalls.all, is_counted) = (count, true),
            (Some(count), Some(name)) if count > 0 => drop(syscalls.by_name.insert(name.to_owned(), count)),
            _ => {}
        }
    }
    let other = syscalls.all.saturating_sub(syscalls.by_name.values().sum());
    if other > 0 && !syscalls.by_name.is_empty() {
        syscalls.by_name.insert("other".to_owned(), other);
    }
    is_counted.then_some(syscalls)
}

/// What to do about what perf said.
fn remedy(said: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["ermission", "ccess to performance monitoring", "not permitted"]) {
        "perf may not count: run as root, or set kernel.perf_event_paranoid to -1 and remount /sys/kernel/tracing with mode=755".to_owned()
    } else if has(&["unknown tracepoint", "tracefs", "debugfs", "nvalid or unsupported event", "<not supported>"]) {
        "the kernel shows no tracepoints: mount -t tracefs tracefs /sys/kernel/tracing; where that changes nothing, it is built without CONFIG_FTRACE_SYSCALLS".to_owned()
    } else {
        let first = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
        format!("perf stat does not count but says: {first}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn counts_are_read_with_what_is_left_over() {
        let text = "# started on Thu\n\n1000,,raw_syscalls:sys_enter,619699748,100.00,,\n300,,syscalls:sys_enter_read,1,100.00,,\n0,,syscalls:sys_enter_tee,1,100.00,,\n";
        let by_name = [("other".to_owned(), 700), ("read".to_owned(), 300)].into();
        assert_eq!(parse(text), Some(Syscalls { all: 1000, by_name }));
        assert_eq!(parse("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), Some(Syscalls::default()));
        assert_eq!(parse("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(parse("Problems finding threads of monitor\n"), None);
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let denied = "event syntax error: 'raw_syscalls:sys_enter'\n \\___ can't access trace events\nError:\tNo permissions to read /sys/kernel/tracing/events/raw_syscalls/sys_enter\n";
        assert!(remedy(denied).contains("run as root"));
        assert!(remedy("Error:\tUnable to find debugfs/tracefs\n").contains("mount -t tracefs"));
        assert_eq!(remedy("\nSegmentation fault\n"), "perf stat does not count but says: Segmentation fault");
    }

    /// Where perf may not count, why not is told; where it may, it finds the calls of a process that does nothing else.
    #[test]
    fn a_process_that_calls_is_counted_or_it_is_told_why_not() {
        let tracepoints = match Tracepoints::find() {
            Ok(tracepoints) => tracepoints,
            Err(error) => return assert!(error.to_string().contains("perf"), "{error}"),
        };
        let mut child = Command::new("sh").args(["-c", "while :; do cd /; done"]).spawn().unwrap();
        let counter = tracepoints.count(&[child.id()]).unwrap();
        std::thread::sleep(Duration::from_millis(1_000));
        let counted = counter.finish();
        child.kill().unwrap();
        child.wait().unwrap();
        let counted = counted.unwrap();
        assert!(counted.all > 100, "{counted:?}");
        assert_eq!(counted.by_name.values().sum::<u64>(), if counted.by_name.is_empty() { 0 } else { counted.all });
        // No such process.
        assert!(tracepoints.count(&[u32::MAX >> 1]).unwrap().finish().is_err());
    }
}
