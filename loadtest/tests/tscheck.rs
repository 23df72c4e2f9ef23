//! The stream checker on a hand-made stream: the good one passes, and every rule is broken by one change and found.

use loadtest::tscheck::{Checker, Report, Rule, check};
use std::collections::BTreeSet;

type Packet = [u8; 188];

const PMT_PID: u16 = 0x1000;
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// 25 pictures a second.
const FRAME_TICKS: u64 = 3_600;
/// A key picture every 400 ms.
const GOP: u64 = 10;
/// DTS minus PCR: half a second.
const LEAD_TICKS: u64 = 45_000;

/// Writes packets with counters that go on.
#[derive(Default)]
struct Writer {
    packets: Vec<Packet>,
    counters: std::collections::BTreeMap<u16, u8>,
}

/// What the adaptation field of a packet says.
#[derive(Clone, Copy, Default)]
struct Adaptation {
    discontinuity: bool,
    random_access: bool,
    pcr: Option<u64>,
}

impl Writer {
    /// Payload in as many packets as it takes, the adaptation field in the first.
    fn unit(&mut self, pid: u16, adaptation: Adaptation, mut payload: &[u8]) {
        let mut field = adaptation_field(adaptation);
        let mut is_first = true;
        while is_first || !payload.is_empty() {
            let room = 184 - if field.is_empty() { 0 } else { 1 + field.len() };
            let taken = room.min(payload.len());
            let start = if is_first { 0x40 } else { 0 };
            self.packet(pid, start, field, &payload[..taken]);
            payload = &payload[taken..];
            (field, is_first) = (Vec::new(), false);
        }
    }

    /// One packet, stuffed in its adaptation field.
    fn packet(&mut self, pid: u16, start: u8, mut field: Vec<u8>, payload: &[u8]) {
        let counter = self.counters.entry(pid).or_insert(0);
        let has_payload = !payload.is_empty();
        *counter = (*counter + u8::from(has_payload)) & 15;
        let missing = 184 - payload.len();
        if missing > 0 {
            if field.is_empty() && missing > 1 {
                field.push(0);
            }
            field.resize(missing - 1, 0xff);
            field.insert(0, missing as u8 - 1);
        }
        let control = if missing > 0 { 0x20 } else { 0 } | if has_payload { 0x10 } else { 0 };
        let mut bytes = vec![0x47, start | (pid >> 8) as u8, pid as u8, control | *counter];
        bytes.extend(field);
        bytes.extend_from_slice(payload);
        self.packets.push(bytes.try_into().unwrap());
    }

    fn psi(&mut self, version: u8) {
        // program_number 1, PMT PID
        self.unit(0, Adaptation::default(), &section(0, version, &[0, 1, 0xf0, 0x00]));
        let pmt = [
            0xe1, 0x00, 0xf0, 0x00, // PCR_PID, program_info_length
            0x1b, 0xe1, 0x00, 0xf0, 0x00, // H.264
            0x0f, 0xe1, 0x01, 0xf0, 0x00, // AAC in ADTS
        ];
        self.unit(PMT_PID, Adaptation::default(), &section(2, version, &pmt));
    }

    fn frame(&mut self, frame: u64, start_ticks: u64, discontinuity: bool) {
        let dts = start_ticks + frame * FRAME_TICKS;
        let is_key = frame.is_multiple_of(GOP);
        if is_key {
            self.psi(0);
        }
        let mut picture = vec![0, 0, 1, if is_key { 0x65 } else { 0x41 }];
        picture.resize(400, 0xaa);
        let adaptation = Adaptation { discontinuity, random_access: is_key, pcr: Some(dts - LEAD_TICKS) };
        self.unit(VIDEO, adaptation, &pes(0xe0, dts + 2 * FRAME_TICKS, Some(dts), &picture));
        self.unit(
            AUDIO,
            Adaptation { discontinuity, ..Adaptation::default() },
            &pes(0xc0, dts, None, &[0xff, 0xf1, 1, 2, 3]),
        );
    }

    fn bytes(&self) -> Vec<u8> {
        self.packets.concat()
    }
}

