//! The client's side: the request that asks for a WebSocket (RFC 6455, section 4.1; RFC 8441, section 5).

use std::{convert::Infallible, error::Error, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use url::Url;

use super::{
    Address, AddressError, ClientHandshake, HandshakeLimits, InvalidSubprotocol, Subprotocol,
    classify::WEBSOCKET, is_reserved, key, origin,
};

/// What a client asks for, before it is put into a request.
///
/// One `ClientRequest` serves any number of attempts: each call of [`upgrade`](Self::upgrade) makes a
/// request with a key of its own.
///
/// ```
/// use hybi::handshake::ClientRequest;
///
/// let request = ClientRequest::new("wss://server.example.com/chat")?
///     .subprotocols(["chat.v2", "chat.v1"])?
///     .header("Authorization", "Bearer 31337")?;
///
/// let (request, handshake) = request.upgrade()?;
/// assert_eq!(request.uri(), "/chat");
/// assert_eq!(request.headers()["host"], "server.example.com");
/// assert_eq!(request.headers()["sec-websocket-protocol"], "chat.v2, chat.v1");
/// // The answer goes to `handshake.verify(&response)`.
/// # let _ = handshake;
/// # Ok::<(), hybi::handshake::RequestError>(())
/// ```
///
/// Its `Debug` text shows no value of a field, no subprotocol, and no query, because credentials stand
/// in all of them.
#[derive(Clone)]
pub struct ClientRequest {
    address: Address,
    subprotocols: Vec<Subprotocol>,
    headers: HeaderMap,
    require_subprotocol: bool,
    limits: HandshakeLimits,
}

impl ClientRequest {
    /// Asks for the WebSocket at `address`: a text, an [`http::Uri`], a [`Url`] or an [`Address`].
    ///
    /// # Errors
    ///
    /// When it is no address of a WebSocket.
    pub fn new<A>(address: A) -> Result<Self, RequestError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        address.try_into().map(Self::from).map_err(|error| RequestError::Address(error.into()))
    }

    /// Offers these subprotocols, the most wanted first, instead of those offered before. An empty
    /// list offers none.
    ///
    /// # Errors
    ///
    /// When a name is not an HTTP token or is there twice (RFC 6455, section 4.1).
    pub fn subprotocols<I>(mut self, names: I) -> Result<Self, RequestError>
    where
        I: IntoIterator,
        I::Item: TryInto<Subprotocol>,
        <I::Item as TryInto<Subprotocol>>::Error: Into<InvalidSubprotocol>,
    {
        self.subprotocols.clear();
        for name in names {
            let name = name.try_into().map_err(|_| RequestError::InvalidSubprotocol)?;
            if self.subprotocols.contains(&name) {
                return Err(RequestError::RepeatedSubprotocol);
            }
            self.subprotocols.push(name);
        }
        Ok(self)
    }

    /// Adds a header field to the request, beside those of the same name that are there: a cookie,
    /// credentials, a user agent.
    ///
    /// An `Origin` is put into its normal form and stands once, as [`origin`](Self::origin) does.
    ///
    /// # Errors
    ///
    /// When the name or the value is none, or the field is the handshake's own: `Host`, those that
    /// frame a message or are about the connection, and `Sec-WebSocket-*`
    /// (see [`is_reserved`]).
    pub fn header<N, V>(mut self, name: N, value: V) -> Result<Self, RequestError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let name = name.try_into().map_err(|_| RequestError::InvalidHeaderName)?;
        let mut value = match value.try_into() {
            Ok(value) => value,
            Err(_) => return Err(RequestError::InvalidHeaderValue(name)),
        };
        if is_reserved(&name) || name == header::HOST {
            return Err(RequestError::ReservedHeader(name));
        }
        if name == header::ORIGIN {
            return self.origin(value.to_str().map_err(|_| RequestError::InvalidOrigin)?);
        }
        // So that HTTP/2 keeps them out of its compression tables, and logs of HTTP stacks do too.
        if matches!(name, header::AUTHORIZATION | header::COOKIE | header::PROXY_AUTHORIZATION) {
            value.set_sensitive(true);
        }
        self.headers.append(name, value);
        Ok(self)
    }

    /// Names the origin for which the connection is made, as browsers do (RFC 6455, section 4.1), in
    /// its normal form: `scheme://host[:port]` in lowercase, an international host in ASCII, without
    /// a default port.
    ///
    /// # Errors
    ///
    /// When it is not the origin of a page: other than a scheme that is not that of a WebSocket, a
    /// host and a port. `null` is taken (RFC 6454, section 7).
    pub fn origin(mut self, origin: &str) -> Result<Self, RequestError> {
        let origin = origin::normalize(origin).ok_or(RequestError::InvalidOrigin)?;
        let value = HeaderValue::try_from(origin).map_err(|_| RequestError::InvalidOrigin)?;
        self.headers.insert(header::ORIGIN, value);
        Ok(self)
    }

    /// Whether the attempt fails when subprotocols were offered and the server chose none. Default:
    /// true, as in browsers. RFC 6455 lets a client go on without one.
    #[must_use]
    pub fn require_subprotocol(mut self, require: bool) -> Self {
        self.require_subprotocol = require;
        self
    }

    /// How much the answer's fields may say.
    #[must_use]
    pub fn limits(mut self, limits: HandshakeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the WebSocket is.
    #[must_use]
    pub fn get_address(&self) -> &Address {
        &self.address
    }

    /// The offered subprotocols, the most wanted first.
    #[must_use]
    pub fn get_subprotocols(&self) -> &[Subprotocol] {
        &self.subprotocols
    }

    /// The fields that were added.
    #[must_use]
    pub fn get_headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request for HTTP/1.1, a GET that asks for an upgrade (RFC 6455, section 4.1), and what
    /// checks its answer.
    ///
    /// Its target is the origin-form, which stands in a request to the server itself. An HTTP client
    /// that connects by the URI gets it from [`Address::to_http_uri`].
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes for the key.
    pub fn upgrade(&self) -> Result<(Request<()>, ClientHandshake), RequestError> {
        let key = key::random().ok_or(RequestError::NoKey)?;
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from(self.address.path_and_query().clone());

        let headers = request.headers_mut();
        let host = HeaderValue::from_str(self.address.authority().as_str())
            .expect("an authority is visible ASCII");
        headers.insert(header::HOST, host);
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let value = HeaderValue::from_bytes(&key).expect("base64 is visible ASCII");
        headers.insert(header::SEC_WEBSOCKET_KEY, value);
        self.add_common(headers);
        Ok((request, self.handshake(Some(&key))))
    }

    /// The request for HTTP/2 and HTTP/3, an extended CONNECT (RFC 8441, section 5; RFC 9220), and
    /// what checks its answer.
    ///
    /// The `:protocol` pseudo-header field, which is `websocket`, is no field of a request: the HTTP
    /// stack has its own place for it (hyper: the request extension `hyper::ext::Protocol`). It may be
    /// sent only on a connection whose server announced SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441,
    /// section 3).
    #[must_use]
    pub fn extended_connect(&self) -> (Request<()>, ClientHandshake) {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.address.to_http_uri();
        self.add_common(request.headers_mut());
        (request, self.handshake(None))
    }

    /// The fields that both requests have.
    fn add_common(&self, headers: &mut HeaderMap) {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        if !self.subprotocols.is_empty() {
            let names: Vec<_> = self.subprotocols.iter().map(Subprotocol::as_str).collect();
            let value = HeaderValue::try_from(names.join(", ")).expect("tokens are visible ASCII");
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
    }

    fn handshake(&self, key: Option<&key::Key>) -> ClientHandshake {
        ClientHandshake::new(key, self.subprotocols.clone(), self.require_subprotocol, self.limits)
    }
}

impl From<Address> for ClientRequest {
    fn from(address: Address) -> Self {
        Self {
            address,
            subprotocols: Vec::new(),
            headers: HeaderMap::new(),
            require_subprotocol: true,
            limits: HandshakeLimits::new(),
        }
    }
}

macro_rules! from_address {
    ($($from:ty),*) => {$(
        impl TryFrom<$from> for ClientRequest {
            type Error = RequestError;

            fn try_from(address: $from) -> Result<Self, RequestError> {
                Self::new(address)
            }
        }
    )*};
}

from_address!(&str, String, &String, Uri, &Uri, Url, &Url);

impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("ClientRequest")
            .field("address", &self.address)
            .field("subprotocols", &self.subprotocols.len())
            .field("headers", &headers)
            .field("require_subprotocol", &self.require_subprotocol)
            .finish_non_exhaustive()
    }
}

