//! The live sockets of a layer, or of several.

use std::{
    fmt,
    future::Future,
    mem,
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
    live: Live,
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
        self.lock().live.len
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
        state.live.controls()
    }

    fn begin_abort(&self) -> Vec<Control> {
        let mut state = self.lock();
        // Another drain may have done so already.
        if !self.inner.abort.is_cancelled() {
            self.inner.abort.cancel();
            state.aborted = state.live.len;
        }
        state.live.controls()
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
        let id = state.live.enter();
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
            .field("live", &state.live.len)
            .field("draining", &state.draining)
            .finish_non_exhaustive()
    }
}

fn going_away() -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, CloseReason::default())
}

/// The live sessions, each in a place of its own, which the next one takes that comes.
#[derive(Default)]
struct Live {
    places: Vec<Place>,
    /// The first of the free places.
    free: Option<u32>,
    len: usize,
}

enum Place {
    /// Before the next of the free places.
    Free(Option<u32>),
    /// The connection is not upgraded yet.
    Entered,
    Started(Control),
}

impl Live {
    fn enter(&mut self) -> u32 {
        self.len += 1;
        let Some(id) = self.free else {
            self.places.push(Place::Entered);
            return u32::try_from(self.places.len() - 1).expect("no process has as many sockets");
        };
        if let Place::Free(next) = mem::replace(&mut self.places[id as usize], Place::Entered) {
            self.free = next;
        }
        id
    }

    fn start(&mut self, id: u32, control: Control) {
        self.places[id as usize] = Place::Started(control);
    }

    fn leave(&mut self, id: u32) -> Place {
        self.len -= 1;
        mem::replace(&mut self.places[id as usize], Place::Free(self.free.replace(id)))
    }

    fn controls(&self) -> Vec<Control> {
        let control = |place: &Place| match place {
            Place::Started(control) => Some(control.clone()),
            Place::Free(_) | Place::Entered => None,
        };
        self.places.iter().filter_map(control).collect()
    }
}

/// One live socket; it leaves the set when this is dropped.
pub(crate) struct SessionGuard {
    sessions: Sessions,
    id: u32,
}

impl SessionGuard {
    /// The connection is upgraded: from now on a drain reaches the session by `control`.
    pub(crate) fn started(&self, control: Control) {
        let late = {
            let mut state = self.sessions.lock();
            let late = state.draining.then(|| control.clone());
            state.live.start(self.id, control);
            late
        };
        let Some(control) = late else { return };
        if self.is_aborted() {
            control.abort();
        } else {
            control.close(going_away());
        }
    }

    /// Whether the deadline of a drain has passed.
    pub(crate) fn is_aborted(&self) -> bool {
        self.sessions.inner.abort.is_cancelled()
    }

    /// Waits for the deadline of a drain.
    pub(crate) fn aborted(&self) -> impl Future<Output = ()> + Send + use<> {
        self.sessions.inner.abort.clone().cancelled_owned()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        let place = state.live.leave(self.id);
        if !self.is_aborted() {
            state.ended += 1;
        }
        if state.live.len == 0 {
            self.sessions.inner.empty.notify_waiters();
        }
        drop(state);
        // What a user gave the socket may be in it, and may look at the set when it is dropped.
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_left_is_taken_again() {
        let sessions = Sessions::new();
        let mut guards: Vec<_> = (0..4).map(|_| sessions.enter().unwrap()).collect();
        // The last that was left is the first that is taken.
        for (left, taken) in [(vec![1], vec![1]), (vec![0, 2, 3], vec![3, 2, 0])] {
            guards.retain(|guard| !left.contains(&guard.id));
            assert_eq!(sessions.len(), 4 - left.len());
            let new: Vec<_> = taken.iter().map(|_| sessions.enter().unwrap()).collect();
            assert_eq!(new.iter().map(|guard| guard.id).collect::<Vec<_>>(), taken);
            guards.extend(new);
            assert_eq!((sessions.len(), sessions.lock().live.places.len()), (4, 4));
        }
        guards.push(sessions.enter().unwrap());
        assert_eq!((guards[4].id, sessions.len()), (4, 5));
        guards.clear();
        assert!(sessions.is_empty());
    }
}
