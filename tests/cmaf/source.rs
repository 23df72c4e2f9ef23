//! Where samples come from: our own demuxer for transport streams, ffprobe's packet list for what else there is.

use bytes::Bytes;
use millrace::es::{
    AudioParams, AudioRole, Codec, Key, Params, Track, TrackId, TrackKind, TsStream, VideoParams, carriage::Container,
};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use millrace::time::Ts33;
use std::path::Path;
use std::process::Command;

/// A sample in ring form, its times in the track's timescale.
#[derive(Clone, Debug)]
pub struct Sample {
    pub dts: i64,
    pub pts: i64,
    pub sync: bool,
    pub header_len: u8,
    pub data: Vec<u8>,
}

pub struct Source {
    pub track: Track,
    pub timescale: u32,
    pub samples: Vec<Sample>,
    /// The parameters changed behind these samples; what follows would go into a file of its own.
    pub ends_early: bool,
}

impl Source {
    /// Up to the next sample; the last one lasts as long as the one before.
    pub fn duration(&self, index: usize) -> u32 {
        let at = index.min(self.samples.len().saturating_sub(2));
        let next = self.samples.get(at + 1).map_or(self.samples[at].dts + 1, |next| next.dts);
        (next - self.samples[at].dts) as u32
    }
}

#[derive(Default)]
struct Collect {
    tracks: Vec<Track>,
    sources: Vec<Source>,
    last: Option<Ts33>,
    now: i64,
}

impl Collect {
    /// 90 kHz ticks since the first stamp, wraps undone, from somewhere above 0.
    fn unwrapped(&mut self, stamp: Ts33) -> i64 {
        let last = self.last.replace(stamp).unwrap_or(stamp);
        self.now += stamp.since(last);
        self.now + 900_000
    }
}

impl Sink for Collect {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let Some(track) = self.tracks.iter().find(|track| track.id == sample.track).cloned() else { return };
        let (Some(pts), Some(stamp), Some(params)) = (sample.pts, sample.dts, &track.params) else { return };
        if !Container::Cmaf.carries(track.codec) {
            return;
        }
        let is_audio = track.kind() == TrackKind::Audio;
        let (scale, frame) = match params {
            Params::Audio(params) => (params.sample_rate, params.frame_samples as i64),
            Params::Video(_) => (90_000, 0),
        };
        let dts_90k = self.unwrapped(stamp);
        let at = match self.sources.iter().position(|source| source.track.id == track.id) {
            Some(at) => at,
            // A packager begins at a key.
            None if sample.key == Key::None => return,
            None => {
                self.sources.push(Source {
                    track: track.clone(),
                    timescale: scale,
                    samples: Vec::new(),
                    ends_early: false,
                });
                self.sources.len() - 1
            }
        };
        let source = &mut self.sources[at];
        // One init segment a file.
        source.ends_early |= source.track.params != track.params;
        if source.ends_early {
            return;
        }
        let dts = match source.samples.last() {
            // Audio is counted in its own frames, video never stands still.
            Some(before) if is_audio => before.dts + frame,
            Some(before) => dts_90k.max(before.dts + 1),
            None => dts_90k * scale as i64 / 90_000,
        };
        // As the timeline has it, nothing is presented before it is decoded.
        let pts = if is_audio { dts } else { (dts_90k + pts.since(stamp)).max(dts) };
        source.samples.push(Sample {
            dts,
            pts,
            sync: sample.key == Key::Idr,
            header_len: sample.header_len,
            data: sample.data.to_vec(),
        });
    }
}

/// The tracks of a transport stream that CMAF carries, each from its first key on.
pub fn demux(bytes: &[u8]) -> Vec<Source> {
    let mut sink = Collect::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(bytes, &mut sink);
    demuxer.end(&mut sink);
    sink.sources
}

/// What ffprobe lists of the only stream of a file.
pub struct Packets {
    stream: serde_json::Value,
    extradata: Vec<u8>,
    packets: Vec<Sample>,
    time_base: (i64, i64),
}

