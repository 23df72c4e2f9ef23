//! The pipelines of libav: what they make is decoded again by libav and held against what went in. Then damage: flipped bits, cut and lost
//! access units, sizes that change; nothing may crash, go back in time or grow.
//!
//! Sources are made here, by the pipelines themselves from the synthetic origin's picture. With MILLRACE_FULL=1 each codec gets ten minutes of damaged media.
#![cfg(feature = "libav")]

mod rig;

use millrace::es::{Codec, Key, Params};
use millrace::transcode::pipeline::Pipeline;
use rig::{
    AUDIO, Collected, Sample, Source, VIDEO, audio_pipeline, collect, decode_pictures, decode_sound, source,
    video_pipeline,
};

const VIDEO_CODECS: [(&str, Codec); 6] = [
    ("h264", Codec::H264),
    ("h265", Codec::H265),
    ("vp9", Codec::Vp9),
    ("vp8", Codec::Vp8),
    ("av1", Codec::Av1),
    ("mpeg2", Codec::Mpeg2Video),
];
const AUDIO_CODECS: [(&str, Codec); 6] = [
    ("aac", Codec::Aac),
    ("opus", Codec::Opus),
    ("mp3", Codec::Mp3),
    ("mp2", Codec::Mp2),
    ("ac3", Codec::Ac3),
    ("eac3", Codec::Eac3),
];

#[test]
fn pictures_of_every_codec_decode_again_with_keys_where_the_source_has_them() {
    let source = source(4);
    for (name, codec) in VIDEO_CODECS {
        let made = collect(&source, VIDEO, &[&format!("{name}-180p-300k")]);
        let out = &made[0];
        let track = out.tracks.first().unwrap_or_else(|| panic!("{name} is described"));
        let Some(Params::Video(params)) = &track.params else { panic!("{name} is video") };
        assert_eq!(
            (track.codec, params.width, params.height, params.frame_rate),
            (codec, 320, 180, Some((25, 1))),
            "{name}"
        );
        assert!(codec == Codec::Mpeg2Video || !params.rfc6381.is_empty(), "{name}: {params:?}");
        let keys = |samples: &[Sample]| -> Vec<i64> {
            samples.iter().filter(|sample| sample.meta.key > Key::None).map(|sample| sample.meta.pts.0).collect()
        };
        let of_source = &source.samples[VIDEO as usize];
        assert_eq!(keys(&out.samples), keys(of_source), "{name}: keys");
        assert!(out.samples.windows(2).all(|two| two[0].meta.dts < two[1].meta.dts), "{name}: DTS grow");
        assert!(out.samples.len() >= of_source.len() - 4, "{name}: {} of {}", out.samples.len(), of_source.len());
        let pictures = decode_pictures(track, &out.samples);
        assert!(pictures.len() >= out.samples.len() - 2, "{name}: {} of {} decode", pictures.len(), out.samples.len());
        assert!(pictures.iter().all(|shape| (shape.width, shape.height) == (320, 180)), "{name}");
    }
}

#[test]
fn sound_of_every_codec_keeps_its_time() {
    let source = source(4);
    let begin = source.samples[AUDIO as usize][0].meta.pts.0;
    for (name, codec) in AUDIO_CODECS {
        let out = &collect(&source, AUDIO, &[name])[0];
        let track = out.tracks.first().unwrap_or_else(|| panic!("{name} is described"));
        let Some(Params::Audio(params)) = &track.params else { panic!("{name} is audio") };
        assert_eq!((track.codec, params.sample_rate, params.channels), (codec, 48_000, 2), "{name}");
        let frame = i64::from(params.frame_samples) * 90_000 / 48_000;
        for two in out.samples.windows(2) {
            let step = two[1].meta.pts.0 - two[0].meta.pts.0;
            assert!((step - frame).abs() <= 2, "{name}: frames follow each other, {step} and not {frame}");
        }
        // An encoder's delay lies before the first sample, and is told by the time stamp.
        let early = begin - out.samples[0].meta.pts.0;
        assert!((0..5_400).contains(&early), "{name}: begins {early} ticks before the source");
        let sound = decode_sound(track, &out.samples);
        assert!(sound >= 48_000 * 3, "{name}: {sound} samples decode");
    }
}

