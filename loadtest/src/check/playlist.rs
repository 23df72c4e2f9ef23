//! Rules between versions of a media playlist (RFC 8216 sections 4.3.3, 6.2.1 and 6.2.2), and that new ones come in time.
//!
//! What it deliberately does not do: judge a playlist's syntax, which the parser does, or segments.

use super::Violations;
use crate::player::Micros;
use crate::player::playlist::{Media, Segment};

/// Watches one media playlist. A rule's first case names `label`.
#[derive(Debug)]
pub struct PlaylistCheck {
    label: String,
    last: Option<Media>,
    /// When the newest segment was listed at the latest: when the answer was complete that first had it.
    fresh: Micros,
    /// The longest that certainly passed without a new segment.
    stale_us_max: Micros,
    /// The time without a new segment that is under way was reported.
    is_stale: bool,
}

/// EXT-X-PROGRAM-DATE-TIME is often written to the millisecond, and extrapolated from rounded EXTINF.
const DATE_TIME_TOLERANCE_US: i64 = 50_000;

impl PlaylistCheck {
    /// One that has seen nothing of the playlist that `label` names.
    pub fn new(label: impl Into<String>) -> PlaylistCheck {
        PlaylistCheck { label: label.into(), last: None, fresh: 0, stale_us_max: 0, is_stale: false }
    }

    /// Takes a version: when it was asked for, when it was there whole.
    pub fn see(&mut self, asked: Micros, now: Micros, media: &Media, violations: &mut Violations) {
        let label = &self.label;
        for segment in &media.segments {
            // 4.3.3.1: rounded to the nearest integer.
            if (segment.duration_us + 500_000) / 1_000_000 > media.target_duration_s {
                violations.add("extinf-above-target", || {
                    format!("{label}: {} s with target duration {} s", s(segment.duration_us), media.target_duration_s)
                });
            }
        }
        if let Some(last) = self.last.take() {
            self.between(&last, media, violations);
            self.freshness(&last, asked, now, media, violations);
        } else {
            self.fresh = now;
        }
        self.last = Some(media.clone());
    }

    /// The longest time that certainly passed without a new segment, microseconds.
    pub fn stale_us_max(&self) -> Micros {
        self.stale_us_max
    }

    fn between(&self, last: &Media, media: &Media, violations: &mut Violations) {
        let label = &self.label;
        if media.target_duration_s != last.target_duration_s {
            violations.add("target-duration-changed", || {
                format!("{label}: {} s, before {} s", media.target_duration_s, last.target_duration_s)
            });
        }
        if media.media_sequence < last.media_sequence {
            violations.add("media-sequence-back", || {
                format!("{label}: {}, before {}", media.media_sequence, last.media_sequence)
            });
        }
        if media.next_sequence() < last.next_sequence() {
            violations.add("playlist-shorter", || {
                let (ends, ended) = (media.next_sequence(), last.next_sequence());
                format!("{label}: ends before segment {ends}, before it ended before {ended}")
            });
        }
        if last.is_ended && !media.is_ended {
            violations.add("endlist-removed", || format!("{label}: goes on after EXT-X-ENDLIST"));
        }
        for segment in &media.segments {
            if let Some(before) = last.segment(segment.sequence) {
                self.same(before, segment, violations);
            }
        }
        self.next_discontinuity(last, media, violations);
    }

    /// 6.2.1: nothing may change of a segment that is listed.
    fn same(&self, before: &Segment, after: &Segment, violations: &mut Violations) {
        let label = &self.label;
        if before.discontinuity != after.discontinuity {
            violations.add("discontinuity-sequence", || {
                let (now, had) = (after.discontinuity, before.discontinuity);
                format!("{label}: segment {} has {now} discontinuities before it, had {had}", after.sequence)
            });
        }
        let drift = before.program_date_time.zip(after.program_date_time).map_or(0, |(before, after)| after - before);
        let changed = if before.url != after.url {
            Some(format!("{}, was {}", after.url, before.url))
        } else if before.duration_us != after.duration_us {
            Some(format!("{} s, was {} s", s(after.duration_us), s(before.duration_us)))
        } else if before.init != after.init {
            Some(format!("EXT-X-MAP {:?}, was {:?}", after.init, before.init))
        } else if before.is_gap != after.is_gap {
            Some(format!("gap: {}, was {}", after.is_gap, before.is_gap))
        } else if drift.abs() > DATE_TIME_TOLERANCE_US {
            Some(format!("program date and time moved by {} ms", drift / 1_000))
        } else {
            None
        };
        if let Some(changed) = changed {
            violations.add("listed-segment-changed", || format!("{label}: segment {}: {changed}", after.sequence));
        }
    }

    /// Where two versions share no segment, the number of discontinuities can still not shrink.
    fn next_discontinuity(&self, last: &Media, media: &Media, violations: &mut Violations) {
        let Some((newest, first)) = last.segments.last().zip(media.segments.first()) else { return };
        if first.sequence > newest.sequence && first.discontinuity < newest.discontinuity {
            let label = &self.label;
            violations.add("discontinuity-sequence", || {
                let (after, before) = (first.discontinuity, newest.discontinuity);
                format!("{label}: segment {} has {after} discontinuities before it, {before} had", first.sequence)
            });
        }
    }

