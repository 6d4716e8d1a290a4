//! The user's end of a socket.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    config::Config,
    engine::{Core, Next},
    error::Error,
    session::{Borrowed, Handle, Own, Place, Step, Urge, Wait},
    signals::{Closed, Closing, Pongs, RoundTrip, Signals},
    steps::{check_code, close, close_frame, queue, receive},
};
use crate::proto::{CloseCode, CloseFrame, Message, Role};

/// The user's end of a WebSocket whose bytes travel over `T`.
///
/// It receives and sends whole messages. It answers pings and the peer's Close by itself. The socket is also a [`Stream`](futures_core::Stream) of messages and a
/// [`Sink`](futures_sink::Sink) for them.
///
/// # Who moves it
///
/// A socket made by [`new`](Self::new) owns the transport and moves only while one of its
/// operations is polled. A user that neither receives nor sends does not answer pings either.
///
/// A [`Session`](super::Session) drives the socket that it hands to its handler. Messages that the handler
/// sends leave when the handler yields next (waits for anything) or calls [`flush`](Self::flush). Call
/// `flush` before a long computation. A handler can move its socket to another task. There a sent message
/// leaves at once.
///
/// [`split`](Self::split) makes halves of either for tasks of their own.
///
/// # Dropping
///
/// Dropping a socket made by [`new`](Self::new) without [`close`](Self::close) drops the transport;
/// the peer sees an abnormal closure (1006). A session closes with 1000 instead.
#[must_use]
pub struct WebSocket<T> {
    pub(crate) handle: Handle,
    /// The session of a socket that has no handler.
    pub(crate) own: Option<Box<Own<T>>>,
    pub(crate) transport: PhantomData<fn() -> T>,
}

/// The future of [`WebSocket::recv`].
struct Recv<'a, T>(&'a mut WebSocket<T>);

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Recv<'_, T> {
    type Output = Result<Option<Message>, Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_recv(cx)
    }
}

/// The future of [`WebSocket::send`].
struct Send<'a, T> {
    socket: &'a mut WebSocket<T>,
    message: Option<Message>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Send<'_, T> {
    type Output = Result<(), Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, message } = &mut *self;
        if let Some(message) = message
            && let Some(core) = Borrowed::take().of(&socket.handle)
            && core.send_plain(message).is_some()
        {
            return Poll::Ready(Ok(()));
        }
        socket.poll_send(cx, message, Core::send)
    }
}

impl<T> WebSocket<T> {
    pub(crate) fn in_session(handle: Handle) -> Self {
        Self { handle, own: None, transport: PhantomData }
    }

