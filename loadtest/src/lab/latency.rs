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
use super::contender::{Contender, Relay};
use super::experiment::numbers;
use super::figures::{Figures, SERVER_CPU};
use super::process::{Process, free_address};
use super::round::{in_turns, settled};
use crate::result::{Quantiles, RunResult};
use crate::rounds::{Paired, median};
use crate::scenario::{Group, Kind};
use anyhow::{Context, Result};
use std::path::Path;

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
const WARMUP_S: u64 = 4;

/// One contender's figures in one round.
#[derive(Clone, Debug)]
struct Measured {
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
    for viewers in numbers(args, &[VIEWERS]) {
        let background = background(args, folder, &contenders[0], viewers)?;
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
        let mut rounds = Vec::new();
        for round in 0..args.rounds as usize {
            rounds.push(in_turns(round, |index| {
                let measured = relayed(args, folder, &contenders[index], viewers, background)?;
                print_row(&format!("{:>5}", round + 1), contenders[index].name, &measured);
                Ok(measured)
            })?);
        }
        print_medians(&contenders, &rounds);
    }
    let straight = group("straight", "/live/x.ts", STRAIGHT_VIEWERS, 1.0, 1);
    let measured = measure(args, folder, &format!("http://{}", origin.addr), origin.pid(), vec![straight])?;
    let Measured { p50_ms, p99_ms, p999_ms, max_ms, .. } = measured;
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
        let relay = Relay::of_origins(&args.relay, media, &[args.server_core], &origins, folder)?;
        Ok(Contender::new(name, relay.process, &path(&origins.len().to_string())))
    };
    let contenders = [contender("default flush", "")?, contender("live_flush_ms = 0", "live_flush_ms = 0")?];
    Ok((origin, contenders))
}

/// How many background viewers bring the server's core to [`SERVER_LOAD`]: approached, for what a viewer costs falls with their number.
fn background(args: &FanoutArgs, folder: &Path, contender: &Contender, viewers: u32) -> Result<u32> {
    let mut background = viewers;
    for _ in 0..APPROACHES {
        let Measured { load, harness_load, .. } = relayed(args, folder, contender, viewers, background)?;
        let more = (SERVER_LOAD / load).min(HARNESS_LOAD_MAX / harness_load);
        let wanted = f64::from(viewers + background) * more - f64::from(viewers);
        background = wanted.clamp(0.0, BACKGROUND_VIEWERS_MAX) as u32;
    }
    Ok(background)
}

/// One round of a relay.
fn relayed(args: &FanoutArgs, folder: &Path, relay: &Contender, viewers: u32, background: u32) -> Result<Measured> {
    let mut groups = vec![group("measured", &relay.path, viewers, CHECKED, 1)];
    if background > 0 {
        groups.push(group("background", &path("{n}"), background, 0.0, BACKGROUND_CHANNELS));
    }
    measure(args, folder, &relay.target(), relay.pid(), groups)
}

/// One run; the first group is what is measured.
fn measure(args: &FanoutArgs, folder: &Path, target: &str, pid: u32, groups: Vec<Group>) -> Result<Measured> {
    let measured = groups[0].name.clone();
    let scenario = settled(target, WARMUP_S, args.seconds, groups);
    // What the harness refuses stands in the table.
    Measured::of(&args.runner(folder).run(&scenario, Some(pid))?, &measured)
}

fn path(channel: &str) -> String {
    format!("/relay/channel/c{channel}/stream.ts")
}

fn group(name: &str, path: &str, viewers: u32, checked: f64, channels: u64) -> Group {
    Group { channels, checked, kbps: u64::from(KBPS), ..Group::new(name, Kind::Ts, viewers, path) }
}

impl Measured {
    /// Latency of one group, and the price of all.
    fn of(result: &RunResult, group: &str) -> Result<Measured> {
        let figures = Figures::of_flawless(result, group)?;
        let stamped = result.groups.get(group).and_then(|group| group.origin_to_viewer.as_ref());
        let Quantiles { p50, p99, p999, max, .. } = stamped.with_context(|| format!("{group}: no stamp was seen"))?;
        let cpu_s = result.server.as_ref().map_or(f64::NAN, |server| server.cpu_user_s + server.cpu_system_s);
        Ok(Measured {
            p50_ms: *p50,
            p99_ms: *p99,
            p999_ms: *p999,
            max_ms: *max,
            load: cpu_s / result.measured_s,
            cpu_s_per_gb: figures.value(SERVER_CPU).unwrap_or(f64::NAN),
            harness_load: result.harness.cpu_share.iter().copied().fold(0.0, f64::max),
            lag_p99_ms: result.harness.lag.p99,
            refused: result.harness.refused.clone(),
        })
    }

    /// Figure by figure.
    fn median(of: &[Measured]) -> Measured {
        let median =
            |figure: fn(&Measured) -> f64| median(&of.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        Measured {
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

fn print_row(round: &str, name: &str, measured: &Measured) {
    let Measured { p50_ms, p99_ms, p999_ms, max_ms, load, cpu_s_per_gb, harness_load, lag_p99_ms, refused } = measured;
    println!(
        "  {round}  {name:<18} {p50_ms:>8.2} {p99_ms:>8.2} {p999_ms:>8.2} {max_ms:>8.2}  {load:>6.2} {cpu_s_per_gb:>9.4}  {harness_load:>7.2} \
         {lag_p99_ms:>7.2}"
    );
    refused.iter().for_each(|why| println!("         the harness refuses this: {why}"));
}

fn print_medians(contenders: &[Contender; 2], rounds: &[[Measured; 2]]) {
    let of = |index: usize| rounds.iter().map(|round| round[index].clone()).collect::<Vec<_>>();
    let asked = ["p50 at most 25, p99 at most 60 ms", "p99 at most 10 ms"];
    for (index, contender) in contenders.iter().enumerate() {
        print_row("  all", contender.name, &Measured::median(&of(index)));
        println!("         asked: {}", asked[index]);
    }
    let price = |index: usize| of(index).iter().map(|measured| measured.cpu_s_per_gb).collect::<Vec<_>>();
    let paired = Paired::of(&price(0), &price(1));
    if let Some(summary) = paired.summary() {
        println!("         {} over {}, CPU-s/GB: {summary}", contenders[1].name, contenders[0].name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn latency_is_that_of_the_group_and_none_is_an_error() {
        let mut result = sample::result(1);
        result.groups.values_mut().for_each(|group| group.errors.clear());
        let name = result.groups.keys().next().expect("there are two").clone();
        let group = result.groups.get_mut(&name).expect("it is there");
        group.origin_to_viewer = Some(Quantiles { count: 1_000, p50: 12.0, p99: 31.0, ..Quantiles::default() });
        let measured = Measured::of(&result, &name).expect("it has all");
        assert_eq!((measured.p50_ms, measured.p99_ms), (12.0, 31.0));
        assert!(measured.cpu_s_per_gb > 0.0 && measured.load > 0.0);
        result.groups.get_mut(&name).expect("it is there").origin_to_viewer = None;
        assert!(Measured::of(&result, &name).is_err_and(|why| why.to_string().contains("no stamp")));
    }
}
