//! The transport's side of a socket: reads, writes, deadlines, and the way in which it ends.
//!
//! ```text
//!            our Close and the peer's, a violation's Close,
//!            or the peer's EOF: core is settled
//!  Running ───────────────────────────────────────────► Flushing
//!     │                                                    │ all written
//!     │                                     client, closed │        server, or failed
//!     │                                 AwaitingEof ◄──────┴──────► ShuttingDown
//!     │                                     │ EOF, 2 s                 │ our FIN is out
//!     │                                     └────► ShuttingDown        ▼
//!     │ transport failed, deadline, abort                          Lingering
//!     └──────────────────────────► Done ◄──────────────────────────────┘ EOF, 1 s, 256 KiB
//! ```
//!
//! Every stage but the first has a deadline, at which the transport is dropped.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::io::poll_read_buf;

use super::{
    arrival::Arrival,
    config::{Config, Timeouts},
    core::{Core, End},
    error::Timeout,
    scratch::{self, Input},
    signals::Signals,
};
use crate::proto::{Role, Violation};

/// The most that one write hands to a transport that copies whatever it is given, as hyper's
/// HTTP/2 streams and TLS do.
const COALESCED: usize = 64 * 1024;

/// How much is read before other tasks have their turn.
const READ_BUDGET: usize = 64 * 1024;

/// How much is read at once of what may be a message in parts: all of it is in memory until it was taken.
const PARTS_READ: usize = 24 * 1024;

/// What a read costs of it, however short it is.
const READ_COST: usize = 4 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Flushing,
    AwaitingEof,
    ShuttingDown,
    Lingering { left: usize },
    Done,
}

pub(crate) struct Driver<T> {
    /// `None` once done.
    io: Option<T>,
    config: Arc<Config>,
    vectored: bool,
    stage: Stage,
    /// Bytes that may still be read before other tasks have their turn.
    budget: usize,
    /// The runtime has a clock.
    has_clock: bool,
    deadlines: Deadlines,
    timer: Option<Pin<Box<Sleep>>>,
}

/// When what happens, if nothing else does before.
#[derive(Default)]
struct Deadlines {
    /// The peer's Close is to be there.
    close: Option<Instant>,
    /// The end is settled without the user.
    hold: Option<Instant>,
    /// A write is to make progress.
    stall: Option<Instant>,
    /// The message that has begun is to be complete, or some more of it there.
    arrival: Arrival,
    /// The present stage is over.
    stage: Option<Instant>,
}

impl Deadlines {
    #[inline]
    fn is_empty(&self) -> bool {
        let Self { close, hold, stall, arrival, stage } = self;
        arrival.is_off() && [close, hold, stall, stage].into_iter().all(Option::is_none)
    }

    fn next(&self) -> Option<Instant> {
        let Self { close, hold, stall, ref arrival, stage } = *self;
        [close, hold, stall, arrival.due(), stage].into_iter().flatten().min()
    }
}

