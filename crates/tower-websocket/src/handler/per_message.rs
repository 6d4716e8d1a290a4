//! Handlers from services of messages.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::Request;
use hybi::proto::{ByteString, Bytes, Message};
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
        PerMessageFuture(Box::pin(serve(self.make.0.clone(), request.into_body())))
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
        PerMessageFuture(Box::pin(serve(service, socket)))
    }
}

async fn serve<S>(mut service: S, mut socket: WebSocket) -> Result<(), BoxError>
where
    S: Service<Message, Response: Reply, Error: Into<BoxError>>,
{
    // Made once, and only if a call has to be waited for.
    let mut closed = None;
    while let Some(message) = socket.recv().await? {
        let mut served = pin!(async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(message).await
        });
        let served = poll_fn(|cx| {
            if let Poll::Ready(served) = served.as_mut().poll(cx) {
                return Poll::Ready(Some(served));
            }
            // Nobody is there any more to be answered.
            pin!(closed.get_or_insert_with(|| socket.closed())).poll(cx).map(|()| None)
        });
        let Some(reply) = served.await.transpose().map_err(Into::into)? else { break };
        if let Some(reply) = reply.into_reply() {
            socket.send(reply).await?;
        }
    }
    Ok(())
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
