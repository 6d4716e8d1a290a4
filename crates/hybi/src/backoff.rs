//! How long to wait before connecting again (RFC 6455, section 7.2.3).

use std::time::Duration;

/// Far from where arithmetic with durations overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The bound behind one of none, which would stay none for ever if it were doubled.
const AFTER_NONE: Duration = Duration::from_secs(1);

/// The delays between attempts to connect again after a connection was lost: truncated binary
/// exponential back-off with a random part (RFC 6455, section 7.2.3).
///
/// The first delay is anywhere between none and 5 s, so that the clients of a server that restarts do
/// not come back all at once. Each further one is random in the upper half of a bound that begins at
/// twice that and doubles, up to 60 s. It goes on for ever; to give up, [`take`](Iterator::take) some.
///
/// It only says how long; the wait is the caller's. Once a connection has proved good,
/// [`reset`](Self::reset) it.
///
/// ```
/// use std::time::Duration;
/// use hybi::Backoff;
///
/// let mut backoff = Backoff::new();
/// let delays: Vec<_> = backoff.by_ref().take(5).collect();
/// assert!(delays[0] <= Duration::from_secs(5));
/// assert!(delays[1] >= Duration::from_secs(5) && delays[1] <= Duration::from_secs(10));
/// assert!(delays[4] >= Duration::from_secs(30) && delays[4] <= Duration::from_secs(60));
///
/// backoff.reset();
/// assert!(backoff.next_delay() <= Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    /// What the next delay stays within.
    bound: Duration,
    is_first: bool,
}

impl Backoff {
    /// Back-off with the default bounds.
    #[must_use]
    pub fn new() -> Self {
        let first = Duration::from_secs(5);
        Self { first, max: Duration::from_secs(60), bound: first, is_first: true }
    }

    /// The longest first delay. Default: 5 s. Zero is to try again at once the first time; the bound of
    /// the second delay is 1 s then.
    #[must_use]
    pub fn first(mut self, delay: Duration) -> Self {
        self.first = delay;
        self.reset();
        self
    }

    /// The longest delay at all, up to 100 years. Default: 60 s.
    #[must_use]
    pub fn max(mut self, delay: Duration) -> Self {
        self.max = delay.min(LONGEST);
        self.reset();
        self
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bound;
        let next = if bound.is_zero() { AFTER_NONE } else { bound.saturating_mul(2) };
        self.bound = next.min(self.max);
        let least = if self.is_first { Duration::ZERO } else { bound / 2 };
        self.is_first = false;
        least + (bound - least).mul_f64(random())
    }

    /// Begins anew: the next delay is a first one.
    pub fn reset(&mut self) {
        self.bound = self.first.min(self.max);
        self.is_first = true;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }
}

/// Anything from 0 to 1. Without random bytes it is 1, which is late rather than early.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// C-16
    #[test]
    fn delays_stay_within_their_bounds_and_fill_them() {
        let bounds = [(0, 5), (5, 10), (10, 20), (20, 40), (30, 60), (30, 60), (30, 60)];
        let (mut least, mut most) = ([f64::MAX; 7], [0_f64; 7]);
        for _ in 0..2000 {
            for (index, delay) in Backoff::new().take(bounds.len()).enumerate() {
                least[index] = least[index].min(delay.as_secs_f64());
                most[index] = most[index].max(delay.as_secs_f64());
            }
        }
        for (index, (from, to)) in bounds.into_iter().enumerate() {
            let (from, to) = (f64::from(from), f64::from(to));
            assert!(least[index] >= from && most[index] <= to, "delay {index}");
            // The chance that 2,000 draws miss a tenth of the range is below 1e-90.
            let tenth = (to - from) / 10.0;
            assert!(least[index] < from + tenth && most[index] > to - tenth, "delay {index}");
        }
    }

    /// C-16
    #[test]
    fn the_bounds_can_be_set_and_a_reset_begins_anew() {
        let mut backoff = Backoff::new().first(8 * SECOND).max(10 * SECOND);
        for _ in 0..2 {
            assert!(backoff.next_delay() <= 8 * SECOND);
            for _ in 0..100 {
                let delay = backoff.next_delay();
                assert!(delay >= 5 * SECOND && delay <= 10 * SECOND, "{delay:?}");
            }
            backoff.reset();
        }
        // The longest delay holds for the first one too, in whatever order they are set.
        for backoff in [Backoff::new().max(SECOND), Backoff::new().max(SECOND).first(9 * SECOND)] {
            assert!(backoff.take(200).all(|delay| delay <= SECOND));
        }
        // At once, but not at once for ever.
        let at_once = || Backoff::new().first(Duration::ZERO);
        assert!(at_once().next_delay().is_zero());
        for (index, (from, to)) in [(0, 0), (1, 2), (2, 4), (4, 8)].into_iter().enumerate() {
            let delay = at_once().nth(index).unwrap();
            assert!(delay >= from * SECOND / 2 && delay <= to * SECOND / 2, "{index}: {delay:?}");
        }
        assert!(at_once().max(Duration::ZERO).take(9).all(|delay| delay.is_zero()));
        let longest = Backoff::new().first(Duration::MAX).max(Duration::MAX);
        assert_eq!(longest.take(100).filter(|delay| delay.is_zero()).count(), 0);
    }
}
