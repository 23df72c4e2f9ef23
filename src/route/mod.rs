//! Request target to what is asked for: a pure function over path, query and a few headers.
//!
//! What it deliberately does not do: know whether the channel exists or lives, or answer.
#![forbid(unsafe_code)]

pub mod ask;
pub mod decide;
mod decodes;
mod headers;
pub mod profiles;
pub mod rules;
mod settle;

pub use headers::{CodecSet, CodecWish};

use crate::es::rendition::RenditionId;
use crate::es::selection::Selection;
use crate::http::url::{Target, UrlError};
use crate::metrics::Format;
use ask::Ask;
use decide::{Choice, Client};
use headers::Named;
use rules::Rules;
use std::borrow::Cow;

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'t> {
    /// A channel's entry point: a playlist, an MPD, or the continuous stream.
    Entry { channel: Cow<'t, str>, choice: Choice },
    /// Something below an epoch of a channel.
    Media { channel: Cow<'t, str>, epoch: u64, resource: Resource },
    /// `/relay/time`: the wall clock, for DASH players.
    Time,
    /// `/channels.m3u`
    ChannelList,
    /// `/healthz`: the process runs and its shards beat.
    Health,
    /// `/readyz`: it takes viewers.
    Ready,
    /// `/metrics`, admin listener only.
    Metrics,
    /// `/api/v1/channels`, admin listener only.
    ApiChannels,
    /// `/api/v1/sessions`, admin listener only.
    ApiSessions,
    /// `/api/v1/transcoders`, admin listener only.
    ApiTranscoders,
    /// `/`
    Index,
    /// `/web/{file}`: what the page is made of.
    Web { file: Cow<'t, str> },
}

/// What lies below `/relay/channel/{id}/{epoch}/`. A playlist of some old epoch is answered with the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `ts/media.m3u8`, and `ts_{selection}/media.m3u8` where that is not the source as it is
    TsPlaylist { selection: Selection },
    /// `{number}.ts` beside it
    TsSegment { selection: Selection, number: u64 },
    /// `{rendition}/media.m3u8`
    Playlist { rendition: RenditionId },
    /// `{rendition}/init-{hash}.mp4`
    Init { rendition: RenditionId, hash: u32 },
    /// `{rendition}/{time}.m4s`: `time` in the rendition's timescale.
    Segment { rendition: RenditionId, time: u64 },
}

/// Why a target names nothing that can be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no such resource")]
    NotFound,
    #[error("unknown format: use hls, hls-ts, hls-fmp4, fmp4, dash, mpegts, ts or auto")]
    UnknownFormat,
    #[error("unknown video: use h264, h265, vp9, vp8, av1, mpeg2, copy or none")]
    UnknownVideo,
    #[error("unknown audio: use aac, opus, mp3, mp2, ac3, eac3, copy or none")]
    UnknownAudio,
    /// And what there is.
    #[error("unknown profile: {0}")]
    UnknownProfile(String),
    #[error("neither video nor audio is asked for")]
    NothingAsked,
    #[error(transparent)]
    BadUrl(UrlError),
}

/// Tells what `target` asks for, and for a channel's entry point what `client` gets by `rules`.
pub fn route<'t>(target: Target<'t>, client: &Client<'_>, rules: &Rules) -> Result<Route<'t>, RouteError> {
    match target.path {
        b"/" => return Ok(Route::Index),
        b"/channels.m3u" => return Ok(Route::ChannelList),
        b"/healthz" => return Ok(Route::Health),
        b"/readyz" => return Ok(Route::Ready),
        b"/metrics" => return Ok(Route::Metrics),
        b"/api/v1/channels" => return Ok(Route::ApiChannels),
        b"/api/v1/sessions" => return Ok(Route::ApiSessions),
        b"/api/v1/transcoders" => return Ok(Route::ApiTranscoders),
        b"/relay/time" => return Ok(Route::Time),
        _ => {}
    }
    let mut segments = target.segments();
    let mut next = || segments.next().transpose().map_err(RouteError::BadUrl);
    match [next()?, next()?, next()?, next()?, next()?, next()?, next()?] {
        [Some(web), Some(file), None, ..] if web == "web" => Ok(Route::Web { file }),
        [Some(relay), Some(kind), Some(channel), Some(name), None, ..] if is_channel(&relay, &kind, &channel) => {
            Ok(Route::Entry { channel, choice: entry(&name, target, client, rules)? })
        }
        [Some(relay), Some(kind), Some(channel), Some(epoch), Some(folder), Some(file), None]
            if is_channel(&relay, &kind, &channel) =>
        {
            media(channel, &epoch, &folder, &file).ok_or(RouteError::NotFound)
        }
        _ => Err(RouteError::NotFound),
    }
}

/// `/relay/channel/{id}`
fn is_channel(relay: &str, kind: &str, id: &str) -> bool {
    relay == "relay" && kind == "channel" && !id.is_empty()
}

fn media<'t>(channel: Cow<'t, str>, epoch: &str, folder: &str, file: &str) -> Option<Route<'t>> {
    let epoch = decimal(epoch)?;
    let resource = match ts_folder(folder) {
        Some(selection) if file == "media.m3u8" => Resource::TsPlaylist { selection },
        Some(selection) => Resource::TsSegment { selection, number: decimal(file.strip_suffix(".ts")?)? },
        None => in_rendition(folder.parse().ok()?, file)?,
    };
    Some(Route::Media { channel, epoch, resource })
}

