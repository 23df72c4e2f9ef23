//! From origin to viewer over real sockets: what the stamps of a stream tell at its viewers.

use loadtest::badserver::{BadServer, Options as ServerOptions, PesForm, Stamp};
use loadtest::engine::{Options, run};
use loadtest::proxy::{Faults, Proxy};
use loadtest::report::text;
use loadtest::result::Quantiles;
use loadtest::scenario::{Group, Kind, Scenario};
use std::net::SocketAddr;

/// A proxy's delay, milliseconds, far above what a busy machine adds at the median.
const DELAY_MS: f64 = 200.0;

fn origin(pes: PesForm) -> BadServer {
    let options = ServerOptions { kbps: 3_000, pes, stamp: Stamp::Written, ..ServerOptions::default() };
    BadServer::start_with(options).expect("it starts")
}

/// What two viewers saw, and what the report says of it.
fn watch(addr: SocketAddr, kind: Kind, path: &str, checked: f64, seconds: u64) -> (Option<Quantiles>, String) {
    let group = Group { checked, kbps: 3_000, ..Group::new("viewers", kind, 2, path) };
    let scenario = Scenario { target: format!("http://{addr}"), ..Scenario::new("latency", seconds, vec![group]) };
    let result = run(&scenario, &Options::default()).expect("it can be run");
    assert_eq!(result.violations, []);
    (result.groups["viewers"].origin_to_viewer.clone(), text::report(&result))
}

fn median_ms(addr: SocketAddr, path: &str) -> f64 {
    let (times, table) = watch(addr, Kind::Ts, path, 1.0, 4);
    let times = times.unwrap_or_else(|| panic!("nothing was timed: {table}"));
    assert!(times.count > 100, "two viewers see 50 pictures a second: {table}");
    assert!(table.contains("origin to viewer"), "{table}");
    times.p50
}

#[test]
fn a_viewer_at_the_origin_sees_pictures_as_they_are_written_and_none_from_before() {
    let server = origin(PesForm::Aligned);
    let ms = median_ms(server.addr(), "/live/x.ts");
    // The stream begins with up to 2 s of the past, which would show.
    assert!(ms > 0.0 && ms < DELAY_MS / 2.0, "{ms} ms");
}

#[test]
fn a_delay_on_the_way_is_latency_however_pes_packets_end() {
    for pes in [PesForm::Aligned, PesForm::Unmarked] {
        let server = origin(pes);
        let faults = Faults { latency_ms: DELAY_MS as u64, ..Faults::default() };
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), server.addr(), faults).expect("it starts");
        let ms = median_ms(proxy.local_addr(), "/live/x.ts");
        assert!((DELAY_MS..1.5 * DELAY_MS).contains(&ms), "{pes:?}: {ms} ms");
    }
}

#[test]
fn the_stamp_of_an_unbounded_picture_is_of_the_byte_that_completes_it() {
    let server = origin(PesForm::Unbounded);
    let faults = Faults { latency_ms: DELAY_MS as u64, ..Faults::default() };
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), server.addr(), faults).expect("it starts");
    let ms = median_ms(proxy.local_addr(), "/live/x.ts");
    // Its own last byte comes one picture, 40 ms, before the one that completes it.
    assert!((DELAY_MS - 41.0..DELAY_MS).contains(&ms), "{ms} ms");
}

#[test]
fn a_late_stream_of_an_origin_is_stamped_as_it_is_written() {
    let server = origin(PesForm::Aligned);
    let ms = median_ms(server.addr(), "/live/x/late500ms.ts");
    assert!(ms < 250.0, "{ms} ms");
    let due = BadServer::start_with(ServerOptions { kbps: 3_000, ..ServerOptions::default() }).expect("it starts");
    let ms = median_ms(due.addr(), "/live/x/late500ms.ts");
    assert!((500.0..750.0).contains(&ms), "stamps of when it was due: {ms} ms");
}

#[test]
fn segments_tell_of_their_newest_picture() {
    let server = origin(PesForm::Aligned);
    let (times, table) = watch(server.addr(), Kind::Hls, "/live/x/master.m3u8", 1.0, 12);
    let times = times.unwrap_or_else(|| panic!("nothing was timed: {table}"));
    // Viewers keep three target durations of 2 s behind the end, where they begin; segments made before they came do not count.
    assert!(times.count > 0 && times.p50 > 40.0 && times.max < 8_000.0, "{table}");
}

#[test]
fn viewers_that_do_not_look_tell_nothing() {
    let server = origin(PesForm::Aligned);
    let (times, table) = watch(server.addr(), Kind::Ts, "/live/x.ts", 0.0, 2);
    assert_eq!(times, None);
    assert!(!table.contains("origin to viewer"), "{table}");
}
