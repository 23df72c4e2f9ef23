//! What it costs to spread one hot channel over shards: `loadtest fanout mirror`.
//!
//! A relay of one shard and one of two, in turns, with viewers at the media's own pace. The second shard runs on the viewers' core, which on two
//! cores there is no way around: it shares that core with them and with the origin, so rates and latencies are not told. CPU time is the process's own,
//! and a byte's share of it is comparable.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings};
use super::experiment::numbers;
use super::figures::{Figures, SERVER_CPU};
use super::media;
use super::metrics::Metrics;
use super::round::{in_turns, settled};
use crate::rounds::{Paired, median};
use crate::scenario::{Group, Kind};
use anyhow::{Context, Result, ensure};
use std::path::Path;

const KBPS: u32 = 3_000;
const VIEWERS: u32 = 600;
/// Seconds in which viewers arrive and fill their buffers.
const WARMUP_S: u64 = 6;
/// The shard with least must send at least this share.
const SHARE_MIN: f64 = 0.4;

/// One round.
struct Round {
    /// CPU-s/GB of one shard and of two.
    cost: [f64; 2],
    /// Share of bytes of the one of two shards that sent less.
    least_share: f64,
}

/// Measures continuous viewers and segment viewers, and prints ratios and shares.
///
/// # Errors
/// A relay does not start, or a round cannot be measured.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    ensure!(
        args.server_core != args.viewer_core,
        "the two shards need two cores: --server-core and --viewer-core differ"
    );
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let shards = [vec![args.server_core], vec![args.server_core, args.viewer_core]];
    let relays = shards.map(|shards| {
        let settings = RelaySettings { media: "", shards, channels: 1 };
        let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
        relay.warmed(3).map(|_| relay)
    });
    let [one, two] = relays;
    let relays = [one?, two?];
    println!(
        "\nOne channel of {:.2} Mb/s on one shard and on two; the second shard shares the viewers' core",
        media::bits_per_second(&file)? / 1e6
    );
    for (what, kind, path) in [
        ("continuous TS", Kind::Ts, "/relay/channel/c1/stream.ts"),
        ("HLS-TS segments at the media's pace", Kind::Hls, "/relay/channel/c1/index.m3u8?format=hls-ts"),
    ] {
        for viewers in numbers(args, &[VIEWERS]) {
            let rounds =
                (0..args.rounds as usize).map(|round| one_round(args, folder, &relays, (kind, path, viewers), round));
            print(what, viewers, &rounds.collect::<Result<Vec<_>>>()?);
        }
    }
    Ok(())
}

fn one_round(
    args: &FanoutArgs,
    folder: &Path,
    relays: &[Relay; 2],
    (kind, path, viewers): (Kind, &str, u32),
    round: usize,
) -> Result<Round> {
    let mut least_share = f64::NAN;
    let cost = in_turns(round, |index| {
        let relay = &relays[index];
        let before = sent_by_shard(relay)?;
        let viewing = Group { checked: 0.0, ..Group::new("viewers", kind, viewers, path) };
        let scenario = settled(&relay.target(), WARMUP_S, args.seconds, vec![viewing]);
        let result = args.measure(folder, &scenario, relay.process.pid())?;
        let after = sent_by_shard(relay)?;
        if index == 1 {
            let sent: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
            ensure!(sent.len() == 2, "the relay tells of {} shards in place of two", sent.len());
            least_share = sent[0].min(sent[1]) / (sent[0] + sent[1]);
        }
        let name = ["one shard", "two shards"][index];
        Figures::of_flawless(&result, name)?.value(SERVER_CPU).with_context(|| format!("{name}: no CPU time a GB"))
    })?;
    Ok(Round { cost, least_share })
}

fn sent_by_shard(relay: &Relay) -> Result<Vec<f64>> {
    let sent = Metrics::scrape(relay.admin)?.by_label("millrace_sent_bytes_total", "shard");
    Ok(sent.into_values().collect())
}

fn print(what: &str, viewers: u32, rounds: &[Round]) {
    let column = |index: usize| -> Vec<f64> { rounds.iter().map(|round| round.cost[index]).collect() };
    let (one, two) = (column(0), column(1));
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let shares: Vec<f64> = rounds.iter().map(|round| round.least_share).collect();
    println!("  {what}, {viewers} viewers, {} rounds", rounds.len());
    println!("    CPU-s/GB of one shard {:.4}, of two {:.4}", middle(&one), middle(&two));
    let ratio =
        Paired::of(&one, &two).summary().map_or("no round has a ratio".to_owned(), |summary| summary.to_string());
    println!("    two / one: {ratio}; target 0.95 to 1.05");
    let worst = shares.iter().copied().fold(f64::MAX, f64::min);
    println!(
        "    bytes of the shard that sent less: {:.1} %, in the worst round {:.1} %; target at least {:.0} %",
        middle(&shares) * 100.0,
        worst * 100.0,
        SHARE_MIN * 100.0
    );
}
