//! Which format a client gets, in this order: `format` parameter, file extension, explicit headers, Accept, User-Agent rules,
//! default.
//!
//! `?format=auto` skips the first alone. The parameter and the extension name a format, and a client that names one gets that or a
//! refusal; whatever else decides leaves a way out ([`Choice::fallback`]) for sources that the container cannot carry.
//!
//! `X-Video-Codec` and `X-Audio-Codec` choose between formats, and refuse a channel that has no such video. They change no playlist: one
//! playlist serves all viewers, so a track that one of them did not ask for stays listed, and the player picks.
//!
//! What it deliberately does not do: look at the channel before it is known; [`Choice::settle`] is told the source's codecs.
#![forbid(unsafe_code)]

use super::RouteError;
use super::ask::Ask;
use super::decodes;
use super::headers::{Accept, CodecSet, CodecWish, Named, Protocol, containers};
use super::rules::{Rules, fallback, sibling};
use crate::es::carriage::Container;
use crate::http::fields::Field;
use crate::http::request::Head;
use crate::metrics::Format;
use std::borrow::Cow;

pub use super::settle::{NothingLeft, Settled};

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

impl<'h> Client<'h> {
    /// What the fields of a request head say.
    pub fn of(head: &Head<'h>) -> Client<'h> {
        let field = |field| head.field(field).unwrap_or_default();
        Client {
            user_agent: field(Field::UserAgent),
            accept: field(Field::Accept),
            video_codec: field(Field::XVideoCodec),
            audio_codec: field(Field::XAudioCodec),
            container: field(Field::XContainer),
        }
    }
}

/// What was decided from the request alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub format: Format,
    /// Taken where `format` cannot carry what matters of the source; `None` where the client asked for `format` by name.
    pub fallback: Option<Format>,
    /// The rule that decided, for `X-Relay-Decision`: printable ASCII.
    pub why: Cow<'static, str>,
    /// The URL alone decided: the answer is the same for every client, and may be cached.
    pub by_url: bool,
    /// Codecs that the client asks for in headers.
    pub wish: CodecWish,
    /// What the request asks to be made.
    pub ask: Ask,
    /// What the client is known to decode.
    pub decodes: CodecSet,
}

/// What is given where nothing tells, best first: every browser and phone plays it, and so does every tool that reads HLS.
const DEFAULT: &[Format] = &[Format::HlsFmp4, Format::HlsTs, Format::MpegTs, Format::Dash];

/// Decides for `/stream`. `format`: the query parameter.
///
/// # Errors
/// [`RouteError::UnknownFormat`]
pub fn decide(format: Option<&str>, client: &Client<'_>, rules: &Rules) -> Result<Choice, RouteError> {
    match format.map_or(Some(Named::Auto), Named::parameter) {
        Some(Named::One(format)) => Ok(named(format, "format parameter", client)),
        Some(Named::Hls) => Ok(hls("format parameter", client, rules)),
        Some(Named::Auto) => Ok(auto(client, rules)),
        None => Err(RouteError::UnknownFormat),
    }
}

/// The format that the URL names, for this client.
pub fn named(format: Format, why: &'static str, client: &Client<'_>) -> Choice {
    let wish = wish(client);
    // What the client asks for may still turn the answer into a refusal: then it is not the same for all.
    Choice { by_url: wish.is_silent(), wish, ..Choice::by_url(format, why) }
}

/// HLS, in the segment format that suits the client; `why` says what asked for HLS.
pub fn hls(why: &'static str, client: &Client<'_>, rules: &Rules) -> Choice {
    let is_hls = |format: &Format| Protocol::of(*format) == Protocol::Hls;
    let in_container = containers(client.container).find_map(|name| match name {
        Named::One(format) => Some(if format.container() == Container::Ts { Format::HlsTs } else { Format::HlsFmp4 }),
        Named::Hls | Named::Auto => None,
    });
    if let Some(format) = in_container {
        return Choice { why: format!("{why}, X-Container").into(), ..Choice::of(format, None, why, client) };
    }
    let rule = rules.find(client.user_agent);
    let preferred = rule.as_ref().and_then(|rule| rule.prefers.iter().copied().find(is_hls));
    let format = preferred.unwrap_or(Format::HlsFmp4);
    let why = match rule {
        Some(rule) if format == Format::HlsTs => Cow::Owned(format!("{why}, {}", rule.why)),
        _ => why.into(),
    };
    Choice::of(format, Some(sibling(format)), why, client).narrowed()
}

