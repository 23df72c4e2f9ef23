//! What befalls a source in one run, drawn from the seed.

use crate::rng::Rng;
use crate::source::SECOND;

/// An event at a mux time. All lengths in content ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time stamps step by `by`, after `pause` in which the encoder is silent. `flagged`: with discontinuity_indicator. `clean`: all tracks
    /// step at the same byte (a file that starts over); else at the same DTS (an encoder's clock that is set).
    Jump {
        by: i64,
        pause: i64,
        flagged: bool,
        clean: bool,
    },
    /// No PCR for a while.
    PcrGap(i64),
    /// Everything is lost for a while, time goes on.
    Loss(i64),
    /// Nothing arrives for a while; then all of it at once, or (`kept`) everything later by so much for good.
    Stall {
        length: i64,
        kept: bool,
    },
    MissingKeys(i64),
    VideoSilent(i64),
    /// The connection ends; after `outage` the next begins with what the encoder sent `burst` before. `other`: with other time stamps.
    Reconnect {
        outage: i64,
        burst: i64,
        other: bool,
    },
    /// The session ends, and the next begins.
    Restart,
    /// The machine's wall clock is set, microseconds.
    ClockStep(i64),
    /// The picture's size changes.
    Resize,
    /// One video sample carries a wild time stamp; the demuxer noticed or not.
    WildStamp {
        noticed: bool,
    },
    /// Time stamps are missing on all but key samples.
    MissingStamps(i64),
}

/// How bytes travel.
#[derive(Clone, Copy, Debug)]
pub enum Network {
    Even,
    /// Each a little late, microseconds.
    Jitter(u64),
    /// In batches of this period, microseconds.
    Batches(u64),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub length: i64,
    pub audio_only: bool,
    pub gop_max_ms: i64,
    pub network: Network,
    /// Sent at once on the first connect, ticks.
    pub burst: i64,
    pub pace: bool,
    /// The source clock is slow by this many millionths.
    pub drift_ppm: i64,
    pub target_ms: u64,
    pub max_ms: u64,
    /// In order of mux time, at least 45 s apart.
    pub events: Vec<(i64, Event)>,
}

impl Plan {
    pub fn random(rng: &mut Rng, start: i64) -> Plan {
        let events_wanted = rng.range(0, 6);
        let max_ms = rng.pick(&[4_000, 6_000, 8_000, 12_000]);
        let mut plan = Plan {
            length: SECOND * (60 + events_wanted * 80),
            audio_only: rng.percent(12),
            gop_max_ms: rng.pick(&[1_000, 2_000, 4_000, 12_000]),
            network: network(rng),
            burst: if rng.percent(30) { rng.range(1, 10) * SECOND } else { 0 },
            pace: rng.percent(50),
            drift_ppm: rng.pick(&[0, 0, 50, -50, 100, -100]),
            target_ms: rng.range(1_000, max_ms as i64) as u64,
            max_ms,
            events: Vec::new(),
        };
        let mut at = start + 40 * SECOND;
        for _ in 0..events_wanted {
            at += rng.range(0, 20) * SECOND + rng.range(0, 90_000);
            plan.events.push((at, event(rng)));
            at += 60 * SECOND;
        }
        plan
    }
}

fn network(rng: &mut Rng) -> Network {
    match rng.below(4) {
        0 => Network::Even,
        1 => Network::Jitter(rng.range(5_000, 80_000) as u64),
        2 => Network::Jitter(rng.range(80_000, 400_000) as u64),
        _ => Network::Batches(rng.pick(&[500_000, 2_000_000, 6_000_000])),
    }
}

fn event(rng: &mut Rng) -> Event {
    let seconds = |rng: &mut Rng, from, to| rng.range(from * SECOND, to * SECOND);
    match rng.below(16) {
        0..=3 => jump(rng),
        4 => Event::PcrGap(seconds(rng, 1, 30)),
        5 => Event::Loss(rng.range(9_000, 12 * SECOND)),
        6 => Event::Stall { length: seconds(rng, 1, 20), kept: rng.percent(50) },
        7 => Event::MissingKeys(seconds(rng, 5, 30)),
        8 => Event::VideoSilent(seconds(rng, 1, 25)),
        9 | 10 => Event::Reconnect { outage: seconds(rng, 0, 5), burst: seconds(rng, 0, 8), other: rng.percent(30) },
        11 => Event::Restart,
        12 => Event::ClockStep(rng.pick(&[-3_600_000_000, -2_000_000, 700_000, 3_600_000_000])),
        13 => Event::Resize,
        14 => Event::WildStamp { noticed: rng.percent(50) },
        _ => Event::MissingStamps(seconds(rng, 1, 10)),
    }
}

fn jump(rng: &mut Rng) -> Event {
    let by = match rng.below(5) {
        0 => -10 * SECOND,
        1 => 36_000 * SECOND,
        2 => rng.range(-40_000 * SECOND, -3 * SECOND),
        3 => rng.range(4 * SECOND, 40_000 * SECOND),
        _ => -rng.range(1, 1 << 32),
    };
    let pause = if rng.percent(30) { rng.range(SECOND, 20 * SECOND) } else { 0 };
    // A jump back by less than the pause can not be told from a loss: the time stamps go on.
    let pause = if by < 0 && by + pause > -4 * SECOND { 0 } else { pause };
    Event::Jump { by, pause, flagged: rng.percent(50), clean: pause > 0 || rng.percent(60) }
}
