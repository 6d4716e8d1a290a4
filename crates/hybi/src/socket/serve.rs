//! A handler that answers one message after the other.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BoxError, engine::Core, session::Borrowed, signals::Closed, websocket::WebSocket};
use crate::proto::Message;

/// What answers the messages of a socket: see [`WebSocket::serve`].
///
/// A closure that takes a message and returns a future is one. An `async` closure is one if it captures
/// nothing. Otherwise the closure gives each call its own part of what it captures:
/// `move |message| { let state = state.clone(); async move { … } }`.
pub trait MessageService {
    /// Gives the answer, if there is one.
    type Future: Future<Output = Result<Option<Message>, BoxError>>;

    /// Ready when [`call`](Self::call) may be called, once. It is polled when a message is there.
    ///
    /// # Errors
    ///
    /// The service can take no more messages. The handler fails with it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;

    /// Begins to answer a message.
    fn call(&mut self, message: Message) -> Self::Future;
}

impl<F, Fut> MessageService for F
where
    F: FnMut(Message) -> Fut,
    Fut: Future<Output = Result<Option<Message>, BoxError>>,
{
    type Future = Fut;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, message: Message) -> Fut {
        self(message)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// Answers each message by `service`, one after the other and in order, until the peer closes.
    ///
    /// It does what a loop of [`recv`](Self::recv) and [`send`](Self::send) does, with less work for each
    /// message. A call that is under way when the transport is gone is dropped.
    ///
    /// ```
    /// use hybi::proto::Message;
    /// use hybi::socket::{BoxError, Config, Session, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let (server, client) = tokio::io::duplex(1024);
    /// tokio::spawn(Session::new(server, Config::server(), |socket: WebSocket<_>| {
    ///     socket.serve(async |message: Message| Ok(Some(message)))
    /// }));
    /// let mut socket = WebSocket::new(client, Config::client());
    /// socket.send("hello").await?;
    /// assert_eq!(socket.recv().await?.unwrap().as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv) and [`send`](Self::send), and those of `service`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the socket, and the call that is under way.
    pub fn serve<S: MessageService>(self, service: S) -> Serving<T, S, S::Future> {
        Serving {
            socket: self,
            service,
            stage: Stage::Receive,
            held: None,
            call: None,
            closed: None,
        }
    }
}

/// What [`Serving`] waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Receive,
    /// The service, for the message that is held.
    Ready,
    Call,
    /// Room for the answer that is held.
    Send,
}

pin_project! {
    /// The future of [`WebSocket::serve`]. `C` is a call of the service `S`.
    // Bounds would keep it from being awaited in a future that is spawned, where the compiler cannot see
    // that a service which fails with a `BoxError` meets them.
    #[must_use = "futures do nothing unless polled"]
    pub struct Serving<T, S, C> {
        socket: WebSocket<T>,
        service: S,
        stage: Stage,
        held: Option<Message>,
        #[pin]
        call: Option<C>,
        // Made once, and only if something but the socket has to be waited for.
        closed: Option<Closed>,
    }
}

impl<T, S> Future for Serving<T, S, S::Future>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: MessageService,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let mut polled = false;
            if *this.stage == Stage::Receive {
                let mut turn = Borrowed::take();
                let core = turn.of(&this.socket.handle);
                // The service may use the socket of an outer session, which it finds in the turn.
                let plainly = core.filter(|core| !core.turn.is_nested()).and_then(|core| {
                    loop {
                        let Some(message) = core.next_plain() else {
                            return core.wait_plain(cx.waker()).map(|()| Poll::Pending);
                        };
                        match this.service.poll_ready(cx) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                            Poll::Pending => {
                                *this.held = Some(message);
                                *this.stage = Stage::Ready;
                                polled = true;
                                return Some(Poll::Ready(Ok(())));
                            }
                        }
                        this.call.set(Some(this.service.call(message)));
                        let call = this.call.as_mut().as_pin_mut()?;
                        let Poll::Ready(answer) = call.poll(cx) else {
                            *this.stage = Stage::Call;
                            polled = true;
                            return Some(Poll::Ready(Ok(())));
                        };
                        this.call.set(None);
                        match answer {
                            Ok(Some(answer)) if core.send_plain(&answer).is_none() => {
                                *this.held = Some(answer);
                                *this.stage = Stage::Send;
                                return Some(Poll::Ready(Ok(())));
                            }
                            Ok(_) => {}
                            Err(error) => return Some(Poll::Ready(Err(error))),
                        }
                    }
                });
                drop(turn);
                match plainly {
                    Some(Poll::Pending) => return Poll::Pending,
                    Some(Poll::Ready(result)) => result?,
                    None => match ready!(this.socket.poll_recv_in_full(cx))? {
                        Some(message) => {
                            *this.held = Some(message);
                            *this.stage = Stage::Ready;
                        }
                        None => return Poll::Ready(Ok(())),
                    },
                }
            }
            let waits = match *this.stage {
                Stage::Receive => continue,
                Stage::Ready | Stage::Call if polled => true,
                Stage::Ready => match this.service.poll_ready(cx)? {
                    Poll::Ready(()) => {
                        let call = this.held.take().map(|message| this.service.call(message));
                        this.call.set(call);
                        *this.stage = Stage::Call;
                        continue;
                    }
                    Poll::Pending => true,
                },
                Stage::Call => match this.call.as_mut().as_pin_mut().map(|call| call.poll(cx)) {
                    Some(Poll::Ready(answer)) => {
                        this.call.set(None);
                        *this.held = answer?;
                        *this.stage = Stage::Send;
                        continue;
                    }
                    _ => true,
                },
                Stage::Send => false,
            };
            if waits {
                // Nobody is there any more to be answered.
                let closed = this.closed.get_or_insert_with(|| this.socket.closed());
                ready!(Pin::new(closed).poll(cx));
                return Poll::Ready(Ok(()));
            }
            ready!(this.socket.poll_send(cx, this.held, Core::send))?;
            *this.stage = Stage::Receive;
        }
    }
}

impl<T, S, C> fmt::Debug for Serving<T, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("socket", &self.socket).finish_non_exhaustive()
    }
}
