//! Whether a message that has begun to arrive goes on doing so.
//!
//! Only time counts in which the transport is read: a peer is not late with data that nobody asked for. Of a
//! socket that moves only while it is used nobody says when that ends; whoever comes back much too late to
//! see a deadline pass has not been reading.

use std::time::Duration;

use tokio::time::Instant;

use super::deadlines::{Quiet, deadline};
use crate::socket::config::Timeouts;

/// Whoever comes this much too late to see the deadline pass has not been waiting for it, and so has not
/// been reading.
const AWAY: Duration = Duration::from_secs(1);

/// The minimum rate holds on average over this.
const WINDOW: Duration = Duration::from_secs(10);

/// The minimum rate does not hold for the beginning of a message.
const START: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Progress {
    /// The number of messages that had arrived when this one began.
    of: u64,
    state: State,
    /// Bytes read since a message began.
    bytes: u64,
    silence: Option<Quiet>,
    /// How long the message has been read for by the end of the window.
    window: Duration,
    /// The bytes that there have to be by then.
    wanted: u64,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Off,
    /// As if it had begun then and been read ever since.
    Reading { since: Instant },
    /// It was read for so long.
    Paused { after: Duration },
}

impl Progress {
    pub(super) fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Off;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Goes on, or begins if that of `of` did not yet.
    pub(super) fn run(&mut self, of: u64, timeouts: &Timeouts) {
        if self.of != of {
            self.of = of;
            self.state = State::Off;
        }
        let after = match self.state {
            State::Reading { .. } => return,
            State::Paused { after } => after,
            State::Off => {
                self.bytes = 0;
                self.window = START;
                self.wanted = 0;
                Duration::ZERO
            }
        };
        let now = Instant::now();
        self.state = State::Reading { since: now.checked_sub(after).unwrap_or(now) };
        // It was paused because something had come.
        self.silence = Some(Quiet::from(now, self.bytes, timeouts.silence));
    }

    /// Nothing is read for now.
    pub(super) fn pause(&mut self) {
        if let State::Reading { since } = self.state {
            self.state = State::Paused { after: since.elapsed() };
        }
    }

    /// When to look at it again.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Option<Instant> {
        let State::Reading { since } = self.state else { return None };
        let rate = (timeouts.min_rate > 0).then(|| deadline(since, self.window));
        let whole = timeouts.max_message.map(|whole| deadline(since, whole));
        [self.silence.as_ref().map(Quiet::due), rate, whole].into_iter().flatten().min()
    }

    /// Whether it is too slow.
    pub(super) fn is_late(&mut self, now: Instant, timeouts: &Timeouts) -> bool {
        let State::Reading { since } = self.state else { return false };
        let Some(due) = self.due(timeouts).filter(|due| *due <= now) else { return false };
        if now - due > AWAY {
            self.state = State::Off;
            return false;
        }
        let mut late = self.silence.as_mut().is_some_and(|it| it.is_over(now, self.bytes));
        late |= timeouts.max_message.is_some_and(|whole| deadline(since, whole) <= now);
        if deadline(since, self.window) <= now {
            late |= self.bytes < self.wanted;
            self.window += WINDOW;
            let wanted = (timeouts.min_rate as u64).saturating_mul(WINDOW.as_secs());
            self.wanted = self.bytes.saturating_add(wanted);
        }
        late
    }
}
