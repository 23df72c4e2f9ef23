//! Reads live MPDs (ISO/IEC 23009-1): Periods, AdaptationSets and Representations with SegmentTemplate and SegmentTimeline.
//!
//! What it deliberately does not do: SegmentList, SegmentBase, templates with `@duration` alone (their availability needs the time of day), `xlink`,
//! event streams, UTCTiming, encryption.

use super::Micros;
use super::playlist::date_time;
use super::url::resolve;
use roxmltree::{Document, Node};
use std::rc::Rc;

/// An MPD.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mpd {
    /// `type="dynamic"`: it changes.
    pub is_dynamic: bool,
    /// Microseconds since 1970.
    pub availability_start: i64,
    /// `None`: it will not change.
    pub minimum_update: Option<Micros>,
    pub suggested_delay: Option<Micros>,
    pub time_shift_depth: Option<Micros>,
    /// Microseconds since 1970.
    pub publish_time: Option<i64>,
    /// In order.
    pub periods: Vec<Period>,
}

/// A Period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Period {
    pub id: String,
    /// On the presentation's timeline.
    pub start: Micros,
    pub sets: Vec<AdaptationSet>,
}

/// What an AdaptationSet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    Video,
    Audio,
    #[default]
    Other,
}

/// An AdaptationSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdaptationSet {
    pub id: String,
    pub content: Content,
    pub lang: String,
    /// A Role of value `main`.
    pub is_main: bool,
    pub representations: Vec<Representation>,
}

/// A Representation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representation {
    pub id: String,
    /// Bits per second.
    pub bandwidth: u64,
    pub init: Option<Rc<str>>,
    /// Units per second of what times say; not 0.
    pub timescale: u64,
    /// As listed, in order.
    pub segments: Vec<Segment>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub url: Rc<str>,
    /// `S@t` and `S@d`, in the timescale.
    pub time: u64,
    pub duration: u64,
    /// On the presentation's timeline, from the Period's start and presentationTimeOffset.
    pub start: Micros,
    pub end: Micros,
}

/// Segments that one Representation may list: days of short ones.
const SEGMENTS_MAX: usize = 100_000;

/// Reads an MPD that was fetched from `url`.
///
/// # Errors
/// In words, where it is no XML, no MPD, or uses what is not read here.
pub fn parse(url: &str, text: &str) -> Result<Mpd, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "MPD" {
        return Err(format!("<{}> is no MPD", root.tag_name().name()));
    }
    let base = base_url(url, root)?;
    let mut mpd = Mpd {
        is_dynamic: root.attribute("type") == Some("dynamic"),
        availability_start: root.attribute("availabilityStartTime").map_or(Ok(0), date_time)?,
        minimum_update: root.attribute("minimumUpdatePeriod").map(duration).transpose()?,
        suggested_delay: root.attribute("suggestedPresentationDelay").map(duration).transpose()?,
        time_shift_depth: root.attribute("timeShiftBufferDepth").map(duration).transpose()?,
        publish_time: root.attribute("publishTime").map(date_time).transpose()?,
        periods: Vec::new(),
    };
    let nodes: Vec<Node> = children(root, "Period").collect();
    let mut end = Some(0);
    for (index, node) in nodes.iter().enumerate() {
        let start = match node.attribute("start") {
            Some(start) => duration(start)?,
            None => end.ok_or("a Period without start after one without duration")?,
        };
        end = node.attribute("duration").map(duration).transpose()?.map(|duration| start.saturating_add(duration));
        let next = nodes.get(index + 1).and_then(|next| next.attribute("start")).map(duration).transpose()?;
        mpd.periods.push(period(&base, *node, start, next.or(end))?);
    }
    Ok(mpd)
}

fn period(base: &str, node: Node, start: Micros, end: Option<Micros>) -> Result<Period, String> {
    let base = base_url(base, node)?;
    let id = node.attribute("id").unwrap_or_default().to_owned();
    let mut period = Period { id, start, sets: Vec::new() };
    for set in children(node, "AdaptationSet") {
        let base = base_url(&base, set)?;
        let mut representations = Vec::new();
        for representation in children(set, "Representation") {
            let template =
                Template { levels: [representation, set, node].map(|level| child(level, "SegmentTemplate")) };
            let base = base_url(&base, representation)?;
            representations.push(read_representation(&base, representation, &template, start, end)?);
        }
        period.sets.push(AdaptationSet {
            id: set.attribute("id").unwrap_or_default().to_owned(),
            content: content(set),
            lang: set.attribute("lang").unwrap_or_default().to_owned(),
            is_main: children(set, "Role").any(|role| role.attribute("value") == Some("main")),
            representations,
        });
    }
    Ok(period)
}

fn content(set: Node) -> Content {
    let representation = children(set, "Representation").next();
    let mime = set.attribute("mimeType").or(representation.and_then(|node| node.attribute("mimeType")));
    match set.attribute("contentType").or(mime).unwrap_or_default() {
        kind if kind.starts_with("video") => Content::Video,
        kind if kind.starts_with("audio") => Content::Audio,
        _ => Content::Other,
    }
}

