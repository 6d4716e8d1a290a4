//! How a small message is sent while nothing else is to be.

use super::backlog::LARGE;
use super::outbox::{Outbox, State};
use crate::proto::message::Message;
use crate::proto::wire::{BINARY, MAX_CONTROL, TEXT};

impl Outbox {
    /// Whether [`send_plain`](Self::send_plain) may be used.
    pub(in crate::proto) fn is_plain(&self) -> bool {
        // Below `LARGE` if messages from some length on are compressed or cut.
        matches!(self.state, State::Open)
            && self.head.is_empty()
            && self.backlog.is_none()
            && self.keys.is_none()
            && self.short >= LARGE
    }

    /// Writes the frame of a small message to the front of `space`, if it has the room, and says how long it
    /// is.
    #[inline(always)]
    pub(in crate::proto) fn send_plain(space: &mut [u8], message: &Message) -> Option<usize> {
        let payload = message.as_bytes();
        let len = payload.len();
        let (opcode, rest) = space.split_first_mut()?;
        let (header, rest) = if len <= MAX_CONTROL {
            let (length, rest) = rest.split_first_mut()?;
            *length = len as u8;
            (2, rest)
        } else if len < LARGE {
            let (length, rest) = rest.split_first_chunk_mut()?;
            let [a, b] = (len as u16).to_be_bytes();
            *length = [126, a, b];
            (4, rest)
        } else {
            return None;
        };
        rest.get_mut(..len)?.copy_from_slice(payload);
        *opcode = if message.is_text() { TEXT } else { BINARY };
        Some(header + len)
    }

    /// Puts bytes that are whole frames, or the end of such, into the empty `head`.
    pub(in crate::proto) fn adopt(&mut self, bytes: &[u8], half_written: bool) {
        debug_assert!(!self.has_output());
        self.head.extend_from_slice(bytes);
        self.half_written = half_written && !bytes.is_empty();
    }
}
