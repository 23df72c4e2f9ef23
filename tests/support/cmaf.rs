//! Reads CMAF segments, Media Playlists and MPDs for tests. It shares no code with the relay.
//!
//! What it deliberately does not do: read what the tests do not look at.
#![allow(dead_code)]

use std::ops::Range;

/// One chunk: `moof` and `mdat`, and what stands before them.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// A `styp` stands before it.
    pub begins_segment: bool,
    /// ntp_timestamp and media_time of its `prft`.
    pub produced: Option<(u64, u64)>,
    pub sequence_number: u32,
    pub base: u64,
    pub samples: Vec<Sample>,
    /// Payload of `mdat` within the bytes given.
    pub data: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub duration: u32,
    pub size: u32,
    pub is_sync: bool,
    pub composition_offset: i32,
}

impl Chunk {
    /// Decode time of the end of its last sample.
    pub fn end(&self) -> u64 {
        self.base + self.samples.iter().map(|sample| u64::from(sample.duration)).sum::<u64>()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    let word = bytes.get(at..at + 4).ok_or("a box is too short")?;
    Ok(u32::from_be_bytes(word.try_into().expect("four bytes")))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, String> {
    Ok(u64::from(u32_at(bytes, at)?) << 32 | u64::from(u32_at(bytes, at + 4)?))
}

/// Kind of a box, and where its body is.
type Found<'a> = (&'a [u8], Range<usize>);

/// The boxes that fill `bytes`.
fn boxes(bytes: &[u8]) -> Result<Vec<Found<'_>>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let size = u32_at(bytes, at)? as usize;
        if size < 8 || at + size > bytes.len() {
            return Err(format!("a box of {size} bytes at {at} of {}", bytes.len()));
        }
        found.push((&bytes[at + 4..at + 8], at + 8..at + size));
        at += size;
    }
    Ok(found)
}

/// The chunks of a segment.
pub fn chunks(bytes: &[u8]) -> Result<Vec<Chunk>, String> {
    let mut found = Vec::new();
    let mut chunk = Chunk::default();
    let mut moof_size = 0;
    let mut data_offset = 0;
    for (kind, body) in boxes(bytes)? {
        let inside = &bytes[body.clone()];
        match kind {
            b"styp" => chunk.begins_segment = true,
            b"prft" => chunk.produced = Some((u64_at(inside, 8)?, u64_at(inside, 16)?)),
            b"moof" => {
                moof_size = body.len() + 8;
                data_offset = movie_fragment(inside, &mut chunk)?;
            }
            b"mdat" => {
                chunk.data = body.clone();
                let sizes: usize = chunk.samples.iter().map(|sample| sample.size as usize).sum();
                if sizes != body.len() || data_offset != moof_size + 8 {
                    return Err(format!("{sizes} bytes of samples at {data_offset}, mdat holds {}", body.len()));
                }
                found.push(std::mem::take(&mut chunk));
            }
            _ => return Err(format!("a box {:?}", String::from_utf8_lossy(kind))),
        }
    }
    Ok(found)
}

/// Returns data_offset.
fn movie_fragment(bytes: &[u8], chunk: &mut Chunk) -> Result<usize, String> {
    let mut offset = 0;
    for (kind, body) in boxes(bytes)? {
        let inside = &bytes[body];
        match kind {
            b"mfhd" => chunk.sequence_number = u32_at(inside, 4)?,
            b"traf" => {
                let mut defaults = [0; 3];
                for (kind, body) in boxes(inside)? {
                    let inside = &inside[body];
                    match kind {
                        b"tfhd" => defaults = fragment_defaults(inside)?,
                        b"tfdt" => chunk.base = u64_at(inside, 4)?,
                        b"trun" => offset = run(inside, defaults, &mut chunk.samples)?,
                        _ => return Err(format!("a box {kind:?} in traf")),
                    }
                }
            }
            _ => return Err(format!("a box {kind:?} in moof")),
        }
    }
    Ok(offset)
}

