//! Source TS, through demuxer, timeline, rings and the TS packager, to output TS: ffmpeg reads the same packets from both
//! (`-c copy -f framemd5`: sizes and checksums of every packet, time stamps up to one shift), and our own demuxer the same samples.
//!
//! Sources are made by the ffmpeg command line, or taken from `../shared/media`; what is missing is skipped with a printed line.

mod support;

use millrace::es::selection::Selection;
use millrace::es::{Codec, Track, TrackId, TrackKind};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use millrace::mpegts::mux::MuxConfig;
use millrace::package::mpegts::{TsPackageConfig, TsPackager};
use millrace::package::{Feed, TrackRing};
use millrace::package::{Packager, Pulled};
use millrace::ring::es::EsRing;
use millrace::store::{Arena, StoreReader};
use millrace::time::{Now, Ts33};
use millrace::timeline::{Epoch, RawTiming, Timeline, TimelineConfig};
use std::collections::{BTreeMap, VecDeque};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// What a session does between its origin and its packager, on a clock that runs with the source's PCR.
struct Relay {
    timeline: Timeline,
    feed: Feed,
    tracks: Vec<Track>,
    now: Now,
    first_pcr: Option<u64>,
    /// Samples placed, per track: what must come out.
    placed: BTreeMap<TrackId, Vec<Sample>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sample {
    pts: Option<Ts33>,
    dts: Option<Ts33>,
    data: Vec<u8>,
}

const BEGIN: Now = Now { mono_us: 1_000_000, unix_us: 1_795_400_000_000_000 };

impl Sink for Relay {
    fn tracks(&mut self, tracks: &[Track]) {
        for track in tracks {
            if self.tracks.contains(track) {
                continue;
            }
            if self.feed.rings.iter().all(|ring| ring.id.track != track.id) {
                self.feed.rings.push(TrackRing::source(track, EsRing::new(100_000, 256 << 20).unwrap()));
            }
            let ring = self.feed.source_mut(track.id).unwrap();
            ring.push_track(Arc::new(track.clone()));
        }
        self.tracks = tracks.to_vec();
        self.timeline.set_tracks(tracks);
    }

    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow {
        let first = *self.first_pcr.get_or_insert(pcr_27m);
        let since_us = Ts33::new(pcr_27m / 300).since(Ts33::new(first / 300)).max(0) as u64 * 100 / 9;
        self.now = BEGIN.plus_us(since_us.max(self.now.since_us(BEGIN)));
        self.timeline.pcr(pcr_27m, discontinuity, self.now);
        Flow::Continue
    }

