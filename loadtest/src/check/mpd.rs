//! Rules between versions of a live MPD (ISO/IEC 23009-1 sections 5.3 and 5.4), and that new segments come in time.
//!
//! What it deliberately does not do: compare codecs and sizes, or judge a Period that is in one of the versions only.

use super::Violations;
use crate::player::Micros;
use crate::player::mpd::{Content, Mpd, Period, Representation};

/// Watches one MPD. A rule's first case names `label`.
#[derive(Debug)]
pub struct MpdCheck {
    label: String,
    last: Option<Mpd>,
    /// When the newest segment was listed at the latest.
    fresh: Micros,
    /// The time without a new segment that is under way was reported.
    is_stale: bool,
}

impl MpdCheck {
    /// One that has seen nothing of the MPD that `label` names.
    pub fn new(label: impl Into<String>) -> MpdCheck {
        MpdCheck { label: label.into(), last: None, fresh: 0, is_stale: false }
    }

    /// Takes a version: when it was asked for, when it was there whole.
    pub fn see(&mut self, asked: Micros, now: Micros, mpd: &Mpd, violations: &mut Violations) {
        let label = self.label.clone();
        let Some(last) = self.last.replace(mpd.clone()) else {
            self.fresh = now;
            return;
        };
        if last.availability_start != mpd.availability_start {
            violations.add("availability-start-changed", || {
                format!("{label}: {} us, before {} us", mpd.availability_start, last.availability_start)
            });
        }
        if mpd.publish_time < last.publish_time {
            violations.add("publish-time-back", || {
                format!("{label}: {:?}, before {:?}", mpd.publish_time, last.publish_time)
            });
        }
        for (before, after) in pairs(&last, mpd) {
            if before.start != after.start {
                violations.add("period-start-changed", || {
                    format!("{label}: Period {}: {} us, before {} us", after.id, after.start, before.start)
                });
            }
            for (before, after) in representations(before, after) {
                self.timeline(before, after, violations);
            }
        }
        self.freshness(&last, asked, now, mpd, violations);
    }

    /// What is listed does not change; it only goes at the front and comes at the end.
    fn timeline(&self, before: &Representation, after: &Representation, violations: &mut Violations) {
        let label = &self.label;
        let (Some(first), Some(newest)) = (after.segments.first(), before.segments.last()) else { return };
        if before.segments.first().is_some_and(|before| first.time < before.time) {
            return violations
                .add("timeline-back", || format!("{label}: {}: begins at {}, before later", after.id, first.time));
        }
        let mut kept = after.segments.iter().take_while(|segment| segment.time <= newest.time);
        for segment in before.segments.iter().filter(|segment| segment.time >= first.time) {
            let now = kept.next();
            let is_same = now.is_some_and(|now| {
                (now.time, now.duration, &now.url) == (segment.time, segment.duration, &segment.url)
            });
            if !is_same {
                return violations.add("listed-segment-changed", || {
                    let now = now.map(|now| (now.time, now.duration, &now.url));
                    format!("{label}: {now:?}, before {:?}", (segment.time, segment.duration, &segment.url))
                });
            }
        }
    }

    /// A new segment within one and a half times what the newest lasts and the time between updates together.
    fn freshness(&mut self, last: &Mpd, asked: Micros, now: Micros, mpd: &Mpd, violations: &mut Violations) {
        let ((edge, duration), (before, _)) = (newest(mpd), newest(last));
        if edge > before {
            (self.fresh, self.is_stale) = (now, false);
            return;
        }
        let stale_us = asked.saturating_sub(self.fresh);
        let allowed_us = duration.saturating_add(duration / 2).saturating_add(mpd.minimum_update.unwrap_or(0));
        if mpd.is_dynamic && stale_us > allowed_us && !self.is_stale {
            self.is_stale = true;
            let s = |us: Micros| us as f64 / 1e6;
            violations.add("mpd-stale", || {
                format!("{}: no new segment for {} s, allowed are {} s", self.label, s(stale_us), s(allowed_us))
            });
        }
    }
}

/// Periods that are in both.
fn pairs<'a>(last: &'a Mpd, mpd: &'a Mpd) -> impl Iterator<Item = (&'a Period, &'a Period)> {
    let of_same_id = |after: &'a Period| last.periods.iter().find(|before| before.id == after.id).zip(Some(after));
    mpd.periods.iter().filter_map(of_same_id)
}

/// Representations that are in both.
fn representations<'a>(
    before: &'a Period,
    after: &'a Period,
) -> impl Iterator<Item = (&'a Representation, &'a Representation)> {
    let all = |period: &'a Period| period.sets.iter().flat_map(|set| &set.representations);
    all(after).filter_map(move |after| all(before).find(|before| before.id == after.id).zip(Some(after)))
}

/// End and duration of the newest segment of video, or of audio where there is none.
fn newest(mpd: &Mpd) -> (Micros, Micros) {
    let of = |content: Content| {
        let sets = mpd.periods.iter().flat_map(|period| &period.sets).filter(move |set| set.content == content);
        let newest = sets.flat_map(|set| &set.representations).filter_map(|one| one.segments.last());
        newest.map(|segment| (segment.end, segment.end.saturating_sub(segment.start))).max()
    };
    of(Content::Video).or_else(|| of(Content::Audio)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::mpd::parse;

    const S: Micros = 1_000_000;

    /// One Period of one Representation with segments of two seconds.
    fn mpd(timeline: &str) -> Mpd {
        let text = format!(
            r#"<MPD type="dynamic" minimumUpdatePeriod="PT2S"><Period id="p" start="PT0S"><AdaptationSet contentType="video">
            <SegmentTemplate media="$Time$"><SegmentTimeline>{timeline}</SegmentTimeline></SegmentTemplate>
            <Representation id="v" bandwidth="1"/></AdaptationSet></Period></MPD>"#
        );
        parse("http://h/m.mpd", &text).expect("an MPD")
    }

    /// Rules that versions break, each asked for `apart` after the one before.
    fn rules(apart: Micros, timelines: &[&str]) -> Vec<String> {
        let mut check = MpdCheck::new("one");
        let mut violations = Violations::default();
        for (index, timeline) in timelines.iter().enumerate() {
            let asked = index as u64 * apart;
            check.see(asked, asked, &mpd(timeline), &mut violations);
        }
        violations.as_slice().iter().map(|violation| violation.rule.clone()).collect()
    }

    #[test]
    fn finds_what_changed() {
        let first = r#"<S t="0" d="2" r="3"/>"#;
        assert_eq!(rules(S, &[first, r#"<S t="2" d="2" r="3"/>"#]), Vec::<String>::new());
        assert_eq!(rules(S, &[first, r#"<S t="2" d="2" r="1"/><S t="6" d="3"/>"#]), ["listed-segment-changed"]);
        assert_eq!(rules(S, &[first, r#"<S t="0" d="2"/><S t="4" d="2" r="3"/>"#]), ["listed-segment-changed"]);
        assert_eq!(rules(S, &[r#"<S t="2" d="2" r="3"/>"#, r#"<S t="0" d="2" r="5"/>"#]), ["timeline-back"]);
    }

    #[test]
    fn finds_what_does_not_go_on() {
        let first = r#"<S t="0" d="2" r="3"/>"#;
        assert_eq!(rules(5 * S, &[first, first]), Vec::<String>::new());
        assert_eq!(rules(5 * S + 1, &[first, first, first]), ["mpd-stale"]);
    }
}
