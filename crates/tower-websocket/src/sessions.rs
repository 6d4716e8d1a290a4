//! The live sockets of a layer, or of several.

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hybi::{
    proto::{CloseCode, CloseFrame, CloseReason},
    socket::Control,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a drain waits for what it has aborted.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// The live sockets of the layers that it was given to.
///
/// Clones are handles to the same set. A server that shuts down drains it, since neither hyper nor
/// axum waits for the sockets of HTTP/1.1 connections:
///
/// ```
/// use std::time::Duration;
/// use tower_websocket::{WebSocket, WebSocketLayer, handler::handler_fn, sessions::Sessions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let sessions = Sessions::new();
/// let layer = WebSocketLayer::new(handler_fn(|_: WebSocket| async {})).sessions(sessions.clone());
/// # let _ = layer;
/// // ... at shutdown:
/// let drained = sessions.drain(Duration::from_secs(10)).await;
/// assert_eq!(drained.aborted, 0);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Notified whenever the last session ends.
    empty: Notify,
    /// The deadline of a drain has passed.
    abort: CancellationToken,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// A session has no control before its connection is upgraded.
    live: HashMap<u64, Option<Control>>,
    draining: bool,
    /// Since the drain began, until it aborted the rest.
    ended: usize,
    aborted: usize,
}

/// What [`Sessions::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Sessions that ended by themselves before the deadline.
    pub ended: usize,
    /// Sessions that were aborted at the deadline.
    pub aborted: usize,
}

impl Sessions {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sockets are live: accepted, if perhaps not connected yet, and not at the end of
    /// handler and transport.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Whether no socket is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a drain has begun. Handshakes are answered with 503 from then on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Closes every socket with 1001 (going away), waits until all have ended, and aborts those
    /// that have not within `deadline`.
    ///
    /// New handshakes are answered with 503 and `Retry-After` from the first poll on, for good. A
    /// handler sees its `recv` end once the peer has answered, and
    /// [`closing`](crate::WebSocket::closing) resolve at once; at the deadline the handler is
    /// dropped. Whatever cannot be dropped then, a handler that blocks its thread or an accepted
    /// handshake whose answer another layer holds back, is waited for one more
    /// second, which takes a runtime that still runs.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not undo the drain, but nothing is aborted then. A second drain
    /// waits for the same sockets.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let deadline = Instant::now().checked_add(deadline);
        for control in self.begin_drain() {
            control.close(going_away());
        }
        match deadline {
            Some(deadline) => {
                if tokio::time::timeout_at(deadline, self.wait_empty()).await.is_err() {
                    for control in self.begin_abort() {
                        control.abort();
                    }
                    let _ = tokio::time::timeout(ABORT_GRACE, self.wait_empty()).await;
                }
            }
            None => self.wait_empty().await,
        }
        let state = self.lock();
        Drained { ended: state.ended, aborted: state.aborted }
    }

    fn begin_drain(&self) -> Vec<Control> {
        let mut state = self.lock();
        if !state.draining {
            state.draining = true;
            state.ended = 0;
        }
        state.live.values().flatten().cloned().collect()
    }

    fn begin_abort(&self) -> Vec<Control> {
        let mut state = self.lock();
        // Another drain may have done so already.
        if !self.inner.abort.is_cancelled() {
            self.inner.abort.cancel();
            state.aborted = state.live.len();
        }
        state.live.values().flatten().cloned().collect()
    }

    async fn wait_empty(&self) {
        loop {
            let mut empty = pin!(self.inner.empty.notified());
            empty.as_mut().enable();
            if self.is_empty() {
                return;
            }
            empty.await;
        }
    }

    /// Counts a socket that is about to be accepted. `None` while draining.
    pub(crate) fn enter(&self) -> Option<SessionGuard> {
        let mut state = self.lock();
        if state.draining {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.live.insert(id, None);
        Some(SessionGuard { sessions: self.clone(), id })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Sessions")
            .field("live", &state.live.len())
            .field("draining", &state.draining)
            .finish_non_exhaustive()
    }
}

fn going_away() -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, CloseReason::default())
}

/// One live socket; it leaves the set when this is dropped.
pub(crate) struct SessionGuard {
    sessions: Sessions,
    id: u64,
}

impl SessionGuard {
    /// The connection is upgraded: from now on a drain reaches the session by `control`.
    pub(crate) fn started(&self, control: &Control) {
        let draining = {
            let mut state = self.sessions.lock();
            if let Some(slot) = state.live.get_mut(&self.id) {
                *slot = Some(control.clone());
            }
            state.draining
        };
        if self.sessions.inner.abort.is_cancelled() {
            control.abort();
        } else if draining {
            control.close(going_away());
        }
    }

    /// Waits for `future`, but not past the deadline of a drain.
    pub(crate) async fn unless_aborted<F: Future>(&self, future: F) -> Option<F::Output> {
        self.sessions.inner.abort.run_until_cancelled(future).await
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.live.remove(&self.id);
        if !self.sessions.inner.abort.is_cancelled() {
            state.ended += 1;
        }
        if state.live.is_empty() {
            self.sessions.inner.empty.notify_waiters();
        }
    }
}
