//! A handshake, as a policy sees it.

use std::{
    fmt, mem,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request::Parts, uri::Scheme};
use hybi::handshake::{
    ExtensionOffer, HandshakeLimits, Opening, Refusal, ServerHandshake, Subprotocol,
};
use hyper::ext::Protocol;

use super::{Authority, Origin};

/// A handshake in due form, before anything is answered.
///
/// Cloning it is cheap, and an async policy may keep a clone while it waits. One that is kept longer
/// keeps the server's read buffer of that request alive.
///
/// Its `Debug` text has no header values and no query, as these hold cookies and tokens.
#[derive(Clone)]
pub struct Attempt(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    parts: Parts,
    handshake: ServerHandshake,
    origin: Origin,
    // Read when it is asked for: most clients that are no browsers send no `Origin` to compare it to.
    authority: OnceLock<Authority>,
}

impl Attempt {
    /// The handshake in `request`, for tests of policies.
    ///
    /// An HTTP/2 handshake has the extension `hyper::ext::Protocol`, which says `websocket`.
    ///
    /// # Errors
    ///
    /// When the request is not a handshake in due form. The layer would answer with this refusal, and
    /// ask no policy.
    pub fn from_request(request: &Request<()>) -> Result<Self, Refusal> {
        let (parts, ()) = request.clone().into_parts();
        let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
        let handshake = ServerHandshake::parse(&parts, protocol, &HandshakeLimits::default())?;
        Ok(Self::new(parts, handshake))
    }

    /// `handshake` was read from `parts`.
    pub(crate) fn new(parts: Parts, handshake: ServerHandshake) -> Self {
        let origin = Origin::of(&parts.headers);
        Self(Arc::new(Inner { parts, handshake, origin, authority: OnceLock::new() }))
    }

    /// What was read from the request.
    pub(crate) fn handshake(&self) -> &ServerHandshake {
        &self.0.handshake
    }

    /// Takes the extensions out; copied if a policy keeps a clone.
    pub(crate) fn take_extensions(&mut self) -> Extensions {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => mem::take(&mut inner.parts.extensions),
            None => self.0.parts.extensions.clone(),
        }
    }

    /// The request that it was made of; copied if a policy keeps a clone.
    pub(crate) fn into_parts(self) -> Parts {
        Arc::unwrap_or_clone(self.0).parts
    }

    /// GET, or CONNECT for an [extended CONNECT](Opening::ExtendedConnect).
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.parts.method
    }

    /// The HTTP version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.parts.version
    }

    /// The target, as the layer got it: a router may have taken a prefix off the path.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0.parts.uri
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.parts.headers
    }

    /// What outer layers know about the request, such as who makes it.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.0.parts.extensions
    }

    /// How the request opens the WebSocket.
    #[must_use]
    pub fn opening(&self) -> Opening {
        self.0.handshake.opening()
    }

    /// Where the request is sent to, in the words of the client: the authority of a target in absolute
    /// form or of `:authority`, else `Host`.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        let Inner { parts, authority, .. } = &*self.0;
        authority.get_or_init(|| {
            let effective = Authority::effective(&parts.uri, &parts.headers);
            effective.unwrap_or_else(Authority::unknown)
        })
    }

    /// `http` or `https`, where the request says it: on HTTP/2 and HTTP/3, and in a target in absolute
    /// form. An HTTP/1.1 request usually does not.
    #[must_use]
    pub fn scheme(&self) -> Option<&Scheme> {
        self.0.parts.uri.scheme()
    }

    /// The page that makes the request.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The subprotocols that the client offers, in its order of preference, each once.
    #[must_use]
    pub fn subprotocols(&self) -> &[Subprotocol] {
        self.0.handshake.subprotocols()
    }

    /// The extensions that the client offers, in its order of preference.
    #[must_use]
    pub fn extension_offers(&self) -> &[ExtensionOffer] {
        self.0.handshake.extensions()
    }

    /// The address of the peer, if there is a [`PeerAddr`] among the extensions.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.extensions().get::<PeerAddr>().map(|peer| peer.0)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("method", self.method())
            .field("version", &self.version())
            .field("path", &self.uri().path())
            .field("opening", &self.opening())
            .finish_non_exhaustive()
    }
}

