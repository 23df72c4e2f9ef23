//! What a viewer costs the relay in memory: `loadtest fanout memory`, first part; the second is [`super::channels`].
//!
//! Each round starts a relay anew, looks at its memory before any viewer and with all of them, and divides the difference. What is the process's
//! own counts; the muxed media that viewers share does not, and is told beside it, as is what the kernel holds for their sockets.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings};
use super::experiment::numbers;
use super::kept::Kept;
use super::media;
use super::round::{settled, tell_refused};
use crate::procfs::{self, Memory};
use crate::rounds::median;
use crate::scenario::{Group, Kind};
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::Duration;

/// Rate of the channel, kb/s: one core feeds the viewers.
const KBPS: u32 = 300;
const VIEWERS: u32 = 5_000;
/// Own memory that a viewer may cost, KiB.
const TARGET_KIB: f64 = 4.0;
/// Seconds in which viewers arrive and what they are sent settles.
const WARMUP_S: u64 = 8;

/// What is measured: viewers of one kind.
#[derive(Clone, Copy)]
enum Viewers {
    Continuous,
    KeepAlive,
}

/// What one viewer costs, KiB.
#[derive(Clone, Copy)]
struct PerViewer {
    anon: f64,
    shared: f64,
    /// Buffers charged to the relay's sockets; `None` without `ss`.
    sockets: Option<f64>,
    /// The kernel's objects, of the whole machine: both ends of each connection.
    slab: Option<f64>,
    /// What it got, kb/s; 0 of one that asks for nothing.
    kb_per_s: f64,
}

/// Measures both kinds and prints what each costs.
///
/// # Errors
/// The relay does not start, or does not serve the viewers.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let file = media::ts_file(&media::cache()?, KBPS)?;
    println!("\nMemory of a viewer, relay of one shard, fresh in each round");
    for viewers in numbers(args, &[VIEWERS]) {
        for kind in [Viewers::Continuous, Viewers::KeepAlive] {
            let rounds = (0..args.rounds).map(|_| one_round(args, folder, &file, kind, viewers));
            print(kind, viewers, &rounds.collect::<Result<Vec<_>>>()?, media::bits_per_second(&file)? / 1e3);
        }
    }
    Ok(())
}

fn one_round(args: &FanoutArgs, folder: &Path, file: &Path, kind: Viewers, viewers: u32) -> Result<PerViewer> {
    let settings = RelaySettings { media: "", shards: vec![args.server_core], channels: 1 };
    let relay = Relay::start(&args.relay, file, &settings, args.viewer_core, folder)?;
    let (_, playlist) = relay.warmed(3)?;
    let pid = relay.process.pid();
    let before = Sight::of(pid)?;
    match kind {
        Viewers::Continuous => {
            let viewing = Group::new("continuous", Kind::Ts, viewers, "/relay/channel/c1/stream.ts");
            let viewing = Group { checked: 0.0001, ..viewing };
            let scenario = settled(&relay.target(), WARMUP_S, args.seconds, vec![viewing]);
            let running = args.runner(folder).start(&scenario, Some(pid))?;
            // Before they leave, but with all of them settled.
            std::thread::sleep(Duration::from_secs(WARMUP_S + args.seconds - 1));
            let with = Sight::of(pid)?;
            let result = running.finish()?;
            tell_refused(&result);
            let figures = &result.groups["continuous"];
            ensure!(figures.errors.is_empty(), "viewers that failed: {:?}", figures.errors);
            ensure!(figures.viewers == u64::from(viewers), "{} viewers came of {viewers}", figures.viewers);
            let kbits_per_s = figures.bytes as f64 * 8e-3 / result.measured_s;
            Ok(with.since(&before, viewers, kbits_per_s / f64::from(viewers)))
        }
        Viewers::KeepAlive => {
            let kept = Kept::open(relay.process.addr, &playlist, viewers)?;
            std::thread::sleep(Duration::from_secs(2));
            let with = Sight::of(pid)?;
            ensure!(kept.alive() == viewers as usize, "the relay closed connections: {} are left", kept.alive());
            Ok(with.since(&before, viewers, 0.0))
        }
    }
}

/// The relay at one moment.
struct Sight {
    memory: Memory,
    socket_bytes: Option<u64>,
    slab_bytes: Option<u64>,
}

impl Sight {
    fn of(pid: u32) -> Result<Sight> {
        let (socket_bytes, slab_bytes) = (procfs::socket_bytes(&[pid]), procfs::slab_bytes());
        Ok(Sight { memory: procfs::memory(pid)?, socket_bytes, slab_bytes })
    }

    fn since(&self, before: &Sight, viewers: u32, kb_per_s: f64) -> PerViewer {
        let each = |now: u64, then: u64| (now as f64 - then as f64) / 1024.0 / f64::from(viewers);
        let each_of = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(now, then)| each(now, then));
        PerViewer {
            anon: each(self.memory.anon, before.memory.anon),
            shared: each(self.memory.shared, before.memory.shared),
            sockets: each_of(self.socket_bytes, before.socket_bytes),
            slab: each_of(self.slab_bytes, before.slab_bytes),
            kb_per_s,
        }
    }
}

fn print(kind: Viewers, viewers: u32, rounds: &[PerViewer], channel_kbps: f64) {
    let of = |figure: &dyn Fn(&PerViewer) -> Option<f64>| {
        let values: Vec<f64> = rounds.iter().filter_map(figure).collect();
        median(&values).map_or("?".to_owned(), |median| {
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            format!("{median:.2} KiB ({least:.2} to {most:.2})")
        })
    };
    match kind {
        Viewers::Continuous => {
            let kbps: Vec<f64> = rounds.iter().map(|round| round.kb_per_s).collect();
            let kbps = median(&kbps).unwrap_or(f64::NAN);
            println!(
                "  {viewers} continuous viewers, each got {kbps:.0} kb/s of the channel's {channel_kbps:.0}, {} rounds",
                rounds.len()
            );
        }
        Viewers::KeepAlive => {
            println!("  {viewers} keep-alive connections, idle after one request, {} rounds", rounds.len())
        }
    }
    println!(
        "    the relay's own (RssAnon)       {:<34} target at most {TARGET_KIB} KiB",
        of(&|round| Some(round.anon))
    );
    println!("    buffers of its sockets          {}", of(&|round| round.sockets));
    println!("    kernel objects, both ends       {}", of(&|round| round.slab));
    println!("    shared media (memfd), grown by  {}", of(&|round| Some(round.shared)));
}
