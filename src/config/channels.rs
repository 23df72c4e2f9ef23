//! Channels and their origins, from `[[channel]]` and from the lists of `[[m3u]]`.
#![forbid(unsafe_code)]

use super::check::header_value;
use super::secret::percent_decoded;
use super::{Config, OriginUrl, Problem, Secret};
use crate::limits;
use crate::m3u;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::num::NonZeroU16;
use std::path::Path;

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Channel {
    /// Names the channel in URLs: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most [`limits::CHANNEL_ID_BYTES_MAX`] bytes, unique.
    pub id: String,
    /// Name for people; the id where none was given.
    pub name: String,
    /// Group in channel lists (`group-title`).
    pub group: Option<String>,
    /// URL of a logo for viewers (`tvg-logo`).
    pub logo: Option<String>,
    /// Language for channel lists (`tvg-language`), as written.
    pub language: Option<String>,
    /// program_number (ISO/IEC 13818-1 2.4.4.3) to take from the origin; `None` = the first with video or audio.
    pub program: Option<NonZeroU16>,
    /// Where the stream is pulled from, best first; never empty.
    pub origins: Vec<Origin>,
}

impl Channel {
    /// A channel of one origin without further attributes; `id` must be fit for a URL.
    pub fn new(id: &str, origin: OriginUrl) -> Self {
        Channel {
            id: id.to_string(),
            name: id.to_string(),
            group: None,
            logo: None,
            language: None,
            program: None,
            origins: vec![Origin { url: origin, headers: Vec::new() }],
        }
    }
}

/// One address of a channel's stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Origin {
    /// Where.
    pub url: OriginUrl,
    /// Request headers of its own; a `User-Agent` here stands in place of `origin.user_agent`.
    pub headers: Vec<Header>,
}

/// A request header that an operator set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Header {
    /// Field name: a token (RFC 9110 5.6.2), none of those that the relay writes itself.
    pub name: String,
    /// Field value; may be a credential.
    pub value: Secret,
}

/// `[[channel]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelEntry {
    id: String,
    name: Option<String>,
    group: Option<String>,
    logo: Option<String>,
    language: Option<String>,
    program: Option<NonZeroU16>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    origin: Vec<OriginEntry>,
}

/// `[[channel.origin]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginEntry {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// `[[m3u]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct M3uEntry {
    file: String,
    #[serde(default)]
    prefix: String,
}

/// Fills `config.channels` and `config.warnings`.
pub(super) fn resolve(
    entries: Vec<ChannelEntry>,
    lists: Vec<M3uEntry>,
    read: &dyn Fn(&Path) -> io::Result<String>,
    config: &mut Config,
    problems: &mut Vec<Problem>,
) {
    let mut ids = HashSet::new();
    for (i, entry) in entries.into_iter().enumerate() {
        let key = format!("channel[{i}]");
        if let Err(what) = check_id(&entry.id) {
            problems.push(Problem::new(format!("{key}.id"), what, ID_REMEDY));
        } else if !ids.insert(entry.id.clone()) {
            let what = format!("the id `{}` is taken by an earlier channel", entry.id);
            problems.push(Problem::new(format!("{key}.id"), what, "give every channel an id of its own"));
        }
        config.channels.push(written_channel(&key, entry, problems));
    }
    for (i, list) in lists.iter().enumerate() {
        import_list(i, list, read, &mut ids, config, problems);
    }
    if config.channels.len() > limits::CHANNELS_MAX {
        let what = format!("{} channels are too many", config.channels.len());
        problems.push(Problem::new("channel", what, format!("keep at most {}", limits::CHANNELS_MAX)));
    }
}

const ID_REMEDY: &str = "use 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first";

fn check_id(id: &str) -> Result<(), String> {
    let first = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = first && id.len() <= limits::CHANNEL_ID_BYTES_MAX && id.bytes().all(is_id_byte);
    if fits { Ok(()) } else { Err(format!("{id:?} cannot stand in a URL")) }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn written_channel(key: &str, entry: ChannelEntry, problems: &mut Vec<Problem>) -> Channel {
    if entry.origins.is_empty() && entry.origin.is_empty() {
        let remedy = "give origins = [\"http://host/path\"] or a [[channel.origin]] with url";
        problems.push(Problem::new(key, format!("channel `{}` has no origin", entry.id), remedy));
    }
    let mut origins = Vec::new();
    for (i, url) in entry.origins.iter().enumerate() {
        let url = origin_url(format!("{key}.origins[{i}]"), url, problems);
        origins.extend(url.map(|url| Origin { url, headers: Vec::new() }));
    }
    for (i, origin) in entry.origin.into_iter().enumerate() {
        let key = format!("{key}.origin[{i}]");
        let url = origin_url(format!("{key}.url"), &origin.url, problems);
        let headers = origin.headers.into_iter().filter_map(|(name, value)| {
            header(&name, value)
                .map_err(|(what, remedy)| problems.push(Problem::new(format!("{key}.headers.{name}"), what, remedy)))
                .ok()
        });
        let headers = headers.collect();
        origins.extend(url.map(|url| Origin { url, headers }));
    }
    Channel {
        name: entry.name.unwrap_or_else(|| entry.id.clone()),
        id: entry.id,
        group: entry.group,
        logo: entry.logo,
        language: entry.language,
        program: entry.program,
        origins,
    }
}

fn origin_url(key: String, text: &str, problems: &mut Vec<Problem>) -> Option<OriginUrl> {
    OriginUrl::parse(text).map_err(|error| problems.push(Problem::new(key, error.to_string(), error.url_remedy()))).ok()
}

/// Fields that the relay writes itself, or that would change how the answer is read.
const OWN_FIELDS: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "te", "range", "accept-encoding", "upgrade"];

