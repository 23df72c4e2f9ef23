//! The framers against ffprobe on elementary streams, on fuzz inputs, and on random bytes and cuts.
//!
//! What needs `../shared/media` or ffprobe is skipped with a line that says so where they are missing.

use millrace::es::framer::{Frame, Framer, PesPayload};
use millrace::es::{Codec, Key};
use millrace::limits::PES_BYTES_MAX;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::Command;

const CODECS: [Codec; 13] = [
    Codec::H264,
    Codec::H265,
    Codec::Mpeg2Video,
    Codec::Aac,
    Codec::Mp2,
    Codec::Mp3,
    Codec::Ac3,
    Codec::Eac3,
    Codec::Opus,
    Codec::Teletext,
    Codec::DvbSubtitle,
    Codec::PrivatePes,
    Codec::Av1,
];

/// What is compared of a sample. Its time stamp is not: that depends on the PES packet in which it commences.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sample {
    data: Vec<u8>,
    key: bool,
}

fn media() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    if !path.is_dir() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Frames `stream` cut into payloads of the given lengths, over and over.
fn frame(codec: Codec, stream: &[u8], payload_lens: &[usize]) -> (Vec<Sample>, Framer) {
    let mut framer = Framer::new(codec);
    let mut samples = Vec::new();
    let mut emit = |frame: Frame<'_>| {
        assert!(!frame.corrupt);
        samples.push(Sample { data: frame.data.to_vec(), key: frame.key != Key::None });
    };
    let (mut rest, mut lens) = (stream, payload_lens.iter().cycle());
    while !rest.is_empty() {
        let len = lens.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (data, behind) = rest.split_at(len);
        framer.push(PesPayload { data, pts: None, dts: None, aligned: false, corrupt: false }, &mut emit);
        rest = behind;
    }
    framer.flush(&mut emit);
    (samples, framer)
}

