//! HLS with MPEG-TS segments: the playlists over a window of a TS store. Segments are ranges of the store that continuous
//! viewers read as well.
//!
//! URLs, below `/relay/channel/{id}/`: the multivariant playlist stands there under any name and points to
//! `{epoch}/ts/media.m3u8`, or `ts_{selection}` where that is not the source as it is; the media playlist points to `../../{epoch}/ts/{number}.ts`. So its segments resolve as well for a
//! player that still polls the playlist of an epoch before and is answered with the one in force.
//!
//! The first segment of an epoch is marked EXT-X-DISCONTINUITY: to a player that comes from the epoch before it is one,
//! and to one that begins there it means nothing.

use super::Text;
use super::window::{self, Segment, Window};
use crate::es::selection::Selection;
use crate::es::{Params, Track};
use crate::hls::{media, multivariant};
use crate::timeline::Epoch;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Playlists and segments at one point in time; rendered once per change and shared by all viewers.
#[derive(Clone, Debug)]
pub struct TsSnapshot {
    pub epoch: Epoch,
    /// The Media Playlist; empty as long as no segment is complete.
    pub playlist: Text,
    /// Its line in a Multivariant Playlist; `None` as long as no segment is complete.
    pub variant: Option<multivariant::Variant>,
    /// Segments that are served, listed or not any more, oldest first, numbers consecutive.
    pub segments: Box<[Segment]>,
    /// Bit rate of the largest and of the average listed segment, bits a second; 0 as long as there is none.
    pub peak_bits_per_second: u64,
    pub average_bits_per_second: u64,
}

impl TsSnapshot {
    /// A snapshot without segments.
    pub fn empty(epoch: Epoch) -> Self {
        TsSnapshot {
            epoch,
            playlist: Text::default(),
            variant: None,
            segments: Box::default(),
            peak_bits_per_second: 0,
            average_bits_per_second: 0,
        }
    }

    /// Store bytes of a segment; `None` when it is not complete yet or gone.
    pub fn segment(&self, number: u64) -> Option<Range<u64>> {
        let first = self.segments.first()?.number();
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.segments.get(index).map(|s| s.range.clone())
    }
}

/// Renders both playlists for the window as it is.
pub fn render(
    epoch: Epoch,
    selection: &Selection,
    target_duration_s: u64,
    window: &Window<Segment>,
    tracks: &[Arc<Track>],
) -> TsSnapshot {
    let folder = folder(selection);
    let Some(first) = window.listed().next() else { return TsSnapshot::empty(epoch) };
    let (peak_bits_per_second, average_bits_per_second) = window::rates(window.listed());
    let header = media::Header {
        target_duration_s,
        media_sequence: first.number(),
        discontinuity_sequence: first.cut.discontinuity_sequence.saturating_sub(u64::from(first.is_marked(epoch))),
        independent_segments: window.listed().all(|s| s.cut.independent),
    };
    let entries = window.listed().map(|segment| media::Entry {
        uri: SegmentUri { epoch: epoch.id, folder: &folder, number: segment.number() },
        map: None,
        gap: false,
        duration_90k: segment.duration_90k,
        discontinuity: segment.is_marked(epoch),
        program_date_time_us: segment.cut.program_date_time_us,
    });
    let mut playlist = String::with_capacity(4096);
    media::write(&header, entries, &mut playlist);
    let variant = variant(epoch, &folder, (peak_bits_per_second, average_bits_per_second), tracks);
    let segments: Box<[Segment]> = window.served().cloned().collect();
    let newest = segments.last().map_or(0, Segment::number);
    TsSnapshot {
        epoch,
        playlist: Text::new(playlist, format!("\"{folder}-{}-{newest}\"", epoch.id)),
        variant: Some(variant),
        segments,
        peak_bits_per_second,
        average_bits_per_second,
    }
}

/// Relative URI of a segment.
#[derive(PartialEq)]
struct SegmentUri<'a> {
    epoch: u64,
    folder: &'a str,
    number: u64,
}

impl fmt::Display for SegmentUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "../../{}/{}/{}.ts", self.epoch, self.folder, self.number)
    }
}

/// The folder below an epoch where a selection's playlist and segments lie: what [`crate::es::selection::Selection`]'s text names, `ts` for the source as it is.
fn folder(selection: &Selection) -> String {
    if *selection == Selection::SOURCE { "ts".into() } else { format!("ts_{selection}") }
}

/// The Multivariant Playlist over selections, best first: one for a ladder with a rung each, one alone for what is no ladder. `None` while one of them
/// has no segment.
pub fn multivariant<'a>(snapshots: impl Iterator<Item = &'a TsSnapshot>) -> Option<Text> {
    let (mut variants, mut etag) = (Vec::new(), String::from("\"ts-m"));
    for snapshot in snapshots {
        variants.push(snapshot.variant.clone()?);
        let newest = snapshot.segments.last().map_or(0, Segment::number);
        etag.push_str(&format!("-{}-{newest}", snapshot.epoch.id));
    }
    let mut out = String::with_capacity(256 + 256 * variants.len());
    multivariant::write(&[], &variants, false, &mut out);
    (!variants.is_empty()).then(|| Text::new(out, etag + "\""))
}

fn variant(
    epoch: Epoch,
    folder: &str,
    (bandwidth, average_bandwidth): (u64, u64),
    tracks: &[Arc<Track>],
) -> multivariant::Variant {
    let mut variant = multivariant::Variant {
        uri: format!("{}/{folder}/media.m3u8", epoch.id),
        bandwidth,
        average_bandwidth,
        ..multivariant::Variant::default()
    };
    for track in tracks {
        let codec = match &track.params {
            Some(Params::Video(video)) => {
                variant.resolution.get_or_insert((video.width, video.height));
                variant.frame_rate = variant.frame_rate.or(video.frame_rate);
                &video.rfc6381
            }
            Some(Params::Audio(audio)) => &audio.rfc6381,
            None => continue,
        };
        if !codec.is_empty() && !variant.codecs.contains(codec) {
            variant.codecs.push(codec.clone());
        }
    }
    variant
}
