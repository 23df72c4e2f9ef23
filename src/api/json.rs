//! `/api/v1/channels` and `/api/v1/sessions`.
#![forbid(unsafe_code)]

use super::{ChannelRow, Report};
use crate::session::shared::{ChannelState, TrackSummary};
use serde::Serialize;

#[derive(Serialize)]
struct ChannelJson<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    state: &'static str,
    viewers: u64,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    channel: &'a str,
    shard: usize,
    epoch: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    viewers: ViewersJson,
    origin: OriginJson,
    bitrate_bps: u64,
    segments: usize,
    tracks: &'a [TrackSummary],
}

#[derive(Serialize)]
struct ViewersJson {
    #[serde(rename = "hls-ts")]
    hls_ts: u64,
    mpegts: u64,
}

#[derive(Serialize)]
struct OriginJson {
    connections: u64,
    bytes: u64,
    continuity_errors: u64,
    samples: u64,
    samples_dropped: u64,
}

/// Every configured channel, in the config's order.
pub fn channels_json(report: &Report<'_>) -> String {
    let rows: Vec<ChannelJson<'_>> = report
        .channels
        .iter()
        .map(|row| ChannelJson {
            id: row.id,
            name: row.name,
            group: row.group,
            state: row.view.state.name(),
            viewers: row.shared.counters.viewers_hls.value() + row.shared.counters.viewers_ts.value(),
        })
        .collect();
    render("channels", &rows)
}

/// Channels that have a session.
pub fn sessions_json(report: &Report<'_>) -> String {
    let rows: Vec<SessionJson<'_>> = report.channels.iter().filter(|row| row.view.epoch != 0).map(session).collect();
    render("sessions", &rows)
}

fn session<'a>(row: &'a ChannelRow<'a>) -> SessionJson<'a> {
    let counters = &row.shared.counters;
    let snapshot = row.view.ts.as_ref().map(|ts| ts.snapshot());
    SessionJson {
        channel: row.id,
        shard: row.owner,
        epoch: row.view.epoch,
        state: row.view.state.name(),
        reason: match &row.view.state {
            ChannelState::Failed(reason) => Some(reason),
            _ => None,
        },
        viewers: ViewersJson { hls_ts: counters.viewers_hls.value(), mpegts: counters.viewers_ts.value() },
        origin: OriginJson {
            connections: counters.origin_connections.value(),
            bytes: counters.origin_bytes.value(),
            continuity_errors: counters.continuity_errors.value(),
            samples: counters.samples.value(),
            samples_dropped: counters.samples_dropped.value(),
        },
        bitrate_bps: snapshot.as_ref().map_or(0, |s| s.average_bits_per_second),
        segments: snapshot.as_ref().map_or(0, |s| s.segments.len()),
        tracks: &row.view.tracks,
    }
}

fn render<T: Serialize>(name: &str, rows: &[T]) -> String {
    // Strings and numbers always serialize; an empty object would be an honest answer if they ever did not.
    serde_json::to_string(&std::collections::BTreeMap::from([(name, rows)])).unwrap_or_else(|_| "{}".to_owned())
}
