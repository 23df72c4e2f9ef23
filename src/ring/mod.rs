//! Memory-mapped rings of samples: [`es`] within a shard, [`spsc`] between a shard and a transcoder thread. [`rendition`] is either, as
//! packagers read it; [`branch`] is what a session hands to a transcoder, [`doorbell`] wakes it.
//!
//! Both rings keep payloads in a map and descriptors beside them ([`window`]); they differ in who may write. [`bip`] decides
//! where an ES ring's bytes lie.
//!
//! What they deliberately do not do: wait or know time. A full ring says so and the caller decides.

mod bip;
pub mod branch;
pub mod doorbell;
pub mod es;
pub mod rendition;
pub mod spsc;
mod window;
