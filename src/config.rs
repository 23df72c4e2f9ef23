//! The configuration file (TOML): every key with unit, default and range.
