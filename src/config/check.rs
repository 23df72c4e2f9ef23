//! Ranges of the config's numbers, and how its keys relate.
#![forbid(unsafe_code)]

use super::{Config, Problem};
use crate::limits;

/// The range of one number.
pub struct NumberRule {
    /// Path of the key.
    pub key: &'static str,
    /// Smallest allowed value.
    pub min: u64,
    /// Largest allowed value.
    pub max: u64,
    /// What is counted.
    pub unit: &'static str,
    /// The value in a config.
    pub value: fn(&Config) -> u64,
}

/// A row of [`NUMBERS`].
const fn rule(key: &'static str, min: u64, max: u64, unit: &'static str, value: fn(&Config) -> u64) -> NumberRule {
    NumberRule { key, min, max, unit, value }
}

const HOUR_MS: u64 = 3_600_000;

/// Every number of the config with its range.
pub const NUMBERS: &[NumberRule] = &[
    rule("server.shards", 0, limits::SHARDS_MAX as u64, "shards", |c| c.server.shards as u64),
    rule("server.shutdown_ms", 0, 600_000, "ms", |c| c.server.shutdown_ms),
    rule("origin.connect_ms", 100, 60_000, "ms", |c| c.origin.connect_ms),
    rule("origin.first_byte_ms", 100, 60_000, "ms", |c| c.origin.first_byte_ms),
    rule("origin.stall_ms", 500, 60_000, "ms", |c| c.origin.stall_ms),
    rule("origin.retry_ms_max", 100, limits::ORIGIN_RETRY_MS_MAX, "ms", |c| c.origin.retry_ms_max),
    rule("media.segment_target_ms", limits::SEGMENT_TARGET_MS_MIN, limits::SEGMENT_TARGET_MS_MAX, "ms", |c| {
        c.media.segment_target_ms
    }),
    rule("media.segment_max_ms", limits::SEGMENT_TARGET_MS_MIN, limits::SEGMENT_MAX_MS_MAX, "ms", |c| {
        c.media.segment_max_ms
    }),
    rule(
        "media.window_ms",
        limits::WINDOW_TARGETS_MIN * limits::SEGMENT_TARGET_MS_MIN,
        limits::WINDOW_MS_MAX,
        "ms",
        |c| c.media.window_ms,
    ),
    rule(
        "media.video_ring_samples",
        limits::RING_SAMPLES_MIN as u64,
        limits::RING_SAMPLES_MAX as u64,
        "samples",
        |c| c.media.video_ring_samples as u64,
    ),
    rule(
        "media.audio_ring_samples",
        limits::RING_SAMPLES_MIN as u64,
        limits::RING_SAMPLES_MAX as u64,
        "samples",
        |c| c.media.audio_ring_samples as u64,
    ),
    rule("media.video_ring_bytes", limits::RING_BYTES_MIN as u64, limits::RING_BYTES_MAX as u64, "bytes", |c| {
        c.media.video_ring_bytes as u64
    }),
    rule("media.audio_ring_bytes", limits::RING_BYTES_MIN as u64, limits::RING_BYTES_MAX as u64, "bytes", |c| {
        c.media.audio_ring_bytes as u64
    }),
    rule(
        "media.store_bytes_max",
        limits::SHARD_STORE_BYTES_MIN as u64,
        limits::SHARD_STORE_BYTES_MAX as u64,
        "bytes",
        |c| c.media.store_bytes_max as u64,
    ),
    rule("media.live_flush_ms", 0, limits::LIVE_FLUSH_MS_MAX, "ms", |c| c.media.live_flush_ms),
    rule("media.live_flush_bytes", 188, limits::LIVE_FLUSH_BYTES_MAX as u64, "bytes", |c| {
        c.media.live_flush_bytes as u64
    }),
    rule("idle.session_ms", 1_000, 24 * HOUR_MS, "ms", |c| c.idle.session_ms),
    rule("idle.variant_ms", 1_000, 24 * HOUR_MS, "ms", |c| c.idle.variant_ms),
    rule("idle.segment_viewer_ms", 1_000, HOUR_MS, "ms", |c| c.idle.segment_viewer_ms),
    rule("idle.keepalive_ms", 1_000, HOUR_MS, "ms", |c| c.idle.keepalive_ms),
    rule("idle.continuous_viewer_ms", 1_000, HOUR_MS, "ms", |c| c.idle.continuous_viewer_ms),
    rule("transcode.load_percent_max", 1, 100, "percent", |c| c.transcode.load_percent_max),
    rule("transcode.hang_ms", 1_000, 600_000, "ms", |c| c.transcode.hang_ms),
    rule("limits.connections_per_shard", 1, 1_000_000, "connections", |c| c.limits.connections_per_shard as u64),
    rule("limits.connections_per_address", 0, 1_000_000, "connections", |c| c.limits.connections_per_address as u64),
    rule("limits.request_head_ms", 100, limits::REQUEST_HEAD_MS_MAX, "ms", |c| c.limits.request_head_ms),
    rule("limits.pinned_blocks_per_channel", 8, 65_536, "blocks", |c| c.limits.pinned_blocks_per_channel as u64),
];