fn adaptation_field(adaptation: Adaptation) -> Vec<u8> {
    let flags = u8::from(adaptation.discontinuity) << 7 | u8::from(adaptation.random_access) << 6;
    match adaptation.pcr {
        Some(base) => {
            let [.., a, b, c, d] = ((base >> 1) as u32).to_be_bytes();
            vec![flags | 0x10, a, b, c, d, (base as u8 & 1) << 7 | 0x7e, 0]
        }
        None if flags != 0 => vec![flags],
        None => Vec::new(),
    }
}

fn section(table_id: u8, version: u8, body: &[u8]) -> Vec<u8> {
    // pointer_field, table_id, section_length, id 1, version and current_next_indicator, section_number, last_section_number
    let mut bytes = vec![0, table_id, 0xb0, body.len() as u8 + 9, 0, 1, 0xc1 | version << 1, 0, 0];
    bytes.extend_from_slice(body);
    let crc = crc(&bytes[1..]);
    bytes.extend(crc.to_be_bytes());
    bytes.resize(184, 0xff);
    bytes
}

/// Annex A, a bit at a time over the message alone.
fn crc(bytes: &[u8]) -> u32 {
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    bits.fold(!0, |crc, bit| if (crc >> 31) ^ bit == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 })
}

fn pes(stream_id: u8, pts: u64, dts: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let mut fields = stamp(if dts.is_some() { 3 } else { 2 }, pts).to_vec();
    fields.extend(dts.iter().flat_map(|dts| stamp(1, *dts)));
    let length = (3 + fields.len() + payload.len()) as u16;
    let flags = if dts.is_some() { 0xc0 } else { 0x80 };
    let mut bytes = vec![0, 0, 1, stream_id, (length >> 8) as u8, length as u8, 0x80, flags, fields.len() as u8];
    bytes.extend(fields);
    bytes.extend_from_slice(payload);
    bytes
}

fn stamp(prefix: u8, ticks: u64) -> [u8; 5] {
    let bits = |shift: u32| (ticks >> shift) as u8;
    [prefix << 4 | (bits(30) & 7) << 1 | 1, bits(22), bits(14) | 1, bits(7), bits(0) << 1 | 1]
}

/// Two seconds of a good stream that crosses the 33-bit wrap.
fn good() -> Writer {
    let mut writer = Writer::default();
    (0..50).for_each(|frame| writer.frame(frame, (1 << 33) - 25 * FRAME_TICKS, false));
    writer
}

fn rules(report: &Report) -> Vec<Rule> {
    report.violation_counts.keys().copied().collect()
}

/// Index of the `n`th packet of `pid`.
fn nth(packets: &[Packet], pid: u16, n: usize) -> usize {
    (0..packets.len()).filter(|i| is_of(packets, *i, pid)).nth(n).unwrap()
}

fn nth_mut(packets: &mut [Packet], pid: u16, n: usize) -> &mut Packet {
    let index = nth(packets, pid, n);
    &mut packets[index]
}

fn remove(packets: &mut Vec<Packet>, pid: u16, n: usize) {
    packets.remove(nth(packets, pid, n));
}

/// Position of the `n`th PES of `pid`, and of its header in the packet.
fn nth_pes(packets: &[Packet], pid: u16, n: usize) -> (usize, usize) {
    let starts = |i: usize| packets[i][1] & 0x40 != 0;
    let indices: Vec<usize> = (0..packets.len()).filter(|i| starts(*i) && is_of(packets, *i, pid)).collect();
    let at = indices[n];
    (at, 5 + usize::from(packets[at][4]))
}

fn is_of(packets: &[Packet], index: usize, pid: u16) -> bool {
    u16::from(packets[index][1] & 0x1f) << 8 | u16::from(packets[index][2]) == pid
}

#[test]
fn a_good_stream_is_clean() {
    let report = check(&good().bytes());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.pcrs, report.streams[&VIDEO].keys, report.streams[&AUDIO].pes), (50, 5, 50));
    assert!((report.pcr_interval_ms.max.unwrap() - 40.0).abs() < 0.01, "{report}");
    assert!((report.pat_interval_ms.max.unwrap() - 400.0).abs() < 30.0, "{report}");
    let ahead = report.streams[&VIDEO].dts_after_first_byte_ms;
    assert!((ahead.max.unwrap() - 500.0).abs() < 0.01, "{report}");
}

