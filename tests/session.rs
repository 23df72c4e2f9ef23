//! A channel's session without a runtime: a virtual clock, transport stream bytes made by our own muxer, and what comes out of `poll`.

mod radio;

use millrace::es::selection::Selection;
use millrace::session::shared::ChannelState;
use millrace::session::{Command, OriginEvent, Session, Want};
use millrace::store::{Arena, StoreReader};
use millrace::time::Now;
use millrace::timeline::Numbers;
use radio::{FRAME_US, Radio, SESSION_IDLE_US, START, VARIANT_IDLE_US, config};
use std::collections::HashSet;

fn open(last_known: Option<Numbers>, now: Now) -> Session {
    let mut session = Session::open(config(HashSet::new()), Arena::new(1 << 30).unwrap(), last_known, now);
    session.touch(Want::Ts(Selection::SOURCE), now.mono_us, now);
    session
}

/// Sends `seconds` of the radio in real time; returns the clock at its end.
fn play(session: &mut Session, radio: &mut Radio, seconds: u64, now: Now) -> Now {
    radio::play(session, radio, seconds, now, |_, command, _| assert_eq!(command, None))
}

#[test]
fn the_first_touch_opens_the_origin_once_and_silence_closes_it() {
    let mut session = open(None, START);
    assert_eq!(session.poll(START), Some(Command::OpenOrigin));
    assert_eq!(session.poll(START), None);
    let later = START.plus_us(SESSION_IDLE_US / 2);
    session.touch(Want::Ts(Selection::SOURCE), later.mono_us, later);
    assert_eq!(session.poll(START.plus_us(SESSION_IDLE_US)), None);
    assert_eq!(session.poll(later.plus_us(SESSION_IDLE_US)), Some(Command::CloseOrigin));
    assert_eq!(session.poll(later.plus_us(SESSION_IDLE_US + 1)), None);
}

#[test]
fn media_becomes_a_playlist_and_bytes_that_can_be_read() {
    let mut session = open(None, START);
    session.poll(START);
    assert_eq!(session.state(), ChannelState::Starting);
    play(&mut session, &mut Radio::new(), 7, START);
    assert_eq!(session.state(), ChannelState::Live);
    let view = session.view();
    assert_eq!((view.tracks[0].codec, view.tracks[0].detail.as_str()), ("mp2", "48000 Hz, 2 ch"));
    let ts = view.ts(&Selection::SOURCE).cloned().expect("a touched session has a packager");
    let snapshot = ts.snapshot();
    assert!((2..=3).contains(&snapshot.segments.len()), "{}", snapshot.segments.len());
    let range = snapshot.segment(session.epoch().id).expect("the first segment is listed");
    let mut reader = StoreReader::new(ts.store().clone());
    assert_eq!(reader.piece(range.start, 1).expect("it is published").bytes, [0x47]);
}

#[test]
fn a_packager_that_nobody_asks_for_is_dropped_and_made_again_from_the_rings() {
    let mut session = open(None, START);
    session.poll(START);
    let mut radio = Radio::new();
    let now = play(&mut session, &mut radio, VARIANT_IDLE_US / 1_000_000 + 2, START);
    assert!(session.view().ts.is_empty());
    session.touch(Want::Ts(Selection::SOURCE), now.mono_us, now);
    let snapshot = session.view().ts(&Selection::SOURCE).cloned().expect("made at the touch").snapshot();
    assert!(snapshot.segments.len() >= 3, "backfilled from the rings: {}", snapshot.segments.len());
}

#[test]
fn an_origin_that_never_came_has_failed_and_one_that_went_has_stalled() {
    let mut session = open(None, START);
    session.poll(START);
    session.on_origin(OriginEvent::Down("refused".into()), START);
    assert_eq!(session.state(), ChannelState::Failed("refused".into()));
    session.on_origin(OriginEvent::Connecting, START);
    assert_eq!(session.state(), ChannelState::Starting, "a viewer that comes now waits for this attempt");
    let now = play(&mut session, &mut Radio::new(), 5, START);
    session.on_origin(OriginEvent::Down("reset".into()), now);
    assert_eq!(session.state(), ChannelState::Stalled);
}

#[test]
fn media_flows_on_over_a_reconnect_with_a_discontinuity() {
    let mut session = open(None, START);
    session.poll(START);
    let now = play(&mut session, &mut Radio::new(), 6, START);
    session.on_origin(OriginEvent::Down("reset".into()), now);
    // The new connection's time stamps begin anew.
    play(&mut session, &mut Radio::new(), 6, now.plus_us(1_000_000));
    let playlist = session.view().ts(&Selection::SOURCE).cloned().unwrap().snapshot().playlist.body.clone();
    let playlist = String::from_utf8(playlist.to_vec()).unwrap();
    assert_eq!(
        playlist.matches("#EXT-X-DISCONTINUITY\n").count(),
        2,
        "the epoch's first and the reconnect's:\n{playlist}"
    );
}

#[test]
fn numbers_of_the_next_session_are_above_those_of_the_last() {
    let mut session = open(None, START);
    session.poll(START);
    let now = play(&mut session, &mut Radio::new(), 9, START);
    let last = session.last_numbers();
    assert!(last.segment > session.epoch().id);
    // Even if the wall clock was set back meanwhile.
    let set_back = Now { unix_us: now.unix_us - 3_600_000_000, ..now };
    let next = open(Some(last), set_back);
    assert!(next.epoch().id > last.segment);
    assert!(next.epoch().discontinuity_sequence > last.discontinuity_sequence);
}

#[test]
fn a_burst_of_the_past_ends_now_and_not_begins_now() {
    let mut session = open(None, START);
    session.poll(START);
    let mut radio = Radio::new();
    let burst: Vec<u8> = (0..300).flat_map(|_| radio.next()).collect(); // 7.2 s
    session.on_origin(OriginEvent::Connected, START);
    for chunk in burst.chunks(65_536) {
        assert_eq!(session.ingest(chunk, START).consumed, chunk.len());
    }
    let now = play(&mut session, &mut radio, 5, START.plus_us(FRAME_US));
    let snapshot = session.view().ts(&Selection::SOURCE).cloned().unwrap().snapshot();
    let last = snapshot.segments.last().expect("the burst alone has segments");
    let end = last.cut.start.unix_us() + 2_000_000;
    assert!(end <= now.unix_us + 300_000, "{} us in the future", end - now.unix_us);
    assert!(end + 3_000_000 >= now.unix_us, "{} us ago", now.unix_us - end);
    assert!(snapshot.segments.len() >= 5);
}
