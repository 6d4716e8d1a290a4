//! One endpoint of a connection: bytes in, events out; messages in, bytes out.

use std::fmt;
use std::sync::Arc;

use bytes::buf::Limit;
use bytes::{Bytes, BytesMut};

use super::close::{CloseCode, CloseFrame};
use super::event::{Event, Receiving, Role};
use super::limits::Limits;
use super::message::{Message, MessageKind};
use super::receive::Decoder;
use super::send::Outbox;
use super::violation::Violation;
use super::wire::MAX_CONTROL;
#[cfg(feature = "client")]
use super::wire::MaskKeys;

#[cfg(feature = "deflate")]
mod compressed;
#[cfg(feature = "tokio")]
mod plain;

/// The state of one endpoint after the opening handshake, without IO and without a clock.
///
/// The [module documentation](super) shows how it is driven.
///
/// # Closing
///
/// ```text
///                 close()                        Event::Close
///        ┌────────────────────► CLOSING ────────────────────────────┐
///        │                      our Close is queued: no `send`      │
///        │                      messages still arrive               ▼
///  OPEN ─┤                                                       CLOSED
///        │                                                       both are queued or there;
///        │                      CLOSING                          a server ends the transport
///        └────────────────────► the peer's Close is there:  ───► once the output is written
///          Event::Close         input is discarded      answer_close()
/// ```
///
/// CONNECTING, the state before, belongs to the handshake. After a [`Violation`] the connection goes the
/// upper way without waiting for the peer: `close(violation.close_frame())`, write the output, end the
/// transport.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    outbox: Outbox,
    close_received: Option<Box<CloseFrame>>,
}

impl Connection {
    /// The server's end.
    #[must_use]
    pub fn server(limits: &Limits) -> Self {
        Self::with_limits(Role::Server, Arc::new(limits.clone()))
    }

