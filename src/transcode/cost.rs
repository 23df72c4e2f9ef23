//! What decoding and encoding are expected to cost, as a share of one core, until a worker has been measured.
//!
//! From one measurement of each codec on one machine (2 Zen 5 vCPUs, FFmpeg 5.1): a slower machine is told from a faster one as soon as
//! the first worker has run for [`MEASURED_AFTER_MS`](crate::limits::TRANSCODE_MEASURED_AFTER_MS). On the high side, as a refusal is better than a stutter.
#![forbid(unsafe_code)]

use crate::es::encoding::{Encoding, Preset, VideoEncoding};
use crate::es::{Codec, Params, Track, TrackKind};

/// Pixels of 1080p at 25 frames a second, which the measurements were made with.
const REFERENCE: f64 = 1_920.0 * 1_080.0 * 25.0;

/// Share of a core that decoding a track takes.
pub(super) fn decode(track: &Track) -> f64 {
    if track.kind() == TrackKind::Audio {
        return 0.003;
    }
    let at_reference = match track.codec {
        Codec::H264 => 0.13,
        Codec::H265 | Codec::Av1 => 0.18,
        Codec::Vp9 => 0.12,
        _ => 0.06,
    };
    at_reference * pixel_rate(track, 0, 0) / REFERENCE
}

/// Share of a core that an encoding of a track takes, scaling included.
pub(super) fn encode(track: &Track, encoding: Encoding) -> f64 {
    match encoding {
        Encoding::Audio(_) => 0.008,
        Encoding::Video(video) => {
            let scale = 0.04 * pixel_rate(track, 0, video.fps_max) / REFERENCE;
            scale + encode_at_reference(&video) * pixel_rate(track, video.height_max, video.fps_max) / REFERENCE
        }
    }
}

fn encode_at_reference(video: &VideoEncoding) -> f64 {
    let slower = match video.preset {
        Preset::Ultrafast => 0.6,
        Preset::Superfast => 1.0,
        Preset::Veryfast => 1.6,
        Preset::Faster => 2.4,
        Preset::Fast => 3.0,
        Preset::Medium => 4.0,
    };
    let at_superfast = match video.codec {
        Codec::H264 => 0.3,
        Codec::H265 => 1.2,
        Codec::Vp9 => 0.45,
        Codec::Vp8 => 0.35,
        Codec::Av1 => 1.1,
        _ => 0.2,
    };
    at_superfast * slower
}

/// Pixels a second of a track, bounded in lines and frames (0: not).
fn pixel_rate(track: &Track, height_max: u16, fps_max: u8) -> f64 {
    let Some(Params::Video(video)) = &track.params else { return REFERENCE };
    let (width, height) = (f64::from(video.width), f64::from(video.height.max(1)));
    let scale = if height_max == 0 { 1.0 } else { (f64::from(height_max) / height).min(1.0) };
    let fps = video.frame_rate.map_or(25.0, |(frames, seconds)| f64::from(frames) / f64::from(seconds.max(1)));
    let fps = if fps_max == 0 { fps } else { fps.min(f64::from(fps_max)) };
    width * height * scale * scale * fps.clamp(1.0, 300.0)
}
