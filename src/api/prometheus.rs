//! `/metrics`: Prometheus text exposition format 0.0.4. Times in seconds, sizes in bytes, counters end in `_total`.
#![forbid(unsafe_code)]

use super::Report;
use crate::metrics::{Counter, DURATION_BUCKETS_US, Format, ShardMetrics};
use crate::session::shared::ChannelCounters;
use crate::transcode::status::Status;
use std::fmt::Write;

/// The whole page.
pub fn metrics_text(report: &Report<'_>) -> String {
    let mut out = String::with_capacity(4096 + report.channels.len() * 512);
    process(&mut out, report);
    formats(&mut out, report);
    shards(&mut out, report);
    durations(&mut out, report);
    transcode(&mut out, report);
    channels(&mut out, report);
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sum(report: &Report<'_>, pick: impl Fn(&ShardMetrics) -> &Counter) -> u64 {
    report.shards.iter().map(|shard| pick(shard).value()).sum()
}

fn process(out: &mut String, report: &Report<'_>) {
    head(out, "millrace_uptime_seconds", "gauge", "Time since the process began.");
    let _ = writeln!(out, "millrace_uptime_seconds {:.3}", report.uptime_s);
    head(out, "millrace_sessions", "gauge", "Channels with a session, and so at most one origin connection each.");
    let _ = writeln!(out, "millrace_sessions {}", sum(report, |s| &s.sessions));
}

fn formats(out: &mut String, report: &Report<'_>) {
    head(out, "millrace_viewers", "gauge", "Viewers now; those of segments are an estimate by address and User-Agent.");
    for format in Format::ALL {
        let _ =
            writeln!(out, "millrace_viewers{{format=\"{}\"}} {}", format.name(), sum(report, |s| s.viewers(format)));
    }
    head(out, "millrace_sent_bytes_total", "counter", "Media bytes handed to viewers' sockets.");
    for format in Format::ALL {
        for (index, shard) in report.shards.iter().enumerate() {
            let bytes = shard.sent_bytes(format).value();
            let _ =
                writeln!(out, "millrace_sent_bytes_total{{format=\"{}\",shard=\"{index}\"}} {bytes}", format.name());
        }
    }
}

type ShardSeries = (&'static str, &'static str, &'static str, fn(&ShardMetrics) -> &Counter);

const SHARD_SERIES: [ShardSeries; 6] = [
    ("millrace_connections", "gauge", "Client connections open.", |s| &s.connections),
    ("millrace_accepted_total", "counter", "Client connections accepted.", |s| &s.accepted),
    ("millrace_viewers_cut_total", "counter", "Connections cut for making no progress.", |s| &s.viewers_cut),
    ("millrace_viewers_skipped_total", "counter", "Skips of slow continuous viewers to a newer key sample.", |s| {
        &s.viewers_skipped
    }),
    ("millrace_connection_panics_total", "counter", "Panics caught in connections.", |s| &s.connection_panics),
    ("millrace_store_bytes", "gauge", "Bytes of store blocks in use.", |s| &s.store_bytes),
];

fn shards(out: &mut String, report: &Report<'_>) {
    for (name, kind, help, pick) in SHARD_SERIES {
        head(out, name, kind, help);
        for (index, shard) in report.shards.iter().enumerate() {
            let _ = writeln!(out, "{name}{{shard=\"{index}\"}} {}", pick(shard).value());
        }
    }
    head(out, "millrace_responses_total", "counter", "Answers by status class.");
    for class in 1..=5 {
        let count = sum(report, |s| s.responses(class));
        let _ = writeln!(out, "millrace_responses_total{{class=\"{class}xx\"}} {count}");
    }
}

fn durations(out: &mut String, report: &Report<'_>) {
    let name = "millrace_request_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "From a request's head to the last byte of its answer in the kernel; live streams left out.",
    );
    let mut counts = [0; DURATION_BUCKETS_US.len() + 1];
    let mut sum_us = 0;
    for shard in &report.shards {
        let (shard_counts, shard_sum_us) = shard.request_duration.values();
        counts.iter_mut().zip(shard_counts).for_each(|(total, count)| *total += count);
        sum_us += shard_sum_us;
    }
    let mut below = 0;
    for (bound_us, count) in DURATION_BUCKETS_US.iter().zip(counts) {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *bound_us as f64 / 1e6);
    }
    let total: u64 = counts.iter().sum();
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}");
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {total}", sum_us as f64 / 1e6);
}

