//! Origin protocols as sans-IO state machines.
