//! Reports and comparisons of a made-up result. The pages are left in `target/tmp`, to be looked at.

use super::compare::{Comparison, compare};
use super::figures::figures;
use super::{compare as comparison, html, read, sample, tables, text};
use crate::result::{RunResult, Verdict};
use crate::scenario::Scenario;
use std::path::PathBuf;

const SEED: u64 = 0x5EED_0001;

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Parses a page as XML, which is stricter than HTML: every element ends, and all text is escaped.
fn parsed(page: &str, check: impl Fn(&roxmltree::Document)) {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    check(&roxmltree::Document::parse_with_options(page, options).unwrap());
}

fn figure(result: &RunResult, section: &str, name: &str) -> Option<f64> {
    let figures = figures(result);
    figures.iter().find(|figure| figure.section == section && figure.name == name).expect("the figure exists").value
}

#[test]
fn a_result_survives_its_file() {
    let result = sample::result(SEED);
    let path = folder().join("round-trip.json");
    std::fs::write(&path, serde_json::to_string(&result).unwrap()).unwrap();
    assert_eq!(read(&path).unwrap(), result);
    std::fs::write(&path, serde_json::to_string(&RunResult { version: 99, ..result }).unwrap()).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("version 99"));
}

#[test]
fn the_scenario_survives_toml() {
    let scenario = sample::result(SEED).scenario;
    let text = toml::to_string_pretty(&scenario).unwrap();
    assert_eq!(toml::from_str::<Scenario>(&text).unwrap(), scenario);
}

#[test]
fn derived_figures_are_what_their_names_say() {
    let mut result = sample::result(SEED);
    result.measured_s = 100.0;
    for (group, bytes) in result.groups.values_mut().zip([150_000_000_000, 50_000_000_000]) {
        group.bytes = bytes;
    }
    result.seconds.iter_mut().for_each(|second| second.viewers = 4000);
    let server = result.server.as_mut().unwrap();
    (server.cpu_user_s, server.cpu_system_s, server.rss_bytes_max) = (20.0, 30.0, 400_000_000);
    result.machine.busy_s = vec![60.0, 40.0];
    assert_eq!(figure(&result, "viewers", "throughput"), Some(16.0));
    assert_eq!(figure(&result, "server", "CPU time per GB"), Some(0.25));
    assert_eq!(figure(&result, "server", "viewers per core used"), Some(8000.0));
    assert_eq!(figure(&result, "server", "resident memory per viewer"), Some(100_000.0));
    assert_eq!(figure(&result, "machine", "busy time per GB"), Some(0.5));
    assert_eq!(figure(&result, "server", "system calls per GB"), None);
    result.groups.values_mut().for_each(|group| group.bytes = 0);
    assert_eq!(figure(&result, "server", "CPU time per GB"), None);
}

#[test]
fn text_tells_quantiles_costs_and_what_was_missed() {
    let mut result = sample::result(SEED);
    let group = result.groups.get_mut("set-top boxes").unwrap();
    group.startup.as_mut().unwrap().p95 = 912.4;
    group.startup.as_mut().unwrap().p999 = 1234.5;
    let text = text::report(&result);
    println!("{text}");
    let startup = text.lines().find(|line| line.contains("set-top boxes") && line.contains("startup")).unwrap();
    assert!(startup.contains(" 912 ") && startup.contains(" 1,235 "), "{startup}");
    // No latency was seen: dashes, not zeros.
    let latency = text.lines().find(|line| line.contains("behind live")).unwrap();
    assert!(latency.ends_with("–  –  –  –  –  –") || latency.matches('–').count() == 7, "{latency}");
    assert!(text.contains("CPU time per GB") && text.contains("continuity-counter") && text.contains("status 503"));
    assert!(text.starts_with("evening: FAILED\n") && text.contains("http://127.0.0.1:8080"));
    let group = text.lines().find(|line| line.contains("set-top boxes")).unwrap();
    assert!(group.contains("  1,000  19 (0.0158 %)  ") && group.ends_with("  55 MB to 61 MB"), "{group}");
    assert!(text.contains("of its core, by thread     61 %\n"));
    assert!(text.contains("startup p95 is 912 ms, above 800 ms"));
    assert!(!text.contains('\u{1b}'), "a command line must not colour the terminal");
}

#[test]
fn system_calls_are_told_by_name_or_why_they_are_not() {
    let mut result = sample::result(SEED);
    result.measured_s = 100.0;
    result.groups.values_mut().for_each(|group| group.bytes = 1_000_000_000);
    let counted = {
        let mut result = result.clone();
        let server = result.server.as_mut().unwrap();
        server.syscalls = Some(30_000);
        server.syscalls_by_name = [("other".to_owned(), 2_000), ("sendmsg".to_owned(), 28_000)].into();
        result
    };
    assert_eq!(figure(&counted, "server", "system calls"), Some(300.0));
    assert_eq!(figure(&counted, "server", "sendmsg per GB"), Some(14_000.0));
    let text = text::report(&counted);
    let (sendmsg, other) = (text.find("  sendmsg         280  14,000\n"), text.find("  other            20   1,000\n"));
    assert!(sendmsg.is_some() && sendmsg < other, "{text}");
    assert!(text.contains("note: perf counted"));
    let warnings = compare(&result, &counted).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("counted in B alone")), "{warnings:?}");
    result.server.as_mut().unwrap().syscalls_refused = Some("there is no perf: <install> it".to_owned());
    assert!(text::report(&result).contains("note: system calls were not counted: there is no perf: <install> it\n"));
    assert!(html::report(&result).contains("not counted: there is no perf: &lt;install&gt; it"));
}

