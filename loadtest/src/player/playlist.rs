//! Reads HLS playlists (RFC 8216, with the tags of RFC 8216bis that a live player needs).
//!
//! What it deliberately does not do: keys, byte ranges, date ranges, Low-Latency HLS, content steering, variables; such tags are passed over.

use super::Micros;
use super::url::resolve;
use std::rc::Rc;

/// Either kind of playlist.
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    Multivariant(Multivariant),
    Media(Media),
}

/// What variants there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multivariant {
    /// In the order of the playlist.
    pub variants: Vec<Variant>,
    pub renditions: Vec<Rendition>,
}

/// EXT-X-STREAM-INF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    pub url: Rc<str>,
    /// Peak, bits per second.
    pub bandwidth: u64,
    pub codecs: String,
    /// GROUP-ID of its audio renditions.
    pub audio: Option<String>,
}

/// EXT-X-MEDIA of type AUDIO.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendition {
    pub group: String,
    pub name: String,
    pub is_default: bool,
    /// `None`: it is within the variant's own segments.
    pub url: Option<Rc<str>>,
}

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// Seconds.
    pub target_duration_s: u64,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    /// EXT-X-ENDLIST: nothing will be added.
    pub is_ended: bool,
    pub segments: Vec<Segment>,
}

/// What a media playlist lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Media Sequence Number.
    pub sequence: u64,
    /// Number of discontinuities before its first sample, those that left the playlist included.
    pub discontinuity: u64,
    pub url: Rc<str>,
    pub duration_us: Micros,
    /// EXT-X-MAP that holds for it.
    pub init: Option<Rc<str>>,
    /// EXT-X-GAP: there is nothing to fetch.
    pub is_gap: bool,
    /// Of its first sample, microseconds since 1970; extrapolated from the EXT-X-PROGRAM-DATE-TIME before it.
    pub program_date_time: Option<i64>,
}

impl Media {
    /// Media Sequence Number of the segment that will be listed next.
    pub fn next_sequence(&self) -> u64 {
        self.media_sequence.saturating_add(self.segments.len() as u64)
    }

    /// The segment of a Media Sequence Number, where listed.
    pub fn segment(&self, sequence: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(sequence.checked_sub(self.media_sequence)?).ok()?)
    }

    /// Target duration in the unit of all times.
    pub fn target_us(&self) -> Micros {
        self.target_duration_s.saturating_mul(1_000_000)
    }
}

/// Reads a playlist that was fetched from `base`.
///
/// # Errors
/// In words, where it is no playlist, lacks a tag that it must have, or a value or URI cannot be read.
pub fn parse(base: &str, text: &str) -> Result<Playlist, String> {
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    if lines.next() != Some("#EXTM3U") {
        return Err("it does not begin with #EXTM3U".into());
    }
    let is_multivariant = text.lines().any(|line| line.starts_with("#EXT-X-STREAM-INF:"));
    if is_multivariant {
        multivariant(base, lines).map(Playlist::Multivariant)
    } else {
        media(base, lines).map(Playlist::Media)
    }
}

fn multivariant<'a>(base: &str, lines: impl Iterator<Item = &'a str>) -> Result<Multivariant, String> {
    let mut playlist = Multivariant::default();
    let mut pending: Option<Variant> = None;
    for line in lines {
        if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            pending = Some(Variant {
                url: Rc::from(""),
                bandwidth: number(attribute(list, "BANDWIDTH").ok_or("a variant without BANDWIDTH")?)?,
                codecs: attribute(list, "CODECS").unwrap_or_default().into(),
                audio: attribute(list, "AUDIO").map(Into::into),
            });
        } else if let Some(list) = line.strip_prefix("#EXT-X-MEDIA:") {
            if attribute(list, "TYPE") == Some("AUDIO") {
                playlist.renditions.push(rendition(base, list)?);
            }
        } else if !line.starts_with('#') {
            let variant = pending.take().ok_or_else(|| format!("a URI without EXT-X-STREAM-INF: {line}"))?;
            playlist.variants.push(Variant { url: url(base, line)?, ..variant });
        }
    }
    match pending {
        Some(_) => Err("EXT-X-STREAM-INF without a URI".into()),
        None => Ok(playlist),
    }
}

