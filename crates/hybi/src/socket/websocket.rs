//! The user's end of a socket.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    ops::Deref,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    config::Config,
    core::{Core, End, Next, Wait},
    direct::Direct,
    error::{Error, Kind},
    exchange::Wake,
    shared::Shared,
    signals::{Closed, Closing},
};
use crate::proto::{CloseCode, CloseFrame, CloseReason, Message, Role};

/// The user's end of a WebSocket whose bytes travel over `T`.
///
/// It receives and sends whole messages. Pings are answered, and the peer's Close is, without any
/// help. The socket is also a [`Stream`](futures_core::Stream) of messages and a
/// [`Sink`](futures_sink::Sink) for them.
///
/// # Who moves it
///
/// A socket made by [`new`](Self::new) owns the transport and moves only while one of its
/// operations is polled: whoever neither receives nor sends answers no ping either. The socket that
/// a [`Session`](super::Session) hands to its handler is driven by the session. There, what is sent
/// leaves when the handler yields next (waits for anything) or calls [`flush`](Self::flush); a long
/// computation after a `send` should `flush` first. A handler's socket that is moved to another task
/// works the same; what it sends leaves at once.
///
/// [`split`](Self::split) makes halves of either for tasks of their own.
///
/// # Dropping
///
/// Dropping a socket made by [`new`](Self::new) without [`close`](Self::close) drops the transport;
/// the peer sees an abnormal closure (1006). A session closes with 1000 instead.
#[must_use]
pub struct WebSocket<T> {
    pub(crate) inner: Inner<T>,
    pub(crate) role: Role,
    pub(crate) subprotocol: Option<ByteString>,
    pub(crate) peer_close: Option<Box<CloseFrame>>,
}

pub(crate) enum Inner<T> {
    Direct(Box<Direct<T>>),
    Session(Handle, PhantomData<fn() -> T>),
}

/// The user's end of what a session drives, whole or in halves. Dropping it closes the socket.
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// What does not close the socket when it is dropped.
    pub(crate) fn share(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Deref for Handle {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.request(|requests| requests.dropped = true);
    }
}

impl<T> WebSocket<T> {
    pub(crate) fn in_session(shared: Arc<Shared>, config: &Config) -> Self {
        Self {
            inner: Inner::Session(Handle::new(shared), PhantomData),
            role: config.role,
            subprotocol: config.subprotocol.clone(),
            peer_close: None,
        }
    }

