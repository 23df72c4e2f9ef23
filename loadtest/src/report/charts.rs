//! Which plots a result has, and what is drawn in them.

use super::distribution::{self, Curve};
use super::format::Unit;
use super::heatmap;
use super::plot::{Merge, Series, TimePlot};
use crate::result::{RunResult, Second};

/// All plots of one result: the heat map and the percentiles in full width, the others below, two to a row.
pub fn report(result: &RunResult) -> String {
    let heatmap = heatmap::html(&result.seconds, result.scenario.warmup_s);
    let plots: String = plots(result).iter().map(TimePlot::html).collect();
    format!("<section>{heatmap}{}<div class=\"plots\">{plots}</div></section>\n", percentiles(result))
}

/// The plots of two results over each other.
pub fn comparison(a: &RunResult, b: &RunResult) -> String {
    let plot = |title: &str, unit, merge, log, value: fn(&Second) -> Option<f64>| {
        let series = vec![series("A", a, value), series("B", b, value)];
        let warmup_s = a.scenario.warmup_s.max(b.scenario.warmup_s);
        TimePlot { title: title.to_owned(), unit, log, merge, warmup_s, series }.html()
    };
    let plots = [
        plot("First byte p99", Unit::Milliseconds, Merge::Max, true, |second| time(second, second.first_byte.p99)),
        plot("Throughput", Unit::GbitPerSecond, Merge::Mean, false, |second| Some(gbit(second))),
        plot("Cores used by the server", Unit::Cores, Merge::Mean, false, |second| second.server_cpu_s),
        plot("Cores busy, whole machine", Unit::Cores, Merge::Mean, false, |second| Some(second.machine_busy_s)),
        plot("Resident memory of the server", Unit::Bytes, Merge::Max, false, rss),
        plot("Stalls per second", Unit::Count, Merge::Mean, false, |second| Some(second.stalls as f64)),
    ];
    format!("<section><div class=\"plots\">{}</div></section>\n", plots.concat())
}

fn plots(result: &RunResult) -> Vec<TimePlot> {
    let plot = |title: &str, unit, merge, log, series| {
        let warmup_s = result.scenario.warmup_s;
        TimePlot { title: title.to_owned(), unit, log, merge, warmup_s, series }
    };
    let one = |name, value| series(name, result, value);
    let first_byte = vec![
        one("p50", |second| time(second, second.first_byte.p50)),
        one("p90", |second| time(second, second.first_byte.p90)),
        one("p99", |second| time(second, second.first_byte.p99)),
        one("max", |second| time(second, second.first_byte.max)),
    ];
    let cores =
        vec![one("whole machine", |second| Some(second.machine_busy_s)), one("server", |second| second.server_cpu_s)];
    let trouble = vec![
        one("stalls", |second| Some(second.stalls as f64)),
        one("failed requests", |second| Some(second.errors as f64)),
    ];
    vec![
        plot("First byte, from the intended time", Unit::Milliseconds, Merge::Max, true, first_byte),
        plot(
            "Throughput",
            Unit::GbitPerSecond,
            Merge::Mean,
            false,
            vec![one("throughput", |second| Some(gbit(second)))],
        ),
        plot("Viewers", Unit::Count, Merge::Max, false, vec![one("viewers", |second| Some(second.viewers as f64))]),
        plot("Processor cores busy", Unit::Cores, Merge::Mean, false, cores),
        plot("Stalls and failed requests per second", Unit::Count, Merge::Mean, false, trouble),
        plot(
            "Requests per second",
            Unit::Count,
            Merge::Mean,
            false,
            vec![one("requests", |second| Some(second.requests as f64))],
        ),
        plot("Resident memory of the server", Unit::Bytes, Merge::Max, false, vec![one("resident memory", rss)]),
    ]
}

fn percentiles(result: &RunResult) -> String {
    let timings =
        result.groups.iter().flat_map(|(group, figures)| figures.timings.iter().map(move |timing| (group, timing)));
    let curves: Vec<Curve> = timings
        .map(|(group, (kind, timing))| Curve {
            name: format!("{group}: {kind}"),
            solid: &timing.first_byte,
            dashed: Some(&timing.first_byte_raw),
        })
        .collect();
    distribution::html("First byte by percentile, from the intended time; dashed: from sending", &curves)
}

fn series(name: &str, result: &RunResult, value: fn(&Second) -> Option<f64>) -> Series {
    Series { name: name.to_owned(), values: result.seconds.iter().map(value).collect() }
}

/// A second without requests has no quantiles.
fn time(second: &Second, ms: f64) -> Option<f64> {
    (second.first_byte.count > 0).then_some(ms)
}

fn gbit(second: &Second) -> f64 {
    second.bytes as f64 * 8e-9
}

fn rss(second: &Second) -> Option<f64> {
    second.server_rss_bytes.map(|bytes| bytes as f64)
}
