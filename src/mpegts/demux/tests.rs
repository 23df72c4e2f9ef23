//! Whole streams through the demuxer, packet by packet. Data tracks are used where the access units themselves do not matter.

use super::*;
use crate::es::{AudioRole, Codec};
use crate::mpegts::psi::crc32;

/// What a sink saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// (id, pid) of each track.
    Tracks(Vec<(u16, u16)>),
    Pcr(u64, bool),
    /// track, pts, corrupt, data
    Sample(u16, Option<u64>, bool, Vec<u8>),
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    tracks: Vec<Track>,
    pause: bool,
}

impl Sink for Log {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
        self.seen.push(Seen::Tracks(tracks.iter().map(|t| (t.id.0, t.ts.pid)).collect()));
    }
    fn pcr(&mut self, pcr_27m: u64, discontinuity: bool) -> Flow {
        self.seen.push(Seen::Pcr(pcr_27m, discontinuity));
        if self.pause { Flow::Pause } else { Flow::Continue }
    }
    fn sample(&mut self, s: RawSample<'_>) {
        self.seen.push(Seen::Sample(s.track.0, s.pts.map(Ts33::ticks), s.corrupt, s.data.to_vec()));
    }
}

impl Log {
    /// Payloads of all samples of a track, with their corrupt marks.
    fn samples(&self, track: u16) -> Vec<(Vec<u8>, bool)> {
        let of = |s: &Seen| match s {
            Seen::Sample(t, _, corrupt, data) if *t == track => Some((data.clone(), *corrupt)),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }
    fn track_lists(&self) -> Vec<Vec<(u16, u16)>> {
        self.seen.iter().filter_map(|s| if let Seen::Tracks(t) = s { Some(t.clone()) } else { None }).collect()
    }
}

/// A packet of `pid` with `payload`, stuffed by its adaptation field.
fn packet(pid: u16, start: bool, counter: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x47, (pid >> 8) as u8 | u8::from(start) << 6, pid as u8, counter & 0x0f | 0x10];
    if payload.len() < 184 {
        p[3] |= 0x20;
        p.push((183 - payload.len()) as u8); // adaptation_field_length
        if payload.len() < 183 {
            p.push(0x00); // no flags
        }
        p.resize(188 - payload.len(), 0xff);
    }
    [&p[..], payload].concat()
}

/// A packet of `pid` with a PCR of `base` x 300 and no payload.
fn pcr_packet(pid: u16, base: u32, discontinuity: bool) -> Vec<u8> {
    let mut p = vec![0x47, (pid >> 8) as u8, pid as u8, 0x20, 183, 0x10 | u8::from(discontinuity) << 7];
    p.extend((u64::from(base) << 15 | 0x7e00).to_be_bytes()[2..].iter());
    p.resize(188, 0xff);
    p
}

fn section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 9) as u16 | 0xb000;
    let mut s = vec![table_id, (length >> 8) as u8, length as u8, (extension >> 8) as u8, extension as u8];
    s.extend([0xc1 | version << 1, 0, 0]);
    s.extend(body);
    s.extend(crc32(&s).to_be_bytes());
    s
}

fn table(pid: u16, counter: u8, section: &[u8]) -> Vec<u8> {
    packet(pid, true, counter, &[&[0], section].concat())
}

fn pat(counter: u8, version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let entry = |&(number, pid): &(u16, u16)| [number.to_be_bytes(), (pid | 0xe000).to_be_bytes()].concat();
    table(0, counter, &section(0, 1, version, &programs.iter().flat_map(entry).collect::<Vec<_>>()))
}

fn pmt_section(number: u16, version: u8, pcr_pid: u16, streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut body = [(pcr_pid | 0xe000).to_be_bytes(), [0xf0, 0]].concat();
    for (stream_type, pid, descriptors) in streams {
        body.push(*stream_type);
        body.extend((pid | 0xe000).to_be_bytes());
        body.extend((descriptors.len() as u16 | 0xf000).to_be_bytes());
        body.extend(*descriptors);
    }
    section(2, number, version, &body)
}

fn pmt(counter: u8, version: u8, streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    table(0x1000, counter, &pmt_section(1, version, 0x100, streams))
}

/// private_stream_1 with a PTS; bounded.
fn pes(pts: u32, payload: &[u8]) -> Vec<u8> {
    let mut p = unbounded_pes(pts, payload);
    let length = (p.len() - 6) as u16;
    p[4..6].copy_from_slice(&length.to_be_bytes());
    p
}

