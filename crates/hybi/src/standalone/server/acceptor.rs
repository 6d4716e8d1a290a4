//! How a server answers handshakes on streams of its own.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode, Version, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use super::{AcceptError, Incoming, incoming::Received};
#[cfg(feature = "deflate")]
use crate::proto::Deflate;
use crate::{
    handshake::{HandshakeLimits, InvalidSubprotocol, Refusal, ServerHandshake, Subprotocol},
    proto::Limits,
    socket::{Config, Timeouts, WebSocket},
    standalone::{
        HeadLimits,
        encode::response_head,
        head::{Kind, parse_request},
        wire::{ReadError, read_head, write_last},
    },
};

/// Opens a WebSocket on a stream that a client has connected, with the defaults of [`Acceptor`].
///
/// **Any page in any browser can make such a client**, with the cookies that the browser has for
/// this server. A server that browsers can reach checks `Origin` first: see [`Acceptor::read`].
///
/// # Errors
///
/// Those of [`Acceptor::accept`].
///
/// # Cancel safety
///
/// Not cancel safe: the stream is lost.
pub async fn accept<T>(io: T) -> Result<WebSocket<T>, AcceptError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    Acceptor::new().accept(io).await
}

/// How a server opens WebSockets on streams that clients have connected. Cheap to clone.
///
/// | what | default | beyond it |
/// |---|---|---|
/// | the request's head: bytes; fields | 16 KiB; 100 | 431 |
/// | from the first call to the whole request, and on to the answer | 10 s | 408 |
/// | the fields of the handshake | [`HandshakeLimits`] | 400 |
/// | the socket | [`Limits`], [`Timeouts`] | |
///
/// What is refused gets a complete HTTP answer that says why and ends the connection. The answer
/// has [`Timeouts::linger`] to be written, and the stream is then read on for as long again, up to
/// [`Limits::linger_bytes`], so that the answer arrives. Nothing behind a refused request is read as
/// a request or as frames.
///
/// ```
/// use hybi::standalone::Acceptor;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, mut client) = tokio::io::duplex(4096);
/// client
///     .write_all(
///         b"GET /chat HTTP/1.1\r\n\
///           Host: server.example.com\r\n\
///           Upgrade: websocket\r\n\
///           Connection: Upgrade\r\n\
///           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
///           Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n\
///           Sec-WebSocket-Version: 13\r\n\r\n",
///     )
///     .await?;
///
/// let acceptor = Acceptor::new().subprotocols(["chat.v2", "chat.v1"])?;
/// let mut socket = acceptor.accept(server).await?;
/// assert_eq!(socket.subprotocol(), Some("chat.v2"));
/// socket.send("welcome").await?;
/// drop(socket);
///
/// let mut answer = Vec::new();
/// client.read_to_end(&mut answer).await?;
/// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// assert!(answer.ends_with(b"\r\n\r\n\x81\x07welcome"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Acceptor {
    config: Arc<Config>,
    head_limits: HeadLimits,
    handshake_limits: HandshakeLimits,
    handshake_timeout: Duration,
    subprotocols: Arc<[Subprotocol]>,
    require_subprotocol: bool,
    #[cfg(feature = "deflate")]
    deflate: Option<Deflate>,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl Acceptor {
    /// The defaults, and no subprotocol.
    pub fn new() -> Self {
        Self {
            config: Arc::new(Config::server()),
            head_limits: HeadLimits::new(),
            handshake_limits: HandshakeLimits::new(),
            handshake_timeout: Duration::from_secs(10),
            subprotocols: Arc::new([]),
            require_subprotocol: false,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Replaces the limits of each socket.
    pub fn limits(self, limits: Limits) -> Self {
        self.config(|config| config.limits(limits))
    }

    /// Replaces the timeouts of each socket.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.config(|config| config.timeouts(timeouts))
    }

    /// Replaces the limits on the head of a request.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.head_limits = limits;
        self
    }

    /// Replaces the limits on the fields of a handshake.
    pub fn handshake_limits(mut self, limits: HandshakeLimits) -> Self {
        self.handshake_limits = limits;
        self
    }

    /// How long a handshake may take: until the request's head is whole, and from the decision
    /// until the answer is written, together. Default 10 s.
    ///
    /// A client that is slower is answered with 408. What the caller does between
    /// [`read`](Self::read) and [`Incoming::accept`] does not count.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The subprotocols that the server speaks, the most preferred first: a client that offers
    /// several gets the first of these (RFC 6455, section 1.9). Default: none.
    ///
    /// # Errors
    ///
    /// When a name is not an HTTP token (RFC 9110, section 5.6.2).
    pub fn subprotocols<I>(mut self, names: I) -> Result<Self, InvalidSubprotocol>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let names = names.into_iter().map(|name| Subprotocol::new(name.as_ref()));
        self.subprotocols = names.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Whether a client that offers none of the [`subprotocols`](Self::subprotocols) is refused with
    /// 400. Default: no, it gets a WebSocket without a subprotocol.
    ///
    /// A browser whose page asked for subprotocols fails anyway if it gets none.
    pub fn require_subprotocol(mut self, required: bool) -> Self {
        self.require_subprotocol = required;
        self
    }

    /// Grants compression to clients that offer it (RFC 7692). Default: none; see [`Deflate`] for what
    /// it costs, and when to leave it off.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into();
        self
    }

    /// Opens a WebSocket on a stream that a client has connected, whatever page or program that is:
    /// see [`read`](Self::read).
    ///
    /// The socket is a bare one, which moves only while one of its operations is polled;
    /// [`Incoming::serve`] drives one for a handler.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and if the answer cannot be written in time.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream is lost.
    pub async fn accept<T>(&self, io: T) -> Result<WebSocket<T>, AcceptError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.read(io).await?.accept().await
    }

    /// Reads a handshake and leaves the decision about it to the caller.
    ///
    /// What is no handshake in due form is refused here, and is an error.
    ///
    /// # Whose page is it?
    ///
    /// Neither the same-origin policy nor CORS keeps a page from opening a WebSocket to any server,
    /// and browsers send that server's cookies along. What they also send is `Origin`, which the page
    /// cannot change; comparing it is the one real defence (RFC 6455, section 10.2). Other programs
    /// send what they like or nothing, so that a right or missing `Origin` proves nothing about them:
    /// authenticate them by something else.
    ///
    /// A server on this machine or in a local network looks at `Host` too: a name that its owner has
    /// pointed at a local address makes the owner's page one of the same origin.
    ///
    /// ```
    /// use http::{StatusCode, header};
    /// use hybi::{
    ///     handshake::Refusal,
    ///     socket::{Ended, WebSocket},
    ///     standalone::{AcceptError, Acceptor},
    /// };
    /// use tokio::net::TcpStream;
    ///
    /// const ORIGINS: [&str; 1] = ["https://app.example.com"];
    ///
    /// async fn serve(acceptor: &Acceptor, stream: TcpStream) -> Result<Ended, AcceptError> {
    ///     let incoming = acceptor.read(stream).await?;
    ///     // Every line of it, should there be more than one.
    ///     let mut origins = incoming.request().headers.get_all(header::ORIGIN).iter();
    ///     if !origins.all(|origin| ORIGINS.iter().any(|allowed| origin == allowed)) {
    ///         let refusal = Refusal::new(StatusCode::FORBIDDEN).reason("not from this page");
    ///         return Err(incoming.refuse(refusal).await);
    ///     }
    ///     incoming.serve(|mut socket: WebSocket<_>| async move {
    ///         socket.send("welcome").await?;
    ///         Ok(())
    ///     }).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The request was not whole in time, is no HTTP, too large, or no handshake in due form; or the
    /// client went away. The client has got its answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream is lost.
    pub async fn read<T>(&self, mut io: T) -> Result<Incoming<T>, AcceptError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begin = Instant::now();
        let head = read_head(&mut io, Vec::new(), Kind::Request, self.head_limits);
        let (error, refusal) = match timeout(self.handshake_timeout, head).await {
            Ok(Ok(head)) => match parse_request(head.head(), head.fields()) {
                Ok(parts) => {
                    let time_left = self.handshake_timeout.saturating_sub(begin.elapsed());
                    let early = head.into_early();
                    return self.judge(Received { io, early, parts, time_left }).await;
                }
                Err(error) => (error.into(), error.refusal()),
            },
            Ok(Err(ReadError::Head(error))) => (error.into(), error.refusal()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT)
                    .reason("the request did not arrive in time");
                (AcceptError::timed_out(), refusal)
            }
        };
        write_refusal(&mut io, refusal, None, &self.config).await;
        Err(error)
    }

    /// Checks the form, and chooses what the caller may choose otherwise.
    async fn judge<T>(&self, mut received: Received<T>) -> Result<Incoming<T>, AcceptError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let parts = &received.parts;
        let refusal = match ServerHandshake::parse(parts, None, &self.handshake_limits) {
            Ok(handshake) => {
                let offers = handshake.subprotocols();
                let chosen = self.subprotocols.iter().find(|name| offers.contains(name)).cloned();
                if chosen.is_some() || !self.require_subprotocol {
                    let config = Arc::clone(&self.config);
                    let incoming = Incoming::new(received, handshake, chosen, config);
                    #[cfg(feature = "deflate")]
                    let incoming = incoming.deflate(self.deflate.clone());
                    return Ok(incoming);
                }
                let names: Vec<_> = self.subprotocols.iter().map(Subprotocol::as_str).collect();
                let names = names.join(", ");
                Refusal::new(StatusCode::BAD_REQUEST)
                    .reason(format!("offer one of these in Sec-WebSocket-Protocol: {names}"))
            }
            Err(refusal) => refusal,
        };
        write_refusal(&mut received.io, refusal.clone(), Some(parts), &self.config).await;
        Err(AcceptError::refused(refusal))
    }

    fn config(mut self, change: impl FnOnce(Config) -> Config) -> Self {
        self.config = Arc::new(change(Config::clone(&self.config)));
        self
    }
}

/// Answers a request, of which the head is `parts` if it could be read, and ends the connection.
///
/// Whether the answer arrives does not change what went wrong, so a failure is not reported.
pub(super) async fn write_refusal<T: AsyncRead + AsyncWrite + Unpin>(
    io: &mut T,
    refusal: Refusal,
    parts: Option<&Parts>,
    config: &Config,
) {
    let (head, body) = refusal.into_response(Version::HTTP_11).into_parts();
    let mut bytes = response_head(&head);
    // An answer to HEAD announces a body and has none (RFC 9110, section 9.3.2).
    if parts.is_none_or(|parts| parts.method != Method::HEAD) {
        bytes.extend(body);
    }
    let patience = config.get_timeouts().get_linger();
    let _ = write_last(io, &bytes, patience, config.get_limits().get_linger_bytes()).await;
}
