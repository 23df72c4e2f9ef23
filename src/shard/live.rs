//! The task of one continuous viewer: waits for its socket to close or to take more, while the pump does the sending.

use super::deadlines::WatchGuard;
use super::pump::{Pump, ViewerIndex, ViewerState};
use super::{Shard, socket};
use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// How a continuous viewer's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The viewer closed the connection.
    ByViewer,
    /// The stream ended and was sent to its end.
    ByStream,
    /// The socket failed, or the viewer was cut.
    Broken,
}

/// One continuous viewer.
pub(crate) struct Live<'a> {
    pub shard: &'a Rc<Shard>,
    pub pump: &'a Rc<Pump>,
    pub watch: &'a WatchGuard,
    pub index: ViewerIndex,
}

impl Live<'_> {
    /// Serves the viewer, which has joined the pump, to its end. The caller takes it out of the pump.
    pub async fn serve(&self, stream: &mut TcpStream) -> Ended {
        poll_fn(|cx| match read_side(stream, cx) {
            Some(ended) => Poll::Ready(ended),
            None => self.write_side(stream, cx),
        })
        .await
    }

    fn write_side(&self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Ended> {
        let idle_us = self.shard.relay.config.idle.continuous_viewer_ms * 1_000;
        loop {
            let now_us = self.shard.now().mono_us;
            match self.pump.push(self.index, now_us, cx.waker()) {
                ViewerState::Head => {
                    self.watch.extend(u64::MAX);
                    return Poll::Pending;
                }
                ViewerState::Ended => return Poll::Ready(Ended::ByStream),
                ViewerState::Dead => return Poll::Ready(Ended::Broken),
                ViewerState::Blocked { next, since_us } => {
                    self.watch.extend(since_us + idle_us);
                    match socket::poll_writable(stream, cx, next) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(count)) => self.pump.took(self.index, count, now_us),
                        Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                    }
                }
            }
        }
    }
}

/// What a viewer sends after its request is thrown away; its end of stream is its leaving.
fn read_side(stream: &mut TcpStream, cx: &mut Context<'_>) -> Option<Ended> {
    let mut scratch = [0; 256];
    // Bounded, so that a viewer that floods its socket does not hold the shard.
    for _ in 0..4 {
        match Pin::new(&mut *stream).poll_read(cx, &mut scratch) {
            Poll::Pending => return None,
            Poll::Ready(Ok(0)) => return Some(Ended::ByViewer),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Some(Ended::Broken),
        }
    }
    Some(Ended::Broken)
}
