//! The source thread: asks a programme when its next bytes are due, sleeps until then, and hands them to the server.
//!
//! A thread that comes late (a busy machine) catches up, as an encoder with a buffer does: the stream itself has no hole.
//! By more than [`LATE_MAX`] (a suspended laptop, a stopped process) the whole schedule moves on, as that much of a live
//! stream's past is of no use to anyone.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::OriginError;

/// A live stream that comes in portions, each with a time.
pub(super) trait Program {
    /// When the next portion is due, counted from the start; never goes back.
    fn due(&self) -> Duration;
    /// Appends the next portion: whole TS packets, possibly none. Called when it is due.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), OriginError>;
}

/// The way from the source thread to the server thread.
pub(super) struct Output {
    pub chunks: SyncSender<Vec<u8>>,
    pub wake: UnixStream,
    pub stop: Arc<AtomicBool>,
}

/// Runs `program` until the handle says stop, the server is gone, or the programme fails.
pub(super) fn run(mut program: Box<dyn Program>, output: &Output) -> Result<(), OriginError> {
    let mut start = Instant::now();
    loop {
        let due = start + program.due();
        if !sleep_until(due, &output.stop) {
            return Ok(());
        }
        let late = due.elapsed();
        if late > LATE_MAX {
            tracing::warn!(late_ms = late.as_millis() as u64, "the synthetic origin lost time and moves on");
            start += late;
        }
        let mut chunk = Vec::new();
        program.write(&mut chunk)?;
        if !chunk.is_empty() {
            if output.chunks.send(chunk).is_err() {
                return Ok(());
            }
            wake(&output.wake);
        }
    }
}

/// Wakes whoever polls the other end; a full socket means that it has been woken already.
pub(super) fn wake(mut socket: &UnixStream) {
    let _ = socket.write(&[0]);
}

/// Sleeps until `due`; false when told to stop.
fn sleep_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Acquire) {
            return false;
        }
        let now = Instant::now();
        if now >= due {
            return true;
        }
        // Stopping unparks this thread; a spurious wake-up only goes around once more.
        std::thread::park_timeout(due - now);
    }
}

/// How late a portion may be before the schedule is moved instead of caught up.
const LATE_MAX: Duration = Duration::from_secs(5);