/// Size and key flag of each packet that ffprobe finds; `None` when it cannot be run. `incomplete`: FFmpeg's last packet is
/// the rest of the file, no whole frame.
fn ffprobe(file: &Path, incomplete: bool) -> Option<Vec<(usize, bool)>> {
    let arguments = ["-v", "quiet", "-select_streams", "0", "-show_entries", "packet=size,flags", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(arguments).arg(file).output();
    let Ok(output) = output else {
        println!("skipped: no ffprobe");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let packet = |line: &str| {
        let (size, flags) = line.split_once(',')?;
        Some((size.parse().ok()?, flags.starts_with('K')))
    };
    let mut packets: Vec<_> = text.lines().filter_map(packet).collect();
    packets.truncate(packets.len() - incomplete as usize);
    Some(packets)
}

#[test]
fn samples_are_ffprobes_packets() {
    let Some(media) = media() else { return };
    let files = [
        ("es/avc-byte-stream-frame.h264", Codec::H264, false),
        ("exo-ts/sample.ac3", Codec::Ac3, true),
        ("exo-ts/sample.eac3", Codec::Ac3, false),
        ("seg/aacWithId3.aac", Codec::Aac, false),
        ("hls/hls-raw-aac/fileSequence0.aac", Codec::Mp2, false),
        ("hls/hls-raw-aac/fileSequence1.aac", Codec::Aac, false),
        ("hls/hls-raw-aac/fileSequence2.aac", Codec::Aac, false),
    ];
    for (name, codec, incomplete) in files {
        let file = media.join(name);
        let Some(packets) = ffprobe(&file, incomplete) else { return };
        let stream = std::fs::read(&file).unwrap();
        for payload_lens in [&[usize::MAX][..], &[184], &[1], &[3_000, 17]] {
            let (samples, framer) = frame(codec, &stream, payload_lens);
            let found: Vec<_> = samples.iter().map(|sample| (sample.data.len(), sample.key)).collect();
            assert_eq!(found, packets, "{name} in payloads of {payload_lens:?}: {:?}", framer.stats());
        }
        println!("{name}: {} samples agree", packets.len());
    }
}

#[test]
fn the_codec_is_told_by_the_frames() {
    let Some(media) = media() else { return };
    let of = |name: &str, declared| {
        let stream = std::fs::read(media.join(name)).unwrap();
        frame(declared, &stream, &[]).1.codec()
    };
    assert_eq!(of("exo-ts/sample.eac3", Codec::Ac3), Codec::Eac3);
    assert_eq!(of("exo-ts/sample.ac3", Codec::Eac3), Codec::Ac3);
    assert_eq!(of("hls/hls-raw-aac/fileSequence0.aac", Codec::Mp2), Codec::Aac);
}

/// All regular files below a directory.
fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn fuzz_inputs_do_no_harm() {
    let Some(media) = media() else { return };
    let mut files = Vec::new();
    files_below(&media.join("fuzz"), &mut files);
    for file in &files {
        let input = std::fs::read(file).unwrap();
        for codec in CODECS {
            for payload_lens in [&[usize::MAX][..], &[1], &[5, 2]] {
                abuse(codec, &input, payload_lens);
                // Behind a start code, so that what is meant for a parser of parameter sets reaches it.
                abuse(codec, &[&[0, 0, 1][..], &input, &[0, 0, 1, 0x65, 0x88, 0, 0, 1, 9]].concat(), payload_lens);
            }
        }
    }
    println!("{} inputs", files.len());
}

/// Feeds bytes that may be anything; sums up what comes out.
fn abuse(codec: Codec, input: &[u8], payload_lens: &[usize]) -> usize {
    let mut framer = Framer::new(codec);
    let mut bytes = 0;
    let (mut rest, mut lens, mut corrupt) = (input, payload_lens.iter().cycle(), false);
    while !rest.is_empty() {
        let len = lens.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (data, behind) = rest.split_at(len);
        let pes = PesPayload { data, pts: None, dts: None, aligned: corrupt, corrupt };
        framer.push_followed(pes, behind, &mut |frame| bytes += frame.data.len());
        (rest, corrupt) = (behind, !corrupt);
    }
    framer.flush(&mut |frame| bytes += frame.data.len());
    bytes
}

/// Syncwords, start codes and headers that come up too seldom in random bytes.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![0, 0, 1]),
        1 => Just(vec![0, 0, 0, 1, 0x67, 0x64, 0, 0x28]),
        1 => Just(vec![0, 0, 1, 0x68, 0xce, 0x38, 0x80]),
        1 => Just(vec![0, 0, 1, 0x65, 0x88]),
        1 => Just(vec![0, 0, 1, 0x42, 1, 1, 1, 0x60]),
        1 => Just(vec![0, 0, 1, 0x26, 1, 0xaf]),
        1 => Just(vec![0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33]),
        1 => Just(vec![0, 0, 1, 0xb5, 0x8f, 0xff, 0xf3, 0x80]),
        1 => Just(vec![0, 0, 1, 0, 0, 0x0f, 0xff]),
        1 => Just(vec![0xff, 0xf1, 0x50, 0x80, 0x01, 0x7f, 0xfc]),
        1 => Just(vec![0xff, 0xfd, 0x14, 0]),
        1 => Just(vec![0x56, 0xe0, 0x08, 0x20, 0, 0x11, 0x90, 0x1f]),
        1 => Just(vec![0x0b, 0x77, 0, 0, 0, 0x40, 0x40]),
        1 => Just(vec![0x0b, 0x77, 0x00, 0x07, 0x3f, 0x80, 0]),
        1 => Just(vec![0x0b, 0x77, 0x40, 0x07, 0x3f, 0x80, 0]),
    ]
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(fragments(), 0..60).prop_map(|fragments| fragments.concat())
}

