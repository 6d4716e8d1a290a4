//! How a socket becomes two halves, and one socket again.
//!
//! The halves share the socket's [`Core`] with the session that drives it, as a
//! handler's socket does. A socket that owned its transport becomes a session without a handler, in a
//! task of its own: then neither half has to be polled for the other to get on.
//!
//! Any number of tasks may send. They take turns at the *gate*, which wakes them one by one in the order
//! in which they came; only the one that has passed it waits for room in the queue.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, SemaphorePermit},
};

use super::{
    engine::Core,
    error::Error,
    receiver::Receiver,
    sender::Sender,
    session::{Borrowed, Facts, Handle, NoHandler, Place, Session, Step, Urge},
    steps::close,
    websocket::WebSocket,
};
use crate::proto::CloseFrame;

/// What the halves of one socket have in common. When the last of them is gone the handle goes with it,
/// which closes the socket.
pub(crate) struct Halves {
    pub(crate) handle: Handle,
    gate: Semaphore,
}

/// One operation, which has a place among the others once it has to wait.
pub(crate) struct Entered<'a> {
    handle: &'a Handle,
    place: Option<Place>,
}

impl Entered<'_> {
    /// Polls the operation until `f` gives something.
    pub(crate) fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        urge: Urge,
        f: impl FnOnce(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        self.handle.poll_until(cx, urge, &mut self.place, f)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.handle.leave(place);
        }
    }
}

