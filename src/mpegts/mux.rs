//! Samples in, transport stream packets out.
