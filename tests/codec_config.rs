//! The decoder configuration and framing of AV1, VP9, Opus and FLAC against what FFmpeg makes of its own encoders' output: the boxes of its
//! MP4, the packets that ffprobe lists, the fuzz inputs of `../shared/media`.
//!
//! What needs ffmpeg, one of its encoders or the media is skipped with a line that says so.

use millrace::es::framer::Framer;
use millrace::es::{Codec, Key, Params, av1, flac, opus, vp9};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use std::path::{Path, PathBuf};
use std::process::Command;

const VIDEO: &str = "-f lavfi -i testsrc2=size=426x240:rate=25 -frames:v 60";
const AUDIO: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000 -t 2";

#[test]
fn av1_sequence_header_and_keys() {
    let args = format!("{VIDEO} -c:v libaom-av1 -cpu-used 8 -usage realtime -g 20");
    let Some((frames, mp4)) = encode_video("av1", &args) else { return };
    let params = av1::params(&frames[0].0).expect("a sequence header");
    assert_eq!((params.width, params.height), (426, 240));
    // AV1CodecConfigurationRecord: 4 bytes, then configOBUs.
    assert_eq!(find_box(&mp4, b"av1C")[4..], params.parameter_sets[0]);
    for (index, (frame, is_key)) in frames.iter().enumerate() {
        assert_eq!(av1::key(frame) == Key::Idr, *is_key, "frame {index}");
    }
}

#[test]
fn vp9_record_and_keys() {
    // Alternate reference frames make superframes; libvpx has them in a second pass only.
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codec_config.vp9");
    let args = |pass: u8| format!("-c:v libvpx-vp9 -b:v 300k -g 25 -pass {pass} -passlogfile {}", log.display());
    let Some(_statistics) = run(VIDEO, "vp9.null", &format!("{} -f null", args(1))) else { return };
    let args = format!("{VIDEO} {}", args(2));
    let Some((frames, mp4)) = encode_video("vp9", &args) else { return };
    let params = vp9::params(&frames[0].0, Some((25, 1))).expect("a key frame");
    assert_eq!((params.width, params.height), (426, 240));
    // Version and flags, then the record. FFmpeg sites chroma by its own default.
    assert_eq!(find_box(&mp4, b"vpcC")[4..], params.parameter_sets[0]);
    let superframes = frames.iter().filter(|(frame, _)| vp9::frames(frame).count() > 1).count();
    assert!(superframes > 0, "the encoder made no superframe");
    for (index, (frame, is_key)) in frames.iter().enumerate() {
        assert_eq!(vp9::key(frame) == Key::Idr, *is_key, "frame {index}");
        assert_eq!(vp9::frames(frame).filter_map(vp9::FrameHeader::parse).count(), vp9::frames(frame).count());
    }
}

#[test]
fn flac_stream_info() {
    let (Some(file), Some(mp4)) = (run(AUDIO, "a.flac", "-c:a flac"), run(AUDIO, "flac.mp4", "-c:a flac -strict -2"))
    else {
        return;
    };
    let (file, mp4) = (std::fs::read(file).unwrap(), std::fs::read(mp4).unwrap());
    // Version and flags, metadata block header, STREAMINFO.
    let stream_info = &find_box(&mp4, b"dfLa")[8..];
    let from_box = flac::params_of_stream_info(stream_info).expect("a STREAMINFO block");
    let sync = file.windows(2).position(|two| two[0] == 0xff && two[1] & 0xfe == 0xf8).expect("a frame");
    let from_frame = flac::params(&file[sync..]).expect("a frame header");
    assert_eq!((from_frame.sample_rate, from_frame.channels), (48_000, 1));
    assert_eq!(from_frame.frame_samples, from_box.frame_samples);
    // All that a frame can tell: block sizes, rate, channels, depth. Frame sizes stand between them, length and checksum behind.
    assert_eq!(from_frame.config[..4], stream_info[..4]);
    assert_eq!(from_frame.config[10..13], stream_info[10..13]);
    assert_eq!(from_frame.config[13] & 0xf0, stream_info[13] & 0xf0);
}

#[test]
fn opus_packets_and_channels() {
    let cases = [
        ("mono", "-c:a libopus"),
        ("stereo_60", "-ac 2 -c:a libopus -frame_duration 60"),
        ("stereo_2.5", "-ac 2 -c:a libopus -frame_duration 2.5 -application lowdelay"),
        ("surround", "-ac 6 -c:a libopus -mapping_family 1"),
        ("discrete", "-ac 3 -c:a libopus -mapping_family 255"),
    ];
    for (name, args) in cases {
        let (Some(ts), Some(mp4)) = (run(AUDIO, &format!("{name}.ts"), args), run(AUDIO, &format!("{name}.mp4"), args))
        else {
            continue;
        };
        let found = demux(&ts);
        if name == "discrete" {
            // ffmpeg 5.1 cannot describe three channels of no meaning, and writes the reserved code.
            assert_eq!(found.params, None, "{name}");
            continue;
        }
        let Some(Params::Audio(params)) = &found.params else { panic!("{name}: no parameters") };
        let mp4_bytes = std::fs::read(&mp4).unwrap();
        let mut expected = find_box(&mp4_bytes, b"dOps").to_vec();
        expected[2..4].fill(0); // PreSkip, which a live stream has long passed
        assert_eq!(params.config, expected, "{name}");
        let packets = copy_packets(&ts);
        assert!(found.packets.concat() == packets, "{name}: not the packets that ffmpeg reads");
        let samples: Vec<u32> = found.packets.iter().filter_map(|packet| opus::packet_samples(packet)).collect();
        assert!(samples.iter().all(|&samples| samples == params.frame_samples) && samples.len() >= 33, "{name}");
        println!("{name}: {} packets of {} samples, {} channels", samples.len(), params.frame_samples, params.channels);
    }
}