/// Adds a problem for each number out of its range and each relation that does not hold. Channels are checked as they are resolved.
pub(super) fn check(config: &Config, problems: &mut Vec<Problem>) {
    for rule in NUMBERS {
        let value = (rule.value)(config);
        if !(rule.min..=rule.max).contains(&value) {
            let remedy = format!("give {} to {} {}", rule.min, rule.max, rule.unit);
            problems.push(Problem::new(rule.key, format!("{value} is out of range"), remedy));
        }
    }
    check_server(config, problems);
    check_media(config, problems);
    if let Err(what) = header_value(&config.origin.user_agent) {
        problems.push(Problem::new("origin.user_agent", what, "give visible ASCII characters and spaces"));
    }
}

fn check_server(config: &Config, problems: &mut Vec<Problem>) {
    let server = &config.server;
    if server.listen.is_empty() {
        problems.push(Problem::new(
            "server.listen",
            "there is no address to listen on",
            "give at least one, \"0.0.0.0:8080\"",
        ));
    }
    for (i, address) in server.listen.iter().enumerate() {
        let key = format!("server.listen[{i}]");
        if address.port() == 0 {
            continue;
        }
        if server.listen[..i].contains(address) {
            problems.push(Problem::new(key, format!("{address} is listed twice"), "remove one"));
        } else if *address == server.admin_listen {
            let remedy = "give server.admin_listen a port of its own";
            problems.push(Problem::new(key, format!("{address} is the admin address too"), remedy));
        }
    }
    check_cores("server.cores", &server.cores, problems);
    check_cores("transcode.cores", &config.transcode.cores, problems);
    if !server.cores.is_empty() && server.shards > server.cores.len() {
        let what = format!("{} shards do not fit on {} listed cores", server.shards, server.cores.len());
        problems.push(Problem::new("server.shards", what, "list more CPUs in server.cores, or set server.shards = 0"));
    }
}

fn check_cores(path: &str, cores: &[usize], problems: &mut Vec<Problem>) {
    for (i, core) in cores.iter().enumerate() {
        let key = format!("{path}[{i}]");
        if *core >= limits::CPUS_MAX {
            let remedy = format!("give CPU ids below {}", limits::CPUS_MAX);
            problems.push(Problem::new(key, format!("there is no CPU {core}"), remedy));
        } else if cores[..i].contains(core) {
            problems.push(Problem::new(key, format!("CPU {core} is listed twice"), "remove one"));
        }
    }
}

fn check_media(config: &Config, problems: &mut Vec<Problem>) {
    let media = &config.media;
    if !media.segment_max_ms.is_multiple_of(1_000) {
        let what =
            format!("{} ms is no whole number of seconds, as EXT-X-TARGETDURATION must be", media.segment_max_ms);
        let remedy = format!("give {}", media.segment_max_ms.div_ceil(1_000) * 1_000);
        problems.push(Problem::new("media.segment_max_ms", what, remedy));
    }
    if media.segment_max_ms < media.segment_target_ms {
        let what = format!("{} ms is below media.segment_target_ms, {}", media.segment_max_ms, media.segment_target_ms);
        problems.push(Problem::new("media.segment_max_ms", what, "give at least the target"));
    }
    let window_ms_min = media.segment_max_ms.saturating_mul(limits::WINDOW_TARGETS_MIN);
    if media.window_ms < window_ms_min {
        let what = format!("{} ms is below three target durations (RFC 8216 6.2.2)", media.window_ms);
        problems.push(Problem::new("media.window_ms", what, format!("give at least {window_ms_min}")));
    }
    if !media.store_bytes_max.is_multiple_of(limits::BLOCK_BYTES) {
        let remedy = format!("give a multiple of {}", limits::BLOCK_BYTES);
        problems.push(Problem::new("media.store_bytes_max", "not a whole number of blocks", remedy));
    }
}

/// Whether `text` may be the value of a header field that the relay writes (RFC 9110 5.5, without obs-text).
pub(super) fn header_value(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > limits::CONFIG_HEADER_VALUE_BYTES_MAX {
        return Err("empty, or too long for a header value");
    }
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if visible && text.trim() == text { Ok(()) } else { Err("has characters that a header value cannot carry") }
}
