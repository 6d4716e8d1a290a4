//! Handlers from closures and functions.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{BoxError, WebSocket};

/// The output of the future of a closure in [`handler_fn`]: nothing, or a
/// `Result<(), BoxError>`.
///
/// There is no other, so that `Ok(())` and `?` need no type annotation. A function that returns
/// another error type fits `tower::service_fn`.
#[diagnostic::on_unimplemented(
    message = "a WebSocket handler returns `()` or `Result<(), BoxError>`, not `{Self}`",
    note = "convert the error with `?`, or use `tower::service_fn` for other error types",
    note = "a handler that never returns, such as an endless loop: write it as an `async fn` that \
            says `-> Result<(), BoxError>`"
)]
pub trait Outcome: sealed::Sealed {
    /// As a result.
    ///
    /// # Errors
    ///
    /// That of the handler.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Outcome for Result<(), BoxError> {
    fn into_result(self) -> Self {
        self
    }
}

#[expect(unnameable_types, reason = "a sealed trait")]
mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for Result<(), crate::BoxError> {}
}

/// A handler from a closure that takes the socket.
///
/// ```
/// use tower_websocket::handler::handler_fn;
///
/// let echo = handler_fn(|mut socket| async move {
///     while let Some(message) = socket.recv().await? {
///         socket.send(message).await?;
///     }
///     Ok(())
/// });
/// # let _ = tower_websocket::WebSocketLayer::new(echo);
/// ```
pub fn handler_fn<F, Fut>(f: F) -> HandlerFn<F>
where
    F: FnOnce(WebSocket) -> Fut + Clone,
    Fut: Future + Send + 'static,
    Fut::Output: Outcome,
{
    HandlerFn { f }
}

/// A handler from a closure that takes the socket and the head of the handshake's request.
///
/// The head has the method, version, URI and extensions. Header fields it has only as far as
/// [`copy_headers`](crate::WebSocketLayer::copy_headers) names them: none by default.
///
/// ```
/// use tower_websocket::handler::handler_fn_with_request;
///
/// #[derive(Clone)]
/// struct User(String); // that an auth layer outside puts into the extensions
///
/// let greet = handler_fn_with_request(|mut socket, request| async move {
///     let user = request.extensions().get::<User>().cloned().ok_or("there is no auth layer")?;
///     drop(request); // it would be kept as long as the socket
///     socket.send(format!("hello {}", user.0)).await?;
///     Ok(())
/// });
/// # let _ = tower_websocket::WebSocketLayer::new(greet);
/// ```
///
/// axum's extractors of request parts work here, path parameters included; see the
/// [guide](crate::guide::migrating).
pub fn handler_fn_with_request<F, Fut>(f: F) -> RequestHandlerFn<F>
where
    F: FnOnce(WebSocket, Request<()>) -> Fut + Clone,
    Fut: Future + Send + 'static,
    Fut::Output: Outcome,
{
    RequestHandlerFn { f }
}

macro_rules! function_handler {
    ($(#[$doc:meta])* $name:ident($($argument:ty),*), |$f:ident, $request:ident| $call:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        #[must_use]
        pub struct $name<F> {
            f: F,
        }

        impl<F, Fut> Service<Request<WebSocket>> for $name<F>
        where
            F: FnOnce($($argument),*) -> Fut + Clone,
            Fut: Future,
            Fut::Output: Outcome,
        {
            type Response = ();
            type Error = BoxError;
            type Future = HandlerFuture<Fut>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, $request: Request<WebSocket>) -> Self::Future {
                let $f = self.f.clone();
                HandlerFuture { future: $call }
            }
        }

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

function_handler! {
    /// The handler that [`handler_fn`] makes.
    HandlerFn(WebSocket), |f, request| f(request.into_body())
}

function_handler! {
    /// The handler that [`handler_fn_with_request`] makes.
    RequestHandlerFn(WebSocket, Request<()>), |f, request| {
        let (parts, socket) = request.into_parts();
        f(socket, Request::from_parts(parts, ()))
    }
}

pin_project! {
    /// The future of a handler made from a closure.
    #[must_use = "futures do nothing unless polled"]
    pub struct HandlerFuture<Fut> {
        #[pin]
        future: Fut,
    }
}

impl<Fut> Future for HandlerFuture<Fut>
where
    Fut: Future,
    Fut::Output: Outcome,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().future.poll(cx)).into_result())
    }
}

impl<Fut> fmt::Debug for HandlerFuture<Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFuture").finish_non_exhaustive()
    }
}
