//! Broken transport streams: whatever comes in, the demuxer neither panics nor grows.
//!
//! Three sources: packets made at random around a valid PAT and PMT (always there), seeded mutations of the real streams of
//! `../shared/media`, and its collection of inputs that once broke other parsers (both skipped with a line when not there).
//! `MILLRACE_FULL=1` runs 10,000 mutations instead of 400. A failure names its seed; `MILLRACE_SEED=n` runs that one alone.

use millrace::es::{Track, TrackId};
use millrace::limits::TRACKS_MAX;
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, MEMORY_BYTES_MAX, RawSample, Sink};
use millrace::mpegts::psi::crc32;
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Longest piece of a real stream that one mutation works on, bytes.
const PIECE_BYTES: usize = 128 << 10;

/// Checks what every sink may rely on.
#[derive(Default)]
struct Checked {
    ids: Vec<TrackId>,
    samples: u64,
}

impl Sink for Checked {
    fn tracks(&mut self, tracks: &[Track]) {
        assert!(tracks.len() <= TRACKS_MAX);
        self.ids = tracks.iter().map(|t| t.id).collect();
        let mut unique = self.ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), tracks.len(), "ids are unique");
    }
    fn pcr(&mut self, pcr_27m: u64, _discontinuity: bool) -> Flow {
        assert!(pcr_27m < (1 << 33) * 300);
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        assert!(self.ids.contains(&sample.track), "a sample of a track that was announced");
        assert!((sample.header_len as usize) <= sample.data.len());
        self.samples += 1;
    }
}

/// Pushes `bytes` in pieces, ends, and comes back once more with the first bytes, as a reconnect does.
fn demux(bytes: &[u8], random: &mut Random) -> u64 {
    let mut sink = Checked::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.len().min(1 + random.below(40_000)));
        assert_eq!(demuxer.push(piece, &mut sink), piece.len());
        let held = demuxer.memory_bytes();
        assert!(
            held <= MEMORY_BYTES_MAX && held <= 8 * bytes.len() + (4 << 20),
            "{held} bytes held of {}",
            bytes.len()
        );
        rest = tail;
    }
    demuxer.end(&mut sink);
    demuxer.push(&bytes[..bytes.len().min(20_000)], &mut sink);
    demuxer.end(&mut sink);
    sink.samples
}

#[test]
fn random_packets_around_valid_tables() {
    run_seeds("random packets", if full() { 4_000 } else { 400 }, |random| {
        let bytes = random_stream(random);
        demux(&bytes, random);
    });
}

#[test]
fn mutations_of_real_streams() {
    let files = media(&["ts", "exo-ts"]);
    if files.is_empty() {
        return;
    }
    let streams: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let (runs, fruitful) = (Cell::new(0u64), Cell::new(0u64));
    run_seeds("mutations", if full() { 10_000 } else { 400 }, |random| {
        let stream = &streams[random.below(streams.len())];
        let mut bytes = piece(stream, random);
        for _ in 0..1 + random.below(6) {
            mutate(&mut bytes, random);
        }
        let samples = demux(&bytes, random);
        runs.set(runs.get() + 1);
        fruitful.set(fruitful.get() + u64::from(samples > 0));
    });
    println!("{} of {} mutations still gave samples", fruitful.get(), runs.get());
    assert!(runs.get() < 100 || fruitful.get() * 2 > runs.get(), "mutations must leave something to demultiplex");
}

#[test]
fn inputs_that_broke_other_parsers() {
    let root = media_root().join("fuzz");
    let mut count = 0;
    for folder in fs::read_dir(&root).into_iter().flatten().map(|e| e.unwrap().path()) {
        if !folder.file_name().unwrap().to_str().unwrap().starts_with("formats-mpegts-") {
            continue;
        }
        for file in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            demux(&fs::read(&file).unwrap(), &mut Random(1));
            count += 1;
        }
    }
    println!("{count} inputs{}", if count == 0 { ": skipped, ../shared/media is not there" } else { "" });
}