/// The address of the peer of a connection, as a request extension.
///
/// The accept loop knows it and puts it there, or the layer finds it by
/// [`peer_addr`](crate::WebSocketLayer::peer_addr). Behind a proxy it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

#[cfg(test)]
mod tests {
    use http::{StatusCode, header};

    use super::*;
    use crate::policy::tests::{connect, get, http2};

    /// O-01
    #[test]
    fn a_policy_sees_where_a_handshake_comes_from_and_goes_to() {
        let mut request = get(&[
            ("host", "EXAMPLE.com:8080"),
            ("origin", "HTTPS://App.example:443"),
            ("sec-websocket-protocol", "b, a, b"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ]);
        *request.uri_mut() = Uri::from_static("/chat?room=1");
        let peer: SocketAddr = "[::1]:5000".parse().unwrap();
        request.extensions_mut().insert(PeerAddr(peer));
        let attempt = Attempt::from_request(&request).unwrap();

        assert_eq!(attempt.method(), Method::GET);
        assert_eq!(attempt.version(), Version::HTTP_11);
        assert_eq!(attempt.uri(), "/chat?room=1");
        assert_eq!(attempt.headers()[header::HOST], "EXAMPLE.com:8080");
        assert_eq!(attempt.opening(), Opening::Upgrade);
        assert_eq!(attempt.authority().host(), "example.com");
        assert_eq!(attempt.authority().port(), Some(8080));
        assert_eq!(attempt.scheme(), None);
        assert!(
            matches!(attempt.origin(), Origin::Tuple(o) if o.to_string() == "https://app.example")
        );
        let names: Vec<_> = attempt.subprotocols().iter().map(Subprotocol::as_str).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(attempt.extension_offers()[0].name(), "permessage-deflate");
        assert_eq!(attempt.peer_addr(), Some(peer));
    }

    /// O-01, H-16, E-06
    #[test]
    fn the_target_names_authority_and_scheme_on_http2_and_in_absolute_form() {
        let attempt = http2("https://example.com:8443/chat", &[]);
        assert_eq!(attempt.method(), Method::CONNECT);
        assert_eq!(attempt.opening(), Opening::ExtendedConnect);
        assert_eq!(attempt.authority().to_string(), "example.com:8443");
        assert_eq!(attempt.scheme(), Some(&Scheme::HTTPS));

        let mut request = get(&[("host", "internal")]);
        *request.uri_mut() = Uri::from_static("http://example.com/chat");
        let attempt = Attempt::from_request(&request).unwrap();
        assert_eq!(attempt.authority().to_string(), "example.com");
        assert_eq!(attempt.scheme(), Some(&Scheme::HTTP));
    }

    #[test]
    fn a_request_that_is_no_handshake_is_no_attempt() {
        let mut request = get(&[]);
        request.headers_mut().remove(header::CONNECTION);
        let refusal = Attempt::from_request(&request).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);

        let mut request = connect("https://example.com/", &[]);
        request.extensions_mut().insert(Protocol::from_static("webtransport"));
        assert!(Attempt::from_request(&request).is_err());
    }

    /// The layer gets the request back for the inner service or the handler, whoever holds a clone.
    #[test]
    fn the_parts_come_back() {
        for kept in [None, Some(())] {
            let mut request = get(&[("x-mark", "1")]);
            request.extensions_mut().insert("extension");
            let mut attempt = Attempt::from_request(&request).unwrap();
            let _clone = kept.map(|()| attempt.clone());
            assert_eq!(attempt.take_extensions().get(), Some(&"extension"));
            assert_eq!(attempt.into_parts().headers["x-mark"], "1");
        }
    }

    /// N-10, S-11
    #[test]
    fn debug_text_has_no_header_values_no_offers_and_no_query() {
        let mut request = get(&[
            ("cookie", "secret-cookie"),
            ("authorization", "secret-token"),
            ("sec-websocket-protocol", "secret-offer"),
            ("sec-websocket-extensions", "secret-extension"),
            ("origin", "https://secret-origin.example"),
        ]);
        *request.uri_mut() = Uri::from_static("/chat?secret-query");
        let text = format!("{:#?}", Attempt::from_request(&request).unwrap());
        assert!(text.contains("/chat"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("dGhlIHNhbXBsZSBub25jZQ"), "{text}");
    }
}