    /// The subprotocol that the handshake agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.handle.facts.config.get_subprotocol()
    }

    /// The role of this end.
    #[must_use]
    pub fn role(&self) -> Role {
        self.handle.facts.config.role
    }

    /// The peer's Close, once [`recv`](Self::recv) gave the end or [`close`](Self::close) returned.
    ///
    /// `None` when the connection ended without one, which is status 1006 (RFC 6455 section
    /// 7.1.5).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.signals().peer_close()
    }

    /// Resolves when the socket begins to close, from whichever side: a Close was sent or
    /// received, the peer is gone or broke the protocol, or a drain has begun.
    ///
    /// The future does not borrow the socket, so a handler can wait for it beside other work. A handler that
    /// does not receive should: once the socket is over, the handler has
    /// [`Timeouts::handler_grace`](super::Timeouts::handler_grace) to end by itself.
    ///
    /// ```
    /// # use hybi::socket::{BoxError, WebSocket};
    /// # use tokio::io::DuplexStream;
    /// # async fn next_price() -> String { String::new() }
    /// async fn push(mut socket: WebSocket<DuplexStream>) -> Result<(), BoxError> {
    ///     let mut closing = socket.closing();
    ///     loop {
    ///         tokio::select! {
    ///             price = next_price() => socket.send(price).await?,
    ///             () = &mut closing => return Ok(()),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn closing(&self) -> Closing {
        self.signals().closing()
    }

    /// Resolves when the transport is gone.
    pub fn closed(&self) -> Closed {
        self.signals().closed()
    }

    /// How long the peer took to answer the pings of the [keep-alive](super::KeepAlive). `None` before the
    /// first answer.
    #[must_use]
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.signals().round_trip()
    }

    /// The pongs that arrive from now on, but for those that answer the [keep-alive](super::KeepAlive).
    ///
    /// The result does not borrow the socket. The socket takes note of pongs while it moves.
    pub fn pongs(&self) -> Pongs {
        self.signals().pongs()
    }

    fn signals(&self) -> &Signals {
        &self.handle.facts.signals
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// A WebSocket over `io`, on which the opening handshake is done.
    pub fn new(io: T, config: impl Into<Arc<Config>>) -> Self {
        Self::with_early_data(io, &[], config)
    }

    /// Like [`new`](Self::new), for a transport of which the bytes `early` were read already,
    /// behind the handshake's head.
    pub fn with_early_data(io: T, early: &[u8], config: impl Into<Arc<Config>>) -> Self {
        let (link, own) = Own::new(io, early, config.into());
        Self { handle: Handle::new(link), own: Some(own), transport: PhantomData }
    }

    /// Polls an operation until `f` gives something.
    pub(crate) fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnMut(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        match &mut self.own {
            None => self.handle.poll_until(cx, Urge::Now, &mut Some(Place::ONLY), f),
            Some(own) => own.poll_until(cx, f),
        }
    }

    // ===== receiving =====

    /// Receives the next data message. `None` when the peer has closed.
    ///
    /// Once `None` or an error was returned, the socket gives `None`.
    /// [`peer_close`](Self::peer_close) has the peer's code and reason then.
    ///
    /// The payload is in [`as_text`](Message::as_text) and [`as_bytes`](Message::as_bytes). The message's
    /// `Debug` form shows only how long it is.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol ([`Error::violation`]) or is gone without a Close
    /// ([`Error::is_disconnect`]). Messages that were complete before are returned first.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a message that was not returned is returned by the next call.
    #[inline(always)]
    pub fn recv(&mut self) -> impl Future<Output = Result<Option<Message>, Error>> + use<'_, T> {
        Recv(self)
    }

    /// Polls [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    #[inline(always)]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let mut turn = Borrowed::take();
        if let Some(core) = turn.of(&self.handle) {
            if core.wait_plain(cx.waker()).is_some() {
                return Poll::Pending;
            }
            if let Some(message) = core.next_plain() {
                return Poll::Ready(Ok(Some(message)));
            }
        }
        drop(turn);
        self.poll_recv_in_full(cx)
    }

    #[inline(never)]
    pub(crate) fn poll_recv_in_full(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Error>> {
        self.poll_next(cx, Core::next, Core::report)
    }

    /// Receives what `next` gives, or what `end` says at the end.
    pub(crate) fn poll_next<M>(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Core) -> Option<Next<M>>,
        mut end: impl FnMut(&mut Core) -> Result<(), Error>,
    ) -> Poll<Result<Option<M>, Error>> {
        let Self { handle, own, .. } = self;
        let step = |core: &mut Core| receive(core, &handle.facts.signals, &mut next, &mut end);
        match own {
            None => handle.poll_until(cx, Urge::Now, &mut Some(Place::ONLY), step),
            Some(own) => {
                let polled = own.poll_until(cx, step);
                if polled.is_ready() {
                    own.received();
                }
                polled
            }
        }
    }

    // ===== sending =====

    /// Sends a message.
    ///
    /// Waits while more than the output mark ([`Limits::output_mark`]) is queued, then queues the
    /// message as a whole. Messages arrive in the order in which they were queued.
    ///
    /// [`Limits::output_mark`]: crate::proto::Limits::output_mark
    ///
    /// # Errors
    ///
    /// The socket is closing or closed ([`Error::is_closed`]), or the transport failed. A failure
    /// to write may surface at a later call.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe in that the message is queued as a whole or not at all. Once it
    /// is queued it is sent even if the future is dropped; a socket made by [`new`](Self::new)
    /// writes the rest of it with its next operation.
    #[inline(always)]
    pub fn send<M: Into<Message>>(
        &mut self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, T, M> {
        Send { socket: self, message: Some(message.into()) }
    }

    /// Sends a message as [`send`](Self::send) does, uncompressed whatever was agreed on: for one that holds a
    /// secret beside what others may choose. See [`Deflate`](crate::proto::Deflate).
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// That of [`send`](Self::send).
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub async fn send_uncompressed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.poll_send(cx, &mut message, Core::send_uncompressed)).await
    }

    #[inline(never)]
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        send: fn(&mut Core, &Message) -> Result<(), Error>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_feed(cx, message, send))?;
        let Some(own) = &mut self.own else { return Poll::Ready(Ok(())) };
        // Most of the time nothing stands in the way.
        let flushed = if own.flush_at_once() { Ok(()) } else { ready!(self.poll_flush(cx)) };
        if let Some(own) = &mut self.own {
            own.sent();
        }
        Poll::Ready(flushed)
    }

    /// Queues a message without writing it: several of them then leave in one write, with
    /// [`flush`](Self::flush) or the next `send`.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the message is queued as a whole or not at all.
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.poll_feed(cx, &mut message, Core::send)).await
    }

    /// Queues `message` once the queue is below the mark. Ready from then on.
    fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
        send: fn(&mut Core, &Message) -> Result<(), Error>,
    ) -> Poll<Result<(), Error>> {
        let Some(whole) = &*message else { return Poll::Ready(Ok(())) };
        let result = match self.own.as_mut().and_then(|own| own.feed_at_once(whole, send)) {
            Some(result) => result,
            None => ready!(self.poll_until(cx, |core| queue(core, |core| send(core, whole)))),
        };
        *message = None;
        Poll::Ready(result)
    }

    /// Writes everything that is queued.
    ///
    /// # Errors
    ///
    /// The transport failed or was dropped before everything was written.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: nothing that is queued is lost.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends a ping that carries up to 125 bytes. [`pongs`](Self::pongs) gives the pong that answers it.
    ///
    /// # Errors
    ///
    /// `payload` is too long, or the socket is closing or closed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the ping is queued as a whole or not at all.
    pub async fn ping(&mut self, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        let ping = |core: &mut Core| queue(core, |core| core.ping(payload.clone()));
        poll_fn(|cx| self.poll_until(cx, ping)).await?;
        if self.own.is_some() { self.flush().await } else { Ok(()) }
    }

    /// Ready when the queue is below the mark.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_until(cx, |core| queue(core, |_| Ok(())))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_until(cx, |core| match core.flushed() {
            Some(result) => Step::Done(result),
            None => Step::Wait(Wait::Flush),
        })
    }

    // ===== closing =====

    /// Closes with 1000 (normal) and waits for the peer's Close. Messages that arrive meanwhile
    /// are discarded; [`start_close`](Self::start_close) keeps them.
    ///
    /// Everything that was sent before goes out first. A socket made by [`new`](Self::new) is
    /// disconnected in due form when this returns; a session does that by itself.
    ///
    /// # Errors
    ///
    /// The peer did not answer in time ([`Error::is_timeout`]), or is gone, or broke the protocol.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the Close is queued by the first poll, and a later call goes on
    /// waiting.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_with(CloseCode::NORMAL, "").await
    }

    /// Closes like [`close`](Self::close), with a code and a reason for the peer's program.
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close); also, before anything happens, a `reason` of more than 123
    /// bytes, and a server that closes with 1010, which only a client may (RFC 6455 section 7.4.1).
    ///
    /// # Cancel safety
    ///
    /// That of [`close`](Self::close).
    pub async fn close_with(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let frame = close_frame(self.role(), code, reason)?;
        // Also where the core is not at hand.
        self.handle.start_close(frame.clone());
        poll_fn(|cx| self.poll_close(&frame, cx)).await
    }

    /// Queues a Close and does not wait: [`recv`](Self::recv) goes on to give what the peer sends
    /// until its own Close, within the close timeout.
    ///
    /// Does nothing when a Close is queued already. A socket made by [`new`](Self::new) writes the
    /// Close with its next operation.
    ///
    /// # Errors
    ///
    /// A `reason` of more than 123 bytes, or a server that closes with 1010.
    pub fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let frame = close_frame(self.role(), code, reason)?;
        self.start_close_frame(frame)
    }

    /// Queues a Close as it is, such as one that is passed on: unlike the other ways to close, this
    /// one can send an empty Close (RFC 6455 section 5.5.1). Otherwise it is
    /// [`start_close`](Self::start_close).
    ///
    /// # Errors
    ///
    /// A server that closes with 1010.
    pub fn start_close_frame(&mut self, frame: CloseFrame) -> Result<(), Error> {
        check_code(self.role(), frame.code())?;
        self.handle.start_close(frame);
        Ok(())
    }

    /// Queues a message that [`poll_ready`](Self::poll_ready) has let pass.
    pub(crate) fn start_send_now(&mut self, message: &Message) -> Result<(), Error> {
        match &mut self.own {
            Some(own) => own.with_core(|core| core.send(message)),
            None => self.handle.core_or_ask(
                Urge::Now,
                |core| core.send(message),
                |requests| {
                    requests.send.push(message.clone());
                    Ok(())
                },
            ),
        }
    }

    /// Drops the transport at once, whatever is queued. The peer sees an abnormal closure (1006).
    ///
    /// A handler runs on, for as long as its grace lasts; its `recv` ends.
    pub fn abort(&mut self) {
        match &mut self.own {
            Some(own) => own.abort(),
            None => self.handle.disconnect(),
        }
    }

    /// Lets this socket outlive the handler that it was given to: the session goes on until the
    /// socket is closed or dropped.
    ///
    /// Without this, a session closes the socket when its handler returns. Limits that tower
    /// layers put around the handler end with the handler. Does nothing to a socket made by
    /// [`new`](Self::new).
    pub fn detach(self) -> Self {
        if self.own.is_none() {
            self.handle.core_or_ask(
                Urge::Now,
                |core| core.detached = true,
                |requests| requests.detach = true,
            );
        }
        self
    }

    pub(crate) fn poll_close(
        &mut self,
        frame: &CloseFrame,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let Self { handle, own, .. } = self;
        let step = |core: &mut Core| {
            core.start_close(frame.clone());
            core.discard_received();
            close(core, &handle.facts.signals)
        };
        match own {
            None => handle.poll_until(cx, Urge::Now, &mut Some(Place::ONLY), step),
            Some(own) => own.poll_until(cx, step),
        }
    }
}

impl<T> fmt::Debug for WebSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.role())
            .field("subprotocol", &self.subprotocol())
            .field("closing", &self.signals().is_closing())
            .finish_non_exhaustive()
    }
}
