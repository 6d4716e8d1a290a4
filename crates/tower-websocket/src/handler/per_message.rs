//! Handlers from services of messages.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use hybi::{
    proto::{ByteString, Bytes, Message},
    socket::MessageService,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{BoxError, WebSocket};

/// What a service of messages answers: nothing, a message or what one is made of, or perhaps a
/// message.
pub trait Reply {
    /// The message to send back, if any.
    fn into_reply(self) -> Option<Message>;
}

impl Reply for () {
    fn into_reply(self) -> Option<Message> {
        None
    }
}

impl Reply for Message {
    fn into_reply(self) -> Option<Message> {
        Some(self)
    }
}

macro_rules! messages {
    ($($type:ty),*) => {
        $(
            impl Reply for $type {
                fn into_reply(self) -> Option<Message> {
                    Some(self.into())
                }
            }
        )*
    };
}

messages!(&'static str, String, ByteString, &'static [u8], Vec<u8>, Bytes);

impl Reply for Option<Message> {
    fn into_reply(self) -> Option<Message> {
        self
    }
}

/// A handler that calls a clone of `service` for each message and sends what it replies.
///
/// Messages of one socket are served one after the other, in order; all that came in one read are
/// answered in one write. tower's layers around `service` apply per message. An error closes the
/// socket with 1011. A call that is under way when the connection is gone is dropped.
///
/// ```
/// use tower_websocket::{Message, handler::per_message};
///
/// let echo = per_message(tower::service_fn(|message: Message| async move {
///     Ok::<_, std::convert::Infallible>(message)
/// }));
/// # let _ = tower_websocket::WebSocketLayer::new(echo);
/// ```
pub fn per_message<S>(service: S) -> PerMessage<Shared<S>>
where
    S: Service<Message, Response: Reply, Error: Into<BoxError>> + Clone,
{
    PerMessage { make: Shared(service) }
}

/// A handler that makes a service for each socket from the head of its handshake, then calls it
/// for each message.
///
/// The service may keep state, knows whose socket it serves, and need not be `Clone`, so
/// `rate_limit` is a limit per socket here:
///
/// ```
/// use std::time::Duration;
/// use tower::ServiceBuilder;
/// use tower_websocket::{Message, handler::per_message_with};
///
/// let handler = per_message_with(|request| {
///     let path = request.uri().path().to_owned();
///     ServiceBuilder::new().rate_limit(10, Duration::from_secs(1)).service_fn(
///         move |message: Message| {
///             let reply = format!("{path}: {} bytes", message.len());
///             async move { Ok::<_, std::convert::Infallible>(Message::from(reply)) }
///         },
///     )
/// });
/// # let _ = tower_websocket::WebSocketLayer::new(handler);
/// ```
pub fn per_message_with<M, S>(make: M) -> PerMessage<M>
where
    M: Fn(&Request<()>) -> S,
    S: Service<Message, Response: Reply, Error: Into<BoxError>>,
{
    PerMessage { make }
}

/// The handler that [`per_message`] and [`per_message_with`] make.
#[derive(Clone)]
#[must_use]
pub struct PerMessage<M> {
    make: M,
}

/// One service for all sockets, cloned for each.
#[derive(Clone, Debug)]
pub struct Shared<S>(S);

impl<S> Service<Request<WebSocket>> for PerMessage<Shared<S>>
where
    S: Service<Message, Response: Reply, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = ();
    type Error = BoxError;
    type Future = PerMessageFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<WebSocket>) -> PerMessageFuture {
        PerMessageFuture(Box::pin(request.into_body().serve(Adapter(self.make.0.clone()))))
    }
}

impl<M, S> Service<Request<WebSocket>> for PerMessage<M>
where
    M: Fn(&Request<()>) -> S,
    S: Service<Message, Response: Reply, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    type Response = ();
    type Error = BoxError;
    type Future = PerMessageFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<WebSocket>) -> PerMessageFuture {
        let (parts, socket) = request.into_parts();
        let service = (self.make)(&Request::from_parts(parts, ()));
        PerMessageFuture(Box::pin(socket.serve(Adapter(service))))
    }
}

/// A tower service of messages, as a socket knows it.
struct Adapter<S>(S);

impl<S> MessageService for Adapter<S>
where
    S: Service<Message, Response: Reply, Error: Into<BoxError>>,
{
    type Future = Answer<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, message: Message) -> Self::Future {
        Answer { call: self.0.call(message) }
    }
}

pin_project! {
    /// A call of the service, with its reply as a message.
    struct Answer<F> {
        #[pin]
        call: F,
    }
}

impl<F, R, E> Future for Answer<F>
where
    F: Future<Output = Result<R, E>>,
    R: Reply,
    E: Into<BoxError>,
{
    type Output = Result<Option<Message>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx).map_ok(Reply::into_reply).map_err(Into::into)
    }
}

/// The future of a [`PerMessage`] handler.
#[must_use = "futures do nothing unless polled"]
pub struct PerMessageFuture(Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>);

impl Future for PerMessageFuture {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for PerMessageFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerMessageFuture").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for PerMessage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerMessage").finish_non_exhaustive()
    }
}
