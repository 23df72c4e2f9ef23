//! HLS playlist text (RFC 8216, and draft-pantos-hls-rfc8216bis where it is clearer).
//!
//! | file | what it holds |
//! |---|---|
//! | `media.rs` | Media Playlist |
//! | `multivariant.rs` | Multivariant Playlist |
//!
//! Bytes and text only: nothing here knows of stores or sessions. Nothing per viewer ever stands in a playlist, so each is
//! rendered once and shared by all.
#![forbid(unsafe_code)]

pub mod media;
pub mod multivariant;
