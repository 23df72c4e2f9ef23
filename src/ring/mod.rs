//! Memory-mapped rings of samples: [`es`] within a shard, [`spsc`] between a shard and a transcoder thread.

pub mod es;
pub mod spsc;