impl Choice {
    /// The format that the URL names.
    pub fn by_url(format: Format, why: &'static str) -> Choice {
        Choice {
            format,
            fallback: None,
            why: why.into(),
            by_url: true,
            wish: CodecWish::default(),
            ask: Ask::default(),
            decodes: decodes::everything(),
        }
    }

    fn of(format: Format, fallback: Option<Format>, why: impl Into<Cow<'static, str>>, client: &Client<'_>) -> Choice {
        Choice { fallback, why: why.into(), by_url: false, wish: wish(client), ..Choice::by_url(format, "") }
    }

    /// Goes over to the one container that carries what the codec fields ask for, where there is one.
    fn narrowed(self) -> Choice {
        match self.wish.container() {
            Some((wanted, field)) if self.format.container() != wanted => {
                let format = self.fallback.filter(|&format| format.container() == wanted);
                let format = format.unwrap_or_else(|| sibling(self.format));
                Choice { format, fallback: None, why: field.into(), ..self }
            }
            _ => self,
        }
    }
}

/// By headers, then by rules.
fn auto(client: &Client<'_>, rules: &Rules) -> Choice {
    if let Some(choice) = by_container(client, rules) {
        return choice;
    }
    let accept = Accept::new(client.accept);
    by_accept(&accept, client, rules).unwrap_or_else(|| by_rules(&accept, client, rules)).narrowed()
}

/// `X-Container`: the first name that is known, and a later one of the other container to fall back on.
fn by_container(client: &Client<'_>, rules: &Rules) -> Option<Choice> {
    let first = containers(client.container).find(|name| *name != Named::Auto)?;
    let Named::One(format) = first else { return Some(hls("X-Container", client, rules)) };
    let later = containers(client.container).map(|name| match name {
        Named::One(format) => format,
        Named::Hls | Named::Auto => sibling(format),
    });
    Some(Choice::of(format, fallback(later, format), "X-Container", client))
}

/// `Accept`: the best weighted of our media types, and the next of the other container to fall back on.
fn by_accept(accept: &Accept, client: &Client<'_>, rules: &Rules) -> Option<Choice> {
    let best = accept.best(|_| true)?;
    let format = match best {
        Protocol::Hls => return Some(hls("Accept", client, rules)),
        Protocol::Dash => Format::Dash,
        Protocol::Ts => Format::MpegTs,
    };
    // HLS has segments of either container, so it is in the other one too.
    let in_other = |protocol| match protocol {
        Protocol::Hls => sibling(format),
        Protocol::Dash => Format::Dash,
        Protocol::Ts => Format::MpegTs,
    };
    let next = accept.best(|protocol| protocol != best && in_other(protocol).container() != format.container());
    Some(Choice::of(format, next.map(in_other), "Accept", client))
}

/// User-Agent rules, then the default; what `Accept` refuses is passed over as long as something is left.
fn by_rules(accept: &Accept, client: &Client<'_>, rules: &Rules) -> Choice {
    let taken = |prefers: &[Format]| prefers.iter().copied().find(|&format| !accept.refuses(format));
    let (prefers, why, format) = match rules.find(client.user_agent) {
        Some(rule) if taken(rule.prefers).is_some() => (rule.prefers, rule.why, taken(rule.prefers)),
        _ => (DEFAULT, "default".into(), taken(DEFAULT)),
    };
    let format = format.unwrap_or(DEFAULT[0]);
    let others = prefers.iter().copied().filter(|&other| !accept.refuses(other));
    Choice::of(format, fallback(others, format), why, client)
}

fn wish(client: &Client<'_>) -> CodecWish {
    CodecWish::new(client.video_codec, client.audio_codec)
}
