//! Who drives a connection, and how its users reach it.
//!
//! ```text
//! the core is          when                                    an operation of the socket
//! ───────────────────  ──────────────────────────────────────  ───────────────────────────────────────────
//! in the session       between two polls, until somebody       sets `wanted`, leaves a waker or a request,
//!                      else has come (`Link::wanted`)          wakes the session
//! out, in a poll       while the session reads, writes, ends   leaves a waker or a request, wakes the session
//! in the turn          while the session polls the handler     of the handler's: finds it in the thread, and
//!                                                              no lock is taken; any other: as above
//! parked in the link   between two polls, once `wanted`        locks the link, and wakes the session if there
//!                                                              is something to do (`Core::demanded`)
//! ```
//!
//! | who | wakes | when |
//! |---|---|---|
//! | the transport, the timer | the session's task | bytes, room, a deadline |
//! | an operation from elsewhere | the session's task | it found the core out, or left something to do |
//! | the session, at the end of a poll | operations that found the core out | the core is parked |
//! | the session, in [`Core::notify`] | all who wait in the core ([`Waits`]) | their wait is over |
//! | nobody | the handler, waiting in its own task | the session polls it: a bit in [`Waits`] says so |
//!
//! [`link`] is what goes back and forth and the rules for it, which loom checks; [`turn`](mod@turn) is where the
//! handler's own operations find the core; [`waits`] is who waits for what; [`own`] is a socket without a handler
//! ([`WebSocket::new`]), which drives its own session while one of its operations is polled.

mod control;
mod link;
mod own;
mod turn;
mod waits;

use std::{
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
};

pub use self::control::{Control, Ended, HandlerEnd};
use self::{
    link::Rest,
    turn::{Requests, turn},
};
pub(crate) use self::{
    link::Urge,
    own::{NoHandler, Own},
    turn::{Borrowed, Facts, Handle, SocketLink},
    waits::{Found, Place, Wait, Waits},
};
use super::{
    BoxError,
    config::Config,
    engine::{Core, Driver, Passed, Watch},
    websocket::WebSocket,
};
use crate::proto::{CloseCode, CloseFrame, CloseReason};

/// How often one poll goes round: more often than it may read, so that this is for handlers that send
/// without end.
const ROUNDS: usize = 32;

/// How far an operation has come.
pub(crate) enum Step<R> {
    Done(R),
    /// Until this wait is over.
    Wait(Wait),
    /// It is the turn of other tasks.
    Yield,
}

/// A future that drives a transport `T` and polls `F`, the handler that has the socket.
///
/// It reads for the handler and ahead of it, answers pings and Closes, watches the deadlines, and
/// writes what the handler sent each time the handler yields. It resolves when the handler
/// has ended and the transport is gone.
///
/// # When a socket ends
///
/// * The handler returned `Ok`: Close with 1000. It returned an error or panicked: 1011. A Close or
///   violation of the peer that the handler had not received yet decides the code instead.
/// * The handler dropped its socket and goes on: 1000, at once.
/// * A socket that outlives the handler is closed when the handler returns, unless it was
///   [detached](WebSocket::detach).
/// * When the peer goes away, or the session is asked to [close](Control::close), the handler's `recv` ends, and
///   [`WebSocket::closing`] resolves at once. Once the peer's Close was answered or the transport is gone, the
///   handler has [`Timeouts::handler_grace`](super::Timeouts::handler_grace) to end by itself. Then its
///   future is dropped. A handler that has something to finish waits for `closing` beside it.
/// * [`Control::abort`] drops transport and handler.
///
/// What was sent before the end arrives at a peer that reads, however slowly: as long as it takes anything,
/// no deadline passes before the Close is written.
///
/// Dropping the session drops both, too; the peer sees an abnormal closure (1006).
///
/// # Panics
///
/// The first poll panics outside of a tokio runtime that has its timers enabled.
#[must_use = "futures do nothing unless polled"]
pub struct Session<T, F> {
    driver: Driver<T>,
    /// Here between two polls, as long as nobody else has asked for it.
    core: Option<Box<Core>>,
    link: Arc<SocketLink>,
    handler: Option<Pin<Box<F>>>,
    handler_end: Option<Box<HandlerEnd>>,
}

impl<T, F> Session<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<(), BoxError>>,
{
    /// A session over `io`, on which the opening handshake is done, for the handler that `handler`
    /// makes from the socket.
    ///
    /// Sockets can share one configuration in an `Arc`.
    pub fn new(
        io: T,
        config: impl Into<Arc<Config>>,
        handler: impl FnOnce(WebSocket<T>) -> F,
    ) -> Self {
        Self::with_early_data(io, &[], config, handler)
    }

