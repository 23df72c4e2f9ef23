//! `loadtest ab`: two servers under the same scenario, in interleaved rounds (A B, B A, ...), each run in a process of its own.
//!
//! A round counts where the harness refuses neither of its runs; ratios are of runs of one round (see [`crate::rounds`]). What it deliberately
//! does not do: stop one server while the other is measured. Both run all the time, so that what an idle server costs is in the whole
//! machine's figures of both.

use crate::engine::args::{REFUSED, ScenarioArgs};
use crate::lab::figures::{Figures, Rounds};
use crate::lab::round::{Runner, in_turns};
use crate::lab::scratch::Scratch;
use crate::lab::side::{BenchArgs, Side};
use crate::report::figures::Figure;
use crate::report::format::show_some;
use crate::result::RunResult;
use crate::scenario::Scenario;
use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// `loadtest ab`.
#[derive(Args)]
pub struct AbArgs {
    /// The server that is compared to: http://HOST:PORT, or peer:NAME (see `loadtest peer`).
    #[arg(long)]
    a: String,
    /// The server that is compared.
    #[arg(long)]
    b: String,
    /// Process of A, whose CPU time is sampled.
    #[arg(long)]
    a_pid: Option<u32>,
    #[arg(long)]
    b_pid: Option<u32>,
    /// Path on A in place of the scenario's; repeated: for each group in turn.
    #[arg(long)]
    a_path: Vec<String>,
    #[arg(long)]
    b_path: Vec<String>,
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Rounds: each runs both servers.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(flatten)]
    bench: BenchArgs,
}

/// What an A/B measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// As they were given.
    pub servers: [String; 2],
    /// As it was run against A.
    pub scenario: Scenario,
    pub rounds: Vec<Round>,
    /// Of the rounds that count.
    pub figures: Vec<Row>,
}

/// Both servers' runs, one after the other; A first in even rounds.
#[derive(Debug, Serialize)]
pub struct Round {
    pub runs: [Run; 2],
}

/// One run of one server.
#[derive(Debug, Serialize)]
pub struct Run {
    /// By name; milliseconds, s/GB, Gbit/s, shares from 0 to 1.
    pub figures: BTreeMap<String, Option<f64>>,
    /// Why the harness refuses it; empty: it counts, if the other does.
    pub refused: Vec<String>,
    /// Rules that the content broke, by name.
    pub violations: BTreeMap<String, u64>,
    #[serde(skip)]
    measured: Figures,
}

/// One figure over all rounds that count.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub a_median: Option<f64>,
    pub b_median: Option<f64>,
    /// B over A, within rounds; `None` where no round has a ratio.
    pub ratio: Option<Ratio>,
    #[serde(skip)]
    shown: String,
}

/// What rounds say of B over A.
#[derive(Debug, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub rounds: usize,
    /// Low and high end, and the level that they attain; `None` with too few rounds.
    pub interval: Option<[f64; 3]>,
    /// Whether the interval leaves out 1.
    pub differs: bool,
}

