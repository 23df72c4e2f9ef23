//! What a source does not have is made when somebody asks for it, once for all who do, and ends with them.

use super::cmaf::{relay, setup};
use crate::support::assert_clean;
use crate::support::hls::Playlist;
use crate::support::http::{Client, PATIENCE, Response, eventually};
use crate::support::relay::Relay;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const CHROME: &str =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n";

fn transcoders(relay: &Relay) -> Value {
    serde_json::from_slice(&relay.admin_get("/api/v1/transcoders").expect(200).body).expect("JSON")
}

/// The renditions that are made now.
fn made(status: &Value) -> BTreeSet<String> {
    let jobs = status["jobs"].as_array().expect("jobs").iter();
    let outputs = jobs.flat_map(|job| job["outputs"].as_array().expect("outputs").clone());
    outputs.map(|output| output["rendition"].as_str().expect("a name").to_owned()).collect()
}

fn entry(client: &mut Client, query: &str) -> Response {
    client.get(&format!("/relay/channel/live/index.m3u8?{query}"))
}

#[track_caller]
fn decision(answer: &Response) -> &str {
    answer.field("x-relay-decision").expect("a decision")
}

#[test]
fn a_hundred_viewers_share_one_job_that_ends_with_them() {
    let core = core_affinity::get_core_ids().unwrap_or_default().last().map_or(0, |core| core.id);
    let mut setup = setup();
    setup.key("idle.variant_ms", 1_500).key("transcode.cores", format!("[{core}]"));
    setup.profile_toml("name = \"small\"\nvideo = \"h264\"\nheight = 180\nvideo_kbps = 300");
    setup.profile_toml("name = \"smaller\"\nvideo = \"h264\"\nheight = 180\nvideo_kbps = 200");
    let (mut relay, _) = relay(&mut setup);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let text = entry(&mut relay.connect(), "format=hls-fmp4&video=vp9").expect(200).text();
                assert!(text.contains("vp09.") && text.contains("/v0-vp9/media.m3u8"), "{text}");
            });
        }
    });
    let status = transcoders(&relay);
    assert_eq!(status["totals"]["started"], 1, "{status}");
    assert_eq!(made(&status), BTreeSet::from(["v0-vp9".to_owned()]), "{status}");
    assert_eq!(status["cores"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!((&status["jobs"][0]["core"], &status["cores"][0]["core"]), (&core.into(), &core.into()), "{status}");

    // Another bit rate is another rendition; both share one decoder, once the later has caught up.
    let mut client = relay.connect();
    for profile in ["small", "smaller"] {
        entry(&mut client, &format!("format=hls-fmp4&profile={profile}")).expect(200);
    }
    let status = transcoders(&relay);
    assert!(
        made(&status).is_superset(&["v0-h264-180p-300k".to_owned(), "v0-h264-180p-200k".to_owned()].into()),
        "{status}"
    );
    assert_eq!(status["jobs"].as_array().map(Vec::len), Some(1), "{status}");

    // Nobody asks any more.
    eventually("all jobs end", PATIENCE, || {
        transcoders(&relay)["jobs"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let totals = transcoders(&relay)["totals"].clone();
    println!("stop to joined thread: {} ms", totals["stop_ms_max"]);
    assert!(totals["stop_ms_max"].as_f64() > Some(0.0) && totals["failed"] == 0, "{totals}");
    // And it comes back, with other bytes behind those that were there before.
    entry(&mut client, "format=hls-fmp4&video=vp9").expect(200);
    relay.assert_sound();
}

#[test]
fn rungs_of_a_ladder_are_cut_alike() {
    let mut setup = setup();
    for (name, lines, kbps) in [("a", 360, 700), ("b", 240, 400), ("c", 180, 200)] {
        setup.profile_toml(&format!("name = \"{name}\"\nvideo = \"h264\"\nheight = {lines}\nvideo_kbps = {kbps}"));
    }
    setup.profile_toml("name = \"abc\"\nrungs = [\"a\", \"b\", \"c\"]");
    let (mut relay, _) = relay(&mut setup);
    let mut client = relay.connect();
    let rungs = ["v0-h264-360p-700k", "v0-h264-240p-400k", "v0-h264-180p-200k"];
    let master = entry(&mut client, "format=hls-fmp4&profile=abc").expect(200).text();
    assert_eq!(master.matches("#EXT-X-STREAM-INF:").count(), 3, "{master}");
    assert_eq!(master.matches("#EXT-X-MEDIA:").count(), 1, "{master}");
    let places: Vec<Option<usize>> = rungs.iter().map(|rung| master.find(&format!("/{rung}/media.m3u8"))).collect();
    assert!(places.is_sorted() && places[0].is_some(), "best first: {master}");
    for size in ["640x360", "426x240", "320x180"] {
        assert!(master.contains(&format!("RESOLUTION={size}")), "{size}: {master}");
    }
    let status = transcoders(&relay);
    assert_eq!(
        (&status["totals"]["started"], status["jobs"].as_array().map(Vec::len)),
        (&1.into(), Some(1)),
        "{status}"
    );
    let epoch = master.lines().find(|line| line.ends_with("media.m3u8")).and_then(|line| line.split('/').next());
    let epoch = epoch.expect("an epoch");
    let playlists = eventually("several segments of each rung", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        let playlists = rungs.map(|rung| {
            let path = format!("/relay/channel/live/{epoch}/{rung}/media.m3u8");
            Playlist::parse(&client.get(&path).expect(200).text())
        });
        playlists.iter().all(|playlist| playlist.segments.len() >= 4).then_some(playlists)
    });
    let names = |playlist: &Playlist| -> BTreeSet<(u64, String, String)> {
        let listed = playlist.segments.iter();
        // Media times are in the URLs; all rungs have one timescale.
        listed
            .map(|s| (s.number, s.uri.rsplit('/').next().unwrap_or("").to_owned(), format!("{:.3}", s.seconds)))
            .collect()
    };
    let common: BTreeSet<_> = names(&playlists[0]).intersection(&names(&playlists[1])).cloned().collect();
    let common: BTreeSet<_> = common.intersection(&names(&playlists[2])).cloned().collect();
    assert!(common.len() >= 3, "numbers, times and durations are one for all: {playlists:?}");

    let mpd = client.get("/relay/channel/live/manifest.mpd?profile=abc").expect(200).text();
    assert_eq!((mpd.matches("<Representation ").count(), mpd.matches("<AdaptationSet ").count()), (4, 2), "{mpd}");

    let ts = entry(&mut client, "format=hls-ts&profile=abc").expect(200).text();
    assert_eq!(ts.matches("#EXT-X-STREAM-INF:").count(), 3, "{ts}");
    let best = ts.lines().find(|line| line.ends_with("media.m3u8")).expect("a playlist").to_owned();
    let path = format!("/relay/channel/live/{best}");
    let playlist = Playlist::parse(&client.get(&path).expect(200).text());
    let folder = path.trim_end_matches("media.m3u8");
    let segment = playlist.segments.last().expect("a segment");
    let name = segment.uri.rsplit('/').next().expect("a name");
    assert_clean(&client.get(&format!("{folder}{name}")).expect(200).body, "a segment of the best rung");
    relay.assert_sound();
}

#[test]
fn full_cores_refuse_what_is_new_and_keep_what_runs() {
    let mut setup = setup();
    setup.key("transcode.cores", "[0]").key("transcode.load_percent_max", 10);
    setup.profile_toml("name = \"small\"\nvideo = \"h264\"\nheight = 180\nvideo_kbps = 300");
    let (mut relay, _) = relay(&mut setup);
    let mut source = relay.stream("live");
    let mut variant = relay.connect().stream("/relay/channel/live/stream.ts?profile=small");
    let (mut of_source, mut of_variant) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs(2);
    of_variant.extend(variant.rest_until(end));
    for _ in 0..3 {
        let refused = entry(&mut relay.connect(), "format=hls-fmp4&video=av1").expect(503);
        assert!(refused.text().contains("the transcoding cores are full"), "{}", refused.text());
        assert_eq!(refused.field("retry-after"), Some("10"));
    }
    let status = transcoders(&relay);
    assert_eq!((&status["totals"]["started"], made(&status).len()), (&1.into(), 1), "{status}");
    let before = status["jobs"][0]["outputs"][0]["frames"].as_u64().expect("frames");
    of_variant.extend(variant.rest_until(Instant::now() + Duration::from_secs(3)));
    of_source.extend(source.rest_until(Instant::now() + Duration::from_millis(200)));
    let status = transcoders(&relay);
    let job = &status["jobs"][0];
    let frames = job["outputs"][0]["frames"].as_u64().expect("frames") - before;
    assert!(frames >= 25, "what runs goes on: {frames} frames in 3 s; {status}");
    assert_eq!((&job["outputs"][0]["dropped"], &job["outputs"][0]["skipped"]), (&0.into(), &0.into()), "{status}");
    assert_clean(&of_source[..of_source.len() / 188 * 188], "the source");
    assert_clean(&of_variant[..of_variant.len() / 188 * 188], "the variant");
    relay.assert_sound();
}

#[test]
fn what_is_not_to_be_made_is_refused() {
    let (mut relay, _) = relay(setup().key("transcode.enabled", false));
    let mut client = relay.connect();
    let text = entry(&mut client, "video=vp9").expect(406).text();
    assert!(text.contains("nothing is transcoded here"), "{text}");
    entry(&mut client, "video=copy&audio=none").expect(200);
    assert_eq!(transcoders(&relay)["cores"], Value::Array(Vec::new()));
    relay.assert_sound();

    let (mut relay, _) = super::cmaf::relay(&mut setup());
    let mut client = relay.connect();
    let master = entry(&mut client, "format=hls-fmp4").expect(200).text();
    let epoch = master.lines().find_map(|line| line.strip_suffix("/v0/media.m3u8")).expect("an epoch").to_owned();
    // Well-formed names of encodings that no profile has.
    for folder in ["v0-h264-123p", "ts_h264-123p_copy", "a1-opus-77k"] {
        let asked = Instant::now();
        client.get(&format!("/relay/channel/live/{epoch}/{folder}/media.m3u8")).expect(404);
        assert!(asked.elapsed() < Duration::from_secs(2), "{folder} is refused at once");
    }
    for query in ["video=h266", "audio=wav", "profile=huge", "video=none&audio=none"] {
        assert_eq!(entry(&mut client, query).expect(400).text().lines().count(), 1, "{query}");
    }
    let text = client.get("/relay/channel/live/stream.ts?video=vp9").expect(406).text();
    assert!(text.contains("MPEG-TS does not carry vp9; hls-fmp4, dash would work"), "{text}");
    assert_eq!(transcoders(&relay)["totals"]["started"], 0);
    relay.assert_sound();
}

#[test]
fn what_a_browser_does_not_decode_is_made_for_it() {
    let (first, _) = relay(&mut setup());
    // A relay's own AC-3 is the source of the next one.
    let source = format!("http://{}/relay/channel/live/stream.ts?audio=ac3", first.addr);
    for (auto, codec) in [("audio", "mp4a.40.2"), ("off", "ac-3")] {
        let mut setup = setup();
        setup.key("transcode.auto", format!("\"{auto}\"")).channel("live", &source);
        let mut relay = setup.start();
        let mut client = relay.connect();
        let path = "/relay/channel/live/index.m3u8?format=hls-fmp4";
        let browser = client.request("GET", path, CHROME).expect(200);
        assert!(browser.text().contains(codec), "{auto}: {}", browser.text());
        assert_eq!(browser.field("cache-control") == Some("no-store"), auto == "audio", "{:?}", decision(&browser));
        if auto == "audio" {
            assert!(
                decision(&browser).contains("aac of ac3: the client does not decode that"),
                "{}",
                decision(&browser)
            );
        }
        // Who decodes it gets it as it is.
        let plain = client.request("GET", path, "User-Agent: VLC/3.0.20 LibVLC/3.0.20\r\n").expect(200);
        assert!(plain.text().contains("\"avc1.") && plain.text().contains("ac-3"), "{}", plain.text());
        relay.assert_sound();
    }
}
