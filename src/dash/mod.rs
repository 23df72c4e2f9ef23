//! DASH Media Presentation Descriptions (ISO/IEC 23009-1, live profile with SegmentTimeline; DASH-IF IOP).
//!
//! | file | what it holds |
//! |---|---|
//! | `mpd.rs` | the MPD and its elements |
//! | `text.rs` | escaping, durations, integers |
//!
//! Text only: nothing here knows of stores or sessions. Nothing per viewer ever stands in an MPD, so each is rendered once and
//! shared by all.
#![forbid(unsafe_code)]

pub mod mpd;
mod text;
