//! How a client opens WebSockets.

use std::{fmt, time::Duration};

use http::Response;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
#[cfg(feature = "tls")]
use {std::sync::Arc, tokio_rustls::rustls::ClientConfig};

use super::error::Kind;
use super::{
    ClientStream, ConnectError, Proxy,
    open::{Bounds, Opened, deadline_after, open},
    tcp,
};
#[cfg(feature = "tls")]
use super::{error::Stage, open::within, tls};
use crate::{
    handshake::{Address, AnswerError, ClientRequest, RequestError},
    proto::{CloseCode, Limits},
    socket::{Config, Timeouts, WebSocket},
    standalone::HeadLimits,
};

/// Connects to a `ws` or `wss` server and opens a WebSocket, with the defaults of [`Connector`].
///
/// `request` is an address or a [`ClientRequest`]. With the socket comes the head of the server's
/// answer, which may have cookies and other fields.
///
/// # Errors
///
/// Those of [`Connector::connect`].
///
/// # Cancel safety
///
/// Dropping the future drops the connection.
pub async fn connect<R>(request: R) -> Result<(WebSocket<ClientStream>, Response<()>), ConnectError>
where
    R: TryInto<ClientRequest>,
    R::Error: Into<RequestError>,
{
    Connector::new().connect(request).await
}

/// Opens a WebSocket on a stream to a server that there is already, with the defaults of
/// [`Connector`].
///
/// # Errors
///
/// Those of [`Connector::connect_over`].
///
/// # Cancel safety
///
/// Not cancel safe: the stream is lost.
pub async fn connect_over<T, R>(
    io: T,
    request: R,
) -> Result<(WebSocket<T>, Response<()>), ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin,
    R: TryInto<ClientRequest>,
    R::Error: Into<RequestError>,
{
    Connector::new().connect_over(io, request).await
}

/// How a client opens WebSockets. Cheap to clone.
///
/// | what | default |
/// |---|---|
/// | the whole attempt: name, TCP, proxy, TLS, handshake | 20 s |
/// | the head of an answer: bytes; fields | 16 KiB; 100 |
/// | interim answers that are skipped | 16 |
/// | the body of an answer that refuses: bytes; time | 64 KiB; 2 s |
/// | the socket | [`Limits`], [`Timeouts`] |
///
/// What one request asks for is set on the [`ClientRequest`]: subprotocols, compression, an `Origin`,
/// cookies, credentials and other fields. What holds for all of them is set here.
///
/// Redirects are not followed: they are refusals, in [`ConnectError::response`].
///
/// ```no_run
/// use hybi::{handshake::ClientRequest, standalone::Connector};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let request = ClientRequest::new("wss://server.example.com/chat")?
///     .subprotocols(["chat.v2", "chat.v1"])?
///     .header("Authorization", "Bearer 31337")?;
///
/// let (mut socket, _) = match Connector::new().connect(request).await {
///     Ok(opened) => opened,
///     Err(error) => {
///         if let Some(response) = error.response() {
///             println!("{}: {:?}", response.status(), response.body());
///         }
///         return Err(error.into());
///     }
/// };
/// socket.send("hello").await?;
/// while let Some(message) = socket.recv().await? {
///     println!("{:?}", message.as_text());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # TLS
///
/// With the feature `tls`, `wss` addresses are connected to by rustls. The server's certificate has
/// to be for the address's host, and to be trusted by the system or by a configuration of the
/// caller's ([`tls_config`](Self::tls_config)). The client names the host (SNI) and asks for
/// `http/1.1` (ALPN). Nothing of the handshake is sent before the server has proven who it is.
///
/// The system's certificates are read when they are needed first, once in the life of the program.
///
/// # More than one address
///
/// All addresses of a name are tried, each a quarter of a second after the one before it or as soon
/// as that fails, and the first that takes the connection is used.
#[derive(Clone)]
#[must_use]
pub struct Connector {
    config: Config,
    bounds: Bounds,
    timeout: Duration,
    proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientConfig>>,
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// The defaults, without a proxy.
    pub fn new() -> Self {
        Self {
            config: Config::client(),
            bounds: Bounds {
                head: HeadLimits::new(),
                refusal: 64 * 1024,
                refusal_timeout: Duration::from_secs(2),
            },
            timeout: Duration::from_secs(20),
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Replaces the limits of each socket.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config = self.config.limits(limits);
        self
    }

    /// Replaces the timeouts of each socket.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.config = self.config.timeouts(timeouts);
        self
    }

