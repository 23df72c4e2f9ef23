//! How long a viewer waits for its first picture, cold at any phase of the source's GOP and warm.

use crate::support::first_key::first_key;
use crate::support::hls::Player;
use crate::support::http::{Client, PATIENCE};
use crate::support::relay::{Relay, Setup};
use crate::support::{full, origin};
use std::time::{Duration, Instant};

/// Cold joins, each of a channel of its own, spread over one GOP.
const PHASES: u32 = 20;
/// What connecting, demultiplexing and sending may add to the wait for a key sample.
const ALLOWANCE: Duration = Duration::from_millis(300);
/// From the request to the first key sample of a channel that is live already.
const WARM_MAX: Duration = Duration::from_millis(50);

#[test]
fn a_join_waits_for_a_key_picture_and_for_little_else() {
    let mut setup = Setup::new();
    for phase in 0..PHASES {
        setup.channel(&format!("phase-{phase}"), &origin::url(origin::own_channel()));
    }
    let mut relay = setup.start();
    let (pictures, playlists) = cold_joins(&relay);
    let warm: Vec<Duration> = (0..PHASES).map(|phase| first_picture(&relay, &format!("phase-{phase}"))).collect();
    // A machine that also runs other tests is held to looser bounds.
    let slack = if full("the exact bounds of joins") { 1 } else { 4 };
    let gop = origin::GOP;
    println!("join                          p50 ms    p95 ms    max ms     bound");
    for (what, times, bound, slack_of_bound) in [
        ("cold, first picture", pictures, gop + ALLOWANCE, ALLOWANCE),
        ("cold, first playlist", playlists, 2 * gop + ALLOWANCE, ALLOWANCE),
        ("warm, first key sample", warm, WARM_MAX, WARM_MAX),
    ] {
        let [p50, p95, max] = [0.5, 0.95, 1.0].map(|part| percentile(&times, part));
        println!(
            "{what:26} {:>9} {:>9} {:>9} {:>9}",
            p50.as_millis(),
            p95.as_millis(),
            max.as_millis(),
            bound.as_millis()
        );
        assert!(p95 <= bound + (slack - 1) * slack_of_bound, "{what}: p95 {p95:?}, bound {bound:?}");
    }
    relay.assert_sound();
}

/// Joins each channel at a phase of its own, continuous and HLS at once; how long each waited.
fn cold_joins(relay: &Relay) -> (Vec<Duration>, Vec<Duration>) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let joins: Vec<_> = (0..PHASES)
            .map(|phase| {
                let join = move || {
                    let channel = format!("phase-{phase}");
                    std::thread::sleep(
                        (begin + origin::GOP * phase / PHASES).saturating_duration_since(Instant::now()),
                    );
                    std::thread::scope(|both| {
                        let playlist = both.spawn(|| first_playlist(relay, &channel));
                        (first_picture(relay, &channel), playlist.join().expect("the HLS player"))
                    })
                };
                scope.spawn(join)
            })
            .collect();
        joins.into_iter().map(|join| join.join().expect("a viewer")).unzip()
    })
}

fn first_picture(relay: &Relay, channel: &str) -> Duration {
    let begin = Instant::now();
    let mut viewer: Client = relay.stream(channel);
    let mut bytes = Vec::new();
    while first_key(&bytes).is_none() {
        let more = viewer.take(usize::MAX).expect("the stream goes on");
        assert!(!more.is_empty() && begin.elapsed() < PATIENCE, "no picture in {} bytes", bytes.len());
        bytes.extend(more);
    }
    begin.elapsed()
}

fn first_playlist(relay: &Relay, channel: &str) -> Duration {
    let begin = Instant::now();
    let mut player = Player::new(relay.connect(), channel);
    assert!(!player.reload().segments.is_empty());
    begin.elapsed()
}

/// The value that `part` of all lie at or below.
fn percentile(times: &[Duration], part: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[(times.len() as f64 * part).ceil() as usize - 1]
}
