//! What a connection with compression has beside the rest (RFC 7692).

use super::{Connection, Message, MessageKind, SendError};
use crate::proto::deflate::DeflateParameters;

impl Connection {
    /// With messages compressed as the handshake agreed (RFC 7692). To be called before anything else.
    ///
    /// Messages of [`Deflate::threshold`](crate::proto::Deflate::threshold) and more are compressed when they are
    /// queued, and what [`queued`](Self::queued) counts is what became of them. Received ones are inflated
    /// as they arrive; the limits hold for what they inflate to.
    #[must_use]
    pub fn with_deflate(mut self, agreed: &DeflateParameters) -> Self {
        self.decoder.set_inflater(agreed.inflater(self.role()));
        self.outbox.set_compressor(agreed.compressor(self.role()), agreed.threshold());
        self
    }

    /// Makes [`receive`](Self::receive) pause whenever some `bytes` were inflated since the last pause: it
    /// then gives `None` once although input is left, so that the caller can let others have their turn.
    /// At first it never pauses.
    ///
    /// Without it the work of one call is bounded by the limit on messages, and in
    /// [parts](crate::proto::Receiving::Parts) by the length of one.
    pub fn pause_after_inflating(&mut self, bytes: usize) {
        self.decoder.set_pause(bytes);
    }

    /// From now on nothing is inflated: whoever calls this has no interest in the messages that arrive, which
    /// come as if they were empty.
    #[cfg(feature = "tokio")]
    pub(crate) fn stop_inflating(&mut self) {
        self.decoder.stop_inflating();
    }

    /// As [`send`](Self::send), and the message is not compressed whatever was agreed on: for one that holds
    /// a secret beside what others may choose. See [`Deflate`](crate::proto::Deflate).
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn send_uncompressed(&mut self, message: Message) -> Result<(), SendError> {
        if !self.outbox.takes_messages() {
            return Err(self.why_not());
        }
        self.outbox.send_whole(message.kind().into(), message.into_bytes(), false);
        Ok(())
    }

    /// As [`start_message`](Self::start_message), and no part of the message is compressed.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn start_uncompressed(&mut self, kind: MessageKind) -> Result<(), SendError> {
        if !self.outbox.takes_messages() {
            return Err(self.why_not());
        }
        self.outbox.start(kind, false);
        Ok(())
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn is_compressor_busy(&self) -> bool {
        self.outbox.is_compressor_busy()
    }
}
