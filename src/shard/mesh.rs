//! Requests between shards: one rtrb queue for each ordered pair, looked at on the tick. Media never travels here.

use crate::limits::MESH_QUEUE_LEN;
use crate::session::Want;
use rtrb::{Consumer, Producer, RingBuffer};

/// What one shard asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Somebody on the sending shard wants something of the channel; `at_us`: when, monotonic.
    Touch { channel: u32, want: Want, at_us: u64 },
}

/// One shard's ends of the queues.
pub(crate) struct Mesh {
    to: Vec<Producer<Message>>,
    from: Vec<Consumer<Message>>,
}

impl Mesh {
    /// The meshes of `shards` shards, in order. Every shard has a queue to itself too, which stays empty.
    pub fn build(shards: usize) -> Vec<Mesh> {
        let mut meshes: Vec<Mesh> = (0..shards).map(|_| Mesh { to: Vec::new(), from: Vec::new() }).collect();
        for from in 0..shards {
            for to in 0..shards {
                let (producer, consumer) = RingBuffer::new(MESH_QUEUE_LEN);
                meshes[from].to.push(producer);
                meshes[to].from.push(consumer);
            }
        }
        meshes
    }

    /// False when the queue is full: the touch is repeated later, nothing is lost.
    pub fn send(&mut self, shard: usize, message: Message) -> bool {
        self.to[shard].push(message).is_ok()
    }

    /// Takes the next message of any shard.
    pub fn receive(&mut self) -> Option<Message> {
        self.from.iter_mut().find_map(|queue| queue.pop().ok())
    }
}