    fn sample(&mut self, sample: RawSample<'_>) {
        let kind = self.tracks.iter().find(|track| track.id == sample.track).unwrap().kind();
        let RawSample { track, pts, dts, key, header_len, corrupt, data } = sample;
        let timing = RawTiming { track, kind, pts, dts, key, header_len, corrupt };
        let Ok(placed) = self.timeline.place(&timing, self.now) else { return };
        let ring = self.feed.source_mut(track).unwrap();
        ring.push(placed.meta, data).expect("the ring holds the whole source");
        self.feed.cuts.extend(placed.cut);
        let (pts, dts) = (Some(placed.meta.pts.wrapped()), Some(placed.meta.dts.wrapped()));
        self.placed.entry(track).or_default().push(Sample { pts, dts, data: data.to_vec() });
    }
}

/// Relays a whole source in reads of 1316 bytes, packager at its heels; returns what went in and the output stream.
fn relay(source: &[u8]) -> (Relay, Vec<u8>) {
    let epoch = Epoch { id: 1_795_400_000, discontinuity_sequence: 1 };
    let config = TimelineConfig { segment_target_ms: 2_000, segment_max_ms: 6_000 };
    let mut relay = Relay {
        timeline: Timeline::new(config, epoch, BEGIN),
        feed: Feed { rings: Vec::new(), cuts: VecDeque::new() },
        tracks: Vec::new(),
        now: BEGIN,
        first_pcr: None,
        placed: BTreeMap::new(),
    };
    let config = TsPackageConfig { target_duration_s: 6, window_ms: 600_000, mux: MuxConfig::default() };
    let mut packager =
        TsPackager::new(Arena::new(1 << 30).unwrap(), config, epoch, Selection::SOURCE, Vec::new(), &relay.feed, BEGIN);
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    for bytes in source.chunks(1_316) {
        demuxer.push(bytes, &mut relay);
        packager.set_renditions(relay.feed.sources());
        packager.pull(&relay.feed, relay.now);
    }
    demuxer.end(&mut relay);
    packager.set_renditions(relay.feed.sources());
    while packager.pull(&relay.feed, relay.now) == Pulled::More {}
    packager.poll_flush(relay.now.plus_us(1_000_000));
    let mut reader = StoreReader::new(packager.shared().store().clone());
    let mut out = Vec::new();
    while let Some(piece) = reader.piece(out.len() as u64, usize::MAX) {
        out.extend_from_slice(piece.bytes);
    }
    (relay, out)
}

/// Collects what our own demuxer reads.
#[derive(Default)]
struct Samples(BTreeMap<TrackId, Vec<Sample>>, Vec<Track>);

impl Sink for Samples {
    fn tracks(&mut self, tracks: &[Track]) {
        self.1 = tracks.to_vec();
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let RawSample { track, pts, dts, data, .. } = sample;
        self.0.entry(track).or_default().push(Sample { pts, dts, data: data.to_vec() });
    }
}

/// demux(mux(x)) == x: every sample that was placed comes back with its bytes and time stamps.
fn assert_samples_come_back(relay: &Relay, out: &[u8], name: &str) {
    let mut back = Samples::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(out, &mut back);
    demuxer.end(&mut back);
    assert_eq!(demuxer.stats().continuity_errors, 0, "{name}");
    for (id, placed) in &relay.placed {
        // PIDs may have moved, the order of the PMT is kept.
        let index = relay.tracks.iter().position(|track| track.id == *id).unwrap();
        let (track, same) = (&relay.tracks[index], &back.1[index]);
        let samples = &back.0[&same.id];
        assert_eq!(samples.len(), placed.len(), "{name}: samples of {:?}", track.codec);
        for (index, (sent, got)) in placed.iter().zip(samples).enumerate() {
            let at = format!("{name}: {:?} sample {index}", track.codec);
            assert!(
                is_same_sample(track.codec, &sent.data, &got.data),
                "{at}: {:02x?} {:02x?}",
                &sent.data[..24.min(sent.data.len())],
                &got.data[..24.min(got.data.len())]
            );
            if track.codec != Codec::Scte35 {
                assert!(is_near(sent.pts, got.pts) && is_near(sent.dts, got.dts), "{at}: {sent:?} {got:?}");
            }
        }
    }
}

/// Frames that share a PES packet are counted on by the demuxer, a rounded tick at a time.
fn is_near(sent: Option<Ts33>, got: Option<Ts33>) -> bool {
    matches!((sent, got), (Some(sent), Some(got)) if sent.since(got).abs() <= 3)
}

/// The muxer adds a delimiter where there is none, and parameter sets; else not a byte.
fn is_same_sample(codec: Codec, sent: &[u8], got: &[u8]) -> bool {
    sent == got || (matches!(codec, Codec::H264 | Codec::H265) && got.len() > sent.len() && got.ends_with(sent))
}

/// Whether the first picture of the output is the source's to the byte: the muxer added nothing.
fn begins_alike(relay: &Relay, out: &[u8]) -> bool {
    let video = relay.tracks.iter().find(|track| track.kind() == TrackKind::Video).unwrap();
    let first = &relay.placed[&video.id][0].data;
    let probe = &first[..first.len().min(64)];
    // PES header without DTS or with one: 14 or 19 bytes behind the start code.
    let at = out.windows(4).position(|w| w == [0, 0, 1, 0xe0]).unwrap();
    [14, 19].iter().any(|header| out[at + header..].starts_with(probe))
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mux_roundtrip");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no ffmpeg on this machine");
    }
    found
}

