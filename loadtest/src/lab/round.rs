//! One run of a comparison, in a process of its own, so that a run finds nothing that the one before has left: memory, connections, open files.

use crate::result::RunResult;
use crate::scenario::Scenario;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Where runs happen.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    /// CPUs of the viewers, a thread each; empty: one thread, wherever the kernel puts it.
    pub cores: &'a [usize],
    /// Holds the scenario and the result while a run goes on.
    pub folder: &'a Path,
}

impl Runner<'_> {
    /// Runs a scenario by `loadtest run` and reads its result, whatever its verdict.
    ///
    /// # Errors
    /// The run writes no result; the error holds what it said instead.
    pub fn run(&self, scenario: &Scenario, server_pid: Option<u32>) -> Result<RunResult> {
        let (asked, out) = (self.folder.join("round.toml"), self.folder.join("round.json"));
        std::fs::write(&asked, toml::to_string(scenario)?)
            .with_context(|| format!("cannot write {}", asked.display()))?;
        let mut command = self.command()?;
        command.arg("run").arg(&asked).arg("--json").arg(&out);
        for core in self.cores {
            command.args(["--core", &core.to_string()]);
        }
        if let Some(pid) = server_pid {
            command.args(["--server-pid", &pid.to_string()]);
        }
        let output = command.output().context("cannot start taskset (package util-linux)")?;
        let text = std::fs::read_to_string(&out).with_context(|| {
            format!("no result of {}: {}", scenario.target, String::from_utf8_lossy(&output.stderr).trim())
        })?;
        std::fs::remove_file(&out)?;
        serde_json::from_str(&text).with_context(|| format!("the result of {} cannot be read", scenario.target))
    }

    /// This program, on the viewers' CPUs.
    fn command(&self) -> Result<Command> {
        let program = std::env::current_exe().context("this program's file is not known")?;
        if self.cores.is_empty() {
            return Ok(Command::new(program));
        }
        let list: Vec<String> = self.cores.iter().map(usize::to_string).collect();
        let mut command = Command::new("taskset");
        command.args(["-c", &list.join(",")]).arg(program);
        Ok(command)
    }
}