    /// Like [`new`](Self::new), for a transport of which the bytes `early` were read already,
    /// behind the handshake's head.
    pub fn with_early_data(
        io: T,
        early: &[u8],
        config: impl Into<Arc<Config>>,
        handler: impl FnOnce(WebSocket<T>) -> F,
    ) -> Self {
        let config = config.into();
        let core = Box::new(Core::new(Arc::clone(&config), early));
        let link = SocketLink::of(config);
        let socket = WebSocket::in_session(Handle::new(Arc::clone(&link)));
        Self {
            driver: Driver::new(io),
            core: Some(core),
            link,
            handler: Some(Box::pin(handler(socket))),
            handler_end: None,
        }
    }

    /// What closes or aborts this session from elsewhere.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.link))
    }

    // ===== the handler =====

    /// Gives the handler its turn.
    #[inline]
    fn poll_handler(&mut self, core: Box<Core>, cx: &mut Context<'_>) -> Box<Core> {
        let Some(handler) = &mut self.handler else { return core };
        match turn(&self.link, core, || handler.as_mut().poll(cx)) {
            (core, Ok(Poll::Pending)) => core,
            (core, Ok(Poll::Ready(Ok(())))) => self.handler_ended(core, HandlerEnd::Returned),
            (core, Ok(Poll::Ready(Err(error)))) => {
                self.handler_ended(core, HandlerEnd::Failed(error))
            }
            (core, Err(panic)) => self.handler_ended(core, HandlerEnd::Panicked(panic)),
        }
    }

    #[cold]
    fn handler_ended(&mut self, mut core: Box<Core>, end: HandlerEnd) -> Box<Core> {
        core.leave_plain();
        self.handler_end = Some(Box::new(end));
        // What the future still owns may be this session's socket: drop it in no turn.
        self.drop_handler();
        let returned = matches!(self.handler_end.as_deref(), Some(HandlerEnd::Returned));
        if !returned || !core.detached {
            let code = if returned { CloseCode::NORMAL } else { CloseCode::INTERNAL_ERROR };
            core.start_close(CloseFrame::new(code, CloseReason::default()));
            core.discard_received();
        }
        core
    }

    /// Drops the handler's future, whose destructors may panic like the rest of it.
    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            self.handler_end = Some(Box::new(HandlerEnd::Panicked(panic)));
        }
    }

    // ===== going on =====

    fn apply(&mut self, core: &mut Core, requests: Requests) {
        let Requests { abort, disconnect, send, close, give_up, skip, detach, deaf, dropped, left } =
            requests;
        core.is_calm = false;
        if abort || disconnect {
            self.driver.abort(core);
        }
        if abort {
            self.drop_handler();
        }
        for message in send {
            // A failure shows at the sender's next operation.
            let _ = core.send_behind(&message);
        }
        if let Some(frame) = give_up {
            core.give_up(frame);
        }
        if skip {
            core.skip();
        }
        if let Some(frame) = close {
            core.start_close(frame);
        }
        core.detached |= detach;
        if deaf {
            core.leave_unattended();
        }
        core.is_user_gone |= dropped;
        for place in left {
            core.waits.leave(place);
        }
        drop(core.take_used());
    }

    /// Closes a socket whose user has dropped it.
    fn close_if_dropped(core: &mut Core) {
        if mem::take(&mut core.is_user_gone) {
            core.start_close(CloseFrame::new(CloseCode::NORMAL, CloseReason::default()));
            core.discard_received();
        }
    }

    /// Whether a poll may begin on the plain paths.
    #[inline(always)]
    fn is_plain(&self, waker: &Waker) -> bool {
        self.core.as_ref().is_some_and(|core| core.is_calm && core.task.will_wake(waker))
            && !self.link.is_wanted()
    }

    /// Goes round on the plain paths. True if that is all there is to do in this poll.
    #[inline(always)]
    fn advance_plainly(&mut self, polled: &mut bool, cx: &mut Context<'_>) -> bool {
        let Some(mut core) = self.core.take() else { return false };
        core.enter_plain();
        let is_all = loop {
            let filled = match self.driver.read_plain(&mut core, cx) {
                Poll::Ready(true) => true,
                Poll::Ready(false) => break false,
                Poll::Pending if *polled && !self.driver.is_due() => break true,
                // Something else has woken the task: the handler's, or the timer.
                Poll::Pending => false,
            };
            if !filled && *polled {
                break false;
            }
            core.waits.clear_own();
            core = self.poll_handler(core, cx);
            *polled = true;
            if !core.is_in_plain()
                || !core.waits.is_only_own_recv()
                || core.is_user_gone
                || !self.driver.write_plain(&mut core, cx)
                || !self.driver.has_budget()
            {
                break false;
            }
        };
        if is_all {
            core.rest_plain();
        } else {
            core.leave_plain();
        }
        self.core = Some(core);
        is_all
    }

    /// Goes round until nothing moves any more: read, handler, write, end, deadlines.
    ///
    /// Deadlines come last. What has arrived or can be written counts, however late this is called.
    fn advance(
        &mut self,
        mut core: Box<Core>,
        mut polled: bool,
        known: bool,
        cx: &mut Context<'_>,
    ) -> Box<Core> {
        core.is_calm = false;
        // Before the handler may use up what the runtime allows this task in one turn.
        if !core.is_flushed() {
            let _ = self.driver.poll_flush(&mut core, cx);
        }
        let _ = self.driver.poll_end(&mut core, cx);
        let mut rounds = ROUNDS;
        // Whether anything happened that this round has to look at.
        let mut moved = true;
        loop {
            let reads = core.wants_input();
            let filled = reads && self.driver.poll_fill(&mut core, cx).is_ready();
            if moved || filled {
                self.publish(&mut core);
                let found = core.notify();
                if found.inside && !found.own && !polled {
                    // A part of the handler was woken, and with it this task: the handler's turn is then.
                    cx.waker().wake_by_ref();
                    polled = true;
                }
                if found.own || !polled {
                    core = self.poll_handler(core, cx);
                    core.leave_plain();
                    core.waits.yielded();
                }
                polled = true;
                Self::close_if_dropped(&mut core);
                if core.is_paused() {
                    core.keep_input();
                } else {
                    core.read_ahead();
                }
                let _ = self.driver.poll_flush(&mut core, cx);
                let _ = self.driver.poll_end(&mut core, cx);
                self.publish(&mut core);
                // The handler may have made room for more to be read.
                moved = core.is_anyone_due() || (!reads && core.wants_input());
            }
            if core.take_pause() {
                moved = true;
                rounds = 1;
            }
            rounds -= 1;
            if (moved || filled) && rounds > 0 {
                continue;
            }
            let watch = Watch { knows_waker: known, handler: self.handler.is_some() };
            let passed = self.driver.poll_deadlines(&mut core, watch, cx);
            if passed == Poll::Ready(Passed::Grace) {
                self.drop_handler();
            }
            if !(moved || filled || passed.is_ready()) {
                core.is_calm =
                    self.handler.is_some() && self.driver.is_calm() && core.is_plain(cx.waker());
                return core;
            }
            if rounds == 0 {
                // To be polled again, but not before the runtime has looked at other tasks.
                let _ = pin!(yield_now()).poll(cx);
                return core;
            }
            moved = true;
        }
    }

    /// A poll, or what is left of one in which the handler was `polled`.
    #[inline(never)]
    fn poll_in_full(&mut self, mut polled: bool, cx: &mut Context<'_>) -> Poll<Ended> {
        let (mut core, mut requests) = self.link.begin(self.core.take());
        let known = core.task.will_wake(cx.waker());
        if !known {
            core.task = cx.waker().clone();
        }
        loop {
            if let Some(requests) = requests.take() {
                self.apply(&mut core, *requests);
            }
            core = self.advance(core, mem::take(&mut polled), known, cx);
            if self.driver.is_done() && self.handler.is_none() {
                let handler = self.handler_end.take().map_or(HandlerEnd::Dropped, |end| *end);
                let ended = Ended::new(handler, &core);
                self.link.leave_core(core);
                return Poll::Ready(ended);
            }
            core.begin_streak();
            match self.link.rest(core, cx.waker(), known) {
                Rest::Kept(kept) => {
                    self.core = Some(kept);
                    break;
                }
                Rest::Parked => break,
                Rest::Asked(back, asked) => (core, requests) = (back, Some(asked)),
            }
        }
        self.driver.rest();
        Poll::Pending
    }

    fn publish(&self, core: &mut Core) {
        self.link.facts.publish(core, self.driver.is_done());
    }
}

impl<T, F> Future for Session<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<(), BoxError>>,
{
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        let mut polled = false;
        if this.is_plain(cx.waker())
            && this.advance_plainly(&mut polled, cx)
            && !this.link.is_wanted()
        {
            this.driver.rest();
            return Poll::Pending;
        }
        this.poll_in_full(polled, cx)
    }
}

impl<T, F> Drop for Session<T, F> {
    fn drop(&mut self) {
        self.link.abandon(self.core.take());
    }
}

impl<T, F> fmt::Debug for Session<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("handler", &self.handler.is_some()).finish_non_exhaustive()
    }
}
