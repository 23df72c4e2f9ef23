//! DASH Media Presentation Descriptions (ISO/IEC 23009-1, live profile with SegmentTimeline; DASH-IF IOP).
//!
//! Text only: nothing here knows of stores or sessions.
#![forbid(unsafe_code)]

pub mod mpd;
