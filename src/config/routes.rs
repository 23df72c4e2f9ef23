//! `[[route]]`: which format clients get that say nothing themselves, by their User-Agent.
#![forbid(unsafe_code)]

use super::{Config, Problem};
use crate::limits;
use serde::{Deserialize, Serialize};

/// `[[route]]`: checked in the order written, before the built-in rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// What `X-Relay-Decision` calls the rule: at most [`limits::ROUTE_TEXT_BYTES_MAX`] visible ASCII characters and spaces, no quotes; may
    /// be empty.
    #[serde(default)]
    pub name: String,
    /// Texts, one of which stands in the User-Agent; upper and lower case are the same. 1 to [`limits::ROUTE_TEXTS_MAX`], each 1 to
    /// [`limits::ROUTE_TEXT_BYTES_MAX`] bytes.
    pub user_agent: Vec<String>,
    /// What such a client gets.
    pub format: RouteFormat,
}

/// A format that a client can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum RouteFormat {
    /// HLS with MPEG-TS segments.
    #[serde(rename = "hls-ts")]
    HlsTs,
    /// HLS with fMP4 (CMAF) segments.
    #[serde(rename = "hls-fmp4")]
    HlsFmp4,
    /// MPEG-DASH.
    #[serde(rename = "dash")]
    Dash,
    /// Continuous MPEG-TS.
    #[serde(rename = "mpegts")]
    MpegTs,
}

/// Adds a problem for each rule that could not be matched or named.
pub(super) fn check(config: &Config, problems: &mut Vec<Problem>) {
    if let Some(beyond) = config.routes.get(limits::ROUTE_RULES_MAX..).filter(|beyond| !beyond.is_empty()) {
        let what = format!("{} rules are too many", limits::ROUTE_RULES_MAX + beyond.len());
        let remedy = format!("keep {}", limits::ROUTE_RULES_MAX);
        problems.push(Problem::new(format!("route[{}]", limits::ROUTE_RULES_MAX), what, remedy));
    }
    for (i, rule) in config.routes.iter().enumerate().take(limits::ROUTE_RULES_MAX) {
        let visible = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.contains('"');
        if rule.name.len() > limits::ROUTE_TEXT_BYTES_MAX || !visible(&rule.name) {
            let remedy = format!("give at most {} visible ASCII characters", limits::ROUTE_TEXT_BYTES_MAX);
            problems.push(Problem::new(format!("route[{i}].name"), "cannot stand in a header", remedy));
        }
        if !(1..=limits::ROUTE_TEXTS_MAX).contains(&rule.user_agent.len()) {
            let remedy = format!("give 1 to {} texts", limits::ROUTE_TEXTS_MAX);
            let what = format!("{} texts to look for", rule.user_agent.len());
            problems.push(Problem::new(format!("route[{i}].user_agent"), what, remedy));
        }
        for (j, text) in rule.user_agent.iter().enumerate() {
            // The empty text stands in every User-Agent: whoever writes it has forgotten something.
            if !(1..=limits::ROUTE_TEXT_BYTES_MAX).contains(&text.len()) {
                let remedy = format!("give 1 to {} bytes", limits::ROUTE_TEXT_BYTES_MAX);
                let what = format!("a text of {} bytes", text.len());
                problems.push(Problem::new(format!("route[{i}].user_agent[{j}]"), what, remedy));
            }
        }
    }
}
