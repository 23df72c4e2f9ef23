//! A deliberately bad live server, with which the harness proves that it catches what it must.
//!
//! ```text
//! access_unit (H.264 and AAC from a seed) ─┬─ ts   (packets)  ─┐
//!                                          └─ cmaf (boxes)    ─┼─ serve (HTTP/1.1, a thread per connection)
//! live (which segments exist and are listed now) ── playlist  ─┘
//! ```
//!
//! With [`Fault::None`] all of it is right: 25 pictures a second with a key picture each two seconds, AAC, segments of two seconds, a
//! window of ten. Any other [`Fault`] breaks one thing and no other. Bytes depend only on the seed, the bitrate and the wall clock at
//! the start; nothing is kept, each answer is written anew. Every picture carries the time at which it was made ([`made_us`]).
//! [`origin`] is the same server without fault, as an origin that latency is measured from.
//!
//! | Path below `/live/` | What |
//! |---|---|
//! | `x.ts` | transport stream without end, from the newest key picture on, then in real time |
//! | `x/late{N}ms.ts` | the same N ms later, N from 0 to 999: channels of one server need not have their pictures at the same moment |
//! | `x/master.m3u8` | multivariant playlist of the transport stream segments |
//! | `x/ts/index.m3u8`, `x/ts/s{N}.ts` | their media playlist and segments |
//! | `x/cmaf.m3u8` | multivariant playlist of CMAF: one video variant, one audio rendition |
//! | `x/cmaf/{v,a}/index.m3u8`, `init.mp4`, `s{N}.m4s` | their media playlists, init segments and segments |
//! | `x/manifest.mpd` | the same CMAF as DASH, live profile |
//!
//! *Media time* begins 24 s before the server does, so that the window is full from the first request on.
//!
//! What it deliberately does not do: decodable pictures or sound, B-pictures, low latency parts, TLS, range requests, many viewers.

mod access_unit;
mod cmaf;
mod http;
mod live;
pub mod origin;
mod playlist;
mod serve;
mod ts;

pub use access_unit::{MADE_UUID, made_us, newest_made_us};

use crate::clock::WallClock;
use access_unit::{KBPS_MAX, KBPS_MIN, Source};
use anyhow::{Result, ensure};
use clap::ValueEnum;
use live::Live;
use serde::{Deserialize, Serialize};
use serve::Server;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does wrong. Segment numbers N are those of the paths; seconds count from the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// One packet of the picture in the middle is missing in each segment of odd N, and at the same place, so each 4 s, in `x.ts`.
    DropTsPacket,
    /// Each segment with N = 1, 4, 7, ... has the bytes of the one before it; `x.ts` is right.
    RepeatSegment,
    /// Media playlists and manifest do not change from second 4 to second 16 of each 20.
    StalePlaylist,
    /// Of each segment with N = 1, 4, 7, ... the second half is missing: Content-Length is that of the whole, the connection ends early.
    TornSegment,
    /// Each segment with N = 1, 4, 7, ... is cut in the middle, within a packet or `mdat`, and Content-Length is that of the rest.
    TornBody,
    /// Nothing is sent in the last 300 ms of each 3 s, on any connection; `x.ts` catches up afterwards.
    Stall300,
    /// Each segment with N = 1, 4, 7, ... is 4 s long, and its EXTINF says so, under an EXT-X-TARGETDURATION of 2.
    WrongTargetDuration,
    /// In seconds 6 to 8 of each 10, media playlists are those of 4 s before: EXT-X-MEDIA-SEQUENCE goes back by one.
    SequenceBackwards,
    /// A segment's filler bytes differ from connection to connection; its structure is right.
    DiffersByViewer,
    /// `tfdt` of both CMAF tracks jumps by 1 s at each segment with N = 4, 8, 12, ... and stays ahead; nothing announces it.
    TimelineGap,
    /// Each 50th request, counted over all connections, is answered with 500.
    Error500,
    /// Media segments of both kinds are answered after 200 ms; playlists and init segments at once.
    SlowFirstByte,
}

/// How PES packets tell their end, from which a demultiplexer learns that an access unit is complete (2.4.3.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PesForm {
    /// PES_packet_length where it fits 16 bits, and data_alignment_indicator: an access unit begins with the payload.
    Aligned,
    /// PES_packet_length where it fits, and no data_alignment_indicator.
    #[default]
    Unmarked,
    /// PES_packet_length is 0 for pictures: one ends where the next begins.
    Unbounded,
}