#[test]
fn pieces_of_any_size_give_the_same_verdict() {
    let bytes = good().bytes();
    for size in [1, 7, 187, 189, 1_000] {
        let mut checker = Checker::new();
        bytes.chunks(size).for_each(|piece| checker.push(piece));
        assert_eq!(checker.finish(), check(&bytes));
    }
}

#[test]
fn null_packets_a_duplicate_and_a_stop_within_a_packet_are_allowed() {
    let mut writer = good();
    let mut null = [0xff; 188];
    null[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    writer.packets.insert(30, null);
    let audio = nth(&writer.packets, AUDIO, 3);
    writer.packets.insert(audio, writer.packets[audio]);
    let mut bytes = writer.bytes();
    bytes.extend_from_slice(&[0x47, 1, 2]);
    let report = check(&bytes);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.null_packets, report.trailing_bytes), (1, 3));
    let mut checker = Checker::new();
    checker.push(&bytes);
    assert_eq!(rules(&checker.finish_whole()), [Rule::PartialPacket]);
}

#[test]
fn an_announced_jump_is_clean_and_an_unannounced_one_is_not() {
    let jump = |announced: bool| {
        let mut writer = good();
        (0..50).for_each(|frame| writer.frame(frame, 900_000, announced && frame == 0));
        check(&writer.bytes())
    };
    let report = jump(true);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.discontinuities, 2);
    assert!(rules(&jump(false)).contains(&Rule::PcrInterval), "{}", jump(false));
}

#[test]
fn a_skip_with_a_private_head_is_clean() {
    let mut writer = good();
    // The viewer is cut within picture 45, a PES packet of three packets, on a packet boundary.
    let cut = nth(&writer.packets, VIDEO, 45 * 3) + 1;
    writer.packets.truncate(cut);
    for pid in [VIDEO, AUDIO] {
        writer.counters.insert(pid, 9);
        let field = adaptation_field(Adaptation { discontinuity: true, ..Adaptation::default() });
        writer.packet(pid, 0, field, &[]);
    }
    (0..50).for_each(|frame| writer.frame(frame, 1_800_000, false));
    let report = check(&writer.bytes());
    assert!(report.is_clean(), "{report}");
}

/// A change to a good stream, and the rule that it breaks.
type Change = (Rule, fn(&mut Vec<Packet>));

