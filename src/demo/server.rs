//! The server thread: accepts, and sends every chunk to every viewer as it comes.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::Counters;
use super::connection::{Connection, Fate};
use super::history::History;
use super::poll::{PollSet, Ready};
use crate::limits::DEMO_CONNECTIONS_MAX;

/// All state of the server thread.
pub(super) struct Server {
    listener: TcpListener,
    /// Readable when a chunk waits or the origin is to stop.
    woken: UnixStream,
    chunks: Receiver<Vec<u8>>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    history: History,
    connections: Vec<Connection>,
    poll: PollSet,
}

impl Server {
    pub fn new(
        listener: TcpListener,
        woken: UnixStream,
        chunks: Receiver<Vec<u8>>,
        stop: Arc<AtomicBool>,
        counters: Arc<Counters>,
    ) -> Self {
        let (history, connections, poll) = Default::default();
        Server { listener, woken, chunks, stop, counters, history, connections, poll }
    }
    /// Serves until told to stop, or until the source is gone: a live stream without a source is over.
    pub fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "the synthetic origin cannot poll its sockets");
                break;
            }
            let now = Instant::now();
            // The connections first: their numbers in the poll set change when new ones are accepted.
            let source_alive = self.take_chunks(now);
            self.serve(now);
            if self.poll.ready(LISTENER).read {
                self.accept(now);
            }
            if !source_alive {
                break;
            }
        }
        self.connections.iter().filter_map(Connection::channel).for_each(|channel| self.counters.end(channel));
    }

    fn wait(&mut self) -> io::Result<()> {
        self.poll.clear();
        self.poll.push(self.listener.as_fd(), false);
        self.poll.push(self.woken.as_fd(), false);
        for connection in &self.connections {
            self.poll.push(connection.fd(), connection.wants_write());
        }
        self.poll.wait(WAIT_MS_MAX)
    }

    /// Moves waiting chunks into the history; false when the source thread has ended.
    fn take_chunks(&mut self, now: Instant) -> bool {
        let mut bytes = [0; 256];
        // Only the wake-up counts, not what is read; an error shows up in the channel as well.
        let _ = (&self.woken).read(&mut bytes);
        loop {
            match self.chunks.try_recv() {
                Ok(chunk) => self.history.push(chunk, now),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Reads from and writes to every connection that can go on, and forgets those that are over.
    fn serve(&mut self, now: Instant) {
        let (poll, history, counters) = (&self.poll, &self.history, &self.counters);
        let mut index = FIRST_CONNECTION;
        self.connections.retain_mut(|connection| {
            let fate = serve_one(connection, poll.ready(index), history, counters, now);
            index += 1;
            if fate == Fate::Over
                && let Some(channel) = connection.channel()
            {
                counters.end(channel);
            }
            fate == Fate::Alive
        });
    }

    fn accept(&mut self, now: Instant) {
        loop {
            match self.listener.accept() {
                Ok(_) if self.connections.len() >= DEMO_CONNECTIONS_MAX => {
                    tracing::warn!(DEMO_CONNECTIONS_MAX, "the synthetic origin refused a connection");
                }
                Ok((socket, _)) => self.connections.extend(Connection::new(socket, now).ok()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors: the listener stays readable, so a pause is what keeps this from spinning.
                    tracing::warn!(%error, "the synthetic origin cannot accept");
                    return std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

fn serve_one(connection: &mut Connection, ready: Ready, history: &History, counters: &Counters, now: Instant) -> Fate {
    if ready.read && connection.read(history, counters, now) == Fate::Over {
        return Fate::Over;
    }
    // A viewer that is blocked waits for the socket; everyone else may have something new to send.
    if connection.wants_write() && !ready.write && !ready.read {
        return connection.check(history, now);
    }
    connection.write(history, now)
}

/// Place of the listener in the poll set.
const LISTENER: usize = 0;
/// Place of the first connection, behind the listener and the wake-up socket.
const FIRST_CONNECTION: usize = 2;
/// Longest wait, so that deadlines are noticed on an origin whose source is silent.
const WAIT_MS_MAX: i32 = 1_000;
