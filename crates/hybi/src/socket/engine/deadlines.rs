//! When what happens, if nothing else does before.
//!
//! A socket has one timer at most. It is set to the nearest deadline and left alone when that moves away:
//! when it rings too early, it is set anew. So a message costs neither a look at the clock nor a move of the
//! timer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::{Core, Driver, ending::End, keep_alive::Life, progress::Progress, stages::Stage};
use crate::{
    proto::{CloseCode, Violation},
    socket::{config::Timeouts, error::Timeout},
};

/// The deadlines of one socket.
#[derive(Default)]
pub(crate) struct Deadlines {
    timer: Option<Pin<Box<Sleep>>>,
    /// Those that come and go.
    passing: Option<Box<Passing>>,
    /// Those that are off by default and stay.
    lasting: Option<Box<Lasting>>,
    started: bool,
    /// Something was read since the last ping of the keep-alive.
    heard: bool,
}

#[derive(Default)]
struct Passing {
    /// The peer's Close is to be there.
    close: Option<Instant>,
    /// The end is settled without the user.
    hold: Option<Instant>,
    /// A write is to make progress.
    stall: Option<Instant>,
    /// The present stage is over.
    stage: Option<Instant>,
    /// The handler is to have ended.
    grace: Option<Instant>,
    progress: Progress,
}

struct Lasting {
    lifetime: Option<Instant>,
    idle: Option<Quiet>,
}

/// A time in which a counter may not stand still. It is looked at four times in this time.
pub(super) struct Quiet {
    due: Instant,
    quarter: Duration,
    seen: u64,
    quarters: u8,
}

impl Quiet {
    pub(super) fn from(now: Instant, seen: u64, time: Duration) -> Self {
        let quarter = time / 4;
        Self { due: deadline(now, quarter), quarter, seen, quarters: 0 }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether the counter, which is at `count`, has stood still for too long.
    pub(super) fn is_over(&mut self, now: Instant, count: u64) -> bool {
        if self.due > now {
            return false;
        }
        self.due = deadline(now, self.quarter);
        self.quarters = if self.seen == count { self.quarters + 1 } else { 0 };
        self.seen = count;
        self.quarters >= 4
    }
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The socket is to be looked at again.
    Socket,
    /// And the handler has gone on for too long after the end of its socket.
    Grace,
}

/// Whom the timer wakes, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Watch {
    /// The timer knows the waker.
    pub(crate) knows_waker: bool,
    /// There is a handler that may outlive the socket.
    pub(crate) handler: bool,
}

impl Deadlines {
    /// Bytes were read.
    #[inline(always)]
    pub(super) fn heard(&mut self, bytes: usize) {
        self.heard = true;
        if let Some(passing) = &mut self.passing {
            passing.progress.received(bytes);
        }
    }

    /// A write made progress, or is not waited for.
    #[inline]
    pub(super) fn written(&mut self) {
        if let Some(passing) = &mut self.passing {
            passing.stall = None;
        }
    }

    /// A write waits.
    pub(super) fn stalled(&mut self, after: Duration) {
        let stall = &mut self.passing.get_or_insert_default().stall;
        stall.get_or_insert_with(|| deadline(Instant::now(), after));
    }

    /// A stage begins that may last so long.
    pub(super) fn enter_stage(&mut self, within: Option<Duration>) {
        let stage = within.map(|within| deadline(Instant::now(), within));
        let passing = self.passing.get_or_insert_default();
        let Passing { stall, grace, .. } = **passing;
        **passing = Passing { stage, stall, grace, ..Passing::default() };
        self.lasting = None;
    }

    /// Only the handler may be waited for from here on.
    pub(super) fn connection_is_over(&mut self) {
        self.lasting = None;
        self.passing = self.passing.take().and_then(|passing| {
            let grace = Some(passing.grace?);
            Some(Box::new(Passing { grace, ..Passing::default() }))
        });
    }

