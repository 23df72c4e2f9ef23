//! Runs a scenario: viewers on threads, each pinned to a core, and one result.
//!
//! [`worker`]: a thread's loop. [`mod@io`]: what its viewers share. [`viewer`]: a player with its lanes. [`connection`]: HTTP/1.1 over a socket; [`response`], [`timers`] and
//! [`pace`] are its parts without sockets. [`mod@verdict`] judges. [`args`] is the command line, [`view`] what it shows meanwhile.
//!
//! Threads share nothing while they run but a few published totals and the media rates that checked viewers measure. What it deliberately
//! does not do: close the loop between the server and the arrivals; a slow server does not keep viewers away.

pub mod args;
pub mod connection;
pub mod io;
pub mod pace;
mod progress;
pub mod response;
mod sampling;
mod screen;
pub mod timers;
pub mod verdict;
pub mod view;
pub mod viewer;
pub mod worker;

use crate::arrivals::{Arrival, arrivals};
use crate::clock::WallClock;
use crate::player::dash::Dash;
use crate::player::hls::Hls;
use crate::player::idle::Idle;
use crate::player::object::Object;
use crate::player::stream::{MediaRate, Stream};
use crate::player::{FetchKind, Player};
use crate::procfs;
use crate::proxy::{Faults, Proxy};
use crate::result::{HarnessFigures, RunResult, VERSION, Verdict};
use crate::scenario::{Group, Kind, Reading, Scenario, Through};
use crate::stats::{Live, Stats};
use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use sampling::Sampled;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use worker::{Worker, WorkerResult};

/// From the threads' creation to the run's first microsecond: all are there by then.
const LEAD: Duration = Duration::from_millis(50);
/// Open files that are asked for; what is granted may be less.
const OPEN_FILES: u64 = 1 << 20;

/// How to run, besides the scenario.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A thread is pinned to each; empty: one thread, wherever the kernel puts it.
    pub cores: Vec<usize>,
    /// Process of the server, to be sampled.
    pub server_pid: Option<u32>,
    /// Whether to show on standard error how it goes: a view where that is a terminal, else a line a second.
    pub progress: bool,
    /// Whether to count the server's system calls, which makes each a little slower.
    pub syscalls: bool,
}

/// What a player is made from.
pub struct Spec<'a> {
    pub group: &'a Group,
    /// Of its channel.
    pub url: Rc<str>,
    pub checked: bool,
    pub seed: u64,
    /// The wall clock at the run's start, microseconds since 1970.
    pub epoch_us: i64,
}

/// Time 0 of a run.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub instant: Instant,
    /// The wall clock then, microseconds since 1970.
    pub epoch_us: i64,
}

/// Makes the players of a group, given by its index.
pub type PlayerFactory<'a> = dyn Fn(&Spec<'_>, usize) -> Result<Box<dyn Player>> + Sync + 'a;

/// A thread's totals, brought up to date some times a second for who looks on.
pub type Publish = Mutex<Live>;

/// Runs a scenario with the players that its kinds name.
///
/// # Errors
/// A scenario that cannot be run, a target without address, a core that is not there, or a failure of epoll.
pub fn run(scenario: &Scenario, options: &Options) -> Result<RunResult> {
    let rates: Vec<Arc<MediaRate>> = scenario.group.iter().map(|group| Arc::new(MediaRate::new(group.kbps))).collect();
    run_with(scenario, options, &|spec, index| Ok(player(spec, &rates[index])))
}

fn player(spec: &Spec<'_>, rate: &Arc<MediaRate>) -> Box<dyn Player> {
    let (url, epoch_us) = (spec.url.clone(), spec.epoch_us);
    match spec.group.kind {
        Kind::Ts => Box::new(Stream::new(url, spec.checked, spec.group.kbps, rate.clone()).with_epoch(epoch_us)),
        Kind::Object => Box::new(Object::new(url, FetchKind::Segment, spec.checked)),
        Kind::Playlist => Box::new(Object::new(url, FetchKind::Playlist, spec.checked)),
        Kind::Idle => Box::new(Idle::default()),
        Kind::Hls => Box::new(Hls::new(url, spec.checked, spec.seed).with_epoch(epoch_us)),
        Kind::Dash => Box::new(Dash::new(url, spec.checked, spec.seed).with_epoch(epoch_us)),
    }
}

