//! MPEG transport streams (ISO/IEC 13818-1), read and written.
//!
//! [`packet`], [`psi`] and [`pes`] hold the words that both directions speak: packet header and adaptation field, sections with
//! their CRC, PES headers. [`demux`] turns bytes into samples, [`mux`] samples into bytes. Both are sans-IO.
#![forbid(unsafe_code)]

pub mod demux;
pub mod mux;
pub mod packet;
pub mod pes;
pub mod psi;
