//! H.264 streams written bit by bit, cut by the framer.

use crate::es::bits::BitWriter;
use crate::es::framer::{Frame, Framer, PesPayload};
use crate::es::{Codec, Key, Params};
use crate::limits::PES_BYTES_MAX;
use crate::time::Ts33;

/// Writes an RBSP with its trailing bits and emulation prevention, behind a start code with zero_byte and a NAL header.
fn unit(header: u8, write: impl FnOnce(&mut BitWriter<'_>)) -> Vec<u8> {
    let mut rbsp = Vec::new();
    let mut bits = BitWriter::new(&mut rbsp);
    write(&mut bits);
    bits.bits(1, 1);
    let mut bytes = vec![0, 0, 0, 1, header];
    for byte in rbsp {
        if bytes.ends_with(&[0, 0]) && byte <= 3 {
            bytes.push(3);
        }
        bytes.push(byte);
    }
    bytes
}

fn ue(bits: &mut BitWriter<'_>, value: u32) {
    let width = 32 - (value + 1).leading_zeros();
    bits.bits(0, width - 1);
    bits.bits(value + 1, width);
}

/// High profile, level 4.0, `width_mbs` x 2 macroblocks, interlaced unless `frames_only`, 25 frames a second.
fn sps(width_mbs: u32, frames_only: bool) -> Vec<u8> {
    unit(0x67, |bits| {
        bits.bits(0x64_00_28, 24);
        ue(bits, 0); // seq_parameter_set_id
        ue(bits, 1); // chroma_format_idc
        ue(bits, 0);
        ue(bits, 0);
        bits.bits(0, 2); // bypass, scaling matrix
        ue(bits, 0); // frame_num of 4 bits
        ue(bits, 0);
        ue(bits, 0); // pic_order_cnt_lsb of 4 bits
        ue(bits, 1); // max_num_ref_frames
        bits.bits(0, 1);
        ue(bits, width_mbs - 1);
        ue(bits, if frames_only { 1 } else { 0 });
        bits.bits(frames_only as u32, 1);
        if !frames_only {
            bits.bits(0, 1); // mb_adaptive_frame_field_flag
        }
        bits.bits(0b10, 2); // direct_8x8_inference_flag, no cropping
        bits.bits(0b10_0001, 6); // VUI with timing only
        bits.bits(1, 32);
        bits.bits(50, 32);
        bits.bits(0, 5);
    })
}

fn pps() -> Vec<u8> {
    unit(0x68, |bits| {
        ue(bits, 0);
        ue(bits, 0);
        bits.bits(0, 2);
        for _ in 0..3 {
            ue(bits, 0);
        }
        bits.bits(0, 3);
        for _ in 0..3 {
            ue(bits, 0);
        }
        bits.bits(0, 3);
    })
}

#[derive(Clone, Copy)]
struct Picture {
    idr: bool,
    frame_num: u32,
    /// Some(bottom) for a field.
    field: Option<bool>,
    /// The SPS has frame_mbs_only_flag.
    frames_only: bool,
}

const FRAME: Picture = Picture { idr: false, frame_num: 0, field: None, frames_only: true };

/// A slice with 20 bytes of "macroblocks".
fn slice(picture: Picture, first_mb: u32) -> Vec<u8> {
    let mut bytes = unit(if picture.idr { 0x65 } else { 0x41 }, |bits| {
        ue(bits, first_mb);
        ue(bits, 7); // I
        ue(bits, 0);
        bits.bits(picture.frame_num, 4);
        if !picture.frames_only {
            bits.bits(picture.field.is_some() as u32, 1);
            if let Some(bottom) = picture.field {
                bits.bits(bottom as u32, 1);
            }
        }
        if picture.idr {
            ue(bits, 0);
        }
        bits.bits(picture.frame_num * 2 % 16, 4);
    });
    bytes.extend_from_slice(&[0xab; 20]);
    bytes
}

fn delimiter() -> Vec<u8> {
    vec![0, 0, 0, 1, 9, 0xf0]
}

/// SEI with a recovery point message.
fn recovery_point() -> Vec<u8> {
    vec![0, 0, 0, 1, 6, 6, 1, 0x84, 0x80]
}

#[derive(Debug, Clone, PartialEq)]
struct Got {
    data: Vec<u8>,
    pts: Option<u64>,
    key: Key,
    corrupt: bool,
    width: Option<u32>,
    version: u32,
}

/// What one call of `feed` emits.
fn collect(feed: impl FnOnce(&mut dyn FnMut(Frame<'_>))) -> Vec<Got> {
    let mut got = Vec::new();
    feed(&mut |frame| {
        let width = match frame.params {
            Some(Params::Video(params)) => Some(params.width),
            _ => None,
        };
        got.push(Got {
            data: frame.data.to_vec(),
            pts: frame.pts.map(Ts33::ticks),
            key: frame.key,
            corrupt: frame.corrupt,
            width,
            version: frame.params_version,
        });
    });
    got
}

fn pes(data: &[u8], pts: Option<u64>) -> PesPayload<'_> {
    let pts = pts.map(Ts33::new);
    PesPayload { data, pts, dts: pts, aligned: true, corrupt: false }
}

fn push(framer: &mut Framer, pes: PesPayload<'_>) -> Vec<Got> {
    collect(|emit| framer.push(pes, emit))
}

fn flush(framer: &mut Framer) -> Vec<Got> {
    collect(|emit| framer.flush(emit))
}

/// An IDR access unit with parameter sets, then `count` single-slice pictures, each with a delimiter.
fn pictures(count: u32) -> Vec<Vec<u8>> {
    let mut units = vec![[delimiter(), sps(4, true), pps(), slice(Picture { idr: true, ..FRAME }, 0)].concat()];
    units.extend((1..=count).map(|n| [delimiter(), slice(Picture { frame_num: n % 16, ..FRAME }, 0)].concat()));
    units
}

#[test]
fn pictures_without_delimiters_part_where_their_headers_differ() {
    let first =
        [sps(4, true), pps(), slice(Picture { idr: true, ..FRAME }, 0), slice(Picture { idr: true, ..FRAME }, 3)]
            .concat();
    let second = slice(Picture { frame_num: 1, ..FRAME }, 0);
    // frame_num again 1: a picture that is not referred to; its first macroblock tells.
    let third = [slice(Picture { frame_num: 1, ..FRAME }, 0), slice(Picture { frame_num: 1, ..FRAME }, 5)].concat();
    let mut framer = Framer::new(Codec::H264);
    let all = [first.clone(), second.clone(), third.clone()].concat();
    let mut got = push(&mut framer, pes(&all, Some(9_000)));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| &got.data).collect::<Vec<_>>(), [&first, &second, &third]);
    assert_eq!(got.iter().map(|got| got.key).collect::<Vec<_>>(), [Key::Idr, Key::None, Key::None]);
    // The stamp is the first one's; the others are counted on at 25 frames a second.
    assert_eq!(got.iter().map(|got| got.pts).collect::<Vec<_>>(), [9_000, 12_600, 16_200].map(Some));
}

