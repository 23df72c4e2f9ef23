//! How a run goes, as lines for a terminal: a pure function of a [`Snapshot`] and the terminal's size.
//!
//! What it deliberately does not do: colour, or know where it is drawn.

use crate::report::format::{Unit, printable, show, show_some, significant};

/// Cores that are shown one by one, at most.
const CORES_MAX: usize = 8;
/// Beside the name, room that it takes to tell of the warm-up.
const PHASE_COLUMNS: usize = 60;
/// Levels of a sparkline.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A run at one moment. Rates and times are of the last second; counts of what went wrong since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Of the scenario.
    pub name: String,
    pub elapsed_s: u64,
    pub warmup_s: u64,
    pub duration_s: u64,
    pub groups: Vec<GroupView>,
    /// `None`: it is not sampled, or gone.
    pub server: Option<ServerView>,
    /// Of the machine, 0 to 1 each.
    pub cores_busy: Vec<f64>,
    /// Of all sockets of the machine.
    pub tcp_memory_bytes: Option<u64>,
    /// Cores that the harness used, of `threads` at most.
    pub harness_cores: f64,
    pub threads: usize,
    pub lag_p99_ms: Option<f64>,
    /// Throughput of each second so far.
    pub gbit_s: Vec<f64>,
}

/// A group at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupView {
    pub name: String,
    /// Now, and as many as are to come.
    pub viewers: u64,
    pub viewers_in_all: u64,
    pub gbit_s: f64,
    pub requests_s: f64,
    /// p50 and p99; `None` where nothing was answered.
    pub first_byte_ms: Option<(f64, f64)>,
    pub rebuffers: u64,
    pub stalls: u64,
    pub errors: u64,
}

/// The server at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerView {
    /// Processor seconds per second.
    pub cores: f64,
    pub rss_bytes: u64,
}

/// The view in at most `columns` by `rows - 1`, which leaves a row to the cursor. Lines of groups give way first.
pub fn lines(snapshot: &Snapshot, columns: usize, rows: usize) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in &snapshot.groups {
        groups.extend(flow(&group.name, &group_items(group), columns));
    }
    let mut rest = flow("server", &server_items(snapshot), columns);
    rest.extend(flow("harness", &harness_items(snapshot), columns));
    rest.push(throughput(&snapshot.gbit_s, columns));
    // The head, and a line that says what is left out.
    let room = rows.saturating_sub(rest.len() + 2).max(1);
    if groups.len() > room {
        let left_out = groups.len() - (room - 1);
        groups.truncate(room - 1);
        groups.push(fit(&format!("… {left_out} lines more, in a higher window"), columns));
    }
    let mut lines = vec![head(snapshot, columns)];
    lines.append(&mut groups);
    lines.append(&mut rest);
    lines.truncate(rows.saturating_sub(1).max(1));
    lines
}

/// The same in one line, for what is no terminal.
pub fn line(snapshot: &Snapshot) -> String {
    let sum = |field: fn(&GroupView) -> f64| snapshot.groups.iter().map(field).sum::<f64>();
    let count = |field: fn(&GroupView) -> u64| snapshot.groups.iter().map(field).sum::<u64>();
    format!(
        "{:>4} s  {:>7} viewers  {:>11}  {:>8.0} requests/s  {:>6} errors  {:>6} stalls",
        snapshot.elapsed_s,
        count(|group| group.viewers),
        show(sum(|group| group.gbit_s), Unit::GbitPerSecond),
        sum(|group| group.requests_s),
        count(|group| group.errors),
        count(|group| group.stalls),
    )
}

/// Name, a bar, and the time.
fn head(snapshot: &Snapshot, columns: usize) -> String {
    let Snapshot { name, elapsed_s, warmup_s, duration_s, .. } = snapshot;
    let clock = |s: u64| format!("{}:{:02}", s / 60, s % 60);
    let mut time = format!("{} of {}", clock(*elapsed_s), clock(*duration_s));
    let name = fit(name, (columns / 2).min(40));
    if elapsed_s < warmup_s && columns >= name.chars().count() + PHASE_COLUMNS {
        time.push_str(&format!(", warm-up to {}", clock(*warmup_s)));
    }
    let width = columns.saturating_sub(name.chars().count() + time.chars().count() + 4);
    let full = (width as u64 * elapsed_s / (*duration_s).max(1)) as usize;
    let bar: String = (0..width).map(|at| if at < full { '█' } else { '░' }).collect();
    fit(&format!("{name}  {bar}  {time}"), columns)
}

