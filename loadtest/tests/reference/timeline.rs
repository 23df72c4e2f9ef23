//! Recordings to serve, and what a viewer that received one is held against.

use loadtest::reference::recording::Recording;
use std::time::Duration;

/// Each read: when it was, and what it brought.
pub type Arrivals = Vec<(Duration, Vec<u8>)>;

pub const SAMPLE_SIZES: [usize; 8] = [1_316, 20_000, 7, 60_000, 40_000, 188, 30_000, 9_000];
pub const SAMPLE_BYTES: usize = 160_511;
pub const SAMPLE_US: u64 = 200_000;

/// Chunks of several sizes, 25 ms apart, which a lap of 200 ms continues.
pub fn sample_recording() -> Recording {
    let body = noise(SAMPLE_BYTES);
    let mut rest = &body[..];
    let chunks = SAMPLE_SIZES.iter().zip(0..).map(|(&size, index)| {
        let (chunk, behind) = rest.split_at(size);
        rest = behind;
        (index * 25_000, chunk)
    });
    Recording::new(chunks, SAMPLE_US).unwrap()
}

/// The index of the chunk that `received` begins with.
pub fn phase(recording: &Recording, received: &[u8]) -> usize {
    let bytes = recording.bytes();
    let is_start = |start: usize| bytes[start..].iter().chain(bytes).zip(received).all(|(a, b)| a == b);
    recording.chunks().iter().position(|chunk| is_start(chunk.start)).expect("it begins with no chunk")
}

/// So many bytes of the recording that repeats, from a chunk on.
pub fn repeated(recording: &Recording, chunk: usize, bytes: usize) -> Vec<u8> {
    recording.bytes().iter().copied().cycle().skip(recording.chunks()[chunk].start).take(bytes).collect()
}

/// Holds what one viewer received against the timeline, which is whole chunks from one on: by how much each read came after what it ends with
/// was due, had the viewer joined in the first lap.
pub fn lateness_us(recording: &Recording, arrivals: &Arrivals) -> Vec<u64> {
    let received = joined(arrivals);
    let first = phase(recording, &received);
    assert!(received == repeated(recording, first, received.len()));
    let mut lateness_us = Vec::new();
    let (mut index, mut at, mut end) = (first, 0, SAMPLE_SIZES[first]);
    for (arrived, bytes) in arrivals {
        at += bytes.len();
        while at > end {
            index += 1;
            end += SAMPLE_SIZES[index % SAMPLE_SIZES.len()];
        }
        let (lap, chunk) = (index / SAMPLE_SIZES.len(), index % SAMPLE_SIZES.len());
        let due_us = lap as u64 * SAMPLE_US + recording.chunks()[chunk].at_us;
        let arrived_us = arrived.as_micros() as u64;
        lateness_us.push(arrived_us.checked_sub(due_us).expect("a chunk came before it was due"));
    }
    lateness_us
}

/// The bytes are the recording, over and over, from the beginning of a chunk on.
pub fn check_bytes(recording: &Recording, received: &[u8]) {
    assert!(received == repeated(recording, phase(recording, received), received.len()));
}

/// 4 MB/s, so that who reads may be held up for two seconds before it is cut.
pub fn fast_recording() -> Recording {
    let body = noise(40 * 40_000);
    let chunks = body.chunks(40_000).zip(0..).map(|(bytes, index)| (index * 10_000, bytes));
    Recording::new(chunks, 400_000).unwrap()
}

pub fn joined(arrivals: &Arrivals) -> Vec<u8> {
    arrivals.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

/// Bytes with no period that a test could mistake for another place (xorshift).
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| word()).take(bytes).collect()
}
