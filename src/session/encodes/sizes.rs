//! How large the rings to and from transcoders are, and what of them is kept.
//!
//! Memory of an output ring: its bit rate times the window and a little, and half as much again, for one that peaks; touched as it fills.

use super::Ends;
use crate::es::encoding::Encoding;
use crate::es::{Params, Track, TrackKind};
use crate::limits::{
    TRANSCODE_INPUT_AUDIO_BYTES, TRANSCODE_INPUT_ENTRIES, TRANSCODE_INPUT_VIDEO_BYTES, TRANSCODE_OUTPUT_BYTES,
    TRANSCODE_OUTPUT_ENTRIES,
};
use crate::ring::es::Entry;
use crate::ring::spsc::{self, Consumer};
use crate::time::MediaTime;
use std::io;

/// Media beyond the window that is kept, milliseconds.
const SLACK_MS: u64 = 4_000;

/// The ring to a worker: a worker that lags leaves the samples where they are, in the source's ring.
pub(super) fn input(source: &Track) -> io::Result<Ends> {
    let is_video = source.kind() == TrackKind::Video;
    let bytes = if is_video { TRANSCODE_INPUT_VIDEO_BYTES } else { TRANSCODE_INPUT_AUDIO_BYTES };
    spsc::channel(bytes, TRANSCODE_INPUT_ENTRIES)
}

/// The ring from a worker.
pub(super) fn output(source: &Track, encoding: Encoding, window_ms: u64) -> io::Result<Ends> {
    let bits_per_ms = u64::from(kbps(source, encoding));
    let bytes = bits_per_ms * (window_ms + SLACK_MS) / 8 * 3 / 2;
    let bytes = (bytes as usize).clamp(*TRANSCODE_OUTPUT_BYTES.start(), *TRANSCODE_OUTPUT_BYTES.end());
    spsc::channel(bytes, TRANSCODE_OUTPUT_ENTRIES)
}

/// The bit rate asked for, or more than an encoder will choose.
fn kbps(source: &Track, encoding: Encoding) -> u32 {
    match encoding {
        Encoding::Audio(audio) if audio.kbps > 0 => audio.kbps.into(),
        Encoding::Audio(_) => 512,
        Encoding::Video(video) if video.kbps > 0 => video.kbps,
        Encoding::Video(_) => match &source.params {
            // 8 Mb/s for each two million pixels, and one to begin with.
            Some(Params::Video(params)) => 1_000 + params.width.saturating_mul(params.height) / 259,
            _ => 9_000,
        },
    }
}

/// Frees what packagers will not want any more, and what the ring needs to stay open to its worker: a quarter is always free.
pub(super) fn free_old(ring: &mut Consumer, newest_cut: Option<MediaTime>, window_ms: u64) {
    let (bytes_max, entries_max) = ring.capacity();
    let oldest_kept = newest_cut.map(|cut| cut + -((window_ms + SLACK_MS) as i64 * 90));
    let mut bytes = ring.bytes();
    let range = ring.range();
    let mut until = range.start;
    for (seq, entry) in ring.iter_from(range.start) {
        let is_crowded = bytes > bytes_max / 4 * 3 || (range.end - seq) as usize > entries_max / 4 * 3;
        let (is_old, len) = match entry {
            Entry::Sample { meta, data } => (oldest_kept.is_some_and(|oldest| meta.dts < oldest), data.len()),
            // Descriptions are remembered when they are freed.
            _ => (true, 0),
        };
        if !(is_old || is_crowded) {
            break;
        }
        bytes -= len;
        until = seq + 1;
    }
    // An event that nothing follows yet has not been read.
    if until > range.start && until < range.end {
        ring.free_until(until);
    }
}
