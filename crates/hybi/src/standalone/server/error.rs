//! Why a handshake at the server's end did not succeed.

use std::{fmt, io};

use crate::{
    handshake::{Refusal, SubprotocolNotOffered},
    standalone::{HeadError, wire::ReadError},
};

/// Why no WebSocket was opened by the other side.
///
/// By the time it is returned the client was told, where it could be, and the connection is over.
/// What it is in detail may change; use the predicates to tell the cases apart.
pub struct AcceptError {
    kind: Box<Kind>,
}

#[derive(Debug)]
enum Kind {
    Io(io::Error),
    Eof,
    TimedOut,
    Head(HeadError),
    Refused(Refusal),
    Subprotocol(SubprotocolNotOffered),
}

impl AcceptError {
    /// The client went away before the handshake was done, or the transport failed. Port scanners,
    /// and the health checks of load balancers, do nothing else.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        matches!(*self.kind, Kind::Eof | Kind::Io(_))
    }

    /// The handshake took longer than it may. The client was told with 408, if it was not the answer
    /// that it did not take.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(*self.kind, Kind::TimedOut)
    }

    /// The transport's own error, if that is the cause.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match &*self.kind {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }

    /// What is wrong with the request's head, if it is no HTTP/1.1 or too large. The client was told
    /// with 400, 431 or 505.
    #[must_use]
    pub fn head(&self) -> Option<HeadError> {
        match *self.kind {
            Kind::Head(error) => Some(error),
            _ => None,
        }
    }

    /// The answer with which the handshake was refused: because it is not in due form, which
    /// [`Refusal::error`] then says, or by the server ([`Incoming::refuse`](super::Incoming::refuse)).
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &*self.kind {
            Kind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    fn new(kind: Kind) -> Self {
        Self { kind: Box::new(kind) }
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Kind::TimedOut)
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::new(Kind::Refused(refusal))
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::new(Kind::Io(error))
    }
}

impl From<ReadError> for AcceptError {
    fn from(error: ReadError) -> Self {
        Self::new(match error {
            ReadError::Io(error) => Kind::Io(error),
            ReadError::Eof => Kind::Eof,
            ReadError::Head(error) => Kind::Head(error),
        })
    }
}

impl From<HeadError> for AcceptError {
    fn from(error: HeadError) -> Self {
        Self::new(Kind::Head(error))
    }
}

impl From<SubprotocolNotOffered> for AcceptError {
    fn from(error: SubprotocolNotOffered) -> Self {
        Self::new(Kind::Subprotocol(error))
    }
}

impl fmt::Debug for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcceptError").field(&self.kind).finish()
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.kind {
            Kind::Refused(refusal) if refusal.error().is_none() => {
                return write!(f, "{refusal}");
            }
            Kind::Io(_) => "the transport failed during the handshake",
            Kind::Eof => "the client went away before its request was whole",
            Kind::TimedOut => "the handshake took too long",
            Kind::Head(_) => "the request is malformed",
            Kind::Refused(_) => "the request is no WebSocket handshake in due form",
            Kind::Subprotocol(_) => "the handshake could not be answered",
        })
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            Kind::Io(error) => Some(error),
            Kind::Head(error) => Some(error),
            Kind::Refused(refusal) if refusal.error().is_some() => Some(refusal),
            Kind::Refused(_) => None,
            Kind::Subprotocol(error) => Some(error),
            Kind::Eof | Kind::TimedOut => None,
        }
    }
}
