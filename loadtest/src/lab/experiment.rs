//! What is compared, by which figure, and what the figure is asked to be.

use super::FanoutArgs;
use super::contender::{Contender, Relay, RelaySettings, nginx, record, reference};
use super::{latency, media};
use crate::result::RunResult;
use crate::rounds::{Paired, median};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// Segments of 1 MB over keep-alive: a bare epoll and sendfile loop, nginx, the relay.
    Segments,
    /// Continuous TS of 3 Mb/s: a bare epoll loop that sends the same bytes at the same moments, and the relay, at its default flush.
    Live,
    /// The same at 280 ms and 64 KiB.
    LiveThroughput,
    /// A playlist over keep-alive: nginx serving it as a file, and the relay.
    Playlists,
    /// From origin to viewer of continuous TS: the relay at its default flush, and at the lowest latency.
    Latency,
}

/// One contender's figures in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Of the server's process.
    cpu_s_per_gb: f64,
    /// Of the whole machine, viewers included.
    machine_s_per_gb: f64,
    requests_per_cpu_s: f64,
    gbit_per_s: f64,
    p99_ms: f64,
}

/// Which figure counts, and how it is read.
#[derive(Clone, Copy)]
enum Measure {
    PerGigabyte,
    PerRequest,
}

impl Experiment {
    /// Sets up the contenders, measures them round by round, prints the table.
    ///
    /// # Errors
    /// A contender that does not start; a round that cannot be measured.
    pub fn run(self, args: &FanoutArgs) -> Result<()> {
        let folder = scratch()?;
        let result = match self {
            Experiment::Segments => self.segments(args, &folder),
            Experiment::Live => self.live(args, &folder, ""),
            Experiment::LiveThroughput => self.live(args, &folder, "live_flush_ms = 280\nlive_flush_bytes = 65536"),
            Experiment::Playlists => self.playlists(args, &folder),
            Experiment::Latency => latency::run(args, &folder),
        };
        let _ = std::fs::remove_dir_all(&folder);
        result
    }

    fn segments(self, args: &FanoutArgs, folder: &Path) -> Result<()> {
        let file = media::ts_file(&cache()?, 4_000)?;
        let settings = RelaySettings { media: "window_ms = 600000", shards: vec![args.server_core], channels: 1 };
        let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
        let (path, _) = relay.warmed(4)?;
        let segment = media::get(relay.process.addr, &path)?;
        std::fs::write(folder.join("segment.ts"), &segment)?;
        let (file, core) = (folder.join("segment.ts").display().to_string(), args.server_core);
        let contenders = [
            Contender::new("epoll+sendfile", reference(&["segments", "--file", &file], core, folder)?, "/segment.ts"),
            Contender::new("nginx", nginx(folder, folder, core)?, "/segment.ts"),
            relay.into_contender(&path),
        ];
        println!("\nSegments of {:.2} MB over keep-alive", segment.len() as f64 / 1e6);
        for viewers in numbers(args, &[100, 500]) {
            compare(args, folder, &contenders, "object", viewers, Measure::PerGigabyte)?;
        }
        Ok(())
    }

    fn live(self, args: &FanoutArgs, folder: &Path, flush: &str) -> Result<()> {
        let file = media::ts_file(&cache()?, 3_000)?;
        let settings = RelaySettings { media: flush, shards: vec![args.server_core], channels: 1 };
        let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
        relay.warmed(3)?;
        let path = "/relay/channel/c1/stream.ts".to_owned();
        let recording = folder.join("live.recording");
        record(&relay, &path, 12, &recording, args.viewer_core)?;
        let recording = recording.display().to_string();
        let live = reference(&["live", "--recording", &recording], args.server_core, folder)?;
        let contenders = [Contender::new("epoll+send", live, "/"), relay.into_contender(&path)];
        println!("\nContinuous TS of 3 Mb/s, {}", if flush.is_empty() { "default flush" } else { "280 ms and 64 KiB" });
        for viewers in numbers(args, &[100, 300, 600]) {
            compare(args, folder, &contenders, "ts", viewers, Measure::PerGigabyte)?;
        }
        Ok(())
    }

    fn playlists(self, args: &FanoutArgs, folder: &Path) -> Result<()> {
        let file = media::ts_file(&cache()?, 3_000)?;
        let settings = RelaySettings { media: "", shards: vec![args.server_core], channels: 1 };
        let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
        let (_, path) = relay.warmed(9)?;
        std::fs::write(folder.join("media.m3u8"), media::get(relay.process.addr, &path)?)?;
        let contenders = [
            Contender::new("nginx", nginx(folder, folder, args.server_core)?, "/media.m3u8"),
            relay.into_contender(&path),
        ];
        println!("\nA media playlist over keep-alive");
        for viewers in numbers(args, &[100]) {
            compare(args, folder, &contenders, "playlist", viewers, Measure::PerRequest)?;
        }
        Ok(())
    }
}

fn numbers(args: &FanoutArgs, own: &[u32]) -> Vec<u32> {
    if args.viewers.is_empty() { own.to_vec() } else { args.viewers.clone() }
}

