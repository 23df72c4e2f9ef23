//! The ES ring against a plain queue, and its memory.

use super::*;
use crate::es::{Codec, Key, TrackId, TsStream};
use proptest::prelude::*;
use std::collections::VecDeque;

fn meta(dts: i64) -> SampleMeta {
    let time = MediaTime(dts);
    SampleMeta { pts: time, dts: time, key: Key::None, discontinuity: false, header_len: 0, corrupt: false, pcr: None }
}

fn track(id: u16) -> Arc<Track> {
    let ts = TsStream::default();
    Arc::new(Track { id: TrackId(id), codec: Codec::Aac, language: None, role: Default::default(), ts, params: None })
}

/// `len` bytes that depend on `seed`.
fn payload(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (seed.wrapping_mul(31).wrapping_add(i) % 251) as u8).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Sample(usize),
    Track(u16),
    Gap,
    Read(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0usize..3_000).prop_map(Op::Sample),
        1 => (0usize..40_000).prop_map(Op::Sample),
        1 => any::<u16>().prop_map(Op::Track),
        1 => Just(Op::Gap),
        4 => (0usize..8).prop_map(Op::Read),
    ];
    prop::collection::vec(op, 1..300)
}

/// What an entry of the oracle holds.
#[derive(Debug, PartialEq)]
enum Kept {
    Sample(i64, Vec<u8>),
    Track(u16),
    Gap,
}

fn kept(entry: &Entry<'_>) -> Kept {
    match entry {
        Entry::Sample { meta, data } => Kept::Sample(meta.dts.0, data.to_vec()),
        Entry::Track(track) => Kept::Track(track.id.0),
        Entry::Gap => Kept::Gap,
        Entry::End => unreachable!("no test pushes it here"),
    }
}

/// The ring's contract in its plainest form: entries with numbers, evicted by count and bytes.
struct Oracle {
    entries: VecDeque<(Seq, Kept)>,
    tracks: Vec<(Seq, u16)>,
    end: Seq,
    samples_max: usize,
    bytes_max: usize,
}

impl Oracle {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|(_, kept)| if let Kept::Sample(_, data) = kept { data.len() } else { 0 }).sum()
    }
    fn push(&mut self, entry: Kept) {
        if let Kept::Track(id) = entry {
            self.tracks.push((self.end, id));
        }
        self.entries.push_back((self.end, entry));
        self.end += 1;
        while self.entries.len() > self.samples_max || self.bytes() > self.bytes_max {
            self.entries.pop_front();
        }
    }
    fn start(&self) -> Seq {
        self.entries.front().map_or(self.end, |(seq, _)| *seq)
    }
}

fn check_read(ring: &EsRing, oracle: &Oracle, cursor: &mut Cursor) {
    let before = cursor.next;
    match ring.next(cursor) {
        Next::Lost(lost) => assert_eq!(before + lost, oracle.start()),
        Next::Empty => assert_eq!(before, oracle.end),
        Next::Entry(seq, entry) => {
            assert_eq!(seq, before);
            let (_, expected) = &oracle.entries[(seq - oracle.start()) as usize];
            assert_eq!(&kept(&entry), expected);
        }
    }
}

fn check_all(ring: &EsRing, oracle: &Oracle) {
    assert_eq!(ring.range(), oracle.start()..oracle.end);
    assert_eq!(ring.bytes(), oracle.bytes());
    let all: Vec<_> = ring.iter_from(0).map(|(seq, entry)| (seq, kept(&entry))).collect();
    assert!(all.iter().eq(oracle.entries.iter()));
    for seq in ring.range() {
        let newest = oracle.tracks.iter().rfind(|(at, _)| *at <= seq).map(|(_, id)| *id);
        assert_eq!(ring.track_at(seq).map(|track| track.id.0), newest);
    }
}

