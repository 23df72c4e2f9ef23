//! Counters of the process and of each channel, and their Prometheus text.
