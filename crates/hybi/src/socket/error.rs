//! Why an operation on a socket did not succeed.

use std::{fmt, io, sync::Arc};

use crate::proto::{CloseCode, Violation};

/// Why an operation on a socket did not succeed.
///
/// The details may change. Use the predicates to tell the cases apart.
pub struct Error {
    kind: Box<Kind>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The peer is gone without a Close.
    Disconnected,
    /// The transport failed.
    Io(Arc<io::Error>),
    /// The peer broke the protocol.
    Violation(Violation),
    /// A deadline passed.
    TimedOut(Timeout),
    /// The socket was aborted at this end.
    Aborted,
    /// The peer closed in the middle of the message that was being read.
    Incomplete,
    /// What was to be sent could not be had.
    Body(Arc<dyn std::error::Error + Send + Sync>),
    /// Data after the end.
    Closed(ClosedBy),
    /// A nested `block_on` waits for what only its own task can move.
    Blocked,
    /// The caller's argument cannot be sent.
    Unsendable(&'static str),
}

/// Why nothing more can be sent.
#[derive(Clone, Debug)]
pub(crate) enum ClosedBy {
    /// This end closed the socket.
    Us,
    /// The peer did, with this code.
    Peer(Option<CloseCode>),
    /// The connection failed before.
    Failure(Arc<Error>),
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeout {
    Close,
    Write,
    Pong,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind: Box::new(kind) }
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::Closed(ClosedBy::Us))
    }

    /// The socket is closing or closed: nothing more can be sent. The [`Display`](fmt::Display) form says who
    /// closed it; where it failed, the failure is the [source](std::error::Error::source).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.kind, Kind::Closed(_))
    }

    /// The operation was awaited by a `block_on` inside of the socket's own handler, where it could never
    /// return: the socket moves only when the handler's task goes on. Use `tokio::task::spawn_blocking`, or
    /// move the socket into another task with `tokio::spawn`.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        matches!(*self.kind, Kind::Blocked)
    }

    /// The connection is gone although no Close was received: the peer vanished, the transport
    /// failed, a deadline passed, or this end aborted (1006 in RFC 6455 section 7.1.5).
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        matches!(*self.kind, Kind::Disconnected | Kind::Io(_) | Kind::TimedOut(_) | Kind::Aborted)
    }

    /// This end dropped the transport: by [`abort`](super::WebSocket::abort), or with the session.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        matches!(*self.kind, Kind::Aborted)
    }

    /// The message that is read in parts will never be complete, because the peer closed in the middle of
    /// it. What was read of it is not the message.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(*self.kind, Kind::Incomplete)
    }

    /// The body that was to be sent failed; what with is the [source](std::error::Error::source).
    #[must_use]
    pub fn is_body(&self) -> bool {
        matches!(*self.kind, Kind::Body(_))
    }

    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &*self.kind {
            Kind::Io(error) => error.kind(),
            Kind::Disconnected | Kind::Incomplete => io::ErrorKind::UnexpectedEof,
            Kind::Violation(_) => io::ErrorKind::InvalidData,
            Kind::TimedOut(_) => io::ErrorKind::TimedOut,
            Kind::Aborted => io::ErrorKind::ConnectionAborted,
            Kind::Closed(_) => io::ErrorKind::BrokenPipe,
            Kind::Blocked => io::ErrorKind::Deadlock,
            Kind::Unsendable(_) => io::ErrorKind::InvalidInput,
            Kind::Body(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    /// A deadline of [`Timeouts`](super::Timeouts) passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(*self.kind, Kind::TimedOut(_))
    }

    /// The argument cannot be sent: the ping or the reason of a Close is too long, the code is not this
    /// end's to send, or what is sent as text is not UTF-8. Nothing was done.
    #[must_use]
    pub fn is_unsendable(&self) -> bool {
        matches!(*self.kind, Kind::Unsendable(_))
    }

    /// The transport's own error, if that is the cause.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match &*self.kind {
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }

    /// How the peer broke the protocol, if that is the cause. A Close with
    /// [`Violation::close_code`] was sent.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        match *self.kind {
            Kind::Violation(violation) => Some(violation),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&self.kind).finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.kind {
            Kind::Closed(ClosedBy::Peer(Some(code))) => {
                return write!(f, "the socket is closed for sending: the peer closed it with {}", code.as_u16());
            }
            Kind::Closed(ClosedBy::Peer(None)) => {
                "the socket is closed for sending: the peer closed it without a code"
            }
            Kind::Closed(ClosedBy::Us) => "the socket is closed for sending: this end closed it",
            Kind::Closed(ClosedBy::Failure(_)) => {
                "the socket is closed for sending: the connection failed before"
            }
            Kind::Blocked => {
                "a `block_on` in the socket's own handler waits for the socket, which cannot move before the \
                 handler yields: use `spawn_blocking`, or move the socket into another task"
            }
            Kind::Disconnected => "the peer ended the connection without a Close",
            Kind::Io(_) => "the transport failed",
            Kind::Violation(_) => "the peer broke the WebSocket protocol",
            Kind::TimedOut(Timeout::Close) => "the peer did not answer the Close in time",
            Kind::TimedOut(Timeout::Write) => "the peer did not take any data in time",
            Kind::TimedOut(Timeout::Pong) => "the peer did not answer a ping in time",
            Kind::Incomplete => "the peer closed in the middle of the message",
            Kind::Body(_) => "the body to be sent failed",
            Kind::Aborted => "the connection was aborted",
            Kind::Unsendable(why) => why,
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            Kind::Io(error) => Some(&**error),
            Kind::Body(error) => Some(&**error),
            Kind::Violation(violation) => Some(violation),
            Kind::Closed(ClosedBy::Failure(error)) => Some(&**error),
            _ => None,
        }
    }
}
