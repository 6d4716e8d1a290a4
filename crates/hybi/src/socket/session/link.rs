//! How one object goes back and forth between a session and everybody else who uses it.
//!
//! The session owns the object, and nobody else has touched it as long as [`wanted`](Link::is_wanted) is not
//! set: then a poll of the session costs two loads of it and no lock. The first operation from elsewhere sets
//! it, for good. From then on the object rests here between the session's polls, behind a mutex that is held
//! while somebody looks at the object and never across a poll. Four rules make up for every way in which the
//! two can meet:
//!
//! * An operation first sets `wanted`. The session looks at it when its poll begins, and again once its
//!   waker is known here: so either the session sees it, or the operation finds the waker.
//! * An operation that finds the object *out* waits for it or leaves a *request*, and wakes the session, which
//!   puts the object here at the end of the poll that follows, and sees to the requests before.
//! * An operation that finds the object *resting* and leaves something in it for the session to do, wakes the
//!   session. What there is to do is the object's own word ([`Linked::demands`]), and the session is woken
//!   once for each demand that it has not been told of.
//! * The session leaves its waker with the object, under the same lock.
//!
//! It knows neither sockets nor tasks, so that loom can go through every interleaving: see the tests.

#[cfg(all(test, loom))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(all(test, loom)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
use std::{
    mem,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

/// What goes back and forth.
pub(crate) trait Linked {
    /// What there is for the session to do, one bit for each kind. A bit that the session has seen set,
    /// or was woken for, wakes it no more before it has taken the object again.
    fn demands(&self) -> u8;
}

/// Whether what is left to do should be done now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urge {
    Now,
    /// Not before somebody else wakes the session, or [`Link::wake`] is called.
    Later,
}

/// What a session and the users of its socket have in common: the object `C`, requests `R`, and facts `F` that
/// everybody may read at any time.
pub(crate) struct Link<C, R, F> {
    /// Somebody but the session has come.
    wanted: AtomicBool,
    slot: Mutex<Slot<C, R>>,
    pub(crate) facts: F,
}

struct Slot<C, R> {
    /// `None` while the session has it.
    parked: Option<Box<C>>,
    /// The session's task, once it was polled and until it is over.
    session: Option<Waker>,
    /// The session is in a poll that looks at the requests before it ends.
    busy: bool,
    /// The demands that the session knows of. `None` as long as nobody but the session has had the
    /// object: then it knows all.
    known: Option<u8>,
    rare: Option<Box<Rare<R>>>,
}

struct Rare<R> {
    /// Operations that found the object out.
    waiting: Vec<Waker>,
    requests: Option<R>,
}

/// How a poll of the session ends.
pub(crate) enum Rest<C, R> {
    /// Nobody else has come: the session keeps the object.
    Kept(Box<C>),
    /// The object is where everybody finds it.
    Parked,
    /// Something was asked meanwhile. The poll goes on.
    Asked(Box<C>, R),
}

impl<C, R> Slot<C, R> {
    /// The session's task, if it sleeps. It is woken where nothing is locked: its waker may be the user's.
    fn sleeper(&self) -> Option<Waker> {
        self.session.as_ref().filter(|_| !self.busy).cloned()
    }

    fn rare(&mut self) -> &mut Rare<R> {
        self.rare.get_or_insert_with(|| Box::new(Rare { waiting: Vec::new(), requests: None }))
    }

    fn take_requests(&mut self) -> Option<R> {
        self.rare.as_mut().and_then(|rare| rare.requests.take())
    }

    fn take_waiting(&mut self) -> Vec<Waker> {
        match &mut self.rare {
            Some(rare) => mem::take(&mut rare.waiting),
            None => Vec::new(),
        }
    }
}

impl<C: Linked, R: Default> Slot<C, R> {
    /// Gives the object to `f`, or `f` back when it is out. Also gives who is to be woken.
    fn visit<T, F>(&mut self, urge: Urge, f: F) -> Result<(T, Option<Waker>), F>
    where
        F: FnOnce(&mut C) -> T,
    {
        let Some(object) = &mut self.parked else { return Err(f) };
        let known = *self.known.get_or_insert_with(|| object.demands());
        let result = f(object);
        if urge == Urge::Now {
            let demands = object.demands();
            if demands & !known != 0 {
                self.known = Some(known | demands);
                return Ok((result, self.sleeper()));
            }
        }
        Ok((result, None))
    }

    fn ask<T>(&mut self, change: impl FnOnce(&mut R) -> T) -> T {
        change(self.rare().requests.get_or_insert_default())
    }
}

