//! The answers that end a handshake: complete HTTP responses that say why.

use std::{error::Error, fmt};

use bytes::Bytes;
use bytestring::ByteString;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header,
    request::Parts,
};

use super::{HandshakeError, classify::WEBSOCKET, list};

/// A complete HTTP answer that refuses a handshake.
///
/// A fault in the request makes one by itself (`Refusal::from(HandshakeError)`); a policy builds
/// its own:
///
/// ```
/// use http::{HeaderValue, StatusCode, Version, header};
/// use hybi::handshake::Refusal;
///
/// let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
///     .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
///     .reason("log in first");
///
/// let response = refusal.into_response(Version::HTTP_11);
/// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
/// assert_eq!(response.headers()[header::CONNECTION], "close");
/// assert_eq!(response.body(), "log in first\n");
/// ```
#[derive(Clone)]
pub struct Refusal(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    reason: Option<ByteString>,
    body: Option<Bytes>,
    error: Option<HandshakeError>,
}

impl Refusal {
    /// An answer with this status, whose body names the status until [`reason`](Self::reason) or
    /// [`body`](Self::body) says more.
    ///
    /// A refusal redirects (3xx) or fails (4xx, 5xx). Any other status would tell the client, or a
    /// proxy in between, that the WebSocket is open; it is replaced by 500.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let refuses =
            status.is_redirection() || status.is_client_error() || status.is_server_error();
        Self(Box::new(Inner {
            status: if refuses { status } else { StatusCode::INTERNAL_SERVER_ERROR },
            headers: HeaderMap::new(),
            reason: None,
            body: None,
            error: None,
        }))
    }

    /// Adds a header field, beside those of the same name that are there.
    ///
    /// Fields that frame the message or belong to the handshake (`Connection`, `Content-Length`,
    /// `Keep-Alive`, `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`,
    /// `Sec-WebSocket-*`) are not a policy's to set and are ignored.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if !is_reserved(&name) {
            self.0.headers.append(name, value);
        }
        self
    }

    /// Says why in one line of text, which becomes the body. The client can read it.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<ByteString>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Sets the body instead of the line of text. Its type is the `Content-Type` given by
    /// [`header`](Self::header).
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.body = Some(body.into());
        self
    }

    /// The status of the answer. On HTTP/2 and HTTP/3 a 426 goes out as 400, see
    /// [`into_response`](Self::into_response).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The header fields of the answer, without those that [`into_response`](Self::into_response)
    /// adds.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The line that says why; the status's standard phrase when nothing was said.
    #[must_use]
    pub fn explanation(&self) -> &str {
        let phrase = self.0.status.canonical_reason().unwrap_or("refused");
        self.0.reason.as_deref().unwrap_or(phrase)
    }

    /// The fault in the request; `None` when a policy refused a request in due form.
    #[must_use]
    pub fn error(&self) -> Option<&HandshakeError> {
        self.0.error.as_ref()
    }

    /// The answer to a request of this HTTP version.
    ///
    /// It is complete, with a `Content-Length`, and never has a `Sec-WebSocket-Accept`. On HTTP/1.1
    /// and before it ends the connection (`Connection: close`), so that nothing behind the request
    /// is read as HTTP or as frames; a 426 names `websocket` in `Upgrade`, as RFC 9110, section
    /// 15.5.22 asks. HTTP/2 and HTTP/3 know none of these fields, so that a 426 becomes a 400
    /// there.
    #[must_use]
    pub fn into_response(self, version: Version) -> Response<Bytes> {
        let text = self.0.body.is_none().then(|| format!("{}\n", self.explanation()));
        let Inner { mut status, mut headers, body, .. } = *self.0;

        if version >= Version::HTTP_2 {
            if status == StatusCode::UPGRADE_REQUIRED {
                status = StatusCode::BAD_REQUEST;
            }
        } else if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
        } else {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }

        if text.is_some() {
            let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
            headers.insert(header::CONTENT_TYPE, text_plain);
        }
        let body = body.or(text.map(Bytes::from)).unwrap_or_default();
        headers.insert(header::CONTENT_LENGTH, body.len().into());

        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

