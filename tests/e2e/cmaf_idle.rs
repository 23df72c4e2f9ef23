//! How CMAF stores and sessions end when nobody asks for them, and come back for HLS-fMP4 and DASH players that know nothing of it.

use super::cmaf::{BLOCK_BYTES, assert_missing_at_once, in_mpd, relay, session, setup, stores};
use crate::support::hls::Playlist;
use crate::support::http::{Client, PATIENCE, eventually};
use crate::support::origin;
use crate::support::presentation::{self, Listed, Rendition};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn a_container_that_nobody_asks_for_ends_and_comes_back_in_the_same_epoch() {
    let (mut relay, channel) = relay(setup().key("idle.variant_ms", 1_000));
    let mut viewer = relay.stream("live");
    let mut client = relay.connect();
    let video = presentation::hls_playlists(&mut client, "live")[0].clone();
    let mut tags = BTreeMap::new();
    // A full window, so that there is something to give back.
    eventually("a full window", PATIENCE, || {
        assert_tagged(&mut client, &mut tags);
        let segments = presentation::hls_rendition(&mut client, &video).1.segments;
        std::thread::sleep(Duration::from_millis(200));
        (segments.len() >= 3).then_some(())
    });
    let (old_playlist, old) = presentation::hls_rendition(&mut client, &video);
    let old_bytes: Vec<Vec<u8>> = old.segments.iter().map(|s| presentation::fetch(&mut client, s).body).collect();
    let epoch = session(&relay)["epoch"].as_u64().expect("an epoch");
    let (mut held, mut all) = (0, 0.0);
    eventually("the renditions end", PATIENCE, || {
        let now: u64 = stores(&session(&relay)).into_values().sum();
        if now == 0 {
            return Some(());
        }
        (held, all) = (now, relay.metric("millrace_store_bytes", ""));
        None
    });
    // The TS store goes on, and may have taken a block meanwhile.
    let given_back = |bytes: f64| bytes <= all - (held - BLOCK_BYTES) as f64;
    let left = relay.await_metric("millrace_store_bytes", "", Duration::from_secs(2), given_back);
    println!("CMAF stores of {held} bytes ended: all stores {all} bytes before, {left} after");
    let now = session(&relay);
    assert!(now["segments"].as_u64() > Some(0) && now["epoch"] == epoch && now["state"] == "live", "{now}");
    let mut bytes = Vec::new();
    assert!(viewer.read_while(&mut bytes, |bytes| bytes.len() < 188 << 10), "the TS viewer goes on");

    let (playlist, again) = presentation::hls_rendition(&mut client, &video);
    assert!(playlist.media_sequence >= old_playlist.media_sequence, "{playlist:?} after {old_playlist:?}");
    assert!(playlist.discontinuity_sequence >= old_playlist.discontinuity_sequence, "{playlist:?}");
    assert_eq!(session(&relay)["epoch"], epoch);
    assert_times_go_on(&old, &again);
    let mut same = 0;
    for (segment, bytes) in old.segments.iter().zip(&old_bytes) {
        if again.segments.iter().any(|other| other.path == segment.path) {
            // It is immutable to every cache, whichever packager wrote it.
            let now = presentation::fetch(&mut client, segment).body;
            assert!(now == *bytes, "{} changed", segment.path);
            same += 1;
        }
    }
    assert!(same > 0, "nothing was muxed a second time");
    let known = tags.len();
    eventually("another MPD", PATIENCE, || {
        assert_tagged(&mut client, &mut tags);
        (tags.len() > known + 1).then_some(())
    });
    for segment in &again.segments {
        presentation::parse_segment(&presentation::fetch(&mut client, segment).body);
    }
    assert_eq!(origin::shared().opened(channel), 1);
    relay.assert_sound();
}

/// An entity tag stands for one text, whichever packager wrote it.
#[track_caller]
fn assert_tagged(client: &mut Client, tags: &mut BTreeMap<String, String>) {
    let mpd = client.get("/relay/channel/live/manifest.mpd").expect(200);
    let tag = mpd.field("etag").expect("an ETag").to_owned();
    let text = mpd.text();
    assert_eq!(tags.entry(tag).or_insert_with(|| text.clone()), &text);
}

/// Segments of one number are the same, and later numbers are later.
#[track_caller]
fn assert_times_go_on(old: &Rendition, new: &Rendition) {
    let last = old.segments.last().expect("segments");
    assert!(new.segments.last().expect("segments").number >= last.number, "{new:?} after {old:?}");
    let time = |segment: &Listed| -> u64 {
        let file = segment.path.rsplit_once('/').expect("an absolute path").1;
        file.trim_end_matches(".m4s").parse().expect("a time")
    };
    for segment in &new.segments {
        match old.segments.iter().find(|other| other.number == segment.number) {
            Some(other) => assert_eq!(other.path, segment.path),
            None if segment.number > last.number => assert!(time(segment) > time(last), "{segment:?} after {last:?}"),
            None => {}
        }
    }
}

#[test]
fn a_session_that_begins_anew_goes_on_for_players_of_the_old_one() {
    // No burst of the past: that of the second session would show what the first one has shown.
    let channel = origin::own_channel();
    let mut setup = setup();
    setup.key("idle.session_ms", 1_000).key("idle.variant_ms", 1_000).channel("live", &origin::url(channel));
    let mut relay = setup.start();
    let mut client = relay.connect();
    let playlists = presentation::hls_playlists(&mut client, "live");
    let old: Vec<Playlist> = playlists.iter().map(|path| presentation::hls_rendition(&mut client, path).0).collect();
    let old_mpd = presentation::dash(&mut client, "live");
    let old_segment = in_mpd(&old_mpd, "v0").segments[0].clone();
    let epoch = presentation::epoch(&playlists[0]);
    relay.await_metric("millrace_sessions", "", PATIENCE, |sessions| sessions == 0.0);

    // Players know nothing of it: the same URLs.
    for (path, old) in playlists.iter().zip(&old) {
        let (playlist, rendition) = presentation::hls_rendition(&mut client, path);
        let last = old.segments.last().expect("segments");
        assert!(playlist.media_sequence > last.number, "{playlist:?} after {old:?}");
        let discontinuity = old.discontinuity_number(old.segments.len() - 1);
        assert!(playlist.discontinuity_sequence >= old.discontinuity_sequence, "{playlist:?} after {old:?}");
        assert!(playlist.discontinuity_number(0) >= discontinuity, "{playlist:?} after {old:?}");
        assert!(playlist.segments[0].discontinuity, "the break is signalled: {playlist:?}");
        for segment in &rendition.segments {
            assert!(
                presentation::epoch(&segment.path) > epoch && presentation::epoch(&segment.init) > epoch,
                "{segment:?}"
            );
            presentation::parse_segment(&presentation::fetch(&mut client, segment).body);
        }
    }
    let mpd = presentation::dash(&mut client, "live");
    let (before, after) = (old_mpd.periods.last().expect("a Period"), mpd.periods.first().expect("a Period"));
    assert_ne!(before.id, after.id, "another Period");
    assert!(after.start_s > before.start_s, "{} s after {} s", after.start_s, before.start_s);
    assert!(mpd.periods.windows(2).all(|pair| pair[1].start_s > pair[0].start_s), "{mpd:?}");
    assert_missing_at_once(&mut client, &old_segment.path);
    assert_eq!(origin::shared().opened(channel), 2);
    relay.assert_sound();
}
