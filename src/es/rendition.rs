//! The name of a track rendition as it stands in URLs: `v0` and `a1` for the source's own tracks, `v0-h264-360p-800k` for what is
//! made of one.
//!
//! What it deliberately does not do: say what the rendition is; [`super::Track`] does.
#![forbid(unsafe_code)]

use super::encoding::Encoding;
use super::{TrackId, TrackKind};
use std::fmt;
use std::str::FromStr;

/// One track as it is served: in a playlist, an adaptation set, a ring and a CMAF store of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenditionId {
    pub kind: TrackKind,
    /// The source's track.
    pub track: TrackId,
    /// What is made of it; `None`: the source's own samples.
    pub encoding: Option<Encoding>,
}

impl RenditionId {
    /// The rendition that is the source's own track.
    pub fn source(track: TrackId, kind: TrackKind) -> RenditionId {
        RenditionId { kind, track, encoding: None }
    }
    /// The rendition that is made of a source's track.
    pub fn encoded(track: TrackId, encoding: Encoding) -> RenditionId {
        RenditionId { kind: encoding.kind(), track, encoding: Some(encoding) }
    }
    pub fn is_audio(self) -> bool {
        self.kind == TrackKind::Audio
    }
}

impl fmt::Display for RenditionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            TrackKind::Video => 'v',
            TrackKind::Audio => 'a',
            TrackKind::Data => 'd',
        };
        write!(f, "{letter}{}", self.track.0)?;
        self.encoding.map_or(Ok(()), |encoding| write!(f, "-{encoding}"))
    }
}

/// The text names no rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rendition has this name")]
pub struct NoRendition;

impl FromStr for RenditionId {
    type Err = NoRendition;

    /// Takes what [`fmt::Display`] writes of video and audio, and nothing else: a rendition has one URL, data has none.
    fn from_str(name: &str) -> Result<RenditionId, NoRendition> {
        let (source, encoding) = match name.split_once('-') {
            Some((source, encoding)) => (source, Some(encoding.parse::<Encoding>().map_err(|_| NoRendition)?)),
            None => (name, None),
        };
        let (kind, digits) = match source.split_at_checked(1) {
            Some(("v", digits)) => (TrackKind::Video, digits),
            Some(("a", digits)) => (TrackKind::Audio, digits),
            _ => return Err(NoRendition),
        };
        // `parse` would take a sign and leading zeros, which `Display` never writes.
        let is_canonical =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
        let track = digits.parse().ok().filter(|_| is_canonical).ok_or(NoRendition)?;
        match encoding {
            Some(encoding) if encoding.kind() != kind => Err(NoRendition),
            _ => Ok(RenditionId { kind, track: TrackId(track), encoding }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let id: RenditionId = "a12".parse().unwrap();
        assert_eq!((id.is_audio(), id.track, id.to_string().as_str()), (true, TrackId(12), "a12"));
        for good in ["v0", "v0-h264-360p-800k", "a1-opus-96k-2ch", "v3-vp9"] {
            assert_eq!(good.parse::<RenditionId>().unwrap().to_string(), good);
        }
        for bad in ["", "v", "x1", "a01", "v+1", "v-1", "v65536", "ü1", "d1", "v0-opus", "a0-h264", "v0-", "v0-h264-"]
        {
            assert_eq!(bad.parse::<RenditionId>(), Err(NoRendition), "{bad}");
        }
    }
}
