//! What the bytes of an upgraded connection travel over.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A byte stream that a WebSocket can run on.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// The byte stream below a [`WebSocket`](crate::WebSocket): a TCP stream where it can be recognised,
/// anything else behind a pointer.
pub struct Transport {
    kind: Kind,
}

enum Kind {
    Tcp(TcpStream),
    // Boxed, so that it does not make the others larger.
    Upgraded(Box<TokioIo<hyper::upgrade::Upgraded>>),
    Boxed(Box<dyn Io>),
}

impl Transport {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self { kind: Kind::Tcp(stream) }
    }

    pub(crate) fn upgraded(upgraded: hyper::upgrade::Upgraded) -> Self {
        Self { kind: Kind::Upgraded(Box::new(TokioIo::new(upgraded))) }
    }

    /// Sends small messages at once, where the stream is known to be of TCP.
    pub(crate) fn set_nodelay(&self) {
        if let Kind::Tcp(stream) = &self.kind
            && let Err(error) = stream.set_nodelay(true)
        {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    }

    pub(crate) fn boxed(io: impl Io) -> Self {
        Self { kind: Kind::Boxed(Box::new(io)) }
    }
}

/// Calls `$method` on whichever stream it is.
macro_rules! delegate {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match &mut $self.get_mut().kind {
            Kind::Tcp(io) => Pin::new(io).$method($($argument),*),
            Kind::Upgraded(io) => Pin::new(&mut **io).$method($($argument),*),
            Kind::Boxed(io) => Pin::new(&mut **io).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    #[inline(always)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    #[inline(always)]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write(cx, bytes))
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_shutdown(cx))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write_vectored(cx, slices))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(io) => io.is_write_vectored(),
            Kind::Upgraded(io) => io.is_write_vectored(),
            Kind::Boxed(io) => io.is_write_vectored(),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Tcp(_) => "Transport::Tcp",
            Kind::Upgraded(_) => "Transport::Upgraded",
            Kind::Boxed(_) => "Transport::Boxed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every session has one for its life.
    #[test]
    fn a_transport_is_as_large_as_a_tcp_stream() {
        assert_eq!(size_of::<Transport>(), size_of::<TcpStream>());
    }
}
