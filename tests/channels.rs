//! A hundred channels with a viewer each on one shard keep real time; says what a channel costs. Takes half a minute: MILLRACE_FULL=1.
#![cfg(feature = "libav")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::http::{Client, viewer_address};

const CHANNELS: usize = 100;
/// Rings and windows fill meanwhile: 20 s of window and 40 s of video ring at 25 pictures a second.
const WARM_UP: Duration = Duration::from_secs(45);
const MEASURED: Duration = Duration::from_secs(10);

#[test]
fn a_hundred_channels_on_one_shard_keep_real_time() {
    if !support::full("100 channels with a viewer each on one shard (a minute)") {
        return;
    }
    let (demo, addr) = start_demo();
    let began = Instant::now();
    let viewers: Vec<_> = (1..=CHANNELS).map(|n| std::thread::spawn(move || watch(addr, n))).collect();
    std::thread::sleep(WARM_UP);
    let (cpu_before, at) = (shard_cpu_s(&demo), Instant::now());
    std::thread::sleep(MEASURED);
    let cpu_share = (shard_cpu_s(&demo) - cpu_before) / at.elapsed().as_secs_f64();
    let memory_mib = memory_mib(&demo);
    let bytes: Vec<u64> = viewers.into_iter().map(|v| v.join().unwrap()).collect();
    let seconds = began.elapsed().as_secs_f64();
    let (least, most) = (bytes.iter().min().unwrap(), bytes.iter().max().unwrap());
    println!(
        "{CHANNELS} channels, one viewer each, one shard, {:.2} Mb/s a channel:",
        *most as f64 * 8.0 / seconds / 1e6
    );
    println!(
        "  CPU of the shard {:.1}% of a core, {:.3}% a channel",
        cpu_share * 100.0,
        cpu_share * 100.0 / CHANNELS as f64
    );
    println!(
        "  memory {memory_mib:.0} MiB, {:.1} MiB a channel (rings and stores included)",
        memory_mib / CHANNELS as f64
    );
    // A channel that fell behind real time by more than one GOP of two seconds would have that much less.
    assert!(*least as f64 >= *most as f64 * (seconds - 2.0) / seconds, "least {least} bytes, most {most}");
}

/// Reads one channel's stream until the measurement is over; gives its bytes.
fn watch(addr: SocketAddr, channel: usize) -> u64 {
    let client = Client::connect_from(viewer_address(channel as u8), addr);
    let mut stream = client.stream(&format!("/relay/channel/demo-{channel}/stream.ts"));
    let end = Instant::now() + WARM_UP + MEASURED;
    let mut bytes = 0;
    while Instant::now() < end {
        let taken = stream.take(1 << 20).expect("the stream goes on");
        assert!(!taken.is_empty(), "the stream of channel {channel} ended");
        bytes += taken.len() as u64;
    }
    bytes
}

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_demo() -> (Demo, SocketAddr) {
    let channels = CHANNELS.to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["demo", "--listen", "127.0.0.1:0", "--shards", "1", "--channels", &channels])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let first = stdout.lines().next().unwrap().unwrap();
    let addr = first.strip_prefix("LISTENING ").expect("the first line says where").parse().unwrap();
    (Demo(child), addr)
}

/// CPU time of the shard's threads, seconds.
fn shard_cpu_s(demo: &Demo) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", demo.0.id())).unwrap();
    let ticks: u64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains("(shard-"))
        .filter_map(|stat| {
            // Fields 14 and 15 of proc(5), counted behind the name's closing parenthesis: utime and stime in ticks of 10 ms.
            let fields: Vec<u64> =
                stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2).map_while(|f| f.parse().ok()).collect();
            Some(fields.iter().sum::<u64>())
        })
        .sum();
    ticks as f64 / 100.0
}

/// Resident memory, shared mappings included, MiB.
fn memory_mib(demo: &Demo) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", demo.0.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
