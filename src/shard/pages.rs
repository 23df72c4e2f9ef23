//! Answers that are not media: health, metrics, API, the channel list, the page.

use super::Shard;
use crate::api::{self, ChannelRow, Report};
use crate::http::fields::Field;
use crate::http::request::Head;
use crate::http::response::Status;
use crate::limits::PAGE_JSON_MS;
use crate::route::Route;
use crate::{m3u, web};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::atomic::Ordering;

pub(crate) struct Page {
    pub status: Status,
    pub content_type: &'static str,
    pub body: Cow<'static, [u8]>,
    /// Of bytes whose tag is known, with its quotes; others are hashed.
    pub etag: Option<&'static str>,
    /// Whether `body` is gzipped.
    pub is_gzip: bool,
    /// Further fields.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Renders `route`, or `None` when this listener does not have it. `head`: of the request, for its Host and Accept-Encoding.
pub(crate) fn render(shard: &Shard, route: &Route, is_admin: bool, head: &Head<'_>) -> Option<Page> {
    let has_page = !is_admin && shard.relay.config.server.page;
    match route {
        Route::Health => Some(text(Status::Ok, "ok\n".into())),
        Route::Ready => Some(ready(shard)),
        Route::Metrics if is_admin => {
            let body = api::metrics_text(&report(shard));
            Some(Page { content_type: "text/plain; version=0.0.4; charset=utf-8", ..text(Status::Ok, body) })
        }
        Route::ApiChannels if is_admin => Some(json(api::channels_json(&report(shard)))),
        Route::ApiSessions if is_admin => Some(json(api::sessions_json(&report(shard)))),
        Route::ChannelList if !is_admin => Some(channel_list(shard, head.field(Field::Host).unwrap_or_default())),
        Route::Index if has_page => asset(web::INDEX, head),
        Route::Web { file } if has_page && file == "channels.json" => Some(page_channels(shard)),
        Route::Web { file } if has_page => asset(file, head),
        _ => None,
    }
}

fn text(status: Status, body: String) -> Page {
    let body = body.into_bytes().into();
    Page { status, content_type: "text/plain; charset=utf-8", body, etag: None, is_gzip: false, fields: &[] }
}

fn json(body: String) -> Page {
    Page { content_type: "application/json", ..text(Status::Ok, body) }
}

/// A file of the page, gzipped for who takes that.
fn asset(name: &str, head: &Head<'_>) -> Option<Page> {
    let asset = web::asset(name)?;
    let accepted = head.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding"));
    let is_gzip = accepted.is_some_and(|(_, value)| web::accepts_gzip(value));
    Some(Page {
        status: Status::Ok,
        content_type: asset.media_type,
        body: if is_gzip { asset.gzip } else { asset.plain }.into(),
        etag: Some(if is_gzip { asset.etag_gzip } else { asset.etag }),
        is_gzip,
        fields: web::PAGE_FIELDS,
    })
}

thread_local! {
    /// What this shard rendered last for the page, and when, monotonic microseconds: a hundred open pages cost what one does.
    static PAGE_CHANNELS: RefCell<Option<(u64, String)>> = const { RefCell::new(None) };
}

fn page_channels(shard: &Shard) -> Page {
    let now = shard.now();
    let body = PAGE_CHANNELS.with_borrow_mut(|kept| match kept {
        Some((at_us, body)) if now.mono_us - *at_us < PAGE_JSON_MS * 1_000 => body.clone(),
        _ => kept.insert((now.mono_us, api::page_json(&report(shard), now))).1.clone(),
    });
    Page { fields: web::PAGE_FIELDS, ..json(body) }
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
    Page { content_type: "audio/x-mpegurl; charset=utf-8", ..text(Status::Ok, m3u::export(&base, channels)) }
}
