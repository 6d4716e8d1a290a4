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
    mem::{self, ManuallyDrop},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{
    config::Config,
    core::{Core, End},
    signals::Signals,
};
use crate::proto::{CloseFrame, Message};

#[derive(Default)]
pub(crate) struct Shared {
    slot: Mutex<Slot>,
    pub(crate) signals: Signals,
}

#[derive(Default)]
struct Slot {
    /// `None` while the session has it.
    core: Option<Box<Core>>,
    /// The session's task, once it was polled and until it is over.
    session: Option<Waker>,
    /// The session is in a poll, and looks at the requests before it ends.
    busy: bool,
    /// Operations that found the core out.
    waiting: Vec<Waker>,
    /// Rare, and so not worth their room in every socket.
    requests: Option<Box<Requests>>,
}

impl Slot {
    fn requests(&mut self) -> &mut Requests {
        self.requests.get_or_insert_default()
    }

    fn wake_session(&self) {
        if !self.busy
            && let Some(session) = &self.session
        {
            session.wake_by_ref();
        }
    }
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
    /// The user's end may outlive the handler.
    pub(crate) detach: bool,
    /// The user's end is gone.
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
    pub(crate) fn new(core: Core) -> Arc<Self> {
        let slot = Slot { core: Some(Box::new(core)), ..Slot::default() };
        Arc::new(Self { slot: Mutex::new(slot), signals: Signals::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // Nothing panics while it is locked.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the core to an operation of the socket's user. Pending while the session has it on
    /// another thread.
    #[inline]
    pub(crate) fn poll_core<R>(&self, cx: &Context<'_>, f: impl FnOnce(&mut Core) -> R) -> Poll<R> {
        match self.access(f, |slot| {
            if !slot.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                slot.waiting.push(cx.waker().clone());
            }
        }) {
            Ok(result) => Poll::Ready(result),
            Err(_) => Poll::Pending,
        }
    }

    /// Gives the core to `f`, or asks the session for what `otherwise` says.
    pub(crate) fn core_or_request<R>(
        &self,
        f: impl FnOnce(&mut Core) -> R,
        otherwise: impl FnOnce(&mut Requests) -> R,
    ) -> R {
        let mut otherwise = Some(otherwise);
        let mut asked = None;
        let result = self.access(f, |slot| {
            asked = otherwise.take().map(|otherwise| otherwise(slot.requests()));
        });
        result.unwrap_or_else(|()| asked.expect("asked where the core is not given"))
    }

    #[inline]
    fn access<R, F>(&self, f: F, absent: impl FnOnce(&mut Slot)) -> Result<R, ()>
    where
        F: FnOnce(&mut Core) -> R,
    {
        let in_turn = TURN.with_borrow_mut(|turn| {
            let mut next = turn.as_mut();
            while let Some(turn) = next {
                if std::ptr::eq(turn.owner, self) {
                    return Ok(f(&mut turn.core));
                }
                next = turn.outer.as_deref_mut();
            }
            Err(f)
        });
        match in_turn {
            Ok(result) => Ok(result),
            Err(f) => self.access_outside(f, absent),
        }
    }

    #[cold]
    fn access_outside<R>(
        &self,
        f: impl FnOnce(&mut Core) -> R,
        absent: impl FnOnce(&mut Slot),
    ) -> Result<R, ()> {
        let mut slot = self.lock();
        let Some(core) = &mut slot.core else {
            absent(&mut slot);
            return Err(());
        };
        let result = f(core);
        slot.wake_session();
        Ok(result)
    }

    /// Asks something of the session.
    pub(crate) fn request(&self, change: impl FnOnce(&mut Requests)) {
        let mut slot = self.lock();
        change(slot.requests());
        slot.wake_session();
    }

    /// The session begins a poll.
    pub(crate) fn take(&self) -> (Box<Core>, Option<Box<Requests>>) {
        let mut slot = self.lock();
        slot.busy = true;
        let core = slot.core.take().expect("a session that is not over puts the core back");
        (core, slot.requests.take())
    }

    /// The session ends a poll. When something was asked of it meanwhile, it gets the core back.
    pub(crate) fn put(
        &self,
        core: Box<Core>,
        waker: &Waker,
    ) -> Option<(Box<Core>, Option<Box<Requests>>)> {
        let mut slot = self.lock();
        if slot.requests.is_some() {
            return Some((core, slot.requests.take()));
        }
        slot.core = Some(core);
        slot.busy = false;
        match &mut slot.session {
            Some(session) => session.clone_from(waker),
            None => slot.session = Some(waker.clone()),
        }
        let waiting = mem::take(&mut slot.waiting);
        drop(slot);
        waiting.into_iter().for_each(Waker::wake);
        None
    }

    /// The session is over. The core stays, so that what was received can still be taken.
    pub(crate) fn end(&self, mut core: Box<Core>) {
        core.set_gone();
        core.notify(Waker::noop());
        let mut slot = self.lock();
        slot.core = Some(core);
        slot.session = None;
        let waiting = mem::take(&mut slot.waiting);
        drop(slot);
        self.signals.set_closed();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The session was dropped, perhaps before it was over, or panicked and has lost the core.
    pub(crate) fn abandon(&self, config: &Arc<Config>) {
        let core = self.lock().core.take();
        let mut core = core.unwrap_or_else(|| Box::new(Core::new(Arc::clone(config), &[])));
        if !core.is_gone() {
            core.fail(End::Aborted);
        }
        self.end(core);
    }
}
