//! One file as the answer to every request: the floor of a pull path (segments of HLS and DASH).
//!
//! Keep-alive always; pipelined requests are answered one after the other. Nothing of a request is looked at but its end, so HEAD and
//! `Connection: close` are answered as a plain GET would be.

use super::ServerConfig;
use super::http::{RequestScan, segment_head};
use super::socket::{Poller, RECEIVE_BYTES, Received, Source, event_buffer, is_end, pin, receive};
use anyhow::{Context, Result, ensure};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// The head by `send(MSG_MORE)`, the body by `sendfile` out of a memfd.
    Sendfile,
    /// Head and body by one `send` out of memory.
    Send,
}

/// What [`serve`] is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to listen.
    pub server: ServerConfig,
    /// The file whose bytes every answer holds, read once at the start; not empty.
    pub file: PathBuf,
    /// How they are sent.
    pub method: Method,
}

/// Serves on the calling thread until the process ends. `on_listening` is called once, with the address, when connections are taken.
///
/// An error when the core, the file or the address cannot be had, and when the system runs out of descriptors or memory.
pub fn serve(config: &Config, on_listening: impl FnOnce(SocketAddr)) -> Result<()> {
    pin(config.server.core)?;
    let body = std::fs::read(&config.file).with_context(|| format!("cannot read {}", config.file.display()))?;
    let response = Response::new(&body, config.method)?;
    drop(body);
    let poller = Poller::listen(&config.server)?;
    on_listening(poller.address()?);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut received = [0; RECEIVE_BYTES];
    let mut events = event_buffer();
    loop {
        for event in poller.wait(&mut events, None)? {
            match poller.source(event) {
                Source::Listener => {
                    while let Some(fd) = poller.accept()? {
                        admit(&mut connections, fd);
                    }
                }
                Source::Connection(index) => {
                    let slot = &mut connections[index];
                    let Some(connection) = slot else { continue };
                    if connection.advance(event.flags, &response, &mut received) == Next::Close {
                        *slot = None;
                    }
                }
            }
        }
    }
}

/// Connections lie at the index of their descriptor: the kernel keeps those dense.
fn admit(connections: &mut Vec<Option<Connection>>, fd: OwnedFd) {
    let index = fd.as_raw_fd() as usize;
    if connections.len() <= index {
        connections.resize_with(index + 1, || None);
    }
    connections[index] = Some(Connection { fd, scan: RequestScan::default(), owed: 0, sent: 0, has_ended: false });
}

struct Connection {
    fd: OwnedFd,
    scan: RequestScan,
    /// Requests that are not wholly answered.
    owed: u32,
    /// Bytes sent of the answer to the first of them, head included.
    sent: u64,
    /// The client will ask for nothing more.
    has_ended: bool,
}

#[derive(PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

impl Connection {
    /// Does what an event makes possible.
    fn advance(&mut self, flags: EventFlags, response: &Response, received: &mut [u8; RECEIVE_BYTES]) -> Next {
        if flags.contains(EventFlags::IN) || is_end(flags) {
            let (scan, owed) = (&mut self.scan, &mut self.owed);
            let end = receive(self.fd.as_fd(), received, is_end(flags), |bytes| *owed += scan.push(bytes));
            self.has_ended |= end == Received::Ended;
        }
        // An event says all that holds at its time: without OUT the buffer is still full, and EPOLLOUT will come.
        if flags.contains(EventFlags::OUT) && self.answer(response).is_err() {
            return Next::Close;
        }
        if self.has_ended && self.owed == 0 { Next::Close } else { Next::Keep }
    }

    /// Sends until nothing is owed or the buffer is full.
    fn answer(&mut self, response: &Response) -> rustix::io::Result<()> {
        while self.owed > 0 {
            let (part_bytes, sent) = match response.send_from(self.fd.as_fd(), self.sent) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            self.sent += sent;
            if self.sent == response.bytes() {
                self.sent = 0;
                self.owed -= 1;
            } else if sent < part_bytes {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The answer to everything.
enum Response {
    Sendfile { head: Vec<u8>, body: OwnedFd, body_bytes: u64 },
    Send { whole: Vec<u8> },
}

impl Response {
    /// An error for an empty body: its head would wait for more, as MSG_MORE says.
    fn new(body: &[u8], method: Method) -> Result<Self> {
        ensure!(!body.is_empty(), "an empty file is nothing to measure with");
        let head = segment_head(body.len() as u64).into_bytes();
        Ok(match method {
            Method::Send => Self::Send { whole: [&head, body].concat() },
            Method::Sendfile => {
                let mut file = File::from(memfd_create("segment", MemfdFlags::CLOEXEC)?);
                file.write_all(body).context("cannot fill the memfd")?;
                Self::Sendfile { head, body: file.into(), body_bytes: body.len() as u64 }
            }
        })
    }

    /// Head and body.
    fn bytes(&self) -> u64 {
        match self {
            Self::Sendfile { head, body_bytes, .. } => head.len() as u64 + body_bytes,
            Self::Send { whole } => whole.len() as u64,
        }
    }

    /// One call that sends on from `offset`: the bytes it was given (the head, or to the end) and those it sent.
    fn send_from(&self, fd: BorrowedFd<'_>, offset: u64) -> rustix::io::Result<(u64, u64)> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match self {
            Self::Sendfile { head, .. } if offset < head.len() as u64 => {
                let part = &head[offset as usize..];
                send(fd, part, flags | SendFlags::MORE).map(|sent| (part.len() as u64, sent as u64))
            }
            Self::Sendfile { head, body, body_bytes } => {
                let mut from = offset - head.len() as u64;
                let part_bytes = body_bytes - from;
                sendfile(fd, body, Some(&mut from), part_bytes as usize).map(|sent| (part_bytes, sent as u64))
            }
            Self::Send { whole } => {
                let part = &whole[offset as usize..];
                send(fd, part, flags).map(|sent| (part.len() as u64, sent as u64))
            }
        }
    }
}
