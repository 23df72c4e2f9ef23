//! One viewer of a continuous stream that writes down what it receives, and when: plain GET over HTTP/1.1, blocking.
//!
//! It looks at no byte of the body, follows no redirect, and does not reconnect.

use super::http::{ChunkedDecoder, ResponseHead, Target};
use super::recording::{ChunkMerge, Recording};
use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What [`record`] is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// An `http://` URL.
    pub url: String,
    /// How long to record, more than 0.
    pub duration: Duration,
    /// What to drop before: a stream that begins with a burst would repeat it with each repetition of the recording.
    pub skip: Duration,
    /// More header lines of the request, `Name: value`.
    pub headers: Vec<String>,
}

/// Records until the duration is over or the stream ends; then it is as long as it is.
///
/// An error when there is no connection, the answer is not 200, nothing comes for ten seconds, or nothing is left after what is skipped.
pub fn record(config: &Config) -> Result<Recording> {
    let target = Target::parse(&config.url)?;
    let request = target.request(&config.headers)?;
    let mut stream =
        TcpStream::connect(&target.authority).with_context(|| format!("cannot connect to {}", target.authority))?;
    // The moments of arrival do not depend on it: it is how soon the end of the recording is seen.
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    stream.write_all(request.as_bytes()).context("cannot send the request")?;
    receive(&mut stream, config)
}

fn receive(stream: &mut impl Read, config: &Config) -> Result<Recording> {
    let started = Instant::now();
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut merge = ChunkMerge::new(config.skip.as_micros() as u64);
    let mut body = Body::Head(Vec::new());
    let mut heard = Duration::ZERO;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error).context("the connection broke"),
        };
        let now = started.elapsed();
        let is_over = Duration::from_micros(merge.duration_us(now.as_micros() as u64)) >= config.duration;
        if is_over {
            break;
        }
        if count > 0 {
            heard = now;
            body.push(&buffer[..count], |bytes| merge.push(now.as_micros() as u64, bytes))?;
        }
        ensure!(now - heard < SILENCE_MAX, "nothing came for {} s", SILENCE_MAX.as_secs());
        if body.is_ended() {
            break;
        }
    }
    ensure!(!matches!(body, Body::Head(_)), "the connection ended before the head of the answer did");
    let now_us = started.elapsed().as_micros() as u64;
    // What is over is over: the recording is not longer by how late that was seen.
    let excess_us = merge.duration_us(now_us).saturating_sub(config.duration.as_micros() as u64);
    merge.finish(now_us - excess_us)
}

/// What a connection is in.
enum Body {
    /// The head, as far as it is there.
    Head(Vec<u8>),
    Plain,
    Chunked(ChunkedDecoder, Vec<u8>),
}

impl Body {
    /// Hands the bytes of the body within `bytes` to `take`.
    fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        match self {
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                ensure!(head.len() <= HEAD_BYTES_MAX + RECEIVE_BYTES, "the head of the answer has no end");
                let Some(parsed) = ResponseHead::parse(head)? else {
                    ensure!(head.len() <= HEAD_BYTES_MAX, "the head of the answer has no end");
                    return Ok(());
                };
                let rest = head.split_off(parsed.bytes);
                *self =
                    if parsed.is_chunked { Self::Chunked(ChunkedDecoder::default(), Vec::new()) } else { Self::Plain };
                self.push(&rest, take)?;
            }
            Self::Plain => take(bytes),
            Self::Chunked(decoder, decoded) => {
                decoded.clear();
                decoder.push(bytes, decoded)?;
                take(decoded);
            }
        }
        Ok(())
    }

    fn is_ended(&self) -> bool {
        matches!(self, Self::Chunked(decoder, _) if decoder.is_ended())
    }
}

/// One read takes what one send of a server brings, if it can.
const RECEIVE_BYTES: usize = 4 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;
const SILENCE_MAX: Duration = Duration::from_secs(10);