    /// The subprotocol that the handshake agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The role of this end.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The peer's Close, once [`recv`](Self::recv) gave the end or [`close`](Self::close) returned.
    ///
    /// `None` when the connection ended without one, which is status 1006 (RFC 6455 section
    /// 7.1.5).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.peer_close.as_deref()
    }

    /// Resolves when the socket begins to close, from whichever side: a Close was sent or
    /// received, the peer is gone or broke the protocol, or a drain has begun.
    ///
    /// The future does not borrow the socket, so a handler can wait for it beside other work.
    pub fn closing(&self) -> Closing {
        self.signals().closing()
    }

    /// Resolves when the transport is gone.
    pub fn closed(&self) -> Closed {
        self.signals().closed()
    }

    fn signals(&self) -> &super::signals::Signals {
        match &self.inner {
            Inner::Direct(direct) => &direct.signals,
            Inner::Session(shared, _) => &shared.signals,
        }
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
        let config = config.into();
        Self {
            role: config.role,
            subprotocol: config.subprotocol.clone(),
            peer_close: None,
            inner: Inner::Direct(Box::new(Direct::new(io, Core::new(config, early)))),
        }
    }

    // ===== receiving =====

    /// Receives the next data message. `None` when the peer has closed.
    ///
    /// Once `None` or an error was returned, the socket gives `None`.
    /// [`peer_close`](Self::peer_close) has the peer's code and reason then.
    ///
    /// What a message says is in [`as_text`](Message::as_text) and [`as_bytes`](Message::as_bytes); its
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
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        let peer_close = &mut self.peer_close;
        match &mut self.inner {
            Inner::Direct(direct) => {
                let received = ready!(direct.poll_recv(cx));
                if let Ok(None) = received {
                    *peer_close = direct.core.peer_close();
                }
                Poll::Ready(received)
            }
            Inner::Session(shared, _) => ready!(shared.poll_core(cx, |core| match core.next() {
                Some(Next::Message(message)) => Poll::Ready(Ok(Some(message))),
                Some(Next::End) => {
                    core.settle();
                    *peer_close = core.peer_close();
                    Poll::Ready(core.report().map(|()| None))
                }
                None => {
                    core.wait(Wait::Recv, cx);
                    Poll::Pending
                }
            })),
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
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.send_by(message.into(), Core::send).await
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
        self.send_by(message.into(), Core::send_uncompressed).await
    }

    async fn send_by(
        &mut self,
        message: Message,
        send: impl Fn(&mut Core, Message) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut message = Some(message);
        poll_fn(|cx| {
            ready!(self.poll_feed(cx, &mut message, &send))?;
            match self.inner {
                Inner::Direct(_) => self.poll_flush(cx),
                Inner::Session(..) => Poll::Ready(Ok(())),
            }
        })
        .await
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
        send: impl Fn(&mut Core, Message) -> Result<(), Error>,
    ) -> Poll<Result<(), Error>> {
        if message.is_none() {
            return Poll::Ready(Ok(()));
        }
        let mut send = |core: &mut Core| message.take().map_or(Ok(()), |it| send(core, it));
        match &mut self.inner {
            Inner::Direct(direct) => {
                ready!(direct.poll_ready(cx));
                Poll::Ready(send(&mut direct.core))
            }
            Inner::Session(shared, _) => ready!(shared.poll_core(cx, |core| {
                if core.can_send() {
                    return Poll::Ready(send(core));
                }
                core.check_open()?;
                core.wait(Wait::Send, cx);
                Poll::Pending
            })),
        }
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

    /// Sends a ping that carries up to 125 bytes. The pong that answers it is not reported.
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
        poll_fn(|cx| {
            ready!(self.poll_ready(cx))?;
            self.poll_core(cx, |core| core.ping(payload.clone()))
        })
        .await?;
        match self.inner {
            Inner::Direct(_) => self.flush().await,
            Inner::Session(..) => Ok(()),
        }
    }

    /// Ready when the queue is below the mark.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.inner {
            Inner::Direct(direct) => {
                ready!(direct.poll_ready(cx));
                Poll::Ready(direct.core.check_open())
            }
            Inner::Session(shared, _) => ready!(shared.poll_core(cx, |core| {
                core.check_open()?;
                if core.can_send() {
                    return Poll::Ready(Ok(()));
                }
                core.wait(Wait::Send, cx);
                Poll::Pending
            })),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.inner {
            Inner::Direct(direct) => {
                ready!(direct.poll_flush(cx));
                Poll::Ready(direct.core.flushed().unwrap_or(Ok(())))
            }
            Inner::Session(shared, _) => {
                ready!(shared.poll_core(cx, |core| match core.flushed() {
                    Some(result) => Poll::Ready(result),
                    None => {
                        core.wait(Wait::Flush, cx);
                        Poll::Pending
                    }
                }))
            }
        }
    }

    pub(crate) fn poll_core<R>(
        &mut self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut Core) -> R,
    ) -> Poll<R> {
        match &mut self.inner {
            Inner::Direct(direct) => Poll::Ready(f(&mut direct.core)),
            Inner::Session(shared, _) => shared.poll_core(cx, f),
        }
    }

    // ===== closing =====

    /// Closes with 1000 (normal) and waits for the peer's Close. Messages that arrive meanwhile
    /// are discarded; [`start_close`](Self::start_close) is for who wants them.
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
        let frame = close_frame(self.role, code, reason)?;
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
        let frame = close_frame(self.role, code, reason)?;
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
        check_code(self.role, frame.code())?;
        match &mut self.inner {
            Inner::Direct(direct) => direct.core.start_close(frame),
            Inner::Session(shared, _) => shared.core_or_request(
                Wake::Session,
                |core| core.start_close(frame.clone()),
                |requests| requests.close = Some(frame.clone()),
            ),
        }
        Ok(())
    }

    /// Queues a message that [`poll_ready`](Self::poll_ready) has let pass.
    pub(crate) fn start_send_now(&mut self, message: Message) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Direct(direct) => direct.core.send(message),
            Inner::Session(shared, _) => {
                let message = Cell::new(Some(message));
                let take = || message.take().expect("one of the two is called, once");
                shared.core_or_request(
                    Wake::Session,
                    |core| core.send(take()),
                    |requests| {
                        requests.send.push(take());
                        Ok(())
                    },
                )
            }
        }
    }

    /// Drops the transport at once, whatever is queued. The peer sees an abnormal closure (1006).
    ///
    /// A handler runs on; its `recv` ends.
    pub fn abort(&mut self) {
        match &mut self.inner {
            Inner::Direct(direct) => direct.abort(),
            Inner::Session(shared, _) => shared.core_or_request(
                Wake::Session,
                |core| core.fail(End::Aborted),
                |requests| requests.disconnect = true,
            ),
        }
    }

    /// Lets this socket outlive the handler that it was given to: the session goes on until the
    /// socket is closed or dropped.
    ///
    /// Without this, a session closes the socket when its handler returns. Limits that tower
    /// layers put around the handler end with the handler. Does nothing to a socket made by
    /// [`new`](Self::new).
    pub fn detach(self) -> Self {
        if let Inner::Session(shared, _) = &self.inner {
            shared.core_or_request(
                Wake::Session,
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
        let peer_close = &mut self.peer_close;
        match &mut self.inner {
            Inner::Direct(direct) => {
                let result = ready!(direct.poll_close(frame, cx));
                *peer_close = direct.core.peer_close();
                Poll::Ready(result)
            }
            Inner::Session(shared, _) => ready!(shared.poll_core(cx, |core| {
                core.start_close(frame.clone());
                core.discard_received();
                if core.is_closed() {
                    *peer_close = core.peer_close();
                    return Poll::Ready(core.failure().map_or(Ok(()), Err));
                }
                core.wait(Wait::Close, cx);
                Poll::Pending
            })),
        }
    }
}

/// Whether this end may send a Close with `code`.
pub(crate) fn check_code(role: Role, code: Option<CloseCode>) -> Result<(), Error> {
    if role == Role::Server && code == Some(CloseCode::MANDATORY_EXTENSION) {
        return Err(Error::new(Kind::Unsendable("only a client closes with 1010")));
    }
    Ok(())
}

/// The Close that this end sends for `code` and `reason`.
pub(crate) fn close_frame(role: Role, code: CloseCode, reason: &str) -> Result<CloseFrame, Error> {
    check_code(role, Some(code))?;
    let reason = CloseReason::new(reason)
        .map_err(|_| Error::new(Kind::Unsendable("the reason of a Close has at most 123 bytes")))?;
    Ok(CloseFrame::new(code, reason))
}

impl<T> fmt::Debug for WebSocket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.role)
            .field("subprotocol", &self.subprotocol)
            .field("closing", &self.signals().is_closing())
            .finish_non_exhaustive()
    }
}