    /// Replaces the limits on the head of an answer, the server's and the proxy's.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.bounds.head = limits;
        self
    }

    /// How long an attempt may take as a whole, from the call to the open socket. Default: 20 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to read the body of an answer that refuses, within [`timeout`](Self::timeout). What
    /// has arrived by then goes with the error. Default: 2 s.
    pub fn refusal_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.refusal_timeout = timeout;
        self
    }

    /// How many bytes of the body of an answer that refuses are kept. Default: 64 KiB.
    pub fn max_refusal(mut self, bytes: usize) -> Self {
        self.bounds.refusal = bytes;
        self
    }

    /// Goes through an HTTP proxy. Default: none; environment variables are not looked at.
    pub fn proxy(mut self, proxy: impl Into<Option<Proxy>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Connects to `wss` servers with this configuration: other roots, a certificate of the client's,
    /// a verifier. Its ALPN protocols are replaced by `http/1.1`, the one that is spoken here.
    ///
    /// Default: the roots that the system trusts, TLS 1.2 and 1.3, no certificate of the client's.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls_config(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.tls = Some(tls::with_alpn(&config.into()));
        self
    }

    /// Connects to the server that `request` names, and opens a WebSocket.
    ///
    /// The socket is a bare one, which moves only while one of its operations is polled;
    /// [`WebSocket::split`] gives halves that move by themselves. With it comes the head of the
    /// server's answer.
    ///
    /// # Errors
    ///
    /// The request cannot be made, no connection came about, or the server refused or answered
    /// wrongly. No byte but the request was sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection. A name that is being resolved keeps a thread of the
    /// runtime busy until the system answers.
    pub async fn connect<R>(
        &self,
        request: R,
    ) -> Result<(WebSocket<ClientStream>, Response<()>), ConnectError>
    where
        R: TryInto<ClientRequest>,
        R::Error: Into<RequestError>,
    {
        let request = request.try_into().map_err(Into::into)?;
        let deadline = deadline_after(self.timeout);
        let stream = self.stream(request.get_address(), deadline).await?;
        self.open(stream, &request, deadline).await
    }

    /// Opens a WebSocket on a stream to the server that there is already: a Unix socket, a tunnel, TLS
    /// of another kind.
    ///
    /// Of the request's address only what stands in the HTTP request counts; whether the stream is
    /// encrypted is the caller's business.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), as far as they can happen.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the stream is lost.
    pub async fn connect_over<T, R>(
        &self,
        io: T,
        request: R,
    ) -> Result<(WebSocket<T>, Response<()>), ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
        R: TryInto<ClientRequest>,
        R::Error: Into<RequestError>,
    {
        let request = request.try_into().map_err(Into::into)?;
        self.open(io, &request, deadline_after(self.timeout)).await
    }

    /// A stream to the server on which nothing was said.
    async fn stream(
        &self,
        address: &Address,
        deadline: Instant,
    ) -> Result<ClientStream, ConnectError> {
        #[cfg(not(feature = "tls"))]
        if address.is_secure() {
            return Err(Kind::NoTls.into());
        }
        let stream = match &self.proxy {
            None => tcp::connect(address, deadline).await?,
            Some(proxy) => {
                let through = async {
                    let mut stream = tcp::connect(proxy.address(), deadline).await?;
                    proxy.tunnel(&mut stream, address, &self.bounds, deadline).await?;
                    Ok(stream)
                };
                through.await.map_err(ConnectError::of_proxy)?
            }
        };
        #[cfg(feature = "tls")]
        if address.is_secure() {
            let encrypted = within(deadline, Stage::Tls, async {
                let encrypted = tls::encrypt(stream, address, self.tls.as_ref()).await;
                Ok(encrypted.map_err(Kind::Tls)?)
            });
            return Ok(ClientStream::tls(encrypted.await?));
        }
        Ok(ClientStream::tcp(stream))
    }

    async fn open<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut io: T,
        request: &ClientRequest,
        deadline: Instant,
    ) -> Result<(WebSocket<T>, Response<()>), ConnectError> {
        let opened = open(&mut io, request, &self.bounds, deadline).await?;
        let Opened { response, agreement, early } = opened;
        let config = agreement.configure(self.config.clone());
        let mut socket = WebSocket::with_early_data(io, &early, config);
        if let Some(name) = agreement.missing_extension() {
            let close = socket.close_with(CloseCode::MANDATORY_EXTENSION, name);
            let _ = tokio::time::timeout_at(deadline, close).await;
            return Err(Kind::Answer(AnswerError::MissingExtension).into());
        }
        Ok((socket, response))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("config", &self.config)
            .field("bounds", &self.bounds)
            .field("timeout", &self.timeout)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
