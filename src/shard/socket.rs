//! The few system calls of the send path, and waiting for a socket to take more.
//!
//! glommio's stream waits and reads; sends go directly (`facts`: a task per viewer with `write` costs a quarter more).

use super::notify::Notify;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Outcome of one non-blocking send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// This many bytes went into the socket's buffer; at least one.
    Bytes(usize),
    /// The socket takes nothing now.
    Full,
}

/// `send(2)`, non-blocking, without SIGPIPE. `more`: further bytes follow at once (MSG_MORE).
pub(crate) fn send(fd: RawFd, bytes: &[u8], more: bool) -> io::Result<Sent> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: `bytes` is a live slice of `len` readable bytes for the whole call; a bad `fd` is an error, not UB.
    sent(|| unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `sendfile(2)` of `len` bytes at `offset` of `file`.
pub(crate) fn sendfile(fd: RawFd, file: RawFd, offset: u64, len: usize) -> io::Result<Sent> {
    let mut offset = offset as libc::off_t;
    // SAFETY: `offset` is a live local; descriptors are only named, a bad one is an error, not UB.
    sent(|| unsafe { libc::sendfile(fd, file, &mut offset, len) })
}

/// Makes a non-blocking call that sends bytes and returns how many, again each time that a signal interrupts it.
pub(super) fn sent(call: impl FnMut() -> isize) -> io::Result<Sent> {
    match uninterrupted(call)? {
        Some(0) => Err(io::ErrorKind::WriteZero.into()),
        Some(count) => Ok(Sent::Bytes(count)),
        None => Ok(Sent::Full),
    }
}

/// Makes a non-blocking call that returns a number of bytes, again each time that a signal interrupts it. `None`: it would have to wait.
fn uninterrupted(mut call: impl FnMut() -> isize) -> io::Result<Option<usize>> {
    loop {
        if let count @ 0.. = call() {
            return Ok(Some(count as usize));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(None),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// `shutdown(2)` of both directions: wakes whoever waits on the socket.
pub(crate) fn shutdown(fd: RawFd) {
    // SAFETY: only names a descriptor.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Ends the sending direction, so that the peer reads to the end and then sees the end of the stream.
pub(crate) fn shutdown_write(fd: RawFd) {
    // SAFETY: only names a descriptor.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Sets up an accepted socket: non-blocking, closed on exec, no Nagle, little unsent data in the kernel.
pub(crate) fn tune(fd: RawFd, notsent_lowat_bytes: i32) {
    // SAFETY: fcntl on a descriptor, with numbers for arguments; failures leave defaults, which work.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
    }
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, notsent_lowat_bytes);
}

/// `setsockopt(2)` of a number; a failure leaves what was set, which works.
fn set_option(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is live and of the size given for the whole call; a bad `fd` is an error, not UB.
    unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) };
}

/// Waits until the socket takes bytes again. May hand over `next`, the next byte to be sent: returns 1 then, else 0.
pub(crate) async fn writable(stream: &mut TcpStream, next: u8) -> io::Result<usize> {
    let mut armed = false;
    poll_fn(|cx| {
        if armed {
            return Poll::Ready(Ok(0));
        }
        let poll = poll_writable(stream, cx, next);
        armed = poll.is_pending();
        poll
    })
    .await
}

/// One arming of the writability wake-up: `Pending` means that the waker is called when the socket takes bytes.
pub(crate) fn poll_writable(stream: &mut TcpStream, cx: &mut Context<'_>, next: u8) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_write(cx, &[next])
}

/// Sends all of `bytes`, waiting as needed.
pub(crate) async fn send_all(stream: &mut TcpStream, fd: RawFd, mut bytes: &[u8], more: bool) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = match send(fd, bytes, more)? {
            Sent::Bytes(n) => n,
            Sent::Full => writable(stream, bytes[0]).await?,
        };
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Reads what is there into `into`, and waits when it is less than what the socket was told to wait for; on one of `beats` at which it `is_due` that will do too. 0 is the end.
pub(crate) async fn read_on_beat(
    stream: &mut TcpStream,
    into: &mut [u8],
    beats: &Notify,
    is_due: impl Fn() -> bool,
) -> io::Result<usize> {
    let mut seen = beats.generation();
    poll_fn(|cx| {
        let mut received = Pin::new(&mut *stream).poll_read(cx, into);
        while received.is_pending() && beats.poll_changed(&mut seen, cx).is_ready() {
            if is_due() {
                received = receive(stream.as_raw_fd(), into);
            }
        }
        received
    })
    .await
}

/// `recv(2)`, non-blocking.
fn receive(fd: RawFd, into: &mut [u8]) -> Poll<io::Result<usize>> {
    // SAFETY: `into` is a live slice of `len` writable bytes for the whole call; a bad `fd` is an error, not UB.
    let received =
        uninterrupted(|| unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) });
    received.transpose().map_or(Poll::Pending, Poll::Ready)
}

/// Has the socket wake its reader for so many bytes, or its end (SO_RCVLOWAT).
pub(crate) fn wait_for_bytes(fd: RawFd, bytes: usize) {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes as libc::c_int);
}

/// Reads what is there and drops it; the bytes go through the stack, so that who waits owns no buffer. 0 is the end.
pub(crate) async fn discard(stream: &mut TcpStream) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut [0; 4_096])).await
}