/// Err is what is wrong and the remedy; the value is never part of it.
fn header(name: &str, value: String) -> Result<Header, (String, &'static str)> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > limits::CONFIG_HEADER_NAME_BYTES_MAX || !name.bytes().all(token) {
        return Err(("not a header name".to_string(), "use letters, digits and `-`"));
    }
    if OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err((format!("the relay sets `{name}` itself"), "remove it"));
    }
    match header_value(&value) {
        Ok(()) => Ok(Header { name: name.to_string(), value: Secret::new(value) }),
        Err(what) => Err((what.to_string(), "give visible ASCII characters and spaces")),
    }
}

fn import_list(
    index: usize,
    list: &M3uEntry,
    read: &dyn Fn(&Path) -> io::Result<String>,
    ids: &mut HashSet<String>,
    config: &mut Config,
    problems: &mut Vec<Problem>,
) {
    let key = format!("m3u[{index}]");
    if !list.prefix.bytes().all(is_id_byte) || list.prefix.len() > limits::CHANNEL_ID_BYTES_MAX / 2 {
        let what = format!("{:?} cannot begin a channel id", list.prefix);
        problems.push(Problem::new(format!("{key}.prefix"), what, "use at most 32 letters, digits, `.`, `_` and `-`"));
        return;
    }
    let text = match read(Path::new(&list.file)) {
        Ok(text) => text,
        Err(error) => {
            let remedy = "name a readable M3U list, relative to the config file";
            problems.push(Problem::new(format!("{key}.file"), format!("`{}`: {error}", list.file), remedy));
            return;
        }
    };
    let import = m3u::import(&text);
    let mut warn = |line: usize, what: &str| config.warnings.push(format!("{}:{line}: {what}", list.file));
    import.warnings.iter().for_each(|warning| warn(warning.line, &warning.what));
    for entry in import.entries {
        match listed_channel(&list.prefix, entry, ids, &mut warn) {
            Ok(channel) => config.channels.push(channel),
            Err((line, what)) => warn(line, &what),
        }
    }
}

/// A list is mostly somebody else's: an entry that cannot be used is passed over with a warning, it does not stop the relay.
fn listed_channel(
    prefix: &str,
    entry: m3u::Entry,
    ids: &mut HashSet<String>,
    warn: &mut impl FnMut(usize, &str),
) -> Result<Channel, (usize, String)> {
    let line = entry.line;
    let url = OriginUrl::parse(&entry.url)
        .map_err(|error| (line, format!("{:?} is passed over: {error}; {}", entry.name, error.url_remedy())))?;
    let mut headers = Vec::new();
    for (name, value) in entry.headers {
        match String::from_utf8(percent_decoded(&value))
            .map_err(drop)
            .and_then(|value| header(&name, value).map_err(drop))
        {
            Ok(header) => headers.push(header),
            Err(()) => warn(line, &format!("header {name:?} of {:?} cannot be sent and is left out", entry.name)),
        }
    }
    let id = free_id(prefix, entry.tvg_id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&entry.name), ids);
    Ok(Channel {
        name: if entry.name.is_empty() { id.clone() } else { entry.name },
        id,
        group: entry.group,
        logo: entry.logo,
        language: entry.language,
        program: None,
        origins: vec![Origin { url, headers }],
    })
}

/// An id from `prefix` and whatever of `wish` can stand in a URL; numbered from 2 where it is taken.
fn free_id(prefix: &str, wish: &str, ids: &mut HashSet<String>) -> String {
    let mut base = prefix.to_string();
    for ch in wish.chars() {
        let byte = u8::try_from(ch).ok().filter(|&byte| is_id_byte(byte)).unwrap_or(b'-');
        let is_dull = byte == b'-' && (base.is_empty() || base.ends_with('-'));
        if !is_dull {
            base.push(byte as char);
        }
    }
    let trimmed = base.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let base = if trimmed.is_empty() { "channel" } else { trimmed };
    // Seven characters stay free for `-` and a number of CHANNELS_MAX.
    let base = &base[..base.len().min(limits::CHANNEL_ID_BYTES_MAX - 7)];
    let mut id = base.to_string();
    for number in 2.. {
        if ids.insert(id.clone()) {
            break;
        }
        id = format!("{base}-{number}");
    }
    id
}
