//! The client's side: the request that asks for a WebSocket (RFC 6455, section 4.1; RFC 8441, section 5).

use std::{convert::Infallible, error::Error, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use url::Url;

use super::{
    Address, AddressError, ClientHandshake, HandshakeLimits, InvalidSubprotocol, Subprotocol,
    accept_value, classify::WEBSOCKET, is_reserved, key, origin,
};
#[cfg(feature = "deflate")]
use crate::proto::Deflate;

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
    #[cfg(feature = "deflate")]
    deflate: Option<Deflate>,
    #[cfg(feature = "deflate")]
    require_deflate: bool,
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

    /// Asks the same of another address: after a redirect, or of the next server in a list.
    ///
    /// Cookies and credentials are kept. Whether the other server may have them is the caller's to
    /// judge.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.address = address;
        self
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

    /// Offers compression (RFC 7692), which the server may decline. Default: none.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into();
        self
    }

    /// Whether a client that offered compression goes without when the server declined, or closes the
    /// socket with 1010 (RFC 6455, section 7.4.1; see
    /// [`Agreement::missing_extension`](super::Agreement::missing_extension)). Default: false.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn require_deflate(mut self, require: bool) -> Self {
        self.require_deflate = require;
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
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &self.deflate {
            let value = HeaderValue::try_from(deflate.offer().to_string())
                .expect("tokens and separators are visible ASCII");
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
    }

    fn handshake(&self, key: Option<&key::Key>) -> ClientHandshake {
        ClientHandshake {
            accept: key.map(|key| accept_value(key)),
            subprotocols: self.subprotocols.clone(),
            require_subprotocol: self.require_subprotocol,
            #[cfg(feature = "deflate")]
            deflate: self.deflate.clone(),
            #[cfg(feature = "deflate")]
            require_deflate: self.require_deflate,
            limits: self.limits,
        }
    }
}