#[test]
fn parameters_are_those_of_the_frame_and_the_version_says_when_they_change() {
    let mut framer = Framer::new(Codec::H264);
    let small = [delimiter(), sps(4, true), pps(), slice(Picture { idr: true, ..FRAME }, 0)].concat();
    let large = [delimiter(), sps(8, true), pps(), slice(Picture { idr: true, ..FRAME }, 0)].concat();
    let mut got = push(&mut framer, pes(&[small.clone(), small, large.clone(), large].concat(), None));
    got.extend(flush(&mut framer));
    let seen: Vec<_> = got.iter().map(|got| (got.width, got.version)).collect();
    assert_eq!(seen, [(Some(64), 1), (Some(64), 1), (Some(128), 2), (Some(128), 2)]);
    let Some(Params::Video(params)) = framer.params() else { panic!() };
    assert_eq!((params.rfc6381.as_str(), params.height, params.frame_rate), ("avc1.640028", 32, Some((25, 1))));
    assert_eq!(params.parameter_sets.len(), 2);
    assert_eq!(params.parameter_sets[0][..], sps(8, true)[4..]);
}

#[test]
fn two_fields_are_one_sample_and_a_lone_field_is_its_own() {
    let field = |frame_num, bottom, idr| Picture { idr, frame_num, field: Some(bottom), frames_only: false };
    let head = [delimiter(), sps(4, false), pps()].concat();
    let pair = [head, slice(field(0, false, true), 0), delimiter(), recovery_point(), slice(field(0, true, false), 0)]
        .concat();
    let lone = [delimiter(), slice(field(1, false, false), 0)].concat();
    let next = [delimiter(), slice(field(2, false, false), 0), slice(field(2, true, false), 0)].concat();
    let mut framer = Framer::new(Codec::H264);
    let mut got = push(&mut framer, pes(&[pair.clone(), lone.clone(), next.clone()].concat(), None));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| &got.data).collect::<Vec<_>>(), [&pair, &lone, &next]);
    assert_eq!(got.iter().map(|got| got.key).collect::<Vec<_>>(), [Key::Idr, Key::None, Key::None]);
}

#[test]
fn a_recovery_point_marks_the_picture_behind_it() {
    let mut framer = Framer::new(Codec::H264);
    let mut units = pictures(1);
    units.push([delimiter(), recovery_point(), slice(Picture { frame_num: 2, ..FRAME }, 0)].concat());
    let mut got = push(&mut framer, pes(&units.concat(), None));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| got.key).collect::<Vec<_>>(), [Key::Idr, Key::None, Key::RecoveryPoint]);
}