impl From<HandshakeError> for Refusal {
    /// 400, or 426 where the request would do with another version of the protocol or of HTTP.
    fn from(error: HandshakeError) -> Self {
        use HandshakeError as E;

        let status = match error {
            E::MissingUpgrade
            | E::MissingVersion
            | E::NotAHandshake
            | E::UnsupportedHttpVersion
            | E::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut refusal = Self::new(status).reason(ByteString::from_static(error.explanation()));
        if status == StatusCode::UPGRADE_REQUIRED || error == E::MalformedVersion {
            let version = HeaderValue::from_static("13");
            refusal.0.headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        }
        refusal.0.error = Some(error);
        refusal
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be cookies and challenges.
        let names: Vec<_> = self.0.headers.keys().collect();
        f.debug_struct("Refusal")
            .field("status", &self.0.status)
            .field("explanation", &self.explanation())
            .field("headers", &names)
            .field("error", &self.0.error)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handshake refused with {}: {}", self.0.status.as_u16(), self.explanation())
    }
}

impl Error for Refusal {}

/// The answer of an endpoint that speaks only WebSocket to a request that is no handshake: 426.
///
/// When the request looks like a handshake that was spoilt on its way, the body names the likely
/// mistake of the proxy.
#[must_use]
pub fn upgrade_required(parts: &Parts) -> Refusal {
    let asks = list::lists_token(&parts.headers, &header::UPGRADE, WEBSOCKET);
    let has_key = parts.headers.contains_key(header::SEC_WEBSOCKET_KEY);
    let error = if parts.method != Method::GET || parts.version >= Version::HTTP_2 {
        HandshakeError::NotAHandshake
    } else if asks && parts.version < Version::HTTP_11 {
        HandshakeError::UnsupportedHttpVersion
    } else if has_key && !asks {
        HandshakeError::MissingUpgrade
    } else {
        HandshakeError::NotAHandshake
    };
    error.into()
}

/// Whether a header field frames the message, is about the connection, or belongs to the handshake.
/// No answer to a handshake takes one from a policy, and no request for one from its maker.
#[must_use]
pub fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("sec-websocket-")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const VERSION: HeaderName = header::SEC_WEBSOCKET_VERSION;

    fn spoilt(method: Method, version: Version, fields: &[(HeaderName, &str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version);
        for (name, value) in fields {
            request = request.header(name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// H-12
    #[test]
    fn a_refusal_on_http_1_is_complete_and_ends_the_connection() {
        for version in [Version::HTTP_10, Version::HTTP_11] {
            let response = Refusal::from(HandshakeError::InvalidKey).into_response(version);
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            let headers = response.headers();
            assert_eq!(headers[header::CONNECTION], "close");
            assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
            assert_eq!(headers[header::CONTENT_LENGTH], response.body().len().to_string());
            assert_eq!(headers.len(), 3);
            assert_eq!(response.body(), &format!("{}\n", HandshakeError::InvalidKey));
        }
    }

    /// H-09: all three fields on 426, the version alone on 400.
    #[test]
    fn a_version_error_on_http_1_says_what_is_supported() {
        for error in [HandshakeError::UnsupportedVersion, HandshakeError::MissingVersion] {
            let response = Refusal::from(error).into_response(Version::HTTP_11);
            assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
            assert_eq!(response.headers()[VERSION], "13");
            assert_eq!(response.headers()[header::UPGRADE], "websocket");
            assert_eq!(response.headers()[header::CONNECTION], "Upgrade, close");
        }
        let response =
            Refusal::from(HandshakeError::MalformedVersion).into_response(Version::HTTP_11);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[VERSION], "13");
        assert!(!response.headers().contains_key(header::UPGRADE));
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }

    /// E-11, E-13
    #[test]
    fn a_refusal_on_http_2_and_3_has_no_connection_fields_and_no_426() {
        for version in [Version::HTTP_2, Version::HTTP_3] {
            for error in [
                HandshakeError::UnsupportedVersion,
                HandshakeError::MissingVersion,
                HandshakeError::MalformedVersion,
                HandshakeError::NotAHandshake,
            ] {
                let response = Refusal::from(error).into_response(version);
                assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{error:?}");
                assert_eq!(response.headers()[VERSION], "13");
                assert!(!response.headers().contains_key(header::UPGRADE));
                assert!(!response.headers().contains_key(header::CONNECTION));
            }
            let response = Refusal::new(StatusCode::FORBIDDEN).into_response(version);
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            assert!(!response.headers().contains_key(header::CONNECTION));
        }
    }

    /// H-15
    #[test]
    fn a_policy_may_redirect_and_fail_with_any_status() {
        for status in [302, 307, 401, 403, 404, 429, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = Refusal::new(status)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response(Version::HTTP_11);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_eq!(response.body(), &format!("{}\n", status.canonical_reason().unwrap()));
        }
    }

    /// H-12, E-12: a refusal that opens the WebSocket in a proxy's eyes would be none.
    #[test]
    fn a_status_that_does_not_refuse_becomes_500() {
        for status in [100, 101, 103, 200, 204, 299, 600, 999] {
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap());
            assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR, "{status}");
        }
    }

    /// H-12
    #[test]
    fn a_policy_cannot_set_fields_of_the_connection_or_the_handshake() {
        let mut refusal = Refusal::new(StatusCode::FORBIDDEN);
        for name in [
            "connection",
            "content-length",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "sec-websocket-accept",
            "sec-websocket-extensions",
            "sec-websocket-protocol",
        ] {
            refusal = refusal
                .header(HeaderName::from_static(name), HeaderValue::from_static("websocket"));
        }
        assert!(refusal.headers().is_empty());
        let response = refusal.into_response(Version::HTTP_11);
        let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["connection", "content-length", "content-type"]);
    }

