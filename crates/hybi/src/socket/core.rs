//! Everything about one socket but its transport: what was received and not yet taken, what ends
//! it, and who waits for what.
//!
//! Messages, the peer's Close and the peer's faults reach the user in the order in which they
//! arrived. A Close or a fault therefore first becomes the [`End`], *unsettled*: it is answered
//! only when the user comes back to receive and finds nothing before it, so that the answers to
//! earlier messages still go out first. Whoever does not come back is not waited for longer than
//! the close timeout; see `Driver`.

mod ending;
mod waiting;

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc, task::Waker};

use bytes::Bytes;

pub(crate) use self::{ending::End, waiting::Wait};
use super::{
    config::Config,
    error::{Error, Kind},
    exchange::Exchanged,
    parts::{Incoming, send_error},
    scratch::{self, Input},
};
use crate::proto::{Connection, Event, Message, PingError, Role, Violation};

/// What a queued message costs beside its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// How much is inflated before other tasks have their turn.
#[cfg(feature = "deflate")]
const INFLATE_BUDGET: usize = 64 * 1024;

/// The next thing for whoever receives.
pub(crate) enum Next<M = Message> {
    Message(M),
    End,
}

/// How much went through a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Data messages received, those that nobody took included.
    pub messages_received: u64,
    /// Bytes of their payloads.
    pub bytes_received: u64,
    /// Data messages sent.
    pub messages_sent: u64,
    /// Bytes of their payloads.
    pub bytes_sent: u64,
}

pub(crate) struct Core {
    pub(crate) conn: Connection,
    pub(crate) config: Arc<Config>,
    /// The user's end may outlive the session's handler.
    pub(crate) detached: bool,
    /// Received messages are of no more interest to anyone.
    pub(crate) discard: bool,
    /// Nobody is left to receive, and so nobody comes for the end.
    unattended: bool,
    /// A further message may be queued while less than this is. Nothing while a half's flush lasts.
    mark: usize,
    pub(crate) stats: Stats,
    input: Input,
    /// Decoding ended before the input did, so that others have their turn.
    paused: bool,
    ready: VecDeque<Message>,
    ready_size: usize,
    /// The message that is taken in parts.
    pub(super) incoming: Option<Box<Incoming>>,
    pub(super) parts_received: u64,
    /// Messages that wait for one in parts to be finished.
    pub(super) behind: Vec<Message>,
    end: Option<End>,
    /// What became of the transport after the end, before our last bytes were written.
    broken: Option<End>,
    settled: bool,
    reported: bool,
    /// Bytes went to the transport since it was last flushed.
    pub(crate) unflushed: bool,
    /// The transport is gone.
    gone: bool,
    /// One waker for each [`Wait`]: an operation borrows the socket exclusively, and a socket that is
    /// split by a lock has one task for each direction. The many that may wait where it is split into
    /// halves are one [`Crowd`](super::crowd::Crowd) here.
    waiters: [Option<Waker>; 5],
}

impl Core {
    pub(crate) fn new(config: Arc<Config>, early: &[u8]) -> Self {
        let conn = match config.role {
            Role::Server => Connection::server(&config.limits),
            #[cfg(feature = "client")]
            Role::Client => Connection::client(&config.limits),
            #[cfg(not(feature = "client"))]
            Role::Client => unreachable!("only `Config::client` makes this role"),
        };
        #[cfg(feature = "deflate")]
        let conn = match &config.deflate {
            Some(agreed) => {
                let mut conn = conn.with_deflate(agreed);
                conn.pause_after_inflating(INFLATE_BUDGET);
                conn
            }
            None => conn,
        };
        let mut core = Self {
            conn,
            mark: 0,
            config,
            detached: false,
            discard: false,
            unattended: false,
            stats: Stats::default(),
            input: if early.is_empty() { Input::default() } else { Input::owned(early.to_vec()) },
            paused: false,
            ready: VecDeque::new(),
            ready_size: 0,
            incoming: None,
            parts_received: 0,
            behind: Vec::new(),
            end: None,
            broken: None,
            settled: false,
            reported: false,
            unflushed: false,
            gone: false,
            waiters: [const { None }; 5],
        };
        core.set_mark();
        core.decide_later();
        core
    }

    // ===== receiving =====

