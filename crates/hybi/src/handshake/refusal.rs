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
/// A fault in the request makes one by itself (`Refusal::from(HandshakeError)`); a policy builds its own:
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
    /// An answer with this status, whose body names the status until [`reason`](Self::reason) or [`body`](Self::body)
    /// says more.
    ///
    /// A refusal redirects (3xx) or fails (4xx, 5xx). Any other status would tell the client, or a proxy in between, that
    /// the WebSocket is open; it is replaced by 500.
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
    /// Fields that frame the message or belong to the handshake (`Connection`, `Content-Length`, `Keep-Alive`,
    /// `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`, `Sec-WebSocket-*`) are not a policy's to set
    /// and are ignored.
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

    /// Sets the body instead of the line of text. Its type is the `Content-Type` given by [`header`](Self::header).
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.0.body = Some(body.into());
        self
    }

    /// The status of the answer. On HTTP/2 and HTTP/3 a 426 goes out as 400, see [`into_response`](Self::into_response).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The header fields of the answer, without those that [`into_response`](Self::into_response) adds.
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
    /// It is complete, with a `Content-Length`, and never has a `Sec-WebSocket-Accept`. On HTTP/1.1 and before it ends the
    /// connection (`Connection: close`), so that nothing behind the request is read as HTTP or as frames; a 426 names
    /// `websocket` in `Upgrade`, as RFC 9110, section 15.5.22 asks. HTTP/2 and HTTP/3 know none of these fields, so that a
    /// 426 becomes a 400 there.
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
/// When the request looks like a handshake that was spoilt on its way, the body names the likely mistake of the proxy.
#[must_use]
pub fn upgrade_required(parts: &Parts) -> Refusal {
    let error = if parts.method != Method::GET || parts.version >= Version::HTTP_2 {
        HandshakeError::NotAHandshake
    } else if list::lists_token(&parts.headers, &header::UPGRADE, WEBSOCKET) {
        HandshakeError::UnsupportedHttpVersion
    } else if parts.headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        HandshakeError::MissingUpgrade
    } else {
        HandshakeError::NotAHandshake
    };
    error.into()
}

fn is_reserved(name: &HeaderName) -> bool {
    let connection = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let name_text = name.as_str();
    connection.contains(name)
        || matches!(name_text, "keep-alive" | "proxy-connection")
        || name_text.starts_with("sec-websocket-")
}
