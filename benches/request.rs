//! The request parser against httparse over the heads of five players; ends with the ratios and their geometric mean.
//!
//! `cargo bench --bench request`. httparse gets what its own benchmarks give it: a fresh array of uninitialised
//! headers per request. Ours also checks `Host`, framing and target form, which httparse leaves to its caller.

use criterion::{Criterion, Throughput, criterion_group};
use millrace::http::request::{Parsed, Progress, parse};
use millrace::limits::REQUEST_HEADERS_MAX;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Instant;

mod heads;

/// Parses and gives what a server cannot do without: the length of head and target.
fn ours(head: &[u8]) -> (usize, usize) {
    let mut progress = Progress::default();
    match parse(head, &mut progress) {
        Ok(Parsed::Complete(head, consumed)) => (consumed, black_box(&head).target().len()),
        other => panic!("{other:?}"),
    }
}

/// The same from httparse.
fn httparse(head: &[u8]) -> (usize, usize) {
    let mut headers = [MaybeUninit::uninit(); REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let consumed = request.parse_with_uninit_headers(head, &mut headers).expect("a valid head").unwrap();
    let target = black_box(&request).path.expect("a complete head has a target");
    (consumed, target.len())
}

fn compare(criterion: &mut Criterion) {
    for (name, head) in heads::PLAYERS {
        let mut group = criterion.benchmark_group(format!("request/{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function("millrace", |b| b.iter(|| ours(black_box(head.as_bytes()))));
        group.bench_function("httparse", |b| b.iter(|| httparse(black_box(head.as_bytes()))));
        group.finish();
    }
}

/// Paired rounds, so that a change of the machine's speed hits both alike; the median round counts.
fn ratios() {
    const ROUNDS: usize = 101;
    const PARSES: usize = 20_000;
    let time = |parser: fn(&[u8]) -> (usize, usize), head: &str| {
        let start = Instant::now();
        for _ in 0..PARSES {
            black_box(parser(black_box(head.as_bytes())));
        }
        start.elapsed().as_secs_f64() / PARSES as f64 * 1e9
    };
    let mut log_sum = 0.0;
    for (name, head) in heads::PLAYERS {
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| (time(ours, head), time(httparse, head))).collect();
        rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (ours_ns, httparse_ns) = rounds[ROUNDS / 2];
        let ratio = httparse_ns / ours_ns;
        log_sum += ratio.ln();
        println!("{name:16} {:4} bytes: {ours_ns:6.1} ns, httparse {httparse_ns:6.1} ns: {ratio:.2}x", head.len());
    }
    println!("geometric mean {:.2}x", (log_sum / heads::PLAYERS.len() as f64).exp());
}

criterion_group!(benches, compare);

fn main() {
    // Under `cargo test --benches` only the criterion part runs, once per benchmark.
    let measured = std::env::args().any(|argument| argument == "--bench");
    benches();
    Criterion::default().configure_from_args().final_summary();
    if measured {
        ratios();
    }
}
