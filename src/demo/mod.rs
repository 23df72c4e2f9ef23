//! The synthetic origin: an encoded test picture, or a TS file looped for ever, served over HTTP as a live stream.
//!
//! ```text
//!  origin-source thread                         origin-server thread
//!  picture + tone ─► H.264/AAC ─► TS mux ─┐
//!                                         ├─► chunks, each when it is due ─► history ─► sockets
//!  TS file ─► retime for this loop ───────┘                                  (12 s)    (poll)
//! ```
//!
//! Two threads, whatever the number of channels and viewers: every channel carries the same stream, encoded once.
//! A viewer is only a position in the shared history, so it costs no buffer of its own; one that falls out of the
//! history is cut.
//!
//! # What it serves
//! - `GET /channel/{n}.ts`, n from 1: the live stream from the newest packet on, usually in mid-GOP, as a real origin.
//!   `HEAD` answers the head alone. Query keys, for tests of a relay:
//!   `framing=close` (default: the end of the connection ends the body) or `framing=chunked`; `burst=SECONDS` sends that much of the
//!   past first; `redirect=N` answers N redirects before the stream.
//! - `GET /`: the list of channels as text. `GET /stats`: connections per channel as JSON.
//!
//! Every response but a stream closes its connection.
//!
//! # The picture
//! Needs the `libav` feature: `encoder`. Every access unit carries the time it was sent, see [`stamp`].
//!
//! # What it deliberately does not do
//! It shares no media code with the relay (its muxer is libavformat's), so that it stays an independent source for
//! the relay's demuxer. It knows neither keep-alive nor ranges nor TLS, and it never runs on a shard.

mod connection;
#[cfg(feature = "libav")]
mod encoder;
mod file;
mod history;
mod pace;
mod poll;
mod request;
mod server;
pub mod stamp;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

#[cfg(feature = "libav")]
pub use self::encoder::EncoderError;
pub use self::file::FileError;
use crate::limits;

/// A running synthetic origin is made by [`Origin::start`].
pub struct Origin;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct OriginConfig {
    /// Address to listen on; port 0 takes a free one, see [`OriginHandle::local_addr`].
    pub listen: SocketAddr,
    /// Channels served, 1 ..= [`limits::CHANNELS_MAX`]; all carry the same stream.
    pub channels: usize,
    pub source: Source,
    /// How the test picture is encoded; unused with a file.
    pub picture: PictureConfig,
}

/// Where the stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The test picture, encoded in this process. Needs the `libav` feature.
    Picture,
    /// A TS file (188, 192 or 204-byte packets), looped for ever at its own pace.
    File(PathBuf),
}

/// The test picture: always 25 frames a second, 2 s GOP, two B-frames, and AAC stereo at 48 kHz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureConfig {
    /// Even, 160 ..= 3840 pixels.
    pub width: usize,
    /// Even, 90 ..= 2160 pixels.
    pub height: usize,
    /// Video bitrate, 100 ..= 50,000 kb/s.
    pub video_kbps: usize,
    /// Audio bitrate, 32 ..= 320 kb/s.
    pub audio_kbps: usize,
    /// Shown in the picture and as the DVB service name.
    pub name: String,
}

/// Why the origin did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("cannot listen on {addr}: {source}; choose another address or port")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("channels must lie in 1..={max}, not {channels}", max = limits::CHANNELS_MAX)]
    Channels { channels: usize },
    #[error("cannot start a thread or its wake-up socket: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[cfg(feature = "libav")]
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error("the test picture needs a build with the `libav` feature; give a TS file instead")]
    NoEncoder,
    #[error("the origin's source thread ended before it was ready")]
    SourceDied,
}

