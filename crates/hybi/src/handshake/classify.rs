//! Which requests ask for a WebSocket.

use http::{HeaderMap, Method, Version, header};

use super::list;

/// The protocol's name in `Upgrade` and in `:protocol`; both compare it ignoring ASCII case.
pub(super) const WEBSOCKET: &str = "websocket";

/// How a request opens a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// An HTTP/1.1 GET with `Upgrade: websocket`; the whole connection becomes the WebSocket (RFC
    /// 6455, section 4).
    Upgrade,
    /// A CONNECT with `:protocol` websocket; one stream of an HTTP/2 or HTTP/3 connection becomes
    /// the WebSocket (RFC 8441, RFC 9220).
    ExtendedConnect,
}

/// What a request is, by its head alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// It asks for a WebSocket. Whether in due form,
    /// [`ServerHandshake::parse`](super::ServerHandshake::parse) tells.
    Handshake(Opening),
    /// Anything else: an ordinary request, an upgrade to another protocol, a tunnel.
    Other,
}

/// Tells whether a request asks for a WebSocket, from its method, version and fields.
///
/// `protocol` is the `:protocol` pseudo-header field of an extended CONNECT, which is no header
/// field: HTTP servers keep it aside (hyper: the request extension `hyper::ext::Protocol`).
///
/// | request | kind |
/// |---|---|
/// | GET, HTTP/1.1, `Upgrade` lists `websocket` | handshake by [`Opening::Upgrade`] |
/// | CONNECT, HTTP/2 or 3, `:protocol` is `websocket` | handshake by [`Opening::ExtendedConnect`] |
/// | other methods, HTTP/1.0, an upgrade to another protocol | other |
/// | CONNECT without or with another `:protocol` | other |
///
/// A GET whose `Connection` does not list `upgrade` is a handshake too: one that was spoilt on its
/// way, which is refused with an explanation.
///
/// This runs for every request, so it allocates nothing and looks at fields of GET requests only.
#[must_use]
pub fn classify(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    protocol: Option<&str>,
) -> RequestKind {
    let asks_to_upgrade = || list::lists_token(headers, &header::UPGRADE, WEBSOCKET);
    classify_by(method, version, protocol, asks_to_upgrade)
}

/// [`classify`] for a request of which `asks_to_upgrade` tells whether `Upgrade` lists `websocket`.
pub(super) fn classify_by(
    method: &Method,
    version: Version,
    protocol: Option<&str>,
    asks_to_upgrade: impl FnOnce() -> bool,
) -> RequestKind {
    let opening = match (method, version) {
        (&Method::GET, Version::HTTP_11) if asks_to_upgrade() => Opening::Upgrade,
        (&Method::CONNECT, Version::HTTP_2 | Version::HTTP_3)
            if protocol.is_some_and(|name| name.eq_ignore_ascii_case(WEBSOCKET)) =>
        {
            Opening::ExtendedConnect
        }
        _ => return RequestKind::Other,
    };
    RequestKind::Handshake(opening)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const UPGRADE: RequestKind = RequestKind::Handshake(Opening::Upgrade);
    const CONNECT: RequestKind = RequestKind::Handshake(Opening::ExtendedConnect);

    fn kind(
        method: &Method,
        version: Version,
        upgrade: Option<&'static str>,
        protocol: Option<&str>,
    ) -> RequestKind {
        let mut headers = HeaderMap::new();
        headers.extend(upgrade.map(|value| (header::UPGRADE, HeaderValue::from_static(value))));
        classify(method, version, &headers, protocol)
    }

    /// H-01, H-03, R-09
    #[test]
    fn an_upgrade_handshake_is_a_get_of_http_1_1_that_lists_websocket() {
        let table = [
            (Method::GET, Version::HTTP_11, Some("websocket"), UPGRADE),
            (Method::GET, Version::HTTP_11, Some("h2c, WebSocket"), UPGRADE),
            (Method::GET, Version::HTTP_11, Some("h2c"), RequestKind::Other),
            (Method::GET, Version::HTTP_11, None, RequestKind::Other),
            (Method::GET, Version::HTTP_10, Some("websocket"), RequestKind::Other),
            (Method::GET, Version::HTTP_09, Some("websocket"), RequestKind::Other),
            (Method::GET, Version::HTTP_2, Some("websocket"), RequestKind::Other),
            (Method::POST, Version::HTTP_11, Some("websocket"), RequestKind::Other),
            (Method::HEAD, Version::HTTP_11, Some("websocket"), RequestKind::Other),
            (Method::CONNECT, Version::HTTP_11, Some("websocket"), RequestKind::Other),
        ];
        for (method, version, upgrade, expected) in table {
            let found = kind(&method, version, upgrade, None);
            assert_eq!(found, expected, "{method} {version:?} {upgrade:?}");
        }
    }

    /// E-07
    #[test]
    fn an_extended_connect_handshake_names_websocket_as_its_protocol() {
        let table = [
            (Method::CONNECT, Version::HTTP_2, Some("websocket"), CONNECT),
            (Method::CONNECT, Version::HTTP_3, Some("websocket"), CONNECT),
            (Method::CONNECT, Version::HTTP_2, Some("WebSocket"), CONNECT),
            (Method::CONNECT, Version::HTTP_2, Some("websocket/13"), RequestKind::Other),
            (Method::CONNECT, Version::HTTP_2, Some("foo"), RequestKind::Other),
            (Method::CONNECT, Version::HTTP_2, Some(""), RequestKind::Other),
            (Method::CONNECT, Version::HTTP_2, None, RequestKind::Other),
            (Method::GET, Version::HTTP_2, Some("websocket"), RequestKind::Other),
            (Method::CONNECT, Version::HTTP_11, Some("websocket"), RequestKind::Other),
        ];
        for (method, version, protocol, expected) in table {
            let found = kind(&method, version, None, protocol);
            assert_eq!(found, expected, "{method} {version:?} {protocol:?}");
        }
    }
}
