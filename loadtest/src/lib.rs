//! Load generator and stream checker for the relay.
//!
//! It shares no code with the relay, so that its verdict is independent: what both get wrong in the same way would go unseen otherwise.
//! [`tscheck`] holds an MPEG transport stream against ISO/IEC 13818-1.
#![forbid(unsafe_code)]

pub mod reference;
pub mod tscheck;