impl From<Address> for ClientRequest {
    fn from(address: Address) -> Self {
        Self {
            address,
            subprotocols: Vec::new(),
            headers: HeaderMap::new(),
            require_subprotocol: true,
            #[cfg(feature = "deflate")]
            deflate: None,
            #[cfg(feature = "deflate")]
            require_deflate: false,
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    fn asks(address: &str) -> ClientRequest {
        ClientRequest::new(address).unwrap()
    }

    fn upgrade(request: &ClientRequest) -> Request<()> {
        request.upgrade().unwrap().0
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// C-02, C-03
    #[test]
    fn an_upgrade_is_a_get_with_five_fields() {
        let request = upgrade(&asks("ws://example.com:80?x=1"));
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.uri(), "/?x=1");
        let headers = request.headers();
        assert_eq!(
            names(headers),
            ["connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"]
        );
        assert_eq!(headers[header::HOST], "example.com");
        assert_eq!(headers[header::UPGRADE], "websocket");
        assert_eq!(headers[header::CONNECTION], "Upgrade");
        assert_eq!(headers[header::SEC_WEBSOCKET_VERSION], "13");
    }

    /// C-03: `Host` has the port only where it is not the scheme's own.
    #[test]
    fn host_has_the_port_that_is_not_the_default() {
        let table = [
            ("ws://h:80", "h"),
            ("ws://h:443", "h:443"),
            ("wss://h:443", "h"),
            ("wss://h:80", "h:80"),
            ("wss://[::1]:1", "[::1]:1"),
        ];
        for (address, host) in table {
            assert_eq!(upgrade(&asks(address)).headers()[header::HOST], host, "{address}");
        }
    }

    /// E-05, E-06, E-09
    #[test]
    fn an_extended_connect_has_an_absolute_http_uri_and_no_key() {
        for (address, uri) in [
            ("wss://example.com?x=1", "https://example.com/?x=1"),
            ("ws://example.com:81/a", "http://example.com:81/a"),
        ] {
            let (request, handshake) = asks(address).extended_connect();
            assert_eq!(request.method(), Method::CONNECT);
            assert_eq!(request.version(), Version::HTTP_2);
            assert_eq!(request.uri(), uri);
            assert_eq!(names(request.headers()), ["sec-websocket-version"]);
            assert_eq!(handshake.opening(), super::super::Opening::ExtendedConnect);
        }
    }

    /// C-04
    #[test]
    fn each_attempt_has_a_fresh_key_without_spare_bits() {
        let request = asks("ws://h");
        let keys: HashSet<_> = (0..10_000)
            .map(|_| upgrade(&request).headers()[header::SEC_WEBSOCKET_KEY].clone())
            .collect();
        assert_eq!(keys.len(), 10_000);
        for key in keys {
            assert_eq!(BASE64_STANDARD.decode(&key).unwrap().len(), 16);
            assert!(
                matches!(key.as_bytes(), [.., b'A' | b'Q' | b'g' | b'w', b'=', b'=']),
                "{key:?}"
            );
        }
    }

    /// N-01, R-17
    #[test]
    fn subprotocols_are_offered_in_order_on_one_line() {
        let request = asks("ws://h").subprotocols(["b", "a", "c"]).unwrap();
        for head in [upgrade(&request), request.extended_connect().0] {
            let lines: Vec<_> =
                head.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().collect();
            assert_eq!(lines, ["b, a, c"]);
        }
        let request = request.subprotocols([Subprotocol::from_static("x")]).unwrap();
        assert_eq!(upgrade(&request).headers()[header::SEC_WEBSOCKET_PROTOCOL], "x");
        let request = request.subprotocols(["x".to_owned()]).unwrap();
        assert_eq!(request.get_subprotocols(), ["x"]);
        let request = request.subprotocols::<[&str; 0]>([]).unwrap();
        assert!(!upgrade(&request).headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL));
    }

    /// N-01
    #[test]
    fn names_that_are_no_tokens_or_repeated_are_not_offered() {
        use RequestError as E;

        let table: [(&[&str], E); 6] = [
            (&[""], E::InvalidSubprotocol),
            (&["a b"], E::InvalidSubprotocol),
            (&["a,b"], E::InvalidSubprotocol),
            (&["a", "b\r\n"], E::InvalidSubprotocol),
            (&["\u{e4}"], E::InvalidSubprotocol),
            (&["a", "b", "a"], E::RepeatedSubprotocol),
        ];
        for (names, error) in table {
            let result = asks("ws://h").subprotocols(names.iter().copied());
            assert_eq!(result.unwrap_err(), error, "{names:?}");
        }
        // Names differ by case.
        assert!(asks("ws://h").subprotocols(["a", "A"]).is_ok());
    }

    /// C-14
    #[test]
    fn fields_of_the_handshake_cannot_be_set() {
        let reserved = [
            "Host",
            "host",
            "Upgrade",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "TE",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Accept",
            "sec-websocket-anything",
        ];
        for name in reserved {
            let error = asks("ws://h").header(name, "x").unwrap_err();
            assert!(
                matches!(&error, RequestError::ReservedHeader(it) if *it == name),
                "{name}: {error}"
            );
        }
    }

    /// C-14
    #[test]
    fn fields_are_checked_for_control_characters() {
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x7f"] {
            let error = asks("ws://h").header("x", value).unwrap_err();
            assert!(matches!(error, RequestError::InvalidHeaderValue(_)), "{value:?}: {error}");
        }
        for name in ["", "a b", "a:", "a\r\n", "\u{e4}"] {
            let error = asks("ws://h").header(name, "x").unwrap_err();
            assert_eq!(error, RequestError::InvalidHeaderName, "{name:?}");
        }
    }

