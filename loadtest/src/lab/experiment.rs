//! What is compared, by which figure, and what the figure is asked to be.

use super::contender::{Contender, Relay, RelaySettings, nginx, record, reference};
use super::figures::{FIRST_BYTE_P99, Figures, MACHINE, REQUESTS, Rounds, SERVER_CPU, THROUGHPUT};
use super::media;
use super::round::in_turns;
use super::scratch::Scratch;
use super::{FanoutArgs, channels, harness, idle, latency, memory, mirror, stalled};
use crate::engine::args::quick;
use crate::scenario::Kind;
use anyhow::Result;
use clap::ValueEnum;
use std::path::Path;

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
    /// Memory of a continuous viewer, of a keep-alive connection, and of a channel in all formats.
    Memory,
    /// One hot channel on one shard and on two.
    Mirror,
    /// Thousands of idle connections beside viewers, and beside nobody.
    Idle,
    /// Viewers that never read, beside those that do.
    Stalled,
    /// The harness itself: 5,000 continuous viewers on one core.
    Harness,
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
        let scratch = Scratch::new()?;
        let folder = scratch.path();
        match self {
            Experiment::Segments => self.segments(args, folder),
            Experiment::Live => self.live(args, folder, ""),
            Experiment::LiveThroughput => self.live(args, folder, "live_flush_ms = 280\nlive_flush_bytes = 65536"),
            Experiment::Playlists => self.playlists(args, folder),
            Experiment::Latency => latency::run(args, folder),
            Experiment::Memory => memory::run(args, folder).and_then(|()| channels::run(args, folder)),
            Experiment::Mirror => mirror::run(args, folder),
            Experiment::Idle => idle::run(args, folder),
            Experiment::Stalled => stalled::run(args, folder),
            Experiment::Harness => harness::run(args, folder),
        }
    }

    fn segments(self, args: &FanoutArgs, folder: &Path) -> Result<()> {
        let file = media::ts_file(&media::cache()?, 4_000)?;
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
            compare(args, folder, &contenders, Kind::Object, viewers, Measure::PerGigabyte)?;
        }
        Ok(())
    }

    fn live(self, args: &FanoutArgs, folder: &Path, flush: &str) -> Result<()> {
        let file = media::ts_file(&media::cache()?, 3_000)?;
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
            compare(args, folder, &contenders, Kind::Ts, viewers, Measure::PerGigabyte)?;
        }
        Ok(())
    }

    fn playlists(self, args: &FanoutArgs, folder: &Path) -> Result<()> {
        let file = media::ts_file(&media::cache()?, 3_000)?;
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
            compare(args, folder, &contenders, Kind::Playlist, viewers, Measure::PerRequest)?;
        }
        Ok(())
    }
}

/// What was asked for on the command line, or the experiment's own.
pub(super) fn numbers(args: &FanoutArgs, own: &[u32]) -> Vec<u32> {
    if args.viewers.is_empty() { own.to_vec() } else { args.viewers.clone() }
}

/// Measures all contenders in turn, round by round, and prints medians, and ratios to each contender but the last.
fn compare<const N: usize>(
    args: &FanoutArgs,
    folder: &Path,
    contenders: &[Contender; N],
    kind: Kind,
    viewers: u32,
    measure: Measure,
) -> Result<()> {
    let mut rounds = Rounds::default();
    for round in 0..args.rounds as usize {
        let figures: [Figures; N] = in_turns(round, |index| one_run(args, folder, &contenders[index], kind, viewers))?;
        rounds.push(figures.into());
    }
    print_table(contenders, &rounds, viewers, measure);
    Ok(())
}

/// One contender, once.
fn one_run(args: &FanoutArgs, folder: &Path, contender: &Contender, kind: Kind, viewers: u32) -> Result<Figures> {
    let mut scenario = quick(kind, &contender.path);
    scenario.target = contender.target();
    scenario.duration_s = args.seconds;
    scenario.group[0].viewers = viewers;
    Figures::of_flawless(&args.measure(folder, &scenario, contender.pid())?, contender.name)
}

fn print_table(contenders: &[Contender], rounds: &Rounds, viewers: u32, measure: Measure) {
    println!(
        "  {viewers} viewers, {} rounds           CPU-s/GB  machine-s/GB  requests/CPU-s   Gbit/s  first byte p99 ms",
        rounds.len()
    );
    for (index, contender) in contenders.iter().enumerate() {
        let of = |name: &str| rounds.median(index, name).unwrap_or(f64::NAN);
        println!(
            "    {:<30} {:>10.4} {:>13.4} {:>15.0} {:>8.2} {:>18.2}",
            contender.name,
            of(SERVER_CPU),
            of(MACHINE),
            of(REQUESTS),
            of(THROUGHPUT),
            of(FIRST_BYTE_P99),
        );
    }
    let last = contenders.len() - 1;
    for (index, contender) in contenders[..last].iter().enumerate() {
        let server = match measure {
            Measure::PerGigabyte => rounds.paired(index, last, SERVER_CPU),
            // The price of a request is the inverse of the figure, so that less is better in both.
            Measure::PerRequest => rounds.paired(last, index, REQUESTS),
        };
        let machine = rounds.paired(index, last, MACHINE);
        let [server, machine] =
            [server, machine].map(|paired| paired.summary().map_or_else(String::new, |summary| summary.to_string()));
        println!("    millrace / {}: server's CPU {server}; whole machine {machine}", contender.name);
    }
}
