//! A viewer of a continuous transport stream.
//!
//! A checked one reads what it gets, holds it against the standard, measures the media rate by PCR, and how long pictures that carry the origin's wall
//! clock were under way; the others count bytes and take that rate, or a given one. Both keep a buffer in media time and notice stalls. When the stream ends it asks again a second later.
//! What it deliberately does not do: decode.

mod buffer;
mod media_rate;
mod packets;
mod units;

pub use media_rate::MediaRate;

use super::origin_latency::{Arrived, OriginLatency};
use super::{Action, Body, End, Fetch, FetchKind, Head, Lane, Micros, Player, PlayerFigures};
use crate::result::Violation;
use crate::tscheck::{Checker, Report};
use buffer::Buffer;
use media_rate::RateMeter;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use units::Units;

/// From the end of an answer to the next request.
const RETRY_US: Micros = 1_000_000;
/// Nothing for this long is a stall, and for unchecked viewers besides, the time that the bytes below the low-water mark take.
const STALL_US: Micros = 500_000;
/// Bytes that come in before an unchecked viewer sees them.
const UNSEEN_BITS: u64 = 8 << 14;
const LANE: Lane = Lane(0);

/// The viewer.
pub struct Stream {
    url: Rc<str>,
    rate: Arc<MediaRate>,
    /// Whether the rate was given rather than measured.
    is_rate_given: bool,
    content: Content,
    state: State,
    arrived: Option<Micros>,
    /// When something came last; `None` while a stall goes on or nothing is expected.
    last_body: Option<Micros>,
    /// Of this answer.
    bytes: u64,
    buffer: Buffer,
    figures: PlayerFigures,
    origin_latency: OriginLatency,
    violations: BTreeMap<String, Violation>,
}

enum Content {
    Counted,
    Checked(Box<Checks>),
}

/// What reads an answer.
struct Checks {
    checker: Checker,
    rate: RateMeter,
    units: Units,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asks at its first poll.
    New,
    AsksAt(Micros),
    Waiting,
    Watching,
    /// An answer that is no stream.
    Refused,
}

impl Stream {
    /// A viewer of `url`. `kbps` is the media rate, 0 for what checked viewers measure into `rate`.
    pub fn new(url: Rc<str>, checked: bool, kbps: u64, rate: Arc<MediaRate>) -> Stream {
        let is_rate_given = kbps > 0;
        let content = if checked { Content::checked(is_rate_given) } else { Content::Counted };
        Stream {
            url,
            rate,
            is_rate_given,
            content,
            state: State::New,
            arrived: None,
            last_body: None,
            bytes: 0,
            buffer: Buffer::default(),
            figures: PlayerFigures::default(),
            origin_latency: OriginLatency::default(),
            violations: BTreeMap::new(),
        }
    }

    /// Gives it the wall clock at time 0, microseconds since 1970: how long pictures were under way can be told.
    pub fn with_epoch(mut self, epoch: i64) -> Stream {
        self.origin_latency.set_epoch(epoch);
        self
    }

    fn ask(&mut self, intended: Micros) -> Action {
        self.state = State::Waiting;
        self.bytes = 0;
        Action::Fetch(Fetch { lane: LANE, url: self.url.clone(), kind: FetchKind::Stream, intended })
    }

    /// The longest gap that is no stall.
    fn gap_us_max(&self) -> Micros {
        match (&self.content, self.rate.bits_per_s()) {
            (Content::Counted, Some(rate)) => STALL_US + UNSEEN_BITS * 1_000_000 / rate,
            (Content::Counted, None) => 2 * STALL_US,
            (Content::Checked(_), _) => STALL_US,
        }
    }

    /// Lets time pass.
    fn advance(&mut self, now: Micros) {
        self.buffer.advance(now);
        (self.figures.rebuffers, self.figures.rebuffer_us) = (self.buffer.rebuffers, self.buffer.rebuffer_us);
        if self.state == State::Watching && self.last_body.is_some_and(|last| now > last + self.gap_us_max()) {
            self.figures.stalls += 1;
            self.last_body = None;
        }
    }

    /// Media in some of the body, and whether a picture is there to be shown.
    fn take(&mut self, body: Body<'_>, now: Micros) -> (u64, bool) {
        match (&mut self.content, body) {
            (Content::Checked(checks), Body::Bytes(bytes)) => {
                checks.checker.push(bytes);
                checks.units.push(bytes, now, |made_us, at| self.origin_latency.see(made_us, at));
                let step = checks.rate.push(bytes, &self.rate);
                (step.media_us, step.has_picture)
            }
            (_, body) => {
                let bits = size(body) * 8;
                let media_us = self.rate.bits_per_s().map_or(0, |rate| bits * 1_000_000 / rate);
                (media_us, self.bytes >= self.rate.first_picture_bytes())
            }
        }
    }

    /// Ends the check of an answer.
    fn settle(&mut self) {
        if let Content::Checked(checks) = &mut self.content {
            let ended = std::mem::replace(checks, Checks::new(self.is_rate_given));
            let report = ended.checker.finish();
            if report.packets > 0 {
                collect(&mut self.violations, &report);
            }
        }
    }
}

impl Content {
    fn checked(is_rate_given: bool) -> Content {
        Content::Checked(Checks::new(is_rate_given))
    }
}

