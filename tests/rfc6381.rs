//! Our codecs strings against shaka-packager's (npm, with the players of `tests/players`), on the public media and on what ffmpeg encodes.
//!
//! Where we differ on purpose, [`DISAGREEMENTS`] says why. What the packager refuses, and what is missing here, is skipped with a line.

use millrace::es::{Params, Track, TrackKind, av1, vp9};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What shaka-packager says, what we say, and why ours stands.
const DISAGREEMENTS: [(&str, &str, &str); 5] = [
    // Apple's HLS authoring specification, hls.js and Shaka Player know MP3 as mp4a.40.34 (ISO/IEC 14496-3 object type 34). `mp3` is a
    // browser's word, which RFC 6381 does not know.
    ("mp3", "mp4a.40.34", "MP3"),
    // The packager takes layer II for layer III.
    ("mp3", "mp4a.40.33", "MPEG-1 layer II"),
    ("mp3", "mp4a.40.32", "MPEG-2 layer I or II"),
    // The packager leaves the optional fields out when a `colr` box does not describe the colour. But left out they stand for 4:2:0 and
    // limited range, whatever the sequence header says ("AV1 Codec ISO Media File Format Binding" section 5).
    ("av01.0.00M.08", "av01.0.00M.08.0.110.02.02.02.1", "AV1, full range"),
    ("av01.1.00M.08", "av01.1.00M.08.0.000.02.02.02.0", "AV1, 4:4:4"),
];

/// Sources of `../shared/media` that the packager reads.
const MEDIA: &[&str] = &[
    "ts/bear-640x360-hevc.ts",
    "ts/bear-640x360.ts",
    "ts/bear-640x360_ptswraparound.ts",
    "ts/bear.m2ts",
    "ts/test-025.ts",
    "ts/test-206.1.ts",
    "ts/test_teletext_live.ts",
    "exo-ts/sample_ac3.ts",
    "exo-ts/sample_h262_mpeg_audio.ts",
    "exo-ts/sample_h264.ts",
    "exo-ts/sample_h264_iframes_only.ts",
    "exo-ts/sample_h264_no_access_unit_delimiters.ts",
    "exo-ts/sample_h265_rps_pred.ts",
    "exo-ts/sample_mpeg_audio_with_audio_type.ts",
    "seg/caption.ts",
    "seg/id3.ts",
    "seg/muxed.ts",
    "seg/oneSecond.ts",
    "seg/sintel-captions.ts",
    "seg/test-segment.ts",
    "seg/videoDiffPtsDts.ts",
    "seg/videoMaxOffset.ts",
    "hls/cea608/sd-hls0000000000.ts",
    "hls/hls-ts-aac/segment_0.ts",
    "hls/hls-ts-b-frames/1.ts",
    "hls/hls-ts-muxed-aac-h264-with-overflow-nalus/fileSequence0.ts",
    "hls/hls-ts-muxed-aac-h265/0.ts",
    "hls/hls-ts-muxed-mp3-h264/seg-1-v1-a1.ts",
    "hls/hls-ts-muxed-opus-h264-2880/segment.ts",
    "mp4/bear-640x360-av_frag.mp4",
    "mp4/bear-640x360.mp4",
    "exo-mp4/sample_ac3_fragmented.mp4",
    "exo-mp4/sample_eac3joc_fragmented.mp4",
    "exo-mp4/sample_opus_fragmented.mp4",
    "exo-mp4/sample_fragmented_seekable.mp4",
];
/// Strings that must have been compared when all of [`MEDIA`] is there.
const MEDIA_COMPARED_MIN: usize = 45;

#[test]
fn public_media() {
    let Some(packager) = packager() else { return };
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    if !media.is_dir() {
        return println!("SKIP codecs strings of the public media: {} is not there", media.display());
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in MEDIA {
        let source = media.join(name);
        let Some(tracks) = tracks_of(&source) else { continue };
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let Some(ours) = first_codec(&tracks, kind) else { continue };
            let Some(theirs) = codecs_by_packager(&packager, &source, kind) else {
                println!("shaka-packager refuses {name} {kind:?}; we say {ours}");
                continue;
            };
            compared += 1;
            if !agrees(&theirs, &ours) {
                wrong.push(format!("{name} {kind:?}: shaka-packager {theirs}, ours {ours}"));
            }
        }
    }
    println!("{compared} codecs strings compared");
    assert_eq!(wrong, Vec::<String>::new());
    assert!(compared >= MEDIA_COMPARED_MIN, "only {compared} codecs strings compared");
}