/// Duration, size and flags.
fn fragment_defaults(bytes: &[u8]) -> Result<[u32; 3], String> {
    let flags = u32_at(bytes, 0)?;
    let mut at = 8;
    let mut defaults = [0; 3];
    for (flag, value) in [0x8, 0x10, 0x20].into_iter().zip(&mut defaults) {
        if flags & flag != 0 {
            *value = u32_at(bytes, at)?;
            at += 4;
        }
    }
    if flags & 0x2_0000 == 0 { Err("no default-base-is-moof".into()) } else { Ok(defaults) }
}

fn run(bytes: &[u8], defaults: [u32; 3], samples: &mut Vec<Sample>) -> Result<usize, String> {
    let flags = u32_at(bytes, 0)? & 0xff_ffff;
    let count = u32_at(bytes, 4)?;
    let offset = u32_at(bytes, 8)? as usize;
    let mut at = 12;
    let mut word = || {
        at += 4;
        u32_at(bytes, at - 4)
    };
    let first = if flags & 0x4 != 0 { Some(word()?) } else { None };
    for index in 0..count {
        let mut sample = defaults;
        for (flag, value) in [0x100, 0x200, 0x400].into_iter().zip(&mut sample) {
            if flags & flag != 0 {
                *value = word()?;
            }
        }
        let composition_offset = if flags & 0x800 != 0 { word()? as i32 } else { 0 };
        let [duration, size, own] = sample;
        let flags = if index == 0 { first.unwrap_or(own) } else { own };
        samples.push(Sample { duration, size, is_sync: flags & 0x1_0000 == 0, composition_offset });
    }
    Ok(offset)
}

/// A Media Playlist.
#[derive(Clone, Debug, Default)]
pub struct Playlist {
    pub target_duration_s: u64,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    pub independent: bool,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Last part of the URI without its suffix.
    pub time: u64,
    /// `init-{n}` of the EXT-X-MAP in force.
    pub init: u32,
    pub ticks: i64,
    pub gap: bool,
    pub discontinuity: bool,
    pub date: Option<String>,
    /// Of the segment, counted from the playlist's.
    pub discontinuity_sequence: u64,
}

impl Playlist {
    pub fn parse(text: &str) -> Result<Playlist, String> {
        let mut playlist = Playlist::default();
        let (mut next, mut init) = (Entry::default(), None);
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXTM3U" | "#EXT-X-VERSION" => {}
                "#EXT-X-TARGETDURATION" => playlist.target_duration_s = number(value)?,
                "#EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = number(value)?,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = number(value)?,
                "#EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent = true,
                "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
                "#EXT-X-GAP" => next.gap = true,
                "#EXT-X-PROGRAM-DATE-TIME" => next.date = Some(value.to_owned()),
                "#EXT-X-MAP" => init = Some(number(between(value, "init-", ".mp4")?)? as u32),
                "#EXTINF" => {
                    let seconds: f64 = value.trim_end_matches(',').parse().map_err(|_| format!("EXTINF {value}"))?;
                    next.ticks = (seconds * 90_000.0).round() as i64;
                }
                _ if line.starts_with('#') => return Err(format!("a line {line}")),
                _ => {
                    next.time = number(between(line.rsplit('/').next().unwrap_or(""), "", ".m4s")?)?;
                    next.init = init.ok_or("a segment before EXT-X-MAP")?;
                    let before = playlist.entries.last().map(|last| last.discontinuity_sequence);
                    next.discontinuity_sequence =
                        before.unwrap_or(playlist.discontinuity_sequence) + u64::from(next.discontinuity);
                    playlist.entries.push(std::mem::take(&mut next));
                }
            }
        }
        Ok(playlist)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Result<&'a str, String> {
    let (_, rest) = text.split_once(before).ok_or_else(|| format!("no {before} in {text}"))?;
    rest.split_once(after).map(|(found, _)| found).ok_or_else(|| format!("no {after} in {text}"))
}

