//! Single figures of a result, each with a name, a unit and which way is good: what the tables show and comparisons hold side by side.

use super::format::Unit;
use crate::result::{MachineFigures, Quantiles, RunResult, Second, ServerFigures};

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    /// It describes the run, not the server.
    Neither,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The heading it stands under: `server`, `machine`, `group NAME`.
    pub section: String,
    pub name: String,
    pub unit: Unit,
    /// `None` when the result does not hold it.
    pub value: Option<f64>,
    pub better: Better,
}

/// All figures of a result. The names do not depend on the values, so that those of two results can be paired; what is counted by name is
/// there where it occurred.
pub fn figures(result: &RunResult) -> Vec<Figure> {
    let mut figures = viewers(result);
    figures.extend(server(result));
    figures.extend(syscalls(result));
    figures.extend(machine(result));
    for name in result.groups.keys() {
        figures.extend(group(result, name));
    }
    figures
}

/// Seconds that count: those after the warm-up.
pub fn measured(result: &RunResult) -> &[Second] {
    let warmup = usize::try_from(result.scenario.warmup_s).unwrap_or(usize::MAX);
    &result.seconds[warmup.min(result.seconds.len())..]
}

/// Bytes of all groups, in units of 10^9.
pub fn gigabytes(result: &RunResult) -> f64 {
    result.groups.values().map(|group| group.bytes).sum::<u64>() as f64 / 1e9
}

/// Mean of the viewers over the seconds that count.
pub fn viewers_mean(result: &RunResult) -> Option<f64> {
    let seconds = measured(result);
    let sum: u64 = seconds.iter().map(|second| second.viewers).sum();
    ratio(sum as f64, seconds.len() as f64)
}

/// `None` instead of an infinite or undefined figure.
pub fn ratio(of: f64, by: f64) -> Option<f64> {
    (by != 0.0).then(|| of / by)
}

fn viewers(result: &RunResult) -> Vec<Figure> {
    let figure = builder("viewers");
    let sum = |field: fn(&crate::result::GroupFigures) -> f64| result.groups.values().map(field).sum::<f64>();
    let requests = sum(|group| group.requests as f64);
    let errors = sum(|group| group.errors.values().sum::<u64>() as f64);
    vec![
        figure("viewers, mean", Unit::Count, viewers_mean(result).map(f64::round), Better::Neither),
        figure("throughput", Unit::GbitPerSecond, ratio(gigabytes(result) * 8.0, result.measured_s), Better::Higher),
        figure("requests", Unit::PerSecond, ratio(requests, result.measured_s), Better::Higher),
        figure("failed requests", Unit::Share, ratio(errors, requests), Better::Lower),
        figure("stalls", Unit::Count, Some(sum(|group| group.stalls as f64)), Better::Lower),
        figure("rebuffers", Unit::Count, Some(sum(|group| group.rebuffers as f64)), Better::Lower),
        figure("rebuffer time", Unit::Milliseconds, Some(sum(|group| group.rebuffer_ms)), Better::Lower),
    ]
}

/// What the server spent.
pub fn server(result: &RunResult) -> Vec<Figure> {
    let figure = builder("server");
    let server = result.server.as_ref();
    let of = |field: fn(&ServerFigures) -> f64| server.map(field);
    let cpu_s = of(|server| server.cpu_user_s + server.cpu_system_s);
    let cores = cpu_s.and_then(|cpu_s| ratio(cpu_s, result.measured_s));
    let gigabytes = gigabytes(result);
    let switches = of(|server| (server.context_switches_voluntary + server.context_switches_involuntary) as f64);
    let syscalls = server.and_then(|server| server.syscalls).map(|syscalls| syscalls as f64);
    let socket_bytes = server.and_then(|server| server.socket_bytes).map(|bytes| bytes as f64);
    let viewers = viewers_mean(result);
    let per_viewer = |bytes: Option<f64>| bytes.zip(viewers).and_then(|(bytes, viewers)| ratio(bytes, viewers));
    let per_gb = |value: Option<f64>| value.and_then(|value| ratio(value, gigabytes));
    let per_core = viewers.zip(cores).and_then(|(viewers, cores)| ratio(viewers, cores));
    let rss_bytes_max = of(|server| server.rss_bytes_max as f64);
    vec![
        figure("CPU cores used", Unit::Cores, cores, Better::Lower),
        figure("CPU time in user mode", Unit::Seconds, of(|server| server.cpu_user_s), Better::Lower),
        figure("CPU time in the kernel", Unit::Seconds, of(|server| server.cpu_system_s), Better::Lower),
        figure("CPU time per GB", Unit::SecondsPerGb, per_gb(cpu_s), Better::Lower),
        figure("viewers per core used", Unit::Count, per_core.map(f64::round), Better::Higher),
        figure("context switches per GB", Unit::PerGb, per_gb(switches), Better::Lower),
        figure(
            "system calls",
            Unit::PerSecond,
            syscalls.and_then(|calls| ratio(calls, result.measured_s)),
            Better::Lower,
        ),
        figure("system calls per GB", Unit::PerGb, per_gb(syscalls), Better::Lower),
        figure("resident memory, most", Unit::Bytes, rss_bytes_max, Better::Lower),
        figure("resident memory per viewer", Unit::Bytes, per_viewer(rss_bytes_max), Better::Lower),
        figure("socket memory", Unit::Bytes, socket_bytes, Better::Lower),
        figure("socket memory per viewer", Unit::Bytes, per_viewer(socket_bytes), Better::Lower),
        figure("threads", Unit::Count, of(|server| f64::from(server.threads)), Better::Neither),
        figure("open files", Unit::Count, of(|server| f64::from(server.open_files)), Better::Neither),
    ]
}

