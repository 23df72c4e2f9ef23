//! From origin to viewer: how long an access unit is under way through the relay, at its default flush and at the lowest, and what that costs.
//!
//! ```text
//!  viewers' core                                              server's core
//!  `loadtest origin` ── x.ts ────────────────────────────► relay, channel c9 ──► 300 viewers, 30 of them checked ─┐
//!   stamps each unit └─ x/late{N}ms.ts, eight phases ────► relay, c1 to c8   ──► background, unchecked            │
//!   as it is written                                                                                              │
//!  `loadtest run`  ◄───────── arrival of a unit's last byte minus its stamp ──────────────────────────────────────┘
//! ```
//! The background brings the server's core to half its load at the default flush, as far as the harness's own core allows: rounds before the first
//! find out how many viewers that takes. Its channels have their pictures between those of the measured one, as strangers' would.
//! Viewers straight at the origin show what of the times is the harness's own.
//!
//! What it deliberately does not do: judge.

use super::FanoutArgs;
use super::contender::{Contender, RelaySettings, relay};
use super::process::{Process, free_address};
use crate::result::{Quantiles, RunResult};
use crate::rounds::{Paired, median};
use crate::scenario::{Arrivals, Group, Kind, Reading, Scenario, Slo};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Of each channel, kb/s.
const KBPS: u32 = 3_000;
/// Between two pictures, milliseconds.
const PICTURE_MS: u64 = 40;
/// Viewers whose latency is measured, where the command line names no number.
const VIEWERS: u32 = 300;
/// Share of them that is checked: reading stamps costs the harness.
const CHECKED: f64 = 0.1;
/// Viewers straight at the origin, which serves each by a thread.
const STRAIGHT_VIEWERS: u32 = 10;
const BACKGROUND_CHANNELS: u64 = 8;
/// Rounds that find out how many viewers the background needs.
const APPROACHES: u32 = 3;
const BACKGROUND_VIEWERS_MAX: f64 = 6_000.0;
/// Share of the server's core that is aimed at, and most that the harness may use of its own, which the origin is on too.
const SERVER_LOAD: f64 = 0.5;
const HARNESS_LOAD_MAX: f64 = 0.6;
/// Viewers come, and get what they are given to begin with, before anything counts, seconds.
const RAMP_S: f64 = 2.0;
const WARMUP_S: u64 = 4;

/// One contender's figures in one round.
#[derive(Clone, Debug)]
struct Figures {
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// Of the server's process, cores.
    load: f64,
    cpu_s_per_gb: f64,
    /// Of the busiest thread of the harness.
    harness_load: f64,
    lag_p99_ms: f64,
    /// Why the harness refuses them.
    refused: Vec<String>,
}

/// Measures round by round, and prints each with the medians.
///
/// # Errors
/// A program that does not start; a round that cannot be measured.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let (origin, contenders) = start(args, folder)?;
    let numbers = if args.viewers.is_empty() { &[VIEWERS][..] } else { &args.viewers };
    for viewers in numbers {
        let background = background(args, folder, &contenders[0], *viewers)?;
        println!(
            "\nOrigin to viewer, {KBPS} kb/s, 25 pictures a second: {viewers} viewers, {:.0} % of them checked; {background} more on {BACKGROUND_CHANNELS} \
             other channels\n  round  {:<18} {:>8} {:>8} {:>8} {:>8}  {:>6} {:>9}  {:>7} {:>7}",
            CHECKED * 100.0,
            "ms",
            "p50",
            "p99",
            "p99.9",
            "max",
            "cores",
            "CPU-s/GB",
            "harness",
            "lag p99"
        );
        let mut rounds: Vec<Vec<Figures>> = Vec::new();
        for round in 0..args.rounds as usize {
            let mut figures = vec![None; contenders.len()];
            // Each round begins with another one.
            for step in 0..contenders.len() {
                let index = (round + step) % contenders.len();
                let measured = relayed(args, folder, &contenders[index], *viewers, background)?;
                print_row(&format!("{:>5}", round + 1), contenders[index].name, &measured);
                figures[index] = Some(measured);
            }
            rounds.push(figures.into_iter().flatten().collect());
        }
        print_medians(&contenders, &rounds);
    }
    let straight = group("straight", "/live/x.ts", STRAIGHT_VIEWERS, 1.0, 1);
    let measured = measure(args, folder, &format!("http://{}", origin.addr), origin.pid(), vec![straight])?;
    let Figures { p50_ms, p99_ms, p999_ms, max_ms, .. } = measured;
    println!("         {:<18} {p50_ms:>8.2} {p99_ms:>8.2} {p999_ms:>8.2} {max_ms:>8.2}", "no relay");
    Ok(())
}