impl<C: Linked, R: Default, F> Link<C, R, F> {
    pub(crate) fn new(facts: F) -> Self {
        let slot = Slot { parked: None, session: None, busy: false, known: None, rare: None };
        Self { wanted: AtomicBool::new(false), slot: Mutex::new(slot), facts }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<C, R>> {
        // Nothing panics while it is locked.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks for somebody who is not the session.
    fn enter(&self) -> MutexGuard<'_, Slot<C, R>> {
        self.wanted.store(true, Ordering::SeqCst);
        self.lock()
    }

    // ===== for everyone but the session =====

    /// Gives the object to `f`. Pending while the session has it.
    #[cold]
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        urge: Urge,
        f: impl FnOnce(&mut C) -> T,
    ) -> Poll<T> {
        let mut slot = self.enter();
        let (polled, sleeper) = match slot.visit(urge, f) {
            Ok((result, sleeper)) => (Poll::Ready(result), sleeper),
            Err(_) => {
                let waiting = &mut slot.rare().waiting;
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                (Poll::Pending, slot.sleeper())
            }
        };
        drop(slot);
        sleeper.into_iter().for_each(Waker::wake);
        polled
    }

    /// Gives the object to `f`, or asks the session for what `otherwise` says.
    #[cold]
    pub(crate) fn visit_or_ask<T>(
        &self,
        urge: Urge,
        f: impl FnOnce(&mut C) -> T,
        otherwise: impl FnOnce(&mut R) -> T,
    ) -> T {
        let mut slot = self.enter();
        let (result, sleeper) = match slot.visit(urge, f) {
            Ok(visited) => visited,
            Err(_) => (slot.ask(otherwise), slot.sleeper()),
        };
        drop(slot);
        sleeper.into_iter().for_each(Waker::wake);
        result
    }

    /// Wakes the session for what was left to it with [`Urge::Later`].
    pub(crate) fn wake(&self) {
        // While the object is out, the session is awake.
        let visited = self.enter().visit(Urge::Now, |_| ());
        visited.ok().and_then(|((), sleeper)| sleeper).into_iter().for_each(Waker::wake);
    }

    /// Asks something of the session.
    pub(crate) fn ask(&self, change: impl FnOnce(&mut R)) {
        let mut slot = self.enter();
        slot.ask(change);
        let sleeper = slot.sleeper();
        drop(slot);
        sleeper.into_iter().for_each(Waker::wake);
    }

    /// From now on the object rests here between the session's polls. An operation that follows need not
    /// wait for it.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    // ===== for the session =====

    /// Leaves the object here before the first poll.
    pub(crate) fn park(&self, object: Box<C>) {
        let mut slot = self.enter();
        debug_assert!(slot.parked.is_none() && slot.session.is_none());
        slot.parked = Some(object);
        slot.busy = false;
    }

    /// Whether somebody but the session has come.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// A poll begins. `own` is the object if the last one ended with [`Rest::Kept`].
    #[inline]
    pub(crate) fn begin(&self, own: Option<Box<C>>) -> (Box<C>, Option<R>) {
        match own {
            Some(object) if !self.is_wanted() => (object, None),
            own => self.begin_shared(own),
        }
    }

    #[cold]
    fn begin_shared(&self, own: Option<Box<C>>) -> (Box<C>, Option<R>) {
        let mut slot = self.lock();
        slot.busy = true;
        let object = own.or_else(|| slot.parked.take());
        let object = object.expect("a session that is not over keeps or parks the object");
        (object, slot.take_requests())
    }

    /// A poll ends. `known` says that the last one ended with the same waker.
    #[inline]
    pub(crate) fn rest(&self, object: Box<C>, waker: &Waker, known: bool) -> Rest<C, R> {
        if known && !self.is_wanted() {
            return Rest::Kept(object);
        }
        self.rest_shared(object, waker)
    }

    #[cold]
    fn rest_shared(&self, object: Box<C>, waker: &Waker) -> Rest<C, R> {
        let old;
        if !self.is_wanted() {
            let mut slot = self.lock();
            old = slot.session.replace(waker.clone());
            drop(slot);
            drop(old);
            if !self.is_wanted() {
                return Rest::Kept(object);
            }
        }
        let mut slot = self.lock();
        if let Some(requests) = slot.take_requests() {
            slot.busy = true;
            return Rest::Asked(object, requests);
        }
        slot.parked = Some(object);
        slot.busy = false;
        slot.known = None;
        let old = match &slot.session {
            Some(session) if session.will_wake(waker) => None,
            _ => slot.session.replace(waker.clone()),
        };
        let waiting = slot.take_waiting();
        drop(slot);
        drop(old);
        waiting.into_iter().for_each(Waker::wake);
        Rest::Parked
    }