    /// There is nothing but the keep-alive, and the timer is set for that.
    fn is_quiet(&self) -> bool {
        let is_set = self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed());
        is_set && self.passing.is_none() && self.lasting.is_none()
    }

    fn next(&self, core: &Core) -> Option<Instant> {
        let timeouts = &core.config.timeouts;
        let passing = self.passing.as_ref().map(|passing| {
            let Passing { close, hold, stall, stage, grace, ref progress } = **passing;
            [close, hold, stall, stage, grace, progress.due(timeouts)].into_iter().flatten().min()
        });
        let lasting = self.lasting.as_ref().map(|lasting| {
            let idle = lasting.idle.as_ref().map(Quiet::due);
            [lasting.lifetime, idle].into_iter().flatten().min()
        });
        [passing.flatten(), lasting.flatten(), core.keep_alive_due()].into_iter().flatten().min()
    }

    /// Ready at `next`.
    fn poll_timer(&mut self, next: Instant, knows_waker: bool, cx: &mut Context<'_>) -> Poll<()> {
        let mut polled = knows_waker;
        let timer = self.timer.get_or_insert_with(|| {
            polled = false;
            Box::pin(sleep_until(next))
        });
        if next < timer.deadline() {
            timer.as_mut().reset(next);
            polled = false;
        }
        if polled && !timer.is_elapsed() {
            return Poll::Pending;
        }
        ready!(pin!(unconstrained(poll_fn(|cx| timer.as_mut().poll(cx)))).poll(cx));
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// The connection is up, and no deadline is set that has to do with what goes on at the moment.
    pub(crate) fn is_calm(&self) -> bool {
        self.stage == Stage::Running && self.time.started && self.time.passing.is_none()
    }

    /// The timer has rung.
    #[inline(always)]
    pub(crate) fn is_due(&self) -> bool {
        self.time.timer.as_ref().is_some_and(|timer| timer.is_elapsed())
    }

    /// Sets and lifts the deadlines that follow from the socket's state, and acts on those that
    /// passed. Ready when one has: the caller looks at everything again.
    ///
    /// # Panics
    ///
    /// Without a tokio runtime that has timers, here and not where the first deadline is due.
    pub(crate) fn poll_deadlines(
        &mut self,
        core: &mut Core,
        watch: Watch,
        cx: &mut Context<'_>,
    ) -> Poll<Passed> {
        self.set_deadlines(core, watch.handler);
        if watch.knows_waker && self.time.is_quiet() {
            return Poll::Pending;
        }
        let mut knows_waker = watch.knows_waker;
        loop {
            let Some(next) = self.time.next(core) else {
                self.time.timer = None;
                return Poll::Pending;
            };
            ready!(self.time.poll_timer(next, knows_waker, cx));
            let now = Instant::now();
            if next <= now {
                return Poll::Ready(self.pass(core, now));
            }
            // The timer was set for something that is over.
            if let Some(timer) = &mut self.time.timer {
                timer.as_mut().reset(next);
            }
            knows_waker = false;
        }
    }

    fn set_deadlines(&mut self, core: &mut Core, handler: bool) {
        if !self.time.started {
            self.time.start(core);
        }
        let open = core.end().is_none();
        let running = self.stage == Stage::Running;
        let mid_message = core.conn.is_mid_message();
        if running
            && open
            && !core.is_gone()
            && !core.conn.close_queued()
            && !mid_message
            && self.time.passing.is_none()
        {
            return;
        }
        let config = Arc::clone(&core.config);
        let timeouts = &config.timeouts;
        let passing = self.time.passing.get_or_insert_default();
        if running {
            if !open || !mid_message {
                passing.progress.stop();
            } else if core.wants_input() {
                passing.progress.run(core.stats.messages_received, timeouts);
            } else {
                passing.progress.pause();
            }
            let said = open && core.conn.close_queued() && !core.conn.has_output();
            want(&mut passing.close, said, timeouts.close);
            want(&mut passing.hold, !open && !core.is_settled(), timeouts.close);
        }
        let is_over = core.is_gone() || (!open && core.is_settled() && core.is_flushed());
        let grace = timeouts.handler_grace.filter(|_| handler && is_over && !core.detached);
        want(&mut passing.grace, grace.is_some(), grace.unwrap_or_default());
        if passing.is_empty() {
            self.time.passing = None;
        }
    }

    fn pass(&mut self, core: &mut Core, now: Instant) -> Passed {
        let config = Arc::clone(&core.config);
        let timeouts = &config.timeouts;
        let passed = self.time.passing.as_mut().map(|passing| passing.take(now, timeouts));
        let Taken { close, hold, stall, stage, grace, late } = passed.unwrap_or_default();
        if stage && self.stage == Stage::Flushing || stall {
            self.time_out(core, Timeout::Write);
        } else if stage {
            self.done(core);
        } else if close {
            self.time_out(core, Timeout::Close);
        } else if late {
            core.finish(End::Violation(Violation::MessageTooSlow));
            core.read_ahead();
        } else if hold {
            core.settle();
        } else if core.keep_alive_due().is_some_and(|due| due <= now) {
            if core.keep_alive(now, &mut self.time.heard) == Life::Lost {
                self.time_out(core, Timeout::Pong);
            }
        } else if let Some(code) = self.time.last(core, now) {
            core.start_close(code.into());
            self.time.lasting = None;
        }
        if grace { Passed::Grace } else { Passed::Socket }
    }
}

