//! A result as a table for people. What it deliberately does not do: leave out what the JSON has and a reader would act on.

use crate::engine::verdict::errors_share;
use crate::result::{GroupFigures, Quantiles, RunResult};
use std::fmt::{self, Display, Formatter, Write};

/// Displays a result.
pub struct Table<'a>(pub &'a RunResult);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let scenario = &result.scenario;
        writeln!(
            f,
            "{}: {} for {} s, {} s of them measured",
            scenario.name, scenario.target, scenario.duration_s, result.measured_s
        )?;
        for (name, group) in &result.groups {
            write_group(f, name, group, result.measured_s)?;
        }
        if let Some(server) = &result.server {
            let cpu_s = server.cpu_user_s + server.cpu_system_s;
            let rss_mb = server.rss_bytes as f64 / 1e6;
            writeln!(f, "server   {:.2} cores, {rss_mb:.0} MB resident", cpu_s / result.measured_s)?;
        }
        let harness = &result.harness;
        let shares: Vec<String> = harness.cpu_share.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
        let lag = &harness.lag;
        writeln!(
            f,
            "harness  {} of its cores, lag p50 {:.3} p99 {:.3} max {:.1} ms",
            shares.join(" "),
            lag.p50,
            lag.p99,
            lag.max
        )?;
        for violation in &result.violations {
            writeln!(f, "broken   {} times {}, first: {}", violation.count, violation.rule, violation.first)?;
        }
        for missed in &result.verdict.missed {
            writeln!(f, "missed   {missed}")?;
        }
        for refused in &harness.refused {
            writeln!(f, "refused  {refused}")?;
        }
        writeln!(f, "{}", if result.verdict.passed { "passed" } else { "NOT PASSED" })
    }
}

fn write_group(f: &mut Formatter<'_>, name: &str, group: &GroupFigures, measured_s: f64) -> fmt::Result {
    writeln!(
        f,
        "\n{name}: {} viewers, {:.1} MB/s, {:.1} requests/s, {} stalls, {} rebuffers ({:.1} s)",
        group.viewers,
        group.bytes as f64 / measured_s / 1e6,
        group.requests as f64 / measured_s,
        group.stalls,
        group.rebuffers,
        group.rebuffer_ms / 1e3,
    )?;
    if !group.errors.is_empty() {
        let mut errors = String::new();
        for (error, count) in &group.errors {
            write!(errors, "  {count} {error}")?;
        }
        writeln!(f, "  errors {:.3} % of requests:{errors}", errors_share(group) * 100.0)?;
    }
    writeln!(
        f,
        "  {:<26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "ms", "count", "p50", "p90", "p95", "p99", "p99.9", "max"
    )?;
    for (kind, timing) in &group.timings {
        write_quantiles(f, &format!("{kind} first byte"), &timing.first_byte)?;
        write_quantiles(f, &format!("{kind} first byte, raw"), &timing.first_byte_raw)?;
        write_quantiles(f, &format!("{kind} complete"), &timing.complete)?;
    }
    for (what, quantiles) in [
        ("start-up", &group.startup),
        ("behind live", &group.live_latency),
        ("origin to viewer", &group.origin_to_viewer),
    ] {
        if let Some(quantiles) = quantiles {
            write_quantiles(f, what, quantiles)?;
        }
    }
    if group.bytes_most > 0 {
        let (least, most) = (group.bytes_least as f64 / 1e6, group.bytes_most as f64 / 1e6);
        writeln!(f, "  a viewer got {least:.2} to {most:.2} MB")?;
    }
    Ok(())
}

fn write_quantiles(f: &mut Formatter<'_>, what: &str, of: &Quantiles) -> fmt::Result {
    if of.count == 0 {
        return Ok(());
    }
    let Quantiles { count, p50, p90, p95, p99, p999, max, .. } = of;
    writeln!(f, "  {what:<26} {count:>9} {p50:>9.2} {p90:>9.2} {p95:>9.2} {p99:>9.2} {p999:>9.2} {max:>9.2}")
}