    /// The session is over. The object stays for the others.
    pub(crate) fn end(&self, object: Box<C>) {
        self.wanted.store(true, Ordering::SeqCst);
        let mut slot = self.lock();
        let unwanted = (slot.parked.replace(object), slot.session.take());
        slot.busy = false;
        let waiting = slot.take_waiting();
        drop(slot);
        drop(unwanted);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The session is dropped: the object, unless the session has it or has lost it in a panic.
    pub(crate) fn seize(&self) -> Option<Box<C>> {
        self.lock().parked.take()
    }
}

#[cfg(all(test, loom))]
mod tests {
    //! ```text
    //! RUSTFLAGS="--cfg loom" cargo test -p hybi --lib --release link -- --nocapture
    //! ```
    //!
    //! A session and its users on threads of their own, through every interleaving of theirs in which
    //! threads are preempted three times, or twice where there are two users, and give way by themselves as
    //! often as they like. A model
    //! ends when everything that was asked for is done, so that a lost wake-up is a deadlock, which loom
    //! reports.

    use std::{
        future::poll_fn,
        io::Write,
        sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed},
        task::{Poll, Waker, ready},
    };

    use loom::{future::block_on, sync::Arc, thread};

    use super::{Link, Linked, Rest, Urge};

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

    impl Linked for Queue {
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

    type Shared = Link<Queue, Asked, ()>;

    /// Serves until every user is done. Gives what was written.
    fn serve(shared: &Shared, users: usize) -> usize {
        let mut own = Some(Box::new(Queue { users, ..Queue::default() }));
        let mut known = false;
        block_on(poll_fn(|cx| {
            let (mut core, mut requests) = shared.begin(own.take());
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
                match shared.rest(core, cx.waker(), known) {
                    Rest::Kept(core) => {
                        own = Some(core);
                        known = true;
                        return Poll::Pending;
                    }
                    Rest::Parked => return Poll::Pending,
                    Rest::Asked(back, asked) => (core, requests) = (back, Some(asked)),
                }
            }
        }))
    }

    /// Queues one when there is a place.
    fn send(shared: &Shared, urge: Urge) {
        block_on(poll_fn(|cx| {
            let sent = ready!(shared.poll(cx, urge, |core| {
                if core.queued > 0 {
                    core.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                core.queued += 1;
                Poll::Ready(())
            }));
            if sent.is_pending() && urge == Urge::Later {
                shared.wake();
            }
            sent
        }));
    }

    /// Waits until nothing is queued.
    fn flush(shared: &Shared) {
        block_on(poll_fn(|cx| {
            ready!(shared.poll(cx, Urge::Now, |core| {
                if core.queued > 0 {
                    core.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            }))
        }));
    }

    fn done(shared: &Shared) {
        shared.visit_or_ask(Urge::Now, |core| core.done += 1, |asked| asked.done += 1);
    }

    /// Runs a session against `users`, who have `written` something by the end.
    fn model(name: &str, users: &[fn(&Shared)], written: usize) {
        let runs = std::sync::Arc::new(Counter::new(0));
        let count = std::sync::Arc::clone(&runs);
        let users = users.to_vec();
        let mut builder = loom::model::Builder::new();
        // Without a bound there is no end to them, and faults show with two.
        builder.preemption_bound = Some(if users.len() > 1 { 2 } else { 3 });
        builder.check(move || {
            count.fetch_add(1, Relaxed);
            let shared = Arc::new(Shared::new(()));
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
            assert_eq!(serve(&shared, users.len()), written);
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
                send(shared, Urge::Now);
                send(shared, Urge::Now);
            }],
            2,
        );
    }

    #[test]
    fn what_was_left_without_waking_the_session_is_done_before_the_next_wait_ends() {
        model(
            "one quiet sender",
            &[|shared| {
                send(shared, Urge::Later);
                send(shared, Urge::Later);
                flush(shared);
            }],
            2,
        );
    }

    #[test]
    fn two_users_get_what_they_wait_for() {
        model(
            "two senders",
            &[|shared| send(shared, Urge::Now), |shared| send(shared, Urge::Now)],
            2,
        );
    }

    #[test]
    fn what_one_leaves_quietly_is_done_for_who_waits() {
        model(
            "a quiet sender and one that waits",
            &[|shared| send(shared, Urge::Later), |shared| flush(shared)],
            1,
        );
    }

    #[test]
    fn a_request_is_seen_whenever_it_is_made() {
        model(
            "requests",
            &[
                |shared| shared.ask(|asked| asked.send += 1),
                |shared| {
                    shared.visit_or_ask(
                        Urge::Now,
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
            &[|shared| shared.ask(|asked| asked.send += 1), |shared| send(shared, Urge::Now)],
            2,
        );
    }
}
