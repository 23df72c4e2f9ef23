//! What can go wrong on the way: the faults as asked for, and what they come to for one connection.
//!
//! [`Faults`] is read from the command line (clap) or from a table of a TOML scenario (serde; same names with underscores). [`Faults::plan`]
//! draws everything that is left to chance for one connection out of the seed and the connection's number, so that a run repeats however
//! the operating system interleaves connections. 1 kB is 1,000 bytes, 1 kbit is 1,000 bits.
//!
//! What it deliberately does not do: packet loss and reordering. Below TCP both show as delay, which is what latency, jitter and stalls are.

use crate::random::Random;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Range of the reset positions drawn when `reset_after_kb` does not give one, as powers of two: 1 byte to 16 MiB. Drawn evenly over the
/// exponent, so that request heads, response heads and the middle of media are all hit.
const RESET_POSITION_EXPONENT_MAX: f64 = 24.0;
/// How far the time between two stalls strays to either side, as a share of it.
const STALL_SPREAD: f64 = 0.2;
/// Longest time that can be asked for, milliseconds: an hour.
const MS_MAX: u64 = 3_600_000;
/// Most kB that can be asked for: 1 TB.
const KB_MAX: u64 = 1_000_000_000;

/// The faults of a proxy; the default has none. Latency, rate, stalls, slices and byte positions hold for each connection and each affected
/// direction by itself.
#[derive(Clone, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Delay of every byte, milliseconds, at most an hour.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Further delay, milliseconds, drawn evenly from 0 to this for what came in together; the order of bytes is kept.
    #[arg(long, default_value_t = 0)]
    pub jitter_ms: u64,
    /// Rate limit, kbit/s, at least 1.
    #[arg(long)]
    pub rate_kbps: Option<u64>,
    /// Bytes that may wait for the rate, kB, at least 1; when they are full, nothing more is read from the source. Socket buffers are
    /// set to this too, or they would hold megabytes more out of sight.
    #[arg(long, default_value_t = 256)]
    pub queue_kb: u64,
    /// Time from the start of one stall to the start of the next, seconds, give or take 20 %, counted from the connection's start.
    #[arg(long, requires = "stall_ms")]
    pub stall_every_s: Option<f64>,
    /// Length of a stall, milliseconds; nothing passes and nothing is read meanwhile.
    #[arg(long, requires = "stall_every_s")]
    pub stall_ms: Option<u64>,
    /// RST to both sides once a direction has forwarded this many kB.
    #[arg(long)]
    pub reset_after_kb: Option<u64>,
    /// Share of connections that are reset, 0 to 1: after `reset_after_kb`, else at a position drawn between 1 byte and 16 MiB.
    #[arg(long)]
    pub reset_probability: Option<f64>,
    /// Once a direction has forwarded this many kB, nothing is forwarded or closed any more either way.
    #[arg(long)]
    pub half_open_after_kb: Option<u64>,
    /// Most bytes of one write, at least 1.
    #[arg(long)]
    pub slice_bytes: Option<usize>,
    /// Share of connections that are closed as soon as they are accepted, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub refuse_probability: f64,
    /// Which way the faults lie; a reset or half-open connection counts bytes of this direction but ends both.
    #[arg(long, value_enum, default_value_t)]
    pub direction: Direction,
    /// What all chance is drawn from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Directions that faults affect; seen from who connects to the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards who connected to the proxy.
    Down,
    /// Towards where the proxy connects to.
    Up,
    /// Both.
    #[default]
    Both,
}

/// What the faults come to for one connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Closed as soon as it is accepted.
    pub refuse: bool,
    /// What is in the way of bytes towards who connected to the proxy.
    pub down: Hazards,
    /// What is in the way of bytes towards where the proxy connects to.
    pub up: Hazards,
}

/// What is in the way of one direction of one connection. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hazards {
    /// Delay of every byte.
    pub latency: Duration,
    /// Most further delay.
    pub jitter: Duration,
    /// Rate limit, kbit/s.
    pub rate_kbps: Option<u64>,
    /// Bytes that may wait for the rate.
    pub queue_bytes: usize,
    /// When nothing passes.
    pub stalls: Option<Stalls>,
    /// Where the connection is cut.
    pub cut: Option<Cut>,
    /// Most bytes of one write.
    pub slice_bytes: Option<usize>,
    /// What jitter is drawn from.
    pub chance: Random,
}

/// The end of a connection that is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that one direction forwards before it.
    pub position: u64,
    /// What happens then.
    pub kind: CutKind,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// RST to both sides.
    Reset,
    /// Nothing is forwarded or closed any more.
    HalfOpen,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            latency_ms: 0,
            jitter_ms: 0,
            rate_kbps: None,
            queue_kb: 256,
            stall_every_s: None,
            stall_ms: None,
            reset_after_kb: None,
            reset_probability: None,
            half_open_after_kb: None,
            slice_bytes: None,
            refuse_probability: 0.0,
            direction: Direction::Both,
            seed: 0,
        }
    }
}

