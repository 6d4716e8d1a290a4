//! How payload becomes a message: at once, or as more comes.

use std::mem;

use bytes::{Bytes, BytesMut};

use super::utf8::TextBuilder;
use crate::proto::message::{Message, MessageKind};
use crate::proto::violation::Violation;

/// Memory reserved ahead of what was received: this much, or as much again as was received if that is
/// more, and never past the frame's end.
const RESERVE: usize = 16 * 1024;

/// The payload of a message so far, or that part of it which was not given out yet.
#[derive(Debug)]
pub(super) enum Assembly {
    Text(TextBuilder),
    Binary(BytesMut),
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
        let room = chunk.len().max(received);
        self.make_room(chunk.len(), room);
        self.push(chunk)
    }

    /// What is there, up to the last whole character; `None` if that is nothing.
    pub(super) fn take_part(&mut self) -> Option<Message> {
        let part = match self {
            Self::Text(text) => Message::Text(text.take().into()),
            Self::Binary(bytes) => Message::Binary(mem::take(bytes).freeze()),
        };
        (!part.is_empty()).then_some(part)
    }

    pub(super) fn finish(self) -> Result<Message, Violation> {
        match self {
            Self::Text(text) => {
                let text = text.finish().map_err(|_| Violation::TextUtf8)?;
                Ok(Message::Text(text.into()))
            }
            Self::Binary(bytes) => Ok(Message::Binary(bytes.freeze())),
        }
    }

    /// Makes room for `n` bytes, and if that takes an allocation then for more of the `missing` bytes of
    /// the frame: as many as were received, or `RESERVE` if that is more.
    pub(super) fn make_room(&mut self, n: usize, missing: usize) {
        let received = self.len();
        if self.capacity() - received < n {
            let room = n.max(missing.min(received.max(RESERVE)));
            match self {
                Self::Text(text) => text.reserve(room),
                Self::Binary(bytes) => bytes.reserve(room),
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
        Self::Binary(BytesMut::new())
    }
}
