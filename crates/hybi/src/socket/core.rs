//! Everything about one socket but its transport: what was received and not yet taken, what ends
//! it, and who waits for what.
//!
//! Messages, the peer's Close and the peer's faults reach the user in the order in which they
//! arrived. A Close or a fault therefore first becomes the [`End`], *unsettled*: it is answered
//! only when the user comes back to receive and finds nothing before it, so that the answers to
//! earlier messages still go out first. Whoever does not come back is not waited for longer than
//! the close timeout; see `Driver`.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;

use super::{
    config::Config,
    error::{Error, Kind, Timeout},
    exchange::Exchanged,
    parts::{Incoming, send_error},
    scratch::{self, Input},
};
use crate::proto::{CloseFrame, Connection, Event, Message, PingError, Role, Violation};

/// What a queued message costs beside its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// How much is inflated before other tasks have their turn.
#[cfg(feature = "deflate")]
const INFLATE_BUDGET: usize = 64 * 1024;

/// Why nothing more will be received.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The peer's Close; the connection holds it.
    Close,
    /// The peer broke the protocol.
    Violation(Violation),
    /// The peer ended its side without a Close. Ours may still be open.
    Eof,
    /// The transport failed.
    Io(Arc<io::Error>),
    /// A deadline passed.
    TimedOut(Timeout),
    /// This end gave up.
    Aborted,
}

impl End {
    /// The transport is of no more use.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TimedOut(_) | Self::Aborted)
    }

    fn error(&self) -> Option<Error> {
        let kind = match self {
            Self::Close => return None,
            Self::Violation(violation) => Kind::Violation(*violation),
            Self::Eof => Kind::Disconnected,
            Self::Io(error) => Kind::Io(Arc::clone(error)),
            Self::TimedOut(timeout) => Kind::TimedOut(*timeout),
            Self::Aborted => Kind::Aborted,
        };
        Some(Error::new(kind))
    }
}

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

/// What an operation of the socket's user waits for.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Recv,
    Send,
    Flush,
    Close,
    /// A message may begin.
    Turn,
}

impl Wait {
    /// What a flush has held back can be sent behind it.
    const ALL: [Self; 5] = [Self::Recv, Self::Flush, Self::Send, Self::Turn, Self::Close];
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

    // ===== the end =====

    /// Nothing more will be received, because of `end`. The first reason stands.
    pub(crate) fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.conn.stop_receiving();
            // With our Close on its way already there is nothing to answer.
            self.settled = self.conn.close_queued();
            self.end = Some(end);
            if self.unattended {
                self.settle();
            }
        }
    }

    /// The transport can no longer be used. What was received before stays to be taken.
    pub(crate) fn fail(&mut self, end: End) {
        debug_assert!(end.is_dead());
        if self.end.is_some() {
            self.broken.get_or_insert(end);
        } else {
            self.finish(end);
        }
        self.settled = true;
        self.gone = true;
    }

    /// The transport was ended in due form, or given up.
    pub(crate) fn set_gone(&mut self) {
        self.gone = true;
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The end was acted on: a Close was answered, a violation has its Close queued.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Acts on the end, now that everything before it is out of the way.
    pub(crate) fn settle(&mut self) {
        if self.settled {
            return;
        }
        match self.end {
            None => return,
            Some(End::Close) => {
                self.conn.answer_close();
            }
            Some(End::Violation(violation)) => {
                self.conn.close(violation.close_frame());
            }
            Some(_) => {}
        }
        self.settled = true;
    }

    /// What a receiver is told at the end: the error once, then nothing more.
    pub(crate) fn report(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.reported, true) {
            return Ok(());
        }
        self.end.as_ref().and_then(End::error).map_or(Ok(()), Err)
    }

    /// Queues our Close, unless one was queued before.
    pub(crate) fn start_close(&mut self, frame: CloseFrame) {
        if self.end.is_some() {
            // The peer's Close or fault came first and decides the code.
            self.settle();
        } else {
            self.conn.close(frame);
        }
    }

    /// The Close that was received.
    pub(crate) fn peer_close(&self) -> Option<Box<CloseFrame>> {
        self.conn.close_received().cloned().map(Box::new)
    }

    /// The peer's side is over and ours is written, or the transport is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.end.is_some() && self.is_flushed() || self.gone
    }

    /// Why the connection did not end with both Closes, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.end {
            Some(End::Close) => self.broken.as_ref().and_then(End::error),
            Some(end) => end.error(),
            None => Some(Error::new(Kind::Disconnected)),
        }
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

    // ===== waiting =====

    /// Has the task of `cx` woken when the wait is over.
    pub(crate) fn wait(&mut self, wait: Wait, cx: &Context<'_>) {
        match &mut self.waiters[wait as usize] {
            Some(waker) => waker.clone_from(cx.waker()),
            waiter => *waiter = Some(cx.waker().clone()),
        }
    }

    /// Wakes everyone whose wait is over. A waiter that is woken by `own` is not woken but
    /// reported by `true`: it is the caller's own task.
    pub(crate) fn notify(&mut self, own: &Waker) -> bool {
        let mut is_own = false;
        for wait in Wait::ALL {
            if self.is_due(wait)
                && let Some(waker) = self.waiters[wait as usize].take()
            {
                if matches!(wait, Wait::Flush) {
                    self.set_mark();
                }
                if waker.will_wake(own) {
                    is_own = true;
                } else {
                    waker.wake();
                }
            }
        }
        is_own
    }

    /// Whether [`notify`](Self::notify) would find anyone.
    pub(crate) fn is_anyone_due(&self) -> bool {
        Wait::ALL.into_iter().any(|wait| self.is_due(wait))
    }

    /// Whether someone waits for this and the wait is over.
    #[inline]
    fn is_due(&self, wait: Wait) -> bool {
        // Most of the time nobody waits for anything but to receive.
        if self.waiters[wait as usize].is_none() {
            return false;
        }
        // Each is what the operation itself looks at: whoever is woken for nothing waits again,
        // and would be woken again, in one endless poll.
        match wait {
            Wait::Recv => {
                self.is_over()
                    || !self.ready.is_empty()
                    || !self.input.is_empty()
                    || self.is_part_due()
            }
            Wait::Send => self.gone || self.conn.close_queued() || self.can_send(),
            Wait::Flush => self.is_flushed(),
            Wait::Turn => self.is_turn(),
            Wait::Close => self.is_closed(),
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
