//! The ffmpeg command line: makes sources, and reads both them and our files.

use crate::mux::Packet;
use crate::source::Source;
use millrace::es::{Codec, TrackKind};
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
    let text = String::from_utf8(output.stdout).unwrap();
    let packet = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields[index].parse().unwrap_or_else(|_| panic!("{name}: {line}"));
        Packet { pts: number(0), dts: number(1), size: number(2) as usize, key: fields[3].starts_with('K') }
    };
    let found: Vec<Packet> = text.lines().map(packet).collect();
    let is_same = |found: &Packet, expected: &Packet| {
        let key = found.key && expected.key;
        Packet { key, ..found.clone() } == *expected
    };
    let first = found.iter().zip(expected).position(|(found, expected)| !is_same(found, expected));
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

/// Start codes of three bytes throughout: ffmpeg writes four where a packet begins, and gives the fields of a picture as two packets when
/// they come from a transport stream, as one when they come from a sample.
fn with_short_codes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if byte != 0 || !bytes[at..].starts_with(&[0, 0, 0, 1]) {
            out.push(byte);
        }
    }
    out
}

/// The payload of our file is that of the source, byte for byte. `torn`: the source may begin and end in the middle of a frame, which
/// ffmpeg passes on and our demuxer does not.
pub fn assert_same_payload(path: &Path, map: &str, ours: &Path, source: &Source, torn: bool, name: &str) {
    let codec = source.track.codec;
    let payload = |path: &Path, map: &str, is_source| {
        let bytes = read(path, map, &format!("-c copy {} -f data", filters(codec, is_source))).0;
        if source.track.kind() == TrackKind::Video { with_short_codes(&bytes) } else { bytes }
    };
    let (sent, got) = (payload(path, map, true), payload(ours, "0:0", false));
    assert!(got.len() > 100, "{name}: ffmpeg reads {} bytes of ours", got.len());
    let probe = &got[..got.len().min(64)];
    let skipped = sent.windows(probe.len()).position(|window| window == probe);
    let skipped = skipped.unwrap_or_else(|| panic!("{name}: the first packet is not the source's"));
    let sent = &sent[skipped..];
    let differs = sent.iter().zip(&got).position(|(sent, got)| sent != got);
    assert_eq!(differs, None, "{name}: a byte of {} {} (skipped {skipped})", sent.len(), got.len());
    let frame = if torn && source.track.kind() == TrackKind::Audio { source.samples[0].data.len() } else { 0 };
    let left = sent.len() - got.len();
    assert!(skipped <= frame, "{name}: {skipped} bytes skipped");
    assert!(left <= frame || source.ends_early, "{name}: {left} bytes left out at the end");
}

/// Decoded, our file is the source: the same frames, and not a word more of complaint.
pub fn assert_decodes_alike(path: &Path, map: &str, ours: &Path, source: &Source, torn: bool, name: &str) {
    let frames = |path: &Path, map: &str| {
        let (text, said) = read(path, map, "-fps_mode passthrough -f framemd5");
        let text = String::from_utf8(text).unwrap();
        let md5 = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
        (text.lines().filter(|line| !line.starts_with('#')).map(md5).collect::<Vec<_>>(), said)
    };
    let ((sent, source_said), (got, said)) = (frames(path, map), frames(ours, "0:0"));
    // What a decoder makes of a broken picture depends on all that came before, and ours begins at a key.
    if !source_said.is_empty() {
        println!("{name}: bytes compared, frames not: the source itself does not decode cleanly");
        return;
    }
    assert_eq!(said, "", "{name}");
    assert!(!got.is_empty(), "{name}: nothing is decoded");
    // A torn first frame is one that ffmpeg decodes to something, or not.
    let skipped = sent.iter().position(|frame| *frame == got[0]).filter(|&skipped| skipped <= torn as usize);
    let sent = &sent[skipped.unwrap_or_else(|| panic!("{name}: the first frame is another"))..];
    let same = sent.iter().zip(&got).take_while(|(sent, got)| sent == got).count();
    // Behind the end of ours a picture may lack the one that it is shown after; Ogg says how much of the last frame counts.
    let may_differ = if source.ends_early { 4 } else { (torn || source.track.codec == Codec::Opus) as usize };
    assert!(same + may_differ >= got.len(), "{name}: {same} frames of {} alike", got.len());
    assert!(got.len() + may_differ >= sent.len() || source.ends_early, "{name}: {} of {}", got.len(), sent.len());
}
