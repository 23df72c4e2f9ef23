//! `loadtest run`: its options, a scenario made from them, and its exit code.
//!
//! What it deliberately does not do: judge; the exit code is the verdict's.

use crate::engine::{Options, run};
use crate::report::text;
use crate::scenario::{Group, Kind, Scenario};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a run that the harness refuses.
pub const REFUSED: u8 = 2;

/// What viewers do: a scenario, or one kind of viewer.
#[derive(Args, Clone, Debug)]
pub struct ScenarioArgs {
    /// The scenario, TOML; without it, --kind makes one of one group.
    scenario: Option<PathBuf>,
    /// What viewers are, without a scenario.
    #[arg(long, value_enum, conflicts_with = "scenario")]
    kind: Option<Kind>,
    /// Path below the target, with {n} for a channel's number.
    #[arg(long, requires = "kind")]
    path: Option<String>,
    /// Viewers; of a scenario with several groups, in all, in its proportions.
    #[arg(long)]
    viewers: Option<u32>,
    /// Seconds.
    #[arg(long)]
    duration: Option<u64>,
}

/// `loadtest run`: the command line of a run.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Base of what viewers ask for, http://HOST:PORT.
    #[arg(long)]
    target: Option<String>,
    /// A thread is pinned to this core; may be repeated.
    #[arg(long = "core")]
    cores: Vec<usize>,
    /// The server's process, whose CPU time and memory are sampled.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Count the server's system calls with perf, by name; each takes a little longer meanwhile.
    #[arg(long, requires = "server_pid")]
    syscalls: bool,
    /// Do not show on standard error how it goes.
    #[arg(long)]
    quiet: bool,
    /// Where to write the result as JSON, - for standard output in place of the table.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs, prints and writes what was asked for. Exit code 1: the verdict is not passed; 2: the harness refuses its own result.
///
/// # Errors
/// A scenario that cannot be read or run, or a result that cannot be written.
pub fn run_command(args: &RunArgs) -> Result<ExitCode> {
    let mut scenario = args.scenario.read()?;
    if let Some(target) = &args.target {
        scenario.target = target.clone();
    }
    ensure!(!scenario.target.is_empty(), "the scenario has no target; give --target");
    ensure!(scenario.group.iter().all(|group| !group.path.is_empty()), "--kind needs a --path");
    let to_stdout = is_stdout(args.json.as_deref());
    let options = Options {
        cores: args.cores.clone(),
        server_pid: args.server_pid,
        progress: !args.quiet,
        syscalls: args.syscalls,
    };
    let result = run(&scenario, &options)?;
    if let Some(path) = &args.json {
        write_json(path, &result)?;
    }
    if !to_stdout {
        print!("{}", text::report(&result));
    }
    Ok(match (result.harness.refused.is_empty(), result.verdict.passed) {
        (false, _) => ExitCode::from(REFUSED),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

/// Writes a document to a file, or to standard output for `-`.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(document)?;
    if is_stdout(Some(path)) {
        println!("{json}");
        return Ok(());
    }
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether --json takes standard output, so that nothing else may be printed there.
pub fn is_stdout(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path.as_os_str() == "-")
}

impl ScenarioArgs {
    /// Whether options make it, and no file.
    pub fn is_quick(&self) -> bool {
        self.scenario.is_none()
    }

    /// The scenario, with what options override. Its target may be empty, and the path of --kind without --path.
    ///
    /// # Errors
    /// A file that cannot be read or is no scenario, or neither file nor --kind.
    pub fn read(&self) -> Result<Scenario> {
        let mut scenario = match (&self.scenario, self.kind) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                toml::from_str(&text).with_context(|| format!("{} is no scenario", file.display()))?
            }
            (None, Some(kind)) => quick(kind, self.path.as_deref().unwrap_or_default()),
            (None, None) => bail!("either a scenario or --kind and --path"),
        };
        if let Some(duration_s) = self.duration {
            scenario.duration_s = duration_s;
            // A shortened run keeps something to measure.
            scenario.warmup_s = scenario.warmup_s.min(duration_s / 2);
        }
        if let Some(viewers) = self.viewers {
            share_out(&mut scenario.group, viewers);
        }
        Ok(scenario)
    }
}

/// Viewers of one kind for ten seconds, all at once: one until another number is asked for, and the file's defaults for the rest.
pub fn quick(kind: Kind, path: &str) -> Scenario {
    let name = kind.name();
    Scenario::new(format!("{name} {path}").trim_end(), 10, vec![Group::new(&name, kind, 1, path)])
}

/// Gives each group its share of `viewers`, at least one.
pub fn share_out(groups: &mut [Group], viewers: u32) {
    let all: u64 = groups.iter().map(|group| u64::from(group.viewers)).sum();
    for group in groups {
        let share = u64::from(group.viewers) * u64::from(viewers) / all.max(1);
        group.viewers = share.max(1) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_has_one_group_and_the_files_defaults() {
        let mut scenario = quick(Kind::Ts, "/tv/{n}.ts");
        assert_eq!((scenario.group[0].kind, scenario.group[0].checked), (Kind::Ts, 0.01));
        share_out(&mut scenario.group, 500);
        assert_eq!(scenario.group[0].viewers, 500);
    }
}
