//! The init segment (ISO/IEC 23000-19 7.3.1): `ftyp` and `moov` of one track.

use crate::es::Track;

/// Why a track has no init segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    #[error("CMAF has no mapping for {0}")]
    Codec(&'static str),
    /// Parameter sets or frame headers have not come yet, or lack what the sample entry needs.
    #[error("the parameters of the track are not known: {0}")]
    Params(&'static str),
}

/// Units a second of the track's media times: 90,000 for video, the sampling rate (of the core stream) for audio. `None` until known.
pub fn timescale(_track: &Track) -> Option<u32> {
    None
}

/// Appends the init segment of `track`. Equal descriptions give equal bytes.
///
/// # Errors
/// [`InitError`]; nothing was appended.
pub fn write(_track: &Track, _out: &mut Vec<u8>) -> Result<(), InitError> {
    Err(InitError::Params("not built"))
}
