//! Everything about one socket but its transport.
//!
//! Messages, the peer's Close and the peer's faults reach the user in the order in which they
//! arrived. A Close or a fault therefore first becomes the [`End`](super::ending::End), *unsettled*. It is
//! answered at once where nothing that was received before it waits to be taken, and otherwise when the user
//! comes for it, so that the answers to earlier messages still go out first. Whoever does not come back is
//! not waited for longer than the close timeout: see `deadlines`.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc, task::Waker};

use tokio::time::Instant;

use super::{
    ending::Over,
    keep_alive::Pings,
    parts::{Behind, Incoming},
    scratch::{self, Input, Scratch},
};
use crate::{
    proto::{Connection, Event, Message, Violation},
    socket::{
        config::Config,
        error::{Error, Kind},
        session::{Place, Wait, Waits},
    },
};

/// What a queued message costs beside its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// How much is inflated before other tasks have their turn.
#[cfg(feature = "deflate")]
const INFLATE_BUDGET: usize = 64 * 1024;

/// How many messages one task takes before others have their turn.
const STREAK: u8 = 128;

/// The next thing for whoever receives.
pub(crate) enum Next<M = Message> {
    Message(M),
    End,
    /// It is the turn of other tasks.
    Yield,
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
    /// There while nothing is under way but whole messages; the only condition of the plain paths. See
    /// `plain`.
    pub(super) fast: Option<Box<Scratch>>,
    pub(crate) turn: Turn,
    /// The task of the session, as of its last poll.
    pub(crate) task: Waker,
    pub(crate) waits: Waits,
    pub(crate) conn: Connection,
    pub(crate) config: Arc<Config>,
    pub(crate) stats: Stats,
    pub(super) input: Input,
    ready: Option<Box<Ready>>,
    /// The message that is taken in parts.
    pub(super) incoming: Option<Box<Incoming>>,
    /// Messages that wait for one in parts to be finished.
    pub(super) behind: Option<Box<Behind>>,
    /// Why nothing more will be received.
    pub(super) over: Option<Box<Over>>,
    /// When the keep-alive sends its next ping.
    pub(super) ping_due: Option<Instant>,
    pub(super) pings: Option<Box<Pings>>,
    pub(super) parts_received: u32,
    /// No further message may be queued before everything is written.
    pub(super) held_back: bool,
    /// Messages that may be taken before others have their turn.
    pub(super) streak: u8,
    /// The socket moves only while its user polls an operation of it.
    pub(crate) is_driven_by_user: bool,
    /// The user's end is gone, or both halves of it.
    pub(crate) is_user_gone: bool,
    /// The user's end may outlive the session's handler.
    pub(crate) detached: bool,
    /// Received messages are of no more interest to anyone.
    pub(crate) discard: bool,
    /// Nobody is left to receive, and so nobody comes for the end.
    pub(super) unattended: bool,
    /// Decoding ended before the input did, so that others have their turn.
    paused: bool,
    /// The next poll of the session may take the plain paths. Nobody has visited it since the last.
    pub(crate) is_calm: bool,
    /// The end was acted on: a Close was answered, a violation has its Close queued.
    pub(super) settled: bool,
    pub(super) reported: bool,
    /// Our Close came first.
    pub(super) we_closed: bool,
    /// Bytes went to the transport since it was last flushed.
    pub(crate) unflushed: bool,
    /// The transport is gone.
    pub(super) gone: bool,
}

/// Messages that were decoded before anybody asked for them.
#[derive(Default)]
struct Ready {
    /// The first of them. Most of the time it is the only one.
    first: Option<Message>,
    queue: VecDeque<Message>,
    size: usize,
}

/// Whether the handler is being polled, and by which session.
#[derive(Default)]
pub(crate) struct Turn {
    /// The address of the session's link; 0 outside of a turn.
    owner: usize,
    /// That of the session whose handler polls this one.
    outer: Option<Box<Core>>,
    /// How often something waited in vain in this turn, with a waker that may belong to a nested `block_on`.
    spins: u16,
}

/// In a turn that ends at all, no more operations than this wait with wakers of their own.
const SPINS: u16 = 4096;

impl Turn {
    #[inline(always)]
    pub(crate) fn begin(&mut self, owner: usize, outer: Option<Box<Core>>) {
        self.owner = owner;
        self.outer = outer;
        self.spins = 0;
    }

