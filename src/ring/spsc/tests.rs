//! The hand-over ring against a plain queue, and when a side leaves. `tests/threads.rs` has it between threads.

use super::*;
use crate::es::{Codec, Key, TrackId, TsStream};
use crate::time::MediaTime;
use proptest::prelude::*;
use std::collections::VecDeque;

fn meta(dts: u64) -> SampleMeta {
    let time = MediaTime(dts as i64);
    SampleMeta { pts: time, dts: time, key: Key::None, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

fn track(id: u16) -> Arc<Track> {
    let ts = TsStream::default();
    Arc::new(Track { id: TrackId(id), codec: Codec::Aac, language: None, role: Default::default(), ts, params: None })
}

/// `len` bytes that depend on `seed`.
fn bytes(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    (0..len as u64).map(move |i| (seed.wrapping_mul(31).wrapping_add(i) % 251) as u8)
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Track,
    Abandon(usize),
    Read,
    Free(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0usize..2_500).prop_map(Op::Push),
        1 => (0usize..9_000).prop_map(Op::Push),
        1 => Just(Op::Track),
        1 => (0usize..2_500).prop_map(Op::Abandon),
        5 => Just(Op::Read),
        4 => (0u64..6).prop_map(Op::Free),
    ];
    prop::collection::vec(op, 1..300)
}

/// What the consumer is owed: `None` for a description.
type Owed = VecDeque<(Seq, Option<Vec<u8>>)>;

fn check_entry(owed: &Owed, seq: Seq, entry: Entry<'_>) {
    let (_, expected) = owed.iter().find(|(at, _)| *at == seq).expect("still owed");
    match (entry, expected) {
        (Entry::Sample { meta, data }, Some(expected)) => {
            assert_eq!(data, expected);
            assert_eq!(meta.dts.0 as u64, seq);
        }
        (Entry::Track(_), None) => {}
        (entry, expected) => panic!("{entry:?} instead of {expected:?}"),
    }
}

proptest! {
    #[test]
    fn agrees_with_a_plain_queue(ops in ops()) {
        let (mut tx, mut rx) = channel(8_192, 16).unwrap();
        let (mut owed, mut next_in, mut next_out) = (Owed::new(), 0, 0);
        for op in ops {
            match op {
                Op::Push(len) => {
                    let data: Vec<u8> = bytes(next_in, len).collect();
                    let lens = || owed.iter().filter_map(|(_, data)| data.as_ref().map(Vec::len));
                    let (live, largest) = (lens().sum::<usize>(), lens().max().unwrap_or(0).max(len));
                    match tx.push(meta(next_in), &data) {
                        Ok(seq) => {
                            prop_assert_eq!(seq, next_in);
                            prop_assert!(live + len <= 8_192);
                            owed.push_back((seq, Some(data)));
                            next_in += 1;
                        }
                        Err(NoRoom::TooLarge) => prop_assert!(len > 8_192),
                        // Full must have a reason, the documented one.
                        Err(NoRoom::Full) => prop_assert!(owed.len() >= 16 || (live > 0 && live + len + largest > 8_192)),
                    }
                }
                Op::Track => if let Ok(seq) = tx.push_track(track(1)) {
                    owed.push_back((seq, None));
                    next_in += 1;
                },
                Op::Abandon(len) => if let Ok(mut reservation) = tx.reserve(len) {
                    reservation.fill(0xff);
                },
                Op::Read => if let Some((seq, entry)) = rx.read_next() {
                    prop_assert_eq!(seq, next_out);
                    check_entry(&owed, seq, entry);
                    next_out += 1;
                },
                Op::Free(count) => {
                    rx.free_until(rx.range().start + count);
                    owed.retain(|(seq, _)| *seq >= rx.range().start);
                    next_out = next_out.max(rx.range().start);
                }
            }
            rx.iter_from(0).for_each(|(seq, entry)| check_entry(&owed, seq, entry));
        }
    }
}

#[test]
fn a_full_ring_says_so_and_goes_on_when_space_is_freed() {
    let (mut tx, mut rx) = channel(4_096, 3).unwrap();
    assert_eq!(tx.capacity(), 4_096);
    assert!(channel(usize::MAX, 3).is_err());
    assert_eq!(tx.push(meta(0), &[1; 3_000]), Ok(0));
    assert_eq!(tx.push(meta(1), &[2; 2_000]), Err(NoRoom::Full));
    assert_eq!(tx.push(meta(1), &[2; 5_000]), Err(NoRoom::TooLarge));
    assert_eq!(tx.push_gap(), Ok(1));
    assert_eq!(tx.push_end(), Ok(2));
    assert_eq!(tx.push_gap(), Err(NoRoom::Full), "three descriptors are under way");
    assert_eq!((rx.poll(), rx.bytes()), (3, 3_000));
    rx.free_until(1);
    // The ring is empty, so that even a sample of its whole length fits, though it has to skip to the start of the map.
    assert_eq!(tx.push(meta(3), &[4; 4_096]), Ok(3));
    assert_eq!(tx.push(meta(4), &[5; 1]), Err(NoRoom::Full));
    rx.free_until(3);
    assert!(matches!(rx.read_next(), Some((3, Entry::Sample { data: [4, 4, ..], .. }))));
}

#[test]
fn cursors_read_the_window_as_they_read_an_es_ring() {
    let (mut tx, mut rx) = channel(4_096, 8).unwrap();
    tx.push_track(track(7)).unwrap();
    (1..4).for_each(|seq| assert_eq!(tx.push(meta(seq), b"x"), Ok(seq)));
    let mut cursor = Cursor::default();
    assert!(matches!(rx.next(&mut cursor), Next::Empty), "not polled yet");
    assert_eq!(rx.poll(), 4);
    rx.free_until(2);
    assert!(matches!(rx.next(&mut cursor), Next::Lost(2)));
    assert!(matches!(rx.next(&mut cursor), Next::Entry(2, Entry::Sample { data: b"x", .. })));
    assert_eq!(rx.track_at(2).unwrap().id, TrackId(7));
}

#[test]
fn either_side_may_leave_first() {
    let (mut tx, rx) = channel(4_096, 8).unwrap();
    let description = track(1);
    tx.push_track(description.clone()).unwrap();
    drop(rx);
    assert!(tx.is_abandoned());
    tx.reserve(100).unwrap().fill(1); // The map is still there.
    drop(tx);
    assert_eq!(Arc::strong_count(&description), 1, "what was never read is dropped with the channel");

    let (mut tx, mut rx) = channel(4_096, 8).unwrap();
    tx.push(meta(0), b"last words").unwrap();
    drop(tx);
    assert!(rx.is_abandoned());
    assert!(matches!(rx.read_next(), Some((0, Entry::Sample { data: b"last words", .. }))));
    assert!(rx.read_next().is_none());
}
