//! When each viewer arrives, on which channel, from which address, and whether it is checked: a scenario and its seed, nothing else.
//!
//! Open loop: a viewer comes when it is due, whatever became of those before it. What it deliberately does not do: know threads or a clock.

use crate::player::Micros;
use crate::random::Random;
use crate::scenario::{Arrivals, Group, Scenario};

/// One viewer to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Since the run began.
    pub at: Micros,
    /// Index into [`Scenario::group`].
    pub group: usize,
    /// Number within its group, from 0.
    pub number: u32,
    /// 1 to [`Group::channels`].
    pub channel: u64,
    /// 1 to [`Scenario::source_addresses`]: last octet of its address.
    pub source: u8,
    /// Whether its content is checked in full.
    pub checked: bool,
    /// For its own random choices.
    pub seed: u64,
}

/// All viewers of a scenario in the order of their arrival; of those due at once, the groups take turns.
pub fn arrivals(scenario: &Scenario) -> Vec<Arrival> {
    let mut all = Vec::with_capacity(scenario.group.iter().map(|group| group.viewers as usize).sum());
    for (index, group) in scenario.group.iter().enumerate() {
        let mut random = Random::new(scenario.seed.wrapping_mul(0x1_0000_01b3).wrapping_add(index as u64));
        let channels = Channels::new(group.channels, group.zipf);
        let mut gaps_s = 0.0;
        for number in 0..group.viewers {
            gaps_s += random.exponential();
            all.push(Arrival {
                at: due(group, number, gaps_s),
                group: index,
                number,
                channel: channels.draw(&mut random),
                source: 0,
                checked: is_checked(number, group.checked),
                seed: random.next_u64(),
            });
        }
    }
    all.sort_by_key(|arrival| (arrival.at, arrival.number, arrival.group));
    let addresses = scenario.source_addresses.clamp(1, 250);
    for (arrival, turn) in all.iter_mut().zip(0..) {
        arrival.source = (turn % addresses) as u8 + 1;
    }
    all
}

/// `gaps`: sum of the gaps up to this viewer, whose mean is 1.
fn due(group: &Group, number: u32, gaps: f64) -> Micros {
    let at_s = match group.arrivals {
        Arrivals::Ramp { over_s } => over_s * f64::from(number) / f64::from(group.viewers),
        Arrivals::Poisson { per_s } => gaps / per_s,
        Arrivals::Flash { at_s } => at_s,
    };
    (at_s.max(0.0) * 1e6) as Micros
}

/// Spreads the share evenly over the numbers, the first one always in it where there is a share at all.
fn is_checked(number: u32, share: f64) -> bool {
    let upto = |count: u32| (f64::from(count) * share.min(1.0)).ceil();
    share > 0.0 && upto(number + 1) > upto(number)
}

/// How viewers choose a channel.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Probability of this channel or one before it.
    cumulative: Vec<f64>,
}

impl Channels {
    /// `1..=count`, the k-th in proportion to `k^-exponent`.
    pub fn new(count: u64, exponent: f64) -> Channels {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count.max(1))
            .map(|channel| {
                sum += (channel as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|value| *value /= sum);
        Channels { cumulative }
    }

    /// A channel's number, from 1.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let at = random.uniform();
        (self.cumulative.partition_point(|upto| *upto <= at).min(self.cumulative.len() - 1) + 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Kind;

    fn scenario(viewers: u32, arrivals: Arrivals) -> Scenario {
        let group = Group { channels: 10, zipf: 1.0, arrivals, ..Group::new("viewers", Kind::Ts, viewers, "/{n}") };
        Scenario { seed: 7, source_addresses: 3, ..Scenario::new("test", 10, vec![group]) }
    }

    #[test]
    fn a_ramp_is_even_and_sources_take_turns() {
        let all = arrivals(&scenario(10, Arrivals::Ramp { over_s: 5.0 }));
        assert!(all.windows(2).all(|pair| pair[1].at - pair[0].at == 500_000));
        assert_eq!(all.iter().map(|arrival| arrival.source).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_flash_is_at_once() {
        assert!(arrivals(&scenario(100, Arrivals::Flash { at_s: 2.5 })).iter().all(|arrival| arrival.at == 2_500_000));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential() {
        let all = arrivals(&scenario(20_000, Arrivals::Poisson { per_s: 100.0 }));
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1].at - pair[0].at) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((mean * 100.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((deviation * 100.0 - 1.0).abs() < 0.05, "{deviation}");
    }

    #[test]
    fn zipf_makes_the_first_channel_k_times_as_popular_as_the_kth() {
        let all = arrivals(&scenario(50_000, Arrivals::default()));
        let on = |channel| all.iter().filter(|arrival| arrival.channel == channel).count() as f64;
        for channel in 2..=10 {
            let ratio = on(1) / on(channel);
            assert!((ratio / channel as f64 - 1.0).abs() < 0.1, "channel {channel}: {ratio}");
        }
    }

    #[test]
    fn the_checked_share_is_kept_with_the_first_in_it() {
        let all = arrivals(&scenario(1_000, Arrivals::default()));
        assert_eq!(all.iter().filter(|arrival| arrival.checked).count(), 10);
        assert!(all[0].checked);
        assert!(is_checked(0, 0.0001) && !is_checked(1, 0.0001) && !is_checked(0, 0.0) && is_checked(7, 1.0));
    }

    #[test]
    fn the_seed_decides_all() {
        let one = scenario(100, Arrivals::Poisson { per_s: 10.0 });
        let other = Scenario { seed: 8, ..one.clone() };
        assert_eq!(arrivals(&one), arrivals(&one));
        assert_ne!(arrivals(&one), arrivals(&other));
    }
}
