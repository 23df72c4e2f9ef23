//! Page references in pipes, for bytes that many viewers get: looked up in the file once, then copied from pipe to pipe and into sockets.
//!
//! ```text
//!  store's memfd ──splice, once──► pipe of a piece ──tee──► scratch pipe ──splice──► socket
//! ```
//! `sendfile` looks up each page of the file again for each viewer, which is a quarter of its price; a pipe hands on references (`tee(2)`,
//! `splice(2)`). No byte is copied, and a page that the file lets go of meanwhile stays as it was, as in a socket's queue.

use super::socket::{self, Sent};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// A pipe of page references.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// An empty pipe for `bytes`, a power of two of at least a page. An error (EPERM) beyond what the user may have in pipes: /proc/sys/fs/pipe-user-pages-soft.
    pub fn new(bytes: usize) -> io::Result<Pipe> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` is room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were just opened and belong to nobody else.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: only names a descriptor and a number.
        match unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) } {
            got if got >= 0 && got as usize >= bytes => Ok(Pipe { read, write }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A pipe that holds `len` bytes at `offset` of `file`, by reference to their pages.
    pub fn filled(file: RawFd, offset: u64, len: usize) -> io::Result<Pipe> {
        let page = 4_096;
        let pages = (offset as usize % page + len).div_ceil(page);
        let pipe = Pipe::new((pages * page).next_power_of_two())?;
        let (mut at, mut left) = (offset as libc::loff_t, len);
        while left > 0 {
            // SAFETY: `at` is a live local; descriptors are only named.
            let moved = socket::sent(|| unsafe {
                libc::splice(file, &mut at, pipe.write.as_raw_fd(), null_mut(), left, libc::SPLICE_F_NONBLOCK)
            });
            match moved? {
                Sent::Bytes(count) => left -= count,
                Sent::Full => return Err(io::ErrorKind::StorageFull.into()),
            }
        }
        Ok(pipe)
    }
}

/// What a shard sends out of pipes with. Its scratch pipe is empty between calls.
pub(crate) struct Spout {
    scratch: Pipe,
    /// Of the scratch pipe.
    bytes: usize,
    null: OwnedFd,
}

impl Spout {
    /// A spout for pipes of at most `bytes`.
    pub fn new(bytes: usize) -> io::Result<Spout> {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
        Ok(Spout { scratch: Pipe::new(bytes)?, bytes, null: null.into() })
    }

    /// Sends what `pipe` holds, of `len` bytes, to the non-blocking socket `fd`, as far as it takes it; the pipe keeps all. `more`: further bytes follow at once.
    pub fn send(&mut self, pipe: &Pipe, len: usize, fd: RawFd, more: bool) -> io::Result<Sent> {
        // SAFETY: descriptors are only named.
        let teed = socket::sent(|| unsafe {
            libc::tee(pipe.read.as_raw_fd(), self.scratch.write.as_raw_fd(), len, libc::SPLICE_F_NONBLOCK)
        });
        // The scratch pipe is empty, so it takes something.
        let Sent::Bytes(teed) = teed? else { return Err(io::ErrorKind::StorageFull.into()) };
        let sent = self.pour(fd, teed, more);
        let left = teed - if let Ok(Sent::Bytes(count)) = sent { count } else { 0 };
        if left > 0 {
            self.drain(left)?;
        }
        sent
    }

    fn pour(&self, to: RawFd, len: usize, more: bool) -> io::Result<Sent> {
        let flags = libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
        // SAFETY: descriptors are only named; no offsets.
        socket::sent(|| unsafe { libc::splice(self.scratch.read.as_raw_fd(), null_mut(), to, null_mut(), len, flags) })
    }

    /// Empties the scratch pipe; one that cannot be emptied is replaced.
    fn drain(&mut self, mut left: usize) -> io::Result<()> {
        while left > 0 {
            match self.pour(self.null.as_raw_fd(), left, false) {
                Ok(Sent::Bytes(count)) => left -= count,
                _ => {
                    self.scratch = Pipe::new(self.bytes)?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memfd;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    const OFFSET: u64 = 5_000;
    /// More than a socket's buffer takes at once.
    const LEN: usize = 400_000;

    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..LEN as u32).flat_map(|n| n.to_le_bytes()).take(LEN).collect();
        let file = memfd::sparse(c"pipe-test", 1 << 20).unwrap();
        file.write_all_at(&bytes, OFFSET).unwrap();
        (file, bytes)
    }

    fn sockets() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    fn read_all(socket: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 9_000];
        while let Ok(n @ 1..) = socket.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..n]);
        }
        bytes
    }

    #[test]
    fn every_send_begins_anew_however_short_the_one_before_was() {
        let (file, bytes) = file();
        let pipe = Pipe::filled(file.as_raw_fd(), OFFSET, LEN).unwrap();
        let mut spout = Spout::new(1 << 19).unwrap();
        let mut were_short = 0;
        for _ in 0..3 {
            let (ours, mut theirs) = sockets();
            let Sent::Bytes(count) = spout.send(&pipe, LEN, ours.as_raw_fd(), false).unwrap() else { panic!("full") };
            were_short += usize::from(count < LEN);
            let got = read_all(&mut theirs);
            assert!(bytes.starts_with(&got), "{} bytes", got.len());
        }
        assert!(were_short > 0);
    }

    #[test]
    fn bytes_that_the_file_lets_go_of_stay_in_the_pipe() {
        let (file, bytes) = file();
        let pipe = Pipe::filled(file.as_raw_fd(), OFFSET, LEN).unwrap();
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: only names a descriptor and a range; nobody maps the file.
        assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, 1 << 20) }, 0);
        file.write_all_at(&[0xaa; LEN], OFFSET).unwrap();
        let (ours, mut theirs) = sockets();
        let mut spout = Spout::new(1 << 19).unwrap();
        let Sent::Bytes(count) = spout.send(&pipe, LEN, ours.as_raw_fd(), false).unwrap() else { panic!("full") };
        assert_eq!(read_all(&mut theirs), bytes[..count]);
    }

    #[test]
    fn a_closed_socket_is_an_error_and_leaves_the_spout_usable() {
        let (file, bytes) = file();
        let pipe = Pipe::filled(file.as_raw_fd(), OFFSET, 3_000).unwrap();
        let mut spout = Spout::new(1 << 19).unwrap();
        let (ours, theirs) = sockets();
        drop(theirs);
        assert!(spout.send(&pipe, 3_000, ours.as_raw_fd(), false).is_err());
        let (ours, mut theirs) = sockets();
        assert_eq!(spout.send(&pipe, 3_000, ours.as_raw_fd(), false).unwrap(), Sent::Bytes(3_000));
        assert_eq!(read_all(&mut theirs), bytes[..3_000]);
    }
}