/// Codecs that have no TS mapping, or none here: the packager reads ffmpeg's MP4, we read the frames of its IVF.
#[test]
fn av1_and_vp9_that_ffmpeg_encodes() {
    let Some(packager) = packager() else { return };
    let hdr = "-pix_fmt yuv420p10le -colorspace bt2020nc -color_primaries bt2020 -color_trc smpte2084";
    let cases = [
        ("av1", "-c:v libaom-av1 -cpu-used 8 -usage realtime".to_owned()),
        ("av1_hdr", format!("-c:v libaom-av1 -cpu-used 8 {hdr}")),
        ("av1_full", "-c:v libaom-av1 -cpu-used 8 -color_range pc".to_owned()),
        ("av1_444", "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv444p".to_owned()),
        ("vp9", "-c:v libvpx-vp9 -deadline realtime".to_owned()),
        ("vp9_444", "-c:v libvpx-vp9 -deadline realtime -pix_fmt yuv444p -color_range pc".to_owned()),
        ("vp9_10", "-c:v libvpx-vp9 -deadline realtime -pix_fmt yuv420p10le".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, args) in cases {
        let Some(ivf) = encode(&format!("{name}.ivf"), &args) else { continue };
        let Some(mp4) = convert(&ivf, "mp4", &["-bsf:v", "null"]) else { panic!("{name}: ffmpeg cannot copy it") };
        let sample = first_ivf_frame(&std::fs::read(&ivf).unwrap());
        let params = if name.starts_with("av1") { av1::params(&sample) } else { vp9::params(&sample, Some((25, 1))) };
        let ours = params.unwrap_or_else(|| panic!("{name}: no parameters")).rfc6381;
        let theirs = codecs_by_packager(&packager, &mp4, TrackKind::Video).expect(name);
        println!("{name}: {ours}");
        if !agrees(&theirs, &ours) {
            wrong.push(format!("{name}: shaka-packager {theirs}, ours {ours}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The same string but for the case of hex digits, or a difference that is known.
fn agrees(theirs: &str, ours: &str) -> bool {
    theirs.eq_ignore_ascii_case(ours) || DISAGREEMENTS.iter().any(|&(shaka, own, _)| (shaka, own) == (theirs, ours))
}

/// The packager's program, in the module that `./run test` installs; `None`, said, when it cannot be had.
fn packager() -> Option<PathBuf> {
    let os = if cfg!(target_os = "macos") { "osx" } else { "linux" };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players/node_modules/shaka-packager/bin");
    let program = module.join(format!("packager-{os}-{arch}"));
    let runs = Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        println!(
            "SKIP codecs strings against shaka-packager: {} does not run; ./run test installs it",
            program.display()
        );
    }
    runs.then_some(program)
}

/// codecs of the MPD that the packager makes of a file's first stream of a kind; `None` when it refuses.
fn codecs_by_packager(packager: &Path, source: &Path, kind: TrackKind) -> Option<String> {
    let stream = if kind == TrackKind::Video { "video" } else { "audio" };
    let name = source.file_name()?.to_string_lossy();
    let (output, mpd) = (scratch(&format!("{name}.{stream}.mp4")), scratch(&format!("{name}.{stream}.mpd")));
    let _none_yet = std::fs::remove_file(&mpd);
    let input = format!("in={},stream={stream},output={}", source.display(), output.display());
    Command::new(packager).arg(input).arg("--mpd_output").arg(&mpd).output().ok()?;
    let text = std::fs::read_to_string(&mpd).ok()?;
    let (_, rest) = text.split_once("codecs=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// What our demuxer makes of a file, which ffmpeg copies into TS when it is none. `None`, said, when it is missing.
fn tracks_of(source: &Path) -> Option<Vec<Track>> {
    if !source.exists() {
        println!("SKIP {}: not on this machine", source.display());
        return None;
    }
    let ts = match source.extension().is_some_and(|extension| extension == "mp4") {
        true => convert(source, "ts", &[])?,
        false => source.to_owned(),
    };
    let mut tracks = Tracks::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(&std::fs::read(ts).unwrap(), &mut tracks);
    demuxer.end(&mut tracks);
    Some(tracks.0)
}

#[derive(Default)]
struct Tracks(Vec<Track>);

impl Sink for Tracks {
    /// Keeps the first description of each track, which is what a packager shows that takes one.
    fn tracks(&mut self, tracks: &[Track]) {
        for track in tracks.iter().filter(|track| track.params.is_some()) {
            if self.0.iter().all(|held| held.id != track.id) {
                self.0.push(track.clone());
            }
        }
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, _sample: RawSample<'_>) {}
}

fn first_codec(tracks: &[Track], kind: TrackKind) -> Option<String> {
    let track = tracks.iter().filter(|track| track.kind() == kind).min_by_key(|track| track.id)?;
    match track.params.as_ref()? {
        Params::Video(video) => Some(video.rfc6381.clone()),
        Params::Audio(audio) => Some(audio.rfc6381.clone()),
    }
}

/// The first frame of an IVF file: a header whose length stands at 6, then 12 bytes in front of each frame, its size first.
fn first_ivf_frame(file: &[u8]) -> Vec<u8> {
    let header = u16::from_le_bytes(file[6..8].try_into().unwrap()) as usize;
    let size = u32::from_le_bytes(file[header..header + 4].try_into().unwrap()) as usize;
    file[header + 12..header + 12 + size].to_vec()
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rfc6381");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// Ten frames of a test picture; `None`, said, when ffmpeg or its encoder is missing.
fn encode(name: &str, args: &str) -> Option<PathBuf> {
    let path = scratch(name);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args("-v error -y -f lavfi -i testsrc2=size=320x240:rate=25 -frames:v 10".split_whitespace());
    run(ffmpeg.args(args.split_whitespace()).arg(&path), name).then_some(path)
}

/// The same streams in another container.
fn convert(source: &Path, extension: &str, args: &[&str]) -> Option<PathBuf> {
    let name = source.file_name()?.to_string_lossy();
    let path = scratch(&format!("{name}.{extension}"));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-i"]).arg(source).args(["-c", "copy"]);
    run(ffmpeg.args(args).arg(&path), &name).then_some(path)
}

fn run(command: &mut Command, what: &str) -> bool {
    let output = command.output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        let why =
            output.map_or_else(|e| e.to_string(), |output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        println!("SKIP {what}: ffmpeg: {why}");
    }
    done
}
