//! DASH: the MPD over the windows of all renditions.
//!
//! Presentation time is output time: availabilityStartTime is 1970. A Period begins at the epoch's first cut and at every break, with the
//! presentationTimeOffset that makes its media times output time again. Segments are the same URLs as in HLS playlists.

use super::cmaf::{CmafSegment, Init, PeriodStart, RenditionSnapshot, scale};
use super::hls_fmp4::{is_independent, language_tag, name};
use crate::dash::mpd::{self, AdaptationSet, ContentKind, Mpd, Period, Representation, TimelineEntry};
use crate::es::{AudioRole, Params};
use crate::time::Now;
use crate::timeline::Epoch;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// UTCTiming's URL, relative to the MPD below `/relay/channel/{id}/`.
const TIME_URL: &str = "../../time";

/// Renders the MPD of segments before number `end` ([`common_end`]).
pub(super) fn mpd(
    epoch: Epoch,
    window_ms: u64,
    renditions: &[Arc<RenditionSnapshot>],
    periods: &VecDeque<PeriodStart>,
    end: u64,
    now: Now,
) -> String {
    let listed = || renditions.iter().flat_map(|rendition| rendition.listed());
    let longest_ms = listed().map(|segment| segment.segment.duration_90k.max(0) as u64 / 90).max().unwrap_or(0);
    let ends = periods.iter().skip(1).map(|period| period.segment).chain([end]);
    let ranges = periods.iter().zip(ends).map(|(period, end)| (period, period.segment..end));
    let mpd = Mpd {
        publish_time_us: now.unix_us,
        // Half a segment, so that a new one is known well before a buffer of one is empty.
        update_period_ms: (longest_ms / 2).max(1_000),
        time_shift_buffer_ms: window_ms.min(listed_ms(renditions)),
        // Three segments, as HLS players have it; dash.js stalls with one.
        presentation_delay_ms: 3 * longest_ms,
        min_buffer_ms: longest_ms,
        segment_ms_max: longest_ms.max(longest_media_ms(renditions)),
        utc_timing_url: TIME_URL.to_owned(),
        periods: ranges.filter_map(|(start, segments)| period(epoch, renditions, start, &segments)).collect(),
    };
    let mut out = String::with_capacity(4_096);
    mpd::write(&mpd, &mut out);
    out
}

/// One past the newest segment number to list: what all renditions have, so that no player sees a picture without its sound for the moment
/// that audio comes later. One that lags by more than a segment is not waited for, unless it is still being made: a Period that begins without its
/// picture stays without it for a player that has come to it. An encoded one is waited for while it lags by [`ENCODED_LAG_SEGMENTS`] at most.
pub(super) fn common_end(renditions: &[Arc<RenditionSnapshot>]) -> u64 {
    let newest = || renditions.iter().filter_map(|rendition| Some(rendition.listed().last()?.segment.number()));
    let encoded = renditions.iter().filter(|rendition| rendition.id.encoding.is_some());
    let encoded = encoded.filter_map(|rendition| Some(rendition.listed().last()?.segment.number())).min();
    match (newest().min(), newest().max(), encoded) {
        (_, Some(last), Some(made)) if made < last && last - made <= ENCODED_LAG_SEGMENTS => made + 1,
        (Some(first), Some(last), _) if first + 1 == last => last,
        _ => u64::MAX,
    }
}

/// Segments that an encoder may be behind, and be waited for.
const ENCODED_LAG_SEGMENTS: u64 = 8;

/// How far back segments are listed at most, milliseconds. A timeShiftBufferDepth beyond that makes shaka wait for segments of the epoch before,
/// which are gone, until they are as old as it says.
fn listed_ms(renditions: &[Arc<RenditionSnapshot>]) -> u64 {
    let ticks = |rendition: &Arc<RenditionSnapshot>| -> i64 {
        rendition.listed().iter().map(|segment| segment.segment.duration_90k).sum()
    };
    renditions.iter().map(ticks).max().unwrap_or(0).max(0) as u64 / 90
}

/// The longest S@d, milliseconds, rounded up.
fn longest_media_ms(renditions: &[Arc<RenditionSnapshot>]) -> u64 {
    let of = |rendition: &RenditionSnapshot| {
        let ms = |segment: &CmafSegment| {
            let timescale = rendition.init(segment.init).map_or(1, |init| u64::from(init.timescale));
            segment.duration.saturating_mul(1_000).div_ceil(timescale.max(1))
        };
        rendition.listed().iter().filter(|segment| !segment.is_gap()).map(ms).max()
    };
    renditions.iter().filter_map(|rendition| of(rendition)).max().unwrap_or(0)
}

