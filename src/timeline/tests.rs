//! Short scripts against [`Timeline`]; the long ones are simulated in `tests/sim.rs`.

use super::reference::tests::{audio, video};
use super::*;
use crate::time::{WRAP_33, ticks_from_us};

const START: Now = Now { mono_us: 5_000_000, unix_us: 1_800_000_000_000_000 };
/// 1,800,000,000 s / 4 s modulo 131,072, and one.
const FIRST_DISCONTINUITY_SEQUENCE: u64 = 29_825;
const CONFIG: TimelineConfig = TimelineConfig { segment_target_ms: 2_000, segment_max_ms: 4_000 };

/// A source of 25 fps video without B pictures and a key every `gop` frames, audio 0.3 s behind it.
struct Script {
    timeline: Timeline,
    now: Now,
    base: u64,
    frame: u64,
    gop: u64,
    cuts: Vec<Cut>,
}

impl Script {
    fn new(base: u64, gop: u64) -> Self {
        let mut timeline = Timeline::new(CONFIG, Epoch::begin(None, START), START);
        timeline.set_tracks(&[video(0, Some(720)), audio(1, 48_000)]);
        Script { timeline, now: START, base, frame: 0, gop, cuts: Vec::new() }
    }

    fn video_at(&mut self, dts: u64, key: Key) -> Result<Placed, DropReason> {
        let placed = self.timeline.place(&raw(0, TrackKind::Video, Some(dts), key), self.now);
        self.cuts.extend(placed.iter().filter_map(|placed| placed.cut));
        placed
    }

    fn audio_at(&mut self, dts: u64) -> Result<Placed, DropReason> {
        self.timeline.place(&raw(1, TrackKind::Audio, Some(dts), Key::Idr), self.now)
    }

    /// One frame of video, and the audio that goes with it, after 40 ms.
    fn step(&mut self) -> Result<Placed, DropReason> {
        self.now = self.now.plus_us(40_000);
        let dts = self.base + self.frame * 3_600;
        self.timeline.pcr((dts.wrapping_sub(45_000) % WRAP_33) * 300, false, self.now);
        let key = if self.frame.is_multiple_of(self.gop) { Key::Idr } else { Key::None };
        self.frame += 1;
        let placed = self.video_at(dts, key);
        let _ = self.audio_at(dts.wrapping_sub(27_000));
        placed
    }

    fn steps(&mut self, count: u64) -> Vec<Placed> {
        (0..count).map(|n| self.step().unwrap_or_else(|why| panic!("frame {n}: {why:?}"))).collect()
    }
}

fn raw(track: u16, kind: TrackKind, dts: Option<u64>, key: Key) -> RawTiming {
    let dts = dts.map(Ts33::new);
    RawTiming { track: TrackId(track), kind, pts: dts, dts, key, header_len: 0, corrupt: false }
}

fn numbers(segment: u64, discontinuity_sequence: u64) -> Option<Numbers> {
    Some(Numbers { segment, discontinuity_sequence })
}

#[test]
fn an_epoch_never_begins_below_what_is_known() {
    assert_eq!(Epoch::begin(None, START).id, 1_800_000_000);
    assert_eq!(Epoch::begin(numbers(7, 0), START).id, 1_800_000_000);
    assert_eq!(Epoch::begin(numbers(1_900_000_000, 0), START).id, 1_900_000_001);
    assert_eq!(Epoch::begin(numbers(7, 900_000), START).discontinuity_sequence, 900_001);
}

#[test]
fn epochs_a_segment_apart_differ_in_discontinuity_sequence() {
    let later = START.plus_us(4_000_000);
    let [first, restarted] = [START, later].map(|now| Epoch::begin(None, now).discontinuity_sequence);
    assert_eq!((first, restarted), (FIRST_DISCONTINUITY_SEQUENCE, FIRST_DISCONTINUITY_SEQUENCE + 1));
    assert_eq!(Epoch::begin(numbers(0, restarted), later).discontinuity_sequence, restarted + 1);
}

#[test]
fn the_first_key_is_the_wall_clock() {
    let mut script = Script::new(123_456, 50);
    script.frame = 3;
    while script.step().is_err() {}
    let first = script.cuts[0];
    assert_eq!(first.start, MediaTime::from_unix_us(script.now.unix_us));
    assert_eq!(first.segment, 1_800_000_000);
    assert_eq!(first.discontinuity_sequence, FIRST_DISCONTINUITY_SEQUENCE);
    assert_eq!((first.independent, first.discontinuity, first.previous_duration), (true, false, 0));
}

