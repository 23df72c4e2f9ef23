//! What a live channel costs the relay in memory, all formats wanted and all windows full: `loadtest fanout memory`, second part.
//!
//! Held against the media that must be there: 1.1 x rate x (seconds of the rings + seconds of each container's window) + 1 MiB. HLS-TS and continuous
//! TS are one container, HLS-fMP4 and DASH the other. A window is what the playlist lists, and what RFC 8216 6.2.2 has served on after it was
//! taken off: a segment's duration and that of the longest playlist that listed it. Both sums are told.

use super::FanoutArgs;
use super::contender::{Relay, RelaySettings};
use super::media;
use crate::procfs;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const KBPS: u32 = 3_000;
const CHANNELS: u32 = 50;
/// Containers with a window of their own: TS and CMAF.
const CONTAINERS: f64 = 2.0;
/// How much above the media is allowed: a factor, and bytes.
const FACTOR: f64 = 1.1;
const EXTRA_BYTES: f64 = (1 << 20) as f64;
/// Beyond the longest window, until all are full: start, a segment, and some slack.
const SETTLE_S: f64 = 12.0;

/// Seconds of media that a relay keeps by its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    ring_s: f64,
    listed_s: f64,
    /// Listed, and served after that.
    served_s: f64,
}

impl Kept {
    /// From the relay's own list of its defaults, for media of this rate.
    fn of_defaults(text: &str, bits_per_second: f64) -> Result<Kept> {
        let config: toml::Value = toml::from_str(text).context("the defaults are no TOML")?;
        let media = |key: &str| {
            let value = config.get("media").and_then(|media| media.get(key)).and_then(toml::Value::as_integer);
            value.map(|value| value as f64).with_context(|| format!("no media.{key} among the defaults"))
        };
        let by_samples = media("video_ring_samples")? / f64::from(media::FRAMES_PER_S);
        let ring_s = by_samples.min(media("video_ring_bytes")? * 8.0 / bits_per_second);
        let segment_s = media("segment_target_ms")? / 1e3;
        let listed_s = (media("window_ms")? / 1e3).max(3.0 * media("segment_max_ms")? / 1e3);
        Ok(Kept { ring_s, listed_s, served_s: 2.0 * (listed_s + segment_s) })
    }

    fn longest_s(&self) -> f64 {
        self.ring_s.max(self.served_s)
    }

    /// What a channel may take, bytes.
    fn bound(&self, window_s: f64, bits_per_second: f64) -> f64 {
        FACTOR * bits_per_second / 8.0 * (self.ring_s + CONTAINERS * window_s) + EXTRA_BYTES
    }
}

/// Measures one relay and prints its memory, by channel, beside the bounds.
///
/// # Errors
/// The relay does not start, or a channel does not come.
pub fn run(args: &FanoutArgs, folder: &Path) -> Result<()> {
    let file = media::ts_file(&media::cache()?, KBPS)?;
    let rate = media::bits_per_second(&file)?;
    let defaults = Command::new(&args.relay).args(["check-config", "--print-defaults"]).output()?;
    let kept = Kept::of_defaults(&String::from_utf8_lossy(&defaults.stdout), rate)?;
    let settings = RelaySettings { media: "", shards: vec![args.server_core], channels: CHANNELS };
    let relay = Relay::start(&args.relay, &file, &settings, args.viewer_core, folder)?;
    let pid = relay.process.pid();
    let empty = procfs::memory(pid)?;
    for channel in 1..=CHANNELS {
        for path in ["index.m3u8?format=hls-ts", "index.m3u8?format=hls-fmp4", "manifest.mpd", "stream.ts"] {
            want(relay.process.addr, &format!("/relay/channel/c{channel}/{path}"))?;
        }
    }
    std::thread::sleep(Duration::from_secs_f64(kept.longest_s() + SETTLE_S));
    let full = procfs::memory(pid)?;
    let each_mib = |now: u64, then: u64| (now as f64 - then as f64) / f64::from(CHANNELS) / EXTRA_BYTES;
    let mib = each_mib(full.total(), empty.total());
    println!(
        "\nMemory of a channel: {CHANNELS} of {:.3} Mb/s, HLS-TS, HLS-fMP4, DASH and continuous TS wanted, windows full",
        rate / 1e6
    );
    println!(
        "  {mib:.2} MiB a channel: shared media {:.2}, the process's own {:.2}; the empty relay {:.1} MiB",
        each_mib(full.shared, empty.shared),
        each_mib(full.anon, empty.anon),
        empty.total() as f64 / EXTRA_BYTES,
    );
    for (what, window_s) in [("listed", kept.listed_s), ("listed, and served after by RFC 8216 6.2.2", kept.served_s)] {
        let bound = kept.bound(window_s, rate) / EXTRA_BYTES;
        println!(
            "    target at most {FACTOR} x {:.3} Mb/s x (rings {} s + {CONTAINERS} windows x {window_s} s) + 1 MiB = {bound:.2} MiB: {:.2} of it; windows as {what}",
            rate / 1e6,
            kept.ring_s,
            mib / bound,
        );
    }
    Ok(())
}

/// Asks for a path and leaves when the answer begins: from then on the relay makes what it names.
fn want(addr: SocketAddr, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).with_context(|| format!("{path}: no answer"))?;
    anyhow::ensure!(begin.ends_with(b"200"), "{path}: {}", String::from_utf8_lossy(&begin));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_rings_and_windows() {
        let text = "[media]\nsegment_target_ms = 2_000\nsegment_max_ms = 4_000\nwindow_ms = 20_000\n\
            video_ring_samples = 1_000\nvideo_ring_bytes = 33_554_432\n";
        let kept = Kept::of_defaults(text, 8e6).unwrap();
        assert_eq!(kept, Kept { ring_s: 33.554_432, listed_s: 20.0, served_s: 44.0 });
        assert_eq!(Kept::of_defaults(text, 3e6).unwrap().ring_s, 40.0);
        assert_eq!(kept.bound(20.0, 8e6), 1.1e6 * (33.554_432 + 40.0) + 1_048_576.0);
        assert!(Kept::of_defaults("[media]\n", 3e6).is_err());
    }
}
