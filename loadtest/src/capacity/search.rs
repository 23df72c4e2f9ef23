//! The search for the largest number of viewers that a server carries: which number to try next, given what came of those before.
//!
//! It doubles until a step fails, then halves the gap between the largest number that was met and the smallest that failed, until the gap is
//! within the precision. What it deliberately does not do: run anything; take for granted that outcomes rise with the number. Each number is
//! tried once (in as many runs as [`vote`] needs), and always between both ends, so that the search comes to an end whatever it is told.

use serde::Serialize;

/// What came of a step, or of one run of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All bounds held.
    Met,
    /// The server missed a bound.
    Missed,
    /// The harness refuses its result: nothing is known of the server.
    Refused,
}

/// The search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    from: u32,
    most: u32,
    precision: f64,
    /// Largest number that was met; 0: none yet.
    met: u32,
    /// Smallest number that missed, and that was refused; both above `met`.
    missed: Option<u32>,
    refused: Option<u32>,
}

/// The outcome of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Largest number of viewers that was met; 0: not even one.
    pub viewers: u32,
    pub limit: Limit,
    /// Smallest number that missed a bound.
    pub missed_at: Option<u32>,
    /// Smallest number at which the harness refused its result.
    pub refused_at: Option<u32>,
}

/// What ended the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The server: [`Capacity::viewers`] is its capacity.
    Server,
    /// The harness cannot ask for more: the server carries at least so many.
    Harness,
    /// No more were to be tried: at least so many.
    Most,
}

impl Search {
    /// From `from` (at least 1) to `most` (at least `from`), to a gap of `precision` (0 to 1) of the number that was met.
    pub fn new(from: u32, most: u32, precision: f64) -> Search {
        let from = from.max(1);
        Search { from, most: most.max(from), precision, met: 0, missed: None, refused: None }
    }

    /// The number to try; `None`: the search is over.
    pub fn next(&self) -> Option<u32> {
        let Some(failed) = self.failed() else {
            return match self.met {
                0 => Some(self.from),
                met => (met < self.most).then(|| met.saturating_mul(2).min(self.most)),
            };
        };
        let gap = failed - self.met;
        let is_over = gap <= 1 || f64::from(gap) <= self.precision * f64::from(self.met);
        (!is_over).then_some(self.met + gap / 2)
    }

    /// Takes what came of the number that [`Search::next`] gave.
    pub fn record(&mut self, outcome: Outcome) {
        let Some(viewers) = self.next() else { return };
        match outcome {
            Outcome::Met => self.met = viewers,
            Outcome::Missed => self.missed = Some(viewers),
            Outcome::Refused => self.refused = Some(viewers),
        }
    }

    /// What is known so far, and at the end the result.
    pub fn capacity(&self) -> Capacity {
        let limit = match self.failed() {
            None => Limit::Most,
            failed if failed == self.missed => Limit::Server,
            Some(_) => Limit::Harness,
        };
        Capacity { viewers: self.met, limit, missed_at: self.missed, refused_at: self.refused }
    }

    /// Smallest number that failed, for either reason.
    fn failed(&self) -> Option<u32> {
        self.missed.into_iter().chain(self.refused).min()
    }
}

