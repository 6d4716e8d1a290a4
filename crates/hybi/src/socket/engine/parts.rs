//! Messages in parts: what the [`Core`] knows of the one that is taken and the one that is sent.
//!
//! Until somebody has said how it wants a message, whole or in parts, no more of it is read than the
//! read-ahead. Of a message in parts one part at a time waits to be taken, and nothing is read
//! while it does.

use std::task::Waker;

use bytes::Bytes;

use super::{Core, Next, ending::End};
use crate::{
    proto::{CloseFrame, Event, Message, MessageKind, Receiving, SendError, Violation},
    socket::error::{Error, Kind},
};

/// A message that has begun to arrive.
pub(crate) enum Begun {
    /// It was there whole.
    Whole(Message),
    /// It is taken in parts.
    Open(MessageKind),
}

/// A message that is taken in parts.
#[derive(Default)]
pub(super) struct Incoming {
    part: Option<Message>,
    /// `part` is the last.
    complete: bool,
    /// Nobody wants the rest.
    skipped: bool,
}

/// Messages that were let pass before one in parts began.
#[derive(Default)]
pub(super) struct Behind {
    waiting: Vec<Message>,
    used: Vec<Message>,
}

/// What is of no more use, which is rarely anything. Dropping it may run code of the user's, who may use the
/// socket in it: it drops where nothing of the socket is held.
pub(crate) type Used = Option<Box<(Vec<Waker>, Vec<Message>)>>;

// ===== receiving =====

impl Core {
    /// The next message as soon as it has begun, or the end once every message before it was taken.
    pub(crate) fn begin(&mut self) -> Option<Next<Begun>> {
        if self.is_streak_over() {
            return Some(Next::Yield);
        }
        if let Some(message) = self.pop_ready() {
            return Some(Next::Message(Begun::Whole(message)));
        }
        // A reader that was forgotten instead of dropped is one that wants no more.
        self.skip();
        self.decide_later();
        if let Some(message) = self.decode() {
            return Some(Next::Message(Begun::Whole(message)));
        }
        if self.incoming.is_none()
            && let Some(kind) = self.conn.incoming()
        {
            self.conn.set_receiving(Receiving::Parts);
            self.incoming = Some(Box::default());
            self.decide_later();
            return Some(Next::Message(Begun::Open(kind)));
        }
        self.is_over().then_some(Next::End)
    }

    /// The next part of the message that is taken in parts, and whether it is the last; or the end if
    /// nothing more will come of it.
    pub(crate) fn next_part(&mut self) -> Option<Next<(Message, bool)>> {
        if !self.has_part()
            && let Some(message) = self.decode()
        {
            self.push_ready(message);
        }
        let Some(incoming) = &mut self.incoming else { return Some(Next::End) };
        if let Some(part) = incoming.part.take() {
            let last = incoming.complete;
            if last {
                self.incoming = None;
            }
            return Some(Next::Message((part, last)));
        }
        self.is_over().then_some(Next::End)
    }

    /// Nobody wants the rest of the message that is taken in parts.
    pub(crate) fn skip(&mut self) {
        if let Some(incoming) = &mut self.incoming {
            if incoming.complete {
                self.incoming = None;
            } else {
                incoming.skipped = true;
                incoming.part = None;
            }
        }
    }

    /// What the reader of a message is told that will not be complete.
    pub(crate) fn cut_short(&mut self) -> Error {
        self.incoming = None;
        self.report().err().unwrap_or_else(|| Error::new(Kind::Incomplete))
    }

    /// The reader of a message will not take more than `limit` bytes of it. [`cut_short`](Self::cut_short)
    /// is the error.
    pub(crate) fn refuse(&mut self, limit: usize) {
        self.incoming = None;
        self.finish(End::Violation(Violation::MessageTooBig { limit }));
        self.settle();
    }

    /// Takes a part. Whether to stop there, because it is to be taken before more is.
    pub(super) fn part_received(&mut self, part: Message, last: bool) -> bool {
        self.stats.messages_received += u64::from(last);
        self.stats.bytes_received += part.len() as u64;
        self.parts_received = self.parts_received.wrapping_add(u32::from(!part.is_empty()));
        match &mut self.incoming {
            Some(incoming) if !incoming.skipped => {
                incoming.part = Some(part);
                incoming.complete = last;
                true
            }
            _ => {
                if last {
                    self.incoming = None;
                }
                false
            }
        }
    }

