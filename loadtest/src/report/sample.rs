//! A result as a run might have written it, from a seed: for tests and for looking at reports.

use crate::random::Random;
use crate::result::{
    Environment, GroupFigures, HarnessFigures, MachineFigures, Quantiles, RunResult, Second, ServerFigures, Timing,
    VERSION, Verdict, Violation,
};
use crate::scenario::{Arrivals, Group, Kind, Reading, Scenario, Slo};
use std::collections::BTreeMap;

const SECONDS: u64 = 140;
const WARMUP_S: u64 = 20;
const VIEWERS: u64 = 4000;

/// The same for the same seed.
pub fn result(seed: u64) -> RunResult {
    let mut random = Random::new(seed);
    let seconds: Vec<Second> = (0..SECONDS).map(|at| second(&mut random, at)).collect();
    let measured = &seconds[WARMUP_S as usize..];
    let cpu_s: f64 = measured.iter().filter_map(|second| second.server_cpu_s).sum();
    let bytes: u64 = measured.iter().map(|second| second.bytes).sum();
    RunResult {
        version: VERSION,
        scenario: scenario(seed),
        environment: environment(),
        measured_s: measured.len() as f64,
        groups: BTreeMap::from([
            ("evening <hls> & co".to_owned(), group(&mut random, bytes * 3 / 5, "segment")),
            ("set-top boxes".to_owned(), group(&mut random, bytes * 2 / 5, "stream")),
        ]),
        server: Some(ServerFigures {
            pid: 4711,
            cpu_user_s: rounded(cpu_s * 0.3),
            cpu_system_s: rounded(cpu_s * 0.7),
            context_switches_voluntary: 812_345,
            context_switches_involuntary: 2345,
            syscalls: None,
            syscalls_by_name: BTreeMap::new(),
            syscalls_refused: None,
            rss_bytes: 310_000_000,
            rss_bytes_max: 331_000_000,
            socket_bytes: Some(512_000_000),
            threads: 3,
            open_files: 4123,
        }),
        machine: MachineFigures {
            busy_s: vec![rounded(measured.iter().map(|second| second.machine_busy_s).sum::<f64>() / 2.0); 2],
            softirq_s: vec![11.5, 12.25],
            context_switches: 4_567_890,
            tcp_memory_bytes: Some(498_000_000),
        },
        proxy: None,
        seconds,
        harness: HarnessFigures {
            threads: 1,
            lag: quantiles(&mut random, 0.05, 900_000),
            cpu_share: vec![0.61],
            ports_exhausted: 0,
            refused: Vec::new(),
        },
        violations: vec![Violation {
            rule: "continuity-counter".to_owned(),
            count: 3,
            first: "group \"set-top boxes\", viewer 17, packet 123456: PID 0x0100 went from 4 to 6".to_owned(),
        }],
        verdict: Verdict { passed: false, missed: vec!["startup p95 is 912 ms, above 800 ms".to_owned()] },
    }
}

fn second(random: &mut Random, at: u64) -> Second {
    let viewers = VIEWERS.min(at * VIEWERS / 18);
    // A pause of the server, as a stalled disk or a burst of arrivals makes it.
    let pause: f64 = if (70..74).contains(&at) { 40.0 } else { 1.0 };
    let requests = viewers / 3 + random.below(60);
    let mut buckets = vec![0_u32; 24];
    for _ in 0..requests {
        let slow = if random.uniform() < 0.03 { 20.0 } else { 1.0 };
        let micros = 700.0 * pause.powf(random.uniform()) * slow * (normal(random) * 0.5).exp();
        buckets[(micros.log2().floor() as usize).min(23)] += 1;
    }
    Second {
        viewers,
        bytes: viewers * 480_000 + random.below(40_000_000),
        requests,
        errors: if pause > 1.0 { random.below(12) } else { 0 },
        stalls: if pause > 1.0 { random.below(40) } else { u64::from(random.uniform() < 0.05) },
        first_byte: quantiles(random, 0.7 * pause, requests),
        first_byte_buckets: buckets,
        server_cpu_s: (at != 100).then(|| rounded(viewers as f64 / 6500.0 + random.uniform() * 0.03)),
        server_rss_bytes: (at != 100).then(|| 90_000_000 + viewers * 55_000 + random.below(4_000_000)),
        machine_busy_s: rounded(0.1 + viewers as f64 / 2900.0 + random.uniform() * 0.1),
    }
}

