//! What a session has made for it, without a runtime: a transcoder that is part of the test takes its branches, copies samples, is slow, dies, or says no.

mod radio;

use millrace::es::encoding::Encoding;
use millrace::es::rendition::RenditionId;
use millrace::es::selection::{Pick, Selection};
use millrace::es::{AudioParams, Codec, Params, SampleMeta, Track};
use millrace::limits::{TRANSCODE_BREAKER_US, TRANSCODE_FAILURES_MAX};
use millrace::ring::branch::{Branch, OutputId};
use millrace::ring::es::Entry;
use millrace::session::{Command, Session, Want};
use millrace::store::Arena;
use millrace::time::{MediaTime, Now};
use radio::{Radio, START, VARIANT_IDLE_US, config, play};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One that turns each sample into one of another codec.
#[derive(Default)]
struct Copying {
    branches: Vec<Branch>,
    started: usize,
    stopped: Vec<OutputId>,
    /// PTS of the first sample of each branch.
    begins: Vec<MediaTime>,
    refuses: bool,
    fails: bool,
    is_stuck: bool,
}

impl Copying {
    fn work(&mut self, session: &mut Session, command: Option<Command>, now: Now) {
        match command {
            Some(Command::StartTranscode(branch)) if self.refuses => {
                let ids: Vec<OutputId> = branch.outputs.iter().map(|output| output.id).collect();
                session.on_refused(&ids, &"no room".into(), Some(10), now);
                self.started += 1;
            }
            Some(Command::StartTranscode(branch)) => {
                self.started += 1;
                self.branches.push(branch);
            }
            Some(Command::StopTranscode(ids)) => {
                self.branches.retain(|branch| branch.outputs.iter().all(|output| !ids.contains(&output.id)));
                self.stopped.extend(ids);
            }
            _ => {}
        }
        if self.fails {
            for branch in self.branches.drain(..) {
                branch.outputs.iter().for_each(|output| output.progress.fail("it broke"));
            }
        }
        if !self.is_stuck {
            self.branches.iter_mut().for_each(|branch| copy(branch, &mut self.begins));
        }
    }
}

fn copy(branch: &mut Branch, begins: &mut Vec<MediaTime>) {
    while let Some((seq, entry)) = branch.input.read_next() {
        if let Entry::Sample { meta, data } = entry {
            for output in &mut branch.outputs {
                if output.progress.frames.fetch_add(1, Ordering::Relaxed) == 0 {
                    begins.push(meta.pts);
                    output.ring.push_track(described(&branch.source, output.encoding)).unwrap();
                }
                let _ = output.ring.push(SampleMeta { header_len: 0, ..*meta }, data);
            }
        }
        branch.input.free_until(seq + 1);
    }
}

/// AC-3 with the parameters of the source's frames: they are never decoded.
fn described(source: &Track, encoding: Encoding) -> Arc<Track> {
    let params = AudioParams {
        sample_rate: 48_000,
        channels: 2,
        frame_samples: 1_152,
        rfc6381: "mp4a.40.34".into(),
        config: bytes::Bytes::new(),
    };
    let mut track = Track { codec: encoding.codec(), params: Some(Params::Audio(params)), ..source.clone() };
    track.ts.stream_type = 0x03;
    Arc::new(track)
}

fn encoding(name: &str) -> Encoding {
    name.parse().unwrap()
}

fn selection(name: &str) -> Selection {
    let Encoding::Audio(audio) = encoding(name) else { panic!("a sound") };
    Selection::new(None, Some(Pick::Encode(audio)))
}

fn open(now: Now) -> Session {
    let allowed: HashSet<Encoding> = ["mp3-64k", "mp3-96k"].map(encoding).into();
    Session::open(config(allowed), Arena::new(1 << 30).unwrap(), None, now)
}

/// A session that has run for twelve seconds with nobody asking for more than the channel.
fn warm() -> (Session, Radio, Now) {
    let (mut session, mut radio) = (open(START), Radio::new());
    session.touch(Want::Channel, START.mono_us, START);
    session.poll(START);
    let now = play(&mut session, &mut radio, 12, START, |_, command, _| assert_eq!(command, None));
    (session, radio, now)
}

fn segments(session: &Session, id: &str) -> Vec<(u64, bool)> {
    let id: RenditionId = id.parse().unwrap();
    let snapshot = session.view().cmaf.expect("CMAF").snapshot();
    let rendition = snapshot.rendition(id).map(|rendition| rendition.segments.to_vec()).unwrap_or_default();
    rendition.iter().map(|segment| (segment.segment.number(), segment.is_gap())).collect()
}