/// The same with other players.
///
/// # Errors
/// As [`run`], and what `factory` returns.
pub fn run_with(scenario: &Scenario, options: &Options, factory: &PlayerFactory<'_>) -> Result<RunResult> {
    validate(scenario)?;
    raise_open_files();
    let environment = procfs::environment(options.server_pid);
    let threads = options.cores.len().max(1);
    let mut parts: Vec<Vec<Arrival>> = vec![Vec::new(); threads];
    for (index, arrival) in arrivals(scenario).into_iter().enumerate() {
        parts[index % threads].push(arrival);
    }
    let publish: Vec<Publish> = (0..threads).map(|_| Publish::default()).collect();
    let proxy = scenario.proxy.as_ref().map(|faults| start_proxy(scenario, faults)).transpose()?;
    let proxy_address = proxy.as_ref().map(Proxy::local_addr);
    let clock = WallClock::read();
    let instant = clock.instant() + LEAD;
    let start = Start { instant, epoch_us: clock.unix_us(instant) as i64 };
    thread::scope(|scope| {
        let mut running = Vec::with_capacity(threads);
        for (index, (part, publish)) in parts.into_iter().zip(&publish).enumerate() {
            let core = options.cores.get(index).copied();
            let body = move || {
                if let Some(core) = core {
                    pin(core)?;
                    go_before_others();
                }
                Worker::new(scenario, part, factory, publish, start, proxy_address)?.run()
            };
            running.push(thread::Builder::new().name(format!("viewers:{index}")).spawn_scoped(scope, body)?);
        }
        let is_over = || running.iter().any(|thread| thread.is_finished());
        let sampled = sampling::sample(scenario, options, start.instant, &publish, proxy, is_over);
        let mut results = Vec::with_capacity(threads);
        for thread in running {
            let result = thread.join().map_err(|_| anyhow::anyhow!("a thread of the harness panicked"))?;
            results.push(result?);
        }
        Ok(collect(scenario, environment, results, sampled?))
    })
}

fn validate(scenario: &Scenario) -> Result<()> {
    ensure!(scenario.duration_s > scenario.warmup_s, "duration_s must be longer than warmup_s");
    ensure!(!scenario.group.is_empty(), "a scenario needs a group of viewers");
    ensure!((1..=250).contains(&scenario.source_addresses), "source_addresses is 1 to 250");
    let is_used = scenario.group.iter().any(|group| group.through == Through::Proxy);
    ensure!(is_used || scenario.proxy.is_none(), "no group goes through the [proxy]: give one through = \"proxy\"");
    for group in &scenario.group {
        ensure!((0.0..=1.0).contains(&group.checked), "group {}: checked is a share, 0 to 1", group.name);
        ensure!(group.path.starts_with('/'), "group {}: the path begins with /", group.name);
        ensure!(
            group.through == Through::Direct || scenario.proxy.is_some(),
            "group {} goes through the proxy, and the scenario has no [proxy]",
            group.name
        );
        if let Reading::Stalls { every_s, for_s } = group.reading {
            ensure!(every_s > 0.0 && for_s > 0.0, "group {}: stalls need times above 0", group.name);
        }
    }
    Ok(())
}

/// The proxy's thread is not pinned: the kernel finds it a core beside those of viewers and server, where there is one.
fn start_proxy(scenario: &Scenario, faults: &Faults) -> Result<Proxy> {
    let target = io::Peers::default().target(&scenario.target)?;
    Proxy::start((Ipv4Addr::LOCALHOST, 0).into(), target, faults.clone())
}

/// Lets this process open as many files as it may; processes that it starts inherit that.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: Some(OPEN_FILES), maximum: limit.maximum.map(|maximum| maximum.max(OPEN_FILES)) };
    // Raising the hard limit is for root; the soft one is for all.
    if setrlimit(Resource::Nofile, most).is_err() {
        // Refused, too: running out is counted and makes the run refuse its result.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn pin(core: usize) -> Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// Sees to it that what else runs on the core, such as an origin, does not make the calling thread late; where the user may (root, or RLIMIT_NICE).
fn go_before_others() {
    const NICE_MIN: i32 = -20;
    // Refused: the thread is late where others keep it waiting, and the verdict says so. Linux sets the thread named, 0 is the calling one.
    let _ = setpriority_process(None, NICE_MIN);
}

fn collect(
    scenario: &Scenario,
    environment: crate::result::Environment,
    results: Vec<WorkerResult>,
    sampled: Sampled,
) -> RunResult {
    let mut stats = Stats::new(scenario.group.len(), scenario.warmup_s * 1_000_000, scenario.duration_s * 1_000_000);
    let mut harness = HarnessFigures { threads: results.len() as u32, ..HarnessFigures::default() };
    let mut files_exhausted = 0;
    for result in results {
        stats.merge(result.stats);
        harness.cpu_share.push(result.cpu_share);
        files_exhausted += result.files_exhausted;
    }
    let mut seconds = stats.second_figures();
    for (second, seen) in seconds.iter_mut().zip(sampled.seconds) {
        second.server_cpu_s = seen.server_cpu_s;
        second.server_rss_bytes = seen.server_rss_bytes;
        second.machine_busy_s = seen.machine_busy_s;
    }
    harness.lag = stats.lag_figures();
    harness.ports_exhausted = stats.ports_exhausted;
    harness.refused = verdict::refused(&harness, files_exhausted);
    let names = scenario.group.iter().map(|group| group.name.clone());
    let mut result = RunResult {
        version: VERSION,
        scenario: scenario.clone(),
        environment,
        measured_s: (scenario.duration_s - scenario.warmup_s) as f64,
        groups: names.zip(stats.group_figures()).collect(),
        server: sampled.server,
        machine: sampled.machine,
        proxy: sampled.proxy,
        seconds,
        harness,
        violations: stats.violation_figures(),
        verdict: Verdict::default(),
    };
    result.verdict = verdict::verdict(&result);
    result
}
