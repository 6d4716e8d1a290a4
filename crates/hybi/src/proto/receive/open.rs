//! What is half received: a header, a frame, a message.

use bytes::BytesMut;

use super::assembly::Assembly;
use crate::proto::event::Event;
use crate::proto::message::{Message, MessageKind};
use crate::proto::violation::Violation;
use crate::proto::wire::{First, MAX_HEADER, mask, starts_data};

/// Everything that a connection keeps from one call to the next. Most of the time there is none.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The beginning of a header that was cut.
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// The frame whose payload is being received.
    pub(super) frame: Option<Frame>,
    /// What is there of a control frame's payload.
    pub(super) control: BytesMut,
    /// The message of which more is to come.
    pub(super) message: Option<OpenMessage>,
    /// A violation that was found where none could be returned.
    pub(super) failed: Option<Violation>,
}

impl Open {
    /// Whether nothing is half received any more.
    pub(super) fn is_empty(&self) -> bool {
        self.header_len == 0
            && self.frame.is_none()
            && self.message.is_none()
            && self.failed.is_none()
    }

    /// What is there of a header that was cut.
    pub(super) fn header(&self) -> &[u8] {
        &self.header[..self.header_len.into()]
    }

    /// Keeps the beginning of a header, instead of what was kept before.
    pub(super) fn keep_header(&mut self, header: &[u8]) {
        self.header[..header.len()].copy_from_slice(header);
        self.header_len = header.len() as u8;
    }

    /// Whether a data message has begun.
    pub(super) fn is_mid_message(&self) -> bool {
        let begins =
            || self.frame.is_none() && self.header().first().is_some_and(|&byte| starts_data(byte));
        self.message.is_some() || begins()
    }

    #[cfg(all(test, feature = "client"))]
    pub(super) fn reserved(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.content.capacity());
        message + self.control.capacity()
    }
}

/// A frame of which the header is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) first: First,
    pub(super) key: Option<[u8; 4]>,
    /// Bytes of payload received.
    pub(super) received: usize,
    /// Bytes of payload to come.
    pub(super) missing: usize,
}

impl Frame {
    /// Unmasks the next bytes of the payload.
    pub(super) fn unmask<'a>(&self, chunk: &'a mut [u8]) -> &'a [u8] {
        if let Some(key) = self.key {
            mask(chunk, key, self.received);
        }
        chunk
    }

    /// Takes note of `n` bytes of payload.
    pub(super) fn take(&mut self, n: usize) {
        self.received += n;
        self.missing -= n;
    }

    /// The frame, unless all of it is there.
    pub(super) fn unfinished(self) -> Option<Self> {
        (self.missing > 0).then_some(self)
    }
}

/// A message of which more is to come.
#[derive(Debug)]
pub(super) struct OpenMessage {
    pub(super) content: Assembly,
    /// Its frames so far, of which the last may be under way.
    pub(super) fragments: usize,
    /// It is given out in parts.
    pub(super) in_parts: bool,
}

impl OpenMessage {
    pub(super) fn new(kind: MessageKind, in_parts: bool) -> Self {
        Self { content: Assembly::new(kind), fragments: 0, in_parts }
    }

    /// Adds unmasked payload. `missing` counts it and what is to come of its frame, and `most` what can come of the
    /// message.
    pub(super) fn append(
        &mut self,
        chunk: &[u8],
        missing: usize,
        most: usize,
    ) -> Result<(), Violation> {
        // A part is let go of before the rest of a frame comes.
        let missing = if self.in_parts { chunk.len() } else { missing };
        self.content.make_room(chunk.len(), missing, most);
        self.content.push(chunk)
    }

    /// What has gathered, if the message is given out in parts.
    pub(super) fn take_part(&mut self) -> Option<Message> {
        if self.in_parts { self.content.take_part() } else { None }
    }

    /// Nothing follows.
    pub(super) fn finish(self) -> Result<Event, Violation> {
        let message = self.content.finish()?;
        Ok(if self.in_parts {
            Event::Part { part: message, last: true }
        } else {
            Event::Message(message)
        })
    }
}
