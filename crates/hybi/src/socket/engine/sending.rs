//! What may be sent, and what becomes of the output.

use bytes::Bytes;

use super::{Core, parts::send_error, scratch};
use crate::{
    proto::{Message, PingError, SendError},
    socket::error::{Error, Kind},
};

impl Core {
    /// Whether a further message may be queued.
    pub(crate) fn can_send(&self) -> bool {
        if self.held_back { self.is_flushed() } else { self.conn.queued() < self.mark() }
    }

    /// Lets no further message in before everything is written. Without this, who flushes would
    /// have to wait for a moment in which nobody else has sent anything.
    ///
    /// Ends by itself, once everything is written.
    pub(crate) fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// A further message may be queued while less than this is.
    fn mark(&self) -> usize {
        let mark = self.config.limits.output_mark;
        // Between whole messages there may be one of any length in the queue beyond the mark. Parts come
        // without end, and half of it is enough to keep the transport busy.
        let mark = if self.conn.is_message_open() { mark / 2 } else { mark };
        // One is taken in any case.
        mark.max(1)
    }

    /// Queues a message. It is the caller's to drop, who does so where nothing of the socket is held.
    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        self.conn.send_ref(message).map_err(|error| self.explain(error))?;
        self.count_sent(message);
        Ok(())
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn send_uncompressed(&mut self, message: &Message) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        self.conn.send_uncompressed(message.clone()).map_err(|error| self.explain(error))?;
        self.count_sent(message);
        Ok(())
    }

    #[inline]
    pub(super) fn count_sent(&mut self, message: &Message) {
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += message.len() as u64;
    }

    pub(super) fn explain(&self, error: SendError) -> Error {
        send_error(error).unwrap_or_else(|| self.why_closed())
    }

    pub(crate) fn ping(&mut self, payload: Bytes) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        self.conn.ping(payload).map_err(|error| match error {
            PingError::TooLong => Error::new(Kind::Unsendable("a ping carries at most 125 bytes")),
            PingError::Closed => self.why_closed(),
        })
    }

    /// `None` while something is left to be written.
    pub(crate) fn flushed(&self) -> Option<Result<(), Error>> {
        if !self.conn.has_output() && !self.unflushed {
            return Some(Ok(()));
        }
        self.gone.then(|| Err(self.failure().unwrap_or_else(|| self.why_closed())))
    }

    /// Nothing is left to be written, or nothing can be.
    pub(crate) fn is_flushed(&self) -> bool {
        self.gone || (!self.conn.has_output() && !self.unflushed)
    }

    /// Something is about to be queued.
    pub(super) fn lend_output(&mut self) {
        self.held_back = false;
        if !self.conn.has_output() {
            self.conn.give_buffer(scratch::take_write());
        }
    }

    /// Hands the output buffer to the next socket of this thread.
    pub(crate) fn release_output(&mut self) {
        if let Some(buffer) = self.conn.take_buffer() {
            scratch::give_write(buffer);
        }
    }

    /// Changes whenever a message was received or sent, or a part of one.
    pub(super) fn traffic(&self) -> u64 {
        let sent = self.stats.messages_sent.wrapping_add(self.stats.bytes_sent);
        self.arrivals().wrapping_add(sent)
    }
}