/// Keeps the origin alive; dropping it stops the origin as [`OriginHandle::stop`] does.
pub struct OriginHandle {
    local_addr: SocketAddr,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    wake: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl OriginConfig {
    /// A config with the default picture: 640x360, video 1,000 kb/s, audio 128 kb/s.
    pub fn new(listen: SocketAddr, channels: usize, source: Source) -> Self {
        OriginConfig { listen, channels, source, picture: PictureConfig::default() }
    }
}

impl Default for PictureConfig {
    fn default() -> Self {
        PictureConfig { width: 640, height: 360, video_kbps: 1_000, audio_kbps: 128, name: "MILLRACE DEMO".to_owned() }
    }
}

impl Origin {
    /// Opens the listener and the source, starts both threads and returns when the origin can be reached.
    ///
    /// An encoder that does not open, or a file that is no transport stream, is an error here and not later.
    pub fn start(config: OriginConfig) -> Result<OriginHandle, OriginError> {
        if !(1..=limits::CHANNELS_MAX).contains(&config.channels) {
            return Err(OriginError::Channels { channels: config.channels });
        }
        let in_listen = |source| OriginError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(in_listen)?;
        listener.set_nonblocking(true).map_err(in_listen)?;
        let local_addr = listener.local_addr().map_err(in_listen)?;

        let (wake, woken) = wake_pair().map_err(OriginError::Thread)?;
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Counters::new(config.channels));
        let (chunks_in, chunks) = mpsc::sync_channel(limits::DEMO_QUEUE_LEN);
        let output = pace::Output {
            chunks: chunks_in,
            wake: wake.try_clone().map_err(OriginError::Thread)?,
            stop: Arc::clone(&stop),
        };
        let source = start_source(config, output)?;
        // From here on the handle's drop stops what was started.
        let mut handle = OriginHandle {
            local_addr,
            counters: Arc::clone(&counters),
            stop: stop.clone(),
            wake,
            threads: vec![source],
        };
        let server = server::Server::new(listener, woken, chunks, stop, counters);
        handle.threads.push(spawn("origin-server", move || server.run())?);
        Ok(handle)
    }
}

impl OriginHandle {
    /// The address it listens on, with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
    /// Streams begun on `channel` (1 ..= channels) since the start; HEAD and redirects do not count. 0 for an unknown channel.
    pub fn opened(&self, channel: usize) -> u64 {
        self.counters.opened(channel)
    }
    /// Streams being sent on `channel` now. 0 for an unknown channel.
    pub fn open(&self, channel: usize) -> u64 {
        self.counters.open(channel)
    }
    /// Ends every stream and both threads, and waits for them: well under a second.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for OriginHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        pace::wake(&self.wake);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a thread of the synthetic origin panicked");
            }
        }
    }
}

/// Connections per channel, written by the server thread and read by anyone.
struct Counters {
    /// (opened since the start, open now), by channel number - 1.
    channels: Vec<(AtomicU64, AtomicU64)>,
}

impl Counters {
    fn new(channels: usize) -> Self {
        Counters { channels: (0..channels).map(|_| Default::default()).collect() }
    }
    fn len(&self) -> usize {
        self.channels.len()
    }
    fn at(&self, channel: usize) -> Option<&(AtomicU64, AtomicU64)> {
        self.channels.get(channel.checked_sub(1)?)
    }
    fn opened(&self, channel: usize) -> u64 {
        self.at(channel).map_or(0, |counts| counts.0.load(Ordering::Relaxed))
    }
    fn open(&self, channel: usize) -> u64 {
        self.at(channel).map_or(0, |counts| counts.1.load(Ordering::Relaxed))
    }
    fn begin(&self, channel: usize) {
        if let Some(counts) = self.at(channel) {
            counts.0.fetch_add(1, Ordering::Relaxed);
            counts.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn end(&self, channel: usize) {
        if let Some(counts) = self.at(channel) {
            counts.1.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Starts the source thread and waits until its programme is open: codecs and files are opened on the thread that uses them.
fn start_source(config: OriginConfig, output: pace::Output) -> Result<JoinHandle<()>, OriginError> {
    let (opened_in, opened) = mpsc::channel();
    let thread = spawn("origin-source", move || {
        let program = match open_program(&config) {
            Ok(program) => program,
            Err(error) => return drop(opened_in.send(Err(error))),
        };
        // The receiver waits for exactly this message; if it is gone, so is the output.
        let _ = opened_in.send(Ok(()));
        if let Err(error) = pace::run(program, &output) {
            tracing::error!(%error, "the synthetic origin's source failed");
        }
    })?;
    match opened.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(OriginError::SourceDied),
    }
}

fn open_program(config: &OriginConfig) -> Result<Box<dyn pace::Program>, OriginError> {
    match &config.source {
        Source::File(path) => Ok(Box::new(file::FileLoop::open(path)?)),
        #[cfg(feature = "libav")]
        Source::Picture => Ok(Box::new(encoder::Encoder::open(&config.picture)?)),
        #[cfg(not(feature = "libav"))]
        Source::Picture => Err(OriginError::NoEncoder),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OriginError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(OriginError::Thread)
}

fn wake_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((wake, woken))
}