fn group(random: &mut Random, bytes: u64, kind: &str) -> GroupFigures {
    let timing = |random: &mut Random, ms: f64, count| Timing {
        first_byte: quantiles(random, ms * 1.1, count),
        first_byte_raw: quantiles(random, ms * 0.7, count),
        complete: quantiles(random, ms * 9.0, count),
    };
    GroupFigures {
        viewers: VIEWERS / 2,
        bytes,
        requests: 120_000,
        errors: BTreeMap::from([("reset".to_owned(), 14), ("status 503".to_owned(), 5)]),
        stalls: 77,
        rebuffers: 41,
        rebuffer_ms: 23_400.0,
        timings: BTreeMap::from([
            ("playlist".to_owned(), timing(random, 0.4, 60_000)),
            (kind.to_owned(), timing(random, 0.9, 60_000)),
        ]),
        startup: Some(quantiles(random, 310.0, 2000)),
        live_latency: Some(Quantiles::default()),
        origin_to_viewer: (kind == "stream").then(|| quantiles(random, 21.0, 15_000)),
        bytes_least: 55_000_000,
        bytes_most: 61_000_000,
    }
}

fn quantiles(random: &mut Random, p50: f64, count: u64) -> Quantiles {
    let p50 = p50 * (0.9 + 0.2 * random.uniform());
    let mut factor = 1.0;
    let mut next = |least: f64| {
        factor *= least + random.uniform();
        rounded(p50 * factor)
    };
    let (p90, p95, p99, p999, max) = (next(1.2), next(1.1), next(1.5), next(2.0), next(1.5));
    Quantiles { count, mean: rounded(p50 * 1.2), p50: rounded(p50), p90, p95, p99, p999, max }
}

fn environment() -> Environment {
    let sysctls = [("net.core.somaxconn", "4096"), ("net.ipv4.tcp_wmem", "4096 16384 4194304")];
    Environment {
        begun: "2026-03-01T12:00:00Z".to_owned(),
        kernel: "6.18.0".to_owned(),
        cpu_model: "Example CPU".to_owned(),
        cpus: 2,
        memory_bytes: 25_000_000_000,
        sysctls: sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        harness_version: "0.1.0".to_owned(),
        server_command: Some("relay --name \"<script>alert(1)</script>\" \u{1b}[31m".to_owned()),
    }
}

fn scenario(seed: u64) -> Scenario {
    let group = |name: &str, kind, path: &str| Group {
        channels: 50,
        zipf: 1.1,
        arrivals: Arrivals::Ramp { over_s: 18.0 },
        ..Group::new(name, kind, (VIEWERS / 2) as u32, path)
    };
    let stalling = Reading::Stalls { every_s: 10.0, for_s: 2.0 };
    let groups = vec![
        group("evening <hls> & co", Kind::Hls, "/{n}/index.m3u8"),
        Group { reading: stalling, ..group("set-top boxes", Kind::Ts, "/{n}.ts") },
    ];
    Scenario {
        target: "http://127.0.0.1:8080".to_owned(),
        warmup_s: WARMUP_S,
        seed,
        slo: Slo { startup_p95_ms: Some(800.0), ..Slo::default() },
        ..Scenario::new("evening", SECONDS, groups)
    }
}

/// So few digits that JSON gives them back exactly; it may be off in the last of 17.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Of mean 0 and deviation 1, nearly.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0
}