    #[inline(always)]
    pub(crate) fn end(&mut self) -> Option<Box<Core>> {
        self.owner = 0;
        self.outer.take()
    }

    #[inline(always)]
    pub(crate) fn is_of(&self, owner: usize) -> bool {
        self.owner == owner
    }

    pub(crate) fn is_on(&self) -> bool {
        self.owner != 0
    }

    /// Something was done: whoever waits in vain is not all that there is in this turn.
    pub(crate) fn gets_on(&mut self) {
        self.spins = 0;
    }

    /// Whether the handler of another session polls this one.
    #[inline(always)]
    pub(crate) fn is_nested(&self) -> bool {
        self.outer.is_some()
    }

    pub(crate) fn outer(&mut self) -> Option<&mut Box<Core>> {
        self.outer.as_mut()
    }
}

impl Core {
    pub(crate) fn new(config: Arc<Config>, early: &[u8]) -> Self {
        let conn = Connection::with_limits(config.role, Arc::clone(&config.limits));
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
            fast: None,
            turn: Turn::default(),
            task: Waker::noop().clone(),
            waits: Waits::default(),
            conn,
            config,
            stats: Stats::default(),
            input: Input::owned(early.to_vec()),
            ready: None,
            incoming: None,
            behind: None,
            over: None,
            ping_due: None,
            pings: None,
            parts_received: 0,
            held_back: false,
            streak: STREAK,
            is_driven_by_user: false,
            is_user_gone: false,
            detached: false,
            discard: false,
            unattended: false,
            paused: false,
            is_calm: false,
            settled: false,
            reported: false,
            we_closed: false,
            unflushed: false,
            gone: false,
        };
        core.decide_later();
        core
    }

    // ===== waiting =====

    /// The handler, or a part of it, waits in its turn. Whether the wait is of a kind that was not seen
    /// before: its waker is to be woken at once, outside of the turn's reach.
    ///
    /// A part of the handler that has a waker of its own, as the futures of a `FuturesUnordered` have, is
    /// polled again in a later turn. A `block_on` in the handler polls at once, and again and again, because
    /// the turn cannot end: that is how it is told from the others.
    pub(crate) fn wait_in_turn(
        &mut self,
        wait: Wait,
        place: &mut Option<Place>,
        waker: &Waker,
    ) -> Result<bool, Error> {
        if self.task.will_wake(waker) {
            self.waits.add_own(wait);
            return Ok(false);
        }
        let is_new = !self.waits.yields_with(waker);
        if is_new {
            self.turn.spins += 1;
            if self.turn.spins >= SPINS {
                // The turn may end after all, and this is not how it waits then.
                if let Some(place) = *place {
                    self.waits.leave(place);
                }
                return Err(Error::new(Kind::Blocked));
            }
        }
        let place = *place.get_or_insert_with(Place::new);
        self.waits.add(wait, place, waker, true);
        Ok(is_new)
    }

    /// The user's end is dropped, or both halves of it are. The session closes the socket, unless the handler
    /// has ended as well.
    pub(crate) fn drop_user(&mut self) {
        self.is_user_gone = true;
    }

    // ===== receiving =====

    /// The next message, or the end once every message before it was taken.
    pub(crate) fn next(&mut self) -> Option<Next> {
        if self.is_streak_over() {
            return Some(Next::Yield);
        }
        // The decision may have made whole what waited for it, and that is before the rest of the input.
        let message = if self.has_nothing() {
            None
        } else {
            self.pop_ready().or_else(|| self.decode()).or_else(|| {
                let decided = self.decide_for_messages();
                decided.then(|| self.pop_ready().or_else(|| self.decode())).flatten()
            })
        };
        if message.is_none() {
            if self.turn.is_on() || self.is_driven_by_user {
                // More may be read and taken before the task has yielded.
                self.streak += 1;
            } else {
                self.begin_streak();
            }
        }
        message.map(Next::Message).or_else(|| self.is_over().then_some(Next::End))
    }

    /// Nothing has come of what whoever receives waits for.
    #[inline]
    fn has_nothing(&self) -> bool {
        self.ready.is_none()
            && self.input.is_empty()
            && self.incoming.is_none()
            && (self.wants_messages() || self.discard)
    }

    /// Whether so many messages were taken one after the other that it is the turn of other tasks.
    pub(super) fn is_streak_over(&mut self) -> bool {
        let left = self.streak.checked_sub(1);
        self.streak = left.unwrap_or(STREAK);
        left.is_none()
    }

    /// Other tasks have had their turn.
    #[inline(always)]
    pub(crate) fn begin_streak(&mut self) {
        self.streak = STREAK;
    }

    #[inline]
    pub(super) fn pop_ready(&mut self) -> Option<Message> {
        let ready = self.ready.as_mut()?;
        let message = ready.first.take().or_else(|| ready.queue.pop_front())?;
        ready.size -= message.len() + MESSAGE_OVERHEAD;
        if ready.queue.is_empty() {
            self.ready = None;
        }
        Some(message)
    }

    /// Nothing more will be received.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some() || self.gone
    }

    /// Decodes input up to the next message that is of interest, or the next part.
    #[inline]
    pub(super) fn decode(&mut self) -> Option<Message> {
        if self.input.is_empty() && self.incoming.is_none() { None } else { self.decode_now() }
    }

    #[inline(never)]
    fn decode_now(&mut self) -> Option<Message> {
        while self.over.is_none() && !self.input.is_empty() {
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
        // After our Close the peer's messages are a courtesy: they are delivered to whoever still
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
            Ok(Some(Event::Close(_))) => self.finish(super::ending::End::Close),
            Ok(Some(Event::Pong(payload))) => self.pong_received(payload),
            Ok(Some(_)) => {}
            // What is left of the input waits for a decision, or so much was inflated that it is the turn
            // of others.
            Ok(None) => {
                self.paused |= !self.input.is_empty() && !self.conn.is_held();
                return ControlFlow::Break(());
            }
            Err(violation) => self.finish(super::ending::End::Violation(violation)),
        }
        ControlFlow::Continue(())
    }

    /// Decodes input that nobody asked for yet, as far as the read-ahead goes, so that pings and
    /// the end behind it are seen; keeps the rest.
    #[inline]
    pub(crate) fn read_ahead(&mut self) {
        let unasked = !self.waits.is_waited_for(Wait::Recv);
        let is_idle = self.has_nothing() && self.over.is_none() && !self.conn.close_queued();
        if !is_idle || (unasked && self.wants_messages()) {
            self.read_ahead_now(unasked);
        }
        self.input.keep();
    }

    fn read_ahead_now(&mut self, unasked: bool) {
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
        if self.over.is_some() {
            self.input = Input::default();
            if !self.is_held() {
                // Nothing was before it (RFC 6455 section 5.5.1: as soon as practical).
                self.settle();
            }
        }
    }

    /// Lets go of the thread's buffer.
    pub(crate) fn keep_input(&mut self) {
        self.input.keep();
    }

    pub(super) fn push_ready(&mut self, message: Message) {
        let ready = self.ready.get_or_insert_default();
        let size = ready.size + message.len() + MESSAGE_OVERHEAD;
        if ready.size == 0 {
            ready.first = Some(message);
        } else {
            ready.queue.push_back(message);
        }
        ready.size = size;
    }

    pub(super) fn has_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// Bytes of input wait to be decoded.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    fn is_read_ahead_full(&self) -> bool {
        // One message is read in any case: it may be what the user waits for.
        self.ready.as_ref().is_some_and(|ready| ready.size >= self.config.limits.read_ahead)
    }

    /// Whether the transport should be read.
    pub(crate) fn wants_input(&self) -> bool {
        self.input.is_empty() && self.can_go_on()
    }

    /// Whether nothing that was received has to be taken before more is decoded or read.
    pub(super) fn can_go_on(&self) -> bool {
        self.over.is_none()
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

    /// What is decoded is enough for this turn.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// A buffer to read into: that of the input, which is used up, or the thread's.
    pub(super) fn take_scratch(&mut self) -> Box<Scratch> {
        self.input.reclaim().unwrap_or_else(scratch::take)
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
        self.ready = None;
        // What is in the middle of the input may be the peer's Close.
        self.read_ahead();
    }

    /// Nobody is left to receive.
    pub(crate) fn leave_unattended(&mut self) {
        self.unattended = true;
        self.discard_received();
        self.settle();
    }
}
