//! Where a process's memory lies at one moment, and what the kernel holds for its sockets: what a viewer or a channel costs is a difference of two.
//!
//! A file of memory (memfd, proc(5)) is counted once, however often it is mapped, and whether its pages are mapped at all: what leaves by
//! `sendfile` never is. What it deliberately does not do: swap, which a server of live streams must not be in.

use super::parse;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Memory of one process, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its own: heap, stacks, other anonymous pages (`RssAnon`).
    pub anon: u64,
    /// Files of memory, mapped or open.
    pub shared: u64,
    /// Resident pages of its program and libraries (`RssFile`).
    pub file: u64,
}

impl Memory {
    /// All three.
    pub fn total(&self) -> u64 {
        self.anon + self.shared + self.file
    }
}

/// Of a process now. It costs a walk over its pages: some milliseconds for each gigabyte.
///
/// # Errors
/// There is no such process, or it may not be looked into.
pub fn memory(pid: u32) -> Result<Memory> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (anon, file) = parse::anon_and_file(&read("status")?).context("a process without memory")?;
    let mut files = parse::memory_files(&read("smaps")?);
    for (inode, bytes) in open_memory_files(pid) {
        let held = files.entry(inode).or_default();
        *held = bytes.max(*held);
    }
    Ok(Memory { anon, file, shared: files.values().sum() })
}

/// Allocated bytes of the files of memory that it has open, by inode.
fn open_memory_files(pid: u32) -> BTreeMap<u64, u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let memory_file = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.starts_with("/memfd:").then(|| fs::metadata(entry.path()).ok())?
    };
    entries.filter_map(memory_file).map(|file| (file.ino(), file.blocks() * 512)).collect()
}

/// Bytes of the kernel's small objects, of the whole machine; `None` where it does not tell.
pub fn slab_bytes() -> Option<u64> {
    parse::slab(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Bytes that the TCP sockets of a local port have taken and that are not acknowledged yet, by socket; from `/proc/net/tcp` (proc_net_tcp.rst).
pub fn send_queues(port: u16) -> Vec<u64> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut queues = parse::send_queues(&text("/proc/net/tcp"), port);
    queues.extend(parse::send_queues(&text("/proc/net/tcp6"), port));
    queues
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn this_process_has_memory_of_its_own_and_of_a_file() {
        let before = memory(std::process::id()).unwrap();
        let file = rustix::fs::memfd_create("loadtest-memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = fs::File::from(file);
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let with_file = memory(std::process::id()).unwrap();
        assert!(before.anon > 0 && before.file > 0);
        assert!(with_file.shared >= before.shared + (1 << 20), "{before:?} {with_file:?}");
        assert!(memory(u32::MAX).is_err());
    }

    #[test]
    fn what_nobody_reads_is_in_the_senders_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut sender, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 65_536]).is_ok() {}
        let queues = send_queues(listener.local_addr().unwrap().port());
        assert!(queues.iter().sum::<u64>() > 0, "{queues:?}");
    }
}
