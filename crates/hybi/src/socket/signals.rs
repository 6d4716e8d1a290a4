//! What everybody sees of a socket from outside: whether it closes, the peer's Close, round trips and pongs.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering, fence},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::proto::CloseFrame;

const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

/// What costs memory only once somebody waits is in a box.
#[derive(Default)]
pub(crate) struct Signals {
    state: AtomicU8,
    observers: OnceLock<Box<Observers>>,
    /// The last and the smoothed round trip, in microseconds; 0 before the first.
    round_trip: AtomicU64,
}

#[derive(Default)]
struct Observers {
    closing: OnceLock<CancellationToken>,
    closed: OnceLock<CancellationToken>,
    /// The newest pong.
    pongs: OnceLock<watch::Sender<Option<Bytes>>>,
    peer_close: OnceLock<CloseFrame>,
}

impl Signals {
    /// A Close was sent or received, the connection failed, or it is to be drained.
    pub(crate) fn set_closing(&self) {
        if self.state.load(Ordering::Relaxed) < CLOSING
            && self.state.fetch_max(CLOSING, Ordering::SeqCst) < CLOSING
        {
            self.cancel(|observers| &observers.closing);
        }
    }

    /// The transport is gone.
    pub(crate) fn set_closed(&self) {
        self.set_closing();
        if self.state.swap(CLOSED, Ordering::SeqCst) < CLOSED {
            self.cancel(|observers| &observers.closed);
        }
    }

    fn cancel(&self, token: fn(&Observers) -> &OnceLock<CancellationToken>) {
        // See `wait`.
        fence(Ordering::SeqCst);
        if let Some(token) = self.observers.get().and_then(|observers| token(observers).get()) {
            token.cancel();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.load(Ordering::SeqCst) >= CLOSING
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing(self.wait(&self.observe().closing, CLOSING))
    }

    pub(crate) fn closed(&self) -> Closed {
        Closed(self.wait(&self.observe().closed, CLOSED))
    }

    fn observe(&self) -> &Observers {
        self.observers.get_or_init(Box::default)
    }

    fn wait(&self, token: &OnceLock<CancellationToken>, state: u8) -> Waiting {
        let token = token.get_or_init(CancellationToken::new);
        // The setter stores the state and then looks for the token, this stores the token and then
        // looks at the state; with a fence between the two on both sides, one sees the other.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) >= state {
            token.cancel();
        }
        Box::pin(token.clone().cancelled_owned())
    }

    // ===== the peer's Close =====

    /// Keeps the peer's Close for anybody who asks for it later.
    pub(crate) fn note_peer_close(&self, frame: Option<&CloseFrame>) {
        if let Some(frame) = frame {
            self.observe().peer_close.get_or_init(|| frame.clone());
        }
    }

    pub(crate) fn peer_close(&self) -> Option<&CloseFrame> {
        self.observers.get().and_then(|observers| observers.peer_close.get())
    }

    // ===== pings and pongs =====

    /// Takes note of a round trip.
    pub(crate) fn measured(&self, round_trip: Duration) {
        let last = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX).max(1);
        let smoothed = match self.round_trip.load(Ordering::Relaxed) >> 32 {
            0 => last,
            // The average of RFC 6298 section 2.
            smoothed => ((smoothed * 7 + u64::from(last)) / 8).max(1) as u32,
        };
        self.round_trip.store(u64::from(smoothed) << 32 | u64::from(last), Ordering::Relaxed);
    }

    pub(crate) fn round_trip(&self) -> Option<RoundTrip> {
        let packed = self.round_trip.load(Ordering::Relaxed);
        let micros = |it: u64| Duration::from_micros(it & u64::from(u32::MAX));
        (packed != 0).then(|| RoundTrip { last: micros(packed), smoothed: micros(packed >> 32) })
    }

    pub(crate) fn pong(&self, payload: Bytes) {
        if let Some(pongs) = self.observers.get().and_then(|observers| observers.pongs.get()) {
            let _ = pongs.send(Some(payload));
        }
    }

    pub(crate) fn pongs(&self) -> Pongs {
        let pongs = self.observe().pongs.get_or_init(|| watch::Sender::new(None));
        Pongs { pongs: pongs.subscribe(), closed: self.closed() }
    }
}

/// Nobody is left who could move the socket.
impl Drop for Signals {
    fn drop(&mut self) {
        self.set_closed();
    }
}

/// How long the peer took to answer pings. See [`WebSocket::round_trip`](super::WebSocket::round_trip).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoundTrip {
    /// The last time.
    pub last: Duration,
    /// The average, in which each new time counts an eighth.
    pub smoothed: Duration,
}

/// The pongs that arrive. See [`WebSocket::pongs`](super::WebSocket::pongs).
#[must_use]
pub struct Pongs {
    pongs: watch::Receiver<Option<Bytes>>,
    closed: Closed,
}

impl Pongs {
    /// Waits for the next pong and gives its payload. `None` when the transport is gone.
    ///
    /// Of pongs that arrive faster than they are taken, the newest is left.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a pong that was not returned is returned by the next call, unless a newer
    /// one arrives first.
    pub async fn recv(&mut self) -> Option<Bytes> {
        let Self { pongs, closed } = self;
        let has_changed = {
            let mut changed = pin!(pongs.changed());
            poll_fn(|cx| {
                if let Poll::Ready(Ok(())) = changed.as_mut().poll(cx) {
                    return Poll::Ready(true);
                }
                Pin::new(&mut *closed).poll(cx).map(|()| false)
            })
            .await
        };
        if has_changed { pongs.borrow_and_update().clone() } else { None }
    }
}

impl fmt::Debug for Pongs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pongs").finish_non_exhaustive()
    }
}

type Waiting = Pin<Box<WaitForCancellationFutureOwned>>;

macro_rules! signal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "futures do nothing unless polled"]
        pub struct $name(Waiting);

        impl Future for $name {
            type Output = ();

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
                self.0.as_mut().poll(cx)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

signal! {
    /// Resolves when a socket begins to close, from whichever side. See [`WebSocket::closing`].
    ///
    /// [`WebSocket::closing`]: super::WebSocket::closing
    Closing
}

signal! {
    /// Resolves when a socket's transport is gone. See [`WebSocket::closed`].
    ///
    /// [`WebSocket::closed`]: super::WebSocket::closed
    Closed
}
