//! The task of one continuous viewer: waits for its socket to close or to take more, while the pump does the sending.

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

/// Serves a viewer that has joined `pump` at `index`, to its end. The caller takes it out of the pump.
pub(crate) async fn serve(shard: &Rc<Shard>, pump: &Rc<Pump>, index: ViewerIndex, stream: &mut TcpStream) -> Ended {
    poll_fn(|cx| {
        if let Some(ended) = read_side(stream, cx) {
            return Poll::Ready(ended);
        }
        write_side(shard, pump, index, stream, cx)
    })
    .await
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

fn write_side(
    shard: &Rc<Shard>,
    pump: &Rc<Pump>,
    index: ViewerIndex,
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    loop {
        match pump.push(index, shard.now().mono_us, cx.waker()) {
            ViewerState::Head => return Poll::Pending,
            ViewerState::Ended => return Poll::Ready(Ended::ByStream),
            ViewerState::Dead => return Poll::Ready(Ended::Broken),
            ViewerState::Blocked(next) => match socket::poll_writable(stream, cx, next) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => pump.took(index, count),
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
            },
        }
    }
}
