//! Rings and stores: what a sample costs on its way from the demuxer to the packagers, to another thread, and into a store.
//!
//! `cargo bench --bench ring`. Criterion prints time per sample (or per chunk) and bytes per second.
//! Consumers read one word per cache line, so that data really crosses.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millrace::es::{Key, SampleMeta};
use millrace::limits::FLUSH_BYTES;
use millrace::ring::es::{Cursor, Entry, EsRing, Next};
use millrace::ring::spsc;
use millrace::store::{Arena, StoreReader, StoreWriter};
use millrace::time::MediaTime;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// An audio frame's TS packets, small and common access units, a key frame.
const SIZES: [usize; 4] = [1_316, 4 << 10, 16 << 10, 64 << 10];

fn meta(dts: i64) -> SampleMeta {
    let time = MediaTime(dts);
    SampleMeta { pts: time, dts: time, key: Key::None, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

/// Reads one word per cache line.
fn touch(data: &[u8]) -> u64 {
    data.chunks(64).map(|line| u64::from(line[0])).fold(0, u64::wrapping_add)
}

fn es_ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("es_ring");
    group.bench_function("new_and_drop", |b| b.iter(|| EsRing::new(1_000, 32 << 20)));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let data = vec![7; size];
        let mut dts = 0;
        let mut ring = EsRing::new(1_000, 4 << 20).expect("a memfd");
        group.bench_function(BenchmarkId::new("push", size), |b| {
            b.iter(|| {
                dts += 1;
                ring.push(meta(dts), &data)
            });
        });
        let mut cursor = Cursor { next: ring.range().end };
        group.bench_function(BenchmarkId::new("push_read", size), |b| {
            b.iter(|| {
                dts += 1;
                ring.push(meta(dts), &data);
                match ring.next(&mut cursor) {
                    Next::Entry(_, Entry::Sample { data, .. }) => touch(data),
                    other => unreachable!("{other:?}"),
                }
            });
        });
    }
    group.finish();
}

/// Spins, and lets the other side run now and then, in case both share a core.
fn wait(spins: &mut u32) {
    *spins += 1;
    if spins.is_multiple_of(64) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// Runs both ends to their finish, on cores of their own where there are two, and says how long that took.
fn race(produce: impl FnOnce() + Send, consume: impl FnOnce() -> u64 + Send) -> Duration {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pin = |index: usize| cores.get(index).is_none_or(|&core| core_affinity::set_for_current(core));
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(0);
            produce();
        });
        scope.spawn(|| {
            pin(1);
            black_box(consume());
        });
    });
    start.elapsed()
}

/// Which way the producer fills the hand-over ring.
#[derive(Clone, Copy)]
enum Fill {
    /// The bytes are copied in from elsewhere.
    Copy,
    /// The bytes are made where they lie; here, only the first line is written.
    InPlace,
}

fn hand_over(count: u64, data: &[u8], fill: Fill) -> Duration {
    let (mut tx, mut rx) = spsc::channel(4 << 20, 1_024).expect("a memfd");
    let produce = move || {
        let mut spins = 0;
        for dts in 0..count {
            let mut room = loop {
                match tx.reserve(data.len()) {
                    Ok(room) => break room,
                    Err(_) => wait(&mut spins),
                }
            };
            match fill {
                Fill::Copy => room.copy_from_slice(data),
                Fill::InPlace => room[..64].fill(dts as u8),
            }
            room.commit(meta(dts as i64));
        }
    };
    let consume = move || {
        let (mut sum, mut spins, mut read) = (0u64, 0, 0);
        while read < count {
            let Some((seq, Entry::Sample { data, .. })) = rx.read_next() else {
                wait(&mut spins);
                continue;
            };
            sum = sum.wrapping_add(touch(data));
            read = seq + 1;
            rx.free_until(read);
        }
        sum
    };
    race(produce, consume)
}

/// What the hand-over ring is to beat: an allocation and a copy per sample.
fn vec_over_rtrb(count: u64, data: &[u8]) -> Duration {
    let (mut tx, mut rx) = rtrb::RingBuffer::<(SampleMeta, Vec<u8>)>::new(64);
    let produce = move || {
        let mut spins = 0;
        for dts in 0..count {
            let mut sample = (meta(dts as i64), data.to_vec());
            while let Err(rtrb::PushError::Full(back)) = tx.push(sample) {
                sample = back;
                wait(&mut spins);
            }
        }
    };
    let consume = move || {
        let (mut sum, mut spins, mut read) = (0u64, 0, 0);
        while read < count {
            let Ok((_, data)) = rx.pop() else {
                wait(&mut spins);
                continue;
            };
            sum = sum.wrapping_add(touch(&data));
            read += 1;
        }
        sum
    };
    race(produce, consume)
}

fn between_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("between_threads");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let data = vec![7; size];
        group.bench_function(BenchmarkId::new("hand_over_copied_in", size), |b| {
            b.iter_custom(|count| hand_over(count, &data, Fill::Copy));
        });
        group.bench_function(BenchmarkId::new("hand_over_in_place", size), |b| {
            b.iter_custom(|count| hand_over(count, &data, Fill::InPlace));
        });
        group.bench_function(BenchmarkId::new("vec_over_rtrb", size), |b| {
            b.iter_custom(|count| vec_over_rtrb(count, &data));
        });
    }
    group.finish();
}

/// Appends, published one by one or when 32 KiB came together, with a window of 4 MiB: fresh pages all the time, and a hole punched per block.
fn store(c: &mut Criterion) {
    const WINDOW_BYTES: u64 = 4 << 20;
    let mut group = c.benchmark_group("store");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let data = vec![7; size];
        let arena = Arena::new(64 << 20).expect("a memfd");
        let mut writer = StoreWriter::new(arena.clone());
        let mut append = |publish_bytes: u64| {
            writer.append(&data).expect("the window is far below the arena");
            if writer.end() - writer.shared().published() >= publish_bytes {
                writer.publish();
            }
            writer.trim(writer.end().saturating_sub(WINDOW_BYTES));
            writer.end()
        };
        group.bench_function(BenchmarkId::new("append_publish_by_32_kib", size), |b| {
            b.iter(|| append(FLUSH_BYTES as u64))
        });
        group.bench_function(BenchmarkId::new("append_publish", size), |b| b.iter(|| append(1)));
        let shared = writer.shared().clone();
        let mut reader = StoreReader::new(shared.clone());
        let mut pos = 0;
        group.bench_function(BenchmarkId::new("piece", size), |b| {
            b.iter(|| {
                pos = if pos + size as u64 > shared.published() { shared.start() } else { pos.max(shared.start()) };
                let len = reader.piece(pos, size).expect("it is within the window").bytes.len();
                pos += len as u64;
                len
            });
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
}

criterion_group! { name = benches; config = config(); targets = es_ring, between_threads, store }
criterion_main!(benches);