/// Runs, prints, writes. Exit code 2: the harness refuses every round.
///
/// # Errors
/// A server that cannot be started or measured, or a scenario that cannot be read.
pub fn run(args: &AbArgs) -> Result<ExitCode> {
    ensure!(args.rounds > 0, "there must be a round");
    let base = args.scenario.read()?;
    let mut sides = [
        Side::start(&args.a, args.a_pid, &args.a_path, &base, &args.bench.peers)?,
        Side::start(&args.b, args.b_pid, &args.b_path, &base, &args.bench.peers)?,
    ];
    let scratch = Scratch::new()?;
    let cores = args.bench.viewers_cores(sides.iter().any(Side::is_peer));
    let runner = Runner { cores: &cores, folder: scratch.path() };
    args.bench.say(format!("A  {}\nB  {}\n{}, {} s a run", sides[0], sides[1], base.name, base.duration_s));
    let mut rounds = Vec::new();
    for index in 0..args.rounds as usize {
        let round = measure(&mut sides, &base, &runner, index)?;
        args.bench.say(format!("round {} of {}: {}", index + 1, args.rounds, words(&round)));
        rounds.push(round);
    }
    let servers = [sides[0].name().to_owned(), sides[1].name().to_owned()];
    let scenario = sides[0].scenario(&base)?;
    let comparison = Comparison { servers, scenario, figures: rows(&rounds), rounds };
    args.bench.say(&comparison);
    args.bench.write_json(&comparison)?;
    let counted = comparison.rounds.iter().any(Round::counts);
    Ok(if counted { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn measure(sides: &mut [Side; 2], base: &Scenario, runner: &Runner, round: usize) -> Result<Round> {
    let runs = in_turns(round, |index| {
        let scenario = sides[index].scenario(base)?;
        Ok(Run::of(&runner.run(&scenario, sides[index].pid())?))
    })?;
    Ok(Round { runs })
}

impl Round {
    /// Whether the harness refuses neither run.
    pub fn counts(&self) -> bool {
        self.runs.iter().all(|run| run.refused.is_empty())
    }
}

impl Run {
    fn of(result: &RunResult) -> Run {
        let measured = Figures::of(result);
        Run {
            figures: measured.list().iter().map(|figure| (figure.name.clone(), figure.value)).collect(),
            refused: result.harness.refused.clone(),
            violations: result.violations.iter().map(|broken| (broken.rule.clone(), broken.count)).collect(),
            measured,
        }
    }
}

/// What a round was, in a line.
fn words(round: &Round) -> String {
    let mut words = Vec::new();
    for (name, run) in ["A", "B"].iter().zip(&round.runs) {
        words.extend(run.refused.iter().map(|why| format!("not counted, the harness refuses {name}: {why}")));
        words.extend(run.violations.iter().map(|(rule, count)| format!("{name} sent broken content: {count} {rule}")));
    }
    if words.is_empty() { "measured".to_owned() } else { words.join("; ") }
}

/// Every figure that a run of a round that counts has.
fn rows(rounds: &[Round]) -> Vec<Row> {
    let mut counted = Rounds::default();
    let mut figures: Vec<&Figure> = Vec::new();
    for round in rounds.iter().filter(|round| round.counts()) {
        for figure in round.runs.iter().flat_map(|run| run.measured.list()) {
            if !figures.iter().any(|known| known.name == figure.name) {
                figures.push(figure);
            }
        }
        counted.push(round.runs.iter().map(|run| run.measured.clone()).collect());
    }
    figures.into_iter().map(|figure| Row::of(figure, &counted)).collect()
}

impl Row {
    fn of(figure: &Figure, rounds: &Rounds) -> Row {
        let [a, b] = [0, 1].map(|side| rounds.median(side, &figure.name));
        let summary = rounds.paired(0, 1, &figure.name).summary();
        let words = summary.as_ref().map_or_else(String::new, |summary| summary.to_string());
        let [shown_a, shown_b] = [a, b].map(|value| show_some(value, figure.unit));
        Row {
            name: figure.name.clone(),
            a_median: a,
            b_median: b,
            ratio: summary.map(|summary| Ratio {
                median: summary.median,
                rounds: summary.rounds,
                interval: summary.interval.map(|interval| [interval.low, interval.high, interval.level]),
                differs: summary.differs(),
            }),
            shown: format!("{:<26} {shown_a:>14} {shown_b:>14}   {words}", figure.name),
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let counted = self.rounds.iter().filter(|round| round.counts()).count();
        if counted == 0 {
            return writeln!(f, "no round counts: the harness refuses all");
        }
        writeln!(f, "\n{:<26} {:>14} {:>14}   medians of {counted} rounds", "", "A", "B")?;
        self.figures.iter().try_for_each(|row| writeln!(f, "{}", row.shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::figures::THROUGHPUT;
    use crate::report::sample;

    /// A round in which B sends twice as much as A.
    fn round(seed: u64, refused: &[&str]) -> Round {
        let a = sample::result(seed);
        let mut b = a.clone();
        b.groups.values_mut().for_each(|group| group.bytes *= 2);
        b.harness.refused = refused.iter().map(|why| why.to_string()).collect();
        Round { runs: [Run::of(&a), Run::of(&b)] }
    }

    fn comparison(rounds: Vec<Round>) -> Comparison {
        let servers = ["A", "B"].map(String::from);
        Comparison { servers, scenario: sample::result(1).scenario, figures: rows(&rounds), rounds }
    }

    #[test]
    fn a_round_that_the_harness_refuses_is_said_and_not_counted() {
        let refused = round(9, &["lag p99 3.00 ms, above 1 ms"]);
        assert!(words(&refused).contains("not counted, the harness refuses B: lag p99 3.00 ms"));
        let mut rounds: Vec<Round> = (1..=5).map(|seed| round(seed, &[])).collect();
        rounds.push(refused);
        let comparison = comparison(rounds);
        let row = comparison.figures.iter().find(|row| row.name == THROUGHPUT).unwrap();
        let ratio = row.ratio.as_ref().unwrap();
        assert_eq!((ratio.rounds, ratio.differs, ratio.interval), (5, true, Some([2.0, 2.0, 0.9375])));
        let text = comparison.to_string();
        assert!(text.contains("medians of 5 rounds"), "{text}");
        let line = text.lines().find(|line| line.starts_with(THROUGHPUT)).unwrap();
        assert!(line.contains("2.000 (2.000 to 2.000 at 93.8 %, 5 rounds): 100.0 % more"), "{line}");
    }

    #[test]
    fn without_a_round_that_counts_there_are_no_figures() {
        let comparison = comparison(vec![round(1, &["late"])]);
        assert!(comparison.figures.is_empty() && comparison.to_string().contains("no round counts"));
    }
}
