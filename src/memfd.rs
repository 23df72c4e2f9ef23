//! Sparse anonymous files (memfd_create(2)) and maps of them, for [`crate::ring`] and [`crate::store`].
//!
//! A memfd instead of an anonymous map, because its pages show under a name of their own in `/proc/self/maps`, count as Shmem, and
//! can leave by `sendfile`. Nothing is touched at creation: pages come when they are first written.
//!
//! Huge pages are refused for every map: they would make a small ring as large as the page, and a hole punched in the middle of
//! a huge page is zeroed in place, which a socket that still holds the page would send.

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// A sparse file of `bytes` bytes whose length is sealed, so that no map of it can ever fault with SIGBUS for want of file.
pub(crate) fn sparse(name: &CStr, bytes: usize) -> io::Result<File> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call; the flags are valid; nothing else is passed.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by the kernel, is open, and nobody else owns it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes as u64)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open for the whole call, F_ADD_SEALS takes an int.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// A zeroed map of `bytes` bytes that this process alone can reach by its owner. The descriptor is closed: the map keeps the pages, and
/// a ring per track must not eat the file descriptors that sockets need.
pub(crate) fn private_map(name: &CStr, bytes: usize) -> io::Result<MmapMut> {
    let file = sparse(name, bytes)?;
    // SAFETY: the file is new and its only descriptor closes on return, so nobody else can map, write or truncate it.
    let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file)? };
    refuse_huge_pages(map.advise(Advice::NoHugePage))?;
    Ok(map)
}

/// As [`private_map`], for two owners that keep apart by themselves.
pub(crate) fn raw_map(name: &CStr, bytes: usize) -> io::Result<MmapRaw> {
    let map = MmapOptions::new().len(bytes).map_raw(&sparse(name, bytes)?)?;
    refuse_huge_pages(map.advise(Advice::NoHugePage))?;
    Ok(map)
}

/// A map of all of `file` that cannot be written through.
pub(crate) fn read_only_map(file: &File, bytes: usize) -> io::Result<MmapRaw> {
    let map = MmapOptions::new().len(bytes).map_raw_read_only(file)?;
    refuse_huge_pages(map.advise(Advice::NoHugePage))?;
    Ok(map)
}

/// Passes on the outcome of MADV_NOHUGEPAGE; EINVAL says that the kernel has no huge pages at all, which is just as well.
fn refuse_huge_pages(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        outcome => outcome,
    }
}

/// `bytes` rounded up to whole pages of 4 KiB.
pub(crate) fn whole_pages(bytes: usize) -> usize {
    bytes.next_multiple_of(4096)
}
