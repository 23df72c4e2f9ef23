//! What happens when the system denies what the relay stands on.

use crate::support::relay::{Setup, scratch_folder, serve_command};
use std::io;
use std::os::unix::process::CommandExt;

/// Exit code for a system or configuration that lacks something (sysexits.h EX_CONFIG).
const EX_CONFIG: i32 = 78;

#[test]
fn without_io_uring_it_says_how_to_get_it() {
    let folder = scratch_folder();
    let mut command = serve_command(&folder, &Setup::new().channel("live", "http://127.0.0.1:9/").toml());
    // SAFETY: the closure makes system calls only, which is allowed between fork and exec.
    unsafe { command.pre_exec(forbid_io_uring) };
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EX_CONFIG), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
    assert!(said.contains("io_uring") && said.contains("seccomp"), "it names the cause and the remedy: {said}");
    std::fs::remove_dir_all(folder).expect("our own folder");
}

#[test]
fn a_wrong_config_names_key_line_and_remedy() {
    let folder = scratch_folder();
    let output = serve_command(&folder, "[media]\nsegment_target_ms = 5\n[server]\nshard = 2\n")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(EX_CONFIG), "{said}");
    assert!(said.contains("shard") && said.contains("4"), "the unknown key and its line: {said}");
    std::fs::remove_dir_all(folder).expect("our own folder");
}

/// Puts a seccomp filter on this process under which io_uring_setup(2) fails with EPERM, as under Docker's default profile.
fn forbid_io_uring() -> io::Result<()> {
    const SYSCALL_NUMBER_OFFSET: u32 = 0; // seccomp_data.nr
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, SYSCALL_NUMBER_OFFSET),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl gets a live program whose length is that of its filter; the kernel copies it before the call returns.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