#[test]
fn cuts_at_keys_over_a_wrap() {
    let mut script = Script::new(WRAP_33 - 300_000, 50);
    let placed = script.steps(500);
    assert!(placed.windows(2).all(|pair| pair[1].meta.dts - pair[0].meta.dts == 3_600));
    assert!(placed.iter().all(|placed| placed.meta.dts - placed.meta.pcr.unwrap() == 45_000));
    assert_eq!(script.cuts.len(), 10);
    assert!(
        script.cuts[1..].iter().all(|cut| cut.previous_duration == 180_000 && cut.independent && !cut.discontinuity)
    );
    assert!(script.cuts.windows(2).all(|pair| pair[1].segment == pair[0].segment + 1));
}

#[test]
fn a_long_gop_is_cut_at_the_limit() {
    let mut script = Script::new(0, 250);
    script.steps(500);
    let starts: Vec<_> =
        script.cuts.iter().map(|cut| ((cut.start - script.cuts[0].start) / 3_600, cut.independent)).collect();
    assert_eq!(starts, [(0, true), (100, false), (200, false), (250, true), (350, false), (450, false)]);
}

#[test]
fn audio_before_the_first_cut_is_dropped_and_then_kept() {
    let mut script = Script::new(90_000, 50);
    assert_eq!(script.audio_at(0), Err(DropReason::BeforeFirstKey));
    script.step().unwrap();
    assert_eq!(script.audio_at(89_999), Err(DropReason::BeforeFirstKey));
    let audio = script.audio_at(90_000).unwrap();
    assert_eq!(audio.meta.dts, script.cuts[0].start);
    assert!(!audio.meta.discontinuity && audio.cut.is_none());
}

#[test]
fn a_jump_goes_on_one_frame_later_for_every_track() {
    let mut script = Script::new(900_000_000, 50);
    script.steps(70);
    let last = script.step().unwrap().meta;
    let (video_last, audio_last) = (last.dts, last.dts + -27_000);
    // Video crosses by 10 h, audio is still on the old side for a few frames.
    let dts = script.base + 71 * 3_600;
    let jump = 36_000 * 90_000;
    script.timeline.pcr((dts + jump - 45_000) * 300, false, script.now);
    let video = script.video_at(dts + jump, Key::None).unwrap();
    assert_eq!(video.meta.dts - video_last, 3_600);
    assert!(video.meta.discontinuity && video.cut.is_none());
    let old = script.audio_at(dts - 27_000).unwrap().meta;
    assert_eq!((old.dts - audio_last, old.discontinuity), (3_600, false));
    let new = script.audio_at(dts + jump - 23_400).unwrap().meta;
    assert_eq!((new.dts - old.dts, new.discontinuity), (3_600, true));
    let key = script.video_at(dts + jump + 3_600, Key::Idr).unwrap();
    let cut = key.cut.unwrap();
    assert!(cut.discontinuity && !key.meta.discontinuity);
    assert_eq!(cut.discontinuity_sequence, FIRST_DISCONTINUITY_SEQUENCE + 1);
}

#[test]
fn a_reconnect_without_loss_is_not_seen() {
    let mut script = Script::new(0, 50);
    let before = script.steps(1_600);
    script.timeline.source_break(script.now);
    script.frame -= 100; // sends 4 s again
    for _ in 0..100 {
        assert_eq!(script.step(), Err(DropReason::Backwards));
    }
    let after = script.step().unwrap().meta;
    assert_eq!((after.dts - before[1_599].meta.dts, after.discontinuity), (3_600, false));
}

#[test]
fn a_reconnect_with_loss_waits_for_a_key() {
    let mut script = Script::new(0, 50);
    let before = script.steps(1_600);
    script.timeline.source_break(script.now);
    script.frame += 110;
    script.now = script.now.plus_us(4_400_000);
    let mut dropped = 0;
    let after = loop {
        match script.step() {
            Ok(placed) => break placed,
            Err(reason) => assert_eq!(reason, DropReason::BeforeFirstKey),
        }
        dropped += 1;
    };
    assert_eq!(dropped, 40);
    assert_eq!(after.meta.dts - before[1_599].meta.dts, ticks_from_us(151 * 40_000));
    assert!(after.meta.discontinuity && after.cut.unwrap().discontinuity);
    assert_eq!(after.cut.unwrap().previous_duration, 180_000);
}

