//! Who waits for what.
//!
//! Most of the time one waits: the handler, for a message. While its session polls it, the session needs no
//! waker to come back to it, and so such a wait is a bit. Everybody else leaves a waker, and is woken through
//! it: also a future beside the session in the same task, which the session does not poll.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    task::Waker,
};

/// What an operation of the socket's user waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    Recv = 1,
    Flush = 2,
    Send = 4,
    /// A message may begin.
    Turn = 8,
    Close = 16,
}

impl Wait {
    /// In the order in which they are looked at: what a flush has held back can be sent behind it.
    pub(crate) const ALL: [Self; 5] =
        [Self::Recv, Self::Flush, Self::Send, Self::Turn, Self::Close];
}

/// Where one operation stands, or one after the other of a user that has one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    /// That of a socket which is not split, and of a receiver: they have one operation of a kind at a time.
    pub(crate) const ONLY: Self = Self(0);

    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The waits of one socket.
#[derive(Default)]
pub(crate) struct Waits {
    /// Those of the handler, whom the session polls itself.
    own: u8,
    others: Option<Box<Others>>,
}

#[derive(Default)]
struct Others {
    /// In the order in which they came.
    waiting: Vec<Other>,
    /// What they wait for, one bit for each.
    kinds: u8,
    /// Wakers that are of no more use. They drop where nothing of the socket is held.
    used: Vec<Waker>,
    /// A waker of the handler's that is not its task's, and with which the handler has yielded: the last
    /// that was seen to, so that one part of a handler has its waker known also between its waits.
    yields: Option<Waker>,
}

struct Other {
    wait: Wait,
    place: Place,
    waker: Waker,
    /// It was left in the handler's turn.
    inside: bool,
    /// And the handler has yielded since.
    yielded: bool,
}

/// The core was lost in a panic of the session, or nobody uses it any more.
impl Drop for Others {
    fn drop(&mut self) {
        self.waiting.drain(..).for_each(|other| other.waker.wake());
    }
}

/// Whom [`Waits::end`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The handler, which is to be polled.
    pub(crate) own: bool,
    /// A part of the handler that has a waker of its own. It was woken, and so is the task.
    pub(crate) inside: bool,
}

impl Waits {
    /// The handler waits.
    #[inline]
    pub(crate) fn add_own(&mut self, wait: Wait) {
        self.own |= wait as u8;
    }

    /// Somebody waits who has to be woken. One place waits once for a thing.
    pub(crate) fn add(&mut self, wait: Wait, place: Place, waker: &Waker, inside: bool) {
        let Others { waiting, kinds, used, .. } = &mut **self.others.get_or_insert_default();
        *kinds |= wait as u8;
        match waiting.iter_mut().find(|it| it.wait == wait && it.place == place) {
            Some(other) => {
                other.inside = inside;
                if !other.waker.will_wake(waker) {
                    other.yielded = false;
                    used.push(mem::replace(&mut other.waker, waker.clone()));
                }
            }
            None => {
                waiting.push(Other { wait, place, waker: waker.clone(), inside, yielded: false });
            }
        }
    }

    /// Nobody waits at `place` any more.
    pub(crate) fn leave(&mut self, place: Place) {
        if let Some(others) = &mut self.others {
            let left = others.waiting.extract_if(.., |other| other.place == place);
            others.used.extend(left.map(|other| other.waker));
            others.kinds = others.waiting.iter().fold(0, |kinds, other| kinds | other.wait as u8);
        }
    }

    #[inline]
    pub(crate) fn is_waited_for(&self, wait: Wait) -> bool {
        self.kinds() & wait as u8 != 0
    }

    /// What somebody waits for, one bit for each.
    #[inline]
    pub(crate) fn kinds(&self) -> u8 {
        self.own | self.others.as_ref().map_or(0, |others| others.kinds)
    }

    /// The handler waits for a message, and nobody for anything else.
    #[inline]
    pub(crate) fn is_only_own_recv(&self) -> bool {
        self.own == Wait::Recv as u8 && self.has_no_others()
    }

    #[inline]
    fn has_no_others(&self) -> bool {
        self.others.as_ref().is_none_or(|others| others.kinds == 0)
    }

    /// Forgets what the handler waits for: it is about to be polled, and will say so again.
    #[inline]
    pub(crate) fn clear_own(&mut self) {
        self.own = 0;
    }