/// The origin, and a relay with each setting.
fn start(args: &FanoutArgs, folder: &Path) -> Result<(Process, [Contender; 2])> {
    let addr = free_address()?;
    let arguments = ["origin", "--listen", &addr.to_string(), "--kbps", &KBPS.to_string()].map(String::from);
    let log = folder.join("stamped-origin.log");
    let origin = Process::start(&std::env::current_exe()?, &arguments, args.viewer_core, addr, &log)?;
    let late = |n| format!("http://{addr}/live/x/late{}ms.ts", n * PICTURE_MS / (BACKGROUND_CHANNELS + 1));
    let mut origins: Vec<String> = (1..=BACKGROUND_CHANNELS).map(late).collect();
    origins.push(format!("http://{addr}/live/x.ts"));
    let contender = |name, media| -> Result<Contender> {
        let settings = RelaySettings { media, shards: vec![args.server_core], channels: origins.len() as u32 };
        let process = relay(&args.relay, &settings, &origins, folder)?;
        Ok(Contender::new(name, process, &path(&origins.len().to_string())))
    };
    let contenders = [contender("default flush", "")?, contender("live_flush_ms = 0", "live_flush_ms = 0")?];
    Ok((origin, contenders))
}

/// How many background viewers bring the server's core to [`SERVER_LOAD`]: approached, for what a viewer costs falls with their number.
fn background(args: &FanoutArgs, folder: &Path, contender: &Contender, viewers: u32) -> Result<u32> {
    let mut background = viewers;
    for _ in 0..APPROACHES {
        let Figures { load, harness_load, .. } = relayed(args, folder, contender, viewers, background)?;
        let more = (SERVER_LOAD / load).min(HARNESS_LOAD_MAX / harness_load);
        let wanted = f64::from(viewers + background) * more - f64::from(viewers);
        background = wanted.clamp(0.0, BACKGROUND_VIEWERS_MAX) as u32;
    }
    Ok(background)
}

/// One round of a relay.
fn relayed(args: &FanoutArgs, folder: &Path, relay: &Contender, viewers: u32, background: u32) -> Result<Figures> {
    let mut groups = vec![group("measured", &relay.path, viewers, CHECKED, 1)];
    if background > 0 {
        groups.push(group("background", &path("{n}"), background, 0.0, BACKGROUND_CHANNELS));
    }
    measure(args, folder, &relay.target(), relay.pid(), groups)
}

/// One round, in a process of its own on the viewers' core; the first group is what is measured.
fn measure(args: &FanoutArgs, folder: &Path, target: &str, pid: u32, group: Vec<Group>) -> Result<Figures> {
    let measured = group[0].name.clone();
    let scenario = Scenario {
        name: "latency".into(),
        target: target.into(),
        duration_s: WARMUP_S + args.seconds,
        warmup_s: WARMUP_S,
        seed: 1,
        source_addresses: 1,
        slo: Slo::default(),
        group,
    };
    let (file, out) = (folder.join("latency.toml"), folder.join("latency.json"));
    std::fs::write(&file, toml::to_string(&scenario)?)?;
    let mut command = Command::new("taskset");
    command.args(["-c", &args.viewer_core.to_string()]).arg(std::env::current_exe()?).arg("run").arg(&file);
    command.args(["--core", &args.viewer_core.to_string(), "--server-pid", &pid.to_string(), "--json"]).arg(&out);
    let output = command.output().context("cannot start taskset (package util-linux)")?;
    let text = std::fs::read_to_string(&out)
        .with_context(|| format!("no result of {target}: {}", String::from_utf8_lossy(&output.stderr)))?;
    std::fs::remove_file(&out)?;
    Figures::of(&serde_json::from_str(&text)?, &measured)
}

fn path(channel: &str) -> String {
    format!("/relay/channel/c{channel}/stream.ts")
}

