//! The process-wide directory: configuration, channels with their owners, and what shards show each other.

use super::pacemaker::Heart;
use crate::config::{self, Auto, Config, RouteFormat, RouteRule};
use crate::es::encoding::Encoding;
use crate::es::selection::Selection;
use crate::metrics::{Format, ShardMetrics};
use crate::mpegts::mux::MuxConfig;
use crate::package::cmaf::CmafPackageConfig;
use crate::package::mpegts::TsPackageConfig;
use crate::route::profiles::Profiles;
use crate::route::rules::{OwnRule, Rules};
use crate::session::shared::ChannelShared;
use crate::session::{RingSize, SessionConfig};
use crate::time::Now;
use crate::timeline::TimelineConfig;
use crate::transcode::{TranscodeConfig, Transcoder};
use foldhash::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Everything all shards see. Made once at start-up.
pub struct Relay {
    pub config: Config,
    pub channels: Vec<Channel>,
    pub by_id: HashMap<String, u32>,
    /// Which format clients get that say nothing themselves.
    pub rules: Rules,
    pub transcoder: Arc<Transcoder>,
    /// All that viewers may have made.
    pub encodings: Arc<HashSet<Encoding>>,
    pub shards: Vec<ShardFront>,
    /// Set once: no new connections, finish what is being sent.
    pub draining: AtomicBool,
    /// Shards that said they listen.
    pub shards_ready: AtomicUsize,
    pub clock: Clock,
    /// A shard repeats its touch of a watched channel this often, microseconds.
    pub touch_interval_us: u64,
}

/// One configured channel.
pub struct Channel {
    pub config: config::Channel,
    /// Index of the shard that owns its session.
    pub owner: usize,
    pub shared: ChannelShared,
    pub session: Arc<SessionConfig>,
}

/// What others see of a shard.
#[derive(Default)]
pub struct ShardFront {
    pub metrics: Arc<ShardMetrics>,
    pub heart: Arc<Heart>,
}

impl Relay {
    /// Lays out `config` over `shards` shards.
    pub fn new(config: Config, shards: usize, transcode: TranscodeConfig) -> Relay {
        let profiles = profiles(&config, &transcode);
        let encodings = Arc::new(profiles.encodings());
        let channels: Vec<Channel> = config
            .channels
            .iter()
            .map(|channel| Channel {
                owner: owner_of(&channel.id, shards),
                shared: ChannelShared::default(),
                session: Arc::new(session_config(&config, channel, encodings.clone())),
                config: channel.clone(),
            })
            .collect();
        let by_id = channels.iter().zip(0..).map(|(c, i)| (c.config.id.clone(), i)).collect();
        let idle_ms = config.idle.session_ms.min(config.idle.variant_ms);
        Relay {
            touch_interval_us: (idle_ms * 1_000 / 8).min(1_000_000),
            rules: Rules::new(config.routes.iter().map(own_rule)).with_profiles(profiles),
            transcoder: Transcoder::new(transcode),
            encodings,
            channels,
            by_id,
            shards: (0..shards).map(|_| ShardFront::default()).collect(),
            draining: AtomicBool::new(false),
            shards_ready: AtomicUsize::new(0),
            clock: Clock::start(),
            config,
        }
    }
}

fn own_rule(rule: &RouteRule) -> OwnRule {
    let format = match rule.format {
        RouteFormat::HlsTs => Format::HlsTs,
        RouteFormat::HlsFmp4 => Format::HlsFmp4,
        RouteFormat::Dash => Format::Dash,
        RouteFormat::MpegTs => Format::MpegTs,
    };
    OwnRule { name: rule.name.clone(), user_agent: rule.user_agent.clone(), format }
}

/// Rendezvous hashing: the shard whose hash with the channel's id is highest, so that another number of shards moves few channels.
fn owner_of(id: &str, shards: usize) -> usize {
    (0..shards).max_by_key(|shard| fnv1a(id.as_bytes(), *shard as u64)).unwrap_or(0)
}

/// 64-bit FNV-1a with a finalizer, seeded; stable over processes and versions.
pub fn fnv1a(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = bytes.iter().fold(start, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// What viewers may have made, by the names of the config.
fn profiles(config: &Config, transcode: &TranscodeConfig) -> Profiles {
    if transcode.cores.is_empty() {
        return Profiles::default();
    }
    let named = config.resolved_profiles().into_iter();
    let named = named.map(|profile| (profile.name, Selection::ladder(&profile.video, profile.audio))).collect();
    let auto = config.transcode.auto;
    Profiles::new(named, auto == Auto::All, auto != Auto::Off).with_codecs(config.codec_encodings())
}

fn session_config(config: &Config, channel: &config::Channel, encodings: Arc<HashSet<Encoding>>) -> SessionConfig {
    let media = &config.media;
    let target_duration_s = media.segment_max_ms.div_ceil(1_000);
    let timeline = TimelineConfig { segment_target_ms: media.segment_target_ms, segment_max_ms: media.segment_max_ms };
    SessionConfig {
        program: channel.program.map(|p| p.get()),
        timeline,
        ts: TsPackageConfig { target_duration_s, window_ms: media.window_ms, mux: MuxConfig::default() },
        cmaf: CmafPackageConfig { target_duration_s, window_ms: media.window_ms },
        video_ring: RingSize { samples_max: media.video_ring_samples, bytes_max: media.video_ring_bytes },
        audio_ring: RingSize { samples_max: media.audio_ring_samples, bytes_max: media.audio_ring_bytes },
        pace: config.origin.pace,
        session_idle_us: config.idle.session_ms * 1_000,
        variant_idle_us: config.idle.variant_ms * 1_000,
        encodings,
    }
}

/// Reads the clocks for everything below the runtime. One system clock a reading: how far the wall clock is ahead is looked up on the pacemaker's beat.
pub struct Clock {
    start: Instant,
    /// Wall clock less monotonic clock, microseconds.
    wall_ahead_us: AtomicU64,
}

impl Clock {
    fn start() -> Clock {
        let clock = Clock { start: Instant::now(), wall_ahead_us: AtomicU64::default() };
        clock.set_wall();
        clock
    }
    pub fn now(&self) -> Now {
        let mono_us = self.mono_us();
        Now { mono_us, unix_us: mono_us.wrapping_add(self.wall_ahead_us.load(Ordering::Relaxed)) }
    }
    /// Looks at the wall clock, which may have been set.
    pub(crate) fn set_wall(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.wall_ahead_us.store((unix.as_micros() as u64).wrapping_sub(self.mono_us()), Ordering::Relaxed);
    }
    fn mono_us(&self) -> u64 {
        let passed = self.start.elapsed();
        // One second is added so that no moment of this process is 0.
        (passed.as_secs() + 1) * 1_000_000 + u64::from(passed.subsec_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_spread_evenly_and_move_little_when_a_shard_is_added() {
        let ids: Vec<String> = (0..1_000).map(|n| format!("channel-{n}")).collect();
        let mut counts = [0; 4];
        let mut moved = 0;
        for id in &ids {
            counts[owner_of(id, 4)] += 1;
            moved += usize::from(owner_of(id, 4) != owner_of(id, 5));
        }
        assert!(counts.iter().all(|c| (200..300).contains(c)), "{counts:?}");
        assert!((150..250).contains(&moved), "{moved}");
    }
}