fn group_items(group: &GroupView) -> Vec<String> {
    let (p50, p99) = group.first_byte_ms.unzip();
    let time = |ms| format!("{:>7}", show_some(ms, Unit::Milliseconds));
    // As wide as they get, so that they stay in their places from second to second.
    vec![
        format!("{:>13} viewers", format!("{}/{}", group.viewers, group.viewers_in_all)),
        format!("{:>10}", show(group.gbit_s, Unit::GbitPerSecond)),
        format!("{:>7} requests/s", significant(group.requests_s)),
        format!("first byte p50 {}", time(p50)),
        format!("p99 {}", time(p99)),
        format!("{} rebuffers", group.rebuffers),
        format!("{} stalls", group.stalls),
        format!("{} errors", group.errors),
    ]
}

fn server_items(snapshot: &Snapshot) -> Vec<String> {
    let mut items = match snapshot.server {
        Some(server) => vec![
            format!("{:>5.0} % of a core", server.cores * 100.0),
            format!("{:>7} resident", show(server.rss_bytes as f64, Unit::Bytes)),
        ],
        None => vec!["not sampled".to_owned()],
    };
    items.push(cores_busy(&snapshot.cores_busy));
    items.push(format!("TCP memory {}", show_some(snapshot.tcp_memory_bytes.map(|bytes| bytes as f64), Unit::Bytes)));
    items
}

/// Each core, or where there are many, their mean and the busiest.
fn cores_busy(shares: &[f64]) -> String {
    let per_cent = |share: f64| format!("{:>3.0}", share * 100.0);
    if shares.len() > CORES_MAX {
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let most = shares.iter().copied().fold(0.0, f64::max);
        return format!("{} cores {} %, busiest {} %", shares.len(), per_cent(mean), per_cent(most));
    }
    format!("cores {} %", shares.iter().map(|share| per_cent(*share)).collect::<Vec<_>>().join(" "))
}

fn harness_items(snapshot: &Snapshot) -> Vec<String> {
    let share = snapshot.harness_cores * 100.0 / snapshot.threads.max(1) as f64;
    vec![
        format!("{share:>5.0} % of its {}", if snapshot.threads > 1 { "cores" } else { "core" }),
        format!("lag p99 {}", show_some(snapshot.lag_p99_ms, Unit::Milliseconds)),
    ]
}