fn group(name: &str, path: &str, viewers: u32, checked: f64, channels: u64) -> Group {
    Group {
        name: name.into(),
        kind: Kind::Ts,
        viewers,
        path: path.into(),
        channels,
        zipf: 0.0,
        arrivals: Arrivals::Ramp { over_s: RAMP_S },
        zap_s: 0.0,
        checked,
        kbps: u64::from(KBPS),
        reading: Reading::Eager,
    }
}

impl Figures {
    /// Latency of one group, and the price of all.
    fn of(result: &RunResult, group: &str) -> Result<Figures> {
        let bytes: u64 = result.groups.values().map(|group| group.bytes).sum();
        let errors: u64 = result.groups.values().flat_map(|group| group.errors.values()).sum();
        let stamped = result.groups.get(group).and_then(|group| group.origin_to_viewer.as_ref());
        let Some(Quantiles { p50, p99, p999, max, .. }) = stamped.filter(|_| errors == 0) else {
            bail!("{group}: {bytes} bytes, {errors} failed requests, latency {stamped:?}");
        };
        let server = result.server.as_ref().context("the server's figures are missing")?;
        let cpu_s = server.cpu_user_s + server.cpu_system_s;
        Ok(Figures {
            p50_ms: *p50,
            p99_ms: *p99,
            p999_ms: *p999,
            max_ms: *max,
            load: cpu_s / result.measured_s,
            cpu_s_per_gb: cpu_s / (bytes as f64 / 1e9),
            harness_load: result.harness.cpu_share.iter().copied().fold(0.0, f64::max),
            lag_p99_ms: result.harness.lag.p99,
            refused: result.harness.refused.clone(),
        })
    }

    /// Figure by figure.
    fn median(of: &[Figures]) -> Figures {
        let median =
            |figure: fn(&Figures) -> f64| median(&of.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        Figures {
            p50_ms: median(|f| f.p50_ms),
            p99_ms: median(|f| f.p99_ms),
            p999_ms: median(|f| f.p999_ms),
            max_ms: median(|f| f.max_ms),
            load: median(|f| f.load),
            cpu_s_per_gb: median(|f| f.cpu_s_per_gb),
            harness_load: median(|f| f.harness_load),
            lag_p99_ms: median(|f| f.lag_p99_ms),
            refused: Vec::new(),
        }
    }
}

fn print_row(round: &str, name: &str, figures: &Figures) {
    let Figures { p50_ms, p99_ms, p999_ms, max_ms, load, cpu_s_per_gb, harness_load, lag_p99_ms, refused } = figures;
    println!(
        "  {round}  {name:<18} {p50_ms:>8.2} {p99_ms:>8.2} {p999_ms:>8.2} {max_ms:>8.2}  {load:>6.2} {cpu_s_per_gb:>9.4}  {harness_load:>7.2} \
         {lag_p99_ms:>7.2}"
    );
    refused.iter().for_each(|why| println!("         the harness refuses this: {why}"));
}

fn print_medians(contenders: &[Contender; 2], rounds: &[Vec<Figures>]) {
    let of = |index: usize| rounds.iter().map(|round| round[index].clone()).collect::<Vec<_>>();
    let asked = ["p50 at most 25, p99 at most 60 ms", "p99 at most 10 ms"];
    for (index, contender) in contenders.iter().enumerate() {
        print_row("  all", contender.name, &Figures::median(&of(index)));
        println!("         asked: {}", asked[index]);
    }
    let price = |index: usize| of(index).iter().map(|figures| figures.cpu_s_per_gb).collect::<Vec<_>>();
    let paired = Paired::of(&price(0), &price(1));
    if let Some(summary) = paired.summary() {
        println!("         {} over {}, CPU-s/GB: {summary}", contenders[1].name, contenders[0].name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_of_groups_goes_through_toml() {
        let group = vec![group("measured", &path("9"), 300, CHECKED, 1), group("b", &path("{n}"), 7, 0.0, 8)];
        let scenario: Scenario = toml::from_str("name = \"n\"\nduration_s = 1\ngroup = []").expect("it is one");
        let scenario = Scenario { group, ..scenario };
        let text = toml::to_string(&scenario).expect("it can be written");
        assert_eq!(toml::from_str::<Scenario>(&text).expect("it can be read"), scenario);
    }
}
