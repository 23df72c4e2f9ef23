//! millrace: a live-stream relay. One origin connection in, every viewer format out, on every core.

pub mod api;
pub mod config;
pub mod demo;
pub mod es;
pub mod hls;
pub mod http;
pub mod limits;
pub mod m3u;
mod memfd;
pub mod metrics;
pub mod mpegts;
pub mod origin;
pub mod package;
pub mod ring;
pub mod session;
pub mod shard;
pub mod store;
pub mod time;
pub mod timeline;
