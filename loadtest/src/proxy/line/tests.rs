//! Properties of a line, under seeded arrivals, late calls and partial writes.

use super::super::faults::{CutKind, Faults};
use super::*;

/// What one simulated line did.
struct Outcome {
    pushed: Vec<u8>,
    /// Arrival of each byte.
    arrivals: Vec<Duration>,
    sent: Vec<u8>,
    /// Time and size of each write.
    writes: Vec<(Duration, usize)>,
    /// When the end was passed on.
    end: Option<Duration>,
    held_bytes_peak: usize,
    stall_count: u64,
}

/// How the world around the line behaves.
struct World {
    seed: u64,
    bytes: usize,
    /// Most time between two arrivals, microseconds.
    gap_us_max: u64,
    /// Most time by which the line is asked late, microseconds.
    late_us_max: u64,
    /// The sink takes part of a write now and then.
    partial_writes: bool,
}

const ON_TIME: World = World { seed: 1, bytes: 400_000, gap_us_max: 4_000, late_us_max: 0, partial_writes: false };

fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn below(chance: &mut Random, limit: u64) -> u64 {
    chance.next_u64() % (limit + 1)
}

/// Runs a line to its end on a virtual clock: push when something arrives and there is room, write all that is ready, go to what is due.
fn run(faults: &Faults, world: &World) -> Outcome {
    let mut line = Line::new(faults.plan(0, Duration::ZERO).down);
    let mut chance = Random::new(world.seed);
    let mut outcome = Outcome {
        pushed: vec![],
        arrivals: vec![],
        sent: vec![],
        writes: vec![],
        end: None,
        held_bytes_peak: 0,
        stall_count: 0,
    };
    let (mut now, mut next_arrival) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..2_000_000 {
        if next_arrival <= now && !line.is_ending() {
            let left = world.bytes - outcome.pushed.len();
            let count = (1 + below(&mut chance, 20_000) as usize).min(left).min(line.room(now));
            let bytes: Vec<u8> = (0..count).map(|_| chance.next_u64() as u8).collect();
            line.push(now, &bytes);
            outcome.pushed.extend(bytes);
            outcome.arrivals.resize(outcome.pushed.len(), now);
            outcome.held_bytes_peak = outcome.held_bytes_peak.max(line.held.len());
            next_arrival = now + us(1 + below(&mut chance, world.gap_us_max));
            if count == left {
                line.push_end(now);
            }
        }
        while let count @ 1.. = line.ready(now).len() {
            let count = if world.partial_writes { 1 + below(&mut chance, count as u64 - 1) as usize } else { count };
            outcome.sent.extend(&line.ready(now)[..count]);
            outcome.writes.push((now, count));
            line.sent(now, count);
        }
        if line.take_end(now) {
            outcome.end = Some(now);
        }
        let arrival = (!line.is_ending()).then_some(next_arrival);
        let Some(next) = line.next_due(now).into_iter().chain(arrival).min() else { break };
        now = now.max(next) + us(below(&mut chance, world.late_us_max));
    }
    outcome.stall_count = line.stall_count();
    outcome
}

/// Nothing lost or reordered, the end passed on behind it, nothing earlier than the latency.
fn assert_faithful(faults: &Faults, outcome: &Outcome) {
    assert!(outcome.sent == outcome.pushed, "{} of {} bytes, or others", outcome.sent.len(), outcome.pushed.len());
    let latency = Duration::from_millis(faults.latency_ms);
    let mut position = 0;
    for &(at, count) in &outcome.writes {
        position += count;
        assert!(at >= outcome.arrivals[position - 1] + latency, "byte {position} left at {at:?}");
    }
    assert!(outcome.end.unwrap() >= *outcome.arrivals.last().unwrap() + latency);
}

/// Most bytes that left in any window of one second.
fn busiest_second(writes: &[(Duration, usize)]) -> usize {
    let mut first = 0;
    let mut bytes = 0;
    let mut most = 0;
    for &(at, count) in writes {
        bytes += count;
        while writes[first].0 + Duration::from_secs(1) <= at {
            bytes -= writes[first].1;
            first += 1;
        }
        most = most.max(bytes);
    }
    most
}

#[test]
fn nothing_is_lost_whatever_is_in_the_way() {
    for seed in 0..40 {
        let mut chance = Random::new(seed);
        let mut sometimes = |value: u64| chance.next_u64().is_multiple_of(2).then_some(value);
        let every = sometimes(1).map(|_| 0.3);
        let faults = Faults {
            latency_ms: sometimes(60).unwrap_or(0),
            jitter_ms: sometimes(40).unwrap_or(0),
            rate_kbps: sometimes(3_000),
            queue_kb: sometimes(20).unwrap_or(256),
            stall_every_s: every,
            stall_ms: every.map(|_| 100),
            slice_bytes: sometimes(700).map(|bytes| bytes as usize),
            seed,
            ..Faults::default()
        };
        let world = World { seed, late_us_max: seed % 3 * 2_000, partial_writes: seed % 2 == 0, ..ON_TIME };
        assert_faithful(&faults, &run(&faults, &world));
    }
}

#[test]
fn without_faults_bytes_leave_when_they_arrive() {
    let outcome = run(&Faults::default(), &ON_TIME);
    assert_faithful(&Faults::default(), &outcome);
    let mut position = 0;
    for &(at, count) in &outcome.writes {
        position += count;
        assert_eq!(at, outcome.arrivals[position - 1]);
    }
}