    #[test]
    fn a_body_of_the_policys_own_keeps_its_type() {
        let json = HeaderValue::from_static("application/json");
        let response = Refusal::new(StatusCode::FORBIDDEN)
            .header(header::CONTENT_TYPE, json)
            .reason("not shown")
            .body("{}")
            .into_response(Version::HTTP_11);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "2");
        assert_eq!(response.body(), "{}");
    }

    #[test]
    fn repeated_fields_are_all_sent() {
        let response = Refusal::new(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .into_response(Version::HTTP_11);
        let challenges: Vec<_> =
            response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(challenges, ["Basic", "Bearer"]);
    }

    /// N-10
    #[test]
    fn debug_shows_no_header_values() {
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
            .header(header::SET_COOKIE, HeaderValue::from_static("session=secret"));
        let shown = format!("{refusal:?}");
        assert!(shown.contains("set-cookie") && !shown.contains("secret"), "{shown}");
    }

    /// R-09, H-01: what an endpoint without any other service says.
    #[test]
    fn an_endpoint_that_speaks_only_websocket_explains_itself() {
        use HandshakeError as E;

        let key = (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        let upgrade = (header::UPGRADE, "websocket");
        let h2c = (header::UPGRADE, "h2c");
        let table = [
            (Method::GET, Version::HTTP_11, vec![], E::NotAHandshake),
            (Method::GET, Version::HTTP_11, vec![h2c.clone()], E::NotAHandshake),
            (Method::GET, Version::HTTP_11, vec![key.clone()], E::MissingUpgrade),
            (Method::GET, Version::HTTP_11, vec![key.clone(), h2c], E::MissingUpgrade),
            (Method::GET, Version::HTTP_10, vec![key.clone()], E::MissingUpgrade),
            (Method::GET, Version::HTTP_10, vec![upgrade.clone()], E::UnsupportedHttpVersion),
            (Method::POST, Version::HTTP_11, vec![key.clone(), upgrade], E::NotAHandshake),
            (Method::GET, Version::HTTP_2, vec![key], E::NotAHandshake),
        ];
        for (method, version, fields, expected) in table {
            let refusal = upgrade_required(&spoilt(method, version, &fields));
            assert_eq!(refusal.error(), Some(&expected), "{version:?} {fields:?}");
            assert_eq!(refusal.status(), StatusCode::UPGRADE_REQUIRED);
            assert_eq!(refusal.headers()[VERSION], "13");
        }
    }

    #[test]
    fn the_likely_mistake_of_a_proxy_is_named() {
        for error in [
            HandshakeError::ConnectionLacksUpgrade,
            HandshakeError::MissingUpgrade,
            HandshakeError::UnsupportedHttpVersion,
        ] {
            let text = error.to_string();
            assert!(text.contains("proxy") && !text.contains('\n'), "{text}");
            assert_eq!(Refusal::from(error).explanation(), text);
        }
    }
}