/// The selection whose TS lies in this folder.
fn ts_folder(folder: &str) -> Option<Selection> {
    match folder.strip_prefix("ts")? {
        "" => Some(Selection::SOURCE),
        named => named.strip_prefix('_')?.parse().ok().filter(|selection| *selection != Selection::SOURCE),
    }
}

fn in_rendition(rendition: RenditionId, file: &str) -> Option<Resource> {
    if file == "media.m3u8" {
        return Some(Resource::Playlist { rendition });
    }
    if let Some(time) = file.strip_suffix(".m4s") {
        return Some(Resource::Segment { rendition, time: decimal(time)? });
    }
    let hash = file.strip_prefix("init-")?.strip_suffix(".mp4")?;
    Some(Resource::Init { rendition, hash: u32::try_from(decimal(hash)?).ok()? })
}

/// A channel's entry point. An extension says the protocol; for HLS the `format` parameter may still say which segments.
fn entry(name: &str, target: Target<'_>, client: &Client<'_>, rules: &Rules) -> Result<Choice, RouteError> {
    let choice = format_of(name, target, client, rules)?;
    let ask = Ask::of(target, &rules.profiles)?;
    Ok(Choice { ask, decodes: rules.decodes(client.user_agent), ..choice })
}

fn format_of(name: &str, target: Target<'_>, client: &Client<'_>, rules: &Rules) -> Result<Choice, RouteError> {
    Ok(match name {
        "stream" => decide::decide(parameter(target, "format")?.as_deref(), client, rules)?,
        "index.m3u8" => match parameter(target, "format")?.as_deref().and_then(Named::parameter) {
            Some(Named::One(format @ (Format::HlsTs | Format::HlsFmp4))) => {
                decide::named(format, "extension .m3u8 and format parameter", client)
            }
            _ => decide::hls("extension .m3u8", client, rules),
        },
        "manifest.mpd" => decide::named(Format::Dash, "extension .mpd", client),
        "stream.ts" => decide::named(Format::MpegTs, "extension .ts", client),
        _ => return Err(RouteError::NotFound),
    })
}

/// The last value of a query parameter.
fn parameter(target: Target<'_>, wanted: &str) -> Result<Option<String>, RouteError> {
    let mut found = None;
    for pair in target.query_pairs() {
        let (name, value) = pair.map_err(RouteError::BadUrl)?;
        if name == wanted {
            found = Some(value.into_owned());
        }
    }
    Ok(found)
}

/// A plain decimal number without sign, blank or leading zero.
fn decimal(digits: &str) -> Option<u64> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, query: &str, agent: &str) -> Result<Route<'static>, RouteError> {
        let client = Client { user_agent: agent.as_bytes(), ..Client::default() };
        let target: &'static str = Box::leak(format!("{path}?{query}").into_boxed_str());
        route(Target::new(target.as_bytes()), &client, &Rules::default())
    }

    fn format(path: &str, query: &str, agent: &str) -> Option<Format> {
        match of(path, query, agent) {
            Ok(Route::Entry { choice, .. }) => Some(choice.format),
            _ => None,
        }
    }

    #[test]
    fn extension_decides_before_anything_else() {
        let path = |name| format!("/relay/channel/news/{name}");
        assert_eq!(format(&path("stream.ts"), "format=hls", ""), Some(Format::MpegTs));
        assert_eq!(format(&path("manifest.mpd"), "", "VLC/3.0.20"), Some(Format::Dash));
        assert_eq!(format(&path("index.m3u8"), "format=dash", ""), Some(Format::HlsFmp4));
        assert_eq!(format(&path("index.m3u8"), "format=hls-ts", ""), Some(Format::HlsTs));
    }

    #[test]
    fn media_paths_take_canonical_numbers_only() {
        let media = |resource| Ok(Route::Media { channel: "a b".into(), epoch: 17, resource });
        let rendition = RenditionId::source(crate::es::TrackId(1), crate::es::TrackKind::Audio);
        assert_eq!(
            of("/relay/channel/a%20b/17/ts/42.ts", "", ""),
            media(Resource::TsSegment { selection: Selection::SOURCE, number: 42 })
        );
        assert_eq!(of("/relay/channel/a%20b/17/a1/0.m4s", "", ""), media(Resource::Segment { rendition, time: 0 }));
        assert_eq!(of("/relay/channel/a%20b/17/a1/init-3.mp4", "", ""), media(Resource::Init { rendition, hash: 3 }));
        assert_eq!(of("/relay/channel/a%20b/17/a1/media.m3u8", "", ""), media(Resource::Playlist { rendition }));
        for bad in ["017/ts/42.ts", "17/ts/.ts", "17/ts/-1.ts", "17/a01/media.m3u8", "17/a1/01.m4s", "17/a1/init-.mp4"]
        {
            assert_eq!(of(&format!("/relay/channel/a/{bad}"), "", ""), Err(RouteError::NotFound), "{bad}");
        }
        assert_eq!(of("/relay/channel//stream", "", ""), Err(RouteError::NotFound));
    }

    #[test]
    fn unknown_formats_are_refused() {
        assert_eq!(of("/relay/channel/a/stream", "format=avi", ""), Err(RouteError::UnknownFormat));
    }
}