/// SegmentTemplate of Representation, AdaptationSet and Period: what the inner does not say, the outer does (5.3.9.1).
struct Template<'a, 'input> {
    levels: [Option<Node<'a, 'input>>; 3],
}

impl<'a, 'input> Template<'a, 'input> {
    fn attribute(&self, name: &str) -> Option<&'a str> {
        self.levels.iter().flatten().find_map(|level| level.attribute(name))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        self.attribute(name).map_or(Ok(default), number)
    }

    fn timeline(&self) -> Option<Node<'a, 'input>> {
        self.levels.iter().flatten().find_map(|level| child(*level, "SegmentTimeline"))
    }
}

fn read_representation(
    base: &str,
    node: Node,
    template: &Template,
    start: Micros,
    end: Option<Micros>,
) -> Result<Representation, String> {
    let id = node.attribute("id").unwrap_or_default().to_owned();
    let bandwidth = number(node.attribute("bandwidth").ok_or("a Representation without bandwidth")?)?;
    let names = Names { id: &id, bandwidth };
    let timescale = template.number("timescale", 1)?.max(1);
    let offset = template.number("presentationTimeOffset", 0)?;
    let media = template.attribute("media").ok_or("no SegmentTemplate with media")?;
    let init = template.attribute("initialization").map(|init| url(base, &names.fill(init, 0, 0)?)).transpose()?;
    let first = template.number("startNumber", 1)?;
    let on_timeline = |time: u64| {
        let us = (i128::from(time) - i128::from(offset)) * 1_000_000 / i128::from(timescale) + i128::from(start);
        Micros::try_from(us.max(0)).map_err(|_| format!("time {time} is out of range"))
    };
    let period_end = end.map(|end| {
        let units = u128::from(end.saturating_sub(start)) * u128::from(timescale) / 1_000_000 + u128::from(offset);
        u64::try_from(units).unwrap_or(u64::MAX)
    });
    let mut segments = Vec::new();
    for (index, (time, duration)) in
        timeline(template.timeline().ok_or("no SegmentTimeline")?, period_end)?.into_iter().enumerate()
    {
        let url = url(base, &names.fill(media, first.saturating_add(index as u64), time)?)?;
        segments.push(Segment { url, time, duration, start: on_timeline(time)?, end: on_timeline(time + duration)? });
    }
    Ok(Representation { id, bandwidth, init, timescale, segments })
}

/// Times and durations of SegmentTimeline (5.3.9.6), in the timescale.
fn timeline(node: Node, period_end: Option<u64>) -> Result<Vec<(u64, u64)>, String> {
    let mut segments: Vec<(u64, u64)> = Vec::new();
    let mut next = 0u64;
    let entries: Vec<Node> = children(node, "S").collect();
    for (index, entry) in entries.iter().enumerate() {
        let attribute = |name| entry.attribute(name).map(number).transpose();
        let duration = attribute("d")?.filter(|duration| *duration > 0).ok_or("S without d")?;
        next = attribute("t")?.unwrap_or(next);
        let until =
            entries.get(index + 1).and_then(|entry| entry.attribute("t")).map(number).transpose()?.or(period_end);
        let repeat = match entry.attribute("r").unwrap_or("0") {
            // Negative: up to the next S or the end of the Period.
            "-1" => {
                until.ok_or("S that repeats without end")?.saturating_sub(next).div_ceil(duration).saturating_sub(1)
            }
            repeat => number(repeat)?,
        };
        if repeat >= (SEGMENTS_MAX - segments.len()) as u64 {
            return Err(format!("more than {SEGMENTS_MAX} segments"));
        }
        for _ in 0..=repeat {
            segments.push((next, duration));
            next = next.checked_add(duration).ok_or("a time out of range")?;
        }
    }
    Ok(segments)
}

/// What identifiers of a template stand for (5.3.9.4.4).
struct Names<'a> {
    id: &'a str,
    bandwidth: u64,
}

impl Names<'_> {
    fn fill(&self, template: &str, sequence: u64, time: u64) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            let (name, after) = after.split_once('$').ok_or_else(|| format!("an odd $ in {template}"))?;
            filled.push_str(before);
            let (name, width) = match name.split_once("%0") {
                Some((name, width)) => {
                    (name, width.strip_suffix('d').and_then(|width| width.parse().ok()).unwrap_or(1))
                }
                None => (name, 1usize),
            };
            let width = width.min(20);
            match name {
                "" => filled.push('$'),
                "RepresentationID" => filled.push_str(self.id),
                "Number" => filled.push_str(&format!("{sequence:0width$}")),
                "Time" => filled.push_str(&format!("{time:0width$}")),
                "Bandwidth" => filled.push_str(&format!("{:0width$}", self.bandwidth)),
                _ => return Err(format!("${name}$ in {template}")),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Microseconds of an xs:duration without years and months.
///
/// # Errors
/// In words, where it is not `P[nD][T[nH][nM][n.nS]]`, or longer than the unit holds.
pub fn duration(text: &str) -> Result<Micros, String> {
    read_duration(text).ok_or_else(|| format!("not a duration: {text}"))
}

fn read_duration(text: &str) -> Option<Micros> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let days = if days.is_empty() { 0 } else { days.strip_suffix('D')?.parse::<u64>().ok()? };
    let mut total = days.checked_mul(86_400_000_000)?;
    let mut rest = time;
    while let Some(at) = rest.find(['H', 'M', 'S']) {
        let unit_us = match rest.as_bytes()[at] {
            b'H' => 3_600_000_000u64,
            b'M' => 60_000_000,
            _ => 1_000_000,
        };
        // Whole and fraction apart: seconds since 1970 with microseconds are more than a float holds.
        let (whole, fraction) = rest[..at].split_once('.').unwrap_or((&rest[..at], "0"));
        let fraction: f64 = format!("0.{fraction}").parse().ok()?;
        let part = whole.parse::<u64>().ok()?.checked_mul(unit_us)?;
        total = total.checked_add(part)?.checked_add((fraction * unit_us as f64).round() as u64)?;
        rest = &rest[at + 1..];
    }
    rest.is_empty().then_some(total)
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("not a number: {text}"))
}