/// A sparkline of the last seconds, from 0 to the highest of them, and the last in figures.
fn throughput(gbit_s: &[f64], columns: usize) -> String {
    let last = show(gbit_s.last().copied().unwrap_or(0.0), Unit::GbitPerSecond);
    let label = format!("{:1$}  ", "throughput", label_columns(columns));
    let width = columns.saturating_sub(label.len() + 2 + last.chars().count().max(10));
    let shown = &gbit_s[gbit_s.len().saturating_sub(width)..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let level = |value: &f64| if most > 0.0 { (value / most * 7.0).round().clamp(0.0, 7.0) as usize } else { 0 };
    let sparkline: String = shown.iter().map(|value| LEVELS[level(value)]).collect();
    fit(&format!("{label}{sparkline}  {last}"), columns)
}

/// Columns of names before the figures.
fn label_columns(columns: usize) -> usize {
    (columns / 4).clamp(10, 16)
}

/// Items behind a label, as many to a line as fit, at least one.
fn flow(label: &str, items: &[String], columns: usize) -> Vec<String> {
    let indent = label_columns(columns);
    let mut lines = vec![format!("{:indent$}", fit(label, indent))];
    let mut is_empty = true;
    for item in items {
        let last = lines.len() - 1;
        if !is_empty && lines[last].chars().count() + 2 + item.chars().count() > columns {
            lines.push(" ".repeat(indent));
        }
        let last = lines.len() - 1;
        lines[last].extend(["  ", item]);
        is_empty = false;
    }
    lines.iter().map(|line| fit(line.trim_end(), columns)).collect()
}

/// Text of at most so many columns, without control characters and without letters that may be two columns wide.
fn fit(text: &str, columns: usize) -> String {
    let is_wide = |letter: char| ('\u{1100}'..'\u{2000}').contains(&letter) || letter >= '\u{2e80}';
    let plain = printable(text).replace(|letter: char| letter == '\n' || is_wide(letter), "?");
    if plain.chars().count() <= columns {
        return plain;
    }
    let mut cut: String = plain.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let group = |name: &str, viewers| GroupView {
            name: name.to_owned(),
            viewers,
            viewers_in_all: 2_000,
            gbit_s: 1.234,
            requests_s: 4_567.8,
            first_byte_ms: Some((0.42, 31.0)),
            rebuffers: 7,
            stalls: 8,
            errors: 9,
        };
        Snapshot {
            name: "flash crowd".to_owned(),
            elapsed_s: 83,
            warmup_s: 10,
            duration_s: 120,
            groups: vec![group("regulars", 20), group("a crowd with a long name", 1_980)],
            server: Some(ServerView { cores: 1.34, rss_bytes: 210_000_000 }),
            cores_busy: vec![0.98, 0.45],
            tcp_memory_bytes: Some(12_000_000),
            harness_cores: 0.61,
            threads: 1,
            lag_p99_ms: Some(0.05),
            gbit_s: vec![0.0, 1.0, 2.0, 4.0, 2.468],
        }
    }

    #[test]
    fn a_wide_window_holds_all() {
        let lines = lines(&snapshot(), 100, 24);
        let expected = [
            "flash crowd  ██████████████████████████████████████████████████░░░░░░░░░░░░░░░░░░░░░░░  1:23 of 2:00",
            "regulars                20/2000 viewers  1.23 Gbit/s    4,568 requests/s  first byte p50  420 µs",
            "                  p99   31 ms  7 rebuffers  8 stalls  9 errors",
            "a crowd with a …      1980/2000 viewers  1.23 Gbit/s    4,568 requests/s  first byte p50  420 µs",
            "                  p99   31 ms  7 rebuffers  8 stalls  9 errors",
            "server              134 % of a core   210 MB resident  cores  98  45 %  TCP memory 12 MB",
            "harness              61 % of its core  lag p99 50 µs",
            "throughput        ▁▃▅█▅  2.47 Gbit/s",
        ];
        assert_eq!(lines, expected, "{lines:#?}");
    }

    #[test]
    fn every_width_keeps_every_figure_and_no_line_is_wider() {
        for columns in [40, 60, 100, 250] {
            let lines = lines(&snapshot(), columns, 60);
            let text = lines.join("\n");
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{text}");
            for figure in ["1:23 of 2:00", "1980/2000", "1.23 Gbit/s", "4,568", "420 µs", "31 ms", "7 rebuffers"] {
                assert!(text.contains(figure), "{figure} at {columns}:\n{text}");
            }
            for figure in ["8 stalls", "9 errors", "134 %", "210 MB", "98  45 %", "12 MB", "61 %", "50 µs", "▁▃▅█▅"]
            {
                assert!(text.contains(figure), "{figure} at {columns}:\n{text}");
            }
        }
    }

    #[test]
    fn a_low_or_narrow_window_holds_what_fits() {
        for (columns, rows) in [(100, 7), (20, 10), (1, 1), (0, 0)] {
            let lines = lines(&snapshot(), columns, rows);
            assert!(lines.len() <= rows.saturating_sub(1).max(1), "{lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= columns.max(1)), "{lines:#?}");
        }
        let lines = lines(&snapshot(), 100, 7);
        assert!(lines[2].starts_with("… 3 lines more") && lines[5].starts_with("throughput"), "{lines:#?}");
    }

    #[test]
    fn the_sparkline_shows_the_last_seconds() {
        let mut snapshot = snapshot();
        snapshot.gbit_s = (0..500).map(f64::from).collect();
        let line = lines(&snapshot, 60, 60).pop().unwrap();
        assert!(line.contains("██") && line.ends_with("499 Gbit/s") && line.chars().count() == 60, "{line}");
    }

    #[test]
    fn names_cannot_move_the_cursor_or_widen_a_line() {
        let mut snapshot = snapshot();
        snapshot.name = "a\u{1b}[2J\n界".to_owned();
        let head = &lines(&snapshot, 80, 24)[0];
        assert!(head.starts_with("a?[2J??  "), "{head}");
    }

    #[test]
    fn the_warm_up_is_told_where_there_is_room() {
        let snapshot = Snapshot { elapsed_s: 5, ..snapshot() };
        let head = |columns| lines(&snapshot, columns, 24).remove(0);
        assert!(head(100).ends_with("░  0:05 of 2:00, warm-up to 0:10"), "{}", head(100));
        assert!(head(40).ends_with("░  0:05 of 2:00"), "{}", head(40));
    }

    #[test]
    fn many_cores_are_summed_up() {
        assert_eq!(cores_busy(&[[0.5; 10].as_slice(), &[1.0; 2]].concat()), "12 cores  58 %, busiest 100 %");
    }

    #[test]
    fn one_line_adds_groups_up() {
        let expected = "  83 s     2000 viewers  2.47 Gbit/s      9136 requests/s      18 errors      16 stalls";
        assert_eq!(line(&snapshot()), expected);
    }
}
