//! `/web/channels.json`: what the page at `/` shows of every channel. Public, so no origin address and no counter of the machine.
//!
//! ```text
//! {"now_ms": wall clock, "total": channels configured, "profiles": names for `?profile=`,
//!  "makes": {"video", "audio"}: whether what a browser does not decode is made for it, "channels": [{
//!    "id", "name", "group"?, "state": "idle"|"starting"|"live"|"stalled"|"failed",
//!    and for a channel with a session:
//!    "reason"?: why it failed, one line, "up_s": age of the session,
//!    "origin": {"up", "bytes", "connections", "continuity_errors", "samples_dropped"}, "bitrate_bps": of the segments, 0 = unknown,
//!    "viewers": {"hls-ts", "hls-fmp4", "dash", "mpegts"}, "tracks": [{"kind", "codec", "language"?, "rfc6381", "detail"}],
//!    "made": [{"rendition", "fps", "speed"}]: what transcoders make of it now }]}
//! ```
//! An idle channel is its first four fields, so that a thousand of them stay small. Logos are left out: they are on other hosts, and the
//! page loads nothing from there.
#![forbid(unsafe_code)]

use super::{ChannelRow, Report};
use crate::es::TrackKind;
use crate::limits::PAGE_CHANNELS_MAX;
use crate::session::shared::{ChannelState, TrackSummary};
use crate::time::Now;
use crate::transcode::status::OutputStatus;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct PageJson<'a> {
    /// Lets the page compare media time with the relay's wall clock and not with the viewer's.
    now_ms: u64,
    total: usize,
    profiles: Vec<&'a str>,
    makes: MakesJson,
    channels: Vec<ChannelJson<'a>>,
}

#[derive(Serialize)]
struct MakesJson {
    video: bool,
    audio: bool,
}

#[derive(Serialize)]
struct MadeJson<'a> {
    rendition: &'a str,
    fps: f64,
    /// Media time over the time it takes.
    speed: f64,
}

#[derive(Serialize)]
struct ChannelJson<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    state: &'static str,
    #[serde(flatten)]
    session: Option<SessionJson<'a>>,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    up_s: u64,
    origin: OriginJson,
    bitrate_bps: u64,
    viewers: BTreeMap<&'static str, u64>,
    tracks: Vec<TrackJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    made: Vec<MadeJson<'a>>,
}

#[derive(Serialize)]
struct OriginJson {
    up: bool,
    bytes: u64,
    connections: u64,
    continuity_errors: u64,
    samples_dropped: u64,
}

/// A track without its PID, which is the origin's affair.
#[derive(Serialize)]
struct TrackJson<'a> {
    kind: &'static str,
    codec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    rfc6381: &'a str,
    detail: &'a str,
}

/// The first [`PAGE_CHANNELS_MAX`] channels in the config's order.
pub fn page_json(report: &Report<'_>, now: Now) -> String {
    let channels = report.channels.iter().take(PAGE_CHANNELS_MAX).map(|row| channel(row, report, now)).collect();
    let profiles = report.profiles;
    let makes = |kind| profiles.is_automatic(kind);
    let page = PageJson {
        now_ms: now.unix_us / 1_000,
        total: report.channels.len(),
        profiles: profiles.names().collect(),
        makes: MakesJson { video: makes(TrackKind::Video), audio: makes(TrackKind::Audio) },
        channels,
    };
    // Strings and numbers always serialize; an empty object would be an honest answer if they ever did not.
    serde_json::to_string(&page).unwrap_or_else(|_| "{}".to_owned())
}

fn channel<'a>(row: &'a ChannelRow<'a>, report: &'a Report<'a>, now: Now) -> ChannelJson<'a> {
    let session = (row.view.epoch != 0).then(|| session(row, report, now));
    ChannelJson { id: row.id, name: row.name, group: row.group, state: row.view.state.name(), session }
}

