//! A model of a live channel: segments of two seconds, HLS with a ladder and audio apart, and DASH of the same.
//!
//! What it deliberately does not do: make media; a segment is boxes around counted bytes.

use super::super::{Fetch, FetchKind, Lane, Micros};
use crate::check::segment::tests::{init, segment};
use std::ops::Range;

pub(super) const S: Micros = 1_000_000;
pub(super) const SEGMENT: Micros = 2 * S;
/// Number of the segment that was complete at time 0, and the wall clock then.
pub(super) const FIRST: u64 = 1_000;
pub(super) const EPOCH: i64 = 1_700_000_000_000_000;
/// Variants `0` to `2`, then audio.
pub(super) const BANDWIDTHS: [u64; 4] = [1_000_000, 3_000_000, 6_000_000, 128_000];

/// Changes an answer: path, time of asking, what it would have been (`None`: 503).
pub(super) type Tamper = Box<dyn Fn(&str, Micros, String) -> Option<String>>;

/// The channel and the way to it.
pub(super) struct Server {
    pub window: u64,
    /// Bits per second of the link from times on.
    pub rates: Vec<(Micros, u64)>,
    /// Nothing is answered within.
    pub outage: Range<Micros>,
    /// The channel makes no new segment within.
    pub frozen: Range<Micros>,
    /// Segment number whose samples are moved by so many ticks of 90 kHz.
    pub moved: (u64, u64),
    pub tamper: Tamper,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            window: 15,
            rates: vec![(0, 50_000_000)],
            outage: 0..0,
            frozen: 0..0,
            moved: (0, 0),
            tamper: Box::new(|_, _, text| Some(text)),
        }
    }
}

/// An answer under way.
pub(super) struct Answer {
    pub lane: Lane,
    pub status: u16,
    pub body: Vec<u8>,
    /// Of the body; more than its bytes where nobody looks at them.
    pub length: usize,
}

impl Server {
    /// Number of the newest complete segment.
    fn newest(&self, now: Micros) -> u64 {
        let now = if self.frozen.contains(&now) { self.frozen.start } else { now };
        FIRST + now / SEGMENT
    }

    fn multivariant(&self) -> String {
        let variants: String = [1, 0, 2]
            .map(|n| {
                format!("#EXT-X-STREAM-INF:BANDWIDTH={},CODECS=\"avc1.{n}\",AUDIO=\"a\"\n{n}/m.m3u8\n", BANDWIDTHS[n])
            })
            .concat();
        let audio = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",DEFAULT=YES,URI=\"3/m.m3u8\"\n";
        format!("#EXTM3U\n{audio}{variants}")
    }

    pub fn media(&self, now: Micros) -> String {
        let newest = self.newest(now);
        let first = newest + 1 - self.window;
        let date_us = EPOCH + (SEGMENT * first) as i64 - (SEGMENT * (FIRST + 1)) as i64;
        let seconds = date_us / 1_000_000 - 1_699_920_000; // of 2023-11-14
        let date = format!(
            "2023-11-{:02}T{:02}:{:02}:{:02}Z",
            14 + seconds / 86_400,
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60
        );
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        text += &format!("#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXT-X-MAP:URI=\"init.mp4\"\n");
        text += &(first..=newest).map(|n| format!("#EXTINF:2.0,\n{n}.m4s\n")).collect::<String>();
        text
    }

    fn mpd(&self, now: Micros) -> String {
        let newest = self.newest(now);
        let first = newest + 1 - self.window;
        let set = |content: &str, numbers: Range<usize>| {
            let representations: String =
                numbers.map(|n| format!("<Representation id=\"{n}\" bandwidth=\"{}\"/>", BANDWIDTHS[n])).collect();
            format!(
                "<AdaptationSet contentType=\"{content}\"><SegmentTemplate timescale=\"90000\" startNumber=\"{first}\" \
                 initialization=\"$RepresentationID$/init.mp4\" media=\"$RepresentationID$/$Number$.m4s\"><SegmentTimeline>\
                 <S t=\"{}\" d=\"180000\" r=\"{}\"/></SegmentTimeline></SegmentTemplate>{representations}</AdaptationSet>",
                first * 180_000,
                self.window - 1
            )
        };
        // Segment FIRST ends at the epoch.
        let start = 1_700_000_000 - (FIRST + 1) * 2;
        format!(
            "<MPD type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" minimumUpdatePeriod=\"PT2S\" \
             suggestedPresentationDelay=\"PT6S\"><Period id=\"p\" start=\"PT{start}S\">{}{}</Period></MPD>",
            set("video", 0..3),
            set("audio", 3..4)
        )
    }

    pub fn answer(&self, fetch: &Fetch, now: Micros, is_read: bool) -> Answer {
        let path = fetch.url.strip_prefix("http://h/").unwrap_or_default();
        let text = match path.rsplit_once('.') {
            Some((_, "mpd")) => Some(self.mpd(now)),
            Some(("x", "m3u8")) => Some(self.multivariant()),
            Some((_, "m3u8")) => Some(self.media(now)),
            _ => None,
        };
        let (status, body) = match text.map(|text| (self.tamper)(path, now, text)) {
            Some(Some(text)) => (200, text.into_bytes()),
            Some(None) => (503, Vec::new()),
            None if path.ends_with("init.mp4") => (200, init(90_000)),
            None => self.segment(path, now).map_or((404, Vec::new()), |body| (200, body)),
        };
        let is_unread = fetch.kind == FetchKind::Segment && status == 200 && !is_read;
        let bandwidth = path.get(..1).and_then(|variant| BANDWIDTHS.get(variant.parse::<usize>().ok()?));
        let length =
            bandwidth.filter(|_| is_unread).map_or(body.len(), |bandwidth| (bandwidth * SEGMENT / S / 8) as usize);
        Answer { lane: fetch.lane, status, body, length }
    }

    /// `None`: not there yet, no longer, or never.
    fn segment(&self, path: &str, now: Micros) -> Option<Vec<u8>> {
        let number: u64 = path.get(2..)?.strip_suffix(".m4s")?.parse().ok()?;
        let moved = if self.moved.0 == number { self.moved.1 } else { 0 };
        let kept = self.newest(now) + 1 - 2 * self.window..=self.newest(now);
        kept.contains(&number).then(|| segment(number as u32, number * 180_000 + moved, 50, 3_600))
    }
}