impl Deadlines {
    /// The first poll. Without a clock it panics, and not only where the first deadline is set.
    fn start(&mut self, core: &mut Core) {
        self.started = true;
        let Timeouts { idle, max_lifetime, .. } = core.config.timeouts;
        if core.config.keep_alive.is_none() && idle.is_none() && max_lifetime.is_none() {
            drop(tokio::time::sleep(Duration::ZERO));
            return;
        }
        let now = Instant::now();
        core.start_keep_alive(now);
        if idle.is_some() || max_lifetime.is_some() {
            self.lasting = Some(Box::new(Lasting {
                lifetime: max_lifetime.map(|lifetime| deadline(now, lifetime)),
                idle: idle.map(|idle| Quiet::from(now, core.traffic(), idle)),
            }));
        }
    }

    /// The code to close with, if the socket has lived, or been idle, for too long.
    fn last(&mut self, core: &Core, now: Instant) -> Option<CloseCode> {
        let lasting = self.lasting.as_mut()?;
        if lasting.lifetime.is_some_and(|lifetime| lifetime <= now) {
            return Some(CloseCode::GOING_AWAY);
        }
        let is_idle = lasting.idle.as_mut().is_some_and(|idle| idle.is_over(now, core.traffic()));
        is_idle.then_some(CloseCode::NORMAL)
    }
}

/// Which of the deadlines have passed.
#[derive(Default)]
struct Taken {
    close: bool,
    hold: bool,
    stall: bool,
    stage: bool,
    grace: bool,
    late: bool,
}

impl Passing {
    fn is_empty(&self) -> bool {
        let Self { close, hold, stall, stage, grace, progress } = self;
        progress.is_off() && [close, hold, stall, stage, grace].into_iter().all(Option::is_none)
    }

    /// Lifts the deadlines that have passed.
    fn take(&mut self, now: Instant, timeouts: &Timeouts) -> Taken {
        let take = |deadline: &mut Option<Instant>| deadline.take_if(|it| *it <= now).is_some();
        Taken {
            close: take(&mut self.close),
            hold: take(&mut self.hold),
            stall: take(&mut self.stall),
            stage: take(&mut self.stage),
            grace: take(&mut self.grace),
            late: self.progress.is_late(now, timeouts),
        }
    }
}

fn want(slot: &mut Option<Instant>, wanted: bool, after: Duration) {
    if !wanted {
        *slot = None;
    } else if slot.is_none() {
        *slot = Some(deadline(Instant::now(), after));
    }
}

/// Saturates where `after` is longer than the clock can express.
pub(super) fn deadline(from: Instant, after: Duration) -> Instant {
    let far = || from + Duration::from_secs(60 * 60 * 24 * 365);
    from.checked_add(after).unwrap_or_else(far)
}