fn rendition(base: &str, list: &str) -> Result<Rendition, String> {
    Ok(Rendition {
        group: attribute(list, "GROUP-ID").ok_or("EXT-X-MEDIA without GROUP-ID")?.into(),
        name: attribute(list, "NAME").ok_or("EXT-X-MEDIA without NAME")?.into(),
        is_default: attribute(list, "DEFAULT") == Some("YES"),
        url: attribute(list, "URI").map(|uri| url(base, uri)).transpose()?,
    })
}

/// What tags have said of the segment whose URI is still to come.
#[derive(Default)]
struct Pending {
    duration_us: Option<Micros>,
    is_gap: bool,
    init: Option<Rc<str>>,
    /// Where the next segment begins.
    clock: Option<i64>,
    discontinuities: u64,
}

fn media<'a>(base: &str, lines: impl Iterator<Item = &'a str>) -> Result<Media, String> {
    let mut playlist = Media::default();
    let mut pending = Pending::default();
    let mut target = None;
    for line in lines {
        let (tag, value) = line.split_once(':').filter(|_| line.starts_with('#')).unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => target = Some(number(value)?),
            "#EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = number(value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = number(value)?,
            "#EXT-X-ENDLIST" => playlist.is_ended = true,
            "#EXTINF" => pending.duration_us = Some(seconds(value.split(',').next().unwrap_or_default())?),
            "#EXT-X-GAP" => pending.is_gap = true,
            "#EXT-X-DISCONTINUITY" => {
                pending.discontinuities += 1;
                pending.clock = None;
            }
            "#EXT-X-PROGRAM-DATE-TIME" => pending.clock = Some(date_time(value)?),
            "#EXT-X-MAP" => {
                pending.init = Some(url(base, attribute(value, "URI").ok_or("EXT-X-MAP without URI")?)?);
            }
            uri if !uri.starts_with('#') => segment(&mut playlist, &mut pending, url(base, line)?)?,
            _ => {}
        }
    }
    playlist.target_duration_s = target.ok_or("no EXT-X-TARGETDURATION")?;
    Ok(playlist)
}

fn segment(playlist: &mut Media, pending: &mut Pending, url: Rc<str>) -> Result<(), String> {
    let duration_us = pending.duration_us.take().ok_or_else(|| format!("no EXTINF before {url}"))?;
    playlist.segments.push(Segment {
        sequence: playlist.next_sequence(),
        discontinuity: playlist.discontinuity_sequence.saturating_add(pending.discontinuities),
        url,
        duration_us,
        init: pending.init.clone(),
        is_gap: std::mem::take(&mut pending.is_gap),
        program_date_time: pending.clock,
    });
    pending.clock = pending.clock.map(|clock| clock + duration_us as i64);
    Ok(())
}

fn url(base: &str, reference: &str) -> Result<Rc<str>, String> {
    resolve(base, reference).ok_or_else(|| format!("a URI that is not http: {reference}"))
}

fn number(value: &str) -> Result<u64, String> {
    value.trim().parse().map_err(|_| format!("not a number: {value}"))
}

fn seconds(value: &str) -> Result<Micros, String> {
    let seconds: f64 = value.trim().parse().map_err(|_| format!("not a duration: {value}"))?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok((seconds * 1e6).round() as Micros)
    } else {
        Err(format!("not a duration: {value}"))
    }
}

/// A value of an attribute list (RFC 8216 section 4.2), without its quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (found, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        if found.trim() == name {
            return Some(value);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// Microseconds since 1970 of an ISO 8601 date and time as XML Schema and HLS write it; without zone it is UTC.
