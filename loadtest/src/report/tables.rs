//! Tables of a result, made once for the terminal and for HTML.

use super::figures::{self, Figure, ratio};
use super::format::{NONE, Unit, escape, show, show_some, significant};
use crate::engine::verdict::errors_share;
use crate::result::{Environment, GroupFigures, Quantiles, RunResult};

/// Cells as they are shown; each row is as long as the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Leading columns that hold words; the others hold figures and are set to the right.
    pub words: usize,
}

impl Table {
    fn new(title: &str, words: usize, head: &[&str]) -> Table {
        Table { title: title.to_owned(), head: owned(head), rows: Vec::new(), words }
    }

    /// Whether its columns need no head: names and figures.
    pub fn is_list(&self) -> bool {
        self.head.iter().all(String::is_empty)
    }

    /// Columns set with blanks, under the title and the head. Cells are not wrapped.
    pub fn text(&self) -> String {
        let lines: Vec<&Vec<String>> = std::iter::once(&self.head).chain(&self.rows).collect();
        let width =
            |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = format!("{}\n", self.title);
        for line in lines.iter().filter(|line| line.iter().any(|cell| !cell.is_empty())) {
            let cells = line.iter().enumerate().map(|(column, cell)| {
                let blanks = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                if column < self.words { format!("{cell}{blanks}") } else { format!("{blanks}{cell}") }
            });
            text.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
            text.push('\n');
        }
        text
    }

    /// The same as an HTML table with its title as a heading.
    pub fn html(&self) -> String {
        let row = |cells: &[String], tag: &str| {
            let cells = cells.iter().enumerate().map(|(column, cell)| {
                let class = if column < self.words { "" } else { " class=\"figure\"" };
                format!("<{tag}{class}>{}</{tag}>", escape(cell))
            });
            format!("<tr>{}</tr>", cells.collect::<String>())
        };
        let head = if self.is_list() { String::new() } else { format!("<thead>{}</thead>", row(&self.head, "th")) };
        let rows: String = self.rows.iter().map(|cells| row(cells, "td")).collect();
        let title = escape(&self.title);
        format!(
            "<section><h2>{title}</h2><div class=\"wide\"><table>{head}<tbody>{rows}</tbody></table></div></section>\n"
        )
    }
}

/// All tables of a report that have anything to say, in reading order.
pub fn tables(result: &RunResult) -> Vec<Table> {
    let cost = |title: &str, figures: Vec<Figure>| {
        let mut table = Table::new(title, 1, &["", ""]);
        table.rows =
            figures.iter().map(|figure| vec![figure.name.clone(), show_some(figure.value, figure.unit)]).collect();
        table
    };
    let server = if result.server.is_some() { cost("Server", figures::server(result)) } else { Table::default() };
    let machine = cost("Machine, harness included", figures::machine(result));
    let seen = [groups(result), times(result), errors(result), violations(result)];
    let tables = seen.into_iter().chain([server, syscalls(result), machine, harness(result), proxy(result)]);
    tables.filter(|table| !table.rows.is_empty()).collect()
}

fn groups(result: &RunResult) -> Table {
    let head = [
        "group",
        "viewers",
        "bytes",
        "rate",
        "requests",
        "requests/s",
        "failed",
        "stalls",
        "rebuffers",
        "rebuffer time",
        "bytes of a viewer",
    ];
    let mut table = Table::new("What viewers saw", 1, &head);
    for (name, group) in &result.groups {
        let gbit_s = ratio(group.bytes as f64 * 8e-9, result.measured_s);
        let requests_s = ratio(group.requests as f64, result.measured_s);
        let failed: u64 = group.errors.values().sum();
        let failed = format!("{} ({})", show(failed as f64, Unit::Count), show(errors_share(group), Unit::Share));
        table.rows.push(vec![
            name.clone(),
            show(group.viewers as f64, Unit::Count),
            show(group.bytes as f64, Unit::Bytes),
            show_some(gbit_s, Unit::GbitPerSecond),
            show(group.requests as f64, Unit::Count),
            requests_s.map_or_else(|| NONE.to_owned(), significant),
            failed,
            show(group.stalls as f64, Unit::Count),
            show(group.rebuffers as f64, Unit::Count),
            show(group.rebuffer_ms, Unit::Milliseconds),
            viewer_bytes(group),
        ]);
    }
    table
}

/// The least and the most that a viewer got.
fn viewer_bytes(group: &GroupFigures) -> String {
    if group.bytes_most == 0 {
        return NONE.to_owned();
    }
    format!("{} to {}", show(group.bytes_least as f64, Unit::Bytes), show(group.bytes_most as f64, Unit::Bytes))
}

