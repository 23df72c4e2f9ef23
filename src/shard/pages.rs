//! Answers that are text about the relay itself: health, metrics, API, the channel list, the index.

use super::Shard;
use crate::api::{self, ChannelRow, Report};
use crate::http::response::Status;
use crate::m3u;
use crate::route::Route;
use std::fmt::Write;
use std::sync::atomic::Ordering;

pub(crate) struct Page {
    pub status: Status,
    pub content_type: &'static str,
    pub body: String,
}

/// Renders `route`, or `None` when this listener does not have it. `host`: the request's Host field.
pub(crate) fn render(shard: &Shard, route: &Route, is_admin: bool, host: &[u8]) -> Option<Page> {
    match route {
        Route::Health => Some(text(Status::Ok, "ok\n".into())),
        Route::Ready => Some(ready(shard)),
        Route::Metrics if is_admin => {
            let body = api::metrics_text(&report(shard));
            Some(Page { status: Status::Ok, content_type: "text/plain; version=0.0.4; charset=utf-8", body })
        }
        Route::ApiChannels if is_admin => Some(json(api::channels_json(&report(shard)))),
        Route::ApiSessions if is_admin => Some(json(api::sessions_json(&report(shard)))),
        Route::ChannelList if !is_admin => Some(channel_list(shard, host)),
        Route::Index if !is_admin => Some(index(shard)),
        _ => None,
    }
}

fn text(status: Status, body: String) -> Page {
    Page { status, content_type: "text/plain; charset=utf-8", body }
}

fn json(body: String) -> Page {
    Page { status: Status::Ok, content_type: "application/json", body }
}

fn ready(shard: &Shard) -> Page {
    if shard.relay.draining.load(Ordering::Relaxed) {
        return text(Status::ServiceUnavailable, "shutting down\n".into());
    }
    let (ready, all) = (shard.relay.shards_ready.load(Ordering::Acquire), shard.relay.shards.len());
    match ready == all {
        true => text(Status::Ok, "ready\n".into()),
        false => text(Status::ServiceUnavailable, format!("{ready} of {all} shards listen\n")),
    }
}

fn report(shard: &Shard) -> Report<'_> {
    Report {
        channels: shard.relay.channels.iter().map(row).collect(),
        shards: shard.relay.shards.iter().map(|s| &*s.metrics).collect(),
        uptime_s: shard.now().mono_us as f64 / 1e6 - 1.0,
    }
}

fn row(channel: &super::relay::Channel) -> ChannelRow<'_> {
    ChannelRow {
        id: &channel.config.id,
        name: &channel.config.name,
        group: channel.config.group.as_deref(),
        owner: channel.owner,
        shared: &channel.shared,
        view: channel.shared.view(),
    }
}

fn channel_list(shard: &Shard, host: &[u8]) -> Page {
    // The parser let only a valid uri-host through.
    let base = format!("http://{}", String::from_utf8_lossy(host));
    let channels = shard.relay.channels.iter().map(|c| m3u::Listed {
        id: &c.config.id,
        name: &c.config.name,
        group: c.config.group.as_deref(),
        logo: c.config.logo.as_deref(),
        language: c.config.language.as_deref(),
    });
    Page { status: Status::Ok, content_type: "audio/x-mpegurl; charset=utf-8", body: m3u::export(&base, channels) }
}

fn index(shard: &Shard) -> Page {
    let mut body = String::from("millrace\n\n");
    for channel in &shard.relay.channels {
        let id = &channel.config.id;
        let _ = writeln!(
            body,
            "{}\n  HLS      /relay/channel/{id}/index.m3u8\n  MPEG-TS  /relay/channel/{id}/stream.ts",
            channel.config.name
        );
    }
    body.push_str("\nall channels  /channels.m3u\n");
    text(Status::Ok, body)
}