/// `dec3` and `dac3` of public MP4 files against ours for the same frames in TS.
#[test]
fn ac3_boxes_of_the_public_media() {
    for (name, kind) in [("sample_eac3joc_fragmented", b"dec3"), ("sample_ac3_fragmented", b"dac3")] {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media/exo-mp4").join(name).with_extension("mp4");
        if !source.exists() {
            println!("SKIP {name}: not on this machine");
            continue;
        }
        let Some(ts) = run(&format!("-i {}", source.display()), &format!("{name}.ts"), "-c copy") else { continue };
        let Some(Params::Audio(params)) = demux(&ts).params else { panic!("{name}: no parameters") };
        assert_eq!(params.config[..], *find_box(&std::fs::read(&source).unwrap(), kind), "{name}");
    }
}

/// Inputs that another project's fuzzer found: nothing panics.
#[test]
fn fuzz_inputs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media/fuzz");
    let Ok(folders) = std::fs::read_dir(&folder) else {
        return println!("SKIP fuzz inputs: {} is not there", folder.display());
    };
    let mut count = 0;
    for folder in folders.map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(folder).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            let _ = (av1::params(&data), av1::key(&data), av1::SequenceHeader::parse(&data));
            let _ = (vp9::params(&data, None), vp9::key(&data), flac::params(&data), opus::packet_samples(&data));
            if let Some(mapping) = opus::ChannelMapping::of_descriptor(&data) {
                assert!(mapping.dops().len() >= 11);
            }
            let mut framer = Framer::new(Codec::Opus);
            let pes =
                millrace::es::framer::PesPayload { data: &data, pts: None, dts: None, aligned: true, corrupt: false };
            framer.push(pes, &mut |_| {});
            framer.flush(&mut |_| {});
            count += 1;
        }
    }
    assert!(count > 100, "only {count} inputs");
}

/// The Opus packets of a transport stream, without control headers, and the parameters of the track.
#[derive(Default)]
struct Found {
    packets: Vec<Vec<u8>>,
    params: Option<Params>,
}

impl Sink for Found {
    fn tracks(&mut self, tracks: &[millrace::es::Track]) {
        self.params = tracks.iter().find_map(|track| track.params.clone());
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        self.packets.push(sample.data[sample.header_len as usize..].to_vec());
    }
}

fn demux(ts: &Path) -> Found {
    let mut found = Found::default();
    let mut demuxer = Demuxer::new(DemuxConfig::default());
    demuxer.push(&std::fs::read(ts).unwrap(), &mut found);
    demuxer.end(&mut found);
    found
}

/// All packets of a file's audio as ffmpeg's demuxer hands them out, one behind the other.
fn copy_packets(source: &Path) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(source).args(["-map", "0:a:0", "-c", "copy", "-f", "data", "-"]);
    ffmpeg.output().unwrap().stdout
}

/// A frame, and whether ffprobe calls it a key.
type Frame = (Vec<u8>, bool);

/// Frames, and the MP4 of the same stream.
fn encode_video(name: &str, args: &str) -> Option<(Vec<Frame>, Vec<u8>)> {
    let ivf = run(args, &format!("{name}.ivf"), "")?;
    let mp4 = run(&format!("-i {}", ivf.display()), &format!("{name}.mp4"), "-c copy")?;
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0"])
        .arg(&ivf)
        .output()
        .unwrap();
    let keys = String::from_utf8(output.stdout).unwrap();
    let keys = keys.lines().map(|flags| flags.starts_with('K'));
    let file = std::fs::read(ivf).unwrap();
    let frames: Vec<_> = ivf_frames(&file).into_iter().zip(keys).collect();
    assert!(
        frames.len() >= 50 && frames.iter().filter(|frame| frame.1).count() >= 3,
        "{name}: {} frames",
        frames.len()
    );
    Some((frames, std::fs::read(mp4).unwrap()))
}

/// The frames of an IVF file: a header whose length stands at 6, then 12 bytes in front of each frame, its size first.
fn ivf_frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[u16::from_le_bytes(file[6..8].try_into().unwrap()) as usize..];
    let mut frames = Vec::new();
    while let Some(size) = rest.first_chunk().copied().map(u32::from_le_bytes) {
        let (frame, behind) = rest[12..].split_at(size as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// The body of the first box of a type, wherever it stands.
fn find_box<'a>(mp4: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
    let at = mp4.windows(4).position(|four| four == kind).expect("the box");
    let size = u32::from_be_bytes(mp4[at - 4..at].try_into().unwrap()) as usize;
    &mp4[at + 4..at - 4 + size]
}

/// Runs ffmpeg; `None`, said, when it or an encoder is missing.
fn run(input: &str, name: &str, args: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codec_config");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]).args(input.split_whitespace()).args(args.split_whitespace()).arg(&path);
    let output = ffmpeg.output();
    if output.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(path);
    }
    let why = output.map_or_else(|e| e.to_string(), |output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
    println!("SKIP {name}: ffmpeg: {why}");
    None
}
