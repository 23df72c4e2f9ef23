//! The CMAF packager on feeds made by hand, its stores read back through a box walker that shares no code with it: live, cuts, breaks, new
//! init segments, tracks that come late, fall silent, lag or go, losses, backfill, the sliding window.

#[path = "../support/cmaf.rs"]
mod isobmff;
mod rig;

use bytes::Bytes;
use isobmff::Chunk;
use millrace::es::{Codec, Key, SampleMeta, Track};
use millrace::limits::{BLOCK_BYTES, PULL_BYTES_MAX};
use millrace::package::cmaf::{CmafSegment, RenditionSnapshot};
use millrace::package::{Feed, Packager, Pulled};
use millrace::store::Arena;
use rig::{
    AUDIO, FRAME, GOP, Rig, SECOND, START, VIDEO, audio, meta, periods, playlist, read, rendition_id, track, video,
};
use std::collections::VecDeque;

/// Every served segment of a rendition: begins as it must, and time goes on without a hole from chunk to chunk and segment to segment.
#[track_caller]
fn assert_whole(rendition: &RenditionSnapshot) {
    let mut end = None;
    let mut pos = None;
    for segment in &rendition.segments {
        assert!(!segment.is_gap(), "{segment:?}");
        let chunks = read(rendition, segment);
        assert!(chunks[0].begins_segment && chunks[1..].iter().all(|chunk| !chunk.begins_segment));
        let first = chunks[0].samples[0];
        assert!(first.is_sync || !segment.segment.cut.independent);
        assert_eq!(chunks[0].base + first.composition_offset as u64, segment.time);
        let (ntp, media_time) = chunks[0].produced.expect("prft");
        assert_eq!((ntp >> 32, media_time), (segment.unix_us / 1_000_000 + 2_208_988_800, segment.time));
        for chunk in &chunks {
            assert!(end.is_none_or(|end| end == chunk.base), "{end:?}, then {}", chunk.base);
            end = Some(chunk.end());
        }
        assert!(pos.is_none_or(|pos| pos == segment.segment.range.start), "ranges adjoin");
        pos = Some(segment.segment.range.end);
    }
    let times = rendition.segments.windows(2).map(|pair| (pair[0].time + pair[0].duration, pair[1].time));
    times.for_each(|(end, next)| assert_eq!(end, next, "S@d"));
}

/// Segments of one number begin together, to a frame of each.
#[track_caller]
fn assert_aligned(rig: &Rig) {
    let (video, audio) = (rig.rendition(VIDEO), rig.rendition(AUDIO));
    let mut pairs = 0;
    for picture in &video.segments {
        let Some(sound) = audio.segments.iter().find(|s| s.segment.number() == picture.segment.number()) else {
            continue;
        };
        let timescale = audio.init(sound.init).unwrap().timescale as i64;
        let apart = (sound.time as i128 * 90_000 / timescale as i128) as i64 - picture.time as i64;
        assert!((0..1_920 + FRAME).contains(&apart), "{} apart: {picture:?}, {sound:?}", apart);
        let said = |s: &CmafSegment| (s.segment.cut.discontinuity, s.segment.cut.discontinuity_sequence);
        assert_eq!(said(picture), said(sound));
        pairs += 1;
    }
    assert!(pairs >= 4);
}

#[test]
fn a_minute_live_is_whole_and_aligned_whatever_the_audio_lag() {
    for audio_lag in [-2 * SECOND, -18_000, 0, 45_000, 2 * SECOND] {
        let mut rig = Rig::new();
        rig.audio_lag = audio_lag;
        rig.play(60);
        assert_whole(&rig.rendition(VIDEO));
        assert_whole(&rig.rendition(AUDIO));
        assert_aligned(&rig);
        // Audio before the first cut belongs to no segment; none is lost behind it.
        assert!(rig.stats().dropped <= 10, "{:?}", rig.stats());
        let newest = rig.rendition(AUDIO).segments.last().unwrap().segment.number();
        assert!(newest + 3 >= rig.next_segment, "{newest}, {}", rig.next_segment);
    }
}

