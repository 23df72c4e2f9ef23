//! What a run measured: one JSON document, which reports, comparisons and the A/B and capacity commands read.
//!
//! Times are milliseconds, shares 0 to 1, sizes bytes. A figure that could not be had is `null`, never 0.

use crate::proxy::Counters;
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// [`RunResult::version`] of what this program writes.
pub const VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RunResult {
    pub version: u32,
    /// As it was run, options of the command line included.
    pub scenario: Scenario,
    pub environment: Environment,
    /// Length of what counts, without the warm-up.
    pub measured_s: f64,
    /// By group's name.
    pub groups: BTreeMap<String, GroupFigures>,
    pub server: Option<ServerFigures>,
    pub machine: MachineFigures,
    /// Of the scenario's proxy.
    #[serde(default)]
    pub proxy: Option<ProxyFigures>,
    /// One for each second of the run, the warm-up included.
    pub seconds: Vec<Second>,
    pub harness: HarnessFigures,
    /// Broken rules of what was checked, counted by rule, with the first of each in words.
    pub violations: Vec<Violation>,
    pub verdict: Verdict,
}

/// What the run may be compared by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Environment {
    /// RFC 3339, UTC.
    pub begun: String,
    pub kernel: String,
    pub cpu_model: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Kernel settings that matter, by sysctl name.
    pub sysctls: BTreeMap<String, String>,
    pub harness_version: String,
    /// Command line of the server, where its pid was given.
    pub server_command: Option<String>,
}

/// What viewers of a group saw.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GroupFigures {
    /// Most at once.
    pub viewers: u64,
    pub bytes: u64,
    pub requests: u64,
    /// Failed requests, by what failed: `status 503`, `reset`, `timeout`, `connect`, `short body`.
    pub errors: BTreeMap<String, u64>,
    pub stalls: u64,
    pub rebuffers: u64,
    pub rebuffer_ms: f64,
    /// Requests by kind.
    pub timings: BTreeMap<String, Timing>,
    /// From arrival to the first picture.
    pub startup: Option<Quantiles>,
    /// Behind the newest that the server had; by the origin's wall-clock stamp where the stream has one.
    pub live_latency: Option<Quantiles>,
    /// From the time that the origin stamped into an access unit to the arrival of its last byte, of checked viewers; `None` where nothing is stamped.
    /// Of HLS and DASH: of the newest picture of each segment.
    pub origin_to_viewer: Option<Quantiles>,
    /// Bytes of the viewer with least and most, of those that were there from the warm-up on: fairness.
    pub bytes_least: u64,
    pub bytes_most: u64,
}

/// Times of one kind of request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Timing {
    /// From when it should have been sent: free of coordinated omission.
    pub first_byte: Quantiles,
    /// From when it was sent.
    pub first_byte_raw: Quantiles,
    /// From when it should have been sent to the last byte.
    pub complete: Quantiles,
}

/// A distribution, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Of the server's process, over what counts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ServerFigures {
    pub pid: u32,
    pub cpu_user_s: f64,
    pub cpu_system_s: f64,
    pub context_switches_voluntary: u64,
    pub context_switches_involuntary: u64,
    /// Where it was asked for and perf may count them.
    pub syscalls: Option<u64>,
    /// Of these, by the kernel's name; `other` is the rest.
    #[serde(default)]
    pub syscalls_by_name: BTreeMap<String, u64>,
    /// Why they were not counted though it was asked for, with what to do about it.
    #[serde(default)]
    pub syscalls_refused: Option<String>,
    /// At the end; and the most that was seen.
    pub rss_bytes: u64,
    pub rss_bytes_max: u64,
    /// Kernel memory of its TCP sockets, from `ss -m`'s source, mean of some moments in the last second: viewers are there. So they are with the next two.
    pub socket_bytes: Option<u64>,
    pub threads: u32,
    pub open_files: u32,
}

/// Of the whole machine, over what counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct MachineFigures {
    /// Busy seconds by core: user, system, soft interrupts.
    pub busy_s: Vec<f64>,
    /// Of these, soft interrupts.
    pub softirq_s: Vec<f64>,
    pub context_switches: u64,
    /// Pages of all TCP sockets, in bytes, a second before the end.
    pub tcp_memory_bytes: Option<u64>,
}

/// Of the proxy between viewers and target.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct ProxyFigures {
    /// Processor time of its thread over what counts; it is within the machine's.
    pub cpu_s: f64,
    /// Over the whole run.
    pub counters: Counters,
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Second {
    pub viewers: u64,
    pub bytes: u64,
    pub requests: u64,
    pub errors: u64,
    pub stalls: u64,
    /// Of all requests but streams, from the intended time.
    pub first_byte: Quantiles,
    /// Counts of first-byte times by power-of-two bucket, microseconds: bucket `i` holds `2^i` to `2^(i+1)`.
    pub first_byte_buckets: Vec<u32>,
    pub server_cpu_s: Option<f64>,
    pub server_rss_bytes: Option<u64>,
    pub machine_busy_s: f64,
}

/// Whether the harness itself kept up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct HarnessFigures {
    pub threads: u32,
    /// How late the harness was at what it meant to do.
    pub lag: Quantiles,
    /// Share of its cores that it used, by thread.
    pub cpu_share: Vec<f64>,
    pub ports_exhausted: u64,
    /// Why the result is refused; empty: it is not.
    pub refused: Vec<String>,
}

/// A rule that content broke.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Violation {
    /// In kebab-case: `continuity-counter`, `segment-differs`, `playlist-stale`.
    pub rule: String,
    pub count: u64,
    /// The first, with group, viewer and place.
    pub first: String,
}

/// What became of the SLOs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Verdict {
    /// All bounds held, nothing checked was broken, and the harness does not refuse its result.
    pub passed: bool,
    /// Which did not hold, in words with both figures.
    pub missed: Vec<String>,
}
