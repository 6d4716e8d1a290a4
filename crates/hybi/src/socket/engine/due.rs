//! Whose wait is over, and what the session is asked for by that.

use super::Core;
use crate::socket::session::{Found, Wait};

impl Core {
    /// Ends the waits that are over: wakes those who wait, and says whether the handler is one of them.
    pub(crate) fn notify(&mut self) -> Found {
        let mut all = Found::default();
        if self.waits.is_empty() {
            return all;
        }
        for wait in Wait::ALL {
            if self.is_due(wait) {
                let found = self.waits.end(wait);
                all.own |= found.own;
                all.inside |= found.inside;
            }
        }
        all
    }

    /// Whether [`notify`](Self::notify) would find anyone.
    pub(crate) fn is_anyone_due(&self) -> bool {
        !self.waits.is_empty() && Wait::ALL.into_iter().any(|wait| self.is_due(wait))
    }

    /// Whether someone waits for this and the wait is over.
    fn is_due(&self, wait: Wait) -> bool {
        // Each is what the operation itself looks at: whoever is woken for nothing waits again,
        // and would be woken again, in one endless poll.
        self.waits.is_waited_for(wait)
            && match wait {
                Wait::Recv => {
                    self.is_over() || self.has_ready() || self.has_input() || self.is_part_due()
                }
                Wait::Send => self.gone || self.conn.close_queued() || self.can_send(),
                Wait::Flush => self.is_flushed(),
                Wait::Turn => self.is_turn(),
                Wait::Close => self.is_closed(),
            }
    }

    /// What the session has to act on, one bit for each kind.
    pub(crate) fn demanded(&self) -> u8 {
        [
            self.conn.has_output(),
            self.conn.close_queued(),
            // Also with input: nobody may come back for what is in it, and a ping has to be seen.
            self.can_go_on(),
            self.end().is_some(),
            self.settled,
            self.gone,
            self.is_user_gone,
            self.is_anyone_due(),
        ]
        .into_iter()
        .enumerate()
        .map(|(bit, demanded)| u8::from(demanded) << bit)
        .sum()
    }
}