#[test]
fn the_window_slides_and_what_is_served_is_there() {
    let mut rig = Rig::new();
    rig.picture_bytes = 20_000;
    rig.play(180);
    for id in [VIDEO, AUDIO] {
        let rendition = rig.rendition(id);
        let (served, listed) = (rendition.segments.len(), rendition.listed().len());
        assert!(listed == 5 && (served <= 14), "{served} served, {listed} listed");
        let first = rendition.segments[0].segment.range.start;
        let blocks = (rendition.store.published() - first) as usize / BLOCK_BYTES + 2;
        assert!(rendition.store.held_blocks() <= blocks, "{} > {blocks}", rendition.store.held_blocks());
        let playlist = playlist(&rendition);
        assert_eq!((playlist.entries.len(), playlist.target_duration_s), (5, 3));
        assert!(playlist.independent);
    }
}

#[test]
fn a_forced_cut_is_not_independent_and_its_leading_pictures_stay_with_it() {
    let mut rig = Rig::new();
    rig.play(7);
    // A P picture in the middle of the GOP becomes a cut.
    let n = rig.pictures;
    assert_eq!(n % GOP % 3, 1);
    rig.step();
    rig.step();
    let pts = START + rig.pictures * FRAME + 4 * FRAME;
    rig.cut(pts, Key::None);
    rig.play(8);
    let video = rig.rendition(VIDEO);
    assert_whole(&video);
    let forced = video.segments.iter().find(|s| s.segment.cut.start.0 == pts).expect("the forced cut");
    assert_eq!(forced.time, pts as u64);
    assert!(!forced.segment.cut.independent && !playlist(&video).independent);
    let samples = &read(&video, forced)[0].samples;
    // The two B pictures behind it are shown before it.
    assert_eq!(samples[1].composition_offset - samples[0].composition_offset, -3 * FRAME as i32);
    assert_aligned(&rig);
}

#[test]
fn a_pause_is_a_discontinuity_of_all_and_in_no_segments_duration() {
    let mut rig = Rig::new();
    rig.play(20);
    // The source is gone for 20 s and comes back at a key.
    for ring in &mut rig.feed.rings {
        ring.ring.source_mut().unwrap().push_gap();
    }
    rig.shift += 20 * SECOND;
    rig.breaks = true;
    rig.play(9);
    let snapshot = rig.snapshot();
    let number = rig.feed.cuts.iter().find(|cut| cut.discontinuity).unwrap().segment;
    for id in [VIDEO, AUDIO] {
        let rendition = rig.rendition(id);
        let playlist = playlist(&rendition);
        let entry = &playlist.entries[(number - playlist.media_sequence) as usize];
        assert!(entry.discontinuity && entry.date.is_some());
        assert_eq!(entry.discontinuity_sequence, 8);
        assert!(playlist.entries.iter().all(|entry| entry.ticks <= 3 * SECOND + 45_000));
        let before = rendition.segments.iter().find(|s| s.segment.number() == number - 1).unwrap();
        let timescale = u64::from(rendition.init(before.init).unwrap().timescale);
        assert!(before.duration <= 21 * timescale / 10, "{before:?} holds the pause");
    }
    assert_aligned(&rig);
    let periods = periods(&snapshot);
    assert_eq!(periods.last().unwrap().id, number);
    assert_eq!(periods.last().unwrap().representations.len(), 2);
}