fn transcode(out: &mut String, report: &Report<'_>) {
    let Status { cores, jobs, totals } = &report.transcode;
    head(out, "millrace_transcode_core_load", "gauge", "Share of a transcoding core that its jobs take.");
    for core in cores {
        let _ = writeln!(out, "millrace_transcode_core_load{{core=\"{}\"}} {:.4}", core.core, core.load);
    }
    head(out, "millrace_transcode_core_lost", "gauge", "1 for a transcoding core that a hung thread sits on.");
    for core in cores {
        let _ = writeln!(out, "millrace_transcode_core_lost{{core=\"{}\"}} {}", core.core, u8::from(core.lost));
    }
    let slowest_ms = jobs.iter().map(|job| job.lag_ms).max().unwrap_or(0);
    let series: [(&str, &str, &str, f64); 10] = [
        ("jobs", "gauge", "Transcoder threads.", jobs.len() as f64),
        ("outputs", "gauge", "Renditions being made.", jobs.iter().map(|job| job.outputs.len()).sum::<usize>() as f64),
        ("lag_seconds", "gauge", "How far the slowest transcoder is behind its source.", slowest_ms as f64 / 1e3),
        ("started_total", "counter", "Branches of renditions taken.", totals.started as f64),
        ("refused_total", "counter", "Branches of renditions refused.", totals.refused as f64),
        ("failed_total", "counter", "Renditions that ended by themselves.", totals.failed as f64),
        ("abandoned_total", "counter", "Transcoder threads given up as hung.", totals.abandoned as f64),
        ("frames_total", "counter", "Frames encoded, of pictures and sound.", totals.frames as f64),
        ("frames_dropped_total", "counter", "Frames dropped.", totals.dropped as f64),
        ("cpu_seconds_total", "counter", "CPU time of transcoders.", totals.cpu_seconds),
    ];
    for (name, kind, help, value) in series {
        let name = format!("millrace_transcode_{name}");
        head(out, &name, kind, help);
        let _ = writeln!(out, "{name} {value}");
    }
}

type ChannelSeries = (&'static str, &'static str, &'static str, fn(&ChannelCounters) -> &Counter);

const CHANNEL_SERIES: [ChannelSeries; 8] = [
    ("millrace_origin_connections_total", "counter", "Connections opened to the channel's origin.", |c| {
        &c.origin_connections
    }),
    ("millrace_origin_up", "gauge", "1 while media flows from the origin.", |c| &c.origin_up),
    ("millrace_origin_bytes_total", "counter", "Body bytes received from the origin.", |c| &c.origin_bytes),
    ("millrace_samples_total", "counter", "Samples placed on the timeline.", |c| &c.samples),
    ("millrace_samples_dropped_total", "counter", "Samples the timeline refused.", |c| &c.samples_dropped),
    ("millrace_continuity_errors_total", "counter", "Breaks of continuity_counter in the source.", |c| {
        &c.continuity_errors
    }),
    ("millrace_channel_sent_bytes_total", "counter", "Media bytes of the channel handed to sockets.", |c| {
        &c.sent_bytes
    }),
    ("millrace_session_panics_total", "counter", "Panics caught in the channel's session.", |c| &c.panics),
];

fn channels(out: &mut String, report: &Report<'_>) {
    for (name, kind, help, pick) in CHANNEL_SERIES {
        head(out, name, kind, help);
        for row in &report.channels {
            let _ = writeln!(out, "{name}{{channel=\"{}\"}} {}", row.id, pick(&row.shared.counters).value());
        }
    }
    head(out, "millrace_channel_viewers", "gauge", "Viewers of the channel now.");
    for row in &report.channels {
        let counters = &row.shared.counters;
        for format in Format::ALL {
            let (id, count) = (row.id, counters.viewers(format).value());
            let _ = writeln!(out, "millrace_channel_viewers{{channel=\"{id}\",format=\"{}\"}} {count}", format.name());
        }
    }
}
