//! What contenders are compared by, round by round.
//!
//! What it deliberately does not do: judge which figure counts.

use crate::engine::verdict::errors_share;
use crate::report::figures::{Better, Figure, gigabytes, measured, ratio};
use crate::report::format::Unit;
use crate::result::{GroupFigures, RunResult};
use crate::rounds::{Paired, median};
use anyhow::{Result, ensure};

/// Of the server's processes.
pub const SERVER_CPU: &str = "server CPU time per GB";
/// Of the whole machine, viewers included.
pub const MACHINE: &str = "whole machine per GB";
pub const THROUGHPUT: &str = "throughput";
/// Requests for each second of the server's CPU time.
pub const REQUESTS: &str = "requests per server CPU-s";
/// The slowest kind of request of the slowest group.
pub const FIRST_BYTE_P99: &str = "first byte p99";

/// One contender's figures in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Of one run. Times are those of the slowest group, as bounds are judged by group.
    pub fn of(result: &RunResult) -> Figures {
        let groups = || result.groups.values();
        let cpu_s = result.server.as_ref().map(|server| server.cpu_user_s + server.cpu_system_s);
        let gigabytes = gigabytes(result);
        let requests = groups().map(|group| group.requests).sum::<u64>() as f64;
        let watched_ms = measured(result).iter().map(|second| second.viewers).sum::<u64>() as f64 * 1e3;
        let rebuffer_ms = groups().map(|group| group.rebuffer_ms).sum::<f64>();
        let machine = ratio(result.machine.busy_s.iter().sum(), gigabytes);
        let startup = slowest(result, |group| group.startup.as_ref().map(|startup| startup.p95));
        let per_cpu_s = cpu_s.and_then(|cpu_s| ratio(requests, cpu_s));
        let gbit_per_s = ratio(gigabytes * 8.0, result.measured_s);
        let mut figures = vec![
            figure(SERVER_CPU, Unit::SecondsPerGb, cpu_s.and_then(|cpu_s| ratio(cpu_s, gigabytes)), Better::Lower),
            figure(MACHINE, Unit::SecondsPerGb, machine, Better::Lower),
            figure(THROUGHPUT, Unit::GbitPerSecond, gbit_per_s, Better::Higher),
            figure(REQUESTS, Unit::Count, per_cpu_s, Better::Higher),
        ];
        figures.extend(first_bytes(result));
        figures.extend([
            figure("start-up p95", Unit::Milliseconds, startup, Better::Lower),
            figure("rebuffers, share of time", Unit::Share, ratio(rebuffer_ms, watched_ms), Better::Lower),
            figure("failed requests", Unit::Share, slowest(result, |group| Some(errors_share(group))), Better::Lower),
        ]);
        Figures(figures)
    }

    /// Of a run that tells something only where every request succeeds and the server is sampled. `name` says whose it is.
    ///
    /// # Errors
    /// Nothing was received, a request failed, or the server's figures are missing.
    pub fn of_flawless(result: &RunResult, name: &str) -> Result<Figures> {
        let bytes: u64 = result.groups.values().map(|group| group.bytes).sum();
        let errors: u64 = result.groups.values().flat_map(|group| group.errors.values()).sum();
        ensure!(result.server.is_some(), "{name}: the server's figures are missing");
        ensure!(bytes > 0 && errors == 0, "{name}: {bytes} bytes, {errors} failed requests");
        Ok(Figures::of(result))
    }

    /// All of them, in the order of a table.
    pub fn list(&self) -> &[Figure] {
        &self.0
    }

    /// `None` where the run could not have it.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|figure| figure.name == name)?.value
    }
}

/// Of all kinds of requests, and of each.
fn first_bytes(result: &RunResult) -> Vec<Figure> {
    let times =
        || result.groups.values().flat_map(|group| group.timings.iter()).filter(|(_, t)| t.first_byte.count > 0);
    let all = times().map(|(_, timing)| timing.first_byte.p99).reduce(f64::max);
    let mut figures = vec![figure(FIRST_BYTE_P99, Unit::Milliseconds, all, Better::Lower)];
    let mut kinds: Vec<&String> = times().map(|(kind, _)| kind).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let of = |quantile: fn(&crate::result::Quantiles) -> f64| {
            times().filter(|(of, _)| *of == kind).map(|(_, timing)| quantile(&timing.first_byte)).reduce(f64::max)
        };
        for (name, value) in [("p50", of(|times| times.p50)), ("p99", of(|times| times.p99))] {
            figures.push(figure(&format!("{kind} first byte {name}"), Unit::Milliseconds, value, Better::Lower));
        }
    }
    figures
}

fn slowest(result: &RunResult, of: impl Fn(&GroupFigures) -> Option<f64>) -> Option<f64> {
    result.groups.values().filter_map(of).reduce(f64::max)
}

fn figure(name: &str, unit: Unit, value: Option<f64>, better: Better) -> Figure {
    Figure { section: String::new(), name: name.to_owned(), unit, value, better }
}

/// Figures of all contenders, round by round.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<Vec<Figures>>);

impl Rounds {
    /// Adds a round: one entry for each contender, in the same order each time.
    pub fn push(&mut self, round: Vec<Figures>) {
        self.0.push(round);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Median of a contender's rounds; `None` where no round has the figure.
    pub fn median(&self, contender: usize, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.0.iter().filter_map(|round| round[contender].value(name)).collect();
        median(&values)
    }

    /// B's figure over A's, within each round.
    pub fn paired(&self, a: usize, b: usize, name: &str) -> Paired {
        let each = |index: usize| -> Vec<f64> {
            self.0.iter().map(|round| round[index].value(name).unwrap_or(f64::NAN)).collect()
        };
        Paired::of(&each(a), &each(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_figure_is_the_slowest_groups_and_none_without_its_source() {
        let mut result = sample::result(1);
        let group = result.groups.values_mut().next().expect("there are two");
        let kind = group.timings.keys().next().expect("it has one").clone();
        group.timings.get_mut(&kind).expect("it is there").first_byte.p99 = 1e6;
        group.errors.insert("reset".into(), group.requests);
        let figures = Figures::of(&result);
        assert_eq!(figures.value(FIRST_BYTE_P99), Some(1e6));
        assert_eq!(figures.value(&format!("{kind} first byte p99")), Some(1e6));
        assert_eq!(figures.value("failed requests"), Some(1.0));
        assert!(figures.value(SERVER_CPU).is_some_and(|cpu| cpu > 0.0));
        assert!(Figures::of_flawless(&result, "a").is_err_and(|why| why.to_string().contains("failed requests")));
        result.groups.values_mut().for_each(|group| group.errors.clear());
        assert!(Figures::of_flawless(&result, "a").is_ok());
        result.server = None;
        assert_eq!(Figures::of(&result).value(SERVER_CPU), None);
        assert!(Figures::of_flawless(&result, "a").is_err());
    }

    #[test]
    fn ratios_are_of_one_round() {
        let of = |value: f64| Figures(vec![figure(MACHINE, Unit::SecondsPerGb, Some(value), Better::Lower)]);
        let mut rounds = Rounds::default();
        for disturbed in [1.0, 1.0, 5.0] {
            rounds.push(vec![of(2.0 * disturbed), of(1.0 * disturbed)]);
        }
        assert_eq!(rounds.paired(0, 1, MACHINE).ratios, [0.5, 0.5, 0.5]);
        assert_eq!((rounds.median(0, MACHINE), rounds.median(1, SERVER_CPU)), (Some(2.0), None));
    }
}