/// A source made by the ffmpeg command line, six seconds long; `None`, said, when it cannot (an encoder is missing).
fn make(name: &str, codec_args: &str) -> Option<PathBuf> {
    let path = scratch(&format!("{name}.ts"));
    let inputs = "-f lavfi -i testsrc2=size=320x240:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000";
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]).args(inputs.split_whitespace());
    ffmpeg.args(codec_args.split_whitespace()).args(["-t", "6", "-f", "mpegts"]).arg(&path);
    let made = ffmpeg.output().unwrap();
    if !made.status.success() {
        println!("skipped {name}: {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    Some(path)
}

/// One line of framemd5.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    dts: i64,
    pts: i64,
    size: u64,
    md5: String,
}

/// Takes away access unit delimiters and parameter sets, which the muxer adds to samples that lack them.
const STRIP: [(Codec, &str); 2] =
    [(Codec::H264, "filter_units=remove_types=7|8|9"), (Codec::H265, "filter_units=remove_types=32|33|34|35")];

/// ffmpeg's packets of one stream (`0:v:0`, `0:a:1`), passed through a bit stream filter or none.
fn framemd5(path: &Path, map: &str, filter: &str) -> Vec<Packet> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-copyts", "-i"]).arg(path);
    ffmpeg.args(["-map", map, "-c", "copy", "-bsf", filter, "-copyts", "-f", "framemd5", "-"]);
    let output = ffmpeg.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let number = |index: usize| fields[index].parse().unwrap();
        Packet { dts: number(1), pts: number(2), size: number(4) as u64, md5: fields[5].into() }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(packet).collect()
}

/// ffmpeg reads from the output what it reads from the source, from the first packet on that the relay let through.
fn assert_ffmpeg_reads_the_same(source: &Path, output: &Path, map: &str, filter: &str, name: &str) {
    let (sent, got) = (framemd5(source, map, filter), framemd5(output, map, filter));
    assert!(!got.is_empty(), "{name} {map}: ffmpeg finds nothing");
    let skipped = sent.iter().position(|packet| packet.md5 == got[0].md5).expect("the first packet is the source's");
    let sent = &sent[skipped..];
    // The demuxer drops a frame that the end of the file cuts short, ffmpeg does not.
    assert!((0..=1).contains(&(sent.len() - got.len())), "{name} {map}: {} packets, {}", sent.len(), got.len());
    let shift = got[0].dts - sent[0].dts;
    for (index, (sent, got)) in sent.iter().zip(&got).enumerate() {
        assert_eq!((sent.size, &sent.md5), (got.size, &got.md5), "{name} {map} packet {index}");
        let is_near = |sent: i64, got: i64| sent == got || (got - sent - shift).abs() <= 3;
        let near = is_near(sent.dts, got.dts) && is_near(sent.pts, got.pts);
        assert!(near, "{name} {map} packet {index}: {sent:?} {got:?}, shifted by {shift}");
    }
}

fn round_trip(source: &Path, name: &str, maps: &[&str]) -> Vec<u8> {
    let (relay, out) = relay(&std::fs::read(source).unwrap());
    let output = scratch(&format!("{name}.out.ts"));
    std::fs::write(&output, &out).unwrap();
    assert_samples_come_back(&relay, &out, name);
    let video = relay.tracks.iter().find(|track| track.kind() == TrackKind::Video);
    let strip = video.and_then(|video| STRIP.iter().find(|(codec, _)| *codec == video.codec));
    for map in maps {
        // What a source's own bytes are must come out untouched; where one lacks a delimiter, the rest must.
        let filter = match strip {
            Some((_, strip)) if map.contains('v') && !begins_alike(&relay, &out) => strip,
            _ => "null",
        };
        assert_ffmpeg_reads_the_same(source, &output, map, filter, name);
    }
    out
}

