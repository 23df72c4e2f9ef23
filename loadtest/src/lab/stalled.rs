//! Viewers that never read, and those beside them: `loadtest fanout stalled`.
//!
//! In turns, a relay serves continuous viewers that all read, and the same with a third as many more that ask and never read a byte. Those that read
//! must not notice. Then one run goes on until the relay has cut the others, by its default bound. A stall begins when the kernel takes no more for a
//! socket, which is seen from outside: its send queue (`/proc/net/tcp`) grows no further.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings, record};
use super::experiment::numbers;
use super::media;
use super::metrics::Metrics;
use super::round::{in_turns, settled, tell_refused};
use crate::procfs;
use crate::reference::recording::Recording;
use crate::result::{GroupFigures, RunResult};
use crate::rounds::{Paired, median};
use crate::scenario::{Group, Kind, Reading};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

const KBPS: u32 = 3_000;
/// Viewers in all; a quarter of them never read.
const VIEWERS: u32 = 400;
const PATH: &str = "/relay/channel/c1/stream.ts";
/// Seconds in which viewers arrive.
const WARMUP_S: u64 = 4;
/// Share of reading viewers whose content is checked.
const CHECKED: f64 = 0.1;
/// Delivery to those that read may slow down by this share.
const SLOWER_MAX: f64 = 0.02;
/// `idle.continuous_viewer_ms` by default, seconds.
const BOUND_S: u64 = 60;
/// Beyond the bound, until all are cut: arrivals, the kernel's buffers, the relay's sweep.
const CUT_SLACK_S: u64 = 16;
/// Send queues that are looked at are at least this long, bytes: those of viewers that read stay below it, and one that takes no more holds what the
/// relay lets the kernel keep unsent, 256 KiB.
const QUEUE_MIN: u64 = 200 << 10;

/// What those that read got in one run.
struct Delivery {
    bytes_per_s: f64,
    least_bytes_per_s: f64,
    /// Between arrivals at one more viewer that writes them down, ms.
    gap_p99_ms: f64,
    violations: u64,
    stalls: u64,
    errors: u64,
}

/// Measures delivery with and without viewers that never read, then their end, and prints both.
///
/// # Errors
/// The relay does not start, or a run has no result.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let settings = RelaySettings { media: "", shards: vec![args.server_core], channels: 1 };
    let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
    relay.warmed(3)?;
    let rate = media::bits_per_second(&file)?;
    println!("\nContinuous TS of {:.2} Mb/s, a quarter of the viewers never read", rate / 1e6);
    for viewers in numbers(args, &[VIEWERS]) {
        let never = viewers / 4;
        let groups = [vec![reading(viewers - never)], vec![reading(viewers - never), never_reading(never)]];
        let mut rounds = Vec::new();
        for round in 0..args.rounds as usize {
            rounds.push(in_turns(round, |index| one_run(args, folder, &relay, groups[index].clone()))?);
        }
        print_delivery(viewers, rate, &rounds);
        cuts(args, folder, &relay, viewers, rate)?;
    }
    Ok(())
}

fn reading(viewers: u32) -> Group {
    Group { checked: CHECKED, ..Group::new("reading", Kind::Ts, viewers, PATH) }
}

fn never_reading(viewers: u32) -> Group {
    Group {
        checked: 0.0,
        reading: Reading::Stops { after_s: 0.0 },
        ..Group::new("never reading", Kind::Ts, viewers, PATH)
    }
}

fn one_run(args: &FanoutArgs, folder: &Path, relay: &Relay, groups: Vec<Group>) -> Result<Delivery> {
    let scenario = settled(&relay.target(), WARMUP_S, args.seconds, groups);
    let running = args.runner(folder).start(&scenario, Some(relay.process.pid()))?;
    std::thread::sleep(Duration::from_secs(WARMUP_S));
    let recording = folder.join("gaps.recording");
    record(relay, PATH, args.seconds.saturating_sub(1).max(1), &recording, args.viewer_core)?;
    let recorded = Recording::load(&recording)?;
    let result = running.finish()?;
    tell_refused(&result);
    Delivery::of(&result, gap_p99_ms(&recorded))
}

impl Delivery {
    fn of(result: &RunResult, gap_p99_ms: f64) -> Result<Delivery> {
        let group = reading_figures(result)?;
        let each_s = |bytes: u64| bytes as f64 / result.measured_s;
        Ok(Delivery {
            bytes_per_s: each_s(group.bytes) / group.viewers.max(1) as f64,
            least_bytes_per_s: each_s(group.bytes_least),
            gap_p99_ms,
            violations: result.violations.iter().map(|violation| violation.count).sum(),
            stalls: group.stalls + group.rebuffers,
            errors: group.errors.values().sum(),
        })
    }
}

fn reading_figures(result: &RunResult) -> Result<&GroupFigures> {
    result.groups.get("reading").context("the reading viewers' figures are missing")
}

/// Without the burst that a viewer begins with.
fn gap_p99_ms(recorded: &Recording) -> f64 {
    let chunks = recorded.chunks();
    let mut gaps: Vec<u64> = chunks.windows(2).skip(1).map(|pair| pair[1].at_us - pair[0].at_us).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() * 99 / 100).map_or(f64::NAN, |gap| *gap as f64 / 1e3)
}

