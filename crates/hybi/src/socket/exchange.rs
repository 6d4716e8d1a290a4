//! How one object goes back and forth between a session and whoever else uses it.
//!
//! The session takes it out at the beginning of a poll and puts it back at the end. In between it
//! rests here, behind a mutex that is held for as long as somebody looks at it and never across a
//! poll. Three rules make up for every way in which the two can meet:
//!
//! * Whoever finds the object *resting* and leaves something in it for the session to do, wakes the
//!   session. What there is to do is the object's own word ([`Exchanged::demands`]), and the session is
//!   woken once for each demand that it has not been told of.
//! * Whoever finds it *out* waits for the end of the poll, or leaves a *request*, which the session has
//!   to see before its poll may end.
//! * The session leaves its waker with the object, under the same lock.
//!
//! It knows neither sockets nor tasks, so that loom can go through every interleaving: see the tests.

#[cfg(all(test, loom))]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
use std::sync::{Mutex, MutexGuard};
use std::{
    mem,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

/// What goes back and forth.
pub(crate) trait Exchanged {
    /// What there is for the session to do, one bit for each kind. A bit that the session has seen set,
    /// or was woken for, wakes it no more before it has taken the object again.
    fn demands(&self) -> u8;
}

/// Whether what is left to do should be done now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    Session,
    /// Not before somebody else wakes the session, or [`Exchange::wake`] is called.
    Nobody,
}

pub(crate) struct Exchange<C, R> {
    slot: Mutex<Slot<C, R>>,
}

struct Slot<C, R> {
    /// `None` while the session has it.
    core: Option<Box<C>>,
    /// The session's task, once it was polled and until it is over.
    session: Option<Waker>,
    /// The session is in a poll, and looks at the requests before it ends.
    busy: bool,
    /// The demands that the session knows of. `None` as long as nobody but the session has had the
    /// core: then it knows all.
    known: Option<u8>,
    /// Operations that found the core out.
    waiting: Vec<Waker>,
    /// Rare, and so not worth their room in every socket.
    requests: Option<Box<R>>,
}

impl<C, R> Slot<C, R> {
    fn wake_session(&self) {
        if !self.busy
            && let Some(session) = &self.session
        {
            session.wake_by_ref();
        }
    }
}

impl<C: Exchanged, R: Default> Slot<C, R> {
    /// Gives the core to `f`, or `f` back when it is out.
    fn visit<T, F: FnOnce(&mut C) -> T>(&mut self, wake: Wake, f: F) -> Result<T, F> {
        let Some(core) = &mut self.core else { return Err(f) };
        let known = *self.known.get_or_insert_with(|| core.demands());
        let result = f(core);
        if wake == Wake::Session {
            let demands = core.demands();
            if demands & !known != 0 {
                self.known = Some(known | demands);
                self.wake_session();
            }
        }
        Ok(result)
    }

    fn requests(&mut self) -> &mut R {
        self.requests.get_or_insert_default()
    }
}

