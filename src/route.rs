//! Request target to what is asked for: a pure function over path, query and a few headers.
//!
//! What it deliberately does not do: know whether the channel exists or lives, or answer.
#![forbid(unsafe_code)]

use crate::http::url::{Target, UrlError};
use crate::metrics::Format;

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A channel's entry point in the format decided; `why` goes into `X-Relay-Decision`.
    Entry { channel: String, format: Format, why: &'static str },
    /// The HLS-TS media playlist of some epoch (an old epoch's URL gets the current playlist).
    MediaPlaylist { channel: String, epoch: u64 },
    /// One HLS-TS segment.
    Segment { channel: String, epoch: u64, number: u64 },
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
    /// `/`
    Index,
}

/// Why a target names nothing that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no such resource")]
    NotFound,
    #[error("unknown format: use hls, hls-ts, mpegts, ts or auto")]
    UnknownFormat,
    #[error(transparent)]
    BadUrl(UrlError),
    #[error("this format is not offered: use hls-ts or mpegts")]
    NotOffered,
}

/// Tells what `target` asks for.
///
/// `user_agent`: the header's bytes, empty when absent; it decides when neither the extension nor `format` does.
pub fn route(target: Target<'_>, user_agent: &[u8]) -> Result<Route, RouteError> {
    match target.path {
        b"/" => return Ok(Route::Index),
        b"/channels.m3u" => return Ok(Route::ChannelList),
        b"/healthz" => return Ok(Route::Health),
        b"/readyz" => return Ok(Route::Ready),
        b"/metrics" => return Ok(Route::Metrics),
        b"/api/v1/channels" => return Ok(Route::ApiChannels),
        b"/api/v1/sessions" => return Ok(Route::ApiSessions),
        path if !path.starts_with(b"/relay/channel/") => return Err(RouteError::NotFound),
        _ => {}
    }
    let mut segments = target.segments().skip(2);
    let mut next = || segments.next().transpose().map_err(RouteError::BadUrl);
    let channel = next()?.filter(|id| !id.is_empty()).ok_or(RouteError::NotFound)?.into_owned();
    match [next()?, next()?, next()?, next()?].each_ref().map(Option::as_deref) {
        [Some("stream"), None, ..] => entry(channel, target, user_agent),
        [Some("index.m3u8"), None, ..] => Ok(Route::Entry { channel, format: Format::HlsTs, why: "extension .m3u8" }),
        [Some("stream.ts"), None, ..] => Ok(Route::Entry { channel, format: Format::MpegTs, why: "extension .ts" }),
        [Some(epoch), Some("ts"), Some(file), None] => media(channel, epoch, file),
        _ => Err(RouteError::NotFound),
    }
}

fn media(channel: String, epoch: &str, file: &str) -> Result<Route, RouteError> {
    let epoch = decimal(epoch).ok_or(RouteError::NotFound)?;
    if file == "media.m3u8" {
        return Ok(Route::MediaPlaylist { channel, epoch });
    }
    let number = file.strip_suffix(".ts").and_then(decimal).ok_or(RouteError::NotFound)?;
    Ok(Route::Segment { channel, epoch, number })
}

fn entry(channel: String, target: Target<'_>, user_agent: &[u8]) -> Result<Route, RouteError> {
    let mut format = None;
    for pair in target.query_pairs() {
        let (name, value) = pair.map_err(RouteError::BadUrl)?;
        if name == "format" {
            format = Some(value);
        }
    }
    let (format, why) = match format.as_deref() {
        Some("hls" | "hls-ts") => (Format::HlsTs, "format parameter"),
        Some("mpegts" | "ts") => (Format::MpegTs, "format parameter"),
        Some("hls-fmp4" | "fmp4" | "dash") => return Err(RouteError::NotOffered),
        Some("auto") | None => by_user_agent(user_agent),
        Some(_) => return Err(RouteError::UnknownFormat),
    };
    Ok(Route::Entry { channel, format, why })
}

/// Clients that play continuous MPEG-TS better than HLS, by a part of their User-Agent.
const TS_CLIENTS: [&[u8]; 5] = [b"VLC/", b"Lavf/", b"mpv", b"Kodi/", b"GStreamer"];

fn by_user_agent(user_agent: &[u8]) -> (Format, &'static str) {
    let is_ts = TS_CLIENTS.iter().any(|name| user_agent.windows(name.len()).any(|w| w == *name));
    if is_ts { (Format::MpegTs, "User-Agent plays MPEG-TS") } else { (Format::HlsTs, "default for the source") }
}

/// A plain decimal number without sign, blank or leading zero.
fn decimal(digits: &str) -> Option<u64> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, query: &str, agent: &str) -> Result<Route, RouteError> {
        route(Target::new(format!("{path}?{query}").as_bytes()), agent.as_bytes())
    }

    #[test]
    fn extension_decides_before_anything_else() {
        let got = of("/relay/channel/news/stream.ts", "format=hls", "");
        assert_eq!(got, Ok(Route::Entry { channel: "news".into(), format: Format::MpegTs, why: "extension .ts" }));
    }

    #[test]
    fn format_parameter_decides_before_the_user_agent() {
        let got = of("/relay/channel/news/stream", "format=hls", "VLC/3.0.20 LibVLC/3.0.20");
        assert!(matches!(got, Ok(Route::Entry { format: Format::HlsTs, .. })), "{got:?}");
        let got = of("/relay/channel/news/stream", "", "VLC/3.0.20 LibVLC/3.0.20");
        assert!(matches!(got, Ok(Route::Entry { format: Format::MpegTs, .. })), "{got:?}");
    }

    #[test]
    fn media_paths_take_canonical_numbers_only() {
        let segment = Route::Segment { channel: "a b".into(), epoch: 17, number: 42 };
        assert_eq!(of("/relay/channel/a%20b/17/ts/42.ts", "", ""), Ok(segment));
        for bad in ["/relay/channel/a/017/ts/42.ts", "/relay/channel/a/17/ts/.ts", "/relay/channel/a/17/ts/-1.ts"] {
            assert_eq!(of(bad, "", ""), Err(RouteError::NotFound), "{bad}");
        }
        assert_eq!(of("/relay/channel//stream", "", ""), Err(RouteError::NotFound));
    }

    #[test]
    fn unknown_formats_are_told_from_formats_not_offered() {
        assert_eq!(of("/relay/channel/a/stream", "format=avi", ""), Err(RouteError::UnknownFormat));
        assert_eq!(of("/relay/channel/a/stream", "format=dash", ""), Err(RouteError::NotOffered));
    }
}