/// Why there is no request to send. It never repeats what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The address is none of a WebSocket.
    Address(AddressError),
    /// A header field's name is not an HTTP token (RFC 9110, section 5.1).
    InvalidHeaderName,
    /// The value for this field has a line break or another control character in it (RFC 9110,
    /// section 5.5).
    InvalidHeaderValue(HeaderName),
    /// The origin is not that of a page (RFC 6454, section 7).
    InvalidOrigin,
    /// A subprotocol's name is not an HTTP token (RFC 6455, section 4.1).
    InvalidSubprotocol,
    /// The operating system gave no random bytes.
    NoKey,
    /// A subprotocol is offered twice (RFC 6455, section 4.1).
    RepeatedSubprotocol,
    /// The field is the handshake's own.
    ReservedHeader(HeaderName),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::InvalidHeaderName => f.write_str("the name of a header field is no HTTP token"),
            Self::InvalidHeaderValue(name) => {
                write!(
                    f,
                    "the value for the header field {name} has characters that may not be there"
                )
            }
            Self::InvalidOrigin => {
                f.write_str("an origin is a scheme other than ws and wss, a host, and a port")
            }
            Self::InvalidSubprotocol => {
                f.write_str("the name of an offered subprotocol is no HTTP token")
            }
            Self::NoKey => f.write_str("the operating system gave no random bytes for the key"),
            Self::RepeatedSubprotocol => f.write_str("a subprotocol is offered twice"),
            Self::ReservedHeader(name) => {
                write!(f, "the header field {name} belongs to the handshake and cannot be set")
            }
        }
    }
}

impl Error for RequestError {}

impl From<AddressError> for RequestError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<Infallible> for RequestError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
