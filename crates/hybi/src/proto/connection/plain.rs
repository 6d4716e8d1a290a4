//! The plain path: a server that exchanges small messages, and nothing else is under way.
//!
//! It does only what such a message takes. Everything else is left to the rest of [`Connection`], which finds all
//! as it would be if the plain path had never been taken.

use super::{Connection, Message};
use crate::proto::receive::Arena;
use crate::proto::send::Outbox;

impl Connection {
    /// Whether the plain path may be taken: [`receive_plain`](Self::receive_plain) on input,
    /// [`send_plain`](Self::send_plain) for output.
    ///
    /// It may on a server's connection that is open, takes whole messages, and has nothing open, half read,
    /// held or queued. It may not where compression was agreed on, nor where frames are cut shorter than
    /// the longest message that the plain path takes. The plain path changes none of that.
    pub(crate) fn is_plain(&self) -> bool {
        self.decoder.is_plain() && self.outbox.is_plain()
    }

    /// Takes a whole message in one frame from the front of `input` and adds to `at` how many bytes that
    /// were.
    ///
    /// Everything else, faults included, is for [`receive`](Self::receive): `None` leaves `input` and `at`
    /// as they were.
    #[inline(always)]
    pub(crate) fn receive_plain(
        &self,
        input: &mut [u8],
        at: &mut usize,
        arena: &mut Arena,
    ) -> Option<Message> {
        self.decoder.receive_plain(input, at, arena)
    }

    /// Writes the frame of a message to the front of `space`, and says how long it is. `None` if the message
    /// is not small or the frame does not fit.
    ///
    /// The connection has no output of its own while such a frame is not written: see
    /// [`adopt_output`](Self::adopt_output).
    #[inline(always)]
    pub(crate) fn send_plain(space: &mut [u8], message: &Message) -> Option<usize> {
        Outbox::send_plain(space, message)
    }

    /// Makes bytes that [`send_plain`](Self::send_plain) wrote, and that were not written, the next output.
    /// `half_written` says that bytes before them were.
    ///
    /// The connection has no output.
    pub(crate) fn adopt_output(&mut self, bytes: &[u8], half_written: bool) {
        self.outbox.adopt(bytes, half_written);
    }
}
