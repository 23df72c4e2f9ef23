//! Statistics of an A/B in interleaved rounds: each round measures both sides close together, so that what drifts on the machine (heat,
//! neighbours, caches) hits both, and only the ratio within a round is looked at.
//!
//! The interval is that of order statistics with exact binomial tails (Conover, Practical Nonparametric Statistics, 3.2): it takes nothing for
//! granted of how the ratios are distributed but that the rounds are independent. What it deliberately does not do: bootstrap, which promises
//! too much of few rounds; means, which one bad round ruins; run the rounds.

use std::fmt;

/// Fewest rounds that an interval is told of.
pub const ROUNDS_MIN: usize = 5;

/// Level that an interval has at least, where there are rounds enough; 6 are.
pub const LEVEL_WANTED: f64 = 0.95;

/// B's figure over A's, of each round; above 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paired {
    pub ratios: Vec<f64>,
}

/// What the rounds say of B over A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub rounds: usize,
    pub median: f64,
    /// `None` with less than [`ROUNDS_MIN`] rounds.
    pub interval: Option<Interval>,
}

/// Where the median lies with this confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// What is attained, 0 to 1: 0.9375 of 5 rounds, [`LEVEL_WANTED`] or more of 6 and on.
    pub level: f64,
}

impl Paired {
    /// Of one figure, measured round by round. A round whose ratio is no number (A or B is 0 or not finite) is left out.
    pub fn of(a: &[f64], b: &[f64]) -> Paired {
        let ratios = a.iter().zip(b).map(|(a, b)| b / a);
        Paired { ratios: ratios.filter(|ratio| ratio.is_finite() && *ratio > 0.0).collect() }
    }

    /// `None` without a round.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.ratios.clone();
        sorted.sort_by(f64::total_cmp);
        Some(Summary { rounds: sorted.len(), median: median_of_sorted(&sorted)?, interval: interval(&sorted) })
    }
}

impl Summary {
    /// Whether the interval leaves out 1, that is, B differs from A by more than the rounds do among themselves.
    pub fn differs(&self) -> bool {
        self.interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0)
    }
}

impl fmt::Display for Summary {
    /// `B/A 0.943 (0.921 to 0.968 at 96.9 %, 6 rounds): 5.7 % less`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Summary { rounds, median, interval } = self;
        let Some(Interval { low, high, level }) = interval else {
            return write!(f, "B/A {median:.3} ({rounds} rounds: too few to tell a difference from chance)");
        };
        write!(f, "B/A {median:.3} ({low:.3} to {high:.3} at {:.1} %, {rounds} rounds): ", level * 100.0)?;
        match (self.differs(), *median < 1.0) {
            (false, _) => write!(f, "no difference shown"),
            (true, true) => write!(f, "{:.1} % less", (1.0 - median) * 100.0),
            (true, false) => write!(f, "{:.1} % more", (median - 1.0) * 100.0),
        }
    }
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

/// From the `rank`th least to the `rank`th most: the narrowest that attains the level, or the widest there is.
///
/// The median lies below the `rank`th least when less than `rank` of `n` values lie below the median: a tail of the binomial distribution.
fn interval(sorted: &[f64]) -> Option<Interval> {
    let n = sorted.len();
    if n < ROUNDS_MIN {
        return None;
    }
    let level = |rank: usize| 1.0 - 2.0 * tail(n, rank - 1);
    let rank = (1..=n / 2).rev().find(|rank| level(*rank) >= LEVEL_WANTED).unwrap_or(1);
    Some(Interval { low: sorted[rank - 1], high: sorted[n - rank], level: level(rank) })
}

/// Probability of at most `most` heads of `n` throws of a fair coin.
fn tail(n: usize, most: usize) -> f64 {
    // By logarithms, so that 2^-n of many rounds is not 0 before the sum.
    let mut ln_choose = 0.0;
    let ln_all = n as f64 * std::f64::consts::LN_2;
    (0..=most)
        .map(|heads| {
            if heads > 0 {
                ln_choose += ((n - heads + 1) as f64 / heads as f64).ln();
            }
            (ln_choose - ln_all).exp()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(ratios: &[f64]) -> Summary {
        Paired { ratios: ratios.to_vec() }.summary().unwrap()
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn levels_are_those_of_the_binomial_table() {
        // Rounds, rank of the low end from 1, level: 1 - 2 P(X < rank), X binomial of n and one half.
        for (n, rank, level) in
            [(5, 1, 0.9375), (6, 1, 0.96875), (8, 1, 0.9921875), (9, 2, 0.9609375), (10, 2, 0.978515625)]
        {
            let sorted: Vec<f64> = (1..=n).map(f64::from).collect();
            let found = interval(&sorted).unwrap();
            assert!((found.level - level).abs() < 1e-12, "{n}: {found:?}");
            assert_eq!((found.low, found.high), (f64::from(rank), f64::from(n + 1 - rank)));
        }
        let many: Vec<f64> = (1..=2000).map(f64::from).collect();
        let found = interval(&many).unwrap();
        assert!(found.level >= LEVEL_WANTED && found.level < 0.96 && found.low > 900.0, "{found:?}");
    }

    #[test]
    fn too_few_rounds_have_no_interval() {
        let few = summary(&[0.5, 0.5, 0.5, 0.5]);
        assert_eq!(few.interval, None);
        assert!(!few.differs());
        assert!(few.to_string().contains("too few"), "{few}");
        assert_eq!(Paired::default().summary(), None);
    }

    #[test]
    fn a_difference_is_told_only_outside_of_the_interval() {
        let less = summary(&[0.94, 0.95, 0.93, 0.96, 0.92, 0.97]);
        assert_eq!(less.to_string(), "B/A 0.945 (0.920 to 0.970 at 96.9 %, 6 rounds): 5.5 % less");
        let unclear = summary(&[0.94, 0.95, 0.93, 0.96, 0.92, 1.01]);
        assert!(!unclear.differs() && unclear.to_string().ends_with("no difference shown"), "{unclear}");
        assert!(summary(&[1.2; 7]).to_string().ends_with("20.0 % more"));
    }

    #[test]
    fn one_bad_round_of_many_moves_nothing() {
        let mut ratios = vec![0.90; 9];
        let good = summary(&ratios);
        ratios[4] = 40.0;
        let spoilt = summary(&ratios);
        assert_eq!((good.median, good.interval), (spoilt.median, spoilt.interval));
    }

    #[test]
    fn rounds_without_a_ratio_are_left_out() {
        assert_eq!(Paired::of(&[2.0, 0.0, 4.0, 1.0], &[1.0, 1.0, 2.0, 0.0]).ratios, [0.5, 0.5]);
    }

    #[test]
    fn intervals_cover_the_median_as_often_as_they_say() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let trials = 4000;
        let covered = (0..trials).filter(|_| {
            let ratios = (0..9).map(|_| 0.5 + uniform() * uniform()).collect();
            let interval = Paired { ratios }.summary().unwrap().interval.unwrap();
            // The median of a product of two uniforms solves m (1 - ln m) = 1/2.
            (interval.low..=interval.high).contains(&(0.5 + 0.186_682_30))
        });
        let share = covered.count() as f64 / f64::from(trials);
        assert!((share - 0.9609).abs() < 0.015, "{share}");
    }
}
