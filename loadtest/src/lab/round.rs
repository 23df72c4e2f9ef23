//! A round: each contender's run in turn, every run in a process of its own, so that it finds nothing that the one before has left: memory,
//! connections, open files.
//!
//! What it deliberately does not do: judge a result; what the harness refuses is told by [`tell_refused`], and its figures are there all the same.

use crate::result::RunResult;
use crate::scenario::{Arrivals, Group, Scenario};
use anyhow::{Context, Result};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where runs happen.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    /// CPUs of the viewers, a thread each; empty: one thread, wherever the kernel puts it.
    pub cores: &'a [usize],
    /// Holds the scenario and the result while a run goes on; one at a time.
    pub folder: &'a Path,
}

/// A run under way; it ends when dropped.
pub struct Running {
    child: Child,
    target: String,
    out: PathBuf,
}

impl Runner<'_> {
    /// Runs a scenario by `loadtest run` and reads its result, whatever its verdict.
    ///
    /// # Errors
    /// As [`Runner::start`] and [`Running::finish`].
    pub fn run(&self, scenario: &Scenario, server_pid: Option<u32>) -> Result<RunResult> {
        self.start(scenario, server_pid)?.finish()
    }

    /// Starts the viewers of a scenario; the server is sampled by its pid.
    ///
    /// # Errors
    /// The scenario cannot be written, or the process not be started.
    pub fn start(&self, scenario: &Scenario, server_pid: Option<u32>) -> Result<Running> {
        let (asked, out) = (self.folder.join("round.toml"), self.folder.join("round.json"));
        std::fs::write(&asked, toml::to_string(scenario)?)
            .with_context(|| format!("cannot write {}", asked.display()))?;
        // Of a run that was given up.
        let _ = std::fs::remove_file(&out);
        let mut command = self.command()?;
        command.arg("run").arg(&asked).args(["--quiet", "--json"]).arg(&out);
        for core in self.cores {
            command.args(["--core", &core.to_string()]);
        }
        if let Some(pid) = server_pid {
            command.args(["--server-pid", &pid.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().context("cannot start taskset (package util-linux)")?;
        Ok(Running { child, target: scenario.target.clone(), out })
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

impl Running {
    /// `taskset` gives way to the program, so it is the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still going on.
    pub fn goes_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It wrote no result; the error holds what it said instead.
    pub fn finish(mut self) -> Result<RunResult> {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_end(&mut said)?;
        }
        let status = self.child.wait()?;
        let text = std::fs::read_to_string(&self.out).with_context(|| {
            format!("no result of {}, {status}: {}", self.target, String::from_utf8_lossy(&said).trim())
        })?;
        std::fs::remove_file(&self.out)?;
        serde_json::from_str(&text).with_context(|| format!("the result of {} cannot be read", self.target))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures N contenders, given by index, once each. Every round, numbered from 0, begins with another one. The results are in the contenders' order.
///
/// # Errors
/// The first of `measure`, which ends the round.
pub fn in_turns<T, const N: usize>(round: usize, mut measure: impl FnMut(usize) -> Result<T>) -> Result<[T; N]> {
    let mut results = [const { None }; N];
    for step in 0..N {
        let index = (round + step) % N;
        results[index] = Some(measure(index)?);
    }
    Ok(results.map(|result| result.expect("each has had its turn")))
}

/// Viewers that arrive evenly within the first `warmup_s` seconds, but for the last of them, and are measured for `seconds` more.
pub fn settled(target: &str, warmup_s: u64, seconds: u64, mut groups: Vec<Group>) -> Scenario {
    for group in &mut groups {
        group.arrivals = Arrivals::Ramp { over_s: warmup_s.saturating_sub(1) as f64 };
    }
    Scenario { target: target.into(), warmup_s, ..Scenario::new("fanout", warmup_s + seconds, groups) }
}

/// Prints why the harness refuses a result, where it does.
pub fn tell_refused(result: &RunResult) {
    for why in &result.harness.refused {
        println!("    the harness refuses a round: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Kind, Reading};

    #[test]
    fn a_scenario_goes_through_its_file_unchanged() {
        let never = Group { reading: Reading::Stops { after_s: 0.0 }, ..Group::new("never", Kind::Ts, 100, "/a.ts") };
        let all = Group { checked: 0.1, kbps: 3_000, ..Group::new("reading", Kind::Ts, 300, "/{n}.ts") };
        let scenario = settled("http://127.0.0.1:1", 3, 8, vec![all, never]);
        let text = toml::to_string(&scenario).expect("it can be written");
        assert_eq!(toml::from_str::<Scenario>(&text).expect("it can be read"), scenario);
        assert_eq!((scenario.duration_s, scenario.group[1].arrivals), (11, Arrivals::Ramp { over_s: 2.0 }));
    }

    #[test]
    fn each_has_its_turn_and_rounds_begin_with_another() {
        let mut order = Vec::new();
        for round in 0..4 {
            let of = in_turns(round, |index| {
                order.push(index);
                Ok(index * 10)
            });
            assert_eq!(of.expect("nothing fails"), [0, 10, 20]);
        }
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]);
        assert!(in_turns::<(), 2>(1, |index| Err(anyhow::anyhow!("{index}"))).is_err_and(|why| why.to_string() == "1"));
    }
}
