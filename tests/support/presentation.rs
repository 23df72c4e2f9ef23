//! What HLS-fMP4 and DASH players read: playlists and MPDs as lists of segments, and segments box by box (mp4-atom, roxmltree).
//!
//! It shares no code with the relay. What it deliberately does not do: decode, or judge boxes that time does not depend on.

use super::hls::Playlist;
use super::http::{Client, Response};
use mp4_atom::{Any, Decode, FourCC, Moof};
use roxmltree::{Document, Node};
use url::Url;

/// One segment as a playlist or an MPD lists it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    pub path: String,
    /// Path of its init segment.
    pub init: String,
    /// HLS: its media sequence number.
    pub number: Option<u64>,
    pub seconds: f64,
    /// DASH: `S@t` and `S@d`, in the representation's timescale.
    pub timeline: Option<(u64, u64)>,
}

/// A track rendition as listed.
#[derive(Clone, Debug, Default)]
pub struct Rendition {
    /// `v0`, `a1`
    pub id: String,
    pub segments: Vec<Listed>,
    /// DASH: units a second of media times.
    pub timescale: Option<u32>,
}

fn base(channel: &str, file: &str) -> Url {
    Url::parse(&format!("http://relay.test/relay/channel/{channel}/{file}")).expect("a URL")
}

fn join(base: &Url, reference: &str) -> String {
    base.join(reference).expect("a relative URL").path().to_owned()
}

/// The component of a path that names the epoch (4) or the rendition (5).
#[track_caller]
fn component(path: &str, index: usize) -> &str {
    path.split('/').nth(index).unwrap_or_else(|| panic!("no component {index} in {path}"))
}

/// The epoch that a media path names.
#[track_caller]
pub fn epoch(path: &str) -> u64 {
    component(path, 4).parse().unwrap_or_else(|_| panic!("no epoch in {path}"))
}

/// The rendition that a media path names.
#[track_caller]
pub fn rendition(path: &str) -> &str {
    component(path, 5)
}

/// Paths of the media playlists that the multivariant playlist names, the variants' first.
#[track_caller]
pub fn hls_playlists(client: &mut Client, channel: &str) -> Vec<String> {
    let base = base(channel, "index.m3u8");
    let master = client.get(&format!("{}?format=hls-fmp4", base.path())).expect(200).text();
    let variants = master.lines().filter(|line| !line.starts_with('#')).map(|uri| join(&base, uri));
    let audio = master.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:")).filter_map(|line| {
        let uri = line.split("URI=\"").nth(1)?.split('"').next()?;
        Some(join(&base, uri))
    });
    variants.chain(audio).collect()
}

/// A media playlist and its segments.
#[track_caller]
pub fn hls_rendition(client: &mut Client, path: &str) -> (Playlist, Rendition) {
    let text = client.get(path).expect(200).text();
    let at = Url::parse("http://relay.test").and_then(|url| url.join(path)).expect("a URL");
    let playlist = Playlist::parse(&text);
    let segment = |segment: &super::hls::Segment| Listed {
        path: join(&at, &segment.uri),
        init: join(&at, &segment.map),
        number: Some(segment.number),
        seconds: segment.seconds,
        timeline: None,
    };
    let segments: Vec<Listed> = playlist.segments.iter().map(segment).collect();
    let id = segments.first().map_or_else(String::new, |segment| rendition(&segment.path).to_owned());
    (playlist, Rendition { id, segments, timescale: None })
}

/// All renditions of the channel's HLS presentation.
#[track_caller]
pub fn hls(client: &mut Client, channel: &str) -> Vec<Rendition> {
    hls_playlists(client, channel).iter().map(|path| hls_rendition(client, path).1).collect()
}

/// An MPD as far as the tests look.
#[derive(Clone, Debug, Default)]
pub struct Mpd {
    pub periods: Vec<Period>,
    /// Path that UTCTiming names.
    pub utc_timing: String,
}

#[derive(Clone, Debug, Default)]
pub struct Period {
    pub id: String,
    pub start_s: f64,
    pub renditions: Vec<Rendition>,
}

#[track_caller]
pub fn dash(client: &mut Client, channel: &str) -> Mpd {
    let base = base(channel, "manifest.mpd");
    let text = client.get(base.path()).expect(200).text();
    parse_mpd(&base, &text)
}

#[track_caller]
fn parse_mpd(base: &Url, text: &str) -> Mpd {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "MPD");
    let timing = children(root, "UTCTiming").next().expect("UTCTiming");
    assert_eq!(attribute(timing, "schemeIdUri"), "urn:mpeg:dash:utc:http-iso:2014");
    let periods = children(root, "Period").map(|node| period(base, node)).collect();
    Mpd { periods, utc_timing: join(base, attribute(timing, "value")) }
}

fn period(base: &Url, node: Node<'_, '_>) -> Period {
    let start = attribute(node, "start").trim_start_matches("PT").trim_end_matches('S');
    let sets = children(node, "AdaptationSet").flat_map(|set| children(set, "Representation"));
    Period {
        id: attribute(node, "id").to_owned(),
        start_s: start.parse().expect("PT...S"),
        renditions: sets.map(|node| representation(base, node)).collect(),
    }
}