impl<T> Driver<T> {
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(io: T, config: Arc<Config>) -> Self {
        Self {
            vectored: io.is_write_vectored(),
            io: Some(io),
            config,
            stage: Stage::Running,
            budget: READ_BUDGET,
            has_clock: false,
            deadlines: Deadlines::default(),
            timer: None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Begins a poll.
    ///
    /// # Panics
    ///
    /// Without a tokio runtime that has timers, here and not where the first deadline is due.
    pub(crate) fn begin(&mut self) {
        if !self.has_clock {
            drop(tokio::time::sleep(Duration::ZERO));
            self.has_clock = true;
        }
    }

    /// Nothing is read before the user comes back.
    #[inline]
    pub(crate) fn pause(&mut self) {
        if !self.deadlines.arrival.is_off() {
            self.deadlines.arrival.pause();
        }
    }

    /// The poll ends as pending, so that other tasks have their turn before more is read.
    pub(crate) fn rest(&mut self) {
        self.budget = READ_BUDGET;
    }

    fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    // ===== writing =====

    /// Writes what is queued. Ready when nothing is left, or nothing can be written any more.
    pub(crate) fn poll_flush(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if core.is_gone() {
            // The socket was aborted.
            self.done(core);
        }
        while core.conn.has_output() {
            let Some(io) = &mut self.io else { return Poll::Ready(()) };
            match poll_write(io, self.vectored, core, cx) {
                Poll::Ready(Ok(0)) => self.fail(core, io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    core.conn.advance(n);
                    core.unflushed = true;
                    self.deadlines.stall = None;
                }
                Poll::Ready(Err(error)) => self.fail(core, error),
                Poll::Pending => return self.stalled(),
            }
        }
        if core.conn.output_failed() {
            let error = io::Error::other("the operating system gave no masking key");
            self.fail(core, error);
            return Poll::Ready(());
        }
        core.release_output();
        if core.unflushed
            && let Some(io) = &mut self.io
        {
            match Pin::new(io).poll_flush(cx) {
                Poll::Ready(Ok(())) => core.unflushed = false,
                Poll::Ready(Err(error)) => self.fail(core, error),
                Poll::Pending => return self.stalled(),
            }
        }
        self.deadlines.stall = None;
        Poll::Ready(())
    }

    fn stalled(&mut self) -> Poll<()> {
        let after = self.config.timeouts.write_stall;
        self.deadlines.stall.get_or_insert_with(|| deadline(after));
        Poll::Pending
    }

    // ===== reading =====

    /// Reads once. Ready when something was read or the end was found.
    pub(crate) fn poll_fill(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if core.take_pause() {
            self.exhaust();
        }
        ready!(self.poll_budget(cx));
        let Some(io) = &mut self.io else { return Poll::Pending };
        let result = if let Some(mut space) = core.conn.payload_space() {
            let result = ready!(poll_read_buf(Pin::new(io), cx, &mut space));
            if let Ok(n @ 1..) = result {
                core.payload_received(n);
            }
            result
        } else {
            let mut buffer = scratch::take_read();
            let size = if core.wants_messages() { buffer.len() } else { PARTS_READ };
            let mut read = ReadBuf::new(&mut buffer[..size]);
            match Pin::new(io).poll_read(cx, &mut read) {
                Poll::Pending => {
                    scratch::give_read(buffer);
                    return Poll::Pending;
                }
                Poll::Ready(result) => {
                    let n = read.filled().len();
                    core.set_input(Input::lent(buffer, n));
                    result.map(|()| n)
                }
            }
        };
        if let Ok(n) = result {
            self.spend(n);
        }
        match result {
            Ok(0) => core.finish(End::Eof),
            Ok(_) => {}
            Err(error) => self.fail(core, error),
        }
        Poll::Ready(())
    }

    /// Pending when other tasks should have their turn before more is read.
    pub(crate) fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.budget > 0 {
            return Poll::Ready(());
        }
        // Unlike a plain wake, this lets the runtime look at its other sockets before.
        pin!(tokio::task::yield_now()).poll(cx)
    }

    /// This was enough for one turn.
    pub(crate) fn exhaust(&mut self) {
        self.budget = 0;
    }

    fn spend(&mut self, read: usize) {
        self.budget = self.budget.saturating_sub(read.max(READ_COST));
    }

    // ===== ending =====

    /// Drops the transport at once.
    pub(crate) fn abort(&mut self, core: &mut Core) {
        core.fail(End::Aborted);
        self.done(core);
    }

    fn fail(&mut self, core: &mut Core, error: io::Error) {
        core.fail(End::Io(Arc::new(error)));
        self.done(core);
    }

    fn time_out(&mut self, core: &mut Core, timeout: Timeout) {
        core.fail(End::TimedOut(timeout));
        self.done(core);
    }

    fn done(&mut self, core: &mut Core) {
        core.set_gone();
        self.stage = Stage::Done;
        self.deadlines = Deadlines::default();
        self.timer = None;
        self.io = None;
    }

    fn enter(&mut self, stage: Stage, within: Duration) {
        self.stage = stage;
        self.deadlines = Deadlines { stage: Some(deadline(within)), ..Deadlines::default() };
    }

    /// Ends the transport once the time has come. Ready when it is gone.
    pub(crate) fn poll_end(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.stage {
                Stage::Running => match core.end() {
                    Some(end) if core.is_settled() => {
                        let within = match end {
                            End::Close => self.timeouts().close,
                            _ => self.timeouts().violation_flush,
                        };
                        self.enter(Stage::Flushing, within);
                    }
                    _ => return Poll::Pending,
                },
                Stage::Flushing => {
                    ready!(self.poll_flush(core, cx));
                    if self.is_done() {
                        continue;
                    }
                    let client_waits =
                        self.config.role == Role::Client && matches!(core.end(), Some(End::Close));
                    if client_waits {
                        let within = self.timeouts().server_end;
                        self.enter(Stage::AwaitingEof, within);
                    } else {
                        let within = self.timeouts().linger;
                        self.enter(Stage::ShuttingDown, within);
                    }
                }
                Stage::AwaitingEof => {
                    let mut unlimited = usize::MAX;
                    ready!(self.poll_discard(cx, &mut unlimited));
                    let within = self.timeouts().linger;
                    self.enter(Stage::ShuttingDown, within);
                }
                Stage::ShuttingDown => {
                    let Some(io) = &mut self.io else { return Poll::Ready(()) };
                    let result = ready!(Pin::new(io).poll_shutdown(cx));
                    let at_eof = matches!(core.end(), Some(End::Eof));
                    if result.is_err() || at_eof || self.config.role == Role::Client {
                        self.done(core);
                    } else {
                        let left = self.config.limits.linger_bytes;
                        let within = self.timeouts().linger;
                        self.enter(Stage::Lingering { left }, within);
                    }
                }
                Stage::Lingering { mut left } => {
                    let result = self.poll_discard(cx, &mut left);
                    self.stage = Stage::Lingering { left };
                    ready!(result);
                    self.done(core);
                }
                Stage::Done => return Poll::Ready(()),
            }
        }
    }

