//! Whether a run passed, and whether its figures may be believed at all.
//!
//! Bounds are judged per group, so that a small group is not hidden by a large one. What it deliberately does not do: measure.

use crate::result::{GroupFigures, HarnessFigures, RunResult, Verdict};

/// Most lag at the 99th percentile, milliseconds.
const LAG_P99_MS_MAX: f64 = 1.0;
/// Most of its core that a thread may use on average.
const CPU_SHARE_MAX: f64 = 0.95;

/// Why the harness refuses its result; empty: it does not.
pub fn refused(harness: &HarnessFigures, files_exhausted: u64) -> Vec<String> {
    let mut refused = Vec::new();
    if harness.lag.p99 > LAG_P99_MS_MAX {
        refused.push(format!("lag p99 {:.2} ms, above {LAG_P99_MS_MAX} ms", harness.lag.p99));
    }
    for (thread, share) in harness.cpu_share.iter().enumerate().filter(|(_, share)| **share > CPU_SHARE_MAX) {
        refused.push(format!("thread {thread} used {:.0} % of its core", share * 100.0));
    }
    if harness.ports_exhausted > 0 {
        refused.push(format!("{} connections found no free port: use more source addresses", harness.ports_exhausted));
    }
    if files_exhausted > 0 {
        refused.push(format!("{files_exhausted} connections found no free file descriptor"));
    }
    refused
}

/// Judges a result that is complete but for its verdict.
pub fn verdict(result: &RunResult) -> Verdict {
    let slo = &result.scenario.slo;
    let mut missed = Vec::new();
    let mut judge = |what: String, is: f64, bound: Option<f64>| {
        if let Some(bound) = bound.filter(|bound| is > *bound) {
            missed.push(format!("{what} {is:.4}, bound {bound}"));
        }
    };
    let rebuffers: u64 = result.groups.values().map(|group| group.rebuffers).sum();
    judge("rebuffers".into(), rebuffers as f64, slo.rebuffers_max.map(|bound| bound as f64));
    for (name, group) in &result.groups {
        let p99_ms = |kind: &str| group.timings.get(kind).map_or(0.0, |timing| timing.first_byte.p99);
        let startup_ms = group.startup.as_ref().map_or(0.0, |startup| startup.p95);
        judge(format!("{name}: startup p95 ms"), startup_ms, slo.startup_p95_ms);
        judge(format!("{name}: playlist p99 ms"), p99_ms("playlist"), slo.playlist_p99_ms);
        judge(format!("{name}: segment first byte p99 ms"), p99_ms("segment"), slo.segment_first_byte_p99_ms);
        judge(format!("{name}: errors share"), errors_share(group), slo.errors_share_max);
    }
    let passed = missed.is_empty() && result.violations.is_empty() && result.harness.refused.is_empty();
    Verdict { passed, missed }
}

/// Failures of requests; 1 where there are failures and no request.
pub fn errors_share(group: &GroupFigures) -> f64 {
    let errors: u64 = group.errors.values().sum();
    if errors == 0 { 0.0 } else { errors as f64 / group.requests.max(errors) as f64 }
}
