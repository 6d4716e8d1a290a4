//! Where an operation of a socket finds the [`Core`].
//!
//! While a session polls its handler, the core sits in a slot of the thread, the *turn*: what the handler
//! does with its socket finds it there, without a lock, and is written when the handler yields. At all
//! other times an operation goes to the [`Link`].

use std::{
    cell::Cell,
    future::Future,
    mem::{self, ManuallyDrop},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    ptr,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::task::yield_now;

use super::{
    Step,
    link::{Link, Linked, Urge},
    waits::Place,
};
use crate::{
    proto::{CloseFrame, Message},
    socket::{
        config::Config,
        engine::{Core, Used},
        error::Error,
        signals::Signals,
    },
};

/// What the session of a socket and its users have in common.
pub(crate) type SocketLink = Link<Core, Box<Requests>, Facts>;

/// What everybody may read at any time.
pub(crate) struct Facts {
    pub(crate) config: Arc<Config>,
    pub(crate) signals: Signals,
}

/// What others ask of the session while the core is not at hand.
#[derive(Default)]
pub(crate) struct Requests {
    /// Drop the transport and the handler.
    pub(crate) abort: bool,
    /// Drop the transport.
    pub(crate) disconnect: bool,
    pub(crate) send: Vec<Message>,
    /// The first that was asked for.
    pub(crate) close: Option<CloseFrame>,
    /// The message that is sent in parts will not be finished.
    pub(crate) give_up: Option<CloseFrame>,
    /// Nobody wants the rest of the message that is received in parts.
    pub(crate) skip: bool,
    /// The user's end may outlive the handler.
    pub(crate) detach: bool,
    /// Nobody is left to receive.
    pub(crate) deaf: bool,
    /// The user's end is gone, or both halves of it.
    pub(crate) dropped: bool,
    /// Nobody waits here any more.
    pub(crate) left: Vec<Place>,
}

thread_local! {
    // Without a destructor it is reached without looking whether that has run. It would have nothing
    // to do: a turn ends where it began.
    static TURN: Cell<ManuallyDrop<Option<Box<Core>>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

#[inline(always)]
fn replace(core: Option<Box<Core>>) -> Option<Box<Core>> {
    ManuallyDrop::into_inner(TURN.replace(ManuallyDrop::new(core)))
}

/// Runs `f` with `core` where the user's end of `link` finds it, and returns it.
///
/// A panic in `f` is returned as `Err`.
#[inline]
pub(crate) fn turn<R>(
    link: &Arc<SocketLink>,
    mut core: Box<Core>,
    f: impl FnOnce() -> R,
) -> (Box<Core>, std::thread::Result<R>) {
    core.turn.begin(Arc::as_ptr(link).addr(), replace(None));
    mem::forget(replace(Some(core)));
    let result = catch_unwind(AssertUnwindSafe(f));
    let mut core =
        replace(None).expect("an operation puts the core back, and so does an inner turn");
    let outer = core.turn.end();
    if outer.is_some() {
        mem::forget(replace(outer));
    }
    (core, result)
}

/// The core whose turn it is, in the hands of an operation.
///
/// It goes back even where the operation panics: a waker of the user's may.
pub(crate) struct Borrowed(Option<Box<Core>>);

impl Borrowed {
    #[inline(always)]
    pub(crate) fn take() -> Self {
        Self(replace(None))
    }

    /// The core, if it is that of `link`.
    #[inline(always)]
    pub(crate) fn of(&mut self, link: &SocketLink) -> Option<&mut Core> {
        self.0.as_deref_mut().filter(|core| core.turn.is_of(ptr::from_ref(link).addr()))
    }
}

impl Drop for Borrowed {
    #[inline(always)]
    fn drop(&mut self) {
        mem::forget(replace(self.0.take()));
    }
}

/// Drops what is of no more use, where nothing of the socket is held.
#[inline(always)]
fn discard(used: Used) {
    if let Some(used) = used {
        drop(used);
    }
}

impl SocketLink {
    pub(crate) fn of(config: Arc<Config>) -> Arc<Self> {
        Arc::new(Self::new(Facts { config, signals: Signals::default() }))
    }

    /// Gives the core to `f` if it is in a turn of this thread, else `f` back.
    fn in_turn<R, F: FnOnce(&mut Core) -> R>(&self, f: F) -> Result<R, F> {
        let mut borrowed = Borrowed::take();
        let mut next = borrowed.0.as_mut();
        let address = ptr::from_ref(self).addr();
        while let Some(core) = next {
            if core.turn.is_of(address) {
                core.leave_plain();
                let result = f(core);
                let used = core.take_used();
                drop(borrowed);
                discard(used);
                return Ok(result);
            }
            next = core.turn.outer();
        }
        Err(f)
    }

    /// Gives the core to an operation of the socket's user. Pending while the session has it on
    /// another thread.
    pub(crate) fn poll_core<R>(
        &self,
        cx: &Context<'_>,
        urge: Urge,
        f: impl FnOnce(&mut Core) -> R,
    ) -> Poll<R> {
        match self.in_turn(f) {
            Ok(result) => Poll::Ready(result),
            Err(f) => {
                let polled = self.poll(cx, urge, |core| {
                    core.is_calm = false;
                    (f(core), core.take_used())
                });
                polled.map(|(result, used)| {
                    discard(used);
                    result
                })
            }
        }
    }

    /// Polls an operation until `f` gives something. It has a `place` once it has to wait.
    pub(crate) fn poll_until<R>(
        &self,
        cx: &mut Context<'_>,
        urge: Urge,
        place: &mut Option<Place>,
        f: impl FnOnce(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        let mut wake = false;
        let mut rest = false;
        let waker = cx.waker();
        let polled = self.poll_core(cx, urge, |core| match f(core) {
            Step::Done(result) => {
                core.turn.gets_on();
                Poll::Ready(result)
            }
            Step::Yield => {
                rest = true;
                if core.turn.is_on() {
                    core.pause();
                }
                Poll::Pending
            }
            Step::Wait(wait) if core.turn.is_on() => match core.wait_in_turn(wait, place, waker) {
                Ok(is_new) => {
                    wake = is_new;
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(error)),
            },
            Step::Wait(wait) => {
                let place = *place.get_or_insert_with(Place::new);
                core.waits.add(wait, place, waker, false);
                Poll::Pending
            }
        });
        let polled = ready!(polled);
        if wake {
            waker.wake_by_ref();
        }
        if rest {
            let _ = pin!(yield_now()).poll(cx);
        }
        if polled.is_pending() && urge == Urge::Later {
            // What this waits for is the session's to do.
            self.wake();
        }
        polled
    }

    /// Gives the core to `f`, or asks the session for what `otherwise` says.
    pub(crate) fn core_or_ask<R>(
        &self,
        urge: Urge,
        f: impl FnOnce(&mut Core) -> R,
        otherwise: impl FnOnce(&mut Requests) -> R,
    ) -> R {
        match self.in_turn(f) {
            Ok(result) => result,
            Err(f) => {
                let (result, used) = self.visit_or_ask(
                    urge,
                    |core| {
                        core.is_calm = false;
                        (f(core), core.take_used())
                    },
                    |requests| (otherwise(requests), None),
                );
                discard(used);
                result
            }
        }
    }

    /// Nobody waits at `place` any more.
    pub(crate) fn leave(&self, place: Place) {
        self.core_or_ask(
            Urge::Later,
            |core| core.waits.leave(place),
            |requests| requests.left.push(place),
        );
    }

    /// Queues a Close, as the first that was asked for.
    pub(crate) fn start_close(&self, frame: CloseFrame) {
        let frame = Cell::new(Some(frame));
        let take = || frame.take().expect("one of the two is called, once");
        self.core_or_ask(
            Urge::Now,
            |core| core.start_close(take()),
            |requests| {
                requests.close.get_or_insert_with(take);
            },
        );
    }

    /// Drops the transport.
    pub(crate) fn disconnect(&self) {
        self.core_or_ask(Urge::Now, Core::abort, |requests| requests.disconnect = true);
    }

    /// The session is over. The core stays, so that what was received can still be taken.
    pub(crate) fn leave_core(&self, mut core: Box<Core>) {
        core.set_gone();
        core.notify();
        // Before anybody who waits for the core learns of it.
        self.facts.signals.set_closed();
        self.end(core);
    }

    /// The session was dropped, perhaps before it was over, or panicked and has lost the core.
    pub(crate) fn abandon(&self, core: Option<Box<Core>>) {
        let core = core.or_else(|| self.seize());
        let mut core = core.unwrap_or_else(|| {
            let mut core = Box::new(Core::new(Arc::clone(&self.facts.config), &[]));
            // Nobody knows what was written.
            core.unflushed = true;
            core
        });
        if !core.is_gone() {
            core.abort();
        }
        self.leave_core(core);
    }
}

/// What a session has to act on.
impl Linked for Core {
    fn demands(&self) -> u8 {
        self.demanded()
    }
}

impl Facts {
    /// The core has something to tell the world.
    #[inline]
    pub(crate) fn publish(&self, core: &mut Core, is_done: bool) {
        if is_done || core.has_news() {
            self.publish_news(core, is_done);
        }
    }

    fn publish_news(&self, core: &mut Core, is_done: bool) {
        if let Some((round_trip, pong)) = core.take_news() {
            round_trip.into_iter().for_each(|it| self.signals.measured(it));
            pong.into_iter().for_each(|it| self.signals.pong(it));
        }
        if is_done {
            self.signals.set_closed();
        } else if core.end().is_some() || core.conn.close_queued() {
            self.signals.set_closing();
        }
    }
}

/// The user's end of what a session drives, whole or in halves. Dropping it closes the socket.
pub(crate) struct Handle(Arc<SocketLink>);

impl Handle {
    pub(crate) fn new(link: Arc<SocketLink>) -> Self {
        Self(link)
    }

    /// What does not close the socket when it is dropped.
    pub(crate) fn link(&self) -> &Arc<SocketLink> {
        &self.0
    }
}

impl std::ops::Deref for Handle {
    type Target = SocketLink;

    #[inline]
    fn deref(&self) -> &SocketLink {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core_or_ask(Urge::Now, Core::drop_user, |requests| requests.dropped = true);
    }
}
