//! How a socket comes to its end: why, who is told, and what is still said to the peer.

use std::{io, sync::Arc};

use super::Core;
use crate::{
    proto::{CloseFrame, Violation},
    socket::error::{ClosedBy, Error, Kind, Timeout},
};

/// Why nothing more will be received.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The peer's Close; the connection holds it.
    Close,
    /// The peer broke the protocol.
    Violation(Violation),
    /// The peer ended its side without a Close. Ours may still be open.
    Eof,
    /// The transport failed.
    Io(Arc<io::Error>),
    /// A deadline passed.
    TimedOut(Timeout),
    /// This end gave up.
    Aborted,
}

/// The end, and what came after it.
pub(super) struct Over {
    end: End,
    /// Something that was received before it waited to be taken when it came.
    held: bool,
    /// What became of the transport before our last bytes were written.
    broken: Option<End>,
}

impl End {
    /// The transport is of no more use.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TimedOut(_) | Self::Aborted)
    }

    fn error(&self) -> Option<Error> {
        let kind = match self {
            Self::Close => return None,
            Self::Violation(violation) => Kind::Violation(*violation),
            Self::Eof => Kind::Disconnected,
            Self::Io(error) => Kind::Io(Arc::clone(error)),
            Self::TimedOut(timeout) => Kind::TimedOut(*timeout),
            Self::Aborted => Kind::Aborted,
        };
        Some(Error::new(kind))
    }
}

impl Core {
    /// Nothing more will be received, because of `end`. The first reason stands.
    pub(crate) fn finish(&mut self, end: End) {
        if self.over.is_none() {
            self.conn.stop_receiving();
            // With our Close on its way already there is nothing to answer.
            self.settled = self.conn.close_queued();
            let held = self.has_ready() || self.has_part();
            self.over = Some(Box::new(Over { end, held, broken: None }));
            if self.unattended {
                self.settle();
            }
        }
    }

    /// The transport can no longer be used. What was received before stays to be taken.
    pub(crate) fn fail(&mut self, end: End) {
        debug_assert!(end.is_dead());
        match &mut self.over {
            Some(over) => drop(over.broken.get_or_insert(end)),
            None => self.finish(end),
        }
        self.settled = true;
        self.gone = true;
    }

    /// This end gives up.
    pub(crate) fn abort(&mut self) {
        self.fail(End::Aborted);
    }

    /// The transport was ended in due form, or given up.
    pub(crate) fn set_gone(&mut self) {
        self.gone = true;
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.over.as_ref().map(|over| &over.end)
    }

    /// The end is settled when the user comes for it: what was received before is to be answered first.
    pub(super) fn is_held(&self) -> bool {
        self.over.as_ref().is_some_and(|over| over.held)
    }

    /// The end was acted on: a Close was answered, a violation has its Close queued.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Acts on the end, now that everything before it is out of the way.
    pub(crate) fn settle(&mut self) {
        if self.settled {
            return;
        }
        match self.end() {
            None => return,
            Some(End::Close) => {
                self.conn.answer_close();
            }
            Some(End::Violation(violation)) => {
                let frame = violation.close_frame();
                self.conn.close(frame);
            }
            Some(_) => {}
        }
        self.settled = true;
    }

    /// What a receiver is told at the end: the error once, then nothing more.
    pub(crate) fn report(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.reported, true) {
            return Ok(());
        }
        self.end().and_then(End::error).map_or(Ok(()), Err)
    }

    /// Queues our Close, unless one was queued before.
    pub(crate) fn start_close(&mut self, frame: CloseFrame) {
        if self.over.is_some() {
            // The peer's Close or fault came first and decides the code.
            self.settle();
        } else {
            self.we_closed |= self.conn.close(frame);
        }
    }

    /// The Close that was received.
    pub(crate) fn peer_close(&self) -> Option<&CloseFrame> {
        self.conn.close_received()
    }

    /// What was to be said is said: the peer's side is over and ours is written, or the transport is gone.
    /// Of a socket that moves only while it is used, the transport is to be gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.gone || (!self.is_driven_by_user && self.over.is_some() && self.is_flushed())
    }

    /// Whether a receiver may be told of the end.
    pub(crate) fn may_report(&self) -> bool {
        self.gone || !self.is_driven_by_user
    }

    /// Why the connection did not end with both Closes, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.over {
            None => Some(Error::new(Kind::Disconnected)),
            Some(over) => match &over.end {
                End::Close => over.broken.as_ref().and_then(End::error),
                end => end.error(),
            },
        }
    }

    /// Whether data may still be sent.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self.end() {
            // The failure that made the transport useless surfaces here, too.
            Some(end) if end.is_dead() && !self.reported => Err(end.error().expect("not a Close")),
            _ if self.gone || self.conn.close_queued() => Err(self.why_closed()),
            _ => Ok(()),
        }
    }

    /// What is said to who sends too late.
    pub(super) fn why_closed(&self) -> Error {
        let by = match self.end() {
            _ if self.we_closed => ClosedBy::Us,
            Some(End::Close) => ClosedBy::Peer(self.peer_close().and_then(CloseFrame::code)),
            Some(end) => {
                end.error().map_or(ClosedBy::Us, |error| ClosedBy::Failure(Arc::new(error)))
            }
            None => ClosedBy::Us,
        };
        Error::new(Kind::Closed(by))
    }
}
