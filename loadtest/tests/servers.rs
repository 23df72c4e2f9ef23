//! `loadtest ab`, `capacity` and `peer` as they are called, against servers whose difference is known.
//!
//! The harness may refuse any run of a busy machine, and says so; then nothing is held against the figures' summary, only against the runs'.

use loadtest::badserver::{BadServer, Fault};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const HLS: [&str; 4] = ["--kind", "hls", "--path", "/live/x/master.m3u8"];

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().expect("it starts")
}

/// The document that a command writes, and its exit code.
fn document(arguments: &[&str]) -> (Value, i32) {
    let output = loadtest(&[arguments, &["--json", "-"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (document, output.status.code().expect("it was not killed"))
}

fn url(server: &BadServer) -> String {
    format!("http://{}", server.addr())
}

fn is_refused(round: &Value) -> bool {
    (0..2).any(|side| !round["runs"][side]["refused"].as_array().expect("a list").is_empty())
}

#[test]
fn an_ab_shows_the_slower_server() {
    let (fast, slow) = (BadServer::start(Fault::None).unwrap(), BadServer::start(Fault::SlowFirstByte).unwrap());
    let sides = ["ab", "--a", &url(&fast), "--b", &url(&slow), "--viewers", "2", "--duration", "6", "--rounds", "2"];
    let (comparison, code) = document(&[sides.as_slice(), HLS.as_slice()].concat());
    const FIGURE: &str = "segment first byte p50";
    let rounds = comparison["rounds"].as_array().expect("a list");
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let first_byte = |side: usize| round["runs"][side]["figures"][FIGURE].as_f64().expect("segments came");
        // Whatever the machine does meanwhile, the slow server's wait is never less than this.
        assert!(first_byte(1) >= 190.0, "{round}");
        assert!(round["runs"][0]["figures"]["server CPU time per GB"].is_null(), "no pid was given: {round}");
    }
    let counted = rounds.iter().filter(|round| !is_refused(round)).count();
    assert_eq!(code, if counted > 0 { 0 } else { 2 });
    let rows = comparison["figures"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["name"] == FIGURE);
    assert_eq!(row.is_some(), counted > 0);
    if let Some(row) = row {
        assert_eq!(row["ratio"]["rounds"], counted, "{row}");
        assert!(row["ratio"]["interval"].is_null(), "two rounds are too few: {row}");
        assert!(row["b_median"].as_f64() > row["a_median"].as_f64(), "{row}");
    }
}

/// A capacity run of at most four viewers, where every run counts for itself.
fn capacity(server: &BadServer, bounds: &[&str]) -> Value {
    let common = ["capacity", "--target", &url(server), "--duration", "5", "--from", "1", "--confirm", "1"];
    document(&[common.as_slice(), HLS.as_slice(), bounds].concat()).0
}

/// Whether any step was refused, as those of a busy machine are.
fn has_refused(found: &Value) -> bool {
    found["steps"].as_array().expect("a list").iter().any(|step| step["outcome"] == "refused")
}

#[test]
fn a_capacity_ends_at_the_most_that_was_asked_for() {
    let server = BadServer::start(Fault::None).unwrap();
    let generous = ["--playlist-p99-ms", "9000", "--segment-first-byte-p99-ms", "9000", "--startup-p95-ms", "9000"];
    let more = ["--rebuffers-max", "99", "--most", "2"];
    let found = capacity(&server, &[generous.as_slice(), more.as_slice()].concat());
    assert_eq!(found["scenario"]["slo"]["errors_share_max"], 1e-5, "the default: {found}");
    if has_refused(&found) {
        assert_eq!(found["capacity"]["limit"], "harness", "{found}");
    } else {
        assert_eq!(
            (&found["capacity"]["limit"], &found["capacity"]["viewers"]),
            (&"most".into(), &2.into()),
            "{found}"
        );
    }
}

#[test]
fn a_server_that_is_too_slow_for_one_viewer_has_no_capacity() {
    let server = BadServer::start(Fault::SlowFirstByte).unwrap();
    let found = capacity(&server, &["--most", "4"]);
    assert_eq!(found["capacity"]["viewers"], 0, "{found}");
    if !has_refused(&found) {
        assert_eq!(found["capacity"]["limit"], "server");
        assert!(found["failed"].to_string().contains("segment first byte p99"), "{found}");
    }
}

#[test]
fn what_cannot_be_run_is_said() {
    let said = |arguments: &[&str]| {
        let output = loadtest(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let ab = ["ab", "--a", "http://127.0.0.1:1", "--b", "http://127.0.0.1:1"];
    assert!(said(&ab).contains("--kind"));
    assert!(said(&[ab.as_slice(), &["--kind", "hls"]].concat()).contains("needs a path"));
    assert!(said(&["ab", "--a", "peer:x", "--b", "peer:x", "--kind", "hls"]).contains("nginx-rtmp"));
}

/// The program, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).expect("a child's pid is above 0");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn nginx_rtmp_serves_live_hls_and_ends_with_the_command() {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
    if !PathBuf::from(MODULE).exists() {
        println!("SKIP nginx-rtmp: the package libnginx-mod-rtmp is not installed");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["peer", "nginx-rtmp", "--feed-core", "0"]).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("it starts"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("a line").expect("it is text");
    let (target, pid) = first.split_once(", process ").unwrap_or_else(|| panic!("{first}"));
    let target = target.to_owned();
    let hls = ["--kind", "hls", "--path", "/c1.m3u8", "--target", &target, "--server-pid", pid];
    let (result, _) = document(&[&["run", "--viewers", "2", "--duration", "6"], hls.as_slice()].concat());
    let group = &result["groups"]["hls"];
    assert!(group["bytes"].as_u64() > Some(500_000) && group["errors"] == serde_json::json!({}), "{group}");
    assert!(result["server"]["cpu_user_s"].is_number(), "{}", result["server"]);
    drop(running);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "the server outlives the command");
}
