//! How a socket's user and the session that drives it share its [`Core`].
//!
//! There is one owner at a time and no lock is held across a poll. While the session polls its
//! handler, the core sits in a thread-local slot, the *turn*: what the handler does with its
//! socket then finds it there, without a lock, and is written when the handler yields. At all other
//! times it rests in [`Shared`], behind a mutex, where a socket that was moved to another task finds
//! it; such an operation wakes the session, which writes at once. In the short time in which
//! the session has it out, an operation from elsewhere waits for the turn's end.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    config::Config,
    core::{Core, End},
    exchange::{Exchange, Wake},
    signals::Signals,
};
use crate::proto::{CloseFrame, Message};

pub(crate) struct Shared {
    exchange: Exchange<Core, Requests>,
    pub(crate) signals: Signals,
}

/// What others ask of the session, whether or not the core is at hand.
#[derive(Default)]
pub(crate) struct Requests {
    /// Drop the transport and the handler.
    pub(crate) abort: bool,
    /// Drop the transport.
    pub(crate) disconnect: bool,
    pub(crate) send: Vec<Message>,
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
}

struct Turn {
    owner: *const Shared,
    core: Box<Core>,
    /// That of the session whose handler polls this one.
    outer: Option<Box<Self>>,
}

thread_local! {
    // Without a destructor it is reached without looking whether that has run. It would have nothing
    // to do: a turn ends where it began.
    static TURN: RefCell<ManuallyDrop<Option<Turn>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Runs `f` with `core` where the user's end of `shared` finds it, and returns it.
///
/// A panic in `f` is returned as `Err`.
pub(crate) fn turn<R>(
    shared: &Arc<Shared>,
    core: Box<Core>,
    f: impl FnOnce() -> R,
) -> (Box<Core>, std::thread::Result<R>) {
    let owner = Arc::as_ptr(shared);
    let outer = replace_turn(None).map(Box::new);
    replace_turn(Some(Turn { owner, core, outer }));
    let result = catch_unwind(AssertUnwindSafe(f));
    let turn = replace_turn(None).expect("inner turns put the outer one back");
    debug_assert_eq!(turn.owner, owner);
    replace_turn(turn.outer.map(|outer| *outer));
    (turn.core, result)
}

fn replace_turn(turn: Option<Turn>) -> Option<Turn> {
    ManuallyDrop::into_inner(TURN.replace(ManuallyDrop::new(turn)))
}

impl Shared {
    pub(crate) fn new(core: Core, signals: Signals) -> Arc<Self> {
        Arc::new(Self { exchange: Exchange::new(core), signals })
    }

    /// Gives the core to an operation of the socket's user. Pending while the session has it on
    /// another thread.
    #[inline]
    pub(crate) fn poll_core<R>(&self, cx: &Context<'_>, f: impl FnOnce(&mut Core) -> R) -> Poll<R> {
        match self.in_turn(f) {
            Ok(result) => Poll::Ready(result),
            Err(f) => self.exchange.poll(cx, Wake::Session, f),
        }
    }

    /// Like [`poll_core`](Self::poll_core), for what need not be written before something else is, or
    /// before [`wake`](Self::wake).
    pub(crate) fn poll_core_quietly<R>(
        &self,
        cx: &Context<'_>,
        f: impl FnOnce(&mut Core) -> R,
    ) -> Poll<R> {
        match self.in_turn(f) {
            Ok(result) => Poll::Ready(result),
            Err(f) => self.exchange.poll(cx, Wake::Nobody, f),
        }
    }

    /// Gives the core to `f`, or asks the session for what `otherwise` says.
    pub(crate) fn core_or_request<R>(
        &self,
        wake: Wake,
        f: impl FnOnce(&mut Core) -> R,
        otherwise: impl FnOnce(&mut Requests) -> R,
    ) -> R {
        match self.in_turn(f) {
            Ok(result) => result,
            Err(f) => self.exchange.visit_or_request(wake, f, otherwise),
        }
    }

    /// Gives the core to `f` if it is in a turn of this thread, else `f` back.
    #[inline]
    fn in_turn<R, F: FnOnce(&mut Core) -> R>(&self, f: F) -> Result<R, F> {
        TURN.with_borrow_mut(|turn| {
            let mut next = turn.as_mut();
            while let Some(turn) = next {
                if std::ptr::eq(turn.owner, self) {
                    return Ok(f(&mut turn.core));
                }
                next = turn.outer.as_deref_mut();
            }
            Err(f)
        })
    }

    /// Has the session do what was left to it quietly.
    pub(crate) fn wake(&self) {
        self.exchange.wake();
    }

    /// Asks something of the session.
    pub(crate) fn request(&self, change: impl FnOnce(&mut Requests)) {
        self.exchange.request(change);
    }

    /// The session begins a poll.
    pub(crate) fn take(&self) -> (Box<Core>, Option<Box<Requests>>) {
        self.exchange.take()
    }

    /// The session ends a poll. When something was asked of it meanwhile, it gets the core back.
    pub(crate) fn put(
        &self,
        core: Box<Core>,
        waker: &Waker,
    ) -> Option<(Box<Core>, Option<Box<Requests>>)> {
        self.exchange.put(core, waker)
    }

    /// The session is over. The core stays, so that what was received can still be taken.
    pub(crate) fn end(&self, mut core: Box<Core>) {
        core.set_gone();
        core.notify(Waker::noop());
        // Before anybody who waits for the core learns of it.
        self.signals.set_closed();
        self.exchange.end(core);
    }

    /// The session was dropped, perhaps before it was over, or panicked and has lost the core.
    pub(crate) fn abandon(&self, config: &Arc<Config>) {
        let core = self.exchange.seize();
        let mut core = core.unwrap_or_else(|| Box::new(Core::new(Arc::clone(config), &[])));
        if !core.is_gone() {
            core.fail(End::Aborted);
        }
        self.end(core);
    }
}
