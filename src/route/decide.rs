//! Which format a client gets: extension, `format` parameter, explicit headers, Accept, User-Agent rules, the source's own.
//!
//! What it deliberately does not do: look at the channel before it is known; [`Choice::settle`] is told the source's codecs.

use super::RouteError;
use crate::es::Codec;
use crate::metrics::Format;
use std::borrow::Cow;

/// What a request says of the client that made it. Bytes as they came; empty where the field is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client<'h> {
    pub user_agent: &'h [u8],
    pub accept: &'h [u8],
    /// `X-Video-Codec`
    pub video_codec: &'h [u8],
    /// `X-Audio-Codec`
    pub audio_codec: &'h [u8],
    /// `X-Container`
    pub container: &'h [u8],
}

/// What was decided from the request alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub format: Format,
    /// Taken where `format` cannot carry what matters of the source; `None` where the client asked for `format` by name.
    pub fallback: Option<Format>,
    /// The rule that decided, for `X-Relay-Decision`.
    pub why: Cow<'static, str>,
    /// The URL alone decided: the answer is the same for every client, and may be cached.
    pub by_url: bool,
}

/// What the client gets, now that the source is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub format: Format,
    /// The value of `X-Relay-Decision`: format, reason, and what was left out, for example
    /// `hls-fmp4; User-Agent: Safari; without mp2: not carried in CMAF`.
    pub decision: String,
}

/// Nothing of the source is left in any format that the client takes: 406, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NothingLeft(pub String);

/// Decides for `/stream`. `format`: the query parameter.
///
/// # Errors
/// [`RouteError::UnknownFormat`]
pub fn decide(format: Option<&str>, client: &Client<'_>) -> Result<Choice, RouteError> {
    let by_name = |format| Ok(Choice::by_url(format, "format parameter"));
    match format {
        Some("hls") => Ok(hls("format parameter", client)),
        Some("hls-ts") => by_name(Format::HlsTs),
        Some("hls-fmp4" | "fmp4") => by_name(Format::HlsFmp4),
        Some("dash") => by_name(Format::Dash),
        Some("mpegts" | "ts") => by_name(Format::MpegTs),
        Some("auto") | None => Ok(hls("default", client)),
        Some(_) => Err(RouteError::UnknownFormat),
    }
}

/// HLS, in the segment format that suits the client.
pub fn hls(why: &'static str, _client: &Client<'_>) -> Choice {
    Choice { format: Format::HlsFmp4, fallback: Some(Format::HlsTs), why: why.into(), by_url: false }
}

impl Choice {
    /// The format that the URL names.
    pub fn by_url(format: Format, why: &'static str) -> Choice {
        Choice { format, fallback: None, why: why.into(), by_url: true }
    }

    /// Fits the choice to the source's audio and video codecs.
    pub fn settle(&self, _source: &[Codec]) -> Result<Settled, NothingLeft> {
        Ok(Settled { format: self.format, decision: format!("{}; {}", self.format.name(), self.why) })
    }
}