    /// 6.2.2: a new segment within 1.5 target durations. What was asked for at `asked` and had none proves that long without one.
    fn freshness(&mut self, last: &Media, asked: Micros, now: Micros, media: &Media, violations: &mut Violations) {
        if media.next_sequence() > last.next_sequence() {
            (self.fresh, self.is_stale) = (now, false);
            return;
        }
        if media.is_ended {
            return;
        }
        let stale_us = asked.saturating_sub(self.fresh);
        self.stale_us_max = self.stale_us_max.max(stale_us);
        let allowed_us = media.target_us().saturating_add(media.target_us() / 2);
        if stale_us > allowed_us && !self.is_stale {
            self.is_stale = true;
            let label = &self.label;
            violations.add("playlist-stale", || {
                let next = media.next_sequence();
                format!("{label}: no segment {next} for {} s, allowed are {} s", s(stale_us), s(allowed_us))
            });
        }
    }
}

fn s(us: Micros) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::playlist::{Playlist, parse};

    const S: Micros = 1_000_000;

    fn media(text: &str) -> Media {
        match parse("http://h/m.m3u8", &format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{text}")) {
            Ok(Playlist::Media(media)) => media,
            other => panic!("{other:?}"),
        }
    }

    /// Segments `from` to `to`, of two seconds.
    fn window(from: u64, to: u64) -> String {
        let segments: String = (from..=to).map(|n| format!("#EXTINF:2.0,\n{n}.ts\n")).collect();
        format!("#EXT-X-MEDIA-SEQUENCE:{from}\n{segments}")
    }

    /// What is found when versions follow each other every two seconds.
    fn rules(versions: &[String]) -> Vec<String> {
        let mut check = PlaylistCheck::new("one");
        let mut violations = Violations::default();
        for (index, version) in versions.iter().enumerate() {
            let now = index as u64 * 2 * S;
            check.see(now, now + 1_000, &media(version), &mut violations);
        }
        violations.as_slice().iter().map(|violation| violation.rule.clone()).collect()
    }

    #[test]
    fn passes_what_slides() {
        let dated = |n| format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{:02}Z\n{}", 2 * n, window(n, n + 3));
        assert_eq!(rules(&[dated(1), dated(2), dated(3), dated(9)]), Vec::<String>::new());
    }

    #[test]
    fn finds_a_sequence_that_goes_back() {
        assert_eq!(rules(&[window(5, 8), window(4, 9)]), ["media-sequence-back"]);
        assert_eq!(rules(&[window(5, 8), window(5, 7)]), ["playlist-shorter"]);
    }

    #[test]
    fn finds_what_changed_of_a_listed_segment() {
        let other_url = window(2, 6).replace("3.ts", "x.ts");
        assert_eq!(rules(&[window(1, 5), other_url]), ["listed-segment-changed"]);
        let other_duration = window(2, 6).replacen("2.0", "1.9", 1);
        assert_eq!(rules(&[window(1, 5), other_duration]), ["listed-segment-changed"]);
        let gap = window(2, 6).replacen("#EXTINF", "#EXT-X-GAP\n#EXTINF", 1);
        assert_eq!(rules(&[window(1, 5), gap]), ["listed-segment-changed"]);
    }

    #[test]
    fn follows_discontinuities_out_of_the_playlist() {
        let listed = window(1, 4).replace("#EXTINF:2.0,\n2.ts", "#EXT-X-DISCONTINUITY\n#EXTINF:2.0,\n2.ts");
        let counted = format!("#EXT-X-DISCONTINUITY-SEQUENCE:1\n{}", window(3, 6));
        assert_eq!(rules(&[listed.clone(), counted]), Vec::<String>::new());
        assert_eq!(rules(&[listed.clone(), window(3, 6)]), ["discontinuity-sequence"]);
        assert_eq!(rules(&[listed, window(7, 9)]), ["discontinuity-sequence"], "nothing in common");
    }

    #[test]
    fn finds_durations_beyond_the_target() {
        assert_eq!(rules(&[window(1, 3).replacen("2.0", "2.49", 1)]), Vec::<String>::new());
        assert_eq!(rules(&[window(1, 3).replacen("2.0", "2.5", 1)]), ["extinf-above-target"]);
    }

    #[test]
    fn a_stale_playlist_is_one_case_until_it_goes_on() {
        let mut check = PlaylistCheck::new("one");
        let mut violations = Violations::default();
        let mut see = |asked, version: String| {
            check.see(asked, asked + 1_000, &media(&version), &mut violations);
            violations.as_slice().first().map_or(0, |violation| violation.count)
        };
        assert_eq!(see(0, window(1, 4)), 0);
        assert_eq!(see(3 * S, window(1, 4)), 0, "asked 2.999 s after");
        assert_eq!(see(4 * S, window(1, 4)), 1);
        assert_eq!(see(5 * S, window(1, 4)), 1);
        assert_eq!(see(6 * S, window(2, 5)), 1);
        assert_eq!(see(10 * S, window(2, 5)), 2);
        assert_eq!(check.stale_us_max(), 4_999_000);
        let first = &violations.as_slice()[0].first;
        assert_eq!(first, "one: no segment 5 for 3.999 s, allowed are 3 s");
    }
}