///
/// # Errors
/// In words, where it is not `YYYY-MM-DDThh:mm:ss[.fraction][Z|±hh[:]mm]`.
pub fn date_time(text: &str) -> Result<i64, String> {
    read_date_time(text.trim()).ok_or_else(|| format!("not a date and time: {text}"))
}

fn read_date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let mut time = time.splitn(3, ':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    let zone_minutes = match zone.strip_prefix(['+', '-']) {
        None => 0,
        Some(offset) => {
            let digits = offset.replace(':', "");
            let minutes =
                digits.get(..2)?.parse::<i64>().ok()? * 60 + digits.get(2..).map_or(Some(0), |m| m.parse().ok())?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let in_range = (1..=9_999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || !(0..=24).contains(&hour) || !(0..=59).contains(&minute) || !(0.0..61.0).contains(&second) {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let whole_s = days * 86_400 + hour * 3_600 + (minute - zone_minutes) * 60;
    Some(whole_s * 1_000_000 + (second * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(text: &str) -> Playlist {
        parse("http://h/live/one/a/media.m3u8", text).expect("a playlist")
    }

    #[test]
    fn reads_a_media_playlist() {
        let Playlist::Media(media) = golden(include_str!("../../../tests/golden/media-fmp4.m3u8")) else { panic!() };
        assert_eq!((media.target_duration_s, media.media_sequence, media.is_ended), (2, 1_795_400_000, false));
        assert_eq!(media.segments.len(), 6);
        let [first, gap, ..] = media.segments.as_slice() else { panic!() };
        assert_eq!(&*first.url, "http://h/live/one/a/161586000000000.m4s");
        assert_eq!(first.program_date_time, Some(1_795_400_000_000_000));
        assert_eq!((first.is_gap, gap.is_gap, gap.duration_us), (false, true, 2_002_000));
        assert_eq!(gap.program_date_time, Some(1_795_400_002_002_000));
        let fifth = media.segment(1_795_400_004).expect("the fifth");
        assert_eq!((fifth.discontinuity, first.discontinuity), (1_795_400_001, 1_795_400_000));
        assert_eq!(fifth.init.as_deref(), Some("http://h/live/one/a/init-3.mp4"));
        assert_eq!(fifth.program_date_time, Some(1_795_400_008_008_000));
        assert_eq!(media.segment(1_795_399_999), None);
    }

    #[test]
    fn reads_variants_and_audio_groups() {
        let text = include_str!("../../../tests/golden/multivariant-groups.m3u8");
        let Playlist::Multivariant(multivariant) = golden(text) else { panic!() };
        assert_eq!(multivariant.variants.len(), 2);
        assert_eq!(multivariant.variants[1].audio.as_deref(), Some("ac3"));
        assert_eq!(multivariant.variants[1].codecs, "avc1.640028,ac-3");
        assert_eq!(multivariant.renditions.len(), 6);
        assert!(multivariant.renditions[0].is_default && !multivariant.renditions[1].is_default);
        assert_eq!(multivariant.renditions[2].name, "English 'described'");
        assert_eq!(multivariant.renditions[1].url.as_deref(), Some("http://h/live/one/a/1795400000/a2/media.m3u8"));
    }

    #[test]
    fn refuses_what_is_none() {
        for (text, words) in [
            ("<html>", "#EXTM3U"),
            ("#EXTM3U\n#EXTINF:2,\na.ts\n", "TARGETDURATION"),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:2\na.ts\n", "no EXTINF"),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:nan,\na.ts\n", "not a duration"),
            ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "without a URI"),
        ] {
            let error = parse("http://h/", text).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn reads_dates_of_any_zone() {
        assert_eq!(date_time("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(date_time("2000-02-29T12:00:00.5+02:00"), Ok(951_818_400_500_000));
        assert_eq!(date_time("2000-02-29T12:00:00-0130"), Ok(951_831_000_000_000));
        assert!(date_time("2000-02-29").is_err());
    }
}