/// The outcome of a step by its runs so far: what `confirm` of them agree on, out of at most `2 confirm - 1` (2 of 3, by default).
/// `None`: another run is needed. Where no outcome has so many in the end, the step is [`Outcome::Refused`]: it tells nothing.
pub fn vote(runs: &[Outcome], confirm: usize) -> Option<Outcome> {
    let agree = |outcome: &Outcome| runs.iter().filter(|run| *run == outcome).count() >= confirm;
    let decided = [Outcome::Met, Outcome::Missed, Outcome::Refused].into_iter().find(agree);
    decided.or((runs.len() + 1 >= 2 * confirm).then_some(Outcome::Refused))
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Met, Missed, Refused};
    use super::*;
    use crate::random::Random;

    /// Searches against a server, with what was tried.
    fn search(mut search: Search, mut server: impl FnMut(u32) -> Outcome) -> (Capacity, Vec<u32>) {
        let mut tried = Vec::new();
        while let Some(viewers) = search.next() {
            assert!(!tried.contains(&viewers) && tried.len() < 70, "{tried:?}, then {viewers}");
            tried.push(viewers);
            search.record(server(viewers));
        }
        (search.capacity(), tried)
    }

    #[test]
    fn it_doubles_then_halves_the_gap() {
        let (capacity, tried) = search(Search::new(100, 10_000, 0.05), |n| if n <= 530 { Met } else { Missed });
        assert_eq!(tried, [100, 200, 400, 800, 600, 500, 550, 525]);
        assert_eq!((capacity.viewers, capacity.limit, capacity.missed_at), (525, Limit::Server, Some(550)));
    }

    #[test]
    fn it_goes_below_a_first_number_that_is_too_large() {
        let (capacity, tried) = search(Search::new(100, 10_000, 0.0), |n| if n <= 3 { Met } else { Missed });
        assert_eq!((capacity.viewers, capacity.missed_at, tried[..2].to_vec()), (3, Some(4), vec![100, 50]));
        let (nothing, _) = search(Search::new(100, 10_000, 0.05), |_| Missed);
        assert_eq!((nothing.viewers, nothing.limit), (0, Limit::Server));
    }

    #[test]
    fn nothing_is_tried_above_the_most() {
        let (capacity, tried) = search(Search::new(3, 10, 0.05), |_| Met);
        assert_eq!((capacity.viewers, capacity.limit, tried), (10, Limit::Most, vec![3, 6, 10]));
    }

    #[test]
    fn a_server_is_found_within_the_precision_and_the_harness_is_not_taken_for_it() {
        let mut random = Random::new(7);
        for _ in 0..3_000 {
            let carries = random.below(100_000) as u32;
            let harness = random.below(100_000) as u32;
            let precision = random.uniform() * 0.3;
            let from = 1 + random.below(50_000) as u32;
            let answer = |n: u32| match n {
                n if n > harness => Refused,
                n if n > carries => Missed,
                _ => Met,
            };
            let (found, _) = search(Search::new(from, 1_000_000, precision), answer);
            let words = format!("carries {carries}, harness {harness}, from {from}, {precision}: {found:?}");
            let bound = carries.min(harness);
            assert!(found.viewers <= bound, "{words}");
            let failed = found.missed_at.into_iter().chain(found.refused_at).min().expect("a million fails");
            assert!(failed > bound, "{words}");
            let gap = failed - found.viewers;
            assert!(gap <= 1 || f64::from(gap) <= precision * f64::from(found.viewers), "{words}");
            assert!(found.missed_at.is_none_or(|missed| missed > carries && missed <= harness), "{words}");
            match found.limit {
                Limit::Server => assert_eq!(found.missed_at, Some(failed), "{words}"),
                Limit::Harness => assert_eq!(found.refused_at, Some(failed), "{words}"),
                Limit::Most => panic!("{words}"),
            }
        }
    }

    #[test]
    fn outcomes_without_order_end_the_search_too() {
        for seed in 0..2_000 {
            let mut random = Random::new(seed);
            let from = 1 + random.below(u64::from(u32::MAX)) as u32;
            let (found, _) =
                search(Search::new(from, u32::MAX, 0.01), |_| [Met, Missed, Refused][random.below(3) as usize]);
            let failed = found.missed_at.into_iter().chain(found.refused_at).min();
            assert!(failed.is_none_or(|failed| failed > found.viewers), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn runs_must_agree() {
        assert_eq!((vote(&[], 2), vote(&[Met], 2)), (None, None));
        assert_eq!((vote(&[Met, Met], 2), vote(&[Met, Missed], 2)), (Some(Met), None));
        assert_eq!(vote(&[Met, Missed, Missed], 2), Some(Missed));
        assert_eq!(vote(&[Met, Missed, Refused], 2), Some(Refused));
        assert_eq!((vote(&[Missed], 1), vote(&[Met, Met, Missed, Missed], 3)), (Some(Missed), None));
    }
}