fn unbounded_pes(pts: u32, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0, 0, 1, 0xbd, 0, 0, 0x80, 0x80, 5];
    let t = u64::from(pts);
    p.extend([0x21 | (t >> 29) as u8 & 0xe, (t >> 22) as u8, (t >> 14) as u8 | 1, (t >> 7) as u8, (t << 1) as u8 | 1]);
    p.extend(payload);
    p
}

/// PAT and PMT with a private PES stream on 0x100 that also carries the PCR.
fn private_head() -> Vec<u8> {
    [pat(0, 0, &[(1, 0x1000)]), pmt(0, 0, &[(0x06, 0x100, &[])])].concat()
}

/// Runs a whole stream, of programme 1 as there may be no video or audio in it.
fn run(bytes: &[u8]) -> (Log, DemuxStats) {
    let mut log = Log::default();
    let mut demuxer = Demuxer::new(DemuxConfig { program: Some(1) });
    assert_eq!(demuxer.push(bytes, &mut log), bytes.len());
    demuxer.end(&mut log);
    assert!(demuxer.memory_bytes() <= MEMORY_BYTES_MAX);
    (log, demuxer.stats())
}

#[test]
fn a_bounded_pes_comes_out_with_its_last_byte() {
    let mut log = Log::default();
    let mut demuxer = Demuxer::new(DemuxConfig { program: Some(1) });
    let whole = pes(900, &[7; 300]);
    let bytes =
        [private_head(), packet(0x100, true, 0, &whole[..184]), packet(0x100, false, 1, &whole[184..])].concat();
    demuxer.push(&bytes[..bytes.len() - 1], &mut log);
    assert!(log.samples(0).is_empty());
    demuxer.push(&bytes[bytes.len() - 1..], &mut log);
    assert_eq!(log.seen, [Seen::Tracks(vec![(0, 0x100)]), Seen::Sample(0, Some(900), false, vec![7; 300])]);
    assert_eq!(demuxer.stats().packets, 4);
}

#[test]
fn any_split_of_the_input_gives_the_same() {
    let payload: Vec<u8> = (0..2000u32).map(|i| i as u8).collect();
    let whole = unbounded_pes(900, &payload);
    let mut bytes = private_head();
    for round in 0..2u8 {
        for (i, part) in whole.chunks(184).enumerate() {
            bytes.extend(packet(0x100, i == 0, i as u8 + round * 11, part));
        }
    }
    let (expected, _) = run(&bytes);
    assert_eq!(expected.samples(0), [(payload.clone(), false), (payload, true)]);
    for size in (1..400).chain([1000, 4096]) {
        let mut log = Log::default();
        let mut demuxer = Demuxer::new(DemuxConfig { program: Some(1) });
        bytes.chunks(size).for_each(|c| assert_eq!(demuxer.push(c, &mut log), c.len()));
        demuxer.end(&mut log);
        assert_eq!(log.seen, expected.seen, "pieces of {size}");
    }
}

#[test]
fn duplicates_are_dropped_once_and_losses_marked() {
    let whole = pes(0, &[7; 500]);
    let parts: Vec<&[u8]> = whole.chunks(184).collect();
    let three =
        [packet(0x100, true, 0, parts[0]), packet(0x100, false, 1, parts[1]), packet(0x100, false, 2, parts[2])];
    let doubled =
        [private_head(), three[0].clone(), three[0].clone(), three[1].clone(), three[1].clone(), three[2].clone()];
    let (log, stats) = run(&doubled.concat());
    assert_eq!(log.samples(0), [(vec![7; 500], false)]);
    assert_eq!((stats.duplicates, stats.continuity_errors), (2, 0));

    let holed = [private_head(), three[0].clone(), three[2].clone(), packet(0x100, true, 3, &pes(1, &[8; 4]))];
    let (log, stats) = run(&holed.concat());
    assert_eq!(log.samples(0), [(vec![7; 170 + 146], true), (vec![8; 4], false)]);
    assert_eq!((stats.continuity_errors, stats.pes_errors), (1, 1));
}

#[test]
fn a_signalled_jump_is_no_error() {
    let mut jump = packet(0x100, true, 9, &pes(1, &[8; 4]));
    jump[5] |= 0x80; // discontinuity_indicator
    let (log, stats) = run(&[private_head(), packet(0x100, true, 0, &pes(0, &[7; 4])), jump].concat());
    assert_eq!((log.samples(0).len(), stats.continuity_errors), (2, 0));
}