fn representation(base: &Url, node: Node<'_, '_>) -> Rendition {
    let template = children(node, "SegmentTemplate").next().expect("SegmentTemplate");
    let timescale: u32 = number(template, "timescale").expect("timescale") as u32;
    let init = join(base, attribute(template, "initialization"));
    let media = attribute(template, "media");
    let timeline = children(template, "SegmentTimeline").next().expect("SegmentTimeline");
    let (mut segments, mut next) = (Vec::new(), None);
    for run in children(timeline, "S") {
        let duration = number(run, "d").expect("S@d");
        let mut time = number(run, "t").or(next).expect("S@t of the first");
        for _ in 0..=number(run, "r").unwrap_or(0) {
            segments.push(Listed {
                path: join(base, &media.replace("$Time$", &time.to_string())),
                init: init.clone(),
                number: None,
                seconds: duration as f64 / f64::from(timescale),
                timeline: Some((time, duration)),
            });
            time += duration;
        }
        next = Some(time);
    }
    Rendition { id: attribute(node, "id").to_owned(), segments, timescale: Some(timescale) }
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

#[track_caller]
fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_else(|| panic!("no {name} in {node:?}"))
}

fn number(node: Node<'_, '_>, name: &str) -> Option<u64> {
    node.attribute(name).map(|value| value.parse().expect("a number"))
}

/// GET of a listed segment.
#[track_caller]
pub fn fetch(client: &mut Client, segment: &Listed) -> Response {
    client.get(&segment.path).expect(200)
}

/// What an init segment says of its track.
#[derive(Clone, Copy, Debug)]
pub struct Init {
    pub timescale: u32,
    pub is_audio: bool,
}

#[track_caller]
pub fn parse_init(mut bytes: &[u8]) -> Init {
    let Ok(Any::Ftyp(_)) = Any::decode(&mut bytes) else { panic!("no ftyp") };
    let Ok(Any::Moov(moov)) = Any::decode(&mut bytes) else { panic!("no moov") };
    assert!(bytes.is_empty() && moov.trak.len() == 1 && moov.mvex.is_some());
    let mdia = &moov.trak[0].mdia;
    Init { timescale: mdia.mdhd.timescale, is_audio: mdia.minf.smhd.is_some() }
}

/// When a segment's samples are decoded and shown, in its timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Earliest presentation time.
    pub start: u64,
    /// End of the sample that is shown last.
    pub end: u64,
    pub samples: usize,
    pub longest_sample: u64,
    pub begins_with_sync: bool,
}

/// Reads `styp ([prft] moof mdat)+`; decode times must run through, and every mdat be what its trun says.
#[track_caller]
pub fn parse_segment(mut bytes: &[u8]) -> Times {
    assert_eq!(bytes.get(4..8), Some(b"styp".as_slice()), "a segment begins with styp");
    let Ok(Any::Styp(styp)) = Any::decode(&mut bytes) else { panic!("no styp") };
    assert!(styp.compatible_brands.contains(&FourCC::new(b"cmfs")), "{styp:?}");
    let mut times = Times { start: u64::MAX, end: 0, samples: 0, longest_sample: 0, begins_with_sync: false };
    let (mut decode_time, mut moof) = (None, None);
    while !bytes.is_empty() {
        match Any::decode(&mut bytes).expect("a box") {
            Any::Prft(_) => {}
            Any::Moof(found) => moof = Some(found),
            Any::Mdat(mdat) => {
                let moof = moof.take().expect("a moof before its mdat");
                decode_time = Some(add_chunk(&moof, mdat.data.len(), decode_time, &mut times));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(moof.is_none() && times.samples > 0);
    times
}

/// Adds a chunk's samples; says when the next chunk has to go on.
#[track_caller]
fn add_chunk(moof: &Moof, data_bytes: usize, expected: Option<u64>, times: &mut Times) -> u64 {
    let [traf] = moof.traf.as_slice() else { panic!("one track per file") };
    let mut time = traf.tfdt.as_ref().expect("tfdt").base_media_decode_time;
    assert!(expected.is_none_or(|expected| expected == time), "a chunk at {time}, expected at {expected:?}");
    let mut bytes = 0;
    for sample in traf.trun.iter().flat_map(|trun| trun.samples.iter()) {
        let duration = u64::from(sample.duration.or(traf.tfhd.default_sample_duration).expect("a duration"));
        let shown = time.checked_add_signed(sample.cts.unwrap_or(0)).expect("a time");
        if times.samples == 0 {
            // ISO/IEC 14496-12 8.8.3.1: sample_is_non_sync_sample is bit 16.
            let flags = sample.flags.or(traf.tfhd.default_sample_flags).expect("flags");
            times.begins_with_sync = flags & 0x1_0000 == 0;
        }
        times.start = times.start.min(shown);
        times.end = times.end.max(shown + duration);
        times.longest_sample = times.longest_sample.max(duration);
        times.samples += 1;
        bytes += sample.size.or(traf.tfhd.default_sample_size).expect("a size") as usize;
        time += duration;
    }
    assert_eq!(bytes, data_bytes, "an mdat is what its trun lists");
    time
}
