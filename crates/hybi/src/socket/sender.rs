//! The half of a socket that sends, which can be many.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_sink::Sink;

use super::{
    engine::Core,
    error::Error,
    session::{Borrowed, Place, Step, Urge, Wait},
    signals::{Closed, Closing, Pongs, RoundTrip},
    split::Halves,
    steps::{check_code, close_frame, flush, queue},
};
use crate::proto::{CloseCode, CloseFrame, Message, Role};

/// The half of a [`WebSocket`](super::WebSocket) that sends. [`WebSocket::split`] makes it.
///
/// Clones send on the same socket, from as many tasks as there are; so do several operations of one
/// sender at the same time. Each message goes out whole. Those that one task sends one after the other
/// keep their order, and tasks that wait because the queue is full have their turn in the order in which
/// they came.
///
/// A sender is also a [`Sink`] of messages. Each clone that is used as one may have one message in the
/// queue beyond the [output mark](crate::proto::Limits::output_mark).
///
/// Dropping senders, the last one too, changes nothing for the [`Receiver`](super::Receiver). When that
/// is gone as well, the socket is closed with 1000.
///
/// [`WebSocket::split`]: super::WebSocket::split
#[must_use]
pub struct Sender {
    halves: Arc<Halves>,
    /// Where it waits as a sink, once it had to.
    place: Option<Place>,
}

impl Sender {
    pub(crate) fn new(halves: Arc<Halves>) -> Self {
        Self { halves, place: None }
    }

    pub(crate) fn halves(&self) -> &Arc<Halves> {
        &self.halves
    }

    // ===== sending =====

    /// Sends a message.
    ///
    /// Waits while more than the output mark ([`Limits::output_mark`]) is queued or other tasks wait
    /// before this one, then queues the message as a whole; it leaves at once, or when the
    /// handler whose task this is yields. [`flush`](Self::flush) waits until it is written.
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
    /// This method is cancel safe in that the message is queued as a whole or not at all. Dropping the
    /// future gives up its place among those who wait.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.queue(message.into(), Core::send, Urge::Now).await
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
    pub async fn send_uncompressed(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.queue(message.into(), Core::send_uncompressed, Urge::Now).await
    }

    /// Queues a message without having it written: several of them then leave in one write, with
    /// [`flush`](Self::flush) or the next `send`, of whichever sender.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// That of [`send`](Self::send).
    pub async fn feed(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.queue(message.into(), Core::send, Urge::Later).await
    }

    async fn queue(
        &self,
        message: Message,
        send: fn(&mut Core, &Message) -> Result<(), Error>,
        urge: Urge,
    ) -> Result<(), Error> {
        let _turn = self.halves.gate().await?;
        if let Some(core) = Borrowed::take().of(&self.halves.handle)
            && core.send_plain(&message).is_some()
        {
            return Ok(());
        }
        let mut place = self.halves.enter();
        let step = |core: &mut Core| queue(core, |core| send(core, &message));
        poll_fn(|cx| place.poll_until(cx, urge, step)).await
    }

    /// Waits until everything is written that was queued before, by whichever sender.
    ///
    /// What others send meanwhile waits behind it.
    ///
    /// # Errors
    ///
    /// The transport failed or was dropped before everything was written.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: nothing that is queued is lost.
    pub async fn flush(&self) -> Result<(), Error> {
        let mut place = self.halves.enter();
        poll_fn(|cx| place.poll_until(cx, Urge::Now, flush)).await
    }

    /// Sends a ping that carries up to 125 bytes. [`pongs`](Self::pongs) gives the pong that answers it.
    ///
    /// It does not wait for the messages of others, but for room in the queue.
    ///
    /// # Errors
    ///
    /// `payload` is too long, or the socket is closing or closed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the ping is queued as a whole or not at all.
    pub async fn ping(&self, payload: impl Into<Bytes>) -> Result<(), Error> {
        let payload = payload.into();
        let mut place = self.halves.enter();
        let step = |core: &mut Core| queue(core, |core| core.ping(payload.clone()));
        poll_fn(|cx| place.poll_until(cx, Urge::Now, step)).await
    }

    // ===== closing =====