/// Which wall clock pictures carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamp {
    /// When the picture was due.
    #[default]
    Due,
    /// In the stream without end, when its completing byte was written: read just before the write that holds its last byte, or, where the next picture
    /// completes it, when that is due. Elsewhere as [`Stamp::Due`].
    Written,
}

/// How the server is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it does wrong.
    pub fault: Fault,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bitrate of the transport stream, kb/s: 200 to 100 000.
    pub kbps: u32,
    /// What the filler bytes come from.
    pub seed: u64,
    /// Name of the one channel, `x` in the paths above.
    pub channel: String,
    /// Writes of `x.ts` hold this many packets (1 to 1 000); `None`: one access unit and what comes with it.
    pub packets_per_write: Option<usize>,
    /// PES packets of the transport streams.
    pub pes: PesForm,
    /// Not [`Stamp::Written`] with `packets_per_write`: a picture's last byte would wait for the next one.
    pub stamp: Stamp,
    /// Begins as a server that ran for so long already: brings a [`Fault`] that comes at certain seconds near. At most a year.
    pub uptime: Duration,
}

impl Default for Options {
    /// No fault, a free port on the loopback interface, 1 Mb/s, channel `x`, one access unit per write.
    fn default() -> Self {
        Options {
            fault: Fault::None,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            kbps: 1_000,
            seed: 1,
            channel: "x".into(),
            packets_per_write: None,
            pes: PesForm::default(),
            stamp: Stamp::default(),
            uptime: Duration::ZERO,
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        ensure!((KBPS_MIN..=KBPS_MAX).contains(&self.kbps), "kbps {} is not in {KBPS_MIN}..={KBPS_MAX}", self.kbps);
        ensure!(
            self.packets_per_write.is_none_or(|n| (1..=1_000).contains(&n)),
            "packets_per_write is not in 1..=1000"
        );
        ensure!(
            self.stamp == Stamp::Due || self.packets_per_write.is_none(),
            "stamps of the time of writing need writes of whole access units: leave packets_per_write out"
        );
        ensure!(self.uptime <= UPTIME_MAX, "an uptime of more than a year");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(!self.channel.is_empty() && self.channel.chars().all(is_name), "a channel's name is [A-Za-z0-9_-]+");
        Ok(())
    }
}

/// A running server. Dropping it closes every connection and waits for its threads.
pub struct BadServer {
    addr: SocketAddr,
    server: Arc<Server>,
    accepting: Option<JoinHandle<()>>,
}

impl BadServer {
    /// Starts a server with [`Options::default`] but for the fault.
    pub fn start(fault: Fault) -> Result<BadServer> {
        BadServer::start_with(Options { fault, ..Options::default() })
    }

    /// Starts a server; fails on options out of range and when the address cannot be listened on.
    pub fn start_with(options: Options) -> Result<BadServer> {
        options.check()?;
        let clock = WallClock::read();
        let started = clock.instant();
        let live = Live::new(options.fault, clock.unix_us(started), options.uptime.as_micros() as u64);
        let source = Source::new(options.seed, options.kbps, live.epoch_unix_us());
        let (server, listener, addr) = Server::bind(options, live, source, started)?;
        let accepting = serve::accept(&server, listener)?;
        Ok(BadServer { addr, server, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for BadServer {
    fn drop(&mut self) {
        self.server.stop(self.addr);
        if let Some(accepting) = self.accepting.take() {
            // A panic of that thread was printed where it happened.
            let _ = accepting.join();
        }
    }
}

const UPTIME_MAX: Duration = Duration::from_secs(366 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused() {
        let refused = |options| BadServer::start_with(options).is_err();
        assert!(refused(Options { kbps: 100, ..Options::default() }));
        assert!(refused(Options { packets_per_write: Some(0), ..Options::default() }));
        assert!(refused(Options { channel: "a/b".into(), ..Options::default() }));
        assert!(refused(Options { packets_per_write: Some(7), stamp: Stamp::Written, ..Options::default() }));
    }

    #[test]
    fn faults_have_the_same_names_on_the_command_line_and_in_json() {
        for fault in Fault::value_variants() {
            let name = fault.to_possible_value().unwrap().get_name().to_string();
            assert_eq!(serde_json::to_string(fault).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(serde_json::to_string(&Fault::DropTsPacket).unwrap(), "\"drop-ts-packet\"");
    }
}
