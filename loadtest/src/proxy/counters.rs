//! What a proxy counts, written by its thread and read by others while it runs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a proxy has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counters {
    /// Connections accepted, refused ones included.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections closed as soon as they were accepted.
    pub refused: u64,
    /// Bytes forwarded to those who connected.
    pub bytes_down: u64,
    /// Bytes forwarded to where the proxy connects to.
    pub bytes_up: u64,
    /// Connections that the proxy reset as a fault.
    pub resets: u64,
    /// Connections reset because a socket failed: a peer reset it, or the server was not reached.
    pub failures: u64,
    /// Connections that went half open.
    pub half_opens: u64,
    /// Stalls that held something back, each direction of each connection by itself.
    pub stalls: u64,
    /// Processor time of the proxy's thread, microseconds; some tenths of a second old.
    pub cpu_us: u64,
}

impl Counters {
    /// Processor time of the proxy's thread, seconds.
    pub fn cpu_s(&self) -> f64 {
        self.cpu_us as f64 / 1e6
    }
}

/// The counters while they are written. Each is exact; together they are of about the same moment.
#[derive(Default)]
pub(super) struct LiveCounters {
    pub connections: AtomicU64,
    pub open: AtomicU64,
    pub refused: AtomicU64,
    pub bytes_down: AtomicU64,
    pub bytes_up: AtomicU64,
    pub resets: AtomicU64,
    pub failures: AtomicU64,
    pub half_opens: AtomicU64,
    pub stalls: AtomicU64,
    pub cpu_us: AtomicU64,
}

impl LiveCounters {
    pub fn read(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            refused: self.refused.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
            bytes_up: self.bytes_up.load(Relaxed),
            resets: self.resets.load(Relaxed),
            failures: self.failures.load(Relaxed),
            half_opens: self.half_opens.load(Relaxed),
            stalls: self.stalls.load(Relaxed),
            cpu_us: self.cpu_us.load(Relaxed),
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { connections, open, refused, bytes_down, bytes_up, resets, failures, half_opens, stalls, .. } =
            self;
        write!(f, "{open} open of {connections}, {bytes_down} bytes down, {bytes_up} up, {resets} reset, ")?;
        write!(f, "{half_opens} half open, {refused} refused, {failures} failed, {stalls} stalls")
    }
}
