//! Connections that made one request and then stay: what a waiting keep-alive connection costs a server.
//!
//! They are this process's own and cost it nothing once they are there. What it deliberately does not do: connect again; a connection that the
//! server closed is found by [`Kept::alive`].

use super::media::content_length;
use crate::engine::raise_open_files;
use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Open connections without a request.
pub struct Kept(Vec<TcpStream>);

impl Kept {
    /// Opens `count` connections; each asks for `path` once and takes the whole answer.
    ///
    /// # Errors
    /// One of them gets anything but 200, or there is no port or file descriptor left.
    pub fn open(addr: SocketAddr, path: &str, count: u32) -> Result<Kept> {
        raise_open_files();
        let mut all = Vec::with_capacity(count as usize);
        for number in 1..=count {
            let stream = ask(addr, path).with_context(|| format!("connection {number} of {count}"))?;
            stream.set_nonblocking(true)?;
            all.push(stream);
        }
        Ok(Kept(all))
    }

    /// How many of them the server has not closed.
    pub fn alive(&self) -> usize {
        let is_open =
            |mut stream: &TcpStream| stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.0.iter().filter(|stream| is_open(stream)).count()
    }
}

fn ask(addr: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "{path}: closed before the answer was whole");
        answer.extend_from_slice(&buffer[..count]);
        let Some(head) = memchr::memmem::find(&answer, b"\r\n\r\n") else { continue };
        let body =
            content_length(&answer[..head]).with_context(|| format!("{path}: an answer without Content-Length"))?;
        if answer.len() >= head + 4 + body {
            break head;
        }
    };
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer[..end]));
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn each_asks_once_and_a_closed_one_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            (0..3)
                .map(|_| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut request = [0; 512];
                    assert!(stream.read(&mut request).unwrap() > 0);
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                    stream
                })
                .collect::<Vec<_>>()
        });
        let kept = Kept::open(addr, "/healthz", 3).unwrap();
        let mut served = server.join().unwrap();
        assert_eq!(kept.alive(), 3);
        drop(served.pop());
        let begun = std::time::Instant::now();
        while kept.alive() != 2 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the closed connection counts as open");
        }
    }
}
