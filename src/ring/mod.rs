//! Memory-mapped rings of samples: [`es`] within a shard, [`spsc`] between a shard and a transcoder thread.
//!
//! Both keep payloads in a map and descriptors beside them ([`window`]); they differ in who may write. [`bip`] decides
//! where an ES ring's bytes lie.
//!
//! What they deliberately do not do: wait, wake or know time. A full ring says so and the caller decides.

mod bip;
pub mod es;
pub mod spsc;
mod window;
