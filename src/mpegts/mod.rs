//! MPEG transport streams (ISO/IEC 13818-1), read and written.
#![forbid(unsafe_code)]

pub mod demux;
pub mod mux;
