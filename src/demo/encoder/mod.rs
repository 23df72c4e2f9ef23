//! The encoded test picture: draws a frame when it is due, encodes it with its sound, stamps and muxes it.
//!
//! ```text
//!  painter ─► libx264 ─► stamp with the time of sending ─┐
//!                                                        ├─► libavformat's mpegts ─► portion
//!  tone, up to the DTS of that access unit ─► AAC ───────┘
//! ```
//!
//! The encoder holds back as many frames as it reorders; then one picture in gives one access unit out, and the sound is made
//! to end where that access unit's decoding begins, so nothing is queued and the mux is in order.
//!
//! What it deliberately does not do: share code with the relay's muxer or encoders: this is the relay's counterpart.

mod av;
mod font;
mod picture;
mod tone;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::av::EncoderError;
use self::av::{AudioEncoder, Encoded, Muxer, Stream, VideoEncoder, VideoSettings};
use self::picture::Painter;
use self::tone::{SAMPLE_RATE, Tone};
use super::pace::Program;
use super::{OriginError, PictureConfig, stamp};

/// The picture and everything it goes through. Lives on the source thread.
pub(super) struct Encoder {
    painter: Painter,
    tone: Tone,
    video: VideoEncoder,
    audio: AudioEncoder,
    muxer: Muxer,
    /// 90 kHz time of frame 0 and of sample 0: the wall clock at the start.
    start_90k: i64,
    frame_number: u64,
    /// Samples given to the audio encoder.
    samples: u64,
    left: Vec<f32>,
    right: Vec<f32>,
    stamped: Vec<u8>,
}

impl Encoder {
    pub fn open(config: &PictureConfig) -> Result<Self, EncoderError> {
        check_config(config)?;
        let video = VideoEncoder::open(&VideoSettings {
            width: config.width,
            height: config.height,
            bits_per_s: config.video_kbps * 1_000,
            frame_rate: FRAME_RATE,
            gop_frames: GOP_SECONDS * FRAME_RATE,
            b_frames: B_FRAMES,
        })?;
        let audio = AudioEncoder::open(SAMPLE_RATE, config.audio_kbps * 1_000)?;
        let muxer = Muxer::open(&video, &audio, &config.name)?;
        let frame_samples = audio.frame_samples();
        let start_us = unix_us();
        Ok(Encoder {
            painter: Painter::new(config.width, config.height, &config.name),
            tone: Tone::new(start_us),
            video,
            audio,
            muxer,
            start_90k: (start_us / 100 * 9) as i64,
            frame_number: 0,
            samples: 0,
            left: vec![0.0; frame_samples],
            right: vec![0.0; frame_samples],
            stamped: Vec::new(),
        })
    }

    /// Muxes the sound up to `until_90k`.
    fn write_audio(&mut self, until_90k: i64) -> Result<(), EncoderError> {
        loop {
            while let Some(unit) = self.audio.receive()? {
                let pts = self.start_90k + unit.pts * 90_000 / i64::from(SAMPLE_RATE);
                self.muxer.write(Stream::Audio, Encoded { pts, dts: pts, ..unit })?;
            }
            if self.start_90k + self.samples as i64 * 90_000 / i64::from(SAMPLE_RATE) > until_90k {
                return Ok(());
            }
            self.tone.fill(self.samples, &mut self.left, &mut self.right);
            self.audio.send(&self.left, &self.right, self.samples as i64)?;
            self.samples += self.left.len() as u64;
        }
    }
    /// Muxes every access unit that the video encoder has ready: one, but for the first frames.
    fn write_video(&mut self) -> Result<(), EncoderError> {
        let start_90k = self.start_90k;
        let in_90k = |frames: i64| start_90k + frames * FRAME_TICKS;
        loop {
            let Some(unit) = self.video.receive()? else { return Ok(()) };
            let (pts, dts, key) = (in_90k(unit.pts), in_90k(unit.dts), unit.key);
            self.stamped.clear();
            stamp::insert(unit.data, unix_us(), &mut self.stamped);
            self.write_audio(dts)?;
            self.muxer.write(Stream::Video, Encoded { data: &self.stamped, pts, dts, key })?;
        }
    }
}

impl Program for Encoder {
    fn due(&self) -> Duration {
        Duration::from_micros(self.frame_number * 1_000_000 / FRAME_RATE as u64)
    }
    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), OriginError> {
        let picture = self.painter.draw(self.frame_number, unix_us());
        self.video.send(picture, self.frame_number as i64)?;
        self.frame_number += 1;
        self.write_video()?;
        self.muxer.take(out);
        Ok(())
    }
}

fn check_config(config: &PictureConfig) -> Result<(), EncoderError> {
    let settings = [
        ("width", config.width, 160, 3_840, true),
        ("height", config.height, 90, 2_160, true),
        ("video kb/s", config.video_kbps, 100, 50_000, false),
        ("audio kb/s", config.audio_kbps, 32, 320, false),
    ];
    for (what, value, min, max, even) in settings {
        if !(min..=max).contains(&value) || even && value % 2 != 0 {
            return Err(EncoderError::Setting { what, min, max, even, value });
        }
    }
    Ok(())
}

/// The wall clock, microseconds since 1970-01-01 UTC; 0 on a machine whose clock stands before that.
fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

const FRAME_RATE: i32 = 25;
/// 90 kHz ticks of a frame.
const FRAME_TICKS: i64 = 90_000 / FRAME_RATE as i64;
const GOP_SECONDS: i32 = 2;
const B_FRAMES: i32 = 2;
