//! What is done once a second while the threads run: sampling the server, the machine and the proxy, and showing how it goes.
//!
//! What it deliberately does not do: touch what threads count; it reads what they publish.

use super::progress::Progress;
use super::{Options, Publish};
use crate::procfs::syscalls::{Counter, Tracepoints};
use crate::procfs::{Sampler, SecondSample};
use crate::proxy::Proxy;
use crate::result::{MachineFigures, ProxyFigures, ServerFigures};
use crate::scenario::Scenario;
use anyhow::{Context, Result, anyhow};
use std::thread;
use std::time::{Duration, Instant};

/// What was sampled over a run.
pub struct Sampled {
    pub server: Option<ServerFigures>,
    pub machine: MachineFigures,
    pub seconds: Vec<SecondSample>,
    pub proxy: Option<ProxyFigures>,
}

/// What counts: begun again when the warm-up is over.
struct Measured {
    sampler: Sampler,
    /// Where it was asked for.
    syscalls: Option<Result<Counter>>,
    /// The proxy's processor time when it began, seconds.
    proxy_cpu_s: f64,
}

/// Samples at each full second from `start` until the run ends.
///
/// # Errors
/// There is no such server, it may not be looked into, or the proxy failed.
pub fn sample(
    scenario: &Scenario,
    options: &Options,
    start: Instant,
    publish: &[Publish],
    proxy: Option<Proxy>,
    is_over: impl Fn() -> bool,
) -> Result<Sampled> {
    let wants_syscalls = options.syscalls && options.server_pid.is_some();
    let tracepoints = wants_syscalls.then(Tracepoints::find);
    let mut progress = options.progress.then(|| Progress::new(scenario));
    thread::sleep(start.saturating_duration_since(Instant::now()));
    let begin = |counts: bool| Measured::begin(options, tracepoints.as_ref().filter(|_| counts), proxy.as_ref());
    let mut measured = begin(scenario.warmup_s == 0)?;
    let mut seconds = Vec::new();
    for second in 1..=scenario.duration_s {
        if second == scenario.duration_s {
            measured.sampler.look();
        }
        thread::sleep((start + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        let sample = measured.sampler.second();
        if let Some(progress) = &mut progress {
            progress.second(second, publish, &sample);
        }
        seconds.push(sample);
        if second == scenario.warmup_s {
            // What comes before does not count.
            measured = begin(true)?;
        }
        if second < scenario.duration_s && is_over() {
            break;
        }
    }
    drop(progress);
    measured.finish(seconds, proxy)
}

impl Measured {
    fn begin(options: &Options, tracepoints: Option<&Result<Tracepoints>>, proxy: Option<&Proxy>) -> Result<Measured> {
        let sampler = Sampler::start(options.server_pid)?;
        let syscalls = tracepoints.map(|found| match found {
            Ok(tracepoints) => tracepoints.count(&sampler.server_pids()),
            Err(why) => Err(anyhow!("{why:#}")),
        });
        Ok(Measured { sampler, syscalls, proxy_cpu_s: proxy.map_or(0.0, |proxy| proxy.counters().cpu_s()) })
    }

    fn finish(self, seconds: Vec<SecondSample>, proxy: Option<Proxy>) -> Result<Sampled> {
        let syscalls = self.syscalls.map(|counter| counter.and_then(Counter::finish));
        let (mut server, machine) = self.sampler.finish();
        if let (Some(server), Some(syscalls)) = (&mut server, syscalls) {
            match syscalls {
                Ok(counted) => (server.syscalls, server.syscalls_by_name) = (Some(counted.all), counted.by_name),
                Err(why) => server.syscalls_refused = Some(format!("{why:#}")),
            }
        }
        let proxy = proxy.map(|mut proxy| {
            let counters = proxy.counters();
            proxy.stop().context("the proxy failed")?;
            Ok::<_, anyhow::Error>(ProxyFigures { cpu_s: counters.cpu_s() - self.proxy_cpu_s, counters })
        });
        Ok(Sampled { server, machine, seconds, proxy: proxy.transpose()? })
    }
}
