//! `loadtest capacity`: the largest number of viewers for which a server holds its bounds.
//!
//! [`mod@search`] says which number to try, and [`search::vote`] when a step is decided; this runs it, each run in a process of its own. A run that
//! the harness refuses says nothing of the server, and a step of such runs ends the search as a limit of the harness. Content that breaks a
//! rule is told, and is a missed bound only where it is asked for: a peer may break rules at any number of viewers. What it deliberately does not do: tell why a server is at its end.

pub mod search;

use crate::engine::args::{REFUSED, ScenarioArgs, share_out};
use crate::lab::round::Runner;
use crate::lab::scratch::Scratch;
use crate::lab::side::{BenchArgs, Side};
use crate::result::RunResult;
use crate::scenario::{Arrivals, Scenario, Slo};
use anyhow::{Result, ensure};
use clap::Args;
use search::{Capacity, Limit, Outcome, Search, vote};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::ExitCode;

/// `loadtest capacity`.
#[derive(Args)]
pub struct CapacityArgs {
    /// The server: http://HOST:PORT, or peer:NAME (see `loadtest peer`); without it, the scenario's target.
    #[arg(long)]
    target: Option<String>,
    /// The server's process, whose CPU time is sampled.
    #[arg(long)]
    server_pid: Option<u32>,
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Viewers of the first step.
    #[arg(long, default_value_t = 100)]
    from: u32,
    /// Viewers that are not exceeded.
    #[arg(long, default_value_t = 100_000)]
    most: u32,
    /// Gap between the number that is met and the one that is not at which the search ends, per cent.
    #[arg(long, default_value_t = 5.0)]
    precision: f64,
    /// Runs of a step that must agree, out of at most twice as many less one: 2 of 3.
    #[arg(long, default_value_t = 2)]
    confirm: usize,
    #[command(flatten)]
    bounds: Bounds,
    /// Count content that breaks a rule as a missed bound.
    #[arg(long)]
    content_must_hold: bool,
    #[command(flatten)]
    bench: BenchArgs,
}

/// Bounds that stand above the scenario's, which stand above the defaults.
#[derive(Args, Clone, Copy, Debug, Default)]
struct Bounds {
    /// Rebuffers of all viewers together [default: the scenario's, or 0].
    #[arg(long)]
    rebuffers_max: Option<u64>,
    /// [default: the scenario's, or 1000].
    #[arg(long)]
    startup_p95_ms: Option<f64>,
    /// [default: the scenario's, or 20].
    #[arg(long)]
    playlist_p99_ms: Option<f64>,
    /// [default: the scenario's, or 50].
    #[arg(long)]
    segment_first_byte_p99_ms: Option<f64>,
    /// Failed requests of all requests [default: the scenario's, or 0.00001].
    #[arg(long)]
    errors_share_max: Option<f64>,
}

/// What a search measured.
#[derive(Debug, Serialize)]
pub struct Found {
    /// As it was given.
    pub server: String,
    /// With the bounds that were judged; its numbers of viewers are those that the steps have in proportion.
    pub scenario: Scenario,
    pub steps: Vec<Step>,
    pub capacity: Capacity,
    /// What was missed at [`Capacity::missed_at`], or why the harness refused at [`Capacity::refused_at`].
    pub failed: Vec<String>,
}

/// One number of viewers.
#[derive(Debug, Serialize)]
pub struct Step {
    pub viewers: u32,
    pub outcome: Outcome,
    pub runs: Vec<Run>,
}

/// One run of a step.
#[derive(Debug, Serialize)]
pub struct Run {
    pub outcome: Outcome,
    /// Bounds that were missed and rules that were broken, or why the harness refuses; in words.
    pub why: Vec<String>,
    /// Rules that content broke, by name.
    pub violations: BTreeMap<String, u64>,
    /// Processor seconds per second; `None` without the server's pid.
    pub server_cores: Option<f64>,
    pub gbit_per_s: f64,
}

