//! The many operations of a socket's halves that may wait for the same thing.
//!
//! To the [`Core`] a crowd is one waiter, and so one waker in its place for the wait. Where that is woken,
//! all who stand in the crowd are.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
};

use super::core::{Core, Wait};

pub(crate) struct Crowd {
    wait: Wait,
    everyone: Arc<Everyone>,
    /// `everyone` as the core sees it.
    waker: Waker,
}

/// In the order in which they came.
#[derive(Default)]
struct Everyone(Mutex<BTreeMap<u64, Waker>>);

impl Everyone {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        // Nothing panics while it is locked, and no waker is dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Everyone {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let everyone = mem::take(&mut *self.lock());
        everyone.into_values().for_each(Waker::wake);
    }
}

impl Crowd {
    pub(crate) fn new(wait: Wait) -> Self {
        let everyone = Arc::new(Everyone::default());
        Self { wait, waker: Waker::from(Arc::clone(&everyone)), everyone }
    }

    /// Has the task of `cx` woken when the wait is over. One place has one task.
    ///
    /// To be called with the core at hand: the session cannot end the wait in between.
    pub(crate) fn wait(&self, place: &Place, core: &mut Core, cx: &Context<'_>) {
        let old = self.everyone.lock().insert(place.0, cx.waker().clone());
        drop(old);
        core.wait(self.wait, &Context::from_waker(&self.waker));
    }

    /// Nobody waits at `place` any more.
    pub(crate) fn leave(&self, place: &Place) {
        let waker = self.everyone.lock().remove(&place.0);
        drop(waker);
    }

    /// A place that is left when it is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered { crowd: self, place: None }
    }
}

/// Where one operation stands, or one after the other, in any crowd.
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A place for one operation, which has it once it has to wait.
pub(crate) struct Entered<'a> {
    crowd: &'a Crowd,
    place: Option<Place>,
}

impl Entered<'_> {
    /// See [`Crowd::wait`].
    pub(crate) fn wait(&mut self, core: &mut Core, cx: &Context<'_>) {
        let place = self.place.get_or_insert_with(Place::new);
        self.crowd.wait(place, core, cx);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.crowd.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Context,
    };

    use super::*;
    use crate::socket::Config;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn everyone_in_a_crowd_is_woken_once_but_who_has_left() {
        let mut core = Core::new(Config::server().into(), &[]);
        let crowd = Crowd::new(Wait::Flush);
        let tasks: Vec<_> = (0..3).map(|_| Arc::new(Task::default())).collect();
        let mut places: Vec<_> = tasks
            .iter()
            .map(|task| {
                let waker = Waker::from(Arc::clone(task));
                let mut place = crowd.enter();
                for _ in 0..2 {
                    place.wait(&mut core, &Context::from_waker(&waker));
                }
                place
            })
            .collect();
        drop(places.remove(1));
        assert_eq!(Arc::strong_count(&tasks[1]), 1, "nothing of it is kept");
        for _ in 0..2 {
            core.notify(Waker::noop());
        }
        let woken: Vec<_> = tasks.iter().map(|task| task.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [1, 0, 1]);
    }
}
