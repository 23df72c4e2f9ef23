//! The relay's fan-out path beside bare loops and nginx: `loadtest fanout`.
//!
//! ```text
//!   viewers' core                                server's core
//!  ┌───────────────────────────┐        ┌─────────────────────────────┐
//!  │ origin: loops a TS file ──┼──────► │ the relay                   │
//!  │ `loadtest run`  ◄─────────┼─────── │ or a bare epoll loop        │ the same bytes, taken from the relay beforehand
//!  │ (a process a round)       │        │ or nginx, from tmpfs        │
//!  └───────────────────────────┘        └─────────────────────────────┘
//! ```
//! Contenders take turns, round by round, so that what disturbs the machine disturbs all; figures are medians of rounds, ratios are of contenders of one
//! round. Every server runs for the whole time and idles while the others are measured.
//!
//! [`experiment`]: what is compared, and by which figure. [`contender`]: the servers. [`process`]: their processes. [`media`]: what they serve.
//! [`round`]: one run, and contenders in turns. [`figures`]: what they are compared by. [`kept`]: idle connections. [`metrics`]: what the relay says of itself.
//!
//! Of the relay alone: [`latency`], from origin to viewer; [`memory`] and [`channels`], what a viewer and a channel cost; [`mirror`], a channel on two shards; [`idle`], connections
//! that ask for nothing; [`stalled`], viewers that never read. [`harness`] holds the load generator itself to its promise.
//!
//! [`peer`] and [`side`]: servers by name or URL, for [`crate::ab`] and [`crate::capacity`], with their [`packages`].
//!
//! What it deliberately does not do: judge. It prints figures, ratios and what they are asked to be.

pub mod channels;
pub mod contender;
pub mod experiment;
pub mod figures;
pub mod harness;
pub mod idle;
pub mod kept;
pub mod latency;
pub mod media;
pub mod memory;
pub mod metrics;
pub mod mirror;
pub mod packages;
pub mod peer;
pub mod process;
pub mod round;
pub mod scratch;
pub mod side;
pub mod stalled;

use crate::result::RunResult;
use crate::scenario::Scenario;
use anyhow::{Result, ensure};
use clap::Args;
use experiment::Experiment;
use round::{Runner, tell_refused};
use std::path::{Path, PathBuf};

/// `loadtest fanout`.
#[derive(Args, Debug)]
pub struct FanoutArgs {
    /// What to compare; all when none is named.
    #[arg(value_enum)]
    pub experiments: Vec<Experiment>,
    /// The relay's binary.
    #[arg(long, default_value = "target/release/millrace")]
    pub relay: PathBuf,
    /// Interleaved rounds of each comparison.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Length of a round, seconds.
    #[arg(long, default_value_t = 8)]
    pub seconds: u64,
    /// Numbers of viewers, instead of the experiment's own.
    #[arg(long, value_delimiter = ',')]
    pub viewers: Vec<u32>,
    /// CPU that servers run on.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// CPU that origin and viewers run on.
    #[arg(long, default_value_t = 1)]
    pub viewer_core: usize,
}

impl FanoutArgs {
    /// Runs are on the viewers' core.
    fn runner<'a>(&'a self, folder: &'a Path) -> Runner<'a> {
        Runner { cores: std::slice::from_ref(&self.viewer_core), folder }
    }

    /// Runs a scenario to its end, and tells where the harness refuses it.
    fn measure(&self, folder: &Path, scenario: &Scenario, server_pid: u32) -> Result<RunResult> {
        let result = self.runner(folder).run(scenario, Some(server_pid))?;
        tell_refused(&result);
        Ok(result)
    }

    /// Runs the comparisons one after the other and prints a table of each.
    ///
    /// # Errors
    /// A program that is missing or does not start, and a load test that refuses its own result in every round.
    pub fn run(&self) -> Result<()> {
        ensure!(self.relay.exists(), "{} is missing: build it with cargo build --release", self.relay.display());
        ensure!(self.rounds > 0 && self.seconds > 0, "there must be a round, and a second in it");
        let all = <Experiment as clap::ValueEnum>::value_variants();
        let named = if self.experiments.is_empty() { all } else { &self.experiments };
        for experiment in named {
            experiment.run(self)?;
        }
        Ok(())
    }
}
