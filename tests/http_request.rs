//! The request parser from outside: recorded attacks and oddities, httparse as the oracle, heads in drips.
//!
//! The recorded requests lie outside the project (`../shared/http`); without them that test says so and passes.

use millrace::http::fields::Field;
use millrace::http::request::{Head, Method, Parsed, Progress, RequestError, Version, parse};
use millrace::http::response::Status;
use millrace::limits::{
    REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX, REQUEST_LEADING_CRLF_MAX, REQUEST_TARGET_BYTES_MAX,
};
use proptest::prelude::*;

#[path = "../benches/heads.rs"]
mod heads;

/// Parses with fresh memory, which the test leaks so that the head may be kept.
fn parse_whole(bytes: &[u8]) -> Result<Parsed<'_>, RequestError> {
    parse(bytes, Box::leak(Box::default()))
}

fn complete(bytes: &[u8]) -> (Head<'_>, usize) {
    match parse_whole(bytes) {
        Ok(Parsed::Complete(head, consumed)) => (head, consumed),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> RequestError {
    match parse_whole(bytes) {
        Err(error) => error,
        Ok(other) => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

/// A request for `/` with `lines` after `Host`.
fn get_with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

#[test]
fn a_players_head_is_read_as_sent() {
    let (name, text) = heads::PLAYERS[1];
    let (head, consumed) = complete(text.as_bytes());
    assert_eq!((name, consumed), ("safari_avplayer", text.len()));
    assert_eq!((head.method(), head.version(), head.keep_alive()), (Method::Get, Version::Http11, true));
    assert_eq!(head.target(), b"/relay/channel/news-hd/1790000000/ts/1790000123.ts");
    assert_eq!(head.field(Field::Range), Some(&b"bytes=0-1"[..]));
    assert_eq!(head.field(Field::IfRange), None);
    assert_eq!(head.fields().count(), 8);
    assert_eq!(head.fields().nth(1).unwrap().0, b"X-Playback-Session-Id");
}

/// Lines of every length at every place: the scanner looks at 64 bytes a step, and no line end may be lost or seen twice between two.
#[test]
fn line_ends_are_found_wherever_they_fall() {
    for first in 0..140 {
        for second in 0..140 {
            let (one, two) = ("x".repeat(first), "y".repeat(second));
            let good = get_with(&format!("A: {one}\r\nB: {two}\r\nC: z\r\n"));
            let (head, consumed) = complete(&good);
            let fields: Vec<_> = head.fields().map(|(_, value)| value.len()).collect();
            assert_eq!((fields.as_slice(), consumed), (&[1, first, second, 1][..], good.len()), "{first} {second}");
            for control in ["\n", "\0"] {
                let bad = get_with(&format!("A: {one}\r\nB: {two}{control}\r\nC: z\r\n"));
                assert!(parse_whole(&bad).is_err(), "{first} {second} {control:?}");
            }
        }
    }
}

#[test]
fn pipelined_requests_come_one_by_one() {
    let two = b"\r\nHEAD /a HTTP/1.0\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
    let (first, consumed) = complete(two);
    assert_eq!((first.method(), first.target(), first.keep_alive()), (Method::Head, &b"/a"[..], false));
    let (second, rest) = complete(&two[consumed..]);
    assert_eq!((second.method(), second.target()), (Method::Options, &b"*"[..]));
    assert_eq!(consumed + rest, two.len());
}

#[test]
fn connection_options_are_read_in_every_line() {
    let keep_alive = |version: &str, lines: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        complete(text.as_bytes()).0.keep_alive()
    };
    assert!(keep_alive("1.1", ""));
    assert!(!keep_alive("1.0", ""));
    assert!(keep_alive("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keep_alive("1.1", "Connection: upgrade, CLOSE\r\n"));
    assert!(!keep_alive("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
    assert!(!keep_alive("1.1", "Connection: close\r\nConnection: keep-alive\r\n"));
}

#[test]
fn values_lose_the_white_space_around_them() {
    let bytes = get_with("Range:\t bytes=0- \t\r\nAccept:\r\nOrigin: \r\n");
    let (head, _) = complete(&bytes);
    assert_eq!(head.field(Field::Range), Some(&b"bytes=0-"[..]));
    assert_eq!((head.field(Field::Accept), head.field(Field::Origin)), (None, None));
}

#[test]
fn each_fault_has_its_own_reason() {
    use RequestError::*;
    for (bytes, error) in [
        (&b" GET / HTTP/1.1\r\n"[..], MethodSyntax),
        (b"\x16\x03\x01\x02", MethodSyntax), // a TLS ClientHello
        (b"GET\t/ HTTP/1.1\r\n", MethodSyntax),
        (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", MethodUnknown),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", MethodUnknown),
        (b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", MethodNotAllowed),
        (b"GET  / HTTP/1.1\r\n", TargetSyntax),
        (b"GET /a\\b HTTP/1.1\r\n", TargetSyntax),
        (b"GET /a#b HTTP/1.1\r\n", TargetSyntax),
        (b"GET /caf\xc3\xa9 HTTP/1.1\r\n", TargetSyntax),
        (b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", TargetSyntax),
        (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", TargetSyntax),
        (b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", TargetSyntax),
        (b"GET /\r\n", VersionSyntax),
        (b"GET HTTP/1.1\r\n", VersionSyntax),
        (b"GET /a b HTTP/1.1\r\n", VersionSyntax),
        (b"GET / HTTP/01.01\r\n", VersionSyntax),
        (b"GET / http", VersionSyntax),
        (b"GET / HTTP/1.2\r\n", VersionUnknown),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VersionUnknown),
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\rX", BareCr),
        (b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\n: v\r\n\r\n", NameSyntax),
        (b"GET / HTTP/1.1\r\nNo-Colon\r\n\r\n", NameSyntax),
        (b"GET / HTTP/1.1\r\nHost: h\r\nIf\rRange: x\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\nIf\r\nRange: x\r\n", NameSyntax),
        (b"GET / HTTP/1.1\r\nHo\x00st: h\r\n", NameSyntax),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: \x00\r\n", ValueSyntax),
        (b"GET / HTTP/1.1\r\n\r\n", HostMissing),
        (b"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", HostRepeated),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", HostSyntax),
        (b"GET / HTTP/1.0\r\nHost: a, b\r\n\r\n", HostSyntax),
    ] {
        assert_eq!(refused(bytes), error, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn framing_and_expectations() {
    use RequestError::*;
    for (lines, error) in [
        ("Content-Length: 5\r\n", Body),
        ("Content-Length: 99999999999999999999999\r\n", Body),
        ("Transfer-Encoding: Chunked\r\n", Body),
        ("Content-Length: +5\r\n", LengthSyntax),
        ("Content-Length:\r\n", LengthSyntax),
        ("Content-Length: 5, 5\r\n", LengthSyntax),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", LengthConflict),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CodingSyntax),
        ("Transfer-Encoding: chunked, chunked\r\n", CodingSyntax),
        ("Transfer-Encoding: chunked, gzip\r\n", CodingSyntax),
        ("Transfer-Encoding:\r\n", CodingSyntax),
        ("Transfer-Encoding: gzip, chunked\r\n", CodingUnknown),
        ("Expect: 200-ok\r\n", Expectation),
    ] {
        assert_eq!(refused(&get_with(lines)), error, "{lines:?}");
    }
    for lines in ["Content-Length: 0\r\n", "Content-Length: 00\r\nContent-Length: 00\r\n", "Expect: 100-Continue\r\n"] {
        complete(&get_with(lines));
    }
    assert_eq!(refused(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), CodingSyntax);
    complete(b"GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n");
}

#[test]
fn bounds_hold_at_the_last_byte() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1)).into_bytes();
    complete(&target(REQUEST_TARGET_BYTES_MAX));
    assert_eq!(refused(&target(REQUEST_TARGET_BYTES_MAX + 1)), RequestError::TargetTooLong);

    let fields = |count: usize| get_with(&"X: y\r\n".repeat(count - 1));
    complete(&fields(REQUEST_HEADERS_MAX));
    assert_eq!(refused(&fields(REQUEST_HEADERS_MAX + 1)), RequestError::TooManyFields);

    let head = |len: usize| {
        let frame = get_with("X: \r\n").len();
        get_with(&format!("X: {}\r\n", "y".repeat(len - frame)))
    };
    complete(&head(REQUEST_HEAD_BYTES_MAX));
    let long = head(REQUEST_HEAD_BYTES_MAX + 1);
    assert_eq!(refused(&long), RequestError::HeadTooLarge);
    assert!(matches!(parse_whole(&long[..REQUEST_HEAD_BYTES_MAX - 1]), Ok(Parsed::Partial)));

    let empty_lines = |count: usize| [b"\r\n".repeat(count), get_with("")].concat();
    complete(&empty_lines(REQUEST_LEADING_CRLF_MAX));
    assert_eq!(refused(&empty_lines(REQUEST_LEADING_CRLF_MAX + 1)), RequestError::MethodSyntax);
}

/// A head of the largest size, one byte a call: each byte may be looked at a few times, not thousands of times. The
/// work is not timed; what is checked is that the parser stays `Partial` to the end and refuses bad lines on the way.
#[test]
fn drips_give_the_same_head_and_show_bare_lf_at_once() {
    let bytes = get_with(&format!("X: {}\r\n", "y".repeat(REQUEST_HEAD_BYTES_MAX - 100)));
    let mut progress = Progress::default();
    for end in 1..bytes.len() {
        assert!(matches!(parse(&bytes[..end], &mut progress), Ok(Parsed::Partial)), "{end}");
    }
    assert!(matches!(parse(&bytes, &mut progress), Ok(Parsed::Complete(_, consumed)) if consumed == bytes.len()));
    // And is ready for the next request.
    match parse(b"GET / HTTP/1.0\r\n\r\n", &mut progress) {
        Ok(Parsed::Complete(head, 18)) => assert_eq!(head.field(Field::Host), None),
        other => panic!("{other:?}"),
    }

    assert!(matches!(parse(b"GET / HTTP/1.1\r\nHost: h", &mut progress), Ok(Parsed::Partial)));
    let error = parse(b"GET / HTTP/1.1\r\nHost: h\n", &mut progress).unwrap_err();
    assert_eq!(error, RequestError::BareLf);
}

/// Fails unless two heads look the same from outside.
fn assert_same(a: &Head<'_>, b: &Head<'_>, context: &str) {
    assert_eq!((a.method(), a.version(), a.keep_alive()), (b.method(), b.version(), b.keep_alive()), "{context}");
    assert_eq!(a.target(), b.target(), "{context}");
    assert!(a.fields().eq(b.fields()), "{context}");
    assert_eq!(a.field(Field::Range), b.field(Field::Range), "{context}");
}

fn assert_httparse_agrees(bytes: &[u8], head: &Head<'_>, consumed: usize) {
    let mut headers = [httparse::EMPTY_HEADER; REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(bytes).expect("what we accept, httparse accepts");
    assert_eq!(status, httparse::Status::Complete(consumed));
    assert_eq!(request.method, Some(format!("{:?}", head.method()).to_uppercase().as_str()));
    assert_eq!(request.path.unwrap().as_bytes(), head.target());
    assert_eq!(request.version, Some(u8::from(head.version() == Version::Http11)));
    let theirs: Vec<_> =
        request.headers.iter().map(|header| (header.name.as_bytes(), header.value.trim_ascii())).collect();
    assert_eq!(head.fields().collect::<Vec<_>>(), theirs);
}

fn assert_every_split_gives_the_same(bytes: &[u8]) {
    let whole = parse_whole(bytes);
    for split in 0..bytes.len() {
        let mut progress = Progress::default();
        let first = parse(&bytes[..split], &mut progress);
        match (&whole, first) {
            (Ok(Parsed::Complete(head, consumed)), Ok(Parsed::Partial)) => {
                let Ok(Parsed::Complete(again, consumed_again)) = parse(bytes, &mut progress) else {
                    panic!("refused after a split at {split}")
                };
                assert_eq!(consumed_again, *consumed);
                assert_same(&again, head, &format!("split at {split}"));
            }
            // A head that ends before the split, or a fault that shows before it.
            (Ok(Parsed::Complete(_, consumed)), Ok(Parsed::Complete(_, early))) => assert_eq!(*consumed, early),
            (Err(_), Err(_)) => {}
            (Err(_), Ok(Parsed::Partial)) => {
                // Refused again, or, where nothing new can end a head, kept waiting for the end of the line.
                let again = parse(bytes, &mut progress);
                assert!(!matches!(again, Ok(Parsed::Complete(..))), "accepted after a split at {split}");
            }
            (Ok(Parsed::Partial), Ok(Parsed::Partial)) => {
                assert!(matches!(parse(bytes, &mut progress), Ok(Parsed::Partial)), "split at {split}");
            }
            (whole, first) => panic!("{whole:?} but {first:?} when split at {split}"),
        }
    }
}

#[test]
fn players_heads_split_at_every_byte() {
    for (_, text) in heads::PLAYERS {
        assert_every_split_gives_the_same(text.as_bytes());
        let (head, consumed) = complete(text.as_bytes());
        assert_httparse_agrees(text.as_bytes(), &head, consumed);
    }
}

/// A player's head with a few bytes overwritten, put in or taken out.
fn mutated_head() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\r\n\t :,;/%?-0Aa\x00\x7f\xff".to_vec())];
    let change = (any::<prop::sample::Index>(), 0..3u8, byte);
    (0..heads::PLAYERS.len(), prop::collection::vec(change, 0..4)).prop_map(|(player, changes)| {
        let mut bytes = heads::PLAYERS[player].1.as_bytes().to_vec();
        for (at, kind, byte) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_we_accept_httparse_accepts_alike(bytes in mutated_head()) {
        if let Ok(Parsed::Complete(head, consumed)) = parse_whole(&bytes) {
            assert_httparse_agrees(&bytes, &head, consumed);
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), prefix in 0..3usize) {
        let start = [&b""[..], b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nX:"][prefix];
        let _ = parse_whole(&[start, &bytes].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutated_heads_split_at_every_byte(bytes in mutated_head()) {
        assert_every_split_gives_the_same(&bytes);
    }
}

/// Cases that want a 2xx for a method or a body that this server does not take.
fn is_out_of_scope(request: &str) -> bool {
    request.starts_with("POST ")
}

/// The recorded requests of `../shared/http/probe_cases.json`, as far as the head alone decides.
#[test]
fn recorded_probes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/http/probe_cases.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for case in cases["cases"].as_array().unwrap() {
        let expected = case["expected"].as_str().unwrap();
        let request = case["requests"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect::<String>();
        let bytes: Vec<u8> = request.chars().map(|c| c as u32 as u8).collect();
        let outcome = parse_whole(&bytes);
        let wants = |code: &str| expected.contains(code);
        let fine = match &outcome {
            Err(error) => {
                let code = error.status().code().to_string();
                wants(&code) || wants("400") || wants("on-1") || is_out_of_scope(&request)
            }
            Ok(Parsed::Partial) => wants("close") || wants("timeout"),
            // What the head leaves open, a server decides: any status is still possible, except where only refusal
            // is right.
            Ok(Parsed::Complete(..)) => !wants("400") || wants("2xx") || wants("200"),
        };
        if wants("Reject/drop") || wants("Sensitive") {
            assert!(outcome.is_err(), "{} {outcome:?}", case["id"]);
        } else {
            assert!(fine, "{}: want {expected}, got {outcome:?}", case["id"]);
        }
        checked += 1;
    }
    println!("{checked} probes checked");
    assert_eq!(RequestError::Body.status(), Status::ContentTooLarge);
}
