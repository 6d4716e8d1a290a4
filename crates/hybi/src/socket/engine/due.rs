//! Whose wait is over, and what the session is asked for by that.

use super::Core;
use crate::socket::session::{Found, Wait};

impl Core {
    /// Ends the waits that are over: wakes those who wait, and says whether the handler is one of them.
    pub(crate) fn notify(&mut self) -> Found {
        let mut all = Found::default();
        let kinds = self.waits.kinds();
        if kinds == 0 {
            return all;
        }
        for wait in Wait::ALL {
            if kinds & wait as u8 != 0 && self.is_due(wait) {
                let found = self.waits.end(wait);
                all.own |= found.own;
                all.inside |= found.inside;
            }
        }
        all
    }

    /// Whether [`notify`](Self::notify) would find anyone.
    pub(crate) fn is_anyone_due(&self) -> bool {
        let kinds = self.waits.kinds();
        kinds != 0 && Wait::ALL.into_iter().any(|wait| kinds & wait as u8 != 0 && self.is_due(wait))
    }

    /// Whether a wait for this is over.
    ///
    /// Each is what the operation itself looks at: a task that is woken for nothing waits again, and would be
    /// woken again, in one endless poll.
    fn is_due(&self, wait: Wait) -> bool {
        match wait {
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
        u8::from(self.conn.has_output())
            | u8::from(self.conn.close_queued()) << 1
            // Also with input: nobody may come back for what is in it, and a ping has to be seen.
            | u8::from(self.can_go_on()) << 2
            | u8::from(self.end().is_some()) << 3
            | u8::from(self.settled) << 4
            | u8::from(self.gone) << 5
            | u8::from(self.is_user_gone) << 6
            | u8::from(self.is_anyone_due()) << 7
    }
}