#[test]
fn new_parameter_sets_are_an_init_segment_a_discontinuity_and_a_period() {
    let mut rig = Rig::new();
    rig.play(20);
    rig.describe(&video(30));
    let number = rig.next_segment;
    rig.play(8);
    let (video, audio) = (rig.rendition(VIDEO), rig.rendition(AUDIO));
    assert_whole(&video);
    assert_whole(&audio);
    assert_aligned(&rig);
    for rendition in [&video, &audio] {
        let at = |n: u64| rendition.segments.iter().find(|s| s.segment.number() == n).unwrap();
        assert!(at(number).segment.cut.discontinuity && !at(number + 1).segment.cut.discontinuity);
        assert_eq!(at(number).segment.cut.discontinuity_sequence, 8);
        assert_eq!(at(number + 1).segment.cut.discontinuity_sequence, 8);
        assert_eq!(at(number - 1).segment.cut.discontinuity_sequence, 7);
    }
    assert_eq!(video.inits.len(), 2);
    let [old, new] = [0, 1].map(|index: usize| video.inits[index].hash);
    assert_ne!(old, new);
    assert!(video.segments.iter().all(|s| s.init == if s.segment.number() >= number { new } else { old }));
    let periods = periods(&rig.snapshot());
    assert_eq!(periods.last().unwrap().id, number);
    rig.play(60);
    let video = rig.rendition(VIDEO);
    assert_eq!(video.inits.len(), 1, "the old one is forgotten");
    assert!(video.segments.iter().all(|segment| segment.init == video.inits[0].hash));
    assert_eq!(playlist(&video).entries[0].discontinuity_sequence, 8, "the sequence holds when the break slid out");
}

#[test]
fn another_language_costs_no_sample_and_another_config_a_part_of_a_segment() {
    let mut rig = Rig::new();
    rig.play(21);
    let dropped = rig.stats().dropped;
    let first = rig.rendition(AUDIO).inits[0].hash;
    rig.describe(&Track { language: Some(*b"deu"), ..audio(AUDIO, 48_000, 2) });
    rig.play(9);
    assert_eq!(rig.stats().dropped, dropped);
    let sound = rig.rendition(AUDIO);
    assert_whole(&sound);
    let second = sound.segments.last().unwrap().init;
    assert_ne!(second, first);
    assert!(sound.segments.iter().all(|s| !s.segment.cut.discontinuity));
    rig.describe(&audio(AUDIO, 48_000, 1));
    rig.play(9);
    assert!(rig.stats().dropped > dropped);
    let third = rig.rendition(AUDIO).segments.last().unwrap().init;
    assert!(third != first && third != second);
    assert_aligned(&rig);
    let last = periods(&rig.snapshot()).pop().unwrap();
    assert!(last.representations.iter().any(|r| r.id == "a1" && r.init == third), "{last:?}");
}

#[test]
fn another_sampling_rate_is_another_timescale() {
    let mut rig = Rig::new();
    rig.play(20);
    rig.describe(&audio(AUDIO, 44_100, 2));
    rig.play(10);
    let sound = rig.rendition(AUDIO);
    let last = sound.segments.last().unwrap();
    let init = last.init;
    assert_eq!(sound.init(init).unwrap().timescale, 44_100);
    assert_aligned(&rig);
    let last = periods(&rig.snapshot()).pop().unwrap();
    let sound = last.representations.iter().find(|r| r.id == "a1").unwrap();
    assert_eq!((sound.timescale, sound.init), (44_100, init));
}

#[test]
fn a_codec_that_cmaf_does_not_carry_leaves_gaps_and_not_its_bytes() {
    let mut rig = Rig::new();
    rig.play(20);
    rig.describe(&track(AUDIO, Codec::Mp2, None));
    let written = rig.rendition(AUDIO).store.published();
    let samples = rig.stats().samples;
    rig.play(10);
    let added = rig.stats().samples - samples;
    assert!((240..=260).contains(&added), "{added} samples: pictures alone, in 10 s");
    assert!(rig.rendition(AUDIO).store.published() <= written + 30_000);
    assert!(rig.rendition(AUDIO).segments.last().unwrap().is_gap());
    assert!(playlist(&rig.rendition(AUDIO)).entries.last().unwrap().gap);
    rig.describe(&audio(AUDIO, 48_000, 2));
    rig.play(8);
    assert!(!rig.rendition(AUDIO).segments.last().unwrap().is_gap());
}

