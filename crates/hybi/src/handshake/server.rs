//! The server's side: a request that asks for a WebSocket, and the answer that opens it (RFC 6455, section 4.2).

use std::fmt;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    ExtensionOffer, HandshakeError, HandshakeLimits, Opening, Refusal, RequestKind, Subprotocol,
    SubprotocolNotOffered, accept_value, authority, classify,
    classify::WEBSOCKET,
    extension,
    key::{self, Key},
    list, refusal, subprotocol,
};

/// A request that asks for a WebSocket in due form.
///
/// It holds copies: a header value of the request shares the HTTP server's read buffer and would keep the whole of it
/// alive. Its `Debug` text shows neither the key nor what the client offered, because some clients put credentials there.
#[derive(Clone)]
pub struct ServerHandshake {
    /// None for an extended CONNECT, which has no key.
    key: Option<Key>,
    subprotocols: Vec<Subprotocol>,
    extensions: Vec<ExtensionOffer>,
}

impl ServerHandshake {
    /// Checks the head of a request against the standards and copies what it says.
    ///
    /// `protocol` is the `:protocol` pseudo-header field of an extended CONNECT, as for [`classify`].
    ///
    /// | checked | HTTP/1.1 (RFC 6455, section 4.2.1) | HTTP/2, HTTP/3 (RFC 8441, section 5) |
    /// |---|---|---|
    /// | `Connection`, `Upgrade` | list `upgrade` and `websocket` | absent |
    /// | content | none announced | none announced |
    /// | target | a path, or an absolute `http` or `https` URI | `:scheme` http or https, `:path`, `:authority` |
    /// | `Host` | one, `host[:port]` | absent, or the same as `:authority` |
    /// | `Sec-WebSocket-Version` | 13 | 13 |
    /// | `Sec-WebSocket-Key` | one, base64 of 16 bytes | ignored |
    /// | `Sec-WebSocket-Protocol` | tokens, within `limits` | the same |
    /// | `Sec-WebSocket-Extensions` | the grammar of section 9.1, within `limits` | the same |
    ///
    /// # Errors
    ///
    /// The answer to send instead: 400, or 426 for another version of the protocol. A request that is no handshake at all
    /// gets [`upgrade_required`](super::upgrade_required).
    pub fn parse(
        parts: &Parts,
        protocol: Option<&str>,
        limits: &HandshakeLimits,
    ) -> Result<Self, Refusal> {
        match classify(&parts.method, parts.version, &parts.headers, protocol) {
            RequestKind::Handshake(opening) => Ok(Self::parse_opening(opening, parts, limits)?),
            RequestKind::Other => Err(refusal::upgrade_required(parts)),
        }
    }

    /// How the request opens the WebSocket.
    #[must_use]
    pub fn opening(&self) -> Opening {
        match self.key {
            Some(_) => Opening::Upgrade,
            None => Opening::ExtendedConnect,
        }
    }

    /// The subprotocols that the client offers, in its order of preference, each once.
    #[must_use]
    pub fn subprotocols(&self) -> &[Subprotocol] {
        &self.subprotocols
    }

    /// The extensions that the client offers, in its order of preference.
    #[must_use]
    pub fn extensions(&self) -> &[ExtensionOffer] {
        &self.extensions
    }

    /// The head of the answer that opens the WebSocket: 101 for [`Opening::Upgrade`], 200 for
    /// [`Opening::ExtendedConnect`].
    ///
    /// `subprotocol` is the one the server chose, if any. All offered extensions are declined.
    ///
    /// # Errors
    ///
    /// When the client did not offer `subprotocol`; names are compared byte for byte.
    pub fn accept(&self, subprotocol: Option<&str>) -> Result<Response<()>, SubprotocolNotOffered> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        if let Some(name) = subprotocol {
            let offered = self.subprotocols.iter().any(|offer| offer.as_str() == name);
            let value = HeaderValue::from_str(name).ok().filter(|_| offered);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value.ok_or(SubprotocolNotOffered(()))?);
        }
        if let Some(key) = &self.key {
            let accept =
                HeaderValue::from_bytes(&accept_value(key)).expect("base64 is visible ASCII");
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        Ok(response)
    }

    fn parse_opening(
        opening: Opening,
        parts: &Parts,
        limits: &HandshakeLimits,
    ) -> Result<Self, HandshakeError> {
        let headers = &parts.headers;
        match opening {
            Opening::Upgrade => {
                // First, because a proxy that drops this field is the commonest fault of all.
                if !list::lists_token(headers, &header::CONNECTION, "upgrade") {
                    return Err(HandshakeError::ConnectionLacksUpgrade);
                }
                check_no_content(headers)?;
                authority::check_upgrade(&parts.uri, headers)?;
            }
            Opening::ExtendedConnect => {
                if headers.contains_key(header::CONNECTION) || headers.contains_key(header::UPGRADE)
                {
                    return Err(HandshakeError::ConnectionFieldNotAllowed);
                }
                check_no_content(headers)?;
                authority::check_extended_connect(&parts.uri, headers)?;
            }
        }
        // Before the key: another version may have another kind of key.
        check_version(headers)?;
        let key = match opening {
            Opening::Upgrade => Some(parse_key(headers)?),
            Opening::ExtendedConnect => None,
        };
        Ok(Self {
            key,
            subprotocols: subprotocol::parse_offers(headers, limits)?,
            extensions: extension::parse_offers(headers, limits)?,
        })
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake")
            .field("opening", &self.opening())
            .field("subprotocols", &self.subprotocols.len())
            .field("extensions", &self.extensions.len())
            .finish_non_exhaustive()
    }
}

/// A request with content would leave its bytes where the first frame is expected.
fn check_no_content(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let is_zero = |line: &HeaderValue| {
        let digits = list::trim(line.as_bytes());
        !digits.is_empty() && digits.iter().all(|&digit| digit == b'0')
    };
    let no_length = headers.get_all(header::CONTENT_LENGTH).iter().all(is_zero);
    if no_length && !headers.contains_key(header::TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(HandshakeError::BodyNotAllowed)
    }
}

/// One line that is `13`.
fn check_version(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let mut lines = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
    let line = lines.next().ok_or(HandshakeError::MissingVersion)?;
    if lines.next().is_some() {
        return Err(HandshakeError::MalformedVersion);
    }
    match list::trim(line.as_bytes()) {
        b"13" => Ok(()),
        other if is_version(other) => Err(HandshakeError::UnsupportedVersion),
        _ => Err(HandshakeError::MalformedVersion),
    }
}

/// Whether `text` is a number from 0 to 255 without leading zeros (RFC 6455, section 4.3).
fn is_version(text: &[u8]) -> bool {
    match text {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            str::from_utf8(text).is_ok_and(|digits| digits.parse::<u8>().is_ok())
        }
        _ => false,
    }
}

fn parse_key(headers: &HeaderMap) -> Result<Key, HandshakeError> {
    let mut lines = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let line = lines.next().ok_or(HandshakeError::MissingKey)?;
    if lines.next().is_some() {
        return Err(HandshakeError::RepeatedKey);
    }
    key::parse(line.as_bytes()).ok_or(HandshakeError::InvalidKey)
}
