//! Who serves an accepted WebSocket.
//!
//! A [`Handler`] is a [`Service`] of the upgraded request, whose body is the socket:
//! `Service<Request<WebSocket>, Response = ()>`. Its future is the connection: it lives as long as
//! the socket does, so what tower's layers do to a future they do to the socket. A
//! `concurrency_limit` around the handler caps live sockets. A `timeout` is a maximum lifetime, which
//! to the layer is a handler that fails: the peer is told 1011.
//!
//! * [`handler_fn`] makes a handler from a closure or function that takes the socket,
//!   [`handler_fn_with_request`] from one that takes the request's head as well, and
//!   `tower::service_fn` from one that takes the whole `Request<WebSocket>`.
//! * [`per_message`] makes one from a service of messages.
//!
//! # Readiness
//!
//! A clone of the handler is driven to readiness *before* the handshake is answered, and that same
//! clone is called afterwards. A handler that is not ready in time turns the handshake away with 503
//! and `Retry-After`. Limits therefore belong outermost: `buffer` and `load_shed` report readiness
//! that is only theirs, so a limit inside them no longer keeps a handshake from being accepted.
//!
//! # Memory
//!
//! What a handler keeps of its request stays for the life of the socket. Method, URI and copied
//! header fields are small and the handler's own. An extension is whatever an outer layer made it:
//! one that holds a part of the original request, such as axum's `OriginalUri`, keeps hyper's read
//! buffer of 16 KiB alive. [`handler_fn`] drops the request before the closure is called; with the
//! others, take out what you need and drop the rest.
//!
//! # Example
//!
//! At most two sockets at a time, each for at most an hour:
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_websocket::{WebSocket, WebSocketLayer, handler::handler_fn};
//!
//! let handler = ServiceBuilder::new()
//!     .concurrency_limit(2)
//!     .timeout(Duration::from_secs(3600))
//!     .service(handler_fn(|mut socket: WebSocket| async move {
//!         while let Some(message) = socket.recv().await? {
//!             socket.send(message).await?;
//!         }
//!         Ok(())
//!     }));
//! let layer = WebSocketLayer::new(handler);
//! # let _ = layer;
//! ```

mod function;
mod per_message;

use std::future::Future;

use http::Request;
use tower_service::Service;

pub use self::{
    function::{
        HandlerFn, HandlerFuture, Outcome, RequestHandlerFn, handler_fn, handler_fn_with_request,
    },
    per_message::{PerMessage, PerMessageFuture, Reply, Shared, per_message, per_message_with},
};
use crate::{BoxError, WebSocket};

/// A service that serves WebSockets: an alias for the bounds that
/// [`WebSocketLayer`](crate::WebSocketLayer) asks of it, implemented for everything that meets them.
///
/// The request carries the socket as its body, the method, version and URI of the handshake, the
/// header fields that the layer was told to copy, and the extensions that outer layers put in.
///
/// Clones of a handler serve the sockets; they share what tower's limits count.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle WebSockets",
    note = "a handler is a `Service<Request<WebSocket>, Response = ()>` that is `Clone + Send + 'static` \
            with a future that is `Send + 'static`",
    note = "wrap a closure in `handler_fn`",
    note = "for a service that is not `Clone`, such as `RateLimit`: limit handshakes in the HTTP stack \
            or by a policy, and messages with `per_message_with`"
)]
pub trait Handler:
    Service<
        Request<WebSocket>,
        Response = (),
        Error: Into<BoxError>,
        Future: Future<Output = Result<(), <Self as Service<Request<WebSocket>>>::Error>>
                    + Send
                    + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<H> Handler for H where
    H: Service<
            Request<WebSocket>,
            Response = (),
            Error: Into<BoxError>,
            Future: Future<Output = Result<(), <H as Service<Request<WebSocket>>>::Error>>
                        + Send
                        + 'static,
        > + Clone
        + Send
        + 'static
{
}
