//! Looks into segments: transport streams by [`crate::tscheck`], CMAF by its boxes, and either for coming twice.
//!
//! What it deliberately does not do: judge packed audio and WebVTT, or anything below the level of samples.

use super::{Sighting, Violations, cmaf, hash};
use crate::player::Micros;
use crate::tscheck;
use std::rc::Rc;

/// Watches the segments of one rendition in the order in which they are played. A rule's first case names `label`.
#[derive(Debug)]
pub struct SegmentCheck {
    label: String,
    /// Of the last initialization segment; `None`: there was none, so that CMAF cannot be read.
    tracks: Option<Vec<cmaf::Track>>,
    last: Option<Sighting>,
    /// Where each track ended, of the segment before.
    ends: Vec<End>,
    /// mfhd's sequence_number of the chunk before.
    sequence_number: Option<u32>,
}

/// Where a track ended, in its timescale.
#[derive(Clone, Copy, Debug)]
struct End {
    track: cmaf::Track,
    time: u64,
    /// Its longest sample: the tolerance.
    frame: u64,
}

/// A segment as it came, with what the playlist or manifest said of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub url: &'a Rc<str>,
    pub bytes: &'a [u8],
    /// It continues the segment before: the next of the same rendition, without discontinuity.
    pub follows: bool,
    pub duration_us: Micros,
    /// Its first decode time in the track's timescale, where a manifest says it.
    pub time: Option<u64>,
}

impl SegmentCheck {
    /// One that has seen nothing of the rendition that `label` names.
    pub fn new(label: impl Into<String>) -> SegmentCheck {
        SegmentCheck { label: label.into(), tracks: None, last: None, ends: Vec::new(), sequence_number: None }
    }

    /// Takes the initialization segment of those that follow.
    pub fn init(&mut self, url: &str, bytes: &[u8], violations: &mut Violations) {
        match cmaf::init_segment(bytes) {
            Ok(tracks) => self.tracks = Some(tracks),
            Err(broken) => {
                self.tracks = None;
                violations.add("init-segment", || format!("{}: {url}: {broken}", self.label));
            }
        }
    }

    /// Takes a segment, and says what others are to see under its URL.
    pub fn segment(&mut self, seen: &Seen, violations: &mut Violations) -> Sighting {
        let sighting = Sighting { url: seen.url.clone(), hash: hash(seen.bytes), len: seen.bytes.len() as u64 };
        let is_again =
            |last: &Sighting| last.url != *seen.url && (last.hash, last.len) == (sighting.hash, sighting.len);
        if let Some(last) = self.last.replace(sighting.clone()).filter(is_again) {
            violations.add("segment-repeated", || {
                format!("{}: {} has the {} bytes of {}", self.label, seen.url, last.len, last.url)
            });
        }
        if !seen.follows {
            self.ends.clear();
            self.sequence_number = None;
        }
        match (seen.bytes, self.tracks.take()) {
            ([], tracks) => {
                self.tracks = tracks;
                violations.add("segment-empty", || format!("{}: {}", self.label, seen.url));
            }
            (_, Some(tracks)) => {
                self.cmaf(seen, &tracks, violations);
                self.tracks = Some(tracks);
            }
            ([0x47, ..], None) => self.transport_stream(seen, violations),
            ([_, _, _, _, b's', b't', b'y', b'p', ..] | [_, _, _, _, b'm', b'o', b'o', b'f', ..], None) => {
                violations.add("init-segment", || format!("{}: none before {}", self.label, seen.url));
            }
            (_, None) => {}
        }
        sighting
    }

    fn transport_stream(&self, seen: &Seen, violations: &mut Violations) {
        let mut checker = tscheck::Checker::new();
        checker.push(seen.bytes);
        for broken in checker.finish_whole().violations {
            // The rule's own name, as the checker's report writes it.
            let rule = serde_json::to_value(broken.rule).ok().and_then(|rule| Some(rule.as_str()?.to_owned()));
            violations.add(&format!("ts-{}", rule.unwrap_or_default()), || {
                format!(
                    "{}: {}, packet {}, PID {:?}: {}",
                    self.label, seen.url, broken.packet, broken.pid, broken.detail
                )
            });
        }
    }