fn session<'a>(row: &'a ChannelRow<'a>, report: &'a Report<'a>, now: Now) -> SessionJson<'a> {
    let counters = &row.shared.counters;
    SessionJson {
        reason: match &row.view.state {
            ChannelState::Failed(reason) => Some(reason),
            _ => None,
        },
        // An epoch's number is the unix second of its beginning, or one past the last number used where that is higher.
        up_s: (now.unix_us / 1_000_000).saturating_sub(row.view.epoch),
        origin: OriginJson {
            up: counters.origin_up.value() != 0,
            bytes: counters.origin_bytes.value(),
            connections: counters.origin_connections.value(),
            continuity_errors: counters.continuity_errors.value(),
            samples_dropped: counters.samples_dropped.value(),
        },
        bitrate_bps: row.bits_per_second(),
        viewers: row.viewers(),
        tracks: row.view.tracks.iter().map(track).collect(),
        made: report
            .jobs(row.id)
            .flat_map(|job| {
                let made = |output: &'a OutputStatus| MadeJson {
                    rendition: &output.rendition,
                    fps: output.fps,
                    speed: job.speed,
                };
                job.outputs.iter().map(made)
            })
            .collect(),
    }
}

fn track(track: &TrackSummary) -> TrackJson<'_> {
    TrackJson {
        kind: track.kind,
        codec: track.codec,
        language: track.language.as_deref(),
        rfc6381: &track.rfc6381,
        detail: &track.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::shared::{ChannelShared, ChannelView};

    fn json(views: Vec<ChannelView>) -> serde_json::Value {
        let shared: Vec<ChannelShared> = views
            .into_iter()
            .map(|view| {
                let shared = ChannelShared::default();
                shared.publish(view);
                shared
            })
            .collect();
        let channels = shared
            .iter()
            .map(|shared| ChannelRow { id: "a", name: "A", group: None, owner: 0, shared, view: shared.view() })
            .collect();
        let (transcode, profiles) = (Default::default(), &Default::default());
        let report = Report { channels, shards: Vec::new(), transcode, profiles, uptime_s: 0.0 };
        let now = Now { mono_us: 0, unix_us: 1_000_090_500_000 };
        serde_json::from_str(&page_json(&report, now)).expect("JSON")
    }

    #[test]
    fn an_idle_channel_is_four_fields_at_most() {
        let page = json(vec![ChannelView::default()]);
        assert_eq!(page["channels"][0], serde_json::json!({"id": "a", "name": "A", "state": "idle"}));
        assert_eq!((page["now_ms"].as_u64(), page["total"].as_u64()), (Some(1_000_090_500), Some(1)));
    }

    #[test]
    fn a_session_shows_its_age_its_tracks_and_why_it_failed() {
        let track = TrackSummary {
            pid: 481,
            kind: "video",
            codec: "h264",
            language: None,
            rfc6381: "avc1.64001f".into(),
            detail: "1280x720".into(),
        };
        let state = ChannelState::Failed("the origin answered 404 (Not Found)".into());
        let view = ChannelView { epoch: 1_000_000, state, tracks: vec![track], ..ChannelView::default() };
        let page = json(vec![view]);
        let channel = &page["channels"][0];
        assert_eq!((channel["up_s"].as_u64(), channel["state"].as_str()), (Some(90), Some("failed")));
        assert_eq!(channel["reason"].as_str(), Some("the origin answered 404 (Not Found)"));
        assert_eq!(channel["tracks"][0]["rfc6381"].as_str(), Some("avc1.64001f"));
        assert_eq!(channel["tracks"][0].get("pid"), None, "PIDs are the origin's affair");
        let formats: Vec<&str> = channel["viewers"].as_object().expect("viewers").keys().map(String::as_str).collect();
        assert_eq!(formats, ["dash", "hls-fmp4", "hls-ts", "mpegts"]);
    }

    #[test]
    fn the_list_is_bounded_and_says_how_many_there_are() {
        let page = json(vec![ChannelView::default(); PAGE_CHANNELS_MAX + 1]);
        assert_eq!(page["channels"].as_array().map(Vec::len), Some(PAGE_CHANNELS_MAX));
        assert_eq!(page["total"].as_u64(), Some(PAGE_CHANNELS_MAX as u64 + 1));
    }
}
