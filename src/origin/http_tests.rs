//! The origin client against a scripted origin: what it asks for and what it makes of each answer.

use super::super::{EndReason, OriginError};
use super::*;
use proptest::prelude::*;

const TIMEOUTS: OriginTimeouts = OriginTimeouts { connect_ms: 1_000, first_byte_ms: 2_000, stall_ms: 3_000 };

fn at(mono_ms: u64) -> Now {
    Now { mono_us: mono_ms * 1_000, unix_us: 0 }
}

fn origin(url: &str, headers: &[(&str, &str)]) -> HttpOrigin {
    let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    HttpOrigin::new(OriginUrl::parse(url).unwrap(), headers, TIMEOUTS, at(0)).unwrap()
}

/// Connects and sends, in two goes; gives the request.
fn ask(origin: &mut HttpOrigin) -> String {
    assert!(matches!(origin.poll(), Action::Connect { .. }), "{:?}", origin.poll());
    origin.on_connected(at(0));
    let mut request = Vec::new();
    while let Action::Send(bytes) = origin.poll() {
        let count = bytes.len().div_ceil(2);
        request.extend_from_slice(&bytes[..count]);
        origin.on_sent(count);
    }
    assert_eq!(origin.poll(), Action::Read);
    String::from_utf8(request).unwrap()
}

/// Feeds `pieces` and gives the body that came out.
fn feed<'p>(origin: &mut HttpOrigin, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        origin.on_bytes(piece, at(0), &mut |body| out.extend_from_slice(body));
    }
    out
}

fn redirect(origin: &mut HttpOrigin, location: &str) {
    let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(feed(origin, [head.as_bytes()]), b"");
}