    fn cmaf(&mut self, seen: &Seen, tracks: &[cmaf::Track], violations: &mut Violations) {
        let chunks = match cmaf::media_segment(seen.bytes, tracks) {
            Ok(chunks) => chunks,
            Err(broken) => {
                self.ends.clear();
                return violations.add("segment-boxes", || format!("{}: {}: {broken}", self.label, seen.url));
            }
        };
        let mut durations: Vec<(cmaf::Track, u64, u64)> = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            self.sequence(seen, chunk, violations);
            self.data(seen, chunk, violations);
            for fragment in &chunk.fragments {
                let Some(track) = tracks.iter().find(|track| track.id == fragment.track) else { continue };
                if index == 0 {
                    self.listed_time(seen, fragment, violations);
                }
                self.continuity(seen, track, fragment, violations);
                match durations.iter_mut().find(|(known, ..)| known.id == track.id) {
                    Some((_, sum, longest)) => {
                        (*sum, *longest) = (*sum + fragment.duration, fragment.longest.max(*longest))
                    }
                    None => durations.push((*track, fragment.duration, fragment.longest)),
                }
            }
        }
        for (track, sum, longest) in durations {
            self.duration(seen, &track, sum, longest, violations);
        }
    }

    /// ISO/IEC 14496-12 8.8.5: it increases; the counter may wrap.
    fn sequence(&mut self, seen: &Seen, chunk: &cmaf::Chunk, violations: &mut Violations) {
        let Some(before) = self.sequence_number.replace(chunk.sequence_number) else { return };
        if chunk.sequence_number.wrapping_sub(before).cast_signed() <= 0 {
            violations.add("mfhd-sequence", || {
                format!("{}: {}: {} after {before}", self.label, seen.url, chunk.sequence_number)
            });
        }
    }

    /// The samples are the mdat, and the first of them begins it.
    fn data(&self, seen: &Seen, chunk: &cmaf::Chunk, violations: &mut Violations) {
        let sum: u64 = chunk.fragments.iter().map(|fragment| fragment.bytes).sum();
        if sum != chunk.data_bytes {
            violations.add("mdat-size", || {
                format!("{}: {}: mdat of {} bytes, samples of {sum}", self.label, seen.url, chunk.data_bytes)
            });
        }
        let first = chunk.fragments.first().and_then(|fragment| fragment.data_offsets.first());
        let begin = (chunk.data_offset - chunk.moof_offset) as i64;
        if let Some(offset) = first.filter(|offset| **offset != begin) {
            violations.add("trun-data-offset", || {
                format!("{}: {}: {offset}, but mdat's data begins at {begin}", self.label, seen.url)
            });
        }
    }

    /// tfdt is where the chunk before ended, give or take a frame.
    fn continuity(&mut self, seen: &Seen, track: &cmaf::Track, fragment: &cmaf::Fragment, violations: &mut Violations) {
        let time = fragment.base_media_decode_time;
        let end = End { track: *track, time: time.saturating_add(fragment.duration), frame: fragment.longest };
        let Some(known) = self.ends.iter_mut().find(|end| end.track.id == track.id) else {
            return self.ends.push(end);
        };
        let before = std::mem::replace(known, end);
        let gap = i128::from(time) - i128::from(before.time);
        if before.track.timescale == track.timescale
            && gap.unsigned_abs() > u128::from(before.frame.max(fragment.longest))
        {
            violations.add("tfdt-gap", || {
                let ms = gap as f64 * 1e3 / f64::from(track.timescale);
                format!("{}: {}, track {}: {ms:.3} ms after the end of what was before", self.label, seen.url, track.id)
            });
        }
    }

    fn listed_time(&self, seen: &Seen, fragment: &cmaf::Fragment, violations: &mut Violations) {
        let time = fragment.base_media_decode_time;
        if let Some(listed) = seen.time.filter(|listed| listed.abs_diff(time) > fragment.longest) {
            violations.add("tfdt-listed", || {
                format!("{}: {}: tfdt {time}, the manifest says {listed}", self.label, seen.url)
            });
        }
    }

    fn duration(&self, seen: &Seen, track: &cmaf::Track, sum: u64, longest: u64, violations: &mut Violations) {
        let ms = |units: u64| units as f64 * 1e3 / f64::from(track.timescale);
        let listed_ms = seen.duration_us as f64 / 1e3;
        if (ms(sum) - listed_ms).abs() > ms(longest) + ROUNDING_MS {
            violations.add("segment-duration", || {
                format!("{}: {}: samples of {:.3} ms, listed are {listed_ms:.3}", self.label, seen.url, ms(sum))
            });
        }
    }
}