/// The Period with this range of segment numbers; `None` when no rendition lists one of them.
fn period(
    epoch: Epoch,
    renditions: &[Arc<RenditionSnapshot>],
    start: &PeriodStart,
    segments: &Range<u64>,
) -> Option<Period> {
    let mut has_main = false;
    let groups = switchable(renditions);
    let sets = groups.iter().zip(0..).filter_map(|(group, index)| {
        let is_first = groups[..index as usize].iter().all(|other| other[0].id.track != group[0].id.track);
        let set = adaptation_set(epoch, group, (index, is_first), start, segments, has_main)?;
        has_main |= set.kind == ContentKind::Audio && set.roles.contains(&"main");
        Some(set)
    });
    let adaptation_sets: Vec<AdaptationSet> = sets.collect();
    let is_listed = !adaptation_sets.is_empty();
    is_listed.then(|| Period { id: start.segment.to_string(), start_90k: start.start.0.max(0) as u64, adaptation_sets })
}

/// Renditions that players switch between without a break: the rungs of one picture in one codec. Each sound is for itself.
fn switchable(renditions: &[Arc<RenditionSnapshot>]) -> Vec<Vec<&RenditionSnapshot>> {
    let codec = |rendition: &RenditionSnapshot| rendition.inits.last().map(|init| init.track.codec);
    let mut groups: Vec<Vec<&RenditionSnapshot>> = Vec::new();
    for rendition in renditions {
        let fits = |group: &&mut Vec<&RenditionSnapshot>| {
            let first = group[0];
            !rendition.id.is_audio() && first.id.track == rendition.id.track && codec(first) == codec(rendition)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(rendition),
            None => groups.push(vec![rendition]),
        }
    }
    groups
}

fn adaptation_set(
    epoch: Epoch,
    group: &[&RenditionSnapshot],
    (index, is_first): (u32, bool),
    start: &PeriodStart,
    segments: &Range<u64>,
    has_main: bool,
) -> Option<AdaptationSet> {
    let in_period = |segment: &&CmafSegment| segments.contains(&segment.segment.number()) && !segment.is_gap();
    let listed = |rendition: &RenditionSnapshot| -> Vec<CmafSegment> {
        rendition.listed().iter().filter(in_period).cloned().collect()
    };
    let mut representations = Vec::new();
    let mut described = None;
    for rendition in group {
        let listed = listed(rendition);
        let Some(init) = listed.first().and_then(|segment| rendition.init(segment.init)) else { continue };
        let entry = |segment: &CmafSegment| TimelineEntry { time: segment.time, duration: segment.duration };
        representations.push(representation(epoch, rendition, init, start, listed.iter().map(entry).collect()));
        described.get_or_insert(&init.track);
    }
    let (first, track) = (*group.first()?, described?);
    let is_main = track.role == AudioRole::Main && !has_main;
    let is_audio = first.id.is_audio();
    Some(AdaptationSet {
        // A picture in two codecs makes two sets of one track.
        id: if is_first { u32::from(first.id.track.0) } else { 1_000 + index },
        kind: if is_audio { ContentKind::Audio } else { ContentKind::Video },
        language: language_tag(track).map(str::to_owned),
        label: is_audio.then(|| name(track)),
        roles: vec![role_value(is_audio, track.role, is_main)],
        audio_purpose: match track.role {
            AudioRole::VisualImpaired => Some(1),
            AudioRole::HearingImpaired => Some(2),
            AudioRole::Main | AudioRole::CleanEffects => None,
        },
        starts_with_sap: group.iter().all(|rendition| is_independent(rendition.id, listed(rendition).iter())),
        representations,
    })
}

/// The value of urn:mpeg:dash:role:2011.
fn role_value(is_audio: bool, role: AudioRole, is_main: bool) -> &'static str {
    match role {
        _ if !is_audio => "main",
        AudioRole::VisualImpaired => "description",
        AudioRole::HearingImpaired => "enhanced-audio-intelligibility",
        AudioRole::Main if is_main => "main",
        AudioRole::Main | AudioRole::CleanEffects => "alternate",
    }
}

fn representation(
    epoch: Epoch,
    rendition: &RenditionSnapshot,
    init: &Init,
    start: &PeriodStart,
    timeline: Vec<TimelineEntry>,
) -> Representation {
    let id = rendition.id;
    let mut representation = Representation {
        id: id.to_string(),
        bandwidth: rendition.rates().0,
        codecs: String::new(),
        resolution: None,
        sar: None,
        frame_rate: None,
        audio_sampling_rate: None,
        audio_channels: None,
        timescale: init.timescale,
        presentation_time_offset: scale(start.start, init.timescale),
        initialization: format!("{}/{id}/init-{}.mp4", epoch.id, init.hash),
        media: format!("{}/{id}/$Time$.m4s", epoch.id),
        timeline,
    };
    match &init.track.params {
        Some(Params::Video(video)) => {
            representation.codecs.clone_from(&video.rfc6381);
            representation.resolution = Some((video.width, video.height));
            representation.sar = Some(video.sar);
            representation.frame_rate = video.frame_rate;
        }
        Some(Params::Audio(audio)) => {
            representation.codecs.clone_from(&audio.rfc6381);
            representation.audio_sampling_rate = Some(audio.sample_rate);
            representation.audio_channels = Some(audio.channels).filter(|channels| *channels > 0);
        }
        None => {}
    }
    representation
}