impl Faults {
    /// Whether every figure is in its range.
    ///
    /// # Errors
    /// Names the first one that is not.
    pub fn validate(&self) -> Result<()> {
        let times = [("latency_ms", self.latency_ms), ("jitter_ms", self.jitter_ms)];
        for (name, ms) in times.into_iter().chain(self.stall_ms.map(|ms| ("stall_ms", ms))) {
            ensure!(ms <= MS_MAX, "{name} is {ms}; at most {MS_MAX}");
        }
        ensure!((1..=KB_MAX).contains(&self.queue_kb), "queue_kb is {}; 1 to {KB_MAX}", self.queue_kb);
        for kb in self.reset_after_kb.into_iter().chain(self.half_open_after_kb) {
            ensure!(kb <= KB_MAX, "a byte position is {kb} kB; at most {KB_MAX}");
        }
        ensure!(self.rate_kbps != Some(0), "rate_kbps is 0; at least 1");
        ensure!(self.rate_kbps.is_none_or(|kbps| kbps <= KB_MAX), "rate_kbps is more than {KB_MAX}");
        ensure!(self.slice_bytes != Some(0), "slice_bytes is 0; at least 1");
        ensure!(self.stall_every_s.is_some() == self.stall_ms.is_some(), "stall_every_s and stall_ms go together");
        if let Some(every_s) = self.stall_every_s {
            ensure!((0.001..=3_600.0).contains(&every_s), "stall_every_s is {every_s}; 0.001 to 3600");
        }
        for share in self.reset_probability.into_iter().chain([self.refuse_probability]) {
            ensure!((0.0..=1.0).contains(&share), "a probability is {share}; 0 to 1");
        }
        Ok(())
    }

    /// What the faults come to for connection `number`, which began `start` after the proxy did. The same seed and number give the same.
    pub fn plan(&self, number: u64, start: Duration) -> Plan {
        let mut chance = of_connection(self.seed, number);
        // Everything is drawn whether it is used or not, or one fault more would move all others.
        let refuse = chance.uniform() < self.refuse_probability;
        let cut = self.cut(chance.uniform(), chance.uniform());
        let stalls = Random::new(chance.next_u64());
        let [jitter_down, jitter_up] = [(); 2].map(|()| Random::new(chance.next_u64()));
        let hazards = |jitter| Hazards {
            latency: Duration::from_millis(self.latency_ms),
            jitter: Duration::from_millis(self.jitter_ms),
            rate_kbps: self.rate_kbps,
            queue_bytes: self.queue_bytes(),
            stalls: self.stall_every_s.zip(self.stall_ms).map(|(every_s, ms)| Stalls::new(start, every_s, ms, stalls)),
            cut,
            slice_bytes: self.slice_bytes,
            chance: jitter,
        };
        let none = || Hazards { queue_bytes: self.queue_bytes(), ..Hazards::default() };
        let [is_down, is_up] =
            [Direction::Down, Direction::Up].map(|way| [way, Direction::Both].contains(&self.direction));
        Plan {
            refuse,
            down: if is_down { hazards(jitter_down) } else { none() },
            up: if is_up { hazards(jitter_up) } else { none() },
        }
    }

    /// Bytes that may wait for the rate.
    pub fn queue_bytes(&self) -> usize {
        usize::try_from(self.queue_kb.saturating_mul(1_000)).unwrap_or(usize::MAX)
    }

    /// The first of the cuts; `whether` and `place` are drawn from 0 to 1.
    fn cut(&self, whether: f64, place: f64) -> Option<Cut> {
        let drawn = |&share: &f64| whether < share;
        let is_reset = self.reset_probability.as_ref().map_or(self.reset_after_kb.is_some(), drawn);
        let reset = is_reset.then(|| Cut {
            position: self.reset_after_kb.map_or((RESET_POSITION_EXPONENT_MAX * place).exp2() as u64, |kb| kb * 1_000),
            kind: CutKind::Reset,
        });
        let half_open = self.half_open_after_kb.map(|kb| Cut { position: kb * 1_000, kind: CutKind::HalfOpen });
        reset.into_iter().chain(half_open).min_by_key(|cut| cut.position)
    }
}

/// When nothing passes: stalls one after the other, without end.
#[derive(Clone, Debug, PartialEq)]
pub struct Stalls {
    every: Duration,
    length: Duration,
    chance: Random,
    /// Start of the stall that is on or comes next.
    start: Duration,
}

impl Stalls {
    fn new(connection_start: Duration, every_s: f64, length_ms: u64, chance: Random) -> Self {
        let (every, length) = (Duration::from_secs_f64(every_s), Duration::from_millis(length_ms));
        let mut stalls = Stalls { every, length, chance, start: connection_start };
        stalls.start = connection_start + stalls.interval();
        stalls
    }

