//! A socket that owns its transport and moves only while one of its operations is polled.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    core::{Core, Next},
    driver::Driver,
    error::Error,
    signals::Signals,
};
use crate::proto::{CloseFrame, Message};

pub(crate) struct Direct<T> {
    pub(crate) core: Core,
    /// Never locked: it makes the socket `Sync` for transports that are not.
    driver: Mutex<Driver<T>>,
    pub(crate) signals: Signals,
    wakers: Arc<Wakers>,
    /// `wakers` as the transport sees them.
    waker: Waker,
}

/// Which operation waits. Receiving and sending may be polled by two tasks, when a lock splits the
/// socket; the transport has one slot for readiness to write, which both need.
#[derive(Clone, Copy)]
enum Side {
    Recv = 0,
    Send = 1,
}

#[derive(Default)]
struct Wakers(Mutex<[Option<Waker>; 2]>);

impl Wakers {
    fn register(&self, side: Side, cx: &Context<'_>) {
        let slot = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[side as usize];
        match slot {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Direct<T> {
    pub(crate) fn new(io: T, core: Core) -> Self {
        let wakers = Arc::new(Wakers::default());
        Self {
            driver: Mutex::new(Driver::new(io, Arc::clone(&core.config))),
            core,
            signals: Signals::default(),
            waker: Waker::from(Arc::clone(&wakers)),
            wakers,
        }
    }

    /// What a session needs to go on with it.
    pub(crate) fn into_parts(self) -> (Core, Driver<T>, Signals) {
        let driver = self.driver.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.core, driver, self.signals)
    }

    /// Runs `f`, which registers the socket's own waker with the transport, for `side`.
    fn drive<R>(
        &mut self,
        side: Side,
        cx: &Context<'_>,
        f: impl FnOnce(&mut Core, &mut Driver<T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        self.wakers.register(side, cx);
        let driver = self.driver.get_mut().unwrap_or_else(PoisonError::into_inner);
        driver.begin();
        let result = f(&mut self.core, driver, &mut Context::from_waker(&self.waker));
        match side {
            _ if result.is_pending() => driver.rest(),
            Side::Recv => driver.pause(),
            Side::Send => {}
        }
        self.core.keep_input();
        driver.signal(&self.core, &self.signals);
        result
    }

    pub(crate) fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        self.poll_next(cx, Core::next, |core| core.report().map(|()| None))
    }

    /// Receives until `next` gives something, or `end` says what it is told at the end.
    #[inline]
    pub(crate) fn poll_next<M>(
        &mut self,
        cx: &Context<'_>,
        mut next: impl FnMut(&mut Core) -> Option<Next<M>>,
        end: impl FnOnce(&mut Core) -> Result<Option<M>, Error>,
    ) -> Poll<Result<Option<M>, Error>> {
        self.drive(Side::Recv, cx, |core, driver, cx| {
            loop {
                match next(core) {
                    Some(Next::Message(message)) => {
                        // A pong does not wait for the next call.
                        let _ = driver.poll_flush(core, cx);
                        return Poll::Ready(Ok(Some(message)));
                    }
                    Some(Next::End) => {
                        core.settle();
                        if driver.poll_end(core, cx).is_ready() {
                            return Poll::Ready(end(core));
                        }
                        ready!(driver.poll_deadlines(core, cx));
                    }
                    None => {
                        let _ = driver.poll_flush(core, cx);
                        // What has arrived counts, however late the user comes back.
                        if driver.poll_fill(core, cx).is_pending() {
                            ready!(driver.poll_deadlines(core, cx));
                        }
                    }
                }
            }
        })
    }

    /// Ready when a message may be queued, or never can be again.
    pub(crate) fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<()> {
        let done = |core: &Core| core.can_send() || core.is_gone() || core.conn.close_queued();
        if done(&self.core) { Poll::Ready(()) } else { self.poll_write(cx, done) }
    }

    pub(crate) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_write(cx, Core::is_flushed)
    }

    /// Writes until `done`. Whatever the peer sends meanwhile is read ahead, so that two ends that
    /// both push do not wait for each other as long as both receive at all.
    fn poll_write(&mut self, cx: &Context<'_>, done: impl Fn(&Core) -> bool) -> Poll<()> {
        if done(&self.core) && self.core.is_flushed() {
            return Poll::Ready(());
        }
        // A reader that is still wanted would be borrowing the socket.
        self.core.skip();
        self.drive(Side::Send, cx, |core, driver, cx| {
            loop {
                let _ = driver.poll_flush(core, cx);
                if done(core) {
                    return Poll::Ready(());
                }
                if core.wants_input() && driver.poll_fill(core, cx).is_ready() {
                    core.read_ahead();
                    continue;
                }
                if core.is_paused() && driver.poll_budget(cx).is_ready() {
                    driver.exhaust();
                    core.take_pause();
                    core.read_ahead();
                    continue;
                }
                if driver.poll_end(core, cx).is_pending() {
                    ready!(driver.poll_deadlines(core, cx));
                }
            }
        })
    }

    /// Closes, and ends the transport. What is received meanwhile is discarded.
    pub(crate) fn poll_close(
        &mut self,
        frame: &CloseFrame,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.core.start_close(frame.clone());
        self.core.discard_received();
        self.drive(Side::Send, cx, |core, driver, cx| {
            loop {
                let _ = driver.poll_flush(core, cx);
                if core.end().is_some() {
                    core.settle();
                    if driver.poll_end(core, cx).is_ready() {
                        return Poll::Ready(core.failure().map_or(Ok(()), Err));
                    }
                    ready!(driver.poll_deadlines(core, cx));
                } else if driver.poll_fill(core, cx).is_ready() {
                    core.read_ahead();
                } else {
                    ready!(driver.poll_deadlines(core, cx));
                }
            }
        })
    }

    pub(crate) fn abort(&mut self) {
        let driver = self.driver.get_mut().unwrap_or_else(PoisonError::into_inner);
        driver.abort(&mut self.core);
        self.signals.set_closed();
        // Another task may wait in an operation.
        self.waker.wake_by_ref();
    }
}