fn times(result: &RunResult) -> Table {
    let head = ["group", "what", "counted from", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
    let mut table = Table::new("Times, milliseconds", 3, &head);
    for (name, group) in &result.groups {
        for (what, from, quantiles) in group_times(group) {
            let mut row = vec![name.clone(), what, from.to_owned()];
            row.extend(quantile_cells(quantiles));
            table.rows.push(row);
        }
    }
    table
}

/// What was timed, from when it counts, and how it is distributed.
fn group_times(group: &GroupFigures) -> Vec<(String, &'static str, &Quantiles)> {
    let mut times = Vec::new();
    for (kind, timing) in &group.timings {
        times.push((format!("{kind}, first byte"), "intended", &timing.first_byte));
        times.push((format!("{kind}, first byte"), "sent", &timing.first_byte_raw));
        times.push((format!("{kind}, complete"), "intended", &timing.complete));
    }
    times.extend(group.startup.iter().map(|startup| ("startup".to_owned(), "arrival", startup)));
    times.extend(group.live_latency.iter().map(|latency| ("behind live".to_owned(), "newest media", latency)));
    times.extend(group.origin_to_viewer.iter().map(|times| ("origin to viewer".to_owned(), "origin's stamp", times)));
    times
}

fn quantile_cells(quantiles: &Quantiles) -> Vec<String> {
    let Quantiles { count, mean, p50, p90, p95, p99, p999, max } = quantiles;
    let mut cells = vec![show(*count as f64, Unit::Count)];
    cells.extend([mean, p50, p90, p95, p99, p999, max].map(|ms| {
        // Of nothing there are no quantiles, though there are zeros in their place.
        if *count == 0 { NONE.to_owned() } else { significant(*ms) }
    }));
    cells
}

fn errors(result: &RunResult) -> Table {
    let mut table = Table::new("Failed requests", 2, &["group", "what failed", "count"]);
    for (name, group) in &result.groups {
        let rows =
            group.errors.iter().map(|(what, count)| vec![name.clone(), what.clone(), show(*count as f64, Unit::Count)]);
        table.rows.extend(rows);
    }
    table
}

fn violations(result: &RunResult) -> Table {
    let mut table = Table::new("Broken rules of content", 2, &["rule", "the first", "count"]);
    let row = |broken: &crate::result::Violation| {
        vec![broken.rule.clone(), broken.first.clone(), show(broken.count as f64, Unit::Count)]
    };
    table.rows = result.violations.iter().map(row).collect();
    table
}

/// By name, the most frequent first.
fn syscalls(result: &RunResult) -> Table {
    let mut table = Table::new("System calls of the server", 1, &["call", "per second", "per GB"]);
    let mut calls: Vec<_> = result.server.iter().flat_map(|server| &server.syscalls_by_name).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let cells = |(name, count): (&String, &u64)| {
        let per = |by| ratio(*count as f64, by).map_or_else(|| NONE.to_owned(), significant);
        vec![name.clone(), per(result.measured_s), per(figures::gigabytes(result))]
    };
    table.rows = calls.into_iter().map(cells).collect();
    table
}

fn proxy(result: &RunResult) -> Table {
    let mut table = Table::new("Fault proxy, over the whole run", 1, &["", ""]);
    let Some(proxy) = &result.proxy else { return table };
    let counters = &proxy.counters;
    let counts = [
        ("connections", counters.connections),
        ("refused", counters.refused),
        ("reset", counters.resets),
        ("half open", counters.half_opens),
        ("failed", counters.failures),
        ("stalls", counters.stalls),
    ];
    let count = |(name, count): (&str, u64)| vec![name.to_owned(), show(count as f64, Unit::Count)];
    table.rows = counts.into_iter().map(count).collect();
    table.rows.push(vec!["bytes to viewers".to_owned(), show(counters.bytes_down as f64, Unit::Bytes)]);
    table.rows.push(vec!["CPU time, of what counts".to_owned(), show(proxy.cpu_s, Unit::Seconds)]);
    table
}

fn harness(result: &RunResult) -> Table {
    let harness = &result.harness;
    let mut table = Table::new("Did the harness keep up?", 1, &["", ""]);
    let shares: Vec<String> = harness.cpu_share.iter().map(|share| show(*share, Unit::Share)).collect();
    let lag = |ms: f64| (harness.lag.count > 0).then_some(ms);
    table.rows = vec![
        vec!["threads".to_owned(), show(f64::from(harness.threads), Unit::Count)],
        vec!["of its core, by thread".to_owned(), shares.join(", ")],
        vec!["lag p50".to_owned(), show_some(lag(harness.lag.p50), Unit::Milliseconds)],
        vec!["lag p99".to_owned(), show_some(lag(harness.lag.p99), Unit::Milliseconds)],
        vec!["lag max".to_owned(), show_some(lag(harness.lag.max), Unit::Milliseconds)],
        vec!["ports exhausted".to_owned(), show(harness.ports_exhausted as f64, Unit::Count)],
    ];
    table
}

/// The environment, and the kernel settings below.
pub fn environment(environment: &Environment) -> Table {
    let mut table = Table::new("Environment", 2, &["", ""]);
    let fixed = [
        ("begun", environment.begun.clone()),
        ("kernel", environment.kernel.clone()),
        ("processor", format!("{}, {} cores", environment.cpu_model, environment.cpus)),
        ("memory", show(environment.memory_bytes as f64, Unit::Bytes)),
        ("harness", environment.harness_version.clone()),
        ("server", environment.server_command.clone().unwrap_or_else(|| NONE.to_owned())),
    ];
    table.rows = fixed.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table.rows.extend(environment.sysctls.iter().map(|(name, value)| vec![name.clone(), value.clone()]));
    table
}

fn owned(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}
