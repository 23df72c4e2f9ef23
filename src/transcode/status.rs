//! What the transcoding cores do, as plain data for the API, the page and metrics.
#![forbid(unsafe_code)]

use serde::Serialize;

/// All of it at one point in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    pub cores: Vec<CoreStatus>,
    pub jobs: Vec<JobStatus>,
    pub totals: Totals,
}

/// One transcoding core.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreStatus {
    /// CPU id.
    pub core: usize,
    /// Share of it that its jobs take, measured or expected, 0 to 1 and beyond.
    pub load: f64,
    pub jobs: usize,
    /// A thread hangs on it: it takes nothing any more.
    pub lost: bool,
}

/// One worker thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobStatus {
    /// Its thread's name.
    pub worker: String,
    pub channel: String,
    /// Track and codec of the source: `v0 h264`.
    pub source: String,
    pub core: usize,
    /// `running`, `hung` or `ending`.
    pub state: &'static str,
    pub outputs: Vec<OutputStatus>,
    /// Media time over the time it takes.
    pub speed: f64,
    /// Entries that wait to be decoded.
    pub queue: u64,
    pub lag_ms: u64,
    pub cpu_seconds: f64,
    /// Share of a core, measured over the last seconds.
    pub load: f64,
}

/// One encoding that a job makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputStatus {
    /// As in URLs: `v0-h264-360p-800k`.
    pub rendition: String,
    pub frames: u64,
    /// Frames a second over the last seconds.
    pub fps: f64,
    pub bytes: u64,
    /// Frames dropped: damaged, out of order, or without room.
    pub dropped: u64,
    /// Samples of the source left out because the transcoder was too slow.
    pub skipped: u64,
    pub reconfigured: u64,
}

/// Counters since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Branches taken.
    pub started: u64,
    /// Branches refused.
    pub refused: u64,
    /// Outputs that ended by themselves.
    pub failed: u64,
    /// Threads given up as hung.
    pub abandoned: u64,
    /// Frames encoded.
    pub frames: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// CPU time of all workers, seconds.
    pub cpu_seconds: f64,
    /// From the stop flag to the joined thread, milliseconds: the last time, and the longest.
    pub stop_ms_last: f64,
    pub stop_ms_max: f64,
}
