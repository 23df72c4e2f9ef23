//! Raw requests against the live server, each on a connection of its own: what RFC 9110 and RFC 9112 demand of a server, and what of their
//! freedoms the relay takes. Where a recorded set of foreign cases lies beside the project, it is run too.
#![cfg(feature = "libav")]

mod support;

use std::process::Command;
use support::hls::Player;
use support::http::{Client, PATIENCE};
use support::origin;
use support::relay::{Relay, Setup};

/// What a request must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// This status, and the connection stays open.
    Open(u16),
    /// This status, and the connection ends.
    Closed(u16),
}
use Want::{Closed, Open};

/// A case's source, the bytes, and what they must come to. `{path}` is a path that answers 200, `{long:N}` N letters.
type Case = (&'static str, &'static str, Want);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // ---- request line
    ("9112 3: origin-form", "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n", Open(200)),
    ("9112 3.2.2: absolute-form", "GET http://a{path} HTTP/1.1\r\nHost: a\r\n\r\n", Open(200)),
    ("9112 3.2.2: absolute-form without a path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", Open(200)),
    ("9112 3.2.4: asterisk-form is for OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Open(204)),
    ("9112 3.2.4: asterisk-form with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3.2.3: authority-form is for CONNECT", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: two spaces", "GET  {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: a tab for a space", "GET\t{path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: space before the method", " GET {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: space behind the version", "GET {path} HTTP/1.1 \r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: no version", "GET {path}\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3: no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3.2: a fragment is no part of a target", "GET {path}#x HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3.2: a byte above ASCII", "GET {path}\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9110 15.5.15: a target of 5,000 bytes", "GET /{long:5000} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(414)),
    ("9112 2.2: one empty line before the request", "\r\nGET {path} HTTP/1.1\r\nHost: a\r\n\r\n", Open(200)),
    // ---- version
    ("9112 2.3: HTTP/1.0 needs no Host", "GET {path} HTTP/1.0\r\n\r\n", Closed(200)),
    ("9112 C.2.2: HTTP/1.0 with keep-alive", "GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Open(200)),
    ("9110 15.6.6: HTTP/2.0", "GET {path} HTTP/2.0\r\nHost: a\r\n\r\n", Closed(505)),
    ("9112 2.3: lower-case name", "GET {path} http/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 2.3: two digits", "GET {path} HTTP/1.10\r\nHost: a\r\n\r\n", Closed(400)),
    ("9113 3.4: the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed(505)),
    // ---- methods
    ("9110 9.1: GET in lower case is another method", "get {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(501)),
    ("9110 15.6.2: an unknown method", "BREW {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(501)),
    ("9110 15.5.6: POST", "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Closed(405)),
    ("9110 15.5.6: DELETE", "DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(405)),
    ("9110 9.3.6: CONNECT is for proxies", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Closed(501)),
    ("9110 5.6.2: a method with a byte no token has", "GE(T {path} HTTP/1.1\r\nHost: a\r\n\r\n", Closed(400)),
    ("9110 9.3.2: HEAD", "HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n", Open(200)),
    ("9110 9.3.7: OPTIONS of a path", "OPTIONS {path} HTTP/1.1\r\nHost: a\r\n\r\n", Open(204)),
    // ---- Host
    ("9112 3.2: no Host", "GET {path} HTTP/1.1\r\n\r\n", Closed(400)),
    ("9112 3.2: two Hosts", "GET {path} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Closed(400)),
    ("9112 3.2: a Host with a path", "GET {path} HTTP/1.1\r\nHost: a/b\r\n\r\n", Closed(400)),
    ("9112 3.2: a Host with a blank", "GET {path} HTTP/1.1\r\nHost: a b\r\n\r\n", Closed(400)),
    ("9110 7.2: a Host with a port", "GET {path} HTTP/1.1\r\nHost: a:8080\r\n\r\n", Open(200)),
    ("3986 3.2.2: an IPv6 literal", "GET {path} HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", Open(200)),
    // ---- fields
    ("9110 5.1: names in any case", "GET {path} HTTP/1.1\r\nhOsT: a\r\n\r\n", Open(200)),
    ("9112 5: no blank behind the colon", "GET {path} HTTP/1.1\r\nHost:a\r\n\r\n", Open(200)),
    ("9112 5: blanks around a value", "GET {path} HTTP/1.1\r\nHost: \t a \t\r\n\r\n", Open(200)),
    ("9110 5.5: an empty value", "GET {path} HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n", Open(200)),
    ("9110 5.5: bytes above ASCII in a value", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A: \u{e9}\r\n\r\n", Open(200)),
    ("9112 5.1: a blank before the colon", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", Closed(400)),
    ("9112 5.2: obs-fold", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", Closed(400)),
    ("9112 2.2: a blank line's start before the first field", "GET {path} HTTP/1.1\r\n Host: a\r\n\r\n", Closed(400)),
    ("9112 5: no colon", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n", Closed(400)),
    ("9112 5: no name", "GET {path} HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Closed(400)),
    ("9110 5.5: NUL in a value", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", Closed(400)),
    ("9112 2.2: a CR alone in a value", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n", Closed(400)),
    ("9112 2.2: lines that end in LF", "GET {path} HTTP/1.1\nHost: a\n\n", Closed(400)),
    ("9110 5.4: a head of 20,000 bytes", "GET {path} HTTP/1.1\r\nHost: a\r\nX-A: {long:20000}\r\n\r\n", Closed(431)),
    ("6585 5: 100 fields", "GET {path} HTTP/1.1\r\nHost: a\r\n{fields:100}\r\n", Closed(431)),
    // ---- framing
    ("9112 6.2: a length of nothing", "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Open(200)),
    ("9112 6.2: a body", "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", Closed(413)),
    ("9112 6.3: a length that is no number", "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", Closed(400)),
    ("9112 6.3: a length with a sign", "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", Closed(400)),
    ("9112 6.3: lengths that differ", "GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", Closed(400)),
    ("9112 6.1: length and coding", "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Closed(400)),
    ("9112 6.1: chunked is not the last coding", "GET {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Closed(400)),
    ("9112 6.1: an unknown coding", "GET {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Closed(501)),
    ("9112 6.1: a coding in HTTP/1.0", "GET {path} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Closed(400)),
    ("9112 6.1: a chunked body", "GET {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Closed(413)),
    // ---- connection and expectation
    ("9112 9.6: close", "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Closed(200)),
    ("9112 9.6: close in a list, in any case", "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: x, ClOsE\r\n\r\n", Closed(200)),
    ("9110 10.1.1: 100-continue without a body", "GET {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", Open(200)),
    ("9110 10.1.1: an unknown expectation", "GET {path} HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", Closed(417)),
    ("9110 7.8: an upgrade is ignored", "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", Open(200)),
];

#[test]
fn requests_get_what_the_rfcs_say() {
    let relay = Setup::new().channel("live", "http://127.0.0.1:9/").start();
    let failed: Vec<String> = CASES.iter().filter_map(|case| failure(&relay, case)).collect();
    println!("{} of {} cases passed", CASES.len() - failed.len(), CASES.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Sends one case; what went wrong.
fn failure(relay: &Relay, (source, request, want): &Case) -> Option<String> {
    let mut client = relay.connect();
    client.write(bytes_of(request));
    let method = if request.starts_with("HEAD") { "HEAD" } else { "GET" };
    let answer = match client.answer(method) {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{source}: want {want:?}, got {error}")),
    };
    // Where it says that it goes on, it does: the next request is answered.
    let announced = answer.field("connection") == Some("close");
    let closed = if announced { client.is_closed_within(PATIENCE) } else { !goes_on(&mut client) };
    let got = if closed { Closed(answer.status) } else { Open(answer.status) };
    (got != *want || announced != closed).then(|| format!("{source}: want {want:?}, got {got:?}: {}", answer.text()))
}

fn goes_on(client: &mut Client) -> bool {
    client.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    client.answer("GET").is_ok_and(|answer| answer.status == 200)
}

/// The bytes of a case, with its placeholders filled in. Characters up to U+00FF are single bytes.
fn bytes_of(request: &str) -> Vec<u8> {
    let mut text = request.replace("{path}", "/channels.m3u");
    for (open, piece) in [("{long:", "x"), ("{fields:", "X-A: b\r\n")] {
        if let Some((before, rest)) = text.clone().split_once(open) {
            let (count, after) = rest.split_once('}').expect("a closed placeholder");
            text = format!("{before}{}{after}", piece.repeat(count.parse().expect("a count")));
        }
    }
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("at most U+00FF")).collect()
}

/// Passes that nginx reaches, of 196 cases.
const FOREIGN_PASSES_MIN: u64 = 166;

#[test]
fn a_foreign_set_of_cases_passes_as_often_as_with_nginx() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/http/probe.py");
    if !script.exists() {
        return println!("SKIP the foreign cases: {} is not there", script.display());
    }
    let relay = Setup::new().channel("live", &origin::warm_url(origin::own_channel())).start();
    let mut player = Player::new(relay.connect(), "live");
    player.reload();
    let playlist = player.media_path().to_owned();
    let runs: Vec<_> = ["/channels.m3u", &playlist].iter().map(|path| foreign(&script, &relay, path)).collect();
    for (path, run) in ["/channels.m3u", &playlist].iter().zip(runs) {
        let output = run.wait_with_output().expect("python3 runs");
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{path}\n{text}");
        let last = text.lines().last().unwrap_or_default();
        let counts: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(counts["PASS"].as_u64() >= Some(FOREIGN_PASSES_MIN), "{path}: {counts}");
    }
}

/// Starts the foreign cases on one path.
fn foreign(script: &std::path::Path, relay: &Relay, path: &str) -> std::process::Child {
    let mut command = Command::new("python3");
    command.arg(script).arg(relay.addr.to_string()).args(["--path", path]).stdout(std::process::Stdio::piped());
    command.spawn().expect("python3 is there")
}