/// A stream of whole frames of one kind with some garbage between.
fn audio(frames: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let garbage = proptest::collection::vec(any::<u8>(), 0..30);
    proptest::collection::vec(prop_oneof![8 => frames, 1 => garbage], 0..40).prop_map(|parts| parts.concat())
}

/// An ADTS frame, 48 kHz stereo LC.
fn adts() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..60).prop_map(|payload| {
        let len = payload.len() + 7;
        let mut frame = vec![0xff, 0xf1, 0x4c, 0x80, (len >> 3) as u8, (len << 5) as u8 | 0x1f, 0xfc];
        frame.extend(payload);
        frame
    })
}

/// An E-AC-3 sync frame of 32 bytes; one in two is a dependent substream.
fn eac3() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), proptest::collection::vec(any::<u8>(), 26)).prop_map(|(dependent, payload)| {
        let mut frame = vec![0x0b, 0x77, if dependent { 0x40 } else { 0 }, 0x0f, 0x3f, 0x80];
        frame.extend(payload);
        frame
    })
}

/// Units of one picture that begins a sample, by codec, each without its start code.
fn picture(codec: Codec) -> &'static [&'static [u8]] {
    match codec {
        // Delimiter and a slice of type P from macroblock 0 on.
        Codec::H264 => &[&[0x09, 0xf0], &[0x41, 0x9a, 0x21, 0x55]],
        // Delimiter and the first segment of a TRAIL_R picture.
        Codec::H265 => &[&[0x46, 0x01, 0x50], &[0x02, 0x01, 0xd0, 0x55]],
        // Picture header, its coding extension (a frame), two slices.
        _ => &[&[0x00, 0x00, 0x0f, 0xff, 0xf8], &[0xb5, 0x8f, 0xff, 0xf3, 0x41, 0x80], &[0x01, 0xaa], &[0x02, 0xbb]],
    }
}

/// Pictures with so many zeros before the start codes, in turn; none before the first.
fn pictures_with_zeros(codec: Codec, zeros: &[usize]) -> Vec<u8> {
    let mut zeros = std::iter::once(&0).chain(zeros.iter().cycle());
    let units = std::iter::repeat_n(picture(codec), 12).flatten();
    units.flat_map(|unit| [&vec![0; *zeros.next().unwrap()][..], &[0, 0, 1], unit].concat()).collect()
}

/// Frames `stream` cut into payloads, each pushed with the head of the next in sight when `followed`.
fn frame_followed(codec: Codec, stream: &[u8], payload_lens: &[usize], followed: bool) -> Vec<Vec<u8>> {
    let mut framer = Framer::new(codec);
    let mut samples = Vec::new();
    let mut emit = |frame: Frame<'_>| samples.push(frame.data.to_vec());
    let (mut rest, mut lens) = (stream, payload_lens.iter().cycle());
    let mut next = |rest: &[u8]| lens.next().copied().unwrap_or(rest.len()).min(rest.len());
    let mut len = next(rest);
    while !rest.is_empty() {
        let (data, behind) = rest.split_at(len);
        len = next(behind);
        let pes = PesPayload { data, pts: None, dts: None, aligned: false, corrupt: false };
        if followed && !behind.is_empty() {
            framer.push_followed(pes, &behind[..len.min(184)], &mut emit);
        } else {
            framer.push(pes, &mut emit);
        }
        rest = behind;
    }
    framer.flush(&mut emit);
    samples
}

