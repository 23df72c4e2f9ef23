//! Deadlines of sockets, kept by the shard rather than by timers: a tick looks for those that passed and shuts their
//! sockets down, which wakes the task that waits on them with an end of file. So no pending IO is ever cancelled.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

/// What a socket is doing; tells why it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Kept alive between requests.
    Idle,
    /// A request head is under way.
    Head,
    /// Waits for a first playlist or key sample.
    Waiting,
    /// An answer is being sent.
    Sending,
    /// A continuous viewer; there is a deadline while its socket is full.
    Live,
    /// All is sent; what the peer still sends is thrown away.
    Lingering,
    /// A connection to an origin.
    Origin,
}

impl Phase {
    pub fn reason(self) -> &'static str {
        match self {
            Phase::Idle => "idle keep-alive connection",
            Phase::Head => "request head not complete in time",
            Phase::Waiting => "waited too long for media",
            Phase::Sending => "no progress in reading the answer",
            Phase::Live => "no progress in reading the stream",
            Phase::Lingering => "did not close after the answer",
            Phase::Origin => "origin sent nothing in time",
        }
    }
}

/// One socket under watch.
pub(crate) struct Watch {
    fd: RawFd,
    pub phase: Cell<Phase>,
    /// Index of the channel that it is about, once known; for the log.
    pub channel: Cell<Option<u32>>,
    cut: Cell<bool>,
    index: Cell<usize>,
    table: Rc<Table>,
}

impl Watch {
    /// Whether the deadline passed and the socket was shut down.
    pub fn was_cut(&self) -> bool {
        self.cut.get()
    }
    /// Shuts the socket down now. Does nothing once the watch has ended: the descriptor may be another socket's by then.
    pub fn cut(&self) {
        if !self.cut.replace(true) {
            super::socket::shutdown(self.fd);
        }
    }
}

#[derive(Default)]
pub(crate) struct Deadlines {
    table: Rc<Table>,
}

#[derive(Default)]
struct Table {
    watches: RefCell<Vec<Rc<Watch>>>,
    /// Of each of them, monotonic time, microseconds; `u64::MAX` for none. Apart, so that a sweep over thousands of idle connections reads
    /// some pages and not thousands of cache lines.
    deadlines_us: RefCell<Vec<u64>>,
}

/// A watch that leaves the table when it is dropped: do so before closing the descriptor.
pub(crate) struct WatchGuard(Rc<Watch>);

impl std::ops::Deref for WatchGuard {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.0
    }
}

impl WatchGuard {
    /// Enters a phase that has to end before `deadline_us`.
    pub fn enter(&self, phase: Phase, deadline_us: u64) {
        self.0.phase.set(phase);
        self.extend(deadline_us);
    }
    pub fn extend(&self, deadline_us: u64) {
        if !self.0.was_cut() {
            self.0.table.deadlines_us.borrow_mut()[self.0.index.get()] = deadline_us;
        }
    }
    pub fn handle(&self) -> Rc<Watch> {
        self.0.clone()
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.cut.set(true);
        let (mut watches, index) = (self.0.table.watches.borrow_mut(), self.0.index.get());
        watches.swap_remove(index);
        self.0.table.deadlines_us.borrow_mut().swap_remove(index);
        if let Some(moved) = watches.get(index) {
            moved.index.set(index);
        }
    }
}

impl Deadlines {
    pub fn watch(&self, fd: RawFd, phase: Phase, deadline_us: u64) -> WatchGuard {
        let mut watches = self.table.watches.borrow_mut();
        let watch = Rc::new(Watch {
            fd,
            phase: Cell::new(phase),
            channel: Cell::new(None),
            cut: Cell::new(false),
            index: Cell::new(watches.len()),
            table: self.table.clone(),
        });
        watches.push(watch.clone());
        self.table.deadlines_us.borrow_mut().push(deadline_us);
        WatchGuard(watch)
    }

    /// Shuts down every socket whose deadline passed, and tells of each.
    pub fn sweep(&self, now_us: u64, mut cut: impl FnMut(&Watch)) {
        let watches = self.table.watches.borrow();
        for (deadline_us, watch) in self.table.deadlines_us.borrow_mut().iter_mut().zip(watches.iter()) {
            if *deadline_us <= now_us {
                *deadline_us = u64::MAX;
                if !watch.was_cut() {
                    watch.cut();
                    cut(watch);
                }
            }
        }
    }

    /// Shuts down the sockets in one of `phases`.
    pub fn cut_all(&self, phases: &[Phase]) {
        for watch in self.table.watches.borrow().iter() {
            if phases.contains(&watch.phase.get()) {
                watch.cut();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn the_socket_whose_deadline_passed_is_shut_and_told_of_once() {
        let (deadlines, (late, mut late_peer), (early, early_peer)) = (Deadlines::default(), pair(), pair());
        let late = deadlines.watch(late.as_raw_fd(), Phase::Head, 10);
        let _early = deadlines.watch(early.as_raw_fd(), Phase::Idle, 11);
        let mut told = Vec::new();
        for now_us in [9, 10, 10] {
            deadlines.sweep(now_us, |watch| told.push(watch.phase.get()));
        }
        assert_eq!(told, [Phase::Head]);
        assert!(late.was_cut());
        assert_eq!(late_peer.read(&mut [0]).unwrap(), 0);
        early_peer.set_nonblocking(true).unwrap();
        assert!((&early_peer).read(&mut [0]).is_err(), "still open");
    }

    #[test]
    fn a_handle_that_outlives_its_watch_cuts_nothing() {
        let (deadlines, (near, mut peer)) = (Deadlines::default(), pair());
        let handle = deadlines.watch(near.as_raw_fd(), Phase::Origin, u64::MAX).handle();
        handle.cut();
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}
