//! How payload becomes a message: at once, or as more comes.

use std::mem;

use bytes::Bytes;

use super::utf8::TextBuilder;
use crate::proto::message::{Message, MessageKind};
use crate::proto::violation::Violation;

/// So much of a frame gets memory before it has come.
const RESERVE: usize = 16 * 1024;

/// The payload of a message so far, or that part of it which was not given out yet.
#[derive(Debug)]
pub(super) enum Assembly {
    Text(TextBuilder),
    Binary(Vec<u8>),
}

impl Assembly {
    pub(super) fn new(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text(TextBuilder::default()),
            MessageKind::Binary => Self::default(),
        }
    }

    pub(super) fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
        }
    }

    /// Adds bytes that there is room for.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Text(text) => text.push(bytes).map_err(|_| Violation::TextUtf8),
            Self::Binary(binary) => {
                binary.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Adds inflated bytes, of which nobody announced how many there will be.
    #[cfg(feature = "deflate")]
    pub(super) fn push_inflated(&mut self, chunk: &[u8], limit: usize) -> Result<(), Violation> {
        let received = self.len();
        if chunk.len() > limit.saturating_sub(received) {
            return Err(Violation::MessageTooBig { limit });
        }
        self.make_room(chunk.len(), chunk.len(), limit - received);
        self.push(chunk)
    }

    /// What is there, up to the last whole character; `None` if that is nothing.
    pub(super) fn take_part(&mut self) -> Option<Message> {
        let part = match self {
            Self::Text(text) => Message::Text(text.take().into()),
            Self::Binary(bytes) => Message::Binary(mem::take(bytes).into()),
        };
        (!part.is_empty()).then_some(part)
    }

    pub(super) fn finish(self) -> Result<Message, Violation> {
        match self {
            Self::Text(text) => {
                let text = text.finish().map_err(|_| Violation::TextUtf8)?;
                Ok(Message::Text(text.into()))
            }
            Self::Binary(bytes) => Ok(Message::Binary(bytes.into())),
        }
    }

    /// Makes room for `n` bytes, of the `missing` bytes of a frame, and of the `most` that can still come of the
    /// message.
    ///
    /// If that takes an allocation, it makes room for the next power of two in all once there is something, or for
    /// `RESERVE` of what the frame has announced, and for no more than `most`.
    pub(super) fn make_room(&mut self, n: usize, missing: usize, most: usize) {
        let received = self.len();
        if self.capacity() - received < n {
            let announced = received.saturating_add(missing).min(RESERVE);
            let all = if received == 0 { n } else { (received + n).next_power_of_two() };
            let all = all.max(announced);
            let room = (all - received).min(most).max(n);
            match self {
                Self::Text(text) => text.reserve_exact(room),
                Self::Binary(bytes) => bytes.reserve_exact(room),
            }
        }
    }
}

/// A message whose payload is there whole: the one copy is out of the input.
pub(super) fn whole(kind: MessageKind, payload: &[u8]) -> Result<Message, Violation> {
    Ok(if kind == MessageKind::Text {
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| Violation::TextUtf8)?;
        Message::Text(text.into())
    } else {
        Message::Binary(Bytes::copy_from_slice(payload))
    })
}

impl Default for Assembly {
    fn default() -> Self {
        Self::Binary(Vec::new())
    }
}