fn failed(origin: &HttpOrigin) -> &OriginError {
    match origin.poll() {
        Action::Done(Outcome::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_asks_for_the_target_with_own_headers() {
    let mut origin = origin("http://h:81/live/1.ts?t=1", &[("user-agent", "Provider/1"), ("X-Key", "k")]);
    assert_eq!(origin.poll(), Action::Connect { host: "h", port: 81 });
    assert_eq!(
        ask(&mut origin),
        "GET /live/1.ts?t=1 HTTP/1.1\r\nHost: h:81\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         user-agent: Provider/1\r\nX-Key: k\r\nConnection: close\r\n\r\n"
    );
}

const CHUNKED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: u\r\n\r\n";
const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
const CLOSE: &[u8] = b"ICY 200 OK\r\nicy-name: radio\r\n\r\nhello world";

#[test]
fn every_split_of_every_framing_gives_the_same_stream() {
    for (wire, end) in [(CHUNKED, EndReason::LastChunk), (LENGTH, EndReason::LengthReached), (CLOSE, EndReason::Closed)]
    {
        for split in 0..=wire.len() {
            let mut origin = origin("http://h/", &[]);
            ask(&mut origin);
            assert_eq!(feed(&mut origin, [&wire[..split], &wire[split..]]), b"hello world", "split at {split}");
            origin.on_closed();
            assert_eq!(origin.poll(), Action::Done(&Outcome::Ended(end)));
        }
    }
}

#[test]
fn body_slices_lie_in_the_read_buffer() {
    let mut origin = origin("http://h/", &[]);
    ask(&mut origin);
    let wire = LENGTH.to_vec();
    let range = wire.as_ptr_range();
    origin.on_bytes(&wire, at(0), &mut |body| assert!(range.contains(&body.as_ptr()) && body.len() == 11));
}

#[test]
fn a_stream_cut_short_is_a_failure() {
    for wire in [&CHUNKED[..CHUNKED.len() - 1], &LENGTH[..LENGTH.len() - 1]] {
        let mut origin = origin("http://h/", &[]);
        ask(&mut origin);
        feed(&mut origin, [wire]);
        origin.on_closed();
        assert_eq!(failed(&origin), &OriginError::Truncated);
    }
    let mut origin = origin("http://h/", &[]);
    ask(&mut origin);
    feed(&mut origin, [&b"HTTP/1.1 200 OK\r\n"[..]]);
    origin.on_closed();
    assert_eq!(failed(&origin), &OriginError::ClosedBeforeHead);
}

#[test]
fn redirects_are_followed_relative_and_absolute_and_resolved_anew() {
    let mut origin = origin("http://a/x/1.ts", &[]);
    ask(&mut origin);
    redirect(&mut origin, "../y/2.ts");
    assert_eq!(origin.poll(), Action::Connect { host: "a", port: 80 });
    assert!(ask(&mut origin).starts_with("GET /y/2.ts HTTP/1.1\r\nHost: a\r\n"));
    redirect(&mut origin, "http://[::1]:8000/3.ts?q");
    assert_eq!(origin.poll(), Action::Connect { host: "::1", port: 8000 });
    assert!(ask(&mut origin).starts_with("GET /3.ts?q HTTP/1.1\r\nHost: [::1]:8000\r\n"));
    assert_eq!(feed(&mut origin, [LENGTH]), b"hello world");
}

#[test]
fn a_redirect_loop_ends() {
    let mut origin = origin("http://a/", &[]);
    for _ in 0..ORIGIN_REDIRECTS_MAX {
        ask(&mut origin);
        redirect(&mut origin, "/");
    }
    ask(&mut origin);
    redirect(&mut origin, "/");
    assert_eq!(failed(&origin), &OriginError::TooManyRedirects(ORIGIN_REDIRECTS_MAX));
}

#[test]
fn redirects_to_nowhere_or_to_https_fail() {
    for (location, error) in [("http://", OriginError::RedirectTarget), ("https://a/", OriginError::HttpsUnsupported)] {
        let mut origin = origin("http://a/", &[]);
        ask(&mut origin);
        redirect(&mut origin, location);
        assert_eq!(failed(&origin), &error);
    }
}

#[test]
fn credentials_stay_with_their_server() {
    let headers = [("Cookie", "c=1"), ("Host", "virtual"), ("X-Key", "k")];
    let mut origin = origin("http://user:pass@a:81/", &headers);
    let has = |request: &str| ["Basic ", "c=1", "Host: virtual", "X-Key"].map(|text| request.contains(text));
    assert_eq!(has(&ask(&mut origin)), [true, true, true, true]);
    redirect(&mut origin, "http://a:81/same");
    assert_eq!(has(&ask(&mut origin)), [true, true, true, true]);
    redirect(&mut origin, "http://a:82/other-port");
    let request = ask(&mut origin);
    assert_eq!(has(&request), [false, false, false, true]);
    assert!(request.contains("Host: a:82\r\n"));
    redirect(&mut origin, "http://a:81/back");
    assert_eq!(has(&ask(&mut origin)), [true, true, true, true]);
}

#[test]
fn own_authorization_replaces_that_of_the_url() {
    let mut origin = origin("http://user:pass@a/", &[("authorization", "Bearer t")]);
    let request = ask(&mut origin);
    assert!(request.contains("authorization: Bearer t\r\n") && !request.contains("Basic"));
}

#[test]
fn nothing_secret_is_shown() {
    let headers = [("Cookie", "secret"), ("X-Key", "secret")];
    let mut origin = origin("http://user:secret@a/live/secret?secret", &headers);
    let mut shown = format!("{origin:?} {origin:#?}");
    ask(&mut origin);
    shown += &format!("{origin:?}");
    feed(&mut origin, [&b"HTTP/1.1 403 Forbidden\r\n\r\n"[..]]);
    shown += &format!("{origin:?} {:?} {}", origin.poll(), failed(&origin));
    assert!(!shown.contains("secret") && shown.contains("http://a/..."), "{shown}");
}

#[test]
fn headers_that_would_break_the_request_are_refused() {
    for (name, value) in [("A B", "x"), ("", "x"), ("A", "x\r\nB: y"), ("Content-Length", "0"), ("connection", "x")] {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let result = HttpOrigin::new(OriginUrl::parse("http://h/").unwrap(), headers, TIMEOUTS, at(0));
        assert_eq!(result.unwrap_err(), OriginError::HeaderInvalid(name.to_owned()));
    }
}

#[test]
fn each_phase_has_its_deadline() {
    let mut slow = origin("http://h/", &[]);
    slow.on_deadline(at(999));
    assert!(matches!(slow.poll(), Action::Connect { .. }));
    assert_eq!(slow.next_deadline(), Some(1_000_000));
    slow.on_deadline(at(1_000));
    assert_eq!(failed(&slow), &OriginError::ConnectTimeout(1_000));
    assert_eq!(slow.next_deadline(), None);

    // A head in drips does not move its deadline.
    let mut drips = origin("http://h/", &[]);
    ask(&mut drips);
    drips.on_bytes(b"HTTP/1.1 200", at(1_999), &mut |_| {});
    drips.on_deadline(at(2_000));
    assert_eq!(failed(&drips), &OriginError::FirstByteTimeout(2_000));

    // Each byte of the stream does.
    let mut stalls = origin("http://h/", &[]);
    ask(&mut stalls);
    stalls.on_bytes(b"HTTP/1.1 200 OK\r\n\r\n", at(1_000), &mut |_| {});
    assert!(stalls.is_streaming());
    stalls.on_bytes(b"G", at(3_500), &mut |_| {});
    assert_eq!(stalls.next_deadline(), Some(6_500_000));
    stalls.on_deadline(at(6_500));
    assert_eq!(failed(&stalls), &OriginError::Stalled(3_000));
}

#[test]
fn heads_are_bounded() {
    let mut origin = origin("http://h/", &[]);
    ask(&mut origin);
    let line = [b'x'; 1_000];
    feed(&mut origin, std::iter::once(&b"HTTP/1.1 200 OK\r\nA: "[..]).chain(std::iter::repeat_n(&line[..], 40)));
    assert_eq!(failed(&origin), &OriginError::HeadTooLarge);
}

#[test]
fn reports_after_the_end_change_nothing() {
    let mut origin = origin("http://h/", &[]);
    origin.on_io_error("connection refused");
    assert_eq!(failed(&origin).to_string(), "connection to the origin failed: connection refused");
    origin.on_connected(at(0));
    origin.on_sent(1);
    origin.on_closed();
    origin.on_deadline(at(u64::MAX / 1_000));
    assert_eq!(feed(&mut origin, [LENGTH]), b"");
    assert_eq!(failed(&origin), &OriginError::Io("connection refused".into()));
}

/// A good answer with a few bytes changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let wire = prop::sample::select(vec![CHUNKED, LENGTH, CLOSE]);
    (wire, prop::collection::vec(change, 0..4)).prop_map(|(wire, changes)| {
        let mut wire = wire.to_vec();
        for (at, byte) in changes {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        wire
    })
}

proptest! {
    #[test]
    fn mutated_answers_never_panic_and_pieces_do_not_matter(wire in mutated(), piece in 1usize..40) {
        let (mut whole, mut pieces) = (origin("http://h/", &[]), origin("http://h/", &[]));
        ask(&mut whole);
        ask(&mut pieces);
        prop_assert_eq!(feed(&mut whole, [&wire[..]]), feed(&mut pieces, wire.chunks(piece)));
        whole.on_closed();
        pieces.on_closed();
        prop_assert_eq!(whole.poll(), pieces.poll());
    }
}
