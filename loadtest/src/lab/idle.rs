//! What waiting connections cost those that watch, and what the relay costs when nobody does: `loadtest fanout idle`.
//!
//! Two relays, one of them with thousands of keep-alive connections that asked once, serve the same number of HLS-TS viewers in turns. Viewers arrive
//! evenly over two segments, so that their requests come evenly, at a rate that follows from the media alone. Then two relays without a channel in
//! use, with those connections and without a single one, are left to themselves.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings};
use super::experiment::numbers;
use super::kept::Kept;
use super::media;
use super::round::{in_turns, settled};
use crate::procfs::Sampler;
use crate::result::RunResult;
use crate::rounds::{Paired, median};
use crate::scenario::{Group, Kind};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

const KBPS: u32 = 3_000;
const VIEWERS: u32 = 300;
const IDLE: u32 = 8_000;
/// Seconds in which viewers arrive and fill their buffers.
const WARMUP_S: u64 = 6;
/// First bytes may take so much longer at the 99th percentile.
const RATIO_MAX: f64 = 1.2;
/// Seconds that nobody watches, at least.
const QUIET_S: u64 = 10;
/// Of a core, percent, when nobody watches.
const QUIET_PERCENT_MAX: f64 = 0.5;

/// What is fetched, by the harness's names.
const FETCHES: [&str; 2] = ["segment", "playlist"];

/// Measures both and prints them.
///
/// # Errors
/// A relay does not start, or a round cannot be measured.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let settings = RelaySettings { media: "", shards: vec![args.server_core], channels: 1 };
    let start = || Relay::start(&args.relay, &file, &settings, args.viewer_core, folder);
    println!("\n{IDLE} keep-alive connections that ask for nothing, relay of one shard");
    {
        let relays = [start()?, start()?];
        let (_, playlist) = relays[1].warmed(3)?;
        relays[0].warmed(3)?;
        let kept = Kept::open(relays[1].process.addr, &playlist, IDLE)?;
        for viewers in numbers(args, &[VIEWERS]) {
            let rounds = (0..args.rounds as usize).map(|round| one_round(args, folder, &relays, viewers, round));
            print(viewers, &rounds.collect::<Result<Vec<_>>>()?);
        }
        ensure!(kept.alive() == IDLE as usize, "the relay closed idle connections: {} are left", kept.alive());
    }
    println!("  nobody watches, {} s", args.seconds.max(QUIET_S));
    let (alone, besieged) = (start()?, start()?);
    let kept = Kept::open(besieged.process.addr, "/healthz", IDLE)?;
    std::thread::sleep(Duration::from_secs(2));
    for (what, relay) in [("no connection", &alone), ("idle connections", &besieged)] {
        let percent = quiet_percent(relay.process.pid(), args.seconds.max(QUIET_S))?;
        println!("    {what:<20} {percent:.3} % of a core; target below {QUIET_PERCENT_MAX} %");
    }
    ensure!(kept.alive() == IDLE as usize, "the relay closed idle connections: {} are left", kept.alive());
    Ok(())
}

/// The relay without and with idle connections: first byte p99, ms, by [`FETCHES`].
type Round = [[f64; 2]; 2];

fn one_round(args: &FanoutArgs, folder: &Path, relays: &[Relay; 2], viewers: u32, round: usize) -> Result<Round> {
    in_turns(round, |index| {
        let relay = &relays[index];
        let viewing = Group::new("viewers", Kind::Hls, viewers, "/relay/channel/c1/index.m3u8?format=hls-ts");
        let viewing = Group { checked: 0.0, ..viewing };
        let scenario = settled(&relay.target(), WARMUP_S, args.seconds, vec![viewing]);
        let result = args.measure(folder, &scenario, relay.process.pid())?;
        let [segment, playlist] = FETCHES.map(|fetch| first_byte_p99(&result, fetch));
        Ok([segment?, playlist?])
    })
}

fn first_byte_p99(result: &RunResult, fetch: &str) -> Result<f64> {
    let group = result.groups.get("viewers").context("the viewers' figures are missing")?;
    ensure!(group.errors.is_empty(), "requests that failed: {:?}", group.errors);
    let timing = group.timings.get(fetch).with_context(|| format!("no {fetch} was fetched"))?;
    Ok(timing.first_byte.p99)
}

fn print(viewers: u32, rounds: &[Round]) {
    println!("  {viewers} HLS-TS viewers, {} rounds, first byte p99", rounds.len());
    for (index, fetch) in FETCHES.iter().enumerate() {
        let column = |relay: usize| -> Vec<f64> { rounds.iter().map(|round| round[relay][index]).collect() };
        let (without, with) = (column(0), column(1));
        let ratio = Paired::of(&without, &with).summary().map_or(String::new(), |summary| summary.to_string());
        println!(
            "    {fetch:<9} without {:.3} ms, with {:.3} ms; with / without: {ratio}; target at most {RATIO_MAX}",
            median(&without).unwrap_or(f64::NAN),
            median(&with).unwrap_or(f64::NAN),
        );
    }
}

/// CPU time of a process over `seconds`, percent of a core.
fn quiet_percent(pid: u32, seconds: u64) -> Result<f64> {
    let sampler = Sampler::start(Some(pid))?;
    std::thread::sleep(Duration::from_secs(seconds));
    let (server, _) = sampler.finish();
    let server = server.context("the relay is gone")?;
    Ok((server.cpu_user_s + server.cpu_system_s) / seconds as f64 * 100.0)
}
