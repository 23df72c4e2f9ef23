//! Encoders of pictures, set up for live: no frame is held back, keys stand where they are asked for and nowhere else, one thread.

use super::encoder::{Encoded, Encoder};
use super::frame::{Frame, PictureShape};
use super::options::Options;
use super::{AvError, TIME_BASE};
use crate::es::Codec;
use crate::es::encoding::{Preset, VideoEncoding};
use crate::limits::{ENCODED_KEY_SECONDS_MAX, ENCODED_VIDEO_KBPS};
use ffmpeg_sys_next as ff;
use std::collections::VecDeque;
use std::ffi::{CStr, c_int};

/// What an encoder is opened for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureSettings {
    pub encoding: VideoEncoding,
    pub width: u32,
    pub height: u32,
    pub sar: (u32, u32),
    /// Frames a second that come in.
    pub frame_rate: (u32, u32),
    /// As in [`PictureShape::colour`].
    pub colour: [c_int; 4],
}

/// An encoder of planar YUV 4:2:0 pictures of one size.
pub struct PictureEncoder {
    encoder: Encoder,
    settings: PictureSettings,
    /// The frames that are in the encoder, for codecs whose own time base is too coarse: PTS in 90 kHz.
    under_way: VecDeque<i64>,
    /// Time base of the frames, as ticks a second; `None`: 90 kHz.
    coarse: Option<(u32, u32)>,
    newest: i64,
}

impl PictureEncoder {
    pub fn open(settings: PictureSettings) -> Result<PictureEncoder, AvError> {
        let codec = settings.encoding.codec;
        // MPEG-2 has a table of frame rates, and its time base is one of them (ISO/IEC 13818-2 table 6-4).
        let coarse = (codec == Codec::Mpeg2Video).then(|| nearest_mpeg2_rate(settings.frame_rate));
        let encoder = Encoder::open(names(codec), |name, context, options| {
            set_context(context, &settings, coarse);
            set_options(name, context, options, &settings.encoding);
        })?;
        Ok(PictureEncoder { encoder, settings, under_way: VecDeque::new(), coarse, newest: i64::MIN })
    }

    pub fn settings(&self) -> &PictureSettings {
        &self.settings
    }

    pub fn extradata(&self) -> &[u8] {
        self.encoder.extradata()
    }

    /// Gives it a picture, with its PTS in 90 kHz, later than all before; `key`: make it a key picture.
    pub fn send(&mut self, frame: &mut Frame, pts: i64, key: bool) -> Result<(), AvError> {
        let own = match self.coarse {
            None => pts,
            Some((frames, seconds)) => {
                let exact = i128::from(pts) * i128::from(frames) / (90_000 * i128::from(seconds));
                (exact as i64).max(self.newest.saturating_add(1))
            }
        };
        self.newest = own;
        frame.set_pts(own);
        frame.set_key(key);
        frame.set_progressive();
        self.set_duration(frame);
        self.under_way.push_back(pts);
        self.encoder.send(frame)
    }

    #[cfg(ffmpeg_6_0)]
    fn set_duration(&self, frame: &mut Frame) {
        let (frames, seconds) = self.settings.frame_rate;
        let ticks = 90_000 * i64::from(seconds) / i64::from(frames.max(1));
        frame.raw_mut().duration = if self.coarse.is_some() { 1 } else { ticks };
    }
    #[cfg(not(ffmpeg_6_0))]
    fn set_duration(&self, _frame: &mut Frame) {}

    /// The next access unit, with its times in 90 kHz.
    pub fn receive(&mut self) -> Result<Option<Encoded<'_>>, AvError> {
        let encoded = self.encoder.receive()?;
        // No encoder here reorders: what comes out is the oldest that went in.
        Ok(encoded.map(|encoded| {
            let pts = self.under_way.pop_front().unwrap_or(encoded.pts);
            Encoded { pts, dts: pts, ..encoded }
        }))
    }

    /// Nothing follows.
    pub fn send_end(&mut self) -> Result<(), AvError> {
        self.encoder.send_end()
    }
}

