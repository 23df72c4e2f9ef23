//! Answers that are not media: health, metrics, API, the channel list, the page.

use super::Shard;
use super::relay::fnv1a;
use crate::api::{self, ChannelRow, Report};
use crate::http::fields::Field;
use crate::http::request::Head;
use crate::http::response::{Caching, HttpDate, Persistence, ResponseHead, Status};
use crate::limits::PAGE_JSON_MS;
use crate::route::Route;
use crate::{m3u, web};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::atomic::Ordering;

#[derive(Clone)]
pub(crate) struct Page {
    pub status: Status,
    pub content_type: &'static str,
    pub body: Cow<'static, [u8]>,
    /// Of bytes whose tag is known, with its quotes; others are hashed.
    pub etag: Option<Cow<'static, str>>,
    /// Whether `body` is gzipped.
    pub is_gzip: bool,
    /// Further fields.
    pub fields: &'static [(&'static str, &'static str)],
    /// Whether any origin may read it (CORS).
    pub is_open: bool,
}

impl Page {
    /// The entity tag, with its quotes.
    pub fn etag(&self) -> Cow<'static, str> {
        self.etag.clone().unwrap_or_else(|| format!("\"{:016x}\"", fnv1a(&self.body, 0)).into())
    }

    /// Appends the head of the answer, or of the 304 in its place. A cache takes the fields of a 304 over into what it keeps (RFC 9111
    /// 3.2), so that policy, CORS and Vary are the same in both (RFC 9110 15.4.5).
    pub fn write_head(&self, out: &mut Vec<u8>, status: Status, etag: &str, date: &HttpDate, persistence: Persistence) {
        let mut head = ResponseHead::new(out, status, date, persistence);
        head.etag(etag).caching(Caching::NoCache);
        for (name, value) in self.fields {
            head.field(name, value);
        }
        if self.is_open {
            head.cors();
        }
        if status != Status::NotModified {
            head.content_type(self.content_type).content_length(self.body.len() as u64);
            if self.is_gzip {
                head.field("Content-Encoding", "gzip");
            }
        }
        head.end();
    }
}

/// Renders `route`, or `None` when this listener does not have it. `head`: of the request, for its Host and Accept-Encoding.
pub(crate) fn render(shard: &Shard, route: &Route<'_>, is_admin: bool, head: &Head<'_>) -> Option<Page> {
    let has_page = !is_admin && shard.relay.config.server.page;
    match route {
        Route::Health => Some(text(Status::Ok, "ok\n".into())),
        Route::Ready => Some(ready(shard)),
        Route::Metrics if is_admin => {
            let body = api::metrics_text(&report(shard));
            Some(Page { content_type: "text/plain; version=0.0.4; charset=utf-8", ..text(Status::Ok, body) })
        }
        Route::ApiChannels if is_admin => Some(json(api::channels_json(&report(shard)))),
        Route::ApiTranscoders if is_admin => Some(json(api::transcoders_json(&shard.relay.transcoder.status()))),
        Route::ApiSessions if is_admin => Some(json(api::sessions_json(&report(shard)))),
        Route::ChannelList if !is_admin => Some(channel_list(shard, head.field(Field::Host).unwrap_or_default())),
        Route::Index if has_page => asset(web::INDEX, head),
        Route::Web { file } if has_page && file == "channels.json" => Some(page_channels(shard)),
        Route::Web { file } if has_page => asset(file, head),
        _ => None,
    }
}

fn text(status: Status, body: String) -> Page {
    Page {
        status,
        content_type: "text/plain; charset=utf-8",
        body: body.into_bytes().into(),
        etag: None,
        is_gzip: false,
        fields: &[],
        is_open: false,
    }
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
        etag: Some(if is_gzip { asset.etag_gzip } else { asset.etag }.into()),
        is_gzip,
        fields: web::PAGE_FIELDS,
        is_open: false,
    })
}

thread_local! {
    /// What this shard rendered last for the page, and when, monotonic microseconds: a hundred open pages cost what one does.
    static PAGE_CHANNELS: RefCell<Option<(u64, Page)>> = const { RefCell::new(None) };
}

fn page_channels(shard: &Shard) -> Page {
    let now = shard.now();
    PAGE_CHANNELS.with_borrow_mut(|kept| match kept {
        Some((at_us, page)) if now.mono_us - *at_us < PAGE_JSON_MS * 1_000 => page.clone(),
        _ => {
            let page = Page { fields: web::PAGE_FIELDS, ..json(api::page_json(&report(shard), now)) };
            let page = Page { etag: Some(page.etag()), ..page };
            kept.insert((now.mono_us, page)).1.clone()
        }
    })
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
        transcode: shard.relay.transcoder.status(),
        profiles: &shard.relay.rules.profiles,
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
    let body = m3u::export(&base, channels);
    Page { content_type: "audio/x-mpegurl; charset=utf-8", is_open: true, ..text(Status::Ok, body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(page: &Page, status: Status) -> String {
        let mut out = Vec::new();
        page.write_head(&mut out, status, &page.etag(), &HttpDate::new(0), Persistence::KeepAlive);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_304_repeats_what_the_page_says_to_caches_and_browsers() {
        let page = Page { fields: web::PAGE_FIELDS, is_gzip: true, ..text(Status::Ok, "<p>".into()) };
        for status in [Status::Ok, Status::NotModified] {
            let head = head(&page, status);
            for (name, value) in web::PAGE_FIELDS {
                assert!(head.contains(&format!("\r\n{name}: {value}\r\n")), "{head}");
            }
            assert!(head.contains("\r\nETag: \"") && head.contains("\r\nCache-Control: no-cache\r\n"), "{head}");
            assert!(!head.contains("Access-Control"), "no other origin reads the page: {head}");
            let describes_a_body = head.contains("Content-Length") && head.contains("Content-Encoding: gzip");
            assert_eq!(describes_a_body, status == Status::Ok, "{head}");
        }
        let list = Page { is_open: true, ..text(Status::Ok, "#EXTM3U".into()) };
        assert!(head(&list, Status::NotModified).contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
    }
}
