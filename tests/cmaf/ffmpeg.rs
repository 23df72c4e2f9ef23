//! The ffmpeg command line: makes sources, and reads both them and our files.

use crate::mux::Packet;
use millrace::es::Codec;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cmaf");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

pub fn is_here() -> bool {
    ["ffmpeg", "ffprobe"].iter().all(|tool| Command::new(tool).arg("-version").output().is_ok())
}

/// Four seconds of picture (input 0) and tone (input 1), encoded as `codec_args` says; `None`, said, when that cannot be had.
pub fn make(file: &str, codec_args: &str) -> Option<PathBuf> {
    if !is_here() {
        println!("SKIP {file}: no ffmpeg on this machine");
        return None;
    }
    let path = scratch(file);
    let inputs = "-f lavfi -i testsrc2=size=320x240:rate=25 -f lavfi -i sine=frequency=440:sample_rate=48000";
    let made = run("ffmpeg", &format!("-y {inputs} {codec_args} -t 4"), &[path.to_str().unwrap()]);
    if !made.status.success() {
        println!("SKIP {file}: {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    Some(path)
}

fn run(tool: &str, args: &str, paths: &[&str]) -> Output {
    Command::new(tool).args(["-v", "error"]).args(args.split_whitespace()).args(paths).output().unwrap()
}

/// ffmpeg from one input stream to standard output; also what it said.
fn read(path: &Path, map: &str, args: &str) -> (Vec<u8>, String) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(path).args(["-map", map]).args(args.split_whitespace()).arg("-");
    let output = ffmpeg.output().unwrap();
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// ffprobe finds these packets, at their times in the track's timescale.
pub fn assert_packets(ours: &Path, expected: &[Packet], name: &str) {
    let args = "-show_entries packet=pts,dts,size,flags -of csv=p=0";
    let output = run("ffprobe", args, &[ours.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
    let text = String::from_utf8(output.stdout).unwrap();
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields[index].parse().unwrap_or_else(|_| panic!("{name}: {line}"));
        Packet { pts: number(0), dts: number(1), size: number(2) as usize, key: fields[3].starts_with('K') }
    };
    let found: Vec<Packet> = text.lines().map(packet).collect();
    let first = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert!(first.is_none(), "{name}: packet {first:?} {:?} {:?}", found[first.unwrap()], expected[first.unwrap()]);
    assert_eq!(found.len(), expected.len(), "{name}");
}

/// Filters that bring the packets of source and file to one framing. `filter_units` writes all units anew with start codes, less those that
/// a sample entry holds instead.
fn filters(codec: Codec, is_source: bool) -> &'static str {
    match (codec, is_source) {
        (Codec::H264, true) => "-bsf filter_units=remove_types=7-13",
        (Codec::H264, false) => "-bsf h264_mp4toannexb,filter_units=remove_types=7-13",
        (Codec::H265, true) => "-bsf filter_units=remove_types=32-35|38",
        (Codec::H265, false) => "-bsf hevc_mp4toannexb,filter_units=remove_types=32-35|38",
        (Codec::Aac, true) => "-bsf aac_adtstoasc",
        _ => "",
    }
}

/// The payload of our file is that of the source, byte for byte, from the first packet on.
pub fn assert_same_payload(source: &Path, map: &str, ours: &Path, codec: Codec, name: &str) {
    let payload = |path: &Path, map: &str, is_source| {
        read(path, map, &format!("-c copy {} -f data", filters(codec, is_source))).0
    };
    let (sent, got) = (payload(source, map, true), payload(ours, "0:0", false));
    assert!(got.len() > 100, "{name}: ffmpeg reads {} bytes of ours", got.len());
    let probe = &got[..got.len().min(64)];
    let skipped = sent.windows(probe.len()).position(|window| window == probe);
    let skipped = skipped.unwrap_or_else(|| panic!("{name}: the first packet is not the source's"));
    let sent = &sent[skipped..];
    let differs = sent.iter().zip(&got).position(|(sent, got)| sent != got);
    assert_eq!(differs, None, "{name}: a byte of {} {} (skipped {skipped})", sent.len(), got.len());
    assert_eq!((skipped, sent.len()), (0, got.len()), "{name}: bytes skipped, and bytes in all");
}

/// Decoded, our file is the source: the same frames, and not a word more of complaint.
pub fn assert_decodes_alike(source: &Path, map: &str, ours: &Path, name: &str) {
    let frames = |path: &Path, map: &str| {
        let (text, said) = read(path, map, "-fps_mode passthrough -f framemd5");
        let text = String::from_utf8(text).unwrap();
        let md5 = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
        (text.lines().filter(|line| !line.starts_with('#')).map(md5).collect::<Vec<_>>(), said)
    };
    let ((sent, source_said), (got, said)) = (frames(source, map), frames(ours, "0:0"));
    assert!(said.is_empty() || !source_said.is_empty(), "{name}: {said}");
    assert!(!got.is_empty(), "{name}: nothing is decoded");
    let same = sent.iter().zip(&got).filter(|(sent, got)| sent == got).count();
    assert_eq!((same, sent.len()), (got.len(), got.len()), "{name}: frames alike, frames in all");
}