#[test]
fn pictures_and_stamps_do_not_depend_on_where_pes_packets_are_cut() {
    let units = pictures(5);
    let stream = units.concat();
    let starts: Vec<_> = units.iter().scan(0, |at, unit| Some(std::mem::replace(at, *at + unit.len()))).collect();
    // Behind a unit's zero_byte the cut leaves that zero with the picture before.
    for cut in (1..stream.len()).filter(|cut| !starts.contains(&(cut - 1))) {
        let mut framer = Framer::new(Codec::H264);
        let mut got = push(&mut framer, pes(&stream[..cut], Some(0)));
        got.extend(push(&mut framer, pes(&stream[cut..], Some(90_000))));
        got.extend(flush(&mut framer));
        assert_eq!(
            got.iter().map(|got| &got.data).collect::<Vec<_>>(),
            units.iter().collect::<Vec<_>>(),
            "cut at {cut}"
        );
        let second = starts.iter().position(|&start| start >= cut);
        if let Some(second) = second {
            assert_eq!(got[second].pts, Some(90_000), "the first that commences behind {cut}");
        }
    }
}

#[test]
fn a_picture_is_out_at_once_when_the_next_pes_is_seen_to_begin_another() {
    let units = pictures(3);
    let mut framer = Framer::new(Codec::H264);
    for (index, pair) in units.windows(2).enumerate() {
        let got = collect(|emit| framer.push_followed(pes(&pair[0], Some(index as u64)), &pair[1][..9], emit));
        assert_eq!(got.len(), 1);
        assert_eq!((&got[0].data, got[0].pts), (&pair[0], Some(index as u64)));
    }
    let (head, tail) = units[3].split_at(12);
    assert_eq!(collect(|emit| framer.push_followed(pes(head, Some(9)), tail, emit)), [], "the picture goes on");
    assert!(push(&mut framer, pes(tail, None)).is_empty());
    assert_eq!(flush(&mut framer)[0].data, units[3]);
}

#[test]
fn aligned_payloads_of_known_length_are_learned_and_unlearned() {
    let units = pictures(12);
    let mut framer = Framer::new(Codec::H264);
    let mut late = Vec::new();
    for unit in &units[..10] {
        late.push(push(&mut framer, pes(unit, None)).last().is_none_or(|got| &got.data != unit));
    }
    assert_eq!(late, [true, true, true, true, true, true, true, false, false, false]);
    // A payload that goes on in the next one is cut short, once; what is left over is counted.
    let (head, tail) = units[10].split_at(15);
    assert_eq!(push(&mut framer, pes(head, None)).len(), 1);
    let mut got = push(&mut framer, PesPayload { aligned: false, ..pes(&[tail, &units[11]].concat(), None) });
    got.extend(push(&mut framer, pes(&units[12], None)));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| &got.data).collect::<Vec<_>>(), [&units[11], &units[12]]);
    assert_eq!(framer.stats().skipped_bytes, tail.len() as u64);
}

#[test]
fn loss_taints_what_it_touches_and_nothing_else() {
    let units = pictures(4);
    let mut framer = Framer::new(Codec::H264);
    let mut got = push(&mut framer, pes(&units[..2].concat(), None));
    got.extend(push(&mut framer, PesPayload { corrupt: true, ..pes(&units[2][7..], None) }));
    got.extend(push(&mut framer, pes(&units[3..].concat(), None)));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| got.corrupt).collect::<Vec<_>>(), [false, true, true, false, false]);
}

#[test]
fn an_endless_picture_is_dropped_and_the_next_one_found() {
    let units = pictures(2);
    let mut framer = Framer::new(Codec::H264);
    assert!(push(&mut framer, pes(&units[0], None)).is_empty());
    let filler = vec![0x5a; 1 << 20];
    for _ in 0..(PES_BYTES_MAX >> 20) + 1 {
        assert!(push(&mut framer, PesPayload { aligned: false, ..pes(&filler, None) }).is_empty());
    }
    assert_eq!(framer.stats().oversized, 1);
    let mut got = push(&mut framer, pes(&units[1..].concat(), None));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| &got.data).collect::<Vec<_>>(), [&units[1], &units[2]]);
}

#[test]
fn joining_in_mid_picture_begins_at_the_next_one() {
    let units = pictures(2);
    let mut framer = Framer::new(Codec::H264);
    let lost = [&[0x11; 9][..], &slice(FRAME, 7)].concat();
    let mut got = push(&mut framer, pes(&[lost.clone(), units.concat()].concat(), Some(5)));
    got.extend(flush(&mut framer));
    assert_eq!(got.iter().map(|got| &got.data).collect::<Vec<_>>(), units.iter().collect::<Vec<_>>());
    assert_eq!(got[0].pts, Some(5));
    assert_eq!(framer.stats().skipped_bytes, lost.len() as u64);
}

#[test]
fn our_sps_reader_agrees_with_h264_reader() {
    use h264_reader::nal::sps::SeqParameterSet;
    use h264_reader::rbsp::BitReader;
    for (width_mbs, frames_only) in [(4, true), (45, false), (120, true)] {
        let written = sps(width_mbs, frames_only);
        let mut rbsp = Vec::new();
        crate::es::nal::unescape(&written[5..], &mut rbsp);
        let theirs = SeqParameterSet::from_bits(BitReader::new(&rbsp[..])).unwrap();
        let ours = super::sps::Sps::parse(&rbsp).unwrap();
        assert_eq!(theirs.pixel_dimensions().unwrap(), (ours.width, ours.height));
        assert_eq!(theirs.fps(), ours.frame_rate.map(|(frames, seconds)| frames as f64 / seconds as f64));
    }
}