    /// Reads and forgets until EOF, an error, or `left` bytes.
    fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        loop {
            ready!(self.poll_budget(cx));
            let Some(io) = &mut self.io else { return Poll::Ready(()) };
            let mut buffer = scratch::take_read();
            let mut read = ReadBuf::new(&mut buffer);
            let result = Pin::new(io).poll_read(cx, &mut read);
            let n = read.filled().len();
            scratch::give_read(buffer);
            if ready!(result).is_err() {
                return Poll::Ready(());
            }
            self.spend(n);
            *left = left.saturating_sub(n);
            if n == 0 || *left == 0 {
                return Poll::Ready(());
            }
        }
    }

    // ===== deadlines =====

    /// Sets and lifts the deadlines that follow from the socket's state, and acts on those that
    /// passed. Ready when one has: the caller looks at everything again.
    pub(crate) fn poll_deadlines(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if self.stage == Stage::Running {
            let calm =
                core.end().is_none() && !core.conn.close_queued() && !core.conn.is_mid_message();
            if calm && self.deadlines.is_empty() {
                return Poll::Pending;
            }
            let timeouts = &self.config.timeouts;
            let deadlines = &mut self.deadlines;
            let open = core.end().is_none();
            if !open || !core.conn.is_mid_message() {
                deadlines.arrival.stop();
            } else if core.wants_input() {
                let allowed =
                    if core.is_in_parts() { timeouts.progress } else { timeouts.assembly };
                deadlines.arrival.run(core.arrivals(), allowed, deadline);
            } else {
                deadlines.arrival.pause();
            }
            want(&mut deadlines.close, open && core.conn.close_queued(), timeouts.close);
            want(&mut deadlines.hold, !open && !core.is_settled(), timeouts.close);
        }
        let Some(mut next) = self.deadlines.next() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        loop {
            if next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if next <= now {
                self.pass(core, now);
                return Poll::Ready(());
            }
            // The timer was set for something that is over.
            timer.as_mut().reset(next);
            next = self.deadlines.next().expect("nothing lifts a deadline meanwhile");
        }
    }

    fn pass(&mut self, core: &mut Core, now: Instant) {
        let passed = |deadline: &mut Option<Instant>| {
            deadline.take_if(|deadline| *deadline <= now).is_some()
        };
        let Deadlines { close, hold, stall, arrival, stage } = &mut self.deadlines;
        let (close, hold, stall) = (passed(close), passed(hold), passed(stall));
        let (late, stage) = (arrival.passed(now), passed(stage));
        if stage && self.stage == Stage::Flushing {
            self.time_out(core, Timeout::Write);
        } else if stage {
            self.done(core);
        } else if stall {
            self.time_out(core, Timeout::Write);
        } else if close {
            self.time_out(core, Timeout::Close);
        } else if late {
            core.finish(End::Violation(Violation::MessageTooSlow));
        } else if hold {
            core.settle();
        }
    }

    /// Tells those who wait for the socket's state from outside.
    pub(crate) fn signal(&self, core: &Core, signals: &Signals) {
        if self.is_done() {
            signals.set_closed();
        } else if core.end().is_some() || core.conn.close_queued() {
            signals.set_closing();
        }
    }
}

fn want(slot: &mut Option<Instant>, wanted: bool, after: Duration) {
    if !wanted {
        *slot = None;
    } else if slot.is_none() {
        *slot = Some(deadline(after));
    }
}

/// Saturates where `after` is longer than the clock can express.
fn deadline(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(60 * 60 * 24 * 365))
}

fn poll_write<T: AsyncWrite + Unpin>(
    io: &mut T,
    vectored: bool,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    let [head, body] = core.conn.output();
    if vectored {
        if body.is_empty() {
            return io.poll_write(cx, head);
        }
        return io.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]);
    }
    if body.is_empty() || head.len() >= COALESCED {
        return io.poll_write(cx, &head[..head.len().min(COALESCED)]);
    }
    if head.is_empty() {
        return io.poll_write(cx, &body[..body.len().min(COALESCED)]);
    }
    // One write, so one DATA frame or TLS record: the header is not sent on its own.
    let mut buffer = scratch::take_read();
    let body = &body[..body.len().min(COALESCED - head.len())];
    let len = head.len() + body.len();
    buffer[..head.len()].copy_from_slice(head);
    buffer[head.len()..len].copy_from_slice(body);
    let result = io.poll_write(cx, &buffer[..len]);
    scratch::give_read(mem::take(&mut buffer));
    result
}