proptest! {
    #[test]
    fn agrees_with_a_plain_queue(ops in ops(), samples_max in 1usize..60, bytes_max in 1usize..200_000) {
        let mut ring = EsRing::new(samples_max, bytes_max).unwrap();
        let mut oracle = Oracle { entries: VecDeque::new(), tracks: Vec::new(), end: 0, samples_max, bytes_max };
        let mut cursor = Cursor::default();
        let (mut live_peak, mut sample_peak) = (0, 0);
        for (index, op) in ops.into_iter().enumerate() {
            match op {
                Op::Sample(len) => {
                    let data = payload(index as u64, len);
                    let seq = ring.push(meta(index as i64), &data);
                    prop_assert_eq!(seq.is_some(), len <= bytes_max);
                    if seq.is_some() {
                        oracle.push(Kept::Sample(index as i64, data));
                        sample_peak = sample_peak.max(len);
                    }
                }
                Op::Track(id) => {
                    ring.push_track(track(id));
                    oracle.push(Kept::Track(id));
                }
                Op::Gap => {
                    ring.push_gap();
                    oracle.push(Kept::Gap);
                }
                Op::Read(count) => (0..count).for_each(|_| check_read(&ring, &oracle, &mut cursor)),
            }
            live_peak = live_peak.max(ring.bytes());
            check_all(&ring, &oracle);
        }
        prop_assert!(ring.touched_bytes() <= (live_peak + 2 * sample_peak).max(43_690) * 3 / 2 + 4_096);
    }
}

#[test]
fn a_low_bitrate_ring_touches_little_of_its_map() {
    let mut ring = EsRing::new(1_000, 32 << 20).unwrap();
    for index in 0..100_000u64 {
        let len = 400 + (index % 7) as usize; // about 403 KB in 1000 entries; 40 MB in all
        ring.push(meta(index as i64), &payload(index, len)).unwrap();
    }
    assert!(ring.bytes() > 400_000);
    assert!(ring.touched_bytes() < 620_000, "{}", ring.touched_bytes());
}

#[test]
fn a_lapped_cursor_learns_how_much_it_lost_and_which_track_holds() {
    let mut ring = EsRing::new(4, 1_000).unwrap();
    let mut cursor = Cursor::default();
    ring.push_track(track(7)); // 0
    for dts in 1..=6 {
        ring.push(meta(dts), b"x").unwrap(); // 1..=6, of which 3..=6 are left
    }
    assert!(matches!(ring.next(&mut cursor), Next::Lost(3)));
    assert!(matches!(ring.next(&mut cursor), Next::Entry(3, Entry::Sample { data: b"x", .. })));
    assert_eq!(ring.track_at(3).unwrap().id, TrackId(7));
    ring.push_track(track(8)); // 7
    assert_eq!(ring.track_at(6).unwrap().id, TrackId(7));
    assert_eq!(ring.track_at(u64::MAX).unwrap().id, TrackId(8));
}

#[test]
fn nothing_follows_the_end() {
    let mut ring = EsRing::new(8, 1_000).unwrap();
    ring.push_gap();
    assert_eq!(ring.push_end(), 1);
    assert_eq!(ring.push(meta(1), b"late"), None);
    assert_eq!(ring.push_gap(), 1);
    assert_eq!((ring.range(), ring.faults().refused), (0..2, 2));
}

#[test]
fn the_entry_of_a_cut_is_found_by_its_pts() {
    let mut ring = EsRing::new(8, 1_000).unwrap();
    // Decoding order I P B B: PTS 10, 40, 20, 30.
    for (dts, pts) in [(1, 10), (2, 40), (3, 20), (4, 30)] {
        ring.push(SampleMeta { pts: MediaTime(pts), ..meta(dts) }, b"x");
    }
    assert_eq!(ring.seq_at_or_after_pts(MediaTime(10)), Some(0));
    assert_eq!(ring.seq_at_or_after_pts(MediaTime(11)), Some(1));
    assert_eq!(ring.seq_at_or_after_pts(MediaTime(41)), None);
    assert_eq!(ring.iter_from(2).next_back().map(|(seq, _)| seq), Some(3));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "on one track"))]
fn a_dts_that_goes_back_is_noticed() {
    let mut ring = EsRing::new(8, 1_000).unwrap();
    ring.push(meta(5), b"x");
    ring.push(SampleMeta { discontinuity: true, ..meta(3) }, b"excused");
    assert_eq!(ring.faults(), Faults::default());
    ring.push(meta(3), b"x");
    assert_eq!(ring.faults().dts_backwards, 1);
}
