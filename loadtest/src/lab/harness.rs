//! Whether the harness can be believed at this size: `loadtest fanout harness`.
//!
//! 5,000 continuous viewers of 1 Mb/s on one core, from a bare loop that sends what was recorded of the relay beforehand. What counts is not the server
//! but whether the run refuses its own result, and by which margin. Beside it stands how long its threads waited for their core because others had
//! it: lag that follows from that is the machine's.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings, record, reference};
use super::experiment::numbers;
use super::media;
use super::round::{Running, settled, tell_refused};
use crate::procfs::run_delay_s;
use crate::result::RunResult;
use crate::rounds::median;
use crate::scenario::{Group, Kind};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

const KBPS: u32 = 1_000;
const VIEWERS: u32 = 5_000;
/// Seconds in which viewers arrive.
const WARMUP_S: u64 = 6;
/// Length of the loop that is sent, seconds.
const RECORDED_S: u64 = 12;
/// Share of viewers whose content is checked.
const CHECKED: f64 = 0.01;

/// Runs the viewers round by round and prints each verdict.
///
/// # Errors
/// A server does not start, or a run has no result.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let recording = folder.join("harness.recording");
    {
        let flush = "live_flush_ms = 280\nlive_flush_bytes = 65536";
        let settings = RelaySettings { media: flush, shards: vec![args.server_core], channels: 1 };
        let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
        relay.warmed(3)?;
        record(&relay, "/relay/channel/c1/stream.ts", RECORDED_S, &recording, args.viewer_core)?;
    }
    let server = reference(&["live", "--recording", &recording.display().to_string()], args.server_core, folder)?;
    println!(
        "\nThe harness itself: one thread on one core, continuous TS of {:.2} Mb/s from a bare loop",
        media::bits_per_second(&file)? / 1e6
    );
    for viewers in numbers(args, &[VIEWERS]) {
        println!("  {viewers} viewers           lag p50 ms   p99 ms   max ms   core  waited   Gbit/s  refused");
        let (mut lags, mut refused) = (Vec::new(), 0);
        for round in 1..=args.rounds {
            let viewing = Group { checked: CHECKED, ..Group::new("viewers", Kind::Ts, viewers, "/") };
            let scenario = settled(&format!("http://{}", server.addr), WARMUP_S, args.seconds, vec![viewing]);
            let (result, waited_s) = run_and_wait(args.runner(folder).start(&scenario, Some(server.pid()))?)?;
            tell_refused(&result);
            let group = result.groups.get("viewers").context("the viewers' figures are missing")?;
            let harness = &result.harness;
            println!(
                "    round {round:<15} {:>10.3} {:>8.3} {:>8.2} {:>5.0}% {:>6.1}% {:>8.2}  {}",
                harness.lag.p50,
                harness.lag.p99,
                harness.lag.max,
                harness.cpu_share.iter().sum::<f64>() * 100.0,
                waited_s / result.scenario.duration_s as f64 * 100.0,
                group.bytes as f64 * 8e-9 / result.measured_s,
                if harness.refused.is_empty() { "no" } else { "yes" },
            );
            lags.push(harness.lag.p99);
            refused += u32::from(!harness.refused.is_empty());
        }
        let lag = median(&lags).unwrap_or(f64::NAN);
        println!(
            "    refused {refused} of {} rounds, median lag p99 {lag:.3} ms; target 0, with a lag p99 of at most 1 ms",
            args.rounds
        );
    }
    Ok(())
}

/// The result, and the seconds that its threads waited for a core while they could have run.
fn run_and_wait(mut running: Running) -> Result<(RunResult, f64)> {
    let mut waited_s = 0.0;
    while running.goes_on() {
        waited_s = run_delay_s(running.pid()).max(waited_s);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok((running.finish()?, waited_s))
}
