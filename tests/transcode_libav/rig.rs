//! Sources for the pipelines, a sink that keeps what comes out, and decoding of that by libav.

use millrace::demo::{Origin, OriginConfig, Source as DemoSource};
use millrace::es::{Key, SampleMeta, Track, TrackKind};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink as DemuxSink};
use millrace::ring::branch::OutputId;
use millrace::time::MediaTime;
use millrace::transcode::audio::AudioPipeline;
use millrace::transcode::av::decoder::Decoder;
use millrace::transcode::av::frame::{Frame, PictureShape};
use millrace::transcode::pipeline::{Pipeline, Sink};
use millrace::transcode::video::VideoPipeline;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

pub const VIDEO: u16 = 0;
pub const AUDIO: u16 = 1;

#[derive(Clone)]
pub struct Sample {
    pub meta: SampleMeta,
    pub data: Vec<u8>,
}

impl Sample {
    pub fn flip(&mut self, rng: &mut Rng) {
        for _ in 0..1 + rng.next() % 8 {
            let at = rng.next() as usize % self.data.len().max(1);
            if let Some(byte) = self.data.get_mut(at) {
                *byte ^= 1 << (rng.next() % 8);
            }
        }
    }
    pub fn cut(&mut self, rng: &mut Rng) {
        self.data.truncate(rng.next() as usize % self.data.len().max(1));
    }
}

/// A picture and a sound: their tracks and samples.
#[derive(Clone, Default)]
pub struct Source {
    pub tracks: Vec<Arc<Track>>,
    pub samples: [Vec<Sample>; 2],
}

/// So many seconds of the synthetic origin, from a key picture on.
pub fn source(seconds: i64) -> Source {
    static LONGEST: OnceLock<Source> = OnceLock::new();
    let mut source = LONGEST.get_or_init(|| record(10)).clone();
    let begin = source.samples[0][0].meta.dts.0;
    for samples in &mut source.samples {
        samples.retain(|sample| sample.meta.dts.0 < begin + seconds * 90_000 && sample.meta.pts.0 >= begin);
    }
    source
}

fn record(seconds: i64) -> Source {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = OriginConfig::new(listen, 1, DemoSource::Picture);
    let origin = Origin::start(config).expect("the synthetic origin starts");
    let mut stream = TcpStream::connect(origin.local_addr()).expect("it listens");
    stream.write_all(b"GET /channel/1.ts HTTP/1.0\r\n\r\n").expect("it takes a request");
    let mut collect = Collect::default();
    let mut demuxer = Demuxer::new(DemuxConfig { program: None });
    let mut bytes = [0; 64 << 10];
    let mut head = Vec::new();
    let is_enough = |collect: &Collect| {
        let video = &collect.source.samples[0];
        video.len() > 1
            && video[video.len() - 1].meta.dts - video[0].meta.dts > seconds * 90_000
            && !collect.source.samples[1].is_empty()
    };
    while !is_enough(&collect) {
        let count = stream.read(&mut bytes).expect("the origin sends");
        head.extend_from_slice(&bytes[..count]);
        // The head of the answer goes by.
        if collect.in_body {
            demuxer.push(&head, &mut collect);
            head.clear();
        } else if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            collect.in_body = true;
            head.drain(..at + 4);
        }
    }
    origin.stop();
    collect.source
}

#[derive(Default)]
struct Collect {
    source: Source,
    in_body: bool,
}

impl DemuxSink for Collect {
    fn tracks(&mut self, tracks: &[Track]) {
        self.source.tracks = tracks.iter().cloned().map(Arc::new).collect();
    }
    fn pcr(&mut self, _: u64, _: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let Some(track) = self.source.tracks.iter().find(|track| track.id == sample.track) else { return };
        let kind = usize::from(track.kind() == TrackKind::Audio);
        let (Some(pts), Some(dts)) = (sample.pts, sample.dts.or(sample.pts)) else { return };
        let has_begun = kind == 1 || !self.source.samples[0].is_empty();
        if !has_begun && sample.key == Key::None || track.params.is_none() {
            return;
        }
        let meta = SampleMeta {
            pts: MediaTime(pts.ticks() as i64),
            dts: MediaTime(dts.ticks() as i64),
            key: sample.key,
            discontinuity: false,
            header_len: sample.header_len,
            corrupt: false,
            pcr: None,
        };
        self.source.samples[kind].push(Sample { meta, data: sample.data.to_vec() });
    }
}

impl Source {
    fn track(&self, kind: TrackKind) -> &Arc<Track> {
        self.tracks.iter().find(|track| track.kind() == kind).expect("the track is there")
    }

    /// The same with its picture encoded anew.
    pub fn scaled(&self, encoding: &str) -> Source {
        self.encoded(VIDEO, encoding)
    }

    /// The same with its sound encoded anew.
    pub fn resampled(&self, encoding: &str) -> Source {
        self.encoded(AUDIO, encoding)
    }

    fn encoded(&self, kind: u16, encoding: &str) -> Source {
        let made = collect(self, kind, &[encoding]).remove(0);
        let mut source = self.clone();
        let track = made.tracks.last().expect("described").clone();
        source.tracks.retain(|known| known.kind() != track.kind());
        source.samples[kind as usize] = made.samples;
        // A source carries its parameter sets in front of its keys.
        let sets = parameter_sets(&track);
        for sample in source.samples[kind as usize].iter_mut().filter(|s| kind == VIDEO && s.meta.key > Key::None) {
            sample.data = [&sets[..], &sample.data].concat();
        }
        source.tracks.push(track);
        source
    }

