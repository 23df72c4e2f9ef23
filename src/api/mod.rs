//! What the relay tells of itself: Prometheus text (exposition format 0.0.4) and JSON. Renders what it is given, holds nothing.
//!
//! Origin addresses and credentials never come here.
#![forbid(unsafe_code)]

mod json;
mod page;
mod prometheus;

pub use json::{channels_json, sessions_json};
pub use page::page_json;
pub use prometheus::metrics_text;

use crate::metrics::ShardMetrics;
use crate::session::shared::{ChannelShared, ChannelView};
use std::sync::Arc;

/// One channel as the API shows it.
pub struct ChannelRow<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub group: Option<&'a str>,
    /// Shard that owns it.
    pub owner: usize,
    pub shared: &'a ChannelShared,
    pub view: Arc<ChannelView>,
}

/// The process as the API shows it.
pub struct Report<'a> {
    pub channels: Vec<ChannelRow<'a>>,
    pub shards: Vec<&'a ShardMetrics>,
    /// Seconds since start.
    pub uptime_s: f64,
}