/// The stream's head, where the tables are, and a piece from anywhere.
fn piece(stream: &[u8], random: &mut Random) -> Vec<u8> {
    let head = &stream[..stream.len().min(20 * 188)];
    let from = random.below(stream.len() / 188 + 1) * 188;
    let to = stream.len().min(from + PIECE_BYTES);
    [head, &stream[from.min(to)..to]].concat()
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.len() < 2 * 188 {
        return;
    }
    let packets = bytes.len() / 188;
    let at = random.below(packets) * 188;
    match random.below(8) {
        0 => (0..1 + random.below(64)).for_each(|_| {
            let bit = random.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }),
        // Headers only: where a flipped bit changes what the demuxer does.
        1 => (0..1 + random.below(64)).for_each(|_| {
            let byte = random.below(packets) * 188 + random.below(24);
            bytes[byte] = random.next() as u8;
        }),
        2 => drop(bytes.drain(at..at + 188)),
        3 => {
            let packet = bytes[at..at + 188].to_vec();
            let copies = packet.repeat(1 + random.below(3));
            bytes.splice(at..at, copies);
        }
        4 => {
            let other = random.below(packets) * 188;
            (0..188).for_each(|i| bytes.swap(at + i, other + i));
        }
        5 => drop(bytes.drain(at + random.below(188)..at + 188)),
        6 => {
            let garbage: Vec<u8> = (0..random.below(1_000)).map(|_| random.next() as u8).collect();
            let at = at + random.below(188);
            bytes.splice(at..at, garbage);
        }
        _ => bytes.truncate(at + random.below(188)),
    }
}

/// A PAT, a PMT with every kind of stream, then packets whose headers and payloads are partly random.
fn random_stream(random: &mut Random) -> Vec<u8> {
    const TYPES: [u8; 12] = [0x1b, 0x24, 0x02, 0x03, 0x0f, 0x11, 0x81, 0x87, 0x06, 0x86, 0x42, 0x0b];
    let mut pmt = vec![2, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe0, 0x20, 0xf0, 0];
    for (pid, stream_type) in (0x20u8..).zip(TYPES) {
        pmt.extend([stream_type, 0xe0, pid, 0xf0, 0]);
    }
    pmt[2] = (pmt.len() + 4 - 3) as u8;
    let pat = vec![0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0, 0x10];
    let mut stream = [table(0, pat), table(0x10, pmt)].concat();
    let mut counters = [0u8; TYPES.len()];
    for _ in 0..300 {
        let stream_at = random.below(TYPES.len());
        let counter = &mut counters[stream_at];
        *counter = if random.below(20) == 0 { random.next() as u8 } else { *counter + 1 } & 0x0f;
        let start = random.below(4) == 0;
        let control = if random.below(8) == 0 { random.next() as u8 & 0xf0 } else { 0x10 };
        let mut packet = vec![0x47, u8::from(start) << 6, 0x20 + stream_at as u8, control | *counter];
        if start {
            packet.extend([
                0,
                0,
                1,
                0xe0,
                0,
                random.below(200) as u8,
                0x84,
                0x80,
                5,
                0x21,
                0,
                1,
                random.next() as u8,
                1,
            ]);
        }
        // Start codes and sync words now and then, so that framers have something to find.
        while packet.len() < 188 {
            match random.below(12) {
                0 => packet.extend([0, 0, 1, random.next() as u8]),
                1 => packet.extend([0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc]),
                2 => packet.extend([0x0b, 0x77]),
                3 => packet.extend([0x56, 0xe0, random.next() as u8]),
                _ => packet.extend(random.next().to_le_bytes()),
            }
        }
        packet.truncate(188);
        stream.extend(packet);
    }
    stream
}

fn table(pid: u8, mut section: Vec<u8>) -> Vec<u8> {
    section.extend(crc32(&section).to_be_bytes());
    let mut packet = [&[0x47, 0x40, pid, 0x10, 0][..], &section].concat();
    packet.resize(188, 0xff);
    packet
}

/// Runs `test` for each seed and names the seed of a failure.
fn run_seeds(name: &str, count: u64, test: impl Fn(&mut Random)) {
    let only: Option<u64> = std::env::var("MILLRACE_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = only.map_or(1..=count, |seed| seed..=seed);
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| test(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))));
        assert!(run.is_ok(), "{name}: seed {seed} failed");
    }
}

/// Xorshift64*: seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// 0 .. `bound`; 0 for a bound of 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }
}

fn full() -> bool {
    std::env::var_os("MILLRACE_FULL").is_some_and(|v| v == "1")
}

fn media_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media")
}

/// Transport streams below these folders; none, and a printed line, when they are not there.
fn media(folders: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(media_root().join(folder)).into_iter().flatten();
        files.extend(
            entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "ts" || e == "m2ts")),
        );
    }
    files.sort();
    if files.is_empty() {
        println!("skipped: ../shared/media is not there");
    }
    files
}
