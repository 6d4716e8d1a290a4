//! The deadline of the message that is arriving.
//!
//! It runs only while the transport is read: a peer is not late with data that nobody asked for. Of a
//! socket that moves only while it is used nobody says when that ends; but whoever took something begins
//! another deadline, and whoever gave up waiting comes too late for the old one.

use std::time::Duration;

use tokio::time::Instant;

/// Whoever comes this much too late to see the deadline pass has not been waiting for it, and so has not
/// been reading.
const AWAY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Arrival {
    state: State,
    /// The arrivals when it began: it is that of one message, or of the next part of one.
    of: u64,
}

#[derive(Default)]
enum State {
    #[default]
    Off,
    Running(Instant),
    /// What was left of it.
    Paused(Duration),
}

impl Arrival {
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Running(due) => Some(due),
            _ => None,
        }
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Off;
    }

    /// Goes on, or begins if that of `of` did not yet.
    pub(super) fn run(&mut self, of: u64, allowed: Duration, deadline: fn(Duration) -> Instant) {
        if self.of != of {
            self.of = of;
            self.state = State::Off;
        }
        self.state = match self.state {
            State::Running(due) => State::Running(due),
            State::Paused(left) => State::Running(deadline(left)),
            State::Off => State::Running(deadline(allowed)),
        };
    }

    /// Nothing is read for now.
    pub(super) fn pause(&mut self) {
        if let State::Running(due) = self.state {
            self.state = State::Paused(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether it has passed while the transport was read.
    pub(super) fn passed(&mut self, now: Instant) -> bool {
        match self.state {
            State::Running(due) if due <= now => {
                self.state = State::Off;
                now - due <= AWAY
            }
            _ => false,
        }
    }
}