#[test]
fn a_later_output_joins_a_decoder_and_has_every_picture_once() {
    let source = source(8);
    let samples = &source.samples[VIDEO as usize];
    let keys: Vec<usize> = (0..samples.len()).filter(|i| samples[*i].meta.key > Key::None).collect();
    let (mut first, mut second) = (video_pipeline(&source), video_pipeline(&source));
    let mut sink = Collected::sinks(2);
    first.add(sink.id(0), "h264-180p-200k".parse().unwrap());
    second.add(sink.id(1), "h264-90p-100k".parse().unwrap());
    for (index, sample) in samples.iter().enumerate() {
        if index == keys[2] {
            second.drain(&mut sink).unwrap();
            let other = std::mem::replace(&mut second, video_pipeline(&source));
            first.join(other);
        }
        first.sample(&sample.meta, &sample.data, &mut sink).unwrap();
        if index < keys[2] && index >= keys[1] {
            second.sample(&sample.meta, &sample.data, &mut sink).unwrap();
        }
    }
    first.drain(&mut sink).unwrap();
    let shown = |from: usize| -> Vec<i64> {
        let mut pts: Vec<i64> = samples[from..].iter().map(|sample| sample.meta.pts.0).collect();
        pts.sort_unstable();
        pts
    };
    let of =
        |output: usize| -> Vec<i64> { sink.outputs[output].samples.iter().map(|sample| sample.meta.pts.0).collect() };
    assert_eq!(of(0), shown(keys[0]));
    assert_eq!(of(1), shown(keys[1]), "no picture twice, none missing");
    assert_eq!(sink.outputs.iter().map(|output| output.failures.len()).sum::<usize>(), 0);
}

#[test]
fn a_source_that_changes_its_size_goes_on_with_a_new_description() {
    let large = source(3);
    let small = large.scaled("h264-180p-300k");
    let both = large.followed_by(&small);
    let out = &collect(&both, VIDEO, &["vp9-300k"])[0];
    let sizes: Vec<(u32, u32)> = out
        .tracks
        .iter()
        .map(|track| match &track.params {
            Some(Params::Video(video)) => (video.width, video.height),
            _ => (0, 0),
        })
        .collect();
    assert_eq!((sizes, out.reconfigured), (vec![(640, 360), (320, 180)], 1));
    assert!(out.samples.windows(2).all(|two| two[0].meta.pts < two[1].meta.pts));
    // What is bounded stays as it is.
    let out = &collect(&both, VIDEO, &["h264-90p-100k"])[0];
    assert_eq!((out.tracks.len(), out.reconfigured), (1, 0));
}

#[test]
fn holes_in_sound_are_silence_and_longer_ones_a_break() {
    let source = source(6);
    for (lost, breaks) in [(20, 0), (150, 1)] {
        let mut holed = source.clone();
        holed.samples[AUDIO as usize].drain(60..60 + lost);
        let out = &collect(&holed, AUDIO, &["opus-64k"])[0];
        let steps = out.samples.windows(2).map(|two| two[1].meta.pts.0 - two[0].meta.pts.0);
        assert_eq!(steps.filter(|step| *step > 1_802).count(), breaks, "{lost} frames lost");
        let of_source = source.samples[AUDIO as usize].last().expect("sound").meta.pts.0;
        let end = out.samples.last().expect("sound").meta.pts.0;
        assert!((of_source - end).abs() < 9_000, "{lost} lost: the end is {} ticks off", of_source - end);
        assert_eq!(out.samples.iter().filter(|sample| sample.meta.discontinuity).count(), breaks);
        // What stood before the hole is all there, and the break is said of what stands behind it.
        let last = source.samples[AUDIO as usize][59].meta.pts.0;
        for two in out.samples.windows(2).filter(|two| two[1].meta.discontinuity) {
            assert!(
                two[0].meta.pts.0 > last - 1_920,
                "sound before the hole ends {} ticks early",
                last - two[0].meta.pts.0
            );
            assert!(two[1].meta.pts.0 - two[0].meta.pts.0 > 90_000, "the break stands elsewhere");
        }
    }
}