    /// This picture, then another's, on one time line.
    pub fn followed_by(&self, other: &Source) -> Source {
        let mut both = self.clone();
        let end = |samples: &[Sample]| samples.iter().map(|sample| sample.meta.pts.0).max().expect("samples") + 3_600;
        let shift = end(&self.samples[0]) - other.samples[0][0].meta.pts.0;
        both.samples[0].extend(other.samples[0].iter().cloned().map(|mut sample| {
            sample.meta.pts.0 += shift;
            sample.meta.dts.0 += shift;
            sample
        }));
        both
    }
}

pub fn video_pipeline(source: &Source) -> Box<dyn Pipeline> {
    Box::new(VideoPipeline::open(source.track(TrackKind::Video)).expect("a decoder"))
}

pub fn audio_pipeline(source: &Source) -> Box<dyn Pipeline> {
    Box::new(AudioPipeline::open(source.track(TrackKind::Audio)).expect("a decoder"))
}

/// What one output gave.
#[derive(Default)]
pub struct Out {
    pub tracks: Vec<Arc<Track>>,
    pub samples: Vec<Sample>,
    pub count: u64,
    pub dropped: u64,
    pub reconfigured: u64,
    pub failures: Vec<String>,
    newest: Option<i64>,
}

/// A sink that keeps all.
#[derive(Default)]
pub struct Collected {
    pub outputs: Vec<Out>,
}

impl Collected {
    pub fn sinks(count: usize) -> Collected {
        Collected { outputs: (0..count).map(|_| Out::default()).collect() }
    }
    pub fn id(&self, output: usize) -> OutputId {
        OutputId(output as u64)
    }
    /// Time stamps grow, over all that was seen; what was looked at is dropped.
    pub fn check_and_forget(&mut self, name: &str) {
        for out in &mut self.outputs {
            for sample in out.samples.drain(..) {
                assert!(out.newest.is_none_or(|newest| sample.meta.pts.0 > newest), "{name}: time goes back");
                assert!(sample.meta.dts <= sample.meta.pts && !sample.data.is_empty(), "{name}");
                out.newest = Some(sample.meta.pts.0);
            }
            out.tracks.clear();
        }
    }
}

impl Sink for Collected {
    fn track(&mut self, output: OutputId, track: Arc<Track>) {
        self.outputs[output.0 as usize].tracks.push(track);
    }
    fn sample(&mut self, output: OutputId, meta: SampleMeta, data: &[u8]) {
        let out = &mut self.outputs[output.0 as usize];
        out.count += 1;
        out.samples.push(Sample { meta, data: data.to_vec() });
    }
    fn dropped(&mut self, output: OutputId) {
        self.outputs[output.0 as usize].dropped += 1;
    }
    fn reconfigured(&mut self, output: OutputId) {
        self.outputs[output.0 as usize].reconfigured += 1;
    }
    fn failed(&mut self, output: OutputId, why: &str) {
        self.outputs[output.0 as usize].failures.push(why.to_owned());
    }
}

/// Runs a source through a pipeline with these outputs.
pub fn collect(source: &Source, kind: u16, encodings: &[&str]) -> Vec<Out> {
    let mut pipeline = if kind == VIDEO { video_pipeline(source) } else { audio_pipeline(source) };
    let mut sink = Collected::sinks(encodings.len());
    for (index, encoding) in encodings.iter().enumerate() {
        pipeline.add(sink.id(index), encoding.parse().expect("an encoding"));
    }
    for sample in &source.samples[kind as usize] {
        pipeline.sample(&sample.meta, &sample.data, &mut sink).expect("it goes on");
    }
    pipeline.drain(&mut sink).expect("it ends");
    for (out, encoding) in sink.outputs.iter().zip(encodings) {
        assert!(out.failures.is_empty(), "{encoding}: {:?}", out.failures);
    }
    sink.outputs
}

/// Shapes of the pictures that a decoder makes of samples.
pub fn decode_pictures(track: &Track, samples: &[Sample]) -> Vec<PictureShape> {
    let mut shapes = Vec::new();
    decode(track, samples, |frame| shapes.push(frame.shape()));
    shapes
}

/// PCM samples of each channel that a decoder makes of samples.
pub fn decode_sound(track: &Track, samples: &[Sample]) -> usize {
    let mut count = 0;
    decode(track, samples, |frame| count += frame.samples());
    count
}

fn decode(track: &Track, samples: &[Sample], mut each: impl FnMut(&Frame)) {
    let mut decoder = Decoder::open(track).expect("a decoder");
    let mut frame = Frame::new().expect("a frame");
    for sample in samples {
        let adts = track.codec == millrace::es::Codec::Aac;
        let data = if adts { &sample.data[..] } else { &sample.data[sample.meta.header_len as usize..] };
        // Parameter sets stand in the description, not in the samples.
        let sets = sample.meta.key > Key::None;
        let whole = if sets { [parameter_sets(track), data.to_vec()].concat() } else { data.to_vec() };
        decoder.send(&whole, sample.meta.pts.0, sample.meta.dts.0, sets).expect("it decodes");
        while decoder.receive(&mut frame).expect("it decodes") {
            each(&frame);
        }
    }
    let _ = decoder.send_end();
    while decoder.receive(&mut frame).unwrap_or(false) {
        each(&frame);
    }
}

fn parameter_sets(track: &Track) -> Vec<u8> {
    use millrace::es::{Codec, Params};
    match (&track.params, track.codec) {
        (Some(Params::Video(video)), Codec::H264 | Codec::H265) => {
            video.parameter_sets.iter().flat_map(|set| [&[0, 0, 0, 1], &set[..]].concat()).collect()
        }
        (Some(Params::Video(video)), Codec::Mpeg2Video) => video.parameter_sets.concat(),
        _ => Vec::new(),
    }
}

/// xorshift64*
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Memory of this process, KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
