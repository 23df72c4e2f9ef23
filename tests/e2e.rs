//! End to end: the real binary, real sockets, an origin on one side and viewers on the other. Each test reads as a script: the origin does
//! this, the relay runs with that, the viewer sees the other.
//!
//! Waits are on conditions with generous limits, so that a loaded machine is slow and not wrong. What takes minutes runs with
//! MILLRACE_FULL=1 only. Needs the `libav` feature for the synthetic origin.
#![cfg(feature = "libav")]

mod support;

#[path = "e2e/cmaf.rs"]
mod cmaf;
#[path = "e2e/cmaf_idle.rs"]
mod cmaf_idle;
#[path = "e2e/joins.rs"]
mod joins;
#[path = "e2e/keys.rs"]
mod keys;
#[path = "e2e/life.rs"]
mod life;
#[path = "e2e/origins.rs"]
mod origins;
#[path = "e2e/single_flight.rs"]
mod single_flight;
#[path = "e2e/slow_viewers.rs"]
mod slow_viewers;
#[path = "e2e/surface.rs"]
mod surface;
#[path = "e2e/system.rs"]
mod system;
#[path = "e2e/variants.rs"]
mod variants;