#[test]
fn sound_that_drifts_is_brought_back_slowly() {
    let mut source = source(4);
    // Two minutes of the same sound, whose stamps say that its clock is 300 ppm slow.
    let second: Vec<Sample> = source.samples[AUDIO as usize][..47].to_vec();
    let frame = 1_920.0 * 1.000_3;
    let begin = second[0].meta.pts.0;
    let samples = &mut source.samples[AUDIO as usize];
    samples.clear();
    for index in 0..47 * 120 {
        let mut sample = second[index % 47].clone();
        sample.meta.pts.0 = begin + (index as f64 * frame) as i64;
        sample.meta.dts = sample.meta.pts;
        samples.push(sample);
    }
    let end = samples.last().expect("sound").meta.pts.0;
    let out = &collect(&source, AUDIO, &["opus-64k"])[0];
    let off = end - out.samples.last().expect("sound").meta.pts.0;
    println!("after two minutes at 300 ppm (36 ms): {} ticks off", off);
    assert!(off.abs() < 90 * 70, "{off} ticks off");
    assert!(out.samples.iter().all(|sample| !sample.meta.discontinuity), "and never with a break");
}

#[test]
fn damage_is_counted_and_passed_over() {
    let source = source(4);
    let full = std::env::var("MILLRACE_FULL").is_ok_and(|full| full != "0");
    let seconds = if full { 600 } else { 60 };
    std::thread::scope(|scope| {
        for chunk in [&VIDEO_CODECS[..3], &VIDEO_CODECS[3..]] {
            let source = &source;
            scope.spawn(move || chunk.iter().for_each(|(name, _)| damaged_pictures(source, name, seconds)));
        }
    });
    for (name, _) in AUDIO_CODECS {
        damaged_sound(&source, name, seconds);
    }
}

fn damaged_pictures(source: &Source, name: &str, seconds: i64) {
    let whole = source.scaled(&format!("{name}-180p-300k"));
    let small = source.scaled(&format!("{name}-90p-100k"));
    let mut pipeline = video_pipeline(&whole);
    let mut sink = Collected::sinks(1);
    pipeline.add(sink.id(0), "h264-90p-100k-ultrafast".parse().unwrap());
    run_damage(name, &mut *pipeline, &mut sink, [&whole, &small].map(|s| &s.samples[VIDEO as usize][..]), seconds);
}

fn damaged_sound(source: &Source, name: &str, seconds: i64) {
    let whole = source.resampled(name);
    let mut pipeline = audio_pipeline(&whole);
    let mut sink = Collected::sinks(1);
    pipeline.add(sink.id(0), "aac-64k".parse().unwrap());
    run_damage(name, &mut *pipeline, &mut sink, [&whole, &whole].map(|s| &s.samples[AUDIO as usize][..]), seconds);
}

/// Plays the sources one after the other, again and again, with a tenth of the access units damaged, on one time line.
fn run_damage(name: &str, pipeline: &mut dyn Pipeline, sink: &mut Collected, sources: [&[Sample]; 2], seconds: i64) {
    let mut rng = rig::Rng(0x9e37_79b9_7f4a_7c15 ^ name.len() as u64);
    let (mut shift, mut rounds, mut memory) = (0, 0_u64, None);
    while shift < seconds * 90_000 {
        let samples = sources[usize::from(rng.next().is_multiple_of(5))];
        let span = samples.last().expect("samples").meta.dts.0 - samples[0].meta.dts.0 + 3_600;
        for sample in samples {
            let mut sample = sample.clone();
            sample.meta.pts.0 += shift;
            sample.meta.dts.0 += shift;
            match rng.next() % 30 {
                0 => sample.flip(&mut rng),
                1 => sample.cut(&mut rng),
                2 => continue,
                3 if rng.next().is_multiple_of(20) => pipeline.gap(sink).expect("a gap ends nothing"),
                _ => {}
            }
            pipeline.sample(&sample.meta, &sample.data, sink).expect("damage ends nothing");
        }
        shift += span;
        rounds += 1;
        sink.check_and_forget(name);
        if rounds == 10 {
            memory = Some(rig::resident_kib());
        }
    }
    let out = &sink.outputs[0];
    assert!(out.failures.is_empty(), "{name}: {:?}", out.failures);
    assert!(out.count > 0, "{name}: something comes out");
    let grown = memory.map(|before| rig::resident_kib() as i64 - before as i64);
    println!(
        "{name}: {} s of media, {} units out, {} dropped, memory {grown:?} KiB",
        shift / 90_000,
        out.count,
        out.dropped
    );
    // Threads of this test run side by side, and allocators keep what they had.
    assert!(grown.is_none_or(|grown| grown < 64 << 10), "{name}: {grown:?} KiB more");
}