#[test]
fn an_empty_run_has_a_report_too() {
    let mut result = sample::result(SEED);
    result.groups.clear();
    result.seconds.clear();
    result.violations.clear();
    result.server = None;
    result.measured_s = 0.0;
    result.verdict = Verdict { passed: true, missed: Vec::new() };
    assert!(text::report(&result).starts_with("evening: PASSED\n"));
    parsed(&html::report(&result), |page| {
        assert_eq!(page.descendants().filter(|node| node.has_tag_name("path")).count(), 0)
    });
    result.harness.refused.push("lag".to_owned());
    assert_eq!(text::verdict(&result), "REFUSED");
    assert_eq!(compare(&result, &result).differences, []);
}

#[test]
fn the_page_is_well_formed_escaped_and_needs_nothing_else() {
    let result = sample::result(SEED);
    let page = html::report(&result);
    std::fs::write(folder().join("report.html"), &page).unwrap();
    parsed(&page, |page| {
        let count = |tag: &str| page.descendants().filter(|node| node.has_tag_name(tag)).count();
        assert_eq!(count("script"), 0);
        assert_eq!(count("svg"), 9);
        assert!(count("table") >= 7);
        let text: String = page.descendants().filter_map(|node| node.text()).collect();
        assert!(text.contains("<script>alert(1)</script>") && text.contains("evening <hls> & co"));
        let outside = ["src", "href", "srcset"];
        assert!(!page.descendants().any(|node| node.attributes().any(|attribute| outside.contains(&attribute.name()))));
    });
    assert!(!page.contains("url(") && !page.contains("@import"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "no coordinate is undefined");
}

#[test]
fn long_runs_keep_pages_small() {
    let mut result = sample::result(SEED);
    let seconds = result.seconds.clone();
    result.seconds = seconds.iter().cycle().take(7200).cloned().collect();
    let page = html::report(&result);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    parsed(&page, |_| {});
}

#[test]
fn a_comparison_has_ratios_and_says_which_way_is_good() {
    let a = sample::result(SEED);
    let mut b = a.clone();
    let server = b.server.as_mut().unwrap();
    (server.cpu_user_s, server.cpu_system_s) = (server.cpu_user_s / 2.0, server.cpu_system_s / 2.0);
    b.environment.server_command = Some("relay-new".to_owned());
    b.environment.begun = "2026-03-02T00:00:00Z".to_owned();
    b.violations.clear();
    let mut a_clean = a.clone();
    a_clean.violations.clear();
    let Comparison { rows, differences, warnings } = compare(&a_clean, &b);
    let row = |name: &str| rows.iter().find(|row| row.figure.name == name).unwrap();
    assert!((row("CPU time per GB").ratio().unwrap() - 0.5).abs() < 1e-9);
    assert_eq!(row("CPU time per GB").judged(), Some("better"));
    assert!((row("viewers per core used").ratio().unwrap() - 2.0).abs() < 1e-3);
    assert_eq!(row("viewers per core used").judged(), Some("better"));
    assert_eq!(row("throughput").judged(), None);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].what, "environment.server_command");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn what_is_not_comparable_is_warned_of() {
    let a = sample::result(SEED);
    let mut b = sample::result(SEED + 6);
    b.environment.cpus = 8;
    b.environment.sysctls.remove("net.core.somaxconn");
    b.scenario.group[1].viewers = 7;
    b.scenario.name = "other".to_owned();
    b.measured_s = 60.0;
    b.harness.refused.push("a thread used 99 % of its core".to_owned());
    let warnings = compare(&a, &b).warnings.join("\n");
    for expected in [
        "environment.cpus differs: 2 and 8",
        "net.core.somaxconn differs: 4096 and –",
        "scenario.group[1].viewers",
        "60 s of B",
    ] {
        assert!(warnings.contains(expected), "{expected}: {warnings}");
    }
    assert!(warnings.contains("of B: a thread used 99 %") && warnings.contains("A sent broken content"));
    assert!(!warnings.contains("scenario.name"));
    let text = comparison::text(&a, &b);
    println!("{text}");
    assert!(text.contains("WARNING") && text.contains("B/A"));
    let page = comparison::html(&a, &b);
    std::fs::write(folder().join("compare.html"), &page).unwrap();
    parsed(&page, |page| assert_eq!(page.descendants().filter(|node| node.has_tag_name("svg")).count(), 6));
}

#[test]
fn columns_of_text_line_up() {
    let table = tables::Table {
        title: "T".to_owned(),
        head: vec!["name".to_owned(), "µs".to_owned()],
        rows: vec![vec!["a".to_owned(), "1,000".to_owned()], vec!["longer".to_owned(), "5".to_owned()]],
        words: 1,
    };
    assert_eq!(table.text(), "T\n  name       µs\n  a       1,000\n  longer      5\n");
}
