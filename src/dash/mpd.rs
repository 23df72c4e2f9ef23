//! The dynamic MPD.
//!
//! availabilityStartTime is 1970-01-01T00:00:00Z, so presentation time is unix time, and a Period that begins at output time T has
//! `start` T seconds.

/// The whole presentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mpd {
    /// publishTime: wall clock of this version, microseconds since 1970.
    pub publish_time_us: u64,
    /// minimumUpdatePeriod, milliseconds.
    pub update_period_ms: u64,
    /// timeShiftBufferDepth, milliseconds.
    pub time_shift_buffer_ms: u64,
    /// suggestedPresentationDelay, milliseconds.
    pub presentation_delay_ms: u64,
    /// minBufferTime, milliseconds.
    pub min_buffer_ms: u64,
    /// maxSegmentDuration, milliseconds.
    pub segment_ms_max: u64,
    /// UTCTiming's value: a URL relative to the MPD's that answers with the wall clock (urn:mpeg:dash:utc:http-iso:2014).
    pub utc_timing_url: String,
    pub periods: Vec<Period>,
}

/// Media between two discontinuities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Unique and stable while the Period is listed.
    pub id: String,
    /// Output time of its begin, 90 kHz ticks since 1970.
    pub start_90k: u64,
    pub adaptation_sets: Vec<AdaptationSet>,
}

/// Representations that a player may switch between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptationSet {
    /// Unique in the Period and stable over Periods.
    pub id: u32,
    pub kind: ContentKind,
    /// RFC 5646 language tag; `None` when unknown.
    pub language: Option<String>,
    /// Values of urn:mpeg:dash:role:2011 (`main`, `alternate`, `description`, ...).
    pub roles: Vec<&'static str>,
    /// Values of the accessibility descriptor urn:tva:metadata:cs:AudioPurposeCS:2007 (1: visually impaired, 2: hard of hearing).
    pub audio_purpose: Option<u8>,
    /// Every segment begins with a sync sample (startWithSAP 1).
    pub starts_with_sap: bool,
    pub representations: Vec<Representation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    Video,
    Audio,
}

/// One rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    pub id: String,
    /// Bits a second of the largest segment.
    pub bandwidth: u64,
    /// RFC 6381.
    pub codecs: String,
    /// Pixels.
    pub resolution: Option<(u32, u32)>,
    /// Pixel aspect ratio, for `sar`.
    pub sar: Option<(u32, u32)>,
    /// Frames a second as a fraction.
    pub frame_rate: Option<(u32, u32)>,
    /// Hz.
    pub audio_sampling_rate: Option<u32>,
    /// Channels, for AudioChannelConfiguration (urn:mpeg:dash:23003:3:audio_channel_configuration:2011).
    pub audio_channels: Option<u8>,
    /// Units a second of all media times below.
    pub timescale: u32,
    /// Media time of the Period's begin.
    pub presentation_time_offset: u64,
    /// URL of the init segment, relative to the MPD's.
    pub initialization: String,
    /// Template of the media segments' URLs, with `$Time$`.
    pub media: String,
    pub timeline: Vec<TimelineEntry>,
}

/// One segment: its earliest presentation time and duration, in the timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    pub time: u64,
    pub duration: u64,
}

/// Appends the MPD. Runs of equal durations become `S@r`.
pub fn write(_mpd: &Mpd, _out: &mut String) {}
