//! A message that is read as it arrives.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    engine::{Begun, Core, Next},
    error::{Error, Kind},
    port::MessageSource,
    receiver::Receiver,
    session::{SocketLink, Urge},
    websocket::WebSocket,
};
use crate::proto::{ByteString, Message, MessageKind};

/// A message that is read as it arrives, however long it is. [`WebSocket::next_message`] and
/// [`Receiver::next_message`] give it.
///
/// The first chunk is the part that arrived before the message was asked for, up to the
/// [read-ahead](crate::proto::Limits::read_ahead). From then on at most 24 KiB of the message wait in memory to be
/// taken, or 32 KiB of inflated bytes. Meanwhile the socket reads nothing, and in the end the peer's `send` waits.
///
/// [`Limits::max_message`] and [`Limits::max_fragments`] do not apply. [`Limits::max_frame`] does, and by default it is
/// as low as the limit on messages. Raise it for peers that send large frames.
///
/// It is also an [`AsyncRead`], a [`Stream`] of chunks, and a [`Body`].
///
/// # Dropping
///
/// A reader that is dropped before the end skips the rest of the message: it is read and forgotten, and
/// the next message is the next.
///
/// [`Limits::max_message`]: crate::proto::Limits::max_message
/// [`Limits::max_fragments`]: crate::proto::Limits::max_fragments
/// [`Limits::max_frame`]: crate::proto::Limits::max_frame
///
/// # Example
///
/// ```
/// use hybi::socket::{BoxError, Config, WebSocket};
/// # use hybi::proto::MessageKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let (server, client) = tokio::io::duplex(1024);
/// # let mut client = WebSocket::new(client, Config::client());
/// # let uploading = async {
/// #     let mut message = client.start_message(MessageKind::Binary).await?;
/// #     for _ in 0..1000 {
/// #         message.send_chunk(&[7; 5000][..]).await?;
/// #     }
/// #     message.finish().await
/// # };
/// let mut socket = WebSocket::new(server, Config::server());
/// # let downloading = async {
/// let mut bytes = 0;
/// if let Some(mut message) = socket.next_message().await? {
///     while let Some(chunk) = message.chunk().await? {
///         bytes += chunk.len();
///     }
/// }
/// assert_eq!(bytes, 5_000_000);
/// # Ok::<(), hybi::socket::Error>(())
/// # };
/// # let (uploaded, downloaded) = tokio::join!(uploading, downloading);
/// # uploaded?;
/// # downloaded?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the message is skipped if it is not read"]
pub struct MessageReader<S> {
    source: S,
    kind: MessageKind,
    /// What was received of it and not taken, from `read` on.
    part: Option<Message>,
    read: usize,
    rest: Rest,
}

/// What is to come of a message. Dropped before its end, it is skipped.
///
/// It has no part in the reader's lifetime, and the reader no destructor of its own: so the socket can be
/// used again where the reader is last used, not only where it goes out of scope.
struct Rest(Option<Arc<SocketLink>>);

impl Rest {
    /// More parts follow.
    fn is_more(&self) -> bool {
        self.0.is_some()
    }

    /// Nothing follows.
    fn end(&mut self) {
        self.0 = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.core_or_ask(Urge::Now, Core::skip, |requests| requests.skip = true);
        }
    }
}

impl<S: MessageSource> MessageReader<S> {
    async fn begin(mut source: S) -> Result<Option<Self>, Error> {
        let begun = poll_fn(|cx| source.poll_next(cx, Core::begin, Core::report)).await?;
        Ok(begun.map(|begun| {
            let (kind, part, rest) = match begun {
                Begun::Whole(message) => (message.kind(), Some(message), Rest(None)),
                Begun::Open(kind) => (kind, None, Rest(Some(Arc::clone(source.link())))),
            };
            Self { source, kind, part, read: 0, rest }
        }))
    }

