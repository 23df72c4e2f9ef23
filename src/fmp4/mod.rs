//! CMAF: init segments and chunks of one track (ISO/IEC 23000-19, ISO/IEC 14496-12).
//!
//! | file | what it holds |
//! |---|---|
//! | `boxes.rs` | how a box is written |
//! | `init.rs` | the init segment: `ftyp` and `moov` |
//! | `entry.rs` | sample entries; configuration boxes of audio and VP9 |
//! | `avc.rs`, `hevc.rs`, `av1.rs` | `avcC`, `hvcC`, `av1C` |
//! | `framing.rs` | samples as the ES rings hold them to samples as ISO BMFF wants them |
//! | `chunk.rs` | `styp`, `prft`, `moof` and the head of `mdat` |
//!
//! Bytes in, bytes out: what goes into a chunk and when it ends is the packager's to decide. One track a file, its track_ID is
//! [`TRACK_ID`]. No edit lists: encoder delay is in the time stamps already.
#![forbid(unsafe_code)]

mod av1;
mod avc;
mod boxes;
pub mod chunk;
mod entry;
pub mod framing;
mod hevc;
pub mod init;

/// track_ID of the only track.
pub const TRACK_ID: u32 = 1;