const CHANGES: &[Change] = &[
    (Rule::SyncByte, |p| p[20][0] = 0x46),
    (Rule::TransportError, |p| p[20][1] |= 0x80),
    (Rule::Scrambled, |p| p[20][3] |= 0x80),
    (Rule::AdaptationField, |p| p[20][3] &= 0xcf),
    (Rule::ContinuityCounter, |p| remove(p, VIDEO, 20)),
    (Rule::ContinuityCounter, |p| {
        let (at, _) = nth_pes(p, VIDEO, 3);
        p.swap(at, at + 1);
    }),
    (Rule::Duplicate, |p| {
        let at = nth(p, AUDIO, 3);
        p.insert(at, p[at]);
        p.insert(at, p[at]);
    }),
    (Rule::Duplicate, |p| {
        let at = nth(p, AUDIO, 3);
        p.insert(at + 1, p[at]);
        p[at + 1][187] ^= 1;
    }),
    (Rule::Section, |p| nth_mut(p, 0, 1)[4] = 200),
    (Rule::SectionCrc, |p| nth_mut(p, PMT_PID, 1)[15] ^= 1),
    (Rule::SectionVersion, |p| {
        let other = section(0, 0, &[0, 2, 0xf0, 0x00]);
        nth_mut(p, 0, 2)[4..].copy_from_slice(&other);
    }),
    (Rule::OneProgram, |p| {
        let two = section(0, 1, &[0, 1, 0xf0, 0x00, 0, 2, 0xf1, 0x00]);
        nth_mut(p, 0, 2)[4..].copy_from_slice(&two);
    }),
    (Rule::UnknownPid, |p| nth_mut(p, AUDIO, 5)[2] = 0x55),
    (Rule::PatInterval, |p| remove(p, 0, 2)),
    (Rule::PmtInterval, |p| remove(p, PMT_PID, 2)),
    (Rule::PatInterval, |p| {
        // The last two of five: overdue at the end.
        remove(p, 0, 4);
        remove(p, 0, 3);
    }),
    (Rule::PcrOrder, |p| {
        let (at, _) = nth_pes(p, VIDEO, 3);
        let (before, _) = nth_pes(p, VIDEO, 2);
        let pcr: [u8; 6] = p[before][6..12].try_into().unwrap();
        p[at][6..12].copy_from_slice(&pcr);
    }),
    (Rule::PcrInterval, |p| {
        for n in [3, 4] {
            // PCR_flag off; the six bytes are stuffing then.
            let (at, _) = nth_pes(p, VIDEO, n);
            p[at][5] &= !0x10;
        }
    }),
    (Rule::PcrExtension, |p| {
        let (at, _) = nth_pes(p, VIDEO, 3);
        (p[at][10], p[at][11]) = (p[at][10] | 1, 0xff);
    }),
    (Rule::PcrMissing, |p| {
        p.iter_mut().filter(|packet| packet[3] & 0x20 != 0 && packet[4] > 0).for_each(|packet| packet[5] &= !0x10)
    }),
    (Rule::PesHeader, |p| {
        let (at, header) = nth_pes(p, VIDEO, 4);
        p[at][header + 9] &= 0xfe;
    }),
    (Rule::PesHeader, |p| {
        let (at, header) = nth_pes(p, VIDEO, 4);
        p[at][header + 2] = 9;
    }),
    (Rule::PesLength, |p| {
        let (at, header) = nth_pes(p, AUDIO, 4);
        p[at][header + 5] += 1;
    }),
    (Rule::PesLength, |p| {
        let (at, header) = nth_pes(p, AUDIO, 4);
        (p[at][header + 4], p[at][header + 5]) = (0, 0);
    }),
    (Rule::PtsMissing, |p| {
        let (at, header) = nth_pes(p, AUDIO, 4);
        p[at][header + 7] = 0;
    }),
    (Rule::PtsBeforeDts, |p| set_stamps(p, 4, |dts| (dts - 90, dts))),
    (Rule::DtsOrder, |p| set_stamps(p, 4, |dts| (dts, dts - FRAME_TICKS))),
    (Rule::LateForDts, |p| set_stamps(p, 4, |dts| (dts, dts - LEAD_TICKS - 90))),
    (Rule::EarlyForDts, |p| set_stamps(p, 4, |dts| (dts + 90_000, dts + LEAD_TICKS + 90))),
    (Rule::RandomAccess, |p| {
        let (at, _) = nth_pes(p, VIDEO, GOP as usize);
        p[at][5] &= !0x40;
    }),
    (Rule::PsiBeforeKey, |p| {
        let (at, _) = nth_pes(p, VIDEO, GOP as usize);
        // The PMT goes behind the key picture's first packet.
        p.swap(at - 1, at);
    }),
];

/// Other stamps for the `n`th picture, made from its DTS.
fn set_stamps(packets: &mut [Packet], n: u64, stamps: fn(u64) -> (u64, u64)) {
    let (at, header) = nth_pes(packets, VIDEO, n as usize);
    let (pts, dts) = stamps((1 << 33) - 25 * FRAME_TICKS + n * FRAME_TICKS);
    packets[at][header + 9..header + 14].copy_from_slice(&stamp(3, pts));
    packets[at][header + 14..header + 19].copy_from_slice(&stamp(1, dts));
}

#[test]
fn every_rule_is_broken_by_one_change_and_found() {
    let mut broken = BTreeSet::from([Rule::PartialPacket]);
    for (i, (rule, change)) in CHANGES.iter().enumerate() {
        let mut packets = good().packets;
        change(&mut packets);
        let report = check(&packets.concat());
        assert!(rules(&report).contains(rule), "change {i} does not break {rule:?}:\n{report}");
        broken.insert(*rule);
    }
    assert_eq!(broken.len(), 27, "a rule has no change that breaks it: {broken:?}");
}

#[test]
fn an_empty_input_is_not_clean() {
    assert!(!check(&[]).is_clean());
    assert!(!check(b"<html>").is_clean());
}

#[test]
fn no_bytes_panic() {
    let good = good().bytes();
    let mut seed = 1u64;
    for _ in 0..2_000 {
        let mut bytes = good[..188 * 60].to_vec();
        for _ in 0..8 {
            // A linear congruential generator (Knuth's MMIX constants) is random enough, and repeats.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 25) as u8;
        }
        check(&bytes);
    }
}
