//! What the relay tells of itself: Prometheus text (exposition format 0.0.4) and JSON. Renders what it is given, holds nothing.
//!
//! Origin addresses and credentials never come here.
#![forbid(unsafe_code)]

mod json;
mod page;
mod prometheus;

pub use json::{channels_json, sessions_json, transcoders_json};
pub use page::page_json;
pub use prometheus::metrics_text;

use crate::metrics::{Format, ShardMetrics};
use crate::route::profiles::Profiles;
use crate::session::shared::{ChannelShared, ChannelView};
use crate::transcode::status::{JobStatus, Status};
use std::collections::BTreeMap;
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

impl ChannelRow<'_> {
    /// Viewers now, by [`Format::name`].
    pub fn viewers(&self) -> BTreeMap<&'static str, u64> {
        Format::ALL.map(|format| (format.name(), self.shared.counters.viewers(format).value())).into()
    }

    /// The channel's media as it is served, bits a second; 0 without viewers.
    pub fn bits_per_second(&self) -> u64 {
        let ts = self.view.ts.first().map_or(0, |(_, ts)| ts.snapshot().average_bits_per_second);
        let cmaf = || self.view.cmaf.as_ref().map_or(0, |cmaf| cmaf.snapshot().average_bits_per_second());
        if ts > 0 { ts } else { cmaf() }
    }
}

impl Report<'_> {
    /// What is made of a channel now.
    pub fn jobs(&self, channel: &str) -> impl Iterator<Item = &JobStatus> {
        self.transcode.jobs.iter().filter(move |job| job.channel == channel)
    }
}

/// The process as the API shows it.
pub struct Report<'a> {
    pub channels: Vec<ChannelRow<'a>>,
    pub shards: Vec<&'a ShardMetrics>,
    /// What transcoding cores do.
    pub transcode: Status,
    /// What viewers may have made.
    pub profiles: &'a Profiles,
    /// Seconds since start.
    pub uptime_s: f64,
}