/// A Period of an MPD.
#[derive(Clone, Debug, Default)]
pub struct Period {
    pub id: u64,
    pub representations: Vec<Representation>,
}

#[derive(Clone, Debug, Default)]
pub struct Representation {
    pub id: String,
    pub timescale: u64,
    pub offset: u64,
    pub init: u32,
    /// Time and duration.
    pub segments: Vec<(u64, u64)>,
}

/// The Periods of an MPD.
pub fn periods(mpd: &str) -> Result<Vec<Period>, String> {
    let mut periods: Vec<Period> = Vec::new();
    let attribute = |tag: &str, name: &str| -> Option<String> {
        between(tag, &format!(" {name}=\""), "\"").ok().map(str::to_owned)
    };
    let value = |tag: &str, name: &str| attribute(tag, name).and_then(|text| text.parse::<u64>().ok());
    for tag in mpd.split('<') {
        if tag.starts_with("Period ") {
            periods.push(Period { id: value(tag, "id").ok_or("Period@id")?, ..Period::default() });
            continue;
        }
        let Some(period) = periods.last_mut() else { continue };
        if tag.starts_with("Representation ") {
            let id = attribute(tag, "id").ok_or("Representation@id")?;
            period.representations.push(Representation { id, ..Representation::default() });
            continue;
        }
        let Some(representation) = period.representations.last_mut() else { continue };
        if tag.starts_with("SegmentTemplate ") {
            representation.timescale = value(tag, "timescale").ok_or("timescale")?;
            representation.offset = value(tag, "presentationTimeOffset").ok_or("presentationTimeOffset")?;
            representation.init = number(between(tag, "/init-", ".mp4")?)? as u32;
        } else if tag.starts_with("S ") {
            let duration = value(tag, "d").ok_or("S@d")?;
            let follows = representation.segments.last().map(|(time, duration)| time + duration);
            let mut time = value(tag, "t").or(follows).ok_or("S@t")?;
            for _ in 0..=value(tag, "r").unwrap_or(0) {
                representation.segments.push((time, duration));
                time += duration;
            }
        }
    }
    Ok(periods)
}

/// SPS (Baseline, level 3) of this size in macroblocks and PPS, NAL units without start codes.
pub fn h264_sets(width_mbs: u32, height_mbs: u32) -> Vec<bytes::Bytes> {
    let mut bits = String::new();
    // seq_parameter_set_id, log2_max_frame_num_minus4, pic_order_cnt_type, max_num_ref_frames
    [0, 0, 2, 1].into_iter().for_each(|value| push_ue(&mut bits, value));
    bits.push('0'); // gaps_in_frame_num_value_allowed_flag
    push_ue(&mut bits, width_mbs - 1);
    push_ue(&mut bits, height_mbs - 1);
    bits.push_str("11001"); // frame_mbs_only, direct_8x8_inference, no cropping, no VUI, stop bit
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    let mut sps = vec![0x67, 66, 0xc0, 30];
    sps.extend((0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).expect("bits")));
    vec![sps.into(), bytes::Bytes::from_static(&[0x68, 0xce, 0x38, 0x80])]
}

/// Unsigned Exp-Golomb (ISO/IEC 14496-10 9.1).
fn push_ue(bits: &mut String, value: u32) {
    let binary = format!("{:b}", value + 1);
    bits.push_str(&"0".repeat(binary.len() - 1));
    bits.push_str(&binary);
}

/// AudioSpecificConfig of AAC-LC (ISO/IEC 14496-3 1.6.2.1) for 48 or 44.1 kHz.
pub fn aac_config(sample_rate: u32, channels: u8) -> bytes::Bytes {
    let index = if sample_rate == 48_000 { 3 } else { 4 };
    let word: u16 = 2 << 11 | index << 7 | u16::from(channels) << 3;
    word.to_be_bytes().to_vec().into()
}