    /// Closes with 1000 (normal) and waits for the peer's Close. Messages that arrive meanwhile
    /// are for the [`Receiver`](super::Receiver); what it does not take is discarded. Only a message that
    /// it reads [as it arrives](super::Receiver::next_message) is waited for, within the close timeout,
    /// because the peer's Close is behind it.
    ///
    /// Everything that was sent before goes out first. [`closed`](Self::closed) resolves when the
    /// transport is gone, too.
    ///
    /// # Errors
    ///
    /// The peer did not answer in time ([`Error::is_timeout`]), or is gone, or broke the protocol.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the Close is queued by the first poll, and a later call goes on
    /// waiting.
    pub async fn close(&self) -> Result<(), Error> {
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
    pub async fn close_with(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let frame = close_frame(self.role(), code, reason)?;
        // Also where the core is not at hand.
        self.halves.handle.start_close(frame.clone());
        let mut place = self.halves.enter();
        let step = |core: &mut Core| self.halves.close(core, &frame);
        poll_fn(|cx| place.poll_until(cx, Urge::Now, step)).await
    }

    /// Queues a Close and does not wait. Does nothing when a Close is queued already.
    ///
    /// The receiver goes on to give what the peer sends until its own Close, within the close timeout.
    ///
    /// # Errors
    ///
    /// A `reason` of more than 123 bytes, or a server that closes with 1010.
    pub fn start_close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
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
    pub fn start_close_frame(&self, frame: CloseFrame) -> Result<(), Error> {
        check_code(self.role(), frame.code())?;
        self.halves.handle.start_close(frame);
        Ok(())
    }

    /// Drops the transport at once, whatever is queued. The peer sees an abnormal closure (1006).
    pub fn abort(&self) {
        self.halves.handle.disconnect();
    }

    /// The peer's Close, once [`close`](Self::close) returned or the receiver gave the end.
    ///
    /// `None` when the connection ended without one, which is status 1006 (RFC 6455 section
    /// 7.1.5).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.halves.facts().signals.peer_close()
    }

    /// The subprotocol that the handshake agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.halves.facts().config.get_subprotocol()
    }

    /// The role of this end.
    #[must_use]
    pub fn role(&self) -> Role {
        self.halves.facts().config.role
    }

    /// Resolves when the socket begins to close. See [`WebSocket::closing`].
    ///
    /// [`WebSocket::closing`]: super::WebSocket::closing
    pub fn closing(&self) -> Closing {
        self.halves.facts().signals.closing()
    }

    /// Resolves when the transport is gone.
    pub fn closed(&self) -> Closed {
        self.halves.facts().signals.closed()
    }

    /// How long the peer took to answer the pings of the keep-alive. See [`WebSocket::round_trip`].
    ///
    /// [`WebSocket::round_trip`]: super::WebSocket::round_trip
    #[must_use]
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.halves.facts().signals.round_trip()
    }

    /// The pongs that arrive from now on. See [`WebSocket::pongs`].
    ///
    /// [`WebSocket::pongs`]: super::WebSocket::pongs
    pub fn pongs(&self) -> Pongs {
        self.halves.facts().signals.pongs()
    }
}

/// Sends as [`Sender::feed`] and [`Sender::flush`] do; closing is [`Sender::close`].
///
/// A sink that was found ready and is not used keeps nobody from sending.
impl Sink<Message> for Sender {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { halves, place } = self.get_mut();
        halves.handle.poll_until(cx, Urge::Now, place, |core| match core.check_open() {
            Ok(()) if !core.is_turn() => Step::Wait(Wait::Turn),
            Ok(()) => queue(core, |_| Ok(())),
            Err(error) => Step::Done(Err(error)),
        })
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.halves.handle.core_or_ask(
            Urge::Later,
            |core| core.send_behind(&message),
            |requests| {
                requests.send.push(message.clone());
                Ok(())
            },
        )
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { halves, place } = self.get_mut();
        halves.handle.poll_until(cx, Urge::Now, place, flush)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Self { halves, place } = self.get_mut();
        let step = |core: &mut Core| halves.close(core, &CloseCode::NORMAL.into());
        halves.handle.poll_until(cx, Urge::Now, place, step)
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.halves))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.halves.handle.leave(place);
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Sender");
        self.halves.debug(&mut debug);
        debug.finish_non_exhaustive()
    }
}