impl Checks {
    fn new(is_rate_given: bool) -> Box<Checks> {
        let rate = RateMeter::new(!is_rate_given);
        Box::new(Checks { checker: Checker::new(), rate, units: Units::default() })
    }
}

impl Player for Stream {
    fn poll(&mut self, now: Micros) -> Action {
        self.arrived.get_or_insert(now);
        self.advance(now);
        match self.state {
            State::New => self.ask(now),
            State::AsksAt(at) if now >= at => self.ask(at),
            State::AsksAt(at) => Action::Wait(at),
            State::Waiting | State::Refused => Action::Wait(self.buffer.empty_at().unwrap_or(Micros::MAX)),
            State::Watching => {
                let stall_at = self.last_body.map(|last| last + self.gap_us_max() + 1);
                Action::Wait(stall_at.into_iter().chain(self.buffer.empty_at()).min().unwrap_or(Micros::MAX))
            }
        }
    }

    fn on_head(&mut self, _: Lane, now: Micros, head: &Head<'_>) {
        self.state = if head.status == 200 { State::Watching } else { State::Refused };
        self.last_body = Some(now);
        self.origin_latency.begin(now);
    }

    fn on_body(&mut self, _: Lane, now: Micros, body: Body<'_>) {
        if self.state != State::Watching {
            return;
        }
        // A stall that ended between two polls counts, too.
        self.advance(now);
        self.last_body = Some(now);
        self.bytes += size(body);
        self.figures.bytes += size(body);
        let (media_us, has_picture) = self.take(body, now);
        self.buffer.add(now, media_us);
        if has_picture && self.figures.startup_us.is_none() {
            self.figures.startup_us = self.arrived.map(|arrived| now.saturating_sub(arrived));
        }
    }

    fn on_end(&mut self, _: Lane, now: Micros, _: End) {
        self.settle();
        self.last_body = None;
        self.state = State::AsksAt(now + RETRY_US);
    }

    fn wants_content(&self, _: Lane) -> bool {
        matches!(self.content, Content::Checked(_))
    }

    fn reads(&self, _: Micros) -> bool {
        true
    }

    fn figures(&self) -> &PlayerFigures {
        &self.figures
    }

    fn violations(&mut self) -> Vec<Violation> {
        self.settle();
        std::mem::take(&mut self.violations).into_values().collect()
    }

    fn take_arrived(&mut self) -> Vec<Arrived> {
        self.origin_latency.take()
    }
}

fn size(body: Body<'_>) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::Discarded(bytes) => bytes as u64,
    }
}

/// Adds a report's broken rules, named as its JSON names them.
fn collect(violations: &mut BTreeMap<String, Violation>, report: &Report) {
    for (rule, count) in &report.violation_counts {
        let name = serde_json::to_value(rule).ok().and_then(|name| name.as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| format!("{rule:?}"));
        let first = report.violations.iter().find(|violation| violation.rule == *rule);
        let first = first.map_or(String::new(), |violation| {
            let pid = violation.pid.map_or(String::new(), |pid| format!(" of PID {pid:#06x}"));
            format!("packet {}{pid}: {}", violation.packet, violation.detail)
        });
        let found = Violation { rule: name.clone(), count: 0, first };
        violations.entry(name).or_insert(found).count += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(kbps: u64, checked: bool) -> Stream {
        let mut stream = Stream::new("http://a/ts".into(), checked, kbps, Arc::new(MediaRate::new(kbps)));
        assert!(matches!(stream.poll(1_000_000), Action::Fetch(_)));
        stream.on_head(LANE, 1_100_000, &Head { status: 200, content_length: None, fields: &[] });
        stream
    }

    #[test]
    fn an_unchecked_buffer_goes_by_bytes_and_rate() {
        // 1 Mb/s: 125 bytes a millisecond.
        let mut stream = watching(1_000, false);
        stream.on_body(LANE, 1_200_000, Body::Discarded(250_000));
        assert_eq!(stream.figures().startup_us, Some(200_000));
        // A gap of 500 ms, and what 16 KiB take at that rate.
        assert_eq!(stream.poll(1_200_000), Action::Wait(1_200_000 + 500_000 + 131_072 + 1));
        assert_eq!(stream.poll(1_900_000), Action::Wait(3_200_001));
        assert_eq!((stream.figures().stalls, stream.figures().rebuffers), (1, 0));
        stream.poll(3_300_000);
        assert_eq!((stream.figures().rebuffers, stream.figures().rebuffer_us), (1, 100_000));
    }

    #[test]
    fn broken_content_is_reported_by_rule() {
        let mut stream = watching(0, true);
        stream.on_body(LANE, 1_200_000, Body::Bytes(&[0; 376]));
        let found = stream.violations();
        let sync = found.iter().find(|violation| violation.rule == "sync-byte").expect("no sync byte is a violation");
        assert_eq!(sync.count, 2);
    }

    #[test]
    fn an_ended_stream_is_asked_for_again() {
        let mut stream = watching(0, false);
        stream.on_end(LANE, 2_000_000, End::Complete);
        assert_eq!(stream.poll(2_000_001), Action::Wait(3_000_000));
        assert!(matches!(stream.poll(3_000_007), Action::Fetch(Fetch { intended: 3_000_000, .. })));
    }
}