fn print_delivery(viewers: u32, rate: f64, rounds: &[[Delivery; 2]]) {
    println!("  {} viewers read, {} more never do, {} rounds", viewers - viewers / 4, viewers / 4, rounds.len());
    for (what, figure) in [
        ("bytes/s of a reading viewer", &(|d: &Delivery| d.bytes_per_s) as &dyn Fn(&Delivery) -> f64),
        ("of the one that got least", &|d| d.least_bytes_per_s),
        ("gap between arrivals, p99 ms", &|d| d.gap_p99_ms),
    ] {
        let all_read: Vec<f64> = rounds.iter().map(|round| figure(&round[0])).collect();
        let beside: Vec<f64> = rounds.iter().map(|round| figure(&round[1])).collect();
        let ratio = Paired::of(&all_read, &beside).summary().map_or(String::new(), |summary| summary.to_string());
        let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
        println!("    {what:<29} {:>10.1} alone, {:>10.1} beside them: {ratio}", middle(&all_read), middle(&beside));
    }
    println!(
        "    target: bytes/s at least {:.2} of those alone; the media itself is {:.1} bytes/s",
        1.0 - SLOWER_MAX,
        rate / 8.0
    );
    let sum = |figure: fn(&Delivery) -> u64| -> u64 { rounds.iter().map(|round| figure(&round[1])).sum() };
    println!(
        "    beside them: {} broken rules of content, {} stalls, {} failed requests; target 0 of each",
        sum(|d| d.violations),
        sum(|d| d.stalls),
        sum(|d| d.errors)
    );
}

/// One run of all, for as long as it takes until those that never read are cut.
fn cuts(args: &FanoutArgs, folder: &Path, relay: &Relay, viewers: u32, rate: f64) -> Result<()> {
    let never = viewers / 4;
    let log_before = cut_lines(relay)?;
    let before = Metrics::scrape(relay.admin)?.sum("millrace_viewers_cut_total");
    let groups = vec![reading(viewers - never), never_reading(never)];
    let scenario = settled(&relay.target(), WARMUP_S, BOUND_S + CUT_SLACK_S, groups);
    let mut running = args.runner(folder).start(&scenario, Some(relay.process.pid()))?;
    let mut seen = Seen::default();
    let begun = Instant::now();
    while running.goes_on() {
        std::thread::sleep(Duration::from_millis(100));
        let queues = procfs::send_queues(relay.process.addr.port());
        let queued: u64 = queues.into_iter().filter(|queue| *queue >= QUEUE_MIN).sum();
        let cut = Metrics::scrape(relay.admin)?.sum("millrace_viewers_cut_total") - before;
        seen.look(begun.elapsed().as_secs_f64(), queued, cut as u64);
    }
    let result = running.finish()?;
    tell_refused(&result);
    let delivered = Delivery::of(&result, f64::NAN)?;
    let lines = cut_lines(relay)? - log_before;
    println!("  until they are cut: {} viewers read, {never} never do, {} s", viewers - never, scenario.duration_s);
    println!("    cut {} (metric), {lines} lines \"viewer cut\" in the log; target {never} of each", seen.cut);
    let since = |at: Option<f64>| at.map_or("never".to_owned(), |at| format!("{:.1} s", at - seen.stalled_s));
    println!(
        "    sockets took no more from {:.1} s after the start on; from then the first was cut after {}, the last after {}; target {BOUND_S} s after each one's last byte",
        seen.stalled_s,
        since(seen.first_cut_s),
        since(seen.last_cut_s)
    );
    println!(
        "    those that read: {:.1} bytes/s, the least {:.1}, of {:.1}; {} broken rules of content, {} stalls",
        delivered.bytes_per_s,
        delivered.least_bytes_per_s,
        rate / 8.0,
        delivered.violations,
        delivered.stalls
    );
    ensure!(seen.cut >= u64::from(never), "only {} of {never} viewers that never read were cut", seen.cut);
    Ok(())
}

/// What was seen of the stalled from outside, seconds since the start.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    queued_max: u64,
    /// Their send queues grew last.
    stalled_s: f64,
    cut: u64,
    first_cut_s: Option<f64>,
    last_cut_s: Option<f64>,
}

impl Seen {
    /// Bytes in all long send queues, and viewers that are cut so far.
    fn look(&mut self, now_s: f64, queued: u64, cut: u64) {
        // Queues of viewers that read pass through now and then: a hundredth is no growth.
        if queued > self.queued_max + self.queued_max / 100 {
            (self.queued_max, self.stalled_s) = (queued, now_s);
        }
        if cut > self.cut {
            self.cut = cut;
            self.first_cut_s.get_or_insert(now_s);
            self.last_cut_s = Some(now_s);
        }
    }
}

fn cut_lines(relay: &Relay) -> Result<usize> {
    let log = std::fs::read_to_string(&relay.log).with_context(|| format!("cannot read {}", relay.log.display()))?;
    Ok(log.lines().filter(|line| line.contains("viewer cut")).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_begins_when_queues_grow_no_more_and_ends_with_the_cut() {
        let mut seen = Seen::default();
        for (now_s, queued, cut) in
            [(1.0, 1_000, 0), (2.0, 9_000, 0), (3.0, 9_050, 0), (62.0, 9_000, 1), (62.5, 5_000, 7), (63.0, 0, 7)]
        {
            seen.look(now_s, queued, cut);
        }
        let expected =
            Seen { queued_max: 9_000, stalled_s: 2.0, cut: 7, first_cut_s: Some(62.0), last_cut_s: Some(62.5) };
        assert_eq!(seen, expected);
    }

    #[test]
    fn gaps_leave_the_first_burst_out() {
        let at_ms = [0_u64, 500, 540, 580, 640];
        let recorded = Recording::new(at_ms.map(|at| (at * 1_000, &b"x"[..])), 700_000).unwrap();
        assert_eq!(gap_p99_ms(&recorded), 60.0);
    }
}