fn is_shown(session: &Session, selection: &Selection) -> bool {
    let snapshot = session.view().cmaf.map(|cmaf| cmaf.snapshot());
    snapshot.is_some_and(|s| s.presentation(selection).is_some_and(|shown| !shown.mpd.is_empty()))
}

#[test]
fn a_hundred_touches_make_one_branch_that_begins_in_the_past() {
    let (mut session, mut radio, now) = warm();
    let wanted = selection("mp3-64k");
    for _ in 0..100 {
        session.touch(Want::Cmaf(wanted), now.mono_us, now);
    }
    let mut transcoder = Copying::default();
    while let Some(command) = session.poll(now) {
        transcoder.work(&mut session, Some(command), now);
    }
    transcoder.work(&mut session, None, now);
    session.poll(now);
    assert_eq!(transcoder.started, 1);
    // Three segments of two seconds and what is open.
    let behind_s = (now.unix_us as i64 - transcoder.begins[0].unix_us() as i64) as f64 / 1e6;
    assert!((5.9..8.5).contains(&behind_s), "{behind_s} s behind");
    assert!(is_shown(&session, &wanted), "at once");
    assert!(segments(&session, "a0-mp3-64k").len() >= 3);
    // Another bit rate is another output.
    session.touch(Want::Cmaf(selection("mp3-96k")), now.mono_us, now);
    play(&mut session, &mut radio, 1, now, |session, command, now| transcoder.work(session, command, now));
    assert_eq!((transcoder.started, transcoder.branches.len()), (2, 2));
    // What the configuration does not name is not made.
    session.touch(Want::Cmaf(selection("mp3-65k")), now.mono_us, now);
    play(&mut session, &mut radio, 1, now.plus_us(1_000_000), |session, command, now| {
        transcoder.work(session, command, now)
    });
    assert_eq!(transcoder.started, 2);
}

#[test]
fn what_nobody_wants_ends_and_what_is_made_anew_has_other_names() {
    let (mut session, mut radio, mut now) = warm();
    let mut transcoder = Copying::default();
    session.touch(Want::Cmaf(selection("mp3-64k")), now.mono_us, now);
    let idle_s = VARIANT_IDLE_US / 1_000_000;
    for second in 0..idle_s + 2 {
        // The channel itself is watched.
        session.touch(Want::Channel, now.mono_us, now);
        now = play(&mut session, &mut radio, 1, now, |session, command, now| transcoder.work(session, command, now));
        assert!(second + 1 >= idle_s || transcoder.stopped.is_empty(), "after {second} s");
    }
    assert_eq!((transcoder.stopped.len(), transcoder.branches.len()), (1, 0));
    assert!(session.view().cmaf.is_none());
    let first = transcoder.begins[0];
    // It comes back within what the first one made: its bytes would be others, so its segments begin behind.
    session.touch(Want::Cmaf(selection("mp3-64k")), now.mono_us, now);
    play(&mut session, &mut radio, 3, now, |session, command, now| transcoder.work(session, command, now));
    let again = transcoder.begins[1];
    assert!(again - first >= 90_000 * idle_s as i64, "{} ticks behind the first", again - first);
}

#[test]
fn a_refusal_is_told_to_those_who_wait_and_forgotten() {
    let (mut session, mut radio, now) = warm();
    let mut transcoder = Copying { refuses: true, ..Copying::default() };
    let want = Want::Cmaf(selection("mp3-64k"));
    session.touch(want, now.mono_us, now);
    let now = play(&mut session, &mut radio, 2, now, |session, command, now| transcoder.work(session, command, now));
    assert_eq!(transcoder.started, 1, "nobody waits, so nobody asks again");
    let view = session.view();
    let refusal = view.refusal(&want).expect("it is refused");
    assert_eq!((&*refusal.why, refusal.retry_after_s), ("no room", Some(10)));
    // Who asks before the time is told the same.
    session.touch(want, now.mono_us, now);
    let now = play(&mut session, &mut radio, 2, now, |session, command, now| transcoder.work(session, command, now));
    assert_eq!(transcoder.started, 1);
    transcoder.refuses = false;
    let now = play(&mut session, &mut radio, 9, now, |session, command, now| transcoder.work(session, command, now));
    assert!(session.view().refusal(&want).is_none());
    session.touch(want, now.mono_us, now);
    play(&mut session, &mut radio, 1, now, |session, command, now| transcoder.work(session, command, now));
    assert!(is_shown(&session, &selection("mp3-64k")));
}

