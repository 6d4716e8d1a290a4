//! The client: a service of handshakes around a service of HTTP requests.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Empty;
use hybi::handshake::{Address, AddressError, RequestError};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    ClientError, ClientOptions,
    attempt::{self, Attempt},
    error::Kind,
};
use crate::{BoxError, WebSocket};

/// Opens WebSockets through an HTTP client: a [`Service`] from `http::Request<()>` to
/// `http::Response<WebSocket>`.
///
/// The HTTP client `S` is any service whose responses have hyper's upgrade among their extensions; see
/// the [module](super) for some. `B` is the type of its request bodies, which a compiler infers; an
/// empty one is made by `B::default()`.
///
/// A request is a `GET` to a `ws`, `wss`, `http` or `https` URI. Its fields go out with the handshake;
/// those of the handshake itself may not be among them. Its extensions go to the HTTP client, all but
/// [`ClientOptions`]. Its version tells how the WebSocket is opened: HTTP/2 by extended CONNECT, any other
/// by an upgrade of HTTP/1.1.
///
/// The response has the answer's fields, and in place of a body the open socket. It moves while one of
/// its operations is polled, see [`hybi::socket::WebSocket`].
///
/// # Errors
///
/// Everything but an open socket is a [`ClientError`], also an answer that refuses.
#[must_use]
pub struct WebSocketClient<S, B = Empty<Bytes>> {
    http: S,
    options: ClientOptions,
    body: PhantomData<fn() -> B>,
}

impl<S, B> WebSocketClient<S, B> {
    /// Opens WebSockets through `http`, with the default options.
    pub fn new(http: S) -> Self {
        Self { http, options: ClientOptions::new(), body: PhantomData }
    }

    /// Replaces the options of requests that do not bring their own.
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.options = options;
        self
    }

    /// The HTTP client.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.http
    }

    /// The HTTP client, to be used for something else.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.http
    }
}

impl<S, B, R> WebSocketClient<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
    B: Default,
    R: Body + Send + 'static,
    R::Data: Send,
{
    /// Opens the WebSocket at `address`: a text, an `http::Uri`, a `url::Url` or an [`Address`].
    ///
    /// # Errors
    ///
    /// When the socket is not open in the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the attempt.
    pub async fn connect<A>(&mut self, address: A) -> Result<Response<WebSocket>, ClientError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        let address = address.try_into().map_err(|error| RequestError::Address(error.into()))?;
        let mut request = Request::new(());
        *request.uri_mut() = address.to_http_uri();

        // One deadline for all of it.
        let (began, timeout) = (Instant::now(), self.options.timeout);
        let ready = std::future::poll_fn(|cx| self.poll_ready(cx));
        let ready = tokio::time::timeout(timeout, ready).await;
        ready.map_err(|_| Kind::TimedOut)??;
        let left = timeout.saturating_sub(began.elapsed());
        request.extensions_mut().insert(self.options.clone().timeout(left));
        self.call(request).await
    }
}

impl<S, B, R> Service<Request<()>> for WebSocketClient<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
    B: Default,
    R: Body + Send + 'static,
    R::Data: Send,
{
    type Response = Response<WebSocket>;
    type Error = ClientError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.http.poll_ready(cx).map_err(|error| Kind::Http(error.into()).into())
    }

    fn call(&mut self, request: Request<()>) -> ResponseFuture {
        match Attempt::new(request, &self.options) {
            Ok((request, attempt)) => {
                let answer = self.http.call(request.map(|()| B::default()));
                ResponseFuture(Inner::Attempt(Box::pin(attempt::run(attempt, answer))))
            }
            Err(error) => ResponseFuture(Inner::Failed(Some(error))),
        }
    }
}

impl<S: Clone, B> Clone for WebSocketClient<S, B> {
    fn clone(&self) -> Self {
        Self { http: self.http.clone(), options: self.options.clone(), body: PhantomData }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for WebSocketClient<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketClient")
            .field("http", &self.http)
            .field("options", &self.options)
            .finish()
    }
}

/// The future of a [`WebSocketClient`]. Dropping it ends the attempt.
#[must_use]
pub struct ResponseFuture(Inner);

enum Inner {
    Failed(Option<ClientError>),
    Attempt(Pin<Box<dyn Future<Output = Result<Response<WebSocket>, ClientError>> + Send>>),
}

impl Future for ResponseFuture {
    type Output = Result<Response<WebSocket>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Failed(error) => {
                Poll::Ready(Err(error.take().expect("not polled after it was ready")))
            }
            Inner::Attempt(attempt) => attempt.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