fn round_trip_made(name: &str, codec_args: &str, maps: &[&str]) {
    if has_ffmpeg()
        && let Some(source) = make(name, codec_args)
    {
        support::assert_clean(&round_trip(&source, name, maps), name);
    }
}

#[test]
fn h264_and_aac() {
    round_trip_made("h264_aac", "-c:v libx264 -g 50 -bf 2 -c:a aac", &["0:v:0", "0:a:0"]);
}

#[test]
fn h265_and_ac3() {
    round_trip_made("h265_ac3", "-c:v libx265 -x265-params log-level=error:keyint=50 -c:a ac3", &["0:v:0", "0:a:0"]);
}

#[test]
fn mpeg2_and_mp2() {
    round_trip_made("mpeg2_mp2", "-c:v mpeg2video -g 25 -bf 2 -b:v 2M -c:a mp2", &["0:v:0", "0:a:0"]);
}

#[test]
fn h264_and_opus() {
    let args = "-c:v libx264 -g 50 -c:a libopus";
    round_trip_made("h264_opus", args, &["0:v:0", "0:a:0"]);
    // 5.1 in four streams, 60 ms a packet.
    round_trip_made("opus_51", "-map 1 -ac 6 -c:a libopus -mapping_family 1 -frame_duration 60", &["0:a:0"]);
}

#[test]
fn h264_and_eac3() {
    round_trip_made("h264_eac3", "-c:v libx264 -g 50 -c:a eac3", &["0:v:0", "0:a:0"]);
}

/// Sources of `../shared/media`, and the streams that ffmpeg is to read the same. Left out: the audio of test-026, which ends before
/// it catches up with its only key picture.
const MEDIA: &[(&str, &[&str])] = &[
    ("ts/bear-640x360.ts", &["0:v:0", "0:a:0"]),
    ("ts/bear-640x360-hevc.ts", &["0:v:0", "0:a:0"]),
    ("ts/bear-640x360_ptswraparound.ts", &["0:v:0", "0:a:0"]),
    ("ts/bear.m2ts", &["0:v:0", "0:a:0"]),
    ("ts/test-025.ts", &["0:v:0", "0:a:0"]),
    ("ts/test-026.ts", &["0:v:0"]),
    ("ts/test-072.ts", &["0:v:0", "0:a:0"]),
    ("ts/test-009.ts", &["0:v:0", "0:a:0"]),
    ("ts/test_teletext_live.ts", &["0:v:0", "0:a:0"]),
    ("exo-ts/sample_h262_mpeg_audio.ts", &["0:v:0", "0:a:0"]),
    ("exo-ts/sample_h264.ts", &["0:v:0"]),
    ("exo-ts/sample_h264_iframes_only.ts", &["0:v:0"]),
    ("ts/test-100.1.ts", &["0:v:0"]),
    ("exo-ts/sample_h265_rps_pred.ts", &["0:v:0"]),
    ("ts/test-206.1.ts", &["0:v:0", "0:a:0"]),
    ("hls/hls-ts-muxed-opus-h264-2880/segment.ts", &["0:v:0", "0:a:0"]),
];

#[test]
fn shared_media() {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let mut failed = Vec::new();
    for (file, maps) in MEDIA {
        let path = media.join(file);
        if !path.exists() {
            println!("skipped {file}: not on this machine");
        } else if has_ffmpeg() && catch_unwind(|| round_trip(&path, &file.replace('/', "_"), maps)).is_err() {
            failed.push(file);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn audio_at_44100_hz_alone() {
    round_trip_made("aac_44100", "-map 1 -c:a aac -ar 44100", &["0:a:0"]);
}