#[test]
fn one_that_dies_is_started_again_and_one_that_keeps_dying_is_not() {
    let (mut session, mut radio, mut now) = warm();
    let mut transcoder = Copying::default();
    let want = Want::Cmaf(selection("mp3-64k"));
    session.touch(want, now.mono_us, now);
    now = play(&mut session, &mut radio, 3, now, |session, command, now| transcoder.work(session, command, now));
    let before = segments(&session, "a0-mp3-64k");
    for death in 1..TRANSCODE_FAILURES_MAX {
        transcoder.fails = true;
        transcoder.work(&mut session, None, now);
        transcoder.fails = false;
        now = play(&mut session, &mut radio, 10, now, |session, command, now| {
            session.touch(want, now.mono_us, now);
            transcoder.work(session, command, now);
        });
        assert_eq!(transcoder.started, 1 + death, "it is started again");
        assert!(session.view().refused.is_empty());
    }
    let after = segments(&session, "a0-mp3-64k");
    let numbers: Vec<u64> = after.iter().map(|(number, _)| *number).collect();
    assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "no number is left out: {after:?}");
    assert!(after.last() > before.last());
    transcoder.fails = true;
    transcoder.work(&mut session, None, now);
    transcoder.fails = false;
    now = play(&mut session, &mut radio, 2, now, |session, command, now| transcoder.work(session, command, now));
    let view = session.view();
    let refusal = view.refusal(&want).expect("the breaker");
    assert!(refusal.why.contains("it broke"), "{refusal:?}");
    assert_eq!(transcoder.started, TRANSCODE_FAILURES_MAX);
    // Later it is tried again.
    let seconds = TRANSCODE_BREAKER_US / 1_000_000;
    play(&mut session, &mut radio, seconds, now, |session, command, now| {
        session.touch(want, now.mono_us, now);
        transcoder.work(session, command, now);
    });
    assert_eq!(transcoder.started, TRANSCODE_FAILURES_MAX + 1);
}

#[test]
fn one_that_does_not_keep_up_loses_samples_and_the_channel_does_not() {
    let (mut session, mut radio, now) = warm();
    let mut transcoder = Copying { is_stuck: true, ..Copying::default() };
    let wanted = selection("mp3-64k");
    session.touch(Want::Cmaf(wanted), now.mono_us, now);
    session.touch(Want::Ts(Selection::SOURCE), now.mono_us, now);
    let mut now = now;
    for _ in 0..60 {
        session.touch(Want::Cmaf(wanted), now.mono_us, now);
        session.touch(Want::Ts(Selection::SOURCE), now.mono_us, now);
        now = play(&mut session, &mut radio, 1, now, |session, command, now| transcoder.work(session, command, now));
    }
    let skipped = transcoder.branches[0].outputs[0].progress.skipped.load(Ordering::Relaxed);
    assert!(skipped > 0, "what it missed is counted");
    let ts = session.view().ts(&Selection::SOURCE).cloned().expect("the source").snapshot();
    assert!(ts.segments.len() >= 6 && ts.segments.iter().all(|segment| segment.duration_90k > 90_000));
    transcoder.is_stuck = false;
    for _ in 0..20 {
        session.touch(Want::Cmaf(wanted), now.mono_us, now);
        now = play(&mut session, &mut radio, 1, now, |session, command, now| transcoder.work(session, command, now));
    }
    let made = segments(&session, "a0-mp3-64k");
    assert!(made.iter().any(|(_, is_gap)| !is_gap) && is_shown(&session, &wanted), "{made:?}");
    assert!(made.windows(2).all(|two| two[0].0 + 1 == two[1].0), "what was missed keeps its numbers: {made:?}");
}

#[test]
fn a_session_that_ends_ends_what_is_made_for_it() {
    let (mut session, mut radio, now) = warm();
    let mut transcoder = Copying::default();
    session.touch(Want::Cmaf(selection("mp3-64k")), now.mono_us, now);
    play(&mut session, &mut radio, 2, now, |session, command, now| transcoder.work(session, command, now));
    let progress = transcoder.branches[0].outputs[0].progress.clone();
    let ended = session.end_transcodes();
    assert!(matches!(ended, Some(Command::StopTranscode(ids)) if ids.len() == 1) && progress.is_stopped());
    drop(session);
    assert!(transcoder.branches[0].outputs[0].ring.is_abandoned());
    assert_eq!(described(&transcoder.branches[0].source, encoding("mp3-64k")).codec, Codec::Mp3);
}
