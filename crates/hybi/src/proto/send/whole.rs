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

    /// Appends the frame of a small message to `head` if it has the room; else nothing is done.
    #[inline(always)]
    pub(in crate::proto) fn send_plain(head: &mut Vec<u8>, message: &Message) -> bool {
        let payload = message.as_bytes();
        let len = payload.len();
        // With the longest header of a small message.
        if len >= LARGE || head.capacity() - head.len() < len + 4 {
            return false;
        }
        let first = if message.is_text() { TEXT } else { BINARY };
        if len <= MAX_CONTROL {
            head.extend_from_slice(&[first, len as u8]);
        } else {
            let [a, b] = (len as u16).to_be_bytes();
            head.extend_from_slice(&[first, 126, a, b]);
        }
        head.extend_from_slice(payload);
        true
    }

    /// Puts bytes that are whole frames, or the end of such, into the empty `head`.
    pub(in crate::proto) fn adopt(&mut self, bytes: &[u8], half_written: bool) {
        debug_assert!(!self.has_output());
        self.head.extend_from_slice(bytes);
        self.half_written = half_written && !bytes.is_empty();
    }
}
