//! `poll(2)` behind a safe face: which of these sockets can be read from or written to.
//!
//! What it deliberately does not do: keep a registration, as epoll would. The origin wakes 25 times a second and
//! asks about every socket; for hundreds of them that costs microseconds.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A list of sockets and what to wait for, rebuilt before each wait.
#[derive(Default)]
pub(super) struct PollSet {
    fds: Vec<libc::pollfd>,
}

/// What `poll` said about one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// Data, an end of stream or an error waits to be read.
    pub read: bool,
    pub write: bool,
}

impl PollSet {
    pub fn clear(&mut self) {
        self.fds.clear();
    }
    /// Adds a socket that is waited on for reading, and for writing if `write`.
    pub fn push(&mut self, fd: BorrowedFd<'_>, write: bool) {
        let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
        self.fds.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
    }
    /// Waits until one is ready or `timeout_ms` (at least 0) has passed. A signal counts as nothing ready.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of a live Vec that nothing else borrows during the call; the
        // kernel writes only the `revents` of these entries. A stale fd would be answered by POLLNVAL, not by UB.
        let count = unsafe { libc::poll(self.fds.as_mut_ptr(), self.fds.len() as libc::nfds_t, timeout_ms) };
        if count >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            self.fds.iter_mut().for_each(|fd| fd.revents = 0);
            return Ok(());
        }
        Err(error)
    }
    /// What the last wait said about the socket pushed as number `index`, from 0; nothing for one that was not pushed.
    pub fn ready(&self, index: usize) -> Ready {
        let revents = self.fds.get(index).map_or(0, |fd| fd.revents);
        let read = revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
        Ready { read, write: revents & libc::POLLOUT != 0 }
    }
}
