//! A connection that may not dawdle: a request head that has begun must arrive in time, and an answer must be taken.
//!
//! hyper's only timer runs from the end of one answer to the end of the next request's head, so it cannot tell a
//! quiet kept-alive connection, which is welcome, from a head sent byte by byte, which is an attack. This stream can:
//! the service tells it when a request is being answered, and the first byte after that starts the head's clock.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Where the connection stands, shared by its stream and its service.
#[derive(Clone, Debug)]
pub struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A request's head is complete. Until the guard goes, nobody is hurried.
    pub fn answering(&self) -> Answering {
        self.0.store(BUSY, Ordering::Relaxed);
        Answering(self.clone())
    }
}

/// See [`Phase::answering`].
#[derive(Debug)]
pub struct Answering(Phase);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Ordering::Relaxed);
    }
}

/// The stream.
#[derive(Debug)]
pub struct Hurried<S> {
    inner: S,
    phase: Phase,
    head_limit: Duration,
    write_limit: Duration,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Hurried<S> {
    /// A new connection owes its first head at once: one that says nothing is closed as well.
    pub fn new(inner: S, head_limit: Duration, write_limit: Duration) -> Self {
        let phase = Phase(Arc::new(AtomicU8::new(HEAD)));
        Self { inner, phase, head_limit, write_limit, head_timer: None, write_timer: None }
    }

    /// A connection on which only writing is hurried: HTTP/2 has no heads of requests between which to tell, but frames
    /// of many.
    pub fn in_writing(inner: S, write_limit: Duration) -> Self {
        let hurried = Self::new(inner, Duration::MAX, write_limit);
        hurried.phase.0.store(BUSY, Ordering::Relaxed);
        hurried
    }

    pub fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// A step of the writing side, or an error once that side has stood still for too long.
    fn hurry<T>(&mut self, step: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.write_timer = None;
            return step;
        }
        let limit = self.write_limit;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer is not being taken")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hurried<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.inner).poll_read(cx, buf) {
            let received = buf.filled().len() > before;
            if received && this.phase.0.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                this.head_timer = None;
            }
            return Poll::Ready(result);
        }
        if this.phase.0.load(Ordering::Relaxed) != HEAD {
            this.head_timer = None;
            return Poll::Pending;
        }
        let limit = this.head_limit;
        let timer = this.head_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request head did not arrive in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hurried<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.hurry(step, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.hurry(step, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    // TLS takes what is written into a buffer of its own, and waits for the reader here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_flush(cx);
        self.hurry(step, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.hurry(step, cx)
    }
}
