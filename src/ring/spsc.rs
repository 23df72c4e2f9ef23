//! The hand-over ring between a shard and a transcoder thread: bytes in an mmap, descriptors over rtrb, space returned by one atomic tail.