    /// Whether this is text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// Whether this is text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.kind == MessageKind::Text
    }

    /// The next piece of the message, as it has arrived, and never an empty one. `None` at its end.
    ///
    /// A chunk of text is UTF-8 and ends with a whole character.
    ///
    /// # Errors
    ///
    /// The message will not be complete: the peer closed in the middle of it
    /// ([`Error::is_incomplete`]), is gone ([`Error::is_disconnect`]), broke the protocol
    /// ([`Error::violation`]), or was too slow
    /// ([`Timeouts::silence`](super::Timeouts::silence), [`Timeouts::min_rate`](super::Timeouts::min_rate)).
    /// After an error: `None`.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a chunk that was not returned is returned by the next call.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Polls [`chunk`](Self::chunk).
    ///
    /// # Errors
    ///
    /// Those of [`chunk`](Self::chunk).
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let is_there = ready!(self.poll_part(cx))?;
        let bytes = self.part.take().map(Message::into_bytes).filter(|_| is_there);
        Poll::Ready(Ok(bytes.map(|bytes| bytes.slice(self.read..))))
    }

    /// Ready when there is something in `part` to be read, or, by `false`, at the end of the message.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        loop {
            if self.part.as_ref().is_some_and(|part| self.read < part.len()) {
                return Poll::Ready(Ok(true));
            }
            self.part = None;
            if !self.rest.is_more() {
                return Poll::Ready(Ok(false));
            }
            let end = |core: &mut Core| Err(core.cut_short());
            match ready!(self.source.poll_next(cx, Core::next_part, end)) {
                Ok(Some((part, last))) => {
                    self.part = Some(part);
                    self.read = 0;
                    if last {
                        self.rest.end();
                    }
                }
                failed => {
                    self.rest.end();
                    return Poll::Ready(failed.map(|_| false));
                }
            }
        }
    }

    /// Collects what is left of the message, up to `limit` bytes.
    ///
    /// A longer message fails the connection with 1009, as one past
    /// [`Limits::max_message`](crate::proto::Limits::max_message) does where messages are received
    /// whole.
    ///
    /// # Errors
    ///
    /// Those of [`chunk`](Self::chunk), and [`Error::violation`] with
    /// [`MessageTooBig`](crate::proto::Violation::MessageTooBig). Also, with [`Error::is_incomplete`],
    /// text of which the beginning of a character was read as [`AsyncRead`].
    pub async fn into_message(mut self, limit: usize) -> Result<Message, Error> {
        let mut all = BytesMut::new();
        // One piece is all, or is it?
        let mut only = self.chunk().await?.unwrap_or_default();
        if only.len() > limit {
            return Err(self.refuse(limit).await);
        }
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > limit - only.len() - all.len() {
                return Err(self.refuse(limit).await);
            }
            all.extend_from_slice(&std::mem::take(&mut only));
            all.extend_from_slice(&chunk);
        }
        let bytes = if all.is_empty() { only } else { all.freeze() };
        match self.kind {
            MessageKind::Binary => Ok(Message::Binary(bytes)),
            MessageKind::Text => match ByteString::try_from(bytes) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Err(Error::new(Kind::Incomplete)),
            },
        }
    }

    /// Fails the connection because the message is longer than `limit`.
    async fn refuse(mut self, limit: usize) -> Error {
        self.rest.end();
        let mut refused = false;
        let result = poll_fn(|cx| {
            self.source.poll_next(
                cx,
                |core| {
                    if !std::mem::replace(&mut refused, true) {
                        core.refuse(limit);
                    }
                    Some(Next::<()>::End)
                },
                |core| Err(core.cut_short()),
            )
        })
        .await;
        result.err().unwrap_or_else(|| Error::new(Kind::Incomplete))
    }
}

impl<S> fmt::Debug for MessageReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("kind", &self.kind)
            .field("at_end", &(self.part.is_none() && !self.rest.is_more()))
            .finish_non_exhaustive()
    }
}

/// The bytes of the message. Errors are those of [`chunk`](MessageReader::chunk), inside of an
/// [`io::Error`].
impl<S: MessageSource> AsyncRead for MessageReader<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() > 0
            && ready!(this.poll_part(cx)).map_err(Error::into_io)?
            && let Some(part) = &this.part
        {
            let rest = &part.as_bytes()[this.read..];
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            this.read += n;
        }
        Poll::Ready(Ok(()))
    }
}

/// The chunks that [`chunk`](MessageReader::chunk) gives. After the end or an error: `None`.
impl<S: MessageSource> Stream for MessageReader<S> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_chunk(cx).map(Result::transpose)
    }
}

/// The chunks as data frames; there are no trailers.
impl<S: MessageSource> Body for MessageReader<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let chunk = ready!(self.get_mut().poll_chunk(cx)).transpose();
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_none() && !self.rest.is_more()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// Waits until the next data message has begun to arrive, and gives what reads it as it arrives,
    /// however long it is. `None` when the peer has closed.
    ///
    /// [`recv`](Self::recv) and this can be used as they come: each gives the next message. After a `recv`
    /// that was given up, in a `select!` for instance, a handler's socket goes on receiving for it: what
    /// begins to arrive before this is called is held to the limits on whole messages.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the message is there for the next call, or for the next `recv`.
    pub async fn next_message(&mut self) -> Result<Option<MessageReader<&mut Self>>, Error> {
        MessageReader::begin(self).await
    }
}

impl Receiver {
    /// Waits until the next data message has begun to arrive, and gives what reads it: see
    /// [`WebSocket::next_message`].
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the message is there for the next call, or for the next `recv`.
    pub async fn next_message(&mut self) -> Result<Option<MessageReader<&mut Self>>, Error> {
        MessageReader::begin(self).await
    }
}
