//! Stand-in for what is read of the server's process and of the machine: everything is unknown.

use crate::result::{Environment, MachineFigures, ServerFigures};

/// Reads the counters of a process and of the machine.
pub struct Sampler;

impl Sampler {
    /// Begins with the process `pid`, if there is one.
    pub fn start(_pid: Option<u32>) -> Sampler {
        Sampler
    }

    /// Since the last call: the server's CPU seconds and its resident bytes, and the machine's busy seconds.
    pub fn second(&mut self) -> (Option<f64>, Option<u64>, f64) {
        (None, None, 0.0)
    }

    /// Since the start.
    pub fn finish(self) -> (Option<ServerFigures>, MachineFigures) {
        (None, MachineFigures::default())
    }
}

/// What the run may be compared by.
pub fn environment(_pid: Option<u32>) -> Environment {
    Environment {
        begun: String::new(),
        kernel: String::new(),
        cpu_model: String::new(),
        cpus: 0,
        memory_bytes: 0,
        sysctls: Default::default(),
        harness_version: env!("CARGO_PKG_VERSION").into(),
        server_command: None,
    }
}