/// Encoders of a codec, best first.
fn names(codec: Codec) -> &'static [&'static CStr] {
    match codec {
        Codec::H264 => &[c"libx264", c"libopenh264"],
        Codec::H265 => &[c"libx265"],
        Codec::Vp9 => &[c"libvpx-vp9"],
        Codec::Vp8 => &[c"libvpx"],
        // SVT-AV1 before 2.0 cannot force keys.
        Codec::Av1 => &[c"libaom-av1"],
        Codec::Mpeg2Video => &[c"mpeg2video"],
        _ => &[],
    }
}

fn set_context(context: &mut ff::AVCodecContext, settings: &PictureSettings, coarse: Option<(u32, u32)>) {
    let (frames, seconds) = settings.frame_rate;
    let ratio = |num: u32, den: u32| ff::AVRational { num: num.max(1) as c_int, den: den.max(1) as c_int };
    (context.width, context.height) = (settings.width as c_int, settings.height as c_int);
    context.pix_fmt = ff::AVPixelFormat::AV_PIX_FMT_YUV420P;
    context.time_base = coarse.map_or(TIME_BASE, |(frames, seconds)| ratio(seconds, frames));
    context.framerate = coarse.map_or(ratio(frames, seconds), |(frames, seconds)| ratio(frames, seconds));
    context.sample_aspect_ratio = ratio(settings.sar.0, settings.sar.1);
    context.color_range = ff::AVColorRange::AVCOL_RANGE_MPEG;
    set_colour(context, settings.colour);
    let bits = i64::from(kbps(settings)) * 1_000;
    context.bit_rate = bits;
    context.rc_max_rate = bits;
    context.rc_buffer_size = c_int::try_from(bits).unwrap_or(c_int::MAX);
    let whole_fps = (frames / seconds.max(1)).max(1) as c_int;
    context.gop_size = whole_fps * ENCODED_KEY_SECONDS_MAX as c_int;
    context.max_b_frames = 0;
    // Before FFmpeg 6 libvpx takes the duration of a frame from here.
    #[cfg(not(ffmpeg_6_0))]
    if coarse.is_none() {
        context.ticks_per_frame = (90_000 * seconds / frames.max(1)) as c_int;
    }
}

/// Colours as the source has them, where the bindings know the numbers.
fn set_colour(context: &mut ff::AVCodecContext, [space, _, primaries, transfer]: [c_int; 4]) {
    if (0..ff::AVColorSpace::AVCOL_SPC_NB as c_int).contains(&space) {
        // SAFETY: the enum has every value below its NB: H.273 and libav number them without holes.
        context.colorspace = unsafe { std::mem::transmute::<c_int, ff::AVColorSpace>(space) };
    }
    // 13 to 21 are no primaries in H.273; transfer characteristics have no holes up to 18.
    if (1..=12).contains(&primaries) {
        // SAFETY: within the values that the enum has.
        context.color_primaries = unsafe { std::mem::transmute::<c_int, ff::AVColorPrimaries>(primaries) };
    }
    if (1..=18).contains(&transfer) {
        // SAFETY: likewise.
        context.color_trc = unsafe { std::mem::transmute::<c_int, ff::AVColorTransferCharacteristic>(transfer) };
    }
}