#[test]
fn zeros_before_a_start_code_are_on_the_side_where_ffmpeg_has_them() {
    for (codec, own_zeros) in [(Codec::H264, 1), (Codec::H265, 1), (Codec::Mpeg2Video, 0)] {
        let bare = pictures_with_zeros(codec, &[0]).len() / 12;
        let stream = pictures_with_zeros(codec, &[3]);
        let units = picture(codec).len();
        // The first start code of the stream has no zeros; of the last picture's end nothing is left for another.
        let first = bare + 3 * units - own_zeros;
        let expected = [vec![first], vec![bare + 3 * units; 10], vec![bare + 3 * (units - 1) + own_zeros]].concat();
        // Cut so that no PES begins in mid-code, with all three zeros in front of it.
        let lens = [vec![bare + 3 * (units - 1)], vec![bare + 3 * units; 11]].concat();
        for (lens, followed) in [(&[stream.len()][..], false), (&lens, false), (&lens, true)] {
            let samples = frame_followed(codec, &stream, lens, followed);
            assert_eq!(samples.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{codec:?} {followed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn not_a_byte_of_a_video_stream_is_lost(
        zeros in proptest::collection::vec(0usize..6, 1..9),
        lens in proptest::collection::vec(1usize..40, 1..10),
        followed in any::<bool>(),
    ) {
        for codec in [Codec::H264, Codec::H265, Codec::Mpeg2Video] {
            let stream = pictures_with_zeros(codec, &zeros);
            let samples = frame_followed(codec, &stream, &lens, followed);
            prop_assert_eq!(samples.len(), 12, "{:?}", codec);
            prop_assert_eq!(samples.concat(), stream, "{:?}", codec);
        }
    }

    #[test]
    fn adts_frames_do_not_depend_on_where_pes_packets_are_cut(
        stream in audio(adts()),
        lens in proptest::collection::vec(1usize..80, 1..10),
    ) {
        prop_assert_eq!(frame(Codec::Aac, &stream, &lens).0, frame(Codec::Aac, &stream, &[]).0);
    }

    #[test]
    fn eac3_frames_do_not_depend_on_where_pes_packets_are_cut(
        stream in audio(eac3()),
        lens in proptest::collection::vec(1usize..80, 1..10),
    ) {
        prop_assert_eq!(frame(Codec::Eac3, &stream, &lens).0, frame(Codec::Eac3, &stream, &[]).0);
    }

    #[test]
    fn hostile_audio_frames_do_not_depend_on_where_pes_packets_are_cut(
        stream in hostile(),
        lens in proptest::collection::vec(1usize..80, 1..10),
    ) {
        for codec in [Codec::Mp2, Codec::Ac3] {
            prop_assert_eq!(frame(codec, &stream, &lens).0, frame(codec, &stream, &[]).0);
        }
    }

    #[test]
    fn no_bytes_do_harm_and_none_are_invented(
        stream in hostile(),
        lens in proptest::collection::vec(1usize..80, 1..10),
    ) {
        for codec in CODECS {
            let emitted = abuse(codec, &stream, &lens);
            // LATM may grow: 7 bytes of ADTS header for each payload of at least a byte.
            prop_assert!(emitted <= 8 * stream.len(), "{codec:?}");
        }
    }
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    // One unit that never ends, for each codec that waits for an end.
    let endless: [(Codec, &[u8]); 4] = [
        (Codec::H264, &[0, 0, 1, 0x65, 0x88, 0x84, 0x21]),
        (Codec::H265, &[0, 0, 1, 0x26, 1, 0xaf]),
        (Codec::Mpeg2Video, &[0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33]),
        (Codec::H264, &[0, 0, 1, 0x67, 0x64, 0, 0x28]),
    ];
    for (codec, head) in endless {
        let mut framer = Framer::new(codec);
        let block = vec![0x5a; 1 << 18];
        let mut largest = 0;
        let mut push = |data: &[u8]| {
            let pes = PesPayload { data, pts: None, dts: None, aligned: false, corrupt: false };
            framer.push(pes, &mut |frame| largest = largest.max(frame.data.len()));
        };
        for _ in 0..3 {
            push(head);
            for _ in 0..(PES_BYTES_MAX >> 18) + 1 {
                push(&block);
            }
        }
        assert!(largest <= PES_BYTES_MAX + block.len());
        assert!(framer.stats().oversized >= 2, "{codec:?} {:?}", framer.stats());
    }
}
