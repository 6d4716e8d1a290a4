//! Who waits for what, and when the wait is over.

use std::task::{Context, Waker};

use super::Core;

/// What an operation of the socket's user waits for.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Recv,
    Send,
    Flush,
    Close,
    /// A message may begin.
    Turn,
}

impl Wait {
    /// What a flush has held back can be sent behind it.
    const ALL: [Self; 5] = [Self::Recv, Self::Flush, Self::Send, Self::Turn, Self::Close];
}

impl Core {
    /// Has the task of `cx` woken when the wait is over.
    pub(crate) fn wait(&mut self, wait: Wait, cx: &Context<'_>) {
        match &mut self.waiters[wait as usize] {
            Some(waker) => waker.clone_from(cx.waker()),
            waiter => *waiter = Some(cx.waker().clone()),
        }
    }

    /// Wakes everyone whose wait is over. A waiter that is woken by `own` is not woken but
    /// reported by `true`: it is the caller's own task.
    pub(crate) fn notify(&mut self, own: &Waker) -> bool {
        let mut is_own = false;
        for wait in Wait::ALL {
            if self.is_due(wait)
                && let Some(waker) = self.waiters[wait as usize].take()
            {
                if matches!(wait, Wait::Flush) {
                    self.set_mark();
                }
                if waker.will_wake(own) {
                    is_own = true;
                } else {
                    waker.wake();
                }
            }
        }
        is_own
    }

    /// Whether [`notify`](Self::notify) would find anyone.
    pub(crate) fn is_anyone_due(&self) -> bool {
        Wait::ALL.into_iter().any(|wait| self.is_due(wait))
    }

    /// Whether someone waits for this and the wait is over.
    #[inline]
    fn is_due(&self, wait: Wait) -> bool {
        // Most of the time nobody waits for anything but to receive.
        if self.waiters[wait as usize].is_none() {
            return false;
        }
        // Each is what the operation itself looks at: whoever is woken for nothing waits again,
        // and would be woken again, in one endless poll.
        match wait {
            Wait::Recv => {
                self.is_over()
                    || !self.ready.is_empty()
                    || !self.input.is_empty()
                    || self.is_part_due()
            }
            Wait::Send => self.gone || self.conn.close_queued() || self.can_send(),
            Wait::Flush => self.is_flushed(),
            Wait::Turn => self.is_turn(),
            Wait::Close => self.is_closed(),
        }
    }
}
