//! `loadtest run`: its options, a scenario made from them, and its exit code.
//!
//! What it deliberately does not do: judge; the exit code is the verdict's.

use crate::engine::{Options, run};
use crate::report::text;
use crate::scenario::{Group, Kind, Scenario};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of a run that the harness refuses.
const REFUSED: u8 = 2;

/// `loadtest run`: the command line of a run.
#[derive(Args)]
pub struct RunArgs {
    /// The scenario, TOML; without it, --kind and --path make one of one group.
    scenario: Option<PathBuf>,
    /// What viewers are, without a scenario.
    #[arg(long, value_enum, conflicts_with = "scenario", requires = "path")]
    kind: Option<Kind>,
    /// Path below the target, with {n} for a channel's number.
    #[arg(long, requires = "kind")]
    path: Option<String>,
    /// Base of what viewers ask for, http://HOST:PORT.
    #[arg(long)]
    target: Option<String>,
    /// A thread is pinned to this core; may be repeated.
    #[arg(long = "core")]
    cores: Vec<usize>,
    /// Viewers; of a scenario with several groups, in all, in its proportions.
    #[arg(long)]
    viewers: Option<u32>,
    /// Seconds.
    #[arg(long)]
    duration: Option<u64>,
    /// The server's process, whose CPU time and memory are sampled.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Count the server's system calls with perf, by name; each takes a little longer meanwhile.
    #[arg(long, requires = "server_pid")]
    syscalls: bool,
    /// Where to write the result as JSON, - for standard output in place of the table.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs, prints and writes what was asked for. Exit code 1: the verdict is not passed; 2: the harness refuses its own result.
///
/// # Errors
/// A scenario that cannot be read or run, or a result that cannot be written.
pub fn run_command(args: &RunArgs) -> Result<ExitCode> {
    let scenario = scenario(args)?;
    let to_stdout = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let options =
        Options { cores: args.cores.clone(), server_pid: args.server_pid, progress: true, syscalls: args.syscalls };
    let result = run(&scenario, &options)?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&result)?;
        if to_stdout {
            println!("{json}");
        } else {
            std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
        }
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

/// The scenario of a file or of the quick options, with what the other options override.
fn scenario(args: &RunArgs) -> Result<Scenario> {
    let mut scenario = match (&args.scenario, args.kind, &args.path) {
        (Some(file), ..) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is no scenario", file.display()))?
        }
        (None, Some(kind), Some(path)) => quick(kind, path)?,
        _ => bail!("either a scenario or --kind and --path"),
    };
    if let Some(target) = &args.target {
        scenario.target = target.clone();
    }
    ensure!(!scenario.target.is_empty(), "the scenario has no target; give --target");
    if let Some(duration_s) = args.duration {
        scenario.duration_s = duration_s;
        // A shortened run keeps something to measure.
        scenario.warmup_s = scenario.warmup_s.min(duration_s / 2);
    }
    if let Some(viewers) = args.viewers {
        share_out(&mut scenario.group, viewers);
    }
    Ok(scenario)
}

fn quick(kind: Kind, path: &str) -> Result<Scenario> {
    let name = serde_json::to_value(kind)?.as_str().unwrap_or_default().to_owned();
    let group = serde_json::json!({ "name": name, "kind": kind, "viewers": 1, "path": path });
    let scenario = serde_json::json!({ "name": format!("{name} {path}"), "duration_s": 10, "group": [group] });
    Ok(serde_json::from_value(scenario)?)
}

/// Gives each group its share of `viewers`, at least one.
fn share_out(groups: &mut [Group], viewers: u32) {
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
        let mut scenario = quick(Kind::Ts, "/tv/{n}.ts").expect("the quick scenario is one");
        assert_eq!((scenario.group[0].kind, scenario.group[0].checked), (Kind::Ts, 0.01));
        share_out(&mut scenario.group, 500);
        assert_eq!(scenario.group[0].viewers, 500);
    }
}