    /// The next message, or the end once every message before it was taken.
    pub(crate) fn next(&mut self) -> Option<Next> {
        if let Some(message) = self.pop_ready() {
            return Some(Next::Message(message));
        }
        if let Some(message) = self.decode() {
            return Some(Next::Message(message));
        }
        // The decision may have made whole what waited for it, and that is before the rest of the input.
        if self.decide_for_messages()
            && let Some(message) = self.pop_ready().or_else(|| self.decode())
        {
            return Some(Next::Message(message));
        }
        self.is_over().then_some(Next::End)
    }

    #[inline]
    pub(super) fn pop_ready(&mut self) -> Option<Message> {
        let message = self.ready.pop_front()?;
        self.ready_size -= message.len() + MESSAGE_OVERHEAD;
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        Some(message)
    }

    /// Nothing more will be received.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some() || self.gone
    }

    /// Decodes input up to the next message that is of interest, or the next part.
    pub(super) fn decode(&mut self) -> Option<Message> {
        while self.end.is_none() && !self.input.is_empty() {
            let mut rest = self.input.bytes();
            let before = rest.len();
            let event = self.conn.receive(&mut rest);
            let used = before - rest.len();
            self.input.consume(used);
            if let Ok(Some(Event::Message(message))) = event {
                if self.admit(&message) {
                    return Some(message);
                }
            } else if self.handle_other(event).is_break() {
                break;
            }
        }
        if self.incoming.is_some() {
            self.receive_rest();
        }
        None
    }

    /// Counts a message. Whether anyone wants it.
    #[inline]
    pub(super) fn admit(&mut self, message: &Message) -> bool {
        self.stats.messages_received += 1;
        self.stats.bytes_received += message.len() as u64;
        // After our Close the peer's messages are a courtesy: they are delivered to who still
        // receives, and do not stand between us and the peer's Close. Once one is lost, so are
        // those behind it.
        if self.conn.close_queued() && self.is_read_ahead_full() {
            self.discard_incoming();
        }
        !self.discard
    }

    /// Acts on everything but messages. Breaks where nothing more is to be decoded for now.
    #[inline(never)]
    pub(super) fn handle_other(
        &mut self,
        event: Result<Option<Event>, Violation>,
    ) -> ControlFlow<()> {
        match event {
            Ok(Some(Event::Part { part, last })) => {
                if self.part_received(part, last) {
                    return ControlFlow::Break(());
                }
            }
            Ok(Some(Event::Close(_))) => self.finish(End::Close),
            Ok(Some(_)) => {}
            // What is left of the input waits for a decision, or so much was inflated that it is the turn
            // of others.
            Ok(None) => {
                self.paused |= !self.input.is_empty() && !self.conn.is_held();
                return ControlFlow::Break(());
            }
            Err(violation) => self.finish(End::Violation(violation)),
        }
        ControlFlow::Continue(())
    }

    /// Decodes input that nobody asked for yet, as far as the read-ahead goes, so that pings and
    /// the end behind it are seen; keeps the rest.
    pub(crate) fn read_ahead(&mut self) {
        let unasked = self.waiters[Wait::Recv as usize].is_none();
        let closing = self.conn.close_queued();
        if unasked && !closing && self.wants_messages() {
            self.decide_later();
        }
        while (!self.is_read_ahead_full() || closing) && !self.has_part() {
            if let Some(message) = self.decode() {
                self.push_ready(message);
            } else if !(closing && unasked && self.conn.is_held() && self.decide_for_messages()) {
                // A message that nobody came for is between us and the peer's Close otherwise.
                break;
            }
        }
        if self.end.is_some() {
            self.input = Input::default();
        }
        self.input.keep();
    }

    /// Lets go of the thread's buffer.
    pub(crate) fn keep_input(&mut self) {
        self.input.keep();
    }

    pub(super) fn push_ready(&mut self, message: Message) {
        self.ready_size += message.len() + MESSAGE_OVERHEAD;
        self.ready.push_back(message);
    }

    fn is_read_ahead_full(&self) -> bool {
        // One message is read in any case: it may be what the user waits for.
        !self.ready.is_empty() && self.ready_size >= self.config.limits.read_ahead
    }

    /// Whether the transport should be read.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.is_empty() && self.can_go_on()
    }

    /// Whether nothing that was received has to be taken before more is decoded or read.
    fn can_go_on(&self) -> bool {
        self.end.is_none()
            && !self.has_part()
            && !self.conn.is_held()
            && (!self.is_read_ahead_full() || self.conn.close_queued())
    }

    /// Whether decoding ended before the input did, so that others have their turn.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// As [`is_paused`](Self::is_paused), for who goes on in another turn.
    pub(crate) fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Bytes that were read into the thread's buffer.
    pub(crate) fn set_input(&mut self, input: Input) {
        debug_assert!(self.input.is_empty());
        self.input = input;
    }

    /// `n` bytes that were read into the space that the connection gave.
    pub(crate) fn payload_received(&mut self, n: usize) {
        match self.conn.payload_received(n) {
            Ok(Some(Event::Message(message))) => {
                if self.admit(&message) {
                    self.push_ready(message);
                }
            }
            event => drop(self.handle_other(event)),
        }
    }

    /// Nobody will take what is received: drop it, and what follows.
    pub(crate) fn discard_received(&mut self) {
        self.discard_incoming();
        self.ready = VecDeque::new();
        self.ready_size = 0;
        // What is in the middle of the input may be the peer's Close.
        self.read_ahead();
    }

    /// Nobody is left to receive.
    pub(crate) fn leave_unattended(&mut self) {
        self.unattended = true;
        self.discard_received();
        self.settle();
    }

    // ===== sending =====

    /// Whether a further message may be queued.
    pub(crate) fn can_send(&self) -> bool {
        self.conn.queued() < self.mark
    }

    /// Lets no further message in before everything is written. Without this, who flushes would
    /// have to wait for a moment in which nobody else has sent anything.
    ///
    /// Ends by itself. The caller [waits](Self::wait) for the flush.
    pub(crate) fn hold_back(&mut self) {
        self.mark = 0;
    }

    /// Sets the mark to what it is when nothing is held back.
    pub(super) fn set_mark(&mut self) {
        let mark = self.config.limits.output_mark;
        // Between whole messages there may be one of any length in the queue beyond the mark. Parts come
        // without end, and half of it is enough to keep the transport busy.
        let mark = if self.conn.is_message_open() { mark / 2 } else { mark };
        // One is taken in any case.
        self.mark = mark.max(1);
    }

    pub(crate) fn send(&mut self, message: Message) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        let len = message.len() as u64;
        self.conn.send(message).map_err(send_error)?;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += len;
        Ok(())
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn send_uncompressed(&mut self, message: Message) -> Result<(), Error> {
        self.check_open()?;
        self.lend_output();
        let len = message.len() as u64;
        self.conn.send_uncompressed(message).map_err(send_error)?;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += len;
        Ok(())
    }

    pub(crate) fn ping(&mut self, payload: Bytes) -> Result<(), Error> {
        self.check_open()?;
        self.conn.ping(payload).map_err(|error| {
            Error::new(match error {
                PingError::TooLong => Kind::Unsendable("a ping carries at most 125 bytes"),
                PingError::Closed => Kind::Closed,
            })
        })
    }

    /// Whether data may still be sent.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match &self.end {
            // The failure that made the transport useless surfaces here, too.
            Some(end) if end.is_dead() && !self.reported => Err(end.error().expect("not a Close")),
            _ if self.gone || self.conn.close_queued() => Err(Error::new(Kind::Closed)),
            _ => Ok(()),
        }
    }

    /// `None` while something is left to be written.
    pub(crate) fn flushed(&self) -> Option<Result<(), Error>> {
        if !self.conn.has_output() && !self.unflushed {
            return Some(Ok(()));
        }
        self.gone.then(|| Err(self.failure().unwrap_or_else(|| Error::new(Kind::Closed))))
    }

    /// Nothing is left to be written, or nothing can be.
    pub(crate) fn is_flushed(&self) -> bool {
        self.gone || (!self.conn.has_output() && !self.unflushed)
    }

    pub(super) fn lend_output(&mut self) {
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
}

/// What a session has to act on.
impl Exchanged for Core {
    fn demands(&self) -> u8 {
        [
            self.conn.has_output(),
            self.conn.close_queued(),
            // Also with input: nobody may come back for what is in it, and a ping has to be seen.
            self.can_go_on(),
            self.end.is_some(),
            self.settled,
            self.gone,
            self.is_anyone_due(),
        ]
        .into_iter()
        .enumerate()
        .map(|(bit, demanded)| u8::from(demanded) << bit)
        .sum()
    }
}
