//! The name of a track rendition as it stands in URLs: `v0`, `a1`.
//!
//! What it deliberately does not do: say what the rendition is; [`super::Track`] does.

use super::{TrackId, TrackKind};
use std::fmt;
use std::str::FromStr;

/// One track as it is served: in a playlist, an adaptation set, a CMAF store of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenditionId {
    /// Audio, not video: only these two are served as renditions.
    pub is_audio: bool,
    pub track: TrackId,
}

impl RenditionId {
    /// The rendition that is the source's own track; `None` for data.
    pub fn of(track: TrackId, kind: TrackKind) -> Option<RenditionId> {
        (kind != TrackKind::Data).then_some(RenditionId { is_audio: kind == TrackKind::Audio, track })
    }
    pub fn kind(self) -> TrackKind {
        if self.is_audio { TrackKind::Audio } else { TrackKind::Video }
    }
}

impl fmt::Display for RenditionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_audio { 'a' } else { 'v' }, self.track.0)
    }
}

/// The text names no rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rendition has this name")]
pub struct NoRendition;

impl FromStr for RenditionId {
    type Err = NoRendition;

    /// Takes what [`fmt::Display`] writes and nothing else: a rendition has one URL.
    fn from_str(name: &str) -> Result<RenditionId, NoRendition> {
        let (is_audio, digits) = match name.split_at_checked(1) {
            Some(("v", digits)) => (false, digits),
            Some(("a", digits)) => (true, digits),
            _ => return Err(NoRendition),
        };
        // `parse` would take a sign and leading zeros, which `Display` never writes.
        let is_canonical =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
        let track = digits.parse().ok().filter(|_| is_canonical).ok_or(NoRendition)?;
        Ok(RenditionId { is_audio, track: TrackId(track) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let id: RenditionId = "a12".parse().unwrap();
        assert_eq!((id.is_audio, id.track, id.to_string().as_str()), (true, TrackId(12), "a12"));
        for bad in ["", "v", "x1", "a01", "v+1", "v-1", "v65536", "ü1"] {
            assert_eq!(bad.parse::<RenditionId>(), Err(NoRendition), "{bad}");
        }
    }
}
