//! The half of a socket that receives.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{
    engine::{Core, Next},
    error::Error,
    sender::Sender,
    session::{Borrowed, Place, Urge},
    signals::{Closed, Closing, Pongs, RoundTrip},
    split::Halves,
    steps::receive,
};
use crate::proto::{CloseFrame, Message, Role};

/// The half of a [`WebSocket`](super::WebSocket) that receives. [`WebSocket::split`] makes it.
///
/// It is also a [`Stream`] of messages. Dropping it leaves the socket to its [`Sender`]s: what arrives
/// from then on is discarded, while pings and the peer's Close are still answered. When no sender is
/// left either, the socket is closed with 1000.
///
/// [`WebSocket::split`]: super::WebSocket::split
#[must_use]
pub struct Receiver {
    /// `None` once it is part of a socket again.
    halves: Option<Arc<Halves>>,
}

impl Receiver {
    pub(crate) fn new(halves: Arc<Halves>) -> Self {
        Self { halves: Some(halves) }
    }

    pub(crate) fn halves(&self) -> &Arc<Halves> {
        self.halves.as_ref().expect("taken only from a receiver that is used up")
    }

    /// Ends this half without a word.
    pub(crate) fn into_halves(mut self) -> Arc<Halves> {
        self.halves.take().expect("taken only from a receiver that is used up")
    }

    /// Receives the next data message. `None` when the peer has closed.
    ///
    /// Once `None` or an error was returned, the receiver gives `None`.
    /// [`peer_close`](Self::peer_close) has the peer's code and reason then.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol ([`Error::violation`]) or is gone without a Close
    /// ([`Error::is_disconnect`]). Messages that were complete before are returned first.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a message that was not returned is returned by the next call.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        if let Some(core) = Borrowed::take().of(&self.halves().handle) {
            if core.wait_plain(cx.waker()).is_some() {
                return Poll::Pending;
            }
            if let Some(message) = core.next_plain() {
                return Poll::Ready(Ok(Some(message)));
            }
        }
        self.poll_next(cx, Core::next, Core::report)
    }

    /// Receives what `next` gives, or what `end` says at the end.
    pub(crate) fn poll_next<M>(
        &mut self,
        cx: &mut Context<'_>,
        next: impl FnOnce(&mut Core) -> Option<Next<M>>,
        end: impl FnOnce(&mut Core) -> Result<(), Error>,
    ) -> Poll<Result<Option<M>, Error>> {
        let handle = &self.halves().handle;
        handle.poll_until(cx, Urge::Now, &mut Some(Place::ONLY), |core| {
            receive(core, &handle.facts.signals, next, end)
        })
    }

    /// A sender for the same socket, whether or not there is another.
    pub fn sender(&self) -> Sender {
        Sender::new(Arc::clone(self.halves()))
    }

    /// The peer's Close, once [`recv`](Self::recv) gave the end or a sender's
    /// [`close`](Sender::close) returned.
    ///
    /// `None` when the connection ended without one, which is status 1006 (RFC 6455 section
    /// 7.1.5).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.halves().facts().signals.peer_close()
    }

    /// The subprotocol that the handshake agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.halves().facts().config.get_subprotocol()
    }

    /// The role of this end.
    #[must_use]
    pub fn role(&self) -> Role {
        self.halves().facts().config.role
    }

    /// Resolves when the socket begins to close. See [`WebSocket::closing`].
    ///
    /// [`WebSocket::closing`]: super::WebSocket::closing
    pub fn closing(&self) -> Closing {
        self.halves().facts().signals.closing()
    }

    /// Resolves when the transport is gone.
    pub fn closed(&self) -> Closed {
        self.halves().facts().signals.closed()
    }

    /// How long the peer took to answer the pings of the keep-alive. See [`WebSocket::round_trip`].
    ///
    /// [`WebSocket::round_trip`]: super::WebSocket::round_trip
    #[must_use]
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.halves().facts().signals.round_trip()
    }

    /// The pongs that arrive from now on. See [`WebSocket::pongs`].
    ///
    /// [`WebSocket::pongs`]: super::WebSocket::pongs
    pub fn pongs(&self) -> Pongs {
        self.halves().facts().signals.pongs()
    }
}

/// The messages that [`Receiver::recv`] gives. After the end or an error: `None`.
impl Stream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(halves) = &self.halves {
            halves.handle.core_or_ask(Urge::Now, Core::leave_unattended, |requests| {
                requests.deaf = true;
            });
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Receiver");
        if let Some(halves) = &self.halves {
            halves.debug(&mut debug);
        }
        debug.finish_non_exhaustive()
    }
}