    /// The client's end, which masks each frame with a new key from the operating system's generator.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn client(limits: &Limits) -> Self {
        Self::with_limits(Role::Client, Arc::new(limits.clone()))
    }

    /// The end of `role`, with limits that it shares with others.
    pub(crate) fn with_limits(role: Role, limits: Arc<Limits>) -> Self {
        let keys = match role {
            Role::Server => None,
            #[cfg(feature = "client")]
            Role::Client => Some(MaskKeys::default()),
            #[cfg(not(feature = "client"))]
            Role::Client => unreachable!("only the feature `client` makes this role"),
        };
        Self {
            outbox: Outbox::new(keys, &limits),
            decoder: Decoder::new(role, limits),
            close_received: None,
        }
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.decoder.role()
    }

    /// Takes bytes from the front of `input` until one event is complete or the input is used up, and
    /// leaves the rest in `input`. Call it until it gives `None`. Input that is left then waits for a
    /// decision: see [`is_held`](Self::is_held).
    ///
    /// Payloads may be unmasked in place, so what was taken is garbage afterwards. Pings are answered here:
    /// the pong is queued when the event is returned.
    ///
    /// # Errors
    ///
    /// A [`Violation`] is final: from then on all input is discarded and the result is `Ok(None)`, as it
    /// is after [`Event::Close`]. Answering with a Close is left to the caller, who may have something to
    /// send before it.
    // Without force a second caller makes it a call, which costs each small message 50 instructions more.
    #[inline(always)]
    pub fn receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        match self.decoder.receive_whole(input) {
            Some(event) => Ok(Some(event)),
            None => self.receive_any(input),
        }
    }

    fn receive_any(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        let event = self.decoder.receive(input)?;
        match &event {
            Some(Event::Ping(payload)) => self.outbox.pong(payload),
            Some(Event::Close(frame)) => {
                self.close_received = Some(Box::new(frame.clone()));
                // None is due any more (section 5.5.2).
                self.outbox.drop_pong();
            }
            _ => {}
        }
        Ok(event)
    }

    /// Says what becomes of the messages that arrive. At first: [`Receiving::Messages`].
    ///
    /// In the middle of a message, [`Parts`](Receiving::Parts) holds for it as well: what was put
    /// together of it comes as the first part. A message of which parts were given is given in parts to
    /// its end. With [`Messages`](Receiving::Messages), a message that is past a limit already fails
    /// with the next call of [`receive`](Self::receive).
    pub fn set_receiving(&mut self, receiving: Receiving) {
        self.decoder.set_receiving(receiving);
    }

    /// What [`set_receiving`](Self::set_receiving) said last.
    #[must_use]
    pub fn receiving(&self) -> Receiving {
        self.decoder.receiving()
    }

    /// Whether input is left alone until [`set_receiving`](Self::set_receiving) decides what becomes of
    /// the message that is arriving. Only so while it is [`Receiving::Undecided`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.decoder.is_held()
    }

    /// The kind of the message that is arriving, from the header of its first frame on.
    #[must_use]
    pub fn incoming(&self) -> Option<MessageKind> {
        self.decoder.open_message()
    }

    /// Where to read the rest of a long payload directly, without a copy: `Some` in the middle of a
    /// binary frame of a message that is put together, with at least 4 KiB of it still to be taken.
    ///
    /// The space ends at the latest with the frame. It grows with what was received, not with what was
    /// announced: a message has room for 16 KiB, or for the next power of two if it has more already. Tell
    /// [`payload_received`](Self::payload_received) what was written before doing anything else with the
    /// connection.
    ///
    /// Text always goes through [`receive`](Self::receive): it is checked while it is copied, which costs
    /// less than reading it directly and checking it twice.
    pub fn payload_space(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        self.decoder.payload_space()
    }

    /// Takes the `n` bytes just written into [`payload_space`](Self::payload_space).
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn payload_received(&mut self, n: usize) -> Result<Option<Event>, Violation> {
        self.decoder.payload_received(n)
    }

    /// Whether a data message has begun to arrive, by as little as the first byte of its header, and is
    /// not complete.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.decoder.is_mid_message()
    }

    /// Discards all input from now on, because the caller fails the connection for a reason of its own.
    pub fn stop_receiving(&mut self) {
        self.decoder.stop();
    }

    /// Queues a message.
    ///
    /// It always takes the whole message; compare [`queued`](Self::queued) with a mark of your own
    /// before.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when our Close was queued already, because nothing may follow it;
    /// [`SendError::MessageOpen`] between [`start_message`](Self::start_message) and
    /// [`finish_message`](Self::finish_message), because messages do not interleave (section 5.4).
    #[expect(clippy::needless_pass_by_value, reason = "a message is used up by sending it")]
    #[inline]
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.send_ref(&message)
    }

    /// As [`send`](Self::send), for a caller that drops the message at another time.
    #[inline]
    pub(crate) fn send_ref(&mut self, message: &Message) -> Result<(), SendError> {
        if !self.outbox.takes_messages() {
            return Err(self.why_not());
        }
        self.outbox.send(message);
        Ok(())
    }

    /// Begins a message whose length need not be known, and which need not fit into memory (section
    /// 5.4). Nothing is queued yet.
    ///
    /// [`send_part`](Self::send_part) and [`finish_message`](Self::finish_message) go on with it. Until
    /// it is finished, pings, pongs and a Close pass between its parts, and other messages cannot be
    /// sent. To give it up, [`close`](Self::close): there is no other way to end a message that the
    /// peer does not take for a whole one.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn start_message(&mut self, kind: MessageKind) -> Result<(), SendError> {
        if !self.outbox.takes_messages() {
            return Err(self.why_not());
        }
        self.outbox.start(kind, true);
        Ok(())
    }

    /// Queues the next part of the message that was begun, in a frame of its own, or several if it is
    /// longer than [`Limits::max_send_frame`]. An empty part is nothing.
    ///
    /// Parts of text may end in the middle of a character.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when our Close was queued already, [`SendError::NoMessage`] when no message
    /// was begun, and [`SendError::InvalidUtf8`] when `part` cannot go on the text before it. Nothing is
    /// queued then, and the message stays open.
    pub fn send_part(&mut self, part: Bytes) -> Result<(), SendError> {
        self.queue_part(part, false)
    }

    /// Queues the last part of the message that was begun, which may be empty.
    ///
    /// # Errors
    ///
    /// Those of [`send_part`](Self::send_part); [`SendError::InvalidUtf8`] also when the text would end
    /// in the middle of a character.
    pub fn finish_message(&mut self, last: Bytes) -> Result<(), SendError> {
        self.queue_part(last, true)
    }

    fn queue_part(&mut self, part: Bytes, last: bool) -> Result<(), SendError> {
        if !self.outbox.is_streaming() {
            return Err(self.why_not());
        }
        self.outbox.part(part, last).map_err(|_| SendError::InvalidUtf8)
    }

    /// Whether a message was begun and is not finished.
    #[must_use]
    pub fn is_message_open(&self) -> bool {
        self.outbox.is_streaming()
    }

    /// Why it is not the time for a message, or for a part of one.
    #[cold]
    fn why_not(&self) -> SendError {
        if self.outbox.close_queued() {
            SendError::Closed
        } else if self.outbox.is_streaming() {
            SendError::MessageOpen
        } else {
            SendError::NoMessage
        }
    }

    /// Queues a ping of at most 125 bytes.
    ///
    /// It passes the messages that are waiting, and between the frames of a long one.
    ///
    /// # Errors
    ///
    /// [`PingError::Closed`] when our Close was queued already, [`PingError::TooLong`] past 125 bytes.
    pub fn ping(&mut self, payload: Bytes) -> Result<(), PingError> {
        if self.outbox.close_queued() {
            return Err(PingError::Closed);
        }
        if payload.len() > MAX_CONTROL {
            return Err(PingError::TooLong);
        }
        self.outbox.ping(payload);
        Ok(())
    }

    /// Queues our Close behind every queued message, and behind what was queued of a message that is
    /// open: that one will never be whole. False, and nothing is done, if it was queued before.
    ///
    /// Messages still arrive until the peer's Close does.
    #[expect(clippy::needless_pass_by_value, reason = "a Close is used up by sending it")]
    pub fn close(&mut self, frame: CloseFrame) -> bool {
        self.outbox.close(&frame)
    }

    /// Queues the answer to the peer's Close: its code without a reason, or an empty Close if it was
    /// empty. False, and nothing is done, if the peer's Close is not there or ours was queued before.
    ///
    /// A server answers 1010 with 1000, because only clients may send 1010.
    pub fn answer_close(&mut self) -> bool {
        let Some(received) = &self.close_received else { return false };
        let answer = match received.code() {
            None => CloseFrame::empty(),
            Some(CloseCode::MANDATORY_EXTENSION) if self.role() == Role::Server => {
                CloseCode::NORMAL.into()
            }
            Some(code) => code.into(),
        };
        self.outbox.close(&answer)
    }

    /// Whether our Close was queued, and so nothing can be sent any more.
    #[must_use]
    pub fn close_queued(&self) -> bool {
        self.outbox.close_queued()
    }

    /// The peer's Close, once it is there.
    #[must_use]
    pub fn close_received(&self) -> Option<&CloseFrame> {
        self.close_received.as_deref()
    }

    /// Bytes queued and not yet written: payloads and headers, except the headers of further frames
    /// where a long message is not cut yet.
    #[inline]
    #[must_use]
    pub fn queued(&self) -> usize {
        self.outbox.queued()
    }

    /// Whether there is anything to write.
    #[inline]
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.outbox.has_output()
    }

    /// There is no output, nor a buffer for it, nor a failure to report.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn is_output_at_rest(&self) -> bool {
        self.outbox.is_at_rest()
    }

    /// The next bytes to write: a contiguous buffer, and the payload that follows it if that is large.
    /// Both are empty if there is nothing.
    ///
    /// Write from the first on, in one vectored write if the transport has one, and tell
    /// [`advance`](Self::advance) how much went out. What is shown stays the next to be written,
    /// whatever is queued in between.
    pub fn output(&mut self) -> [&[u8]; 2] {
        self.outbox.output()
    }

    /// Takes note that the first `n` bytes of [`output`](Self::output) were written.
    pub fn advance(&mut self, n: usize) {
        self.outbox.advance(n);
    }

    /// Whether the operating system refused a masking key.
    ///
    /// Then nothing more can be sent: what was not a frame yet is dropped, the output ends with the last
    /// whole frame and without a Close, and the transport should be dropped. Only a client can get here.
    #[must_use]
    pub fn output_failed(&self) -> bool {
        self.outbox.failed()
    }

    /// Takes the output buffer away if nothing is in it, so that an idle connection holds none.
    pub fn take_buffer(&mut self) -> Option<BytesMut> {
        self.outbox.take_buffer()
    }

    /// Lends an output buffer, dropped if the connection has one.
    pub fn give_buffer(&mut self, buffer: BytesMut) {
        self.outbox.give_buffer(buffer);
    }

    /// Bytes reserved for input.
    #[cfg(all(test, feature = "client"))]
    pub(super) fn reserved(&self) -> usize {
        self.decoder.reserved()
    }

    /// Whether nothing is half received.
    #[cfg(all(test, feature = "client"))]
    pub(super) fn is_settled(&self) -> bool {
        self.decoder.is_settled()
    }

    /// From now on there are no masking keys.
    #[cfg(all(test, feature = "client"))]
    pub(super) fn break_keys(&mut self) {
        self.outbox.break_keys();
    }
}

/// Why a message, or a part of one, was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Our Close was queued, so nothing can be sent any more.
    Closed,
    /// A message was begun, and no other can be sent before it is finished.
    MessageOpen,
    /// A part, where no message was begun.
    NoMessage,
    /// The message was begun as text, and would not be UTF-8.
    InvalidUtf8,
}

const CLOSING: &str = "the connection is closing";

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => CLOSING,
            Self::MessageOpen => "another message is not finished",
            Self::NoMessage => "no message was begun",
            Self::InvalidUtf8 => "text has to be UTF-8",
        })
    }
}

impl std::error::Error for SendError {}

/// Why a ping was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PingError {
    /// Our Close was queued, so nothing can be sent any more.
    Closed,
    /// The payload is longer than 125 bytes.
    TooLong,
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(CLOSING),
            Self::TooLong => write!(f, "a ping holds at most {MAX_CONTROL} bytes"),
        }
    }
}

impl std::error::Error for PingError {}
