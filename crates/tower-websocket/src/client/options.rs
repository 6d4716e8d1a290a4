//! What a client asks for, and how long and how much it takes.

use std::{fmt, time::Duration};

use hybi::{
    handshake::{ClientRequest, HandshakeLimits, InvalidSubprotocol, RequestError, Subprotocol},
    proto::Limits,
    socket::{Config, KeepAlive, Timeouts},
};

/// How a [`WebSocketClient`](super::WebSocketClient) opens a WebSocket, and the limits of the socket.
///
/// The client has such options for all its attempts; those in a request's extensions are taken
/// instead of them, as a whole:
///
/// ```
/// use http::Request;
/// use tower_websocket::client::ClientOptions;
///
/// let options = ClientOptions::new().subprotocols(["chat.v2", "chat.v1"])?;
/// let request = Request::get("wss://server.example.com/chat").extension(options).body(());
/// # assert!(request.is_ok());
/// # Ok::<(), tower_websocket::handshake::RequestError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientOptions {
    /// With an address that stands for any.
    pub(super) request: ClientRequest,
    pub(super) config: Config,
    pub(super) extended_connect: bool,
    pub(super) timeout: Duration,
    pub(super) refusal_timeout: Duration,
    pub(super) max_refusal: usize,
}

impl ClientOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            request: ClientRequest::new("ws://localhost").expect("an address"),
            config: Config::client(),
            extended_connect: false,
            timeout: Duration::from_secs(20),
            refusal_timeout: Duration::from_secs(2),
            max_refusal: 64 * 1024,
        }
    }

    /// Offers these subprotocols, the most wanted first. Default: none.
    ///
    /// # Errors
    ///
    /// When a name is not an HTTP token or is there twice (RFC 6455, section 4.1).
    pub fn subprotocols<I>(self, names: I) -> Result<Self, RequestError>
    where
        I: IntoIterator,
        I::Item: TryInto<Subprotocol>,
        <I::Item as TryInto<Subprotocol>>::Error: Into<InvalidSubprotocol>,
    {
        self.try_request(|request| request.subprotocols(names))
    }

    /// Whether an attempt fails when subprotocols were offered and the server chose none. Default:
    /// true, as in browsers.
    pub fn require_subprotocol(self, require: bool) -> Self {
        self.request(|request| request.require_subprotocol(require))
    }

    /// The origin for which connections are made, which is put into its normal form (RFC 6455, section
    /// 4.1). An `Origin` field of a request is taken instead. Default: none.
    ///
    /// # Errors
    ///
    /// When it is not the origin of a page.
    pub fn origin(self, origin: &str) -> Result<Self, RequestError> {
        self.try_request(|request| request.origin(origin))
    }

    /// Offers compression (RFC 7692), which the server may decline. Default: none.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn deflate(self, deflate: impl Into<Option<hybi::proto::Deflate>>) -> Self {
        self.request(|request| request.deflate(deflate))
    }

    /// Whether an attempt fails when compression was offered and the server declined. The socket is
    /// closed with 1010 then (RFC 6455, section 7.4.1). Default: false.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn require_deflate(self, require: bool) -> Self {
        self.request(|request| request.require_deflate(require))
    }

    /// Replaces the limits on what the fields of an answer say.
    pub fn handshake_limits(self, limits: HandshakeLimits) -> Self {
        self.request(|request| request.limits(limits))
    }

    /// Replaces the limits of the socket.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config = self.config.limits(limits);
        self
    }

    /// Replaces the timeouts of the socket.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.config = self.config.timeouts(timeouts);
        self
    }

    /// Replaces the keep-alive of the socket: the pings by which it finds out that the server has vanished, and
    /// which keep the connection open in the gateways between. `None` turns it off. Default:
    /// [`KeepAlive::default`](crate::KeepAlive), a ping every 20 s.
    ///
    /// A client's socket that is not [split](crate::WebSocket) sends pings while one of its operations is
    /// polled, as `recv` is in most programs.
    pub fn keep_alive(mut self, keep_alive: impl Into<Option<KeepAlive>>) -> Self {
        self.config = self.config.keep_alive(keep_alive);
        self
    }

    /// Whether to open WebSockets by extended CONNECT (RFC 8441) instead of an upgrade. The HTTP client
    /// must speak HTTP/2 then. A request whose version is HTTP/2 does so by itself. Default: false.
    pub fn extended_connect(mut self, enable: bool) -> Self {
        self.extended_connect = enable;
        self
    }

    /// How long an attempt may take as a whole, from the call to the open socket: whatever the HTTP
    /// client does for it (names, connections, TLS), the answer, the upgrade. Default: 20 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to read the body of an answer that refuses, within [`timeout`](Self::timeout). What has
    /// arrived by then goes with the error. Default: 2 s.
    pub fn refusal_timeout(mut self, timeout: Duration) -> Self {
        self.refusal_timeout = timeout;
        self
    }

    /// How many bytes of the body of an answer that refuses are kept. Default: 64 KiB.
    pub fn max_refusal(mut self, bytes: usize) -> Self {
        self.max_refusal = bytes;
        self
    }

    fn request(mut self, change: impl FnOnce(ClientRequest) -> ClientRequest) -> Self {
        self.request = change(self.request);
        self
    }

    fn try_request(
        mut self,
        change: impl FnOnce(ClientRequest) -> Result<ClientRequest, RequestError>,
    ) -> Result<Self, RequestError> {
        self.request = change(self.request)?;
        Ok(self)
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("subprotocols", &self.request.get_subprotocols().len())
            .field("config", &self.config)
            .field("extended_connect", &self.extended_connect)
            .field("timeout", &self.timeout)
            .field("refusal_timeout", &self.refusal_timeout)
            .field("max_refusal", &self.max_refusal)
            .finish_non_exhaustive()
    }
}
