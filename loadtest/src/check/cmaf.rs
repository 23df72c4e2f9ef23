//! Reads what is checked of ISO BMFF files (ISO/IEC 14496-12): the boxes that an initialization and a media segment of CMAF consist of.
//!
//! What it deliberately does not do: read sample entries, encryption, edit lists or sample flags; read boxes larger than 4 GiB.

/// A box: its type and what follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsoBox<'a> {
    /// Four characters.
    pub kind: [u8; 4],
    /// Offset of its header in the bytes that were split.
    pub offset: usize,
    pub payload: &'a [u8],
}

/// A track of an initialization segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    pub id: u32,
    /// Units per second of its times, not 0.
    pub timescale: u32,
    /// From `trex`.
    pub default_sample_duration: u32,
    pub default_sample_size: u32,
}

/// A `moof` with its `mdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Of `mfhd`.
    pub sequence_number: u32,
    pub fragments: Vec<Fragment>,
    /// Offset of the `moof` and of the `mdat`'s payload in the segment, and length of the latter.
    pub moof_offset: u64,
    pub data_offset: u64,
    pub data_bytes: u64,
}

/// A `traf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    pub track: u32,
    /// Of `tfdt`, in the track's timescale.
    pub base_media_decode_time: u64,
    /// Sums over all samples of its `trun`s, and the longest.
    pub duration: u64,
    pub longest: u64,
    pub bytes: u64,
    pub samples: u64,
    /// Begin of each `trun`'s data, in bytes after the `moof`, where written.
    pub data_offsets: Vec<i64>,
}

/// Splits bytes into boxes, which must fill them.
///
/// # Errors
/// In words, with the offset of the box that does not fit.
pub fn boxes(bytes: &[u8]) -> Result<Vec<IsoBox<'_>>, String> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let broken = || format!("{} bytes at offset {offset} are no box", rest.len());
        let (header, _) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let [a, b, c, d, kind @ ..] = *header;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let payload = rest.get(8..size).ok_or_else(|| {
            format!("box {} at offset {offset} says {size} bytes of {}", String::from_utf8_lossy(&kind), rest.len())
        })?;
        found.push(IsoBox { kind, offset, payload });
        offset += size;
    }
    Ok(found)
}

/// Tracks of an initialization segment.
///
/// # Errors
/// In words, where there is no `moov` with tracks, or a box is cut short.
pub fn init_segment(bytes: &[u8]) -> Result<Vec<Track>, String> {
    let moov = child(bytes, b"moov")?;
    let mut tracks = Vec::new();
    for trak in children(moov, b"trak")? {
        let tkhd = child(trak, b"tkhd")?;
        let mdhd = child(child(trak, b"mdia")?, b"mdhd")?;
        // Version 1 has times of eight bytes.
        let id_at = if tkhd.first() == Some(&1) { 20 } else { 12 };
        let timescale_at = if mdhd.first() == Some(&1) { 20 } else { 12 };
        tracks.push(Track { id: u32_at(tkhd, id_at)?, timescale: u32_at(mdhd, timescale_at)?, ..Track::default() });
    }
    for trex in children(child(moov, b"mvex")?, b"trex")? {
        let id = u32_at(trex, 4)?;
        let track = tracks.iter_mut().find(|track| track.id == id).ok_or_else(|| format!("trex of no track: {id}"))?;
        (track.default_sample_duration, track.default_sample_size) = (u32_at(trex, 12)?, u32_at(trex, 16)?);
    }
    match tracks.iter().find(|track| track.timescale == 0) {
        Some(track) => Err(format!("track {} with timescale 0", track.id)),
        None if tracks.is_empty() => Err("no track".into()),
        None => Ok(tracks),
    }
}

/// Chunks of a media segment.
///
/// # Errors
/// In words, where boxes do not fill it, a `moof` is not followed by its `mdat`, or a box is cut short.
pub fn media_segment(bytes: &[u8], tracks: &[Track]) -> Result<Vec<Chunk>, String> {
    let mut chunks = Vec::new();
    let mut moof: Option<IsoBox> = None;
    for found in boxes(bytes)? {
        match (&found.kind, moof.take()) {
            (b"moof", None) => moof = Some(found),
            (b"mdat", Some(moof)) => chunks.push(chunk(&moof, &found, tracks)?),
            (b"mdat", None) => return Err(format!("mdat at offset {} without moof", found.offset)),
            (_, Some(moof)) => return Err(format!("moof at offset {} is not followed by mdat", moof.offset)),
            // styp, sidx, emsg, prft, free and the like.
            (_, None) => {}
        }
    }
    match moof {
        Some(moof) => Err(format!("moof at offset {} is not followed by mdat", moof.offset)),
        None if chunks.is_empty() => Err("no moof".into()),
        None => Ok(chunks),
    }
}

