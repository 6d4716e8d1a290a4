//! A handshake that waits for the server's decision.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{AcceptError, acceptor::write_refusal};
#[cfg(feature = "deflate")]
use crate::proto::{Deflate, DeflateParameters};
use crate::{
    handshake::{Refusal, ServerHandshake, Subprotocol, is_reserved},
    proto::Limits,
    socket::{BoxError, Config, Ended, Session, WebSocket},
    standalone::{encode::response_head, wire},
};

/// A handshake in due form that waits for the server's decision; made by
/// [`Acceptor::read`](super::Acceptor::read).
///
/// The decision is one of [`accept`](Self::accept), [`session`](Self::session),
/// [`serve`](Self::serve) and [`refuse`](Self::refuse). Dropping it instead drops the stream, and
/// the client gets no answer.
#[must_use = "the client waits for an answer"]
pub struct Incoming<T> {
    received: Received<T>,
    handshake: ServerHandshake,
    subprotocol: Option<Subprotocol>,
    headers: HeaderMap,
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateParameters>,
    config: Arc<Config>,
}

/// A request, and where it came from.
pub(super) struct Received<T> {
    pub(super) io: T,
    /// What was read behind the head: the first frames.
    pub(super) early: Vec<u8>,
    pub(super) parts: Parts,
    /// How much of the handshake's time is left.
    pub(super) time_left: Duration,
}

impl<T> Incoming<T> {
    pub(super) fn new(
        received: Received<T>,
        handshake: ServerHandshake,
        subprotocol: Option<Subprotocol>,
        config: Arc<Config>,
    ) -> Self {
        Self {
            received,
            handshake,
            subprotocol,
            headers: HeaderMap::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
            config,
        }
    }

    /// The head of the request: where it goes, its fields, cookies and all.
    #[must_use]
    pub fn request(&self) -> &Parts {
        &self.received.parts
    }

    /// What the client offers.
    #[must_use]
    pub fn handshake(&self) -> &ServerHandshake {
        &self.handshake
    }

    /// The stream, to ask it who is at its other end.
    #[must_use]
    pub fn io(&self) -> &T {
        &self.received.io
    }

    /// Chooses the subprotocol, or none, instead of what
    /// [`Acceptor::subprotocols`](super::Acceptor::subprotocols) would give.
    ///
    /// It has to be one that the client offers; otherwise the decision fails and the client is
    /// answered with 500.
    pub fn subprotocol(mut self, subprotocol: Option<Subprotocol>) -> Self {
        self.subprotocol = subprotocol;
        self
    }

    /// The subprotocol that the socket will speak.
    #[must_use]
    pub fn get_subprotocol(&self) -> Option<&Subprotocol> {
        self.subprotocol.as_ref()
    }

    /// Grants compression to this client, if it offers it, or to none, instead of what
    /// [`Acceptor::deflate`](super::Acceptor::deflate) says.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into().and_then(|it| it.accept(self.handshake.extensions()));
        self
    }

    /// How the socket's messages will be compressed, if they will.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn get_deflate(&self) -> Option<&DeflateParameters> {
        self.deflate.as_ref()
    }

    /// Adds a field to the answer that accepts, such as a cookie.
    ///
    /// Those that belong to the connection or the handshake ([`is_reserved`]) are ignored.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if !is_reserved(&name) {
            self.headers.append(name, value);
        }
        self
    }

    /// Replaces the limits of this socket.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config = Arc::new(Config::clone(&self.config).limits(limits));
        self
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Incoming<T> {
    /// Accepts with 101 and gives a bare socket, which moves only while one of its operations is
    /// polled.
    ///
    /// # Errors
    ///
    /// The answer was not taken in time, the client is gone, or the chosen subprotocol is none that
    /// it offers.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream is lost.
    pub async fn accept(self) -> Result<WebSocket<T>, AcceptError> {
        let Opened { io, early, config } = self.open().await?;
        Ok(WebSocket::with_early_data(io, &early, config))
    }

    /// Accepts with 101 and gives a session that drives the socket for the handler: it answers
    /// pings and keeps deadlines while the handler is busy, writes what the handler sent in one go,
    /// and closes the socket when the handler ends. It moves when it is awaited or spawned, and its
    /// [`control`](Session::control) closes it from elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Self::accept).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream is lost.
    pub async fn session<F>(
        self,
        handler: impl FnOnce(WebSocket<T>) -> F,
    ) -> Result<Session<T, F>, AcceptError>
    where
        F: Future<Output = Result<(), BoxError>>,
    {
        let Opened { io, early, config } = self.open().await?;
        Ok(Session::with_early_data(io, &early, config, handler))
    }

    /// Accepts with 101, and drives a [`session`](Self::session) for the handler to its end.
    ///
    /// ```
    /// # use hybi::{socket::WebSocket, standalone::Acceptor};
    /// # async fn serve(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let incoming = Acceptor::new().read(stream).await?;
    /// let ended = incoming
    ///     .serve(|mut socket: WebSocket<_>| async move {
    ///         while let Some(message) = socket.recv().await? {
    ///             socket.send(message).await?;
    ///         }
    ///         Ok(())
    ///     })
    ///     .await?;
    /// println!("{} messages came", ended.stats().messages_received);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Self::accept). How the socket ended later is in [`Ended`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream and the handler are dropped.
    pub async fn serve<F>(
        self,
        handler: impl FnOnce(WebSocket<T>) -> F,
    ) -> Result<Ended, AcceptError>
    where
        F: Future<Output = Result<(), BoxError>>,
    {
        Ok(self.session(handler).await?.await)
    }

    /// Answers with a refusal and ends the connection. Nothing that the client sent behind its
    /// request is looked at.
    ///
    /// Gives the error that says so, for the caller to return or to drop.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the client may get a part of the answer.
    pub async fn refuse(self, refusal: Refusal) -> AcceptError {
        let Received { mut io, parts, .. } = self.received;
        write_refusal(&mut io, refusal.clone(), Some(&parts), &self.config).await;
        AcceptError::refused(refusal)
    }

    /// Writes the 101.
    async fn open(self) -> Result<Opened<T>, AcceptError> {
        let Self { received, handshake, subprotocol, headers, mut config, .. } = self;
        let Received { mut io, early, parts, time_left } = received;
        let subprotocol = subprotocol.as_ref().map(Subprotocol::as_str);
        #[cfg(feature = "deflate")]
        let answer = handshake.accept_with(subprotocol, self.deflate.as_ref());
        #[cfg(not(feature = "deflate"))]
        let answer = handshake.accept(subprotocol);
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                let refusal =
                    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR).reason(error.to_string());
                write_refusal(&mut io, refusal, Some(&parts), &config).await;
                return Err(error.into());
            }
        };
        response.headers_mut().extend(headers);
        let (head, ()) = response.into_parts();
        match timeout(time_left, wire::write(&mut io, &response_head(&head))).await {
            Ok(result) => result?,
            Err(_) => return Err(AcceptError::timed_out()),
        }
        if subprotocol.is_some() {
            let changed = Config::clone(&config).subprotocol(subprotocol.map(Into::into));
            config = Arc::new(changed);
        }
        #[cfg(feature = "deflate")]
        if self.deflate.is_some() {
            config = Arc::new(Config::clone(&config).deflate(self.deflate));
        }
        Ok(Opened { io, early, config })
    }
}

/// A stream on which frames follow.
struct Opened<T> {
    io: T,
    early: Vec<u8>,
    config: Arc<Config>,
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The target and the fields may hold credentials.
        f.debug_struct("Incoming")
            .field("handshake", &self.handshake)
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}
