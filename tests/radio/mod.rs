//! A radio channel for tests of a session without a runtime: a virtual clock, and transport stream bytes made by our own muxer.

use bytes::Bytes;
use millrace::es::encoding::Encoding;
use millrace::es::{AudioRole, Codec, Key, SampleMeta, Track, TrackId, TsStream};
use millrace::mpegts::mux::{MuxConfig, MuxSample, TsMuxer};
use millrace::package::cmaf::CmafPackageConfig;
use millrace::package::mpegts::TsPackageConfig;
use millrace::session::{Command, OriginEvent, RingSize, Session, SessionConfig};
use millrace::time::{MediaTime, Now};
use millrace::timeline::TimelineConfig;
use std::collections::HashSet;
use std::sync::Arc;

pub const START: Now = Now { mono_us: 1_000_000, unix_us: 1_800_000_000_000_000 };
/// An MPEG-1 layer II frame at 48 kHz lasts 24 ms.
pub const FRAME_US: u64 = 24_000;
pub const SESSION_IDLE_US: u64 = 60_000_000;
pub const VARIANT_IDLE_US: u64 = 20_000_000;

/// A radio channel: one MP2 track, sent in real time.
pub struct Radio {
    muxer: TsMuxer,
    track: Arc<Track>,
    frames: i64,
}

impl Radio {
    pub fn new() -> Self {
        let ts = TsStream { pid: 0x101, stream_type: 0x03, descriptors: Bytes::new(), stream_id: 0xc0 };
        let (id, codec) = (TrackId(0), Codec::Mp2);
        let track = Arc::new(Track { id, codec, language: None, role: AudioRole::Main, ts, params: None });
        let mut muxer = TsMuxer::new(MuxConfig::default());
        muxer.set_tracks(std::slice::from_ref(&track));
        Radio { muxer, track, frames: 0 }
    }

    /// The transport packets of the next frame.
    pub fn next(&mut self) -> Vec<u8> {
        let pts = MediaTime(1_000_000 + self.frames * 2_160);
        let mut frame = vec![0u8; 576]; // 144 x 192,000 / 48,000 bytes
        frame[..4].copy_from_slice(&[0xff, 0xfd, 0xa4, 0x04]); // sync, MPEG-1 layer II, no CRC; 192 kb/s, 48 kHz; stereo
        let meta =
            SampleMeta { pts, dts: pts, key: Key::Idr, discontinuity: false, header_len: 0, corrupt: false, pcr: None };
        let mut out = Vec::new();
        let tables = self.frames % 10 == 0;
        let sample = MuxSample { track: self.track.id, meta: &meta, data: &frame, pcr_ceiling: pts, tables };
        self.muxer.write(&sample, &mut out).unwrap();
        self.frames += 1;
        out
    }
}

/// `encodings`: what viewers may have made.
pub fn config(encodings: HashSet<Encoding>) -> Arc<SessionConfig> {
    let ring = RingSize { samples_max: 2_000, bytes_max: 4 << 20 };
    Arc::new(SessionConfig {
        program: None,
        timeline: TimelineConfig { segment_target_ms: 2_000, segment_max_ms: 4_000 },
        ts: TsPackageConfig { target_duration_s: 4, window_ms: 12_000, mux: MuxConfig::default() },
        cmaf: CmafPackageConfig { target_duration_s: 4, window_ms: 12_000 },
        video_ring: ring,
        audio_ring: ring,
        pace: true,
        session_idle_us: SESSION_IDLE_US,
        variant_idle_us: VARIANT_IDLE_US,
        encodings: Arc::new(encodings),
    })
}

/// Sends `seconds` of the radio in real time, and gives `each` what the session wants done, on each beat; returns the clock at its end.
pub fn play(
    session: &mut Session,
    radio: &mut Radio,
    seconds: u64,
    mut now: Now,
    mut each: impl FnMut(&mut Session, Option<Command>, Now),
) -> Now {
    session.on_origin(OriginEvent::Connected, now);
    for _ in 0..seconds * 1_000_000 / FRAME_US {
        let bytes = radio.next();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let ingested = session.ingest(rest, now);
            assert_eq!(ingested.resume_us, None, "a steady source is never held back");
            rest = &rest[ingested.consumed..];
        }
        now = now.plus_us(FRAME_US);
        let command = session.poll(now);
        each(session, command, now);
    }
    now
}
