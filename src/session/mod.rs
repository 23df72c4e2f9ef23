//! A channel's state machine: tracks, rings, packagers, leases, idle deadlines and origin state. Emits commands, does no IO.
