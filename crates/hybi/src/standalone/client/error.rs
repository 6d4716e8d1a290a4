//! Why an attempt to open a WebSocket failed.

use std::{error::Error, fmt, io};

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::{
    handshake::{AnswerError, RequestError},
    standalone::{HeadError, wire::ReadError},
};

/// Why a WebSocket was not opened.
///
/// | what happened | how to tell |
/// |---|---|
/// | the request cannot be made: a bad address, or `wss` without the feature `tls` | [`is_request`](Self::is_request) |
/// | the host's name has no address | [`is_dns`](Self::is_dns) |
/// | no connection, or it broke | [`is_io`](Self::is_io) |
/// | TLS failed, such as by a certificate that is not trusted | [`is_tls`](Self::is_tls) |
/// | the proxy did not connect to the server | [`is_proxy`](Self::is_proxy) |
/// | the server, or the proxy, refused | [`response`](Self::response) |
/// | the server's answer breaks HTTP or WebSocket | [`head_error`](Self::head_error), [`answer_error`](Self::answer_error) |
/// | it took too long | [`is_timeout`](Self::is_timeout) |
///
/// Its texts name what failed. They show nothing that was sent, and of what came only a status.
pub struct ConnectError {
    kind: Box<Kind>,
    /// It was the proxy, or the way to it.
    proxy: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Request(RequestError),
    #[cfg(not(feature = "tls"))]
    NoTls,
    Dns(io::Error),
    Tcp(io::Error),
    #[cfg(feature = "tls")]
    Tls(io::Error),
    /// Reading or writing the handshake.
    Io(io::Error),
    /// The stream ended before the answer did.
    Eof,
    Head(HeadError),
    /// More interim answers than anyone sends.
    Interim,
    Answer(AnswerError),
    Refused(Response<Bytes>),
    /// Bytes behind the proxy's answer, before the server was spoken to.
    EarlyBytes,
    TimedOut(Stage),
}

/// What an attempt is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Dns,
    Tcp,
    #[cfg(feature = "tls")]
    Tls,
    Http,
}

impl ConnectError {
    /// There is no request to send: the address or a field is wrong, or the scheme is `wss` and this
    /// crate was built without the feature `tls`. It will not do the next time either.
    #[must_use]
    pub fn is_request(&self) -> bool {
        match *self.kind {
            Kind::Request(_) => true,
            #[cfg(not(feature = "tls"))]
            Kind::NoTls => true,
            _ => false,
        }
    }

    /// The host has no address, or nobody could be asked for it.
    #[must_use]
    pub fn is_dns(&self) -> bool {
        matches!(*self.kind, Kind::Dns(_))
    }

    /// No connection could be made, or it broke or ended before there was an answer.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(*self.kind, Kind::Tcp(_) | Kind::Io(_) | Kind::Eof)
    }

    /// TLS could not be set up: the server's certificate is not trusted or is for another name, or
    /// there is no common version or cipher, or the server does not speak TLS at all. Nothing was sent
    /// that only this server may read. (1015 in RFC 6455, section 7.4.1)
    #[must_use]
    pub fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(*self.kind, Kind::Tls(_));
        #[cfg(not(feature = "tls"))]
        false
    }

    /// It was the proxy that failed or refused, or the way to it, and not the server.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.proxy
    }

    /// The attempt took longer than [`Connector::timeout`](super::Connector::timeout).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(*self.kind, Kind::TimedOut(_))
    }

    /// The same attempt may do at another time: there was no connection, or it took too long, or the
    /// answer was 408, 425, 429, 502, 503 or 504.
    ///
    /// Wait before the next, for example with [`Backoff`](crate::Backoff).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let status = self.status().map(|status| status.as_u16());
        let answered = matches!(status, Some(408 | 425 | 429 | 502..=504));
        self.is_dns() || self.is_io() || self.is_timeout() || answered
    }

    /// The answer with which the server refused, or the proxy did: a redirect, a challenge, an error.
    ///
    /// Its body is what arrived within [`Connector::max_refusal`](super::Connector::max_refusal) and
    /// [`Connector::refusal_timeout`](super::Connector::refusal_timeout).
    #[must_use]
    pub fn response(&self) -> Option<&Response<Bytes>> {
        match &*self.kind {
            Kind::Refused(response) => Some(response),
            _ => None,
        }
    }

    /// The status with which the server refused, or the proxy did.
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
            kind => Err(Self { kind: Box::new(kind), proxy: self.proxy }),
        }
    }

    /// How the server's answer breaks the WebSocket protocol.
    #[must_use]
    pub fn answer_error(&self) -> Option<AnswerError> {
        match *self.kind {
            Kind::Answer(error) => Some(error),
            _ => None,
        }
    }

    /// How the server's answer breaks HTTP, or the limits on its head.
    #[must_use]
    pub fn head_error(&self) -> Option<HeadError> {
        match *self.kind {
            Kind::Head(error) => Some(error),
            _ => None,
        }
    }

    /// The same, as the proxy's fault.
    pub(super) fn of_proxy(mut self) -> Self {
        self.proxy = true;
        self
    }
}

