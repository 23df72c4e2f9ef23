//! The load generator against a server that is wrong in a chosen way: each fault is found, by name, and a server without fault is not accused.

use loadtest::badserver::{BadServer, Fault, Options as ServerOptions};
use loadtest::engine::{Options, run};
use loadtest::result::RunResult;
use loadtest::scenario::{Group, Kind, Scenario, Slo};
use std::time::Duration;

const TS: (Kind, &str) = (Kind::Ts, "/live/x.ts");
const HLS_TS: (Kind, &str) = (Kind::Hls, "/live/x/master.m3u8");
const HLS_CMAF: (Kind, &str) = (Kind::Hls, "/live/x/cmaf.m3u8");
const DASH: (Kind, &str) = (Kind::Dash, "/live/x/manifest.mpd");

/// Three checked viewers of a server with this fault, which has run for `uptime_s` when they come.
fn watch(fault: Fault, (kind, path): (Kind, &str), seconds: u64, uptime_s: u64) -> RunResult {
    let options = ServerOptions { fault, uptime: Duration::from_secs(uptime_s), ..ServerOptions::default() };
    let server = BadServer::start_with(options).expect("it starts");
    let group = Group { checked: 1.0, ..Group::new("viewers", kind, 3, path) };
    let scenario = Scenario {
        target: format!("http://{}", server.addr()),
        slo: Slo { errors_share_max: Some(0.0), ..Slo::default() },
        ..Scenario::new(&format!("{fault:?}"), seconds, vec![group])
    };
    run(&scenario, &Options::default()).expect("it can be run")
}

fn rules(result: &RunResult) -> Vec<&str> {
    result.violations.iter().map(|violation| violation.rule.as_str()).collect()
}

#[track_caller]
fn assert_found(result: &RunResult, rule: &str) {
    assert!(rules(result).contains(&rule), "{rule} was not found: {:#?}", result.violations);
    assert!(!result.verdict.passed);
}

#[test]
fn a_server_without_fault_is_not_accused() {
    std::thread::scope(|scope| {
        for what in [TS, HLS_TS, HLS_CMAF, DASH] {
            scope.spawn(move || {
                let result = watch(Fault::None, what, 10, 0);
                assert_eq!(result.violations, [], "{what:?}");
                assert_eq!(result.verdict.missed, Vec::<String>::new(), "{what:?}");
                let viewers = &result.groups["viewers"];
                assert!(viewers.bytes > 500_000 && viewers.startup.is_some(), "{what:?}: {viewers:?}");
            });
        }
    });
}

#[test]
fn a_lost_packet_is_found_in_a_stream_and_in_a_segment() {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_found(&watch(Fault::DropTsPacket, TS, 8, 0), "continuity-counter"));
        scope.spawn(|| assert_found(&watch(Fault::DropTsPacket, HLS_TS, 8, 0), "ts-continuity-counter"));
    });
}

#[test]
fn wrong_segments_are_found() {
    std::thread::scope(|scope| {
        for what in [HLS_TS, HLS_CMAF, DASH] {
            scope.spawn(move || assert_found(&watch(Fault::RepeatSegment, what, 10, 0), "segment-repeated"));
        }
        scope.spawn(|| assert_found(&watch(Fault::TornBody, HLS_TS, 10, 0), "ts-partial-packet"));
        scope.spawn(|| assert_found(&watch(Fault::TimelineGap, HLS_CMAF, 12, 0), "tfdt-gap"));
        scope.spawn(|| assert_found(&watch(Fault::DiffersByViewer, HLS_TS, 8, 0), "segment-differs"));
        scope.spawn(|| {
            let torn = watch(Fault::TornSegment, HLS_TS, 10, 0);
            assert!(torn.groups["viewers"].errors.contains_key("short body"), "{:?}", torn.groups);
            assert!(!torn.verdict.passed);
        });
    });
}

#[test]
fn wrong_playlists_are_found() {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_found(&watch(Fault::StalePlaylist, HLS_TS, 14, 3), "playlist-stale"));
        scope.spawn(|| assert_found(&watch(Fault::SequenceBackwards, HLS_TS, 10, 2), "media-sequence-back"));
        scope.spawn(|| assert_found(&watch(Fault::WrongTargetDuration, HLS_TS, 8, 0), "extinf-above-target"));
    });
}

#[test]
fn a_server_that_stalls_or_fails_misses_its_bounds() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Twelve stalls of 300 ms within the requests of a playlist that is asked for again and again.
            let stalls = watch(Fault::Stall300, (Kind::Playlist, "/live/x/ts/index.m3u8"), 10, 0);
            let first_byte = &stalls.groups["viewers"].timings["playlist"].first_byte;
            assert!(first_byte.max >= 250.0, "{first_byte:?}");
        });
        scope.spawn(|| {
            let slow = watch(Fault::SlowFirstByte, HLS_TS, 8, 0);
            let first_byte = &slow.groups["viewers"].timings["segment"].first_byte;
            assert!(first_byte.p50 >= 190.0, "{first_byte:?}");
        });
        scope.spawn(|| {
            let failing = watch(Fault::Error500, HLS_TS, 25, 0);
            assert!(failing.groups["viewers"].errors.contains_key("status 500"), "{:?}", failing.groups);
            assert!(!failing.verdict.passed && !failing.verdict.missed.is_empty());
        });
    });
}