impl Packets {
    pub fn read(path: &Path) -> Packets {
        let args = ["-v", "error", "-show_streams", "-show_packets", "-show_data", "-of", "json"];
        let output = Command::new("ffprobe").args(args).arg(path).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let stream = json["streams"][0].clone();
        let extradata = stream["extradata"].as_str().map(from_hex).unwrap_or_default();
        let (numerator, denominator) = stream["time_base"].as_str().unwrap().split_once('/').unwrap();
        let time_base = (numerator.parse().unwrap(), denominator.parse().unwrap());
        let packet = |packet: &serde_json::Value| Sample {
            dts: packet["dts"].as_i64().unwrap_or(0),
            pts: packet["pts"].as_i64().unwrap_or(0),
            sync: packet["flags"].as_str().unwrap().starts_with('K'),
            header_len: 0,
            data: from_hex(packet["data"].as_str().unwrap()),
        };
        let packets = json["packets"].as_array().unwrap().iter().map(packet).collect();
        Packets { stream, extradata, packets, time_base }
    }

    /// The packets as samples of this track.
    pub fn into_source(self, track: Track) -> Source {
        let timescale = millrace::fmp4::init::timescale(&track).unwrap();
        let scaled = |ticks: i64| ticks * timescale as i64 * self.time_base.0 / self.time_base.1 + timescale as i64;
        let mut samples = self.packets;
        for sample in &mut samples {
            (sample.dts, sample.pts) = (scaled(sample.dts), scaled(sample.pts));
        }
        Source { track, timescale, samples, ends_early: false }
    }

    fn number(&self, key: &str) -> u32 {
        let value = &self.stream[key];
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap() as u32
    }

    fn video(&self, codec: Codec, parameter_set: &[u8]) -> Option<Track> {
        Some(track(
            codec,
            Params::Video(VideoParams {
                width: self.number("width"),
                height: self.number("height"),
                sar: (1, 1),
                frame_rate: None,
                interlaced: false,
                rfc6381: String::new(),
                parameter_sets: vec![Bytes::copy_from_slice(parameter_set)],
            }),
        ))
    }

    fn audio(&self, codec: Codec, config: Vec<u8>) -> Option<Track> {
        Some(track(
            codec,
            Params::Audio(AudioParams {
                sample_rate: self.number("sample_rate"),
                channels: self.number("channels") as u8,
                frame_samples: 0,
                rfc6381: String::new(),
                config: config.into(),
            }),
        ))
    }
}

fn track(codec: Codec, params: Params) -> Track {
    let (language, role, ts) = (Some(*b"eng"), AudioRole::Main, TsStream::default());
    Track { id: TrackId(0), codec, language, role, ts, params: Some(params) }
}

/// ffprobe's hex dump: lines of `00000000: 0011 2233 ...  text`.
fn from_hex(dump: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in dump.lines().filter(|line| line.len() > 10) {
        let digits: String = line[10..].chars().take(39).filter(char::is_ascii_hexdigit).collect();
        bytes.extend((0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()));
    }
    bytes
}

/// VPCodecConfigurationRecord: profile 0, level 1, eight bits, 4:2:0 co-located, BT.709.
pub fn vp9(packets: &mut Packets) -> Option<Track> {
    packets.video(Codec::Vp9, &[0, 10, 0x82, 1, 1, 1, 0, 0])
}

/// The sequence header OBU that the first temporal unit begins with. Matroska leaves temporal delimiters out, a TS has them.
pub fn av1(packets: &mut Packets) -> Option<Track> {
    let first = packets.packets[0].data.clone();
    assert_eq!(first[0], 0x0a, "a sequence header with a size");
    let track = packets.video(Codec::Av1, &first[..2 + first[1] as usize]);
    for packet in &mut packets.packets {
        packet.data.splice(0..0, [0x12, 0x00]);
    }
    track
}

/// OpusHead (RFC 7845 5.1) to the body of `dOps`, which is big-endian and of version 0.
pub fn opus(packets: &mut Packets) -> Option<Track> {
    let head = packets.extradata.strip_prefix(b"OpusHead")?;
    let &[_, channels, skip_low, skip_high, rate_0, rate_1, rate_2, rate_3, gain_low, gain_high, ref rest @ ..] = head
    else {
        return None;
    };
    let config = [&[0, channels, skip_high, skip_low, rate_3, rate_2, rate_1, rate_0, gain_high, gain_low], rest];
    packets.audio(Codec::Opus, config.concat())
}

/// The extradata is the STREAMINFO block.
pub fn flac(packets: &mut Packets) -> Option<Track> {
    packets.audio(Codec::Flac, packets.extradata.clone())
}
