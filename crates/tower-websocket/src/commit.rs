//! Serves a socket only once the response that accepts it has passed every layer.
//!
//! Over HTTP/1.1, hyper hands the connection over whatever status goes out. A layer between a
//! [`WebSocketLayer`](crate::WebSocketLayer) and the server that turns its 101 into something else,
//! as an error mapper or tower-http's compression may, therefore does not keep the handler from
//! running: the client is told 403, goes on to speak WebSocket, and is served.
//!
//! [`CommitLayer`] excludes that. It goes outermost; a `WebSocketLayer` somewhere below it no
//! longer starts the handler itself but sends it along with the response, and the `CommitLayer`
//! starts it if the status still says so. Otherwise it drops the handler, and over HTTP/1.1 it closes
//! the connection behind the response and takes what announces an upgrade out of its head, so that
//! no proxy takes it for a tunnel. Of several, the outermost commits. Without a `CommitLayer`, do not
//! replace the response.
//!
//! ```
//! use axum::{Router, routing::any};
//! use http::StatusCode;
//! use tower_websocket::{WebSocketLayer, commit::CommitLayer, handler_fn};
//!
//! # let rewrite = tower::util::MapResponseLayer::new(|response: axum::response::Response| response);
//! let chat = WebSocketLayer::new(handler_fn(|_socket| async {}));
//! let app: Router = Router::new()
//!     .route("/chat", any(async || StatusCode::NOT_FOUND).layer(chat))
//!     .layer(rewrite)
//!     .layer(CommitLayer::new());
//! ```

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Starts the handlers of the accepted handshakes below it. See the [module's documentation](self).
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct CommitLayer {
    _private: (),
}

impl CommitLayer {
    /// Makes the layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for CommitLayer {
    type Service = Commit<S>;

    fn layer(&self, inner: S) -> Commit<S> {
        Commit { inner }
    }
}

/// The service of [`CommitLayer`].
#[derive(Clone, Debug)]
pub struct Commit<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Commit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let accepts = match *request.method() {
            Method::GET if request.headers().contains_key(UPGRADE) => {
                Some(StatusCode::SWITCHING_PROTOCOLS)
            }
            Method::CONNECT => Some(StatusCode::OK),
            // Nothing else can be a handshake.
            _ => None,
        };
        let is_http_1 = request.version() <= Version::HTTP_11;
        let extensions = request.extensions_mut();
        let handshake = match accepts {
            // Another `CommitLayer` above commits.
            Some(_) if extensions.get::<Marker>().is_some() => None,
            Some(accepts) => {
                let marker = Marker::default();
                extensions.insert(marker.clone());
                Some(Handshake { marker, accepts, is_http_1 })
            }
            None => None,
        };
        ResponseFuture { inner: self.inner.call(request), handshake }
    }
}

pin_project! {
    /// The future of [`Commit`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        // `None` where there is nothing to commit.
        handshake: Option<Handshake>,
    }
}

/// A request that may be a handshake.
struct Handshake {
    marker: Marker,
    /// The status that accepts it.
    accepts: StatusCode,
    /// Another request could follow on the connection.
    is_http_1: bool,
}

impl Handshake {
    /// Starts what was accepted, or sees to it that the answer that replaced it is final.
    fn commit<B>(&self, response: &mut Response<B>) {
        let start = response.extensions_mut().remove::<Deferred>();
        if response.status() == self.accepts {
            if let Some(start) = start {
                start.spawn();
            }
        } else if self.marker.is_accepted() {
            tracing::debug!(
                status = response.status().as_u16(),
                "the response to an accepted WebSocket handshake was replaced"
            );
            if self.is_http_1 {
                make_final(response.headers_mut());
            }
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(handshake) = this.handshake {
            handshake.commit(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Turns the head of an answer that accepted into that of a refusal, behind which nothing is read
/// (RFC 9110 section 7.8).
fn make_final(headers: &mut HeaderMap) {
    if headers.remove(SEC_WEBSOCKET_ACCEPT).is_some() {
        headers.remove(UPGRADE);
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// In a request: there is a [`CommitLayer`] above, which holds a clone. It tells that the handshake was
/// accepted even where nothing is left of the answer that did so.
#[derive(Clone, Default)]
pub(crate) struct Marker(Arc<AtomicBool>);

/// In a response: the task that serves the socket. Extensions are `Clone`; the task is not.
#[derive(Clone)]
struct Deferred(Arc<Mutex<Option<Task>>>);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Deferred {
    fn spawn(self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            tokio::spawn(task);
        }
    }
}

impl Marker {
    /// Takes the marker of a request that came through a [`CommitLayer`].
    pub(crate) fn take(request: &mut Extensions) -> Option<Self> {
        request.remove()
    }

    /// Sends `task` along with the response that accepts.
    pub(crate) fn defer(
        &self,
        response: &mut Extensions,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.0.store(true, Ordering::Relaxed);
        response.insert(Deferred(Arc::new(Mutex::new(Some(Box::pin(task))))));
    }

    fn is_accepted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
