//! `/api/v1/channels` and `/api/v1/sessions`.
#![forbid(unsafe_code)]

use super::{ChannelRow, Report};
use crate::es::selection::Selection;
use crate::limits::BLOCK_BYTES;
use crate::package::cmaf::RenditionSnapshot;
use crate::session::shared::{ChannelState, TrackSummary};
use crate::transcode::status::{JobStatus, Status};
use serde::Serialize;
use std::collections::BTreeMap;

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
    viewers: BTreeMap<&'static str, u64>,
    origin: OriginJson,
    bitrate_bps: u64,
    /// Segments of the TS store that are served.
    segments: usize,
    /// CMAF stores: one for each track rendition, whoever reads it.
    renditions: Vec<RenditionJson>,
    /// What makes those that the source does not have.
    transcoders: Vec<&'a JobStatus>,
    tracks: &'a [TrackSummary],
}

#[derive(Serialize)]
struct RenditionJson {
    id: String,
    bitrate_bps: u64,
    segments: usize,
    store_bytes: u64,
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
            viewers: row.viewers().values().sum(),
        })
        .collect();
    render("channels", &rows)
}

/// Channels that have a session.
pub fn sessions_json(report: &Report<'_>) -> String {
    let rows = report.channels.iter().filter(|row| row.view.epoch != 0);
    let rows: Vec<SessionJson<'_>> = rows.map(|row| session(row, report)).collect();
    render("sessions", &rows)
}

fn session<'a>(row: &'a ChannelRow<'a>, report: &'a Report<'a>) -> SessionJson<'a> {
    let counters = &row.shared.counters;
    let ts = row.view.ts(&Selection::SOURCE).map(|ts| ts.snapshot());
    let cmaf = row.view.cmaf.as_ref().map(|cmaf| cmaf.snapshot());
    SessionJson {
        channel: row.id,
        shard: row.owner,
        epoch: row.view.epoch,
        state: row.view.state.name(),
        reason: match &row.view.state {
            ChannelState::Failed(reason) => Some(reason),
            _ => None,
        },
        viewers: row.viewers(),
        origin: OriginJson {
            connections: counters.origin_connections.value(),
            bytes: counters.origin_bytes.value(),
            continuity_errors: counters.continuity_errors.value(),
            samples: counters.samples.value(),
            samples_dropped: counters.samples_dropped.value(),
        },
        bitrate_bps: row.bits_per_second(),
        segments: ts.map_or(0, |snapshot| snapshot.segments.len()),
        renditions: cmaf.iter().flat_map(|snapshot| &snapshot.renditions).map(|r| rendition(r)).collect(),
        transcoders: report.jobs(row.id).collect(),
        tracks: &row.view.tracks,
    }
}

fn rendition(rendition: &RenditionSnapshot) -> RenditionJson {
    RenditionJson {
        id: rendition.id.to_string(),
        bitrate_bps: rendition.rates().1,
        segments: rendition.segments.len(),
        store_bytes: (rendition.store.held_blocks() * BLOCK_BYTES) as u64,
    }
}

fn render<T: Serialize>(name: &str, rows: &[T]) -> String {
    // Strings and numbers always serialize; an empty object would be an honest answer if they ever did not.
    serde_json::to_string(&BTreeMap::from([(name, rows)])).unwrap_or_else(|_| "{}".to_owned())
}

/// `/api/v1/transcoders`: [`Status`] as it is.
pub fn transcoders_json(status: &Status) -> String {
    // Strings and numbers always serialize.
    serde_json::to_string(status).unwrap_or_else(|_| "{}".to_owned())
}
