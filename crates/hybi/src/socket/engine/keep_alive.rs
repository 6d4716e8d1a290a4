//! When this end sends a ping by itself, and what it makes of the silence or the pong that follows.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Core, deadlines::deadline};
use crate::socket::config::KeepAlive;

/// What there is to remember of pings and pongs for a while.
#[derive(Default)]
pub(crate) struct Pings {
    /// The keep-alive's that is not answered.
    sent: Option<Ping>,
    /// What the world is to be told of: how long the last answer took, and the newest pong.
    pub(crate) round_trip: Option<Duration>,
    pub(crate) pong: Option<Bytes>,
}

/// A ping that is not answered.
struct Ping {
    payload: [u8; 4],
    sent: Instant,
}

/// What a deadline of the keep-alive has brought.
#[derive(PartialEq, Eq)]
pub(super) enum Life {
    Unknown,
    /// The peer was silent for too long.
    Lost,
}

impl Core {
    /// When to look at it again, unless it is off or the socket closes.
    pub(super) fn keep_alive_due(&self) -> Option<Instant> {
        let keep_alive = self.config.keep_alive.as_ref()?;
        if self.over.is_some() || self.conn.close_queued() {
            return None;
        }
        let lost = self.sent_ping().map(|ping| deadline(ping.sent, keep_alive.timeout));
        match (self.ping_due, lost) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The first ping is due a while from now.
    pub(super) fn start_keep_alive(&mut self, now: Instant) {
        if let Some(keep_alive) = &self.config.keep_alive {
            self.ping_due = Some(deadline(now, pause(keep_alive)));
        }
    }

    /// Looks at it at `now`. `heard` says that something was read since the last ping.
    pub(super) fn keep_alive(&mut self, now: Instant, heard: &mut bool) -> Life {
        let Some(keep_alive) = self.config.keep_alive.clone() else { return Life::Unknown };
        if let Some(ping) = self.sent_ping()
            && deadline(ping.sent, keep_alive.timeout) <= now
        {
            if *heard || !self.wants_input() {
                // Where nothing is read nothing can be heard.
                self.pings = None;
            } else if self.conn.has_output() {
                // Perhaps not even sent. A write that stalls has a deadline of its own.
                if let Some(ping) = self.pings.as_mut().and_then(|pings| pings.sent.as_mut()) {
                    ping.sent = now;
                }
            } else {
                return Life::Lost;
            }
        }
        if self.ping_due.is_some_and(|due| due <= now) {
            self.ping_due = Some(deadline(now, pause(&keep_alive)));
            let is_answered = self.sent_ping().is_none() || *heard;
            if is_answered && self.wants_input() {
                let payload = random().to_ne_bytes();
                let payload = [payload[0], payload[1], payload[2], payload[3]];
                if self.ping(Bytes::copy_from_slice(&payload)).is_ok() {
                    self.pings.get_or_insert_default().sent = Some(Ping { payload, sent: now });
                    *heard = false;
                }
            }
        }
        Life::Unknown
    }

    /// A pong has arrived, asked for or not.
    pub(super) fn pong_received(&mut self, payload: Bytes) {
        let pings = self.pings.get_or_insert_default();
        match pings.sent.take_if(|ping| ping.payload == *payload) {
            Some(ping) => pings.round_trip = Some(ping.sent.elapsed()),
            None => pings.pong = Some(payload),
        }
    }

    fn sent_ping(&self) -> Option<&Ping> {
        self.pings.as_ref().and_then(|pings| pings.sent.as_ref())
    }

    /// Whether there may be something that the world is to be told of.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.pings.is_some() || self.end().is_some() || self.conn.close_queued()
    }

    /// Takes what the world is to be told of.
    pub(crate) fn take_news(&mut self) -> Option<(Option<Duration>, Option<Bytes>)> {
        let pings = self.pings.as_mut()?;
        let news = (pings.round_trip.take(), pings.pong.take());
        if pings.sent.is_none() {
            self.pings = None;
        }
        Some(news)
    }
}

/// How long to wait for the next ping.
fn pause(keep_alive: &KeepAlive) -> Duration {
    // Between three quarters and all of it.
    let quarter = keep_alive.interval / 4;
    let part = (random() >> 40) as u32;
    keep_alive.interval - quarter.mul_f64(f64::from(part) / f64::from(1u32 << 24))
}

/// Different each time. Nothing depends on its being hard to guess.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