#[test]
fn latency_is_exact_and_jitter_within_its_bound() {
    for jitter_ms in [0, 30] {
        let faults = Faults { latency_ms: 50, jitter_ms, ..Faults::default() };
        let world = World { gap_us_max: 200_000, ..ON_TIME };
        let outcome = run(&faults, &world);
        assert_faithful(&faults, &outcome);
        let mut position = 0;
        for &(at, count) in &outcome.writes {
            position += count;
            let delay = at - outcome.arrivals[position - 1];
            assert!(delay <= Duration::from_millis(50 + jitter_ms), "{delay:?}");
        }
    }
}

#[test]
fn no_second_has_more_than_the_rate_and_an_mtu() {
    for kbps in [64, 1_000, 8_000] {
        let faults = Faults { rate_kbps: Some(kbps), latency_ms: 20, ..Faults::default() };
        let world =
            World { bytes: kbps as usize * 500, gap_us_max: 900_000 / kbps, partial_writes: kbps == 1_000, ..ON_TIME };
        let outcome = run(&faults, &world);
        assert_faithful(&faults, &outcome);
        let limit = kbps as usize * 125 + MTU_BYTES;
        let busiest = busiest_second(&outcome.writes);
        assert!(busiest <= limit, "{busiest} bytes at {kbps} kbit/s");
        assert!(busiest >= limit * 9 / 10, "{busiest} bytes at {kbps} kbit/s: the rate was never reached");
    }
}

#[test]
fn late_calls_lose_no_rate_and_gain_no_more_than_the_catch_up() {
    let faults = Faults { rate_kbps: Some(4_000), ..Faults::default() };
    let world = World { bytes: 2_000_000, gap_us_max: 100, late_us_max: 9_000, ..ON_TIME };
    let outcome = run(&faults, &world);
    let busiest = busiest_second(&outcome.writes);
    assert!(busiest <= 500_000 + MTU_BYTES + bytes_in(4_000, CATCH_UP), "{busiest}");
    let took = outcome.end.unwrap().as_secs_f64();
    assert!((3.99..4.05).contains(&took), "2 MB at 4 Mbit/s took {took} s");
}

#[test]
fn what_is_held_is_bounded_by_queue_and_flight() {
    let faults = Faults { rate_kbps: Some(2_000), queue_kb: 30, latency_ms: 100, ..Faults::default() };
    let outcome = run(&faults, &World { gap_us_max: 10, ..ON_TIME });
    assert_eq!(outcome.held_bytes_peak, 30_000 + 25_000);
    let mut line = Line::new(Faults { latency_ms: 100, ..Faults::default() }.plan(0, Duration::ZERO).down);
    assert_eq!(line.room(Duration::ZERO), IN_FLIGHT_BYTES_MAX);
}

#[test]
fn nothing_passes_in_a_stall() {
    let faults = Faults { stall_every_s: Some(0.5), stall_ms: Some(200), seed: 4, ..Faults::default() };
    let world = World { bytes: 10_000_000, late_us_max: 500, ..ON_TIME };
    let outcome = run(&faults, &world);
    assert_faithful(&faults, &outcome);
    let mut stalls = faults.plan(0, Duration::ZERO).down.stalls.unwrap();
    let stalled: Vec<_> = outcome.writes.iter().filter(|(at, _)| stalls.end(*at).is_some()).collect();
    assert!(stalled.is_empty(), "{stalled:?}");
    let pauses = outcome.writes.windows(2).filter(|pair| pair[1].0 - pair[0].0 >= Duration::from_millis(195)).count();
    assert!(pauses >= 3, "{pauses}");
    assert_eq!(pauses as u64, outcome.stall_count);
}

#[test]
fn slices_are_no_longer_than_asked_and_whole_but_for_the_last_of_a_burst() {
    let faults = Faults { slice_bytes: Some(7), ..Faults::default() };
    let outcome = run(&faults, &ON_TIME);
    assert_faithful(&faults, &outcome);
    assert!(outcome.writes.iter().all(|&(_, count)| count <= 7));
    let short = outcome.writes.windows(2).filter(|pair| pair[0].1 < 7 && pair[0].0 == pair[1].0).count();
    assert_eq!(short, 0, "a slice before the last of its burst is short");
}

#[test]
fn a_cut_comes_after_exactly_its_bytes() {
    let faults = Faults { reset_after_kb: Some(123), rate_kbps: Some(9_000), ..Faults::default() };
    let mut line = Line::new(faults.plan(0, Duration::ZERO).down);
    let mut forwarded = 0;
    for now in (0..1_000).map(Duration::from_millis) {
        let room = line.room(now);
        line.push(now, &vec![0; room]);
        while let count @ 1.. = line.ready(now).len() {
            forwarded += count;
            line.sent(now, count);
        }
    }
    assert_eq!((forwarded, line.cut_reached()), (123_000, Some(Cut { position: 123_000, kind: CutKind::Reset })));
    assert_eq!((line.room(Duration::from_secs(2)), line.next_due(Duration::from_secs(2))), (0, None));
}

#[test]
fn the_end_waits_for_what_is_held_and_for_its_latency() {
    let mut line = Line::new(Faults { latency_ms: 10, ..Faults::default() }.plan(0, Duration::ZERO).down);
    line.push(us(0), b"x");
    line.push_end(us(4_000));
    assert!(!line.take_end(us(14_000)), "a byte is still held");
    assert_eq!(line.ready(us(14_000)), b"x");
    line.sent(us(14_000), 1);
    assert_eq!(line.next_due(us(13_000)), Some(us(14_000)));
    assert!(!line.take_end(us(13_999)));
    assert!(line.take_end(us(14_000)) && !line.take_end(us(14_001)) && line.is_over());
    assert_eq!(line.next_due(us(14_001)), None);
}
