//! What is left to others of a session: to end it from elsewhere, and to see how it ended.

use std::{any::Any, fmt, sync::Arc};

use super::turn::SocketLink;
use crate::{
    proto::CloseFrame,
    socket::{
        BoxError,
        engine::{Core, Stats},
        error::Error,
        signals::RoundTrip,
    },
};

/// Closes or aborts a [`Session`](super::Session) from elsewhere.
#[derive(Clone)]
pub struct Control {
    link: Arc<SocketLink>,
}

impl Control {
    pub(super) fn new(link: Arc<SocketLink>) -> Self {
        Self { link }
    }

    /// Begins to close the socket: the Close goes out behind what is queued, the handler's
    /// [`recv`](crate::socket::WebSocket::recv) goes on until the peer's Close and then ends. Does nothing
    /// when a Close is queued already.
    pub fn close(&self, frame: CloseFrame) {
        self.link.start_close(frame);
    }

    /// Drops the transport and the handler. ([`WebSocket::abort`](crate::socket::WebSocket::abort) leaves
    /// the handler alone.)
    pub fn abort(&self) {
        self.link.ask(|requests| requests.abort = true);
    }

    /// How long the peer took to answer the keep-alive's pings. `None` before the first answer.
    #[must_use]
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.link.facts.signals.round_trip()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("closing", &self.link.facts.signals.is_closing())
            .finish_non_exhaustive()
    }
}

/// How a handler ended.
#[derive(Debug)]
pub enum HandlerEnd {
    /// It returned without an error.
    Returned,
    /// It returned an error.
    Failed(BoxError),
    /// It panicked; this is what `catch_unwind` gives.
    Panicked(Box<dyn Any + Send>),
    /// It was dropped, because the session was aborted, or because it went on for longer than
    /// [`Timeouts::handler_grace`](crate::socket::Timeouts::handler_grace) after the end of its socket.
    Dropped,
}

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    handler: HandlerEnd,
    peer_close: Option<Box<CloseFrame>>,
    failure: Option<Error>,
    stats: Stats,
}

impl Ended {
    pub(super) fn new(handler: HandlerEnd, core: &Core) -> Self {
        Self {
            handler,
            peer_close: core.peer_close().cloned().map(Box::new),
            failure: core.failure(),
            stats: core.stats,
        }
    }

    /// How the handler ended.
    #[must_use]
    pub fn handler(&self) -> &HandlerEnd {
        &self.handler
    }

    /// The peer's Close. `None` when the connection ended without one (1006).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.peer_close.as_deref()
    }

    /// Why the connection did not end with both Closes; `None` when it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// How much went through the socket.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes the end of the handler out, for example to resume its panic.
    #[must_use]
    pub fn into_handler(self) -> HandlerEnd {
        self.handler
    }
}
