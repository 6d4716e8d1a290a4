//! A message that is sent as it is made.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    BoxError,
    engine::Core,
    error::{Error, Kind},
    port::{MessageTarget, SenderTurn},
    sender::Sender,
    session::{SocketLink, Step, Urge},
    steps::{close_frame, queue},
    websocket::WebSocket,
};
use crate::proto::{CloseCode, CloseFrame, MessageKind};

/// How much is collected for a frame, if nothing else is asked for.
const FRAME: usize = 16 * 1024;

/// A message that is sent as it is made, and whose length need not be known (RFC 6455 section 5.4).
/// [`WebSocket::start_message`] and [`Sender::start_message`] give it.
///
/// Small chunks are collected into frames of 16 KiB; [`frame_size`](Self::frame_size) says otherwise, and
/// [`flush`](Self::flush) does not wait for more. Larger ones are sent without being copied, each in one frame, or
/// cut at [`Limits::max_send_frame`] where that is set. While half of the [output mark](crate::proto::Limits::output_mark) is
/// queued, sending waits; receiving goes on. Pings, pongs and a Close pass between the frames.
///
/// It is also an [`AsyncWrite`], of which `poll_shutdown` is [`finish`](Self::finish).
///
/// # Text
///
/// Chunks may end in the middle of a character. Each frame is checked before it is sent, and so is the
/// end; what is not UTF-8 is an [`Error::is_unsendable`].
///
/// # Dropping
///
/// A message that was begun can only be finished or given up: the peer must not take a part for the whole.
/// Dropping the writer without [`finish`](Self::finish) closes the socket with 1011, behind what was
/// sent, unless nothing was sent yet. [`abandon`](Self::abandon) does so with another code.
///
/// [`Limits::max_send_frame`]: crate::proto::Limits::max_send_frame
///
/// # Example
///
/// ```
/// use hybi::proto::MessageKind;
/// use hybi::socket::{BoxError, Config, WebSocket};
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let (server, client) = tokio::io::duplex(1024);
/// # let mut server = WebSocket::new(server, Config::server());
/// let mut socket = WebSocket::new(client, Config::client());
/// let mut message = socket.start_message(MessageKind::Text).await?;
/// message.send_chunk("to be ").await?;
/// message.write_all(b"continued").await?;
/// message.finish().await?;
///
/// // A whole file, or whatever else can be read, by one call.
/// # let mut file: &[u8] = b"file";
/// let mut message = socket.start_message(MessageKind::Binary).await?;
/// tokio::io::copy(&mut file, &mut message).await?;
/// message.finish().await?;
/// # assert_eq!(server.recv().await?.unwrap().as_text(), Some("to be continued"));
/// # assert_eq!(server.recv().await?.unwrap().as_bytes(), b"file");
/// # Ok(())
/// # }
/// ```
#[must_use = "the message is given up if it is not finished"]
pub struct MessageWriter<S: MessageTarget> {
    target: S,
    kind: MessageKind,
    /// The message may be compressed.
    compress: bool,
    /// How much is collected in `buffer` before it is sent.
    collect: usize,
    /// The longest frame.
    max_frame: usize,
    buffer: BytesMut,
    /// Goes behind `buffer`.
    chunk: Bytes,
    /// A part of the message was queued.
    begun: bool,
    finished: bool,
    /// A part was refused, and so the message lacks it.
    broken: bool,
}

impl<S: MessageTarget> MessageWriter<S> {
    fn new(target: S, kind: MessageKind, max_frame: usize) -> Self {
        Self {
            target,
            kind,
            compress: true,
            collect: max_frame.min(FRAME),
            max_frame,
            buffer: BytesMut::new(),
            chunk: Bytes::new(),
            begun: false,
            finished: false,
            broken: false,
        }
    }

    async fn begin(mut target: S, kind: MessageKind) -> Result<Self, Error> {
        let longest = |core: &mut Core| Step::Done(core.longest_part());
        let max_frame = poll_fn(|cx| target.poll_until(cx, longest)).await?;
        Ok(Self::new(target, kind, max_frame))
    }

    /// The length in bytes of the frames that the message is sent in. Shorter are only the last, those that
    /// are [flushed](Self::flush), and what is left of a chunk that is too large to be collected or was
    /// collected before one. At most, and for chunks that are not collected by default,
    /// [`Limits::max_send_frame`](crate::proto::Limits::max_send_frame); at least one.
    pub fn frame_size(mut self, bytes: usize) -> Self {
        self.max_frame = bytes.clamp(1, self.max_frame);
        self.collect = self.max_frame;
        self
    }