#[test]
fn a_silent_track_becomes_gaps_that_keep_their_numbers() {
    let mut rig = Rig::new();
    rig.play(20);
    rig.silent = vec![AUDIO];
    rig.play(12);
    let (video, sound) = (rig.rendition(VIDEO), rig.rendition(AUDIO));
    let newest = |r: &RenditionSnapshot| r.segments.last().unwrap().segment.number();
    assert!(newest(&sound) + 3 >= newest(&video));
    assert!(sound.segments.last().unwrap().is_gap());
    assert!(sound.segments.windows(2).all(|pair| pair[0].time < pair[1].time));
    let text = std::str::from_utf8(&sound.playlist.body).unwrap();
    assert!(text.contains("#EXT-X-GAP\n"), "{text}");
    assert!(!rig::shown(&rig.snapshot()).mpd.is_empty());
    rig.silent.clear();
    rig.play(10);
    assert!(!rig.rendition(AUDIO).segments.last().unwrap().is_gap());
    assert_whole(&rig.rendition(VIDEO));
    let sound = rig.rendition(AUDIO);
    let numbers: Vec<u64> = sound.segments.iter().map(|s| s.segment.number()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
}

#[test]
fn a_track_that_comes_late_joins_and_one_that_goes_is_forgotten() {
    let mut rig = Rig::new();
    rig.play(20);
    rig.describe(&audio(2, 48_000, 2));
    rig.play(10);
    assert_whole(&rig.rendition(2));
    let multivariant = rig::shown(&rig.snapshot()).multivariant.body.clone();
    assert!(std::str::from_utf8(&multivariant).unwrap().contains("/a2/media.m3u8"));
    // Its ring goes before the lane, which waits for the reference, has read its end.
    rig.audio_lag = -SECOND;
    rig.play(1);
    rig.ring(2).push_end();
    rig.feed.rings.retain(|ring| ring.id.track.0 != 2);
    rig.play(60);
    assert_eq!(rig.snapshot().renditions.len(), 2, "it is served for ever");
    assert_whole(&rig.rendition(AUDIO));
}

#[test]
fn sound_alone_is_cut_by_a_reference_that_cmaf_does_not_carry() {
    let mut rig = Rig::with_tracks(&[track(VIDEO, Codec::Mpeg2Video, None), audio(AUDIO, 48_000, 2)]);
    rig.play(30);
    let snapshot = rig.snapshot();
    assert_eq!(snapshot.renditions.len(), 1);
    assert_whole(&rig.rendition(AUDIO));
    let shown = rig::shown(&snapshot);
    let text = std::str::from_utf8(&shown.multivariant.body).unwrap();
    assert!(text.contains("/a1/media.m3u8") && !text.contains("v0"), "{text}");
    assert!(rig.rendition(AUDIO).segments.last().unwrap().segment.number() + 2 >= rig.next_segment);
}

#[test]
fn parameters_that_come_late_begin_at_a_key() {
    let mut rig = Rig::with_tracks(&[track(VIDEO, Codec::H264, None), audio(AUDIO, 48_000, 2)]);
    rig.play(7);
    assert_eq!(rig.snapshot().renditions.len(), 1);
    rig.describe(&video(45));
    rig.play(10);
    let video = rig.rendition(VIDEO);
    assert_whole(&video);
    assert!(video.segments[0].segment.cut.independent);
    let periods = periods(&rig.snapshot());
    let sound: usize =
        periods.iter().flat_map(|p| &p.representations).filter(|r| r.id == "a1").map(|r| r.segments.len()).sum();
    assert_eq!(sound, rig.rendition(AUDIO).listed().len(), "segments before the video's first are in a Period");
}

#[test]
fn a_segment_that_begins_late_is_as_much_shorter() {
    let mut rig = Rig::new();
    rig.play(10);
    // The cut's own picture is lost with the rest of the GOP before, and a key comes a second later.
    rig.silent = vec![VIDEO];
    rig.play(1);
    rig.silent.clear();
    let key = START + rig.pictures * FRAME + FRAME;
    rig.picture(key - FRAME, key, Key::Idr);
    rig.pictures += 1;
    rig.play(9);
    let video = rig.rendition(VIDEO);
    for pair in video.segments.windows(2) {
        assert!(pair[0].time + pair[0].duration <= pair[1].time, "{pair:?}");
        assert_eq!(pair[0].duration as i64, pair[0].segment.duration_90k);
    }
    let late = video.segments.iter().find(|s| s.time as i64 == key).expect("a segment at the key");
    assert!(late.segment.cut.start.0 < key && late.segment.cut.independent);
}

#[test]
fn a_sample_of_which_nothing_is_left_does_not_move_those_behind_it() {
    let mut rig = Rig::new();
    rig.play(11);
    let dts = START + rig.pictures * FRAME;
    // A delimiter and nothing else.
    let only_delimiter = [0, 0, 0, 1, 9, 0xf0];
    rig.push(VIDEO, meta(dts, dts + FRAME, Key::None), &only_delimiter);
    rig.pictures += 1;
    rig.audio_until(dts);
    rig.play(9);
    let video = rig.rendition(VIDEO);
    let chunks: Vec<Chunk> = video.segments.iter().flat_map(|segment| read(&video, segment)).collect();
    // What comes behind stands where its stamp says, and every picture but that one is there.
    let decode_times = chunks.iter().flat_map(|chunk| {
        chunk.samples.iter().scan(chunk.base, |time, sample| {
            let at = *time;
            *time += u64::from(sample.duration);
            Some(at as i64 - START)
        })
    });
    let times: Vec<i64> = decode_times.collect();
    assert!(times.iter().all(|time| time % FRAME == 0) && !times.contains(&(dts - START)));
    let expected: Vec<i64> =
        (times[0] / FRAME..).map(|n| n * FRAME).filter(|t| *t != dts - START).take(times.len()).collect();
    assert_eq!(times, expected);
}

#[test]
fn a_lapped_packager_goes_on_at_the_next_cut() {
    let mut rig = Rig::new();
    rig.play(20);
    let packager = rig.packager.take();
    (0..100 * 25).for_each(|_| rig.step());
    rig.packager = packager;
    rig.play(12);
    assert!(rig.stats().lost > 300, "{:?}", rig.stats());
    let video = rig.rendition(VIDEO);
    let media: Vec<&CmafSegment> = video.segments.iter().filter(|s| !s.is_gap()).collect();
    assert!(media.len() >= 4);
    for segment in &media {
        let chunks = read(&video, segment);
        assert!(chunks[0].begins_segment && chunks[0].samples[0].is_sync);
        assert_eq!(segment.time as i64, segment.segment.cut.start.0);
    }
    let numbers: Vec<u64> = video.segments.iter().map(|s| s.segment.number()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
}

#[test]
fn a_full_arena_leaves_gaps_and_media_comes_back() {
    let mut rig = Rig::new();
    rig.arena = Arena::new(3 << 20).unwrap();
    rig.picture_bytes = 30_000;
    rig.play(60);
    assert!(rig.stats().store_full > 0);
    for id in [VIDEO, AUDIO] {
        let rendition = rig.rendition(id);
        assert!(rendition.segments.iter().any(|s| s.is_gap()) || id == AUDIO);
        for segment in rendition.segments.iter().filter(|s| !s.is_gap()) {
            assert!(read(&rendition, segment)[0].begins_segment);
        }
    }
    rig.picture_bytes = 900;
    rig.play(60);
    assert_whole(&rig.rendition(VIDEO));
    assert_whole(&rig.rendition(AUDIO));
}

#[test]
fn a_backfill_over_the_budget_loses_nothing_and_shows_nothing_halfway() {
    let mut rig = Rig::new();
    rig.picture_bytes = 40_000;
    (0..19 * 25).for_each(|_| rig.step());
    assert!(12 * 25 * rig.picture_bytes > 2 * PULL_BYTES_MAX);
    rig.package();
    let shown = |rig: &Rig| !rig::shown(&rig.snapshot()).multivariant.is_empty();
    let mut pulls = 0;
    loop {
        let snapshot = rig.snapshot();
        let sound = snapshot.rendition(rendition_id(AUDIO)).is_some_and(|r| !r.segments.is_empty());
        assert!(!shown(&rig) || sound, "shown without its audio");
        let feed = std::mem::replace(&mut rig.feed, Feed { rings: Vec::new(), cuts: VecDeque::new() });
        let pulled = rig.packager.as_mut().unwrap().pull(&feed, rig.now);
        rig.feed = feed;
        if pulled == Pulled::All {
            break;
        }
        pulls += 1;
    }
    assert!(pulls >= 1 && shown(&rig));
    assert_whole(&rig.rendition(VIDEO));
    assert_whole(&rig.rendition(AUDIO));
    assert_aligned(&rig);
    rig.play(4);
    assert_whole(&rig.rendition(AUDIO));
    assert_aligned(&rig);
}

#[test]
fn frames_of_44_1_khz_are_counted_and_not_rounded() {
    let mut rig = Rig::with_tracks(&[video(45), audio(AUDIO, 44_100, 2)]);
    rig.frames.clear();
    rig.package();
    let mut frames = 0;
    for _ in 0..30 * 25 {
        rig.step();
        let dts = START + rig.pictures * FRAME;
        // Stamps are whole milliseconds, as of an encoder that comes from FLV.
        while START + frames * 1_024 * 90_000 / 44_100 <= dts {
            let at = START + frames * 1_024 * 1_000 / 44_100 * 90;
            rig.push(AUDIO, SampleMeta { header_len: 7, ..meta(at, at, Key::Idr) }, &[0xaa; 207]);
            frames += 1;
        }
        rig.pull();
    }
    let sound = rig.rendition(AUDIO);
    assert_whole(&sound);
    let durations = sound.segments.iter().flat_map(|segment| read(&sound, segment)).flat_map(|chunk| chunk.samples);
    assert!(durations.map(|sample| sample.duration).all(|duration| duration == 1_024));
    assert_aligned(&rig);
}

#[test]
fn the_multivariant_playlist_waits_for_a_late_track_and_not_for_ever() {
    let mut rig = Rig::new();
    rig.silent = vec![AUDIO];
    rig.play(3);
    assert!(!rig.rendition(VIDEO).segments.is_empty() && rig::shown(&rig.snapshot()).multivariant.is_empty());
    rig.play(6);
    let text = rig::shown(&rig.snapshot()).multivariant.body.clone();
    assert!(std::str::from_utf8(&text).unwrap().contains("/a1/media.m3u8"));
    assert!(Bytes::is_empty(&rig.rendition(AUDIO).playlist.body));
}

#[test]
fn pictures_of_a_new_init_segment_begin_at_a_key_even_where_a_cut_is_forced() {
    let mut rig = Rig::new();
    rig.play(7);
    // New parameter sets come with a key that begins no segment, and then a cut is forced.
    let old = rig.rendition(VIDEO).inits[0].hash;
    rig.describe(&video(30));
    let dts = START + rig.pictures * FRAME;
    rig.picture(dts, dts + 4 * FRAME, Key::Idr);
    rig.pictures += 1;
    while rig.pictures % GOP % 3 != 0 {
        rig.step();
    }
    rig.cut(START + rig.pictures * FRAME + 4 * FRAME, Key::None);
    rig.play(9);
    let video = rig.rendition(VIDEO);
    let first = video.segments.iter().find(|segment| segment.init != old && !segment.is_gap()).expect("it takes over");
    assert!(read(&video, first)[0].samples[0].is_sync && first.segment.cut.independent);
    let numbers: Vec<u64> = video.segments.iter().map(|s| s.segment.number()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
}

#[test]
fn a_description_that_was_taken_back_leaves_no_picture_without_its_key() {
    let mut rig = Rig::new();
    rig.play(7);
    let old = rig.rendition(VIDEO).inits[0].hash;
    rig.describe(&video(30));
    (0..5).for_each(|_| rig.step());
    rig.describe(&video(45));
    rig.play(9);
    let video = rig.rendition(VIDEO);
    assert!(video.segments.iter().all(|segment| segment.init == old));
    for segment in &video.segments {
        let chunks = read(&video, segment);
        // Behind the pictures that went nothing comes before the next key.
        let holes = chunks.windows(2).filter(|pair| pair[0].end() != pair[1].base);
        holes.for_each(|pair| assert!(pair[1].samples[0].is_sync, "{segment:?}"));
    }
    let pictures: usize = video.segments.iter().flat_map(|s| read(&video, s)).map(|chunk| chunk.samples.len()).sum();
    assert_eq!(pictures % GOP as usize, 25, "one GOP lost its second half");
}