impl<C: Exchanged, R: Default> Exchange<C, R> {
    pub(crate) fn new(core: C) -> Self {
        let slot = Slot {
            core: Some(Box::new(core)),
            session: None,
            busy: false,
            known: None,
            waiting: Vec::new(),
            requests: None,
        };
        Self { slot: Mutex::new(slot) }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<C, R>> {
        // Nothing panics while it is locked.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ===== for everyone but the session =====

    /// Gives the core to `f`. Pending while the session has it.
    #[cold]
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        wake: Wake,
        f: impl FnOnce(&mut C) -> T,
    ) -> Poll<T> {
        let mut slot = self.lock();
        match slot.visit(wake, f) {
            Ok(result) => Poll::Ready(result),
            Err(_) => {
                if !slot.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    slot.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Gives the core to `f`, or asks the session for what `otherwise` says.
    #[cold]
    pub(crate) fn visit_or_request<T>(
        &self,
        wake: Wake,
        f: impl FnOnce(&mut C) -> T,
        otherwise: impl FnOnce(&mut R) -> T,
    ) -> T {
        let mut slot = self.lock();
        match slot.visit(wake, f) {
            Ok(result) => result,
            Err(_) => otherwise(slot.requests()),
        }
    }

    /// Wakes the session for what was left to it with [`Wake::Nobody`].
    pub(crate) fn wake(&self) {
        // While the core is out, the session is awake.
        let _ = self.lock().visit(Wake::Session, |_| ());
    }

    /// Asks something of the session.
    pub(crate) fn request(&self, change: impl FnOnce(&mut R)) {
        let mut slot = self.lock();
        change(slot.requests());
        slot.wake_session();
    }

    // ===== for the session =====

    /// A poll begins.
    pub(crate) fn take(&self) -> (Box<C>, Option<Box<R>>) {
        let mut slot = self.lock();
        slot.busy = true;
        let core = slot.core.take().expect("a session that is not over puts the core back");
        (core, slot.requests.take())
    }

    /// A poll ends. When something was asked meanwhile, it does not: the core comes back.
    pub(crate) fn put(&self, core: Box<C>, waker: &Waker) -> Option<(Box<C>, Option<Box<R>>)> {
        let mut slot = self.lock();
        if slot.requests.is_some() {
            return Some((core, slot.requests.take()));
        }
        slot.core = Some(core);
        slot.busy = false;
        slot.known = None;
        match &mut slot.session {
            Some(session) => session.clone_from(waker),
            None => slot.session = Some(waker.clone()),
        }
        let waiting = mem::take(&mut slot.waiting);
        drop(slot);
        waiting.into_iter().for_each(Waker::wake);
        None
    }

    /// The session is over. The core stays for the others.
    pub(crate) fn end(&self, core: Box<C>) {
        let mut slot = self.lock();
        slot.core = Some(core);
        slot.session = None;
        let waiting = mem::take(&mut slot.waiting);
        drop(slot);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The session is dropped: the core, unless it was lost in a panic.
    pub(crate) fn seize(&self) -> Option<Box<C>> {
        self.lock().core.take()
    }
}

#[cfg(all(test, loom))]
mod tests {
    //! ```text
    //! RUSTFLAGS="--cfg loom" cargo test -p hybi --lib --release exchange -- --nocapture
    //! ```
    //!
    //! A session and its users on threads of their own, through every interleaving of theirs in which
    //! threads are preempted three times, and give way by themselves as often as they like. A model
    //! ends when everything that was asked for is done, so that a lost wake-up is a deadlock, which loom
    //! reports.

    use std::{
        future::poll_fn,
        io::Write,
        sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed},
        task::{Poll, Waker, ready},
    };

    use loom::{future::block_on, sync::Arc, thread};

    use super::{Exchange, Exchanged, Wake};

    /// A queue with one place, which the session empties.
    #[derive(Default)]
    struct Queue {
        queued: usize,
        written: usize,
        /// Whoever waits for the place.
        waiting: Vec<Waker>,
        /// How many users are done.
        done: usize,
        users: usize,
    }

    impl Exchanged for Queue {
        fn demands(&self) -> u8 {
            u8::from(self.queued > 0) | (u8::from(self.is_over()) << 1)
        }
    }

    impl Queue {
        fn is_over(&self) -> bool {
            self.done == self.users
        }
    }

    #[derive(Default)]
    struct Asked {
        send: usize,
        done: usize,
    }

    type Shared = Exchange<Queue, Asked>;

    /// Serves until every user is done. Gives what was written.
    fn serve(shared: &Shared) -> usize {
        block_on(poll_fn(|cx| {
            let (mut core, mut requests) = shared.take();
            loop {
                if let Some(asked) = requests {
                    core.queued += asked.send;
                    core.done += asked.done;
                }
                core.written += core.queued;
                core.queued = 0;
                core.waiting.drain(..).for_each(Waker::wake);
                if core.is_over() {
                    let written = core.written;
                    shared.end(core);
                    return Poll::Ready(written);
                }
                match shared.put(core, cx.waker()) {
                    None => return Poll::Pending,
                    Some(back) => (core, requests) = back,
                }
            }
        }))
    }

    /// Queues one when there is a place.
    fn send(shared: &Shared, wake: Wake) {
        block_on(poll_fn(|cx| {
            let sent = ready!(shared.poll(cx, wake, |core| {
                if core.queued > 0 {
                    core.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                core.queued += 1;
                Poll::Ready(())
            }));
            if sent.is_pending() && wake == Wake::Nobody {
                shared.wake();
            }
            sent
        }));
    }

    /// Waits until nothing is queued.
    fn flush(shared: &Shared) {
        block_on(poll_fn(|cx| {
            ready!(shared.poll(cx, Wake::Session, |core| {
                if core.queued > 0 {
                    core.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            }))
        }));
    }

    fn done(shared: &Shared) {
        shared.visit_or_request(Wake::Session, |core| core.done += 1, |asked| asked.done += 1);
    }

    /// Runs a session against `users`, who have `written` something by the end.
    fn model(name: &str, users: &[fn(&Shared)], written: usize) {
        let runs = std::sync::Arc::new(Counter::new(0));
        let count = std::sync::Arc::clone(&runs);
        let users = users.to_vec();
        let mut builder = loom::model::Builder::new();
        // Without a bound there is no end to them, and faults show with two.
        builder.preemption_bound = Some(3);
        builder.check(move || {
            count.fetch_add(1, Relaxed);
            let shared = Arc::new(Shared::new(Queue { users: users.len(), ..Queue::default() }));
            let threads: Vec<_> = users
                .iter()
                .map(|&user| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        user(&shared);
                        done(&shared);
                    })
                })
                .collect();
            assert_eq!(serve(&shared), written);
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        let runs = runs.load(Relaxed);
        writeln!(std::io::stderr(), "{name}: {runs} interleavings").expect("stderr is open");
    }

    /// The session's put against an operation from elsewhere: neither its wake-up nor the other's is
    /// lost.
    #[test]
    fn a_user_who_waits_for_room_gets_it() {
        model(
            "one sender",
            &[|shared| {
                send(shared, Wake::Session);
                send(shared, Wake::Session);
            }],
            2,
        );
    }

    #[test]
    fn what_was_left_without_waking_the_session_is_done_before_the_next_wait_ends() {
        model(
            "one quiet sender",
            &[|shared| {
                send(shared, Wake::Nobody);
                send(shared, Wake::Nobody);
                flush(shared);
            }],
            2,
        );
    }

    #[test]
    fn two_users_get_what_they_wait_for() {
        model(
            "two senders",
            &[|shared| send(shared, Wake::Session), |shared| send(shared, Wake::Session)],
            2,
        );
    }

    #[test]
    fn what_one_leaves_quietly_is_done_for_who_waits() {
        model(
            "a quiet sender and one that waits",
            &[|shared| send(shared, Wake::Nobody), |shared| flush(shared)],
            1,
        );
    }

    #[test]
    fn a_request_is_seen_whenever_it_is_made() {
        model(
            "requests",
            &[
                |shared| shared.request(|asked| asked.send += 1),
                |shared| {
                    shared.visit_or_request(
                        Wake::Session,
                        |core| core.queued += 1,
                        |asked| asked.send += 1,
                    );
                },
            ],
            2,
        );
    }

    #[test]
    fn a_request_beside_a_wait_delays_neither() {
        model(
            "a request and a sender",
            &[
                |shared| shared.request(|asked| asked.send += 1),
                |shared| send(shared, Wake::Session),
            ],
            2,
        );
    }
}