#[test]
fn packets_in_error_or_scrambled_are_counted_and_skipped() {
    let good = |counter| packet(0x100, true, counter, &pes(0, &[7; 4]));
    let (mut error, mut scrambled) = (good(0), good(1));
    error[1] |= 0x80;
    scrambled[3] |= 0x80;
    let (log, stats) = run(&[private_head(), error, scrambled, good(2)].concat());
    assert_eq!(log.samples(0).len(), 1);
    assert_eq!((stats.transport_errors, stats.scrambled, stats.continuity_errors), (1, 1, 0));
}

#[test]
fn the_pcr_comes_after_the_packet_it_ends_and_pauses_there() {
    let bytes = [
        private_head(),
        pcr_packet(0x100, 3, true),
        packet(0x100, true, 0, &unbounded_pes(1, &[1])),
        pcr_packet(0x101, 5, false), // not the PCR PID
        pcr_packet(0x100, 4, false),
    ]
    .concat();
    let mut log = Log { pause: true, ..Log::default() };
    let mut demuxer = Demuxer::new(DemuxConfig { program: Some(1) });
    assert_eq!(demuxer.push(&bytes, &mut log), 3 * 188);
    assert_eq!(log.seen.last(), Some(&Seen::Pcr(900, true)));
    assert_eq!(demuxer.push(&bytes[3 * 188..], &mut log), 3 * 188);
    assert_eq!(log.seen.last(), Some(&Seen::Pcr(1200, false)));
    let mut next = packet(0x100, true, 1, &pes(2, &[2]));
    next[5] = 0x10; // PCR_flag: the stuffing reads as a PCR
    demuxer.push(&next, &mut log);
    let tail: Vec<_> = log.seen[log.seen.len() - 3..].iter().map(std::mem::discriminant).collect();
    let (pcr, sample) =
        (std::mem::discriminant(&Seen::Pcr(0, false)), std::mem::discriminant(&log.seen[log.seen.len() - 1]));
    assert_eq!(tail, [sample, pcr, sample], "the old PES, the PCR, the new PES");
}

#[test]
fn a_new_pmt_keeps_the_ids_of_streams_that_stay() {
    let first: &[(u8, u16, &[u8])] = &[(0x06, 0x100, &[]), (0x06, 0x101, &[])];
    let second: &[(u8, u16, &[u8])] = &[(0x06, 0x102, &[]), (0x06, 0x101, b"\x0a\x04fra\x00")];
    let bytes = [
        pat(0, 0, &[(1, 0x1000)]),
        pmt(0, 0, first),
        packet(0x100, true, 0, &unbounded_pes(1, &[1])),
        packet(0x101, true, 0, &unbounded_pes(1, &[2])),
        pmt(1, 0, first),
        pmt(2, 1, second),
        pmt(3, 1, second),
        packet(0x101, true, 1, &unbounded_pes(1, &[3])),
        pmt(4, 2, first),
    ]
    .concat();
    let (log, _) = run(&bytes);
    assert_eq!(
        log.track_lists(),
        [vec![(0, 0x100), (1, 0x101)], vec![(2, 0x102), (1, 0x101)], vec![(0, 0x100), (1, 0x101)]]
    );
    let samples = |track| log.samples(track).into_iter().map(|(data, _)| data[0]).collect::<Vec<_>>();
    assert_eq!((samples(0), samples(1)), (vec![1], vec![2, 3]), "the removed stream's last packet was not lost");
}

#[test]
fn the_pmt_may_move_and_bad_tables_change_nothing() {
    let streams: &[(u8, u16, &[u8])] = &[(0x06, 0x100, &[])];
    let mut bad = pmt(1, 1, &[(0x06, 0x200, &[])]);
    bad[187] ^= 1;
    let moved = table(0x1001, 0, &pmt_section(1, 0, 0x101, &[(0x06, 0x101, &[])]));
    let bytes = [pat(0, 0, &[(1, 0x1000)]), pmt(0, 0, streams), bad, pat(1, 1, &[(1, 0x1001)]), moved].concat();
    let (log, stats) = run(&bytes);
    assert_eq!(log.track_lists(), [vec![(0, 0x100)], vec![(1, 0x101)]]);
    assert_eq!(stats.psi_errors, 1);
}