impl Halves {
    /// The turn to send data, until it is dropped. Fair.
    ///
    /// A message in parts may take long, and outlast the socket.
    pub(crate) async fn gate(&self) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.gate.try_acquire() {
            return Ok(permit);
        }
        let mut acquire = pin!(self.gate.acquire());
        let mut closed = self.facts().signals.closed();
        poll_fn(|cx| {
            if let Poll::Ready(permit) = acquire.as_mut().poll(cx) {
                return Poll::Ready(Ok(permit.expect("the gate is never closed")));
            }
            ready!(Pin::new(&mut closed).poll(cx));
            Poll::Ready(Err(self.why_closed()))
        })
        .await
    }

    /// Ends a turn whose permit was forgotten.
    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    /// What is said to who comes when the transport is gone.
    fn why_closed(&self) -> Error {
        let open = self.handle.core_or_ask(Urge::Later, |core| core.check_open(), |_| Ok(()));
        open.err().unwrap_or_else(Error::closed)
    }

    /// The place of an operation that is about to begin.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered { handle: &self.handle, place: None }
    }

    /// Queues the Close, and waits until both sides have closed.
    pub(crate) fn close(&self, core: &mut Core, frame: &CloseFrame) -> Step<Result<(), Error>> {
        core.start_close(frame.clone());
        close(core, &self.facts().signals)
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.handle.facts
    }

    pub(crate) fn debug(&self, debug: &mut fmt::DebugStruct<'_, '_>) {
        let Facts { config, signals } = self.facts();
        debug
            .field("role", &config.role)
            .field("subprotocol", &config.get_subprotocol())
            .field("closing", &signals.is_closing());
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// Splits the socket into a half that sends and one that receives, for use in different tasks.
    ///
    /// A handler's socket stays with its session. A socket made by [`new`](Self::new) moves its
    /// transport into a task of its own, by [`tokio::spawn`]; from then on pings are answered,
    /// Closes exchanged and deadlines kept whichever half is polled, or none. What is sent leaves at
    /// once.
    ///
    /// Transports that cannot be spawned, because they are not [`Send`], have
    /// [`split_with_task`](Self::split_with_task).
    ///
    /// # Dropping
    ///
    /// * Without its [`Receiver`] a socket goes on sending. What arrives is discarded; pings and the
    ///   peer's Close are still answered.
    /// * Without any [`Sender`] it goes on receiving.
    /// * When the last half is gone it is closed with 1000, behind everything that was sent.
    ///
    /// Halves end with the handler that their socket was given to, unless the socket was
    /// [detached](Self::detach) before it was split.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, where the socket was made by [`new`](Self::new).
    ///
    /// # Example
    ///
    /// ```
    /// use hybi::socket::{BoxError, Config, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let (a, b) = tokio::io::duplex(1024);
    /// let mut server = WebSocket::new(a, Config::server());
    ///
    /// let (sender, mut receiver) = WebSocket::new(b, Config::client()).split();
    /// for name in ["one", "two"] {
    ///     let sender = sender.clone();
    ///     tokio::spawn(async move { sender.send(name).await });
    /// }
    /// for _ in 0..2 {
    ///     let message = server.recv().await?.expect("a message");
    ///     server.send(message).await?;
    ///     assert!(receiver.recv().await?.is_some());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (Sender, Receiver)
    where
        T: Send + 'static,
    {
        let (sender, receiver, task) = self.split_with_task();
        if task.session.is_some() {
            drop(tokio::spawn(task));
        }
        (sender, receiver)
    }

    /// Splits the socket like [`split`](Self::split), but leaves it to the caller where the task runs that
    /// moves the transport: for example in a [`LocalSet`](tokio::task::LocalSet).
    ///
    /// Nothing moves unless the task is polled. For a handler's socket it is over at once.
    ///
    /// ```
    /// use hybi::socket::{BoxError, Config, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let (a, b) = tokio::io::duplex(1024);
    /// # let mut server = WebSocket::new(a, Config::server());
    /// let (sender, receiver, task) = WebSocket::new(b, Config::client()).split_with_task();
    /// let local = tokio::task::LocalSet::new();
    /// local.spawn_local(task);
    /// local
    ///     .run_until(async {
    ///         sender.send("hello").await?;
    /// #       assert_eq!(server.recv().await?.unwrap().as_text(), Some("hello"));
    ///         // ...
    /// #       drop(receiver);
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub fn split_with_task(self) -> (Sender, Receiver, SplitTask<T>) {
        let Self { handle, own, .. } = self;
        if Borrowed::take().of(&handle).is_none() {
            // Other tasks will come, and need not wait for the session's next poll.
            handle.want();
        }
        let halves = Arc::new(Halves { handle, gate: Semaphore::new(1) });
        let sender = Sender::new(Arc::clone(&halves));
        let session = own.map(|own| own.into_session());
        (sender, Receiver::new(halves), SplitTask { session })
    }

    /// Makes one socket of its halves again. It is driven as the halves were: by the session whose
    /// handler it was given to, or in its task.
    ///
    /// `T` is the transport that the socket was split from, or whatever else the caller calls it: halves
    /// do not name it, and nothing depends on it.
    ///
    /// # Errors
    ///
    /// The halves are not those of one socket, or the sender has clones. Both are given back.
    pub fn reunite(sender: Sender, receiver: Receiver) -> Result<Self, ReuniteError> {
        if !Arc::ptr_eq(sender.halves(), receiver.halves()) {
            return Err(ReuniteError { sender, receiver });
        }
        // Nobody else can clone either of them: they are here.
        if Arc::strong_count(sender.halves()) > 2 {
            return Err(ReuniteError { sender, receiver });
        }
        drop(sender);
        let halves = Arc::into_inner(receiver.into_halves()).expect("that was the other one");
        Ok(Self { handle: halves.handle, own: None, transport: PhantomData })
    }
}

/// What moves the transport of a split socket. See [`WebSocket::split_with_task`].
///
/// It is over when the transport is gone. Dropping it drops the transport; the peer sees an abnormal
/// closure (1006).
///
/// # Panics
///
/// The first poll panics outside of a tokio runtime that has its timers enabled.
#[must_use = "futures do nothing unless polled"]
pub struct SplitTask<T> {
    session: Option<Session<T, NoHandler>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for SplitTask<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(session) = &mut self.session {
            ready!(Pin::new(session).poll(cx));
            self.session = None;
        }
        Poll::Ready(())
    }
}

impl<T> fmt::Debug for SplitTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitTask").field("over", &self.session.is_none()).finish_non_exhaustive()
    }
}

/// Two halves that are not one socket, or not all of it.
#[derive(Debug)]
pub struct ReuniteError {
    /// The sender that was given.
    pub sender: Sender,
    /// The receiver that was given.
    pub receiver: Receiver,
}

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if Arc::ptr_eq(self.sender.halves(), self.receiver.halves()) {
            "the sender has clones"
        } else {
            "the halves are of different sockets"
        })
    }
}

impl std::error::Error for ReuniteError {}