    /// Takes what the connection has to give without more input.
    pub(super) fn receive_rest(&mut self) {
        while self.over.is_none() && !self.has_part() {
            match self.conn.receive(&mut &mut [][..]) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    if self.admit(&message) {
                        self.push_ready(message);
                    }
                }
                event => drop(self.handle_other(event)),
            }
        }
    }

    /// A part waits to be taken.
    pub(super) fn has_part(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.part.is_some())
    }

    /// Whether there is something for who waits for a part, or for a message to begin.
    pub(super) fn is_part_due(&self) -> bool {
        match &self.incoming {
            Some(incoming) if !incoming.skipped => incoming.part.is_some(),
            Some(_) => false,
            None => self.is_undecided() && self.conn.incoming().is_some(),
        }
    }

    /// Changes whenever a message has arrived, or some more of one in parts.
    pub(crate) fn arrivals(&self) -> u64 {
        self.stats.messages_received.wrapping_add(self.parts_received.into())
    }

    /// Whoever receives waits for a whole message.
    #[inline]
    pub(crate) fn wants_messages(&self) -> bool {
        self.conn.receiving() == Receiving::Messages
    }

    fn is_undecided(&self) -> bool {
        matches!(self.conn.receiving(), Receiving::Undecided { .. })
    }

    /// Nobody has said what becomes of the messages that arrive from now on.
    pub(super) fn decide_later(&mut self) {
        if !self.discard {
            let read_ahead = self.config.limits.read_ahead;
            self.conn.set_receiving(Receiving::Undecided { read_ahead });
        }
    }

    /// Whole messages are wanted. Whether that changes anything.
    pub(super) fn decide_for_messages(&mut self) -> bool {
        if self.wants_messages() || self.discard {
            return false;
        }
        self.skip();
        self.conn.set_receiving(Receiving::Messages);
        // The message that has begun may be too long already.
        self.receive_rest();
        true
    }

    /// Nothing that arrives is wanted any more.
    pub(super) fn discard_incoming(&mut self) {
        self.discard = true;
        // Then nothing is put together.
        self.conn.set_receiving(Receiving::Parts);
        #[cfg(feature = "deflate")]
        self.conn.stop_inflating();
        self.skip();
    }
}

// ===== sending =====

impl Core {
    /// Sends a part of a message, the first if it is not `begun`.
    ///
    /// It is compressed if that was agreed on and is `allowed`.
    pub(crate) fn send_part(
        &mut self,
        kind: MessageKind,
        allowed: bool,
        begun: &mut bool,
        part: Bytes,
        last: bool,
    ) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        if !*begun {
            #[cfg(feature = "deflate")]
            let started = if allowed {
                self.conn.start_message(kind)
            } else {
                self.conn.start_uncompressed(kind)
            };
            #[cfg(not(feature = "deflate"))]
            let started = {
                let _ = allowed;
                self.conn.start_message(kind)
            };
            started.map_err(|error| self.explain(error))?;
            *begun = true;
        }
        let len = part.len() as u64;
        let queued = if last { self.conn.finish_message(part) } else { self.conn.send_part(part) };
        queued.map_err(|error| self.explain(error))?;
        self.stats.bytes_sent += len;
        if last {
            self.stats.messages_sent += 1;
            return self.send_waiting();
        }
        Ok(())
    }

    fn send_waiting(&mut self) -> Result<(), Error> {
        let Some(mut behind) = self.behind.take() else { return Ok(()) };
        let result = behind.waiting.iter().try_for_each(|message| self.send(message));
        behind.used.append(&mut behind.waiting);
        self.behind = Some(behind);
        result
    }

    /// Sends a message that was let pass before one in parts began, behind that one.
    pub(crate) fn send_behind(&mut self, message: &Message) -> Result<(), Error> {
        if self.conn.is_message_open() {
            self.check_open()?;
            self.behind.get_or_insert_default().waiting.push(message.clone());
            return Ok(());
        }
        self.send(message)
    }

    /// A message in parts was given up: with a Close, because nothing else tells the peer that it is not
    /// whole.
    pub(crate) fn give_up(&mut self, frame: CloseFrame) {
        if let Some(behind) = &mut self.behind {
            behind.used.append(&mut behind.waiting);
        }
        self.start_close(frame);
    }

    /// What is to be dropped where nothing of the socket is held.
    #[inline]
    pub(crate) fn take_used(&mut self) -> Used {
        if self.behind.is_some() || self.waits.has_used() { self.take_used_now() } else { None }
    }

    #[cold]
    fn take_used_now(&mut self) -> Used {
        let mut used = (self.waits.take_used(), Vec::new());
        if let Some(behind) = &mut self.behind {
            used.1 = std::mem::take(&mut behind.used);
            if behind.waiting.is_empty() {
                self.behind = None;
            }
        }
        Some(Box::new(used))
    }

    /// The longest part that fits into a frame, if a message may begin.
    pub(crate) fn longest_part(&self) -> Result<usize, Error> {
        self.check_open()?;
        if self.conn.is_message_open() {
            // By a writer that was forgotten instead of dropped.
            return Err(self.explain(SendError::MessageOpen));
        }
        Ok(self.config.limits.send_frame_limit())
    }

    /// Whether a message may begin: none in parts is under way.
    pub(crate) fn is_turn(&self) -> bool {
        self.is_gone() || !self.conn.is_message_open()
    }
}

/// What the user is told, unless the connection is closed.
pub(super) fn send_error(error: SendError) -> Option<Error> {
    let why = match error {
        SendError::MessageOpen => "a message in parts is not finished",
        SendError::InvalidUtf8 => "text has to be UTF-8",
        _ => return None,
    };
    Some(Error::new(Kind::Unsendable(why)))
}
