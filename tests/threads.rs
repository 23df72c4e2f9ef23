//! What crosses threads: the hand-over ring and the stores, under load, every byte checked.

use millrace::es::{Key, SampleMeta};
use millrace::limits::BLOCK_BYTES;
use millrace::ring::{es::Entry, spsc::channel};
use millrace::store::{Arena, StoreReader, StoreShared, StoreWriter};
use millrace::time::MediaTime;
use std::ops::Range;
use std::sync::Arc;

const B: u64 = BLOCK_BYTES as u64;

fn meta(dts: u64) -> SampleMeta {
    let time = MediaTime(dts as i64);
    SampleMeta { pts: time, dts: time, key: Key::None, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

/// The length of sample `seq` : 0 to 20 KB, now and then near half the ring.
fn len_of(seq: u64) -> usize {
    let random = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if random.is_multiple_of(17) { 32_000 } else { (random % 20_000) as usize }
}

/// The bytes of sample `seq`.
fn sample(seq: u64) -> impl Iterator<Item = u8> {
    (0..len_of(seq) as u64).map(move |i| (seq.wrapping_mul(31).wrapping_add(i) % 251) as u8)
}

#[test]
fn samples_cross_threads_whole_while_the_consumer_keeps_a_window() {
    const SAMPLES: u64 = 60_000;
    let (mut tx, mut rx) = channel(64 << 10, 32).unwrap();
    let producer = std::thread::spawn(move || {
        for seq in 0..SAMPLES {
            let mut reservation = loop {
                match tx.reserve(len_of(seq)) {
                    Ok(reservation) => break reservation,
                    Err(_) => std::thread::yield_now(),
                }
            };
            reservation.iter_mut().zip(sample(seq)).for_each(|(to, from)| *to = from);
            reservation.commit(meta(seq));
        }
    });
    for expected in 0..SAMPLES {
        while rx.read_next().is_none() {
            // The window is in the way of a sample that is larger than what is left.
            rx.free_until(rx.range().start + 1);
            std::thread::yield_now();
        }
        assert!(rx.range().contains(&expected) || rx.range().start == expected + 1);
        for (seq, entry) in rx.iter_from(0) {
            let Entry::Sample { meta, data } = entry else { panic!("only samples were sent") };
            assert_eq!((meta.dts.0 as u64, data.len()), (seq, len_of(seq)));
            // The whole of what just came, the ends of what is kept.
            let step = if seq == expected { 1 } else { 4_096 };
            assert!(data.iter().copied().step_by(step).eq(sample(seq).step_by(step)), "sample {seq}");
        }
        rx.free_until((expected + 1).saturating_sub(3));
    }
    producer.join().unwrap();
    assert!(rx.is_abandoned() && rx.read_next().is_none());
}

/// The byte that stands at `pos` of the store with this seed.
fn byte(seed: u64, pos: u64) -> u8 {
    (pos.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn bytes(seed: u64, range: Range<u64>) -> Vec<u8> {
    range.map(|pos| byte(seed, pos)).collect()
}

/// Follows a store to its end and checks each byte; a reader that was overtaken goes on at the start.
fn follow(shared: &Arc<StoreShared>, seed: u64, len_max: usize) -> u64 {
    let mut reader = StoreReader::new(shared.clone());
    let (mut pos, mut checked) = (0, 0);
    loop {
        let closed = shared.is_closed();
        while let Some(piece) = reader.piece(pos, len_max) {
            let wrong = piece.bytes.iter().zip(pos..).find(|&(&b, at)| b != byte(seed, at));
            assert_eq!(wrong, None);
            pos += piece.bytes.len() as u64;
            checked += piece.bytes.len() as u64;
        }
        if closed && pos == shared.published() {
            return checked;
        }
        pos = pos.max(shared.start());
        std::thread::yield_now();
    }
}

#[test]
fn readers_on_other_threads_see_right_bytes_while_the_writer_appends_and_trims() {
    const STORES: u64 = 3;
    const LEN: u64 = 40 * B;
    let arena = Arena::new(24 * BLOCK_BYTES).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..STORES {
            let mut writer = StoreWriter::new(arena.clone());
            for reader in 0..2 {
                let shared = writer.shared().clone();
                scope.spawn(move || follow(&shared, seed, 1_000 + 9_999 * reader));
            }
            scope.spawn(move || {
                while writer.end() < LEN {
                    let end = (writer.end() + 1 + writer.end() % 70_001).min(LEN);
                    if writer.append(&bytes(seed, writer.end()..end)).is_ok() {
                        writer.publish();
                    }
                    writer.trim(writer.end().saturating_sub(2 * B));
                }
            });
        }
    });
    assert_eq!((arena.blocks_in_use(), arena.bytes_resident().unwrap()), (0, 0));
}
