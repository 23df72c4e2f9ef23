//! Samples through `fmp4` to a file, and the file through two readers that are not ours: mp4-atom parses every box, ffmpeg reads the
//! packets back. What must hold, for each track:
//!
//! * every byte of every packet is the source's (`-c copy -f data` of both; for H.264 and H.265 as Annex B without the units that a sample
//!   entry holds instead), in number, order, size, time and key as we wrote them (ffprobe);
//! * what ffmpeg decodes from ours is what it decodes from the source, picture by picture, frame by frame (`-f framemd5`);
//! * it says no word in doing so that it does not say of the source.
//!
//! Sources are made by the ffmpeg command line, or taken from `../shared/media`; what is missing is skipped with a printed line.

mod ffmpeg;
mod fuzz;
mod mux;
mod parse;
mod source;

use source::Source;
use std::path::Path;

/// All the checks on one track of `path`; `map` is its stream for ffmpeg, `torn` says that it may begin and end anywhere.
fn check(path: &Path, map: &str, source: &Source, torn: bool, name: &str) {
    let muxed = mux::mux(source);
    parse::check(source, &muxed);
    let ours = ffmpeg::scratch(&format!("{name}.mp4"));
    std::fs::write(&ours, &muxed.file).unwrap();
    ffmpeg::assert_packets(&ours, &muxed.packets, name);
    ffmpeg::assert_same_payload(path, map, &ours, source, torn, name);
    ffmpeg::assert_decodes_alike(path, map, &ours, source, torn, name);
}

/// Demultiplexes a transport stream and checks each track that CMAF carries; says how many those were.
fn check_ts(path: &Path, torn: bool, name: &str) -> usize {
    let sources = source::demux(&std::fs::read(path).unwrap());
    for source in &sources {
        let pid = source.track.ts.pid;
        if name == DAMAGED.0 && pid == DAMAGED.1 {
            continue;
        }
        check(path, &format!("0:i:{pid}"), source, torn, &format!("{name}-{pid}"));
    }
    sources.len()
}

fn check_made(name: &str, codec_args: &str, tracks: usize) {
    if let Some(path) = ffmpeg::make(&format!("{name}.ts"), codec_args) {
        assert_eq!(check_ts(&path, false, name), tracks, "{name}: tracks");
    }
}

#[test]
fn h264_with_b_pictures_and_aac() {
    check_made("h264", "-c:v libx264 -g 50 -bf 3 -x264-params b-pyramid=normal -c:a aac", 2);
}

#[test]
fn h264_interlaced_open_gop_with_pixels_that_are_not_square_and_ac3() {
    let video = "-vf setsar=16/11 -c:v libx264 -flags +ildct+ilme -x264-params open-gop=1:keyint=25:tff=1 -color_primaries bt470bg";
    check_made("interlaced", &format!("{video} -color_trc gamma28 -colorspace bt470bg -c:a ac3"), 2);
}

#[test]
fn h264_high_10_in_444_and_mp3() {
    check_made("high10", "-pix_fmt yuv444p10le -c:v libx264 -preset veryfast -g 25 -c:a libmp3lame", 2);
}

#[test]
fn h264_baseline_and_mp3_of_half_the_rate() {
    check_made("baseline", "-c:v libx264 -profile:v baseline -pix_fmt yuv420p -slices 4 -c:a libmp3lame -ar 22050", 2);
}

#[test]
fn h265_and_eac3() {
    check_made("h265", "-c:v libx265 -x265-params log-level=error:keyint=50 -c:a eac3", 2);
}

#[test]
fn h265_main_10_open_gop_and_mono_aac_at_44100_hz() {
    let video = "-pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=error:keyint=25:open-gop=1:colorprim=9:transfer=16:colormatrix=9";
    check_made("main10", &format!("{video} -c:a aac -ar 44100 -ac 1"), 2);
}

#[test]
fn aac_of_six_channels_alone() {
    check_made("aac6", "-map 1 -c:a aac -ac 6", 1);
}

/// Sources of `../shared/media`, and how many tracks of each CMAF carries.
const MEDIA: &[(&str, usize)] = &[
    ("ts/bear-640x360.ts", 2),
    ("ts/bear-640x360-hevc.ts", 2),
    ("ts/bear-640x360_ptswraparound.ts", 2),
    ("ts/test-072.ts", 2),
    ("ts/test-009.ts", 2),
    ("ts/test-026.ts", 4),
    ("exo-ts/sample_h264.ts", 1),
    ("exo-ts/sample_h264_iframes_only.ts", 1),
    ("exo-ts/sample_h264_no_access_unit_delimiters.ts", 1),
    ("exo-ts/sample_h265_rps_pred.ts", 1),
    ("exo-ts/sample_ac3.ts", 1),
    ("exo-ts/sample_eac3joc.ts", 1),
    ("exo-ts/sample_ait.ts", 1),
    ("hls/hls-ts-muxed-mp3-h264/seg-1-v1-a1.ts", 2),
    ("hls/hls-ts-muxed-aac-h265/0.ts", 2),
    ("hls/hls-ts-muxed-aac-h264-with-overflow-nalus/fileSequence0.ts", 2),
    ("hls/hls-ts-b-frames/1.ts", 1),
];

/// Lost packets in its AC-3 leave frames that ffmpeg puts together from two halves and our demuxer leaves out.
const DAMAGED: (&str, u16) = ("ts_test-009_ts", 1_021);

#[test]
fn shared_media() {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let mut failed = Vec::new();
    for (file, tracks) in MEDIA {
        let path = media.join(file);
        if !path.exists() || !ffmpeg::is_here() {
            println!("SKIP {file}: not on this machine, or no ffmpeg");
            continue;
        }
        let name = file.replace(['/', '.'], "_");
        match std::panic::catch_unwind(|| check_ts(&path, true, &name)) {
            Ok(found) if found == *tracks => {}
            other => failed.push((file, other.ok())),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// A codec that TS does not carry, or whose framing is not ours to test: packets as ffprobe lists them.
fn check_packets(file: &str, codec_args: &str, describe: impl Fn(&mut source::Packets) -> Option<millrace::es::Track>) {
    let Some(path) = ffmpeg::make(file, codec_args) else { return };
    let mut packets = source::Packets::read(&path);
    let track = describe(&mut packets).expect("ffprobe lists what describes the stream");
    check(&path, "0:0", &packets.into_source(track), false, &file.replace('.', "_"));
}

#[test]
fn vp9() {
    check_packets("vp9.webm", "-map 0 -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50", source::vp9);
}

#[test]
fn av1() {
    check_packets("av1.mkv", "-map 0 -c:v libaom-av1 -cpu-used 8 -usage realtime -g 50", source::av1);
}

#[test]
fn opus() {
    check_packets("opus.ogg", "-map 1 -c:a libopus -ac 2", source::opus);
}

#[test]
fn flac() {
    check_packets("flac.flac", "-map 1 -c:a flac -sample_fmt s16", source::flac);
    check_packets("flac96.flac", "-map 1 -c:a flac -ar 96000 -sample_fmt s32", source::flac);
}
