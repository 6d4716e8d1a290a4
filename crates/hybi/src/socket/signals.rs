//! What tells the outside that a socket is closing or closed.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering, fence},
    },
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

/// The two moments that others may wait for. A waiter costs memory only once it exists.
#[derive(Default)]
pub(crate) struct Signals {
    state: AtomicU8,
    closing: OnceLock<CancellationToken>,
    closed: OnceLock<CancellationToken>,
}

impl Signals {
    /// A Close was sent or received, the connection failed, or it is to be drained.
    pub(crate) fn set_closing(&self) {
        if self.state.fetch_max(CLOSING, Ordering::SeqCst) < CLOSING {
            Self::cancel(&self.closing);
        }
    }

    /// The transport is gone.
    pub(crate) fn set_closed(&self) {
        self.set_closing();
        if self.state.swap(CLOSED, Ordering::SeqCst) < CLOSED {
            Self::cancel(&self.closed);
        }
    }

    fn cancel(token: &OnceLock<CancellationToken>) {
        // See `wait`.
        fence(Ordering::SeqCst);
        if let Some(token) = token.get() {
            token.cancel();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.load(Ordering::SeqCst) >= CLOSING
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing(self.wait(&self.closing, CLOSING))
    }

    pub(crate) fn closed(&self) -> Closed {
        Closed(self.wait(&self.closed, CLOSED))
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
}

/// Nobody is left who could move the socket.
impl Drop for Signals {
    fn drop(&mut self) {
        self.set_closed();
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
