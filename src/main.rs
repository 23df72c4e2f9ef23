//! The `millrace` command.
//!
//! Exit codes: 0 done; 1 failed, the reason stands on stderr; 2 wrong usage; 70 a shard stopped moving; 78 the system
//! or the configuration lacks something, with a one-line remedy.

mod cli;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