fn url(base: &str, reference: &str) -> Result<Rc<str>, String> {
    resolve(base, reference).ok_or_else(|| format!("a URL that is not http: {reference}"))
}

/// What URLs within an element are relative to.
fn base_url(base: &str, node: Node) -> Result<Rc<str>, String> {
    url(base, child(node, "BaseURL").and_then(|node| node.text()).unwrap_or_default().trim())
}

fn children<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> Option<Node<'a, 'input>> {
    children(node, name).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_periods_and_timelines() {
        let text = include_str!("../../../tests/golden/two-periods.mpd");
        let mpd = parse("http://h/live/one/manifest.mpd", text).expect("an MPD");
        assert!(mpd.is_dynamic);
        assert_eq!((mpd.minimum_update, mpd.suggested_delay), (Some(2_000_000), Some(6_000_000)));
        assert_eq!(mpd.publish_time, Some(1_795_400_021_250_000));
        let [first, second] = mpd.periods.as_slice() else { panic!() };
        assert_eq!((first.start, second.start), (1_795_400_000_000_000, 1_795_400_012_011_122));
        let contents: Vec<_> = first.sets.iter().map(|set| (set.content, set.is_main)).collect();
        assert_eq!(contents[..3], [(Content::Video, true), (Content::Audio, true), (Content::Audio, false)]);
        let video = &first.sets[0].representations[0];
        assert_eq!(video.init.as_deref(), Some("http://h/live/one/1795400000/v0/init-1.mp4"));
        let times: Vec<_> = video.segments.iter().map(|segment| segment.start - first.start).collect();
        assert_eq!(times, [0, 2_002_000, 8_004_000, 10_006_000]);
        assert_eq!(&*video.segments[2].url, "http://h/live/one/1795400000/v0/161586000720360.m4s");
        let audio = &first.sets[1].representations[0];
        assert_eq!(audio.segments[1].end - first.start, 3_936_000);
        assert_eq!(second.sets[0].representations[0].segments[0].start, second.start);
    }

    #[test]
    fn fills_templates_and_inherits() {
        let text = r#"<MPD type="dynamic"><BaseURL>media/</BaseURL><Period duration="PT4S">
            <SegmentTemplate timescale="10" media="$RepresentationID$/$Bandwidth$-$Number%05d$$$.m4s" startNumber="7">
            <SegmentTimeline><S t="0" d="20" r="-1"/></SegmentTimeline></SegmentTemplate>
            <AdaptationSet mimeType="video/mp4"><Representation id="a" bandwidth="9"/></AdaptationSet></Period>
            <Period/></MPD>"#;
        let mpd = parse("http://h/x.mpd", text).expect("an MPD");
        assert_eq!(mpd.periods[1].start, 4_000_000);
        let segments = &mpd.periods[0].sets[0].representations[0].segments;
        let urls: Vec<&str> = segments.iter().map(|segment| &*segment.url).collect();
        assert_eq!(urls, ["http://h/media/a/9-00007$.m4s", "http://h/media/a/9-00008$.m4s"]);
    }

    #[test]
    fn refuses_what_it_cannot_play() {
        for (text, words) in [
            ("<MPD", "parse"),
            ("<Smil/>", "is no MPD"),
            ("<MPD><Period start='x'/></MPD>", "not a duration"),
            (
                "<MPD><Period><AdaptationSet><Representation bandwidth='1'/></AdaptationSet></Period></MPD>",
                "SegmentTemplate",
            ),
        ] {
            let error = parse("http://h/", text).expect_err(text);
            assert!(words == "parse" || error.contains(words), "{error}");
        }
    }

    #[test]
    fn reads_durations() {
        assert_eq!(duration("PT1795400012.011122S"), Ok(1_795_400_012_011_122));
        assert_eq!(duration("P1DT2H3M4.5S"), Ok(93_784_500_000));
        assert!(duration("2S").is_err() && duration("PTS").is_err() && duration("P1Y").is_err());
    }
}