fn set_options(name: &CStr, context: &mut ff::AVCodecContext, options: &mut Options, encoding: &VideoEncoding) {
    let crf = encoding.crf.map(|crf| crf.to_string());
    let mut set = |name: &CStr, value: &str| options.set(name, value);
    match name.to_bytes() {
        b"libx264" => {
            set(c"preset", encoding.preset.name());
            set(c"tune", "zerolatency");
            set(c"forced-idr", "1");
            // With a constant rate the SPS says the frame rate, not the time base.
            set(c"x264-params", "scenecut=0:force-cfr=1");
        }
        b"libx265" => {
            set(c"preset", encoding.preset.name());
            set(c"tune", "zerolatency");
            set(c"forced-idr", "1");
            set(c"x265-params", "scenecut=0:open-gop=0:bframes=0:pools=none:frame-threads=1:wpp=0:log-level=error");
        }
        b"libvpx-vp9" | b"libvpx" => {
            set(c"deadline", "realtime");
            set(c"cpu-used", &cpu_used(encoding.preset, 9).to_string());
            set(c"lag-in-frames", "0");
            set(c"auto-alt-ref", "0");
            context.rc_min_rate = if crf.is_some() { 0 } else { context.bit_rate };
        }
        b"libaom-av1" => {
            set(c"usage", "realtime");
            set(c"cpu-used", &cpu_used(encoding.preset, 8).to_string());
            set(c"lag-in-frames", "0");
            context.rc_min_rate = if crf.is_some() { 0 } else { context.bit_rate };
        }
        b"mpeg2video" => {
            context.flags |= (ff::AV_CODEC_FLAG_CLOSED_GOP | ff::AV_CODEC_FLAG_LOW_DELAY) as c_int;
            // It finds no scene cuts in closed GOPs, and wants to be told not to look for any.
            set(c"sc_threshold", "1000000000");
        }
        _ => {}
    }
    if let Some(crf) = crf.filter(|_| name != c"mpeg2video" && name != c"libopenh264") {
        set(c"crf", &crf);
        // x264 and x265 take either; the peak rate stays.
        if name == c"libx264" || name == c"libx265" {
            context.bit_rate = 0;
        }
    }
}

/// The speed of libvpx and libaom that comes nearest to a preset of x264: 8 is about `superfast`.
fn cpu_used(preset: Preset, fastest: u8) -> u8 {
    let slower = match preset {
        Preset::Ultrafast => 0,
        Preset::Superfast => 1,
        Preset::Veryfast => 2,
        Preset::Faster => 3,
        Preset::Fast => 4,
        Preset::Medium => 5,
    };
    (9 - slower).min(fastest)
}

/// The bit rate asked for, or one that suits size, frame rate and codec.
pub fn kbps(settings: &PictureSettings) -> u32 {
    if settings.encoding.kbps > 0 {
        return settings.encoding.kbps;
    }
    let relative = match settings.encoding.codec {
        Codec::H265 => 0.65,
        Codec::Vp9 => 0.75,
        Codec::Av1 => 0.6,
        Codec::Vp8 => 1.1,
        Codec::Mpeg2Video => 2.0,
        _ => 1.0,
    };
    let pixels = f64::from(settings.width) * f64::from(settings.height);
    let fps = f64::from(settings.frame_rate.0) / f64::from(settings.frame_rate.1.max(1));
    // About 0.8 Mb/s for H.264 of 640x360 at 25 frames a second, 4.2 Mb/s for 1920x1080.
    let kbps = pixels.powf(0.75) * fps.clamp(1.0, 120.0).sqrt() * 0.0152 * relative;
    (kbps as u32).clamp(*ENCODED_VIDEO_KBPS.start(), *ENCODED_VIDEO_KBPS.end())
}

fn nearest_mpeg2_rate((frames, seconds): (u32, u32)) -> (u32, u32) {
    const RATES: [(u32, u32); 8] =
        [(24_000, 1_001), (24, 1), (25, 1), (30_000, 1_001), (30, 1), (50, 1), (60_000, 1_001), (60, 1)];
    let fps = |(frames, seconds): (u32, u32)| f64::from(frames) / f64::from(seconds.max(1));
    let distance = |rate: &(u32, u32)| (fps(*rate) - fps((frames, seconds))).abs();
    RATES.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or((25, 1))
}

impl PictureSettings {
    /// Whether an encoder that was opened for these can go on with pictures of `shape`, scaled to `size`.
    pub fn fits(&self, shape: &PictureShape, size: (u32, u32), sar: (u32, u32)) -> bool {
        (self.width, self.height) == size && self.sar == sar && self.colour[0] == shape.colour[0]
    }
}