#[test]
fn a_new_picture_size_breaks_at_the_next_key_once() {
    let mut script = Script::new(0, 50);
    script.steps(60);
    script.timeline.set_tracks(&[video(0, Some(1_080)), audio(1, 48_000)]);
    script.steps(100);
    let breaks: Vec<_> = script.cuts.iter().map(|cut| cut.discontinuity).collect();
    assert_eq!(breaks, [false, false, true, false]);
}

#[test]
fn a_silent_reference_is_stood_in_for() {
    let mut script = Script::new(0, 50);
    script.steps(100);
    let mut cuts = 0;
    for frame in 100..1_000 {
        script.now = script.now.plus_us(40_000);
        cuts += script.audio_at(frame * 3_600).unwrap().cut.map_or(0, |cut| {
            assert!(!cut.independent && cut.previous_duration <= 4 * 90_000 + 44_999);
            1
        });
    }
    assert!((15..=18).contains(&cuts), "{cuts} cuts in 36 s");
    script.frame = 1_000;
    let back = script.step().unwrap();
    assert!(back.cut.is_some_and(|cut| cut.independent));
}

#[test]
fn no_time_before_any_then_counted_on() {
    let mut script = Script::new(0, 50);
    let silent = raw(0, TrackKind::Video, None, Key::Idr);
    assert_eq!(script.timeline.place(&silent, START), Err(DropReason::NoTime));
    let last = script.steps(3)[2].meta.dts;
    assert_eq!(script.timeline.place(&silent, script.now).unwrap().meta.dts - last, 3_600);
}

#[test]
fn a_section_without_time_comes_with_the_reference_and_its_offset_follows_jumps() {
    let mut script = Script::new(WRAP_33 - 90_000, 50);
    let cue = raw(2, TrackKind::Data, None, Key::Idr);
    assert!(script.timeline.place(&cue, script.now).is_err(), "there is no time yet");
    for jump in [0, 36_000 * 90_000] {
        script.base += jump;
        let video = script.steps(60).pop().unwrap().meta;
        let source = Ts33::new(script.base + (script.frame - 1) * 3_600);
        for later in [0, 1] {
            let placed = script.timeline.place(&cue, script.now).unwrap();
            assert_eq!((placed.meta.dts - video.dts, placed.cut), (later, None));
        }
        let offset_90k = script.timeline.offset_90k(cue.track).unwrap();
        assert_eq!(source.offset(offset_90k), video.dts.wrapped());
    }
    script.timeline.source_break(script.now);
    assert_eq!(script.timeline.offset_90k(cue.track), None);
}

#[test]
fn a_gop_as_long_as_the_longest_segment_is_cut_at_its_keys() {
    use super::cuts::{Candidate, Cutter};
    let config = TimelineConfig { segment_target_ms: 2_000, segment_max_ms: 2_000 };
    let mut cutter = Cutter::new(&config, Epoch::begin(None, START));
    // Decoding order of one GOP of 50 pictures with two B pictures between references, by display number.
    let order: Vec<i64> =
        [0].into_iter().chain((0..16).flat_map(|n| [3 * n + 3, 3 * n + 1, 3 * n + 2])).chain([49]).collect();
    let mut cuts = Vec::new();
    for gop in 0..6 {
        for &picture in &order {
            let key = if picture == 0 { Key::Idr } else { Key::None };
            let pts = MediaTime((gop * 50 + picture) * 3_600);
            cuts.extend(cutter.offer(Candidate { pts, duration: 3_600, key, age_s: (gop * 2) as u64 }));
        }
    }
    // The first GOP is not known to be one yet: a cut may be forced in it.
    let tail = &cuts[cuts.len() - 4..];
    assert!(tail.iter().all(|cut| cut.independent), "{tail:?}");
    assert!(tail.iter().skip(1).all(|cut| cut.previous_duration == 180_000), "{tail:?}");
}

#[test]
fn audio_stands_in_with_whole_segments_however_long_the_gops_were() {
    let mut script = Script::new(900_000, 300);
    script.steps(650);
    let video_end = script.base + script.frame * 3_600;
    let mut cuts = Vec::new();
    for n in 0..20 * 25 {
        script.now = script.now.plus_us(40_000);
        let dts = video_end + n * 3_600;
        script.timeline.pcr((dts - 45_000) * 300, false, script.now);
        cuts.extend(script.audio_at(dts - 27_000).ok().and_then(|placed| placed.cut));
    }
    assert!((6..=10).contains(&cuts.len()), "{} segments of 17 s", cuts.len());
    assert!(cuts.windows(2).all(|pair| pair[1].start - pair[0].start >= 180_000), "{cuts:?}");
}
