//! Why an attempt to open a WebSocket failed.

use std::{error::Error, fmt, io};

use bytes::Bytes;
use http::{Response, StatusCode};
use hybi::handshake::{AnswerError, Opening, RequestError};

use super::connection::ConnectionError;
use crate::{BoxError, upgrade::UpgradeError};

/// Why a WebSocket was not opened.
///
/// | what happened | how to tell |
/// |---|---|
/// | the request cannot be made: a bad address, a field of the handshake among its own | [`is_request`](Self::is_request) |
/// | the HTTP client failed: no such host, no connection, TLS | [`is_http`](Self::is_http), [`source`](Error::source) |
/// | the server does not speak WebSocket on this version of HTTP | [`is_unsupported`](Self::is_unsupported) |
/// | the server refused | [`response`](Self::response) |
/// | the server's answer breaks the protocol | [`answer_error`](Self::answer_error) |
/// | it took too long | [`is_timeout`](Self::is_timeout) |
/// | the answer is right, but no connection came of it | [`is_upgrade`](Self::is_upgrade) |
///
/// Neither text shows anything that was sent, or that the server sent but for its status.
pub struct ClientError {
    kind: Box<Kind>,
}

pub(super) enum Kind {
    Request(RequestError),
    Method,
    Http(BoxError),
    /// The connection speaks a version of HTTP that does not know this way.
    Unsupported(Opening),
    Refused(Response<Bytes>),
    Answer(AnswerError),
    TimedOut,
    Upgrade(UpgradeError),
}

impl ClientError {
    /// There is no request to send: the address, a field or the method is wrong, or the HTTP client
    /// has no way to such an address (an [`io::Error`] of the kind
    /// [`Unsupported`](io::ErrorKind::Unsupported), as for `wss` without TLS). It will not do the next
    /// time either.
    #[must_use]
    pub fn is_request(&self) -> bool {
        match &*self.kind {
            Kind::Request(_) | Kind::Method => true,
            Kind::Http(error) => has_no_way(&**error),
            _ => false,
        }
    }

    /// The same attempt may do at another time: the HTTP client failed, it took too long, the connection
    /// was lost, or the server answered with 408, 425, 429, 502, 503 or 504.
    ///
    /// Wait before the next, for example with [`Backoff`](hybi::Backoff).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let status = self.status().map(|status| status.as_u16());
        let lost = matches!(&*self.kind, Kind::Upgrade(error) if !error.is_missing());
        self.is_http()
            || self.is_timeout()
            || lost
            || matches!(status, Some(408 | 425 | 429 | 502..=504))
    }

    /// The HTTP client failed, before there was an answer. Its error is the [`source`](Error::source).
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(*self.kind, Kind::Http(_)) && !self.is_unsupported() && !self.is_request()
    }

    /// The server does not open WebSockets on this version of HTTP: it has not announced extended CONNECT
    /// (RFC 8441, section 3), or it speaks HTTP/2 where an upgrade was asked for, or HTTP/1.1 where
    /// extended CONNECT was. The other version may do.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match &*self.kind {
            Kind::Unsupported(_) => true,
            Kind::Http(error) => is_unsupported(&**error),
            _ => false,
        }
    }

    /// The attempt took longer than [`timeout`](super::ClientOptions::timeout).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(*self.kind, Kind::TimedOut)
    }

    /// The answer was right, but the HTTP client gave no connection for it, or lost it.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        matches!(*self.kind, Kind::Upgrade(_))
    }

    /// The answer with which the server refused: a redirect, a challenge, an error. Its body is what
    /// arrived within [`max_refusal`](super::ClientOptions::max_refusal) and
    /// [`refusal_timeout`](super::ClientOptions::refusal_timeout).
    #[must_use]
    pub fn response(&self) -> Option<&Response<Bytes>> {
        match &*self.kind {
            Kind::Refused(response) => Some(response),
            _ => None,
        }
    }

    /// The status of the answer with which the server refused.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.response().map(Response::status)
    }

    /// Takes the answer out of the error.
    ///
    /// # Errors
    ///
    /// The error itself, when it is not a refusal.
    pub fn into_response(self) -> Result<Response<Bytes>, Self> {
        match *self.kind {
            Kind::Refused(response) => Ok(response),
            kind => Err(kind.into()),
        }
    }

    /// How the server's answer breaks the protocol.
    #[must_use]
    pub fn answer_error(&self) -> Option<AnswerError> {
        match &*self.kind {
            Kind::Answer(error) => Some(*error),
            _ => None,
        }
    }
}

impl From<Kind> for ClientError {
    fn from(kind: Kind) -> Self {
        Self { kind: Box::new(kind) }
    }
}

impl From<RequestError> for ClientError {
    fn from(error: RequestError) -> Self {
        Kind::Request(error).into()
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Request(error) => error.fmt(f),
            Kind::Method => f.write_str("a WebSocket is asked for by GET"),
            Kind::Http(_) => f.write_str("the HTTP client failed"),
            Kind::Unsupported(Opening::ExtendedConnect) => f.write_str(
                "the connection speaks HTTP/1.1, which does not know extended CONNECT: \
                 let the HTTP client speak HTTP/2, or ask for an upgrade",
            ),
            Kind::Unsupported(_) => f.write_str(
                "the connection speaks HTTP/2, where a WebSocket is not opened by an upgrade: \
                 let the HTTP client speak HTTP/1.1, or ask for extended CONNECT",
            ),
            Kind::Refused(response) => {
                write!(f, "the server answered the handshake with {}", response.status())
            }
            Kind::Answer(error) => error.fmt(f),
            Kind::TimedOut => f.write_str("the WebSocket was not opened in time"),
            Kind::Upgrade(error) if error.is_missing() => {
                f.write_str("the HTTP client gave no connection for the accepted handshake")
            }
            Kind::Upgrade(_) => f.write_str("the connection was lost after the handshake"),
        }
    }
}

impl fmt::Debug for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("ClientError");
        match &*self.kind {
            Kind::Request(error) => debug.field(error),
            Kind::Method => debug.field(&"method"),
            Kind::Http(error) => debug.field(error),
            Kind::Unsupported(_) => debug.field(&"unsupported"),
            // Its fields may be cookies and challenges.
            Kind::Refused(response) => debug.field(&response.status()),
            Kind::Answer(error) => debug.field(error),
            Kind::TimedOut => debug.field(&"timed out"),
            Kind::Upgrade(error) => debug.field(error),
        };
        debug.finish()
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.kind {
            Kind::Http(error) => Some(&**error),
            Kind::Upgrade(error) => error.source(),
            // The text of the others is that of what they hold.
            _ => None,
        }
    }
}

/// Whether the error, or one below it, says that there is no way to such an address.
fn has_no_way(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::Unsupported) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the error, or one below it, is that of a connection without extended CONNECT.
fn is_unsupported(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(ConnectionError::is_unsupported) {
            return true;
        }
        next = error.source();
    }
    false
}