/// Searches, prints each step and the result. Exit code 2: not even the first viewers could be asked for.
///
/// # Errors
/// A server that cannot be started or measured, options out of range, or a scenario that cannot be read.
pub fn run(args: &CapacityArgs) -> Result<ExitCode> {
    ensure!(args.from > 0 && args.most >= args.from, "--from is at least 1, and --most at least --from");
    ensure!((0.0..=100.0).contains(&args.precision), "--precision is 0 to 100 per cent");
    ensure!(args.confirm > 0, "--confirm is at least 1");
    let mut base = args.scenario.read()?;
    if args.scenario.is_quick() {
        // All at once would ask how many a server can take in one moment.
        base.group[0].arrivals = Arrivals::Ramp { over_s: base.duration_s as f64 / 3.0 };
    }
    base.slo = args.bounds.over(&base.slo);
    let target = args.target.as_deref().unwrap_or(&base.target);
    ensure!(!target.is_empty(), "the scenario has no target; give --target");
    let mut side = Side::start(target, args.server_pid, &[], &base, &args.bench.peers)?;
    args.bench.say(format!("{side}\n{}, {} s a run; {}", base.name, base.duration_s, bounds(&base.slo)));
    let scratch = Scratch::new()?;
    let cores = args.bench.viewers_cores(side.is_peer());
    let runner = Runner { cores: &cores, folder: scratch.path() };
    let mut search = Search::new(args.from, args.most, args.precision / 100.0);
    let mut steps = Vec::new();
    while let Some(viewers) = search.next() {
        let step = step(&mut side, &base, viewers, args, &runner)?;
        args.bench.say(&step);
        search.record(step.outcome);
        steps.push(step);
    }
    let capacity = search.capacity();
    let failed = failed(&steps, &capacity);
    let found = Found { server: side.name().to_owned(), scenario: side.scenario(&base)?, steps, capacity, failed };
    args.bench.say(&found);
    args.bench.write_json(&found)?;
    let is_unknown = capacity.viewers == 0 && capacity.limit == Limit::Harness;
    Ok(if is_unknown { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

impl Bounds {
    fn over(&self, scenario: &Slo) -> Slo {
        Slo {
            rebuffers_max: self.rebuffers_max.or(scenario.rebuffers_max).or(Some(0)),
            startup_p95_ms: self.startup_p95_ms.or(scenario.startup_p95_ms).or(Some(1_000.0)),
            playlist_p99_ms: self.playlist_p99_ms.or(scenario.playlist_p99_ms).or(Some(20.0)),
            segment_first_byte_p99_ms: self
                .segment_first_byte_p99_ms
                .or(scenario.segment_first_byte_p99_ms)
                .or(Some(50.0)),
            errors_share_max: self.errors_share_max.or(scenario.errors_share_max).or(Some(1e-5)),
        }
    }
}

/// Runs one number of viewers until its outcome is decided.
fn step(side: &mut Side, base: &Scenario, viewers: u32, args: &CapacityArgs, runner: &Runner) -> Result<Step> {
    let mut scenario = side.scenario(base)?;
    share_out(&mut scenario.group, viewers);
    let mut runs: Vec<Run> = Vec::new();
    loop {
        runs.push(Run::of(&runner.run(&scenario, side.pid())?, args.content_must_hold));
        let outcomes: Vec<Outcome> = runs.iter().map(|run| run.outcome).collect();
        if let Some(outcome) = vote(&outcomes, args.confirm) {
            return Ok(Step { viewers, outcome, runs });
        }
    }
}

impl Run {
    fn of(result: &RunResult, content_must_hold: bool) -> Run {
        let refused = result.harness.refused.clone();
        let mut missed = result.verdict.missed.clone();
        let violations: BTreeMap<String, u64> =
            result.violations.iter().map(|broken| (broken.rule.clone(), broken.count)).collect();
        if content_must_hold {
            missed.extend(violations.iter().map(|(rule, count)| format!("content: {count} {rule}")));
        }
        let (outcome, why) = match (refused.is_empty(), missed.is_empty()) {
            // What a harness that did not keep up measured may be its own lateness.
            (false, _) => (Outcome::Refused, refused),
            (true, false) => (Outcome::Missed, missed),
            (true, true) => (Outcome::Met, Vec::new()),
        };
        let bytes: u64 = result.groups.values().map(|group| group.bytes).sum();
        let cpu_s = result.server.as_ref().map(|server| server.cpu_user_s + server.cpu_system_s);
        Run {
            outcome,
            why,
            violations,
            server_cores: cpu_s.map(|cpu_s| cpu_s / result.measured_s),
            gbit_per_s: bytes as f64 * 8e-9 / result.measured_s,
        }
    }
}

/// Why the step failed that bounds the result from above.
fn failed(steps: &[Step], capacity: &Capacity) -> Vec<String> {
    let at = match capacity.limit {
        Limit::Server => capacity.missed_at,
        Limit::Harness => capacity.refused_at,
        Limit::Most => None,
    };
    let step = steps.iter().find(|step| Some(step.viewers) == at);
    step.map(Step::why).unwrap_or_default()
}

impl Step {
    /// What the first run says that had the step's outcome.
    fn why(&self) -> Vec<String> {
        let run = self.runs.iter().find(|run| run.outcome == self.outcome);
        run.map(|run| run.why.clone()).unwrap_or_default()
    }

    /// Rules that any run's content broke.
    fn broken(&self) -> BTreeSet<&str> {
        self.runs.iter().flat_map(|run| run.violations.keys()).map(String::as_str).collect()
    }
}

fn bounds(slo: &Slo) -> String {
    let bound = |value: Option<f64>| value.map_or_else(|| "any".to_owned(), |value| value.to_string());
    format!(
        "rebuffers {}, start-up p95 {} ms, playlist p99 {} ms, segment first byte p99 {} ms, errors share {}",
        bound(slo.rebuffers_max.map(|bound| bound as f64)),
        bound(slo.startup_p95_ms),
        bound(slo.playlist_p99_ms),
        bound(slo.segment_first_byte_p99_ms),
        bound(slo.errors_share_max),
    )
}

impl fmt::Display for Step {
    /// `   800 viewers: missed (2 of 3 runs), 2.40 Gbit/s, server 0.97 cores; hls: startup p95 ms 1204.0, bound 1000`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let agree = self.runs.iter().filter(|run| run.outcome == self.outcome).count();
        let word = match self.outcome {
            Outcome::Met => "met",
            Outcome::Missed => "missed",
            Outcome::Refused => "refused by the harness",
        };
        write!(f, "{:>8} viewers: {word} ({agree} of {} runs)", self.viewers, self.runs.len())?;
        if let Some(last) = self.runs.last() {
            write!(f, ", {:.3} Gbit/s", last.gbit_per_s)?;
            last.server_cores.map_or(Ok(()), |cores| write!(f, ", server {cores:.2} cores"))?;
        }
        self.why().iter().try_for_each(|why| write!(f, "; {why}"))?;
        let broken: Vec<&str> = self.broken().into_iter().collect();
        if broken.is_empty() { Ok(()) } else { write!(f, "; content broke {}", broken.join(", ")) }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Capacity { viewers, limit, missed_at, refused_at } = self.capacity;
        match limit {
            Limit::Server => write!(f, "capacity: {viewers} viewers; {} are too many", missed_at.unwrap_or_default())?,
            Limit::Harness => write!(
                f,
                "at least {viewers} viewers; the harness cannot ask for more (refused at {})",
                refused_at.unwrap_or_default()
            )?,
            Limit::Most => write!(f, "at least {viewers} viewers; no more were to be tried")?,
        }
        if let (Limit::Harness, Some(missed)) = (limit, missed_at) {
            write!(f, ", and the server missed a bound at {missed}")?;
        }
        self.failed.iter().try_for_each(|why| write!(f, "\n  failed first: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_above_the_scenario_and_that_above_the_defaults() {
        let scenario = Slo { startup_p95_ms: Some(700.0), playlist_p99_ms: Some(9.0), ..Slo::default() };
        let options = Bounds { playlist_p99_ms: Some(5.0), ..Bounds::default() };
        let slo = options.over(&scenario);
        assert_eq!((slo.startup_p95_ms, slo.playlist_p99_ms), (Some(700.0), Some(5.0)));
        assert_eq!((slo.rebuffers_max, slo.segment_first_byte_p99_ms), (Some(0), Some(50.0)));
        assert_eq!(slo.errors_share_max, Some(1e-5));
    }
}