    /// Ends the waits for `wait`: wakes all but the handler.
    ///
    /// The caller holds nothing that a waker could want.
    pub(crate) fn end(&mut self, wait: Wait) -> Found {
        let own = self.own & wait as u8 != 0;
        self.own &= !(wait as u8);
        let mut inside = false;
        if let Some(others) = &mut self.others
            && others.kinds & wait as u8 != 0
        {
            let mut at = 0;
            while let Some(other) = others.waiting.get(at) {
                if other.wait == wait {
                    inside |= other.inside;
                    others.waiting.remove(at).waker.wake();
                } else {
                    at += 1;
                }
            }
            // Only now: those behind a waker that panics still wait.
            others.kinds &= !(wait as u8);
        }
        Found { own, inside }
    }

    /// Whether the handler has yielded with `waker` before.
    pub(crate) fn yields_with(&self, waker: &Waker) -> bool {
        self.others.as_ref().is_some_and(|others| {
            let waiting = others.waiting.iter().filter(|other| other.yielded).map(|it| &it.waker);
            others.yields.iter().chain(waiting).any(|yields| yields.will_wake(waker))
        })
    }

    /// The handler has yielded. Remembers the wakers with which parts of it wait.
    pub(crate) fn yielded(&mut self) {
        let Some(Others { waiting, used, yields, .. }) = self.others.as_deref_mut() else { return };
        for other in waiting.iter_mut().filter(|other| other.inside && !other.yielded) {
            other.yielded = true;
            if yields.as_ref().is_none_or(|yields| !yields.will_wake(&other.waker)) {
                used.extend(yields.replace(other.waker.clone()));
            }
        }
    }

    #[inline]
    pub(crate) fn has_used(&self) -> bool {
        self.others.as_ref().is_some_and(|others| !others.used.is_empty())
    }

    /// What is to be dropped where nothing of the socket is held.
    pub(crate) fn take_used(&mut self) -> Vec<Waker> {
        match &mut self.others {
            Some(others) => mem::take(&mut others.used),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn everyone_who_waits_is_woken_once_but_who_has_left() {
        let mut waits = Waits::default();
        let tasks: Vec<_> = (0..3).map(|_| Arc::new(Task::default())).collect();
        let places: Vec<_> = tasks
            .iter()
            .map(|task| {
                let place = Place::new();
                for _ in 0..2 {
                    waits.add(Wait::Flush, place, &Waker::from(Arc::clone(task)), false);
                }
                place
            })
            .collect();
        waits.leave(places[1]);
        drop(waits.take_used());
        assert_eq!(Arc::strong_count(&tasks[1]), 1, "nothing of it is kept");
        assert_eq!(waits.end(Wait::Recv), Found::default());
        for _ in 0..2 {
            assert_eq!(waits.end(Wait::Flush), Found::default());
        }
        let woken: Vec<_> = tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [1, 0, 1]);
        assert_eq!(waits.kinds(), 0);
    }

    #[test]
    fn those_behind_a_waker_that_panics_still_wait() {
        struct Bad;
        impl Wake for Bad {
            fn wake(self: Arc<Self>) {
                panic!("as it was told to");
            }
        }
        let mut waits = Waits::default();
        let task = Arc::new(Task::default());
        waits.add(Wait::Recv, Place::new(), &Waker::from(Arc::new(Bad)), false);
        waits.add(Wait::Recv, Place::new(), &Waker::from(Arc::clone(&task)), false);
        let end = AssertUnwindSafe(|| waits.end(Wait::Recv));
        assert!(catch_unwind(end).is_err());
        assert!(waits.is_waited_for(Wait::Recv));
        assert_eq!(waits.end(Wait::Recv), Found::default());
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_handler_is_polled_and_its_parts_are_woken() {
        let mut waits = Waits::default();
        waits.add_own(Wait::Recv);
        assert!(waits.is_only_own_recv());
        let task = Arc::new(Task::default());
        waits.add(Wait::Send, Place::ONLY, &Waker::from(Arc::clone(&task)), true);
        assert!(!waits.is_only_own_recv());
        assert_eq!(waits.end(Wait::Recv), Found { own: true, inside: false });
        assert_eq!(waits.end(Wait::Send), Found { own: false, inside: true });
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!(waits.end(Wait::Recv), Found::default());
    }
}
