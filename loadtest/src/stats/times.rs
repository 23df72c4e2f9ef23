//! A distribution of times.
//!
//! What it deliberately does not do: tell times above ten minutes apart.

use crate::player::Micros;
use crate::result::Quantiles;
use hdrhistogram::{Counter, Histogram};

/// Longest time that is told from longer ones, microseconds.
const TIME_US_MAX: u64 = 600_000_000;
/// Microseconds in a millisecond.
const MS: f64 = 1_000.0;

/// Times, microseconds, to three digits.
#[derive(Clone)]
pub struct Times<C: Counter = u64>(Histogram<C>);

impl<C: Counter> Times<C> {
    /// Nothing yet, to so many digits.
    pub(super) fn with_digits(digits: u8) -> Self {
        // The bounds and the digits are constants within the crate's documented range.
        Times(Histogram::new_with_bounds(1, TIME_US_MAX, digits).expect("constant bounds are valid"))
    }

    /// Counts a time; 0 counts as 1.
    pub fn record(&mut self, us: Micros) {
        self.0.saturating_record(us);
    }

    /// Milliseconds.
    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / MS;
        if self.0.is_empty() {
            return Quantiles::default();
        }
        Quantiles {
            count: self.0.len(),
            mean: self.0.mean() / MS,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / MS,
        }
    }

    /// Adds the other's.
    pub(super) fn merge(&mut self, other: &Times<C>) {
        // Histograms of the same bounds and digits always fit.
        self.0.add(&other.0).expect("histograms of equal bounds fit");
    }
}

impl Default for Times {
    fn default() -> Self {
        Times::with_digits(3)
    }
}