    /// Leaves the message uncompressed whatever was agreed on: for one that holds a secret beside what others
    /// may choose. See [`Deflate`](crate::proto::Deflate). To be called before anything of it is sent.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn uncompressed(mut self) -> Self {
        self.compress = false;
        self
    }

    /// Whether this is text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Sends a piece of the message. Returns when it is queued, or collected for the next frame.
    ///
    /// # Errors
    ///
    /// The socket is closing or closed ([`Error::is_closed`]), the transport failed, or the text is not
    /// UTF-8 ([`Error::is_unsendable`]). After an error the message cannot be finished.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe in that `chunk` becomes part of the message as a whole or not at all.
    pub async fn send_chunk(&mut self, chunk: impl Into<Bytes>) -> Result<(), Error> {
        let mut chunk = chunk.into();
        poll_fn(|cx| {
            ready!(self.poll_drain(cx, false))?;
            if chunk.len() >= self.collect {
                self.chunk = std::mem::take(&mut chunk);
            } else if !chunk.is_empty() {
                if self.buffer.len() + chunk.len() > self.collect {
                    ready!(self.poll_drain(cx, true))?;
                }
                self.buffer.extend_from_slice(&std::mem::take(&mut chunk));
            }
            self.poll_drain(cx, false)
        })
        .await
    }

    /// Sends what was collected and writes everything that is queued.
    ///
    /// # Errors
    ///
    /// Those of [`send_chunk`](Self::send_chunk); also, the transport was dropped before everything was
    /// written.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: nothing is lost.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            ready!(self.poll_drain(cx, true))?;
            self.target.poll_flush(cx)
        })
        .await
    }

    /// Ends the message. It leaves as one that is [sent](WebSocket::send) does.
    ///
    /// # Errors
    ///
    /// Those of [`send_chunk`](Self::send_chunk); [`Error::is_unsendable`] also for text that ends in the
    /// middle of a character. The message is given up then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the end of the message is queued gives the message up.
    pub async fn finish(mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            ready!(self.poll_finish(cx))?;
            self.poll_leave(cx)
        })
        .await
    }

    /// Sends what `body` gives as the rest of the message, and ends it. Trailers are left out.
    ///
    /// What `body` gave does not wait for a frame to be full while the body makes more.
    ///
    /// ```
    /// use http_body_util::Full;
    /// use hybi::proto::{Bytes, MessageKind};
    /// # use hybi::socket::{BoxError, Config, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let (server, client) = tokio::io::duplex(1024);
    /// # let mut server = WebSocket::new(server, Config::server());
    /// # let mut socket = WebSocket::new(client, Config::client());
    /// let body = Full::<Bytes>::from("any body");
    /// socket.start_message(MessageKind::Text).await?.send_body(body).await?;
    /// # assert_eq!(server.recv().await?.unwrap().as_text(), Some("any body"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`finish`](Self::finish), and whatever `body` fails with, as the
    /// [source](std::error::Error::source) of the error ([`Error::is_body`]). The message is given up
    /// then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the message up.
    pub async fn send_body<B>(mut self, body: B) -> Result<(), Error>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let mut body = pin!(body);
        loop {
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                // Nobody knows how long the body takes to make more, so what it gave leaves meanwhile.
                ready!(self.poll_drain(cx, true))?;
                ready!(self.poll_leave(cx))?;
                Poll::Pending
            });
            let Some(frame) = frame.await? else { break };
            let frame = frame.map_err(|error| Error::new(Kind::Body(error.into().into())))?;
            if let Ok(mut data) = frame.into_data() {
                // For `Bytes`, which most bodies are made of, this copies nothing.
                self.send_chunk(data.copy_to_bytes(data.remaining())).await?;
            }
        }
        self.finish().await
    }

    /// Gives the message up, by closing the socket with `code` and `reason`. Without this, dropping an
    /// unfinished writer closes with 1011.
    ///
    /// # Errors
    ///
    /// A `reason` of more than 123 bytes, or a server that closes with 1010; the socket is closed with
    /// 1011 then.
    pub fn abandon(mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let frame = close_frame(self.target.link().facts.config.role, code, reason)?;
        self.finished = true;
        give_up(self.target.link(), frame);
        Ok(())
    }

    /// Queues what was collected, as far as it is to be sent. With `all` also less than a frame.
    fn poll_drain(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<(), Error>> {
        while !self.chunk.is_empty()
            || self.buffer.len() >= self.collect
            || (all && !self.buffer.is_empty())
        {
            ready!(self.poll_piece(cx, false))?;
        }
        Poll::Ready(self.check())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.finished {
            ready!(self.poll_piece(cx, true))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues the next frame, as the last one if `end` and nothing is left.
    fn poll_piece(&mut self, cx: &mut Context<'_>, end: bool) -> Poll<Result<(), Error>> {
        self.check()?;
        let Self { target, kind, compress, max_frame, buffer, chunk, begun, finished, .. } = self;
        // The last of the chunk's owners may run code of the user's when it drops: not in the socket's hands.
        let keep = chunk.clone();
        let result = ready!(target.poll_until(cx, |core| queue(core, |core| {
            let piece = if buffer.is_empty() {
                chunk.split_to(chunk.len().min(*max_frame))
            } else {
                // More than a frame, if its length was set since this was collected.
                buffer.split_to(buffer.len().min(*max_frame)).freeze()
            };
            let last = end && buffer.is_empty() && chunk.is_empty();
            if chunk.is_empty() {
                // An empty slice of it would keep the whole.
                *chunk = Bytes::new();
            }
            core.send_part(*kind, *compress, begun, piece, last)?;
            *finished = last;
            Ok(())
        })));
        drop(keep);
        self.broken = result.is_err();
        Poll::Ready(result)
    }

    /// What a whole message does once it is queued.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.target.is_driven_by_user() {
            self.target.poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.broken || self.finished { Err(Error::closed()) } else { Ok(()) }
    }
}

impl<S: MessageTarget> Drop for MessageWriter<S> {
    fn drop(&mut self) {
        if self.begun && !self.finished {
            give_up(self.target.link(), CloseCode::INTERNAL_ERROR.into());
        }
    }
}

impl<S: MessageTarget> fmt::Debug for MessageWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter")
            .field("kind", &self.kind)
            .field("begun", &self.begun)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// Collects and sends as [`send_chunk`](MessageWriter::send_chunk) does. Errors are its, inside of an
/// [`io::Error`].
impl<S: MessageTarget> AsyncWrite for MessageWriter<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx, false)).map_err(Error::into_io)?;
        let n = bytes.len().min(this.collect - this.buffer.len());
        if this.buffer.capacity() < this.buffer.len() + n {
            // The rest of a frame at once, if this is not all there is.
            let rest = if n < bytes.len() || n > this.collect / 4 { this.collect } else { n };
            this.buffer.reserve(rest.saturating_sub(this.buffer.len()).max(n));
        }
        this.buffer.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.finished {
            ready!(this.poll_drain(cx, true)).map_err(Error::into_io)?;
        }
        this.target.poll_flush(cx).map_err(Error::into_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_finish(cx)).map_err(Error::into_io)?;
        this.poll_leave(cx).map_err(Error::into_io)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// Begins a message that is sent as it is made. Nothing of it is sent yet.
    ///
    /// ```
    /// # use hybi::proto::MessageKind;
    /// # use hybi::socket::{Error, WebSocket};
    /// # use tokio::io::DuplexStream;
    /// # async fn example(socket: &mut WebSocket<DuplexStream>) -> Result<(), Error> {
    /// let mut message = socket.start_message(MessageKind::Text).await?;
    /// for row in 0..1_000_000 {
    ///     message.send_chunk(format!("{row}\n")).await?;
    /// }
    /// message.finish().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: nothing has happened before it returns.
    pub async fn start_message(
        &mut self,
        kind: MessageKind,
    ) -> Result<MessageWriter<&mut Self>, Error> {
        MessageWriter::begin(self, kind).await
    }
}

impl Sender {
    /// Begins a message that is sent as it is made, once it is its turn. Nothing of it is sent yet.
    ///
    /// The messages of all other senders wait until it is finished, because messages do not interleave
    /// (RFC 6455 section 5.4). The writer does not borrow this sender.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future gives up the place among those who wait.
    pub async fn start_message(
        &self,
        kind: MessageKind,
    ) -> Result<MessageWriter<SenderTurn>, Error> {
        let halves = self.halves();
        let permit = halves.gate().await?;
        // From here on the turn ends when this is dropped.
        permit.forget();
        MessageWriter::begin(SenderTurn::new(Arc::clone(halves)), kind).await
    }
}

/// Closes in the middle of a message.
fn give_up(link: &SocketLink, frame: CloseFrame) {
    let frame = Cell::new(Some(frame));
    let take = || frame.take().expect("one of the two is called, once");
    link.core_or_ask(
        Urge::Now,
        |core| core.give_up(take()),
        |requests| {
            requests.give_up.get_or_insert_with(take);
        },
    );
}