impl From<Kind> for ConnectError {
    fn from(kind: Kind) -> Self {
        Self { kind: Box::new(kind), proxy: false }
    }
}

impl From<RequestError> for ConnectError {
    fn from(error: RequestError) -> Self {
        Kind::Request(error).into()
    }
}

impl From<ReadError> for ConnectError {
    fn from(error: ReadError) -> Self {
        Self::from(match error {
            ReadError::Io(error) => Kind::Io(error),
            ReadError::Eof => Kind::Eof,
            ReadError::Head(error) => Kind::Head(error),
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.proxy { "proxy" } else { "server" };
        match &*self.kind {
            Kind::Request(error) => error.fmt(f),
            #[cfg(not(feature = "tls"))]
            Kind::NoTls => f.write_str("this program was built without TLS, which wss:// needs"),
            Kind::Dns(_) => write!(f, "the name of the {who} could not be resolved"),
            Kind::Tcp(_) => write!(f, "could not connect to the {who}"),
            #[cfg(feature = "tls")]
            Kind::Tls(_) => write!(f, "no TLS with the {who}"),
            Kind::Io(_) => write!(f, "the connection to the {who} failed during the handshake"),
            Kind::Eof => write!(f, "the {who} ended the connection without a whole answer"),
            Kind::Head(_) => write!(f, "the {who} sent no valid HTTP answer"),
            Kind::Interim => write!(f, "the {who} sent interim answers without end"),
            Kind::Answer(error) => error.fmt(f),
            Kind::Refused(response) if self.proxy => {
                write!(f, "the proxy refused to connect with {}", response.status())
            }
            Kind::Refused(response) => {
                write!(f, "the server answered the handshake with {}", response.status())
            }
            Kind::EarlyBytes => f.write_str("the proxy sent bytes that can be no server's"),
            Kind::TimedOut(stage) => match stage {
                Stage::Dns => write!(f, "the name of the {who} was not resolved in time"),
                Stage::Tcp => write!(f, "the {who} did not take the connection in time"),
                #[cfg(feature = "tls")]
                Stage::Tls => write!(f, "TLS with the {who} was not set up in time"),
                Stage::Http => write!(f, "the {who} did not answer the handshake in time"),
            },
        }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ConnectError");
        match &*self.kind {
            // Its fields may be cookies and challenges.
            Kind::Refused(response) => debug.field("refused", &response.status()),
            kind => debug.field("kind", kind),
        };
        debug.field("proxy", &self.proxy).finish()
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.kind {
            Kind::Dns(error) | Kind::Tcp(error) | Kind::Io(error) => Some(error),
            #[cfg(feature = "tls")]
            Kind::Tls(error) => Some(error),
            Kind::Head(error) => Some(error),
            // The text of the others is that of what they hold.
            _ => None,
        }
    }
}