    /// C-14: cookies, credentials and all else go out in both requests, several lines too.
    #[test]
    fn other_fields_are_added_and_secrets_marked() {
        let request = asks("ws://h")
            .header("Cookie", "a=1")
            .and_then(|request| request.header("Cookie", "b=2"))
            .and_then(|request| request.header(header::AUTHORIZATION, "Bearer x"))
            .and_then(|request| request.header(header::USER_AGENT, HeaderValue::from_static("me")))
            .unwrap();
        for head in [upgrade(&request), request.extended_connect().0] {
            let cookies: Vec<_> = head.headers().get_all(header::COOKIE).iter().collect();
            assert_eq!(cookies, ["a=1", "b=2"]);
            assert!(cookies.iter().all(|cookie| cookie.is_sensitive()));
            assert!(head.headers()[header::AUTHORIZATION].is_sensitive());
            assert!(!head.headers()[header::USER_AGENT].is_sensitive());
        }
    }

    /// O-09, E-10
    #[test]
    fn an_origin_stands_once_in_its_normal_form() {
        let request = asks("ws://h").origin("HTTPS://A.example:443/").unwrap();
        let request = request.header("origin", "HTTP://B.example:80").unwrap();
        for head in [upgrade(&request), request.extended_connect().0] {
            let lines: Vec<_> = head.headers().get_all(header::ORIGIN).iter().collect();
            assert_eq!(lines, ["http://b.example"]);
        }
        assert_eq!(request.clone().origin("ws://h").unwrap_err(), RequestError::InvalidOrigin);
        assert_eq!(request.header("Origin", "x").unwrap_err(), RequestError::InvalidOrigin);
    }

    /// X-04, D-05: the offer stands on one line of both requests.
    #[cfg(feature = "deflate")]
    #[test]
    fn compression_is_offered_where_it_is_asked_for() {
        let request = asks("ws://h").deflate(Deflate::new());
        for head in [upgrade(&request), request.extended_connect().0] {
            let lines = head.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
            let offer = Deflate::new().offer().to_string();
            assert_eq!(lines.iter().collect::<Vec<_>>(), [&*offer]);
            assert_eq!(offer, offer.to_ascii_lowercase());
        }
        let without = request.deflate(None);
        let head = upgrade(&without);
        assert!(!head.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS));
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let request = asks("ws://h/?secret")
            .header("cookie", "secret")
            .and_then(|request| request.header("authorization", "secret"))
            .and_then(|request| request.subprotocols(["secret"]))
            .unwrap();
        let (head, handshake) = request.upgrade().unwrap();
        let key = head.headers()[header::SEC_WEBSOCKET_KEY].to_str().unwrap();
        let shown = format!("{request:?} {handshake:?}");
        assert!(!shown.contains("secret") && !shown.contains(key), "{shown}");

        let errors = [
            ClientRequest::new("ws://secret@h").unwrap_err(),
            ClientRequest::new("ws://h#secret").unwrap_err(),
            ClientRequest::new("secret").unwrap_err(),
            asks("ws://h").header("x", "secret\n").unwrap_err(),
            asks("ws://h").header("secret ", "x").unwrap_err(),
            asks("ws://h").origin("secret").unwrap_err(),
            asks("ws://h").subprotocols(["secret", "secret"]).unwrap_err(),
        ];
        for error in errors {
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn a_request_is_made_from_whatever_holds_an_address() {
        let uri = Uri::from_static("ws://h/");
        for request in [
            ClientRequest::try_from("ws://h/"),
            ClientRequest::try_from("ws://h/".to_owned()),
            ClientRequest::try_from(&uri),
            ClientRequest::try_from(Url::parse("ws://h").unwrap()),
            ClientRequest::new(asks("ws://h").get_address().clone()),
            Ok(asks("wss://other/a").address("ws://h".parse().unwrap())),
        ] {
            assert_eq!(request.unwrap().get_address().to_string(), "ws://h/");
        }
        let error = ClientRequest::try_from("ftp://h").unwrap_err();
        assert_eq!(error, RequestError::Address(AddressError::Scheme));
    }
}
