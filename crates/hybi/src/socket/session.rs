//! The session: one future that drives a transport and the handler of its socket.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{unconstrained, yield_now},
};

use super::{
    BoxError,
    config::Config,
    core::{Core, Stats},
    driver::Driver,
    error::Error,
    shared::{Requests, Shared, turn},
    signals::Signals,
    websocket::WebSocket,
};
use crate::proto::{CloseCode, CloseFrame, CloseReason};

/// How often one poll goes round: more often than it may read, so that this is for handlers that send
/// without end.
const ROUNDS: usize = 32;

/// A future that drives a transport `T` and polls `F`, the handler that has the socket.
///
/// It reads for the handler and ahead of it, answers pings and Closes, watches the deadlines, and
/// writes what the handler sent each time the handler yields. It resolves when the handler
/// has returned and the transport is gone.
///
/// # When a socket ends
///
/// * The handler returned `Ok`: Close with 1000. It returned an error or panicked: 1011. A Close or
///   violation of the peer that the handler had not received yet decides the code instead.
/// * The handler dropped its socket and goes on: 1000, at once.
/// * A socket that outlives the handler is closed when the handler returns, unless it was
///   [detached](WebSocket::detach).
/// * When the peer goes away, or the session is asked to [close](Control::close), the handler is not
///   dropped: its `recv` ends, and [`WebSocket::closing`] resolves.
/// * [`Control::abort`] drops transport and handler.
///
/// Dropping the session drops both, too; the peer sees an abnormal closure (1006).
///
/// # Panics
///
/// The first poll panics outside of a tokio runtime that has its timers enabled.
#[must_use = "futures do nothing unless polled"]
pub struct Session<T, F> {
    driver: Driver<T>,
    shared: Arc<Shared>,
    handler: Option<Pin<Box<F>>>,
    handler_end: HandlerEnd,
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
        let shared = Shared::new(Core::new(Arc::clone(&config), early), Signals::default());
        let socket = WebSocket::in_session(Arc::clone(&shared), &config);
        Self {
            driver: Driver::new(io, config),
            shared,
            handler: Some(Box::pin(handler(socket))),
            handler_end: HandlerEnd::Dropped,
        }
    }

    /// A session without a handler: it goes on until its socket is closed or dropped.
    pub(crate) fn without_handler(driver: Driver<T>, shared: Arc<Shared>) -> Self {
        Self { driver, shared, handler: None, handler_end: HandlerEnd::Returned }
    }

    /// What closes or aborts this session from elsewhere.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared) }
    }

    fn poll_handler(&mut self, core: Box<Core>, cx: &mut Context<'_>) -> Box<Core> {
        let Some(handler) = &mut self.handler else { return core };
        let (mut core, result) = turn(&self.shared, core, || handler.as_mut().poll(cx));
        self.handler_end = match result {
            Ok(Poll::Pending) => return core,
            Ok(Poll::Ready(Ok(()))) => HandlerEnd::Returned,
            Ok(Poll::Ready(Err(error))) => HandlerEnd::Failed(error),
            Err(panic) => HandlerEnd::Panicked(panic),
        };
        // What the future still owns may be this session's socket: drop it in no turn.
        self.drop_handler();
        let failed = !matches!(self.handler_end, HandlerEnd::Returned);
        if failed || !core.detached {
            let code = if failed { CloseCode::INTERNAL_ERROR } else { CloseCode::NORMAL };
            core.start_close(CloseFrame::new(code, CloseReason::default()));
            core.discard_received();
        }
        core
    }

    /// Drops the handler's future, whose destructors may panic like the rest of it.
    fn drop_handler(&mut self) {
        let handler = self.handler.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            self.handler_end = HandlerEnd::Panicked(panic);
        }
    }

    fn apply(&mut self, core: &mut Core, requests: Requests) {
        let Requests { abort, disconnect, send, close, give_up, skip, detach, deaf, dropped } =
            requests;
        if abort || disconnect {
            self.driver.abort(core);
        }
        if abort {
            self.drop_handler();
        }
        for message in send {
            // A failure shows at the sender's next operation.
            let _ = core.send_behind(message);
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
        if dropped {
            core.start_close(CloseFrame::new(CloseCode::NORMAL, CloseReason::default()));
            core.discard_received();
        }
    }

    /// Goes round until nothing moves any more: read, handler, write, end, deadlines.
    ///
    /// Deadlines come last. What has arrived or can be written counts, however late this is called.
    fn advance(&mut self, mut core: Box<Core>, cx: &mut Context<'_>) -> Box<Core> {
        // Before the handler may use up what the runtime allows this task in one turn.
        if !core.is_flushed() {
            let _ = self.driver.poll_flush(&mut core, cx);
        }
        if core.is_settled() {
            let _ = self.driver.poll_end(&mut core, cx);
        }
        let mut first = true;
        let mut rounds = ROUNDS;
        // Whether anything happened that this round has to look at.
        let mut moved = true;
        loop {
            let reads = core.wants_input();
            let filled = reads && self.driver.poll_fill(&mut core, cx).is_ready();
            if moved || filled {
                self.driver.signal(&core, &self.shared.signals);
                if core.notify(cx.waker()) || first {
                    core = self.poll_handler(core, cx);
                }
                first = false;
                core.read_ahead();
                let _ = self.driver.poll_flush(&mut core, cx);
                let _ = self.driver.poll_end(&mut core, cx);
                self.driver.signal(&core, &self.shared.signals);
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
            let deadlines = poll_fn(|cx| self.driver.poll_deadlines(&mut core, cx));
            let passed = pin!(unconstrained(deadlines)).poll(cx).is_ready();
            if !(moved || filled || passed) {
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
}

impl<T, F> Future for Session<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<(), BoxError>>,
{
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        this.driver.begin();
        let (mut core, mut requests) = this.shared.take();
        loop {
            if let Some(requests) = requests {
                this.apply(&mut core, *requests);
            }
            core = this.advance(core, cx);
            if this.driver.is_done() && this.handler.is_none() {
                let ended = Ended {
                    handler: std::mem::replace(&mut this.handler_end, HandlerEnd::Dropped),
                    peer_close: core.peer_close(),
                    failure: core.failure(),
                    stats: core.stats,
                };
                this.shared.end(core);
                return Poll::Ready(ended);
            }
            match this.shared.put(core, cx.waker()) {
                None => {
                    this.driver.rest();
                    return Poll::Pending;
                }
                Some(back) => (core, requests) = back,
            }
        }
    }
}

impl<T, F> Drop for Session<T, F> {
    fn drop(&mut self) {
        self.shared.abandon(self.driver.config());
    }
}

impl<T, F> fmt::Debug for Session<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("handler", &self.handler.is_some()).finish_non_exhaustive()
    }
}

/// Closes or aborts a [`Session`] from elsewhere.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Begins to close the socket: the Close goes out behind what is queued, the handler's
    /// [`recv`](WebSocket::recv) goes on until the peer's Close and then ends.
    pub fn close(&self, frame: CloseFrame) {
        self.shared.request(|requests| requests.close = Some(frame));
    }

    /// Drops the transport and the handler. ([`WebSocket::abort`] leaves the handler alone.)
    pub fn abort(&self) {
        self.shared.request(|requests| requests.abort = true);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("closing", &self.shared.signals.is_closing())
            .finish_non_exhaustive()
    }
}

/// How a handler ended.
#[derive(Debug)]
pub enum HandlerEnd {
    /// It returned without an error.
    Returned,
    /// It returned an error.
    Failed(BoxError),
    /// It panicked; this is what `catch_unwind` gives.
    Panicked(Box<dyn Any + Send>),
    /// It was dropped, because the session was aborted.
    Dropped,
}

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    handler: HandlerEnd,
    peer_close: Option<Box<CloseFrame>>,
    failure: Option<Error>,
    stats: Stats,
}

impl Ended {
    /// How the handler ended.
    #[must_use]
    pub fn handler(&self) -> &HandlerEnd {
        &self.handler
    }

    /// The peer's Close. `None` when the connection ended without one (1006).
    #[must_use]
    pub fn peer_close(&self) -> Option<&CloseFrame> {
        self.peer_close.as_deref()
    }

    /// Why the connection did not end with both Closes; `None` when it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// How much went through the socket.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes the end of the handler out, for example to resume its panic.
    #[must_use]
    pub fn into_handler(self) -> HandlerEnd {
        self.handler
    }
}