    /// The end of the stall that is on at `now`, if one is. `now` never goes back.
    pub fn end(&mut self, now: Duration) -> Option<Duration> {
        while self.start + self.length <= now {
            // Stalls longer than the time between them follow each other at once.
            self.start = (self.start + self.interval()).max(self.start + self.length);
        }
        (self.start <= now).then(|| self.start + self.length)
    }

    fn interval(&mut self) -> Duration {
        self.every.mul_f64(1.0 - STALL_SPREAD + 2.0 * STALL_SPREAD * self.chance.uniform())
    }
}

/// Numbers for connection `number` under `seed`.
fn of_connection(seed: u64, number: u64) -> Random {
    Random::new(Random::new(seed).next_u64() ^ Random::new(number).next_u64().rotate_left(32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        faults: Faults,
    }

    #[test]
    fn command_line_and_toml_say_the_same() {
        assert_eq!(Cli::parse_from(["x"]).faults, Faults::default());
        assert_eq!(toml::from_str::<Faults>("").unwrap(), Faults::default());
        let arguments =
            ["x", "--latency-ms", "40", "--stall-every-s", "2.5", "--stall-ms", "300", "--direction", "down"];
        let table = "latency_ms = 40\nstall_every_s = 2.5\nstall_ms = 300\ndirection = \"down\"";
        assert_eq!(Cli::parse_from(arguments).faults, toml::from_str(table).unwrap());
        assert!(toml::from_str::<Faults>("latncy_ms = 40").is_err());
    }

    #[test]
    fn figures_out_of_range_are_named() {
        let error = |faults: Faults| faults.validate().unwrap_err().to_string();
        assert!(error(Faults { reset_probability: Some(1.5), ..Faults::default() }).contains("probability"));
        assert!(error(Faults { slice_bytes: Some(0), ..Faults::default() }).contains("slice_bytes"));
        assert!(error(Faults { stall_ms: Some(5), ..Faults::default() }).contains("together"));
        assert!(
            error(Faults { stall_every_s: Some(f64::NAN), stall_ms: Some(5), ..Faults::default() }).contains("NaN")
        );
        Faults::default().validate().unwrap();
    }

    #[test]
    fn same_seed_same_plan_and_another_seed_another() {
        let faults = |seed| Faults { reset_probability: Some(0.5), refuse_probability: 0.3, seed, ..Faults::default() };
        let plans = |seed| (0..100).map(|number| faults(seed).plan(number, Duration::ZERO)).collect::<Vec<_>>();
        assert_eq!(plans(7), plans(7));
        assert_ne!(plans(7), plans(8));
        let refused = plans(7).iter().filter(|plan| plan.refuse).count();
        let reset = plans(7).iter().filter(|plan| plan.down.cut.is_some()).count();
        assert!((15..45).contains(&refused) && (30..70).contains(&reset), "{refused} refused, {reset} reset");
    }

    #[test]
    fn one_fault_more_moves_no_other() {
        let faults = Faults { reset_probability: Some(0.5), seed: 3, ..Faults::default() };
        let more = Faults { refuse_probability: 0.5, jitter_ms: 9, ..faults.clone() };
        assert!((0..50).all(|n| faults.plan(n, Duration::ZERO).down.cut == more.plan(n, Duration::ZERO).down.cut));
    }

    #[test]
    fn faults_lie_in_their_direction_only() {
        let faults = Faults { latency_ms: 5, direction: Direction::Down, ..Faults::default() };
        let plan = faults.plan(0, Duration::ZERO);
        assert_eq!((plan.down.latency, plan.up.latency), (Duration::from_millis(5), Duration::ZERO));
    }

    #[test]
    fn the_earlier_cut_wins() {
        let faults = Faults { reset_after_kb: Some(9), half_open_after_kb: Some(8), ..Faults::default() };
        let cut = faults.plan(0, Duration::ZERO).up.cut;
        assert_eq!(cut, Some(Cut { position: 8_000, kind: CutKind::HalfOpen }));
    }

    #[test]
    fn stalls_come_every_so_often_and_last_as_long() {
        let ms = Duration::from_millis;
        let mut stalls = Stalls::new(ms(500), 1.0, 100, Random::new(1));
        let is_stalled: Vec<bool> = (0..20_000).map(|at| stalls.end(ms(at)).is_some()).collect();
        let starts: Vec<usize> = (1..is_stalled.len()).filter(|&i| is_stalled[i] && !is_stalled[i - 1]).collect();
        assert!((1_300..=1_700).contains(&starts[0]));
        assert!(starts.windows(2).all(|pair| (799..=1_201).contains(&(pair[1] - pair[0]))), "{starts:?}");
        let stalled = is_stalled.iter().filter(|&&is| is).count();
        assert!(stalled.abs_diff(starts.len() * 100) <= 100 + starts.len(), "{stalled} ms in {} stalls", starts.len());
    }
}