/// Of listed durations.
const ROUNDING_MS: f64 = 1.0;

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A box.
    fn iso_box(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32 + 8).to_be_bytes(), kind.as_slice(), payload].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// An initialization segment of track 1 with this timescale, whose samples have 5 bytes.
    pub fn init(timescale: u32) -> Vec<u8> {
        let tkhd = iso_box(b"tkhd", &words(&[0, 0, 0, 1])); // version and flags, created, modified, track_ID
        let mdhd = iso_box(b"mdhd", &words(&[0, 0, 0, timescale])); // the same, then timescale
        let trak = iso_box(b"trak", &[tkhd, iso_box(b"mdia", &mdhd)].concat());
        let trex = iso_box(b"trex", &words(&[0, 1, 1, 0, 5, 0])); // .., track_ID, description, duration, size, flags
        [iso_box(b"ftyp", b"cmf2"), iso_box(b"moov", &[trak, iso_box(b"mvex", &trex)].concat())].concat()
    }

    /// A media segment of one chunk: so many samples, each this long, from `time` on.
    pub fn segment(sequence_number: u32, time: u64, samples: u32, duration: u32) -> Vec<u8> {
        let moof = |data_offset| {
            let tfhd = iso_box(b"tfhd", &words(&[0x02_0008, 1, duration])); // default-base-is-moof, default duration
            let tfdt = iso_box(b"tfdt", &words(&[0x0100_0000, (time >> 32) as u32, time as u32]));
            let trun = iso_box(b"trun", &words(&[1, samples, data_offset])); // data-offset-present
            let mfhd = iso_box(b"mfhd", &words(&[0, sequence_number]));
            iso_box(b"moof", &[mfhd, iso_box(b"traf", &[tfhd, tfdt, trun].concat())].concat())
        };
        let data: Vec<u8> = (0..5 * samples).map(|byte| byte as u8 ^ sequence_number as u8).collect();
        let data_offset = moof(0).len() as u32 + 8;
        [moof(data_offset), iso_box(b"mdat", &data)].concat()
    }

    /// Rules that segments break which follow each other, of 2 seconds at 90 kHz.
    fn rules(segments: &[Vec<u8>]) -> Vec<String> {
        let mut violations = Violations::default();
        let mut check = SegmentCheck::new("one");
        check.init("http://h/i", &init(90_000), &mut violations);
        for (index, bytes) in segments.iter().enumerate() {
            let url = Rc::from(format!("http://h/{index}"));
            let seen = Seen { url: &url, bytes, follows: index > 0, duration_us: 2_000_000, time: None };
            check.segment(&seen, &mut violations);
        }
        violations.as_slice().iter().map(|violation| violation.rule.clone()).collect()
    }

    #[test]
    fn passes_what_continues() {
        let third = [segment(3, 360_000, 25, 3_600), segment(4, 450_000, 25, 3_600)].concat();
        let fine = [segment(1, 0, 50, 3_600), segment(2, 180_000, 50, 3_600), third];
        assert_eq!(rules(&fine), Vec::<String>::new());
    }

    #[test]
    fn finds_gaps_overlaps_and_counters() {
        let first = segment(1, 0, 50, 3_600);
        assert_eq!(
            rules(&[first.clone(), segment(2, 183_600, 50, 3_600)]),
            Vec::<String>::new(),
            "a frame is tolerated"
        );
        assert_eq!(rules(&[first.clone(), segment(2, 183_601, 50, 3_600)]), ["tfdt-gap"]);
        assert_eq!(rules(&[first.clone(), segment(2, 90_000, 50, 3_600)]), ["tfdt-gap"]);
        assert_eq!(rules(&[first.clone(), segment(1, 180_000, 50, 3_600)]), ["mfhd-sequence"]);
        assert_eq!(rules(&[first, segment(2, 180_000, 48, 3_600)]), ["segment-duration"]);
    }

    #[test]
    fn finds_broken_boxes() {
        let whole = segment(1, 0, 50, 3_600);
        assert_eq!(rules(&[whole[..whole.len() - 1].to_vec()]), ["segment-boxes"]);
        assert_eq!(rules(&[whole[8..].to_vec()]), ["segment-boxes"]);
        assert_eq!(rules(&[Vec::new()]), ["segment-empty"]);
        let mut longer = whole.clone();
        let mdat = longer.len() - 5 * 50 - 8;
        longer.push(0);
        longer[mdat..mdat + 4].copy_from_slice(&(5 * 50 + 9u32).to_be_bytes());
        assert_eq!(rules(&[longer]), ["mdat-size"]);
    }

    #[test]
    fn finds_the_same_bytes_again_and_listed_times() {
        let mut violations = Violations::default();
        let mut check = SegmentCheck::new("one");
        check.init("http://h/i", &init(90_000), &mut violations);
        let bytes = segment(1, 180_000, 50, 3_600);
        for (url, time) in [("http://h/1", 180_000), ("http://h/1", 180_000), ("http://h/2", 360_000)] {
            let seen =
                Seen { url: &url.into(), bytes: &bytes, follows: false, duration_us: 2_000_000, time: Some(time) };
            check.segment(&seen, &mut violations);
        }
        let found: Vec<_> = violations.as_slice().iter().map(|found| (found.rule.as_str(), found.count)).collect();
        assert_eq!(found, [("segment-repeated", 1), ("tfdt-listed", 1)]);
    }

    #[test]
    fn hands_transport_streams_to_their_checker() {
        let mut violations = Violations::default();
        let url = Rc::from("http://h/1.ts");
        let seen = Seen { url: &url, bytes: &[0x47; 100], follows: false, duration_us: 2_000_000, time: None };
        SegmentCheck::new("one").segment(&seen, &mut violations);
        assert_eq!(violations.as_slice()[0].rule, "ts-partial-packet");
    }
}
