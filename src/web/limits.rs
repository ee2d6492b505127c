//! A listener whose connections are few, short and small, whoever is at the other end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// What one client may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at one time; further ones wait to be accepted.
    pub(super) connections_max: usize,
    /// How long a connection lives, from being accepted on.
    pub(super) lifetime: Duration,
    /// What a connection may send, line, headers and body together, in bytes.
    pub(super) request_bytes_max: usize,
}

impl Limits {
    pub(super) const DEFAULT: Limits =
        Limits { connections_max: 32, lifetime: Duration::from_secs(10), request_bytes_max: 16 * 1024 };
}

/// Accepts connections under [`Limits`].
pub(super) struct LimitedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    limits: Limits,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener, limits: Limits) -> Self {
        LimitedListener { listener, slots: Arc::new(Semaphore::new(limits.connections_max)), limits }
    }
}

impl Listener for LimitedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Fails only where the semaphore is closed, which nobody does.
        let slot = self.slots.clone().acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            end: Box::pin(tokio::time::sleep(self.limits.lifetime)),
            bytes_left: self.limits.request_bytes_max,
            _slot: slot,
        };
        (connection, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails at the end of its time, or once it was sent too much.
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(context)?;
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match self.bytes_left.checked_sub(buffer.filled().len() - before) {
            Some(left) => {
                self.bytes_left = left;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too long"))),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_time(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
