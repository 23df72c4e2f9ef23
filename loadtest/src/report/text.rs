//! A result as text for a terminal.

use super::format::{printable, significant};
use super::tables;
use crate::result::RunResult;

/// The report: what was run and the verdict, the tables, and at the end what was missed, where eyes rest.
pub fn report(result: &RunResult) -> String {
    let environment = &result.environment;
    let mut text = format!("{}: {}\n", result.scenario.name, verdict(result));
    text.push_str(&format!("  {}\n", subtitle(result)));
    text.push_str(&format!("  {} x {}, kernel {}\n", environment.cpus, environment.cpu_model, environment.kernel));
    if let Some(command) = &environment.server_command {
        text.push_str(&format!("  server: {command}\n"));
    }
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

/// When, how long and against what.
pub fn subtitle(result: &RunResult) -> String {
    let scenario = &result.scenario;
    let measured_s = significant(result.measured_s);
    let warmup = format!("{} s of warm-up", scenario.warmup_s);
    let (begun, target) = (&result.environment.begun, &scenario.target);
    format!("{begun}, {target}, {measured_s} s measured after {warmup}, seed {}", scenario.seed)
}
