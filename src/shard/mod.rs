//! The only runtime layer: pinned executors, listener, connections, pumps, origin IO, mesh, shutdown.