/// Measures all contenders in turn, round by round, and prints medians, and ratios to each contender but the last.
fn compare(
    args: &FanoutArgs,
    folder: &Path,
    contenders: &[Contender],
    kind: &str,
    viewers: u32,
    measure: Measure,
) -> Result<()> {
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..args.rounds as usize {
        let mut figures = vec![Figures::default(); contenders.len()];
        // Each round begins with another one.
        for step in 0..contenders.len() {
            let index = (round + step) % contenders.len();
            figures[index] = one_round(args, folder, &contenders[index], kind, viewers)?;
        }
        rounds.push(figures);
    }
    print_table(contenders, &rounds, viewers, measure);
    Ok(())
}

/// One contender, once, in a process of its own on the viewers' core.
fn one_round(args: &FanoutArgs, folder: &Path, contender: &Contender, kind: &str, viewers: u32) -> Result<Figures> {
    let out = folder.join("round.json");
    let mut command = Command::new("taskset");
    command.args(["-c", &args.viewer_core.to_string()]).arg(std::env::current_exe()?).args(["run", "--kind", kind]);
    command.args(["--path", &contender.path, "--target", &contender.target(), "--viewers", &viewers.to_string()]);
    command.args(["--duration", &args.seconds.to_string(), "--core", &args.viewer_core.to_string()]);
    command.args(["--server-pid", &contender.pid().to_string(), "--json"]).arg(&out);
    let output = command.output().context("cannot start taskset (package util-linux)")?;
    let text = std::fs::read_to_string(&out)
        .with_context(|| format!("no result of {}: {}", contender.name, String::from_utf8_lossy(&output.stderr)))?;
    std::fs::remove_file(&out)?;
    Figures::of(&serde_json::from_str(&text)?, contender.name)
}

impl Figures {
    fn of(result: &RunResult, name: &str) -> Result<Figures> {
        let bytes: u64 = result.groups.values().map(|group| group.bytes).sum();
        let requests: u64 = result.groups.values().map(|group| group.requests).sum();
        let errors: u64 = result.groups.values().flat_map(|group| group.errors.values()).sum();
        let server = result.server.as_ref().context("the server's figures are missing")?;
        if bytes == 0 || errors > 0 {
            bail!("{name}: {bytes} bytes, {errors} failed requests");
        }
        let (gigabytes, cpu_s) = (bytes as f64 / 1e9, server.cpu_user_s + server.cpu_system_s);
        let first_bytes = result.groups.values().flat_map(|group| group.timings.values());
        Ok(Figures {
            cpu_s_per_gb: cpu_s / gigabytes,
            machine_s_per_gb: result.machine.busy_s.iter().sum::<f64>() / gigabytes,
            requests_per_cpu_s: requests as f64 / cpu_s,
            gbit_per_s: gigabytes * 8.0 / result.measured_s,
            p99_ms: first_bytes.map(|timing| timing.first_byte.p99).fold(0.0, f64::max),
        })
    }

    fn counts(&self, measure: Measure) -> f64 {
        match measure {
            Measure::PerGigabyte => self.cpu_s_per_gb,
            // The price of a request, so that less is better in both.
            Measure::PerRequest => 1.0 / self.requests_per_cpu_s,
        }
    }
}

fn print_table(contenders: &[Contender], rounds: &[Vec<Figures>], viewers: u32, measure: Measure) {
    println!(
        "  {viewers} viewers, {} rounds           CPU-s/GB  machine-s/GB  requests/CPU-s   Gbit/s  first byte p99 ms",
        rounds.len()
    );
    let each = |index: usize, figure: &dyn Fn(&Figures) -> f64| -> Vec<f64> {
        rounds.iter().map(|round| figure(&round[index])).collect()
    };
    let of = |index: usize, figure: &dyn Fn(&Figures) -> f64| median(&each(index, figure)).unwrap_or(f64::NAN);
    for (index, contender) in contenders.iter().enumerate() {
        println!(
            "    {:<30} {:>10.4} {:>13.4} {:>15.0} {:>8.2} {:>18.2}",
            contender.name,
            of(index, &|f| f.cpu_s_per_gb),
            of(index, &|f| f.machine_s_per_gb),
            of(index, &|f| f.requests_per_cpu_s),
            of(index, &|f| f.gbit_per_s),
            of(index, &|f| f.p99_ms),
        );
    }
    let last = contenders.len() - 1;
    for (index, contender) in contenders[..last].iter().enumerate() {
        let ratio = |figure: &dyn Fn(&Figures) -> f64| {
            let paired = Paired::of(&each(index, figure), &each(last, figure));
            paired.summary().map_or(String::new(), |summary| summary.to_string())
        };
        let (server, machine) = (ratio(&|f| f.counts(measure)), ratio(&|f| f.machine_s_per_gb));
        println!("    millrace / {}: server's CPU {server}; whole machine {machine}", contender.name);
    }
}

/// A folder in tmpfs for what one experiment serves.
fn scratch() -> Result<PathBuf> {
    let folder = PathBuf::from(format!("/dev/shm/millrace-fanout-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Where test streams are kept from run to run.
fn cache() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("millrace-fanout");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