fn chunk(moof: &IsoBox, mdat: &IsoBox, tracks: &[Track]) -> Result<Chunk, String> {
    let trafs = children(moof.payload, b"traf")?;
    Ok(Chunk {
        sequence_number: u32_at(child(moof.payload, b"mfhd")?, 4)?,
        fragments: trafs.into_iter().map(|traf| fragment(traf, tracks)).collect::<Result<_, _>>()?,
        moof_offset: moof.offset as u64,
        data_offset: mdat.offset as u64 + 8,
        data_bytes: mdat.payload.len() as u64,
    })
}

fn fragment(traf: &[u8], tracks: &[Track]) -> Result<Fragment, String> {
    let tfhd = child(traf, b"tfhd")?;
    let id = u32_at(tfhd, 4)?;
    let mut track = *tracks.iter().find(|track| track.id == id).ok_or_else(|| format!("traf of no track: {id}"))?;
    let flags = u32_at(tfhd, 0)? & 0xff_ffff;
    // base-data-offset of eight bytes and sample-description-index come before what is read here.
    let mut at = 8 + 8 * (flags & 1) as usize + 4 * (flags >> 1 & 1) as usize;
    for (flag, field) in [(8, &mut track.default_sample_duration), (16, &mut track.default_sample_size)] {
        if flags & flag != 0 {
            *field = u32_at(tfhd, at)?;
            at += 4;
        }
    }
    let tfdt = child(traf, b"tfdt")?;
    let low = |at| u32_at(tfdt, at).map(u64::from);
    let time = if tfdt.first() == Some(&1) { low(4)? << 32 | low(8)? } else { low(4)? };
    let mut fragment = Fragment { track: id, base_media_decode_time: time, ..Fragment::default() };
    for trun in children(traf, b"trun")? {
        add_trun(&mut fragment, trun, &track)?;
    }
    Ok(fragment)
}

fn add_trun(fragment: &mut Fragment, trun: &[u8], track: &Track) -> Result<(), String> {
    let flags = u32_at(trun, 0)? & 0xff_ffff;
    let count = u32_at(trun, 4)?;
    let mut at = 8;
    let mut next = |flag: u32, default: u32| -> Result<u32, String> {
        if flags & flag == 0 {
            return Ok(default);
        }
        at += 4;
        u32_at(trun, at - 4)
    };
    if flags & 1 != 0 {
        fragment.data_offsets.push(i64::from(next(1, 0)?.cast_signed()));
    }
    next(4, 0)?;
    // A count that fields do not back would loop for long over nothing.
    if flags & 0xf00 == 0 && count > SAMPLES_MAX {
        return Err(format!("trun with {count} samples"));
    }
    for _ in 0..count {
        let duration = u64::from(next(0x100, track.default_sample_duration)?);
        fragment.bytes += u64::from(next(0x200, track.default_sample_size)?);
        next(0x400, 0)?;
        next(0x800, 0)?;
        fragment.duration += duration;
        fragment.longest = fragment.longest.max(duration);
        fragment.samples += 1;
    }
    Ok(())
}

/// Of one `trun` whose samples have no fields.
const SAMPLES_MAX: u32 = 100_000;

fn children<'a>(payload: &'a [u8], kind: &[u8; 4]) -> Result<Vec<&'a [u8]>, String> {
    Ok(boxes(payload)?.into_iter().filter(|found| found.kind == *kind).map(|found| found.payload).collect())
}

fn child<'a>(payload: &'a [u8], kind: &[u8; 4]) -> Result<&'a [u8], String> {
    let found = children(payload, kind)?;
    found.first().copied().ok_or_else(|| format!("no {}", String::from_utf8_lossy(kind)))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    let field = bytes.get(at..at + 4).and_then(|field| field.first_chunk::<4>());
    field.map(|field| u32::from_be_bytes(*field)).ok_or_else(|| format!("a box of {} bytes is cut short", bytes.len()))
}
