//! The timeline and the pacer under simulation: a virtual clock, a model of a source whose truth is known, and everything that sources do.
//!
//! ```text
//!  plan (from the seed) ─► source ─► network ─► pacer, timeline ─► check
//!                             └──────────── truth ────────────────────┘
//!                                                     └─► CMAF packager: stores, playlists, MPD
//! ```
//!
//! `MILLRACE_SEED=n cargo test --test sim` replays one seed; `MILLRACE_FULL=1` runs 1,000 seeds and whole days of drift.
//! No run reads a clock: a seed gives the same run everywhere.

mod check;
mod cmaf;
#[path = "../support/cmaf.rs"]
mod isobmff;
mod noise;
mod plan;
mod rng;
mod run;
mod source;

use plan::{Network, Plan};
use rng::Rng;
use run::Run;
use source::SECOND;

fn full() -> bool {
    std::env::var_os("MILLRACE_FULL").is_some_and(|value| value == "1")
}

fn one(seed: u64) -> Result<Run, String> {
    finished(Run::new(seed), seed, "seeds")
}

fn finished(mut run: Run, seed: u64, test: &str) -> Result<Run, String> {
    match run.run() {
        Ok(()) => Ok(run),
        Err(why) => Err(format!(
            "{why}\n  {:?}\n  replay: MILLRACE_SEED={seed} cargo test --test sim {test} -- --nocapture",
            run.plan()
        )),
    }
}

/// The CMAF packager, its playlists and its MPD behind the same runs.
#[test]
fn cmaf_seeds() {
    let asked = std::env::var("MILLRACE_SEED").ok().map(|seed| seed.parse().expect("MILLRACE_SEED is a number"));
    let seeds = asked.map_or(0..if full() { 1_000 } else { 20 }, |seed: u64| seed..seed + 1);
    let mut failed = Vec::new();
    let (mut segments, mut gaps, mut discontinuities) = (0, 0, 0);
    for seed in seeds.clone() {
        match finished(Run::with_cmaf(seed), seed, "cmaf_seeds") {
            Ok(run) => {
                let cmaf = run.cmaf.as_ref().expect("it takes part");
                segments += cmaf.segments;
                gaps += cmaf.gaps;
                discontinuities += cmaf.discontinuities;
            }
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    let count = seeds.end - seeds.start;
    println!("{count} seeds: {segments} segments, {gaps} of them gaps, {discontinuities} discontinuities");
    let first = failed[..failed.len().min(5)].join("\n");
    assert!(failed.is_empty(), "{} seeds of {count} failed, the first:\n{first}", failed.len());
    assert!(asked.is_some() || (segments > 500 && gaps > 0 && discontinuities > 10));
}

#[test]
fn seeds() {
    if let Ok(seed) = std::env::var("MILLRACE_SEED") {
        let seed = seed.parse().expect("MILLRACE_SEED is a number");
        let run = one(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        println!("seed {seed} holds: {:?}", run.plan());
        return;
    }
    let count = if full() { 1_000 } else { 200 };
    let mut failed = Vec::new();
    let (mut placed, mut cuts, mut breaks) = (0, 0, 0);
    for seed in 0..count {
        match one(seed) {
            Ok(run) => {
                placed += run.check.placed;
                cuts += run.check.cuts;
                breaks += run.check.discontinuities;
            }
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    println!("{count} seeds: {placed} samples, {cuts} segments, {breaks} discontinuities");
    assert!(
        failed.is_empty(),
        "{} seeds of {count} failed, the first:\n{}",
        failed.len(),
        failed[..failed.len().min(5)].join("\n")
    );
}

/// Time stamps without any sense: nothing may break that players rely on.
#[test]
fn noise_is_survived() {
    let mut segments = 0;
    for seed in 0..if full() { 500 } else { 100 } {
        segments += noise::run(seed).unwrap_or_else(|why| panic!("noise {seed}: {why}"));
    }
    println!("{segments} CMAF segments of noise");
    assert!(segments > 100);
}

/// A stream without any event.
fn quiet(length: i64) -> Plan {
    Plan {
        length,
        audio_only: false,
        gop_max_ms: 2_000,
        network: Network::Jitter(40_000),
        burst: 0,
        pace: true,
        drift_ppm: 0,
        target_ms: 2_000,
        max_ms: 4_000,
        events: Vec::new(),
    }
}

#[test]
fn a_clean_stream_loses_nothing_and_breaks_nowhere() {
    for seed in 0..100 {
        let mut run = Run::with_plan(quiet(120 * SECOND), 0, Rng::new(seed));
        run.run().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let check = &run.check;
        assert_eq!((check.flagged, check.discontinuities, check.cuts_off_key), (0, 0, 0), "seed {seed}");
        assert!(check.cuts >= 30, "seed {seed}: {} cuts", check.cuts);
    }
}

#[test]
fn cmaf_of_a_clean_stream_has_no_gap_and_leaves_nothing_out() {
    for seed in 0..if full() { 200 } else { 20 } {
        let run = Run::with_plan(quiet(120 * SECOND), 0, Rng::new(seed)).followed_by_cmaf(seed);
        let run = finished(run, seed, "clean").unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let cmaf = run.cmaf.as_ref().expect("it takes part");
        assert_eq!((cmaf.gaps, cmaf.discontinuities), (0, 0), "seed {seed}");
        // But for audio before the first cut, of two tracks.
        assert!(cmaf.segments >= 5 && cmaf.left_out() <= 200, "seed {seed}: {} left out", cmaf.left_out());
    }
}

#[test]
fn drift_is_slewed_away() {
    let (hours, seeds) = if full() { (24, 3) } else { (3, 1) };
    for seed in 0..seeds {
        for drift_ppm in [50, -50, 300] {
            let mut run = Run::with_plan(Plan { drift_ppm, ..quiet(hours * 3_600 * SECOND) }, 0, Rng::new(seed));
            run.run().unwrap_or_else(|why| panic!("seed {seed}, {drift_ppm} ppm: {why}"));
            let (off_ms, flagged) = (run.check.off_max / 90, run.check.flagged + run.check.discontinuities);
            println!("{hours} h of {drift_ppm} ppm: at most {off_ms} ms off, {flagged} breaks");
            assert!(off_ms < 500 && flagged == 0, "seed {seed}, {drift_ppm} ppm: {off_ms} ms off, {flagged} breaks");
        }
    }
}
