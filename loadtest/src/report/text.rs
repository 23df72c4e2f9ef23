//! A result as text for a terminal.

use super::format::{Unit, printable, show, significant};
use super::tables;
use crate::result::RunResult;
use crate::scenario::Through;

/// The report: what was run and the verdict, the tables, and at the end what was missed, where eyes rest.
pub fn report(result: &RunResult) -> String {
    let environment = &result.environment;
    let mut text = format!("{}: {}\n", result.scenario.name, verdict(result));
    text.push_str(&format!("  {}\n", subtitle(result)));
    text.push_str(&format!("  {} x {}, kernel {}\n", environment.cpus, environment.cpu_model, environment.kernel));
    if let Some(command) = &environment.server_command {
        text.push_str(&format!("  server: {command}\n"));
    }
    text.extend(notes(result).iter().map(|note| format!("  note: {note}\n")));
    for table in tables::tables(result) {
        text.push_str(&format!("\n{}", table.text()));
    }
    text.push_str(&format!("\n{}\n", verdict(result)));
    text.extend(reasons(result).iter().map(|reason| format!("  {reason}\n")));
    printable(&text)
}

/// `PASSED`, `FAILED`, or `REFUSED` when the harness could not keep up.
pub fn verdict(result: &RunResult) -> &'static str {
    match (result.harness.refused.is_empty(), result.verdict.passed) {
        (false, _) => "REFUSED",
        (true, true) => "PASSED",
        (true, false) => "FAILED",
    }
}

/// Why the verdict is not `PASSED`, each in a sentence.
pub fn reasons(result: &RunResult) -> Vec<String> {
    let refused = result.harness.refused.iter().map(|why| format!("the harness refuses its result: {why}"));
    let missed = result.verdict.missed.iter().cloned();
    let broken = result.violations.iter().map(|broken| format!("broken: {} ({} times)", broken.rule, broken.count));
    refused.chain(missed).chain(broken).collect()
}

/// What to bear in mind when reading the figures, each in a sentence.
pub fn notes(result: &RunResult) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(server) = &result.server {
        notes.extend(server.syscalls_refused.iter().map(|why| format!("system calls were not counted: {why}")));
        if server.syscalls.is_some() {
            notes
                .push("perf counted system calls, which makes each of them on this machine a little slower".to_owned());
        }
    }
    if let Some(proxy) = &result.proxy {
        let through = result.scenario.group.iter().filter(|group| group.through == Through::Proxy);
        let names = through.map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
        let cpu = show(proxy.cpu_s, Unit::Seconds);
        notes.push(format!(
            "{names}: through the harness's fault proxy, whose {cpu} of processor time are within the machine's figures, not within the server's"
        ));
    }
    notes
}

/// When, how long and against what.
pub fn subtitle(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let measured_s = significant(result.measured_s);
    let warmup = format!("{} s of warm-up", scenario.warmup_s);
    let (begun, target) = (&result.environment.begun, &scenario.target);
    format!("{begun}, {target}, {measured_s} s measured after {warmup}, seed {}", scenario.seed)
}