#[test]
fn the_first_programme_with_media_is_taken() {
    let data = pmt_section(1, 0, 0x100, &[(0x06, 0x100, &[])]);
    let video = |number| pmt_section(number, 0, 0x200 + number, &[(0x1b, 0x200 + number, &[])]);
    let head = pat(0, 0, &[(1, 0x1001), (2, 0x1002), (3, 0x1003)]);
    let choose = |tables: &[Vec<u8>]| {
        let mut log = Log::default();
        let mut demuxer = Demuxer::new(DemuxConfig::default());
        demuxer.push(&tables.concat(), &mut log);
        demuxer.end(&mut log);
        log.track_lists()
    };
    let (one, two, three) = (table(0x1001, 0, &data), table(0x1002, 0, &video(2)), table(0x1003, 0, &video(3)));
    assert_eq!(choose(&[head.clone(), three.clone(), two.clone(), one.clone()]), [[(0, 0x202)]]);
    assert_eq!(choose(&[head.clone(), one.clone(), two.clone()]), [[(0, 0x202)]]);
    assert!(choose(&[head.clone(), three.clone(), one]).is_empty(), "the second may still come");
    let data_alone = [head.clone(), table(0x1001, 0, &data), table(0x1001, 1, &data), table(0x1001, 2, &data)];
    assert_eq!(choose(&data_alone), [[(0, 0x100)]], "the third PMT settles for data");
    let again = table(0x1003, 1, &video(3));
    assert_eq!(choose(&[head, three, again]), [[(0, 0x203)]], "it did not come before the third was repeated");
}

#[test]
fn a_programme_that_leaves_the_pat_takes_its_tracks_along() {
    let bytes = [
        private_head(),
        packet(0x100, true, 0, &unbounded_pes(1, &[1])),
        pat(1, 1, &[(7, 0x1000)]),
        packet(0x100, true, 1, &unbounded_pes(1, &[2])),
    ];
    let (log, _) = run(&bytes.concat());
    assert_eq!((log.track_lists(), log.samples(0).len()), (vec![vec![(0, 0x100)], vec![]], 1));
}

#[test]
fn a_reconnect_keeps_ids_and_announces_nothing_anew() {
    let mut log = Log::default();
    let mut demuxer = Demuxer::new(DemuxConfig { program: Some(1) });
    let once = [private_head(), packet(0x100, true, 5, &pes(1, &[1])), packet(0x100, true, 6, &unbounded_pes(1, &[2]))]
        .concat();
    for _ in 0..2 {
        demuxer.push(&once, &mut log);
        demuxer.end(&mut log);
    }
    assert_eq!(log.track_lists(), [[(0, 0x100)]]);
    assert_eq!(log.samples(0).iter().map(|s| s.1).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(demuxer.stats().continuity_errors, 0);
}

#[test]
fn splice_sections_are_whole_samples_and_bad_ones_are_counted() {
    let splice = section(0xfc, 0, 0, &[0; 5]);
    let mut bad = splice.clone();
    bad[6] ^= 1;
    let bytes = [
        pat(0, 0, &[(1, 0x1000)]),
        pmt(0, 0, &[(0x86, 0x110, &[])]),
        table(0x110, 0, &splice),
        table(0x110, 1, &bad),
        table(0x110, 2, &section(0x70, 0, 0, &[])),
    ];
    let (log, stats) = run(&bytes.concat());
    assert_eq!(log.seen[1..], [Seen::Sample(0, None, false, splice)]);
    assert_eq!((log.tracks[0].codec, stats.psi_errors), (Codec::Scte35, 1));
}

#[test]
fn padding_is_dropped_and_the_stream_id_is_learned_first() {
    let mut other = pes(1, &[1]);
    other[3] = 0xc3;
    let padding = [0, 0, 1, 0xbe, 0, 2, 0xff, 0xff];
    let bytes = [private_head(), packet(0x100, true, 0, &padding), packet(0x100, true, 1, &other)];
    let (log, stats) = run(&bytes.concat());
    assert_eq!((log.track_lists().len(), log.samples(0).len(), stats.pes_errors), (2, 1, 0));
    assert_eq!(log.tracks[0].ts.stream_id, 0xc3);
}

#[test]
fn descriptions_carry_language_role_and_descriptors() {
    let (log, _) =
        run(&[pat(0, 0, &[(1, 0x1000)]), pmt(0, 0, &[(0x11, 0x101, b"\x0a\x04eng\x03"), (0x0b, 0x102, &[])])].concat());
    let [track] = &log.tracks[..] else { panic!("DSM-CC is no track") };
    assert_eq!((track.codec, track.language, track.role), (Codec::Aac, Some(*b"eng"), AudioRole::VisualImpaired));
    assert_eq!(
        (track.ts.stream_type, &track.ts.descriptors[..], track.ts.stream_id),
        (0x0f, &b"\x0a\x04eng\x03"[..], 0xc0)
    );
}
