//! The viewers of an experiment: a scenario, run by `loadtest run` in a process of its own on the viewers' core.
//!
//! What it deliberately does not do: judge the result; a run that the harness refuses is told of, and its figures are given all the same.

use super::FanoutArgs;
use crate::engine::raise_open_files;
use crate::result::RunResult;
use crate::scenario::{Arrivals, Group, Kind, Reading, Scenario, Slo};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Eager, unchecked viewers of one path.
pub fn group(name: &str, kind: Kind, viewers: u32, path: &str) -> Group {
    Group {
        name: name.into(),
        kind,
        viewers,
        path: path.into(),
        channels: 1,
        zipf: 0.0,
        arrivals: Arrivals::default(),
        zap_s: 0.0,
        checked: 0.0,
        kbps: 0,
        reading: Reading::Eager,
    }
}

/// Viewers that arrive evenly within the first `warmup_s` seconds, but for the last of them, and are measured for `seconds` more.
pub fn scenario(target: &str, warmup_s: u64, seconds: u64, mut groups: Vec<Group>) -> Scenario {
    for group in &mut groups {
        group.arrivals = Arrivals::Ramp { over_s: warmup_s.saturating_sub(1) as f64 };
    }
    Scenario {
        name: "fanout".into(),
        target: target.into(),
        duration_s: warmup_s + seconds,
        warmup_s,
        seed: 1,
        source_addresses: 1,
        slo: Slo::default(),
        group: groups,
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    out: PathBuf,
}

impl Running {
    /// Starts the viewers of `scenario` against the server with this pid. Ended when it is dropped.
    ///
    /// # Errors
    /// `taskset` or this program does not start.
    pub fn start(args: &FanoutArgs, folder: &Path, scenario: &Scenario, server_pid: u32) -> Result<Running> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let name = format!("run-{}", RUNS.fetch_add(1, Relaxed));
        let (file, out) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.json")));
        std::fs::write(&file, toml::to_string(scenario)?)?;
        raise_open_files();
        let mut command = Command::new("taskset");
        command.args(["-c", &args.viewer_core.to_string()]).arg(std::env::current_exe()?).arg("run").arg(&file);
        command.args(["--core", &args.viewer_core.to_string(), "--server-pid", &server_pid.to_string(), "--json"]);
        command.arg(&out).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Running { child: command.spawn().context("cannot start taskset (package util-linux)")?, out })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still going on.
    pub fn goes_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end. What the harness refuses is printed.
    ///
    /// # Errors
    /// It ended without a result.
    pub fn finish(mut self) -> Result<RunResult> {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        let status = self.child.wait()?;
        let Ok(text) = std::fs::read_to_string(&self.out) else { bail!("no result, {status}: {said}") };
        let result: RunResult = serde_json::from_str(&text)?;
        for why in &result.harness.refused {
            println!("    the harness refuses a round: {why}");
        }
        Ok(result)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `scenario` to its end.
///
/// # Errors
/// As [`Running::start`] and [`Running::finish`].
pub fn run(args: &FanoutArgs, folder: &Path, scenario: &Scenario, server_pid: u32) -> Result<RunResult> {
    Running::start(args, folder, scenario, server_pid)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_goes_through_its_file_unchanged() {
        let mut never = group("never", Kind::Ts, 100, "/a.ts");
        never.reading = Reading::Stops { after_s: 0.0 };
        let scenario = scenario("http://127.0.0.1:1", 3, 8, vec![group("reading", Kind::Ts, 300, "/a.ts"), never]);
        let text = toml::to_string(&scenario).expect("it can be written");
        assert_eq!(toml::from_str::<Scenario>(&text).expect("it can be read"), scenario);
        assert_eq!((scenario.duration_s, scenario.group[1].arrivals), (11, Arrivals::Ramp { over_s: 2.0 }));
    }
}