/// The server's system calls by name.
fn syscalls(result: &RunResult) -> Vec<Figure> {
    let figure = builder("server");
    let calls = result.server.iter().flat_map(|server| &server.syscalls_by_name);
    let per_gb = |(name, count): (&String, &u64)| {
        let value = ratio(*count as f64, gigabytes(result));
        figure(&format!("{name} per GB"), Unit::PerGb, value, Better::Lower)
    };
    calls.map(per_gb).collect()
}

/// What the whole machine spent, the harness and the kernel's soft interrupts included.
pub fn machine(result: &RunResult) -> Vec<Figure> {
    let figure = builder("machine");
    let MachineFigures { busy_s, softirq_s, context_switches, tcp_memory_bytes } = &result.machine;
    let (busy_s, softirq_s) = (busy_s.iter().sum::<f64>(), softirq_s.iter().sum::<f64>());
    let gigabytes = gigabytes(result);
    let switches = ratio(*context_switches as f64, gigabytes);
    let tcp_memory_bytes = tcp_memory_bytes.map(|bytes| bytes as f64);
    vec![
        figure("cores busy", Unit::Cores, ratio(busy_s, result.measured_s), Better::Lower),
        figure("busy time per GB", Unit::SecondsPerGb, ratio(busy_s, gigabytes), Better::Lower),
        figure("soft interrupts per GB", Unit::SecondsPerGb, ratio(softirq_s, gigabytes), Better::Lower),
        figure("context switches per GB", Unit::PerGb, switches, Better::Lower),
        figure("TCP memory", Unit::Bytes, tcp_memory_bytes, Better::Lower),
    ]
}

fn group(result: &RunResult, name: &str) -> Vec<Figure> {
    let figure = builder(format!("group {name}"));
    let Some(group) = result.groups.get(name) else { return Vec::new() };
    let mut figures = Vec::new();
    let mut times = |what: &str, quantiles: Option<&Quantiles>| {
        // Of nothing there are no quantiles, though there are zeros in their place.
        let quantiles = quantiles.filter(|quantiles| quantiles.count > 0);
        for (quantile, value) in [
            ("p50", quantiles.map(|quantiles| quantiles.p50)),
            ("p95", quantiles.map(|quantiles| quantiles.p95)),
            ("p99", quantiles.map(|quantiles| quantiles.p99)),
        ] {
            figures.push(figure(&format!("{what} {quantile}"), Unit::Milliseconds, value, Better::Lower));
        }
    };
    for (kind, timing) in &group.timings {
        times(&format!("{kind}, first byte"), Some(&timing.first_byte));
        times(&format!("{kind}, complete"), Some(&timing.complete));
    }
    times("startup", group.startup.as_ref());
    times("behind live", group.live_latency.as_ref());
    times("origin to viewer", group.origin_to_viewer.as_ref());
    figures.push(figure("rebuffers", Unit::Count, Some(group.rebuffers as f64), Better::Lower));
    let fairness = ratio(group.bytes_least as f64, group.bytes_most as f64);
    figures.push(figure("bytes, least of most", Unit::Share, fairness, Better::Higher));
    figures
}

fn builder(section: impl Into<String>) -> impl Fn(&str, Unit, Option<f64>, Better) -> Figure {
    let section = section.into();
    move |name, unit, value, better| Figure { section: section.clone(), name: name.to_owned(), unit, value, better }
}
