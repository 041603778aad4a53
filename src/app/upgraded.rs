//! The connection of a client whose upgrade was accepted.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::BoxFuture;

/// Both directions of a connection after 101: what is read comes from the client, what is written goes to it.
///
/// A read of 0 bytes says that the client sends no more, [`AsyncWrite::poll_shutdown`] that the application does not;
/// the other direction stays open until its own end. A client that takes nothing for
/// [`Limits::write_timeout`](crate::Limits::write_timeout) while something is to be written makes that write fail.
/// Dropping this ends the connection.
pub struct Upgraded(Pin<Box<dyn Transport>>);

impl Upgraded {
    pub(crate) fn new(transport: impl Transport + 'static) -> Self {
        Self(Box::pin(transport))
    }

    /// Is ready once the server has begun to stop gracefully. It borrows nothing: wait for it beside a read.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.stopping()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }
}

/// What carries an upgraded connection.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send {
    /// Is ready once the server has begun to stop.
    fn stopping(&self) -> BoxFuture<()>;
}

/// What an application does with a connection after 101.
pub(crate) struct Tunnel {
    protocol: HeaderValue,
    run: Box<dyn FnOnce(Upgraded) -> BoxFuture<()> + Send>,
}

impl Tunnel {
    pub(super) fn new<F, Fut>(protocol: HeaderValue, run: F) -> Self
    where
        F: FnOnce(Upgraded) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self {
            protocol,
            run: Box::new(|upgraded| Box::pin(run(upgraded))),
        }
    }

    /// The protocol's name, as the response says it.
    pub(crate) fn protocol(&self) -> &[u8] {
        self.protocol.as_bytes()
    }

    /// Gives the application its connection.
    pub(crate) fn run(self, upgraded: Upgraded) -> BoxFuture<()> {
        (self.run)(upgraded)
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tunnel")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}
