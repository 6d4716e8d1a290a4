//! The source and the target of a message in parts.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    engine::{Core, Next},
    error::Error,
    receiver::Receiver,
    session::{Place, SocketLink, Step, Urge},
    split::Halves,
    steps::flush,
    websocket::WebSocket,
};

/// The source of a [`MessageReader`](super::MessageReader): `&mut WebSocket<T>` or `&mut Receiver`.
///
/// It cannot be implemented for other types.
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait MessageSource: Source + Unpin {}

/// The target of a [`MessageWriter`](super::MessageWriter): `&mut WebSocket<T>` or a [`SenderTurn`].
///
/// It cannot be implemented for other types.
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait MessageTarget: Target + Unpin {}

pub(crate) trait Source {
    /// Receives what `next` gives, or what `end` says at the end.
    fn poll_next<M>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl FnMut(&mut Core) -> Option<Next<M>>,
        end: impl FnMut(&mut Core) -> Result<(), Error>,
    ) -> Poll<Result<Option<M>, Error>>;

    fn link(&self) -> &Arc<SocketLink>;
}

pub(crate) trait Target {
    /// Polls an operation until `f` gives something.
    fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnMut(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>>;

    /// Ready when everything is written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;

    fn link(&self) -> &Arc<SocketLink>;

    /// Nobody but the user moves the socket.
    fn is_driven_by_user(&self) -> bool;
}

impl<T: AsyncRead + AsyncWrite + Unpin> MessageSource for &mut WebSocket<T> {}
impl<T: AsyncRead + AsyncWrite + Unpin> MessageTarget for &mut WebSocket<T> {}
impl MessageSource for &mut Receiver {}
impl MessageTarget for SenderTurn {}

impl<T: AsyncRead + AsyncWrite + Unpin> Source for &mut WebSocket<T> {
    fn poll_next<M>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl FnMut(&mut Core) -> Option<Next<M>>,
        end: impl FnMut(&mut Core) -> Result<(), Error>,
    ) -> Poll<Result<Option<M>, Error>> {
        WebSocket::poll_next(self, cx, next, end)
    }

    fn link(&self) -> &Arc<SocketLink> {
        self.handle.link()
    }
}

impl Source for &mut Receiver {
    fn poll_next<M>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl FnMut(&mut Core) -> Option<Next<M>>,
        end: impl FnMut(&mut Core) -> Result<(), Error>,
    ) -> Poll<Result<Option<M>, Error>> {
        Receiver::poll_next(self, cx, next, end)
    }

    fn link(&self) -> &Arc<SocketLink> {
        self.halves().handle.link()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Target for &mut WebSocket<T> {
    fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnMut(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        WebSocket::poll_until(self, cx, f)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        WebSocket::poll_flush(self, cx)
    }

    fn link(&self) -> &Arc<SocketLink> {
        self.handle.link()
    }

    fn is_driven_by_user(&self) -> bool {
        self.own.is_some()
    }
}

/// The turn of one message among those of a socket's [`Sender`](super::Sender)s, until it is dropped.
pub struct SenderTurn {
    halves: Arc<Halves>,
    place: Option<Place>,
}

impl SenderTurn {
    /// The caller has passed the gate, which opens again when this is dropped.
    pub(super) fn new(halves: Arc<Halves>) -> Self {
        Self { halves, place: None }
    }
}

impl Drop for SenderTurn {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.halves.handle.leave(place);
        }
        self.halves.open_gate();
    }
}

impl Target for SenderTurn {
    fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnMut(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        self.halves.handle.poll_until(cx, Urge::Now, &mut self.place, f)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_until(cx, flush)
    }

    fn link(&self) -> &Arc<SocketLink> {
        self.halves.handle.link()
    }

    fn is_driven_by_user(&self) -> bool {
        false
    }
}

impl fmt::Debug for SenderTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderTurn").finish_non_exhaustive()
    }
}
